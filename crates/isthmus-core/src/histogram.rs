//! How often durations of each length occurred, so that percentiles can be told and histograms of
//! different times and places can be added up. Pure.

use std::time::Duration;

/// Values below this many milliseconds have a bucket each.
const EXACT_MILLIS: u64 = 32;
/// Buckets per doubling above that, which bounds the error to a thirty-second of the value.
const BUCKETS_PER_DOUBLING: usize = 32;
/// Doublings above the exact buckets; longer durations (34 years) count as the longest one.
const DOUBLINGS: usize = 35;
const BUCKETS: usize = 32 + DOUBLINGS * BUCKETS_PER_DOUBLING;

/// Counts of durations in buckets that grow with the duration.
///
/// Which durations share a bucket is part of stored formats: it never changes.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    count: u64,
    /// Empty until the first value.
    buckets: Vec<u64>,
}

/// The bucket that a duration falls into, worked out once for all histograms that count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket(usize);

impl Bucket {
    /// The bucket of `duration`.
    pub fn of(duration: Duration) -> Self {
        let millis = duration.as_secs().saturating_mul(1_000);
        Self(bucket_of(millis.saturating_add(duration.subsec_millis().into())))
    }
}

/// What was counted; a bucket without a count is the same as none.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.buckets().eq(other.buckets())
    }
}

impl Eq for Histogram {}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Bucket) {
        self.add(duration.0, 1);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.buckets() {
            self.add(bucket.into(), count);
        }
    }

    /// Takes away what `other` counted, which was added before.
    pub fn subtract(&mut self, other: &Self) {
        for (slot, gone) in self.buckets.iter_mut().zip(&other.buckets) {
            *slot -= gone;
        }
        self.count -= other.count;
    }

    /// The duration that `percent` of all are no longer than, at most 1/32 above the true one;
    /// zero when none was counted.
    pub fn percentile(&self, percent: u64) -> Duration {
        let rank = u128::from(self.count) * u128::from(percent);
        let rank = u64::try_from(rank.div_ceil(100)).unwrap_or(u64::MAX);
        let mut seen = 0u64;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank && seen > 0 {
                return Duration::from_millis(highest_in(bucket));
            }
        }
        Duration::ZERO
    }

    /// The buckets that hold anything, each with its number and its count, in ascending order.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> {
        (0u16..).zip(self.buckets.iter().copied()).filter(|(_, count)| *count > 0)
    }

    /// The histogram of these buckets; a number that no bucket has counts as the longest.
    pub fn from_buckets(buckets: impl IntoIterator<Item = (u16, u64)>) -> Self {
        let mut histogram = Self::default();
        for (bucket, count) in buckets {
            histogram.add(bucket.into(), count);
        }
        histogram
    }

    fn add(&mut self, bucket: usize, count: u64) {
        if self.buckets.is_empty() {
            self.buckets.resize(BUCKETS, 0);
        }
        if let Some(slot) = self.buckets.get_mut(bucket.min(BUCKETS - 1)) {
            *slot = slot.saturating_add(count);
            self.count = self.count.saturating_add(count);
        }
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

    fn of(millis: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for millis in millis {
            histogram.record(Bucket::of(Duration::from_millis(millis)));
        }
        histogram
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(95), Duration::ZERO);
    }

    #[test]
    fn short_durations_are_told_exactly() {
        let histogram = of(1..=25);
        assert_eq!(histogram.percentile(50), Duration::from_millis(13));
        assert_eq!(histogram.percentile(95), Duration::from_millis(24));
        assert_eq!(histogram.percentile(100), Duration::from_millis(25));
    }

    #[test]
    fn what_was_merged_can_be_taken_away_again() {
        let (mut sum, one, other) = (of([]), of([3, 900]), of([3, 70_000]));
        sum.merge(&one);
        sum.merge(&other);
        assert_eq!(sum, of([3, 3, 900, 70_000]));
        sum.subtract(&one);
        assert_eq!(sum, other);
    }

    #[test]
    fn counts_that_no_number_can_hold_are_the_largest_one() {
        let mut most = Histogram::from_buckets([(3, u64::MAX)]);
        most.merge(&of([3]));
        assert_eq!((most.count(), most.percentile(95)), (u64::MAX, Duration::from_millis(3)));
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_thirty_second_too_high(millis in 0u64..(1 << 39)) {
            let highest = highest_in(bucket_of(millis));
            prop_assert!(highest >= millis);
            prop_assert!(highest - millis <= millis / 32);
        }

        #[test]
        fn any_duration_has_a_bucket(millis: u64) {
            prop_assert!(bucket_of(millis) < BUCKETS);
        }

        #[test]
        fn merged_percentiles_are_those_of_all_values_together(
            mut one in prop::collection::vec(0u64..10_000_000, 0..60),
            other in prop::collection::vec(0u64..10_000_000, 1..60),
            percent in 1u64..=100,
        ) {
            let mut sum = of(one.iter().copied());
            sum.merge(&of(other.iter().copied()));
            one.extend(other);
            one.sort_unstable();
            let rank = (one.len() * usize::try_from(percent).unwrap()).div_ceil(100);
            let exact = one[rank.max(1) - 1];
            let told = u64::try_from(sum.percentile(percent).as_millis()).unwrap();
            prop_assert!(told >= exact && told - exact <= exact / 32, "{told} for {exact}");
        }

        #[test]
        fn buckets_lead_back_to_the_histogram(millis in prop::collection::vec(0u64..1 << 45, 0..60)) {
            let histogram = of(millis);
            prop_assert_eq!(Histogram::from_buckets(histogram.buckets()), histogram);
        }
    }
}
