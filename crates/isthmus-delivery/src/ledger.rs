//! What happened to an object, as far back as the journal is kept.
//!
//! The ledger is the journal, read: nothing is written for it twice, and it cannot disagree with
//! what the engine does. Reading goes chunk by chunk (segments of the journal's log); of a chunk
//! that is complete it is remembered which part of the event log it is about, so that one event's
//! story reads a few chunks. Listing reads all, at tens of millions of objects a second.
//!
//! It refuses to know what the objects held: that is in the event log, and among the dead letters.

mod chunks;
mod delivered;
mod listing;
mod story;

pub use delivered::Delivered;
pub use story::{Happening, State, Story, What};

use crate::journal::{Decision, Entry, Fate, JournalError, Mark, ObjectKey, Step};
use chunks::About;
use isthmus_core::{Place, Timestamp};
use listing::Listing;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

    /// When the first entry of `chunk` was written.
    fn begun_at(&self, chunk: u64) -> Option<Timestamp>;
}

/// The ledger of one destination. Cheap to clone. Reading blocks the thread.
#[derive(Debug, Clone)]
pub struct Ledger {
    entries: Arc<dyn EntryReader>,
    /// Of complete chunks.
    about: Arc<Mutex<HashMap<u64, About>>>,
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
    /// Only objects from records of the event log at these offsets.
    pub offsets: Option<RangeInclusive<u64>>,
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

    /// The last `limit` objects that `filter` lets through, with their stories; the one of which
    /// there is news comes last.
    pub fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<Story>, JournalError> {
        let mut listing = Listing::of(filter, limit);
        self.walk(filter.offsets.as_ref(), |entry| {
            listing.hear(&entry);
            Ok(())
        })?;
        let last = listing.finish();
        let keys: BTreeSet<ObjectKey> = last.iter().copied().collect();
        let mut stories: BTreeMap<ObjectKey, Story> =
            self.stories_of(&keys)?.into_iter().map(|story| (story.key, story)).collect();
        let stories = last.iter().filter_map(|key| stories.remove(key));
        // What happened between the two readings may have changed the answer.
        Ok(stories
            .filter(|story| {
                filter.state.is_none_or(|state| story.state() == state)
                    && (!filter.possible_duplicates || story.is_possible_duplicate())
            })
            .collect())
    }

    /// When the first entry that is kept was written: of what ended before, nothing is known.
    pub fn kept_since(&self) -> Option<Timestamp> {
        self.entries.begun_at(*self.entries.chunks().first()?)
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
                    Step::Aside(_) | Step::Decided(_) | Step::Billed(_) => {}
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
        // Chunks that were trimmed.
        let first = chunks.first().copied().unwrap_or(0);
        self.about().retain(|chunk, _| *chunk >= first);
        let mut before = About::default();
        for chunk in chunks {
            let known = self.about().get(&chunk).cloned();
            if let Some(known) = &known
                && offsets.is_some_and(|offsets| !known.is_about(offsets))
            {
                before.clone_from(known);
                continue;
            }
            let mut about = before.next();
            self.entries.read(chunk, &mut |bytes| {
                let entry = Entry::decode(bytes)?;
                about.hear(&entry);
                visit(entry)
            })?;
            if known.is_none() && Some(chunk) != last {
                self.about().insert(chunk, about.clone());
            }
            before = about;
        }
        Ok(())
    }

    fn about(&self) -> MutexGuard<'_, HashMap<u64, About>> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Takes from the requests that are `open` before `entry` those that a crash left without an answer:
/// a run begins with a checkpoint, and knows of none of them.
fn lost<T>(open: &mut HashMap<u64, T>, entry: &Entry) -> Vec<(u64, T)> {
    let Entry::Checkpoint(checkpoint) = entry else { return Vec::new() };
    let under_way = checkpoint.in_flight.iter().map(|intent| intent.request);
    let ended = checkpoint.since.iter().filter_map(|step| match step {
        Step::Outcome(outcome) => Some(outcome.request),
        Step::Intent(_) | Step::Aside(_) | Step::Decided(_) | Step::Billed(_) => None,
    });
    let known: BTreeSet<u64> = under_way.chain(ended).collect();
    let mut lost: Vec<(u64, T)> = open.extract_if(|request, _| !known.contains(request)).collect();
    lost.sort_by_key(|(request, _)| *request);
    lost
}

/// The objects that a step names. An outcome names none: its intent does.
fn objects(step: &Step) -> &[ObjectKey] {
    match step {
        Step::Intent(intent) => &intent.objects.0,
        Step::Aside(aside) => &aside.objects.0,
        Step::Decided(decided) => &decided.objects.0,
        Step::Outcome(_) | Step::Billed(_) => &[],
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
