//! What can be changed while the sandbox runs.

use crate::{Bench, with_default};
use isthmus_sandbox::{RateProfile, Rates};
use serde_json::{Value, json};
use std::time::Duration;

async fn set(bench: &Bench, settings: Value) -> Value {
    let reply = bench.client.post("/_sandbox/settings", &settings).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

/// Sets `key` of user u.
async fn write(bench: &Bench, key: &str) -> u16 {
    let body = json!({"attributes": [{"external_id": "u", key: true, "last": key}]});
    bench.client.post("/users/track", &body).await.status
}

#[tokio::test]
async fn requests_take_effect_as_late_as_they_are_told_to() {
    with_default(async |bench| {
        assert_eq!(write(bench, "first").await, 201);
        assert_eq!((bench.handle.user_count(), bench.handle.waiting()), (1, 0));
        let settings = set(bench, json!({"apply_delay_ms": 60_000})).await;
        assert_eq!(settings["apply_delay_ms"], json!(60_000));
        write(bench, "second").await;
        bench.handle.set_apply_delay(Duration::ZERO);
        write(bench, "third").await;
        // What waits keeps its time, so that a later request overtakes it.
        let last = || bench.handle.user("u").expect("a user")["custom_attributes"]["last"].clone();
        assert_eq!((last(), bench.handle.waiting()), (json!("third"), 1));
        bench.clock.advance(Duration::from_mins(1));
        assert_eq!((last(), bench.handle.waiting()), (json!("second"), 0));
    })
    .await;
}

#[tokio::test]
async fn jitter_lets_requests_overtake_each_other() {
    with_default(async |bench| {
        bench.handle.set_apply_jitter(Duration::from_secs(10));
        let shown = bench.client.get("/_sandbox/settings").await.json();
        assert_eq!(
            (&shown["apply_delay_ms"], &shown["apply_jitter_ms"]),
            (&json!(0), &json!(10_000))
        );
        for number in 0..20 {
            let event =
                json!({"external_id": "u", "name": number.to_string(), "time": "2026-09-01"});
            bench.client.post("/users/track", &json!({ "events": [event] })).await;
        }
        bench.handle.reset();
        for number in 0..20 {
            let event =
                json!({"external_id": "u", "name": number.to_string(), "time": "2026-09-01"});
            bench.client.post("/users/track", &json!({ "events": [event] })).await;
        }
        assert_eq!(bench.handle.waiting(), 20, "a reset keeps the settings");
        bench.handle.settle();
        let names = bench.handle.occurrences("u").into_iter().map(|event| event.name);
        let names: Vec<u32> = names.map(|name| name.parse().expect("a number")).collect();
        assert!(names.len() == 20 && !names.is_sorted(), "{names:?}");
    })
    .await;
}

#[tokio::test]
async fn rate_limits_can_be_narrowed_and_lifted() {
    with_default(async |bench| {
        let narrow = json!({"rates": "mau", "track_per_3s": 1, "track_per_hour": 2});
        let settings = set(bench, narrow).await;
        assert_eq!(settings["rates"], json!("mau"));
        assert_eq!((write(bench, "a").await, write(bench, "b").await), (201, 429));
        bench.clock.advance(Duration::from_secs(3));
        assert_eq!(write(bench, "c").await, 201);
        bench.clock.advance(Duration::from_secs(3));
        let reply = bench.client.post("/users/track", &json!({})).await;
        let until_the_hour = (3_600 - (crate::NOW_MS / 1_000 + 6) % 3_600).to_string();
        assert_eq!(reply.header("x-ratelimit-retry-after"), Some(until_the_hour.as_str()));

        bench
            .handle
            .set_rates(Rates { track_per_3s: 5, ..Rates::documented(RateProfile::DataPoint) });
        let reply = bench.client.post("/users/track", &json!({})).await;
        assert_eq!(reply.header("x-ratelimit-limit"), Some("5"));
        set(bench, json!({"rates": "off"})).await;
        let reply = bench.client.post("/users/track", &json!({})).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (400, None));
    })
    .await;
}

#[tokio::test]
async fn unknown_settings_are_refused_by_name() {
    with_default(async |bench| {
        for (wrong, named) in [
            (json!({"apply_dely_ms": 1}), "apply_dely_ms"),
            (json!({"rates": "monthly"}), "monthly"),
            (json!({"track_per_3s": -1}), "-1"),
        ] {
            let reply = bench.client.post("/_sandbox/settings", &wrong).await;
            assert!(reply.status == 400 && reply.message().contains(named), "{}", reply.text);
        }
    })
    .await;
}
