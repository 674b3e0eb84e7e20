//! What can go wrong with a log, and who acts next.

use isthmus_core::ByteSize;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a log did not do what it was asked to do.
///
/// Cloned to every append of a group that failed together.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The record can never be stored.
    #[error("record of {actual} bytes exceeds the limit of {max} bytes")]
    TooLarge { actual: u64, max: u64 },
    /// A record cannot be rewritten: its frame keeps its size, and the new payload needs more.
    #[error("record at offset {offset} does not fit into its {room} bytes when rewritten")]
    NoRoom { offset: u64, room: u64 },
    /// There is no room; there will be once the log is trimmed or the disk is cleared.
    #[error("log is full: {used} bytes in use, {because}")]
    Full { used: u64, because: FullBecause },
    /// The disk does not keep up.
    #[error("log is busy: {waiting} of {max} bytes wait for the disk")]
    Busy { waiting: u64, max: u64 },
    /// The disk failed. Whether the records of a failed append survive a crash is unknown; until
    /// then they are not read.
    #[error("segment {segment} cannot be {attempt}")]
    Io { segment: u64, attempt: &'static str, source: Arc<io::Error> },
    /// Bytes on disk are not what was written. Later records may be whole: `Log::next_valid_after`.
    #[error("segment {segment} is damaged at offset {offset}")]
    Corrupt { segment: u64, offset: u64 },
    /// A newer isthmus wrote the segment.
    #[error("segment {segment} has format {found}; this build reads up to {known}")]
    Version { segment: u64, found: u32, known: u32 },
    /// The offset was trimmed away.
    #[error("offset {offset} was trimmed; the log starts at {start}")]
    Trimmed { offset: u64, start: u64 },
    /// The offset was never written: it belongs to another log, or this log was replaced.
    #[error("offset {offset} is beyond the end of the log at {end}")]
    Beyond { offset: u64, end: u64 },
    /// Another process has the log open.
    #[error("log {} is in use by another process", folder.display())]
    Locked { folder: PathBuf },
    /// The log was closed.
    #[error("log is closed")]
    Closed,
}

/// What a full log ran out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullBecause {
    /// Of its own budget.
    Budget { max: u64 },
    /// Of the file system, down to what must stay free.
    Reserve { free: u64, reserve: u64 },
    /// Of the file system altogether, or of a quota.
    Disk,
}

impl fmt::Display for FullBecause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget { max } => write!(out, "the budget is {}", ByteSize::bytes(*max)),
            Self::Reserve { free, reserve } => write!(
                out,
                "the disk has {free} bytes left and {} of them are reserved",
                ByteSize::bytes(*reserve)
            ),
            Self::Disk => out.write_str("the disk has no space left"),
        }
    }
}

/// Who acts next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The caller: what it asked for can never work.
    Fix,
    /// Nobody: the same call works later.
    Wait,
    /// The operator.
    Repair,
}

impl LogError {
    /// Who acts next.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::TooLarge { .. } | Self::NoRoom { .. } | Self::Trimmed { .. } => Remedy::Fix,
            Self::Full { .. } | Self::Busy { .. } | Self::Closed => Remedy::Wait,
            Self::Io { .. }
            | Self::Corrupt { .. }
            | Self::Version { .. }
            | Self::Beyond { .. }
            | Self::Locked { .. } => Remedy::Repair,
        }
    }

    /// The error of a failed `attempt` at `segment`, for `map_err`.
    pub(crate) fn io(segment: u64, attempt: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io { segment, attempt, source: Arc::new(error) }
    }
}
