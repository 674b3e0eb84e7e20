//! What a message knows: the user, what happened, and the time.

use super::source::STANDARD;
use crate::model::User;
use isthmus_core::Timestamp;
use liquid_core::model::{KString, Object, Value};

/// The variable that holds the time in epoch seconds, for dates that are `now`.
pub(super) const NOW: &str = "braze_now";

/// Standard attributes as messages name them, and as profiles do ("Supported personalization
/// tags", Braze documentation, read 2026-09).
const FIELDS: [(&str, &str); 10] = [
    ("email_address", "email"),
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("city", "home_city"),
    ("country", "country"),
    ("date_of_birth", "dob"),
    ("gender", "gender"),
    ("language", "language"),
    ("phone_number", "phone"),
    ("time_zone", "time_zone"),
];

/// Whether `${name}` has a value in the sandbox, for some users at least.
pub(super) fn is_standard(name: &str) -> bool {
    ["user_id", "braze_id"].contains(&name) || FIELDS.iter().any(|(known, _)| *known == name)
}

/// Everything that a message about `user` can name; of nobody, if there is none.
pub(super) fn globals(
    user: Option<&User>,
    event_properties: &serde_json::Map<String, serde_json::Value>,
    now: Timestamp,
) -> Object {
    let mut standard = Object::new();
    let mut custom = Object::new();
    if let Some(user) = user {
        standard.insert("braze_id".into(), Value::scalar(user.braze_id.clone()));
        if let Some(id) = &user.external_id {
            standard.insert("user_id".into(), Value::scalar(id.clone()));
        }
        for (name, field) in FIELDS {
            if let Some(value) = user.standard.get(field) {
                standard.insert(name.into(), to_liquid(value));
            }
        }
        custom = object(&user.custom);
    }
    let mut globals = Object::new();
    globals.insert(STANDARD.into(), Value::Object(standard));
    globals.insert("custom_attribute".into(), Value::Object(custom));
    globals.insert("event_properties".into(), Value::Object(object(event_properties)));
    globals.insert(NOW.into(), Value::scalar((now.as_millis() / 1_000).to_string()));
    globals
}

fn object(map: &serde_json::Map<String, serde_json::Value>) -> Object {
    map.iter().map(|(key, value)| (KString::from_ref(key), to_liquid(value))).collect()
}

/// JSON as Liquid holds it. A number that is no 64-bit integer becomes a float.
pub(super) fn to_liquid(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::scalar(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::scalar(whole),
            (None, Some(float)) => Value::scalar(float),
            (None, None) => Value::scalar(number.to_string()),
        },
        serde_json::Value::String(text) => Value::scalar(text.clone()),
        serde_json::Value::Array(values) => Value::Array(values.iter().map(to_liquid).collect()),
        serde_json::Value::Object(map) => Value::Object(object(map)),
    }
}
