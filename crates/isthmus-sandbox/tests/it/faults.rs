//! What goes wrong on purpose.

use crate::{Bench, with, with_default};
use isthmus_sandbox::{Fault, FaultEffect, RateLimitForm, SandboxConfig, When};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

fn event(id: &str, name: &str) -> Value {
    json!({"external_id": id, "name": name, "time": "2026-09-01"})
}

fn one_event() -> Value {
    json!({ "events": [event("u", "x")] })
}

async fn inject(bench: &Bench, rule: Value) {
    let reply = bench.client.post("/_sandbox/faults", &rule).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
}

#[tokio::test]
async fn a_status_is_answered_as_often_as_asked() {
    with_default(async |bench| {
        let effect = json!({"status": {"code": 503, "body": {"message": "down"}, "headers": {"x-why": "test"}}});
        inject(bench, json!({"path": "/users/track", "times": 2, "effect": effect})).await;
        for _ in 0..2 {
            let reply = bench.client.post("/users/track", &one_event()).await;
            assert_eq!((reply.status, reply.message()), (503, "down".to_owned()));
            assert_eq!(reply.header("x-why"), Some("test"));
        }
        assert_eq!(bench.client.post("/users/track", &one_event()).await.status, 201);
        assert_eq!(bench.handle.counters().events_applied, 1);
        let rules = bench.client.get("/_sandbox/faults").await.json();
        assert_eq!(rules["faults"][0]["struck"], json!(2));
    })
    .await;
}

#[tokio::test]
async fn a_failure_after_taking_effect_leads_to_a_repeat() {
    with_default(async |bench| {
        let effect = FaultEffect::Status {
            code: 500,
            body: None,
            headers: BTreeMap::new(),
            when: When::After,
        };
        bench.handle.inject(Fault::on("/users/track", effect).times(1));
        assert_eq!(bench.client.post("/users/track", &one_event()).await.status, 500);
        assert_eq!(bench.client.post("/users/track", &one_event()).await.status, 201);
        let counters = bench.handle.counters();
        assert_eq!((counters.events_applied, counters.events_repeated), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn a_reset_ends_the_connection_before_or_after_the_effect() {
    for (when, applied) in [(When::Before, 0), (When::After, 1)] {
        with_default(async |bench| {
            bench.handle.inject(Fault::on("*", FaultEffect::Reset { when }).times(1));
            let lost = bench.client.try_post("/users/track", &one_event()).await;
            let kind = lost.expect_err("no answer").kind();
            assert_eq!(kind, io::ErrorKind::ConnectionReset);
            assert_eq!(bench.handle.counters().events_applied, applied);
            assert_eq!(bench.client.post("/users/track", &one_event()).await.status, 201);
        })
        .await;
    }
}

#[tokio::test]
async fn latency_holds_the_request_up() {
    with_default(async |bench| {
        let latency = FaultEffect::Latency { min_ms: 2_000, max_ms: 2_000, when: When::Before };
        bench.handle.inject(Fault::on("/users/track", latency).times(1));
        let body = one_event();
        let request = bench.client.post("/users/track", &body);
        let time_passes = async {
            while bench.clock.next_due().is_none() {
                tokio::task::yield_now().await;
            }
            assert_eq!(bench.handle.counters().events_applied, 0);
            bench.clock.advance(Duration::from_secs(2));
        };
        let (reply, ()) = tokio::join!(request, time_passes);
        assert_eq!(reply.status, 201);
    })
    .await;
}

#[tokio::test]
async fn partial_failures_refuse_the_objects_that_match() {
    with_default(async |bench| {
        let body =
            json!({"events": [event("u", "x"), event("v", "y"), event("u", "y"), event("v", "x")]});
        for (effect, refused) in [
            (json!({"external_id": "u"}), json!([0, 2])),
            (json!({"name": "y"}), json!([1, 2])),
            (json!({"external_id": "u", "name": "y"}), json!([2])),
            (json!({"every": 3}), json!([2])),
            (json!({"every": 1}), json!([0, 1, 2, 3])),
        ] {
            let rule = json!({"path": "/users/track", "times": 1, "effect": {"partial": effect}});
            inject(bench, rule).await;
            let reply = bench.client.post("/users/track", &body).await.json();
            let errors = reply["errors"].as_array().expect("errors");
            let indexes: Value = errors.iter().map(|error| error["index"].clone()).collect();
            assert_eq!(indexes, refused);
            assert_eq!(errors[0]["type"], json!("refused by a fault of the sandbox"));
        }
    })
    .await;
}

#[tokio::test]
async fn partial_failures_hold_for_delayed_requests() {
    let delay = Duration::from_millis(50);
    with(SandboxConfig { apply_delay: delay, ..SandboxConfig::default() }, async |bench| {
        let partial = json!({"partial": {"external_id": "u"}});
        inject(bench, json!({"effect": partial, "path": "/users/track"})).await;
        let body = json!({"events": [event("u", "x"), event("v", "y")]});
        assert_eq!(bench.client.post("/users/track", &body).await.status, 201);
        assert_eq!((bench.handle.user_count(), bench.handle.waiting()), (0, 1));
        bench.clock.advance(delay);
        assert!(bench.handle.user("u").is_none() && bench.handle.user("v").is_some());
    })
    .await;
}

#[tokio::test]
async fn rate_limits_come_in_every_documented_form() {
    with_default(async |bench| {
        let epoch = (crate::NOW_MS / 1_000 + 7).to_string();
        for (form, header, value) in [
            (RateLimitForm::Epoch, "x-ratelimit-reset", epoch.as_str()),
            (RateLimitForm::Seconds, "x-ratelimit-reset", "7"),
            (RateLimitForm::RetryAfter, "x-ratelimit-retry-after", "7"),
            (RateLimitForm::StandardRetryAfter, "retry-after", "7"),
        ] {
            let effect = FaultEffect::RateLimit { form, seconds: 7 };
            bench.handle.inject(Fault::on("/users/track", effect).times(1));
            let reply = bench.client.post("/users/track", &one_event()).await;
            assert_eq!((reply.status, reply.header(header)), (429, Some(value)));
        }
        let bare = FaultEffect::RateLimit { form: RateLimitForm::Bare, seconds: 7 };
        bench.handle.inject(Fault::on("/users/track", bare).times(1));
        let reply = bench.client.post("/users/track", &one_event()).await;
        assert!(reply.status == 429 && reply.header("x-ratelimit-reset").is_none());
        assert_eq!(bench.handle.counters().events, 0);
    })
    .await;
}

#[tokio::test]
async fn rules_come_one_by_one_or_together_and_go_at_once() {
    with_default(async |bench| {
        let rule = json!({"effect": {"reset": {"when": "before"}}, "path": "/users/merge"});
        inject(bench, rule.clone()).await;
        inject(bench, json!([rule, rule])).await;
        let faults = bench.client.get("/_sandbox/faults").await.json();
        assert_eq!(faults["faults"].as_array().map(Vec::len), Some(3));
        let cleared = bench.client.send("DELETE /_sandbox/faults HTTP/1.1\r\n", b"").await;
        assert_eq!(cleared.expect("an answer").status, 200);
        assert_eq!(bench.client.get("/_sandbox/faults").await.json(), json!({"faults": []}));
        for wrong in [
            json!({}),
            json!({"effect": {"explode": {}}}),
            json!({"probability": 2, "effect": {"reset": {"when": "before"}}}),
        ] {
            assert_eq!(bench.client.post("/_sandbox/faults", &wrong).await.status, 400);
        }
    })
    .await;
}
