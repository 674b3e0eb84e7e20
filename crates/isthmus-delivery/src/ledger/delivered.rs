//! Which objects of a part of the log were delivered: about a byte for each.

use isthmus_core::Place;
use std::collections::{BTreeSet, HashMap};

/// Parts of an item that have a bit of their own; items have one or two.
const PARTS: u16 = 4;

/// A set of objects of one stream and its jobs.
#[derive(Debug, Clone, Default)]
pub struct Delivered {
    /// By the offset of the record: one bit for each part of each item.
    records: HashMap<u64, Vec<u64>>,
    others: BTreeSet<(Place, u16)>,
    count: usize,
}

impl Delivered {
    /// Adds an object.
    pub fn insert(&mut self, place: Place, part: u16) {
        let Some((word, bit)) = bit(place, part) else {
            self.count += usize::from(self.others.insert((place, part)));
            return;
        };
        let words = self.records.entry(place.offset).or_default();
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        if let Some(word) = words.get_mut(word) {
            self.count += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    /// Whether the object is among them.
    pub fn contains(&self, place: Place, part: u16) -> bool {
        match bit(place, part) {
            Some((word, bit)) => {
                let words = self.records.get(&place.offset);
                words.and_then(|words| words.get(word)).is_some_and(|word| word & bit != 0)
            }
            None => self.others.contains(&(place, part)),
        }
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The word of an object within its record, and its bit in there.
fn bit(place: Place, part: u16) -> Option<(usize, u64)> {
    if part >= PARTS {
        return None;
    }
    let number = u64::from(place.index) * u64::from(PARTS) + u64::from(part);
    Some((usize::try_from(number / 64).ok()?, 1 << (number % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_what_was_put_in_and_nothing_else(
            put in prop::collection::btree_set((0..4u64, 0..300u32, 0..7u16), 0..60),
            asked in prop::collection::vec((0..4u64, 0..300u32, 0..7u16), 0..60),
        ) {
            let mut delivered = Delivered::default();
            for _ in 0..2 {
                for (offset, index, part) in &put {
                    delivered.insert(Place { offset: *offset, index: *index }, *part);
                }
            }
            prop_assert_eq!(delivered.len(), put.len());
            for key in put.iter().chain(&asked) {
                let (offset, index, part) = *key;
                let is_in = delivered.contains(Place { offset, index }, part);
                prop_assert_eq!(is_in, put.contains(key));
            }
        }
    }
}
