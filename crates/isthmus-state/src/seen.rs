//! Which events were seen before, for deduplication.
//!
//! Keyspaces per day of first sighting (`seen-20780`, days since the Unix epoch, then
//! `seen-20780-1` and so on), so that forgetting a day is deleting keyspaces. A key is 128 bits of
//! hash; a value is the instant.
//!
//! Most events are new, so most searches find nothing, and the engine's memory table is the
//! expensive place to find nothing in: keys are random, and every step of a search misses the
//! processor's cache. A filter in front of it therefore knows every key that went into the newest
//! keyspace. When the filter is full, or a start finds more than is quickly read, the next keyspace
//! is begun; those before it lie in tables, which have filters of their own.

mod filter;

use crate::{State, StateError, WriteBatch};
use filter::Filter;
use fjall::Keyspace;
use isthmus_core::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

const DAY_MILLIS: i64 = 86_400_000;
const PREFIX: &str = "seen-";
/// Sightings gathered in memory before they are written as a table.
const MEMORY_TABLE_MAX: u64 = 16 << 20;
/// Keys of the newest keyspace that a start reads into the filter; more would make starting slow.
const READ_AT_START: usize = 1 << 20;

/// What makes two events the same one, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey([u8; 16]);

impl EventKey {
    /// The key made of `parts`; ("ab", "c") and ("a", "bc") differ.
    pub fn of(parts: &[&str]) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for part in parts {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.digest128().to_be_bytes())
    }
}

/// A keyspace by its day, in days since the Unix epoch, and its number within the day.
type Part = (i64, u32);

/// The keyspaces of the days that still count.
pub struct Seen {
    state: State,
    window: Duration,
    parts: BTreeMap<Part, Keyspace>,
    /// The part whose every key is in `filter`; never looked into for others.
    filtered: Option<Part>,
    filter: Filter,
}

impl Seen {
    /// Opens the days that `state` holds; sightings older than `window` do not count.
    pub fn open(state: &State, window: Duration) -> Result<Self, StateError> {
        let mut parts = BTreeMap::new();
        for name in state.keyspace_names() {
            if let Some(part) = name.strip_prefix(PREFIX).and_then(parse) {
                parts.insert(part, open_part(state, &name)?);
            }
        }
        let mut filter = Filter::new();
        let mut filtered = None;
        if let Some((part, keyspace)) = parts.last_key_value()
            && keyspace.approximate_len() <= READ_AT_START
        {
            for entry in keyspace.iter() {
                filter.extend(<[u8; 16]>::try_from(&*entry.key()?));
            }
            filtered = Some(*part);
        }
        Ok(Self { state: state.clone(), window, parts, filtered, filter })
    }

    /// When `key` was first seen, if that was within the window that ends `now`.
    pub fn first_seen(
        &self,
        key: EventKey,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StateError> {
        for (part, keyspace) in self.parts.iter().rev() {
            if self.filtered == Some(*part) && !self.filter.may_hold(key.0) {
                continue;
            }
            let Some(value) = keyspace.get(key.0)? else { continue };
            let bytes = <[u8; 8]>::try_from(&*value)
                .map_err(|error| StateError::malformed("first sighting", &error))?;
            let at = Timestamp::from_millis(i64::from_be_bytes(bytes));
            return Ok(self.counts(at, now).then_some(at));
        }
        Ok(None)
    }

    /// Sightings older than `window` do not count from now on.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// Whether a first sighting at `first` lies within the window that ends `now`.
    pub fn counts(&self, first: Timestamp, now: Timestamp) -> bool {
        now.since(first) < self.window
    }

    /// Notes that `key` was seen `at`.
    pub fn put(
        &mut self,
        batch: &mut WriteBatch,
        key: EventKey,
        at: Timestamp,
    ) -> Result<(), StateError> {
        let day = at.as_millis().div_euclid(DAY_MILLIS);
        let newest = self.parts.range((day, 0)..=(day, u32::MAX)).next_back();
        let newest = newest.map(|(part, _)| *part);
        let part = match newest {
            // A day that is not the newest one gets few keys: what comes late.
            Some(part) if self.parts.last_key_value().is_some_and(|(last, _)| *last != part) => {
                part
            }
            Some(part) if self.filtered == Some(part) && !self.filter.is_full() => part,
            Some((day, number)) => self.begin((day, number.saturating_add(1)))?,
            None => self.begin((day, 0))?,
        };
        if self.filtered == Some(part) {
            self.filter.insert(key.0);
        }
        if let Some(keyspace) = self.parts.get(&part) {
            batch.insert(keyspace, key.0, at.as_millis().to_be_bytes());
        }
        Ok(())
    }

    /// Begins a keyspace; where it is the newest, the filter is about it from now on.
    fn begin(&mut self, part: Part) -> Result<Part, StateError> {
        let keyspace = open_part(&self.state, &name(part))?;
        // What the filter was about is searched without it from now on: in tables, not in memory.
        if let Some((_, before)) = self.parts.last_key_value() {
            before.rotate_memtable()?;
        }
        self.parts.insert(part, keyspace);
        if self.parts.last_key_value().is_some_and(|(last, _)| *last == part) {
            self.filtered = Some(part);
            self.filter = Filter::new();
        }
        Ok(part)
    }

    /// Deletes the days that lie wholly before the window that ends `now`; returns how many
    /// keyspaces that were.
    pub fn forget(&mut self, now: Timestamp) -> Result<usize, StateError> {
        let window = i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.as_millis().saturating_sub(window).div_euclid(DAY_MILLIS);
        let kept = self.parts.split_off(&(oldest, 0));
        let old = std::mem::replace(&mut self.parts, kept);
        let count = old.len();
        for (part, keyspace) in old {
            if self.filtered == Some(part) {
                self.filtered = None;
            }
            self.state.delete_keyspace(keyspace)?;
        }
        Ok(count)
    }
}

fn parse(name: &str) -> Option<Part> {
    match name.split_once('-') {
        None => Some((name.parse().ok()?, 0)),
        Some((day, number)) => Some((day.parse().ok()?, number.parse().ok()?)),
    }
}

fn name((day, number): Part) -> String {
    if number == 0 { format!("{PREFIX}{day}") } else { format!("{PREFIX}{day}-{number}") }
}

fn open_part(state: &State, name: &str) -> Result<Keyspace, StateError> {
    state.keyspace_with_memory(name, MEMORY_TABLE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_hours(7 * 24);

    #[test]
    fn counts_for_seven_days_and_is_then_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let mut seen = Seen::open(&state, WEEK).unwrap();
        let start = Timestamp::from_millis(1_770_000_000_000);
        let key = EventKey::of(&["shop", "d1", "i1"]);
        assert_eq!(seen.first_seen(key, start).unwrap(), None);
        let mut batch = state.batch();
        seen.put(&mut batch, key, start).unwrap();
        batch.commit().unwrap();

        let almost = start.plus(WEEK.saturating_sub(Duration::from_millis(1)));
        assert_eq!(seen.first_seen(key, almost).unwrap(), Some(start));
        assert_eq!(seen.first_seen(key, start.plus(WEEK)).unwrap(), None);
        assert_eq!(seen.forget(almost).unwrap(), 0);
        assert_eq!(seen.forget(start.plus(WEEK + WEEK)).unwrap(), 1);
        drop(seen);
        let seen = Seen::open(&state, WEEK).unwrap();
        assert_eq!(seen.first_seen(key, start).unwrap(), None);
    }

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        assert_ne!(EventKey::of(&["ab", "c"]), EventKey::of(&["a", "bc"]));
    }

    #[test]
    fn every_start_and_every_part_knows_what_was_seen_before() {
        let folder = tempfile::tempdir().unwrap();
        let start = Timestamp::from_millis(1_770_000_000_000);
        let key = |number: u32| EventKey::of(&["shop", "d1", &number.to_string()]);
        for run in 0..3u32 {
            let state = State::open(folder.path()).unwrap();
            let mut seen = Seen::open(&state, WEEK).unwrap();
            for number in 0..run * 100 {
                assert!(seen.first_seen(key(number), start).unwrap().is_some(), "{number}");
            }
            let mut batch = state.batch();
            for number in run * 100..(run + 1) * 100 {
                assert_eq!(seen.first_seen(key(number), start).unwrap(), None);
                if number % 40 == 0 {
                    // As when the filter is full.
                    seen.filtered = None;
                }
                seen.put(&mut batch, key(number), start).unwrap();
            }
            batch.commit().unwrap();
            state.persist().unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        let seen = Seen::open(&state, WEEK).unwrap();
        assert!(seen.parts.len() > 3, "several parts of one day");
        for number in 0..300 {
            assert_eq!(seen.first_seen(key(number), start).unwrap(), Some(start), "{number}");
        }
    }

    #[test]
    fn what_comes_late_goes_to_its_own_day() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let mut seen = Seen::open(&state, WEEK).unwrap();
        let today = Timestamp::from_millis(1_770_000_000_000);
        let yesterday = Timestamp::from_millis(1_770_000_000_000 - DAY_MILLIS);
        let mut batch = state.batch();
        let keys = ["a", "b", "c"].map(|key| EventKey::of(&[key]));
        seen.put(&mut batch, keys[0], today).unwrap();
        seen.put(&mut batch, keys[1], yesterday).unwrap();
        seen.put(&mut batch, keys[2], yesterday).unwrap();
        batch.commit().unwrap();
        assert_eq!(seen.parts.len(), 2);
        assert_eq!(seen.first_seen(keys[0], today).unwrap(), Some(today));
        assert_eq!(seen.first_seen(keys[1], today).unwrap(), Some(yesterday));
        assert_eq!(seen.first_seen(keys[2], today).unwrap(), Some(yesterday));
    }
}
