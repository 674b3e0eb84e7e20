//! How many events a stream would make at Amplitude, as both sides of the control API read it.

use serde::{Deserialize, Serialize};

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRequest {
    /// Acceptance of the first event, ISO 8601 with a zone; a week ago unless given.
    #[serde(default)]
    pub from: Option<String>,
    /// Acceptance of the first event after it, ISO 8601 with a zone; now unless given.
    #[serde(default)]
    pub to: Option<String>,
    /// Resources as YAML in which the stream is as it is to be counted; as it runs unless given.
    #[serde(default)]
    pub resources: Option<String>,
}

/// `POST /control/v1/streams/{name}/plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeReport {
    pub stream: String,
    pub destination: String,
    /// Acceptance of the events that were counted, ISO 8601; `to` is exclusive.
    pub from: String,
    pub to: String,
    /// The most of them that Amplitude keeps come first.
    pub types: Vec<TypeVolumeReport>,
    /// Of all types that Amplitude counts as events.
    pub total: VolumeCounts,
    /// What to know of the numbers.
    pub notes: Vec<String>,
}

/// One type of event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeVolumeReport {
    /// As Amplitude shows it.
    pub event_type: String,
    /// Braze's own type, of events of Currents.
    pub braze_type: Option<String>,
    /// Whether Amplitude counts it as an event: identifies are none.
    pub is_event: bool,
    pub volume: VolumeCounts,
}

/// in the log = not selected + discarded + refused + sampled out + rolled up + kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VolumeCounts {
    pub in_log: u64,
    pub not_selected: u64,
    /// Held back by a rule.
    pub discarded: u64,
    /// Would be dead letters.
    pub refused: u64,
    /// Of users who are not in the sample.
    pub sampled_out: u64,
    /// Sent under an `insert_id` that another event has, so that Amplitude leaves them out.
    pub rolled_up: u64,
    /// What Amplitude keeps.
    pub kept: u64,
    /// What Amplitude would keep in 30 days, if all of them were like those counted; absent where
    /// nothing was.
    pub kept_per_month: Option<u64>,
}
