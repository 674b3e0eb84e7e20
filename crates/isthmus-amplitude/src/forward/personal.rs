//! What of the properties stays here: left out, or sent as a hash.

use super::{Object, fits};
use isthmus_config::resource::PersonalData;
use isthmus_core::json;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write;

/// Names of personal data.
#[derive(Debug)]
pub(super) struct Personal {
    drop: Vec<String>,
    hash: Vec<String>,
}

impl Personal {
    pub(super) fn new(data: &PersonalData) -> Self {
        Self { drop: data.drop.clone(), hash: data.hash.clone() }
    }

    /// `object` without what is to be left out; operations of user properties are looked into.
    pub(super) fn without<'a>(&self, object: &'a str) -> Cow<'a, str> {
        if self.drop.is_empty() && self.hash.is_empty() {
            return Cow::Borrowed(object);
        }
        let mut left = Object { text: String::with_capacity(object.len()) };
        for (name, raw) in json::members(object) {
            if name.starts_with('$') && raw.starts_with('{') {
                let inner =
                    if name == "$unset" { self.without_dropped(raw) } else { self.without(raw) };
                if json::members(&inner).next().is_some() {
                    left.raw(&name, &inner);
                }
            } else if let Some(raw) = self.value(&name, raw) {
                left.raw(&name, &raw);
            }
        }
        Cow::Owned(left.finish())
    }

    /// Names to unset have no values to hash.
    fn without_dropped<'a>(&self, object: &'a str) -> Cow<'a, str> {
        let mut left = Object { text: String::new() };
        for (name, raw) in json::members(object).filter(|(name, _)| !any(&self.drop, name)) {
            left.raw(&name, raw);
        }
        Cow::Owned(left.finish())
    }

    /// What is sent of the value `raw` called `name`.
    pub(super) fn value<'a>(&self, name: &str, raw: &'a str) -> Option<Cow<'a, str>> {
        if any(&self.drop, name) {
            return None;
        }
        if !any(&self.hash, name) {
            return Some(Cow::Borrowed(raw));
        }
        let text = json::text_of(raw).unwrap_or(Cow::Borrowed(raw));
        let mut hashed = String::with_capacity(66);
        hashed.push('"');
        for byte in Sha256::digest(text.as_bytes()) {
            write!(hashed, "{byte:02x}").expect("a String takes any text");
        }
        hashed.push('"');
        Some(Cow::Owned(hashed))
    }
}

fn any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, name))
}
