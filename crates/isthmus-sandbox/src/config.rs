//! What a sandbox listens on, whom it trusts, how it limits requests and how much it keeps.

use crate::amplitude::AmplitudeConfig;
use isthmus_core::ByteSize;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The port of a sandbox that was told nothing else.
const PORT: u16 = 8_500;

/// Everything that can be chosen about a sandbox.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxConfig {
    /// Address to listen on. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// REST keys that are accepted. None at all: any bearer token opens the one workspace.
    pub keys: Vec<AccessKey>,
    /// How the objects of a `/users/track` request are counted.
    pub limit_mode: LimitMode,
    /// Objects that one `/users/track` request may hold, counted by [`Self::limit_mode`].
    pub objects_max: usize,
    /// How many requests are answered, and what the answers say about it, at the start.
    pub rates: Rates,
    /// How long after its answer a request takes effect, at the start.
    pub apply_delay: Duration,
    /// Up to this much more delay, drawn per request, at the start: requests overtake each other.
    pub apply_jitter: Duration,
    /// How much older than the users themselves `/users/export/ids` is.
    pub export_lag: Duration,
    /// How long the source of a merge stays readable after its data moved.
    pub merge_linger: Duration,
    /// Whether `/users/export/ids` insists on `fields_to_export`, as for customers since 2024-08-22.
    pub export_fields_required: bool,
    /// `external_id`s that are refused as blocklisted.
    pub blocked_ids: Vec<String>,
    /// Distinct event names, and product names, after which a user takes nothing more.
    pub names_per_user_max: usize,
    /// How much of what happened is kept.
    pub keep: Keep,
    /// Occurrences of events and purchases kept over all users, and events of each Amplitude
    /// project, with [`Keep::Latest`].
    pub occurrences_kept: usize,
    /// Occurrences kept per user, with [`Keep::Latest`].
    pub occurrences_kept_per_user: usize,
    /// Requests kept for `/_sandbox/requests`.
    pub requests_kept: usize,
    /// How much of each kept request's body is kept.
    pub request_body_kept: ByteSize,
    /// Silent drops kept for `/_sandbox/audit`.
    pub audit_kept: usize,
    /// Event property whose values are all remembered, to prove that nothing was lost or doubled.
    pub uid_property: Option<String>,
    /// The emulated Amplitude.
    pub amplitude: AmplitudeConfig,
    /// File that the users are read from at the start and written to while running and at the end.
    pub snapshot: Option<PathBuf>,
    /// Time between two writes of the snapshot.
    pub snapshot_every: Duration,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            keys: Vec::new(),
            limit_mode: LimitMode::Combined,
            objects_max: 75,
            rates: Rates::default(),
            apply_delay: Duration::ZERO,
            apply_jitter: Duration::ZERO,
            export_lag: Duration::ZERO,
            merge_linger: Duration::ZERO,
            export_fields_required: false,
            blocked_ids: Vec::new(),
            names_per_user_max: 20_000,
            keep: Keep::Latest,
            occurrences_kept: 10_000,
            occurrences_kept_per_user: 200,
            requests_kept: 200,
            request_body_kept: ByteSize::kib(64),
            audit_kept: 1_000,
            uid_property: None,
            amplitude: AmplitudeConfig::default(),
            snapshot: None,
            snapshot_every: Duration::from_secs(10),
        }
    }
}

/// A REST key: what it opens and what it may do there.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The bearer token.
    pub key: String,
    /// Name of the workspace it belongs to; keys of one name share a workspace.
    pub workspace: String,
    /// Permissions such as `users.track`. None at all: every permission.
    pub permissions: Vec<String>,
}

impl AccessKey {
    /// A key with every permission in `workspace`.
    pub fn new(key: impl Into<String>, workspace: impl Into<String>) -> Self {
        Self { key: key.into(), workspace: workspace.into(), permissions: Vec::new() }
    }

    /// Whether the key has `permission`.
    pub(crate) fn allows(&self, permission: &str) -> bool {
        self.permissions.is_empty() || self.permissions.iter().any(|held| held == permission)
    }
}

/// Shows the key as `***`.
impl std::fmt::Debug for AccessKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AccessKey")
            .field("key", &"***")
            .field("workspace", &self.workspace)
            .field("permissions", &self.permissions)
            .finish()
    }
}

/// How the objects of a `/users/track` request are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitMode {
    /// All three arrays together.
    Combined,
    /// Each array for itself, as for accounts on legacy limits.
    Legacy,
}

/// How much of what happened is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Every occurrence, without bound: for tests that look at each one.
    All,
    /// Users, and the latest occurrences.
    Latest,
    /// Counters alone: objects are validated and counted, and no user is kept. For benchmarks.
    Counts,
}

/// Which contract's rate limit headers are imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateProfile {
    /// No limits and no headers.
    Off,
    /// Contracts priced in data points: `x-ratelimit-reset` in epoch seconds.
    #[serde(rename = "datapoint")]
    DataPoint,
    /// Contracts priced by monthly active users: seconds until the reset, and on a 429
    /// `x-ratelimit-retry-after` instead of everything else.
    Mau,
}

/// Requests per window; windows are fixed and aligned to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    pub profile: RateProfile,
    pub track_per_3s: u32,
    /// Only with [`RateProfile::Mau`].
    pub track_per_hour: u32,
    pub track_bulk_per_second: u32,
    pub track_sync_per_minute: u32,
    /// Identify, alias, merge and delete together.
    pub identity_per_minute: u32,
    /// External id rename and remove, each for itself.
    pub external_ids_per_minute: u32,
    pub export_per_minute: u32,
}

impl Rates {
    /// Braze's documented defaults ("API rate limits", read 2026-09). The hourly limit of MAU
    /// contracts is individual; the figure here is the older public one.
    pub const fn documented(profile: RateProfile) -> Self {
        Self {
            profile,
            track_per_3s: 3_000,
            track_per_hour: 250_000,
            track_bulk_per_second: 50,
            track_sync_per_minute: 500,
            identity_per_minute: 20_000,
            external_ids_per_minute: 1_000,
            export_per_minute: 250,
        }
    }
}

/// Braze's headers with limits that a laptop does not reach.
impl Default for Rates {
    fn default() -> Self {
        const PLENTY: u32 = 10_000_000;
        Self {
            profile: RateProfile::DataPoint,
            track_per_3s: PLENTY,
            track_per_hour: PLENTY,
            track_bulk_per_second: PLENTY,
            track_sync_per_minute: PLENTY,
            identity_per_minute: PLENTY,
            external_ids_per_minute: PLENTY,
            export_per_minute: PLENTY,
        }
    }
}
