//! All rules of delivery to one destination, as a state machine: no I/O, no clock, no randomness
//! of its own. The engine tells it what was read and what came back, and asks what to send.
//!
//! It refuses to know: where the log is, how requests travel, who the vendor is.

use crate::counts::Totals;
use crate::dead_letters::LetterChange;
use crate::governor::SharedGovernor;
use crate::health::{Health, on_the_wall, until};
use crate::history::{Observed, Recorder};
use crate::journal::{
    Aside, Checkpoint, Entry, Fate, Intent, ObjectKey, Objects, Progress, Step, StreamRecord, Tried,
};
use crate::lanes::{Lanes, Pacer, Queued, Ticket};
use crate::metrics::Meters;
use crate::samples::{Category, Happened};
use crate::stream::Stream;
use isthmus_core::destination::{
    Call, Delivery, Destination, Guarantee, Limits, Mapped, Message, Priority, RetryPolicy,
};
use isthmus_core::seam::{Backoff, Clock};
use isthmus_core::{Place, Timestamp};
use isthmus_state::dead_letters::{Cause, DeadLetter};
use isthmus_state::delivery_history::Bill;
use mirroring::{Mirroring, Sifted};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

mod decisions;
mod ending;
mod jobs;
mod looking_in;
mod mirroring;

pub use crate::stream::{StreamNumber, Window};
pub use decisions::Decided;
pub use ending::Ending;
pub use mirroring::UNCHANGED;

/// One instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What waits and rates are measured by.
    pub monotonic: Duration,
    /// What people read.
    pub wall: Timestamp,
}

impl Moment {
    /// The present instant of `clock`.
    pub fn of(clock: &dyn Clock) -> Self {
        Self { monotonic: clock.monotonic(), wall: clock.now() }
    }
}

/// The part of a log that is there: offset of the first record kept, and of the next to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub start: u64,
    pub end: u64,
}

/// A request's number within its destination; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What may differ between destinations.
#[derive(Debug, Clone)]
pub struct Rules {
    pub limits: Limits,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// How much of each stream may be in memory.
    pub window: Window,
}

/// A stream that the operator named and this destination does or does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("stream `{name}` does not exist")]
    Unknown { name: String },
    #[error("stream `{name}` exists already")]
    Exists { name: String },
    #[error("there is no job {number} that runs")]
    UnknownJob { number: u32 },
    #[error("{reason}")]
    Unread { reason: String },
    #[error("stream `{name}` has {pending} objects waiting; send more once there are fewer")]
    Full { name: String, pending: u64 },
}

/// What the operator says about a stream, beside what it maps.
#[derive(Debug, Clone)]
pub struct Manner {
    pub enabled: bool,
    /// How urgent its objects are.
    pub priority: Priority,
    /// When its objects are given up.
    pub retry: RetryPolicy,
}

impl Default for Manner {
    fn default() -> Self {
        Self { enabled: true, priority: Priority::Triggers, retry: RetryPolicy::default() }
    }
}

struct InFlight {
    batch: Vec<Delivery>,
    tickets: Vec<Ticket>,
    epoch: u64,
    priority: Priority,
}

/// Whose fault it is that a request is refused for holding too many objects is found once: more
/// than `taken` and less than `too_many` is not known yet.
#[derive(Debug, Clone, Copy, Default)]
struct Room {
    taken: usize,
    /// Zero while no request was refused for that.
    too_many: usize,
}

impl Room {
    /// How many objects to try next.
    fn objects_max(self, limit: usize) -> usize {
        match self.too_many {
            0 => limit,
            too_many => (self.taken + (too_many - self.taken) / 2).clamp(1, limit),
        }
    }

    fn takes(&mut self, objects: usize) {
        self.taken = self.taken.max(objects);
        if self.too_many != 0 && self.too_many <= self.taken {
            // The vendor takes more than it did: what was learned is wrong.
            self.too_many = 0;
        }
    }

    fn refuses(&mut self, objects: usize) {
        if self.too_many == 0 || objects < self.too_many {
            self.too_many = objects;
        }
        self.taken = self.taken.min(objects.saturating_sub(1));
    }
}

/// The state of delivery to one destination.
pub struct Dispatcher {
    rules: Rules,
    lanes: Lanes,
    governor: SharedGovernor,
    health: Health,
    room: Room,
    streams: BTreeMap<StreamNumber, Stream>,
    /// Streams that the journal knows and nobody asked for in this run.
    dormant: Vec<StreamRecord>,
    requests: BTreeMap<RequestId, InFlight>,
    totals: Totals,
    next_request: u64,
    next_stream: u32,
    next_group: u64,
    /// What is not on its way to the journal yet.
    steps: Vec<Step>,
    /// What ended without a request, as [`Self::steps`].
    asides: BTreeMap<(Fate, Cow<'static, str>), Vec<ObjectKey>>,
    /// Something changed that only a checkpoint records.
    checkpoint_wanted: bool,
    meters: Meters,
    /// What was not handed to the history yet.
    recorder: Recorder,
    mirroring: Mirroring,
    /// What each stream and job cost, requests apart.
    bills: BTreeMap<u32, Bill>,
}

impl Dispatcher {
    /// A dispatcher for the destination `name` that goes on from what its journal has `known`.
    ///
    /// It has no streams until [`Self::add_stream`] is called for each.
    pub fn new(
        name: &str,
        rules: Rules,
        governor: SharedGovernor,
        known: Checkpoint,
        now: Moment,
    ) -> Self {
        let rules = Rules { limits: usable(rules.limits), ..rules };
        let mut health = Health::new(rules.backoff);
        health.recover(&known.waits, now);
        let throttled = until(known.waits.throttled_until, now, Duration::MAX);
        governor.lock().pause_for(now.monotonic, throttled);
        let count = |objects| usize::try_from(objects).unwrap_or(usize::MAX);
        let (taken, too_many) = (count(known.objects_taken), count(known.objects_too_many));
        Self {
            lanes: Lanes::new(rules.limits.clone()),
            governor,
            health,
            room: Room { taken, too_many },
            streams: BTreeMap::new(),
            dormant: known.streams,
            requests: BTreeMap::new(),
            totals: known.totals,
            next_request: known.next_request,
            next_stream: known.next_stream,
            next_group: 0,
            steps: Vec::new(),
            asides: BTreeMap::new(),
            // What replaying the journal concluded must not be concluded again.
            checkpoint_wanted: true,
            meters: Meters::new(name),
            recorder: Recorder::default(),
            mirroring: Mirroring::default(),
            bills: known.bills,
            rules,
        }
    }

    /// Lets objects of one user or device leave as fast as the limits of `destination` say.
    #[must_use]
    pub fn paced_by(mut self, destination: Arc<dyn Destination>) -> Self {
        self.lanes.pace(Pacer::new(destination, &self.rules.limits.paces));
        self
    }

    // ---- streams ----

    /// Adds a stream. One that the journal knows goes on where it was; a new one, or one that was
    /// disabled, starts at the present end of `log`.
    pub fn add_stream(
        &mut self,
        name: Arc<str>,
        manner: Manner,
        log: Extent,
    ) -> Result<StreamNumber, StreamError> {
        if self.number_of(&name).is_ok() {
            return Err(StreamError::Exists { name: name.to_string() });
        }
        let Manner { enabled, priority, retry } = manner;
        let is_it = |record: &StreamRecord| record.job.is_none() && *record.name == *name;
        let known = self.dormant.iter().position(is_it);
        let mut stream = if let Some(known) = known {
            let record = self.dormant.swap_remove(known);
            let read_to = record.position;
            let mut stream = Stream::recovered(record);
            if !stream.enabled && stream.skip_to(log.start) {
                // Nobody asked for it in the runs before this one, so the log was not kept for it.
                tracing::warn!(stream = %stream.name, "what the stream had pending is gone");
            }
            if enabled {
                stream.enable(log.end);
            } else {
                stream.disable(read_to);
            }
            stream
        } else {
            let number = StreamNumber(self.next_stream);
            self.next_stream += 1;
            Stream::new(number, name, enabled, log.end)
        };
        stream.priority = priority;
        stream.retry = retry;
        let number = stream.number;
        self.streams.insert(number, stream);
        self.checkpoint_wanted = true;
        Ok(number)
    }

    /// Call once every stream of this run is added: those that the journal knows and nobody asked
    /// for are disabled from now on. Returns their names.
    pub fn retire_the_rest(&mut self) -> Vec<String> {
        let gone = self.dormant.iter_mut().filter(|record| record.job.is_none());
        gone.map(|record| {
            if record.enabled {
                record.enabled = false;
                record.stop_at = Some(record.position);
            }
            record.name.clone()
        })
        .collect()
    }

    /// Forgets a stream: what it had pending is not sent any more.
    pub fn remove_stream(&mut self, name: &str, now: Moment) -> Result<StreamNumber, StreamError> {
        let number = self.number_of(name)?;
        self.streams.remove(&number);
        self.lanes.remove_stream(number, now.monotonic);
        self.checkpoint_wanted = true;
        Ok(number)
    }

    /// Stops or starts reading for a stream. What was accepted is finished either way; what
    /// passes while it is disabled is not sent later.
    pub fn set_enabled(&mut self, name: &str, enabled: bool, end: u64) -> Result<(), StreamError> {
        let number = self.number_of(name)?;
        if let Some(stream) = self.streams.get_mut(&number) {
            if enabled {
                stream.enable(end);
            } else {
                stream.disable(stream.position());
            }
            self.checkpoint_wanted = true;
        }
        Ok(())
    }

    fn number_of(&self, name: &str) -> Result<StreamNumber, StreamError> {
        let is_it = |stream: &&Stream| stream.job.is_none() && *stream.name == *name;
        let found = self.streams.values().find(is_it);
        found
            .map(|stream| stream.number)
            .ok_or_else(|| StreamError::Unknown { name: name.to_owned() })
    }

    /// Stops all sending until [`Self::resume`].
    pub fn halt(&mut self, reason: String) {
        self.health.halt(reason);
        self.checkpoint_wanted = true;
    }

    /// Sends again, without waiting for back-off or for what the vendor asked.
    pub fn resume(&mut self) {
        self.health.resume();
        self.governor.lock().resume();
        self.lanes.hurry();
        self.checkpoint_wanted = true;
    }

    // ---- reading ----

    /// The record to read next in a log that ends at `end`: the one that the stream furthest
    /// behind needs, so that streams side by side read it together and lanes fill in log order.
    pub fn next_read(&self, end: u64) -> Option<u64> {
        let wanted = |stream: &Stream| self.wanted(stream, end);
        self.streams.values().filter_map(wanted).min()
    }

    /// The streams that read the record at `offset` now, each with the first place of it that is
    /// not finished yet.
    pub fn readers_at(&self, offset: u64) -> Vec<(StreamNumber, Place)> {
        let reads =
            |stream: &&Stream| self.wanted(stream, offset.saturating_add(1)) == Some(offset);
        let readers = self.streams.values().filter(reads);
        readers.map(|stream| (stream.number, stream.floor())).collect()
    }

    /// The record that `stream` wants next. The past waits while it would stand in a user's way.
    fn wanted(&self, stream: &Stream, end: u64) -> Option<u64> {
        if stream.priority == Priority::Backfill && self.lanes.is_crowded() {
            return None;
        }
        stream.wants(end, &self.rules.window)
    }

    /// Takes what `stream` mapped the item at `place` to. `mapped` is empty afterwards; what the
    /// vendor would refuse is added to `letters`, which must be on disk before the next entry.
    pub fn take(
        &mut self,
        stream: StreamNumber,
        place: Place,
        accepted_at: Timestamp,
        mapped: &mut Vec<Mapped>,
        now: Moment,
        letters: &mut Vec<LetterChange>,
    ) {
        let payload_bytes_max = self.lanes.payload_bytes_max();
        let Some(stream) = self.streams.get_mut(&stream) else { return };
        let item = stream.next_item();
        let since = stream.since(accepted_at);
        let (mut open, mut done, mut unchanged) = (0, Vec::new(), Vec::new());
        for (part, mapped) in mapped.drain(..).enumerate() {
            let Ok(part) = u16::try_from(part) else {
                // Without a number it cannot be written down.
                stream.discard(MORE_PARTS);
                continue;
            };
            if stream.was_done(place, part) || stream.leaves_out(place, part) {
                done.push(part);
                continue;
            }
            let key = ObjectKey { stream: stream.number.0, place, part };
            let message = match mapped {
                Mapped::Deliver(message) if message.payload.len() > payload_bytes_max => {
                    Err((oversized(message.payload.len(), payload_bytes_max), message))
                }
                Mapped::Deliver(message) => Ok(message),
                Mapped::Reject { reason, message } => Err((reason, message)),
                Mapped::Discard { reason } => {
                    self.meters.discarded(reason);
                    stream.discard(reason);
                    let category = Category::Discarded(reason);
                    let happened = Happened::aside(category, now.wall, place, part);
                    self.recorder.discarded(stream, &happened);
                    note(&mut self.asides, Fate::Discarded, reason, key);
                    done.push(part);
                    continue;
                }
            };
            let tried = stream.tried(place, part);
            let of = |message| {
                let stream = stream.name.clone();
                Delivery { stream, place, part, accepted_at, message }
            };
            let ticket = ticket(stream, item, since, tried, now);
            if let Ok(message) = &message
                && self.lanes.is_idle(message.lane)
                && let Some(saved) = self.mirroring.is_unchanged(message)
            {
                stream.discard(UNCHANGED);
                stream.forget_tries(place, part);
                done.push(part);
                unchanged.push((ticket, key, saved));
                continue;
            }
            let ended = match message {
                Err((reason, message)) => Some((Fate::Refused, Cause::Rejected, reason, message)),
                Ok(message) if ticket.unknown && message.guarantee == Guarantee::AtMostOnce => {
                    let reason = NO_OUTCOME.to_owned();
                    Some((Fate::Parked, Cause::Unknown, reason, message))
                }
                Ok(message) => {
                    open += 1;
                    stream.counts.accepted += 1;
                    stream.pending += 1;
                    stream.pending_bytes += message.payload.len() as u64;
                    let retry_at = tried.map(|tried| {
                        now.monotonic + until(tried.retry_at, now, self.rules.backoff.cap)
                    });
                    let queued = Queued { delivery: of(message), ticket };
                    self.lanes.push(queued, retry_at, now.monotonic);
                    None
                }
            };
            if let Some((fate, cause, reason, message)) = ended {
                done.push(part);
                stream.counts.accepted += 1;
                let happened = |category| {
                    Happened::aside(category, now.wall, place, part).with(
                        &message.name,
                        &message.payload,
                        &reason,
                    )
                };
                if fate == Fate::Parked {
                    stream.counts.parked += 1;
                    self.recorder.sample(stream, &happened(Category::Unknown));
                } else {
                    stream.counts.rejected += 1;
                    self.meters.rejected.increment(1);
                    self.recorder.discarded(stream, &happened(Category::rejected(&reason)));
                }
                let letter = dead_letter(of(message), &ticket, cause, reason.clone(), now.wall);
                stream.forget_tries(place, part);
                note(&mut self.asides, fate, reason, key);
                letters.push(LetterChange::Keep(letter));
            }
        }
        if open > 0 || !done.is_empty() {
            stream.add_item(place, open, &done);
        }
        for (ticket, key, saved) in unchanged {
            self.unchanged(&ticket, key, saved, now.wall);
        }
        self.take_letters(letters);
    }

    /// `stream` has taken everything of the record it read; the next one is at `next`.
    pub fn advance(&mut self, stream: StreamNumber, next: u64) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.advance(next);
        }
    }

    // ---- sending ----

    /// What [`Self::start`] does with what is worth sending.
    fn start_sifted(&mut self, now: Moment, sifted: &mut Sifted) -> Option<RequestId> {
        self.lanes.wake(now.monotonic);
        if self.health.free_at() > now.monotonic {
            return None;
        }
        let objects_max = self.objects_max();
        let (priority, queued) = Priority::ALL.into_iter().find_map(|priority| {
            if !self.has_slot(priority)
                || self.lanes.due_at(priority, objects_max, now.monotonic)? > now.monotonic
            {
                return None;
            }
            // Held while looking and spending: others spend the same budget.
            let mut governor = self.governor.lock();
            if governor.free_at(now.monotonic, priority) > now.monotonic {
                return None;
            }
            let mut sift = |run: &mut Vec<Queued>| self.mirroring.sift(run, sifted);
            let queued = self.lanes.fill(priority, objects_max, now.monotonic, &mut sift);
            if queued.is_empty() {
                return None;
            }
            governor.spend(now.monotonic, priority);
            Some((priority, queued))
        })?;
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let (batch, tickets): (Vec<_>, Vec<_>) =
            queued.into_iter().map(|queued| (queued.delivery, queued.ticket)).unzip();
        self.count_started(&tickets, now);
        let request = InFlight { batch, tickets, epoch: self.health.epoch(), priority };
        self.steps.push(Step::Intent(request.intent(id)));
        self.requests.insert(id, request);
        Some(id)
    }

    /// When the next request may start, unless a reply or a new object comes first.
    pub fn next_start(&mut self, now: Duration) -> Option<Duration> {
        let objects_max = self.objects_max();
        if objects_max == 0 {
            return None;
        }
        let mut next = None;
        for priority in Priority::ALL {
            if !self.has_slot(priority) {
                continue;
            }
            let Some(due) = self.lanes.due_at(priority, objects_max, now) else { continue };
            let due = due.max(self.governor.lock().free_at(now, priority));
            next = Some(next.map_or(due, |next: Duration| next.min(due)));
        }
        let has_slots = self.has_slot(Priority::Triggers);
        let wakes = self.lanes.wakes_at().filter(|_| has_slots);
        let next = next.into_iter().chain(wakes).min()?;
        Some(next.max(self.health.free_at()))
    }

    /// Whether one more request of `priority` may be under way: the past leaves slots for what is
    /// urgent.
    fn has_slot(&self, priority: Priority) -> bool {
        let max =
            self.rules.limits.requests_in_flight.min(self.health.caution().requests_in_flight);
        if self.requests.len() >= max {
            return false;
        }
        if priority == Priority::Triggers {
            return true;
        }
        let share = self.rules.limits.shares.of(priority);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a small number"
        )]
        let slots = ((max.min(1 << 20) as f64 * share) as usize).clamp(1, max.max(2) - 1);
        self.requests.values().filter(|request| request.priority >= priority).count() < slots
    }

    /// Objects that the next request may hold.
    fn objects_max(&self) -> usize {
        let limit = self.rules.limits.objects_per_request;
        self.room.objects_max(limit).min(self.health.caution().objects_per_request)
    }

    /// The objects of a request under way; empty for one that is not.
    pub fn batch(&self, id: RequestId) -> &[Delivery] {
        self.requests.get(&id).map_or(&[], |request| &request.batch)
    }

    /// Requests started and not ended.
    pub fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Counts what is about to be sent, as replaying its intent counts it.
    fn count_started(&mut self, tickets: &[Ticket], now: Moment) {
        let mut counted = Vec::new();
        for ticket in tickets {
            let Some(stream) = self.streams.get_mut(&ticket.stream) else { continue };
            if !counted.contains(&ticket.stream) {
                counted.push(ticket.stream);
                stream.counts.requests += 1;
            }
            stream.counts.sent += 1;
            if ticket.unknown {
                stream.counts.possible_duplicates += 1;
                self.meters.possible_duplicates.increment(1);
            }
        }
        for stream in counted {
            self.charge_request(stream, now.wall);
        }
    }

    /// Counts that the request leaves now, with `objects` vendor objects in a body of `bytes`.
    pub fn count_sent(&mut self, id: RequestId, objects: usize, bytes: usize) {
        let Some(request) = self.requests.get(&id) else { return };
        let joined = request.batch.len().saturating_sub(objects) as u64;
        self.totals.requests += 1;
        self.totals.objects += objects as u64;
        self.totals.joined += joined;
        self.totals.bytes += bytes as u64;
        self.meters.sent(objects as u64, joined, bytes as u64);
        for (delivery, ticket) in request.batch.iter().zip(&request.tickets) {
            if let Some(stream) = self.streams.get_mut(&ticket.stream) {
                stream.counts.bytes += delivery.message.payload.len() as u64;
            }
        }
    }

    // ---- what survives ----

    /// What happened since the last call, to be appended to the journal; `None` if nothing did.
    pub fn take_entry(&mut self, now: Moment) -> Option<Entry> {
        if std::mem::take(&mut self.checkpoint_wanted) {
            return Some(self.checkpoint(now));
        }
        let steps = self.take_steps();
        if steps.is_empty() {
            return None;
        }
        Some(Entry::Progress(Progress { at: now.wall.as_millis(), steps }))
    }

    /// Makes the next entry a checkpoint.
    pub fn want_checkpoint(&mut self) {
        self.checkpoint_wanted = true;
    }

    fn take_steps(&mut self) -> Vec<Step> {
        let asides = std::mem::take(&mut self.asides).into_iter();
        let asides = asides.map(|((fate, reason), objects)| {
            let (reason, objects) = (reason.into_owned(), Objects(objects));
            Step::Aside(Aside { fate, reason, objects })
        });
        let mut steps: Vec<Step> = asides.collect();
        steps.append(&mut self.steps);
        steps.extend(self.mirroring.step());
        steps
    }

    fn checkpoint(&mut self, now: Moment) -> Entry {
        let since = self.take_steps();
        self.retire_jobs(now);
        let known = self.dormant.iter().map(|record| record.number);
        let known: BTreeSet<u32> =
            known.chain(self.streams.keys().map(|number| number.0)).collect();
        self.bills.retain(|number, _| known.contains(number));
        let streams = self.streams.values().map(Stream::record);
        let mut waits = self.health.record(now);
        let throttled = self.governor.lock().paused_until();
        if throttled > now.monotonic {
            waits.throttled_until = on_the_wall(throttled, now);
        }
        let count = |objects| u32::try_from(objects).unwrap_or(u32::MAX);
        Entry::Checkpoint(Box::new(Checkpoint {
            at: now.wall.as_millis(),
            next_request: self.next_request,
            next_stream: self.next_stream,
            streams: streams.chain(self.dormant.iter().cloned()).collect(),
            in_flight: self.requests.iter().map(|(id, request)| request.intent(*id)).collect(),
            totals: self.totals,
            waits,
            since,
            objects_taken: count(self.room.taken),
            objects_too_many: count(self.room.too_many),
            bills: self.bills.clone(),
        }))
    }

    /// Whether anything happened that [`Self::take_observed`] would tell.
    pub fn has_observed(&self) -> bool {
        !self.recorder.is_empty()
    }

    /// What happened since the last call. It may be kept once the last entry that was taken is on
    /// disk: until then a crash may make it happen again.
    pub fn take_observed(&mut self) -> Observed {
        self.recorder.take()
    }

    /// `entry` is on disk.
    pub fn on_disk(&mut self, entry: &Entry) {
        let Entry::Checkpoint(checkpoint) = entry else { return };
        for record in &checkpoint.streams {
            if let Some(stream) = self.streams.get_mut(&StreamNumber(record.number)) {
                stream.cursor_on_disk = record.cursor;
            }
        }
    }
}

impl InFlight {
    /// The call that the request is.
    fn call(&self) -> Call {
        self.batch.first().map_or(Call::MAIN, |delivery| delivery.message.section.call())
    }

    fn intent(&self, id: RequestId) -> Intent {
        let key = |(delivery, ticket): (&Delivery, &Ticket)| ObjectKey {
            stream: ticket.stream.0,
            place: delivery.place,
            part: delivery.part,
        };
        let objects = self.batch.iter().zip(&self.tickets).map(key).collect();
        Intent { request: id.0, objects: Objects(objects) }
    }
}

/// Limits under which something can be sent.
fn usable(mut limits: Limits) -> Limits {
    limits.objects_per_request = limits.objects_per_request.max(1);
    limits.objects_per_section = limits.objects_per_section.max(1);
    limits.requests_in_flight = limits.requests_in_flight.max(1);
    for call in &mut limits.calls {
        call.objects_per_request = call.objects_per_request.max(1);
    }
    limits
}

/// Why an object that is sent at most once is not sent again after a crash.
const NO_OUTCOME: &str = "sent, and the program ended before an answer came";
/// Why an object has no number.
const MORE_PARTS: &str = "more objects than an item may have";

fn oversized(actual: usize, max: usize) -> String {
    format!("object of {actual} bytes exceeds {max} bytes")
}

/// The ticket of an object that was mapped now.
fn ticket(
    stream: &Stream,
    item: u64,
    since: Timestamp,
    tried: Option<Tried>,
    now: Moment,
) -> Ticket {
    Ticket {
        stream: stream.number,
        item: Some(item),
        priority: stream.priority,
        since,
        attempts: tried.map_or(0, |tried| tried.attempts),
        failing_since: now.monotonic,
        unknown: tried.is_some_and(|tried| tried.unknown),
        group: None,
    }
}

/// Notes that the object of `key` ended without a request.
fn note(
    asides: &mut BTreeMap<(Fate, Cow<'static, str>), Vec<ObjectKey>>,
    fate: Fate,
    reason: impl Into<Cow<'static, str>>,
    key: ObjectKey,
) {
    asides.entry((fate, reason.into())).or_default().push(key);
}

fn dead_letter(
    delivery: Delivery,
    ticket: &Ticket,
    cause: Cause,
    reason: String,
    rejected_at: Timestamp,
) -> DeadLetter {
    let Delivery { stream, place, part, accepted_at, message } = delivery;
    let Message { lane, section, name, payload, guarantee, after: _ } = message;
    DeadLetter {
        stream: stream.to_string(),
        place,
        part,
        name,
        payload,
        reason,
        lane,
        section,
        accepted_at,
        rejected_at,
        cause,
        guarantee,
        owner: ticket.stream.0,
        attempts: ticket.attempts,
        history: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
