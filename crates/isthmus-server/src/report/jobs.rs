//! What the control API answers about backfills and replays, as both sides read it.

use serde::{Deserialize, Serialize};

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Acceptance of the first event, ISO 8601 with a zone.
    pub from: String,
    /// Acceptance of the first event after it, ISO 8601 with a zone; now unless given.
    #[serde(default)]
    pub to: Option<String>,
    /// What of it: replays only.
    #[serde(default)]
    pub only: Only,
    /// Sends what the ledger says is delivered, too.
    #[serde(default)]
    pub force: bool,
}

/// Which objects a replay is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Everything that is not delivered; dead letters are mapped anew.
    #[default]
    All,
    /// Dead letters that were refused or given up.
    Rejected,
    /// Objects of which nobody knows whether they were delivered.
    Unknown,
}

/// `GET /control/v1/jobs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobsReport {
    pub jobs: Vec<JobReport>,
}

/// A backfill or replay: a plan, or a job that runs or has ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JobReport {
    /// `plan-3` until it is started, then `DESTINATION:NUMBER`.
    pub id: String,
    /// `backfill` or `replay`.
    pub kind: String,
    pub stream: String,
    pub destination: String,
    /// `planning`, `planned`, `running`, `waiting` (for the program to take it up after a restart),
    /// `cancelling`, `cancelled`, `done` or `failed`.
    pub state: String,
    /// Acceptance of the events it is about, ISO 8601; `to` is exclusive.
    pub from: String,
    pub to: String,
    /// Whether it sends what was delivered before.
    pub force: bool,
    /// Of a plan: which objects.
    pub only: Option<Only>,
    /// Bytes of the event log.
    pub progress: Option<ProgressReport>,
    /// What it would do; of a plan that is finished.
    pub plan: Option<PlanReport>,
    /// Objects, as of a stream: accepted = delivered + rejected + discarded + pending.
    pub accepted: u64,
    pub delivered: u64,
    pub rejected: u64,
    pub discarded: u64,
    pub pending: u64,
    /// Objects left out: delivered before, or among the dead letters.
    pub skipped: u64,
    pub requests: u64,
    /// Dead letters that were sent again, and that stay because they would be refused again.
    pub resent: u64,
    pub refused: u64,
    /// ISO 8601. Of a plan: when it was made.
    pub started_at: String,
    pub ended_at: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressReport {
    pub done: u64,
    pub total: u64,
}

/// What a job would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Events and user updates that it would send anything of.
    pub items: u64,
    /// Users it would send anything of.
    pub users: u64,
    /// Objects it would send, dead letters apart.
    pub objects: u64,
    /// Dead letters it would map anew and send again.
    pub dead_letters: u64,
    /// Requests at the fewest.
    pub requests: u64,
    /// How long those take at the present budget, if nothing else is sent.
    pub seconds: Option<f64>,
    /// Objects left out because the ledger says that they were delivered.
    pub already_delivered: u64,
    /// Objects left out because they are dead letters of a kind it was not asked for.
    pub left_to_dead_letters: u64,
    /// Properties of users left out because a later change overtook them.
    pub overtaken: u64,
    /// Objects that a rule of the stream holds back.
    pub discarded: u64,
    /// Objects that the stream refuses on the vendor's behalf.
    pub refused: u64,
    /// What to know before it starts.
    pub notes: Vec<String>,
}
