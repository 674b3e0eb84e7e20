//! Braze's endpoints: statuses, bodies and headers, as documented.

use crate::{with, with_default};
use isthmus_sandbox::{AccessKey, LimitMode, RateProfile, Rates, SandboxConfig};
use serde_json::{Value, json};
use std::time::Duration;

fn event(id: impl Into<Value>) -> Value {
    json!({"external_id": id.into(), "name": "Tour Booked", "time": "2026-09-01T08:31:07.412Z"})
}

fn events(count: usize) -> Value {
    json!({ "events": (0..count).map(|at| event(format!("u-{at}"))).collect::<Vec<_>>() })
}

#[tokio::test]
async fn success_counts_only_what_was_sent() {
    with_default(async |bench| {
        let body = json!({
            "attributes": [{"external_id": "u-1", "plan": "pro"}, {"external_id": 42, "plan": "pro"}],
            "events": [event("u-1")],
            "purchases": [],
        });
        let reply = bench.client.post("/users/track", &body).await;
        let expected = json!({"message": "success", "attributes_processed": 2, "events_processed": 1});
        assert_eq!((reply.status, reply.json()), (201, expected));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert!(bench.handle.user("42").is_some());
    })
    .await;
}

#[tokio::test]
async fn partial_failure_names_array_and_index() {
    with_default(async |bench| {
        let body = json!({"events": [event("u-1"), {"name": "Tour Viewed", "time": "2026-09-01"}]});
        let reply = bench.client.post("/users/track", &body).await;
        let expected = json!({
            "message": "success",
            "events_processed": 1,
            "errors": [{
                "type": "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required",
                "input_array": "events",
                "index": 1,
            }],
        });
        assert_eq!((reply.status, reply.json()), (201, expected));
    })
    .await;
}

#[tokio::test]
async fn nothing_valid_is_a_400_with_the_reasons() {
    with_default(async |bench| {
        let purchase = json!({"external_id": "u", "product_id": "p", "currency": "EUR", "price": 1,
            "quantity": 0, "time": "2026-09-01"});
        let reply = bench.client.post("/users/track", &json!({ "purchases": [purchase] })).await;
        let message =
            "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields.";
        let errors =
            json!([{"type": "'quantity' is not valid", "input_array": "purchases", "index": 0}]);
        assert_eq!(
            (reply.status, reply.json()),
            (400, json!({"message": message, "errors": errors}))
        );
        for empty in [json!({}), json!({"events": []}), json!({"events": null, "partner": "x"})] {
            let reply = bench.client.post("/users/track", &empty).await;
            assert_eq!((reply.status, reply.json()), (400, json!({ "message": message })));
        }
    })
    .await;
}

#[tokio::test]
async fn keys_open_their_workspace_and_nothing_else() {
    let reader = AccessKey {
        permissions: vec!["users.export.ids".to_owned()],
        ..AccessKey::new("reader", "shop")
    };
    let keys = vec![AccessKey::new("shop-key", "shop"), AccessKey::new("blog-key", "blog"), reader];
    with(SandboxConfig { keys, ..SandboxConfig::default() }, async |bench| {
        let status = async |key: &str, path: &str, body: Value| {
            let reply = bench.client.post_as(key, path, &body).await.expect("an answer");
            (reply.status, reply.json())
        };
        let (code, body) = status("wrong", "/users/track", events(1)).await;
        assert_eq!((code, body), (401, json!({"message": "Invalid API Key"})));
        assert_eq!(status("reader", "/users/track", events(1)).await.0, 403);
        assert_eq!(status("shop-key", "/users/track", events(1)).await.0, 201);
        let ask = json!({"external_ids": ["u-0"]});
        let (_, shop) = status("reader", "/users/export/ids", ask.clone()).await;
        let (_, blog) = status("blog-key", "/users/export/ids", ask).await;
        assert_eq!(shop["users"].as_array().map(Vec::len), Some(1));
        assert_eq!(blog["invalid_user_ids"], json!(["u-0"]));
    })
    .await;
}

#[tokio::test]
async fn requests_out_of_form_are_refused_in_json() {
    with_default(async |bench| {
        let auth = "authorization: Bearer k\r\n";
        let json_type = "content-type: application/json\r\n";
        let track = "POST /users/track HTTP/1.1\r\n";
        let large = format!("{{\"events\":[],\"x\":\"{}\"}}", "x".repeat(4_000_000)).into_bytes();
        let bulk = format!("{{\"events\":[],\"x\":\"{}\"}}", "x".repeat(2_000_000)).into_bytes();
        for (head, body, status) in [
            (format!("{track}{json_type}"), &b"{}"[..], 401),
            (format!("{track}{json_type}authorization: Bearer \r\n"), b"{}", 401),
            (format!("{track}{auth}"), b"{}", 415),
            (format!("{track}{auth}content-type: text/plain\r\n"), b"{}", 415),
            (format!("{track}{auth}content-type: application/json; charset=UTF-8\r\n"), b"{", 400),
            (format!("{track}{auth}{json_type}"), b"[]", 400),
            (format!("{track}{auth}{json_type}"), b"{\"events\":{}}", 400),
            (format!("{track}{auth}{json_type}"), &large, 413),
            (format!("POST /users/track/bulk HTTP/1.1\r\n{auth}{json_type}"), &bulk, 400),
            (format!("POST /users/track/ HTTP/1.1\r\n{auth}{json_type}"), b"{}", 403),
            (format!("POST /catalogs HTTP/1.1\r\n{auth}{json_type}"), b"{}", 404),
            (format!("GET /users/track HTTP/1.1\r\n{auth}{json_type}"), b"", 404),
        ] {
            let reply = bench.client.send(&head, body).await.expect("an answer");
            assert_eq!(reply.status, status, "{head}");
            assert!(!reply.message().is_empty());
        }
        assert_eq!(bench.handle.user_count(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_object_limit_is_combined_or_per_array() {
    with_default(async |bench| {
        assert_eq!(bench.client.post("/users/track", &events(75)).await.status, 201);
        let reply = bench.client.post("/users/track", &events(76)).await;
        assert_eq!((reply.status, reply.message()), (400, "Max input length exceeded".to_owned()));
        let mut mixed = events(75);
        mixed["attributes"] = json!([{"external_id": "u-1", "plan": "pro"}]);
        assert_eq!(bench.client.post("/users/track", &mixed).await.status, 400);
    })
    .await;
    let legacy = SandboxConfig { limit_mode: LimitMode::Legacy, ..SandboxConfig::default() };
    with(legacy, async |bench| {
        let mut mixed = events(75);
        mixed["attributes"] = json!(vec![json!({"external_id": "u-1", "plan": "pro"}); 75]);
        assert_eq!(bench.client.post("/users/track", &mixed).await.status, 201);
        assert_eq!(bench.client.post("/users/track", &events(76)).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn bulk_takes_a_thousand_objects_and_a_hundred_per_user() {
    with_default(async |bench| {
        let reply = bench.client.post("/users/track/bulk", &events(1_000)).await;
        assert_eq!((reply.status, reply.json()["events_processed"].clone()), (201, json!(1_000)));
        assert_eq!(bench.client.post("/users/track/bulk", &events(1_001)).await.status, 400);
        let of_one = |count| json!({ "events": vec![event("u"); count] });
        assert_eq!(bench.client.post("/users/track/bulk", &of_one(100)).await.status, 201);
        assert_eq!(bench.client.post("/users/track/bulk", &of_one(101)).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn sync_shows_the_user_after_the_update() {
    let delay = Duration::from_secs(5);
    with(SandboxConfig { apply_delay: delay, ..SandboxConfig::default() }, async |bench| {
        let sync = async |body: Value| bench.client.post("/users/track/sync", &body).await;
        let reply = sync(json!({"attributes": [{"external_id": "u", "plan": "pro"}]})).await;
        let users = json!([{"external_id": "u", "custom_attributes": {"plan": "pro"}}]);
        assert_eq!(
            (reply.status, reply.json()),
            (201, json!({"message": "success", "users": users}))
        );
        let reply = sync(json!({"events": [event("u")]})).await;
        let time = "2026-09-01T08:31:07.412Z";
        let summary = json!([{"name": "Tour Booked", "first": time, "last": time, "count": 1}]);
        assert_eq!(reply.json()["users"][0]["custom_events"], summary);
        let reply =
            sync(json!({"attributes": [{"external_id": "v", "_update_existing_only": true}]}))
                .await;
        assert_eq!(reply.json()["users"], json!([]));
        assert_eq!(sync(events(2)).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn data_point_contracts_tell_the_reset_in_epoch_seconds() {
    let rates = Rates { track_per_3s: 2, ..Rates::documented(RateProfile::DataPoint) };
    with(SandboxConfig { rates, ..SandboxConfig::default() }, async |bench| {
        let told = async || {
            let reply = bench.client.post("/users/track", &events(1)).await;
            let header = |name: &str| reply.header(name).map(str::to_owned);
            let told = ["limit", "remaining", "reset", "retry-after"]
                .map(|name| header(&format!("x-ratelimit-{name}")).unwrap_or_default());
            format!("{} {}", reply.status, told.join(" "))
        };
        let reset = (crate::NOW_MS / 3_000 + 1) * 3;
        assert_eq!(told().await, format!("201 2 1 {reset} "));
        assert_eq!(told().await, format!("201 2 0 {reset} "));
        assert_eq!(told().await, format!("429 2 0 {reset} "));
        bench.clock.advance(Duration::from_secs(3));
        assert_eq!(told().await, format!("201 2 1 {} ", reset + 3));
        assert_eq!(bench.handle.counters().events, 3);
    })
    .await;
}

#[tokio::test]
async fn mau_contracts_tell_seconds_and_on_429_only_when_to_come_back() {
    let rates = Rates { track_per_3s: 1, track_per_hour: 9, ..Rates::documented(RateProfile::Mau) };
    with(SandboxConfig { rates, ..SandboxConfig::default() }, async |bench| {
        let first = bench.client.post("/users/track", &events(1)).await;
        assert_eq!(first.header("x-ratelimit-limit"), Some("9"));
        let seconds = 3_600 - (crate::NOW_MS / 1_000) % 3_600;
        assert_eq!(first.header("x-ratelimit-reset"), Some(seconds.to_string().as_str()));
        let second = bench.client.post("/users/track", &events(1)).await;
        assert_eq!((second.status, second.message()), (429, "Rate limited".to_owned()));
        let wait = 3 - (crate::NOW_MS / 1_000) % 3;
        assert_eq!(second.header("x-ratelimit-retry-after"), Some(wait.to_string().as_str()));
        assert_eq!(second.header("x-ratelimit-reset"), None);
    })
    .await;
}

#[tokio::test]
async fn identify_counts_entries_and_names_the_wrong_ones() {
    with_default(async |bench| {
        let alias = json!({"alias_name": "d", "alias_label": "device"});
        let new = json!({"user_aliases": [alias]});
        let reply = bench.client.post("/users/alias/new", &new).await;
        let one = json!({"aliases_processed": 1, "message": "success"});
        assert_eq!((reply.status, reply.json()), (201, one.clone()));
        let entries = json!({"aliases_to_identify": [{"external_id": "u", "user_alias": alias}]});
        let reply = bench.client.post("/users/identify", &entries).await;
        assert_eq!((reply.status, reply.json()), (201, one));
        assert_eq!(bench.handle.user_count(), 1);
        assert!(bench.handle.user("u").is_some());

        let nameless = json!({"aliases_to_identify": [{"user_alias": alias}]});
        let reply = bench.client.post("/users/identify", &nameless).await;
        let error =
            json!({"type": "'external_id' is required", "input_array": "user_identifiers", "index": 0});
        let expected = json!({"aliases_processed": 0, "message": "success", "errors": [error]});
        assert_eq!((reply.status, reply.json()), (201, expected));

        let many = json!({ "aliases_to_identify": vec![entries["aliases_to_identify"][0].clone(); 51] });
        assert_eq!(bench.client.post("/users/identify", &many).await.status, 400);
        assert_eq!(bench.client.post("/users/identify", &json!({})).await.status, 400);
        let by_email = json!({"emails_to_identify": [{"external_id": "u", "email": "a@b.example"}]});
        let reply = bench.client.post("/users/identify", &by_email).await;
        assert_eq!(reply.json()["errors"][0]["type"], json!("'prioritization' is required"));
    })
    .await;
}

#[tokio::test]
async fn merge_refuses_in_the_documented_words() {
    with_default(async |bench| {
        let pair = json!({"identifier_to_merge": {"external_id": "a"}, "identifier_to_keep": {"external_id": "b"}});
        let mut third = pair.clone();
        third["why"] = json!("x");
        for (updates, message) in [
            (json!("x"), "'merge_updates' must be an array of objects"),
            (json!(vec![pair.clone(); 51]), "a single request may not contain more than 50 merge updates"),
            (json!([third]), "'merge_updates' must only have 'identifier_to_merge' and 'identifier_to_keep'"),
            (
                json!([{"identifier_to_merge": {}, "identifier_to_keep": {"external_id": "b"}}]),
                "identifiers must be objects with an 'external_id' property that is a string, 'user_alias' property that is an object, 'email' property that is a string, or 'phone' property that is a string",
            ),
        ] {
            let reply = bench.client.post("/users/merge", &json!({ "merge_updates": updates })).await;
            assert_eq!((reply.status, reply.message().as_str()), (400, message));
        }
        bench.client.post("/users/track", &json!({"events": [event("a"), event("b")]})).await;
        let reply = bench.client.post("/users/merge", &json!({ "merge_updates": [pair] })).await;
        assert_eq!((reply.status, reply.json()), (202, json!({"message": "success"})));
        assert_eq!(bench.handle.user_count(), 1);
    })
    .await;
}

#[tokio::test]
async fn delete_takes_one_kind_of_identifier() {
    with_default(async |bench| {
        bench.client.post("/users/track", &events(3)).await;
        let reply =
            bench.client.post("/users/delete", &json!({"external_ids": ["u-0", "nobody"]})).await;
        assert_eq!(
            (reply.status, reply.json()),
            (201, json!({"deleted": 2, "message": "success"}))
        );
        assert_eq!(bench.handle.user_count(), 2);
        let mixed = json!({"external_ids": ["u-1"], "braze_ids": ["b"]});
        assert_eq!(bench.client.post("/users/delete", &mixed).await.status, 400);
        let many = json!({ "external_ids": vec!["u"; 51] });
        let reply = bench.client.post("/users/delete", &many).await;
        assert_eq!(reply.message(), "The max number of ids per request was exceeded");
    })
    .await;
}

#[tokio::test]
async fn renames_answer_per_entry() {
    with_default(async |bench| {
        bench.client.post("/users/track", &events(2)).await;
        let renames = json!({"external_id_renames": [
            {"current_external_id": "u-0", "new_external_id": "v-0"},
            {"current_external_id": "u-1", "new_external_id": "v-0"},
        ]});
        let reply = bench.client.post("/users/external_ids/rename", &renames).await;
        assert_eq!(reply.json()["external_ids"], json!(["v-0"]));
        assert_eq!(
            reply.json()["rename_errors"][0]["message"],
            json!("new_external_id is already in use")
        );
        let removal = json!({"external_ids": ["u-0", "u-1"]});
        let reply = bench.client.post("/users/external_ids/remove", &removal).await;
        assert_eq!(reply.json()["removed_ids"], json!(["u-0"]));
    })
    .await;
}

#[tokio::test]
async fn exports_leave_out_what_is_empty_and_name_the_unknown() {
    with_default(async |bench| {
        let body = json!({
            "attributes": [{"external_id": "u", "first_name": "Ada", "plan": "pro", "tags": ["a"]}],
            "events": [event("u")],
        });
        bench.client.post("/users/track", &body).await;
        let fields =
            ["external_id", "first_name", "custom_attributes", "custom_events", "purchases"];
        let ask = json!({"external_ids": ["u", "nobody"], "fields_to_export": fields});
        let reply = bench.client.post("/users/export/ids", &ask).await;
        let time = "2026-09-01T08:31:07.412Z";
        let expected = json!({
            "message": "success",
            "users": [{
                "external_id": "u",
                "first_name": "Ada",
                "custom_attributes": {"plan": "pro", "tags": ["a"]},
                "custom_events": [{"name": "Tour Booked", "first": time, "last": time, "count": 1}],
            }],
            "invalid_user_ids": ["nobody"],
        });
        assert_eq!((reply.status, reply.json()), (201, expected));
        let many = json!({ "external_ids": vec!["u"; 51] });
        let reply = bench.client.post("/users/export/ids", &many).await;
        assert_eq!(
            reply.message(),
            "The max number of external_ids and aliases per request was exceeded"
        );
        let two = json!({"email_address": "a@b.example", "phone": "+4915112345"});
        assert_eq!(bench.client.post("/users/export/ids", &two).await.status, 400);
    })
    .await;
    let strict = SandboxConfig { export_fields_required: true, ..SandboxConfig::default() };
    with(strict, async |bench| {
        let ask = json!({"external_ids": ["u"]});
        assert_eq!(bench.client.post("/users/export/ids", &ask).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn blocked_ids_are_refused() {
    let config = SandboxConfig { blocked_ids: vec!["0".to_owned()], ..SandboxConfig::default() };
    with(config, async |bench| {
        let reply =
            bench.client.post("/users/track", &json!({"events": [event("0"), event("u")]})).await;
        let reason = "provided external_id is blacklisted and disallowed";
        assert_eq!(reply.json()["errors"][0]["type"], json!(reason));
        assert_eq!(reply.json()["events_processed"], json!(1));
    })
    .await;
}
