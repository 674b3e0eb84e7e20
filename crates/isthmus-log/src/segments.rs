//! What all handles of one open log share: its segments, its end, its queue.

use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile};
use crate::format::{SEGMENT_HEADER, segment_path};
use crate::queue::Queue;
use crate::rewrite::{Frames, Unfinished};
use crate::scan::Span;
use crate::{FullBecause, LogError};
use isthmus_core::seam::Clock;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Open files kept for random reads; each is one file descriptor.
const OPEN_FILES: usize = 32;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) config: LogConfig,
    pub(crate) clock: Arc<dyn Clock>,
    /// Name of the folder, the label of metrics.
    pub(crate) name: Arc<str>,
    pub(crate) queue: Queue,
    /// End of what is durable: the offset of the next record.
    pub(crate) end: watch::Sender<u64>,
    /// Whether the writer is gone and the folder unlocked.
    pub(crate) ended: watch::Sender<bool>,
    /// Base offsets, ascending. Records are appended to the last.
    bases: RwLock<Vec<u64>>,
    /// Files opened lately, the last used at the back.
    open: Mutex<VecDeque<(u64, Arc<dyn DiskFile>)>>,
    /// One trim at a time.
    trimming: Mutex<()>,
    /// One rewriting at a time, and what the last one left to do.
    pub(crate) unfinished: Mutex<Unfinished>,
    /// Frames to be read instead of what the disk shows; nobody writes over frames while it is held
    /// for reading.
    pub(crate) in_memory: RwLock<Frames>,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        config: LogConfig,
        clock: Arc<dyn Clock>,
        bases: Vec<u64>,
        end: u64,
    ) -> Self {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into();
        Self {
            disk,
            folder,
            config,
            clock,
            name,
            queue: Queue::new(config.queue_max.as_u64()),
            end: watch::Sender::new(end),
            ended: watch::Sender::new(false),
            bases: RwLock::new(bases),
            open: Mutex::new(VecDeque::new()),
            trimming: Mutex::new(()),
            unfinished: Mutex::default(),
            in_memory: RwLock::default(),
        }
    }

    pub(crate) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    pub(crate) fn start(&self) -> u64 {
        self.read_bases(|bases| bases.first().copied()).unwrap_or_else(|| self.end())
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        let (count, first) = self.read_bases(|bases| (bases.len(), bases.first().copied()));
        first.map_or(0, |first| count as u64 * SEGMENT_HEADER + (self.end() - first))
    }

    /// The segment that holds `offset`, which is below the end: its base and where it ends.
    pub(crate) fn bounds(&self, offset: u64) -> Result<(u64, u64), LogError> {
        let found = self.read_bases(|bases| {
            let after = bases.partition_point(|base| *base <= offset);
            let base = bases.get(after.checked_sub(1)?)?;
            Some((*base, bases.get(after).copied()))
        });
        let trimmed = || LogError::Trimmed { offset, start: self.start() };
        let (base, next) = found.ok_or_else(trimmed)?;
        Ok((base, next.unwrap_or_else(|| self.end())))
    }

    /// The segment that holds `offset`, opened.
    pub(crate) fn span(&self, offset: u64) -> Result<Span, LogError> {
        let (base, end) = self.bounds(offset)?;
        Ok(Span { file: self.file(base, offset)?, base, end })
    }

    /// The file of segment `base`, for reading at `offset`.
    pub(crate) fn file(&self, base: u64, offset: u64) -> Result<Arc<dyn DiskFile>, LogError> {
        {
            let mut open = lock(&self.open);
            if let Some(at) = open.iter().position(|(known, _)| *known == base)
                && let Some(entry) = open.remove(at)
            {
                let file = Arc::clone(&entry.1);
                open.push_back(entry);
                return Ok(file);
            }
        }
        let file = match self.disk.open(&segment_path(&self.folder, base)) {
            // Trimmed between the look-up and now.
            Err(error) if error.kind() == io::ErrorKind::NotFound && base < self.start() => {
                return Err(LogError::Trimmed { offset, start: self.start() });
            }
            outcome => outcome.map_err(LogError::io(base, "opened"))?,
        };
        let mut open = lock(&self.open);
        open.push_back((base, Arc::clone(&file)));
        if open.len() > OPEN_FILES {
            open.pop_front();
        }
        Ok(file)
    }

    /// Takes up the segment that the writer created; it may be the last one, created again.
    pub(crate) fn add_segment(&self, base: u64) {
        self.write_bases(|bases| {
            if bases.last() != Some(&base) {
                assert!(bases.last().is_none_or(|last| *last < base), "segments are in order");
                bases.push(base);
            }
        });
    }

    /// Removes the segments that end at `before` or earlier, oldest first, never the last one;
    /// returns the new start.
    pub(crate) fn trim(&self, before: u64) -> Result<u64, LogError> {
        let _one = lock(&self.trimming);
        while let Some(base) = self.read_bases(|bases| match bases {
            [first, second, ..] if *second <= before => Some(*first),
            _ => None,
        }) {
            self.remove_segment(base)?;
        }
        Ok(self.start())
    }

    fn remove_segment(&self, base: u64) -> Result<(), LogError> {
        // Out of the list first, so that nobody looks for the file.
        self.write_bases(|bases| bases.retain(|known| *known != base));
        lock(&self.open).retain(|(known, _)| *known != base);
        match self.disk.remove(&segment_path(&self.folder, base)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.write_bases(|bases| bases.insert(0, base));
                return Err(LogError::io(base, "removed")(error));
            }
            _ => {}
        }
        // Before the next removal: after a crash the segments that are left must have no gap.
        self.disk.sync_folder(&self.folder).map_err(LogError::io(base, "removed"))
    }

    /// Whether `bytes` more may be written.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), LogError> {
        let used = self.bytes_on_disk();
        if let Some(max) = self.config.budget.map(isthmus_core::ByteSize::as_u64)
            && used + bytes > max
        {
            return Err(LogError::Full { used, because: FullBecause::Budget { max } });
        }
        let reserve = self.config.reserve.as_u64();
        match self.disk.free_space(&self.folder) {
            Ok(free) if free < reserve.saturating_add(bytes) => {
                Err(LogError::Full { used, because: FullBecause::Reserve { free, reserve } })
            }
            // Where nobody can tell how much is left, the write will.
            _ => Ok(()),
        }
    }

    /// Keeps frames as they are for as long as the answer lives.
    pub(crate) fn reading(&self) -> RwLockReadGuard<'_, Frames> {
        self.in_memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read_bases<T>(&self, read: impl FnOnce(&[u64]) -> T) -> T {
        read(&self.bases.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_bases(&self, change: impl FnOnce(&mut Vec<u64>)) {
        change(&mut self.bases.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Nothing is left half-changed by a panic under these locks, so poisoning says nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
