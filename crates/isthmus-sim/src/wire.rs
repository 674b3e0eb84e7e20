//! The way to the vendor, watched: what is sent, what comes back, and how much is under way.

use crate::trace::Trace;
use isthmus_core::seam::{BoxFuture, Http, Reply, Request, SendError};
use isthmus_sandbox::SandboxHttp;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// The sandbox, with somebody at the wire. Clones are the same wire.
#[derive(Clone)]
pub(crate) struct Wire {
    sandbox: SandboxHttp,
    trace: Trace,
    in_flight_max: usize,
    in_flight: Arc<AtomicUsize>,
    sent: Arc<AtomicU64>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Wire")
    }
}

/// A request that is under way for as long as this lives.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Wire {
    /// A wire on which at most `in_flight_max` requests may be under way.
    pub(crate) fn new(sandbox: SandboxHttp, trace: Trace, in_flight_max: usize) -> Self {
        let (in_flight, sent) = (Arc::default(), Arc::default());
        Self { sandbox, trace, in_flight_max, in_flight, sent }
    }

    /// Requests sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Http for Wire {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Reply, SendError>> {
        let number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let under_way = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        let guard = UnderWay(Arc::clone(&self.in_flight));
        self.trace.note(format_args!("request {number}: {}", contents(&request.body)));
        if under_way > self.in_flight_max {
            let most = self.in_flight_max;
            self.trace.break_off(format!("{under_way} requests are under way, {most} may be"));
        }
        let (reply, trace) = (self.sandbox.send(request), self.trace.clone());
        Box::pin(async move {
            let result = reply.await;
            match &result {
                Ok(reply) => trace.note(format_args!("answer {number}: {}", reply.status)),
                Err(error) => trace.note(format_args!("answer {number}: {error}")),
            }
            drop(guard);
            result
        })
    }
}

/// What a request holds: the uids of its events, and whose attributes.
fn contents(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let listed = |list: &str, pointer: &str| {
        let objects = body.get(list).and_then(Value::as_array).into_iter().flatten();
        let names = objects.map(|object| object.pointer(pointer).and_then(Value::as_str));
        names.map(|name| name.unwrap_or("?")).collect::<Vec<_>>().join(" ")
    };
    let (events, users) =
        (listed("events", "/properties/uid"), listed("attributes", "/external_id"));
    let hash = xxh3_64(body.to_string().as_bytes());
    format!("{hash:016x} {events}; {users}")
}
