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
mod directory;
mod identity;
mod recent;
#[cfg(test)]
mod tests;

pub use apply::SNAPSHOT_REACH_BYTES;

use crate::metrics as names;
use apply::Gathering;
use bumpalo::Bump;
use directory::Directory;
use isthmus_core::Timestamp;
use isthmus_core::record::{Applied, AppliedBatch, IntakeBatch, IntakeRange, RecordError};
use isthmus_core::seam::Clock;
use isthmus_log::{Log, LogError, LogReader, Record};
use isthmus_state::{State, StateError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Events after which a batch is closed: large enough to share one sync of the event log, small
/// enough to add little to the latency of the first.
const BATCH_EVENTS_MAX: usize = 4_096;
/// Bytes of intake after which a batch is closed, for batches of few but large events.
const BATCH_BYTES_MAX: usize = 4 << 20;
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
    intake: Log,
    events: Log,
    clock: Arc<dyn Clock>,
    progress: watch::Sender<Progress>,
    persisted_at: Duration,
}

impl Applier {
    /// Opens the applier where it stopped, and brings state up to the event log.
    pub fn open(
        state: &State,
        intake: Log,
        events: Log,
        clock: Arc<dyn Clock>,
        config: ApplierConfig,
    ) -> Result<Self, ApplierError> {
        let directory = Directory::open(state, config.dedup_window)?;
        let reader = intake.reader(directory.cursor.intake.max(intake.start()))?;
        let persisted_at = clock.monotonic();
        let progress = watch::Sender::new(Progress::default());
        let mut applier = Self { directory, reader, intake, events, clock, progress, persisted_at };
        applier.catch_up()?;
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
            let records = self.read_batch()?;
            if records.is_empty() {
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
            let encoded = self.apply(&arena, &records)?;
            arena.reset();
            self.append(encoded).await?;
            self.finish(&records)?;
            self.persist_if_due()?;
        }
        self.persist()
    }

    /// Applies again, without appending, what the event log holds beyond state.
    fn catch_up(&mut self) -> Result<(), ApplierError> {
        let mut events =
            self.events.reader(self.directory.cursor.events.max(self.events.start()))?;
        while let Some(written) = events.next()? {
            let source =
                |source| ApplierError::Record { log: "event", offset: written.offset, source };
            let range = AppliedBatch::decode(&written.payload).map_err(source)?.intake;
            let mut records = Vec::new();
            while self.reader.position() < range.to {
                let Some(record) = self.reader.next()? else { break };
                records.push(record);
            }
            let arena = Bump::new();
            let encoded = self.apply_at(&arena, &records, written.offset)?;
            if encoded != written.payload {
                return Err(ApplierError::Diverged { offset: written.offset });
            }
            self.directory.cursor.events = written.next;
            self.commit(&records)?;
        }
        Ok(())
    }

    fn read_batch(&mut self) -> Result<Vec<Record>, ApplierError> {
        let (mut records, mut bytes, mut events) = (Vec::new(), 0, 0);
        while bytes < BATCH_BYTES_MAX && events < BATCH_EVENTS_MAX {
            let Some(record) = self.reader.next()? else { break };
            bytes += record.payload.len();
            // About: counting exactly would mean decoding twice.
            events += record.payload.len() / 512 + 1;
            records.push(record);
        }
        Ok(records)
    }

    fn apply(&mut self, arena: &Bump, records: &[Record]) -> Result<Vec<u8>, ApplierError> {
        let offset = self.events.end();
        self.apply_at(arena, records, offset)
    }

    fn apply_at(
        &mut self,
        arena: &Bump,
        records: &[Record],
        offset: u64,
    ) -> Result<Vec<u8>, ApplierError> {
        let mut gathering = Gathering::new(arena, offset);
        for record in records {
            let batch = IntakeBatch::decode(&record.payload).map_err(|source| {
                ApplierError::Record { log: "intake", offset: record.offset, source }
            })?;
            gathering.apply(&mut self.directory, &batch)?;
        }
        let events = gathering.items.iter().filter(|item| matches!(item, Applied::Event(_)));
        let events = events.count() as u64;
        self.directory.cursor.applied += events;
        self.directory.cursor.duplicates += gathering.duplicates;
        metrics::counter!(names::APPLIED, "kind" => "event").increment(events);
        metrics::counter!(names::APPLIED, "kind" => "change")
            .increment(gathering.items.len() as u64 - events);
        metrics::counter!(names::DUPLICATES).increment(gathering.duplicates);
        let intake = IntakeRange {
            from: records.first().map_or(self.directory.cursor.intake, |record| record.offset),
            to: records.last().map_or(self.directory.cursor.intake, |record| record.next),
        };
        Ok(AppliedBatch { intake, items: gathering.items }.encode())
    }

    /// Appends to the event log; a full disk is waited out, because nothing may be dropped.
    async fn append(&mut self, encoded: Vec<u8>) -> Result<(), ApplierError> {
        loop {
            match self.events.append(encoded.clone()).await {
                Ok(_) => break,
                Err(error @ (LogError::Full { .. } | LogError::Busy { .. })) => {
                    tracing::warn!(%error, retry_in = ?FULL_RETRY, "applying postponed");
                    self.clock.sleep(FULL_RETRY).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.directory.cursor.events = self.events.end();
        Ok(())
    }

    fn finish(&mut self, records: &[Record]) -> Result<(), ApplierError> {
        self.commit(records)?;
        let lag = self.intake.end().saturating_sub(self.directory.cursor.intake);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 bytes suffice")]
        metrics::gauge!(names::LAG_BYTES).set(lag as f64);
        self.progress.send_modify(|progress| {
            progress.intake = self.directory.cursor.intake;
            progress.applied = self.directory.cursor.applied;
            progress.duplicates = self.directory.cursor.duplicates;
        });
        Ok(())
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), ApplierError> {
        if let Some(last) = records.last() {
            self.directory.cursor.intake = last.next;
        }
        Ok(self.directory.commit()?)
    }

    fn persist_if_due(&mut self) -> Result<(), ApplierError> {
        let due = self.clock.monotonic() >= self.persisted_at + PERSIST_EVERY;
        let behind = self.progress.borrow().intake_persisted < self.directory.cursor.intake;
        if due && behind { self.persist() } else { Ok(()) }
    }

    fn persist(&mut self) -> Result<(), ApplierError> {
        let now: Timestamp = self.clock.now();
        let cursor = self.directory.persist(now)?;
        self.persisted_at = self.clock.monotonic();
        self.progress.send_modify(|progress| {
            progress.intake = cursor.intake;
            progress.intake_persisted = cursor.intake;
            progress.applied = cursor.applied;
            progress.duplicates = cursor.duplicates;
        });
        Ok(())
    }
}
