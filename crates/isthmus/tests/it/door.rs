//! The door over plain HTTP: what each upload is answered, and what of it reaches Braze.

use crate::harness::eventually;
use crate::harness::http::{get, post, post_form, send};
use crate::harness::lab::{API_KEY, Lab, SHOP};
use serde_json::{Value, json};

const PATHS: [&str; 4] = ["/2/httpapi", "/batch", "/identify", "/groupidentify"];

#[test]
fn browsers_may_upload_from_any_origin() {
    let lab = Lab::shop();
    let address = lab.server().address();
    for path in PATHS {
        let asks = [
            ("origin", "https://shop.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-encoding,content-type"),
        ];
        let answer = send(address, "OPTIONS", path, &asks, b"").unwrap();
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        let allowed = answer.header("access-control-allow-headers").unwrap().to_lowercase();
        assert!(
            allowed.contains("content-encoding") && allowed.contains("content-type"),
            "{allowed}"
        );
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"), "{path}");

        let refused =
            send(address, "POST", path, &[("origin", "https://shop.example")], b"").unwrap();
        assert_eq!(refused.status, 400, "{path}: {}", refused.text());
        assert_eq!(refused.header("access-control-allow-origin"), Some("*"), "{path}: errors too");
    }
}

#[test]
fn beacons_and_bodies_without_a_type_are_read_as_json() {
    let lab = Lab::shop();
    for (number, content_type) in
        ["text/plain;charset=UTF-8", "application/octet-stream"].iter().enumerate()
    {
        let user = format!("beacon-{number}");
        let body = json!({ "api_key": API_KEY, "events": [{ "event_type": "Product Viewed", "user_id": user }] });
        let headers = [("content-type", *content_type)];
        let address = lab.server().address();
        let answer =
            send(address, "POST", "/2/httpapi", &headers, body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        eventually("the beacon's event is in Braze", || {
            lab.braze().user(&user).ok_or_else(String::new)
        });
    }
}

#[test]
fn an_upload_is_answered_as_amplitude_answers_it() {
    let lab = Lab::shop();
    let answer = lab.upload(&json!([
        { "event_type": "Product Viewed", "user_id": "answer-1" },
        { "event_type": "Product Viewed", "user_id": "answer-2", "unknown_field": { "kept": "out" } },
    ]));
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["code"], 200);
    assert_eq!(body["events_ingested"], 2);
    assert!(body["payload_size_bytes"].as_u64() > Some(100), "{body}");
    assert!(body["server_upload_time"].as_u64() > Some(1_700_000_000_000), "{body}");
}

#[test]
fn every_bad_event_of_an_upload_is_listed_and_none_is_taken() {
    let lab = Lab::shop();
    let answer = lab.upload(&json!([
        { "event_type": "Product Viewed", "user_id": "innocent-1" },
        { "user_id": "no-event-type" },
        { "event_type": "Product Viewed", "user_id": "time-as-text", "time": "2026-02-03" },
        { "event_type": "Product Viewed", "user_id": "abc" },
        { "event_type": "Product Viewed" },
        { "event_type": "Product Viewed", "user_id": "time-as-text", "time": "yesterday" },
    ]));
    let body = answer.json();
    assert_eq!(answer.status, 400, "{body}");
    assert_eq!(body["code"], 400, "{body}");
    assert_eq!(body["events_with_missing_fields"]["event_type"], json!([1]), "{body}");
    assert_eq!(body["events_with_invalid_fields"]["time"], json!([2, 5]), "{body}");
    assert_eq!(body["events_with_invalid_id_lengths"]["user_id"], json!([3]), "{body}");
    lab.settle();
    assert!(lab.braze().user("innocent-1").is_none());
}

#[test]
fn requests_that_say_nothing_are_told_what_is_missing() {
    let lab = Lab::shop();
    let address = lab.server().address();
    let cases: [(&[u8], &str, Value); 6] = [
        (b"", "Missing request body", Value::Null),
        (b"{\"api_key\":", "Invalid JSON request body", Value::Null),
        (b"\xff\xfe\x00", "Invalid JSON request body", Value::Null),
        (b"{\"events\":[]}", "Request missing required field", json!("api_key")),
        (b"{\"api_key\":\"shop-key\"}", "Request missing required field", json!("events")),
        (b"{\"api_key\":\"nope\",\"events\":[]}", "Invalid API key: nope", Value::Null),
    ];
    for (body, error, missing) in cases {
        let answer = send(address, "POST", "/2/httpapi", &[], body).unwrap();
        let shown = String::from_utf8_lossy(body);
        assert_eq!(answer.status, 400, "{shown}");
        assert_eq!(answer.json()["code"], 400, "{shown}");
        assert_eq!(answer.json()["error"], error, "{shown}");
        assert_eq!(answer.json()["missing_field"], missing, "{shown}");
    }
}

#[test]
fn too_many_events_are_refused_whole() {
    let lab = Lab::shop();
    let event = json!({ "event_type": "Product Viewed", "user_id": "too-many" });
    let answer = lab.upload(&Value::Array(vec![event; 2_001]));
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json(), json!({ "code": 413, "error": "Payload too large" }));
}

#[test]
fn an_event_sent_twice_reaches_braze_once() {
    let lab = Lab::shop();
    let event = |uid: u32| {
        json!([{
            "event_type": "Product Viewed", "user_id": "twice-1", "device_id": "device-1",
            "insert_id": "same", "event_properties": { "uid": uid },
        }])
    };
    for uid in [1, 2, 1] {
        let answer = lab.upload(&event(uid));
        assert_eq!(answer.json()["events_ingested"], 1, "a retry looks like a first send");
    }
    lab.settle();
    let user = lab.braze().user("twice-1").unwrap();
    let uids: Vec<_> = user.events.iter().map(|event| &event.properties["uid"]).collect();
    assert_eq!(uids, [&json!(1)], "the first content is the one that counts");
}

#[test]
fn identify_and_groupidentify_take_forms() {
    let lab = Lab::shop();
    let address = lab.server().address();
    let many = json!([
        { "user_id": "form-1", "user_properties": { "$set": { "plan": "pro" }, "$add": { "seats": 2 } } },
        { "user_id": "form-2", "user_properties": { "plan": "free" } },
    ]);
    let one = json!({ "user_id": "form-1", "user_properties": { "$add": { "seats": 3 } } });
    for identification in [many, one] {
        let fields = [
            ("api_key", API_KEY),
            ("identification", &identification.to_string()),
            ("options", "undefined"),
        ];
        let answer = post_form(address, "/identify", &fields);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let group = json!({ "group_type": "company", "group_value": "Acme", "group_properties": { "$set": { "tier": "gold" } } });
    let fields = [("api_key", API_KEY), ("identification", &group.to_string())];
    let answer = post_form(address, "/groupidentify", &fields);
    assert_eq!(answer.status, 200, "{}", answer.text());
    lab.settle();
    let attributes = |id: &str| Value::Object(lab.braze().user(id).unwrap().attributes);
    assert_eq!(attributes("form-1"), json!({ "plan": "pro", "seats": 5 }));
    assert_eq!(attributes("form-2"), json!({ "plan": "free" }));
}

#[test]
fn text_reaches_braze_as_it_was_typed() {
    let lab = Lab::shop();
    let cases = [
        (r#""多言語 ✓ \"quoted\" \\ \u00e9 \ud83d\ude00""#, "多言語 ✓ \"quoted\" \\ é 😀"),
        // JavaScript cuts emoji in half, and that is no reason to lose the event.
        (r#""half \ud83d""#, "half \u{fffd}"),
        (r#""line\nbreak\ttab""#, "line\nbreak\ttab"),
    ];
    for (number, (sent, _)) in cases.iter().enumerate() {
        let body = format!(
            r#"{{"api_key":"{API_KEY}","events":[{{"event_type":"Product Viewed","user_id":"typing-{number}","event_properties":{{"note":{sent}}}}}]}}"#
        );
        let answer =
            send(lab.server().address(), "POST", "/2/httpapi", &[], body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    lab.settle();
    for (number, (_, held)) in cases.iter().enumerate() {
        let user = lab.braze().user(&format!("typing-{number}")).unwrap();
        assert_eq!(user.events[0].properties["note"], *held);
    }
}

#[test]
fn batch_drops_a_short_id_and_keeps_the_event() {
    let lab = Lab::shop();
    let events =
        json!([{ "event_type": "Product Viewed", "user_id": "long-enough", "device_id": "abc" }]);
    let answer =
        post(lab.server().address(), "/batch", &json!({ "api_key": API_KEY, "events": events }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    eventually("the event is in Braze", || lab.braze().user("long-enough").ok_or_else(String::new));
}

#[test]
fn a_busy_user_is_told_to_wait_and_which_events_wait() {
    let throttled =
        SHOP.replace("api_key: shop-key", "api_key: shop-key\nthrottle: { events_per_second: 1 }");
    let lab = Lab::with(&throttled);
    let order = json!([{ "event_type": "Order Completed", "user_id": "busy-user" }]);
    assert_eq!(lab.upload(&order).status, 200, "the rate is an average over 30 seconds");
    let calm = json!({ "event_type": "Product Viewed", "user_id": "calm-user" });
    let busy = json!({ "event_type": "Product Viewed", "user_id": "busy-user" });
    let mut events = vec![calm];
    events.extend(vec![busy; 30]);
    let answer = lab.upload(&Value::Array(events));
    let body = answer.json();
    assert_eq!(answer.status, 429, "{body}");
    assert_eq!(answer.header("retry-after"), Some("30"));
    assert_eq!(body["code"], 429);
    assert_eq!(body["eps_threshold"], 1);
    assert!(body["throttled_users"]["busy-user"].as_u64() >= Some(1), "{body}");
    let waiting: Vec<_> = (1..=30).collect();
    assert_eq!(body["throttled_events"], json!(waiting), "all of the busy user's and no other");
}

#[test]
fn projects_do_not_see_each_other() {
    let two = format!("{SHOP}---\nkind: project\nname: other\napi_key: other-key\n");
    let lab = Lab::with(&two);
    let body = json!({ "api_key": "other-key", "events": [{ "event_type": "Product Viewed", "user_id": "other-user" }] });
    let answer = post(lab.server().address(), "/2/httpapi", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    lab.settle();
    assert!(lab.braze().user("other-user").is_none());
}

#[test]
fn operators_can_look() {
    let lab = Lab::shop();
    let address = lab.server().address();
    lab.settle();
    assert_eq!(get(address, "/healthz").status, 200);
    assert_eq!(get(address, "/readyz").status, 200);
    let metrics = get(address, "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("isthmus_"), "{}", metrics.text());
    let unknown = get(address, "/no/such/path");
    assert_eq!(unknown.json(), json!({ "code": 400, "error": "Invalid request path" }));
}
