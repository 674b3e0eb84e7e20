//! An event of each type, with every field that the type can have, in both forms.

use crate::container::{Codec, Container, push_record, schema};
use isthmus_braze::currents::catalogue::{self, EventType};
use isthmus_braze::currents::{Form, Received, StorageReader, appear, read_batch};
use serde_json::{Map, Value, json};

pub(crate) const OWN: &str =
    r#"{"plan":"gold","seats":3,"tags":["a","b"],"deep":{"x":[null,1.5]}}"#;

/// What the event says in `field`.
fn value(about: &EventType, field: &str) -> Value {
    let kind = about.storage.get(field).map(|kind| kind.trim_end_matches('?'));
    let elsewhere = || catalogue::all().find_map(|other| other.storage.get(field));
    let kind = kind.or_else(|| elsewhere().map(|kind| kind.trim_end_matches('?')));
    match (field, kind.unwrap_or("string")) {
        ("id", _) => json!(format!("id of {}", about.event_type)),
        ("time", _) => json!(1_767_258_000),
        ("platform", _) => json!("ios"),
        ("ad_id_type", _) => {
            json!(if about.event_type.len().is_multiple_of(2) {
                "ios_idfa"
            } else {
                "google_ad_id"
            })
        }
        ("custom_properties" | "purchase_properties", _) => serde_json::from_str(OWN).unwrap(),
        ("canvas_step_message_variation_id" | "canvas_step_message_variation_api_id", _) => {
            json!("the variation of the step")
        }
        ("properties", _) if about.own_properties.is_some() => json!(OWN),
        (_, "int" | "long") => json!(7),
        (_, "float") => json!(3.14),
        (_, "double") => json!(2.5),
        (_, "boolean") => json!(true),
        (_, "array<string>" | "array<string?>") => json!(["a", "b"]),
        _ => json!(format!("the {field}")),
    }
}

/// As it is posted; `None` for a type that is only stored.
pub(crate) fn posted(about: &EventType) -> Option<Value> {
    let http = about.http.as_ref()?;
    let object = |names: &[String]| -> Map<String, Value> {
        names.iter().map(|name| (name.clone(), value(about, name))).collect()
    };
    Some(json!({
        "event_type": about.event_type, "id": value(about, "id"), "time": value(about, "time"),
        "user": object(&http.user), "properties": object(&http.properties),
    }))
}

/// As it is stored.
pub(crate) fn stored(about: &EventType) -> Value {
    about.storage.keys().map(|name| (name.clone(), value(about, name))).collect()
}

/// Reads one posted event.
pub(crate) fn read_posted(event: &Value) -> Received<'static> {
    let body = json!({"events": [event]}).to_string();
    let mut batch = read_batch(body.as_bytes()).expect("a batch");
    batch.remove(0).expect("an event").into_owned()
}

/// Writes `record` to a file of its type and reads that.
pub(crate) fn read_stored(about: &EventType, record: &Value, codec: Codec) -> Received<'static> {
    let schema = schema(&about.event_type, about.storage.iter());
    let mut bytes = Vec::new();
    push_record(&mut bytes, about.storage.iter(), record);
    let file = Container::new(&schema, codec).block(1, &bytes).bytes;
    let mut reader = StorageReader::open(file.as_slice(), None).expect("a file");
    let event = reader.next().expect("one event").expect("a good one");
    assert!(reader.next().is_none());
    event
}

/// What Amplitude is shown.
pub(crate) fn upload(event: &Received<'_>, form: &Form) -> Value {
    serde_json::from_str(&appear(event, form).upload(event)).expect("JSON")
}
