//! What a stream makes of an item of the log, asked afterwards: nothing is counted, kept or sent.

use crate::jobs::{inlined, map_item};
use crate::snapshots::{SnapshotError, Snapshots};
use crate::source::{EventSource, SourceError, SourceRecord};
use isthmus_core::Place;
use isthmus_core::destination::{Mapped, Mapping};
use isthmus_core::record::{Applied, AppliedBatch, RecordError};
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
    erased: bool,
}

impl Remapping {
    /// Reads `source`.
    pub fn new(source: Arc<dyn EventSource>) -> Self {
        Self { snapshots: Snapshots::new(source.clone()), source, record: None, erased: false }
    }

    /// Whether the item that was asked for last, and was there, was of somebody who is erased.
    pub(crate) fn was_erased(&self) -> bool {
        self.erased
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
        self.erased = matches!(item, Applied::Erased);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemorySource;
    use isthmus_core::AmplitudeId;
    use isthmus_core::destination::{Guarantee, Lane, Message, Section, Wants};
    use isthmus_core::record::{IntakeRange, UserChange, UserProperties};

    /// One object that holds the user properties.
    #[derive(Debug)]
    struct Properties;

    impl Mapping for Properties {
        fn wants(&self, item: &Applied<'_>) -> Wants {
            match item.project() {
                "shop" => Wants::ItemAndUserProperties,
                _ => Wants::Nothing,
            }
        }

        fn map(&self, _: &Applied<'_>, user_properties: Option<&str>, out: &mut Vec<Mapped>) {
            out.push(Mapped::Deliver(Message {
                lane: Lane(1),
                section: Section(0),
                name: String::new(),
                payload: user_properties.unwrap_or_default().to_owned(),
                guarantee: Guarantee::AtLeastOnce,
                after: None,
            }));
        }
    }

    fn change<'a>(project: &'a str, user_properties: UserProperties<'a>) -> Applied<'a> {
        Applied::UserChange(UserChange {
            project,
            user: AmplitudeId(1),
            user_id: Some("ana"),
            device_id: "d",
            device_id_derived: false,
            event_time: 0,
            received_at: 0,
            insert_id: None,
            first_seen: false,
            first_seen_on_device: false,
            changes: Vec::new(),
            user_properties,
        })
    }

    #[test]
    fn an_item_is_mapped_with_the_properties_it_had_as_long_as_they_are_kept() {
        let source = MemorySource::default();
        let append = |items| {
            let intake = IntakeRange { from: Place::default(), to: Place::default() };
            source.append(AppliedBatch { intake, received_at: 0, items }.encode())
        };
        let inline = UserProperties::Inline(r#"{"plan":"pro"}"#);
        let first = append(vec![change("shop", inline)]);
        let there = UserProperties::At(Place { offset: first, index: 0 });
        let second = append(vec![change("other", inline), change("shop", there)]);
        let at = |offset, index| {
            let mapped = Remapping::new(Arc::new(source.clone()))
                .map(&Properties, Place { offset, index })
                .unwrap();
            mapped.map(|mapped| {
                let payload = |mapped: &Mapped| match mapped {
                    Mapped::Deliver(message) => message.payload.clone(),
                    other => panic!("{other:?}"),
                };
                mapped.iter().map(payload).collect::<Vec<_>>()
            })
        };
        let properties = || Some(vec![r#"{"plan":"pro"}"#.to_owned()]);
        assert_eq!((at(first, 0), at(second, 1)), (properties(), properties()));
        assert_eq!(at(second, 0), Some(Vec::new()), "it does not concern the stream");
        assert_eq!(at(second, 2), None);
        source.trim(second);
        assert_eq!((at(first, 0), at(second, 1)), (None, None), "not kept any more");
    }
}
