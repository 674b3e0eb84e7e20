//! What a property value means, and the form it is stored in.

use super::list::shorten;
use super::number::Number;
use super::{Properties, STRING_CHARACTERS_MAX};
use serde_json::Value;
use std::collections::BTreeMap;

/// A value by its meaning: equal and ordered as the values are, with 1 and 1.0 the same.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    /// The bits of a number that is no integer.
    Float(u64),
    Text(&'a str),
    List(Vec<Meaning<'a>>),
    Object(BTreeMap<&'a str, Meaning<'a>>),
}

impl<'a> Meaning<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Number(number) => match Number::from_json(number) {
                Number::Integer(integer) => Self::Integer(integer),
                Number::Float(float) => Self::Float(float.to_bits()),
            },
            Value::String(text) => Self::Text(text),
            Value::Array(elements) => Self::List(elements.iter().map(Self::of).collect()),
            Value::Object(members) => Self::Object(
                members.iter().map(|(name, value)| (&**name, Self::of(value))).collect(),
            ),
        }
    }
}

/// JSON equality, with 1 and 1.0 equal.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    left == right
        || (!(left.is_string() && right.is_string()) && Meaning::of(left) == Meaning::of(right))
}

/// `value` as it is stored as a property: within the limits, and without null members.
pub(super) fn stored_form(value: &Value) -> Value {
    let mut stored = limited(value);
    if let Value::Array(list) = &mut stored {
        shorten(list);
    }
    stored
}

/// `value` with its strings cut and its null members dropped. Nulls in a list stay: dropping them
/// would move the others.
pub(super) fn limited(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(cut(text).to_owned()),
        Value::Array(elements) => Value::Array(elements.iter().map(limited).collect()),
        Value::Object(members) => {
            let present = members.iter().filter(|(_, value)| !value.is_null());
            let limited = present.map(|(name, value)| (name.clone(), limited(value)));
            Value::Object(limited.collect::<Properties>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The part of `text` that is kept and compared: its first [`STRING_CHARACTERS_MAX`] characters.
pub(crate) fn cut(text: &str) -> &str {
    if text.len() <= STRING_CHARACTERS_MAX {
        return text;
    }
    let end = text.char_indices().nth(STRING_CHARACTERS_MAX).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}
