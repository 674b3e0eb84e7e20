//! What the control API answers about Currents sources.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /control/v1/currents`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurrentsReport {
    pub sources: Vec<CurrentsSourceReport>,
}

/// One source. Counts are of everything that it brought since it began, as far as it is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurrentsSourceReport {
    pub name: String,
    pub project: String,
    /// Whether Braze may post to it.
    pub takes_posts: bool,
    pub events: u64,
    /// What came again: events, and texts that are none.
    pub duplicates: u64,
    /// Events of people who are forgotten.
    pub refused: u64,
    /// Texts that are no events, and damaged files.
    pub unusable: u64,
    /// Of those, the ones that are among its dead letters now.
    pub quarantined: u64,
    /// When the latest of its events happened; ISO 8601.
    pub last_event_at: Option<String>,
    /// When anything came last; ISO 8601.
    pub last_received_at: Option<String>,
    /// The files that are followed, if it has some.
    pub files: Option<FollowedFiles>,
}

/// How following files is doing. Counts are since the server began, or the source was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FollowedFiles {
    pub url: String,
    /// When the newest file was written that is read; ISO 8601.
    pub read_until: Option<String>,
    /// Files that were read.
    pub read: u64,
    /// Of those, the ones that end in damage.
    pub damaged: u64,
    /// Files that were found and are not read yet.
    pub pending: u64,
    /// Age of the oldest of those.
    pub lag_seconds: f64,
    /// When all was looked at last; ISO 8601.
    pub looked_at: Option<String>,
    /// What is wrong, if something is, and since when.
    pub error: Option<String>,
    pub error_at: Option<String>,
}

/// Body of `POST /control/v1/currents/{name}/imports`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// A file, a folder or `s3://BUCKET/PREFIX`, as the server sees it.
    pub url: String,
    /// Where the bucket is served; that of the source's files unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region of the bucket; that of the source's files unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Counts what there is, and stores nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// `GET /control/v1/imports`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportsReport {
    pub imports: Vec<ImportReport>,
}

/// One import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportReport {
    pub id: String,
    pub source: String,
    pub url: String,
    pub dry_run: bool,
    /// `reading`, `applying` (everything is read, and is being told apart), `done`, `stopped` or
    /// `failed`.
    pub state: String,
    /// ISO 8601.
    pub started_at: String,
    /// ISO 8601.
    pub ended_at: Option<String>,
    /// From the start to the end of reading, or to now.
    pub seconds: f64,
    /// Files to read and their bytes, once they are counted.
    pub files_total: Option<u64>,
    pub bytes_total: Option<u64>,
    /// Files that were read to their end or to their damage.
    pub files: u64,
    pub files_damaged: u64,
    /// Files that could not be read at all.
    pub files_failed: u64,
    /// Files that were read before, and passed over.
    pub files_known: u64,
    /// Bytes of files that were read.
    pub bytes: u64,
    /// Events that were read.
    pub events: u64,
    /// Texts that are no events, and damaged files: dead letters of `currents:SOURCE`.
    pub unusable: u64,
    /// What became of everything that the source brought since the import began.
    pub new_events: u64,
    pub duplicates: u64,
    pub refused: u64,
    pub by_type: BTreeMap<String, u64>,
    pub by_reason: BTreeMap<String, u64>,
    /// When the latest of the events happened; ISO 8601.
    pub newest_event_at: Option<String>,
    /// What it waits for, or why it failed.
    pub error: Option<String>,
    /// Files that could not be read, each with why; some of them.
    pub failures: Vec<String>,
}

impl ImportReport {
    /// Whether nothing more will come of it.
    pub fn has_ended(&self) -> bool {
        !matches!(&*self.state, "reading" | "applying")
    }
}
