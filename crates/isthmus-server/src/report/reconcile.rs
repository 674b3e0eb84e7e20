//! What a destination has against what it was told, as both sides of the control API read it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /control/v1/destinations/{name}/reconcile`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReconcileReport {
    pub destination: String,
    /// Users of the mirror that were looked at: same + drifted + unknown + unclear + not asked +
    /// cannot be asked.
    pub users: u64,
    /// Of whom nothing differs.
    pub same: u64,
    pub drifted: Vec<DriftedUser>,
    /// Whom the destination does not know.
    pub unknown: Vec<UnknownUser>,
    /// Of which the answer does not say whether they are there.
    pub unclear: Vec<String>,
    /// That were not asked for, because answers came too late or not at all.
    pub not_asked: u64,
    /// Why not.
    pub held_up: Option<String>,
    /// Users who are told of by email, phone or braze id.
    pub cannot_be_asked: u64,
    pub attributes_compared: u64,
    /// Never exported, or not known for certain, or told again meanwhile.
    pub attributes_not_compared: u64,
    /// Which part of the users that could be compared is not as it was told; absent where there are
    /// none.
    pub drift_rate: Option<f64>,
    /// What was done about it, where that was asked for.
    pub healed: Option<Healed>,
}

/// A user with attributes that are not as they were told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftedUser {
    /// As in `external_id:u-1` or `user_alias:LABEL:NAME`.
    pub identifier: String,
    pub attributes: Vec<Drift>,
    /// Whether the user is told again: only somebody who is found by user id or device id can be.
    pub told_again: bool,
}

/// Somebody whom the destination does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnknownUser {
    pub identifier: String,
    pub told_again: bool,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    pub name: String,
    pub told: Value,
    /// Absent where the destination has no value.
    pub has: Option<Value>,
}

/// What came of healing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healed {
    /// Users of whom what differs was forgotten: it is sent when it comes up next.
    pub forgotten: u64,
    /// Those of them who are told again now.
    pub told_again: u64,
}
