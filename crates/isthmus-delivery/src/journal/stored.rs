//! The journal on disk: a log of the destination's own.

use super::{Entry, Journal, JournalError, VisitAt};
use crate::ledger::EntryReader;
use isthmus_core::seam::{BoxFuture, Clock};
use isthmus_core::{ByteSize, Timestamp};
use isthmus_log::{Log, LogConfig, LogError};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long entries are kept that only the ledger needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub at_least: Duration,
    /// Beyond this much, the oldest go early.
    pub at_most: Option<ByteSize>,
}

impl Default for Keep {
    /// A month: what people ask about is rarely older.
    fn default() -> Self {
        Self { at_least: Duration::from_hours(30 * 24), at_most: None }
    }
}

/// A journal in a log. Open the log with [`StoredJournal::log_config`]. Clones are the same one.
#[derive(Clone)]
pub struct StoredJournal {
    log: Log,
    keep: Keep,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for StoredJournal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "StoredJournal({}..{})", self.log.start(), self.log.end())
    }
}

impl StoredJournal {
    /// Keeps the journal in `log`, which holds nothing else.
    pub fn new(log: Log, keep: Keep, clock: Arc<dyn Clock>) -> Self {
        Self { log, keep, clock }
    }

    /// Small segments, because starting reads at least one and only whole segments can go; and no
    /// reserve, because a destination that drains is what frees a full disk.
    pub fn log_config() -> LogConfig {
        LogConfig {
            segment_max: ByteSize::mib(4),
            reserve: ByteSize::bytes(0),
            ..LogConfig::default()
        }
    }

    /// Shows the entries of the segment at `base`.
    fn visit(
        &self,
        base: u64,
        end: u64,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut reader = match self.log.reader(base) {
            Ok(reader) => reader,
            Err(LogError::Trimmed { .. }) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        while reader.position() < end {
            match reader.next() {
                Ok(Some(record)) if record.offset < end => visit(&record.payload)?,
                Ok(_) | Err(LogError::Trimmed { .. }) => break,
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// The segments, each with its end.
    fn segments(&self) -> Vec<(u64, u64)> {
        let bases = self.log.segments();
        let ends = bases.iter().copied().skip(1).chain([self.log.end()]);
        bases.iter().copied().zip(ends).collect()
    }

    /// When the first entry of the segment at `base` was written.
    fn written_at(&self, base: u64) -> Option<Timestamp> {
        Some(Entry::decode(&self.log.read_at(base).ok()?).ok()?.at())
    }
}

impl Journal for StoredJournal {
    fn bytes_on_disk(&self) -> Option<u64> {
        Some(self.log.bytes_on_disk())
    }

    fn append(&self, entry: Vec<u8>) -> BoxFuture<'static, Result<u64, JournalError>> {
        let log = self.log.clone();
        Box::pin(async move { log.append(entry).await.map_err(failed) })
    }

    /// Looks for the last checkpoint from the end, segment by segment, so that a start does not
    /// read what only the ledger needs.
    fn replay(
        &self,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let segments = self.segments();
        let mut first = 0;
        for (index, (base, end)) in segments.iter().enumerate().rev() {
            first = index;
            let mut has_checkpoint = false;
            self.visit(*base, *end, &mut |bytes| {
                has_checkpoint |= Entry::is_checkpoint(bytes);
                Ok(())
            })?;
            if has_checkpoint {
                break;
            }
        }
        segments.iter().skip(first).try_for_each(|(base, end)| self.visit(*base, *end, visit))
    }

    fn read_from(&self, position: u64, visit: &mut VisitAt<'_>) -> Result<bool, JournalError> {
        let end = self.log.end();
        if !(self.log.start()..end).contains(&position) {
            return Ok(false);
        }
        let mut reader = self.log.reader(position).map_err(failed)?;
        while reader.position() < end {
            match reader.next().map_err(failed)? {
                Some(record) => visit(record.offset, &record.payload)?,
                None => break,
            }
        }
        Ok(true)
    }

    fn range(&self) -> Range<u64> {
        self.log.start()..self.log.end()
    }

    fn trim(&self, checkpoint: u64) -> Result<(), JournalError> {
        let now = self.clock.now();
        // A segment goes when the one after it is old enough, for it is older than that.
        for (base, _) in self.segments().into_iter().skip(1) {
            if base > checkpoint {
                break;
            }
            let old = self.written_at(base).is_none_or(|at| now.since(at) >= self.keep.at_least);
            let large =
                self.keep.at_most.is_some_and(|most| self.log.bytes_on_disk() > most.as_u64());
            if !old && !large {
                break;
            }
            self.log.trim(base).map_err(failed)?;
        }
        Ok(())
    }
}

impl EntryReader for StoredJournal {
    fn chunks(&self) -> Vec<u64> {
        self.log.segments()
    }

    fn read(
        &self,
        chunk: u64,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        match self.segments().into_iter().find(|(base, _)| *base == chunk) {
            Some((base, end)) => self.visit(base, end, visit),
            None => Ok(()),
        }
    }

    fn begun_at(&self, chunk: u64) -> Option<Timestamp> {
        self.written_at(chunk)
    }
}

fn failed(error: LogError) -> JournalError {
    match error {
        LogError::Full { .. } | LogError::Busy { .. } => {
            JournalError::Wait { source: error.into() }
        }
        error => JournalError::Failed { source: error.into() },
    }
}
