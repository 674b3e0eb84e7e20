//! Where items come from: the event log now, the lake for past events later.

pub mod event_log;

use bytes::Bytes;
use isthmus_core::seam::BoxFuture;
use std::error::Error;
use std::fmt;

/// An ordered source of `isthmus_core::record::AppliedBatch`es, addressed by offset.
pub trait EventSource: Send + Sync + fmt::Debug {
    /// Offset of the first record that is kept.
    fn start(&self) -> u64;

    /// Offset of the next record to come.
    fn end(&self) -> u64;

    /// The record at `offset`, or `None` at the end.
    fn read(&self, offset: u64) -> Result<Option<SourceRecord>, SourceError>;

    /// Completes once [`Self::end`] exceeds `offset`. Dropping it is safe.
    fn wait_beyond(&self, offset: u64) -> BoxFuture<'static, ()>;
}

/// One encoded `AppliedBatch`.
#[derive(Debug, Clone)]
pub struct SourceRecord {
    pub offset: u64,
    /// Offset of the record after it.
    pub next: u64,
    pub payload: Bytes,
}

/// Why a record cannot be had: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("events at offset {offset} are not kept any more; the first kept is at {start}")]
    Trimmed { offset: u64, start: u64 },
    #[error("events at offset {offset} cannot be read")]
    Failed { offset: u64, source: Box<dyn Error + Send + Sync> },
}
