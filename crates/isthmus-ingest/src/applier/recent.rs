//! A map that remembers what was used lately.

use rustc_hash::FxHashMap;
use std::borrow::Borrow;
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

impl<K: Eq + Hash, V> Recent<K, V> {
    /// A map whose generations hold about `capacity` entries each.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, young: FxHashMap::default(), old: FxHashMap::default() }
    }

    /// The entry of `key`, which counts as used.
    pub(super) fn get<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.young.insert(key, value);
        }
        self.young.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(super) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Forgets the older generation when the younger one is full.
    pub(super) fn turn(&mut self) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
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
            assert_eq!(recent.get(&0).copied(), Some(0));
            recent.turn();
        }
        assert!(recent.get(&50).is_none());
        assert!(recent.young.len() + recent.old.len() <= 5);
    }
}
