//! What goes wrong on purpose.

use crate::client::Client;
use crate::{Bench, with, with_default};
use isthmus_sandbox::{Fault, FaultEffect, Latency, RateLimitForm, SandboxConfig, When};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
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
        let latency = Latency::Uniform { min_ms: 2_000, max_ms: 2_000, when: When::Before };
        let latency = FaultEffect::Latency(latency);
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
        let hour = (3_600 - crate::NOW_MS / 1_000 % 3_600).to_string();
        let date = "Wed, 09 Sep 2026 21:46:48 GMT";
        for (form, header, value) in [
            (RateLimitForm::Epoch, "x-ratelimit-reset", epoch.as_str()),
            (RateLimitForm::Seconds, "x-ratelimit-reset", "7"),
            (RateLimitForm::RetryAfter, "x-ratelimit-retry-after", "7"),
            (RateLimitForm::Hour, "x-ratelimit-retry-after", &hour),
            (RateLimitForm::StandardRetryAfter, "retry-after", "7"),
            (RateLimitForm::StandardRetryAfterDate, "retry-after", date),
        ] {
            let effect = FaultEffect::RateLimit { form, seconds: Some(7) };
            bench.handle.inject(Fault::on("/users/track", effect).times(1));
            let reply = bench.client.post("/users/track", &one_event()).await;
            assert_eq!((reply.status, reply.header(header)), (429, Some(value)));
            let counts = matches!(form, RateLimitForm::Epoch | RateLimitForm::Seconds);
            assert_eq!(reply.header("x-ratelimit-remaining"), counts.then_some("0"));
        }
        let bare = FaultEffect::RateLimit { form: RateLimitForm::Bare, seconds: None };
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
        let reply = bench.client.post("/_sandbox/faults", &json!([rule, {"effect": 1}])).await;
        assert!(reply.status == 400 && reply.message().starts_with("line 1, column "));
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

/// Sends a request in the background and waits until the sandbox has dealt with it; whether the
/// client is still waiting then.
async fn is_left_waiting(bench: &Bench) -> bool {
    let body = one_event();
    let mut request = pin!(bench.client.try_post("/users/track", &body));
    let struck = bench.handle.strikes().iter().sum::<u64>() + 1;
    let dealt_with = async {
        while bench.handle.strikes().iter().sum::<u64>() < struck {
            tokio::task::yield_now().await;
        }
        // An answer would be on its way by the time this connection has had its own.
        bench.client.get("/_sandbox/counters").await;
        bench.client.get("/_sandbox/counters").await;
    };
    tokio::select! {
        biased;
        _ = &mut request => false,
        () = dealt_with => true,
    }
}

#[tokio::test]
async fn a_request_that_hangs_is_processed_or_not_and_never_answered() {
    for (when, applied) in [(When::Before, 0), (When::After, 1)] {
        with_default(async |bench| {
            bench.handle.inject(Fault::on("/users/track", FaultEffect::Hang { when }).times(1));
            assert!(is_left_waiting(bench).await);
            assert_eq!(bench.handle.counters().events_applied, applied);
            assert_eq!(bench.client.post("/users/track", &one_event()).await.status, 201);
            let requests = bench.client.get("/_sandbox/requests").await.json();
            let entry = &requests["requests"][1];
            assert_eq!((&entry["status"], &entry["fault"]), (&Value::Null, &json!(true)));
        })
        .await;
    }
}

#[tokio::test]
async fn a_stop_ends_requests_that_hang() {
    let body = one_event();
    let mut left = None;
    with_default(async |bench| {
        bench.handle.inject(Fault::on("/users/track", FaultEffect::Hang { when: When::After }));
        let client = Client::new(bench.client.address());
        let body = body.clone();
        let request = async move { client.try_post("/users/track", &body).await };
        let mut request = Box::pin(request);
        let struck = async {
            while bench.handle.strikes() != [1] {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = &mut request => panic!("answered"),
            () = struck => left = Some(request),
        }
    })
    .await;
    assert!(left.expect("a request").await.is_err());
}

#[tokio::test]
async fn over_a_socket_a_refusal_is_a_reset_before_the_effect() {
    with_default(async |bench| {
        bench.handle.inject(Fault::on("*", FaultEffect::Refuse {}).times(1));
        let lost = bench.client.try_post("/users/track", &one_event()).await;
        assert_eq!(lost.expect_err("no answer").kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(bench.handle.counters().events, 0);
    })
    .await;
}

#[tokio::test]
async fn a_truncated_answer_breaks_off_after_the_effect() {
    with_default(async |bench| {
        let whole = bench.client.post("/users/track", &one_event()).await.text;
        for (effect, kept) in
            [(json!({}), whole.len() / 2), (json!({"bytes": 3}), 3), (json!({"bytes": 0}), 0)]
        {
            let rule = json!({"path": "/users/track", "times": 1, "effect": {"truncate": effect}});
            inject(bench, rule).await;
            let (reply, end) = bench.client.post_until_end("/users/track", &one_event()).await;
            assert_eq!(
                (reply.status, reply.text.as_str()),
                (201, whole.get(..kept).expect("ASCII"))
            );
            assert_eq!(reply.header("content-length"), Some(whole.len().to_string().as_str()));
            assert_eq!(end.expect_err("no orderly end").kind(), io::ErrorKind::ConnectionReset);
        }
        assert_eq!(bench.handle.counters().events_applied, 4);
    })
    .await;
}

#[tokio::test]
async fn garbage_is_a_page_of_something_in_between() {
    with_default(async |bench| {
        for (effect, code, applied) in [
            (json!({}), 200, 0),
            (json!({"code": 201, "when": "after"}), 201, 1),
            (json!({"code": 502}), 502, 1),
        ] {
            let rule = json!({"path": "/users/track", "times": 1, "effect": {"garbage": effect}});
            inject(bench, rule).await;
            let reply = bench.client.post("/users/track", &one_event()).await;
            assert_eq!(reply.status, code);
            assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
            assert!(reply.text.starts_with("<!DOCTYPE html>"));
            assert_eq!(bench.handle.counters().events_applied, applied);
        }
    })
    .await;
}

#[tokio::test]
async fn poison_spoils_a_whole_request_and_names_nothing() {
    for delay in [Duration::ZERO, Duration::from_millis(50)] {
        with(SandboxConfig { apply_delay: delay, ..SandboxConfig::default() }, async |bench| {
            let poison = json!({"poison": {"external_id": "u", "name": "x"}});
            inject(bench, json!({"path": "/users/track", "effect": poison})).await;
            let spoiled = json!({"events": [event("v", "x"), event("u", "x"), event("w", "x")]});
            for body in [spoiled, one_event()] {
                let reply = bench.client.post("/users/track", &body).await;
                assert_eq!(reply.status, 400);
                assert_eq!(reply.json(), json!({"message": "Invalid request"}));
            }
            let rest = json!({"events": [event("v", "x"), event("u", "y"), event("w", "x")]});
            assert_eq!(bench.client.post("/users/track", &rest).await.status, 201);
            bench.clock.advance(delay);
            assert_eq!(bench.handle.counters().events_applied, 3);
        })
        .await;
    }
}

#[tokio::test]
async fn smaller_limits_of_objects_and_bytes_are_answered_as_the_large_ones() {
    with_default(async |bench| {
        inject(bench, json!({"effect": {"objects_max": {"max": 2}}})).await;
        let three = json!({"events": [event("u", "x"), event("v", "x"), event("w", "x")]});
        let reply = bench.client.post("/users/track", &three).await;
        assert_eq!(
            (reply.status, reply.text.as_str()),
            (400, r#"{"message":"Max input length exceeded"}"#)
        );
        let two = json!({"events": [event("u", "x"), event("v", "x")]});
        assert_eq!(bench.client.post("/users/track", &two).await.status, 201);

        bench.handle.clear_faults();
        let bytes = two.to_string().len();
        inject(bench, json!({"effect": {"bytes_max": {"max": bytes}}})).await;
        assert_eq!(bench.client.post("/users/track", &two).await.status, 201);
        let reply = bench.client.post("/users/track", &three).await;
        assert_eq!((reply.status, reply.message().as_str()), (413, "Request body is too large"));
        assert_eq!(bench.handle.counters().events_applied, 4);
    })
    .await;
}

#[tokio::test]
async fn an_outage_lasts_as_long_as_it_says_and_comes_back() {
    with_default(async |bench| {
        let hour = 3_600_000;
        let rule = json!({
            "effect": {"status": {"code": 503}}, "after_ms": hour, "for_ms": 3 * hour, "every_ms": 24 * hour,
        });
        inject(bench, rule).await;
        let mut down = Vec::new();
        for hour in 0..30 {
            if bench.client.post("/users/track", &one_event()).await.status == 503 {
                down.push(hour);
            }
            bench.clock.advance(Duration::from_hours(1));
        }
        assert_eq!(down, [1, 2, 3, 25, 26, 27]);
    })
    .await;
}
