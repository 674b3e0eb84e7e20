//! Which person an id leads to, of ids that were used lately.

use isthmus_core::AmplitudeId;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Entries of a line, which is what the processor fetches at once: looking an id up costs one wait
/// for memory, where a hash map costs two or three.
const WAYS: usize = 4;
/// Lines at first: 16 KiB.
const LINES_MIN: usize = 1 << 8;
/// Lines at most: 64 MiB, four million ids.
const LINES_MAX: usize = 1 << 20;
/// Bits of an entry that are the person's number; the others are of the id's hash.
const NUMBER_BITS: u32 = 48;
const NUMBER_MAX: u64 = (1 << NUMBER_BITS) - 1;

/// Eighty bits of hash stand for an id: among billions of ids no two are expected to share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdHash(u128);

impl IdHash {
    /// The hash of `id`, with `seed` so that nobody can choose ids whose hashes are the same.
    pub(super) fn of(id: &[u8], seed: u64) -> Self {
        Self(xxh3_128_with_seed(id, seed) >> NUMBER_BITS)
    }
}

/// Ids and whom they lead to. It forgets by itself: an id falls out of its line when four others
/// were used after it there.
#[derive(Debug)]
pub(super) struct KnownIds {
    /// Each entry is hash and number; zero where there is none. The one that was used last is first.
    lines: Vec<[u128; WAYS]>,
    count: usize,
}

impl KnownIds {
    pub(super) fn new() -> Self {
        Self { lines: vec![[0; WAYS]; LINES_MIN], count: 0 }
    }

    /// Whom the id leads to; the id counts as used.
    pub(super) fn get(&mut self, hash: IdHash) -> Option<AmplitudeId> {
        let line = self.line(hash);
        let at = line.iter().position(|entry| is_of(*entry, hash))?;
        line.get_mut(..=at)?.rotate_right(1);
        line.first().copied().map(person)
    }

    /// Whom the id leads to, without counting it as used.
    pub(super) fn peek(&self, hash: IdHash) -> Option<AmplitudeId> {
        let line = self.lines.get(place(hash, self.lines.len()))?;
        line.iter().find(|entry| is_of(**entry, hash)).copied().map(person)
    }

    pub(super) fn insert(&mut self, hash: IdHash, person: AmplitudeId) {
        self.remove(hash);
        if person.0 == 0 || person.0 > NUMBER_MAX {
            return;
        }
        if self.count >= self.lines.len() * WAYS / 2 && self.lines.len() < LINES_MAX {
            self.grow();
        }
        self.put(hash.0 << NUMBER_BITS | u128::from(person.0));
    }

    pub(super) fn remove(&mut self, hash: IdHash) {
        let line = self.line(hash);
        if let Some(at) = line.iter().position(|entry| is_of(*entry, hash)) {
            if let Some(rest) = line.get_mut(at..) {
                rest.rotate_left(1);
            }
            if let Some(last) = line.last_mut() {
                *last = 0;
            }
            self.count -= 1;
        }
    }

    fn put(&mut self, entry: u128) {
        let line = self.line(IdHash(entry >> NUMBER_BITS));
        line.rotate_right(1);
        let last = line.first_mut().map(|first| std::mem::replace(first, entry));
        self.count += usize::from(last == Some(0));
    }

    fn grow(&mut self) {
        let larger = vec![[0; WAYS]; self.lines.len() * 2];
        let lines = std::mem::replace(&mut self.lines, larger);
        self.count = 0;
        // What was used last is put last, and so is first again.
        let entries = lines.iter().flat_map(|line| line.iter().rev());
        for entry in entries.filter(|entry| **entry != 0) {
            self.put(*entry);
        }
    }

    fn line(&mut self, hash: IdHash) -> &mut [u128; WAYS] {
        let place = place(hash, self.lines.len());
        self.lines.get_mut(place).expect("places lie within the lines")
    }
}

/// The line of `hash` among `lines`, a power of two.
fn place(hash: IdHash, lines: usize) -> usize {
    usize::try_from(hash.0 & (lines as u128 - 1)).unwrap_or_default()
}

fn is_of(entry: u128, hash: IdHash) -> bool {
    entry != 0 && entry >> NUMBER_BITS == hash.0
}

fn person(entry: u128) -> AmplitudeId {
    AmplitudeId(u64::try_from(entry & u128::from(NUMBER_MAX)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn hash(number: u32) -> IdHash {
        IdHash::of(&number.to_be_bytes(), 7)
    }

    #[test]
    fn what_is_used_stays_and_memory_is_bounded() {
        let mut ids = KnownIds { lines: vec![[0; WAYS]; LINES_MAX], count: LINES_MAX * WAYS };
        for number in 1..160_u32 {
            // All in one line.
            let hash = IdHash(u128::from(number) << 32);
            ids.insert(hash, AmplitudeId(number.into()));
            assert_eq!(ids.get(IdHash(1 << 32)), Some(AmplitudeId(1)), "{number}");
            assert_eq!(ids.peek(hash), Some(AmplitudeId(number.into())));
        }
        assert_eq!(ids.peek(IdHash(2 << 32)), None);
        assert_eq!(ids.lines.len(), LINES_MAX);
    }

    #[test]
    fn persons_with_numbers_that_do_not_fit_are_not_kept() {
        let mut ids = KnownIds::new();
        ids.insert(hash(1), AmplitudeId(NUMBER_MAX));
        assert_eq!(ids.get(hash(1)), Some(AmplitudeId(NUMBER_MAX)));
        ids.insert(hash(1), AmplitudeId(NUMBER_MAX + 1));
        assert_eq!(ids.get(hash(1)), None);
    }

    proptest! {
        /// Few enough that none falls out.
        #[test]
        fn ids_lead_where_they_were_made_to_lead(
            steps in prop::collection::vec((0u32..1_000, prop::option::of(1..=NUMBER_MAX)), 0..1_000),
        ) {
            let (mut ids, mut model) = (KnownIds::new(), HashMap::new());
            let mut fallen = 0;
            for (id, person) in steps {
                if let Some(number) = person {
                    ids.insert(hash(id), AmplitudeId(number));
                    model.insert(id, AmplitudeId(number));
                } else {
                    ids.remove(hash(id));
                    model.remove(&id);
                }
                prop_assert_eq!(ids.get(hash(id)), model.get(&id).copied());
            }
            let entries = ids.lines.iter().flatten().filter(|entry| **entry != 0).count();
            prop_assert_eq!(entries, ids.count);
            for (id, person) in &model {
                let found = ids.peek(hash(*id));
                fallen += usize::from(found.is_none());
                prop_assert_eq!(found.unwrap_or(*person), *person);
            }
            prop_assert!(fallen * 10 <= model.len(), "{} of {} fell out", fallen, model.len());
        }
    }
}
