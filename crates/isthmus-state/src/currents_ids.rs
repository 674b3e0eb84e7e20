//! Which events of Braze Currents were applied before: without an end, because Braze may send an event
//! again at any time, and files can be read again years later.
//!
//! Keyspace `currents_ids`: scope (32 bits of hash), day of the event's own time (24 bits, days since
//! the Unix epoch), id (64 bits of hash), to nothing. An event that comes again has the same time, so
//! the day parts those that could be mixed up: among ten million events a day, one in some hundred
//! thousand days is expected to lose one. The keys of a day lie together, and what is new is written at
//! the end of each scope; tables of earlier days are left alone.
//!
//! An event takes about 11 bytes of disk once tables are merged (11.3 at a million events). Most searches
//! find nothing: each table has a filter that says so without being read. To find that an event is new and
//! to keep it takes some 4 microseconds (`cargo bench -p isthmus-state --bench currents_ids`).

use crate::{State, StateError, WriteBatch};
use fjall::Keyspace;
use isthmus_core::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

const DAY_MILLIS: i64 = 86_400_000;
/// Keys gathered in memory before they are written as a table: few enough that a search in there is
/// short.
const MEMORY_TABLE_MAX: u64 = 8 << 20;
const KEY_BYTES: usize = 4 + 3 + 8;
/// Days that 24 bits hold.
const DAYS_MAX: i64 = (1 << 24) - 1;

/// An event of Currents, reduced to what is stored of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CurrentsId([u8; KEY_BYTES]);

impl CurrentsId {
    /// The event called `id` in `scope`, which happened `at`.
    pub fn of(scope: &str, at: Timestamp, id: &str) -> Self {
        let scope = xxh3_64(scope.as_bytes()).to_be_bytes();
        let day = at.as_millis().div_euclid(DAY_MILLIS).clamp(0, DAYS_MAX).to_be_bytes();
        let id = xxh3_64(id.as_bytes()).to_be_bytes();
        let mut bytes = scope.into_iter().take(4).chain(day.into_iter().skip(5)).chain(id);
        Self(std::array::from_fn(|_| bytes.next().unwrap_or_default()))
    }
}

/// The keyspace, open.
pub struct CurrentsIds {
    known: Keyspace,
}

impl CurrentsIds {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { known: state.keyspace_with_memory("currents_ids", MEMORY_TABLE_MAX)? })
    }

    /// Whether `id` was put before.
    pub fn holds(&self, id: CurrentsId) -> Result<bool, StateError> {
        Ok(self.known.contains_key(id.0)?)
    }

    /// Keeps `id`.
    pub fn put(&self, batch: &mut WriteBatch, id: CurrentsId) {
        batch.insert(&self.known, id.0, []);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_event_is_known_for_ever_and_by_scope_day_and_id() {
        let folder = tempfile::tempdir().unwrap();
        let at = Timestamp::from_millis(1_770_000_000_000);
        let years_later = at.plus(Duration::from_hours(24 * 3_650));
        let known = CurrentsId::of("posts", at, "a");
        {
            let state = State::open(folder.path()).unwrap();
            let ids = CurrentsIds::open(&state).unwrap();
            assert!(!ids.holds(known).unwrap());
            let mut batch = state.batch();
            ids.put(&mut batch, known);
            assert!(!ids.holds(known).unwrap(), "not before the commit");
            batch.commit().unwrap();
            state.persist().unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        let ids = CurrentsIds::open(&state).unwrap();
        assert!(ids.holds(CurrentsId::of("posts", at, "a")).unwrap());
        assert!(ids.holds(CurrentsId::of("posts", at.plus(Duration::from_secs(1)), "a")).unwrap());
        for other in [
            CurrentsId::of("files", at, "a"),
            CurrentsId::of("posts", years_later, "a"),
            CurrentsId::of("posts", at, "b"),
        ] {
            assert!(!ids.holds(other).unwrap());
        }
    }

    #[test]
    fn ids_of_later_days_come_later_in_their_scope() {
        let day = |day: i64| CurrentsId::of("posts", Timestamp::from_millis(day * DAY_MILLIS), "a");
        assert!(day(19_000) < day(20_000) && day(255) < day(256) && day(65_535) < day(65_536));
        assert_eq!(day(-5), day(0), "what is no time of an event is of the first day");
        assert_eq!(day(DAYS_MAX + 5), day(DAYS_MAX));
    }

    /// As events come in over thirty days, merged once at the end as the engine does by itself in time.
    #[test]
    fn an_event_takes_some_bytes_of_disk() {
        const EVENTS: u64 = 30_000;
        const PER_DAY: u64 = EVENTS / 30;
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let ids = CurrentsIds::open(&state).unwrap();
        let of = |number: u64| {
            let day = i64::try_from(20_000 + number / PER_DAY).unwrap();
            let id = format!("0b8f2a54-6d5e-4c1a-9a39-{number:012}");
            CurrentsId::of("posts", Timestamp::from_millis(day * DAY_MILLIS), &id)
        };
        for first in (0..EVENTS).step_by(1_000) {
            let mut batch = state.batch();
            for number in first..first + 1_000 {
                assert!(!ids.holds(of(number)).unwrap());
                ids.put(&mut batch, of(number));
            }
            batch.commit().unwrap();
        }
        ids.known.rotate_memtable_and_wait().unwrap();
        ids.known.major_compact().unwrap();
        let bytes = ids.known.disk_space();
        assert!((8 * EVENTS..14 * EVENTS).contains(&bytes), "{bytes} bytes for {EVENTS} events");
        assert!((0..EVENTS).all(|number| ids.holds(of(number)).unwrap()));
    }
}
