//! The answers of the ingest endpoints: why a request was refused, as documented, and success.
//!
//! Every answer is a JSON object whose `code` equals the HTTP status: the JavaScript and Python SDKs
//! act on `code`, the others on the status. A 400 that names no event is resent for ever by some
//! SDKs, so it names all of them wherever the request can be read at all.

use crate::rules::TEXT_LENGTH_MAX;
use isthmus_core::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a throttled client should wait, from the HTTP V2 page.
const THROTTLE_PAUSE: Duration = Duration::from_secs(30);

/// Field name to the indexes, ascending, of the events it concerns.
pub type Indexes = BTreeMap<&'static str, Vec<usize>>;

/// Why a request was refused, as a whole: nothing of it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Invalid request path")]
    InvalidPath,
    #[error("Missing request body")]
    MissingBody,
    /// Not JSON, not UTF-8, not an object, or compressed data that cannot be read.
    #[error("Invalid JSON request body")]
    InvalidJson,
    /// The request, not an event, lacks this field.
    #[error("Request missing required field")]
    MissingField(&'static str),
    /// `identification` is absent or neither an object nor an array.
    #[error("missing_event")]
    MissingIdentification,
    /// The key as sent. The SDKs stop only at this text with the colon and the key.
    #[error("Invalid API key: {0}")]
    InvalidApiKey(String),
    /// Some events cannot be accepted.
    #[error("{}", .0.summary())]
    Events(Box<EventProblems>),
    /// Some mappings of user ids are not possible, for this reason; the indexes are under their
    /// field as for events.
    #[error("{why}")]
    Mappings { why: String, problems: Box<EventProblems> },
    #[error("Events silenced for device_id")]
    Silenced(Box<Silenced>),
    #[error("Payload too large")]
    TooLarge,
    #[error("Too many requests for some devices and users")]
    Throttled(Box<Throttle>),
    /// Some of the request may have been accepted: a retry is safe only with an `insert_id`.
    #[error("Internal server error")]
    OutcomeUnknown,
    /// Nothing was accepted; a retry cannot duplicate.
    #[error("Service unavailable")]
    Unavailable,
}

/// Every problem of every event of one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventProblems {
    /// Fields that are required and absent.
    pub missing: Indexes,
    /// Fields of a wrong type or value. Elements that are not objects are listed under `event`;
    /// ids in `id_lengths` are listed here again, where the mobile SDKs look.
    pub invalid: Indexes,
    /// `user_id` and `device_id` that are too short or too long.
    pub id_lengths: Indexes,
}

/// Which clients send too fast.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Throttle {
    /// The threshold in force, in events per second.
    pub eps_threshold: u64,
    /// Device id to its current events per second.
    pub throttled_devices: BTreeMap<String, u64>,
    /// User id to its current events per second.
    pub throttled_users: BTreeMap<String, u64>,
    /// Device id to its events in the last 24 hours. SDKs drop the events of these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exceeded_daily_quota_devices: BTreeMap<String, u64>,
    /// User id to its events in the last 24 hours. SDKs drop the events of these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exceeded_daily_quota_users: BTreeMap<String, u64>,
    /// Indexes of all events that must wait; SDKs resend the others at once.
    pub throttled_events: Vec<usize>,
}

/// Which devices are blocked by the operator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Silenced {
    pub silenced_devices: Vec<String>,
    /// Indexes of their events, which SDKs drop.
    pub silenced_events: Vec<usize>,
    #[serde(flatten)]
    pub throttle: Throttle,
}

/// The members of an error body, in the order they are written.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u16,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_field: Option<&'static str>,
    #[serde(flatten)]
    events: Option<EventsBody<'a>>,
    #[serde(flatten)]
    silenced: Option<&'a Silenced>,
    #[serde(flatten)]
    throttle: Option<&'a Throttle>,
}

#[derive(Serialize)]
struct EventsBody<'a> {
    #[serde(rename = "events_with_invalid_fields")]
    invalid: &'a Indexes,
    #[serde(rename = "events_with_missing_fields")]
    missing: &'a Indexes,
    #[serde(rename = "events_with_invalid_id_lengths")]
    id_lengths: &'a Indexes,
}

#[derive(Serialize)]
struct SuccessBody {
    code: u16,
    events_ingested: usize,
    payload_size_bytes: usize,
    server_upload_time: i64,
}

impl Refusal {
    /// HTTP status; the body's `code` is the same.
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidPath
            | Self::MissingBody
            | Self::InvalidJson
            | Self::MissingField(_)
            | Self::MissingIdentification
            | Self::InvalidApiKey(_)
            | Self::Events(_)
            | Self::Mappings { .. }
            | Self::Silenced(_) => 400,
            Self::TooLarge => 413,
            Self::Throttled(_) => 429,
            Self::OutcomeUnknown => 500,
            Self::Unavailable => 503,
        }
    }

    /// The JSON object to answer with.
    pub fn body(&self) -> String {
        let mut body = ErrorBody {
            code: self.status(),
            error: &self.to_string(),
            missing_field: None,
            events: None,
            silenced: None,
            throttle: None,
        };
        match self {
            Self::MissingField(name) => body.missing_field = Some(name),
            Self::Events(problems) | Self::Mappings { problems, .. } => {
                body.events = Some(EventsBody {
                    invalid: &problems.invalid,
                    missing: &problems.missing,
                    id_lengths: &problems.id_lengths,
                });
            }
            Self::Silenced(silenced) => body.silenced = Some(silenced),
            Self::Throttled(throttle) => body.throttle = Some(throttle),
            _ => {}
        }
        written(&body)
    }

    /// How long the client should wait, for the `Retry-After` header.
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Throttled(_)).then_some(THROTTLE_PAUSE)
    }

    /// The refusal of an unknown `key`, shown up to the longest text that Amplitude keeps.
    pub fn invalid_api_key(key: &str) -> Self {
        Self::InvalidApiKey(key.chars().take(TEXT_LENGTH_MAX).collect())
    }
}

impl EventProblems {
    /// Whether there is no problem at all.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.invalid.is_empty() && self.id_lengths.is_empty()
    }

    /// Indexes of all events with a problem, ascending, each once.
    pub fn indexes(&self) -> Vec<usize> {
        let maps = [&self.missing, &self.invalid, &self.id_lengths];
        let mut all: Vec<usize> =
            maps.into_iter().flat_map(BTreeMap::values).flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Notes that `field` of the event at `index` is required and absent.
    pub(crate) fn missing(&mut self, field: &'static str, index: usize) {
        self.missing.entry(field).or_default().push(index);
    }

    /// Notes that `field` of the event at `index` has a wrong type or value.
    pub(crate) fn invalid(&mut self, field: &'static str, index: usize) {
        self.invalid.entry(field).or_default().push(index);
    }

    /// Notes that the id `field` of the event at `index` is too short or too long.
    pub(crate) fn id_length(&mut self, field: &'static str, index: usize) {
        self.id_lengths.entry(field).or_default().push(index);
        self.invalid(field, index);
    }

    /// The `error` text: of the gravest kind of problem.
    fn summary(&self) -> &'static str {
        if self.invalid.contains_key(NOT_AN_OBJECT) {
            "Invalid event JSON"
        } else if !self.missing.is_empty() {
            "Request missing required field"
        } else if self.invalid == self.id_lengths {
            "Invalid id length for user_id or device_id"
        } else {
            "Invalid field values on some events"
        }
    }
}

/// Where the indexes of elements are listed that are not objects.
pub(crate) const NOT_AN_OBJECT: &str = "event";

impl Throttle {
    /// The whole request of `event_count` events must wait, because the project sends more than
    /// `eps_threshold` events per second.
    pub fn whole_request(eps_threshold: u64, event_count: usize) -> Self {
        Self { eps_threshold, throttled_events: (0..event_count).collect(), ..Self::default() }
    }
}

/// The answer to an accepted request: events accepted, duplicates included, and the size of the
/// body in bytes.
pub fn success_body(
    events_ingested: usize,
    payload_size_bytes: usize,
    server_upload_time: Timestamp,
) -> String {
    written(&SuccessBody {
        code: 200,
        events_ingested,
        payload_size_bytes,
        server_upload_time: server_upload_time.as_millis(),
    })
}

fn written(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("these maps have text keys and grow in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn answer(refusal: &Refusal) -> String {
        let body = refusal.body();
        let read: serde_json::Value = serde_json::from_str(&body).expect("an object");
        assert_eq!(read["code"], refusal.status());
        body
    }

    #[test]
    fn refusals_answer_as_documented() {
        assert_snapshot!(answer(&Refusal::InvalidPath), @r#"{"code":400,"error":"Invalid request path"}"#);
        assert_snapshot!(answer(&Refusal::MissingBody), @r#"{"code":400,"error":"Missing request body"}"#);
        assert_snapshot!(answer(&Refusal::InvalidJson), @r#"{"code":400,"error":"Invalid JSON request body"}"#);
        assert_snapshot!(answer(&Refusal::MissingField("events")), @r#"{"code":400,"error":"Request missing required field","missing_field":"events"}"#);
        assert_snapshot!(answer(&Refusal::MissingIdentification), @r#"{"code":400,"error":"missing_event"}"#);
        assert_snapshot!(answer(&Refusal::invalid_api_key("a\"b")), @r#"{"code":400,"error":"Invalid API key: a\"b"}"#);
        assert_snapshot!(answer(&Refusal::TooLarge), @r#"{"code":413,"error":"Payload too large"}"#);
        assert_snapshot!(answer(&Refusal::OutcomeUnknown), @r#"{"code":500,"error":"Internal server error"}"#);
        assert_snapshot!(answer(&Refusal::Unavailable), @r#"{"code":503,"error":"Service unavailable"}"#);
    }

    #[test]
    fn throttled_requests_name_every_event_that_must_wait() {
        let throttle = Throttle {
            eps_threshold: 30,
            throttled_devices: [("device-1".to_owned(), 44)].into(),
            throttled_events: vec![0, 1, 5],
            ..Throttle::default()
        };
        let refusal = Refusal::Throttled(Box::new(throttle.clone()));
        assert_eq!(refusal.retry_after(), Some(Duration::from_secs(30)));
        assert_snapshot!(answer(&refusal), @r#"{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,"throttled_devices":{"device-1":44},"throttled_users":{},"throttled_events":[0,1,5]}"#);
        let whole = Throttle::whole_request(50_000, 3);
        assert_eq!(whole.throttled_events, [0, 1, 2]);
        let silenced = Silenced {
            silenced_devices: vec!["device-1".to_owned()],
            silenced_events: vec![2],
            throttle: Throttle {
                exceeded_daily_quota_devices: [("d".to_owned(), 9)].into(),
                ..throttle
            },
        };
        assert_snapshot!(answer(&Refusal::Silenced(Box::new(silenced))), @r#"{"code":400,"error":"Events silenced for device_id","silenced_devices":["device-1"],"silenced_events":[2],"eps_threshold":30,"throttled_devices":{"device-1":44},"throttled_users":{},"exceeded_daily_quota_devices":{"d":9},"throttled_events":[0,1,5]}"#);
    }

    #[test]
    fn an_unknown_key_is_echoed_up_to_a_limit() {
        let refusal = Refusal::invalid_api_key(&"k".repeat(100_000));
        assert!(refusal.body().len() < 1_200);
    }

    #[test]
    fn success_counts_events_and_bytes() {
        assert_snapshot!(
            success_body(3, 1_422, Timestamp::from_millis(1_777_713_331_260)),
            @r#"{"code":200,"events_ingested":3,"payload_size_bytes":1422,"server_upload_time":1777713331260}"#
        );
    }
}
