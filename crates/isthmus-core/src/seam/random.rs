//! Randomness.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The only source of randomness. The server passes the operating system's, tests a seed.
pub trait Random: Send + Sync + fmt::Debug {
    /// Sixty-four random bits.
    fn next_u64(&self) -> u64;

    /// A number from zero to `bound - 1`; zero when `bound` is zero.
    fn below(&self, bound: u64) -> u64 {
        // The bias of a plain remainder is below 2^-32 for every bound used here.
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// A random (version 4) UUID.
    fn uuid(&self) -> uuid::Uuid {
        let (high, low) = (self.next_u64(), self.next_u64());
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
            .into_uuid()
    }
}

/// SplitMix64: the same seed gives the same numbers. Not for secrets.
#[derive(Debug)]
pub struct SeededRandom {
    state: AtomicU64,
}

impl SeededRandom {
    /// A generator that starts from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_numbers() {
        let draw = |seed| {
            let random = SeededRandom::new(seed);
            (random.next_u64(), random.next_u64(), random.uuid())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(draw(7).2.get_version_num(), 4);
    }
}
