//! The latest requests, for people and tests. Credentials are not kept.

use super::answer::Answer;
use crate::model::Moment;
use bytes::Bytes;
use http::header;
use http::request::Parts;
use isthmus_core::ByteSize;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Bytes of an answer that are kept.
const ANSWER_BYTES_KEPT: usize = 4_096;

/// One request and its answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RequestEntry {
    /// When it took effect, ISO 8601.
    at: String,
    method: String,
    /// With the query.
    path: String,
    /// Without credentials.
    headers: BTreeMap<String, String>,
    /// The beginning of the body; nothing when it was too large to be read.
    #[serde(serialize_with = "as_text")]
    body: Option<Bytes>,
    /// Nothing when the connection was reset instead.
    status: Option<u16>,
    #[serde(serialize_with = "as_text")]
    answer: Option<Bytes>,
    /// Data points that it cost, as far as it took effect before the answer.
    data_points: u64,
    /// Whether a fault struck it.
    fault: bool,
}

#[expect(clippy::ref_option, reason = "serde asks for a reference to the field")]
fn as_text<S: serde::Serializer>(bytes: &Option<Bytes>, out: S) -> Result<S::Ok, S::Error> {
    bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes)).serialize(out)
}

/// The part of a body that is kept: without a copy when that is all of it.
pub(super) fn excerpt(body: &Bytes, kept: ByteSize) -> Bytes {
    let kept = kept.as_usize();
    if body.len() <= kept {
        body.clone()
    } else {
        Bytes::copy_from_slice(body.get(..kept).unwrap_or_default())
    }
}

impl RequestEntry {
    pub(super) fn new(
        now: Moment,
        parts: &Parts,
        body: Option<Bytes>,
        answer: Option<&Answer>,
        fault: bool,
    ) -> Self {
        let secret = |name| [header::AUTHORIZATION, header::COOKIE].contains(name);
        let headers = parts.headers.iter().map(|(name, value)| {
            let value =
                if secret(name) { "***".into() } else { String::from_utf8_lossy(value.as_bytes()) };
            (name.to_string(), value.into_owned())
        });
        let kept = |answer: &Answer| {
            let kept = answer.body.len().min(ANSWER_BYTES_KEPT);
            Bytes::copy_from_slice(answer.body.get(..kept).unwrap_or_default())
        };
        Self {
            at: now.wall.to_string(),
            method: parts.method.to_string(),
            path: parts.uri.to_string(),
            headers: headers.collect(),
            body,
            status: answer.map(|answer| answer.status),
            answer: answer.map(kept),
            data_points: answer.map_or(0, |answer| answer.data_points),
            fault,
        }
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.status
    }

    /// Time, method and path, for a line of a page.
    pub(crate) fn line(&self) -> (&str, &str, &str) {
        (&self.at, &self.method, &self.path)
    }
}

/// The latest requests, oldest first.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    entries: VecDeque<RequestEntry>,
}

impl RequestLog {
    pub(crate) fn push(&mut self, entry: RequestEntry, kept_max: usize) {
        if kept_max == 0 {
            return;
        }
        if self.entries.len() >= kept_max {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(crate) fn latest(&self, limit: usize) -> impl Iterator<Item = &RequestEntry> {
        self.entries.iter().rev().take(limit)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
