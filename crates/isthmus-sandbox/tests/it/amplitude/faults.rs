//! What goes wrong on purpose, in Amplitude's words.

use super::*;
use crate::{with, with_default};
use isthmus_sandbox::{Fault, FaultEffect, When};
use std::io;
use std::time::Duration;

async fn inject(bench: &Bench, effect: Value) {
    let rule = json!({"path": "/2/httpapi", "times": 1, "effect": effect});
    let reply = bench.client.post("/_sandbox/faults", &rule).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
}

#[tokio::test]
async fn faults_of_one_request_answer_in_amplitudes_words() {
    with_default(async |bench| {
        let both = |user_id: &str, device_id: &str| json!({"event_type": "Viewed", "user_id": user_id, "device_id": device_id});
        let events = [both("rider-1", "device-1"), both("rider-2", "device-2"), both("rider-1", "device-3")];
        for (effect, status, expected) in [
            (
                json!({"throttle": {"user_ids": ["rider-1"]}}),
                429,
                r#"{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_devices":{},"throttled_users":{"rider-1":31},"throttled_events":[0,2]}"#,
            ),
            (
                json!({"throttle": {"device_ids": ["device-2", "device-9"]}}),
                429,
                r#"{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_devices":{"device-2":31},"throttled_users":{},"throttled_events":[1]}"#,
            ),
            (
                json!({"throttle": {}}),
                429,
                r#"{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_devices":{"device-1":31,"device-2":31,"device-3":31},"throttled_users":{"rider-1":31,"rider-2":31},"throttled_events":[0,1,2]}"#,
            ),
            (
                json!({"throttle": {"device_ids": ["device-2"], "daily": true}}),
                429,
                r#"{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_devices":{},"throttled_users":{},"exceeded_daily_quota_devices":{"device-2":10000000001},"throttled_events":[1]}"#,
            ),
            (
                json!({"silence": {"device_ids": ["device-3"]}}),
                400,
                r#"{"code":400,"error":"Events silenced for device_id","silenced_devices":["device-3"],"silenced_events":[2],"eps_threshold":30,"throttled_devices":{},"throttled_users":{},"throttled_events":[]}"#,
            ),
            (
                json!({"silence": {}}),
                400,
                r#"{"code":400,"error":"Events silenced for device_id","silenced_devices":["device-1","device-2","device-3"],"silenced_events":[0,1,2],"eps_threshold":30,"throttled_devices":{},"throttled_users":{},"throttled_events":[]}"#,
            ),
            (
                json!({"partial": {"external_id": "rider-1"}}),
                400,
                r#"{"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"event_properties":[0,2]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}"#,
            ),
            (
                json!({"partial": {"every": 2}}),
                400,
                r#"{"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"event_properties":[1]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}"#,
            ),
            (json!({"poison": {"name": "Viewed"}}), 400, r#"{"code":400,"error":"Invalid request"}"#),
            (json!({"objects_max": {"max": 2}}), 413, r#"{"code":413,"error":"Payload too large"}"#),
            (json!({"bytes_max": {"max": 20}}), 413, r#"{"code":413,"error":"Payload too large"}"#),
            (json!({"status": {"code": 413}}), 413, r#"{"code":413,"error":"Payload too large"}"#),
            (json!({"status": {"code": 503}}), 503, r#"{"code":503,"error":"Service unavailable"}"#),
            (json!({"status": {"code": 500}}), 500, r#"{"code":500,"error":"Internal server error"}"#),
            (
                json!({"rate_limit": {"form": "standard_retry_after", "seconds": 9}}),
                429,
                r#"{"code":429,"error":"Too many requests"}"#,
            ),
        ] {
            inject(bench, effect.clone()).await;
            let reply = post(bench, &events).await;
            assert_eq!((reply.status, reply.text.as_str()), (status, expected), "{effect}");
            assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{effect}");
            assert_eq!(bench.handle.amplitude().counters().stored, 0, "{effect}");
            bench.client.send("DELETE /_sandbox/faults HTTP/1.1\r\n", b"").await.expect("an answer");
        }
        let counters = bench.handle.amplitude().counters();
        assert_eq!((counters.throttled, counters.silenced, counters.invalid), (7, 4, 3));
        assert_eq!(post(bench, &events).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn faults_that_mean_others_let_a_request_pass() {
    with_default(async |bench| {
        for effect in [
            json!({"throttle": {"user_ids": ["rider-9"]}}),
            json!({"silence": {"device_ids": ["device-9"]}}),
            json!({"partial": {"name": "Other"}}),
            json!({"poison": {"external_id": "rider-9"}}),
            json!({"objects_max": {"max": 1}}),
        ] {
            inject(bench, effect).await;
        }
        assert_eq!(post(bench, &[event("rider-1", "a")]).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn an_identification_of_groups_can_be_throttled_although_it_is_nobodys() {
    with_default(async |bench| {
        let effect =
            FaultEffect::Throttle { user_ids: Vec::new(), device_ids: Vec::new(), daily: false };
        bench.handle.inject(Fault::on("/groupidentify", effect));
        let group =
            json!({"group_type": "team", "group_value": "red", "group_properties": {"a": 1}})
                .to_string();
        let reply =
            form(bench, "/groupidentify", &[("api_key", KEY), ("identification", &group)]).await;
        assert_eq!((reply.status, &reply.json()["throttled_events"]), (429, &json!([0])));
    })
    .await;
}

#[tokio::test]
async fn an_upload_can_be_taken_and_its_answer_lost() {
    for effect in
        [FaultEffect::Reset { when: When::After }, FaultEffect::Truncate { bytes: Some(5) }]
    {
        with(SandboxConfig::default(), async |bench| {
            bench.handle.inject(Fault::on("/batch", effect).times(1));
            let body = upload(&[event("rider-1", "a")]);
            let lost = bench.client.try_post("/batch", &body).await.expect_err("no answer");
            assert_eq!(lost.kind(), io::ErrorKind::ConnectionReset);
            let amplitude = bench.handle.amplitude();
            assert_eq!(amplitude.counters().stored, 1);
            assert_eq!(bench.client.post("/batch", &body).await.status, 200);
            let counters = amplitude.counters();
            assert_eq!((counters.stored, counters.duplicates), (1, 1), "a repeat does no harm");
        })
        .await;
    }
}

#[tokio::test]
async fn an_outage_lasts_its_time_and_spares_the_other_vendor() {
    with_default(async |bench| {
        let effect = json!({"status": {"code": 503}});
        let outage = json!({"path": "/2/*", "for_ms": 120_000, "effect": effect});
        assert_eq!(bench.client.post("/_sandbox/faults", &outage).await.status, 201);
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(post(bench, &[from_device("device-1")]).await.status);
            bench.clock.advance(Duration::from_mins(1));
        }
        assert_eq!(statuses, [503, 503, 200, 200]);
        let track = json!({"attributes": [{"external_id": "u", "plan": "pro"}]});
        assert_eq!(bench.client.post("/users/track", &track).await.status, 201);
        assert_eq!(bench.handle.strikes(), [2]);
    })
    .await;
}
