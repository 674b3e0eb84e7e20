//! What a stream makes of an item of the log, asked afterwards: nothing is counted, kept or sent.

use crate::jobs::{inlined, map_item};
use crate::snapshots::{SnapshotError, Snapshots};
use crate::source::{EventSource, SourceError, SourceRecord};
use isthmus_core::Place;
use isthmus_core::destination::{Mapped, Mapping};
use isthmus_core::record::{AppliedBatch, RecordError};
use std::sync::Arc;

/// Why an item cannot be mapped: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum RemapError {
    #[error("record at offset {offset} cannot be had")]
    Source { offset: u64, source: SourceError },
    #[error("record at offset {offset} cannot be read")]
    Record { offset: u64, source: RecordError },
    #[error("item at {place} cannot be mapped")]
    Properties { place: Place, source: SnapshotError },
}

/// Maps items of the event log again. Reading blocks the thread.
#[derive(Debug)]
pub struct Remapping {
    source: Arc<dyn EventSource>,
    snapshots: Snapshots,
    /// The record read last: questions come in the order of the log.
    record: Option<SourceRecord>,
}

impl Remapping {
    /// Reads `source`.
    pub fn new(source: Arc<dyn EventSource>) -> Self {
        Self { snapshots: Snapshots::new(source.clone()), source, record: None }
    }

    /// What `mapping` makes of the item at `place`, by part, and empty when the item does not
    /// concern it; `None` when the log does not hold it, or what it refers to, any more.
    pub fn map(
        &mut self,
        mapping: &dyn Mapping,
        place: Place,
    ) -> Result<Option<Vec<Mapped>>, RemapError> {
        let offset = place.offset;
        if self.record.as_ref().is_none_or(|record| record.offset != offset) {
            self.record = match self.source.read(offset) {
                Ok(record) => record,
                Err(SourceError::Trimmed { .. }) => None,
                Err(source) => return Err(RemapError::Source { offset, source }),
            };
        }
        let Some(record) = &self.record else { return Ok(None) };
        let batch = AppliedBatch::decode(&record.payload)
            .map_err(|source| RemapError::Record { offset, source })?;
        let item = usize::try_from(place.index).ok().and_then(|index| batch.items.get(index));
        let Some(item) = item else { return Ok(None) };
        let mut mapped = Vec::new();
        let snapshots = &mut self.snapshots;
        let outcome = map_item(mapping, None, item, place, &mut mapped, |at| {
            match inlined(&batch, offset, at) {
                Some(text) => Ok(text),
                None => snapshots.at(at),
            }
        });
        match outcome {
            Ok(_) => Ok(Some(mapped)),
            Err(SnapshotError::Source { source: SourceError::Trimmed { .. }, .. }) => Ok(None),
            Err(source) => Err(RemapError::Properties { place, source }),
        }
    }
}
