//! From records of the log to mapped objects, for every stream that reads the same record.

use super::EngineError;
use crate::dispatcher::{Dispatcher, Moment, StreamNumber};
use crate::snapshots::Snapshots;
use crate::source::EventSource;
use isthmus_core::destination::{Mapped, Mapping, Wants};
use isthmus_core::record::{Applied, AppliedBatch, UserProperties};
use isthmus_core::{Place, Timestamp};
use isthmus_state::dead_letters::DeadLetter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One stream, ready to run.
#[derive(Debug, Clone)]
pub struct StreamSpec {
    /// Its name in the resources, unique within the destination.
    pub name: Arc<str>,
    pub mapping: Arc<dyn Mapping>,
    pub enabled: bool,
}

#[derive(Debug)]
pub(super) struct Reading {
    source: Arc<dyn EventSource>,
    snapshots: Snapshots,
    mappings: BTreeMap<StreamNumber, Arc<dyn Mapping>>,
    /// Kept between items for its memory.
    mapped: Vec<Mapped>,
}

impl Reading {
    pub(super) fn new(source: Arc<dyn EventSource>) -> Self {
        let snapshots = Snapshots::new(source.clone());
        Self { source, snapshots, mappings: BTreeMap::new(), mapped: Vec::new() }
    }

    pub(super) fn add(&mut self, stream: StreamNumber, mapping: Arc<dyn Mapping>) {
        self.mappings.insert(stream, mapping);
    }

    pub(super) fn remove(&mut self, stream: StreamNumber) {
        self.mappings.remove(&stream);
    }

    /// Reads the record at `offset` and gives what it maps to to `dispatcher`, item by item.
    pub(super) fn read(
        &mut self,
        offset: u64,
        dispatcher: &mut Dispatcher,
        now: Moment,
        letters: &mut Vec<DeadLetter>,
    ) -> Result<(), EngineError> {
        let Some(record) = self.source.read(offset)? else { return Ok(()) };
        let batch = AppliedBatch::decode(&record.payload)
            .map_err(|source| EngineError::Record { offset, source })?;
        let readers = dispatcher.readers_at(offset);
        for (index, item) in (0..).zip(&batch.items) {
            let place = Place { offset, index };
            for (stream, floor) in &readers {
                let Some(mapping) = self.mappings.get(stream).filter(|_| place >= *floor) else {
                    continue;
                };
                let user_properties = match mapping.wants(item) {
                    Wants::Nothing => continue,
                    Wants::Item => None,
                    Wants::ItemAndUserProperties => match item.user_properties() {
                        UserProperties::None => None,
                        UserProperties::Inline(text) => Some(text),
                        UserProperties::At(at) => match inlined(&batch, offset, at) {
                            Some(text) => Some(text),
                            None => Some(self.snapshots.at(at)?),
                        },
                    },
                };
                mapping.map(item, user_properties, &mut self.mapped);
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

/// The user properties at `at`, if that is in this very record.
fn inlined<'a>(batch: &AppliedBatch<'a>, offset: u64, at: Place) -> Option<&'a str> {
    if at.offset != offset {
        return None;
    }
    let item = batch.items.get(usize::try_from(at.index).ok()?)?;
    match Applied::user_properties(item) {
        UserProperties::Inline(text) => Some(text),
        UserProperties::None | UserProperties::At(_) => None,
    }
}
