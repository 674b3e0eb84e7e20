//! What every part of isthmus agrees on: plain data and pure functions, no I/O.
//!
//! In reading order:
//! - [`time`], [`id`], [`units`]: instants, identifiers and sizes that carry their unit.
//! - [`histogram`]: durations counted so that they can be added up.
//! - [`json`]: raw JSON objects walked without building a tree.
//! - [`record`]: what the intake log and the event log hold, as versioned bytes.
//! - [`profile`]: user properties and the operations that change them.
//! - [`identity`]: who an event is about, and whom queries count together.
//! - [`filter`]: property conditions, shared by streams and cohorts.
//! - [`destination`]: the contract between a vendor crate and the delivery engine.
//! - [`seam`]: clock, randomness, HTTP and backoff, so that a simulator can drive everything.

pub mod destination;
pub mod filter;
pub mod histogram;
pub mod id;
pub mod identity;
pub mod json;
pub mod profile;
pub mod record;
pub mod seam;
pub mod time;
pub mod units;

pub use histogram::{Bucket, Histogram};
pub use id::{AmplitudeId, Place};
pub use time::Timestamp;
pub use units::ByteSize;
