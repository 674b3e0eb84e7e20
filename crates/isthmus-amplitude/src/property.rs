//! Limits of property values: what exceeds them is cut, as Amplitude documents or SDKs expect.
//!
//! - Strings keep their first 1024 characters.
//! - A member whose value is `null` is dropped; `null` inside an array stays.
//! - Half a surrogate pair becomes U+FFFD, and a number beyond double precision `null`.
//!
//! Nothing else is touched: order, numbers, spelling and repeated keys stay as written.

use crate::scan::{Kind, Malformed, Scanner, Value};
use isthmus_core::json::push_text;
use std::borrow::Cow;

/// Operations whose values carry no meaning, so that a `null` in them is none either: Go clears
/// all properties with `{"$clearAll": {"-": null}}`.
const VALUELESS: [&str; 2] = ["$unset", "$clearAll"];

/// The text of `value`, rewritten if it must be. Its nesting must not be in excess.
pub(crate) fn clean<'a>(value: &Value<'a>) -> Cow<'a, str> {
    if value.found.unclean {
        Cow::Owned(rewritten(value.raw, false))
    } else {
        Cow::Borrowed(value.raw)
    }
}

/// Like [`clean`], for an object that may hold user-property operations.
pub(crate) fn clean_operations<'a>(value: &Value<'a>) -> Cow<'a, str> {
    if value.found.unclean {
        Cow::Owned(rewritten(value.raw, true))
    } else {
        Cow::Borrowed(value.raw)
    }
}

/// Whether `raw`, an object, has no member.
pub(crate) fn is_empty_object(raw: &str) -> bool {
    raw.bytes().all(|byte| matches!(byte, b'{' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))
}

fn rewritten(raw: &str, operations: bool) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rewriter = Rewriter { scanner: Scanner::new(raw), out: &mut out };
    let whole = if operations { Members::Operations } else { Members::Properties };
    rewriter.value(whole).expect("the scanner validated this text before");
    out
}

/// What the members of an object are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Members {
    /// Plain properties and operations.
    Operations,
    /// Plain properties.
    Properties,
    /// Names under an operation that ignores values.
    Valueless,
}

/// Copies valid JSON of bounded depth; recursive for that reason.
struct Rewriter<'a, 'out> {
    scanner: Scanner<'a>,
    out: &'out mut String,
}

impl Rewriter<'_, '_> {
    fn value(&mut self, members: Members) -> Result<(), Malformed> {
        match self.scanner.byte() {
            Some(b'{') => self.object(members),
            Some(b'[') => self.array(),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, members: Members) -> Result<(), Malformed> {
        self.scanner.enter(b'{');
        self.out.push('{');
        let (mut first, mut first_out) = (true, true);
        while let Some(key) = self.scanner.next_member(&mut first)? {
            let before = self.out.len();
            if !first_out {
                self.out.push(',');
            }
            if key.torn {
                push_text(self.out, &key.text());
            } else {
                self.out.push_str(key.raw);
            }
            self.out.push(':');
            let valueless = members == Members::Valueless
                || members == Members::Operations && VALUELESS.contains(&key.text().as_ref());
            let value_from = self.out.len();
            self.value(if valueless { Members::Valueless } else { Members::Properties })?;
            if !valueless && self.out.get(value_from..) == Some("null") {
                self.out.truncate(before);
            } else {
                first_out = false;
            }
        }
        self.out.push('}');
        Ok(())
    }

    fn array(&mut self) -> Result<(), Malformed> {
        self.scanner.enter(b'[');
        self.out.push('[');
        let mut first = true;
        let mut separator = "";
        while self.scanner.next_element(&mut first)? {
            self.out.push_str(separator);
            separator = ",";
            self.value(Members::Properties)?;
        }
        self.out.push(']');
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), Malformed> {
        let value = self.scanner.value()?;
        match (value.found.unclean, value.text()) {
            (true, Some(text)) => push_text(self.out, &text),
            (true, None) if !is_finite(value.raw) => self.out.push_str("null"),
            _ => self.out.push_str(value.raw),
        }
        Ok(())
    }
}

/// Whether the JSON number `raw` is within double precision's range.
pub(crate) fn is_finite(raw: &str) -> bool {
    raw.parse().is_ok_and(f64::is_finite)
}

impl Value<'_> {
    /// Whether this is an object that can be kept.
    pub(crate) fn is_object_within_limits(&self) -> bool {
        self.kind == Kind::Object && !self.found.excess
    }
}

#[cfg(test)]
mod tests;
