//! Whether Braze has what it was told.
//!
//! Braze keeps some values in a form of its own: times are normalised, arrays lose what they hold
//! twice, and profile fields are tidied ("User attributes object", Braze documentation, read
//! 2026-09). Where it is not certain that a value differs, it is not called different.

use super::field_of;
use crate::check::is_time;
use crate::mirror::canonical;
use crate::profile::EXPORTED_FIELDS;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use serde_json::Value;

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Same,
    Differs,
    /// Exports never tell this attribute, or what was told is not known, or both are times of which
    /// one cannot be read.
    Impossible,
}

/// Compares what Braze was `told` of an attribute, as raw JSON and empty where that is not known,
/// with what it `has`.
pub fn compare(attribute: &str, told: &str, has: Option<&str>) -> Comparison {
    if told.is_empty() || field_of(attribute).is_none() {
        return Comparison::Impossible;
    }
    let has = has.unwrap_or("null");
    if canonical(told) == canonical(has) {
        return Comparison::Same;
    }
    let (Ok(told), Ok(has)) = (serde_json::from_str(told), serde_json::from_str(has)) else {
        return Comparison::Impossible;
    };
    if let (true, Value::String(told), Value::String(has)) =
        (EXPORTED_FIELDS.contains(&attribute), &told, &has)
        && tidied(attribute, told) == tidied(attribute, has)
    {
        return Comparison::Same;
    }
    values(&told, &has)
}

/// A profile field without what Braze may tidy.
fn tidied(attribute: &str, text: &str) -> String {
    let kept = |c: &char| attribute != "phone" || c.is_ascii_digit();
    text.trim().chars().filter(kept).flat_map(char::to_lowercase).collect()
}

fn values(told: &Value, has: &Value) -> Comparison {
    match (plain(told), plain(has)) {
        (Value::String(told), Value::String(has)) => texts(told, has),
        (Value::Array(told), Value::Array(has)) => {
            let (told, has) = (distinct(told), distinct(has));
            if told.len() != has.len() {
                return Comparison::Differs;
            }
            all(told.into_iter().zip(has).map(|(told, has)| values(told, has)))
        }
        (Value::Object(told), Value::Object(has)) => {
            if told.len() != has.len() {
                return Comparison::Differs;
            }
            all(told.iter().map(|(key, told)| {
                has.get(key).map_or(Comparison::Differs, |has| values(told, has))
            }))
        }
        (told, has) if canonical(&told.to_string()) == canonical(&has.to_string()) => {
            Comparison::Same
        }
        _ => Comparison::Differs,
    }
}

/// The time that `{"$time": "..."}` stands for.
fn plain(value: &Value) -> &Value {
    match value {
        Value::Object(object) if object.len() == 1 => object.get("$time").unwrap_or(value),
        _ => value,
    }
}

fn all(parts: impl Iterator<Item = Comparison>) -> Comparison {
    let mut whole = Comparison::Same;
    for part in parts {
        match part {
            Comparison::Same => {}
            Comparison::Impossible => whole = Comparison::Impossible,
            Comparison::Differs => return Comparison::Differs,
        }
    }
    whole
}

/// The last one of those that are equal, as Braze keeps scalars.
fn distinct(items: &[Value]) -> Vec<&Value> {
    let is_last = |(at, item): &(usize, &Value)| {
        item.is_object() || !items.iter().skip(at + 1).any(|later| later == *item)
    };
    items.iter().enumerate().filter(is_last).map(|(_, item)| item).collect()
}

fn texts(told: &str, has: &str) -> Comparison {
    if told == has {
        return Comparison::Same;
    }
    match (instant(told), instant(has)) {
        (Some(told), Some(has)) if told == has => Comparison::Same,
        (Some(_), Some(_)) => Comparison::Differs,
        _ if is_time(told) && is_time(has) => Comparison::Impossible,
        _ => Comparison::Differs,
    }
}

/// The instant of an ISO 8601 text; without a zone it is UTC.
fn instant(text: &str) -> Option<Timestamp> {
    let utc = |at: DateTime| Offset::UTC.to_timestamp(at).ok();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    if let (10, Ok(day)) = (text.len(), text.parse::<Date>()) {
        return utc(day.at(0, 0, 0, 0));
    }
    text.parse::<DateTime>().ok().and_then(utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_differs_is_different() {
        use Comparison::{Differs, Impossible, Same};
        for (attribute, told, has, expected) in [
            ("plan", "\"pro\"", Some("\"pro\""), Same),
            ("plan", "\"pro\"", Some("\"free\""), Differs),
            ("plan", "\"pro\"", None, Differs),
            ("plan", "null", None, Same),
            ("plan", "null", Some("1"), Differs),
            ("plan", "", Some("1"), Impossible),
            ("seats", "1", Some("1.0"), Same),
            ("seats", "1", Some("\"1\""), Differs),
            ("facebook", "{}", None, Impossible),
            ("email", "\"Ada@example.com\"", Some("\"ada@example.com\""), Same),
            ("email", "\"ada@example.com\"", Some("\"bo@example.com\""), Differs),
            ("phone", "\"+49 170 1\"", Some("\"+491701\""), Same),
            ("nick", "\"Ada\"", Some("\"ada\""), Differs),
            ("at", "\"2026-03-26T18:12:00+02:00\"", Some("\"2026-03-26T16:12:00.000Z\""), Same),
            ("at", "\"2026-03-26\"", Some("\"2026-03-26T00:00:00Z\""), Same),
            ("at", "\"2026-03-26\"", Some("\"2026-03-27T00:00:00Z\""), Differs),
            ("at", "\"03/26/2026\"", Some("\"2026-03-26T00:00:00Z\""), Impossible),
            ("tags", "[\"a\",\"b\",\"a\"]", Some("[\"b\",\"a\"]"), Same),
            ("tags", "[\"a\",\"b\"]", Some("[\"b\",\"a\"]"), Differs),
            (
                "shop",
                r#"{"open":{"$time":"2026-03-26"},"n":1}"#,
                Some(r#"{"n":1.0,"open":"2026-03-26T00:00:00Z"}"#),
                Same,
            ),
            ("shop", r#"{"n":1}"#, Some(r#"{"n":1,"more":2}"#), Differs),
        ] {
            assert_eq!(compare(attribute, told, has), expected, "{attribute}: {told} {has:?}");
        }
    }
}
