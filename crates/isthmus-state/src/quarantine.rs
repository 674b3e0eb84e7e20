//! What sources brought that is no event: kept for people to read, mend or throw away.
//!
//! Keyspace `quarantine`: (source, place of what it came in with) to [`Quarantined`]. Of each source
//! the newest [`ENTRIES_MAX`] are kept, and of them no more than [`BYTES_MAX`]: a source that breaks
//! cannot fill the disk. Only the applier writes, so what is kept follows from the log.

use crate::{State, StateError, WriteBatch};
use fjall::{Guard, Keyspace};
use isthmus_core::{Place, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

const VERSION: u8 = 1;

/// Entries that are kept of one source; the oldest beyond are dropped.
pub const ENTRIES_MAX: usize = 10_000;
/// Bytes of text that are kept of one source; the oldest beyond are dropped.
pub const BYTES_MAX: u64 = 64 << 20;

/// Something that cannot be read as an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Name of the project whose source brought it.
    pub project: String,
    /// As it came, or as somebody mended it.
    pub raw: String,
    /// Why it is no event; names the field.
    pub reason: String,
    /// The file it was read from, where it was.
    pub file: Option<String>,
    /// When it came, in milliseconds since the Unix epoch.
    pub received_at: i64,
    /// When it was mended last, in milliseconds since the Unix epoch.
    pub mended_at: Option<i64>,
}

impl Quarantined {
    /// When it came.
    pub fn received(&self) -> Timestamp {
        Timestamp::from_millis(self.received_at)
    }

    fn bytes(&self) -> u64 {
        let texts = [&self.raw, &self.reason, &self.project].map(String::len);
        let file = self.file.as_ref().map_or(0, String::len);
        (texts.iter().sum::<usize>() + file) as u64
    }
}

/// Changes that are not committed: nothing stands for what is let go.
pub type Changes = BTreeMap<(String, Place), Option<Quarantined>>;

/// The keyspace, open to read.
#[derive(Clone)]
pub struct Quarantine {
    entries: Keyspace,
}

/// What is kept of one source: bytes per entry.
#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<Place, u64>,
    bytes: u64,
}

/// The keyspace, open to write: by one, who knows how much there is.
pub struct QuarantineWriter {
    quarantine: Quarantine,
    kept: HashMap<String, Kept>,
}

impl Quarantine {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { entries: state.keyspace("quarantine")? })
    }

    /// The entry at `place` of `source`, if there is one.
    pub fn get(&self, source: &str, place: Place) -> Result<Option<Quarantined>, StateError> {
        let Some(value) = self.entries.get(key(source, place))? else { return Ok(None) };
        read(&value).map(Some)
    }

    /// Up to `limit` entries of `source`, oldest first, those after `after` when it is given.
    pub fn list(
        &self,
        source: &str,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<(Place, Quarantined)>, StateError> {
        self.beyond(source, after).take(limit).map(entry).collect()
    }

    /// How many entries `source` has.
    pub fn count(&self, source: &str) -> usize {
        self.beyond(source, None).count()
    }

    /// The names of all sources that have entries.
    pub fn sources(&self) -> Result<Vec<String>, StateError> {
        let mut sources: Vec<String> = Vec::new();
        let mut from = Vec::new();
        loop {
            let Some(guard) = self.entries.range::<Vec<u8>, _>(from..).next() else {
                return Ok(sources);
            };
            let key = guard.key()?;
            let (source, _) = split(&key)?;
            let mut next = prefix(source);
            next.extend([u8::MAX; PLACE_BYTES + 1]);
            from = next;
            sources.push(source.to_owned());
        }
    }

    /// Rewrites what is stored, so that nothing of what was removed is left on disk.
    pub fn compact(&self) -> Result<(), StateError> {
        crate::compact(&self.entries)
    }

    fn beyond(
        &self,
        source: &str,
        after: Option<Place>,
    ) -> impl DoubleEndedIterator<Item = Guard> + use<> {
        use std::ops::Bound::{Excluded, Included};
        let from = match after {
            Some(place) => Excluded(key(source, place)),
            None => Included(prefix(source)),
        };
        // Longer than every key of the source and, from its prefix on, never below one.
        let mut last = prefix(source);
        last.extend([u8::MAX; PLACE_BYTES + 1]);
        self.entries.range::<Vec<u8>, _>((from, Included(last)))
    }
}

impl QuarantineWriter {
    /// Opens the keyspace in `state`, and looks how much there is.
    pub fn open(state: &State) -> Result<Self, StateError> {
        let quarantine = Quarantine::open(state)?;
        let mut kept: HashMap<String, Kept> = HashMap::new();
        for guard in quarantine.entries.iter() {
            let (key, value) = guard.into_inner()?;
            let (source, place) = split(&key)?;
            kept.entry(source.to_owned()).or_default().insert(place, read(&value)?.bytes());
        }
        Ok(Self { quarantine, kept })
    }

    /// The entry at `place` of `source`, if there is one.
    pub fn get(&self, source: &str, place: Place) -> Result<Option<Quarantined>, StateError> {
        self.quarantine.get(source, place)
    }

    /// Writes `changes`; returns how many entries had to go for them, by source.
    pub fn put(&mut self, batch: &mut WriteBatch, mut changes: Changes) -> BTreeMap<String, u64> {
        let mut touched = Vec::new();
        for ((source, place), change) in &changes {
            if touched.last() != Some(source) {
                touched.push(source.clone());
            }
            let kept = self.kept.entry(source.clone()).or_default();
            kept.remove(*place);
            if let Some(entry) = change {
                kept.insert(*place, entry.bytes());
            }
        }
        let mut dropped = BTreeMap::new();
        for source in touched {
            let kept = self.kept.entry(source.clone()).or_default();
            while let Some(place) = kept.beyond_bounds() {
                kept.remove(place);
                changes.insert((source.clone(), place), None);
                *dropped.entry(source.clone()).or_default() += 1;
            }
        }
        for ((source, place), change) in changes {
            let (key, entries) = (key(&source, place), &self.quarantine.entries);
            match change {
                Some(entry) => batch.insert(entries, key, crate::encode(VERSION, &entry)),
                None => batch.remove(entries, key),
            }
        }
        dropped
    }
}

impl Kept {
    fn insert(&mut self, place: Place, bytes: u64) {
        self.entries.insert(place, bytes);
        self.bytes += bytes;
    }

    fn remove(&mut self, place: Place) {
        self.bytes -= self.entries.remove(&place).unwrap_or_default();
    }

    /// The oldest entry, where there is too much.
    fn beyond_bounds(&self) -> Option<Place> {
        let is_over = self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX;
        self.entries.first_key_value().map(|(place, _)| *place).filter(|_| is_over)
    }
}

/// Offset and index, at the end of every key.
const PLACE_BYTES: usize = 8 + 4;

fn prefix(source: &str) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(4 + source.len() + PLACE_BYTES + 1);
    crate::key::put_name(&mut prefix, source);
    prefix
}

fn key(source: &str, place: Place) -> Vec<u8> {
    let mut key = prefix(source);
    key.extend(place.offset.to_be_bytes());
    key.extend(place.index.to_be_bytes());
    key
}

fn split(key: &[u8]) -> Result<(&str, Place), StateError> {
    let read = || {
        let (source, rest) = crate::key::split_name(key)?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (index, _) = rest.split_first_chunk::<4>()?;
        let (offset, index) = (u64::from_be_bytes(*offset), u32::from_be_bytes(*index));
        Some((source, Place { offset, index }))
    };
    read().ok_or_else(|| StateError::malformed("key of the quarantine", &"too short"))
}

fn entry(guard: Guard) -> Result<(Place, Quarantined), StateError> {
    let (key, value) = guard.into_inner()?;
    let (_, place) = split(&key)?;
    Ok((place, read(&value)?))
}

fn read(value: &[u8]) -> Result<Quarantined, StateError> {
    crate::decode("quarantined text", VERSION, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(offset: u64) -> Place {
        Place { offset, index: 1 }
    }

    fn text(raw: &str) -> Quarantined {
        Quarantined {
            project: "shop".to_owned(),
            raw: raw.to_owned(),
            reason: "no `id`".to_owned(),
            file: None,
            received_at: 1_770_000_000_000,
            mended_at: None,
        }
    }

    fn put(state: &State, writer: &mut QuarantineWriter, changes: Changes) -> u64 {
        let mut batch = state.batch();
        let dropped = writer.put(&mut batch, changes);
        batch.commit().unwrap();
        dropped.into_values().sum()
    }

    #[test]
    fn entries_are_read_in_the_order_in_which_they_came_and_go_when_they_are_let_go() {
        let folder = tempfile::tempdir().unwrap();
        {
            let state = State::open(folder.path()).unwrap();
            let mut writer = QuarantineWriter::open(&state).unwrap();
            let entry = |source: &str, at: u64, raw: &str| {
                ((source.to_owned(), place(at)), Some(text(raw)))
            };
            let changes = [entry("posts", 300, "c"), entry("posts", 7, "a"), entry("post", 8, "x")];
            assert_eq!(put(&state, &mut writer, changes.into()), 0);
            state.persist().unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        let quarantine = Quarantine::open(&state).unwrap();
        let listed = quarantine.list("posts", None, 10).unwrap();
        assert_eq!(listed, [(place(7), text("a")), (place(300), text("c"))]);
        assert_eq!(quarantine.list("posts", Some(place(7)), 10).unwrap(), listed[1..]);
        assert_eq!(quarantine.count("posts"), 2);
        assert_eq!(quarantine.sources().unwrap(), ["post", "posts"]);

        let mut writer = QuarantineWriter::open(&state).unwrap();
        let gone = [(("posts".to_owned(), place(7)), None)];
        assert_eq!(put(&state, &mut writer, gone.into()), 0);
        assert_eq!(quarantine.get("posts", place(7)).unwrap(), None);
        assert_eq!(quarantine.count("posts"), 1);
        assert_eq!(quarantine.get("post", place(8)).unwrap(), Some(text("x")));
    }

    #[test]
    fn the_oldest_of_too_many_go_also_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let mut writer = QuarantineWriter::open(&state).unwrap();
        let entries = |from: u64, to: u64| {
            (from..to).map(|at| (("posts".to_owned(), place(at)), Some(text("{}")))).collect()
        };
        let most = ENTRIES_MAX as u64;
        assert_eq!(put(&state, &mut writer, entries(0, most)), 0);
        let mut writer = QuarantineWriter::open(&state).unwrap();
        assert_eq!(put(&state, &mut writer, entries(most, most + 3)), 3);
        let quarantine = Quarantine::open(&state).unwrap();
        assert_eq!(quarantine.count("posts"), ENTRIES_MAX);
        assert_eq!(quarantine.list("posts", None, 1).unwrap()[0].0, place(3));

        let large = "x".repeat(usize::try_from(BYTES_MAX / 2).unwrap());
        let large = [(("posts".to_owned(), place(most * 2)), Some(text(&large)))];
        assert_eq!(put(&state, &mut writer, large.clone().into()), 1);
        assert_eq!(put(&state, &mut writer, large.into()), 0, "replaced, not added");
    }

    #[test]
    fn the_oldest_of_too_much_go() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let mut writer = QuarantineWriter::open(&state).unwrap();
        let third = "x".repeat(usize::try_from(BYTES_MAX / 3).unwrap());
        let entries = (0..4).map(|at| (("posts".to_owned(), place(at)), Some(text(&third))));
        assert_eq!(put(&state, &mut writer, entries.collect()), 2, "two fit with their reasons");
        let quarantine = Quarantine::open(&state).unwrap();
        assert_eq!(quarantine.list("posts", None, 1).unwrap()[0].0, place(2));
    }

    proptest! {
        #[test]
        fn keys_sort_as_places_do_and_lead_back_to_them(
            one: (u64, u32),
            other: (u64, u32),
            source: String,
        ) {
            let of = |(offset, index)| Place { offset, index };
            let bytes = |place: Place| key(&source, place);
            prop_assert_eq!(of(one).cmp(&of(other)), bytes(of(one)).cmp(&bytes(of(other))));
            let key = bytes(of(one));
            prop_assert_eq!(split(&key).unwrap(), (source.as_str(), of(one)));
        }

        #[test]
        fn foreign_bytes_never_panic(key: Vec<u8>, value: Vec<u8>) {
            drop(split(&key));
            drop(read(&value));
        }
    }
}
