//! Currents through the front door: every event type of the catalogue, the worked examples, what
//! the forms have in common, and files as they are and as they should not be.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::approx_constant,
    reason = "helpers of tests; 3.14 is the price that the documentation speaks of"
)]

mod conformance;
mod container;
mod events;
mod examples;
mod files;
mod golden;
