//! User properties that an item refers to instead of carrying them.
//!
//! A record may hold thousands of items, so finding one means decoding all: what was found is
//! kept as ranges of the record's bytes, for the records used last.

use crate::source::{EventSource, SourceError, SourceRecord};
use bytes::Bytes;
use isthmus_core::Place;
use isthmus_core::record::{AppliedBatch, RecordError, UserProperties};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of records kept for being referred to: room for every record in reach of a few busy
/// seconds, and a small part of the 1 GiB the process may use.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Why user properties cannot be had: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("user properties at {place} cannot be had")]
    Source { place: Place, source: SourceError },
    #[error("record at offset {offset} cannot be read")]
    Record { offset: u64, source: RecordError },
    #[error("there are no user properties at {place}")]
    Missing { place: Place },
}

#[derive(Debug)]
pub(crate) struct Snapshots {
    source: Arc<dyn EventSource>,
    kept: HashMap<u64, Kept>,
    kept_bytes: usize,
    kept_bytes_max: usize,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    payload: Bytes,
    /// Where in the payload the properties of each item are, by index.
    inlined: Vec<Option<Range<usize>>>,
    used: u64,
}

impl Snapshots {
    pub(crate) fn new(source: Arc<dyn EventSource>) -> Self {
        let kept = HashMap::new();
        Self { source, kept, kept_bytes: 0, kept_bytes_max: KEPT_BYTES_MAX, uses: 0 }
    }

    /// The user properties inlined at `place`.
    pub(crate) fn at(&mut self, place: Place) -> Result<&str, SnapshotError> {
        if !self.kept.contains_key(&place.offset) {
            let record = self.source.read(place.offset);
            let record = record.map_err(|source| SnapshotError::Source { place, source })?;
            self.keep(&record.ok_or(SnapshotError::Missing { place })?)?;
        }
        self.uses += 1;
        let missing = SnapshotError::Missing { place };
        let Some(kept) = self.kept.get_mut(&place.offset) else { return Err(missing) };
        kept.used = self.uses;
        let index = usize::try_from(place.index).unwrap_or(usize::MAX);
        let range = kept.inlined.get(index).cloned().flatten();
        let text = range.and_then(|range| kept.payload.get(range));
        text.and_then(|text| std::str::from_utf8(text).ok()).ok_or(missing)
    }

    fn keep(&mut self, record: &SourceRecord) -> Result<(), SnapshotError> {
        let offset = record.offset;
        let batch = AppliedBatch::decode(&record.payload)
            .map_err(|source| SnapshotError::Record { offset, source })?;
        let inlined = batch.items.iter().map(|item| match item.user_properties() {
            UserProperties::Inline(text) => range_within(&record.payload, text),
            UserProperties::None | UserProperties::At(_) => None,
        });
        let inlined = inlined.collect();
        while self.kept_bytes + record.payload.len() > self.kept_bytes_max {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(offset, _)| *offset) else { break };
            if let Some(gone) = self.kept.remove(&oldest) {
                self.kept_bytes -= gone.payload.len();
            }
        }
        self.kept_bytes += record.payload.len();
        let payload = record.payload.clone();
        self.kept.insert(offset, Kept { payload, inlined, used: self.uses });
        Ok(())
    }
}

/// Where in `whole` the text borrowed from it is.
fn range_within(whole: &[u8], part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let range = start..start.checked_add(part.len())?;
    whole.get(range.clone()).is_some().then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemorySource;
    use isthmus_core::AmplitudeId;
    use isthmus_core::record::{Applied, IntakeRange, UserChange};

    fn change(user_properties: UserProperties<'_>) -> Applied<'_> {
        Applied::UserChange(UserChange {
            project: "shop",
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

    fn source() -> MemorySource {
        let source = MemorySource::default();
        for n in 0..3 {
            let text = format!(r#"{{"n":{n}}}"#);
            let items = vec![change(UserProperties::None), change(UserProperties::Inline(&text))];
            let intake = IntakeRange { from: Place::default(), to: Place::default() };
            source.append(AppliedBatch { intake, received_at: n, items }.encode());
        }
        source
    }

    #[test]
    fn properties_are_found_in_any_order_with_little_memory() {
        let source = source();
        let offsets = source.offsets();
        let mut snapshots = Snapshots::new(Arc::new(source));
        snapshots.kept_bytes_max = 1;
        for n in [2, 0, 0, 1, 2] {
            let place = Place { offset: offsets[n], index: 1 };
            assert_eq!(snapshots.at(place).unwrap(), format!(r#"{{"n":{n}}}"#));
            assert_eq!(snapshots.kept.len(), 1);
        }
    }

    #[test]
    fn a_reference_to_nothing_is_an_error() {
        let source = source();
        let offset = source.offsets()[0];
        let mut snapshots = Snapshots::new(Arc::new(source));
        for index in [0, 2] {
            let error = snapshots.at(Place { offset, index }).unwrap_err();
            assert!(matches!(error, SnapshotError::Missing { .. }), "{error}");
        }
    }
}
