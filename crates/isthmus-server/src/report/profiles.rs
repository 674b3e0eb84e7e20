//! What the control API answers about people.

use serde::{Deserialize, Serialize};

/// `GET /control/v1/profiles`: what is known of one person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileReport {
    pub project: String,
    pub amplitude_id: u64,
    /// Absent while the person is anonymous.
    pub user_id: Option<String>,
    /// Devices that led to the person, the latest last.
    pub device_ids: Vec<String>,
    /// Anonymous persons who turned out to be this one.
    pub merged: Vec<u64>,
    /// User id that queries count this one as.
    pub mapped_to: Option<String>,
    /// User ids that queries count as this one.
    pub mapped_from: Vec<String>,
    /// Earliest event, ISO 8601.
    pub first_event_at: Option<String>,
    /// Day of the latest event, UTC.
    pub last_event_on: Option<String>,
    /// What the latest event was sent by.
    pub library: Option<String>,
    /// Group type to name or names.
    pub groups: serde_json::Value,
    /// Sorted by name.
    pub properties: Vec<PropertyReport>,
}

/// A user property, and what it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PropertyReport {
    pub name: String,
    /// Absent where it has no value now.
    pub value: Option<serde_json::Value>,
    /// Whether it comes from fields of events.
    pub built_in: bool,
    /// Since when it has the value, ISO 8601, where that is known.
    pub since: Option<String>,
    /// Values before, the latest first.
    pub before: Vec<PastValueReport>,
}

/// A value that a property had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastValueReport {
    pub value: serde_json::Value,
    /// ISO 8601, where that is known.
    pub from: Option<String>,
    /// ISO 8601.
    pub until: String,
}
