//! Reading everything under a URL once.
//!
//! What was read before, by this import or by following, is passed over, so that an import that ended
//! early goes on where it ended when it is asked for again.

use super::bucket::Bucket;
use super::follower::FILES_AT_ONCE;
use super::listing::{Found, Listing};
use super::reading::{Ended, Ground, Reading, innermost};
use super::tally::Tally;
use futures_util::StreamExt;
use isthmus_state::currents_files::FileRecord;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a file is tried that cannot be reached.
const ATTEMPTS: u32 = 3;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);
/// Files that cannot be read, of which the reason is told.
const FAILURES_TOLD: usize = 20;

/// One reading of everything under a URL.
pub struct Import {
    reading: Reading,
}

/// How an import ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportEnd {
    /// Everything was read, but for files that cannot be, each with why (some of them).
    Done { failures: Vec<String> },
    /// It was asked to stop.
    Stopped,
    /// Nothing more can be read.
    Failed(String),
}

impl Import {
    /// An import of `bucket` as events of `source`, which counts in `tally`. A `dry_run` counts what
    /// there is, and stores nothing.
    pub fn new(
        ground: Ground,
        bucket: Bucket,
        source: &str,
        dry_run: bool,
        tally: Arc<Tally>,
        stop: CancellationToken,
    ) -> Self {
        let settle = Duration::ZERO;
        let source = source.into();
        Self { reading: Reading { ground, source, bucket, tally, stop, settle, dry_run } }
    }

    /// Counts what there is, then reads it.
    pub async fn run(self) -> ImportEnd {
        match self.read_all().await {
            Ok(_) if self.reading.stop.is_cancelled() => ImportEnd::Stopped,
            Ok(failures) => ImportEnd::Done { failures },
            Err(reason) => ImportEnd::Failed(reason),
        }
    }

    async fn read_all(&self) -> Result<Vec<String>, String> {
        let (tally, stop) = (&self.reading.tally, &self.reading.stop);
        let (mut files, mut bytes) = (0, 0);
        let mut listed = Listing::new(self.reading.bucket.clone()).everything();
        while let Some(found) = listed.next().await {
            let found = found.map_err(|error| innermost(&error))?;
            if self.unread(&found)?.is_some() {
                files += 1;
                bytes += found.bytes;
            } else {
                tally.change(|view| view.files_known += 1);
            }
            if stop.is_cancelled() {
                return Ok(Vec::new());
            }
        }
        tally.change(|view| (view.files_total, view.bytes_total) = (Some(files), Some(bytes)));

        let listed = Listing::new(self.reading.bucket.clone()).everything();
        let readings = listed.map(|found| {
            let reading = self.reading.clone();
            async move { read(reading, found).await }
        });
        let mut ended = Box::pin(readings.buffer_unordered(FILES_AT_ONCE));
        let mut failures = Vec::new();
        while let Some(ended) = ended.next().await {
            let Some(failure) = ended? else { continue };
            tally.change(|view| view.files_failed += 1);
            if failures.len() < FAILURES_TOLD {
                failures.push(failure);
            }
        }
        Ok(failures)
    }

    fn unread(&self, found: &Found) -> Result<Option<FileRecord>, String> {
        self.reading.unread(found, true).map_err(|error| error.to_string())
    }
}

/// Reads one file that was listed; why it could not be, if so.
async fn read(
    reading: Reading,
    found: object_store::Result<Found>,
) -> Result<Option<String>, String> {
    let found = found.map_err(|error| innermost(&error))?;
    for attempt in 1..=ATTEMPTS {
        if reading.stop.is_cancelled() {
            return Ok(None);
        }
        // Looked up each time: what was read of it before it failed is noted.
        let record = reading.unread(&found, true).map_err(|error| error.to_string())?;
        let Some(record) = record else { return Ok(None) };
        match reading.clone().read(found.clone(), record).await {
            Ended::Failed(reason) if attempt == ATTEMPTS => {
                return Ok(Some(format!("{}: {reason}", found.address)));
            }
            Ended::Failed(_) => reading.ground.clock.sleep(BETWEEN_ATTEMPTS).await,
            Ended::Done | Ended::Gone | Ended::Stopped | Ended::Unsettled => return Ok(None),
        }
    }
    Ok(None)
}
