//! Calls out of a message: the cache, the hosts that are unwell, and the HTTP request itself.

use super::call::{Caching, Call, Wants};
use super::credential::{Credential, Credentials};
use super::personal::to_liquid;
use super::template::Content;
use http::{HeaderValue, Uri, header};
use isthmus_core::seam::{Clock, Http, Random, Reply, Request, SendError};
use liquid_core::model::Value;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an answer may take ("Connected Content", Braze documentation, read 2026-09).
const TIMEOUT: Duration = Duration::from_secs(2);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Pages in the cache of a workspace; the oldest go early. Braze promises no number.
const PAGES_MAX: usize = 10_000;
/// What the detector of unwell hosts looks at, and how long it keeps calls away.
const WATCH: Duration = Duration::from_mins(1);
/// More failures than this within [`WATCH`], and more than nine of ten, and the host is unwell.
const FAILURES_MAX: u64 = 3_000;
const FAILURES_PERCENT_MAX: u64 = 90;
/// Statuses that count against a host.
const UNWELL: [u16; 6] = [408, 429, 502, 503, 504, 529];
/// What Braze reports for a call that it did not make, because the host is unwell.
const PAUSED: u16 = 598;
/// What Braze reports when there is no connection.
const NO_CONNECTION: u16 = 599;
/// Added to a JSON object, so that messages can ask for it.
const STATUS_KEY: &str = "__http_status_code__";

/// One call as the renderer reports it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CallReport {
    pub(crate) url: String,
    /// None when no answer came.
    status: Option<u16>,
    took_millis: u64,
    cached: bool,
    error: Option<String>,
}

impl CallReport {
    /// The call in a line, for people.
    pub(crate) fn line(&self) -> String {
        let status = self.status.map_or("no answer".to_owned(), |status| status.to_string());
        let cached = if self.cached { ", from the cache" } else { "" };
        let error = self.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
        format!("{status} after {} ms{cached}{error}", self.took_millis)
    }
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) report: CallReport,
    pub(super) content: Content,
    /// Whether another attempt may go better.
    pub(super) may_retry: bool,
    pub(super) warning: Option<String>,
}

/// What the calls of a workspace share.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pages: HashMap<String, Page>,
    /// URLs in the order in which their pages came.
    order: VecDeque<String>,
    hosts: HashMap<String, Host>,
}

#[derive(Debug)]
struct Page {
    reply: Reply,
    until: Duration,
}

/// How a host did lately.
#[derive(Debug, Default)]
struct Host {
    since: Duration,
    calls: u64,
    failures: u64,
    paused_until: Option<Duration>,
}

impl Host {
    /// Whether calls are kept away.
    fn is_paused(&self, now: Duration) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    fn count(&mut self, now: Duration, failed: bool) {
        if now >= self.since + WATCH {
            *self = Self { since: now, ..Self::default() };
        }
        self.calls += 1;
        self.failures += u64::from(failed);
        let share = self.failures * 100;
        if self.failures > FAILURES_MAX && share > self.calls * FAILURES_PERCENT_MAX {
            *self = Self { paused_until: Some(now + WATCH), since: now + WATCH, ..Self::default() };
        }
    }
}

impl Memory {
    fn page(&self, url: &str, now: Duration) -> Option<Reply> {
        let page = self.pages.get(url).filter(|page| now < page.until)?;
        Some(page.reply.clone())
    }

    fn keep(&mut self, url: &str, reply: &Reply, until: Duration) {
        let page = Page { reply: reply.clone(), until };
        if self.pages.insert(url.to_owned(), page).is_none() {
            self.order.push_back(url.to_owned());
        }
        while self.order.len() > PAGES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.pages.remove(&oldest);
        }
    }
}

/// Makes calls for one workspace.
pub(super) struct Caller<'a> {
    pub(super) http: Option<&'a Arc<dyn Http>>,
    pub(super) clock: &'a dyn Clock,
    pub(super) random: &'a dyn Random,
    pub(super) memory: &'a Mutex<Memory>,
    pub(super) credentials: &'a Credentials,
}

impl Caller<'_> {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one attempt at `call`, or finds its answer in the cache.
    pub(super) async fn attempt(&self, call: &Call) -> Ending {
        let began = self.clock.monotonic();
        let (request, host) = match self.request(call) {
            Ok(ready) => ready,
            Err(error) => return Ending::without_answer(call, None, error, false),
        };
        let warning = match request.url.parse::<Uri>().ok().and_then(|url| url.port_u16()) {
            None | Some(80 | 443) => None,
            Some(port) => Some(format!("port {port}: Braze calls ports 80 and 443 only")),
        };
        let known = match call.caching {
            Caching::For(_) => self.memory().page(&call.url, began),
            Caching::Off => None,
        };
        if let Some(reply) = known {
            return Ending { warning, ..Ending::of(call, &reply, Duration::ZERO, true) };
        }
        if self.memory().hosts.get(&host).is_some_and(|host| host.is_paused(began)) {
            let error = format!("calls to {host} pause for a minute, because it is unwell");
            return Ending::without_answer(call, Some(PAUSED), error, true);
        }
        let sent = self.send(request).await;
        let now = self.clock.monotonic();
        let mut ending = match sent {
            Ok(reply) => {
                let failed = UNWELL.contains(&reply.status);
                let mut memory = self.memory();
                memory.hosts.entry(host).or_default().count(now, failed);
                let ending = Ending::of(call, &reply, now.saturating_sub(began), false);
                if let Caching::For(age) = call.caching
                    && reply.is_success()
                    && reply.body.len() <= ANSWER_BYTES_MAX
                {
                    memory.keep(&call.url, &reply, now + age);
                }
                ending
            }
            Err((status, error)) => {
                self.memory().hosts.entry(host).or_default().count(now, false);
                Ending::without_answer(call, status, error, true)
            }
        };
        ending.report.took_millis = millis(now.saturating_sub(began));
        Ending { warning, ..ending }
    }

    /// The request for `call`, and the host that it goes to.
    fn request(&self, call: &Call) -> Result<(Request, String), String> {
        let url: Uri = call.url.parse().map_err(|error| {
            format!("no URL: {error}; personal values need the filter url_param_escape")
        })?;
        let host = url.host().filter(|_| matches!(url.scheme_str(), Some("http" | "https")));
        let host = host.ok_or("no URL: it needs http:// or https:// and a host")?.to_lowercase();
        let mut headers = call.headers.clone();
        // The first part is what Braze promises; the rest changes, so nobody should rely on it.
        let agent = format!("Braze Sender {:016x}", self.random.next_u64());
        let agent = HeaderValue::from_str(&agent).map_err(|error| error.to_string())?;
        headers.insert(header::USER_AGENT, agent);
        match &call.wants {
            None => {}
            Some(Wants::Basic(name)) => {
                self.credentials.write(name, &host, &mut headers, |found| {
                    matches!(found, Credential::Basic { .. })
                })?;
            }
            Some(Wants::Headers(name)) => {
                self.credentials.write(name, &host, &mut headers, |found| {
                    matches!(found, Credential::Headers { .. })
                })?;
            }
        }
        let (method, url, body) = (call.method, call.url.clone(), call.body.clone());
        Ok((Request { method, url, headers, body, timeout: TIMEOUT }, host))
    }

    /// Sends `request`; the answer, or what is reported in its place.
    async fn send(&self, request: Request) -> Result<Reply, (Option<u16>, String)> {
        let no_way_out = "this sandbox was started without a way out";
        let http = self.http.ok_or((Some(NO_CONNECTION), no_way_out.to_owned()))?;
        tokio::select! {
            biased;
            sent = http.send(request) => sent.map_err(|error| match &error {
                SendError::NotSent { .. } => (Some(NO_CONNECTION), error.to_string()),
                SendError::Unknown { .. } => (None, error.to_string()),
            }),
            // The request is given up, as Braze does; whatever the client does about timeouts.
            () = self.clock.sleep(TIMEOUT) => Err((None, format!("no answer within {TIMEOUT:?}"))),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Ending {
    fn without_answer(call: &Call, status: Option<u16>, error: String, may_retry: bool) -> Self {
        let url = call.url.clone();
        let report = CallReport { url, status, took_millis: 0, cached: false, error: Some(error) };
        Self { report, content: Content::Nothing, may_retry, warning: None }
    }

    /// What `reply` means to a message.
    fn of(call: &Call, reply: &Reply, took: Duration, cached: bool) -> Self {
        let is_large = reply.body.len() > ANSWER_BYTES_MAX;
        let error = match reply.status {
            _ if is_large => Some(format!("the answer exceeds {ANSWER_BYTES_MAX} bytes")),
            200..=299 => None,
            300..=399 => Some("redirects are not followed".to_owned()),
            404 => Some("not found: the tag is empty".to_owned()),
            status => Some(format!("status {status} is no success")),
        };
        let text = String::from_utf8_lossy(&reply.body);
        let content = if error.is_some() {
            Content::Nothing
        } else {
            json(&text, reply.status).unwrap_or_else(|| Content::Text(text.into_owned()))
        };
        let text_is_saved = call.saves && matches!(content, Content::Text(_));
        let report = CallReport {
            url: call.url.clone(),
            status: Some(reply.status),
            took_millis: millis(took),
            cached,
            error: error.or(text_is_saved
                .then(|| "no JSON: the text replaces the tag, and nothing is saved".to_owned())),
        };
        let may_retry = !is_large && matches!(reply.status, 408 | 429 | 500..);
        Self { report, content, may_retry, warning: None }
    }
}

/// An object, with its status, or an array.
fn json(text: &str, status: u16) -> Option<Content> {
    let read: serde_json::Value = serde_json::from_str(text).ok()?;
    match to_liquid(&read) {
        Value::Object(mut object) => {
            object.insert(STATUS_KEY.into(), Value::scalar(i64::from(status)));
            Some(Content::Json(Value::Object(object)))
        }
        array @ Value::Array(_) => Some(Content::Json(array)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts `failures` and `successes`, evenly mixed, within a minute.
    fn host(failures: u64, successes: u64) -> Host {
        let mut host = Host::default();
        for _ in 0..successes {
            host.count(Duration::ZERO, false);
        }
        for _ in 0..failures {
            host.count(Duration::ZERO, true);
        }
        host
    }

    #[test]
    fn keeps_calls_away_for_a_minute_from_a_host_that_mostly_fails() {
        assert!(!host(3_000, 0).is_paused(Duration::ZERO));
        let unwell = host(3_001, 0);
        assert!(unwell.is_paused(Duration::from_secs(59)));
        assert!(!unwell.is_paused(Duration::from_mins(1)));
        assert!(!host(3_001, 334).is_paused(Duration::ZERO), "nine of ten and no more");
        assert!(host(3_001, 333).is_paused(Duration::ZERO));
    }

    #[test]
    fn failures_of_different_minutes_do_not_add_up() {
        let mut host = host(3_000, 0);
        host.count(Duration::from_mins(1), true);
        assert!(!host.is_paused(Duration::from_mins(1)));
    }
}
