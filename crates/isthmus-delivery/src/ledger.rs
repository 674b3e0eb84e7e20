//! What happened to an object, as far back as the journal is kept.
//!
//! The ledger is the journal, read: nothing is written for it twice, and it cannot disagree with
//! what the engine does. Reading goes chunk by chunk (segments of the journal's log); of a chunk
//! that is complete it is remembered which part of the event log it is about, so that one event's
//! story reads a few chunks. Listing reads all, at tens of millions of objects a second.
//!
//! It refuses to know what the objects held: that is in the event log, and among the dead letters.

mod delivered;
mod story;

pub use delivered::Delivered;
pub use story::{Happening, State, Story, What};

use crate::journal::{Checkpoint, Decision, Entry, Fate, JournalError, Mark, ObjectKey, Step};
use isthmus_core::Place;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use story::Telling;

/// Reads the journal's entries in order. The server passes the journal's log.
pub trait EntryReader: Send + Sync + fmt::Debug {
    /// The chunks that are kept, oldest first; all but the last are complete.
    fn chunks(&self) -> Vec<u64>;

    /// Shows the entries of `chunk`, in order; nothing if it is not kept any more.
    fn read(
        &self,
        chunk: u64,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError>;
}

/// The ledger of one destination. Cheap to clone. Reading blocks the thread.
#[derive(Debug, Clone)]
pub struct Ledger {
    entries: Arc<dyn EntryReader>,
    /// Of complete chunks: the offsets of the event log that they are about.
    about: Arc<Mutex<HashMap<u64, Option<RangeInclusive<u64>>>>>,
}

/// Which objects to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Numbers of streams and jobs.
    pub streams: BTreeSet<u32>,
    /// Only objects that are in this state now.
    pub state: Option<State>,
    /// Only objects that were sent again after an outcome that nobody knew.
    pub possible_duplicates: bool,
}

impl Ledger {
    /// The ledger that `entries` tell.
    pub fn new(entries: Arc<dyn EntryReader>) -> Self {
        Self { entries, about: Arc::default() }
    }

    /// The stories of all objects that came from `places`, in order of place, stream and part.
    ///
    /// Items that no stream took, and objects that wait for their first request, have none.
    pub fn stories(&self, places: &BTreeSet<Place>) -> Result<Vec<Story>, JournalError> {
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return Ok(Vec::new());
        };
        let mut telling = Telling::of(|key: &ObjectKey| places.contains(&key.place));
        self.walk(Some(&(first.offset..=last.offset)), |entry| {
            telling.hear(&entry);
            Ok(())
        })?;
        Ok(telling.finish())
    }

    /// The stories of exactly these objects.
    pub fn stories_of(&self, keys: &BTreeSet<ObjectKey>) -> Result<Vec<Story>, JournalError> {
        let offsets = || keys.iter().map(|key| key.place.offset);
        let (Some(first), Some(last)) = (offsets().min(), offsets().max()) else {
            return Ok(Vec::new());
        };
        let mut telling = Telling::of(|key: &ObjectKey| keys.contains(key));
        self.walk(Some(&(first..=last)), |entry| {
            telling.hear(&entry);
            Ok(())
        })?;
        Ok(telling.finish())
    }

    /// The last `limit` objects that `filter` lets through, with their stories, oldest first.
    pub fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<Story>, JournalError> {
        let mut listing = Listing::of(filter, limit);
        self.walk(None, |entry| {
            listing.hear(&entry);
            Ok(())
        })?;
        let keys: BTreeSet<ObjectKey> = listing.last.iter().copied().collect();
        let mut stories: BTreeMap<ObjectKey, Story> =
            self.stories_of(&keys)?.into_iter().map(|story| (story.key, story)).collect();
        let stories = listing.last.iter().filter_map(|key| stories.remove(key));
        Ok(stories
            .filter(|story| {
                filter.state.is_none_or(|state| story.state() == state)
                    && (!filter.possible_duplicates || story.is_possible_duplicate())
            })
            .collect())
    }

    /// Which objects of `streams` (numbers of a stream and its jobs) from the records in `offsets`
    /// are known to be delivered.
    pub fn delivered(
        &self,
        streams: &BTreeSet<u32>,
        offsets: RangeInclusive<u64>,
    ) -> Result<Delivered, JournalError> {
        let mut delivered = Delivered::default();
        let wanted =
            |key: &ObjectKey| streams.contains(&key.stream) && offsets.contains(&key.place.offset);
        let mut in_flight: HashMap<u64, Vec<(usize, ObjectKey)>> = HashMap::new();
        self.walk(Some(&offsets), |entry| {
            for (_, step) in steps(&entry) {
                match step {
                    Step::Intent(intent) => {
                        let keys = intent.objects.0.iter().copied().enumerate();
                        let keys: Vec<_> = keys.filter(|(_, key)| wanted(key)).collect();
                        if !keys.is_empty() {
                            in_flight.insert(intent.request, keys);
                        }
                    }
                    Step::Outcome(outcome) => {
                        let Some(keys) = in_flight.remove(&outcome.request) else { continue };
                        for (index, key) in keys {
                            if let Some(Mark::DeliveredAtOnce | Mark::Delivered) =
                                outcome.marks.at(index)
                            {
                                delivered.insert(key.place, key.part);
                            }
                        }
                    }
                    Step::Decided(decided) if decided.decision == Decision::Confirm => {
                        for key in decided.objects.0.iter().filter(|key| wanted(key)) {
                            delivered.insert(key.place, key.part);
                        }
                    }
                    Step::Aside(_) | Step::Decided(_) => {}
                }
            }
            Ok(())
        })?;
        Ok(delivered)
    }

    /// Shows the entries of all chunks, or of those that are about `offsets`.
    fn walk(
        &self,
        offsets: Option<&RangeInclusive<u64>>,
        mut visit: impl FnMut(Entry) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let chunks = self.entries.chunks();
        let last = chunks.last().copied();
        {
            // Chunks that were trimmed.
            let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
            let first = chunks.first().copied().unwrap_or(0);
            about.retain(|chunk, _| *chunk >= first);
        }
        for chunk in chunks {
            let known = {
                let about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
                about.get(&chunk).cloned()
            };
            let passes = |about: &Option<RangeInclusive<u64>>| match (about, offsets) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(about), Some(wanted)) => {
                    about.start() <= wanted.end() && wanted.start() <= about.end()
                }
            };
            if known.as_ref().is_some_and(|about| !passes(about)) {
                continue;
            }
            let mut about: Option<RangeInclusive<u64>> = None;
            self.entries.read(chunk, &mut |bytes| {
                let entry = Entry::decode(bytes)?;
                for key in steps(&entry).flat_map(|(_, step)| objects(step)) {
                    let offset = key.place.offset;
                    about = Some(match about.take() {
                        None => offset..=offset,
                        Some(known) => *known.start().min(&offset)..=*known.end().max(&offset),
                    });
                }
                visit(entry)
            })?;
            if known.is_none() && Some(chunk) != last {
                let mut known = self.about.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(chunk, about);
            }
        }
        Ok(())
    }
}

/// The steps of an entry, each with the instant it was written at.
fn steps(entry: &Entry) -> impl Iterator<Item = (i64, &Step)> {
    let (at, steps) = match entry {
        Entry::Progress(progress) => (progress.at, &progress.steps),
        Entry::Checkpoint(checkpoint) => (checkpoint.at, &checkpoint.since),
    };
    steps.iter().map(move |step| (at, step))
}

/// The objects that a step names. An outcome names none: its intent does.
fn objects(step: &Step) -> &[ObjectKey] {
    match step {
        Step::Intent(intent) => &intent.objects.0,
        Step::Aside(aside) => &aside.objects.0,
        Step::Decided(decided) => &decided.objects.0,
        Step::Outcome(_) => &[],
    }
}

/// Of the requests `in_flight` before `checkpoint`, those that a run before it left without an
/// answer: it neither has them under way nor brings their outcome.
fn left_open<'a>(
    checkpoint: &Checkpoint,
    in_flight: impl Iterator<Item = &'a u64>,
) -> BTreeSet<u64> {
    let mut left: BTreeSet<u64> = in_flight.copied().collect();
    for intent in &checkpoint.in_flight {
        left.remove(&intent.request);
    }
    for step in &checkpoint.since {
        if let Step::Outcome(outcome) = step {
            left.remove(&outcome.request);
        }
    }
    left
}

/// Finds the last objects that a filter may let through: what they came to is looked at again.
#[derive(Debug)]
struct Listing<'a> {
    filter: &'a Filter,
    limit: usize,
    last: VecDeque<ObjectKey>,
    in_flight: HashMap<u64, Vec<ObjectKey>>,
    /// Objects of which an outcome is unknown, while possible duplicates are asked for.
    unknown: HashSet<ObjectKey>,
}

impl<'a> Listing<'a> {
    fn of(filter: &'a Filter, limit: usize) -> Self {
        let (last, in_flight, unknown) = (VecDeque::new(), HashMap::new(), HashSet::new());
        Self { filter, limit, last, in_flight, unknown }
    }

    fn hear(&mut self, entry: &Entry) {
        if let Entry::Checkpoint(checkpoint) = entry {
            for request in left_open(checkpoint, self.in_flight.keys()) {
                self.unknown.extend(self.in_flight.remove(&request).unwrap_or_default());
            }
        }
        for (_, step) in steps(entry) {
            match step {
                Step::Intent(intent) => self.intent(intent.request, &intent.objects.0),
                Step::Outcome(outcome) => {
                    let keys = self.in_flight.remove(&outcome.request).unwrap_or_default();
                    for (index, key) in keys.into_iter().enumerate() {
                        let Some(mark) = outcome.marks.at(index) else { continue };
                        if mark == Mark::Unknown {
                            self.unknown.insert(key);
                        }
                        if self.asks_for(State::of_mark(mark)) {
                            self.take(key);
                        }
                    }
                }
                Step::Aside(aside) if self.asks_for(State::of_fate(aside.fate)) => {
                    aside.objects.0.iter().for_each(|key| self.take(*key));
                }
                Step::Decided(decided) if self.asks_for(State::of_decision(decided.decision)) => {
                    decided.objects.0.iter().for_each(|key| self.take(*key));
                }
                Step::Aside(_) | Step::Decided(_) => {}
            }
        }
    }

    fn intent(&mut self, request: u64, keys: &[ObjectKey]) {
        for key in keys {
            let doubles = self.filter.possible_duplicates && self.unknown.contains(key);
            if doubles || self.asks_for(State::InFlight) {
                self.take(*key);
            }
        }
        self.in_flight.insert(request, keys.to_vec());
    }

    /// Whether an object that comes to `state` may be let through.
    fn asks_for(&self, state: State) -> bool {
        !self.filter.possible_duplicates && self.filter.state.is_none_or(|asked| asked == state)
    }

    fn take(&mut self, key: ObjectKey) {
        if !self.filter.streams.contains(&key.stream) {
            return;
        }
        if self.last.back() == Some(&key) {
            return;
        }
        self.last.push_back(key);
        if self.last.len() > self.limit {
            self.last.pop_front();
        }
    }
}

impl State {
    fn of_mark(mark: Mark) -> Self {
        match mark {
            Mark::DeliveredAtOnce | Mark::Delivered => Self::Delivered,
            Mark::Rejected => Self::Rejected,
            Mark::Expired => Self::Expired,
            Mark::Parked => Self::Unknown,
            Mark::Again | Mark::Deferred | Mark::Unknown => Self::Pending,
        }
    }

    fn of_fate(fate: Fate) -> Self {
        match fate {
            Fate::Discarded => Self::Discarded,
            Fate::Refused => Self::Rejected,
            Fate::Parked => Self::Unknown,
        }
    }

    fn of_decision(decision: Decision) -> Self {
        match decision {
            Decision::Resend => Self::Pending,
            Decision::Discard => Self::Discarded,
            Decision::Confirm => Self::Delivered,
        }
    }
}

#[cfg(test)]
mod tests;
