//! Currents through the front door: every event type of the catalogue, the worked examples, what
//! the forms have in common, and files as they are and as they should not be.

mod conformance;
mod container;
mod events;
mod examples;
mod files;
mod golden;
