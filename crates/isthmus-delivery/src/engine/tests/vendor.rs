//! A vendor in memory, its connector, and the mapping of the streams that feed it.
//!
//! A request's body is one line per object, `user name`; a reply's body is one line per object
//! that was refused.

use bytes::Bytes;
use http::HeaderMap;
use isthmus_core::ByteSize;
use isthmus_core::destination::{
    Budget, Delivery, Destination, EncodeError, Encoded, Guarantee, Lane, Limits, Mapped, Mapping,
    Message, Rate, Section, Shares, Verdict, Wants,
};
use isthmus_core::record::Applied;
use isthmus_core::seam::{BoxFuture, Clock, Http, ManualClock, Method, Reply, Request, SendError};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

pub(super) const LATENCY: Duration = Duration::from_millis(40);

/// What the vendor does with a request that has an object of some name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing, ever, and it takes none of the objects.
    Nothing,
    /// 400 for the whole request.
    RefuseRequest,
    /// An error for this object.
    RefuseObject,
}

pub(super) struct Vendor {
    clock: ManualClock,
    state: Arc<Mutex<State>>,
    requests: watch::Sender<usize>,
}

type Watch = Box<dyn Fn() -> usize + Send>;

#[derive(Default)]
struct State {
    answers: BTreeMap<String, Answer>,
    broken: Option<u16>,
    requests_per_3s: Option<u32>,
    taken: Vec<(String, String)>,
    watch: Option<Watch>,
    watched: Vec<usize>,
}

impl fmt::Debug for Vendor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Vendor")
    }
}

impl Vendor {
    pub(super) fn new(clock: ManualClock) -> Self {
        Self { clock, state: Arc::default(), requests: watch::Sender::new(0) }
    }

    pub(super) fn answer(&self, name: &str, answer: Answer) {
        self.state.lock().unwrap().answers.insert(name.to_owned(), answer);
    }

    pub(super) fn forget(&self, name: &str) {
        self.state.lock().unwrap().answers.remove(name);
    }

    /// Answers every request with `status` and takes nothing.
    pub(super) fn break_with(&self, status: Option<u16>) {
        self.state.lock().unwrap().broken = status;
    }

    /// Takes so many requests in 3 seconds; call it before an engine is opened.
    pub(super) fn slow_down(&self, requests: u32) {
        self.state.lock().unwrap().requests_per_3s = Some(requests);
    }

    /// Everybody of whom anything was taken.
    pub(super) fn users(&self) -> std::collections::BTreeSet<String> {
        let state = self.state.lock().unwrap();
        state.taken.iter().map(|(user, _)| user.clone()).collect()
    }

    /// Calls `watch` as each request arrives.
    pub(super) fn watch(&self, watch: impl Fn() -> usize + Send + 'static) {
        self.state.lock().unwrap().watch = Some(Box::new(watch));
    }

    pub(super) fn watched(&self) -> Vec<usize> {
        self.state.lock().unwrap().watched.clone()
    }

    /// Requests that arrived.
    pub(super) fn requests(&self) -> usize {
        *self.requests.borrow()
    }

    /// Completes when `count` requests have arrived.
    pub(super) async fn reached(&self, count: usize) {
        self.requests.subscribe().wait_for(|requests| *requests >= count).await.unwrap();
    }

    pub(super) fn taken(&self) -> usize {
        self.state.lock().unwrap().taken.len()
    }

    pub(super) fn taken_of(&self, user: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let taken = state.taken.iter().filter(|(of, _)| of == user);
        taken.map(|(_, name)| name.clone()).collect()
    }
}

impl State {
    /// Status and body of the reply; `None` when there is none.
    fn take(&mut self, body: &str) -> Option<(u16, String)> {
        if let Some(watch) = &self.watch {
            self.watched.push(watch());
        }
        if let Some(status) = self.broken {
            return Some((status, String::new()));
        }
        let objects: Vec<_> = body.lines().filter_map(|line| line.split_once(' ')).collect();
        let has = |answer| objects.iter().any(|(_, name)| self.answers.get(*name) == Some(&answer));
        if has(Answer::Nothing) {
            return None;
        }
        if has(Answer::RefuseRequest) {
            return Some((400, "refused".to_owned()));
        }
        let mut refused = String::new();
        for (index, (user, name)) in objects.into_iter().enumerate() {
            if self.answers.contains_key(name) {
                refused = format!("{refused}{index}\n");
            } else {
                self.taken.push((user.to_owned(), name.to_owned()));
            }
        }
        Some((201, refused))
    }
}

impl Http for Vendor {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Reply, SendError>> {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        let answer = self.state.lock().unwrap().take(&body);
        self.requests.send_modify(|requests| *requests += 1);
        let clock = self.clock.clone();
        Box::pin(async move {
            clock.sleep(LATENCY).await;
            let Some((status, body)) = answer else { return std::future::pending().await };
            let (headers, body) = (HeaderMap::new(), Bytes::from(body));
            Ok(Reply { status, headers, body, received_at: clock.now() })
        })
    }
}

impl Destination for Vendor {
    fn limits(&self) -> Limits {
        let requests = self.state.lock().unwrap().requests_per_3s.unwrap_or(3_000);
        Limits {
            objects_per_request: 75,
            objects_per_section: 75,
            calls: Vec::new(),
            bytes_per_object: ByteSize::kib(100),
            bytes_per_request: ByteSize::mib(3),
            requests_in_flight: 4,
            rates: vec![Rate { requests, per: Duration::from_secs(3) }],
            linger: Duration::from_millis(20),
            shares: Shares::default(),
            paces: Vec::new(),
        }
    }

    fn encode(&self, batch: &[Delivery]) -> Result<Encoded, EncodeError> {
        let payloads = batch.iter().map(|delivery| &*delivery.message.payload);
        let body = payloads.collect::<Vec<_>>().join("\n");
        Ok(Encoded { request: Request { body: body.into(), ..self.probe() }, objects: batch.len() })
    }

    fn judge(&self, batch: &[Delivery], reply: &Reply) -> Vec<Verdict> {
        let all = |verdict: Verdict| vec![verdict; batch.len()];
        let reason = format!("{} {}", reply.status, reply.excerpt());
        match reply.status {
            400 => return all(Verdict::Split { reason, too_many: false }),
            401 => return all(Verdict::Pause { reason }),
            503 => return all(Verdict::Retry { after: None, reason }),
            500..600 => return all(Verdict::Unknown { after: None, reason }),
            _ => {}
        }
        let mut verdicts = all(Verdict::Accepted);
        let body = String::from_utf8(reply.body.to_vec()).unwrap();
        for index in body.lines().map(|line| line.parse::<usize>().unwrap()) {
            verdicts[index] = Verdict::Rejected { reason: "bad object".to_owned() };
        }
        verdicts
    }

    fn budget(&self, _: &Reply) -> Option<Budget> {
        None
    }

    fn check(&self, message: &Message) -> Result<(), String> {
        if message.payload.contains(' ') { Ok(()) } else { Err("no user".to_owned()) }
    }

    fn account(&self) -> String {
        "vendor".to_owned()
    }

    fn probe(&self) -> Request {
        Request {
            method: Method::Post,
            url: "https://vendor.invalid/".to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(30),
        }
    }
}

/// Maps an event to its name; `skip` is not wanted, and `props` carries the user's properties.
#[derive(Debug)]
pub(super) struct Words;

impl Mapping for Words {
    fn wants(&self, item: &Applied<'_>) -> Wants {
        match item {
            Applied::Event(event) if event.event_type == "props" => Wants::ItemAndUserProperties,
            Applied::Event(_) => Wants::Item,
            _ => Wants::Nothing,
        }
    }

    fn map(&self, item: &Applied<'_>, user_properties: Option<&str>, out: &mut Vec<Mapped>) {
        let Applied::Event(event) = item else { return };
        if event.event_type == "skip" {
            out.push(Mapped::Discard { reason: "not wanted" });
            return;
        }
        let user = event.user_id.unwrap_or_default();
        let name = event.event_type.to_owned();
        let payload = format!("{user} {name}{}", user_properties.unwrap_or_default());
        let lane = Lane::of(user);
        out.push(Mapped::Deliver(Message {
            lane,
            section: Section(0),
            name,
            payload,
            guarantee: Guarantee::AtLeastOnce,
            after: None,
        }));
    }
}
