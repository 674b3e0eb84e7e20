//! What Braze is certain to refuse of one object, told without asking Braze.
//!
//! Only what `/users/track` answers with an error counts ("User track endpoint" and the pages of
//! its three objects, Braze documentation, read 2026-09). What it drops or changes without an error
//! is left to it: strings of more than 255 characters, properties beyond the 256th, times in the
//! future, attributes that are nested wrongly, an object that says nothing of its user. So are the
//! schemas of its recommended e-commerce events.

mod instant;
mod standard;
#[cfg(test)]
mod tests;

use crate::calls::{
    ATTRIBUTES, DELETE_ALIASES, DELETE_BRAZE_IDS, DELETE_EMAILS, DELETE_EXTERNAL_IDS, EVENTS,
    IDENTIFY, PURCHASES,
};
use crate::track::{OBJECT_BYTES_MAX, too_large};
use crate::value::CHARACTERS_MAX;
use isthmus_core::destination::Message;
use serde_json::{Map, Value};

/// Identifiers of which an object has at most one.
pub(crate) const PRIMARY: [&str; 3] = ["external_id", "user_alias", "braze_id"];
/// Has nested objects merged into what is there instead of replacing it.
pub(crate) const MERGE_OBJECTS: &str = "_merge_objects";
/// Longest `external_id` ("User attributes object", read 2026-09).
const EXTERNAL_ID_BYTES_MAX: usize = 987;
/// Names that no property of an event may have ("Custom event properties object", read 2026-09).
const RESERVED_BY_EVENTS: &[&str] = &["time", "event_name"];
/// Names that no property of a purchase may have ("Purchase object", read 2026-09).
const RESERVED_BY_PURCHASES: &[&str] =
    &["time", "event_name", "product_id", "quantity", "price", "currency"];
/// Most pieces of one product in a purchase (same page).
const QUANTITY_MAX: u64 = 100;
/// Characters of an over-long name that are shown.
const NAME_CHARACTERS_SHOWN: usize = 20;

pub(crate) type Object = Map<String, Value>;

/// Why Braze would refuse the object of `message`, naming the field.
pub(crate) fn object(message: &Message) -> Result<(), String> {
    let bytes = message.payload.len();
    if bytes > OBJECT_BYTES_MAX {
        return Err(too_large(bytes));
    }
    let value = serde_json::from_str(&message.payload)
        .map_err(|error| format!("the object is not JSON: {error}"))?;
    let Value::Object(object) = value else {
        return Err("the object is not a JSON object".to_owned());
    };
    match message.section {
        ATTRIBUTES => {
            identifier(&object)?;
            attributes(&object)
        }
        EVENTS => {
            identifier(&object)?;
            name(&object, "name")?;
            time(&object)?;
            properties(&object, RESERVED_BY_EVENTS)
        }
        PURCHASES => {
            identifier(&object)?;
            name(&object, "product_id")?;
            currency(&object)?;
            price(&object)?;
            time(&object)?;
            quantity(&object)?;
            properties(&object, RESERVED_BY_PURCHASES)
        }
        IDENTIFY => {
            only(&object, &["external_id", "user_alias"])?;
            external_id(required(&object, "external_id")?)?;
            alias(required(&object, "user_alias")?)
        }
        DELETE_EXTERNAL_IDS => {
            only(&object, &["external_id"])?;
            external_id(required(&object, "external_id")?)
        }
        DELETE_ALIASES => {
            only(&object, &["user_alias"])?;
            alias(required(&object, "user_alias")?)
        }
        DELETE_BRAZE_IDS => {
            only(&object, &["braze_id"])?;
            text(required(&object, "braze_id")?, "braze_id").map(drop)
        }
        DELETE_EMAILS => {
            only(&object, &["email", "prioritization"])?;
            standard::email(required(&object, "email")?)?;
            prioritization(required(&object, "prioritization")?)
        }
        section => Err(format!("Braze has no section {}", section.0)),
    }
}

/// An object that names people has no room for anything else: what is beside it would be lost.
fn only(object: &Object, fields: &[&str]) -> Result<(), String> {
    match object.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(other) => Err(format!("`{other}` has no meaning here")),
        None => Ok(()),
    }
}

/// Which of those that share an address is meant ("Delete users endpoint", read 2026-09).
fn prioritization(value: &Value) -> Result<(), String> {
    let words = ["identified", "unidentified", "most_recently_updated"];
    let known = |word: &Value| word.as_str().is_some_and(|word| words.contains(&word));
    match value.as_array() {
        Some(list) if !list.is_empty() && list.iter().all(known) => Ok(()),
        _ => Err(format!("`prioritization` must be a list of {}", words.join(", "))),
    }
}

/// The value of `field`; a null is none.
pub(crate) fn given<'o>(object: &'o Object, field: &str) -> Option<&'o Value> {
    object.get(field).filter(|value| !value.is_null())
}

fn required<'o>(object: &'o Object, field: &str) -> Result<&'o Value, String> {
    given(object, field).ok_or_else(|| format!("`{field}` is required"))
}

/// One of the primary identifiers decides; without one the email, and then the phone.
fn identifier(object: &Object) -> Result<(), String> {
    let primary: Vec<_> = PRIMARY
        .into_iter()
        .filter_map(|field| given(object, field).map(|value| (field, value)))
        .collect();
    match primary.as_slice() {
        [(one, _), (other, _), ..] => Err(format!("`{one}` and `{other}` exclude each other")),
        [("external_id", value)] => external_id(value),
        [("user_alias", value)] => alias(value),
        [(field, value)] => text(value, field).map(drop),
        [] => match (given(object, "email"), given(object, "phone")) {
            (Some(email), _) => standard::email(email),
            (None, Some(_)) => Ok(()),
            // The tokens of somebody who is not known yet.
            (None, None) if given(object, "push_token_import") == Some(&Value::Bool(true)) => Ok(()),
            (None, None) => Err(
                "the object names no user: `external_id`, `user_alias`, `braze_id`, `email` or `phone` is required"
                    .to_owned(),
            ),
        },
    }
}

/// Text; a whole number is passed over, because published clients send some.
fn external_id(value: &Value) -> Result<(), String> {
    if value.is_i64() || value.is_u64() {
        return Ok(());
    }
    let bytes = text(value, "external_id")?.len();
    if bytes > EXTERNAL_ID_BYTES_MAX {
        return Err(format!(
            "`external_id` has {bytes} bytes; Braze takes {EXTERNAL_ID_BYTES_MAX}"
        ));
    }
    Ok(())
}

fn alias(value: &Value) -> Result<(), String> {
    for part in ["alias_name", "alias_label"] {
        text(value.get(part).unwrap_or(&Value::Null), &format!("user_alias.{part}"))?;
    }
    Ok(())
}

fn attributes(object: &Object) -> Result<(), String> {
    for (name, value) in object {
        standard::attribute(name, value)?;
        member_name(name, "attribute")?;
    }
    Ok(())
}

/// Something, and of at most 255 characters.
fn name(object: &Object, field: &str) -> Result<(), String> {
    let characters = text(required(object, field)?, field)?.chars().count();
    if characters > CHARACTERS_MAX {
        return Err(format!("`{field}` has {characters} characters; Braze takes {CHARACTERS_MAX}"));
    }
    Ok(())
}

/// Whether `text` is a time in one of the formats that Braze reads.
pub(crate) fn is_time(text: &str) -> bool {
    instant::is_one(text)
}

fn time(object: &Object) -> Result<(), String> {
    let at = text(required(object, "time")?, "time")?;
    if is_time(at) {
        return Ok(());
    }
    Err(format!("`time` is not a time that Braze reads: {at:?}"))
}

/// Three letters; whether they are a currency is left to Braze.
fn currency(object: &Object) -> Result<(), String> {
    let code = text(required(object, "currency")?, "currency")?;
    if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Ok(());
    }
    Err(format!("`currency` is not an ISO 4217 currency: {code:?}"))
}

fn price(object: &Object) -> Result<(), String> {
    if required(object, "price")?.is_number() {
        return Ok(());
    }
    Err("`price` must be a number".to_owned())
}

fn quantity(object: &Object) -> Result<(), String> {
    match given(object, "quantity") {
        None => Ok(()),
        Some(value)
            if value.as_u64().is_some_and(|pieces| (1..=QUANTITY_MAX).contains(&pieces)) =>
        {
            Ok(())
        }
        Some(_) => Err(format!("`quantity` must be a whole number from 1 to {QUANTITY_MAX}")),
    }
}

fn properties(object: &Object, reserved: &[&str]) -> Result<(), String> {
    let Some(properties) = given(object, "properties") else { return Ok(()) };
    let Value::Object(properties) = properties else {
        return Err("`properties` must be an object".to_owned());
    };
    for name in properties.keys() {
        if reserved.contains(&name.as_str()) {
            return Err(format!("`properties.{name}` has a name that Braze reserves"));
        }
        member_name(name, "property")?;
    }
    Ok(())
}

/// What an attribute or a property may be called.
fn member_name(name: &str, what: &str) -> Result<(), String> {
    let characters = name.chars().count();
    if name.is_empty() {
        return Err(format!("an empty name is no {what}"));
    }
    if name.starts_with('$') {
        return Err(format!("{what} `{name}` starts with `$`"));
    }
    if characters > CHARACTERS_MAX {
        let head: String = name.chars().take(NAME_CHARACTERS_SHOWN).collect();
        return Err(format!(
            "{what} `{head}…` has a name of {characters} characters; Braze takes {CHARACTERS_MAX}"
        ));
    }
    Ok(())
}

/// The text of `field`, which may not be empty.
fn text<'v>(value: &'v Value, field: &str) -> Result<&'v str, String> {
    match value.as_str() {
        Some("") => Err(format!("`{field}` is empty")),
        Some(text) => Ok(text),
        None => Err(format!("`{field}` must be a text")),
    }
}
