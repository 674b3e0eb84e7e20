//! The sandbox as an HTTP client, without a runtime: only futures that are polled and a clock.

use crate::NOW_MS;
use http::{HeaderMap, HeaderValue, header};
use isthmus_core::Timestamp;
use isthmus_core::seam::{
    BoxFuture, Clock, Http, ManualClock, Method, Reply, Request, SeededRandom, SendError,
};
use isthmus_sandbox::{
    Fault, FaultEffect, Latency, Rates, SandboxConfig, SandboxHandle, SandboxHttp,
};
use isthmus_sandbox::{RateProfile, When};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

struct Lab {
    http: SandboxHttp,
    handle: SandboxHandle,
    clock: ManualClock,
}

type Sending = BoxFuture<'static, Result<Reply, SendError>>;

impl Lab {
    fn new(config: SandboxConfig, seed: u64) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
        let random = Arc::new(SeededRandom::new(seed));
        let (http, handle) = SandboxHttp::new(config, Arc::new(clock.clone()), random);
        Self { http, handle, clock }
    }

    fn with(effect: FaultEffect) -> Self {
        let lab = Self::new(SandboxConfig::default(), 1);
        lab.handle.inject(Fault::on("/users/track", effect).times(1));
        lab
    }

    /// Begins to send a POST.
    fn post(&self, path: &str, body: &Value) -> Sending {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer any-key"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.http.send(Request {
            method: Method::Post,
            url: format!("https://rest.iad-01.braze.com{path}"),
            headers,
            body: body.to_string().into(),
            timeout: TIMEOUT,
        })
    }

    fn track(&self, name: &str) -> Sending {
        let event = json!({"external_id": "u", "name": name, "time": "2026-09-01"});
        self.post("/users/track", &json!({ "events": [event] }))
    }

    /// Lets time pass until `sending` has ended; its end, and the time that took.
    fn finish(&self, mut sending: Sending) -> (Result<Reply, SendError>, Duration) {
        let begun = self.clock.monotonic();
        loop {
            if let Poll::Ready(end) = poll(&mut sending) {
                return (end, self.clock.monotonic().saturating_sub(begun));
            }
            self.clock.advance(self.clock.next_due().expect("somebody waits"));
        }
    }

    fn applied(&self) -> u64 {
        self.handle.counters().events_applied
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls for as long as it wakes itself.
fn poll(sending: &mut Sending) -> Poll<Result<Reply, SendError>> {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    loop {
        let polled = sending.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_ready() || !woken.0.swap(false, Ordering::Relaxed) {
            return polled;
        }
    }
}

fn status((end, after): (Result<Reply, SendError>, Duration)) -> (u16, Duration) {
    (end.expect("an answer").status, after)
}

fn wait(seconds: u64, when: When) -> FaultEffect {
    let ms = seconds * 1_000;
    FaultEffect::Latency(Latency::Uniform { min_ms: ms, max_ms: ms, when })
}

#[test]
fn a_request_is_answered_as_over_a_socket() {
    let lab = Lab::new(SandboxConfig::default(), 1);
    let reply = lab.finish(lab.track("x")).0.expect("an answer");
    assert_eq!(
        (reply.status, &reply.body[..]),
        (201, &br#"{"events_processed":1,"message":"success"}"#[..])
    );
    assert!(reply.header("x-ratelimit-remaining").is_some());
    assert_eq!(reply.received_at, Timestamp::from_millis(NOW_MS));
    assert_eq!(lab.applied(), 1);
    assert_eq!(status(lab.finish(lab.post("/users/track/", &json!({})))).0, 403);
    assert_eq!(status(lab.finish(lab.post("/_sandbox/reset", &json!({})))).0, 200);
    assert_eq!(lab.applied(), 0);
    assert_eq!(lab.clock.next_due(), None, "nobody waits any more");
}

#[test]
fn keys_and_rate_limits_hold_on_the_clock_that_was_given() {
    let rates = Rates { track_per_3s: 1, ..Rates::documented(RateProfile::Mau) };
    let lab = Lab::new(SandboxConfig { rates, ..SandboxConfig::default() }, 1);
    assert_eq!(status(lab.finish(lab.track("x"))).0, 201);
    let refused = lab.finish(lab.track("x")).0.expect("an answer");
    assert_eq!((refused.status, refused.header("x-ratelimit-retry-after")), (429, Some("1")));
    lab.clock.advance(Duration::from_secs(1));
    assert_eq!(status(lab.finish(lab.track("x"))).0, 201);
}

#[test]
fn an_answer_comes_when_its_latency_is_over_and_not_after_the_timeout() {
    for when in [When::Before, When::After] {
        for seconds in [29, 30] {
            let lab = Lab::with(wait(seconds, when));
            let end = status(lab.finish(lab.track("x")));
            assert_eq!(end, (201, Duration::from_secs(seconds)));
        }
    }
    for (when, applied) in [(When::Before, 0), (When::After, 1)] {
        let lab = Lab::with(wait(31, when));
        let (end, after) = lab.finish(lab.track("x"));
        assert!(matches!(end, Err(SendError::Unknown { .. })), "{end:?}");
        assert_eq!((after, lab.applied()), (TIMEOUT, applied));
    }
}

#[test]
fn what_is_lost_is_unknown_and_what_is_refused_was_not_sent() {
    let unknown = |effect: FaultEffect, applied: u64, after: Duration| {
        let lab = Lab::with(effect.clone());
        let (end, took) = lab.finish(lab.track("x"));
        assert!(matches!(end, Err(SendError::Unknown { .. })), "{effect:?}: {end:?}");
        assert_eq!((lab.applied(), took), (applied, after), "{effect:?}");
        assert_eq!(status(lab.finish(lab.track("x"))), (201, Duration::ZERO));
    };
    unknown(FaultEffect::Reset { when: When::Before }, 0, Duration::ZERO);
    unknown(FaultEffect::Reset { when: When::After }, 1, Duration::ZERO);
    unknown(FaultEffect::Truncate { bytes: None }, 1, Duration::ZERO);
    unknown(FaultEffect::Hang { when: When::Before }, 0, TIMEOUT);
    unknown(FaultEffect::Hang { when: When::After }, 1, TIMEOUT);

    let lab = Lab::with(FaultEffect::Refuse {});
    let (end, _) = lab.finish(lab.track("x"));
    assert!(matches!(end, Err(SendError::NotSent { .. })), "{end:?}");
    assert_eq!(lab.applied(), 0);
}

#[test]
fn a_request_that_is_dropped_has_taken_effect_as_far_as_it_came() {
    for (when, applied) in [(When::Before, 0), (When::After, 1)] {
        let lab = Lab::with(wait(5, when));
        let mut sending = lab.track("x");
        assert!(poll(&mut sending).is_pending());
        drop(sending);
        assert_eq!((lab.applied(), lab.clock.next_due()), (applied, None));
    }
}

#[test]
fn a_seed_repeats_everything() {
    let run = |seed| {
        let jitter = Duration::from_secs(20);
        let lab =
            Lab::new(SandboxConfig { apply_jitter: jitter, ..SandboxConfig::default() }, seed);
        let wait = Latency::LogNormal { p50_ms: 200, p99_ms: 60_000, when: When::After };
        lab.handle.inject(Fault::on("*", FaultEffect::Latency(wait)));
        let reset = FaultEffect::Reset { when: When::After };
        lab.handle.inject(Fault::on("/users/*", reset).with_probability(0.3));
        let ends: Vec<_> = (0..50).map(|n| lab.finish(lab.track(&n.to_string()))).collect();
        lab.handle.settle();
        let order = lab.handle.occurrences("u").into_iter().map(|event| event.name);
        (ends, order.collect::<Vec<_>>(), lab.handle.users(), lab.handle.strikes())
    };
    let (seven, again, eight) = (run(7), run(7), run(8));
    assert_eq!(seven, again);
    assert_ne!(seven.0, eight.0);
    assert_ne!(seven.1, eight.1);
}
