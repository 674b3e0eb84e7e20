//! All rules of delivery to one destination, as a state machine: no I/O, no clock, no randomness
//! of its own. The engine tells it what was read and what came back, and asks what to send.
//!
//! It refuses to know: where the log is, how requests travel, who the vendor is.

use crate::counts::Totals;
use crate::governor::Governor;
use crate::health::{Condition, Health};
use crate::journal::{Checkpoint, Entry, Intent, ObjectKey, Objects, Step, StreamRecord};
use crate::lanes::{Lanes, Queued, Ticket};
use crate::metrics::Meters;
use crate::status::{DestinationStatus, StreamStatus};
use crate::stream::{Stream, Unjournaled};
use isthmus_core::destination::{Delivery, Limits, Mapped, Message};
use isthmus_core::seam::{Backoff, Clock};
use isthmus_core::{Place, Timestamp};
use isthmus_state::dead_letters::DeadLetter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

mod ending;

pub use crate::stream::{StreamNumber, Window};
pub use ending::Ending;

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
}

struct InFlight {
    batch: Vec<Delivery>,
    tickets: Vec<Ticket>,
    epoch: u64,
}

/// The state of delivery to one destination.
pub struct Dispatcher {
    rules: Rules,
    lanes: Lanes,
    governor: Governor,
    health: Health,
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
    /// Something changed that only a checkpoint records.
    checkpoint_wanted: bool,
    meters: Meters,
}

impl Dispatcher {
    /// A dispatcher for the destination `name` that goes on from what its journal has `known`.
    ///
    /// It has no streams until [`Self::add_stream`] is called for each.
    pub fn new(name: &str, rules: Rules, known: Checkpoint) -> Self {
        let rules = Rules { limits: usable(rules.limits), ..rules };
        Self {
            lanes: Lanes::new(rules.limits.clone()),
            governor: Governor::new(&rules.limits.rates),
            health: Health::new(rules.backoff),
            streams: BTreeMap::new(),
            dormant: known.streams,
            requests: BTreeMap::new(),
            totals: known.totals,
            next_request: known.next_request,
            next_stream: known.next_stream,
            next_group: 0,
            steps: Vec::new(),
            // What replaying the journal concluded must not be concluded again.
            checkpoint_wanted: true,
            meters: Meters::new(name),
            rules,
        }
    }

    // ---- streams ----

    /// Adds a stream. One that the journal knows goes on where it was; a new one, or one that was
    /// disabled, starts at the present end of `log`.
    pub fn add_stream(
        &mut self,
        name: Arc<str>,
        enabled: bool,
        log: Extent,
    ) -> Result<StreamNumber, StreamError> {
        if self.streams.values().any(|stream| stream.name == name) {
            return Err(StreamError::Exists { name: name.to_string() });
        }
        let known = self.dormant.iter().position(|record| *record.name == *name);
        let stream = if let Some(known) = known {
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
        let number = stream.number;
        self.streams.insert(number, stream);
        self.checkpoint_wanted = true;
        Ok(number)
    }

    /// Call once every stream of this run is added: those that the journal knows and nobody asked
    /// for are disabled from now on. Returns their names.
    pub fn retire_the_rest(&mut self) -> Vec<String> {
        for record in &mut self.dormant {
            if record.enabled {
                record.enabled = false;
                record.stop_at = Some(record.position);
            }
        }
        self.dormant.iter().map(|record| record.name.clone()).collect()
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
        let found = self.streams.values().find(|stream| *stream.name == *name);
        found
            .map(|stream| stream.number)
            .ok_or_else(|| StreamError::Unknown { name: name.to_owned() })
    }

    /// Stops all sending until [`Self::resume`].
    pub fn halt(&mut self, reason: String) {
        self.health.halt(reason);
    }

    /// Sends again, without waiting for back-off or for what the vendor asked.
    pub fn resume(&mut self) {
        self.health.resume();
        self.governor.resume();
        self.lanes.hurry();
    }

    // ---- reading ----

    /// The record to read next in a log that ends at `end`: the one that the stream furthest
    /// behind needs, so that streams side by side read it together and lanes fill in log order.
    pub fn next_read(&self, end: u64) -> Option<u64> {
        let wanted = |stream: &Stream| stream.wants(end, &self.rules.window);
        self.streams.values().filter_map(wanted).min()
    }

    /// The streams that read the record at `offset` now, each with the first place of it that is
    /// not finished yet.
    pub fn readers_at(&self, offset: u64) -> Vec<(StreamNumber, Place)> {
        let reads = |stream: &&Stream| {
            stream.wants(offset.saturating_add(1), &self.rules.window) == Some(offset)
        };
        let readers = self.streams.values().filter(reads);
        readers.map(|stream| (stream.number, stream.floor())).collect()
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
        letters: &mut Vec<DeadLetter>,
    ) {
        let payload_bytes_max = self.lanes.payload_bytes_max();
        let Some(stream) = self.streams.get_mut(&stream) else { return };
        let item = stream.next_item();
        let (mut open, mut done, mut unjournaled) = (0, Vec::new(), Vec::new());
        for (part, mapped) in mapped.drain(..).enumerate() {
            let Ok(part) = u16::try_from(part) else {
                unjournaled.push(Unjournaled::Discarded("more objects than an item may have"));
                continue;
            };
            let mapped = match mapped {
                Mapped::Deliver(message) if message.payload.len() > payload_bytes_max => {
                    let actual = message.payload.len();
                    let reason =
                        format!("object of {actual} bytes exceeds {payload_bytes_max} bytes");
                    Mapped::Reject { reason, message }
                }
                mapped => mapped,
            };
            match mapped {
                Mapped::Discard { reason } => {
                    self.meters.discarded(reason);
                    unjournaled.push(Unjournaled::Discarded(reason));
                }
                Mapped::Reject { reason, message } => {
                    self.meters.rejected.increment(1);
                    unjournaled.push(Unjournaled::Rejected);
                    let delivery =
                        Delivery { stream: stream.name.clone(), place, part, accepted_at, message };
                    letters.push(dead_letter(delivery, reason, now.wall));
                }
                Mapped::Deliver(_) if stream.was_done(place, part) => done.push(part),
                Mapped::Deliver(message) => {
                    open += 1;
                    stream.counts.accepted += 1;
                    stream.pending += 1;
                    stream.pending_bytes += message.payload.len() as u64;
                    let ticket = Ticket {
                        stream: stream.number,
                        item,
                        attempts: 0,
                        failing_since: Duration::ZERO,
                        unknown: stream.is_unknown(place, part),
                        group: None,
                    };
                    let delivery =
                        Delivery { stream: stream.name.clone(), place, part, accepted_at, message };
                    self.lanes.push(Queued { delivery, ticket }, now.monotonic);
                }
            }
        }
        if open > 0 || !done.is_empty() {
            stream.add_item(place, open, &done);
        }
        for outcome in unjournaled {
            stream.add_unjournaled(outcome);
        }
    }

    /// `stream` has taken everything of the record it read; the next one is at `next`.
    pub fn advance(&mut self, stream: StreamNumber, next: u64) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.advance(next);
        }
    }

    // ---- sending ----

    /// Starts the next request if one may start now. Its intent is among the steps to journal;
    /// the request must not leave before that is on disk.
    pub fn start(&mut self, now: Moment) -> Option<RequestId> {
        self.lanes.wake(now.monotonic);
        if self.next_start(now.monotonic)? > now.monotonic {
            return None;
        }
        let queued = self.lanes.fill(self.health.caution().objects_per_request);
        if queued.is_empty() {
            return None;
        }
        self.governor.spend(now.monotonic);
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let (batch, tickets): (Vec<_>, Vec<_>) =
            queued.into_iter().map(|queued| (queued.delivery, queued.ticket)).unzip();
        let request = InFlight { batch, tickets, epoch: self.health.epoch() };
        self.steps.push(Step::Intent(request.intent(id)));
        self.requests.insert(id, request);
        Some(id)
    }

    /// When the next request may start, unless a reply or a new object comes first.
    pub fn next_start(&mut self, now: Duration) -> Option<Duration> {
        let in_flight_max =
            self.rules.limits.requests_in_flight.min(self.health.caution().requests_in_flight);
        if self.requests.len() >= in_flight_max {
            return None;
        }
        let due = self.lanes.due_at()?;
        Some(due.max(self.health.free_at()).max(self.governor.free_at(now)))
    }

    /// The objects of a request under way; empty for one that is not.
    pub fn batch(&self, id: RequestId) -> &[Delivery] {
        self.requests.get(&id).map_or(&[], |request| &request.batch)
    }

    /// Requests started and not ended.
    pub fn in_flight(&self) -> usize {
        self.requests.len()
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
        let mut counted = Vec::new();
        for (delivery, ticket) in request.batch.iter().zip(&request.tickets) {
            let Some(stream) = self.streams.get_mut(&ticket.stream) else { continue };
            if !counted.contains(&ticket.stream) {
                counted.push(ticket.stream);
                stream.counts.requests += 1;
            }
            stream.counts.sent += 1;
            stream.counts.bytes += delivery.message.payload.len() as u64;
            if ticket.unknown {
                stream.counts.possible_duplicates += 1;
                self.meters.possible_duplicates.increment(1);
            }
        }
    }

    // ---- what survives ----

    /// What happened since the last call, to be appended to the journal; `None` if nothing did.
    pub fn take_entry(&mut self) -> Option<Entry> {
        if std::mem::take(&mut self.checkpoint_wanted) {
            return Some(self.checkpoint());
        }
        if self.steps.is_empty() {
            return None;
        }
        Some(Entry::Progress(std::mem::take(&mut self.steps)))
    }

    /// Makes the next entry a checkpoint.
    pub fn want_checkpoint(&mut self) {
        self.checkpoint_wanted = true;
    }

    fn checkpoint(&mut self) -> Entry {
        // A checkpoint is as of now: it holds what the steps would say.
        self.steps.clear();
        let streams = self.streams.values().map(Stream::record);
        Entry::Checkpoint(Box::new(Checkpoint {
            next_request: self.next_request,
            next_stream: self.next_stream,
            streams: streams.chain(self.dormant.iter().cloned()).collect(),
            in_flight: self.requests.iter().map(|(id, request)| request.intent(*id)).collect(),
            totals: self.totals,
        }))
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

    // ---- looking in ----

    /// Whether everything that concerns any stream, in a log that ends at `end`, is finished.
    pub fn is_idle(&self, end: u64) -> bool {
        self.requests.is_empty() && self.streams.values().all(|stream| stream.is_idle(end))
    }

    /// How the destination is doing.
    pub fn condition(&self) -> Condition {
        self.health.condition()
    }

    /// A snapshot for people and programs.
    pub fn status(&mut self, name: &Arc<str>, now: Moment) -> DestinationStatus {
        let throttled_for = self.governor.free_at(now.monotonic).checked_sub(now.monotonic);
        let streams = self.streams.values_mut().map(|stream| StreamStatus {
            name: stream.name.clone(),
            enabled: stream.enabled,
            cursor: stream.cursor(),
            cursor_on_disk: stream.cursor_on_disk,
            holds_log: stream.holds_log(),
            position: stream.position(),
            pending: stream.pending,
            unknown_pending: stream.unknown_pending() as u64,
            counts: stream.counts,
            discards: stream.discards.clone(),
            latency: stream.latency.summary(now.monotonic),
        });
        DestinationStatus {
            name: name.clone(),
            condition: self.health.condition(),
            throttled_for: throttled_for.filter(|wait| !wait.is_zero()),
            requests_in_flight: self.requests.len(),
            on_disk: self.steps.is_empty() && !self.checkpoint_wanted,
            lanes: self.lanes.len(),
            lanes_waiting: self.lanes.waiting(),
            totals: self.totals,
            streams: streams.collect(),
        }
    }

    /// Sets the gauges to what `status` says.
    pub fn gauge(&self, status: &DestinationStatus) {
        self.meters.gauge(status);
    }

    /// Checks every invariant, walking all there is: for tests and the simulator.
    ///
    /// Returns what is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        let mut pending: BTreeMap<StreamNumber, (u64, u64)> = BTreeMap::new();
        let mut count = |ticket: &Ticket, delivery: &Delivery| {
            let entry = pending.entry(ticket.stream).or_default();
            entry.0 += 1;
            entry.1 += delivery.message.payload.len() as u64;
        };
        let mut in_flight = BTreeMap::new();
        for (id, request) in &self.requests {
            for (delivery, ticket) in request.batch.iter().zip(&request.tickets) {
                count(ticket, delivery);
                let lane = delivery.message.lane;
                if *in_flight.entry(lane).or_insert(*id) != *id {
                    return Err(format!("lane {lane:?} is in two requests"));
                }
            }
        }
        for (lane, queue, flies) in self.lanes.queues() {
            for queued in queue {
                count(&queued.ticket, &queued.delivery);
            }
            if flies != in_flight.contains_key(&lane) {
                return Err(format!("lane {lane:?} and its request disagree"));
            }
        }
        for stream in self.streams.values() {
            let (objects, bytes) = pending.remove(&stream.number).unwrap_or_default();
            let name = &stream.name;
            if (objects, bytes) != (stream.pending, stream.pending_bytes) {
                return Err(format!("stream {name} holds {objects} objects, {bytes} bytes"));
            }
            if stream.open() != objects {
                return Err(format!("stream {name} has {} open, holds {objects}", stream.open()));
            }
            let counts = stream.counts;
            let known = counts.delivered + counts.rejected + counts.discarded + stream.pending;
            if counts.accepted != known {
                return Err(format!("stream {name} accepted {}, knows {known}", counts.accepted));
            }
        }
        Ok(())
    }
}

impl InFlight {
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
    limits
}

fn dead_letter(delivery: Delivery, reason: String, rejected_at: Timestamp) -> DeadLetter {
    let Delivery { stream, place, part, accepted_at, message } = delivery;
    let Message { lane, section, name, payload } = message;
    let stream = stream.to_string();
    DeadLetter {
        stream,
        place,
        part,
        name,
        payload,
        reason,
        lane,
        section,
        accepted_at,
        rejected_at,
    }
}

#[cfg(test)]
mod tests;
