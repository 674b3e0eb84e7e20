//! What the control API answers about what happened to events and users.

use serde::{Deserialize, Serialize};

/// `GET /control/v1/ledger`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerReport {
    /// In the order of the log; of a stream, in the order of the latest news.
    pub items: Vec<LedgerItem>,
    /// Whether older ones were left out.
    pub truncated: bool,
    /// When the oldest item of the event log was accepted, ISO 8601.
    pub events_since: Option<String>,
    /// Since when each destination's ledger is kept, ISO 8601.
    pub ledger_since: std::collections::BTreeMap<String, String>,
}

/// An event or a change of a user, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerItem {
    /// Where it stands in the event log, `OFFSET-INDEX`.
    pub place: String,
    /// What it is called for sure: the insert id, or the place where it has none.
    pub uid: String,
    /// `event`, `user update`, `group update` or `merge`; absent, as is what follows, when the event
    /// log does not reach back to it.
    pub kind: Option<String>,
    /// Event type, or kind of update.
    pub name: Option<String>,
    pub project: Option<String>,
    pub user_id: Option<String>,
    pub device_id: Option<String>,
    pub insert_id: Option<String>,
    /// When the request arrived, ISO 8601.
    pub accepted_at: Option<String>,
    /// Corrected for the client's clock, ISO 8601.
    pub event_time: Option<String>,
    /// One for each object that a stream, or a job of one, made of it or would have made.
    pub objects: Vec<LedgerObject>,
    /// What else is to say.
    pub note: Option<String>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerObject {
    pub stream: String,
    pub destination: String,
    /// Set where it was not the stream itself.
    pub job: Option<LedgerJob>,
    /// Which of the objects made of the item it is, from zero.
    pub part: u16,
    /// `pending`, `in_flight`, `delivered`, `rejected`, `expired`, `discarded` or `unknown`;
    /// `missed` where the stream did not take it, `forgotten` where the ledger does not reach back.
    pub state: String,
    /// The rule, the vendor's words, or what it waits for.
    pub why: Option<String>,
    /// Whether it was sent again after an outcome that nobody knew.
    pub possible_duplicate: bool,
    /// In order.
    pub happenings: Vec<LedgerHappening>,
}

/// A job of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerJob {
    /// Its number within the destination.
    pub number: u32,
    /// `backfill` or `replay`.
    pub kind: String,
}

/// One thing that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHappening {
    /// When it was written down, ISO 8601; for a request just before it was sent.
    pub at: String,
    /// `sent`, `answered`, `not_answered`, `discarded`, `refused`, `set_aside`, `to_be_resent`,
    /// `let_go` or `confirmed`.
    pub what: String,
    /// Number of the request within the destination.
    pub request: Option<u64>,
    /// HTTP status; absent where there was no reply.
    pub status: Option<u16>,
    /// What the vendor said, the rule, or who decided.
    pub message: Option<String>,
    pub took_ms: Option<u64>,
    /// What the answer meant for the object: `delivered`, `rejected`, `expired`, `again`,
    /// `deferred`, `unknown` or `set_aside`.
    pub mark: Option<String>,
    /// How long until it is tried again.
    pub retry_in_ms: Option<u64>,
}
