//! Users whom a destination does not know, as both sides of the control API read them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /control/v1/streams/{name}/unmatched`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnmatchedReport {
    pub stream: String,
    pub destination: String,
    /// Identifiers that the stream delivered something for lately: known + unknown + unclear +
    /// not asked.
    pub identifiers: u64,
    pub known: u64,
    /// Those that were delivered last come first.
    pub unknown: Vec<UnmatchedUser>,
    /// Of which the answer does not say whether they are there.
    pub unclear: Vec<String>,
    /// That were not asked for, because answers came too late or not at all.
    pub not_asked: u64,
    /// Why not.
    pub held_up: Option<String>,
    /// Identifiers of a kind that cannot be asked for: email, phone, braze id.
    pub cannot_be_asked: u64,
    /// Deliveries whose event the event log does not hold any more.
    pub lost: u64,
    /// Which part of those known or unknown is known; absent where there are none.
    pub match_rate: Option<f64>,
    /// Objects of the stream that nobody could be found for, by reason.
    pub without_identifier: BTreeMap<String, u64>,
    /// Users whom the mirror forgot, where that was asked for.
    pub forgotten: Option<u64>,
}

/// Somebody whom the destination does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnmatchedUser {
    /// As in `external_id:u-1` or `user_alias:LABEL:NAME`.
    pub identifier: String,
    pub amplitude_id: Option<u64>,
    pub user_id: Option<String>,
    pub device_id: Option<String>,
    /// ISO 8601.
    pub last_delivered_at: Option<String>,
    /// What was delivered last; the ledger tells more by it.
    pub place: String,
}
