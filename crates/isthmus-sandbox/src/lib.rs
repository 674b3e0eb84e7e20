//! Emulators of Braze and Amplitude, with faults on demand.
//!
//! It answers the vendors' own paths as their documentation says they do, keeps what they would
//! keep, and shows it. It never accepts what they refuse; where no source says what they do, the
//! stricter reading holds. What it does not imitate is listed in `docs/sandbox.md`.
//!
//! In reading order:
//! - [`SandboxConfig`]: what it listens on, whom it trusts, how it limits and how much it keeps.
//! - `model`: users, identifiers, attributes, events, purchases: Braze without HTTP.
//! - `api`: Braze's endpoints: authentication, limits, request and answer shapes.
//! - `amplitude`: the same for Amplitude's ingest endpoints.
//! - [`Fault`]: what goes wrong on purpose.
//! - `render`: messages in Liquid, and the calls that they make.
//! - [`campaigns`]: messages to the users of a segment; [`currents`]: what happened, as Braze exports
//!   it; `outbound`: the loop that sends both.
//! - `inspect`, `settings`, `page`: `/_sandbox/...` for programs and `/` for people.
//! - [`Sandbox`]: all of it on a listener; [`SandboxHttp`]: all of it without one, for a simulator;
//!   [`SandboxHandle`]: a look inside from the same process.

mod amplitude;
mod api;
pub mod campaigns;
mod config;
pub mod currents;
mod fault;
mod in_process;
mod inspect;
mod model;
mod outbound;
mod page;
mod render;
mod sandbox;
mod serve;
mod settings;
mod snapshot;
mod span;
mod written;

pub use amplitude::{
    AmplitudeConfig, AmplitudeCounters, AmplitudeEvent, AmplitudeEventFilter, AmplitudeHandle,
    AmplitudeKey, AmplitudeLimits, AmplitudePeak, AmplitudePerson, AmplitudeSender,
    AmplitudeSenderKind,
};
pub use config::{AccessKey, Keep, LimitMode, RateProfile, Rates, SandboxConfig};
pub use fault::{Fault, FaultEffect, FaultError, Latency, RateLimitForm, When};
pub use in_process::SandboxHttp;
pub use model::{AuditEntry, Counters, DataPoints, Occurrence, OccurrenceKind};
pub use render::Credential;
pub use sandbox::{Sandbox, SandboxError, SandboxHandle};
pub use written::DefinitionError;
