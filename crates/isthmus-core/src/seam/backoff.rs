//! How long to wait before trying again. Pure: the random number comes from outside.

use std::time::Duration;

/// Exponential back-off with full jitter: a wait is drawn evenly from zero to a ceiling that
/// doubles with every attempt, up to a cap ("Exponential Backoff And Jitter", AWS, 2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the first wait.
    pub first: Duration,
    /// Ceiling that no later wait exceeds.
    pub cap: Duration,
}

impl Backoff {
    /// The wait after failed attempt number `attempt` (the first attempt is 1), for the random
    /// number `random`.
    pub fn wait(&self, attempt: u32, random: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let ceiling = self.first.saturating_mul(1 << doublings).min(self.cap);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random.checked_rem(nanos.saturating_add(1)).unwrap_or(random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_waits_longer_than_the_cap(attempt: u32, random: u64) {
            let backoff =
                Backoff { first: Duration::from_millis(100), cap: Duration::from_mins(1) };
            let wait = backoff.wait(attempt, random);
            prop_assert!(wait <= backoff.cap);
            if attempt <= 1 {
                prop_assert!(wait <= backoff.first);
            }
        }
    }
}
