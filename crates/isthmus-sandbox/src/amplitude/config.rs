//! Whom the emulated Amplitude trusts, how it limits, and how much it remembers.

use std::time::Duration;

/// Everything that can be chosen about the emulated Amplitude. How much of what happened is kept
/// is chosen for the whole sandbox: [`crate::SandboxConfig::keep`] and
/// [`crate::SandboxConfig::occurrences_kept`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmplitudeConfig {
    /// Keys that are accepted. None at all: any key opens the one project.
    pub keys: Vec<AmplitudeKey>,
    /// What a request and its senders may do, at the start.
    pub limits: AmplitudeLimits,
    /// Devices whose events are refused as silenced, at the start.
    pub silenced_devices: Vec<String>,
    /// `insert_id`s that are remembered at most, about 40 bytes each; beyond it the oldest are
    /// forgotten before their time, and counted.
    pub insert_ids_kept: usize,
    /// What is remembered of every stored event, to prove that nothing was lost or doubled:
    /// `insert_id`, or the name of an event property.
    pub uid_property: Option<String>,
}

impl Default for AmplitudeConfig {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            limits: AmplitudeLimits::documented(),
            silenced_devices: Vec::new(),
            insert_ids_kept: 10_000_000,
            uid_property: None,
        }
    }
}

/// An API key and the project it opens. API keys are public: apps carry them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmplitudeKey {
    pub key: String,
    /// Keys of one name share a project.
    pub project: String,
}

impl AmplitudeKey {
    /// A key of `project`.
    pub fn new(key: impl Into<String>, project: impl Into<String>) -> Self {
        Self { key: key.into(), project: project.into() }
    }
}

/// What a request may hold, and how fast events may come. Rates are averages over
/// [`Self::rate_window`], and each endpoint counts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmplitudeLimits {
    /// Events of one user, and of one device, through everything but `/batch`.
    pub http_api_per_second: u64,
    /// The same within 24 hours.
    pub http_api_per_day: u64,
    /// Events of one user, and of one device, through `/batch`.
    pub batch_per_second: u64,
    /// The same within 24 hours.
    pub batch_per_day: u64,
    /// All events of a project through `/2/httpapi`.
    pub project_http_api_per_second: u64,
    /// All events of a project through `/batch`, and all identifications through `/identify`.
    pub project_per_second: u64,
    /// All identifications of a project through `/groupidentify`.
    pub project_group_identify_per_second: u64,
    /// Time over which a rate is averaged, in whole seconds.
    pub rate_window: Duration,
    /// How long an `insert_id` is remembered.
    pub dedup_window: Duration,
    /// Updates of one person's properties per hour; those beyond it are dropped silently.
    pub property_updates_per_hour: u64,
    /// Events in one request to `/2/httpapi` and `/batch`.
    pub events_max: usize,
    /// Bytes of a request after decompression, but for `/batch`.
    pub http_api_bytes_max: usize,
    /// Bytes of a request to `/batch` after decompression.
    pub batch_bytes_max: usize,
}

impl AmplitudeLimits {
    /// Amplitude's figures ("HTTP V2 API", "Batch Event Upload API", "Group Identify API", read
    /// 2026-03). The daily limit of `/batch` is said to begin only once an id was found abusive,
    /// which nobody can know; here it holds from the first event.
    pub const fn documented() -> Self {
        Self {
            http_api_per_second: 30,
            http_api_per_day: PLENTY,
            batch_per_second: 1_000,
            batch_per_day: 500_000,
            project_http_api_per_second: 50_000,
            project_per_second: 100_000,
            project_group_identify_per_second: 10_000,
            rate_window: Duration::from_secs(30),
            dedup_window: Duration::from_hours(7 * 24),
            property_updates_per_hour: 1_800,
            events_max: 2_000,
            http_api_bytes_max: 1_000_000,
            batch_bytes_max: 20_000_000,
        }
    }

    /// The documented sizes, and rates that nobody reaches: for load tests of something else.
    pub const fn unhurried() -> Self {
        Self {
            http_api_per_second: PLENTY,
            batch_per_second: PLENTY,
            batch_per_day: PLENTY,
            project_http_api_per_second: PLENTY,
            project_per_second: PLENTY,
            project_group_identify_per_second: PLENTY,
            property_updates_per_hour: PLENTY,
            ..Self::documented()
        }
    }
}

/// More events than anybody sends.
const PLENTY: u64 = 10_000_000_000;
