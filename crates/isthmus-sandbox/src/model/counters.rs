//! What was counted since the start or the last reset. Exact, however little else is kept.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Totals of one workspace.
///
/// Of every kind of object: sent = accepted + refused. What an accepted object does is decided
/// when it takes effect: events = applied + those ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Requests by path, refused ones included.
    pub requests: BTreeMap<String, u64>,
    /// Requests that were answered with something else than 2xx.
    pub requests_refused: u64,
    /// Attributes objects that were accepted.
    pub attributes: u64,
    /// Event objects that were accepted.
    pub events: u64,
    /// Purchase objects that were accepted.
    pub purchases: u64,
    /// Objects of `/users/track` with an entry in `errors`.
    pub objects_refused: u64,
    /// Events that were counted on a user.
    pub events_applied: u64,
    /// Purchases that were counted on a user.
    pub purchases_applied: u64,
    /// Events with the identifier, name, time and properties of an earlier one. Counted like any
    /// other event, as Braze does; found among the latest million at least.
    pub events_repeated: u64,
    /// Sum of the hashes of all events: the same whatever order they came in.
    pub events_checksum: u64,
    /// Distinct values of the property that is watched.
    pub uids: u64,
    /// Events with a value of that property that was there before.
    pub uids_repeated: u64,
    /// What was accepted and then silently ignored.
    pub ignored: u64,
    pub users_created: u64,
    pub users_merged: u64,
    pub users_deleted: u64,
    pub data_points: DataPoints,
}

/// Data points by what cost them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataPoints {
    pub attributes: u64,
    pub events: u64,
    pub purchases: u64,
}

impl DataPoints {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.attributes + self.events + self.purchases
    }
}
