//! Writes groups of records: one write and one sync each, whole or not at all.
//!
//! After a failed sync nobody knows what the disk holds, and a second sync that "works" proves
//! nothing (Linux marks the lost pages clean). So the segment is cut back to its durable length as
//! well as that goes, closed, and the next group starts another one. The base of that segment says
//! where the records of the closed one end, whatever bytes come after.

use crate::disk::{DiskFile, FolderLock};
use crate::format::{Frame, GROUP_MAX, SEGMENT_HEADER, segment_header, segment_path};
use crate::queue::Job;
use crate::segments::{Shared, lock};
use crate::{FullBecause, LogError, Remedy, metrics as names};
use std::io;
use std::sync::Arc;

/// Bytes written with one sync when more are waiting: enough that the sync costs little beside
/// the write, few enough that the first in a long queue is answered soon.
const GROUP_BYTES: u64 = 8 << 20;

/// The one that writes to a log. A thread runs it, or a simulator calls [`Self::step`].
///
/// The folder stays locked, and appends wait, for as long as it lives.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    /// The segment being appended to; `None` when the next group needs a new one.
    active: Option<Active>,
    lock: Option<Box<dyn FolderLock>>,
}

/// An open segment.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) base: u64,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        active: Option<Active>,
        lock: Box<dyn FolderLock>,
    ) -> Self {
        Self { shared, active, lock: Some(lock) }
    }

    /// Writes and answers appends until the last handle is gone or closed, then what still waits.
    pub(crate) fn run(mut self) {
        while self.shared.queue.wait() {
            self.step();
        }
    }

    /// Writes what is waiting, at most one group, and answers it; returns how many appends that
    /// were. Never waits for more.
    pub fn step(&mut self) -> usize {
        let group_max = GROUP_BYTES.min(self.shared.config.segment_max.as_u64());
        let jobs = self.shared.queue.take(group_max);
        let bytes: u64 = jobs.iter().map(Job::size).sum();
        let mut frames = Vec::with_capacity(jobs.len());
        let mut answers = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            let size = job.size();
            frames.append(&mut job.frames);
            answers.push((size, job.answer));
        }
        if frames.is_empty() {
            return 0;
        }
        let outcome = self.write_group(&frames);
        drop(frames);
        self.shared.queue.release(bytes);
        let count = answers.len();
        let mut before = 0;
        for (size, answer) in answers {
            // Nobody listens when the append was abandoned; its records are stored all the same.
            drop(answer.send(outcome.clone().map(|first| first + before)));
            before += size;
        }
        count
    }

    /// Writes `frames` one after the other and syncs them; returns the offset of the first.
    ///
    /// After an error none of them is visible, and the log is as it was before.
    pub fn write_group(&mut self, frames: &[Frame]) -> Result<u64, LogError> {
        let outcome = self.try_group(frames);
        let name = Arc::clone(&self.shared.name);
        if let Err(error) = &outcome {
            let reason = if error.remedy() == Remedy::Wait { "full" } else { "io" };
            metrics::counter!(names::FAILED_GROUPS, "log" => name, "reason" => reason).increment(1);
        } else {
            let records = frames.len() as u64;
            let bytes: u64 = frames.iter().map(Frame::size).sum();
            metrics::counter!(names::APPENDED_BYTES, "log" => Arc::clone(&name)).increment(bytes);
            metrics::counter!(names::APPENDED_RECORDS, "log" => Arc::clone(&name))
                .increment(records);
            #[expect(clippy::cast_precision_loss, reason = "a metric; exact up to 2^53")]
            {
                let on_disk = self.shared.bytes_on_disk() as f64;
                metrics::histogram!(names::GROUP_RECORDS, "log" => Arc::clone(&name))
                    .record(records as f64);
                metrics::gauge!(names::DISK_BYTES, "log" => name).set(on_disk);
            }
        }
        outcome
    }

    fn try_group(&mut self, frames: &[Frame]) -> Result<u64, LogError> {
        let first = self.shared.end();
        let bytes: u64 = frames.iter().map(Frame::size).sum();
        if bytes > GROUP_MAX {
            return Err(LogError::TooLarge { actual: bytes, max: GROUP_MAX });
        }
        self.shared.check_room(SEGMENT_HEADER + bytes)?;

        let mut offset = first;
        let mut headers = Vec::with_capacity(frames.len());
        for frame in frames {
            headers.push(frame.header_at(offset, first));
            offset += frame.size();
        }
        let mut parts = Vec::with_capacity(2 * frames.len());
        for (header, frame) in headers.iter().zip(frames) {
            parts.push(&header[..]);
            parts.push(frame.stored());
        }

        let active = self.segment_for(bytes)?;
        let clock = &self.shared.clock;
        let started = clock.monotonic();
        let position = SEGMENT_HEADER + (first - active.base);
        if let Err(error) = active.file.write_at(&parts, position) {
            return Err(self.undo(active, &Arc::new(error), "written"));
        }
        let written = clock.monotonic();
        if let Err(error) = active.file.sync() {
            return Err(self.undo(active, &Arc::new(error), "synced"));
        }
        let name = || Arc::clone(&self.shared.name);
        metrics::histogram!(names::WRITE_SECONDS, "log" => name())
            .record(written.saturating_sub(started));
        metrics::histogram!(names::SYNC_SECONDS, "log" => name())
            .record(clock.monotonic().saturating_sub(written));
        self.shared.end.send_replace(offset);
        Ok(first)
    }

    /// The segment that the next `bytes` go to, created when there is none or it would be too long.
    fn segment_for(&mut self, bytes: u64) -> Result<Active, LogError> {
        let end = self.shared.end();
        let max = self.shared.config.segment_max.as_u64();
        if let Some(active) = &self.active
            && (active.base == end || SEGMENT_HEADER + (end - active.base) + bytes <= max)
        {
            return Ok(active.clone());
        }
        // Even when the next line fails, the old segment is over: a file named by the end may
        // exist from now on, and recovery would cut what lies beyond it.
        self.active = None;
        let file = create_segment(&self.shared, end)?;
        self.shared.add_segment(end);
        Ok(self.active.insert(Active { file, base: end }).clone())
    }

    /// Takes back a group that failed half-way, and says what the failure means.
    fn undo(&mut self, active: Active, error: &Arc<io::Error>, attempt: &'static str) -> LogError {
        let Active { file, base } = &active;
        let durable = SEGMENT_HEADER + (self.shared.end() - base);
        let truncated = file.truncate(durable);
        let failed = failure(&self.shared, *base, attempt, error);
        self.active = None;
        if is_full(error) && attempt == "written" && truncated.is_ok() {
            // Nothing is in doubt: the bytes that did fit are gone, and no sync failed.
            self.active = Some(active);
        } else {
            // Worth trying, so that a crash finds no half-written group; nothing depends on it.
            let cut = truncated.and_then(|()| file.sync()).is_ok();
            let log = &self.shared.name;
            tracing::warn!(%log, segment = base, %error, attempt, cut, "segment closed early");
        }
        failed
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.abandon();
        // A rewriting that is under way ends before the folder is another's to write to.
        let _rewriting = lock(&self.shared.unfinished);
        drop(self.lock.take());
        self.shared.ended.send_replace(true);
    }
}

/// Creates the file of segment `base` with its header, durably; one that is there, and can hold no
/// acknowledged record, is emptied first.
fn create_segment(shared: &Shared, base: u64) -> Result<Arc<dyn DiskFile>, LogError> {
    let path = segment_path(&shared.folder, base);
    let created = shared.disk.create(&path).and_then(|file| {
        file.write_at(&[&segment_header(base)], 0)?;
        file.sync()?;
        shared.disk.sync_folder(&shared.folder)?;
        Ok(file)
    });
    created.map_err(|error| failure(shared, base, "created", &Arc::new(error)))
}

/// What a failed `attempt` at `segment` means.
pub(crate) fn failure(
    shared: &Shared,
    segment: u64,
    attempt: &'static str,
    error: &Arc<io::Error>,
) -> LogError {
    if is_full(error) {
        LogError::Full { used: shared.bytes_on_disk(), because: FullBecause::Disk }
    } else {
        LogError::Io { segment, attempt, source: Arc::clone(error) }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
