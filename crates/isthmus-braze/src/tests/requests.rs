//! What is sent: bodies, headers, joined objects.

use super::*;
use insta::assert_snapshot;
use isthmus_core::destination::Destination;
use isthmus_core::seam::{Method, Request};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

fn body(request: &Request) -> String {
    String::from_utf8(request.body.to_vec()).expect("text")
}

/// The body for `batch`, and how many objects it holds.
fn encoded(batch: &[Delivery]) -> (String, usize) {
    let encoded = braze().encode(batch).expect("can be encoded");
    (body(&encoded.request), encoded.objects)
}

#[test]
fn a_request_has_the_key_in_its_header_and_nowhere_else() {
    let batch = [delivery("u", 1, r#"{"external_id":"u","name":"a","time":"t"}"#)];
    let request = braze().encode(&batch).expect("can be encoded").request;
    assert_eq!(request.method, Method::Post);
    assert_eq!(request.url, "https://rest.iad-05.braze.com/users/track");
    assert_eq!(request.headers["authorization"], "Bearer secret-key");
    assert!(request.headers["authorization"].is_sensitive());
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers.len(), 2);
    assert_eq!(request.timeout, Duration::from_secs(30));
    assert!(!format!("{request:?} {}", body(&request)).contains("secret-key"));
}

#[test]
fn sections_become_arrays_and_empty_ones_are_left_out() {
    let batch = [
        delivery("b", 1, r#"{"external_id":"b","name":"x"}"#),
        delivery("a", 0, r#"{"external_id":"a","plan":"pro"}"#),
        delivery("c", 2, r#"{"external_id":"c","product_id":"p"}"#),
        delivery("a", 1, r#"{"external_id":"a","name":"y"}"#),
    ];
    assert_snapshot!(encoded(&batch).0, @r#"{"attributes":[{"external_id":"a","plan":"pro"}],"events":[{"external_id":"b","name":"x"},{"external_id":"a","name":"y"}],"purchases":[{"external_id":"c","product_id":"p"}]}"#);
    assert_snapshot!(encoded(&batch[..1]).0, @r#"{"events":[{"external_id":"b","name":"x"}]}"#);
}

#[test]
fn attributes_of_one_user_are_joined_and_the_later_value_wins() {
    let batch = [
        delivery("a", 0, r#"{"external_id":"a","plan":"free","seats":1}"#),
        delivery("b", 0, r#"{"external_id":"b","plan":"team"}"#),
        delivery("a", 0, r#"{"external_id":"a","plan":"pro","city \"x\"":null}"#),
    ];
    let (body, objects) = encoded(&batch);
    assert_snapshot!(body, @r#"{"attributes":[{"external_id":"a","plan":"pro","seats":1,"city \"x\"":null},{"external_id":"b","plan":"team"}]}"#);
    assert_eq!(objects, 2);
}

#[test]
fn a_joined_object_may_create_its_user_if_any_part_may() {
    let join = |first: &str, second: &str| {
        let object = |flag: &str, key: &str| {
            delivery("a", 0, &format!(r#"{{"external_id":"a"{flag},"{key}":1}}"#))
        };
        encoded(&[object(first, "x"), object(second, "y")]).0
    };
    let only = r#","_update_existing_only":true"#;
    let create = r#","_update_existing_only":false"#;
    assert_snapshot!(join(only, only), @r#"{"attributes":[{"external_id":"a","_update_existing_only":true,"x":1,"y":1}]}"#);
    assert_snapshot!(join(only, create), @r#"{"attributes":[{"external_id":"a","_update_existing_only":false,"x":1,"y":1}]}"#);
    assert_snapshot!(join("", only), @r#"{"attributes":[{"external_id":"a","x":1,"y":1}]}"#);
}

#[test]
fn users_whose_lanes_are_equal_by_chance_stay_apart() {
    let batch = [
        delivery("same", 0, r#"{"external_id":"a","plan":"free"}"#),
        delivery("same", 0, r#"{"external_id":"b","plan":"pro"}"#),
    ];
    assert_eq!(encoded(&batch).1, 2);
}

#[test]
fn joining_stops_where_the_object_would_be_too_large() {
    let large = |key: &str| format!(r#"{{"external_id":"a","{key}":[{}1]}}"#, "1,".repeat(30_000));
    let batch = [
        delivery("a", 0, &large("x")),
        delivery("a", 0, &large("y")),
        delivery("a", 0, r#"{"external_id":"a","z":1}"#),
    ];
    let (body, objects) = encoded(&batch);
    assert_eq!(objects, 2);
    assert!(body.ends_with(r#""z":1}]}"#));
}

#[test]
fn a_section_that_braze_does_not_have_is_an_error() {
    let error = braze().encode(&[delivery("a", 9, "{}")]).expect_err("no such section");
    assert_snapshot!(error.to_string(), @"batch cannot be encoded: Braze has no section 9");
}

#[test]
fn the_probe_holds_no_object() {
    let probe = braze().probe();
    assert_eq!((probe.method, body(&probe)), (Method::Post, "{}".to_owned()));
    assert_eq!(probe.headers["authorization"], "Bearer secret-key");
}

/// A batch as the engine makes them: a lane's sections never descend.
fn any_batch() -> impl Strategy<Value = Vec<Delivery>> {
    let message = (0u8..4, 0u8..2, 0u8..4);
    proptest::collection::vec(message, 1..40).prop_map(|messages| {
        let mut events_began = [false; 4];
        messages
            .into_iter()
            .enumerate()
            .map(|(number, (user, section, key))| {
                let began = &mut events_began[usize::from(user)];
                *began |= section == 1;
                let lane = format!("external_id:u{user}");
                if *began {
                    let payload = format!(r#"{{"external_id":"u{user}","name":"e","n":{number}}}"#);
                    delivery(&lane, 1, &payload)
                } else {
                    let payload = format!(r#"{{"external_id":"u{user}","k{key}":{number}}}"#);
                    delivery(&lane, 0, &payload)
                }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_reader_of_the_body_finds_every_message_in_the_order_of_its_lane(batch in any_batch()) {
        let (body, objects) = encoded(&batch);
        let body: Value = serde_json::from_str(&body).expect("valid JSON");
        let array = |name: &str| body[name].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(array("attributes").len() + array("events").len(), objects);

        let events: Vec<Value> = batch
            .iter()
            .filter(|delivery| delivery.message.section == Section(1))
            .map(|delivery| serde_json::from_str(&delivery.message.payload).expect("valid"))
            .collect();
        prop_assert_eq!(array("events"), events);

        let mut users: BTreeMap<String, serde_json::Map<String, Value>> = BTreeMap::new();
        for delivery in batch.iter().filter(|delivery| delivery.message.section == Section(0)) {
            let object: Value = serde_json::from_str(&delivery.message.payload).expect("valid");
            let user = object["external_id"].as_str().expect("text").to_owned();
            users.entry(user).or_default().extend(object.as_object().expect("an object").clone());
        }
        let sent: BTreeMap<String, _> = array("attributes")
            .into_iter()
            .map(|object| {
                let user = object["external_id"].as_str().expect("text").to_owned();
                (user, object.as_object().expect("an object").clone())
            })
            .collect();
        prop_assert_eq!(sent.len(), array("attributes").len(), "one object per user");
        prop_assert_eq!(sent, users);
    }
}
