//! Samples of objects that were not delivered, or not at once, by category; without values.
//!
//! Between two hand-overs it takes so many of each category and in all, so that an outage costs
//! neither time nor memory; the rest is counted.

use crate::stream::{Stream, StreamNumber};
use isthmus_core::{Place, Timestamp};
use isthmus_state::delivery_samples::{SAMPLES_MAX, Sample, SampleGroup};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Samples between two hand-overs, over all streams and categories.
const GATHERED_MAX: usize = 1_000;
/// Categories between two hand-overs, over all streams; what comes beyond is [`Category::Other`].
const CATEGORIES_MAX: usize = 256;
/// Bytes of a request without its values; a longer one is not shown.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Characters of a message or an answer that are kept.
const TEXT_CHARACTERS_MAX: usize = 300;
/// Characters of a reason that make its kind.
const KIND_CHARACTERS_MAX: usize = 60;
/// Stands for a value.
const REDACTED: &str = "***";

/// What went wrong, as far as it is the same for many objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Category {
    /// The reply's status, or its class where the exact one tells nothing.
    Status(&'static str),
    /// No reply in time.
    Timeout,
    /// No connection, or none any more.
    Connection,
    /// Refused for good, with the beginning of the reason.
    Rejected(String),
    /// Held back by a rule of the mapping.
    Discarded(&'static str),
    /// Given up by the stream's retry policy.
    Expired,
    /// Not sent again, because nobody knows what became of it.
    Unknown,
    /// Whatever has no room.
    Other,
}

impl fmt::Display for Category {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => out.write_str(status),
            Self::Timeout => out.write_str("timeout"),
            Self::Connection => out.write_str("connection"),
            Self::Rejected(kind) => write!(out, "rejected: {kind}"),
            Self::Discarded(rule) => write!(out, "discarded: {rule}"),
            Self::Expired => out.write_str("expired"),
            Self::Unknown => out.write_str("unknown"),
            Self::Other => out.write_str(isthmus_state::delivery_samples::OTHER),
        }
    }
}

impl Category {
    /// The category of a reply's status; `None` for a success, where each object has its own.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        let status = match (status, status / 100) {
            (_, 2) => return None,
            (400, _) => "400",
            (401, _) => "401",
            (403, _) => "403",
            (404, _) => "404",
            (408, _) => "408",
            (413, _) => "413",
            (422, _) => "422",
            (429, _) => "429",
            (_, 3) => "3xx",
            (_, 4) => "4xx",
            (_, 5) => "5xx",
            _ => "other status",
        };
        Some(Self::Status(status))
    }

    /// The category of no reply at all; `reason` is the one of the HTTP seam.
    pub(crate) fn of_silence(reason: &str) -> Self {
        if reason.contains("timed out") { Self::Timeout } else { Self::Connection }
    }

    /// The category of a refusal with this reason.
    pub(crate) fn rejected(reason: &str) -> Self {
        Self::Rejected(kind_of(reason))
    }
}

/// An object, and what happened to it.
#[derive(Debug)]
pub(crate) struct Happened<'a> {
    pub(crate) category: Category,
    pub(crate) at: Timestamp,
    pub(crate) place: Place,
    pub(crate) part: u16,
    /// Name and payload; `None` where the mapping made no object.
    pub(crate) object: Option<(&'a str, &'a str)>,
    pub(crate) status: u16,
    pub(crate) message: &'a str,
    pub(crate) response: &'a str,
    pub(crate) attempts: u32,
    pub(crate) first_attempt_at: Option<Timestamp>,
    /// Milliseconds since the Unix epoch.
    pub(crate) next_attempt_at: Option<i64>,
}

impl<'a> Happened<'a> {
    /// Something that happened without a request.
    pub(crate) fn aside(category: Category, at: Timestamp, place: Place, part: u16) -> Self {
        Self {
            category,
            at,
            place,
            part,
            object: None,
            status: 0,
            message: "",
            response: "",
            attempts: 0,
            first_attempt_at: None,
            next_attempt_at: None,
        }
    }

    /// The same of an object that the mapping made, for this reason.
    pub(crate) fn with(self, name: &'a str, payload: &'a str, reason: &'a str) -> Self {
        Self { object: Some((name, payload)), message: reason, ..self }
    }
}

/// Gathers samples until they are handed over.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    groups: BTreeMap<(StreamNumber, Category), Gathered>,
    gathered: usize,
}

#[derive(Debug)]
struct Gathered {
    name: Arc<str>,
    count: u64,
    last_at: Timestamp,
    samples: Vec<Sample>,
}

impl Sampler {
    /// Counts what happened, and keeps it as a sample if there is room.
    pub(crate) fn take(&mut self, stream: &Stream, happened: &Happened<'_>) {
        let mut key = (stream.number, happened.category.clone());
        if self.groups.len() >= CATEGORIES_MAX && !self.groups.contains_key(&key) {
            key.1 = Category::Other;
        }
        let group = self.groups.entry(key).or_insert_with(|| Gathered {
            name: Arc::clone(&stream.name),
            count: 0,
            last_at: happened.at,
            samples: Vec::new(),
        });
        group.count += 1;
        group.last_at = happened.at;
        if group.samples.len() < SAMPLES_MAX && self.gathered < GATHERED_MAX {
            self.gathered += 1;
            group.samples.push(sample(happened));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Everything since the last call.
    pub(crate) fn drain(&mut self) -> Vec<SampleGroup> {
        let Self { groups, .. } = std::mem::take(self);
        let group = |((_, category), gathered): ((StreamNumber, Category), Gathered)| {
            let Gathered { name, count, last_at, samples } = gathered;
            let (stream, category) = (name.to_string(), category.to_string());
            SampleGroup { stream, category, count, last_at, samples }
        };
        groups.into_iter().map(group).collect()
    }
}

fn sample(happened: &Happened<'_>) -> Sample {
    let Happened { at, place, part, object, status, message, response, .. } = happened;
    let (name, payload) = object.unwrap_or_default();
    Sample {
        at: at.as_millis(),
        offset: place.offset,
        index: place.index,
        part: *part,
        name: name.to_owned(),
        status: *status,
        message: shortened(message),
        response: shortened(response),
        attempts: happened.attempts,
        first_attempt_at: happened.first_attempt_at.map(Timestamp::as_millis),
        next_attempt_at: happened.next_attempt_at,
        request: redacted(payload, name),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARACTERS_MAX).collect()
}

/// `payload` with every value taken out, except the object's name; what is not a JSON object is
/// taken out as a whole.
fn redacted(payload: &str, name: &str) -> String {
    if payload.is_empty() {
        return String::new();
    }
    let text = match serde_json::from_str(payload) {
        Ok(Value::Object(members)) => {
            let shown = |(key, value): (String, Value)| {
                let is_name = value.as_str() == Some(name);
                (key, if is_name { value } else { without_values(value) })
            };
            Value::Object(members.into_iter().map(shown).collect()).to_string()
        }
        _ => return REDACTED.to_owned(),
    };
    if text.len() <= REQUEST_BYTES_MAX { text } else { REDACTED.to_owned() }
}

fn without_values(value: Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Object(members) => {
            let members = members.into_iter().map(|(key, value)| (key, without_values(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        // How many there are would say something of the user.
        Value::Array(elements) => {
            elements.into_iter().next().map(without_values).into_iter().collect()
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => REDACTED.into(),
    }
}

/// The beginning of `reason`, without what differs from object to object: what is in quotes, and
/// digits.
fn kind_of(reason: &str) -> String {
    let mut kind = String::new();
    let mut quote = None;
    for letter in reason.chars() {
        if let Some(open) = quote {
            if letter == open {
                quote = None;
            }
            continue;
        }
        match letter {
            '"' | '`' => quote = Some(letter),
            '\'' if kind.ends_with(' ') || kind.is_empty() => quote = Some(letter),
            ':' | ';' | '\n' if !kind.trim().is_empty() => break,
            _ if letter.is_ascii_digit() => {
                if !kind.ends_with('#') {
                    kind.push('#');
                }
            }
            _ => kind.push(letter),
        }
    }
    let words: Vec<_> = kind.split_whitespace().collect();
    words.join(" ").chars().take(KIND_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_770_000_000_000);

    #[test]
    fn values_are_taken_out_and_names_stay() {
        let payload = r#"{"external_id":"u-1","user_alias":{"alias_name":"a@b.c","alias_label":"x"},
            "name":"Order Completed","time":"2026-02-03T09:15:02.410Z",
            "properties":{"total":12.5,"gift":true,"note":null,"items":[{"sku":"a"},{"sku":"b"}]}}"#;
        let expected = serde_json::json!({
            "external_id": "***",
            "user_alias": { "alias_name": "***", "alias_label": "***" },
            "name": "Order Completed",
            "time": "***",
            "properties": { "total": "***", "gift": "***", "note": null, "items": [{ "sku": "***" }] },
        });
        assert_eq!(redacted(payload, "Order Completed"), expected.to_string());
    }

    #[test]
    fn what_is_not_an_object_or_too_long_is_taken_out_as_a_whole() {
        assert_eq!(redacted("secret", "x"), "***");
        assert_eq!(redacted("[\"secret\"]", "x"), "***");
        assert_eq!(redacted("", "x"), "");
        let long = format!("{{\"{}\":1}}", "k".repeat(REQUEST_BYTES_MAX));
        assert_eq!(redacted(&long, "x"), "***");
    }

    #[test]
    fn reasons_of_one_kind_are_one_category() {
        let kind = |reason| Category::rejected(reason).to_string();
        assert_eq!(
            kind("object of 12000 bytes exceeds 9 bytes"),
            "rejected: object of # bytes exceeds # bytes"
        );
        assert_eq!(kind("'external_id' 'u-1' is not valid: x"), "rejected: is not valid");
        assert_eq!(kind("user's key `a b` is unknown"), "rejected: user's key is unknown");
        assert_eq!(kind(""), "rejected: ");
    }

    #[test]
    fn statuses_fall_into_a_closed_set() {
        let category = |status| Category::of_status(status).map(|category| category.to_string());
        assert_eq!(category(201), None);
        assert_eq!(category(429).as_deref(), Some("429"));
        assert_eq!(category(418).as_deref(), Some("4xx"));
        assert_eq!(category(503).as_deref(), Some("5xx"));
        assert_eq!(category(9).as_deref(), Some("other status"));
        assert_eq!(Category::of_silence("timed out"), Category::Timeout);
        assert_eq!(Category::of_silence("connection refused"), Category::Connection);
    }

    #[test]
    fn beyond_what_there_is_room_for_it_only_counts() {
        let stream = Stream::new(StreamNumber(0), "shop".into(), true, 0);
        let mut sampler = Sampler::default();
        let happened = |category| Happened::aside(category, NOW, Place::default(), 0);
        for _ in 0..SAMPLES_MAX + 5 {
            sampler.take(&stream, &happened(Category::Discarded("no external id")));
        }
        for number in 0..CATEGORIES_MAX + 5 {
            let letters: String =
                number.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
            sampler.take(&stream, &happened(Category::rejected(&letters)));
        }
        let groups = sampler.drain();
        assert!(sampler.is_empty());
        assert_eq!(groups.len(), CATEGORIES_MAX + 1);
        let of = |category: &str| groups.iter().find(|group| group.category == category).unwrap();
        let discarded = of("discarded: no external id");
        assert_eq!((discarded.count, discarded.samples.len()), (105, SAMPLES_MAX));
        assert_eq!(of("other").count, 6);
        assert!(groups.iter().map(|group| group.samples.len()).sum::<usize>() <= GATHERED_MAX);
    }

    proptest! {
        #[test]
        fn any_reason_has_a_short_kind(reason: String) {
            prop_assert!(kind_of(&reason).chars().count() <= KIND_CHARACTERS_MAX);
        }
    }
}
