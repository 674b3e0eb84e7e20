use super::*;
use crate::tests::braze;
use insta::assert_snapshot;
use isthmus_core::Timestamp;
use proptest::prelude::*;
use serde_json::json;

const EXPORT: &str = include_str!("../fixtures/export.json");

fn id(id: &str) -> Person {
    Person::ExternalId(id.to_owned())
}

fn device(name: &str) -> Person {
    Person::Alias { name: name.to_owned(), label: "amplitude_device".to_owned() }
}

fn judged(asked: &[Person], status: u16, body: &str) -> Result<Exported, ExportError> {
    let reply = Reply {
        status,
        headers: http::HeaderMap::new(),
        body: body.to_owned().into(),
        received_at: Timestamp::from_millis(0),
    };
    braze().judge_export(asked, &reply)
}

#[test]
fn a_request_asks_for_fifty_people_and_the_fields_that_hold_the_attributes() {
    let request = braze().export(
        &[id("u \"1\""), device("d-1"), id("u-2")],
        &["plan", "email", "seats", "current_location", "email"],
    );
    assert_eq!(request.url, "https://rest.iad-05.braze.com/users/export/ids");
    assert_snapshot!(String::from_utf8_lossy(&request.body), @r#"{"external_ids":["u \"1\"","u-2"],"user_aliases":[{"alias_name":"d-1","alias_label":"amplitude_device"}],"fields_to_export":["external_id","user_aliases","custom_attributes","email"]}"#);
    let many: Vec<_> = (0..60).map(|n| id(&format!("u-{n}"))).collect();
    let body: Value = serde_json::from_slice(&braze().export(&many, &[]).body).unwrap();
    assert_eq!(body["external_ids"].as_array().map(Vec::len), Some(PEOPLE_MAX));
    assert_eq!(body["fields_to_export"], json!(["external_id", "user_aliases"]));
}

#[test]
fn an_answer_is_told_by_the_names_that_were_asked_for() {
    let asked = [
        id("u-1042"),
        device("a9f3-77"),
        device("b1"),
        id("u-unknown"),
        id("u-renamed"),
        device("gone"),
    ];
    let exported = judged(&asked, 201, EXPORT).unwrap();
    assert_snapshot!(format!("{exported:#?}"), @r#"
    Exported {
        known: {
            ExternalId(
                "u-1042",
            ): {
                "big": "12345678901234567890123",
                "email": "\"ines@example.test\"",
                "email_subscribe": "\"opted_in\"",
                "favorite_tags": "[\"trail\"]",
                "first_name": "\"Ines\"",
                "plan": "\"pro\"",
                "seats": "4.0",
            },
            Alias {
                name: "a9f3-77",
                label: "amplitude_device",
            }: {
                "big": "12345678901234567890123",
                "email": "\"ines@example.test\"",
                "email_subscribe": "\"opted_in\"",
                "favorite_tags": "[\"trail\"]",
                "first_name": "\"Ines\"",
                "plan": "\"pro\"",
                "seats": "4.0",
            },
            Alias {
                name: "b1",
                label: "amplitude_device",
            }: {},
        },
        unknown: {
            ExternalId(
                "u-unknown",
            ),
        },
        unclear: {
            ExternalId(
                "u-renamed",
            ),
            Alias {
                name: "gone",
                label: "amplitude_device",
            },
        },
    }
    "#);
}

#[test]
fn an_alias_that_is_not_there_is_known_by_its_object_or_its_name() {
    let asked = [device("d-1"), device("d-2"), id("d-1")];
    let body = r#"{"message":"success","users":[],"invalid_user_ids":[{"alias_name":"d-1","alias_label":"amplitude_device"},"d-2",7]}"#;
    let exported = judged(&asked, 200, body).unwrap();
    assert_eq!(exported.unknown, [device("d-1"), device("d-2")].into());
    assert_eq!(exported.unclear, [id("d-1")].into());
}

#[test]
fn what_is_no_answer_says_who_acts() {
    let said = [
        (429, ""),
        (503, "down"),
        (200, "<html>"),
        (200, r#"{"message":"success"}"#),
        (401, r#"{"message":"Invalid API Key"}"#),
        (403, ""),
        (
            400,
            r#"{"message":"The max number of external_ids and aliases per request was exceeded"}"#,
        ),
    ]
    .map(|(status, body)| match judged(&[id("u")], status, body) {
        Ok(exported) => format!("{exported:?}"),
        Err(error) => error.to_string(),
    });
    assert_snapshot!(said.join("\n"), @r#"
    not now: 429: 
    not now: 503: down
    not now: 200 without users: <html>
    not now: 200 without users: {"message":"success"}
    401: the REST API key is unknown to this endpoint, or lacks the permission users.export.ids: {"message":"Invalid API Key"}
    403: the key lacks the permission users.export.ids, its IP allowlist excludes us, or the endpoint is wrong: 
    400: the endpoint refuses the request: {"message":"The max number of external_ids and aliases per request was exceeded"}
    "#);
}

proptest! {
    #[test]
    fn everybody_who_was_asked_for_is_in_one_place(body: String, users in prop::collection::vec("[a-c]", 0..4), gone in prop::collection::vec("[a-c]", 0..4)) {
        let asked = [id("a"), id("b"), device("c")];
        drop(judged(&asked, 200, &body));
        let users: Vec<_> = users
            .iter()
            .map(|name| json!({
                "external_id": name,
                "user_aliases": [{"alias_name": name, "alias_label": "amplitude_device"}],
            }))
            .collect();
        let body = json!({"message": "success", "users": users, "invalid_user_ids": gone});
        let told = judged(&asked, 200, &body.to_string()).unwrap();
        prop_assert_eq!(told.known.len() + told.unknown.len() + told.unclear.len(), asked.len());
    }
}

#[test]
fn attributes_that_braze_never_tells_are_known() {
    assert_eq!(field_of("plan"), Some("custom_attributes"));
    assert_eq!(field_of("dob"), Some("dob"));
    assert_eq!(field_of("current_location"), None);
    assert!(EXPORTED_FIELDS.iter().all(|field| STANDARD_FIELDS.contains(field)));
}
