//! The journal on disk: a log of the destination's own.

use super::{Journal, JournalError};
use isthmus_core::ByteSize;
use isthmus_core::seam::BoxFuture;
use isthmus_log::{Log, LogConfig, LogError};
use std::fmt;

/// A journal in a log. Open the log with [`StoredJournal::log_config`].
pub struct StoredJournal {
    log: Log,
}

impl fmt::Debug for StoredJournal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "StoredJournal({}..{})", self.log.start(), self.log.end())
    }
}

impl StoredJournal {
    /// Keeps the journal in `log`, which holds nothing else.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Small segments, because starting reads what is kept and only whole segments can go; and no
    /// reserve, because a destination that drains is what frees a full disk.
    pub fn log_config() -> LogConfig {
        LogConfig {
            segment_max: ByteSize::mib(4),
            reserve: ByteSize::bytes(0),
            ..LogConfig::default()
        }
    }
}

impl Journal for StoredJournal {
    fn append(&self, entry: Vec<u8>) -> BoxFuture<'static, Result<u64, JournalError>> {
        let log = self.log.clone();
        Box::pin(async move { log.append(entry).await.map_err(failed) })
    }

    fn replay(
        &self,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut reader = self.log.reader(self.log.start()).map_err(failed)?;
        while let Some(record) = reader.next().map_err(failed)? {
            visit(&record.payload)?;
        }
        Ok(())
    }

    fn trim(&self, position: u64) -> Result<(), JournalError> {
        self.log.trim(position).map(drop).map_err(failed)
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
