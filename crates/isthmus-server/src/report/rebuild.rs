//! What a ledger told the mirror, as both sides of the control API read it.

use serde::{Deserialize, Serialize};

/// `POST /control/v1/destinations/{name}/mirror/rebuild`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildReport {
    pub destination: String,
    /// When the first entry of the ledger was written that was read (RFC 3339); absent where there is
    /// none that counts.
    pub since: Option<String>,
    /// Users of whom the ledger tells.
    pub users: u64,
    /// Those of them of whom the mirror knew nothing, and knows now.
    pub added: u64,
    /// Answers to objects that the event log does not hold any more, or that a job sent: what was told
    /// before the last of them is not known.
    pub lost: u64,
}
