//! One file per command.

pub(crate) mod backfill;
pub(crate) mod check;
pub(crate) mod currents;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod destinations;
pub(crate) mod import;
pub(crate) mod jobs;
pub(crate) mod ledger;
pub(crate) mod mirror;
pub(crate) mod profile;
pub(crate) mod replay;
pub(crate) mod sandbox;
pub(crate) mod serve;
pub(crate) mod streams;
