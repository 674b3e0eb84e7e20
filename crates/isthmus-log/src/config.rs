//! How large things may grow.

use isthmus_core::ByteSize;

/// Limits of one log. Whoever writes them in a file does so in `isthmus-config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is closed before the group that would make it longer than this. A longer group
    /// gets a segment of its own. Trimming removes whole segments.
    pub segment_max: ByteSize,
    /// Largest record after compression. Whatever this says, a payload is at most 256 MiB.
    pub record_max: ByteSize,
    /// Most bytes on disk: appends beyond answer [`Full`](crate::LogError::Full) until trimmed.
    pub budget: Option<ByteSize>,
    /// Bytes on the file system that this log leaves free, because whoever drains it needs room
    /// to store cursors and state. Appends that would use them answer
    /// [`Full`](crate::LogError::Full).
    pub reserve: ByteSize,
    /// Most bytes waiting for the disk: appends beyond answer [`Busy`](crate::LogError::Busy).
    /// One append is taken however large, so that a queue smaller than a record still works.
    pub queue_max: ByteSize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_max: ByteSize::mib(64),
            record_max: ByteSize::mib(32),
            budget: None,
            reserve: ByteSize::mib(256),
            queue_max: ByteSize::mib(64),
        }
    }
}
