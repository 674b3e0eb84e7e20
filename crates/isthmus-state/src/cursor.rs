//! Small facts that must change together with the rest: how far the applier came, and counters.

use crate::{State, StateError, WriteBatch};
use fjall::Keyspace;
use isthmus_core::Place;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
const APPLIER: &[u8] = b"applier";

/// How far the applier came; committed in the same batch as what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApplierCursor {
    /// The next event of the intake log to apply.
    pub intake: Place,
    /// Offset in the event log after the last batch that this state includes.
    pub events: u64,
    /// The Amplitude id that the next new person gets.
    pub next_amplitude_id: u64,
    /// Events applied since the beginning.
    pub applied: u64,
    /// Events dropped as duplicates since the beginning.
    pub duplicates: u64,
    /// For how long a sighting counted when this was written, in milliseconds: what is applied
    /// again after a crash is applied by the same rule.
    pub dedup_window_millis: u64,
}

/// The keyspace `meta`, open.
#[derive(Clone)]
pub struct Cursors {
    meta: Keyspace,
}

impl Cursors {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { meta: state.keyspace("meta")? })
    }

    /// How far the applier came; `None` on a new folder.
    pub fn applier(&self) -> Result<Option<ApplierCursor>, StateError> {
        let Some(value) = self.meta.get(APPLIER)? else { return Ok(None) };
        crate::decode("applier cursor", VERSION, &value).map(Some)
    }

    /// Moves the applier's cursor.
    pub fn put_applier(&self, batch: &mut WriteBatch, cursor: &ApplierCursor) {
        batch.insert(&self.meta, APPLIER, crate::encode(VERSION, cursor));
    }
}
