//! A sandbox that messages users and exports to a receiver, on a clock that only moves when told
//! to. No runtime: the loop that sends is polled.

use crate::NOW_MS;
use http::{HeaderMap, HeaderValue, header};
use isthmus_core::Timestamp;
use isthmus_core::seam::{
    BoxFuture, Clock, Http, ManualClock, Method, Reply, Request, SeededRandom, SendError,
};
use isthmus_sandbox::{SandboxConfig, SandboxHandle, SandboxHttp};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The URL of the receiver.
pub(crate) const URL: &str = "https://receiver.test/currents?workspace=shop";

type Behaviour = dyn Fn(usize, &Request) -> u16 + Send + Sync;

/// Whoever receives Currents. The status 0 is no connection.
#[derive(Clone)]
struct Receiver {
    behaviour: Arc<Behaviour>,
    requests: Arc<Mutex<Vec<(Request, u16)>>>,
    clock: ManualClock,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Receiver")
    }
}

impl Http for Receiver {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Reply, SendError>> {
        let mut requests = self.requests.lock().expect("no panic");
        let status = (self.behaviour)(requests.len(), &request);
        requests.push((request, status));
        let clock = self.clock.clone();
        Box::pin(async move {
            clock.sleep(Duration::from_millis(20)).await;
            if status == 0 {
                return Err(SendError::Unknown { reason: "reset".to_owned() });
            }
            let (headers, received_at) = (HeaderMap::new(), clock.now());
            Ok(Reply { status, headers, body: "".into(), received_at })
        })
    }
}

pub(crate) struct Stage {
    http: SandboxHttp,
    pub(crate) handle: SandboxHandle,
    receiver: Receiver,
    sending: RefCell<BoxFuture<'static, ()>>,
    pub(crate) clock: ManualClock,
}

fn poll<T>(future: &mut BoxFuture<'static, T>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

impl Stage {
    /// A receiver that takes everything.
    pub(crate) fn new() -> Self {
        Self::answering(|_, _| 200)
    }

    /// A receiver that answers a request, and the number of those before it, with a status.
    pub(crate) fn answering(
        behaviour: impl Fn(usize, &Request) -> u16 + Send + Sync + 'static,
    ) -> Self {
        Self::seeded(1, SandboxConfig::default(), behaviour)
    }

    pub(crate) fn seeded(
        seed: u64,
        config: SandboxConfig,
        behaviour: impl Fn(usize, &Request) -> u16 + Send + Sync + 'static,
    ) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
        let behaviour = Arc::new(behaviour);
        let receiver = Receiver { behaviour, requests: Arc::default(), clock: clock.clone() };
        let (http, handle) = SandboxHttp::calling(
            config,
            Arc::new(clock.clone()),
            Arc::new(SeededRandom::new(seed)),
            Arc::new(receiver.clone()),
        );
        let sender = handle.clone();
        let sending: BoxFuture<'static, ()> =
            Box::pin(async move { sender.send_until(CancellationToken::new()).await });
        Self { http, handle, receiver, sending: RefCell::new(sending), clock }
    }

    /// Lets time pass, and everything happen that is due on the way.
    pub(crate) fn pass(&self, time: Duration) {
        let end = self.clock.monotonic() + time;
        loop {
            assert!(
                poll(&mut self.sending.borrow_mut()).is_pending(),
                "it sends until it is stopped"
            );
            let left = end.saturating_sub(self.clock.monotonic());
            match self.clock.next_due() {
                Some(due) if due <= left => self.clock.advance(due.max(Duration::from_millis(1))),
                _ if left.is_zero() => return,
                _ => self.clock.advance(left),
            }
        }
    }

    pub(crate) fn send(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer any-key"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut sending = self.http.send(Request {
            method,
            url: format!("https://sandbox.test{path}"),
            headers,
            body: body.to_string().into(),
            timeout: Duration::from_hours(1),
        });
        loop {
            if let Poll::Ready(sent) = poll(&mut sending) {
                let reply = sent.expect("an answer");
                let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
                return (reply.status, body);
            }
            self.clock.advance(self.clock.next_due().expect("something to wait for"));
        }
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.send(Method::Get, path, &Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Tells Braze something.
    pub(crate) fn track(&self, body: &Value) {
        let (status, answer) = self.send(Method::Post, "/users/track", body);
        assert_eq!(status, 201, "{answer}");
    }

    pub(crate) fn user(&self, attributes: &Value) {
        self.track(&json!({ "attributes": [attributes] }));
    }

    pub(crate) fn event(&self, external_id: &str, name: &str) {
        let event = json!({
            "external_id": external_id, "name": name, "time": self.clock.now().to_string(),
            "properties": {"tour": "fjord", "total": 12.5},
        });
        self.track(&json!({ "events": [event] }));
    }

    pub(crate) fn campaign(&self, name: &str, definition: &Value) {
        self.handle.campaigns().put(name, definition).expect("a campaign");
    }

    /// A connector to the receiver.
    pub(crate) fn connector(&self, mut definition: Value) {
        let members = definition.as_object_mut().expect("an object");
        members.insert("url".to_owned(), json!(URL));
        self.handle.currents().put("out", &definition).expect("a connector");
    }

    /// What the receiver got, and answered.
    pub(crate) fn requests(&self) -> Vec<(Request, u16)> {
        self.receiver.requests.lock().expect("no panic").clone()
    }

    /// Events of all requests that the receiver took, in the order of their arrival.
    pub(crate) fn taken(&self) -> Vec<Value> {
        let requests = self.requests().into_iter();
        let taken = requests.filter(|(_, status)| *status == 200);
        taken.flat_map(|(request, _)| events(&request)).collect()
    }

    /// How often the receiver took each type, by its name without `users.`.
    pub(crate) fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = self.taken().iter().map(short).collect();
        types.sort();
        types
    }
}

/// The events of a request.
pub(crate) fn events(request: &Request) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    body.get("events").and_then(Value::as_array).expect("events").clone()
}

/// Its type without `users.`.
pub(crate) fn short(event: &Value) -> String {
    let name = event.get("event_type").and_then(Value::as_str).expect("a type");
    name.trim_start_matches("users.").to_owned()
}
