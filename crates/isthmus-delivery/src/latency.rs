//! How long objects took from being accepted to being acknowledged, over the last minute.

use std::collections::VecDeque;
use std::time::Duration;

/// Time covered by one slice of the window.
const SLICE: Duration = Duration::from_secs(10);
/// Slices in the window.
const SLICES: u64 = 6;
/// Values below this many milliseconds have a bucket each.
const EXACT_MILLIS: u64 = 32;
/// Buckets per doubling above that, which bounds the error to a thirty-second of the value.
const BUCKETS_PER_DOUBLING: usize = 32;
/// Doublings above the exact buckets; longer latencies (34 years) count as the longest one.
const DOUBLINGS: usize = 35;
const BUCKETS: usize = 32 + DOUBLINGS * BUCKETS_PER_DOUBLING;

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
    pub(crate) fn record(&mut self, now: Duration, latency: Duration) {
        let slice = slice_of(now);
        self.forget_before(slice);
        if self.slices.back().is_none_or(|(last, _)| *last < slice) {
            self.slices.push_back((slice, Histogram::default()));
        }
        let bucket = bucket_of(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
        if let Some((_, histogram)) = self.slices.back_mut() {
            histogram.add(bucket);
            self.total.add(bucket);
        }
    }

    /// The percentiles of the window that ends `now`.
    pub(crate) fn summary(&mut self, now: Duration) -> Latency {
        self.forget_before(slice_of(now));
        Latency {
            count: self.total.count,
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

#[derive(Debug, Default)]
struct Histogram {
    count: u64,
    /// Empty until the first value.
    buckets: Vec<u64>,
}

impl Histogram {
    fn add(&mut self, bucket: usize) {
        self.buckets.resize(BUCKETS, 0);
        if let Some(slot) = self.buckets.get_mut(bucket) {
            *slot += 1;
            self.count += 1;
        }
    }

    fn subtract(&mut self, other: &Self) {
        for (slot, gone) in self.buckets.iter_mut().zip(&other.buckets) {
            *slot -= gone;
        }
        self.count -= other.count;
    }

    fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return Duration::from_millis(highest_in(bucket));
            }
        }
        Duration::ZERO
    }
}

fn bucket_of(millis: u64) -> usize {
    if millis < EXACT_MILLIS {
        return usize::try_from(millis).unwrap_or(0);
    }
    let shift = millis.ilog2() - EXACT_MILLIS.ilog2();
    let within = usize::try_from((millis >> shift) - EXACT_MILLIS).unwrap_or(0);
    let bucket = 32 + usize::try_from(shift).unwrap_or(0) * BUCKETS_PER_DOUBLING + within;
    bucket.min(BUCKETS - 1)
}

/// The highest value in milliseconds that falls into `bucket`.
fn highest_in(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let Some(beyond) = bucket.checked_sub(32) else { return bucket };
    let per_doubling = EXACT_MILLIS;
    let (shift, within) = (beyond / per_doubling, beyond % per_doubling);
    ((EXACT_MILLIS + within + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_of_a_hundred_values_are_the_values_themselves() {
        let mut recent = RecentLatency::default();
        for millis in 1..=25 {
            recent.record(Duration::ZERO, Duration::from_millis(millis));
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
        recent.record(Duration::from_secs(5), Duration::from_secs(9));
        recent.record(Duration::from_secs(55), Duration::from_millis(3));
        assert_eq!(recent.summary(Duration::from_secs(59)).count, 2);
        let later = recent.summary(Duration::from_mins(1));
        assert_eq!((later.count, later.p99), (1, Duration::from_millis(3)));
        assert_eq!(recent.summary(Duration::from_secs(500)), Latency::default());
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_thirty_second_too_high(millis in 0u64..(1 << 39)) {
            let highest = highest_in(bucket_of(millis));
            prop_assert!(highest >= millis);
            prop_assert!(highest - millis <= millis / 32);
        }

        #[test]
        fn any_latency_has_a_bucket(millis: u64) {
            prop_assert!(bucket_of(millis) < BUCKETS);
        }
    }
}
