//! The mirror: what the vendor was last told of each user, and acknowledged; and when it may be
//! believed.
//!
//! It may know less than the vendor was told, which costs sending something twice; it must never
//! claim that the vendor has a value when another one was sent later. The state engine reaches the
//! disk about every second and the journal before each request leaves, so after a crash the journal
//! knows of requests that the mirror does not. Every change therefore goes with a [`Mark`]: an entry
//! of the journal before which no request is open. At start, users of all requests from that entry
//! on are forgotten. Where that cannot be found out, everybody is.

use crate::dead_letters::DeadLetterStore;
use crate::dispatcher::RequestId;
use crate::journal::{Entry, Intent, Journal, JournalError, ObjectKey, Step};
use crate::remapping::{RemapError, Remapping};
use isthmus_core::Place;
use isthmus_core::destination::{Destination, Lane, Mapped, Mapping, Told};
use isthmus_state::StateError;
use isthmus_state::mirror::{Doubt, Mark, Mirror, Origin};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

mod rebuild;

#[cfg(test)]
pub(crate) use rebuild::refill_by;
pub use rebuild::{RebuildError, Refilled, Telling, refill};

/// A user's lane, and what the user was told; nothing where that is not known any more.
pub type Retold = (Lane, Option<Arc<Told>>);

/// Keeps a destination's mirror. The server passes `isthmus_state`'s.
pub trait MirrorStore: Send + Sync + fmt::Debug {
    /// What the user of `lane` was told, if anything is known.
    fn get(&self, lane: Lane) -> Result<Option<Arc<Told>>, StateError>;

    /// What there is to go by; nothing where nothing is to be believed.
    fn mark(&self) -> Result<Option<Mark>, StateError>;

    /// Since when the journal is about what it is about now, if that was ever kept.
    fn origin(&self) -> Result<Option<Origin>, StateError>;

    /// Replaces the origin.
    fn keep_origin(&self, origin: &Origin) -> Result<(), StateError>;

    /// Keeps `changes` and the mark that covers them, all or none.
    fn apply(&self, changes: &[Retold], mark: &Mark) -> Result<(), StateError>;

    /// Forgets what `doubts` are about, all or none; returns of how many users something was known.
    fn forget(&self, doubts: &[Doubt]) -> Result<u64, StateError>;

    /// Forgets everybody, and the mark first; the origin stays.
    fn clear(&self) -> Result<(), StateError>;
}

impl MirrorStore for Mirror {
    fn get(&self, lane: Lane) -> Result<Option<Arc<Told>>, StateError> {
        self.get(lane)
    }

    fn mark(&self) -> Result<Option<Mark>, StateError> {
        self.mark()
    }

    fn origin(&self) -> Result<Option<Origin>, StateError> {
        self.origin()
    }

    fn keep_origin(&self, origin: &Origin) -> Result<(), StateError> {
        self.keep_origin(origin)
    }

    fn apply(&self, changes: &[Retold], mark: &Mark) -> Result<(), StateError> {
        self.apply(changes, mark)
    }

    fn forget(&self, doubts: &[Doubt]) -> Result<u64, StateError> {
        self.forget(doubts)
    }

    fn clear(&self) -> Result<(), StateError> {
        self.clear()
    }
}

/// Takes note of what `destination` is and of what its messages are made by, before anything of that is
/// written to `journal`; returns since when that is so.
pub fn note_origin(
    store: &dyn MirrorStore,
    destination: &dyn Destination,
    mappings: u64,
    journal: &dyn Journal,
) -> Result<Origin, StateError> {
    let recipient = destination.recipient();
    let known = store.origin()?;
    let same = |known: &Origin| known.recipient == recipient && known.mappings == mappings;
    if let Some(known) = known.filter(same) {
        return Ok(known);
    }
    let origin = Origin { recipient, mappings, position: journal.range().end };
    store.keep_origin(&origin)?;
    Ok(origin)
}

/// The mirror of a destination that is being served: a store, and how far it may be believed.
#[derive(Debug)]
pub(crate) struct Keeper {
    store: Arc<dyn MirrorStore>,
    recipient: String,
    mappings: u64,
    /// The entry that was written last.
    written: Option<u64>,
    /// Requests that are open, by the entry that says so.
    open: BTreeMap<RequestId, u64>,
    /// Entries still to be written of requests that were filled when the vendor was found not to have
    /// what it was told.
    unsure: u8,
}

/// Finds the lanes of objects again.
pub(crate) struct Finding<'a> {
    pub(crate) destination: &'a dyn Destination,
    pub(crate) remapping: Remapping,
    /// Of each stream and job, by its number: its stream's name, and what that maps with.
    pub(crate) streams: BTreeMap<u32, (Arc<str>, Arc<dyn Mapping>)>,
    pub(crate) dead_letters: &'a dyn DeadLetterStore,
}

impl Keeper {
    /// Opens `store` for what `destination` is told by mappings that `mappings` stands for, after
    /// the run before this one ended in whatever way; forgets what is not certain.
    pub(crate) fn open(
        store: Arc<dyn MirrorStore>,
        mappings: u64,
        journal: &dyn Journal,
        finding: &mut Finding<'_>,
    ) -> Result<Self, KeeperError> {
        note_origin(&*store, finding.destination, mappings, journal)?;
        let recipient = finding.destination.recipient();
        let mut keeper =
            Self { store, recipient, mappings, written: None, open: BTreeMap::new(), unsure: 0 };
        let mark = keeper.store.mark()?;
        let known = match mark.filter(|mark| mark.recipient == keeper.recipient) {
            Some(mark) => {
                let open = keeper.open_since(&mark, journal)?;
                let found = match open {
                    Some(open) if open.is_empty() => Some(BTreeSet::new()),
                    Some(open) if mark.mappings == mappings => finding.lanes(&open)?,
                    _ => None,
                };
                found.map(|lanes| (mark, lanes))
            }
            None => None,
        };
        match known {
            Some((mark, lanes)) => {
                let forgotten: Vec<Retold> = lanes.into_iter().map(|lane| (lane, None)).collect();
                let position = keeper.written.unwrap_or(mark.position);
                keeper.store.apply(&forgotten, &keeper.mark_at(position, true))?;
            }
            None => keeper.store.clear()?,
        }
        Ok(keeper)
    }

    /// The objects of requests that `mark` does not cover; nothing where that cannot be told. Takes
    /// note of the last entry.
    fn open_since(
        &mut self,
        mark: &Mark,
        journal: &dyn Journal,
    ) -> Result<Option<BTreeSet<ObjectKey>>, JournalError> {
        let mut open = BTreeSet::new();
        let mut last = None;
        let complete = journal.read_from(mark.position, &mut |at, bytes| {
            last = Some(at);
            if mark.covers && at == mark.position {
                return Ok(());
            }
            let entry = Entry::decode(bytes)?;
            open.extend(intents(&entry).flat_map(|intent| intent.objects.0.iter().copied()));
            Ok(())
        })?;
        self.written = last;
        Ok(complete.then_some(open))
    }

    /// The entry at `position` is on disk, the last of `journal`, and says that `requests` are open.
    pub(crate) fn written(
        &mut self,
        position: u64,
        requests: impl Iterator<Item = RequestId>,
        journal: &dyn Journal,
    ) -> Result<(), StateError> {
        self.written = Some(position);
        self.open.extend(requests.map(|request| (request, position)));
        if self.unsure > 0 {
            self.unsure -= 1;
            self.begin_origin(journal)?;
        }
        Ok(())
    }

    /// The vendor was found not to have what it was told: what `journal` says so far does not count for
    /// whoever builds the mirror from it. Requests that are filled by now leave out what was believed:
    /// one entry with some of them may be on its way, and the next one has the others.
    pub(crate) fn was_wrong(&mut self, journal: &dyn Journal) -> Result<(), StateError> {
        self.unsure = 2;
        self.begin_origin(journal)
    }

    fn begin_origin(&self, journal: &dyn Journal) -> Result<(), StateError> {
        let (recipient, position) = (self.recipient.clone(), journal.range().end);
        self.store.keep_origin(&Origin { recipient, mappings: self.mappings, position })
    }

    /// The request has ended; `changes` is what users were told then.
    pub(crate) fn ended(
        &mut self,
        request: RequestId,
        changes: &[Retold],
    ) -> Result<(), StateError> {
        self.open.remove(&request);
        self.settle(changes)
    }

    /// Forgets what is doubted, before anything else is compared with it.
    pub(crate) fn forget(&self, doubts: &[Doubt]) -> Result<u64, StateError> {
        self.store.forget(doubts)
    }

    /// Keeps how far the mirror may be believed now.
    pub(crate) fn keep_mark(&self) -> Result<(), StateError> {
        self.settle(&[])
    }

    fn settle(&self, changes: &[Retold]) -> Result<(), StateError> {
        let mark = match (self.open.values().min(), self.written) {
            (Some(position), _) => self.mark_at(*position, false),
            (None, Some(position)) => self.mark_at(position, true),
            // No request has left: nothing can have been told.
            (None, None) => return Ok(()),
        };
        self.store.apply(changes, &mark)
    }

    fn mark_at(&self, position: u64, covers: bool) -> Mark {
        Mark { recipient: self.recipient.clone(), mappings: self.mappings, position, covers }
    }
}

/// Why a mirror cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Finding<'_> {
    /// The lanes that `objects` are in; nothing where not all of them can be found.
    fn lanes(
        &mut self,
        objects: &BTreeSet<ObjectKey>,
    ) -> Result<Option<BTreeSet<Lane>>, StateError> {
        let mut lanes = BTreeSet::new();
        // In the order of the log, which is read once then.
        let places: BTreeSet<(Place, u32)> =
            objects.iter().map(|key| (key.place, key.stream)).collect();
        for (place, stream) in places {
            let Some((_, mapping)) = self.streams.get(&stream) else { return Ok(None) };
            match self.remapping.map(&**mapping, place) {
                Ok(Some(mapped)) => lanes.extend(self.mirrored(&mapped)),
                Ok(None) => return Ok(None),
                Err(error) => {
                    tracing::warn!(%error, "users of open requests cannot be found");
                    return Ok(None);
                }
            }
        }
        // A letter may be from before a change of the mapping.
        for key in objects {
            let Some((name, _)) = self.streams.get(&key.stream) else { return Ok(None) };
            if let Some(letter) = self.dead_letters.get(name, key.place, key.part)? {
                lanes.insert(letter.lane);
            }
        }
        Ok(Some(lanes))
    }

    fn mirrored(&self, mapped: &[Mapped]) -> Vec<Lane> {
        let lane = |mapped: &Mapped| match mapped {
            Mapped::Deliver(message) | Mapped::Reject { message, .. } => {
                self.destination.is_mirrored(message).then_some(message.lane)
            }
            Mapped::Discard { .. } => None,
        };
        mapped.iter().filter_map(lane).collect()
    }
}

/// The requests that an entry says are open.
fn intents(entry: &Entry) -> impl Iterator<Item = &Intent> {
    let (steps, open): (&[Step], &[Intent]) = match entry {
        Entry::Progress(progress) => (&progress.steps, &[]),
        Entry::Checkpoint(checkpoint) => (&checkpoint.since, &checkpoint.in_flight),
    };
    let steps = steps.iter().filter_map(|step| match step {
        Step::Intent(intent) => Some(intent),
        _ => None,
    });
    steps.chain(open)
}
