//! How long objects took from being accepted to being acknowledged, over the last minute.

use isthmus_core::{Bucket, Histogram};
use std::collections::VecDeque;
use std::time::Duration;

/// Time covered by one slice of the window.
const SLICE: Duration = Duration::from_secs(10);
/// Slices in the window.
const SLICES: u64 = 6;
/// Latency over the last minute. A percentile is at most 1/32 above the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// Objects acknowledged in the window.
    pub count: u64,
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
}

/// A sliding window of latencies.
#[derive(Debug, Default)]
pub(crate) struct RecentLatency {
    slices: VecDeque<(u64, Histogram)>,
    total: Histogram,
}

impl RecentLatency {
    /// Notes one latency, at `now` of the monotonic clock.
    pub(crate) fn record(&mut self, now: Duration, latency: Bucket) {
        let slice = slice_of(now);
        self.forget_before(slice);
        if self.slices.back().is_none_or(|(last, _)| *last < slice) {
            self.slices.push_back((slice, Histogram::default()));
        }
        if let Some((_, histogram)) = self.slices.back_mut() {
            histogram.record(latency);
            self.total.record(latency);
        }
    }

    /// The percentiles of the window that ends `now`.
    pub(crate) fn summary(&mut self, now: Duration) -> Latency {
        self.forget_before(slice_of(now));
        Latency {
            count: self.total.count(),
            p50: self.total.percentile(50),
            p95: self.total.percentile(95),
            p99: self.total.percentile(99),
        }
    }

    fn forget_before(&mut self, slice: u64) {
        while self.slices.front().is_some_and(|(first, _)| first + SLICES <= slice) {
            if let Some((_, old)) = self.slices.pop_front() {
                self.total.subtract(&old);
            }
        }
    }
}

fn slice_of(now: Duration) -> u64 {
    now.as_secs() / SLICE.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred_values_are_the_values_themselves() {
        let mut recent = RecentLatency::default();
        for millis in 1..=25 {
            recent.record(Duration::ZERO, Bucket::of(Duration::from_millis(millis)));
        }
        let summary = recent.summary(Duration::from_secs(30));
        assert_eq!(summary.count, 25);
        assert_eq!(summary.p50, Duration::from_millis(13));
        assert_eq!(summary.p95, Duration::from_millis(24));
        assert_eq!(summary.p99, Duration::from_millis(25));
    }

    #[test]
    fn latencies_older_than_a_minute_are_forgotten() {
        let mut recent = RecentLatency::default();
        recent.record(Duration::from_secs(5), Bucket::of(Duration::from_secs(9)));
        recent.record(Duration::from_secs(55), Bucket::of(Duration::from_millis(3)));
        assert_eq!(recent.summary(Duration::from_secs(59)).count, 2);
        let later = recent.summary(Duration::from_mins(1));
        assert_eq!((later.count, later.p99), (1, Duration::from_millis(3)));
        assert_eq!(recent.summary(Duration::from_secs(500)), Latency::default());
    }
}
