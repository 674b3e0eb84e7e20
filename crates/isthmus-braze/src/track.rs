//! Items of the event log, written as objects of `POST /users/track`.
//!
//! Rules are compiled once, by [`crate::BrazeStream::build`]; here they only run. This is the
//! hot path: raw members are walked once, values are copied as raw JSON into one string.

pub(crate) mod attributes;
pub(crate) mod event;
pub(crate) mod origin;

use isthmus_core::destination::{Guarantee, Lane, Mapped, Message, Section};

/// Largest object, in bytes of its JSON ("Custom event properties object", Braze documentation,
/// read 2026-09: 100 KB).
pub(crate) const OBJECT_BYTES_MAX: usize = 102_400;

/// The message for a finished object, or its rejection when Braze would refuse it for its size.
fn finished(
    lane: Lane,
    section: Section,
    name: &str,
    payload: String,
    guarantee: Guarantee,
) -> Mapped {
    let bytes = payload.len();
    let name = name.to_owned();
    let message = Message { lane, section, name, payload, guarantee, after: None };
    if bytes <= OBJECT_BYTES_MAX {
        return Mapped::Deliver(message);
    }
    Mapped::Reject { reason: too_large(bytes), message }
}

/// Why an object of `bytes` is refused.
pub(crate) fn too_large(bytes: usize) -> String {
    format!("object of {bytes} bytes exceeds Braze's limit of {OBJECT_BYTES_MAX}")
}

/// What an object says about creating users: update-only when the stream is; explicitly not for
/// aliases, for which Braze defaults to update-only; otherwise nothing.
pub(crate) fn creation_member(update_existing_only: bool, is_alias: bool) -> &'static str {
    match (update_existing_only, is_alias) {
        (true, _) => ",\"_update_existing_only\":true",
        (false, true) => ",\"_update_existing_only\":false",
        (false, false) => "",
    }
}
