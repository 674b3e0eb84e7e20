//! What the control API answers about people who are or were to be forgotten.

use serde::{Deserialize, Serialize};

/// `POST /control/v1/erasures`: whom to forget.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureOrder {
    /// May be left out where there is only one.
    #[serde(default)]
    pub project: Option<String>,
    /// One of `user`, `device` and `amplitude_id` is required.
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub amplitude_id: Option<u64>,
    /// Who asks, for the records.
    #[serde(default)]
    pub requester: Option<String>,
}

/// `GET /control/v1/erasures`, in order of asking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErasuresReport {
    pub erasures: Vec<ErasureReport>,
}

/// One person who is or was to be forgotten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErasureReport {
    pub id: i64,
    pub project: String,
    pub amplitude_id: u64,
    /// Until the person is forgotten.
    pub user_id: Option<String>,
    pub requester: String,
    /// ISO 8601.
    pub requested_at: String,
    /// Day on which it begins, UTC.
    pub day: String,
    /// `staging`, `submitted` or `done`.
    pub status: String,
    /// What it is waiting for, while it is under way.
    pub waits_for: Option<String>,
    /// Once it is done.
    pub receipt: Option<ErasureReceipt>,
}

/// What was removed where and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErasureReceipt {
    /// What the erasure is called in logs and ledgers.
    pub request: String,
    /// The person, and those who were merged into them.
    pub amplitude_ids: Vec<u64>,
    pub removed: Vec<Removed>,
    /// What the destinations were asked, and what they answered.
    pub destinations: Vec<ErasureAsked>,
    /// What is left on purpose.
    pub left: Vec<String>,
    /// ISO 8601.
    pub finished_at: String,
}

/// Something that is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    pub what: String,
    pub from: String,
    pub count: u64,
    /// More, for people.
    pub detail: String,
    /// ISO 8601.
    pub at: String,
}

/// One request to a destination to forget the person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErasureAsked {
    pub destination: String,
    pub stream: String,
    /// As the ledger has it: `delivered`, `pending`, ...
    pub state: String,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// Why it is not delivered.
    pub why: Option<String>,
    /// When that was so, ISO 8601.
    pub at: Option<String>,
}
