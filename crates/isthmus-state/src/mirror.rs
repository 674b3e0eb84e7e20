//! The mirror: what each destination was last told of each of its users, and acknowledged.
//!
//! Keyspace `mirror`: (destination, `u`, lane) to [`Told`], (destination, `m`) to the [`Mark`], and
//! (destination, `o`) to the [`Origin`].
//! Changes and the mark that covers them are one write, so that after a crash the mark never claims
//! more than the rows beside it hold. Whoever reads finds recent users in memory.

use crate::key::{put_name, split_name};
use crate::{State, StateError};
use fjall::Keyspace;
use isthmus_core::destination::{Lane, Told};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is gathered in memory before it is written as a table: keys are hashes, so every step of a
/// search in a larger one misses the processor's cache.
const MEMORY_TABLE_MAX: u64 = 16 << 20;
const VERSION: u8 = 1;
const WHAT: &str = "mirror";
/// Users kept in memory: twice as many at most, at about a kilobyte each.
const RECENT_MAX: usize = 32_768;
/// Rows that go with one write when everything is forgotten.
const FORGOTTEN_AT_ONCE: usize = 10_000;

/// What the mirror of a destination goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Whom the vendor keeps what it is told for. Never shown.
    pub recipient: String,
    /// What made messages out of items of the log; where it changed, lanes cannot be found again.
    pub mappings: u64,
    /// Position of an entry of the destination's journal: of every request that was written down
    /// before it, the mirror knows how it ended.
    pub position: u64,
    /// Whether it knows that of the requests of this entry, too.
    pub covers: bool,
}

/// Since when the journal tells of what the destination is, and of what messages are made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// As in the [`Mark`].
    pub recipient: String,
    /// As in the [`Mark`].
    pub mappings: u64,
    /// Position of the first entry of the destination's journal that is about these.
    pub position: u64,
}

/// What is not to be believed any more of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    pub lane: Lane,
    /// These attributes; everything where there are none.
    pub attributes: Vec<String>,
}

/// What version 1 stores of a user.
#[derive(Serialize, Deserialize)]
struct StoredTold<'a> {
    identifier: &'a str,
    values: Vec<(&'a str, &'a str)>,
}

/// What version 1 stores as the mark.
#[derive(Serialize, Deserialize)]
struct StoredMark {
    recipient: String,
    mappings: u64,
    position: u64,
    covers: bool,
}

/// What version 1 stores as the origin.
#[derive(Serialize, Deserialize)]
struct StoredOrigin {
    recipient: String,
    mappings: u64,
    position: u64,
}

/// The mirror of one destination. Cheap to clone; clones share what is in memory.
#[derive(Clone)]
pub struct Mirror {
    state: State,
    rows: Keyspace,
    destination: Arc<str>,
    recent: Arc<Mutex<Recent>>,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Mirror({})", self.destination)
    }
}

impl Mirror {
    /// Opens the mirror of `destination` in `state`.
    pub fn open(state: &State, destination: &str) -> Result<Self, StateError> {
        Ok(Self {
            state: state.clone(),
            rows: state.keyspace_with_memory("mirror", MEMORY_TABLE_MAX)?,
            destination: destination.into(),
            recent: Arc::default(),
        })
    }

    /// What the user of `lane` was told, if anything is known.
    pub fn get(&self, lane: Lane) -> Result<Option<Arc<Told>>, StateError> {
        // Held while reading: what another one applies meanwhile must not be overwritten in memory.
        let mut recent = self.recent();
        if let Some(told) = recent.get(lane) {
            return Ok(told);
        }
        let told = match self.rows.get(self.key(lane))? {
            Some(row) => Some(Arc::new(decode(&row)?)),
            None => None,
        };
        recent.put(lane, told.clone());
        Ok(told)
    }

    /// What there is to go by; nothing where nothing was ever told, or everything was forgotten.
    pub fn mark(&self) -> Result<Option<Mark>, StateError> {
        let Some(row) = self.rows.get(self.mark_key())? else { return Ok(None) };
        let stored: StoredMark = crate::decode(WHAT, VERSION, &row)?;
        let StoredMark { recipient, mappings, position, covers } = stored;
        Ok(Some(Mark { recipient, mappings, position, covers }))
    }

    /// Since when the journal is about what it is about now, if that was ever kept.
    pub fn origin(&self) -> Result<Option<Origin>, StateError> {
        let Some(row) = self.rows.get(self.prefix(b'o'))? else { return Ok(None) };
        let stored: StoredOrigin = crate::decode(WHAT, VERSION, &row)?;
        let StoredOrigin { recipient, mappings, position } = stored;
        Ok(Some(Origin { recipient, mappings, position }))
    }

    /// Replaces the origin, which stays when everything else is forgotten. It survives power loss then:
    /// what follows in the journal must not be taken for what was before it.
    pub fn keep_origin(&self, origin: &Origin) -> Result<(), StateError> {
        let Origin { recipient, mappings, position } = origin.clone();
        let stored = StoredOrigin { recipient, mappings, position };
        self.rows.insert(self.prefix(b'o'), crate::encode(VERSION, &stored))?;
        self.state.persist()
    }

    /// Keeps `changes`, and `mark` with them, all or none; no value forgets a user.
    pub fn apply(
        &self,
        changes: &[(Lane, Option<Arc<Told>>)],
        mark: &Mark,
    ) -> Result<(), StateError> {
        let mut batch = self.state.batch();
        for (lane, told) in changes {
            match told {
                Some(told) => batch.insert(&self.rows, self.key(*lane), encode(told)),
                None => batch.remove(&self.rows, self.key(*lane)),
            }
        }
        let Mark { recipient, mappings, position, covers } = mark.clone();
        let stored = StoredMark { recipient, mappings, position, covers };
        batch.insert(&self.rows, self.mark_key(), crate::encode(VERSION, &stored));
        let mut recent = self.recent();
        batch.commit()?;
        for (lane, told) in changes {
            recent.put(*lane, told.clone());
        }
        Ok(())
    }

    /// Forgets what `doubts` are about, all or none; returns of how many users something was known.
    pub fn forget(&self, doubts: &[Doubt]) -> Result<u64, StateError> {
        let mut batch = self.state.batch();
        let mut recent = self.recent();
        let mut changes = Vec::new();
        for Doubt { lane, attributes } in doubts {
            let Some(row) = self.rows.get(self.key(*lane))? else { continue };
            let mut told = decode(&row)?;
            told.values.retain(|name| !attributes.iter().any(|doubted| doubted == name));
            if attributes.is_empty() {
                batch.remove(&self.rows, self.key(*lane));
                changes.push((*lane, None));
            } else {
                batch.insert(&self.rows, self.key(*lane), encode(&told));
                changes.push((*lane, Some(Arc::new(told))));
            }
        }
        batch.commit()?;
        let count = changes.len() as u64;
        for (lane, told) in changes {
            recent.put(lane, told);
        }
        Ok(count)
    }

    /// Users of whom something is known, `count` at most: those whose lanes follow `from`, and
    /// from the first lane on when there are no more.
    pub fn sample(&self, from: Lane, count: usize) -> Result<Vec<(Lane, Told)>, StateError> {
        let (first, split, end) = (self.prefix(b'u'), self.key(from), self.prefix(b'v'));
        let start = first.len();
        let mut sample = Vec::new();
        for range in [split.clone()..end, first..split] {
            for guard in self.rows.range(range) {
                if sample.len() >= count {
                    return Ok(sample);
                }
                let (key, row) = guard.into_inner()?;
                let lane = key.get(start..).and_then(|lane| <[u8; 8]>::try_from(lane).ok());
                let lane = lane.ok_or_else(|| StateError::malformed("key of mirror", &"length"))?;
                sample.push((Lane(u64::from_be_bytes(lane)), decode(&row)?));
            }
        }
        Ok(sample)
    }

    /// Forgets every user, and what there is to go by: a crash on the way leaves no mark, and so
    /// nothing that is believed.
    pub fn clear(&self) -> Result<(), StateError> {
        let mut recent = self.recent();
        *recent = Recent::default();
        let mut batch = self.state.batch();
        batch.remove(&self.rows, self.mark_key());
        let mut removed = 0;
        for guard in self.rows.prefix(self.prefix(b'u')) {
            batch.remove(&self.rows, guard.key()?);
            removed += 1;
            if removed == FORGOTTEN_AT_ONCE {
                std::mem::replace(&mut batch, self.state.batch()).commit()?;
                removed = 0;
            }
        }
        Ok(batch.commit()?)
    }

    /// Rewrites the tables of all mirrors in `state`, so that nothing that was forgotten is left in
    /// them.
    pub fn compact(state: &State) -> Result<(), StateError> {
        crate::compact(&state.keyspace_with_memory("mirror", MEMORY_TABLE_MAX)?)
    }

    /// The destinations of which `state` knows what somebody was told.
    pub fn destinations(state: &State) -> Result<Vec<String>, StateError> {
        let rows = state.keyspace_with_memory("mirror", MEMORY_TABLE_MAX)?;
        let mut names: Vec<String> = Vec::new();
        let mut from = Vec::new();
        while let Some(row) = rows.range(from..).next() {
            let key = row.key()?;
            let (name, rest) = split_name(&key)
                .ok_or_else(|| StateError::malformed("key of mirror", &"destination"))?;
            let kind = rest.first().filter(|kind| **kind <= b'u');
            let kind =
                kind.ok_or_else(|| StateError::malformed("key of mirror", &"unknown kind"))?;
            if *kind == b'u' {
                names.push(name.to_owned());
            }
            from = Vec::new();
            put_name(&mut from, name);
            from.push(kind + 1);
        }
        Ok(names)
    }

    fn prefix(&self, kind: u8) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.destination.len() + 13);
        put_name(&mut key, &self.destination);
        key.push(kind);
        key
    }

    fn key(&self, lane: Lane) -> Vec<u8> {
        let mut key = self.prefix(b'u');
        key.extend(lane.0.to_be_bytes());
        key
    }

    fn mark_key(&self) -> Vec<u8> {
        self.prefix(b'm')
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Users that were asked about lately, and those before them: when the first are many, they become
/// the second, and those are forgotten.
#[derive(Debug, Default)]
struct Recent {
    young: HashMap<Lane, Option<Arc<Told>>>,
    old: HashMap<Lane, Option<Arc<Told>>>,
}

impl Recent {
    #[expect(clippy::option_option, reason = "that nothing was told is remembered as well")]
    fn get(&mut self, lane: Lane) -> Option<Option<Arc<Told>>> {
        if let Some(told) = self.young.get(&lane) {
            return Some(told.clone());
        }
        let told = self.old.remove(&lane)?;
        self.put(lane, told.clone());
        Some(told)
    }

    fn put(&mut self, lane: Lane, told: Option<Arc<Told>>) {
        self.old.remove(&lane);
        self.young.insert(lane, told);
        if self.young.len() >= RECENT_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

fn encode(told: &Told) -> Vec<u8> {
    let values = told.values.iter().collect();
    crate::encode(VERSION, &StoredTold { identifier: &told.identifier, values })
}

fn decode(row: &[u8]) -> Result<Told, StateError> {
    let stored: StoredTold<'_> = crate::decode(WHAT, VERSION, row)?;
    let values = stored.values.into_iter().collect();
    Ok(Told { identifier: stored.identifier.to_owned(), values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::destination::Values;
    use proptest::prelude::*;

    fn told(identifier: &str, plan: &str) -> Arc<Told> {
        let values = Values::from_iter([("plan", plan)]);
        Arc::new(Told { identifier: identifier.to_owned(), values })
    }

    fn mark(position: u64) -> Mark {
        Mark { recipient: "shop".to_owned(), mappings: 7, position, covers: true }
    }

    #[test]
    fn what_was_told_and_its_mark_survive_and_destinations_are_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (ana, bob) = (Lane(1), Lane(2));
        {
            let state = State::open(folder.path()).unwrap();
            let mirror = Mirror::open(&state, "braze").unwrap();
            let other = Mirror::open(&state, "braz").unwrap();
            assert_eq!((mirror.get(ana).unwrap(), mirror.mark().unwrap()), (None, None));
            let changes = [(ana, Some(told("ana", "1"))), (bob, Some(told("bob", "2")))];
            mirror.apply(&changes, &mark(4)).unwrap();
            mirror.apply(&[(bob, None)], &mark(5)).unwrap();
            other.apply(&[(ana, Some(told("ana", "3")))], &mark(9)).unwrap();
            assert_eq!(mirror.get(ana).unwrap(), Some(told("ana", "1")));
        }
        let state = State::open(folder.path()).unwrap();
        let mirror = Mirror::open(&state, "braze").unwrap();
        assert_eq!(mirror.get(ana).unwrap(), Some(told("ana", "1")));
        assert_eq!((mirror.get(bob).unwrap(), mirror.mark().unwrap()), (None, Some(mark(5))));
        let origin = Origin { recipient: "shop".to_owned(), mappings: 7, position: 3 };
        assert_eq!(mirror.origin().unwrap(), None);
        mirror.keep_origin(&origin).unwrap();
        mirror.clear().unwrap();
        assert_eq!((mirror.get(ana).unwrap(), mirror.mark().unwrap()), (None, None));
        assert_eq!(mirror.origin().unwrap(), Some(origin));
        let other = Mirror::open(&state, "braz").unwrap();
        assert_eq!(other.get(ana).unwrap(), Some(told("ana", "3")));
        assert_eq!(other.mark().unwrap(), Some(mark(9)));
    }

    #[test]
    fn a_sample_begins_anywhere_and_holds_nobody_twice() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let mirror = Mirror::open(&state, "braze").unwrap();
        let other = Mirror::open(&state, "braze-2").unwrap();
        let changes = [1, 5, u64::MAX].map(|lane| (Lane(lane), Some(told("ana", "1"))));
        mirror.apply(&changes, &mark(1)).unwrap();
        other.apply(&[(Lane(7), Some(told("bob", "1")))], &mark(1)).unwrap();
        let lanes = |from, count| {
            let sample = mirror.sample(Lane(from), count).unwrap();
            sample.into_iter().map(|(lane, _)| lane.0).collect::<Vec<_>>()
        };
        assert_eq!(lanes(2, 9), [5, u64::MAX, 1]);
        assert_eq!(lanes(3, 0), [0_u64; 0]);
        assert_eq!((lanes(0, 2), lanes(u64::MAX, 2)), (vec![1, 5], vec![u64::MAX, 1]));
        assert_eq!(Mirror::destinations(&state).unwrap(), ["braze", "braze-2"]);
        mirror.clear().unwrap();
        mirror.apply(&[], &mark(1)).unwrap();
        assert_eq!(Mirror::destinations(&state).unwrap(), ["braze-2"]);
    }

    #[test]
    fn what_is_doubted_is_forgotten_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let mirror = Mirror::open(&state, "braze").unwrap();
        let both = Values::from_iter([("plan", "1"), ("seats", "2")]);
        let ana = Told { identifier: "ana".to_owned(), values: both };
        let changes = [(Lane(1), Some(Arc::new(ana))), (Lane(2), Some(told("bob", "1")))];
        mirror.apply(&changes, &mark(4)).unwrap();
        let doubt = |lane, attributes: &[&str]| {
            let attributes = attributes.iter().map(|name| (*name).to_owned()).collect();
            Doubt { lane: Lane(lane), attributes }
        };
        let doubts = [doubt(1, &["seats"]), doubt(2, &[]), doubt(3, &[])];
        assert_eq!(mirror.forget(&doubts).unwrap(), 2);
        for mirror in [mirror, Mirror::open(&state, "braze").unwrap()] {
            assert_eq!(mirror.get(Lane(1)).unwrap(), Some(told("ana", "1")));
            assert_eq!(mirror.get(Lane(2)).unwrap(), None);
            assert_eq!(mirror.mark().unwrap(), Some(mark(4)));
        }
    }

    #[test]
    fn users_that_are_not_in_memory_any_more_are_found_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let mirror = Mirror::open(&state, "braze").unwrap();
        mirror.apply(&[(Lane(0), Some(told("ana", "1")))], &mark(1)).unwrap();
        for lane in 1..3 * RECENT_MAX as u64 {
            assert_eq!(mirror.get(Lane(lane)).unwrap(), None);
        }
        let held = |recent: &Recent| recent.young.len() + recent.old.len();
        assert!(held(&mirror.recent()) <= 2 * RECENT_MAX);
        assert_eq!(mirror.get(Lane(0)).unwrap(), Some(told("ana", "1")));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(row: Vec<u8>) {
            drop(decode(&row));
        }

        #[test]
        fn decode_inverts_encode(
            identifier: String,
            values in prop::collection::btree_map(".{0,9}", ".{0,9}", 0..5),
        ) {
            let values = values.iter().map(|(name, value)| (&**name, &**value)).collect();
            let told = Told { identifier, values };
            prop_assert_eq!(decode(&encode(&told)).unwrap(), told);
        }
    }
}
