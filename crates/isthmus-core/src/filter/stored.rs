//! A stored value as a condition sees it, read from raw JSON without building a tree.

use super::NONE;
use crate::json;
use crate::profile::cut;
use crate::profile::number::Number;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A property value: one, or a list.
#[derive(Debug)]
pub(super) enum Stored<'a> {
    One(Scalar<'a>),
    List(Vec<Scalar<'a>>),
}

/// A value that is compared as a whole. An object, and a list within a list, is its JSON text.
#[derive(Debug)]
pub(super) struct Scalar<'a> {
    /// Without quotes, and cut to what is compared; `(none)` when missing.
    pub(super) text: Cow<'a, str>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Missing,
    Text,
    Number,
    /// A boolean or an object.
    Other,
}

impl<'a> Stored<'a> {
    /// Reads raw JSON; text that is none is compared as it stands.
    pub(super) fn read(raw: Option<&'a str>) -> Self {
        let raw = raw.map_or("", trimmed);
        if raw.starts_with('[')
            && let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw)
        {
            return Self::List(elements.into_iter().map(|raw| Scalar::read(raw.get())).collect());
        }
        Self::One(Scalar::read(raw))
    }

    /// Whether `test` holds for the value, or for some element of the list.
    pub(super) fn any(&self, test: impl FnMut(&Scalar<'a>) -> bool) -> bool {
        self.elements().iter().any(test)
    }

    /// The elements of the list; a single value is a list of one.
    pub(super) fn elements(&self) -> &[Scalar<'a>] {
        match self {
            Self::One(scalar) => std::slice::from_ref(scalar),
            Self::List(elements) => elements,
        }
    }
}

impl<'a> Scalar<'a> {
    fn read(raw: &'a str) -> Self {
        let (text, kind) = match raw.as_bytes().first() {
            None => (Cow::Borrowed(NONE), Kind::Missing),
            Some(b'n') if raw == "null" => (Cow::Borrowed(NONE), Kind::Missing),
            Some(b'"') => match json::text_of(raw) {
                Some(text) => (text, Kind::Text),
                None => (Cow::Borrowed(raw), Kind::Other),
            },
            Some(b'-' | b'0'..=b'9') => (Cow::Borrowed(raw), Kind::Number),
            Some(_) => (Cow::Borrowed(raw), Kind::Other),
        };
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(cut(text)),
            Cow::Owned(mut text) => {
                text.truncate(cut(&text).len());
                Cow::Owned(text)
            }
        };
        Self { text, kind }
    }

    /// The number this is in an order comparison. A missing value counts as 0, and numeric text
    /// as its number.
    pub(super) fn in_order(&self) -> Option<Number> {
        match self.kind {
            Kind::Missing => Some(Number::ZERO),
            Kind::Text | Kind::Number => Number::parse(&self.text),
            Kind::Other => None,
        }
    }
}

fn trimmed(raw: &str) -> &str {
    raw.trim_matches([' ', '\n', '\r', '\t'])
}
