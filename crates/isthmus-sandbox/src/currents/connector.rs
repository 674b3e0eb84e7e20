//! One connector: its queues, what it sends next, and what an answer means. No I/O and no clock.
//!
//! Every event type has a queue and at most one batch under way. Delivery is at least once: a
//! batch leaves its queue for good when it was answered with 2xx, or refused for good.

use super::catalogue::Kind;
use super::definition::{Definition, To, Transform};
use super::event::Event;
use super::view::{ByType, Counts, LastError, Reason, Standing, TypeCounts};
use crate::model::Moment;
use isthmus_core::seam::Random;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Larger events are dropped ("Currents", Braze documentation, read 2026-09).
const EVENT_BYTES_MAX: usize = 900_000;
/// Ids that are remembered, to prove that nothing was lost.
const IDS_KEPT: usize = 1_000_000;
/// A second sending, or a delayed first one, comes after up to this many lingers.
const LATER_LINGERS_MAX: u64 = 5;

/// A running connector.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) definition: Definition,
    lanes: BTreeMap<usize, Lane>,
    /// Events that are sent later, by the time at which they join their queue.
    later: BTreeMap<(Duration, u64), Queued>,
    pushed: u64,
    /// Events in queues, for later and under way.
    queued: usize,
    standing: Standing,
    /// While credentials are wrong: when the next attempt is made.
    held_until: Duration,
    failures: u32,
    counts: Counts,
    by_type: ByType,
    last_error: Option<LastError>,
    ids: VecDeque<(String, &'static str)>,
    ids_forgotten: u64,
}

/// The queue of one type.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Queued>,
    /// When the oldest of those that wait came.
    since: Duration,
    /// Those that wait do not wait for more.
    is_ripe: bool,
    /// Batches to be sent again, in this order, before anything new.
    again: VecDeque<Batch>,
    is_under_way: bool,
}

/// An event on its way.
#[derive(Debug, Clone)]
struct Queued {
    event: Arc<Event>,
    /// Whether it was acknowledged before.
    is_repeat: bool,
}

/// Events of one type that are sent together.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) kind: &'static Kind,
    events: Vec<Queued>,
    attempts: u32,
    not_before: Duration,
    /// Cut out of a batch that was answered with 400.
    is_alone: bool,
}

/// How sending a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Status(u16),
    /// No answer.
    NoReply(String),
    Written,
    /// A file that cannot be written is lost: there is no backfill.
    Unwritable(String),
}

impl Batch {
    pub(super) fn events(&self) -> impl ExactSizeIterator<Item = &Arc<Event>> {
        self.events.iter().map(|queued| &queued.event)
    }

    fn part(&self, events: Vec<Queued>, is_alone: bool) -> Self {
        Self { kind: self.kind, events, attempts: 0, not_before: Duration::ZERO, is_alone }
    }
}

impl Connector {
    pub(super) fn new(definition: Definition) -> Self {
        Self {
            definition,
            lanes: BTreeMap::new(),
            later: BTreeMap::new(),
            pushed: 0,
            queued: 0,
            standing: Standing::Running,
            held_until: Duration::ZERO,
            failures: 0,
            counts: Counts::default(),
            by_type: ByType::default(),
            last_error: None,
            ids: VecDeque::new(),
            ids_forgotten: 0,
        }
    }

    /// Takes another definition and is switched on again. What waits stays, and waits no longer.
    pub(super) fn redefine(&mut self, definition: Definition) {
        self.definition = definition;
        (self.standing, self.held_until, self.failures) = (Standing::Running, Duration::ZERO, 0);
        for batch in self.lanes.values_mut().flat_map(|lane| &mut lane.again) {
            batch.not_before = Duration::ZERO;
        }
    }

    /// Queues an event, if its type is ticked.
    pub(super) fn push(&mut self, event: &Arc<Event>, now: Moment, random: &dyn Random) {
        if !self.definition.ticks(event.kind) {
            return;
        }
        self.counts.events += 1;
        self.by_type.of(event.kind).events += 1;
        let mut event = event.clone();
        for (name, transform) in &self.definition.transform {
            let changed = Arc::make_mut(&mut event);
            match transform {
                Transform::Redact => changed.change_text(name, |_| "[REDACTED]".to_owned()),
                Transform::Hash => changed.change_text(name, sha256),
            }
        }
        if let Some(reason) = self.obstacle(&event) {
            self.counts.dropped.add(reason, 1);
            return;
        }
        self.remember(&event);
        self.queued += 1;
        let queued = Queued { event, is_repeat: false };
        if draw(self.definition.reorder, random) {
            self.push_later(queued, now, random);
        } else {
            self.enter(queued, now.elapsed);
        }
    }

    fn obstacle(&self, event: &Event) -> Option<Reason> {
        if self.standing == Standing::Off {
            return Some(Reason::Off);
        }
        if self.queued >= self.definition.queue_max {
            return Some(Reason::Overflow);
        }
        event.is_larger_than(EVENT_BYTES_MAX).then_some(Reason::TooLarge)
    }

    fn remember(&mut self, event: &Event) {
        self.ids.push_back((event.id.clone(), event.kind.name));
        if self.ids.len() > IDS_KEPT {
            self.ids.pop_front();
            self.ids_forgotten += 1;
        }
    }

    fn enter(&mut self, queued: Queued, elapsed: Duration) {
        let lane = self.lanes.entry(queued.event.kind.number).or_default();
        if lane.waiting.is_empty() {
            lane.since = elapsed;
        }
        lane.waiting.push_back(queued);
    }

    fn push_later(&mut self, queued: Queued, now: Moment, random: &dyn Random) {
        let linger = u64::try_from(self.definition.linger.as_millis()).unwrap_or(u64::MAX);
        let most = linger.max(1).saturating_mul(LATER_LINGERS_MAX);
        let due = now.elapsed + Duration::from_millis(1 + random.below(most));
        self.later.insert((due, self.pushed), queued);
        self.pushed += 1;
    }

    /// Lets everything that waits for more, or for a better time, be sent now.
    pub(super) fn flush(&mut self, now: Moment) {
        self.held_until = Duration::ZERO;
        for (_, queued) in std::mem::take(&mut self.later) {
            self.enter(queued, now.elapsed);
        }
        for lane in self.lanes.values_mut() {
            lane.is_ripe = !lane.waiting.is_empty();
            lane.again.iter_mut().for_each(|batch| batch.not_before = Duration::ZERO);
        }
    }

    /// Waits for no batch that is under way any longer.
    pub(super) fn end(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.is_under_way = false);
    }

    /// Batches to be sent now; each of them is under way until [`Self::close`].
    pub(super) fn due(&mut self, now: Moment) -> Vec<Batch> {
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now.elapsed
        {
            let queued = entry.remove();
            self.enter(queued, now.elapsed);
        }
        if !self.may_send(now.elapsed) {
            return Vec::new();
        }
        let (batch_max, linger) = (self.definition.batch_max, self.definition.linger);
        // One request asks whether the credentials are right by now.
        let most = if self.standing == Standing::Credentials { 1 } else { usize::MAX };
        if most == 1 && self.lanes.values().any(|lane| lane.is_under_way) {
            return Vec::new();
        }
        let lanes = self.lanes.iter_mut();
        let batches: Vec<Batch> = lanes
            .filter_map(|(_, lane)| lane.next(batch_max, linger, now.elapsed))
            .take(most)
            .collect();
        if matches!(self.definition.to, To::Http(_)) {
            self.counts.requests += batches.len() as u64;
        }
        self.counts.sent += batches.iter().map(|batch| batch.events.len() as u64).sum::<u64>();
        batches
    }

    fn may_send(&self, elapsed: Duration) -> bool {
        match self.standing {
            Standing::Running => true,
            Standing::Credentials => self.held_until <= elapsed,
            Standing::Off => false,
        }
    }

    /// When there will be something to do without anybody's asking.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let later = self.later.keys().next().map(|(due, _)| *due);
        if self.standing == Standing::Off {
            return later;
        }
        let (batch_max, linger) = (self.definition.batch_max, self.definition.linger);
        let lanes = self.lanes.values().filter_map(|lane| lane.due(batch_max, linger));
        let lanes = lanes.min().map(|due| match self.standing {
            Standing::Credentials => due.max(self.held_until),
            _ => due,
        });
        // While one request asks for the credentials, its end is what comes next.
        let is_asking = self.standing == Standing::Credentials
            && self.lanes.values().any(|lane| lane.is_under_way);
        lanes.filter(|_| !is_asking).into_iter().chain(later).min()
    }

    /// Takes note of how a batch ended.
    pub(super) fn close(
        &mut self,
        batch: Batch,
        outcome: &Outcome,
        now: Moment,
        random: &dyn Random,
    ) {
        if let Some(lane) = self.lanes.get_mut(&batch.kind.number) {
            lane.is_under_way = false;
        }
        match outcome {
            Outcome::Status(200..=299) | Outcome::Written => {
                self.counts.files += u64::from(*outcome == Outcome::Written);
                (self.standing, self.failures) = (self.recovered(), 0);
                self.acknowledge(batch, now, random);
                return;
            }
            Outcome::Unwritable(_) => self.drop_all(&batch, Reason::Unwritable),
            Outcome::Status(400) if batch.is_alone => self.drop_all(&batch, Reason::Refused),
            Outcome::Status(400) => {
                let events = batch.events.iter().cloned();
                let singles = events.map(|event| batch.part(vec![event], true)).collect();
                self.send_again(batch.kind, singles);
            }
            Outcome::Status(413) if batch.events.len() == 1 => {
                self.drop_all(&batch, Reason::TooLarge);
            }
            Outcome::Status(413) => {
                let (first, second) = batch.events.split_at(batch.events.len().div_ceil(2));
                let half = |events: &[Queued]| batch.part(events.to_vec(), false);
                self.send_again(batch.kind, vec![half(first), half(second)]);
            }
            Outcome::Status(401 | 403 | 404) => {
                if let To::Http(endpoint) = &self.definition.to {
                    self.held_until = now.elapsed + endpoint.credentials_retry;
                }
                self.standing = Standing::Credentials;
                self.failed();
                self.send_again(batch.kind, vec![batch.clone()]);
            }
            Outcome::Status(_) | Outcome::NoReply(_) => {
                let attempts = batch.attempts.saturating_add(1);
                let wait = match &self.definition.to {
                    To::Http(endpoint) => endpoint.backoff.wait(attempts, random.next_u64()),
                    To::Folder(_) => Duration::ZERO,
                };
                self.failed();
                let again = Batch { attempts, not_before: now.elapsed + wait, ..batch.clone() };
                self.send_again(batch.kind, vec![again]);
            }
        }
        let (status, reason) = match outcome {
            Outcome::Status(status) => (Some(*status), format!("answered with {status}")),
            Outcome::NoReply(reason) | Outcome::Unwritable(reason) => (None, reason.clone()),
            Outcome::Written => return,
        };
        let (at, event_type) = (now.wall.to_string(), batch.kind.name);
        self.last_error = Some(LastError { at, event_type, status, reason });
    }

    /// A success shows that the credentials are right; it does not switch on what is off.
    fn recovered(&self) -> Standing {
        if self.standing == Standing::Off { Standing::Off } else { Standing::Running }
    }

    fn failed(&mut self) {
        self.failures += 1;
        if let To::Http(endpoint) = &self.definition.to
            && endpoint.failures_max.is_some_and(|most| self.failures >= most)
        {
            self.standing = Standing::Off;
        }
    }

    fn acknowledge(&mut self, batch: Batch, now: Moment, random: &dyn Random) {
        for queued in batch.events {
            self.queued -= 1;
            if queued.is_repeat {
                self.counts.duplicates += 1;
                continue;
            }
            self.counts.acknowledged += 1;
            self.by_type.of(batch.kind).acknowledged += 1;
            if draw(self.definition.duplicates, random) {
                self.queued += 1;
                self.push_later(Queued { is_repeat: true, ..queued }, now, random);
            }
        }
    }

    fn drop_all(&mut self, batch: &Batch, reason: Reason) {
        self.queued -= batch.events.len();
        // What arrived before is not lost.
        let lost = batch.events.iter().filter(|queued| !queued.is_repeat).count();
        self.counts.dropped.add(reason, lost as u64);
    }

    /// Puts `batches` before everything else of their type.
    fn send_again(&mut self, kind: &Kind, batches: Vec<Batch>) {
        let lane = self.lanes.entry(kind.number).or_default();
        for batch in batches.into_iter().rev() {
            lane.again.push_front(batch);
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn types(&self) -> BTreeMap<&'static str, TypeCounts> {
        self.by_type.shown()
    }

    pub(super) fn last_error(&self) -> Option<&LastError> {
        self.last_error.as_ref()
    }

    /// Ids and types of everything that was queued, oldest first, as many as are kept; and how
    /// many are not.
    pub(super) fn ids(&self) -> (impl ExactSizeIterator<Item = (&str, &'static str)>, u64) {
        (self.ids.iter().map(|(id, kind)| (id.as_str(), *kind)), self.ids_forgotten)
    }
}

impl Lane {
    /// When its next batch may be sent.
    fn due(&self, batch_max: usize, linger: Duration) -> Option<Duration> {
        if self.is_under_way {
            return None;
        }
        if let Some(batch) = self.again.front() {
            return Some(batch.not_before);
        }
        let is_ripe = self.is_ripe || self.waiting.len() >= batch_max;
        let wait = if is_ripe { Duration::ZERO } else { linger };
        (!self.waiting.is_empty()).then(|| self.since + wait)
    }

    fn next(&mut self, batch_max: usize, linger: Duration, elapsed: Duration) -> Option<Batch> {
        self.due(batch_max, linger).filter(|due| *due <= elapsed)?;
        self.is_under_way = true;
        if let Some(batch) = self.again.pop_front() {
            return Some(batch);
        }
        let events: Vec<Queued> = self.waiting.drain(..batch_max.min(self.waiting.len())).collect();
        self.is_ripe &= !self.waiting.is_empty();
        self.since = elapsed;
        let kind = events.first()?.event.kind;
        let (attempts, not_before, is_alone) = (0, Duration::ZERO, false);
        Some(Batch { kind, events, attempts, not_before, is_alone })
    }
}

/// Whether something of this probability happens. Certainty draws nothing.
pub(crate) fn draw(probability: f64, random: &dyn Random) -> bool {
    const STEPS: u64 = 1 << 32;
    if probability <= 0.0 || probability >= 1.0 {
        return probability >= 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "32 bits fit")]
    let drawn = random.below(STEPS) as f64 / STEPS as f64;
    drawn < probability
}

fn sha256(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
    }
    hex
}

#[cfg(test)]
mod tests;
