//! Properties of events and purchases ("Event properties", Braze documentation, read 2026-09).

use super::attribute::longer_than;
use super::identifier::Reason;
use isthmus_core::json;
use std::borrow::Cow;

const TEXT_MAX: usize = 255;
/// Distinct properties that are kept; the rest is passed over.
const KEPT_MAX: usize = 256;
const INVALID: &str = "Invalid 'properties' field";

/// What an object with properties is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bearer {
    Event,
    Purchase,
}

impl Bearer {
    /// Names that the object itself uses.
    fn reserved(self) -> &'static [&'static str] {
        match self {
            Self::Event => &["time", "event_name"],
            Self::Purchase => {
                &["time", "product_id", "quantity", "event_name", "price", "currency"]
            }
        }
    }

    /// Most bytes of properties that hold arrays or objects.
    fn bytes_max(self) -> usize {
        match self {
            Self::Event => 102_400,
            Self::Purchase => 51_200,
        }
    }
}

/// Properties as they are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Properties<'a> {
    /// Raw JSON object; empty text when there are none.
    pub(crate) json: Cow<'a, str>,
    /// Properties that were silently passed over.
    pub(crate) passed_over: usize,
}

/// Reads the raw `properties` member.
pub(crate) fn read(raw: Option<&str>, bearer: Bearer) -> Result<Properties<'_>, Reason> {
    let Some(raw) = raw.filter(|raw| *raw != "null") else { return Ok(Properties::default()) };
    let mut count = 0;
    let mut passed_over = 0;
    let mut nested = false;
    if !raw.starts_with('{') {
        return Err(Reason::Borrowed(INVALID));
    }
    for (name, value) in json::members(raw) {
        if name.is_empty()
            || name.starts_with('$')
            || longer_than(&name, TEXT_MAX)
            || bearer.reserved().contains(&name.as_ref())
        {
            return Err(Reason::Borrowed(INVALID));
        }
        nested |= value.starts_with(['[', '{']);
        count += 1;
        if count > KEPT_MAX || text_is_too_long(value) {
            passed_over += 1;
        }
    }
    if nested && raw.len() > bearer.bytes_max() {
        return Err(Reason::Borrowed(INVALID));
    }
    let json = if passed_over == 0 { Cow::Borrowed(raw) } else { Cow::Owned(kept(raw)) };
    Ok(Properties { json, passed_over })
}

fn text_is_too_long(raw: &str) -> bool {
    raw.len() > TEXT_MAX + 2
        && raw.starts_with('"')
        && json::text_of(raw).is_none_or(|text| longer_than(&text, TEXT_MAX))
}

/// The first [`KEPT_MAX`] properties without the over-long ones.
fn kept(raw: &str) -> String {
    let mut out = String::from("{");
    let members = json::members(raw).take(KEPT_MAX).filter(|(_, value)| !text_is_too_long(value));
    for (at, (name, value)) in members.enumerate() {
        if at > 0 {
            out.push(',');
        }
        json::push_text(&mut out, &name);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(raw: &str) -> Result<Properties<'_>, Reason> {
        read(Some(raw), Bearer::Event)
    }

    #[test]
    fn properties_are_kept_as_written() {
        let raw = r#"{"total": 12.50, "tags":["a"], "at":"2026-01-01"}"#;
        assert_eq!(event(raw).expect("valid").json, raw);
        assert_eq!(read(None, Bearer::Event).expect("valid").json, "");
        assert_eq!(event("null").expect("valid").json, "");
    }

    #[test]
    fn reserved_and_malformed_names_refuse_the_object() {
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(256));
        for raw in [
            r#"{"time":1}"#,
            r#"{"event_name":"x"}"#,
            r#"{"":1}"#,
            r#"{"$set":1}"#,
            &long,
            "[]",
            "\"text\"",
        ] {
            assert_eq!(event(raw), Err(Reason::Borrowed(INVALID)), "{raw}");
        }
        assert!(event(r#"{"price":1}"#).is_ok());
        assert!(read(Some(r#"{"price":1}"#), Bearer::Purchase).is_err());
    }

    #[test]
    fn large_nested_properties_refuse_the_object() {
        let large = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(51_200));
        assert!(event(&large).is_err());
        let flat: Vec<_> = (0..500).map(|at| format!(r#""{at}":"{}""#, "x".repeat(250))).collect();
        assert!(event(&format!("{{{}}}", flat.join(","))).is_ok());
    }

    #[test]
    fn over_long_values_and_the_257th_property_are_passed_over() {
        let raw = format!(r#"{{"a":1,"long":"{}","b":2}}"#, "x".repeat(256));
        let read = event(&raw).expect("valid");
        assert_eq!((read.json.as_ref(), read.passed_over), (r#"{"a":1,"b":2}"#, 1));
        let many: Vec<_> = (0..300).map(|at| format!(r#""p{at}":{at}"#)).collect();
        let many = format!("{{{}}}", many.join(","));
        let read = event(&many).expect("valid");
        assert_eq!((json::members(&read.json).count(), read.passed_over), (256, 44));
    }
}
