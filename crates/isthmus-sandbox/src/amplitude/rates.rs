//! How fast users and devices send: exact counts over sliding windows in steps of a second, counts
//! of the last 24 hours in steps of an hour, and the highest that was ever reached.
//!
//! What was refused is not counted, for nothing of it was taken.

use super::config::AmplitudeLimits;
use super::door::Endpoint;
use isthmus_amplitude::{Refusal, Throttle};
use isthmus_core::record::IntakeEvent;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

const HOUR_S: u64 = 3_600;
const DAY_HOURS: u64 = 24;
/// Users and devices whose counts are kept; beyond it those that were silent longest are forgotten.
const SENDERS_MAX: usize = 200_000;

/// Whether a sender is a user or a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AmplitudeSenderKind {
    User,
    Device,
}

/// How fast a user or device sent through one endpoint. Only events that were taken count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AmplitudeSender {
    pub endpoint: &'static str,
    pub kind: AmplitudeSenderKind,
    pub id: String,
    /// Most events in one second of the clock.
    pub peak_in_a_second: u64,
    /// Highest rate over the window of the limit, in events per second: what the limit is about.
    pub peak_per_second: f64,
    /// Events of the last 24 hours, in steps of an hour.
    pub last_day: u64,
    /// Most events of 24 hours.
    pub peak_in_a_day: u64,
}

/// The highest figures that were ever reached through one endpoint, by users or by devices; each is
/// the highest of its own, whoever reached it. Only events that were taken count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AmplitudePeak {
    pub endpoint: &'static str,
    pub kind: AmplitudeSenderKind,
    /// Highest rate over the window of the limit, in events per second: what the limit is about.
    pub peak_per_second: f64,
    /// Who had that rate first.
    pub fastest: String,
    /// Most events in one second of the clock.
    pub peak_in_a_second: u64,
    /// Most events of 24 hours.
    pub peak_in_a_day: u64,
}

/// The counts of one project.
#[derive(Debug)]
pub(super) struct Rates {
    senders: HashMap<(Endpoint, AmplitudeSenderKind, String), Counts>,
    projects: BTreeMap<Endpoint, Counts>,
    peaks: BTreeMap<(Endpoint, AmplitudeSenderKind), AmplitudePeak>,
    senders_max: usize,
    forgotten: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            senders: HashMap::new(),
            projects: BTreeMap::new(),
            peaks: BTreeMap::new(),
            senders_max: SENDERS_MAX,
            forgotten: 0,
        }
    }
}

/// Counts of one sender. Times are whole seconds and hours of the clock that measures.
#[derive(Debug, Clone, Default)]
struct Counts {
    seconds: VecDeque<(u64, u64)>,
    in_window: u64,
    hours: VecDeque<(u64, u64)>,
    in_day: u64,
    latest_second: u64,
    peak_in_a_second: u64,
    /// In events per second, over the window as it was then.
    peak_per_second: f64,
    peak_in_a_day: u64,
}

impl Counts {
    /// Lets go of what is outside of both windows at `second`.
    fn slide(&mut self, second: u64, window_s: u64) {
        while let Some((at, count)) = self.seconds.front().copied()
            && second - at.min(second) >= window_s
        {
            self.in_window -= count;
            self.seconds.pop_front();
        }
        let hour = second / HOUR_S;
        while let Some((at, count)) = self.hours.front().copied()
            && hour - at.min(hour) >= DAY_HOURS
        {
            self.in_day -= count;
            self.hours.pop_front();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate, for people to read")]
    fn add(&mut self, second: u64, events: u64, window_s: u64) {
        let in_this = bump(&mut self.seconds, second, events);
        bump(&mut self.hours, second / HOUR_S, events);
        self.in_window += events;
        self.in_day += events;
        self.latest_second = second;
        self.peak_in_a_second = self.peak_in_a_second.max(in_this);
        let rate = self.in_window as f64 / window_s as f64;
        self.peak_per_second = self.peak_per_second.max(rate);
        self.peak_in_a_day = self.peak_in_a_day.max(self.in_day);
    }
}

/// Adds to the latest count, which is of `at` or is followed by one that is; that count.
fn bump(counts: &mut VecDeque<(u64, u64)>, at: u64, events: u64) -> u64 {
    match counts.back_mut() {
        Some((latest, count)) if *latest == at => {
            *count += events;
            *count
        }
        _ => {
            counts.push_back((at, events));
            events
        }
    }
}

impl Rates {
    /// Counts `events`, or refuses all of them when one of their senders, or the project, is too
    /// fast with them.
    pub(super) fn admit(
        &mut self,
        endpoint: Endpoint,
        events: &[IntakeEvent<'_>],
        limits: &AmplitudeLimits,
        now: Duration,
    ) -> Result<(), Refusal> {
        let (second, window_s) = (now.as_secs(), window_s(limits));
        let project = self.projects.entry(endpoint).or_default();
        project.slide(second, window_s);
        let of_project = endpoint.per_second_of_project(limits);
        let total = project.in_window + events.len() as u64;
        if total > of_project.saturating_mul(window_s) {
            let throttle = Throttle::whole_request(of_project, events.len());
            return Err(Refusal::Throttled(Box::new(throttle)));
        }
        let (per_second, per_day) = endpoint.limits_of_sender(limits);
        let mut throttle = Throttle { eps_threshold: per_second, ..Throttle::default() };
        let senders = senders(events);
        for (&(kind, id), &added) in &senders {
            let key = (endpoint, kind, id.to_owned());
            let counts = self.senders.get_mut(&key).map(|counts| {
                counts.slide(second, window_s);
                (counts.in_window, counts.in_day)
            });
            let (in_window, in_day) = counts.unwrap_or_default();
            if in_window + added > per_second.saturating_mul(window_s) {
                let rate = (in_window + added).div_ceil(window_s);
                throttled(&mut throttle, kind).insert(id.to_owned(), rate);
            }
            if in_day + added > per_day {
                exceeded(&mut throttle, kind).insert(id.to_owned(), in_day + added);
            }
        }
        name_events(&mut throttle, events);
        if !throttle.throttled_events.is_empty() {
            return Err(Refusal::Throttled(Box::new(throttle)));
        }
        if let Some(project) = self.projects.get_mut(&endpoint) {
            project.add(second, events.len() as u64, window_s);
        }
        for ((kind, id), added) in senders {
            self.add((endpoint, kind, id.to_owned()), added, second, window_s);
        }
        Ok(())
    }

    fn add(
        &mut self,
        key: (Endpoint, AmplitudeSenderKind, String),
        added: u64,
        second: u64,
        window_s: u64,
    ) {
        if self.senders.len() >= self.senders_max && !self.senders.contains_key(&key) {
            self.forget();
        }
        let (endpoint, kind, id) = key;
        let counts = self.senders.entry((endpoint, kind, id.clone())).or_default();
        counts.add(second, added, window_s);
        let peak = self.peaks.entry((endpoint, kind)).or_insert_with(|| AmplitudePeak {
            endpoint: endpoint.path(),
            kind,
            peak_per_second: 0.0,
            fastest: String::new(),
            peak_in_a_second: 0,
            peak_in_a_day: 0,
        });
        if counts.peak_per_second > peak.peak_per_second {
            (peak.peak_per_second, peak.fastest) = (counts.peak_per_second, id);
        }
        peak.peak_in_a_second = peak.peak_in_a_second.max(counts.peak_in_a_second);
        peak.peak_in_a_day = peak.peak_in_a_day.max(counts.peak_in_a_day);
    }

    /// Forgets the half of the senders that was silent longest.
    fn forget(&mut self) {
        let mut latest: Vec<u64> =
            self.senders.values().map(|counts| counts.latest_second).collect();
        let before = latest.len();
        let mut surplus = before / 2;
        let (_, middle, _) = latest.select_nth_unstable(before / 2);
        let middle = *middle;
        self.senders.retain(|_, counts| {
            let goes = surplus > 0 && counts.latest_second <= middle;
            surplus -= usize::from(goes);
            !goes
        });
        self.forgotten += (before - self.senders.len()) as u64;
    }

    /// Those whose counts were forgotten.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The highest of every endpoint and kind, exact whatever was forgotten.
    pub(super) fn peaks(&self) -> impl Iterator<Item = &AmplitudePeak> {
        self.peaks.values()
    }

    /// Every sender that is known, the fastest first.
    pub(super) fn senders(&self, limits: &AmplitudeLimits, now: Duration) -> Vec<AmplitudeSender> {
        let (second, window_s) = (now.as_secs(), window_s(limits));
        let shown = self.senders.iter().map(|((endpoint, kind, id), counts)| {
            let mut counts = counts.clone();
            counts.slide(second, window_s);
            AmplitudeSender {
                endpoint: endpoint.path(),
                kind: *kind,
                id: id.clone(),
                peak_in_a_second: counts.peak_in_a_second,
                peak_per_second: counts.peak_per_second,
                last_day: counts.in_day,
                peak_in_a_day: counts.peak_in_a_day,
            }
        });
        let mut shown: Vec<AmplitudeSender> = shown.collect();
        shown.sort_by(|left, right| {
            let by_rate = right.peak_per_second.total_cmp(&left.peak_per_second);
            by_rate.then_with(|| left.id.cmp(&right.id)).then(left.kind.cmp(&right.kind))
        });
        shown
    }
}

/// The window in whole seconds, at least one.
fn window_s(limits: &AmplitudeLimits) -> u64 {
    limits.rate_window.as_secs().max(1)
}

/// Events of each user and of each device.
fn senders<'a>(events: &[IntakeEvent<'a>]) -> BTreeMap<(AmplitudeSenderKind, &'a str), u64> {
    let mut senders = BTreeMap::new();
    for event in events {
        for (kind, id) in [
            (AmplitudeSenderKind::User, event.user_id),
            (AmplitudeSenderKind::Device, event.device_id),
        ] {
            if let Some(id) = id {
                *senders.entry((kind, id)).or_default() += 1;
            }
        }
    }
    senders
}

fn throttled(throttle: &mut Throttle, kind: AmplitudeSenderKind) -> &mut BTreeMap<String, u64> {
    match kind {
        AmplitudeSenderKind::User => &mut throttle.throttled_users,
        AmplitudeSenderKind::Device => &mut throttle.throttled_devices,
    }
}

fn exceeded(throttle: &mut Throttle, kind: AmplitudeSenderKind) -> &mut BTreeMap<String, u64> {
    match kind {
        AmplitudeSenderKind::User => &mut throttle.exceeded_daily_quota_users,
        AmplitudeSenderKind::Device => &mut throttle.exceeded_daily_quota_devices,
    }
}

/// Lists the events of every user and device that `throttle` names.
pub(super) fn name_events(throttle: &mut Throttle, events: &[IntakeEvent<'_>]) {
    let waits = |event: &IntakeEvent<'_>| {
        let user = event.user_id.unwrap_or_default();
        let device = event.device_id.unwrap_or_default();
        throttle.throttled_users.contains_key(user)
            || throttle.throttled_devices.contains_key(device)
            || throttle.exceeded_daily_quota_users.contains_key(user)
            || throttle.exceeded_daily_quota_devices.contains_key(device)
    };
    let waiting = events.iter().enumerate().filter(|(_, event)| waits(event));
    throttle.throttled_events = waiting.map(|(index, _)| index).collect();
}

#[cfg(test)]
mod tests;
