//! The part that trails the event log and writes blocks.

use super::block::Block;
use super::store::Chain;
use super::{FinderConfig, Shared};
use crate::metrics as names;
use isthmus_core::record::AppliedBatch;
use isthmus_core::seam::Clock;
use isthmus_log::{LogError, LogReader, Record};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it looks for what is due while nothing arrives: trimming, a block's age, damage.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// How long it waits after the disk failed or was full. Searches read the event log meanwhile.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps a finder up to date. There is one per finder.
pub struct Indexer {
    shared: Arc<Shared>,
    chain: Chain,
    clock: Arc<dyn Clock>,
    config: FinderConfig,
    /// Stands where the open block ends, if it is there.
    reader: Option<LogReader>,
    /// When the open block got its first record, on the monotonic clock.
    begun_at: Duration,
    upkeep_at: Duration,
}

impl fmt::Debug for Indexer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Indexer({:?})", self.config)
    }
}

impl Indexer {
    pub(super) fn new(
        shared: Arc<Shared>,
        chain: Chain,
        clock: Arc<dyn Clock>,
        config: FinderConfig,
    ) -> Self {
        let now = clock.monotonic();
        Self { shared, chain, clock, config, reader: None, begun_at: now, upkeep_at: now }
    }

    /// Indexes what arrives until `stop`, stores what it has, and closes the finder's log. What is
    /// not indexed by then is at the next start.
    ///
    /// Nothing that goes wrong ends it: it says so and tries again.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let seen = self.shared.events.end();
            let wait = match self.advance().await {
                Ok(true) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(false) => UPKEEP_EVERY,
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?RETRY, "indexing postponed");
                    RETRY
                }
            };
            let retrying = wait == RETRY;
            tokio::select! {
                // None of these takes anything that dropping it would lose.
                () = self.shared.events.wait_beyond(seen), if !retrying => {}
                () = self.clock.sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        }
        if let Err(error) = self.seal().await {
            tracing::warn!(%error, "last block not stored, it is indexed again");
        }
        self.shared.store.close().await;
    }

    /// Indexes all that is in the event log now.
    ///
    /// [`Self::run`] does this and more; benchmarks and simulations call it alone.
    pub async fn catch_up(&mut self) -> Result<(), LogError> {
        while self.advance().await? {}
        Ok(())
    }

    /// Stores the block that is growing, unless it is empty.
    ///
    /// After an error it grows on.
    pub async fn seal(&mut self) -> Result<(), LogError> {
        let open = self.shared.view().open;
        if open.rows.is_empty() {
            return Ok(());
        }
        if let Some(head) = self.shared.store.append(&open, &mut self.chain).await? {
            self.shared.change(|view| {
                Arc::make_mut(&mut view.heads).push(head);
                view.open = Arc::new(Block::at(open.to));
            });
            gauge_disk(&self.shared);
        }
        Ok(())
    }

    /// Forgets blocks whose records all lie before `before`.
    pub fn trim(&mut self, before: u64) -> Result<(), LogError> {
        let first = self.shared.change(|view| {
            if view.heads.first().is_some_and(|head| head.to <= before) {
                Arc::make_mut(&mut view.heads).retain(|head| head.to > before);
            }
            view.heads.first().map(|head| head.ids)
        });
        let store = &self.shared.store;
        store.trim(first.unwrap_or_else(|| store.end()))
    }

    /// Takes up the next record and does what is due; `false` when there is none.
    async fn advance(&mut self) -> Result<bool, LogError> {
        self.keep_up().await?;
        let record = match self.read() {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(false),
            Err(LogError::Trimmed { start, .. }) => {
                self.skip_to(start).await?;
                return Ok(true);
            }
            Err(LogError::Corrupt { offset, .. }) => {
                let Some(next) = self.shared.events.next_valid_after(offset)? else {
                    return Ok(false);
                };
                tracing::warn!(offset, next, "damaged events are not indexed");
                self.shared.change(|view| Arc::make_mut(&mut view.open).to = next);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if self.shared.view().open.rows.is_empty() {
            self.begun_at = self.clock.monotonic();
        }
        self.take_up(&record);
        Ok(true)
    }

    fn read(&mut self) -> Result<Option<Record>, LogError> {
        let position = self.shared.view().open.to;
        let standing = self.reader.take().filter(|reader| reader.position() == position);
        let mut reader = match standing {
            Some(reader) => reader,
            None => self.shared.events.reader(position)?,
        };
        let record = reader.next()?;
        self.reader = Some(reader);
        Ok(record)
    }

    fn take_up(&self, record: &Record) {
        let Record { offset, next, payload } = record;
        let batch = match AppliedBatch::decode(payload) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!(offset, %error, "unreadable record of events is not indexed");
                self.shared.change(|view| Arc::make_mut(&mut view.open).to = *next);
                return;
            }
        };
        self.shared.change(|view| Arc::make_mut(&mut view.open).push(*offset, *next, &batch));
        metrics::counter!(names::FINDER_ITEMS).increment(batch.items.len() as u64);
    }

    /// Goes on at `start`, because what lies before it is gone.
    async fn skip_to(&mut self, start: u64) -> Result<(), LogError> {
        self.seal().await?;
        self.shared.change(|view| view.open = Arc::new(Block::at(start)));
        Ok(())
    }

    /// Stores the open block when it is large or old; from time to time also trims, and begins
    /// anew where a search met damage.
    async fn keep_up(&mut self) -> Result<(), LogError> {
        let now = self.clock.monotonic();
        let (large, old) = {
            let view = self.shared.view();
            let records = u32::try_from(view.open.rows.len()).unwrap_or(u32::MAX);
            let large = view.open.items.max(records) >= self.config.block_items_max;
            let age = now.saturating_sub(self.begun_at);
            (large, records > 0 && age >= self.config.block_age_max)
        };
        if large || old {
            self.seal().await?;
        }
        if now.saturating_sub(self.upkeep_at) >= UPKEEP_EVERY {
            self.upkeep_at = now;
            self.begin_anew_where_damaged();
            if let Err(error) = self.trim(self.shared.events.start()) {
                tracing::warn!(%error, "old blocks of the finder not removed");
            }
        }
        Ok(())
    }

    pub(super) fn begin_anew_where_damaged(&mut self) {
        let shared = &self.shared;
        let epoch = shared.view().epoch;
        if shared.damaged.load(Ordering::Relaxed) < epoch {
            return;
        }
        tracing::warn!("finder is built again");
        metrics::counter!(names::FINDER_REBUILDS).increment(1);
        self.chain = Chain::default();
        shared.change(|view| {
            view.heads = Arc::default();
            view.open = Arc::new(Block::at(shared.events.start()));
            view.epoch += 1;
        });
    }
}

fn gauge_disk(shared: &Shared) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 bytes suffice")]
    metrics::gauge!(names::FINDER_DISK_BYTES).set(shared.store.bytes_on_disk() as f64);
}
