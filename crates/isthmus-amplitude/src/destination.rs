//! An Amplitude project as a destination: events and identifies to requests, and its answers to
//! verdicts.
//!
//! A request is refused as a whole, so what is innocent goes again at once. An `insert_id` makes sending
//! twice harmless: Amplitude keeps the first of a device within 7 days ("HTTP V2 API", read 2026-03).

mod check;
mod edit;
mod limits;
mod reply;
#[cfg(test)]
mod tests;

use crate::rules::ID_LENGTH_MIN;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use isthmus_config::Problem;
use isthmus_config::resource::{AmplitudeDestination, Upload};
use isthmus_core::destination::{
    Budget, Call, Delivery, Destination, EncodeError, Encoded, Lane, Limits, Message, Section,
    Verdict,
};
use isthmus_core::json;
use isthmus_core::seam::{Method, Reply, Request};
use std::fmt;
use std::fmt::Write;
use std::time::Duration;
use url::Url;

/// `events` of an upload.
pub(crate) const EVENTS: Section = Section(0x00);
/// `identification` of `/identify`: what only it takes. Other identifies are events, which keep their
/// order among those of the device ("the same endpoint", says the vendor).
pub(crate) const IDENTIFY: Section = Section(0x10);
/// `identification` of `/groupidentify`.
pub(crate) const GROUP_IDENTIFY: Section = Section(0x20);
/// Longer ids have enough characters, which take up to four bytes each.
const ID_BYTES_MAX: usize = 4 * ID_LENGTH_MIN;
const IDENTIFY_CALL: Call = Call(1);
const GROUP_IDENTIFY_CALL: Call = Call(2);

/// Stands in an object for the `insert_id` that its client did not send: made of the object's place
/// when it leaves, with as many characters.
pub(crate) const INSERT_ID_TO_COME: &str = "isthmus-fills-in";

/// One Amplitude project.
pub struct Amplitude {
    base: String,
    api_key: String,
    upload: Upload,
    min_id_length: Option<u32>,
    limits: Limits,
    timeout: Duration,
}

/// Shows where, not with which key.
impl fmt::Debug for Amplitude {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Amplitude({})", self.base)
    }
}

impl Amplitude {
    /// The project that `destination` names, opened with `api_key`; or every problem at once, with
    /// paths inside the destination resource.
    pub fn build(destination: &AmplitudeDestination, api_key: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let base = base_url(&destination.endpoint).map_err(|problem| problems.push(problem));
        let limits = limits::build(destination).map_err(|found| problems.extend(found));
        let api_key = api_key.trim();
        if api_key.is_empty() || !api_key.chars().all(|c| c.is_ascii_graphic()) {
            problems.push(
                Problem::new("api_key", "the API key has characters no key has, or none at all")
                    .hint("check that the secret holds the key and nothing else"),
            );
        }
        match (base, limits) {
            (Ok(base), Ok(limits)) if problems.is_empty() => Ok(Self {
                base,
                api_key: api_key.to_owned(),
                upload: destination.upload,
                min_id_length: destination.min_id_length,
                limits,
                timeout: destination.limits.timeout,
            }),
            _ => Err(problems),
        }
    }

    /// What the reply to [`Destination::probe`] means: `Ok` when the endpoint is Amplitude and takes
    /// the key, else what is wrong.
    pub fn judge_probe(&self, reply: &Reply) -> Result<(), String> {
        reply::judge_probe(reply)
    }

    /// The object that takes the place of `before` where somebody edited it to `after`, both as
    /// JSON; or why it cannot.
    pub fn edited(&self, before: &str, after: &str) -> Result<String, String> {
        edit::edited(before, after)
    }

    fn request(&self, path: &str, content_type: &'static str, body: Bytes) -> Request {
        Request {
            method: Method::Post,
            url: format!("{}{path}", self.base),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]),
            body,
            timeout: self.timeout,
        }
    }

    fn upload(&self, events: &str, options: Option<&str>) -> Request {
        let path = match self.upload {
            Upload::HttpV2 => "/2/httpapi",
            Upload::Batch => "/batch",
        };
        let mut body = String::with_capacity(events.len() + 96);
        body.push_str("{\"api_key\":");
        json::push_text(&mut body, &self.api_key);
        body.push_str(",\"events\":");
        body.push_str(events);
        if let Some(options) = options {
            body.push_str(",\"options\":");
            body.push_str(options);
        }
        body.push('}');
        self.request(path, "application/json", body.into())
    }

    fn identification(&self, path: &str, identifications: &str, options: Option<&str>) -> Request {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("api_key", &self.api_key);
        form.append_pair("identification", identifications);
        if let Some(options) = options {
            form.append_pair("options", options);
        }
        self.request(path, "application/x-www-form-urlencoded", form.finish().into())
    }

    /// What a request must ask for so that the ids of `batch` are taken: the door took them as short as
    /// their clients asked for.
    fn options(&self, batch: &[Delivery]) -> Option<String> {
        let configured = || self.min_id_length.and_then(|length| usize::try_from(length).ok());
        let length = configured().or_else(|| {
            let ids = batch
                .iter()
                .flat_map(|delivery| reply::ids_of(&delivery.message.payload))
                .flatten();
            let shortest =
                ids.filter(|id| id.len() < ID_BYTES_MAX).map(|id| id.chars().count()).min();
            shortest.filter(|length| *length < ID_LENGTH_MIN)
        })?;
        Some(format!("{{\"min_id_length\":{length}}}"))
    }
}

/// The base URL, without a slash at its end, for `US`, `EU` or a URL.
fn base_url(endpoint: &str) -> Result<String, Problem> {
    let endpoint = endpoint.trim();
    if endpoint.eq_ignore_ascii_case("us") {
        return Ok("https://api2.amplitude.com".to_owned());
    }
    if endpoint.eq_ignore_ascii_case("eu") {
        return Ok("https://api.eu.amplitude.com".to_owned());
    }
    let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        let message = format!("`{endpoint}` is neither US, EU nor a URL");
        return Err(Problem::new("endpoint", message).hint("write US, EU or https://HOST"));
    };
    let base = url.as_str().trim_end_matches('/');
    for path in ["/2/httpapi", "/batch"] {
        if let Some(base) = base.strip_suffix(path) {
            let message = format!("`{endpoint}` names one API; the URL in front of it is needed");
            return Err(Problem::new("endpoint", message)
                .hint(format!("write `{base}`; `upload` chooses the API")));
        }
    }
    Ok(base.to_owned())
}

/// A list of objects, each with an `insert_id` of its own where its client sent none.
fn listed(batch: &[Delivery]) -> String {
    let bytes: usize = batch.iter().map(|delivery| delivery.message.payload.len() + 1).sum();
    let mut list = String::with_capacity(bytes + 2);
    list.push('[');
    for delivery in batch {
        if list.len() > 1 {
            list.push(',');
        }
        let payload = &delivery.message.payload;
        // Quotes inside a text are escaped, and the ids come first: the first one is the object's.
        let to_come = format!("\"insert_id\":\"{INSERT_ID_TO_COME}\"");
        match payload.split_once(&to_come) {
            Some((before, after)) => {
                list.push_str(before);
                write!(list, "\"insert_id\":\"{:016x}\"", insert_id(delivery))
                    .expect("a String takes any text");
                list.push_str(after);
            }
            None => list.push_str(payload),
        }
    }
    list.push(']');
    list
}

/// The same for an object whenever it is sent: offsets never move, and with the time of acceptance
/// another installation has others.
fn insert_id(delivery: &Delivery) -> u64 {
    let Delivery { place, part, accepted_at, .. } = delivery;
    Lane::of(&format!("{place}:{part}:{}", accepted_at.as_millis())).0
}

impl Destination for Amplitude {
    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    fn encode(&self, batch: &[Delivery]) -> Result<Encoded, EncodeError> {
        let call = batch.first().map_or(Call::MAIN, |first| first.message.section.call());
        if batch.iter().any(|delivery| delivery.message.section.call() != call) {
            return Err(EncodeError {
                reason: "objects of several calls in one request".to_owned(),
            });
        }
        let (list, options) = (listed(batch), self.options(batch));
        let request = match call {
            Call::MAIN => self.upload(&list, options.as_deref()),
            IDENTIFY_CALL => self.identification("/identify", &list, options.as_deref()),
            GROUP_IDENTIFY_CALL => self.identification("/groupidentify", &list, options.as_deref()),
            Call(other) => {
                return Err(EncodeError { reason: format!("Amplitude has no call {other}") });
            }
        };
        Ok(Encoded { request, objects: batch.len() })
    }

    fn judge(&self, batch: &[Delivery], reply: &Reply) -> Vec<Verdict> {
        reply::judge(batch, reply, self.upload)
    }

    fn budget(&self, _reply: &Reply) -> Option<Budget> {
        None
    }

    /// An upload without events: nothing is stored, and the key is looked up.
    fn probe(&self) -> Request {
        self.upload("[]", None)
    }

    fn check(&self, message: &Message) -> Result<(), String> {
        check::object(message, self.upload, self.min_id_length)
    }

    fn account(&self) -> String {
        format!("amplitude {} {:x}", self.base, Lane::of(&self.api_key).0)
    }

    /// The user and the device: Amplitude counts either.
    fn paced_by(&self, message: &Message) -> Vec<Lane> {
        if message.section == GROUP_IDENTIFY {
            return Vec::new();
        }
        // Ids stand at the beginning.
        let ids = json::members(&message.payload).take(2);
        ids.filter(|(name, _)| matches!(&**name, "user_id" | "device_id"))
            .map(|(name, raw)| Lane::of(&format!("{name}:{raw}")))
            .collect()
    }
}
