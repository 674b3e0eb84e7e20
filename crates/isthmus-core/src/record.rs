//! What the two logs hold, as versioned bytes.
//!
//! - The **intake log** holds [`IntakeBatch`]es: what one accepted request carried, decoded and
//!   validated, but not yet interpreted.
//! - The **event log** holds [`AppliedBatch`]es: what came of it (events with their person,
//!   changes of user properties, merges).
//!
//! A record starts with one version byte; the rest is postcard. Decoding borrows from the bytes.
//! A new version gets a new byte and new types; old ones stay readable.

mod applied;
mod intake;

pub use applied::{
    Applied, AppliedBatch, AppliedEvent, AppliedIdentify, CurrentsEvent, Erasure, GroupChange,
    Identified, IntakeRange, Merge, PropertyChange, UserChange, UserProperties,
};
pub use intake::{
    Command, CurrentsBatch, Echo, Erase, IntakeBatch, IntakeEvent, Mend, Sent, Source, Unusable,
};

use serde::{Deserialize, Serialize};

/// A record that cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record is empty")]
    Empty,
    #[error("record has version {found}; this build reads up to {known}")]
    Version { found: u8, known: u8 },
    #[error("record is malformed: {reason}")]
    Malformed { reason: String },
}

/// `value` behind its version; `expected` is about how many bytes it takes.
fn encode<T: Serialize>(version: u8, value: &T, expected: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(expected);
    bytes.push(version);
    let bytes = postcard::to_extend(value, bytes);
    bytes.expect("a Vec grows as needed and these types have known lengths")
}

fn decode<'a, T: Deserialize<'a>>(known: u8, bytes: &'a [u8]) -> Result<T, RecordError> {
    let (&found, rest) = bytes.split_first().ok_or(RecordError::Empty)?;
    if found != known {
        return Err(RecordError::Version { found, known });
    }
    postcard::from_bytes(rest).map_err(|error| RecordError::Malformed { reason: error.to_string() })
}
