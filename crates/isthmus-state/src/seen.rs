//! Which events were seen before, for deduplication.
//!
//! One keyspace per day of first sighting (`seen-20780`, days since the Unix epoch), so that
//! forgetting a day is deleting a keyspace. A key is 128 bits of hash; a value is the instant.

use crate::{State, StateError, WriteBatch};
use fjall::Keyspace;
use isthmus_core::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

const DAY_MILLIS: i64 = 86_400_000;
const PREFIX: &str = "seen-";
/// Sightings gathered in memory before they are written as a table. Keys are random, so every step
/// of a search in a larger one misses the processor's cache.
const MEMORY_TABLE_MAX: u64 = 16 << 20;

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

/// The keyspaces of the days that still count.
pub struct Seen {
    state: State,
    window: Duration,
    days: BTreeMap<i64, Keyspace>,
}

impl Seen {
    /// Opens the days that `state` holds; sightings older than `window` do not count.
    pub fn open(state: &State, window: Duration) -> Result<Self, StateError> {
        let mut days = BTreeMap::new();
        for name in state.keyspace_names() {
            if let Some(day) = name.strip_prefix(PREFIX).and_then(|day| day.parse().ok()) {
                days.insert(day, open_day(state, &name)?);
            }
        }
        Ok(Self { state: state.clone(), window, days })
    }

    /// When `key` was first seen, if that was within the window that ends `now`.
    pub fn first_seen(
        &self,
        key: EventKey,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StateError> {
        for day in self.days.values().rev() {
            let Some(value) = day.get(key.0)? else { continue };
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
        if !self.days.contains_key(&day) {
            self.days.insert(day, open_day(&self.state, &format!("{PREFIX}{day}"))?);
        }
        if let Some(keyspace) = self.days.get(&day) {
            batch.insert(keyspace, key.0, at.as_millis().to_be_bytes());
        }
        Ok(())
    }

    /// Deletes the days that lie wholly before the window that ends `now`; returns how many.
    pub fn forget(&mut self, now: Timestamp) -> Result<usize, StateError> {
        let window = i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.as_millis().saturating_sub(window).div_euclid(DAY_MILLIS);
        let kept = self.days.split_off(&oldest);
        let old = std::mem::replace(&mut self.days, kept);
        let count = old.len();
        for keyspace in old.into_values() {
            self.state.delete_keyspace(keyspace)?;
        }
        Ok(count)
    }
}

fn open_day(state: &State, name: &str) -> Result<Keyspace, StateError> {
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
}
