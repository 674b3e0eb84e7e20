//! What waits to be sent, in one queue per lane, and which of it makes up the next request.
//!
//! A lane is in one of four standings: ready with objects that were never tried (`fresh`), ready
//! with objects that were (`again`, which go first), waiting for a retry, or in flight. Objects
//! leave a lane from its front and come back to its front, so they never change places.

use crate::stream::StreamNumber;
use isthmus_core::destination::{Delivery, Lane, Limits, Section};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// Part of a request's size that is not objects, kept free for the vendor's envelope.
const ENVELOPE_BYTES: usize = 1_024;
/// What an object costs beside its payload: the comma after it.
const SEPARATOR_BYTES: usize = 1;
/// Lanes that are passed over for one request because their next object does not fit, before the
/// request goes as it is: more would make filling slow when one section is full.
const PASSED_OVER_MAX: usize = 64;

/// An object in its lane.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) delivery: Delivery,
    pub(crate) ticket: Ticket,
}

/// What we know of an object beside the object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) stream: StreamNumber,
    /// Its item's number in the stream's window.
    pub(crate) item: u64,
    /// Times it was sent and nothing came of it.
    pub(crate) attempts: u32,
    /// When the first of those attempts ended.
    pub(crate) failing_since: Duration,
    /// Whether the outcome of an attempt is unknown, so that sending it again may double it.
    pub(crate) unknown: bool,
    /// The part of a refused request that it must be sent with, apart from all others.
    pub(crate) group: Option<GroupId>,
}

/// A part of a request that was refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct GroupId(pub(crate) u64);

#[derive(Debug)]
struct LaneState {
    queue: VecDeque<Queued>,
    standing: Standing,
    /// While fresh: how many objects from the front could share a request.
    takeable: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// On `fresh`, with this stamp. An entry with another stamp is stale, which makes removing
    /// from the middle of a list free.
    Fresh(u64),
    Again(u64),
    Waiting(Duration, u64),
    InFlight,
}

/// All lanes of one destination.
#[derive(Debug)]
pub(crate) struct Lanes {
    limits: Limits,
    by_lane: HashMap<Lane, LaneState>,
    fresh: VecDeque<(Lane, u64, Duration)>,
    again: VecDeque<(Lane, u64)>,
    waiting: BTreeMap<(Duration, u64), Lane>,
    /// Lanes that hold, or did hold, objects of a group.
    groups: HashMap<GroupId, Vec<Lane>>,
    next_stamp: u64,
    /// Sum over fresh lanes.
    takeable: usize,
}

impl Lanes {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_lane: HashMap::new(),
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            waiting: BTreeMap::new(),
            groups: HashMap::new(),
            next_stamp: 0,
            takeable: 0,
        }
    }

    /// Largest payload that fits into a request of its own.
    pub(crate) fn payload_bytes_max(&self) -> usize {
        let alone = self.limits.bytes_per_request.as_usize();
        let alone = alone.saturating_sub(ENVELOPE_BYTES + SEPARATOR_BYTES);
        self.limits.bytes_per_object.as_usize().min(alone)
    }

    /// Lanes with anything queued or in flight.
    pub(crate) fn len(&self) -> usize {
        self.by_lane.len()
    }

    /// Lanes that wait for a retry.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Puts `queued` at the end of its lane.
    pub(crate) fn push(&mut self, queued: Queued, now: Duration) {
        let lane = queued.delivery.message.lane;
        let section = queued.delivery.message.section;
        if let Some(state) = self.by_lane.get_mut(&lane) {
            if matches!(state.standing, Standing::Fresh(_))
                && state.takeable == state.queue.len()
                && state.queue.back().is_some_and(|last| section_of(last) <= section)
            {
                state.takeable += 1;
                self.takeable += 1;
            }
            state.queue.push_back(queued);
        } else {
            let stamp = self.stamp();
            self.fresh.push_back((lane, stamp, now));
            self.takeable += 1;
            let standing = Standing::Fresh(stamp);
            self.by_lane.insert(lane, LaneState { queue: [queued].into(), standing, takeable: 1 });
        }
    }

    /// Moves lanes whose wait is over to those that are ready.
    pub(crate) fn wake(&mut self, now: Duration) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let lane = entry.remove();
            let stamp = self.stamp();
            if let Some(state) = self.by_lane.get_mut(&lane) {
                state.standing = Standing::Again(stamp);
                self.again.push_back((lane, stamp));
            }
        }
    }

    /// When the next request is due, as far as the lanes are concerned; `None` while no lane has
    /// anything to send.
    pub(crate) fn due_at(&mut self) -> Option<Duration> {
        self.drop_stale();
        if !self.again.is_empty() || self.takeable >= self.limits.objects_per_request {
            return Some(Duration::ZERO);
        }
        let lingered = self.fresh.front().map(|(_, _, since)| *since + self.limits.linger);
        let retry = self.waiting.first_key_value().map(|((at, _), _)| *at);
        lingered.into_iter().chain(retry).min()
    }

    /// Takes the objects of the next request, at most `objects_max`; their lanes are in flight
    /// from now on. Objects of one lane stand together.
    pub(crate) fn fill(&mut self, objects_max: usize) -> Vec<Queued> {
        self.drop_stale();
        let mut request = Filling::new(&self.limits, objects_max);
        let first_group = self.again.front().and_then(|(lane, _)| self.front_group(*lane));
        match first_group {
            Some(group) => self.fill_from_group(group, &mut request),
            None => self.fill_from_all(&mut request),
        }
        debug_assert!(
            !request.batch.is_empty() || self.fresh.is_empty() && self.again.is_empty(),
            "an object fits into an empty request"
        );
        request.batch
    }

    fn fill_from_all(&mut self, request: &mut Filling) {
        let mut passed_over = Vec::new();
        while !request.is_full() && passed_over.len() < PASSED_OVER_MAX {
            let Some((lane, stamp)) = self.again.pop_front() else { break };
            if self.standing(lane) != Some(Standing::Again(stamp)) {
                continue;
            }
            if self.front_group(lane).is_some() || !self.take(lane, None, request) {
                passed_over.push((lane, stamp));
            }
        }
        while let Some(entry) = passed_over.pop() {
            self.again.push_front(entry);
        }
        let mut passed_over = Vec::new();
        while !request.is_full() && passed_over.len() < PASSED_OVER_MAX {
            let Some((lane, stamp, since)) = self.fresh.pop_front() else { break };
            if self.standing(lane) != Some(Standing::Fresh(stamp)) {
                continue;
            }
            if !self.take(lane, None, request) {
                passed_over.push((lane, stamp, since));
            }
        }
        while let Some(entry) = passed_over.pop() {
            self.fresh.push_front(entry);
        }
    }

    fn fill_from_group(&mut self, group: GroupId, request: &mut Filling) {
        let lanes = self.groups.remove(&group).unwrap_or_default();
        let mut left = Vec::new();
        for lane in lanes {
            let ready = matches!(self.standing(lane), Some(Standing::Again(_)));
            let took = ready
                && self.front_group(lane) == Some(group)
                && !request.is_full()
                && self.take(lane, Some(group), request);
            if !took || self.front_group(lane) == Some(group) {
                left.push(lane);
            }
        }
        left.retain(|lane| self.holds_group(*lane, group));
        if !left.is_empty() {
            self.groups.insert(group, left);
        }
    }

    /// Moves what fits of `lane` into `request`; returns whether anything did.
    fn take(&mut self, lane: Lane, group: Option<GroupId>, request: &mut Filling) -> bool {
        let Some(state) = self.by_lane.get_mut(&lane) else { return false };
        let before = request.batch.len();
        let mut section = Section(0);
        while let Some(front) = state.queue.front() {
            let fits = front.ticket.group == group
                && section_of(front) >= section
                && request.has_room_for(front);
            if !fits {
                break;
            }
            section = section_of(front);
            if let Some(front) = state.queue.pop_front() {
                request.add(front);
            }
        }
        let took = request.batch.len() > before;
        if took {
            if matches!(state.standing, Standing::Fresh(_)) {
                self.takeable -= state.takeable;
            }
            state.standing = Standing::InFlight;
        }
        took
    }

    /// Takes `lane` out of flight and puts `returned`, in order, back at its front. Where
    /// anything came back, the lane is not ready before `retry_at`.
    pub(crate) fn give_back(
        &mut self,
        lane: Lane,
        returned: Vec<Queued>,
        retry_at: Duration,
        now: Duration,
    ) {
        let stamp = self.stamp();
        let came_back = !returned.is_empty();
        let Some(state) = self.by_lane.get_mut(&lane) else { return };
        for queued in returned.into_iter().rev() {
            if let Some(group) = queued.ticket.group {
                let lanes = self.groups.entry(group).or_default();
                if !lanes.contains(&lane) {
                    lanes.push(lane);
                }
            }
            state.queue.push_front(queued);
        }
        let Some(front) = state.queue.front() else {
            self.by_lane.remove(&lane);
            return;
        };
        if came_back && retry_at > now {
            state.standing = Standing::Waiting(retry_at, stamp);
            self.waiting.insert((retry_at, stamp), lane);
        } else if came_back || was_tried(front) {
            state.standing = Standing::Again(stamp);
            self.again.push_back((lane, stamp));
        } else {
            state.standing = Standing::Fresh(stamp);
            state.takeable = takeable(&state.queue, self.limits.objects_per_request);
            self.takeable += state.takeable;
            self.fresh.push_back((lane, stamp, now));
        }
    }

    /// Makes every lane ready that waits for a retry.
    pub(crate) fn hurry(&mut self) {
        self.wake(Duration::MAX);
    }

    /// Drops what is queued of `stream`. What is in flight is not here.
    pub(crate) fn remove_stream(&mut self, stream: StreamNumber, now: Duration) {
        let lanes: Vec<Lane> = self.by_lane.keys().copied().collect();
        for lane in lanes {
            let Some(state) = self.by_lane.get_mut(&lane) else { continue };
            let before = state.queue.len();
            state.queue.retain(|queued| queued.ticket.stream != stream);
            if state.queue.len() == before || state.standing == Standing::InFlight {
                continue;
            }
            match state.standing {
                Standing::Fresh(_) => self.takeable -= state.takeable,
                Standing::Waiting(at, stamp) => drop(self.waiting.remove(&(at, stamp))),
                Standing::Again(_) | Standing::InFlight => {}
            }
            state.standing = Standing::InFlight;
            self.give_back(lane, Vec::new(), Duration::ZERO, now);
        }
    }

    /// Every lane and what is queued in it, for checks.
    pub(crate) fn queues(&self) -> impl Iterator<Item = (Lane, &VecDeque<Queued>, bool)> {
        let in_flight = |state: &LaneState| state.standing == Standing::InFlight;
        self.by_lane.iter().map(move |(lane, state)| (*lane, &state.queue, in_flight(state)))
    }

    fn standing(&self, lane: Lane) -> Option<Standing> {
        self.by_lane.get(&lane).map(|state| state.standing)
    }

    fn front_group(&self, lane: Lane) -> Option<GroupId> {
        self.by_lane.get(&lane)?.queue.front()?.ticket.group
    }

    fn holds_group(&self, lane: Lane, group: GroupId) -> bool {
        let queue = self.by_lane.get(&lane).map(|state| &state.queue);
        queue.is_some_and(|queue| queue.iter().any(|queued| queued.ticket.group == Some(group)))
    }

    fn drop_stale(&mut self) {
        while let Some(&(lane, stamp)) = self.again.front() {
            if self.standing(lane) == Some(Standing::Again(stamp)) {
                break;
            }
            self.again.pop_front();
        }
        while let Some(&(lane, stamp, _)) = self.fresh.front() {
            if self.standing(lane) == Some(Standing::Fresh(stamp)) {
                break;
            }
            self.fresh.pop_front();
        }
    }

    fn stamp(&mut self) -> u64 {
        self.next_stamp += 1;
        self.next_stamp
    }
}

fn section_of(queued: &Queued) -> Section {
    queued.delivery.message.section
}

fn was_tried(queued: &Queued) -> bool {
    let ticket = &queued.ticket;
    ticket.attempts > 0 || ticket.unknown || ticket.group.is_some()
}

/// How many objects from the front could share a request: as long as sections do not descend.
fn takeable(queue: &VecDeque<Queued>, max: usize) -> usize {
    let pairs = queue.iter().zip(queue.iter().skip(1)).take(max.saturating_sub(1));
    1 + pairs.take_while(|(one, next)| section_of(one) <= section_of(next)).count()
}

/// A request being filled.
struct Filling {
    batch: Vec<Queued>,
    objects_left: usize,
    objects_per_section: usize,
    bytes_left: usize,
    sections: Vec<(Section, usize)>,
}

impl Filling {
    fn new(limits: &Limits, objects_max: usize) -> Self {
        Self {
            batch: Vec::new(),
            objects_left: limits.objects_per_request.min(objects_max),
            objects_per_section: limits.objects_per_section,
            bytes_left: limits.bytes_per_request.as_usize().saturating_sub(ENVELOPE_BYTES),
            sections: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.objects_left == 0
    }

    fn has_room_for(&self, queued: &Queued) -> bool {
        let section = section_of(queued);
        let used = self.sections.iter().find(|(known, _)| *known == section);
        self.objects_left > 0
            && cost(queued) <= self.bytes_left
            && used.is_none_or(|(_, used)| *used < self.objects_per_section)
    }

    fn add(&mut self, queued: Queued) {
        let section = section_of(&queued);
        match self.sections.iter_mut().find(|(known, _)| *known == section) {
            Some((_, used)) => *used += 1,
            None => self.sections.push((section, 1)),
        }
        self.objects_left -= 1;
        self.bytes_left -= cost(&queued);
        self.batch.push(queued);
    }
}

fn cost(queued: &Queued) -> usize {
    queued.delivery.message.payload.len() + SEPARATOR_BYTES
}

#[cfg(test)]
mod tests;
