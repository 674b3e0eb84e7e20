//! What the endpoints answer, literally.

use super::*;
use crate::{NOW_MS, with, with_default};
use isthmus_sandbox::{AmplitudeKey, SandboxConfig};

/// The status, which the body's `code` agrees with, and the body.
fn told(reply: &Reply) -> (u16, &str) {
    let body = reply.json();
    let code = body.get("code").and_then(Value::as_u64);
    assert_eq!(code, Some(u64::from(reply.status)), "{}", reply.text);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    (reply.status, &reply.text)
}

#[tokio::test]
async fn a_success_counts_events_bytes_and_tells_the_time() {
    with_default(async |bench| {
        for path in ["/2/httpapi", "/batch"] {
            let body = upload(&[event("rider-1", "a"), event("rider-1", "b")]);
            let size = body.to_string().len();
            let reply = bench.client.post(path, &body).await;
            let expected = format!(
                r#"{{"code":200,"events_ingested":2,"payload_size_bytes":{size},"server_upload_time":{NOW_MS}}}"#
            );
            assert_eq!(told(&reply), (200, expected.as_str()));
        }
    })
    .await;
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_refused_as_documented() {
    with_default(async |bench| {
        let no_events =
            r#"{"code":400,"error":"Request missing required field","missing_field":"events"}"#;
        let no_key =
            r#"{"code":400,"error":"Request missing required field","missing_field":"api_key"}"#;
        let no_json = r#"{"code":400,"error":"Invalid JSON request body"}"#;
        let no_body = r#"{"code":400,"error":"Missing request body"}"#;
        for (body, expected) in [
            ("", no_body),
            (" \n", no_body),
            ("{", no_json),
            ("[]", no_json),
            ("{}", no_key),
            (r#"{"api_key":"", "events":[]}"#, no_key),
            (r#"{"api_key":7, "events":[]}"#, no_key),
            (r#"{"api_key":"k"}"#, no_events),
            (r#"{"api_key":"k","events":{}}"#, no_events),
            (r#"{"api_key":"k","events":[]}"#, no_events),
        ] {
            for path in ["/2/httpapi", "/batch"] {
                let reply = raw(bench, &format!("POST {path}"), "", body.as_bytes()).await;
                assert_eq!(told(&reply), (400, expected), "{body}");
            }
        }
        let body = upload(&[event("rider-1", "a")]).to_string();
        let astray = r#"{"code":400,"error":"Invalid request path"}"#;
        for line in [
            "POST /2/httpapi/",
            "POST /batch/",
            "POST /2/http",
            "GET /2/httpapi",
            "GET /groupidentify",
        ] {
            assert_eq!(told(&raw(bench, line, "", body.as_bytes()).await), (400, astray), "{line}");
        }
        assert_eq!(bench.handle.amplitude().counters().stored, 0);
    })
    .await;
}

#[tokio::test]
async fn every_problem_of_every_event_is_listed() {
    with_default(async |bench| {
        let time = |time: Value| json!({"event_type": "e", "user_id": "rider-1", "time": time});
        for (events, expected) in [
            (
                vec![time(json!("2026-09-01")), event("rider-1", "a"), time(json!(1.5))],
                r#"{"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"time":[0,2]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}"#,
            ),
            (
                vec![json!({"user_id": "rider-1"}), json!({"event_type": " ", "user_id": "rider-1"})],
                r#"{"code":400,"error":"Request missing required field","events_with_invalid_fields":{},"events_with_missing_fields":{"event_type":[0,1]},"events_with_invalid_id_lengths":{}}"#,
            ),
            (
                vec![json!({"event_type": "e"})],
                r#"{"code":400,"error":"Request missing required field","events_with_invalid_fields":{},"events_with_missing_fields":{"device_id":[0],"user_id":[0]},"events_with_invalid_id_lengths":{}}"#,
            ),
            (
                vec![json!("e"), event("rider-1", "a")],
                r#"{"code":400,"error":"Invalid event JSON","events_with_invalid_fields":{"event":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}"#,
            ),
            (
                vec![event("rider-1", "a"), event("abc", "b"), from_device("d-1")],
                r#"{"code":400,"error":"Invalid id length for user_id or device_id","events_with_invalid_fields":{"device_id":[2],"user_id":[1]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{"device_id":[2],"user_id":[1]}}"#,
            ),
            (
                vec![json!({"event_type": "[Amplitude] Revenue", "user_id": "anonymous"})],
                r#"{"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"event_type":[0],"user_id":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}"#,
            ),
        ] {
            assert_eq!(told(&post(bench, &events).await), (400, expected));
        }
        let counters = bench.handle.amplitude().counters();
        assert_eq!((counters.received, counters.refused), (12, 12), "refused as a whole");
        assert_eq!((counters.invalid, counters.stored), (9, 0));
        assert_eq!(counters.requests_refused[&400], 6);
    })
    .await;
}

#[tokio::test]
async fn batch_removes_ids_that_are_too_short() {
    with_default(async |bench| {
        let both = json!({"event_type": "e", "user_id": "abc", "device_id": "device-1"});
        assert_eq!(post(bench, std::slice::from_ref(&both)).await.status, 400);
        let reply = bench.client.post("/batch", &upload(&[both])).await;
        assert_eq!(reply.status, 200);
        let events = look(bench, "events").await;
        assert_eq!(events["events"][0]["user_id"], Value::Null);
        let alone = upload(&[event("abc", "a")]);
        assert_eq!(bench.client.post("/batch", &alone).await.status, 400);
        let mut lowered = alone;
        lowered["options"] = json!({"min_id_length": 3});
        assert_eq!(bench.client.post("/2/httpapi", &lowered).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_key_opens_its_project_and_an_unknown_one_is_named() {
    let keys = vec![AmplitudeKey::new("k-1", "shop"), AmplitudeKey::new("k-2", "depot")];
    with(config(AmplitudeConfig { keys, ..AmplitudeConfig::default() }), async |bench| {
        let send = async |key: &str| {
            let body = json!({"api_key": key, "events": [event("rider-1", "a")]});
            bench.client.post("/batch", &body).await
        };
        let refused = r#"{"code":400,"error":"Invalid API key: k-3"}"#;
        assert_eq!(told(&send("k-3").await), (400, refused));
        assert_eq!((send("k-1").await.status, send("k-2").await.status), (200, 200));
        for project in ["shop", "depot"] {
            let handle = bench.handle.amplitude_project(project).expect("a project");
            assert_eq!(handle.counters().stored, 1);
            let counts = look(bench, &format!("counts?project={project}")).await;
            assert_eq!(counts["stored"], json!(1));
        }
        assert!(bench.handle.amplitude_project("k-1").is_none());
        let unknown = bench.client.get("/_sandbox/amplitude/counts?project=k-1").await;
        assert_eq!(unknown.status, 404);
        let identification = r#"{"user_id":"rider-1"}"#;
        let fields = [("api_key", "k-3"), ("identification", identification)];
        assert_eq!(told(&form(bench, "/identify", &fields).await), (400, refused));
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_is_answered_with_413() {
    with_default(async |bench| {
        let too_large = (413, r#"{"code":413,"error":"Payload too large"}"#);
        let many = |count: usize| {
            let events: Vec<Value> = (0..count)
                .map(|n| json!({"event_type": "e", "user_id": format!("user-{n}")}))
                .collect();
            upload(&events)
        };
        assert_eq!(told(&bench.client.post("/2/httpapi", &many(2_001)).await), too_large);
        assert_eq!(bench.client.post("/2/httpapi", &many(2_000)).await.status, 200);
        let wide = |bytes: usize| {
            let mut body = upload(&[event("rider-1", "a")]);
            body["padding"] =
                "x".repeat(bytes - body.to_string().len() - r#","padding":"""#.len()).into();
            assert_eq!(body.to_string().len(), bytes);
            body
        };
        assert_eq!(bench.client.post("/2/httpapi", &wide(1_000_000)).await.status, 200);
        assert_eq!(told(&bench.client.post("/2/httpapi", &wide(1_000_001)).await), too_large);
        assert_eq!(bench.client.post("/batch", &wide(1_000_001)).await.status, 200);
        assert_eq!(told(&bench.client.post("/batch", &wide(20_000_001)).await), too_large);
        // Compressed it is small, and it is its real size that counts.
        let bomb = gzip(&wide(1_000_001).to_string());
        let reply = raw(bench, "POST /2/httpapi", "content-encoding: gzip\r\n", &bomb).await;
        assert_eq!(told(&reply), too_large);
        set(bench, json!({"events_max": 1, "http_api_bytes_max": 300})).await;
        assert_eq!(told(&bench.client.post("/batch", &many(2)).await), too_large);
        assert_eq!(told(&bench.client.post("/2/httpapi", &wide(301)).await), too_large);
    })
    .await;
}

#[tokio::test]
async fn compressed_bodies_and_beacons_are_read() {
    with_default(async |bench| {
        let body = upload(&[event("rider-1", "a")]).to_string();
        let packed = gzip(&body);
        let head = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
        assert_eq!(raw(bench, "POST /2/httpapi", head, &packed).await.status, 200);
        let cut = raw(bench, "POST /2/httpapi", head, &packed[..packed.len() - 9]).await;
        assert_eq!(told(&cut), (400, r#"{"code":400,"error":"Invalid JSON request body"}"#));
        let beacon = "content-type: text/plain;charset=UTF-8\r\n";
        assert_eq!(raw(bench, "POST /2/httpapi", beacon, body.as_bytes()).await.status, 200);
        let asked = "access-control-request-headers: content-encoding,content-type\r\n";
        let preflight = raw(bench, "OPTIONS /2/httpapi", asked, b"").await;
        assert_eq!(preflight.status, 204);
        let allowed = preflight.header("access-control-allow-headers");
        assert_eq!(allowed, Some("content-encoding,content-type"));
        assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    })
    .await;
}

#[tokio::test]
async fn identifications_come_as_a_form_and_nothing_else() {
    with_default(async |bench| {
        let one = r#"{"user_id":"rider-1","user_properties":{"plan":"pro"}}"#;
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("api_key", KEY), ("identification", one)])
            .finish();
        let reply = raw(bench, "POST /identify", "", body.as_bytes()).await;
        let size = body.len();
        let expected = format!(
            r#"{{"code":200,"events_ingested":1,"payload_size_bytes":{size},"server_upload_time":{NOW_MS}}}"#
        );
        assert_eq!(told(&reply), (200, expected.as_str()));
        assert_eq!(raw(bench, &format!("GET /identify?{body}"), "", b"").await.status, 200);
        let many = format!("[{one},{one},{{\"device_id\":\"d\"}},7]");
        let fields = [("api_key", KEY), ("identification", many.as_str()), ("options", "undefined")];
        assert_eq!(
            told(&form(bench, "/identify", &fields).await),
            (400, r#"{"code":400,"error":"Invalid event JSON","events_with_invalid_fields":{"device_id":[2],"event":[3]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{"device_id":[2]}}"#)
        );
        let missing = (400, r#"{"code":400,"error":"missing_event"}"#);
        for fields in [&[("api_key", KEY)][..], &[("api_key", KEY), ("identification", "[]")]] {
            assert_eq!(told(&form(bench, "/identify", fields).await), missing);
            assert_eq!(told(&form(bench, "/groupidentify", fields).await), missing);
        }
        let json = json!({"api_key": KEY, "identification": [{"user_id": "rider-1"}]});
        let no_key = r#"{"code":400,"error":"Request missing required field","missing_field":"api_key"}"#;
        assert_eq!(told(&bench.client.post("/identify", &json).await), (400, no_key));
        let counters = bench.handle.amplitude().counters();
        assert_eq!((counters.identifies, counters.stored), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn identifications_that_amplitude_does_not_document_are_refused() {
    with_default(async |bench| {
        let mixed = json!([
            {"user_id": "rider-1", "user_properties": {"plan": "pro"}},
            {"user_id": "rider-1", "user_properties": {"$set": {"plan": "pro"}, "city": "Porto"}},
        ]);
        assert_eq!(
            told(&identify(bench, &mixed).await),
            (400, r#"{"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"user_properties":[1]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}"#)
        );
        let group = r#"{"group_type":"team","group_value":"red","group_properties":{"$preInsert":{"a":1}}}"#;
        let fields = [("api_key", KEY), ("identification", group)];
        assert_eq!(
            told(&form(bench, "/groupidentify", &fields).await),
            (400, r#"{"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"group_properties":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}"#)
        );
        let nameless = [("api_key", KEY), ("identification", r#"{"group_type":"team"}"#)];
        assert_eq!(
            told(&form(bench, "/groupidentify", &nameless).await),
            (400, r#"{"code":400,"error":"Request missing required field","events_with_invalid_fields":{},"events_with_missing_fields":{"group_value":[0]},"events_with_invalid_id_lengths":{}}"#)
        );
    })
    .await;
}

#[tokio::test]
async fn events_of_silenced_devices_are_named() {
    let silenced_devices = vec!["device-9".to_owned()];
    let amplitude = AmplitudeConfig { silenced_devices, ..AmplitudeConfig::default() };
    with(SandboxConfig { amplitude, ..SandboxConfig::default() }, async |bench| {
        let events = [from_device("device-1"), from_device("device-9"), from_device("device-9")];
        assert_eq!(
            told(&post(bench, &events).await),
            (400, r#"{"code":400,"error":"Events silenced for device_id","silenced_devices":["device-9"],"silenced_events":[1,2],"eps_threshold":30,"throttled_devices":{},"throttled_users":{},"throttled_events":[]}"#)
        );
        assert_eq!(post(bench, &events[..1]).await.status, 200);
        let counters = bench.handle.amplitude().counters();
        assert_eq!((counters.silenced, counters.refused, counters.stored), (2, 3, 1));
        set(bench, json!({"silenced_devices": []})).await;
        assert_eq!(post(bench, &events).await.status, 200);
        bench.handle.amplitude().silence(["device-1".to_owned()]);
        assert_eq!(post(bench, &events[..1]).await.status, 400);
    })
    .await;
}
