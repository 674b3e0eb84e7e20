//! What the control API answers about dead letters.

use super::ledger::LedgerObject;
use serde::{Deserialize, Serialize};

/// `GET /control/v1/streams/{name}/dead-letters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLettersReport {
    /// In log order.
    pub dead_letters: Vec<DeadLetterReport>,
    /// How many the stream has in all.
    pub total: usize,
    /// How many of them were asked for.
    #[serde(default)]
    pub matching: usize,
    /// Where more follow: what to ask for as `after`.
    #[serde(default)]
    pub next: Option<String>,
}

/// One object that the vendor refused, that was given up, or of which nobody knows whether it was
/// taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterReport {
    /// Place in the event log and part, `OFFSET-INDEX-PART`.
    pub id: String,
    /// Event name, or kind of update.
    pub name: String,
    pub reason: String,
    /// The object as it was encoded for the vendor.
    pub payload: String,
    /// ISO 8601.
    pub rejected_at: String,
    /// ISO 8601.
    pub accepted_at: String,
    /// `rejected`, `expired` or `unknown`; of a Currents source, `unusable`.
    #[serde(default)]
    pub cause: String,
    /// What the ledger says: the cause, or `pending` or `in_flight` while it is being sent again.
    #[serde(default)]
    pub state: String,
    /// Attempts that were made.
    #[serde(default)]
    pub attempts: u32,
    /// Whether an attempt was made of which nobody knows the outcome: sending it again may double
    /// it.
    #[serde(default)]
    pub possible_duplicate: bool,
    /// Whether it is not sent again unless somebody asks for it: at most once.
    #[serde(default)]
    pub at_most_once: bool,
    /// Whether somebody changed the payload.
    #[serde(default)]
    pub edited: bool,
    /// What happened to it before, oldest first.
    #[serde(default)]
    pub history: Vec<PastReport>,
    /// Of a Currents source: the file it was read from, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Something that happened to a dead letter before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastReport {
    /// ISO 8601.
    pub at: String,
    pub what: String,
}

/// `GET /control/v1/streams/{name}/dead-letters/{id}`, and what `PATCH` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetterDetails {
    pub stream: String,
    pub dead_letter: DeadLetterReport,
    /// What the ledger knows of the object, as the stream and as each of its jobs.
    pub ledger: Vec<LedgerObject>,
}

/// `POST /control/v1/streams/{name}/dead-letters/resend`, `.../discard` and `.../confirm`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DecisionReport {
    /// Whether nothing was done: the counts say what would be.
    pub dry_run: bool,
    /// Dead letters that it was done for.
    pub done: usize,
    /// Dead letters that it could not be done for: they are being sent again already, or gone; and
    /// for `confirm`, it is known that they were not delivered.
    pub passed_over: usize,
    /// Dead letters that the destination would refuse again as they are; they stay what they were.
    pub refused: usize,
    /// Some of them, with the reason.
    pub refusals: Vec<RefusalReport>,
    /// Dead letters asked for that were not looked at yet.
    pub remaining: usize,
    /// Where some remain: what to say as `after` to go on.
    pub next: Option<String>,
}

/// Why a dead letter was not sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalReport {
    pub id: String,
    pub reason: String,
}
