//! Destinations, as both sides of the control API read them.

use serde::{Deserialize, Serialize};

/// `GET /control/v1/destinations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DestinationsReport {
    pub destinations: Vec<DestinationDetail>,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DestinationDetail {
    pub name: String,
    /// `well`, `retrying` (it does not answer), `paused` (it refuses us) or `halted` (by an operator).
    pub condition: String,
    /// Why it is not well.
    pub reason: Option<String>,
    /// Since when it is paused; ISO 8601.
    pub since: Option<String>,
    /// Of the rate with the least left; absent where there is none.
    pub budget: Option<BudgetReport>,
    /// How long its rates, or a wait that it asked for, hold requests back from now on.
    pub throttled_for_seconds: Option<f64>,
    pub requests_in_flight: u64,
    /// Objects that wait or are under way, over all streams.
    pub pending: u64,
    /// Streams that end here.
    pub streams: Vec<String>,
    /// Jobs that run.
    pub jobs: u64,
}

/// Requests of the present window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReport {
    pub used: u64,
    pub limit: u64,
}
