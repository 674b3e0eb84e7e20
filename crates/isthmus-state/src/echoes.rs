//! What destinations were told of late that the vendor may tell back, so that an echo is not taken for
//! news.
//!
//! Keyspaces per day of sending (`echoes-20780`, days since the Unix epoch), so that forgetting a day
//! is deleting a keyspace. A key is the destination's and the vendor crate's hash of what was said,
//! then which object said it; a value is the stream's name and whether the echo was heard.

use crate::{State, StateError, WriteBatch, decode, encode};
use fjall::Keyspace;
use isthmus_core::{Place, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;
const DAY_MILLIS: i64 = 86_400_000;
const PREFIX: &str = "echoes-";
/// Objects gathered in memory before they are written as a table.
const MEMORY_TABLE_MAX: u64 = 16 << 20;

/// How long an echo is waited for: as long as Braze keeps events that a receiver does not take
/// (`braze-currents.md` 2.1), and a day more.
pub const WINDOW: Duration = Duration::from_hours(8 * 24);

/// An object that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentObject {
    pub stream: String,
    /// The item of the event log it was mapped from.
    pub place: Place,
    /// Which of the objects mapped from that item it is.
    pub part: u16,
    /// Whether the vendor told of it.
    pub heard: bool,
    /// Day of sending.
    day: i64,
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    stream: &'a str,
    heard: bool,
}

/// The keyspaces of the days that still count. Cheap to clone.
#[derive(Clone)]
pub struct Echoes {
    state: State,
    days: Arc<RwLock<BTreeMap<i64, Keyspace>>>,
}

impl std::fmt::Debug for Echoes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Echoes")
    }
}

/// Objects that are about to be sent to one destination.
pub struct Sending {
    batch: WriteBatch,
    keyspace: Keyspace,
    seed: u64,
    any: bool,
}

impl Echoes {
    /// Opens the days that `state` holds.
    pub fn open(state: &State) -> Result<Self, StateError> {
        let mut days = BTreeMap::new();
        for name in state.keyspace_names() {
            if let Some(day) = name.strip_prefix(PREFIX).and_then(|day| day.parse().ok()) {
                days.insert(day, state.keyspace_with_memory(&name, MEMORY_TABLE_MAX)?);
            }
        }
        Ok(Self { state: state.clone(), days: Arc::new(RwLock::new(days)) })
    }

    /// Begins to note what is about to be sent to `destination`, `at` that time.
    pub fn sending(&self, destination: &str, at: Timestamp) -> Result<Sending, StateError> {
        let keyspace = self.day(day_of(at))?;
        let batch = self.state.batch();
        Ok(Sending { batch, keyspace, seed: seed(destination), any: false })
    }

    /// Objects sent to `destination` lately that said what `key` stands for, the newest day first.
    pub fn find(&self, destination: &str, key: u64) -> Result<Vec<SentObject>, StateError> {
        let prefix = (key ^ seed(destination)).to_be_bytes();
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (&day, keyspace) in days.iter().rev() {
            for entry in keyspace.prefix(prefix) {
                let (key, value) = entry.into_inner()?;
                let stored: Stored<'_> = decode("sent object", VERSION, &value)?;
                let (place, part) = object_of(&key)?;
                let Stored { stream, heard } = stored;
                found.push(SentObject { stream: stream.to_owned(), place, part, heard, day });
            }
        }
        Ok(found)
    }

    /// Notes that the vendor told of `object`, which [`Self::find`] found under `key`.
    pub fn hear(&self, destination: &str, key: u64, object: &SentObject) -> Result<(), StateError> {
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        let Some(keyspace) = days.get(&object.day) else { return Ok(()) };
        let key = key_of(key ^ seed(destination), object.place, object.part);
        let value = encode(VERSION, &Stored { stream: &object.stream, heard: true });
        Ok(keyspace.insert(key, value)?)
    }

    /// Deletes the days that lie wholly before [`WINDOW`]; returns how many.
    pub fn forget(&self, now: Timestamp) -> Result<usize, StateError> {
        let window = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.as_millis().saturating_sub(window).div_euclid(DAY_MILLIS);
        let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
        let kept = days.split_off(&oldest);
        let old = std::mem::replace(&mut *days, kept);
        let count = old.len();
        for keyspace in old.into_values() {
            self.state.delete_keyspace(keyspace)?;
        }
        Ok(count)
    }

    fn day(&self, day: i64) -> Result<Keyspace, StateError> {
        let days = self.days.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(keyspace) = days.get(&day) {
            return Ok(keyspace.clone());
        }
        drop(days);
        let name = format!("{PREFIX}{day}");
        let keyspace = self.state.keyspace_with_memory(&name, MEMORY_TABLE_MAX)?;
        let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
        Ok(days.entry(day).or_insert(keyspace).clone())
    }
}

impl Sending {
    /// Adds an object that says what `key` stands for. One that is sent again is there already, and
    /// what was heard of it is forgotten: it may be on its way a second time.
    pub fn note(&mut self, key: u64, stream: &str, place: Place, part: u16) {
        let key = key_of(key ^ self.seed, place, part);
        let value = encode(VERSION, &Stored { stream, heard: false });
        self.batch.insert(&self.keyspace, key, value);
        self.any = true;
    }

    /// Keeps them.
    pub fn commit(self) -> Result<(), StateError> {
        if self.any {
            self.batch.commit()?;
        }
        Ok(())
    }
}

fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MILLIS)
}

fn seed(destination: &str) -> u64 {
    xxh3_64(destination.as_bytes())
}

fn key_of(key: u64, place: Place, part: u16) -> [u8; 22] {
    let mut bytes = [0; 22];
    let parts: [&[u8]; 4] = [
        &key.to_be_bytes(),
        &place.offset.to_be_bytes(),
        &place.index.to_be_bytes(),
        &part.to_be_bytes(),
    ];
    let mut rest = &mut bytes[..];
    for part in parts {
        let (head, tail) = rest.split_at_mut(part.len());
        head.copy_from_slice(part);
        rest = tail;
    }
    bytes
}

fn object_of(key: &[u8]) -> Result<(Place, u16), StateError> {
    let malformed = || StateError::malformed("sent object", &"its key has another length");
    let (_, rest) = key.split_first_chunk::<8>().ok_or_else(malformed)?;
    let (offset, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
    let (index, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
    let part = rest.first_chunk::<2>().ok_or_else(malformed)?;
    let place = Place { offset: u64::from_be_bytes(*offset), index: u32::from_be_bytes(*index) };
    Ok((place, u16::from_be_bytes(*part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_770_000_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn place(offset: u64) -> Place {
        Place { offset, index: 3 }
    }

    #[test]
    fn what_was_sent_is_found_until_the_window_ends() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let echoes = Echoes::open(&state).unwrap();
        let mut sending = echoes.sending("braze", START).unwrap();
        sending.note(7, "product", place(10), 0);
        sending.note(7, "product", place(11), 2);
        sending.note(8, "other", place(12), 1);
        sending.commit().unwrap();
        let found = |echoes: &Echoes, key| {
            let found = echoes.find("braze", key).unwrap();
            let told = |sent: SentObject| (sent.stream, sent.place.offset, sent.part, sent.heard);
            found.into_iter().map(told).collect::<Vec<_>>()
        };
        let product = |offset, part, heard| ("product".to_owned(), offset, part, heard);
        assert_eq!(found(&echoes, 7), [product(10, 0, false), product(11, 2, false)]);
        assert_eq!(found(&echoes, 9), []);
        assert_eq!(echoes.find("another", 7).unwrap(), []);

        let heard = &echoes.find("braze", 7).unwrap()[1];
        echoes.hear("braze", 7, heard).unwrap();
        drop(echoes);
        let echoes = Echoes::open(&state).unwrap();
        assert_eq!(found(&echoes, 7), [product(10, 0, false), product(11, 2, true)]);

        // Sent again, it may come back again.
        let mut sending = echoes.sending("braze", START.plus(DAY)).unwrap();
        sending.note(7, "product", place(11), 2);
        sending.commit().unwrap();
        assert_eq!(found(&echoes, 7).first(), Some(&product(11, 2, false)));

        assert_eq!(echoes.forget(START.plus(WINDOW)).unwrap(), 0);
        assert_eq!(echoes.forget(START.plus(WINDOW + DAY)).unwrap(), 1);
        assert_eq!(found(&echoes, 7), [product(11, 2, false)]);
        assert_eq!(echoes.forget(START.plus(WINDOW + 2 * DAY)).unwrap(), 1);
        assert_eq!(found(&Echoes::open(&state).unwrap(), 7), []);
    }
}
