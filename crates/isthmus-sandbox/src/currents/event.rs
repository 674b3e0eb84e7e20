//! One exported event, and its form by HTTP.

use super::catalogue::{Form, Kind, USER_FIELDS};
use isthmus_core::Timestamp;
use serde_json::{Map, Value};

/// An event of one type with what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) kind: &'static Kind,
    /// Unique; by this a receiver recognises a repeat.
    pub(crate) id: String,
    pub(crate) time: Timestamp,
    /// Fields of both forms but for `id` and `time`. What is null is left out.
    pub(super) facts: Map<String, Value>,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Event {
    /// An event of `kind` with those of `facts` that events of this type have.
    pub(crate) fn new(
        kind: &'static Kind,
        id: String,
        time: Timestamp,
        facts: &Map<String, Value>,
    ) -> Self {
        let known = kind.fields.iter().filter_map(|field| {
            let value = facts.get(field.name).filter(|value| !value.is_null())?;
            Some((field.name.to_owned(), value.clone()))
        });
        let mut event = Self { kind, id, time, facts: known.collect() };
        event.complete();
        event
    }

    /// Files have as text what HTTP has as an object.
    fn complete(&mut self) {
        for name in ["custom_properties", "purchase_properties"] {
            if let Some(object) = self.facts.get(name) {
                let text = Value::from(object.to_string());
                self.facts.insert("properties".to_owned(), text);
            }
        }
    }

    /// Whole seconds since 1970, UTC.
    pub(super) fn seconds(&self) -> i64 {
        self.time.as_millis().div_euclid(1_000)
    }

    /// The form of a batch: `user` and `properties`.
    pub(crate) fn to_http(&self) -> Value {
        let (mut user, mut properties) = (Map::new(), Map::new());
        for field in self.kind.fields.iter().filter(|field| field.in_http) {
            let Some(value) = self.facts.get(field.name) else { continue };
            let side = if USER_FIELDS.contains(&field.name) { &mut user } else { &mut properties };
            side.insert(field.name.to_owned(), value.clone());
        }
        serde_json::json!({
            "event_type": self.kind.name,
            "id": self.id,
            "time": self.seconds(),
            "user": user,
            "properties": properties,
        })
    }

    /// Whether its form by HTTP takes more than `bytes`.
    pub(super) fn is_larger_than(&self, bytes: usize) -> bool {
        // No byte of a text takes more than six in JSON, and nothing else takes as many as these.
        const OVERHEAD: usize = 4 << 10;
        let most: usize = self.facts.values().map(bytes_of).sum();
        most.saturating_mul(6) + OVERHEAD > bytes && self.to_http().to_string().len() > bytes
    }

    /// Required fields of either form that it lacks.
    #[cfg(test)]
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let required = self.kind.fields.iter().filter(|field| !field.nullable);
        let required =
            required.map(|field| field.name).filter(|name| !["id", "time"].contains(name));
        required.filter(|name| !self.facts.contains_key(*name)).collect()
    }

    /// Changes every text of the field `name`, wherever it is.
    pub(super) fn change_text(&mut self, name: &str, change: impl Fn(&str) -> String) {
        let is_text = |form| matches!(form, Form::Text);
        let known = self.kind.fields.iter().any(|field| field.name == name && is_text(field.form));
        if known && let Some(Value::String(text)) = self.facts.get_mut(name) {
            *text = change(text);
        }
    }
}

/// A number that is near the bytes of a value, and not below a sixth of them.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 4,
        Value::Array(values) => values.iter().map(bytes_of).sum::<usize>() + 4,
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.len() + 4 + bytes_of(value)).sum::<usize>() + 4
        }
        _ => 24,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_has_the_fields_of_its_type_alone() {
        let kind = Kind::of("users.messages.email.Delivery").expect("the type");
        let facts = json!({
            "user_id": "b", "external_user_id": "u", "timezone": null, "email_address": "a@b.test",
            "campaign_id": "c", "machine_open": "true", "product_id": "no",
        });
        let facts = facts.as_object().expect("an object");
        let event = Event::new(kind, "e".to_owned(), Timestamp::from_millis(1_999), facts);
        assert_eq!(
            event.to_http(),
            json!({
                "event_type": "users.messages.email.Delivery", "id": "e", "time": 1,
                "user": {"user_id": "b", "external_user_id": "u"},
                "properties": {"email_address": "a@b.test", "campaign_id": "c"},
            })
        );
    }

    #[test]
    fn properties_of_a_custom_event_are_an_object_by_http() {
        let kind = Kind::of("users.behaviors.CustomEvent").expect("the type");
        let facts = json!({"user_id": "b", "name": "n", "custom_properties": {"a": [1]}});
        let facts = facts.as_object().expect("an object");
        let event = Event::new(kind, "e".to_owned(), Timestamp::default(), facts);
        let http = event.to_http();
        assert_eq!(http["properties"], json!({"name": "n", "custom_properties": {"a": [1]}}));
        assert_eq!(event.facts["properties"], json!("{\"a\":[1]}"));
    }
}
