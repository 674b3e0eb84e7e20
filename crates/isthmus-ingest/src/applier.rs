//! The applier: intake log in, state and event log out.
//!
//! For every batch of intake records, in this order:
//! 1. compute what follows, as a deterministic function of (state, records);
//! 2. append it to the event log, with the range of the intake log that it covers, and wait for
//!    the disk;
//! 3. commit the state batch, which carries both offsets.
//!
//! A crash between 2 and 3 leaves an event log that is ahead of state. [`Applier::open`] then
//! applies the same ranges again without appending, and checks that the same items come out.

mod apply;
mod currents;
mod directory;
mod known_ids;
mod profile;
mod recent;
#[cfg(test)]
mod tests;

pub use apply::SNAPSHOT_REACH_BYTES;

use crate::metrics as names;
use apply::{Dropped, Gathering, Range};
use bumpalo::Bump;
use directory::Directory;
use isthmus_core::Place;
use isthmus_core::record::{Applied, AppliedBatch, IntakeBatch, IntakeRange, RecordError};
use isthmus_core::seam::{Clock, Random};
use isthmus_log::{Log, LogError, LogReader, Record};
use isthmus_state::{State, StateError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Intake records that are read ahead of being applied, in bytes: enough to fill a batch, which is
/// closed by what it produces.
const AHEAD_BYTES_MAX: usize = 4 << 20;
/// Items after which a batch is closed: large enough to share one sync of the event log, small
/// enough to add little to the latency of the first.
const BATCH_ITEMS_MAX: usize = 4_096;
/// State is made to survive power loss at least this often; until then the logs can rebuild it.
const PERSIST_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before trying a full disk again.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// What the applier does that a deployment may choose.
#[derive(Debug, Clone, Copy)]
pub struct ApplierConfig {
    /// How long after its first sighting an event is recognised as a duplicate.
    pub dedup_window: Duration,
}

impl Default for ApplierConfig {
    /// Seven days (`amplitude-ingest.md` section 9).
    fn default() -> Self {
        Self { dedup_window: Duration::from_hours(7 * 24) }
    }
}

/// How far the applier came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Offset of the next intake record to apply.
    pub intake: u64,
    /// The intake log may be trimmed up to here: state before it survives power loss.
    pub intake_persisted: u64,
    /// Events applied since the beginning.
    pub applied: u64,
    /// Duplicates dropped since the beginning.
    pub duplicates: u64,
}

/// Why the applier stopped: each needs the operator.
#[derive(Debug, thiserror::Error)]
pub enum ApplierError {
    #[error("log failed")]
    Log(#[from] LogError),
    #[error("state failed")]
    State(#[from] StateError),
    #[error("record at offset {offset} of the {log} log cannot be read")]
    Record { log: &'static str, offset: u64, source: RecordError },
    #[error(
        "event log and state disagree at offset {offset}: applying the same records again gave \
         other items"
    )]
    Diverged { offset: u64 },
}

/// The applier, ready to run.
pub struct Applier {
    directory: Directory,
    reader: LogReader,
    /// Records read and not wholly applied; the first one from the cursor's index on.
    ahead: VecDeque<Record>,
    intake: Log,
    events: Log,
    clock: Arc<dyn Clock>,
    progress: watch::Sender<Progress>,
    persisted_at: Duration,
}

impl Applier {
    /// Opens the applier where it stopped, and brings state up to the event log. `random` is asked
    /// once in the life of `state`, for the salt of tombstones.
    pub fn open(
        state: &State,
        intake: Log,
        events: Log,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
        config: ApplierConfig,
    ) -> Result<Self, ApplierError> {
        let directory = Directory::open(state, config.dedup_window, random)?;
        let reader = intake.reader(directory.cursor.intake.offset.max(intake.start()))?;
        let persisted_at = clock.monotonic();
        let progress = watch::Sender::new(Progress::default());
        let ahead = VecDeque::new();
        let mut applier =
            Self { directory, reader, ahead, intake, events, clock, progress, persisted_at };
        applier.catch_up()?;
        applier.directory.set_window(config.dedup_window);
        applier.persist()?;
        Ok(applier)
    }

    /// How far the applier came, as it goes.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Applies what arrives until `stop`, then what is left, and returns.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ApplierError> {
        let mut arena = Bump::new();
        loop {
            self.read_ahead()?;
            if self.ahead.is_empty() {
                if stop.is_cancelled() {
                    break;
                }
                self.persist_if_due()?;
                let seen = self.reader.position();
                tokio::select! {
                    () = self.intake.wait_beyond(seen) => {}
                    () = stop.cancelled() => {}
                    // Wakes to persist what was committed; waiting again loses nothing.
                    () = self.clock.sleep(PERSIST_EVERY) => {}
                }
                continue;
            }
            let encoded = self.apply(&arena, self.events.end(), None)?;
            arena.reset();
            if !self.append(encoded, &stop).await? {
                // What was computed is not committed: the next start computes it again.
                return Ok(());
            }
            self.commit()?;
            self.report();
            self.persist_if_due()?;
        }
        self.persist()
    }

    /// Applies again, without appending, what the event log holds beyond state.
    fn catch_up(&mut self) -> Result<(), ApplierError> {
        let from = self.directory.cursor.events.max(self.events.start());
        let mut events = self.events.reader(from)?;
        while let Some(written) = events.next()? {
            let source =
                |source| ApplierError::Record { log: "event", offset: written.offset, source };
            let AppliedBatch { intake: range, items, .. } =
                AppliedBatch::decode(&written.payload).map_err(source)?;
            while self.reader.position() < range.to.offset
                || (range.to.index > 0 && self.reader.position() == range.to.offset)
            {
                let Some(record) = self.reader.next()? else { break };
                self.ahead.push_back(record);
            }
            self.directory.expect_persons(&items);
            let encoded = self.apply(&Bump::new(), written.offset, Some((range.to, &items)))?;
            if encoded != written.payload {
                return Err(ApplierError::Diverged { offset: written.offset });
            }
            self.directory.cursor.events = written.next;
            self.commit()?;
            // It may be all that was ever applied, of which not everything fits into memory.
            self.persist_if_due()?;
        }
        self.directory.expect_persons(&[]);
        Ok(())
    }

    fn read_ahead(&mut self) -> Result<(), ApplierError> {
        let mut bytes: usize = self.ahead.iter().map(|record| record.payload.len()).sum();
        while bytes < AHEAD_BYTES_MAX {
            let Some(record) = self.reader.next()? else { break };
            bytes += record.payload.len();
            self.ahead.push_back(record);
        }
        Ok(())
    }

    /// Applies what is ahead, from the cursor until the batch is full, and moves the cursor; returns
    /// the encoded batch, for the event log at `offset`. With `again`, what the event log holds
    /// there, it ends where that ends.
    fn apply(
        &mut self,
        arena: &Bump,
        offset: u64,
        again: Option<(Place, &[Applied<'_>])>,
    ) -> Result<Vec<u8>, ApplierError> {
        let (until, written) = again.unzip();
        let from = self.directory.cursor.intake;
        let (mut to, mut received_at, mut finished) = (from, None, 0);
        let mut gathering = Gathering::new(arena, offset, written.unwrap_or_default());
        let ahead = std::mem::take(&mut self.ahead);
        for record in &ahead {
            let full = gathering.items.len() >= BATCH_ITEMS_MAX || gathering.is_full();
            let start = Place { offset: record.offset, index: 0 };
            if until.map_or(full, |until| start >= until) {
                break;
            }
            let batch = IntakeBatch::decode(&record.payload).map_err(|source| {
                ApplierError::Record { log: "intake", offset: record.offset, source }
            })?;
            received_at.get_or_insert(batch.received_at);
            let first = if record.offset == from.offset { from.index as usize } else { 0 };
            let last = until.filter(|until| until.offset == record.offset);
            let last = last.map(|until| until.index as usize);
            let last = last.or(until.map(|_| usize::MAX));
            let range = Range { offset: record.offset, first, until: last };
            match gathering.apply(&mut self.directory, &batch, range)? {
                None => {
                    to = Place { offset: record.next, index: 0 };
                    finished += 1;
                }
                Some(left) => {
                    let index = u32::try_from(left).unwrap_or(u32::MAX);
                    to = Place { offset: record.offset, index };
                    break;
                }
            }
        }
        gathering.pass_erased();
        self.directory.cursor.intake = to;
        let events = gathering.items.iter().filter(|item| matches!(item, Applied::Event(_)));
        let events = events.count() as u64;
        self.directory.cursor.applied += events;
        self.directory.cursor.duplicates += gathering.dropped.duplicates;
        metrics::counter!(names::APPLIED, "kind" => "event").increment(events);
        metrics::counter!(names::APPLIED, "kind" => "change")
            .increment(gathering.items.len() as u64 - events);
        count_dropped(&gathering.dropped);
        let intake = IntakeRange { from, to };
        let received_at = received_at.unwrap_or_default();
        let encoded = AppliedBatch { intake, received_at, items: gathering.items }.encode();
        self.ahead = ahead;
        drop(self.ahead.drain(..finished));
        Ok(encoded)
    }

    /// Appends to the event log; a full disk is waited out, because nothing may be dropped.
    /// Returns whether it was appended, which it is not when `stop` comes while waiting.
    async fn append(
        &mut self,
        encoded: Vec<u8>,
        stop: &CancellationToken,
    ) -> Result<bool, ApplierError> {
        let frame = self.events.frame(encoded)?;
        loop {
            match self.events.append_frame(frame.clone()).await {
                Ok(_) => break,
                Err(error @ (LogError::Full { .. } | LogError::Busy { .. })) => {
                    tracing::warn!(%error, retry_in = ?FULL_RETRY, "applying postponed");
                    tokio::select! {
                        () = self.clock.sleep(FULL_RETRY) => {}
                        () = stop.cancelled() => return Ok(false),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.directory.cursor.events = self.events.end();
        Ok(true)
    }

    fn report(&self) {
        let cursor = &self.directory.cursor;
        let lag = self.intake.end().saturating_sub(cursor.intake.offset);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 bytes suffice")]
        metrics::gauge!(names::LAG_BYTES).set(lag as f64);
        self.progress.send_modify(|progress| {
            progress.intake = cursor.intake.offset;
            progress.applied = cursor.applied;
            progress.duplicates = cursor.duplicates;
        });
    }

    fn commit(&mut self) -> Result<(), ApplierError> {
        Ok(self.directory.commit()?)
    }

    fn persist_if_due(&mut self) -> Result<(), ApplierError> {
        let due =
            self.directory.is_due() || self.clock.monotonic() >= self.persisted_at + PERSIST_EVERY;
        let behind = self.progress.borrow().intake_persisted < self.directory.cursor.intake.offset;
        if due && behind { self.persist() } else { Ok(()) }
    }

    fn persist(&mut self) -> Result<(), ApplierError> {
        let cursor = self.directory.persist(self.clock.now())?;
        self.persisted_at = self.clock.monotonic();
        self.progress.send_modify(|progress| {
            progress.intake = cursor.intake.offset;
            progress.intake_persisted = cursor.intake.offset;
            progress.applied = cursor.applied;
            progress.duplicates = cursor.duplicates;
        });
        Ok(())
    }
}

fn count_dropped(dropped: &Dropped) {
    let Dropped { duplicates, of_currents, oversized, too_many, refused, mappings } = dropped;
    let (duplicates, oversized, too_many) = (*duplicates, *oversized, *too_many);
    let (refused, mappings) = (*refused, *mappings);
    metrics::counter!(names::DUPLICATES).increment(duplicates);
    for (source, count) in of_currents {
        metrics::counter!(names::CURRENTS_DUPLICATES, "source" => source.clone()).increment(*count);
    }
    metrics::counter!(names::REFUSED).increment(refused);
    for (reason, updates) in [("too_large", oversized), ("too_many", too_many)] {
        if updates > 0 {
            metrics::counter!(names::UPDATES_DROPPED, "reason" => reason).increment(updates);
            tracing::warn!(updates, reason, "property updates dropped");
        }
    }
    if mappings > 0 {
        tracing::warn!(mappings, "user mappings dropped: a cycle or too long a chain");
    }
}
