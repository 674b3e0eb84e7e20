//! Forgetting people: what the two logs say of them is written over where it stands.
//!
//! Of the event log every item of theirs becomes `Applied::Erased`, of the intake log every event
//! becomes `IntakeEvent::erased`. Nothing moves: offsets and indexes lead to what they led to.
//! User properties that an item refers to are those of the same person, so nobody else's reference
//! leads to what is gone.
//!
//! State must have forgotten them before, or what they do later would refer to what is erased.
//!
//! It refuses to touch what the applier may have to apply again after a crash, because that
//! compares; see [`Reach`]. It can be stopped anywhere and run again: it finds what is left.
//!
//! In reading order: who is forgotten (`forgotten`), what of a record that concerns (`blank`), the
//! run over a log (`sweep`).

mod blank;
mod forgotten;
mod sweep;
#[cfg(test)]
mod tests;

pub use forgotten::Forgotten;
pub use sweep::Sweep;

use blank::Blank;
use bumpalo::Bump;
use isthmus_core::record::{AppliedBatch, IntakeBatch, RecordError};
use isthmus_log::{Log, LogError};
use isthmus_state::cursor::Cursors;
use isthmus_state::{State, StateError};
use std::ops::{ControlFlow, Range};

/// How far the logs may be rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// End of the part of the event log that is in state for good.
    pub events: u64,
    /// End of the part of the intake log that is in state for good.
    pub intake: u64,
}

impl Reach {
    /// The reach at this moment; makes the present state survive power loss.
    pub fn of(state: &State) -> Result<Self, StateError> {
        let cursor = Cursors::open(state)?.applier()?.unwrap_or_default();
        // After the cursor was read, so that it is among what survives.
        state.persist()?;
        // An intake record that was applied in part lies at its offset, and so beyond.
        Ok(Self { events: cursor.events, intake: cursor.intake.offset })
    }
}

/// Why a run over a log ended early: the operator must act, or nobody where the disk was full.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    #[error("log failed")]
    Log(#[from] LogError),
    #[error("record at offset {offset} of the {log} log cannot be read")]
    Record { log: &'static str, offset: u64, source: RecordError },
}

/// Erases the items of these people from the records of the event log that begin in `range`.
///
/// Calls `progress` every few mebibytes, and ends where that says so: to go on, begin at
/// [`Sweep::searched_to`]. It may wait there, to leave the disk to others. Blocks the thread, and
/// keeps some mebibytes, or the largest record, in memory.
pub fn erase_events(
    events: &Log,
    range: Range<u64>,
    forgotten: &Forgotten,
    progress: impl FnMut(&Sweep) -> ControlFlow<()>,
) -> Result<Sweep, ErasureError> {
    sweep::run("event", events, range, progress, |payload| {
        let arena = Bump::new();
        let mut batch = AppliedBatch::decode(payload)?;
        let erased = batch.blank(forgotten, &arena);
        Ok((erased > 0).then(|| (erased, batch.encode())))
    })
}

/// Erases the events of these people from the records of the intake log that begin in `range`; as
/// [`erase_events`].
///
/// Who an event was about is not written there: an event is theirs that has one of their user ids,
/// or no user id and one of their device ids, or neither and one of the ids that Braze has for them. On
/// a device that several people use, that can be an event of another one. What cannot be read as an
/// event is theirs that names one of these ids.
pub fn erase_intake(
    intake: &Log,
    range: Range<u64>,
    forgotten: &Forgotten,
    progress: impl FnMut(&Sweep) -> ControlFlow<()>,
) -> Result<Sweep, ErasureError> {
    sweep::run("intake", intake, range, progress, |payload| {
        let arena = Bump::new();
        let mut batch = IntakeBatch::decode(payload)?;
        let erased = batch.blank(forgotten, &arena);
        Ok((erased > 0).then(|| (erased, batch.encode())))
    })
}
