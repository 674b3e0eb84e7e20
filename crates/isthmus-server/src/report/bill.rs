//! What streams cost, as both sides of the control API read it.

use serde::{Deserialize, Serialize};

/// `GET /control/v1/bill`: days in UTC, both ends among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BillReport {
    pub from: String,
    pub to: String,
    /// Sorted by name.
    pub streams: Vec<StreamBill>,
    /// Of all of them.
    pub total: BillCounts,
}

/// What one stream cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamBill {
    pub stream: String,
    pub destination: String,
    /// What the limits of its destination allow; absent where there are none.
    pub requests_per_hour: Option<u64>,
    /// Days on which something was sent or saved, the earliest first.
    pub days: Vec<DayBillReport>,
    pub total: BillCounts,
}

/// What it cost on one day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DayBillReport {
    /// As in `2026-02-17`.
    pub day: String,
    pub bill: BillCounts,
    /// Requests of the hour with most of them.
    pub busiest_hour_requests: u64,
    /// How much of what the limits allow in an hour that is: 1 is all of it.
    pub busiest_hour_share: Option<f64>,
}

/// What was sent, and what was not because the destination was told before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillCounts {
    /// Objects that the destination took; those that were joined count once.
    pub objects: u64,
    pub objects_saved: u64,
    /// Those of objects saved among them.
    pub attributes_saved: u64,
    pub requests: u64,
    /// In data points.
    pub points: u64,
    pub points_saved: u64,
}

impl BillCounts {
    /// Which part of the objects was not sent; nothing where there were none.
    pub fn share_of_objects_saved(&self) -> Option<f64> {
        share(self.objects_saved, self.objects)
    }

    /// Which part of the data points was not spent; nothing where there were none.
    pub fn share_of_points_saved(&self) -> Option<f64> {
        share(self.points_saved, self.points)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share; 2^53 suffice")]
fn share(saved: u64, sent: u64) -> Option<f64> {
    let all = saved.saturating_add(sent);
    (all > 0).then(|| saved as f64 / all as f64)
}
