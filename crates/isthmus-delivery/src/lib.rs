//! Streams to their destination: lanes, batches, rate limits, retries, journal, dead letters.
//!
//! One [`engine::Engine`] serves one destination and any number of streams. It has never heard of
//! a vendor: what a vendor wants is behind `isthmus_core::destination::Destination`. All rules are
//! in [`dispatcher::Dispatcher`], a state machine without I/O, clock or randomness of its own; the
//! engine reads, sends, waits and writes down on its behalf.
//!
//! Invariants:
//! - Per stream: accepted = delivered + rejected + discarded + pending, at every moment.
//! - At most one request per lane (a destination's user) is under way, and objects of one stream
//!   and lane leave in log order, also across retries.
//! - An intent is on disk before its request leaves. A dead letter is on disk before its outcome
//!   is, and an outcome before its cursor moves past it.
//! - An object that was acknowledged on disk is never sent again.
//!
//! In reading order: where objects come from ([`source`], `snapshots`), what is known of each
//! stream ([`counts`], [`latency`], `stream`, over time [`history`] and `samples`), what may be sent when (`lanes`, [`governor`],
//! [`health`]), what need not be sent ([`mirror`]), the rules together ([`dispatcher`]), what survives a crash ([`journal`],
//! [`dead_letters`]), and the part that runs ([`engine`], [`status`]). Beside them: what happened to an
//! object ([`ledger`]), where in the event log something is ([`finder`]), and what a stream makes of
//! it ([`remapping`]).

pub mod counts;
pub mod dead_letters;
pub mod dispatcher;
pub mod engine;
pub mod finder;
pub mod governor;
pub mod health;
pub mod history;
pub mod jobs;
pub mod journal;
mod lanes;
pub mod latency;
pub mod ledger;
pub mod memory;
pub mod metrics;
pub mod mirror;
pub mod plan;
pub mod remapping;
mod samples;
mod snapshots;
pub mod source;
pub mod status;
mod stream;
