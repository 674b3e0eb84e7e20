//! What Braze is certain to refuse of one object, told without asking Braze.
//!
//! Only what `/users/track` answers with an error counts ("User track endpoint", Braze
//! documentation, read 2026-09); what it silently ignores is left to it.

use crate::track::{ATTRIBUTES, EVENTS, OBJECT_BYTES_MAX, PURCHASES};
use isthmus_core::Timestamp;
use isthmus_core::destination::Message;
use serde_json::{Map, Value};

/// Identifiers of which an object has exactly one; `email` and `phone` do without.
const PRIMARY: [&str; 3] = ["external_id", "user_alias", "braze_id"];
const SECONDARY: [&str; 2] = ["email", "phone"];
/// Names that no property of an event or purchase may have.
const RESERVED: [&str; 2] = ["time", "event_name"];
/// Characters of a name.
const NAME_CHARACTERS_MAX: usize = 255;

/// Why Braze would refuse the object of `message`, naming the field.
pub(crate) fn object(message: &Message) -> Result<(), String> {
    let bytes = message.payload.len();
    if bytes > OBJECT_BYTES_MAX {
        return Err(format!("object of {bytes} bytes exceeds Braze's limit of {OBJECT_BYTES_MAX}"));
    }
    let value = serde_json::from_str(&message.payload)
        .map_err(|error| format!("the object is not JSON: {error}"))?;
    let Value::Object(object) = value else {
        return Err("the object is not a JSON object".to_owned());
    };
    identifier(&object)?;
    match message.section {
        ATTRIBUTES => attributes(&object),
        EVENTS => {
            name(&object, "name")?;
            time(&object)?;
            properties(&object)
        }
        PURCHASES => {
            name(&object, "product_id")?;
            name(&object, "currency")?;
            if !object.get("price").is_some_and(Value::is_number) {
                return Err("`price` must be a number".to_owned());
            }
            time(&object)?;
            properties(&object)
        }
        section => Err(format!("Braze has no section {}", section.0)),
    }
}

fn identifier(object: &Map<String, Value>) -> Result<(), String> {
    let named = |names: &[&'static str]| -> Vec<&'static str> {
        let given = |name: &&str| object.get(*name).is_some_and(|value| !value.is_null());
        names.iter().copied().filter(given).collect()
    };
    let primary = named(&PRIMARY);
    match (primary.as_slice(), named(&SECONDARY).is_empty()) {
        ([], true) => {
            Err("the object names no user: `external_id` or another identifier is missing"
                .to_owned())
        }
        ([], false) => Ok(()),
        (["user_alias"], _) => alias(object),
        ([one], _) => match object.get(*one).and_then(Value::as_str) {
            Some(text) if !text.trim().is_empty() => Ok(()),
            _ => Err(format!("`{one}` must be a text that is not empty")),
        },
        ([one, other, ..], _) => Err(format!("`{one}` and `{other}` exclude each other")),
    }
}

fn alias(object: &Map<String, Value>) -> Result<(), String> {
    let alias = object.get("user_alias").and_then(Value::as_object);
    let text = |name| alias.and_then(|alias| alias.get(name)).and_then(Value::as_str);
    for part in ["alias_name", "alias_label"] {
        if text(part).is_none_or(|text| text.trim().is_empty()) {
            return Err(format!("`user_alias.{part}` must be a text that is not empty"));
        }
    }
    Ok(())
}

/// An attributes object that says nothing is refused.
fn attributes(object: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in object {
        if let Value::String(text) = value
            && text.chars().count() > NAME_CHARACTERS_MAX
            && PRIMARY.contains(&key.as_str())
        {
            return Err(format!("`{key}` exceeds {NAME_CHARACTERS_MAX} characters"));
        }
        if key.chars().count() > NAME_CHARACTERS_MAX {
            return Err(format!("an attribute's name exceeds {NAME_CHARACTERS_MAX} characters"));
        }
    }
    Ok(())
}

fn name(object: &Map<String, Value>, field: &str) -> Result<(), String> {
    match object.get(field).and_then(Value::as_str) {
        None => Err(format!("`{field}` is required and must be a text")),
        Some(text) if text.trim().is_empty() => Err(format!("`{field}` is empty")),
        Some(text) if text.chars().count() > NAME_CHARACTERS_MAX => {
            Err(format!("`{field}` exceeds {NAME_CHARACTERS_MAX} characters"))
        }
        Some(_) => Ok(()),
    }
}

fn time(object: &Map<String, Value>) -> Result<(), String> {
    let text = object.get("time").and_then(Value::as_str);
    let text = text.ok_or_else(|| "`time` is required and must be a text".to_owned())?;
    match Timestamp::parse_iso(text) {
        Some(_) => Ok(()),
        None => Err(format!("`time` is not an ISO 8601 instant: {text:?}")),
    }
}

fn properties(object: &Map<String, Value>) -> Result<(), String> {
    let properties = match object.get("properties") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(properties)) => properties,
        Some(_) => return Err("`properties` must be an object".to_owned()),
    };
    for (name, value) in properties {
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("`properties.{name}` is a name that Braze reserves"));
        }
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX {
            return Err(format!(
                "a property's name has between 1 and {NAME_CHARACTERS_MAX} characters"
            ));
        }
        if value.as_str().is_some_and(|text| text.chars().count() > NAME_CHARACTERS_MAX) {
            return Err(format!("`properties.{name}` exceeds {NAME_CHARACTERS_MAX} characters"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::destination::{Guarantee, Lane, Section};

    fn check(section: Section, payload: &str) -> String {
        let message = Message {
            lane: Lane(1),
            section,
            name: "any".to_owned(),
            payload: payload.to_owned(),
            guarantee: Guarantee::AtLeastOnce,
        };
        object(&message).err().unwrap_or_else(|| "fine".to_owned())
    }

    #[test]
    fn what_braze_takes_is_fine_and_what_it_refuses_is_named() {
        let event = |rest: &str| {
            check(EVENTS, &format!(r#"{{"external_id":"u","time":"2026-02-03T09:15:02Z"{rest}}}"#))
        };
        let cases = [
            event(r#","name":"Bought","properties":{"total":1}"#),
            event(r#","name":"""#),
            event(""),
            event(r#","name":"Bought","properties":{"time":1}"#),
            event(r#","name":"Bought","braze_id":"b""#),
            check(EVENTS, r#"{"external_id":"u","name":"Bought","time":"yesterday"}"#),
            check(EVENTS, r#"{"name":"Bought"}"#),
            check(EVENTS, "{"),
            check(ATTRIBUTES, r#"{"user_alias":{"alias_name":"a"},"plan":"pro"}"#),
            check(ATTRIBUTES, r#"{"email":"a@example.com","plan":"pro"}"#),
            check(PURCHASES, r#"{"external_id":"u","product_id":"p","currency":"EUR"}"#),
        ];
        insta::assert_snapshot!(cases.join("\n"), @r"");
    }
}
