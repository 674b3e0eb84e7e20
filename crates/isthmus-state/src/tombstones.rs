//! What is left of people who were erased: enough to recognise their ids, not enough to name them.
//!
//! Keyspace `tombstones`: the first 16 bytes of a salted SHA-256 of kind, project and id, to the
//! instant of the erasure. The salt is random and of this folder alone, so the hashes mean nothing
//! anywhere else, and ids cannot be looked up in tables made beforehand.

use crate::people::IdKind;
use crate::{State, StateError, WriteBatch};
use fjall::Keyspace;
use isthmus_core::Timestamp;
use isthmus_core::seam::Random;
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// The key of the salt, which is shorter than every tombstone.
const SALT: &[u8] = b"salt";

/// The tombstones, all in memory: a few dozen bytes each, and erasures are rare.
pub struct Tombstones {
    stored: Keyspace,
    salt: Vec<u8>,
    known: HashSet<[u8; 16]>,
}

impl Tombstones {
    /// Opens the keyspace in `state`; the first time, `random` gives the salt.
    pub fn open(state: &State, random: &dyn Random) -> Result<Self, StateError> {
        let stored = state.keyspace("tombstones")?;
        let salt = if let Some(salt) = stored.get(SALT)? {
            salt.to_vec()
        } else {
            let salt: Vec<u8> = (0..4).flat_map(|_| random.next_u64().to_be_bytes()).collect();
            let mut batch = state.batch();
            batch.insert(&stored, SALT, salt.as_slice());
            batch.commit()?;
            salt
        };
        let mut known = HashSet::new();
        for entry in stored.iter() {
            known.extend(<[u8; 16]>::try_from(&*entry.key()?));
        }
        Ok(Self { stored, salt, known })
    }

    /// Whether nobody was erased with a tombstone.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether `id` belonged to somebody who was erased.
    pub fn holds(&self, project: &str, kind: IdKind, id: &str) -> bool {
        !self.known.is_empty() && self.known.contains(&self.hash(project, kind, id))
    }

    /// Puts one up for `id`.
    pub fn put(
        &mut self,
        batch: &mut WriteBatch,
        project: &str,
        kind: IdKind,
        id: &str,
        at: Timestamp,
    ) {
        let hash = self.hash(project, kind, id);
        batch.insert(&self.stored, hash, at.as_millis().to_be_bytes());
        self.known.insert(hash);
    }

    fn hash(&self, project: &str, kind: IdKind, id: &str) -> [u8; 16] {
        let mut hasher = Sha256::new();
        hasher.update(&self.salt);
        hasher.update([kind.letter()]);
        hasher.update((project.len() as u64).to_be_bytes());
        hasher.update(project);
        hasher.update(id);
        let whole: [u8; 32] = hasher.finalize().into();
        std::array::from_fn(|index| whole.get(index).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::seam::SeededRandom;

    #[test]
    fn ids_are_recognised_after_reopening_and_not_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let at = Timestamp::from_millis(1_770_000_000_000);
        {
            let state = State::open(folder.path()).unwrap();
            let mut tombstones = Tombstones::open(&state, &SeededRandom::new(7)).unwrap();
            assert!(tombstones.is_empty());
            let mut batch = state.batch();
            tombstones.put(&mut batch, "shop", IdKind::User, "ana@example.org", at);
            batch.commit().unwrap();
            state.persist().unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        let tombstones = Tombstones::open(&state, &SeededRandom::new(8)).unwrap();
        assert!(tombstones.holds("shop", IdKind::User, "ana@example.org"));
        assert!(!tombstones.holds("shop", IdKind::Device, "ana@example.org"));
        assert!(!tombstones.holds("other", IdKind::User, "ana@example.org"));
        for entry in tombstones.stored.iter() {
            let (key, value) = entry.into_inner().unwrap();
            let shows = |bytes: &[u8]| bytes.windows(3).any(|window| window == b"ana");
            assert!(!shows(&key) && !shows(&value));
        }
    }
}
