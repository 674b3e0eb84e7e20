//! A sandbox whose messages call a fake service.

use crate::NOW_MS;
use http::{HeaderMap, HeaderValue, header};
use isthmus_core::Timestamp;
use isthmus_core::seam::{
    BoxFuture, Clock, Http, ManualClock, Method, Reply, Request, SeededRandom, SendError,
};
use isthmus_sandbox::{SandboxConfig, SandboxHandle, SandboxHttp};
use serde_json::{Value, json};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What the service answers.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    body: String,
    delay: Duration,
}

impl Answer {
    /// No connection.
    pub(crate) const NONE: Self = Self { status: 0, body: String::new(), delay: Duration::ZERO };

    pub(crate) fn ok(body: &str) -> Self {
        Self { status: 200, body: body.to_owned(), ..Self::NONE }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::ok("").with_status(status)
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// A request as the service sees it.
pub(crate) struct Seen {
    /// How many came before.
    pub(crate) number: usize,
    pub(crate) url: String,
}

type Behaviour = dyn Fn(&Seen) -> Answer + Send + Sync;

#[derive(Clone)]
struct Site {
    behaviour: Arc<Behaviour>,
    sent: Arc<Mutex<Vec<Request>>>,
    clock: ManualClock,
}

impl fmt::Debug for Site {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Site")
    }
}

impl Http for Site {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Reply, SendError>> {
        let mut sent = self.sent.lock().expect("no panic");
        let answer = (self.behaviour)(&Seen { number: sent.len(), url: request.url.clone() });
        sent.push(request);
        let clock = self.clock.clone();
        Box::pin(async move {
            if answer.status == 0 {
                return Err(SendError::NotSent { reason: "no connection".to_owned() });
            }
            clock.sleep(answer.delay).await;
            Ok(Reply {
                status: answer.status,
                headers: HeaderMap::new(),
                body: answer.body.into(),
                received_at: clock.now(),
            })
        })
    }
}

pub(crate) struct Lab {
    http: SandboxHttp,
    handle: SandboxHandle,
    site: Site,
}

impl Lab {
    /// Without a service.
    pub(crate) fn new() -> Self {
        Self::answering(|_| Answer::NONE)
    }

    pub(crate) fn answering(behaviour: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
        let site =
            Site { behaviour: Arc::new(behaviour), sent: Arc::default(), clock: clock.clone() };
        let random = Arc::new(SeededRandom::new(1));
        let (http, handle) = SandboxHttp::calling(
            SandboxConfig::default(),
            Arc::new(clock),
            random,
            Arc::new(site.clone()),
        );
        Self { http, handle, site }
    }

    pub(crate) fn handle(&self) -> &SandboxHandle {
        &self.handle
    }

    /// What the service received.
    pub(crate) fn sent(&self) -> Vec<Request> {
        self.site.sent.lock().expect("no panic").clone()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.site.clock.monotonic()
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.site.clock.advance(time);
    }

    /// Sends a request, and moves the clock whenever it waits for it.
    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer any-key"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut sending = self.http.send(Request {
            method: Method::Post,
            url: format!("https://sandbox.test{path}"),
            headers,
            body: body.to_string().into(),
            timeout: Duration::from_hours(1),
        });
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(sent) = sending.as_mut().poll(&mut context) {
                let reply = sent.expect("an answer");
                return (reply.status, serde_json::from_slice(&reply.body).expect("JSON"));
            }
            self.pass(self.site.clock.next_due().expect("something to wait for"));
        }
    }

    pub(crate) fn user(&self, attributes: &Value) {
        let (status, answer) = self.post("/users/track", &json!({"attributes": [attributes]}));
        assert_eq!(status, 201, "{answer}");
    }

    pub(crate) fn credentials(&self, credentials: &Value) {
        let (status, answer) = self.post("/_sandbox/credentials", credentials);
        assert_eq!(status, 200, "{answer}");
        assert!(!answer.to_string().contains("pass"), "secrets are not shown");
    }

    pub(crate) fn ask(&self, asked: &Value) -> (u16, Value) {
        self.post("/_sandbox/render", asked)
    }

    pub(crate) fn render(&self, asked: &Value) -> Value {
        let (status, rendered) = self.ask(asked);
        assert_eq!(status, 200, "{asked}: {rendered}");
        rendered
    }

    /// Renders a message about nobody.
    pub(crate) fn render_text(&self, template: &str) -> Value {
        self.render(&json!({ "template": template }))
    }
}
