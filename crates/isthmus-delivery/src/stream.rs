//! One stream's place in the event log: what was read, what is finished, what it counts.

use crate::counts::Counts;
use crate::jobs::Skips;
use crate::journal::{Gap, JobRecord, StreamRecord, Tried};
use crate::latency::RecentLatency;
use isthmus_core::destination::{Priority, RetryPolicy};
use isthmus_core::{Place, Timestamp};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A stream's number within its destination; never given to another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamNumber(pub u32);

/// How much of a stream may be in memory. Reading stops while any of it is reached, and goes on
/// record by record, so it may be exceeded by what one record of the log maps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Objects pending.
    pub objects: u64,
    /// Payload bytes pending.
    pub bytes: u64,
    /// Items from the oldest unfinished one on: how far other users get ahead of a stuck one.
    pub items: usize,
}

impl Default for Window {
    /// Objects: several times what a hundred requests of 75 in flight hold. Bytes: a small part
    /// of the 1 GiB the process may use. Items: minutes of a busy stream.
    fn default() -> Self {
        Self { objects: 32_768, bytes: 64 << 20, items: 262_144 }
    }
}

/// An item of the log that this stream has objects of, from the oldest unfinished one on.
#[derive(Debug)]
struct Item {
    place: Place,
    /// Objects not finished.
    open: u32,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: Arc<str>,
    pub(crate) number: StreamNumber,
    pub(crate) enabled: bool,
    pub(crate) counts: Counts,
    pub(crate) pending: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) discards: BTreeMap<Cow<'static, str>, u64>,
    pub(crate) latency: RecentLatency,
    /// How urgent its objects are.
    pub(crate) priority: Priority,
    /// When its objects are given up.
    pub(crate) retry: RetryPolicy,
    /// Set where this is not a stream but a job.
    pub(crate) job: Option<Job>,
    /// Objects that were tried and are not finished.
    tried: BTreeMap<(Place, u16), Tried>,
    /// Objects that had ended and are to be sent again.
    revived: BTreeSet<(Place, u16)>,
    /// Of a run before this one: wait until everything that it had read is read again, so that they
    /// overtake nothing.
    to_revive: BTreeSet<(Place, u16)>,
    /// How far a run before this one had read.
    reread_to: u64,
    /// Objects whose dead letters are to be removed.
    pub(crate) removing: BTreeSet<(Place, u16)>,
    /// Offset at which it began to read.
    born: u64,
    /// The cursor as it last reached the disk.
    pub(crate) cursor_on_disk: Place,
    /// Offset of the next record to read.
    position: u64,
    /// While disabled: the offset at which reading ends. What was accepted before is finished.
    stop_at: Option<u64>,
    /// Parts of the log that passed while the stream was disabled.
    gaps: Vec<Gap>,
    /// Items before this are finished, whatever the position says: after a restart, reading
    /// begins with the record that the cursor points into.
    floor: Place,
    window: VecDeque<Item>,
    /// Number of the window's first item.
    first_item: u64,
    /// Finished objects of unfinished items.
    parts_done: BTreeSet<(Place, u16)>,
    /// What a run before this one finished beyond the cursor, until it is read again.
    before_items: BTreeSet<Place>,
    before_parts: BTreeSet<(Place, u16)>,
}

/// What a job has beside what a stream has.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) record: JobRecord,
    /// What it leaves out.
    pub(crate) skips: Skips,
}

impl Stream {
    /// A stream that reads from the record at `position` on.
    pub(crate) fn new(number: StreamNumber, name: Arc<str>, enabled: bool, position: u64) -> Self {
        let floor = Place { offset: position, index: 0 };
        Self {
            name,
            number,
            enabled,
            counts: Counts::default(),
            pending: 0,
            pending_bytes: 0,
            discards: BTreeMap::new(),
            latency: RecentLatency::default(),
            priority: Priority::Triggers,
            retry: RetryPolicy::default(),
            job: None,
            tried: BTreeMap::new(),
            revived: BTreeSet::new(),
            to_revive: BTreeSet::new(),
            reread_to: 0,
            removing: BTreeSet::new(),
            born: position,
            cursor_on_disk: floor,
            position,
            stop_at: (!enabled).then_some(position),
            gaps: Vec::new(),
            floor,
            window: VecDeque::new(),
            first_item: 0,
            parts_done: BTreeSet::new(),
            before_items: BTreeSet::new(),
            before_parts: BTreeSet::new(),
        }
    }

    /// The stream as the journal remembers it.
    pub(crate) fn recovered(record: StreamRecord) -> Self {
        Self {
            counts: record.counts,
            discards: record.discards.into_iter().map(|(k, n)| (Cow::Owned(k), n)).collect(),
            tried: record.tried,
            to_revive: record.revived,
            reread_to: record.position,
            removing: record.removing,
            born: record.born,
            stop_at: record.stop_at,
            gaps: record.gaps,
            floor: record.cursor,
            cursor_on_disk: record.cursor,
            before_items: record.items_done,
            before_parts: record.parts_done,
            ..Self::new(
                StreamNumber(record.number),
                record.name.into(),
                record.enabled,
                record.cursor.offset,
            )
        }
    }

    /// What the journal has to remember of the stream.
    pub(crate) fn record(&self) -> StreamRecord {
        let mut counts = self.counts;
        counts.accepted = counts.delivered + counts.rejected + counts.discarded + counts.parked;
        let discards = self.discards.iter().map(|(reason, count)| (reason.to_string(), *count));
        let finished = self.window.iter().filter(|item| item.open == 0).map(|item| item.place);
        StreamRecord {
            number: self.number.0,
            name: self.name.to_string(),
            enabled: self.enabled,
            born: self.born,
            cursor: self.cursor(),
            position: self.position.max(self.reread_to),
            stop_at: self.stop_at,
            gaps: self.gaps.clone(),
            counts,
            discards: discards.collect(),
            items_done: self.before_items.iter().copied().chain(finished).collect(),
            parts_done: self.before_parts.union(&self.parts_done).copied().collect(),
            tried: self.tried.clone(),
            revived: self.revived.union(&self.to_revive).copied().collect(),
            removing: self.removing.clone(),
            job: self.job.as_ref().map(|job| job.record.clone()),
        }
    }

    /// The first place of the log that is not finished.
    pub(crate) fn cursor(&self) -> Place {
        let read = self.floor.max(Place { offset: self.position, index: 0 });
        self.window.front().map_or(read, |item| item.place)
    }

    /// Items before this are not this run's to look at.
    pub(crate) fn floor(&self) -> Place {
        self.floor
    }

    /// Offset of the next record to read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the log must be kept for this stream.
    pub(crate) fn holds_log(&self) -> bool {
        self.enabled || !self.is_drained()
    }

    /// Whether everything that was accepted before the stream was disabled is finished.
    fn is_drained(&self) -> bool {
        self.window.is_empty() && self.stop_at.is_some_and(|stop_at| self.position >= stop_at)
    }

    /// Objects whose outcome is unknown and which are to be sent again.
    pub(crate) fn unknown_pending(&self) -> usize {
        self.tried.values().filter(|tried| tried.unknown).count()
    }

    /// Objects that were tried and are to be sent again.
    pub(crate) fn retrying(&self) -> usize {
        self.tried.len()
    }

    /// Offset at which it began to read.
    pub(crate) fn born(&self) -> u64 {
        self.born
    }

    /// Parts of the log that it did not read.
    pub(crate) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Since when a policy that gives up counts, for an object accepted at `accepted_at`: a job
    /// takes objects up long after that.
    pub(crate) fn since(&self, accepted_at: Timestamp) -> Timestamp {
        let started = self.job.as_ref().map(|job| Timestamp::from_millis(job.record.started_at));
        started.map_or(accepted_at, |started| started.max(accepted_at))
    }

    /// Whether a job has read and finished everything.
    pub(crate) fn is_job_done(&self) -> bool {
        let undecided = !self.removing.is_empty() || !self.to_revive.is_empty();
        self.job.is_some() && self.is_drained() && self.pending == 0 && !undecided
    }

    /// The record to read next, if the window has room and the log, which ends at `end`, has more
    /// for this stream.
    pub(crate) fn wants(&self, end: u64, window: &Window) -> Option<u64> {
        let has_room = self.pending < window.objects
            && self.pending_bytes < window.bytes
            && self.window.len() < window.items;
        let until = self.stop_at.map_or(end, |stop_at| stop_at.min(end));
        (has_room && self.position < until).then_some(self.position)
    }

    /// Whether everything up to `end` that concerns the stream is read and finished.
    pub(crate) fn is_idle(&self, end: u64) -> bool {
        let until = self.stop_at.map_or(end, |stop_at| stop_at.min(end));
        self.pending == 0 && self.position >= until
    }

    /// The record at [`Self::position`] is read; the next one is at `next`.
    pub(crate) fn advance(&mut self, next: u64) {
        self.position = next;
        self.skip_gaps();
        let read = Place { offset: self.position, index: 0 };
        if self.before_items.first().is_some_and(|place| *place < read) {
            self.before_items = self.before_items.split_off(&read);
        }
        if self.before_parts.first().is_some_and(|(place, _)| *place < read) {
            self.before_parts = self.before_parts.split_off(&(read, 0));
        }
        self.settle();
    }

    /// Reads no further; what was accepted is still finished.
    pub(crate) fn disable(&mut self, at: u64) {
        if self.enabled {
            self.enabled = false;
            self.stop_at = Some(at);
        }
    }

    /// Reads on from `end`, the present end of the log: what passed meanwhile is not sent.
    pub(crate) fn enable(&mut self, end: u64) {
        if self.enabled {
            return;
        }
        self.enabled = true;
        if let Some(from) = self.stop_at.take().filter(|from| *from < end) {
            self.gaps.push(Gap { from, to: end });
            self.skip_gaps();
        }
    }

    /// Gives up what lies before `start`, if anything does; only before anything is read.
    pub(crate) fn skip_to(&mut self, start: u64) -> bool {
        if self.position >= start {
            return false;
        }
        self.position = start;
        self.tried.retain(|(place, _), _| place.offset >= start);
        self.advance(start);
        true
    }

    /// The number that the next item gets.
    pub(crate) fn next_item(&self) -> u64 {
        self.first_item + self.window.len() as u64
    }

    /// Whether a run before this one finished this object.
    pub(crate) fn was_done(&self, place: Place, part: u16) -> bool {
        self.before_items.contains(&place) || self.before_parts.contains(&(place, part))
    }

    /// Whether a job leaves this object out; it counts that.
    pub(crate) fn leaves_out(&mut self, place: Place, part: u16) -> bool {
        let Some(job) = &mut self.job else { return false };
        let skips = job.skips.contains(place, part);
        job.record.skipped += u64::from(skips);
        skips
    }

    /// What is known of attempts to send this object, perhaps by a run before this one.
    pub(crate) fn tried(&self, place: Place, part: u16) -> Option<Tried> {
        self.tried.get(&(place, part)).copied()
    }

    /// Adds an item with `open` objects to finish beside those of the parts `done`.
    pub(crate) fn add_item(&mut self, place: Place, open: u32, done: &[u16]) {
        if open > 0 {
            self.parts_done.extend(done.iter().map(|part| (place, *part)));
        }
        self.window.push_back(Item { place, open });
    }

    /// Counts an object that a rule holds back.
    pub(crate) fn discard(&mut self, reason: impl Into<Cow<'static, str>>) {
        self.counts.accepted += 1;
        self.counts.discarded += 1;
        *self.discards.entry(reason.into()).or_default() += 1;
    }

    /// While disabled, and for a job: the offset at which reading ends.
    pub(crate) fn stop_at(&self) -> Option<u64> {
        self.stop_at
    }

    /// Reads up to the record at `to`.
    pub(crate) fn end_at(&mut self, to: u64) {
        self.stop_at = Some(to);
    }

    /// Reads no further than it has.
    pub(crate) fn stop_here(&mut self) {
        self.stop_at = Some(self.position);
    }

    /// An attempt at this object came to nothing.
    pub(crate) fn mark_tried(&mut self, place: Place, part: u16, tried: Tried) {
        self.tried.insert((place, part), tried);
    }

    /// Nothing is to be remembered of attempts at this object.
    pub(crate) fn forget_tries(&mut self, place: Place, part: u16) {
        self.tried.remove(&(place, part));
    }

    /// Objects that a run before this one was to send again, once nothing is left to be read again.
    pub(crate) fn to_revive(&self) -> impl Iterator<Item = (Place, u16)> {
        let ready = self.position >= self.reread_to;
        self.to_revive.iter().copied().filter(move |_| ready)
    }

    /// Whether somebody asked for this object, which had ended, to be sent again.
    pub(crate) fn is_revived(&self, place: Place, part: u16) -> bool {
        let object = (place, part);
        self.revived.contains(&object) || self.to_revive.contains(&object)
    }

    /// Objects that had ended and are to be sent again.
    pub(crate) fn revived(&self) -> &BTreeSet<(Place, u16)> {
        &self.revived
    }

    /// The object, which had ended, is to be sent again; returns whether it may be sent now.
    pub(crate) fn revive(&mut self, place: Place, part: u16) -> bool {
        if self.position < self.reread_to {
            self.to_revive.insert((place, part));
            return false;
        }
        self.to_revive.remove(&(place, part));
        self.revived.insert((place, part))
    }

    /// The object, which was to be sent again, has ended.
    pub(crate) fn finish_revived(&mut self, place: Place, part: u16) {
        self.tried.remove(&(place, part));
        self.revived.remove(&(place, part));
        self.to_revive.remove(&(place, part));
    }

    /// The object is finished, one way or the other.
    pub(crate) fn finish(&mut self, item: u64, place: Place, part: u16) {
        self.tried.remove(&(place, part));
        let index = usize::try_from(item.saturating_sub(self.first_item)).unwrap_or(usize::MAX);
        let Some(entry) = self.window.get_mut(index) else { return };
        debug_assert_eq!(entry.place, place, "an item keeps its number");
        entry.open = entry.open.saturating_sub(1);
        if entry.open > 0 {
            self.parts_done.insert((place, part));
            return;
        }
        while let Some(done) = self.parts_done.range((place, 0)..=(place, u16::MAX)).next() {
            let done = *done;
            self.parts_done.remove(&done);
        }
        self.settle();
    }

    /// Lets go of what the cursor has passed.
    fn settle(&mut self) {
        while self.window.front().is_some_and(|item| item.open == 0) {
            self.window.pop_front();
            self.first_item += 1;
        }
    }

    fn skip_gaps(&mut self) {
        let inside = |gap: &&Gap, position| (gap.from..gap.to).contains(&position);
        while let Some(gap) = self.gaps.iter().find(|gap| inside(gap, self.position)) {
            self.position = gap.to;
        }
    }

    /// Objects that are not finished, by the window's account.
    pub(crate) fn open(&self) -> u64 {
        self.window.iter().map(|item| u64::from(item.open)).sum()
    }
}
