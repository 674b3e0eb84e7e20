//! The event log as a source.

use super::{EventSource, SourceError, SourceRecord};
use isthmus_core::seam::BoxFuture;
use isthmus_log::{Log, LogError, LogReader};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Readers kept at the places where they stopped: one per stream that reads apart from the
/// others. Beyond that, a place is looked up anew.
const READERS_MAX: usize = 16;

/// Reads the event log. Readers that stand where the next record is wanted go on without seeking.
pub struct EventLog {
    log: Log,
    readers: Mutex<VecDeque<LogReader>>,
}

impl fmt::Debug for EventLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "EventLog({}..{})", self.log.start(), self.log.end())
    }
}

impl EventLog {
    /// Reads `log`.
    pub fn new(log: Log) -> Self {
        Self { log, readers: Mutex::default() }
    }

    fn reader_at(&self, offset: u64) -> Result<LogReader, LogError> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = readers.iter().position(|reader| reader.position() == offset);
        match standing.and_then(|index| readers.remove(index)) {
            Some(reader) => Ok(reader),
            None => self.log.reader(offset),
        }
    }

    fn put_away(&self, reader: LogReader) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.truncate(READERS_MAX - 1);
        readers.push_front(reader);
    }
}

impl EventSource for EventLog {
    fn start(&self) -> u64 {
        self.log.start()
    }

    fn end(&self) -> u64 {
        self.log.end()
    }

    fn read(&self, offset: u64) -> Result<Option<SourceRecord>, SourceError> {
        let failed = |error: LogError| match error {
            LogError::Trimmed { offset, start } => SourceError::Trimmed { offset, start },
            error => SourceError::Failed { offset, source: error.into() },
        };
        let mut reader = self.reader_at(offset).map_err(failed)?;
        let record = reader.next().map_err(failed)?;
        self.put_away(reader);
        Ok(record.map(|record| SourceRecord {
            offset: record.offset,
            next: record.next,
            payload: record.payload,
        }))
    }

    fn wait_beyond(&self, offset: u64) -> BoxFuture<'static, ()> {
        let log = self.log.clone();
        Box::pin(async move { log.wait_beyond(offset).await })
    }
}
