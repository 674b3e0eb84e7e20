//! End-to-end tests: the real program as child processes on free ports, published clients and
//! plain HTTP in front of it, the emulated Braze behind it.
//!
//! Nothing here reaches into the program; what is asserted is what a client is answered and what
//! Braze holds afterwards. The tests that drive published SDKs are in `sdk`, and fail where those
//! are not installed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "all of this is a test: a surprise is a failure, with its line"
)]

mod comparison;
mod configuration;
mod connected_content;
mod crash;
mod currents;
mod currents_files;
mod dead_letters;
mod delivery_metrics;
mod demo;
mod destinations;
mod door;
mod erasure;
mod faults;
mod forwarding;
mod full_circle;
mod harness;
mod hostile;
mod identification;
mod jobs;
mod ledger;
mod mirror;
mod profiles;
mod sdk;
mod streams;
