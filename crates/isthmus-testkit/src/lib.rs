//! Generators of believable traffic, for the demo, tests and benchmarks.
//!
//! Everything follows from a seed, so a run can be repeated.

pub mod bulk;
pub mod currents;
pub mod shop;
