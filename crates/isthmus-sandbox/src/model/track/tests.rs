use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_789_000_000_000);

/// The refusals of a body, as `array index: reason`.
fn refusals(body: &Value) -> Vec<String> {
    let text = body.to_string();
    let checked = Body::read(text.as_bytes()).expect("usable").check(NOW, |_| None);
    let line = |refusal: &Refusal| {
        format!("{} {}: {}", refusal.array.name(), refusal.index, refusal.reason)
    };
    checked.refusals.iter().map(line).collect()
}

fn event(member: &str, value: Value) -> Value {
    let mut event = json!({"external_id": "u", "name": "Tour Booked", "time": "2026-09-01"});
    event[member] = value;
    event
}

fn purchase(member: &str, value: Value) -> Value {
    let mut purchase = json!({
        "external_id": "u", "product_id": "p", "currency": "EUR", "price": 9.5, "time": "2026-09-01",
    });
    purchase[member] = value;
    purchase
}

#[test]
fn an_object_is_refused_for_the_first_thing_that_is_wrong() {
    let required = "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required";
    for (array, object, reason) in [
        ("events", json!({"name": "x"}), required),
        ("events", json!({"external_id": "u"}), "'name' is required"),
        ("events", event("name", json!(null)), "'name' is required"),
        ("events", event("name", json!("")), "'name' is not valid"),
        ("events", event("name", json!(5)), "'name' is not valid"),
        ("events", event("name", json!("x".repeat(256))), "'name' is not valid"),
        ("events", json!({"external_id": "u", "name": "x"}), "'time' is required"),
        ("events", event("time", json!("yesterday")), "'time' is not valid"),
        ("events", event("time", json!(1_789_000_000)), "'time' is not valid"),
        ("events", event("properties", json!([])), "Invalid 'properties' field"),
        ("events", event("properties", json!({"time": 1})), "Invalid 'properties' field"),
        (
            "events",
            event("_update_existing_only", json!("yes")),
            "'_update_existing_only' is not valid",
        ),
        (
            "events",
            event("user_alias", json!({"alias_name": "a", "alias_label": "l"})),
            "only one of 'external_id', 'braze_id' and 'user_alias' is allowed",
        ),
        ("events", json!("text"), "'events' must be an array of objects"),
        ("events", event("name", json!("ecommerce.order_placed")), "missing_property: 'currency'"),
        ("purchases", purchase("product_id", json!(null)), "'product_id' is required"),
        ("purchases", purchase("price", json!(null)), "'price' is required"),
        ("purchases", purchase("price", json!("9.5")), "'price' is not valid"),
        (
            "purchases",
            purchase("currency", json!("euro")),
            "'currency' must be an ISO 4217 currency",
        ),
        ("purchases", purchase("quantity", json!(0)), "'quantity' is not valid"),
        ("purchases", purchase("quantity", json!(101)), "'quantity' is not valid"),
        ("purchases", purchase("quantity", json!(1.5)), "'quantity' is not valid"),
        ("purchases", purchase("quantity", json!("2")), "'quantity' is not valid"),
        ("purchases", purchase("properties", json!({"price": 1})), "Invalid 'properties' field"),
        ("attributes", json!({"plan": "pro"}), required),
        (
            "attributes",
            json!({"external_id": "u", "email": "nobody"}),
            "The value provided for the 'email' field is not a valid email.",
        ),
        ("attributes", json!({"external_id": "u", "$plan": 1}), "'$plan' is not valid"),
        (
            "attributes",
            json!({"external_id": "u", "push_token_import": true}),
            "BAD_PUSH_TOKEN_IMPORT",
        ),
        ("attributes", json!({"push_token_import": true}), "BAD_PUSH_TOKEN_IMPORT"),
    ] {
        let expected = [format!("{array} 0: {reason}")];
        assert_eq!(refusals(&json!({ array: [object] })), expected, "{object}");
    }
}

#[test]
fn good_objects_beside_bad_ones_are_taken() {
    let body = json!({
        "attributes": [{"external_id": "u", "plan": "pro"}, 5],
        "events": [{"name": "x"}, event("name", json!("Tour Viewed"))],
        "purchases": [purchase("quantity", json!(100))],
        "partner": "anybody",
    });
    let text = body.to_string();
    let checked = Body::read(text.as_bytes()).expect("usable").check(NOW, |_| None);
    let counts = Array::ALL.map(|array| checked.accepted(array));
    assert_eq!((counts, checked.refusals.len()), ([1, 1, 1], 2));
    assert_eq!(checked.purchases[0].quantity, 100);
}

#[test]
fn times_in_the_future_become_the_time_of_receipt() {
    let body = json!({"events": [event("time", json!("2990-01-01T00:00:00Z"))]}).to_string();
    let checked = Body::read(body.as_bytes()).expect("usable").check(NOW, |_| None);
    assert_eq!(checked.events[0].time, NOW);
}

#[test]
fn unusable_bodies_say_why() {
    for body in [&b"{"[..], b"", b"[]", b"5", b"\xff\xfe", b"{\"events\":[}"] {
        assert_eq!(Body::read(body).expect_err("unusable"), Unusable::Syntax);
    }
    let wrong = Body::read(br#"{"events":{}}"#).expect_err("unusable");
    assert_eq!(wrong, Unusable::NotAnArray(Array::Events));
    let empty = Body::read(br#"{"events":[],"attributes":null}"#).expect("usable");
    assert_eq!(empty.objects(LimitMode::Combined), 0);
}

#[test]
fn objects_are_counted_together_or_per_array() {
    let body = br#"{"events":[1,2],"attributes":[3],"purchases":[4,5,6]}"#;
    let objects = |mode| Body::read(body).expect("usable").objects(mode);
    assert_eq!((objects(LimitMode::Combined), objects(LimitMode::Legacy)), (6, 3));
}

#[test]
fn addresses_are_fields_when_another_identifier_decides() {
    let body = json!({"attributes": [{"external_id": "u", "email": "a@b.example", "phone": "+4915112345"}]});
    let text = body.to_string();
    let checked = Body::read(text.as_bytes()).expect("usable").check(NOW, |_| None);
    let members: Vec<_> = checked.attributes[0].members.iter().map(|(name, _)| &**name).collect();
    assert_eq!(members, ["email", "phone"]);
}

/// Texts that look like requests more often than random bytes do.
fn body_like() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("\"external_id\""),
        Just("\"events\""),
        Just("\"attributes\""),
        Just("\"purchases\""),
        Just("\"name\""),
        Just("\"time\""),
        Just("\"2026-09-01\""),
        Just("\"properties\""),
        Just("\"\\ud800\""),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(":"),
        Just(","),
        Just("1e999"),
        Just("null"),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

fn any_object() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(json!("u")),
        Just(json!("2026-09-01")),
        Just(json!("EUR")),
        Just(json!(3)),
        Just(json!(null)),
        Just(json!({"a": [1]})),
        Just(json!(true)),
    ];
    let keys = [
        "external_id",
        "email",
        "braze_id",
        "name",
        "time",
        "product_id",
        "currency",
        "price",
        "quantity",
        "properties",
        "plan",
        "_update_existing_only",
        "push_tokens",
    ];
    proptest::collection::vec((proptest::sample::select(keys.to_vec()), value), 0..8)
        .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        if let Ok(body) = Body::read(&bytes) {
            body.check(NOW, |_| None);
        }
    }

    #[test]
    fn any_text_like_a_request_is_answered(text in body_like()) {
        for text in [text.clone(), format!("{{\"events\":[{{{text}}}]}}")] {
            if let Ok(body) = Body::read(text.as_bytes()) {
                body.check(NOW, |_| None);
            }
        }
    }

    #[test]
    fn every_object_is_either_accepted_or_refused_once(
        attributes in proptest::collection::vec(any_object(), 0..6),
        events in proptest::collection::vec(any_object(), 0..6),
        purchases in proptest::collection::vec(any_object(), 0..6),
    ) {
        let sent = attributes.len() + events.len() + purchases.len();
        let body = json!({"attributes": attributes, "events": events, "purchases": purchases});
        let text = body.to_string();
        let checked = Body::read(text.as_bytes()).expect("usable").check(NOW, |_| None);
        prop_assert_eq!(checked.accepted_total() + checked.refusals.len(), sent);
    }
}
