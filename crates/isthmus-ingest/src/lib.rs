//! The door (decode, validate, append), the applier (deduplicate, identify, fold), and the erasure
//! of people from both logs.
//!
//! The door answers only after the intake log holds the request on disk. The applier is a
//! deterministic function of (state, record): it can be stopped anywhere and run again over the
//! same records, and nothing is repeated or skipped.

pub mod applier;
mod currents;
pub mod door;
pub mod erasure;
pub mod follow;
pub mod metrics;
