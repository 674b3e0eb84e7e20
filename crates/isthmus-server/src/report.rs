//! What the control API answers, as both sides read it.

pub mod bill;
pub mod currents;
mod destinations;
pub mod erasures;
pub mod jobs;
mod samples;

pub use destinations::{BudgetReport, DestinationDetail, DestinationsReport};
pub use samples::{SampleCategory, SampleReport, SamplesReport};
pub mod ledger;
pub mod letters;
pub mod profiles;
pub mod rebuild;
pub mod reconcile;
pub mod unmatched;
pub mod volume;

use serde::{Deserialize, Serialize};

/// `GET /control/v1/streams`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamsReport {
    pub streams: Vec<StreamReport>,
    pub destinations: Vec<DestinationReport>,
}

/// One stream: accepted = delivered + rejected + discarded + pending, at any moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    pub name: String,
    /// Its number for `/api/2/event-streaming/delivery-metrics-summary`.
    #[serde(default)]
    pub sync_id: Option<u64>,
    pub project: String,
    pub destination: String,
    /// `running`, `disabled` or `paused`.
    pub state: String,
    pub accepted: u64,
    pub delivered: u64,
    pub rejected: u64,
    pub discarded: u64,
    pub pending: u64,
    /// Of those rejected, the ones given up by the stream's retry policy.
    pub expired: u64,
    /// Of those pending: under way.
    pub in_flight: u64,
    /// Of those pending: tried, and to be tried again.
    pub retrying: u64,
    /// Of those pending: sent, nobody knows what became of them, and not sent again. They are among
    /// the dead letters until somebody says.
    pub unknown: u64,
    /// Deliveries that were sent again after a refusal that may pass.
    pub retries: u64,
    /// Deliveries that were sent again after no answer: possible duplicates.
    pub possible_duplicates: u64,
    pub requests: u64,
    /// Objects in the vendor's requests.
    pub objects: u64,
    /// Objects that joining several changes of a user made unnecessary.
    pub objects_saved: u64,
    /// From the event's acceptance to the vendor's acknowledgement, lately.
    pub latency_seconds: Quantiles,
    /// Objects discarded, by the rule that discarded them.
    #[serde(default)]
    pub discards: std::collections::BTreeMap<String, u64>,
    /// Counts of what was changed or noted on the way, by name.
    #[serde(default)]
    pub warnings: std::collections::BTreeMap<String, u64>,
}

/// Quantiles in seconds; absent until something was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DestinationReport {
    pub name: String,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    pub requests_in_flight: u64,
}

/// `GET /control/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    pub version: String,
    /// Bytes of the logs that were accepted but not yet read by the applier and every stream.
    pub lag_bytes: u64,
    pub events_applied: u64,
    pub duplicates: u64,
    pub intake: LogReport,
    pub events: LogReport,
}

/// One log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReport {
    /// Offset of the first record kept.
    pub start: u64,
    /// Offset after the last record on disk.
    pub end: u64,
    pub bytes_on_disk: u64,
}

/// `POST /control/v1/destinations/{name}/probe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Whether the destination would take a request.
    pub ready: bool,
    /// What is wrong, if something is.
    pub reason: Option<String>,
}

/// `GET /control/v1/resources`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcesReport {
    pub resources: Vec<ResourceReport>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceReport {
    pub kind: String,
    pub name: String,
    /// The file it came from, or `control API`.
    pub origin: String,
}

/// Why a control request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    pub error: String,
}

/// Every problem of a configuration that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems {
    pub problems: Vec<String>,
}
