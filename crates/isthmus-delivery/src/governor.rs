//! How many requests may start, and when: the vendor's rates, what it said about its budget, and
//! the waits it asked for. Pure: time is passed in, as a monotonic duration.
//!
//! One budget is shared by everything that the vendor counts together: a [`Budgets`] hands the same
//! one to every destination of an account. Less urgent work may use a part of it only, so that
//! what is urgent never waits for a window that the past has used up.
//!
//! Over any stretch of time as long as a rate's window, no more requests start than the rate
//! allows. A window is watched in `SLOTS` slots rather than request by request, so memory does
//! not grow with the rate; the price is that a request counts for one slot longer than it must
//! (under 1 % of the window).

use isthmus_core::destination::{Budget, Limits, Priority, Rate, Shares};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Slots per window.
const SLOTS: u32 = 128;
/// Longest wait that a vendor can impose with one reply: its longest window is an hour
/// (`braze-rest.md` 2.6), and a mistaken header must not stop a destination for good.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// The budgets that are in use, by account.
#[derive(Debug, Clone, Default)]
pub struct Budgets {
    by_account: Arc<Mutex<HashMap<String, Weak<Mutex<Governor>>>>>,
}

impl Budgets {
    /// The budget of `account`, which the vendor counts requests against. Where it is in use
    /// already, the stricter of both limits holds from now on.
    pub fn of(&self, account: &str, limits: &Limits) -> SharedGovernor {
        let mut budgets = self.by_account.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.retain(|_, budget| budget.strong_count() > 0);
        if let Some(governor) = budgets.get(account).and_then(Weak::upgrade) {
            let shared = SharedGovernor { governor };
            shared.lock().tighten(limits);
            return shared;
        }
        let shared = SharedGovernor::new(limits);
        budgets.insert(account.to_owned(), Arc::downgrade(&shared.governor));
        shared
    }
}

/// A budget that several destinations spend. Clones are the same budget.
#[derive(Debug, Clone)]
pub struct SharedGovernor {
    governor: Arc<Mutex<Governor>>,
}

impl SharedGovernor {
    /// A budget that nobody else spends.
    pub fn new(limits: &Limits) -> Self {
        Self { governor: Arc::new(Mutex::new(Governor::new(&limits.rates, limits.shares))) }
    }

    /// The budget, for one look or one change.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Governor> {
        self.governor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides when the next request may start.
#[derive(Debug, Clone)]
pub struct Governor {
    windows: Vec<Window>,
    shares: Shares,
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
    /// A governor that holds all of `rates`, and of each keeps `shares` for what is urgent.
    pub fn new(rates: &[Rate], shares: Shares) -> Self {
        let windows = rates.iter().copied().map(Window::new).collect();
        Self { windows, shares, paused_until: Duration::ZERO, allowance: None }
    }

    /// Holds the stricter of its own limits and of `limits` from now on.
    fn tighten(&mut self, limits: &Limits) {
        for rate in &limits.rates {
            match self.windows.iter_mut().find(|window| window.rate.per == rate.per) {
                Some(window) => window.rate.requests = window.rate.requests.min(rate.requests),
                None => self.windows.push(Window::new(*rate)),
            }
        }
        let (ours, theirs) = (&mut self.shares, limits.shares);
        ours.realtime_cohorts = ours.realtime_cohorts.min(theirs.realtime_cohorts);
        ours.scheduled_syncs = ours.scheduled_syncs.min(theirs.scheduled_syncs);
        ours.backfill = ours.backfill.min(theirs.backfill);
    }

    /// When the next request of `priority` may start; not after `now` means at once.
    pub fn free_at(&mut self, now: Duration, priority: Priority) -> Duration {
        let mut at = self.paused_until;
        if let Some(allowance) = self.allowance {
            if allowance.until <= now {
                self.allowance = None;
            } else if allowance.left == 0 {
                at = at.max(allowance.until);
            }
        }
        let share = self.shares.of(priority);
        self.windows.iter_mut().fold(at, |at, window| at.max(window.free_at(now, priority, share)))
    }

    /// Counts a request of `priority` that starts `now`, which [`Self::free_at`] allowed.
    pub fn spend(&mut self, now: Duration, priority: Priority) {
        if let Some(allowance) = &mut self.allowance {
            allowance.left = allowance.left.saturating_sub(1);
        }
        self.windows.iter_mut().for_each(|window| window.spend(now, priority));
    }

    /// Until when the vendor asked for no requests.
    pub fn paused_until(&self) -> Duration {
        self.paused_until
    }

    /// Of its rates, the one that allows the fewest requests in the long run, as requests and
    /// the time they are for.
    pub fn sustained(&self) -> Option<Rate> {
        let per_second = |rate: &Rate| f64::from(rate.requests) / rate.per.as_secs_f64();
        let rates = self
            .windows
            .iter()
            .map(|window| Rate { requests: window.limit(), per: window.rate.per });
        rates.min_by(|one, other| per_second(one).total_cmp(&per_second(other)))
    }

    /// Of the window with the least left: requests used, and how many it allows.
    pub fn used(&mut self, now: Duration) -> Option<(u32, u32)> {
        let used = |window: &mut Window| {
            window.forget(now);
            (window.total.iter().sum::<u32>(), window.limit())
        };
        let share = |(used, limit): &(u32, u32)| f64::from(*used) / f64::from(*limit);
        self.windows.iter_mut().map(used).max_by(|one, other| share(one).total_cmp(&share(other)))
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
    spent: VecDeque<(u64, ByPriority)>,
    total: ByPriority,
}

/// Requests by [`Priority`].
type ByPriority = [u32; Priority::ALL.len()];

/// Requests of `priority` and of everything less urgent.
fn from(priority: Priority, requests: &ByPriority) -> u32 {
    Priority::ALL
        .iter()
        .zip(requests)
        .filter(|(of, _)| **of >= priority)
        .map(|(_, requests)| requests)
        .sum()
}

impl Window {
    fn new(rate: Rate) -> Self {
        // Rounded up, so that the slots never cover less than the window.
        let slot = rate.per / SLOTS + Duration::from_nanos(1);
        Self { rate, learned: u32::MAX, slot, spent: VecDeque::new(), total: ByPriority::default() }
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

    /// Lets go of requests that do not count any more.
    fn forget(&mut self, now: Duration) {
        while let Some(&(number, counts)) = self.spent.front() {
            if self.end_of(number) > now {
                break;
            }
            self.spent.pop_front();
            for (total, count) in self.total.iter_mut().zip(counts) {
                *total -= count;
            }
        }
    }

    fn free_at(&mut self, now: Duration, priority: Priority, share: f64) -> Duration {
        self.forget(now);
        let limit = self.limit();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share from 0 to 1 of a u32 is a u32"
        )]
        let allowed = ((f64::from(limit) * share) as u32).max(1);
        // The most urgent shares its limit with all; what is less urgent, with what is still less.
        let all = self.free_below(limit, |counts| counts.iter().sum());
        all.max(self.free_below(allowed, |counts| from(priority, counts)))
    }

    /// When fewer than `limit` requests count, as `count` counts them.
    fn free_below(&self, limit: u32, count: impl Fn(&ByPriority) -> u32) -> Duration {
        let mut over = count(&self.total).saturating_add(1).saturating_sub(limit);
        let mut at = Duration::ZERO;
        for (number, counts) in &self.spent {
            if over == 0 {
                break;
            }
            let counted = count(counts);
            if counted > 0 {
                over = over.saturating_sub(counted);
                at = self.end_of(*number);
            }
        }
        at
    }

    fn spend(&mut self, now: Duration, priority: Priority) {
        let number = self.number_of(now);
        if self.spent.back().is_none_or(|(last, _)| *last != number) {
            self.spent.push_back((number, ByPriority::default()));
        }
        let slot = self.spent.back_mut().map(|(_, counts)| counts);
        for counts in slot.into_iter().chain([&mut self.total]) {
            for (of, count) in Priority::ALL.iter().zip(counts) {
                *count += u32::from(*of == priority);
            }
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
            now = now.max(governor.free_at(now, Priority::Triggers));
            if now >= end {
                return starts;
            }
            governor.spend(now, Priority::Triggers);
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
        let mut governor =
            Governor::new(&[Rate { requests: 300, per: seconds(3) }], Shares::default());
        let starts = drain(&mut governor, Duration::ZERO, seconds(300));
        let legal = 100 * 300;
        assert!(starts.len() * 100 >= legal * 98, "{} of {legal}", starts.len());
    }

    #[test]
    fn waits_as_long_as_the_vendor_asked() {
        let mut governor = Governor::new(&[], Shares::default());
        governor.pause_for(seconds(10), seconds(7));
        assert_eq!(governor.free_at(seconds(11), Priority::Triggers), seconds(17));
        governor.pause_for(seconds(10), seconds(1_000_000_000));
        assert_eq!(governor.free_at(seconds(11), Priority::Triggers), seconds(10) + WAIT_MAX);
        governor.resume();
        assert!(governor.free_at(seconds(11), Priority::Triggers) <= seconds(11));
    }

    #[test]
    fn stops_when_the_vendor_says_that_nothing_is_left() {
        let mut governor = Governor::new(&[], Shares::default());
        let said = |remaining| Budget {
            limit: None,
            remaining: Some(remaining),
            reset_after: Some(seconds(5)),
        };
        governor.learn(seconds(1), said(2));
        governor.spend(seconds(1), Priority::Triggers);
        // An older reply that arrives late does not give back what was spent since.
        governor.learn(seconds(1), said(9));
        governor.spend(seconds(1), Priority::Triggers);
        assert_eq!(governor.free_at(seconds(2), Priority::Triggers), seconds(6));
        assert!(governor.free_at(seconds(6), Priority::Triggers) <= seconds(6));
    }

    #[test]
    fn a_smaller_limit_is_learned_and_a_larger_one_undoes_it() {
        let rates = [
            Rate { requests: 100, per: seconds(3) },
            Rate { requests: 10_000, per: seconds(3_600) },
        ];
        let mut governor = Governor::new(&rates, Shares::default());
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

    #[test]
    fn the_past_never_uses_up_what_is_kept_for_what_is_urgent() {
        let mut governor =
            Governor::new(&[Rate { requests: 100, per: seconds(3) }], Shares::default());
        let mut spend_all = |priority| {
            let mut requests = 0;
            while governor.free_at(seconds(1), priority) <= seconds(1) {
                governor.spend(seconds(1), priority);
                requests += 1;
            }
            requests
        };
        assert_eq!(spend_all(Priority::Backfill), 80);
        assert_eq!(spend_all(Priority::ScheduledSyncs), 10, "90 with all that is less urgent");
        assert_eq!(spend_all(Priority::RealtimeCohorts), 0);
        assert_eq!(spend_all(Priority::Triggers), 10);
    }

    #[test]
    fn destinations_of_one_account_spend_one_budget() {
        let limits = |requests| Limits {
            objects_per_request: 75,
            objects_per_section: 75,
            calls: Vec::new(),
            bytes_per_object: isthmus_core::ByteSize::kib(100),
            bytes_per_request: isthmus_core::ByteSize::mib(3),
            requests_in_flight: 8,
            rates: vec![Rate { requests, per: seconds(3) }],
            linger: Duration::ZERO,
            shares: Shares::default(),
            paces: Vec::new(),
        };
        let budgets = Budgets::default();
        let one = budgets.of("workspace", &limits(10));
        let same = budgets.of("workspace", &limits(6));
        let other = budgets.of("elsewhere", &limits(10));
        one.lock().spend(seconds(1), Priority::Triggers);
        assert_eq!(drain(&mut same.lock(), seconds(1), seconds(2)).len(), 5, "the stricter limit");
        assert!(one.lock().free_at(seconds(1), Priority::Triggers) > seconds(2));
        assert_eq!(drain(&mut other.lock(), seconds(1), seconds(2)).len(), 10);
    }

    proptest! {
        #[test]
        fn never_exceeds_a_rate_in_any_window(
            requests in 1u32..20,
            per_millis in 1u64..5_000,
            waits in prop::collection::vec(0u64..2_000, 1..200),
        ) {
            let per = Duration::from_millis(per_millis);
            let mut governor = Governor::new(&[Rate { requests, per }], Shares::default());
            let (mut now, mut starts) = (Duration::ZERO, Vec::new());
            for wait in waits {
                now += Duration::from_millis(wait);
                if governor.free_at(now, Priority::Triggers) <= now {
                    governor.spend(now, Priority::Triggers);
                    starts.push(now);
                }
            }
            prop_assert!(most_in_any_window(&starts, per) <= requests as usize);
        }
    }
}
