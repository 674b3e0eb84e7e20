//! Everything we know about Amplitude: wire types, validation, limits, answers.
//!
//! Bytes in; decoded events, or a [`Refusal`] with the documented JSON answer, out. No I/O, no
//! clock, no HTTP types.
//!
//! ```text
//! POST /2/httpapi, /batch            parse_upload ─┐
//! GET|POST /identify, /groupidentify Form::parse ──┴─► Upload ──(key lookup)──► check ─► events
//! ```
//!
//! In reading order:
//! - [`rules`]: what each endpoint takes.
//! - [`upload`]: the envelope of an upload, and the check of its events.
//! - [`form`]: `/identify` and `/groupidentify`, which come as a form.
//! - [`refusal`]: the answers, success included.
//! - `event`, `identity`, `groups`, `revenue`: one element of an upload, and the rules of its parts.
//! - [`user_map`]: `/usermap`, which comes as a form too.
//! - [`built_in`]: user properties that events carry as fields.
//! - `property`: limits of property values, and the rewriting of what exceeds them.
//! - `scan`: the JSON scanner below all of it.
//!
//! - [`Amplitude`]: an Amplitude project as a destination. [`AmplitudeStream`]: what one stream
//!   forwards to it; [`forward::Volume`] counts what that makes.
//!
//! Facts come from Amplitude's HTTP V2, Batch Event Upload, Identify and Group Identify API pages
//! (March 2026) and from the source of its SDKs (April to August 2026); what the vendor leaves open
//! is decided in favour of the SDKs.

pub mod built_in;
mod destination;
mod event;
pub mod form;
pub mod forward;
mod groups;
mod identity;
mod property;
pub mod refusal;
mod revenue;
pub mod rules;
mod scan;
pub mod upload;
pub mod user_map;

pub use destination::Amplitude;
pub use form::Form;
pub use forward::AmplitudeStream;
pub use identity::derived_device_id;
pub use refusal::{EventProblems, Refusal, Silenced, Throttle, success_body};
pub use rules::{EndpointRules, ShortIds};
pub use upload::{CheckedUpload, Upload, parse_upload};
