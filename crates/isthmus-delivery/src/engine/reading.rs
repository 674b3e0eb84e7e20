//! From records of the log to mapped objects, for every stream that reads the same record.

use super::EngineError;
use crate::dead_letters::LetterChange;
use crate::dispatcher::{Dispatcher, Manner, Moment, StreamNumber};
use crate::jobs::{View, inlined, map_item};
use crate::plan::{self, PlanError, Progress};
use crate::snapshots::Snapshots;
use crate::source::EventSource;
use isthmus_core::destination::{Mapped, Mapping};
use isthmus_core::record::{Applied, AppliedBatch};
use isthmus_core::{Place, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One stream, ready to run.
#[derive(Debug, Clone)]
pub struct StreamSpec {
    /// Its name in the resources, unique within the destination.
    pub name: Arc<str>,
    pub mapping: Arc<dyn Mapping>,
    pub manner: Manner,
}

/// Maps for one stream or job.
#[derive(Debug)]
struct Reader {
    mapping: Arc<dyn Mapping>,
    /// For a job: the stream it is for, and how it sees the past.
    job: Option<(StreamNumber, View)>,
}

#[derive(Debug)]
pub(super) struct Reading {
    source: Arc<dyn EventSource>,
    snapshots: Snapshots,
    readers: BTreeMap<StreamNumber, Reader>,
    /// Kept between items for its memory.
    mapped: Vec<Mapped>,
}

impl Reading {
    pub(super) fn new(source: Arc<dyn EventSource>) -> Self {
        let snapshots = Snapshots::new(source.clone());
        Self { source, snapshots, readers: BTreeMap::new(), mapped: Vec::new() }
    }

    pub(super) fn add(&mut self, stream: StreamNumber, mapping: Arc<dyn Mapping>) {
        self.readers.insert(stream, Reader { mapping, job: None });
    }

    /// What `stream` maps with, if it is one.
    pub(super) fn mapping(&self, stream: StreamNumber) -> Option<Arc<dyn Mapping>> {
        self.readers.get(&stream).map(|reader| Arc::clone(&reader.mapping))
    }

    /// Reads for a job of the stream `parent`.
    pub(super) fn add_job(
        &mut self,
        job: StreamNumber,
        parent: StreamNumber,
        mapping: Arc<dyn Mapping>,
        view: View,
    ) {
        self.readers.insert(job, Reader { mapping, job: Some((parent, view)) });
    }

    /// Lets `view` know what was told up to the record at `position`.
    pub(super) fn catch_up(&self, view: &mut View, position: u64) -> Result<(), PlanError> {
        let offsets = view.latest_to..position;
        plan::note(&mut view.latest, &*self.source, offsets, &Progress::default())?;
        view.latest_to = view.latest_to.max(position);
        Ok(())
    }

    pub(super) fn remove(&mut self, stream: StreamNumber) {
        self.readers.remove(&stream);
    }

    /// Reads the record at `offset` and gives what it maps to to `dispatcher`, item by item.
    pub(super) fn read(
        &mut self,
        offset: u64,
        dispatcher: &mut Dispatcher,
        now: Moment,
        letters: &mut Vec<LetterChange>,
    ) -> Result<(), EngineError> {
        let Some(record) = self.source.read(offset)? else { return Ok(()) };
        let batch = AppliedBatch::decode(&record.payload)
            .map_err(|source| EngineError::Record { offset, source })?;
        let readers = dispatcher.readers_at(offset);
        for (index, item) in (0..).zip(&batch.items) {
            let place = Place { offset, index };
            for (stream, floor) in &readers {
                if place < *floor {
                    continue;
                }
                self.note(*stream, item, place);
                let Some(reader) = self.readers.get(stream) else { continue };
                let view = reader.job.as_ref().map(|(_, view)| view);
                let snapshots = &mut self.snapshots;
                let (mapping, mapped) = (&*reader.mapping, &mut self.mapped);
                let wanted = map_item(mapping, view, item, place, mapped, |at| {
                    match inlined(&batch, offset, at) {
                        Some(text) => Ok(text),
                        None => snapshots.at(at),
                    }
                })?;
                if wanted.is_none() {
                    continue;
                }
                let accepted_at = Timestamp::from_millis(item.received_at());
                dispatcher.take(*stream, place, accepted_at, &mut self.mapped, now, letters);
            }
        }
        for (stream, _) in readers {
            dispatcher.advance(stream, record.next);
        }
        Ok(())
    }
}

impl Reading {
    /// What a stream tells now overtakes what its jobs tell of the past.
    fn note(&mut self, stream: StreamNumber, item: &Applied<'_>, place: Place) {
        if !matches!(item, Applied::UserChange(_)) {
            return;
        }
        for reader in self.readers.values_mut() {
            if let Some((parent, view)) = &mut reader.job
                && *parent == stream
            {
                view.latest.note(item, place);
            }
        }
    }
}
