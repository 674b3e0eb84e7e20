//! Samples of failures, as both sides of the control API read them.

use serde::{Deserialize, Serialize};

/// `GET /control/v1/streams/{name}/samples`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplesReport {
    pub stream: String,
    /// The category that occurred last first.
    pub categories: Vec<SampleCategory>,
}

/// One category of failures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleCategory {
    pub category: String,
    /// How often it occurred, samples or not.
    pub count: u64,
    /// ISO 8601.
    pub last_at: String,
    /// Newest first.
    pub samples: Vec<SampleReport>,
}

/// An object that was not delivered, or not at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleReport {
    /// ISO 8601, as all times here.
    pub at: String,
    /// Place in the event log and part, `OFFSET-INDEX-PART`.
    pub id: String,
    /// Event name, or kind of update; absent where a rule held the event back.
    pub name: Option<String>,
    /// HTTP status; absent where there was no reply.
    pub status: Option<u16>,
    pub message: String,
    /// The beginning of what the vendor answered.
    pub response: Option<String>,
    pub attempts: u32,
    pub first_attempt_at: Option<String>,
    /// Absent where there is none.
    pub next_attempt_at: Option<String>,
    /// The object as it was encoded for the vendor, with `***` for every value.
    pub request: Option<serde_json::Value>,
}
