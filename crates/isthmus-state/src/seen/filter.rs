//! A Bloom filter over keys that are hashes already, which grows by whole blocks of memory.

/// Keys per block. 16 bits a key and one cache line a key: about one in a thousand of the keys that
/// are not there is taken for one that may be.
const KEYS_PER_BLOCK: usize = 4 << 20;
/// 64-byte lines per block: 8 MiB.
const LINES: usize = KEYS_PER_BLOCK * 16 / 512;
/// Blocks at most: 16 MiB, and 8 million keys. Each costs every search a miss of the cache, and the
/// tables of so many keys are merged in seconds.
const BLOCKS_MAX: usize = 2;
/// Bits set per key.
const BITS: u32 = 6;

/// The filter; empty it takes no memory.
#[derive(Debug, Default)]
pub(super) struct Filter {
    blocks: Vec<Vec<[u64; 8]>>,
    /// Keys in the last block.
    in_last: usize,
}

impl Filter {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Whether no key should be added.
    pub(super) fn is_full(&self) -> bool {
        self.blocks.len() == BLOCKS_MAX && self.in_last >= KEYS_PER_BLOCK
    }

    pub(super) fn insert(&mut self, key: [u8; 16]) {
        let room = self.in_last < KEYS_PER_BLOCK || self.blocks.len() == BLOCKS_MAX;
        if self.blocks.is_empty() || !room {
            self.blocks.push(vec![[0; 8]; LINES]);
            self.in_last = 0;
        }
        self.in_last += 1;
        let (line, bits) = places(key);
        if let Some(line) = self.blocks.last_mut().and_then(|block| block.get_mut(line)) {
            for (word, bit) in bits {
                if let Some(word) = line.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// False when `key` was certainly not added.
    pub(super) fn may_hold(&self, key: [u8; 16]) -> bool {
        let (line, bits) = places(key);
        self.blocks.iter().any(|block| {
            block.get(line).is_some_and(|line| {
                bits.into_iter().all(|(word, bit)| line.get(word).is_some_and(|w| w & bit != 0))
            })
        })
    }
}

impl Extend<[u8; 16]> for Filter {
    fn extend<T: IntoIterator<Item = [u8; 16]>>(&mut self, keys: T) {
        for key in keys {
            self.insert(key);
        }
    }
}

/// The line of a key and, as word and bit, its bits in there.
fn places(key: [u8; 16]) -> (usize, [(usize, u64); BITS as usize]) {
    let whole = u128::from_be_bytes(key);
    #[expect(clippy::cast_possible_truncation, reason = "two halves of a hash")]
    let (high, low) = ((whole >> 64) as u64, whole as u64);
    let line = usize::try_from(high % LINES as u64).unwrap_or_default();
    let bits = std::array::from_fn(|index| {
        let nine = low >> (9 * index) & 511;
        (usize::try_from(nine >> 6).unwrap_or_default(), 1 << (nine & 63))
    });
    (line, bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::seam::{Random, SeededRandom};

    #[test]
    fn nothing_added_is_missed_and_little_else_is_found() {
        let random = SeededRandom::new(1);
        let key = || {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&random.next_u64().to_be_bytes());
            key[8..].copy_from_slice(&random.next_u64().to_be_bytes());
            key
        };
        let added: Vec<_> = (0..200_000).map(|_| key()).collect();
        let mut filter = Filter::new();
        assert!(!filter.may_hold(added[0]));
        filter.extend(added.iter().copied());
        assert!(added.iter().all(|key| filter.may_hold(*key)));
        let found = (0..100_000).filter(|_| filter.may_hold(key())).count();
        assert!(found < 100, "{found} of 100,000");
    }
}
