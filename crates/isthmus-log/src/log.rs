//! The handle of an open log.

use crate::config::LogConfig;
use crate::disk::Disk;
use crate::format::{Frame, GROUP_MAX};
use crate::queue::Job;
use crate::reader::{self, LogReader};
use crate::recovery::{Opened, Recovery, open_folder};
use crate::rewrite::{self, Rewritten};
use crate::segments::{Shared, lock};
use crate::writer::Writer;
use crate::{LogError, metrics as names};
use bytes::Bytes;
use isthmus_core::seam::Clock;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// An open log. Clones are the same log; when the last is dropped, what waits is still written.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
    writing: Arc<Writing>,
}

/// Ends the writer with the last handle.
#[derive(Debug)]
struct Writing {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Log {
    /// Opens the log in `folder`, which is created where it is missing, and starts the thread that
    /// writes to it.
    ///
    /// Reads the last segment once. Cuts what an interrupted write left, and says so in
    /// [`Recovery`]; refuses with [`LogError::Corrupt`] to cut a record that was durable once.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        config: LogConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovery), LogError> {
        let (log, writer, recovery) = Self::open_stepped(disk, folder, config, clock)?;
        let thread = std::thread::Builder::new()
            .name(format!("log-{}", log.shared.name))
            .spawn(move || writer.run())
            .map_err(LogError::io(recovery.end, "served by a thread"))?;
        *lock(&log.writing.thread) = Some(thread);
        Ok((log, recovery))
    }

    /// Like [`Self::open`], without the thread: appends wait for [`Writer::step`]. For simulation.
    pub fn open_stepped(
        disk: Arc<dyn Disk>,
        folder: &Path,
        config: LogConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Writer, Recovery), LogError> {
        let started = clock.monotonic();
        let Opened { lock, bases, active, recovery } = open_folder(&*disk, folder)?;
        let shared = Shared::new(disk, folder.to_owned(), config, clock, bases, recovery.end);
        let shared = Arc::new(shared);
        let Recovery { segments, start, end, cut_bytes, .. } = recovery;
        let took = shared.clock.monotonic().saturating_sub(started);
        tracing::info!(log = %shared.name, segments, start, end, ?took, "log opened");
        if cut_bytes > 0 {
            tracing::warn!(log = %shared.name, end, cut_bytes, "interrupted write cut");
            let name = Arc::clone(&shared.name);
            metrics::counter!(names::CUT_BYTES, "log" => name).increment(cut_bytes);
        }
        let writer = Writer::new(Arc::clone(&shared), active, lock);
        let writing = Writing { shared: Arc::clone(&shared), thread: Mutex::new(None) };
        Ok((Self { shared, writing: Arc::new(writing) }, writer, recovery))
    }

    /// Appends one record and returns its offset.
    ///
    /// Returns once the record is on disk: an acknowledged record survives power loss. Compresses
    /// on the calling thread, at several hundred MB/s. Answers [`LogError::Busy`] at once rather
    /// than wait for a full queue. A record whose append was dropped half-way may be stored.
    pub async fn append(&self, payload: Vec<u8>) -> Result<u64, LogError> {
        self.append_frame(self.frame(payload)?).await
    }

    /// Prepares a record for [`Self::append_frame`], which is worth it where that may have to be
    /// tried again.
    pub fn frame(&self, payload: Vec<u8>) -> Result<Frame, LogError> {
        Frame::new(payload, self.shared.config.record_max)
    }

    /// Like [`Self::append`], with what [`Self::frame`] made.
    pub async fn append_frame(&self, frame: Frame) -> Result<u64, LogError> {
        self.enqueue(vec![frame]).await
    }

    /// Appends records that follow one another with nothing in between, and returns their offsets.
    ///
    /// They are written and synced together: all of them are acknowledged, or none. A crash before
    /// that may keep the first few.
    pub async fn append_many(&self, payloads: Vec<Vec<u8>>) -> Result<Vec<u64>, LogError> {
        if payloads.is_empty() {
            return Ok(Vec::new());
        }
        let record_max = self.shared.config.record_max;
        let frames: Result<Vec<Frame>, LogError> =
            payloads.into_iter().map(|payload| Frame::new(payload, record_max)).collect();
        let frames = frames?;
        let sizes: Vec<u64> = frames.iter().map(Frame::size).collect();
        let actual = sizes.iter().sum();
        if actual > GROUP_MAX {
            return Err(LogError::TooLarge { actual, max: GROUP_MAX });
        }
        let mut next = self.enqueue(frames).await?;
        let offsets = sizes.into_iter().map(|size| {
            let offset = next;
            next += size;
            offset
        });
        Ok(offsets.collect())
    }

    async fn enqueue(&self, frames: Vec<Frame>) -> Result<u64, LogError> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(Job { frames, answer }).inspect_err(|error| {
            if let LogError::Busy { .. } = error {
                let name = Arc::clone(&self.shared.name);
                metrics::counter!(names::BUSY_APPENDS, "log" => name).increment(1);
            }
        })?;
        // The writer ended, and whether it wrote this before is not known.
        answered.await.unwrap_or(Err(LogError::Closed))
    }

    /// Offset of the first record kept.
    pub fn start(&self) -> u64 {
        self.shared.start()
    }

    /// End of what is durable: the offset of the next record. Published before the append that
    /// moved it returns.
    pub fn end(&self) -> u64 {
        self.shared.end()
    }

    /// Offsets at which segments start, ascending: where [`Self::trim`] can cut.
    pub fn segments(&self) -> Vec<u64> {
        self.shared.read_bases(<[u64]>::to_vec)
    }

    /// Bytes of all segments.
    pub fn bytes_on_disk(&self) -> u64 {
        self.shared.bytes_on_disk()
    }

    /// Reads from the record at `from` on, or from the end. Answers [`LogError::Corrupt`] when
    /// there is no whole record at `from`.
    pub fn reader(&self, from: u64) -> Result<LogReader, LogError> {
        LogReader::new(Arc::clone(&self.shared), from)
    }

    /// The payload of the record at `offset`. Blocks the thread while reading.
    pub fn read_at(&self, offset: u64) -> Result<Bytes, LogError> {
        reader::read_at(&self.shared, offset)
    }

    /// The offset of the first whole record after `offset`, which is where reading could go on
    /// after damage. Reads as much as there is damage.
    pub fn next_valid_after(&self, offset: u64) -> Result<Option<u64>, LogError> {
        reader::next_valid_after(&self.shared, offset)
    }

    /// Returns once [`Self::end`] is beyond `offset`. Dropping it is safe.
    pub async fn wait_beyond(&self, offset: u64) {
        reader::wait_beyond(&self.shared, offset).await;
    }

    /// Removes the segments whose records all lie before `before`, never the last segment; returns
    /// the new start. After an error the segments before the failed one are gone.
    pub fn trim(&self, before: u64) -> Result<u64, LogError> {
        self.shared.trim(before)
    }

    /// Replaces the payloads of the records at these offsets, durably and for good: no byte of the
    /// old ones is left in the folder. The records keep their offsets and their sizes on disk, so
    /// a payload fits if it is a part of the old one, or about as long.
    ///
    /// All of them are replaced, or none and the answer says why; those that were trimmed are
    /// passed over. After [`LogError::Io`] any of them may be replaced, or be so once the log is
    /// opened again: call it again, which finishes what was begun first, also with nothing to
    /// replace. Whoever reads at the same time sees an old payload or a new one. Blocks the thread
    /// for a few syncs, and keeps the new records in memory: many at once are cheaper, some
    /// mebibytes at once are enough.
    pub fn rewrite(&self, replacements: &[(u64, Vec<u8>)]) -> Result<Rewritten, LogError> {
        rewrite::rewrite(&self.shared, replacements)
    }

    /// Takes no more appends, writes those that wait, and returns once the writer has ended and
    /// the folder is unlocked. Reading goes on.
    pub async fn close(&self) {
        self.shared.queue.close();
        let mut ended = self.shared.ended.subscribe();
        // An error would mean that the sender is gone, and it lives in this handle.
        drop(ended.wait_for(|ended| *ended).await);
        let thread = lock(&self.writing.thread).take();
        // Its last act was to say that it ended, so this does not block.
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!(log = %self.shared.name, "log writer panicked");
        }
    }
}

#[cfg(test)]
mod tests;
