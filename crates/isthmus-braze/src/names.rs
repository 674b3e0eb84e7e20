//! A set of property names, each with a slot number, made to be asked for every member of every
//! event: most answers are "no", and cost a few instructions.

/// Names and their slots, in an open-addressed table at most half full.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    table: Vec<Option<(Box<str>, usize)>>,
    count: usize,
    /// A bit for each name, by its place in a table of 64: most other names miss them all.
    bits: u64,
}

impl Names {
    /// The slot of `name`, new or known. Slots count up from zero.
    pub(crate) fn insert(&mut self, name: &str) -> usize {
        if let Some(slot) = self.find(name) {
            return slot;
        }
        let slot = self.count;
        self.count += 1;
        if self.table.len() < self.count * 2 {
            let room = (self.count * 4).next_power_of_two();
            let old = std::mem::replace(&mut self.table, vec![None; room]);
            old.into_iter().flatten().for_each(|(name, slot)| self.place(name, slot));
        }
        self.place(name.into(), slot);
        slot
    }

    /// The slot of `name`, if it is in the set.
    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let spread = spread(name);
        if self.bits & bit(spread) == 0 {
            return None;
        }
        let mask = self.table.len().checked_sub(1)?;
        let mut at = spread & mask;
        loop {
            let (known, slot) = self.table.get(at)?.as_ref()?;
            if **known == *name {
                return Some(*slot);
            }
            at = (at + 1) & mask;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn place(&mut self, name: Box<str>, slot: usize) {
        let mask = self.table.len() - 1;
        let spread = spread(&name);
        self.bits |= bit(spread);
        let mut at = spread & mask;
        while self.table.get(at).is_some_and(Option::is_some) {
            at = (at + 1) & mask;
        }
        if let Some(free) = self.table.get_mut(at) {
            *free = Some((name, slot));
        }
    }
}

#[inline]
fn bit(spread: usize) -> u64 {
    1 << (spread >> 10 & 63)
}

/// Spreads names by their length and three of their bytes: enough for the names of one stream.
#[inline]
fn spread(name: &str) -> usize {
    let bytes = name.as_bytes();
    let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or_default());
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mixed = byte(0)
        ^ byte(bytes.len() / 2).rotate_left(8)
        ^ byte(bytes.len().wrapping_sub(1)).rotate_left(16)
        ^ length.rotate_left(24);
    let [.., high, higher] = mixed.wrapping_mul(0x9E37_79B9).to_le_bytes();
    usize::from(u16::from_le_bytes([high, higher]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn agrees_with_a_map(names in proptest::collection::vec(".{0,6}", 0..80), other: String) {
            let mut table = Names::default();
            let mut map = HashMap::new();
            for name in &names {
                let next = map.len();
                prop_assert_eq!(table.insert(name), *map.entry(name.as_str()).or_insert(next));
            }
            for name in names.iter().chain([&other]) {
                prop_assert_eq!(table.find(name), map.get(name.as_str()).copied());
            }
            prop_assert_eq!(table.len(), map.len());
        }
    }
}
