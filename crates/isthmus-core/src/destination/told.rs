//! What a vendor was last told of a user, and what a message would change about it.
//!
//! The words of the mirror between a connector, which can read payloads, and the engine, which
//! cannot. All of it is plain data: who keeps it, and when it may be believed, is the engine's.

use std::collections::BTreeMap;

/// What the vendor was last told of one user, and acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The user as the vendor sees it, for example `external_id:u-1`: a [`super::Lane`] is a hash,
    /// and two users that share one must not be taken for each other.
    pub identifier: String,
    /// Each attribute's value as canonical raw JSON: `null` where it was taken away, and empty where
    /// nobody knows what the vendor has.
    pub values: BTreeMap<String, String>,
}

/// What a message has to say that the vendor was not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// All of it, as far as anybody knows.
    Whole,
    /// Part of it: this payload says that and no more.
    Part { payload: String, saved: Saved },
    /// Nothing.
    Nothing { saved: Saved },
}

/// What is not sent because the vendor has it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Saved {
    pub attributes: u64,
    /// What the vendor would have billed for them.
    pub points: u64,
}

/// What the vendor did with a message, as far as it concerns what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It took it.
    Accepted,
    /// Nobody knows.
    Unknown,
}

/// What a message of a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Whether it is an object of its own; `false` where it shares that of a message before it.
    pub object: bool,
    /// What the vendor bills for it, in its own currency.
    pub points: u64,
}
