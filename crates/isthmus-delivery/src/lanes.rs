//! What waits to be sent, in one queue per lane, and which of it makes up the next request.
//!
//! A lane is in one of five standings: ready with objects that were never tried (`fresh`), ready
//! with objects that were (`again`, which go first), waiting for a retry or for what it was told to
//! settle, held until another lane is empty, or in flight. Objects leave a lane from its front and
//! come back to its front, so they never change places.
//!
//! Where the vendor counts objects by user or device, a lane whose front would be too much waits until
//! it is not, and gives way to the others meanwhile.
//!
//! A request is one call of the vendor's: objects of another call at the front of a lane wait for a
//! request of their own.
//!
//! A user has one lane whatever the priorities of its objects, so that the past and the present of
//! one user keep their order too. A lane is as urgent as its most urgent object, and a request is
//! filled from lanes of one priority: the past waits for the present, except where it stands in
//! front of it. How much of it can stand there is bounded by [`Lanes::is_crowded`].

mod holding;
mod pacing;

pub(crate) use pacing::Pacer;

use crate::stream::StreamNumber;
use isthmus_core::Timestamp;
use isthmus_core::destination::{Call, Delivery, Lane, Limits, Priority, Section};
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
    /// Its item's number in the stream's window; `None` where the object had ended before and is
    /// sent again.
    pub(crate) item: Option<u64>,
    pub(crate) priority: Priority,
    /// Since when a policy that gives up counts.
    pub(crate) since: Timestamp,
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
    /// While fresh: how many objects from the front could share a request of the main call. A
    /// request of another call is due once it has lingered.
    takeable: usize,
    /// No request of it leaves before this: what it was told must settle.
    settles: Duration,
    /// While fresh: since when.
    since: Duration,
    /// Objects queued, by priority.
    counts: [usize; Priority::ALL.len()],
}

impl LaneState {
    /// That of its most urgent object.
    fn priority(&self) -> Priority {
        let queued = Priority::ALL.into_iter().zip(self.counts);
        let mut queued = queued.filter(|(_, count)| *count > 0).map(|(priority, _)| priority);
        queued.next().unwrap_or(Priority::Backfill)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// On `fresh`, with this stamp. An entry with another stamp is stale, which makes removing
    /// from the middle of a list free.
    Fresh(u64),
    Again(u64),
    Waiting(Duration, u64),
    /// Its front waits until this lane is empty.
    Held(Lane),
    InFlight,
}

/// All lanes of one destination.
#[derive(Debug)]
pub(crate) struct Lanes {
    limits: Limits,
    by_lane: HashMap<Lane, LaneState>,
    ready: [Ready; Priority::ALL.len()],
    waiting: BTreeMap<(Duration, u64), Lane>,
    /// By lane, those that are, or were, held until it is empty.
    held: HashMap<Lane, Vec<Lane>>,
    /// Lanes that hold, or did hold, objects of a group.
    groups: HashMap<GroupId, Vec<Lane>>,
    next_stamp: u64,
    /// Lanes in which the past alone would fill a request.
    crowded: usize,
    /// Where the vendor counts objects by user or device.
    pacer: Option<Pacer>,
}

/// Lanes of one priority that could be sent from.
#[derive(Debug, Default)]
struct Ready {
    fresh: VecDeque<(Lane, u64, Duration)>,
    again: VecDeque<(Lane, u64)>,
    /// Sum over fresh lanes.
    takeable: usize,
}

impl Lanes {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_lane: HashMap::new(),
            ready: Default::default(),
            waiting: BTreeMap::new(),
            held: HashMap::new(),
            groups: HashMap::new(),
            next_stamp: 0,
            crowded: 0,
            pacer: None,
        }
    }

    /// Lets objects leave at `pacer`'s pace.
    pub(crate) fn pace(&mut self, pacer: Option<Pacer>) {
        self.pacer = pacer;
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

    /// Whether nothing of `lane` is queued or in flight.
    pub(crate) fn is_idle(&self, lane: Lane) -> bool {
        !self.by_lane.contains_key(&lane)
    }

    /// Lanes that wait for a retry, or for their pace.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether some user's past fills a request by itself: no more of it is read until it does
    /// not, so that what is urgent for that user never stands behind more than about that.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded > 0
    }

    /// Puts `queued` at the end of its lane. Where that was empty, the lane is not ready before
    /// `retry_at`.
    pub(crate) fn push(&mut self, queued: Queued, retry_at: Option<Duration>, now: Duration) {
        let lane = queued.delivery.message.lane;
        let priority = queued.ticket.priority;
        let Some(state) = self.by_lane.get_mut(&lane) else {
            let mut counts = Default::default();
            count(&mut counts, priority, &mut self.crowded, self.limits.objects_per_request);
            let (queue, standing) = ([queued].into(), Standing::InFlight);
            let settles = Duration::ZERO;
            let state = LaneState { queue, standing, takeable: 0, settles, since: now, counts };
            self.by_lane.insert(lane, state);
            self.stand(lane, retry_at.is_some(), retry_at.unwrap_or(now), now);
            return;
        };
        let before = state.priority();
        let joins = state.takeable == state.queue.len()
            && state.queue.back().is_some_and(|last| joins(last, &queued));
        state.queue.push_back(queued);
        count(&mut state.counts, priority, &mut self.crowded, self.limits.objects_per_request);
        if joins && let Standing::Fresh(_) = state.standing {
            state.takeable += 1;
            if let Some(ready) = self.ready.get_mut(before as usize) {
                ready.takeable += 1;
            }
        }
        if state.priority() != before {
            self.promote(lane, before);
        }
    }

    /// Moves a lane that is ready from the lists of `before` to those of its present priority.
    fn promote(&mut self, lane: Lane, before: Priority) {
        let stamp = self.stamp();
        let Some(state) = self.by_lane.get_mut(&lane) else { return };
        let now = state.priority();
        let both = self.ready.get_disjoint_mut([before as usize, now as usize]);
        let Ok([before, now]) = both else { return };
        match &mut state.standing {
            Standing::Fresh(known) => {
                *known = stamp;
                before.takeable -= state.takeable;
                now.takeable += state.takeable;
                now.fresh.push_back((lane, stamp, state.since));
            }
            Standing::Again(known) => {
                *known = stamp;
                now.again.push_back((lane, stamp));
            }
            Standing::Waiting(..) | Standing::Held(_) | Standing::InFlight => {}
        }
    }

    /// Moves lanes whose wait is over to those that are ready.
    pub(crate) fn wake(&mut self, now: Duration) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let lane = entry.remove();
            self.rouse(lane, now);
        }
    }

    /// Makes a lane ready whose wait is over.
    fn rouse(&mut self, lane: Lane, now: Duration) {
        let stamp = self.stamp();
        let Some(state) = self.by_lane.get_mut(&lane) else { return };
        if state.queue.is_empty() {
            // It only had something to settle.
            return self.leave(lane, now);
        }
        state.standing = Standing::Again(stamp);
        if let Some(ready) = self.ready.get_mut(state.priority() as usize) {
            ready.again.push_back((lane, stamp));
        }
    }

    /// When the next request of `priority` is due, as far as the lanes are concerned; `None` while
    /// no lane of it has anything to send. A request holds at most `objects_max`.
    pub(crate) fn due_at(
        &mut self,
        priority: Priority,
        objects_max: usize,
        now: Duration,
    ) -> Option<Duration> {
        self.drop_stale(priority, now);
        let ready = self.ready.get(priority as usize)?;
        if !ready.again.is_empty()
            || ready.takeable >= self.limits.objects_per_request.min(objects_max)
        {
            return Some(Duration::ZERO);
        }
        ready.fresh.front().map(|(_, _, since)| *since + self.limits.linger)
    }

    /// When the next lane's wait is over.
    pub(crate) fn wakes_at(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the objects of the next request, from lanes of `priority` and at most `objects_max`;
    /// their lanes are in flight from now on. Objects of one lane stand together, and `sift` sees
    /// them: what it takes away has ended, and makes room for others. Where it takes away everything
    /// there may be more to send although nothing is left to send now.
    pub(crate) fn fill(
        &mut self,
        priority: Priority,
        objects_max: usize,
        now: Duration,
        sift: &mut dyn FnMut(&mut Vec<Queued>),
    ) -> Vec<Queued> {
        self.drop_stale(priority, now);
        let mut request = Filling::new(&self.limits, objects_max, now, sift);
        let Some(ready) = self.ready.get_mut(priority as usize) else { return Vec::new() };
        let mut ready = std::mem::take(ready);
        let first_group = ready.again.front().and_then(|(lane, _)| self.front_group(*lane));
        match first_group {
            Some(group) => self.fill_from_group(group, &mut ready, &mut request),
            None => self.fill_from_all(&mut ready, &mut request),
        }
        debug_assert!(
            !request.batch.is_empty()
                || request.sifted_out > 0
                || ready.fresh.is_empty() && ready.again.is_empty(),
            "an object fits into an empty request"
        );
        if let Some(place) = self.ready.get_mut(priority as usize) {
            *place = ready;
        }
        let Filling { batch, released, .. } = request;
        for (lane, since) in released {
            self.stand(lane, false, Duration::ZERO, since);
        }
        batch
    }

    fn fill_from_all(&mut self, ready: &mut Ready, request: &mut Filling<'_>) {
        let mut passed_over = Vec::new();
        while !request.is_full() && passed_over.len() < PASSED_OVER_MAX {
            let Some((lane, stamp)) = ready.again.pop_front() else { break };
            if self.standing(lane) != Some(Standing::Again(stamp)) {
                continue;
            }
            if self.front_group(lane).is_some() || !self.take(lane, None, ready, request) {
                passed_over.push((lane, stamp));
            }
        }
        while let Some(entry) = passed_over.pop() {
            ready.again.push_front(entry);
        }
        let mut passed_over = Vec::new();
        while !request.is_full() && passed_over.len() < PASSED_OVER_MAX {
            let Some((lane, stamp, since)) = ready.fresh.pop_front() else { break };
            if self.standing(lane) != Some(Standing::Fresh(stamp)) {
                continue;
            }
            if !self.take(lane, None, ready, request) {
                passed_over.push((lane, stamp, since));
            }
        }
        while let Some(entry) = passed_over.pop() {
            ready.fresh.push_front(entry);
        }
    }

    fn fill_from_group(&mut self, group: GroupId, ready: &mut Ready, request: &mut Filling<'_>) {
        let lanes = self.groups.remove(&group).unwrap_or_default();
        let mut left = Vec::new();
        for lane in lanes {
            let stands = matches!(self.standing(lane), Some(Standing::Again(_)));
            let took = stands
                && self.front_group(lane) == Some(group)
                && !request.is_full()
                && self.take(lane, Some(group), ready, request);
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
    fn take(
        &mut self,
        lane: Lane,
        group: Option<GroupId>,
        ready: &mut Ready,
        request: &mut Filling<'_>,
    ) -> bool {
        if self.hold(lane, ready) || self.hold_back(lane, ready, request.now) {
            return false;
        }
        let Some(state) = self.by_lane.get_mut(&lane) else { return false };
        let before = request.batch.len();
        let waiting = state.queue.len();
        // Again while all that was taken is sifted out: what follows begins anew.
        loop {
            let left = state.queue.len();
            let mut section = None;
            while let Some(front) = state.queue.front() {
                // Whether an object may follow what the lane has in the request already; one that
                // comes after another lane is looked at when it is the first.
                let follows = section.is_none_or(|last| {
                    section_of(front) >= last && front.delivery.message.after.is_none()
                });
                let fits = front.ticket.group == group
                    && follows
                    && request.has_room_for(front, &self.limits);
                if !fits {
                    break;
                }
                if let Some(pacer) = &mut self.pacer {
                    let message = &front.delivery.message;
                    if pacer.free_at(message, request.now) > request.now {
                        break;
                    }
                    pacer.spend(message, request.now);
                }
                section = Some(section_of(front));
                if let Some(front) = state.queue.pop_front() {
                    let full = self.limits.objects_per_request;
                    uncount(&mut state.counts, front.ticket.priority, &mut self.crowded, full);
                    request.add(front, &self.limits);
                }
            }
            request.sift(before, &self.limits);
            if request.batch.len() > before || state.queue.len() == left {
                break;
            }
            // What waits for another lane, or for what was said before, is looked at when it stands.
            let waits = |front: &Queued| {
                front.delivery.message.after.is_some()
                    || self.limits.of_call(section_of(front).call()).is_some()
            };
            if state.queue.front().is_none_or(waits) {
                break;
            }
        }
        if state.queue.len() == waiting {
            return false;
        }
        if matches!(state.standing, Standing::Fresh(_)) {
            ready.takeable -= state.takeable;
        }
        state.standing = Standing::InFlight;
        if request.batch.len() == before {
            request.released.push((lane, state.since));
        }
        true
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
        let came_back = !returned.is_empty();
        let Some(state) = self.by_lane.get_mut(&lane) else { return };
        for queued in returned.into_iter().rev() {
            if let Some(group) = queued.ticket.group {
                let lanes = self.groups.entry(group).or_default();
                if !lanes.contains(&lane) {
                    lanes.push(lane);
                }
            }
            let full = self.limits.objects_per_request;
            count(&mut state.counts, queued.ticket.priority, &mut self.crowded, full);
            state.queue.push_front(queued);
        }
        self.stand(lane, came_back, retry_at, now);
    }

    /// Gives a lane that is in no list its standing.
    fn stand(&mut self, lane: Lane, came_back: bool, retry_at: Duration, now: Duration) {
        let stamp = self.stamp();
        let waits_for = self.waits_for(lane);
        if waits_for.is_none() && !came_back {
            self.settle_before(lane, now);
        }
        let free_at = if waits_for.is_none() { self.free_at(lane, now) } else { Duration::ZERO };
        let Some(state) = self.by_lane.get_mut(&lane) else { return };
        let wakes = if came_back { retry_at.max(state.settles) } else { state.settles };
        let wakes = wakes.max(free_at);
        if wakes > now {
            state.standing = Standing::Waiting(wakes, stamp);
            self.waiting.insert((wakes, stamp), lane);
            return;
        }
        let Some(front) = state.queue.front() else { return self.leave(lane, now) };
        let ready = self.ready.get_mut(state.priority() as usize);
        let Some(ready) = ready else { return };
        if let Some(other) = waits_for {
            state.standing = Standing::Held(other);
            self.held.entry(other).or_default().push(lane);
        } else if came_back || was_tried(front) {
            state.standing = Standing::Again(stamp);
            ready.again.push_back((lane, stamp));
        } else {
            state.standing = Standing::Fresh(stamp);
            state.takeable = takeable(&state.queue, self.limits.objects_per_request);
            state.since = now;
            ready.takeable += state.takeable;
            ready.fresh.push_back((lane, stamp, now));
        }
    }

    /// Takes out what is queued of `stream`. What is in flight is not here.
    pub(crate) fn remove_stream(&mut self, stream: StreamNumber, now: Duration) -> Vec<Queued> {
        let (mut removed, mut changed) = (Vec::new(), Vec::new());
        let lanes: Vec<Lane> = self.by_lane.keys().copied().collect();
        for lane in lanes {
            let Some(state) = self.by_lane.get_mut(&lane) else { continue };
            let before = state.priority();
            let queued = state.queue.len();
            let (counts, full) = (&mut state.counts, self.limits.objects_per_request);
            let crowded = &mut self.crowded;
            let (gone, stays): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut state.queue)
                .into_iter()
                .partition(|queued| queued.ticket.stream == stream);
            state.queue = stays;
            for queued in gone {
                uncount(counts, queued.ticket.priority, crowded, full);
                removed.push(queued);
            }
            if state.queue.len() == queued || state.standing == Standing::InFlight {
                continue;
            }
            match state.standing {
                Standing::Fresh(_) => {
                    if let Some(ready) = self.ready.get_mut(before as usize) {
                        ready.takeable -= state.takeable;
                    }
                }
                Standing::Waiting(at, stamp) => drop(self.waiting.remove(&(at, stamp))),
                Standing::Again(_) | Standing::Held(_) | Standing::InFlight => {}
            }
            state.standing = Standing::InFlight;
            changed.push(lane);
        }
        // Only now is it known which lanes are empty, and hold nobody.
        for lane in changed {
            self.give_back(lane, Vec::new(), Duration::ZERO, now);
        }
        removed
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

    /// Afterwards, the first lane of each list is there and can be sent from.
    fn drop_stale(&mut self, priority: Priority, now: Duration) {
        let Some(ready) = self.ready.get_mut(priority as usize) else { return };
        let mut ready = std::mem::take(ready);
        while let Some(&(lane, stamp)) = ready.again.front() {
            if self.standing(lane) == Some(Standing::Again(stamp))
                && !self.hold(lane, &mut ready)
                && !self.hold_back(lane, &mut ready, now)
            {
                break;
            }
            ready.again.pop_front();
        }
        while let Some(&(lane, stamp, _)) = ready.fresh.front() {
            if self.standing(lane) == Some(Standing::Fresh(stamp))
                && !self.hold(lane, &mut ready)
                && !self.hold_back(lane, &mut ready, now)
            {
                break;
            }
            ready.fresh.pop_front();
        }
        if let Some(place) = self.ready.get_mut(priority as usize) {
            *place = ready;
        }
    }

    fn stamp(&mut self) -> u64 {
        self.next_stamp += 1;
        self.next_stamp
    }
}

/// Counts an object in; notes when the past begins to fill a request by itself.
fn count(
    counts: &mut [usize; Priority::ALL.len()],
    priority: Priority,
    crowded: &mut usize,
    full: usize,
) {
    if let Some(count) = counts.get_mut(priority as usize) {
        *count += 1;
        *crowded += usize::from(priority == Priority::Backfill && *count == full);
    }
}

/// Counts an object out.
fn uncount(
    counts: &mut [usize; Priority::ALL.len()],
    priority: Priority,
    crowded: &mut usize,
    full: usize,
) {
    if let Some(count) = counts.get_mut(priority as usize) {
        *crowded -= usize::from(priority == Priority::Backfill && *count == full);
        *count -= 1;
    }
}

fn section_of(queued: &Queued) -> Section {
    queued.delivery.message.section
}

fn was_tried(queued: &Queued) -> bool {
    let ticket = &queued.ticket;
    ticket.attempts > 0 || ticket.unknown || ticket.group.is_some()
}

/// How many objects from the front could share a request of the main call.
fn takeable(queue: &VecDeque<Queued>, max: usize) -> usize {
    if queue.front().is_none_or(|front| section_of(front).call() != Call::MAIN) {
        return 0;
    }
    let pairs = queue.iter().zip(queue.iter().skip(1)).take(max.saturating_sub(1));
    1 + pairs.take_while(|(one, next)| joins(one, next)).count()
}

/// Whether `next` could go with `one`, its predecessor in their lane: as long as sections do not
/// descend.
fn joins(one: &Queued, next: &Queued) -> bool {
    let (section, following) = (section_of(one), section_of(next));
    section.call() == following.call()
        && section <= following
        && next.delivery.message.after.is_none()
}

/// A request being filled.
struct Filling<'a> {
    batch: Vec<Queued>,
    objects_max: usize,
    now: Duration,
    /// Known once the first object says which call it is.
    objects_left: usize,
    objects_per_section: usize,
    bytes_left: usize,
    sections: Vec<(Section, usize)>,
    sift: &'a mut dyn FnMut(&mut Vec<Queued>),
    sifted_out: usize,
    /// Lanes of which everything that was taken was sifted out, and since when they were ready.
    released: Vec<(Lane, Duration)>,
}

impl<'a> Filling<'a> {
    fn new(
        limits: &Limits,
        objects_max: usize,
        now: Duration,
        sift: &'a mut dyn FnMut(&mut Vec<Queued>),
    ) -> Self {
        Self {
            batch: Vec::new(),
            objects_max,
            now,
            objects_left: objects_max,
            objects_per_section: limits.objects_per_section,
            bytes_left: limits.bytes_per_request.as_usize().saturating_sub(ENVELOPE_BYTES),
            sections: Vec::new(),
            sift,
            sifted_out: 0,
            released: Vec::new(),
        }
    }

    /// Sifts what was added after the first `before` objects, all of one lane.
    fn sift(&mut self, before: usize, limits: &Limits) {
        let mut run = self.batch.split_off(before);
        let added = run.len();
        for queued in &run {
            self.objects_left += 1;
            self.bytes_left += cost(queued);
            let section = section_of(queued);
            if let Some((_, used)) = self.sections.iter_mut().find(|(known, _)| *known == section) {
                *used -= 1;
            }
        }
        (self.sift)(&mut run);
        self.sifted_out += added - run.len();
        for queued in run {
            self.add(queued, limits);
        }
    }

    fn is_full(&self) -> bool {
        self.objects_left == 0
    }

    fn has_room_for(&self, queued: &Queued, limits: &Limits) -> bool {
        let section = section_of(queued);
        let apart = |first| !limits.share_a_request(section_of(first), section);
        if self.batch.first().is_some_and(apart) {
            return false;
        }
        let used = self.sections.iter().find(|(known, _)| *known == section);
        self.objects_left > 0
            && cost(queued) <= self.bytes_left
            && used.is_none_or(|(_, used)| *used < self.objects_per_section)
    }

    fn add(&mut self, queued: Queued, limits: &Limits) {
        let section = section_of(&queued);
        if self.batch.is_empty() {
            self.objects_left = limits.objects_of(section.call()).min(self.objects_max);
        }
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
