//! Rate limits: fixed windows aligned to the clock, and the headers that tell of them.

use super::answer::Answer;
use super::endpoint::Bucket;
use crate::config::{RateProfile, Rates};
use crate::model::Moment;
use crate::sandbox::{Room, Shared};
use isthmus_core::Timestamp;
use std::collections::HashMap;
use std::sync::PoisonError;

const SECOND_MS: i64 = 1_000;
const BURST_MS: i64 = 3 * SECOND_MS;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Requests counted per bucket and window length.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    windows: HashMap<(Bucket, i64), Window>,
}

/// The latest window of one length: its number since the epoch, and requests in it.
#[derive(Debug, Default)]
struct Window {
    number: i64,
    used: u32,
}

/// A limit and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    limit: u32,
    remaining: u32,
    ends_at: Timestamp,
    exceeded: bool,
}

/// What the limits say to one request.
#[derive(Debug)]
pub(crate) struct Rate {
    profile: RateProfile,
    /// The one the headers tell of; `None` without limits.
    told: Option<Standing>,
    /// One that refuses the request.
    exceeded: Option<Standing>,
    now: Timestamp,
}

impl Meter {
    /// Counts one request against every limit, unless one of them is used up.
    fn take(&mut self, bucket: Bucket, limits: &[(u32, i64)], now: Timestamp) -> Vec<Standing> {
        let mut standings = Vec::with_capacity(limits.len());
        for (limit, length_ms) in limits {
            let number = now.as_millis().div_euclid(*length_ms);
            let window = self.windows.entry((bucket, *length_ms)).or_default();
            if window.number != number {
                *window = Window { number, used: 0 };
            }
            standings.push(Standing {
                limit: *limit,
                remaining: limit.saturating_sub(window.used),
                ends_at: Timestamp::from_millis(
                    number.saturating_add(1).saturating_mul(*length_ms),
                ),
                exceeded: window.used >= *limit,
            });
        }
        if standings.iter().all(|standing| !standing.exceeded) {
            for ((_, length_ms), standing) in limits.iter().zip(&mut standings) {
                standing.remaining -= 1;
                if let Some(window) = self.windows.get_mut(&(bucket, *length_ms)) {
                    window.used += 1;
                }
            }
        }
        standings
    }
}

/// The limits of a bucket; the headers tell of the first.
fn limits(rates: &Rates, bucket: Bucket) -> ([(u32, i64); 2], usize) {
    let burst = (rates.track_per_3s, BURST_MS);
    match bucket {
        Bucket::Track if rates.profile == RateProfile::Mau => {
            ([(rates.track_per_hour, HOUR_MS), burst], 2)
        }
        Bucket::Track => ([burst, burst], 1),
        Bucket::TrackBulk => ([(rates.track_bulk_per_second, SECOND_MS); 2], 1),
        Bucket::TrackSync => ([(rates.track_sync_per_minute, MINUTE_MS); 2], 1),
        Bucket::Identity => ([(rates.identity_per_minute, MINUTE_MS); 2], 1),
        Bucket::ExternalIdsRename | Bucket::ExternalIdsRemove => {
            ([(rates.external_ids_per_minute, MINUTE_MS); 2], 1)
        }
        Bucket::Export => ([(rates.export_per_minute, MINUTE_MS); 2], 1),
    }
}

impl Shared {
    /// Counts a request. Limits are per workspace, but per company for `/users/track` on MAU
    /// contracts.
    pub(super) fn take_rate(&self, room: &Room, bucket: Bucket, now: Moment) -> Rate {
        let rates = &self.rates();
        let profile = rates.profile;
        if profile == RateProfile::Off {
            return Rate { profile, told: None, exceeded: None, now: now.wall };
        }
        let by_company = bucket == Bucket::Track && profile == RateProfile::Mau;
        let meter = if by_company { &self.company } else { &room.meter };
        let (limits, count) = limits(rates, bucket);
        let limits = limits.get(..count).unwrap_or_default();
        let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
        let standings = meter.take(bucket, limits, now.wall);
        let exceeded = standings.iter().find(|standing| standing.exceeded).copied();
        Rate { profile, told: standings.first().copied(), exceeded, now: now.wall }
    }
}

impl Rate {
    pub(super) fn refused(&self) -> bool {
        self.exceeded.is_some()
    }

    /// Adds the headers that the contract's answers carry.
    pub(super) fn write_headers(&self, answer: &mut Answer) {
        let whole_seconds_until = |at: Timestamp| {
            let ms = u64::try_from(at.since(self.now).as_millis()).unwrap_or(u64::MAX);
            ms.div_ceil(1_000)
        };
        if let Some(exceeded) = self.exceeded
            && self.profile == RateProfile::Mau
        {
            answer.header("x-ratelimit-retry-after", whole_seconds_until(exceeded.ends_at));
            return;
        }
        let Some(told) = self.exceeded.or(self.told) else { return };
        answer.header("x-ratelimit-limit", u64::from(told.limit));
        answer.header("x-ratelimit-remaining", u64::from(told.remaining));
        let reset = match self.profile {
            RateProfile::Mau => whole_seconds_until(told.ends_at),
            _ => u64::try_from(told.ends_at.as_millis().div_euclid(1_000)).unwrap_or(0),
        };
        answer.header("x-ratelimit-reset", reset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_fixed_and_aligned_to_the_clock() {
        let mut meter = Meter::default();
        let mut remaining = |ms| {
            let standings = meter.take(Bucket::Track, &[(2, BURST_MS)], Timestamp::from_millis(ms));
            let standing = standings[0];
            (standing.remaining, standing.ends_at.as_millis(), standing.exceeded)
        };
        assert_eq!(remaining(2_900), (1, 3_000, false));
        assert_eq!(remaining(2_950), (0, 3_000, false));
        assert_eq!(remaining(2_999), (0, 3_000, true));
        assert_eq!(remaining(3_000), (1, 6_000, false));
    }

    #[test]
    fn a_refused_request_is_counted_nowhere() {
        let mut meter = Meter::default();
        let limits = [(10, HOUR_MS), (1, BURST_MS)];
        for _ in 0..5 {
            meter.take(Bucket::Track, &limits, Timestamp::from_millis(0));
        }
        let standings = meter.take(Bucket::Track, &limits, Timestamp::from_millis(0));
        assert_eq!(standings.iter().map(|s| s.remaining).collect::<Vec<_>>(), [9, 0]);
    }
}
