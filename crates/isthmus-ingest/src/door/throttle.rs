//! Rates per user and per device, averaged over 30 seconds, and counts per day.
//!
//! Off unless a project asks for it. What was refused is not counted, so a client that waits gets
//! through. Memory is bounded: ids that stayed silent for a window are forgotten, and beyond a
//! fixed number of ids new ones are not counted.

use super::Endpoint;
use isthmus_amplitude::{Refusal, Throttle};
use isthmus_core::record::IntakeEvent;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The window over which a rate is averaged (Amplitude's batch API page, read 2026-03).
pub(super) const RATE_WINDOW: Duration = Duration::from_secs(30);
/// The window of the daily count; Amplitude evaluates it in steps of an hour, we continuously.
pub(super) const QUOTA_WINDOW: Duration = Duration::from_hours(24);
/// Ids counted at once, about 100 bytes each.
const IDS_MAX: usize = 500_000;

/// What one project allows each of its users and devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ceilings {
    http_api_per_second: Option<u32>,
    batch_per_second: Option<u32>,
    batch_per_day: Option<u32>,
    project_per_second: Option<u32>,
}

impl Ceilings {
    pub(super) fn of(throttle: &isthmus_config::resource::Throttle) -> Self {
        Self {
            http_api_per_second: throttle.events_per_second,
            batch_per_second: throttle.batch_events_per_second,
            batch_per_day: throttle.batch_events_per_day,
            project_per_second: throttle.project_events_per_second,
        }
    }

    /// Events per second and per day through `endpoint`.
    fn at(&self, endpoint: Endpoint) -> (Option<u32>, Option<u32>) {
        match endpoint {
            Endpoint::Batch => (self.batch_per_second, self.batch_per_day),
            Endpoint::HttpApi
            | Endpoint::Identify
            | Endpoint::GroupIdentify
            | Endpoint::UserMap => (self.http_api_per_second, None),
        }
    }
}

/// A user or device of one endpoint.
type Sender = (Endpoint, SenderKind, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum SenderKind {
    User,
    Device,
}

/// The counts of one project.
#[derive(Debug)]
pub(super) struct Throttles {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    project: Windows<Endpoint>,
    rate: Windows<Sender>,
    day: Windows<Sender>,
}

impl Default for Throttles {
    fn default() -> Self {
        let counts = Counts {
            project: Windows::new(RATE_WINDOW),
            rate: Windows::new(RATE_WINDOW),
            day: Windows::new(QUOTA_WINDOW),
        };
        Self { counts: Mutex::new(counts) }
    }
}

impl Throttles {
    /// Counts `events`, or refuses all of them when one of their senders is too fast.
    ///
    /// A sender who was silent for a window passes with any number: a batch that alone exceeds the
    /// ceiling could otherwise never be sent.
    pub(super) fn admit(
        &self,
        ceilings: &Ceilings,
        endpoint: Endpoint,
        events: &[IntakeEvent<'_>],
        now: Duration,
    ) -> Result<(), Refusal> {
        let (per_second, per_day) = ceilings.at(endpoint);
        let of_project = ceilings.project_per_second;
        if per_second.is_none() && per_day.is_none() && of_project.is_none() {
            return Ok(());
        }
        let mut senders: BTreeMap<(bool, &str), u64> = BTreeMap::new();
        for event in events {
            for (is_user, id) in [(true, event.user_id), (false, event.device_id)] {
                if let Some(id) = id {
                    *senders.entry((is_user, id)).or_default() += 1;
                }
            }
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(per_second) = of_project {
            counts.check_project(per_second, endpoint, events.len(), now)?;
        }
        let mut throttle = Throttle {
            eps_threshold: u64::from(per_second.unwrap_or_default()),
            ..Throttle::default()
        };
        for (&(is_user, id), &added) in &senders {
            let sender = sender(endpoint, is_user, id);
            let over = |windows: &Windows<Sender>, ceiling: Option<u64>| {
                let before = windows.count(&sender, now);
                let total = before + added;
                ceiling.filter(|&ceiling| before > 0 && total > ceiling).map(|_| total)
            };
            let seconds = RATE_WINDOW.as_secs();
            let rate = over(&counts.rate, per_second.map(|rate| u64::from(rate) * seconds));
            if let Some(total) = rate {
                let list = if is_user {
                    &mut throttle.throttled_users
                } else {
                    &mut throttle.throttled_devices
                };
                list.insert(id.to_owned(), total.div_ceil(seconds));
            }
            if let Some(total) = over(&counts.day, per_day.map(u64::from)) {
                let list = if is_user {
                    &mut throttle.exceeded_daily_quota_users
                } else {
                    &mut throttle.exceeded_daily_quota_devices
                };
                list.insert(id.to_owned(), total);
            }
        }
        let slow = |event: &IntakeEvent<'_>| {
            let user = event.user_id.unwrap_or_default();
            let device = event.device_id.unwrap_or_default();
            throttle.throttled_users.contains_key(user)
                || throttle.throttled_devices.contains_key(device)
                || throttle.exceeded_daily_quota_users.contains_key(user)
                || throttle.exceeded_daily_quota_devices.contains_key(device)
        };
        let throttled: Vec<usize> = events
            .iter()
            .enumerate()
            .filter(|(_, event)| slow(event))
            .map(|(index, _)| index)
            .collect();
        if !throttled.is_empty() {
            throttle.throttled_events = throttled;
            return Err(Refusal::Throttled(Box::new(throttle)));
        }
        if of_project.is_some() {
            counts.project.add(endpoint, events.len() as u64, now);
        }
        for ((is_user, id), added) in senders {
            if per_second.is_some() {
                counts.rate.add(sender(endpoint, is_user, id), added, now);
            }
            if per_day.is_some() {
                counts.day.add(sender(endpoint, is_user, id), added, now);
            }
        }
        Ok(())
    }
}

impl Counts {
    /// Names every one of `events` as throttled when the project as a whole is too fast.
    fn check_project(
        &self,
        per_second: u32,
        endpoint: Endpoint,
        events: usize,
        now: Duration,
    ) -> Result<(), Refusal> {
        let before = self.project.count(&endpoint, now);
        let ceiling = u64::from(per_second) * RATE_WINDOW.as_secs();
        if before == 0 || before + events as u64 <= ceiling {
            return Ok(());
        }
        let throttle = Throttle::whole_request(u64::from(per_second), events);
        Err(Refusal::Throttled(Box::new(throttle)))
    }
}

fn sender(endpoint: Endpoint, is_user: bool, id: &str) -> Sender {
    let kind = if is_user { SenderKind::User } else { SenderKind::Device };
    (endpoint, kind, id.to_owned())
}

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
            1 => return weigh(count.present, self.window.saturating_sub(passed), self.window),
            _ => return 0,
        };
        count.present + weigh(before, self.window.saturating_sub(passed), self.window)
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

    fn events_of(user: &'static str, count: usize) -> Vec<IntakeEvent<'static>> {
        let event = IntakeEvent {
            event_type: "Viewed",
            user_id: Some(user),
            device_id: Some("device-1"),
            ..IntakeEvent::default()
        };
        vec![event; count]
    }

    #[test]
    fn a_user_above_the_rate_is_named_with_every_event_and_let_in_again_later() {
        let throttles = Throttles::default();
        let ceilings = Ceilings { http_api_per_second: Some(30), ..Ceilings::default() };
        let admit = |events: &[IntakeEvent<'_>], second| {
            throttles.admit(&ceilings, Endpoint::HttpApi, events, seconds(second))
        };
        for second in 0..29 {
            assert_eq!(admit(&events_of("ana", 31), second), Ok(()));
        }
        let Err(Refusal::Throttled(throttle)) = admit(&events_of("ana", 31), 29) else {
            panic!("930 events in 30 seconds are more than 30 a second");
        };
        assert_eq!(throttle.eps_threshold, 30);
        assert_eq!(throttle.throttled_events.len(), 31);
        assert_eq!(throttle.throttled_users.get("ana"), Some(&31));
        assert_eq!(throttle.throttled_devices.get("device-1"), Some(&31));
        assert_eq!(admit(&events_of("ana", 31), 60), Ok(()));
    }

    #[test]
    fn a_project_above_its_rate_has_every_event_named() {
        let throttles = Throttles::default();
        let ceilings = Ceilings { project_per_second: Some(10), ..Ceilings::default() };
        let admit = |user, second| {
            throttles.admit(&ceilings, Endpoint::HttpApi, &events_of(user, 100), seconds(second))
        };
        for user in ["ana", "bo", "cy"] {
            assert_eq!(admit(user, 1), Ok(()));
        }
        let Err(Refusal::Throttled(throttle)) = admit("dan", 2) else {
            panic!("400 events in 30 seconds are more than 10 a second");
        };
        assert_eq!(throttle.throttled_events, (0..100).collect::<Vec<_>>());
        assert_eq!(admit("dan", 60), Ok(()));
    }

    #[test]
    fn without_ceilings_nothing_is_counted() {
        let throttles = Throttles::default();
        let events = events_of("ana", 10_000);
        for _ in 0..10 {
            let none = Ceilings::default();
            assert_eq!(throttles.admit(&none, Endpoint::Batch, &events, seconds(1)), Ok(()));
        }
        assert!(throttles.counts.lock().unwrap().rate.counts.is_empty());
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
