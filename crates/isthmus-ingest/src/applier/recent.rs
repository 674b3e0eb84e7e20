//! A map that remembers what was used lately.

use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::hash::Hash;

/// Two generations of entries: what was used since the last turn, and what was used before it.
///
/// Keys are numbers that nobody outside chooses: hashing them costs next to nothing.
///
/// Entries leave only in [`Recent::turn`], so whoever holds changes that are not yet written
/// decides when that is safe. Memory is bounded by twice the capacity plus what one turn adds.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    capacity: usize,
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
}

impl<K: Eq + Hash + Copy, V> Recent<K, V> {
    /// A map whose generations hold about `capacity` entries each.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, young: FxHashMap::default(), old: FxHashMap::default() }
    }

    /// The entry of `key`, which counts as used.
    pub(super) fn get(&mut self, key: K) -> Option<&mut V> {
        match self.get_or_find(key, || Ok::<_, Infallible>(None)) {
            Ok(found) => found,
            Err(never) => match never {},
        }
    }

    /// The entry of `key`, without counting it as used.
    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// The entry of `key`, which counts as used; where there is none, what `find` finds.
    pub(super) fn get_or_find<E>(
        &mut self,
        key: K,
        find: impl FnOnce() -> Result<Option<V>, E>,
    ) -> Result<Option<&mut V>, E> {
        let vacant = match self.young.entry(key) {
            Entry::Occupied(found) => return Ok(Some(found.into_mut())),
            Entry::Vacant(vacant) => vacant,
        };
        let value = match self.old.remove(&key) {
            Some(value) => Some(value),
            None => find()?,
        };
        Ok(value.map(|value| vacant.insert(value)))
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Forgets the older generation when the younger one is full.
    pub(super) fn turn(&mut self) {
        if self.young.len() >= self.capacity {
            std::mem::swap(&mut self.old, &mut self.young);
            // Keeps its room.
            self.young.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_used_and_forgets_the_rest() {
        let mut recent = Recent::new(2);
        for number in 0..100u32 {
            recent.insert(number, number);
            assert_eq!(recent.get(0).copied(), Some(0));
            recent.turn();
        }
        assert!(recent.get(50).is_none());
        assert!(recent.young.len() + recent.old.len() <= 5);
    }
}
