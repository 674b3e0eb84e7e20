//! Rates, quotas, duplicates.

use super::*;
use crate::with_default;
use isthmus_sandbox::AmplitudeLimits;
use std::time::Duration;

fn many(user_id: &str, count: usize) -> Vec<Value> {
    vec![json!({"event_type": "Viewed", "user_id": user_id}); count]
}

#[tokio::test]
async fn who_sends_too_fast_waits_and_nothing_of_the_request_is_taken() {
    with_default(async |bench| {
        assert_eq!(post(bench, &many("rider-1", 900)).await.status, 200);
        let mut events = many("rider-2", 1);
        events.push(json!({"event_type": "Viewed", "user_id": "rider-1", "device_id": "device-1"}));
        let reply = post(bench, &events).await;
        assert_eq!(reply.status, 429);
        assert_eq!(
            reply.text,
            r#"{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_devices":{},"throttled_users":{"rider-1":31},"throttled_events":[1]}"#
        );
        assert_eq!(reply.header("retry-after"), Some("30"));
        let amplitude = bench.handle.amplitude();
        assert!(amplitude.person("rider-2").is_none(), "all or nothing");
        assert_eq!(post(bench, &events[..1]).await.status, 200);
        bench.clock.advance(Duration::from_secs(29));
        assert_eq!(post(bench, &events[1..]).await.status, 429);
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(post(bench, &events[1..]).await.status, 200);
        let counters = amplitude.counters();
        assert_eq!((counters.throttled, counters.refused, counters.stored), (2, 3, 902));
        let taken = counters.stored + counters.duplicates + counters.identifies;
        assert_eq!(counters.received, taken + counters.refused);
    })
    .await;
}

#[tokio::test]
async fn batch_takes_more_a_second_and_so_many_a_day() {
    with_default(async |bench| {
        let batch = async |count| bench.client.post("/batch", &upload(&many("rider-1", count))).await;
        assert_eq!(batch(2_000).await.status, 200);
        set(bench, json!({"batch_per_second": 100, "batch_per_day": 3_500})).await;
        let reply = batch(1_001).await.json();
        assert_eq!(reply["throttled_users"], json!({"rider-1": 101}));
        assert_eq!(reply["eps_threshold"], json!(100));
        bench.clock.advance(Duration::from_secs(30));
        assert_eq!(batch(1_500).await.status, 200);
        bench.clock.advance(Duration::from_secs(30));
        let reply = batch(2).await;
        assert_eq!(
            (reply.status, reply.text.as_str()),
            (429, r#"{"code":429,"error":"Too many requests for some devices and users","eps_threshold":100,"throttled_devices":{},"throttled_users":{},"exceeded_daily_quota_users":{"rider-1":3502},"throttled_events":[0,1]}"#)
        );
        bench.clock.advance(Duration::from_hours(24));
        assert_eq!(batch(2).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_project_and_its_identifications_are_limited_too() {
    with_default(async |bench| {
        let limits = AmplitudeLimits {
            project_http_api_per_second: 1,
            project_group_identify_per_second: 1,
            rate_window: Duration::from_secs(2),
            ..AmplitudeLimits::documented()
        };
        bench.handle.amplitude().set_limits(limits);
        let events: Vec<Value> = (0..3).map(|n| event(&format!("rider-{n}"), "a")).collect();
        let reply = post(bench, &events).await;
        assert_eq!(
            reply.text,
            r#"{"code":429,"error":"Too many requests for some devices and users","eps_threshold":1,"throttled_devices":{},"throttled_users":{},"throttled_events":[0,1,2]}"#
        );
        assert_eq!(post(bench, &events[..2]).await.status, 200);
        let group = json!({"group_type": "team", "group_value": "red", "group_properties": {"a": 1}});
        let groups = json!([group, group, group]).to_string();
        let fields = [("api_key", KEY), ("identification", groups.as_str())];
        assert_eq!(form(bench, "/groupidentify", &fields).await.status, 429);
        set(bench, json!({"limits": "unhurried", "http_api_per_second": 0})).await;
        assert_eq!(post(bench, &events[2..]).await.status, 429);
        set(bench, json!({"limits": "unhurried"})).await;
        assert_eq!(post(bench, &many("rider-1", 2_000)).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn pacing_can_be_proved_by_the_highest_rates() {
    with_default(async |bench| {
        for second in 0..60 {
            let count = if second == 7 { 60 } else { 20 };
            assert_eq!(post(bench, &many("rider-1", count)).await.status, 200);
            bench.clock.advance(Duration::from_secs(1));
        }
        bench.clock.advance(Duration::from_mins(10));
        assert_eq!(post(bench, &[from_device("device-1")]).await.status, 200);
        let amplitude = bench.handle.amplitude();
        let peaks = amplitude.peaks();
        let user = peaks.iter().find(|peak| peak.fastest == "rider-1").expect("the user");
        // 29 seconds of 20 events and one of 60, over 30 seconds.
        assert!((user.peak_per_second - 640.0 / 30.0).abs() < 1e-9, "{user:?}");
        assert_eq!((user.peak_in_a_second, user.peak_in_a_day), (60, 1_240));
        assert_eq!(amplitude.counters().throttled, 0);
        let shown = look(bench, "senders?id=device-1").await;
        assert_eq!(shown["senders"].as_array().map(Vec::len), Some(1));
        assert_eq!(shown["senders"][0]["last_day"], json!(1));
        assert_eq!(shown["peaks"].as_array().map(Vec::len), Some(2));
        let fastest = amplitude.senders().swap_remove(0);
        assert_eq!((fastest.id.as_str(), fastest.last_day), ("rider-1", 1_240));
        // A rate is that of the window it was reached in.
        set(bench, json!({"rate_window_s": 2})).await;
        assert_eq!(amplitude.senders().swap_remove(0), fastest);
    })
    .await;
}

#[tokio::test]
async fn an_insert_id_counts_once_per_device_within_seven_days() {
    with_default(async |bench| {
        let of = |insert_id: &str, device_id: &str, name: &str| json!({"event_type": name, "device_id": device_id, "insert_id": insert_id});
        let first = [of("a", "device-1", "first"), of("a", "device-1", "again"), of("a", "device-2", "other")];
        let reply = post(bench, &first).await;
        assert_eq!(reply.json()["events_ingested"], json!(3), "duplicates look like first sends");
        let amplitude = bench.handle.amplitude();
        let names = |id: &str| {
            let events = amplitude.events_of(id).into_iter();
            events.map(|event| event.event_type).collect::<Vec<_>>()
        };
        assert_eq!(names("device-1"), ["first"]);
        assert_eq!(names("device-2"), ["other"]);
        bench.clock.advance(Duration::from_hours(7 * 24) - Duration::from_secs(1));
        bench.client.post("/batch", &upload(&[of("a", "device-1", "late")])).await;
        assert_eq!(names("device-1"), ["first"]);
        bench.clock.advance(Duration::from_secs(1));
        bench.client.post("/batch", &upload(&[of("a", "device-1", "later")])).await;
        assert_eq!(names("device-1"), ["first", "later"]);
        let counters = amplitude.counters();
        assert_eq!((counters.stored, counters.duplicates), (3, 2));
        // A user without a device has one that is derived.
        post(bench, &[event("rider-1", "u"), event("rider-1", "u"), event("rider-2", "u")]).await;
        assert_eq!(amplitude.counters().duplicates, 3);
        // Without an insert_id, event_id and time decide.
        let counted = |event_id: u64| json!({"event_type": "n", "device_id": "device-3", "event_id": event_id, "time": 5});
        post(bench, &[counted(1), counted(1), counted(2), from_device("device-3"), from_device("device-3")]).await;
        assert_eq!(names("device-3").len(), 4);
        set(bench, json!({"dedup_window_s": 1})).await;
        bench.clock.advance(Duration::from_secs(1));
        post(bench, &[event("rider-1", "u")]).await;
        assert_eq!(names("rider-1").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn identifications_with_an_insert_id_are_applied_once() {
    with_default(async |bench| {
        let visit = json!({"event_type": "$identify", "device_id": "device-1", "insert_id": "i-1", "user_properties": {"$add": {"visits": 1}}});
        post(bench, &[visit.clone(), visit.clone()]).await;
        post(bench, &[visit]).await;
        let amplitude = bench.handle.amplitude();
        let person = amplitude.person("device-1").expect("a person");
        assert_eq!(person.user_properties, json!({"visits": 1}));
        let counters = amplitude.counters();
        assert_eq!((counters.identifies, counters.duplicates, counters.stored), (1, 2, 0));
    })
    .await;
}
