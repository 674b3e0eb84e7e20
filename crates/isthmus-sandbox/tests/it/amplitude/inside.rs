//! Looking inside: events, counts, ids that were seen, pages, memory, and no socket.

use super::*;
use crate::{NOW_MS, with, with_default};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, header};
use isthmus_core::Timestamp;
use isthmus_core::seam::{Http, ManualClock, Method, Request, SeededRandom};
use isthmus_sandbox::{AmplitudeEventFilter, AmplitudeLimits, AmplitudePeak, Keep, SandboxHttp};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn events_are_found_by_what_they_say() {
    with_default(async |bench| {
        let signed = json!({"event_type": "Signed Up", "user_id": "rider-1", "device_id": "device-1", "insert_id": "s"});
        post(bench, &[event("rider-1", "a"), event("rider-2", "b"), signed]).await;
        let found = async |query: &str| {
            let events = look(bench, &format!("events?{query}")).await;
            let events = events["events"].as_array().expect("events").clone();
            events.iter().map(|event| event["insert_id"].as_str().expect("an id").to_owned()).collect::<String>()
        };
        assert_eq!(found("").await, "sba");
        assert_eq!(found("limit=2").await, "sb");
        assert_eq!(found("user_id=rider-1").await, "sa");
        assert_eq!(found("event_type=Signed%20Up").await, "s");
        assert_eq!(found("device_id=device-1").await, "s");
        assert_eq!(found("insert_id=b").await, "b");
        assert_eq!(found("user_id=rider-2&insert_id=a").await, "");
        let wrong = bench.client.get("/_sandbox/amplitude/events?usr=1").await;
        assert_eq!(wrong.status, 400);
        let counts = look(bench, "counts").await;
        assert_eq!(counts["by_event_type"], json!({"Signed Up": 1, "Viewed": 2}));
        assert_eq!(counts["requests"], json!({"/2/httpapi": 1}));
        let logged = bench.client.get("/_sandbox/requests").await.json();
        assert_eq!(logged["requests"][0]["path"], json!("/2/httpapi"));
    })
    .await;
}

#[tokio::test]
async fn nothing_lost_and_nothing_doubled_can_be_proved_without_keeping_anything() {
    let amplitude = AmplitudeConfig {
        limits: AmplitudeLimits::unhurried(),
        uid_property: Some("uid".to_owned()),
        ..AmplitudeConfig::default()
    };
    with(SandboxConfig { keep: Keep::Counts, ..config(amplitude) }, async |bench| {
        let numbered = |n: usize| json!({"event_type": "Viewed", "user_id": "rider-1", "event_properties": {"uid": n}});
        let events: Vec<Value> = (0..1_000).map(numbered).collect();
        for events in events.chunks(300) {
            assert_eq!(post(bench, events).await.status, 200);
        }
        let amplitude = bench.handle.amplitude();
        let uids = amplitude.uids();
        assert!(uids.len() == 1_000 && uids.values().all(|times| *times == 1));
        post(bench, &events[..3]).await;
        let counters = amplitude.counters();
        assert_eq!((counters.uids, counters.uids_repeated, counters.stored), (1_000, 3, 1_003));
        assert_eq!(look(bench, "uids").await["2"], json!(2));
        assert_eq!(amplitude.events(&AmplitudeEventFilter::default()), []);
        assert!(amplitude.person("rider-1").is_none());

        let reset = "/_sandbox/amplitude/reset?keep=all&uid_property=insert_id";
        assert_eq!(bench.client.post(reset, &json!({})).await.status, 200);
        post(bench, &[event("rider-1", "a"), event("rider-1", "a"), event("rider-2", "a")]).await;
        assert_eq!(amplitude.uids(), [("a".to_owned(), 2)].into());
        assert_eq!(amplitude.events_of("rider-1").len(), 1);
        bench.handle.reset();
        assert_eq!(amplitude.counters(), isthmus_sandbox::AmplitudeCounters::default());
    })
    .await;
}

#[tokio::test]
async fn the_latest_events_are_kept_and_counts_cover_all() {
    let amplitude =
        AmplitudeConfig { limits: AmplitudeLimits::unhurried(), ..AmplitudeConfig::default() };
    let config = SandboxConfig { occurrences_kept: 10, ..config(amplitude) };
    with(config, async |bench| {
        let events: Vec<Value> = (0..100).map(|n| event("rider-1", &format!("i-{n}"))).collect();
        post(bench, &events).await;
        let amplitude = bench.handle.amplitude();
        let kept = amplitude.events(&AmplitudeEventFilter::default());
        let sequences: Vec<u64> = kept.iter().map(|event| event.sequence).collect();
        assert_eq!(sequences, (90..100).rev().collect::<Vec<_>>());
        assert_eq!(amplitude.person("rider-1").expect("a person").events, 100);
        assert_eq!(amplitude.counters().by_event_type["Viewed"], 100);
    })
    .await;
}

#[tokio::test]
async fn pages_show_the_latest_events_escaped() {
    with_default(async |bench| {
        let mut sent = event("<i>rider/1", "a");
        sent["user_properties"] = json!({"plan": "<b>pro"});
        sent["event_properties"] = json!({"page": "</td>"});
        post(bench, &[sent]).await;
        for path in [
            "/",
            "/amplitude",
            "/amplitude?user_id=%3Ci%3Erider/1",
            "/amplitude/user/%3Ci%3Erider%2F1?project=default",
        ] {
            let page = bench.client.get(path).await;
            assert_eq!(page.status, 200, "{path}");
            assert!(page.text.contains("Viewed") && page.text.contains("rider/1"), "{path}");
            assert!(!page.text.contains("<i>rider") && !page.text.contains("\"</td>"), "{path}");
        }
        let page = bench.client.get("/amplitude/user/%3Ci%3Erider%2F1").await;
        assert!(page.text.contains("plan") && !page.text.contains("<b>pro"));
        let none = bench.client.get("/amplitude?event_type=Other").await;
        assert!(none.status == 200 && none.text.contains("None yet"));
        assert_eq!(bench.client.get("/amplitude/user/nobody").await.status, 404);
        assert_eq!(bench.client.get("/amplitude?project=other").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn settings_are_shown_and_unknown_ones_refused_by_name() {
    with_default(async |bench| {
        set(bench, json!({"http_api_per_second": 5, "rate_window_s": 10})).await;
        let shown = bench.client.get("/_sandbox/settings").await.json();
        assert_eq!(shown["amplitude"]["http_api_per_second"], json!(5));
        assert_eq!(shown["amplitude"]["batch_per_second"], json!(1_000));
        // What is shown can be written again.
        let again = bench.client.post("/_sandbox/settings", &shown).await;
        assert_eq!((again.status, again.json()), (200, shown));
        let wrong =
            bench.client.post("/_sandbox/settings", &json!({"amplitude": {"per_second": 1}})).await;
        assert!(wrong.status == 400 && wrong.message().contains("per_second"), "{}", wrong.text);
        let limits = bench.handle.amplitude().limits();
        assert_eq!(limits.rate_window, Duration::from_secs(10));
    })
    .await;
}

#[tokio::test]
async fn a_request_without_a_socket_is_answered_the_same() {
    let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
    let random = Arc::new(SeededRandom::new(1));
    let (http, handle) = SandboxHttp::new(SandboxConfig::default(), Arc::new(clock), random);
    let body = upload(&[event("rider-1", "a")]).to_string();
    let size = body.len();
    let reply = http.send(Request {
        method: Method::Post,
        url: "https://api2.amplitude.com/2/httpapi".to_owned(),
        headers: HeaderMap::new(),
        body: body.into(),
        timeout: Duration::from_secs(1),
    });
    let reply = reply.await.expect("an answer");
    let expected = format!(
        r#"{{"code":200,"events_ingested":1,"payload_size_bytes":{size},"server_upload_time":{NOW_MS}}}"#
    );
    assert_eq!((reply.status, &reply.body[..]), (200, expected.as_bytes()));
    assert_eq!(handle.amplitude().counters().stored, 1);
}

proptest! {
    /// Whatever is sent, every event is counted in exactly one place, and what is stored is there.
    #[test]
    fn every_event_is_accounted_for(
        uploads in proptest::collection::vec(proptest::collection::vec((0_u8..6, 0_u8..4, 0_u8..5), 1..20), 1..12)
    ) {
        let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
        let random = Arc::new(SeededRandom::new(1));
        let limits = AmplitudeLimits { http_api_per_second: 1, ..AmplitudeLimits::documented() };
        let config = SandboxConfig { keep: Keep::All, ..config(AmplitudeConfig { limits, ..AmplitudeConfig::default() }) };
        let (http, handle) = SandboxHttp::new(config, Arc::new(clock.clone()), random);
        handle.amplitude().silence(["device-3".to_owned()]);
        let mut sent = 0;
        for events in &uploads {
            let events: Vec<Value> = events.iter().map(|(kind, user, id)| match kind {
                0 => json!({"event_type": "$identify", "user_id": format!("user-{user}"), "insert_id": id, "user_properties": {"$add": {"n": 1}}}),
                1 => json!({"event_type": "$groupidentify", "groups": {"team": "red"}, "group_properties": {"a": id}}),
                2 if *user == 3 => json!({"event_type": "Viewed", "user_id": "abc"}),
                3 => json!({"event_type": "Viewed", "device_id": format!("device-{user}")}),
                _ => json!({"event_type": "Viewed", "user_id": format!("user-{user}"), "insert_id": id}),
            }).collect();
            sent += events.len() as u64;
            let request = Request {
                method: Method::Post,
                url: "http://sandbox/2/httpapi".to_owned(),
                headers: HeaderMap::new(),
                body: upload(&events).to_string().into(),
                timeout: Duration::from_secs(1),
            };
            let reply = http.send(request).now_or_never().expect("nothing to wait for");
            let reply = reply.expect("an answer");
            prop_assert!(matches!(reply.status, 200 | 400 | 429));
            clock.advance(Duration::from_secs(3));
        }
        let amplitude = handle.amplitude();
        let counters = amplitude.counters();
        let taken = counters.stored + counters.duplicates + counters.identifies + counters.group_identifies;
        prop_assert_eq!((counters.received, taken + counters.refused), (sent, sent));
        let named = counters.invalid + counters.throttled + counters.silenced;
        prop_assert!(named <= counters.refused);
        let kept = amplitude.events(&AmplitudeEventFilter::default());
        prop_assert_eq!(kept.len() as u64, counters.stored);
        prop_assert_eq!(counters.by_event_type.values().sum::<u64>(), counters.stored);
        let per_second = |peak: &AmplitudePeak| peak.peak_per_second <= 1.0;
        prop_assert!(amplitude.peaks().iter().all(per_second));
    }
}

proptest! {
    /// Whatever bytes come, the answer is a JSON object whose `code` is the status.
    #[test]
    fn any_bytes_are_answered(
        body in prop_oneof![any::<Vec<u8>>(), "\\PC{0,80}".prop_map(String::into_bytes)],
        path in prop_oneof![Just("/2/httpapi"), Just("/batch"), Just("/identify"), Just("/groupidentify"), Just("/2/")],
        packed: bool,
    ) {
        let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
        let random = Arc::new(SeededRandom::new(1));
        let (http, _) = SandboxHttp::new(SandboxConfig::default(), Arc::new(clock), random);
        let mut headers = HeaderMap::new();
        if packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let request = Request {
            method: Method::Post,
            url: format!("http://sandbox{path}"),
            headers,
            body: body.into(),
            timeout: Duration::from_secs(1),
        };
        let reply = http.send(request).now_or_never().expect("nothing to wait for");
        let reply = reply.expect("an answer");
        let read: Value = serde_json::from_slice(&reply.body).expect("JSON");
        prop_assert_eq!(read.get("code"), Some(&json!(reply.status)));
        prop_assert_eq!(reply.status, 400);
    }
}
