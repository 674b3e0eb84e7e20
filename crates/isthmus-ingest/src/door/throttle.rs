//! Rates per user and per device, averaged over 30 seconds, and counts per day.
//!
//! Off unless a project asks for it. What was refused is not counted, so a client that waits gets
//! through. Memory is bounded: ids that stayed silent for a window are forgotten, and beyond a
//! fixed number of ids new ones are not counted.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// The window over which a rate is averaged (Amplitude's batch API page, read 2026-03).
pub(super) const RATE_WINDOW: Duration = Duration::from_secs(30);
/// The window of the daily count; Amplitude evaluates it in steps of an hour, we continuously.
pub(super) const QUOTA_WINDOW: Duration = Duration::from_secs(86_400);
/// Ids counted at once, about 100 bytes each.
const IDS_MAX: usize = 500_000;

/// Events per id over a sliding window, approximated from two fixed ones: the present one counts
/// whole, the one before it by the share of it that the sliding window still covers.
#[derive(Debug)]
pub(super) struct Windows<K> {
    window: Duration,
    counts: HashMap<K, Count>,
    swept_at: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// Number of the fixed window that `present` counts.
    number: u64,
    present: u64,
    before: u64,
}

impl<K: Eq + Hash> Windows<K> {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, counts: HashMap::new(), swept_at: Duration::ZERO }
    }

    /// Events of `id` in the window that ends `now`, on the monotonic clock.
    pub(super) fn count(&self, id: &K, now: Duration) -> u64 {
        let Some(count) = self.counts.get(id) else { return 0 };
        let (number, passed) = self.position(now);
        let before = match number.saturating_sub(count.number) {
            0 => count.before,
            1 => return weigh(count.present, self.window - passed, self.window),
            _ => return 0,
        };
        count.present + weigh(before, self.window - passed, self.window)
    }

    /// Adds `events` of `id`.
    pub(super) fn add(&mut self, id: K, events: u64, now: Duration) {
        self.sweep(now);
        if self.counts.len() >= IDS_MAX && !self.counts.contains_key(&id) {
            return;
        }
        let (number, _) = self.position(now);
        let count = self.counts.entry(id).or_default();
        match number.saturating_sub(count.number) {
            0 => {}
            1 => *count = Count { number, present: 0, before: count.present },
            _ => *count = Count { number, ..Count::default() },
        }
        count.present += events;
    }

    fn position(&self, now: Duration) -> (u64, Duration) {
        let (now, window) = (now.as_nanos(), self.window.as_nanos());
        let passed = u64::try_from(now % window).unwrap_or(0);
        (u64::try_from(now / window).unwrap_or(u64::MAX), Duration::from_nanos(passed))
    }

    fn sweep(&mut self, now: Duration) {
        if now < self.swept_at + self.window {
            return;
        }
        self.swept_at = now;
        let (number, _) = self.position(now);
        self.counts.retain(|_, count| number.saturating_sub(count.number) <= 1);
    }
}

fn weigh(count: u64, part: Duration, whole: Duration) -> u64 {
    let share = u128::from(count) * part.as_nanos() / whole.as_nanos().max(1);
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn counts_slide_and_silent_ids_are_forgotten() {
        let mut windows = Windows::new(RATE_WINDOW);
        for second in 0..30 {
            windows.add("ana", 31, seconds(second));
        }
        assert_eq!(windows.count(&"ana", seconds(29)), 930);
        assert_eq!(windows.count(&"ana", seconds(45)), 465);
        assert_eq!(windows.count(&"ana", seconds(60)), 0);
        windows.add("bo", 1, seconds(100));
        assert_eq!(windows.counts.len(), 1);
    }

    proptest! {
        #[test]
        fn never_counts_more_than_came_within_two_windows(
            steps in proptest::collection::vec((0u64..20, 1u64..50), 1..50)
        ) {
            let mut windows = Windows::new(RATE_WINDOW);
            let (mut now, mut came) = (0, Vec::new());
            for (wait, events) in steps {
                now += wait;
                windows.add(7u8, events, seconds(now));
                came.push((now, events));
                let within = |span: u64| -> u64 {
                    came.iter().filter(|(at, _)| at + span > now).map(|(_, events)| events).sum()
                };
                let counted = windows.count(&7, seconds(now));
                prop_assert!(counted <= within(60));
                prop_assert!(counted >= events);
            }
        }
    }
}
