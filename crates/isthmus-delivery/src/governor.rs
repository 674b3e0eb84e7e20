//! How many requests may start, and when: the vendor's rates, what it said about its budget, and
//! the waits it asked for. Pure: time is passed in, as a monotonic duration.
//!
//! Over any stretch of time as long as a rate's window, no more requests start than the rate
//! allows. A window is watched in `SLOTS` slots rather than request by request, so memory does
//! not grow with the rate; the price is that a request counts for one slot longer than it must
//! (under 1 % of the window).

use isthmus_core::destination::{Budget, Rate};
use std::collections::VecDeque;
use std::time::Duration;

/// Slots per window.
const SLOTS: u32 = 128;
/// Longest wait that a vendor can impose with one reply: its longest window is an hour
/// (`braze-rest.md` 2.6), and a mistaken header must not stop a destination for good.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// Decides when the next request may start.
#[derive(Debug, Clone)]
pub struct Governor {
    windows: Vec<Window>,
    /// No request starts before this.
    paused_until: Duration,
    allowance: Option<Allowance>,
}

/// What the vendor said is left of its present window.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: u64,
    until: Duration,
}

impl Governor {
    /// A governor that holds all of `rates`.
    pub fn new(rates: &[Rate]) -> Self {
        let windows = rates.iter().copied().map(Window::new).collect();
        Self { windows, paused_until: Duration::ZERO, allowance: None }
    }

    /// When the next request may start; not after `now` means at once.
    pub fn free_at(&mut self, now: Duration) -> Duration {
        let mut at = self.paused_until;
        if let Some(allowance) = self.allowance {
            if allowance.until <= now {
                self.allowance = None;
            } else if allowance.left == 0 {
                at = at.max(allowance.until);
            }
        }
        self.windows.iter_mut().fold(at, |at, window| at.max(window.free_at(now)))
    }

    /// Counts a request that starts `now`, which [`Self::free_at`] allowed.
    pub fn spend(&mut self, now: Duration) {
        if let Some(allowance) = &mut self.allowance {
            allowance.left = allowance.left.saturating_sub(1);
        }
        self.windows.iter_mut().for_each(|window| window.spend(now));
    }

    /// The vendor asked for no requests for `wait`; one hour at most is granted.
    pub fn pause_for(&mut self, now: Duration, wait: Duration) {
        self.paused_until = self.paused_until.max(now + wait.min(WAIT_MAX));
    }

    /// The operator says that waiting is over.
    pub fn resume(&mut self) {
        self.paused_until = Duration::ZERO;
        self.allowance = None;
    }

    /// Takes in what a reply said about the vendor's window.
    pub fn learn(&mut self, now: Duration, budget: Budget) {
        if let (Some(left), Some(reset_after)) = (budget.remaining, budget.reset_after) {
            let until = now + reset_after.min(WAIT_MAX);
            // Replies arrive out of order: within one window the smaller number is the newer one.
            let left = match self.allowance {
                Some(known) if now < known.until => left.min(known.left),
                _ => left,
            };
            self.allowance = Some(Allowance { left, until });
        }
        if let Some(limit) = budget.limit {
            // The vendor does not say how long its window is, only how much of it is left: it is
            // taken to be the shortest of ours that is no shorter than that.
            let at_least = budget.reset_after.unwrap_or(Duration::ZERO);
            let window = self
                .windows
                .iter_mut()
                .filter(|window| window.rate.per >= at_least)
                .min_by_key(|window| window.rate.per);
            if let Some(window) = window {
                window.learned = u32::try_from(limit.max(1)).unwrap_or(u32::MAX);
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Window {
    rate: Rate,
    /// The limit that the vendor last told; only a smaller one than ours counts.
    learned: u32,
    slot: Duration,
    /// Slot number and requests started in it, oldest first.
    spent: VecDeque<(u64, u32)>,
    total: u32,
}

impl Window {
    fn new(rate: Rate) -> Self {
        // Rounded up, so that the slots never cover less than the window.
        let slot = rate.per / SLOTS + Duration::from_nanos(1);
        Self { rate, learned: u32::MAX, slot, spent: VecDeque::new(), total: 0 }
    }

    fn limit(&self) -> u32 {
        self.rate.requests.min(self.learned).max(1)
    }

    fn number_of(&self, at: Duration) -> u64 {
        u64::try_from(at.as_nanos() / self.slot.as_nanos()).unwrap_or(u64::MAX)
    }

    /// When requests that started in slot `number` stop counting.
    fn end_of(&self, number: u64) -> Duration {
        let slots = number.saturating_add(u64::from(SLOTS) + 1);
        let nanos = self.slot.as_nanos().saturating_mul(u128::from(slots));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn free_at(&mut self, now: Duration) -> Duration {
        while let Some(&(number, count)) = self.spent.front() {
            if self.end_of(number) > now {
                break;
            }
            self.spent.pop_front();
            self.total -= count;
        }
        let mut over = self.total.saturating_add(1).saturating_sub(self.limit());
        let mut at = Duration::ZERO;
        for &(number, count) in &self.spent {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(count);
            at = self.end_of(number);
        }
        at
    }

    fn spend(&mut self, now: Duration) {
        let number = self.number_of(now);
        self.total += 1;
        match self.spent.back_mut() {
            Some((last, count)) if *last == number => *count += 1,
            _ => self.spent.push_back((number, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Starts requests as fast as `governor` allows until `end`; returns when each started.
    fn drain(governor: &mut Governor, mut now: Duration, end: Duration) -> Vec<Duration> {
        let mut starts = Vec::new();
        loop {
            now = now.max(governor.free_at(now));
            if now >= end {
                return starts;
            }
            governor.spend(now);
            starts.push(now);
        }
    }

    fn most_in_any_window(starts: &[Duration], per: Duration) -> usize {
        let within = |&first: &Duration| {
            starts.iter().filter(|&&start| start >= first && start < first + per).count()
        };
        starts.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn uses_nearly_all_of_the_legal_rate() {
        let mut governor = Governor::new(&[Rate { requests: 300, per: seconds(3) }]);
        let starts = drain(&mut governor, Duration::ZERO, seconds(300));
        let legal = 100 * 300;
        assert!(starts.len() * 100 >= legal * 98, "{} of {legal}", starts.len());
    }

    #[test]
    fn waits_as_long_as_the_vendor_asked() {
        let mut governor = Governor::new(&[]);
        governor.pause_for(seconds(10), seconds(7));
        assert_eq!(governor.free_at(seconds(11)), seconds(17));
        governor.pause_for(seconds(10), seconds(1_000_000_000));
        assert_eq!(governor.free_at(seconds(11)), seconds(10) + WAIT_MAX);
        governor.resume();
        assert!(governor.free_at(seconds(11)) <= seconds(11));
    }

    #[test]
    fn stops_when_the_vendor_says_that_nothing_is_left() {
        let mut governor = Governor::new(&[]);
        let said = |remaining| Budget {
            limit: None,
            remaining: Some(remaining),
            reset_after: Some(seconds(5)),
        };
        governor.learn(seconds(1), said(2));
        governor.spend(seconds(1));
        // An older reply that arrives late does not give back what was spent since.
        governor.learn(seconds(1), said(9));
        governor.spend(seconds(1));
        assert_eq!(governor.free_at(seconds(2)), seconds(6));
        assert!(governor.free_at(seconds(6)) <= seconds(6));
    }

    #[test]
    fn a_smaller_limit_is_learned_and_a_larger_one_undoes_it() {
        let rates = [
            Rate { requests: 100, per: seconds(3) },
            Rate { requests: 10_000, per: seconds(3_600) },
        ];
        let mut governor = Governor::new(&rates);
        let said = |limit, reset| Budget {
            limit: Some(limit),
            remaining: None,
            reset_after: Some(seconds(reset)),
        };
        governor.learn(Duration::ZERO, said(10, 2));
        assert_eq!(drain(&mut governor, Duration::ZERO, seconds(3)).len(), 10);
        governor.learn(seconds(10), said(250_000, 1_800));
        assert_eq!(drain(&mut governor, seconds(10), seconds(13)).len(), 10);
        governor.learn(seconds(20), said(3_000, 2));
        assert_eq!(drain(&mut governor, seconds(20), seconds(23)).len(), 100);
    }

    proptest! {
        #[test]
        fn never_exceeds_a_rate_in_any_window(
            requests in 1u32..20,
            per_millis in 1u64..5_000,
            waits in prop::collection::vec(0u64..2_000, 1..200),
        ) {
            let per = Duration::from_millis(per_millis);
            let mut governor = Governor::new(&[Rate { requests, per }]);
            let (mut now, mut starts) = (Duration::ZERO, Vec::new());
            for wait in waits {
                now += Duration::from_millis(wait);
                if governor.free_at(now) <= now {
                    governor.spend(now);
                    starts.push(now);
                }
            }
            prop_assert!(most_in_any_window(&starts, per) <= requests as usize);
        }
    }
}
