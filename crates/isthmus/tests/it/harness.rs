//! Starts the real program and looks at it from outside.
//!
//! `cargo xtask torture` is built from these modules too, except from those that drive SDKs.

pub(crate) mod amplitude;
pub(crate) mod braze;
pub(crate) mod clients;
pub(crate) mod comparison;
pub(crate) mod control;
pub(crate) mod http;
pub(crate) mod lab;
pub(crate) mod load;
pub(crate) mod patience;
pub(crate) mod process;
pub(crate) mod scripted_amplitude;

pub(crate) use self::patience::eventually;
