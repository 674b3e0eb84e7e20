//! Where in the event log the items of an event or of a user are, without reading all of it.
//!
//! The [`Indexer`] trails the event log and reduces every item to two fingerprints, one of its
//! insert id and one of its person. A [`Finder`] scans these columns, tens of millions of items a
//! second, and reads the records that they point at to be sure. What is not indexed yet it reads
//! directly, so an item is found as soon as it is in the log.
//!
//! It refuses to be needed. It is derived data: missing, damaged or of another log, it is built
//! again from the event log, and meanwhile searches are slower and just as right. The indexer
//! never fails, holds nothing up, and leaves more of the disk free than the logs do.
//!
//! Invariants:
//! - Nothing is reported that was not read in the event log by that very search.
//! - Stored blocks follow one another in the order of the event log; what lies between two of them
//!   was trimmed from it before it was indexed.
//!
//! In reading order: what is kept of a run of records (`block`), where that is stored (`store`),
//! who writes it (`indexer`), how it is searched (`search`, `time`).

mod block;
mod found;
mod indexer;
mod search;
mod store;
mod time;

pub use found::{Found, FoundKind};
pub use indexer::Indexer;
pub use search::Order;

use block::{Block, Head};
use isthmus_core::record::{Applied, AppliedBatch, RecordError};
use isthmus_core::seam::Clock;
use isthmus_core::{AmplitudeId, Place, Timestamp};
use isthmus_log::{Disk, Log, LogError};
use isthmus_state::StateError;
use isthmus_state::people::{IdKind, People};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use store::{Loaded, Store, StoreError};

/// What a finder is opened with.
#[derive(Clone)]
pub struct FinderParts {
    pub disk: Arc<dyn Disk>,
    /// Its own folder, created where it is missing.
    pub folder: PathBuf,
    pub events: Log,
    pub people: People,
    pub clock: Arc<dyn Clock>,
    pub config: FinderConfig,
}

/// How large blocks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinderConfig {
    /// Items, or records, after which a block is stored. It then exceeds this by less than a
    /// record. The block that grows takes 8 bytes an item and 24 a record in memory, and is
    /// indexed again after a crash.
    pub block_items_max: u32,
    /// Age at which a block is stored however small. It is searched in memory until then, so this
    /// may be long; and it should be, because searching is slower with many small blocks.
    pub block_age_max: Duration,
}

impl Default for FinderConfig {
    fn default() -> Self {
        Self { block_items_max: 64 << 10, block_age_max: Duration::from_mins(5) }
    }
}

/// Why a question has no answer: the operator must act.
#[derive(Debug, thiserror::Error)]
pub enum FinderError {
    #[error("finder cannot be opened")]
    Open { source: LogError },
    #[error("event log cannot be read at offset {offset}")]
    Events { offset: u64, source: LogError },
    #[error("record at offset {offset} of the event log cannot be read")]
    Record { offset: u64, source: RecordError },
    #[error("persons cannot be looked up")]
    State(#[from] StateError),
}

/// Answers questions about the event log. Clones are the same finder.
///
/// Every method blocks the thread while it reads, up to seconds where much is to be searched: call
/// them on threads that may block.
#[derive(Clone)]
pub struct Finder {
    shared: Arc<Shared>,
}

impl fmt::Debug for Finder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Finder({} blocks)", self.shared.view().heads.len())
    }
}

/// What the handles and the indexer share.
struct Shared {
    events: Log,
    people: People,
    store: Store,
    view: RwLock<View>,
    /// The last [`View::epoch`] in which damage was found; zero for none.
    damaged: AtomicU64,
}

/// What is indexed at one moment.
#[derive(Debug, Clone)]
struct View {
    /// Of the blocks stored, oldest first.
    heads: Arc<Vec<Head>>,
    /// The block that is growing.
    open: Arc<Block>,
    /// Counts how often the index was begun anew, from one.
    epoch: u64,
}

impl Shared {
    fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        change(&mut self.view.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was read from the store, or `None`: then the caller does without, and if it is damaged
    /// the indexer begins anew.
    fn stored<T>(&self, view: &View, read: Result<T, StoreError>) -> Option<T> {
        read.inspect_err(|error| {
            if error.is_damage() {
                tracing::warn!(%error, "finder is damaged");
                self.damaged.fetch_max(view.epoch, Ordering::Relaxed);
            } else {
                tracing::debug!(%error, "block of the finder not read");
            }
        })
        .ok()
    }
}

impl Finder {
    /// Opens the finder and the part that keeps it up to date, which goes on where it stopped.
    ///
    /// A damaged finder, or one of another event log, is thrown away; an error is the disk's.
    pub fn open(parts: FinderParts) -> Result<(Self, Indexer), FinderError> {
        let FinderParts { disk, folder, events, people, clock, config } = parts;
        let opened = store::open(&disk, &folder, &clock);
        let store = opened.map_err(|source| FinderError::Open { source })?;
        let Loaded { mut heads, chain } = store
            .load()
            .map_err(|error| error.to_string())
            .and_then(|loaded| match misfit(&store, &events, loaded.heads.last()) {
                None => Ok(loaded),
                Some(reason) => Err(reason),
            })
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "finder is built again");
                Loaded::default()
            });
        let start = events.start();
        heads.retain(|head| head.to > start);
        let from = heads.last().map_or(start, |head| head.to);
        let view = View { heads: Arc::new(heads), open: Arc::new(Block::at(from)), epoch: 1 };
        let (view, damaged) = (RwLock::new(view), AtomicU64::new(0));
        let shared = Arc::new(Shared { events, people, store, view, damaged });
        let finder = Self { shared: Arc::clone(&shared) };
        Ok((finder, Indexer::new(shared, chain, clock, config)))
    }

    /// The items that have this insert id, or whose cause has it, in the order of the log; the
    /// newest `limit` where there are more.
    pub fn find_event(&self, insert_id: &str, limit: usize) -> Result<Vec<Found>, FinderError> {
        let mut found = self.shared.find_event(insert_id, limit)?;
        found.reverse();
        Ok(found)
    }

    /// What `id` names: the items with this insert id, or where there are none and `id` is written
    /// like a place (`OFFSET-INDEX`), the item there.
    pub fn look_up(&self, id: &str, limit: usize) -> Result<Vec<Found>, FinderError> {
        let found = self.find_event(id, limit)?;
        let place = id.parse::<Place>().ok().filter(|_| found.is_empty() && limit > 0);
        match place {
            Some(place) => Ok(self.at(place)?.into_iter().collect()),
            None => Ok(found),
        }
    }

    /// The item at `place`; `None` where there is none, or none any more.
    pub fn at(&self, place: Place) -> Result<Option<Found>, FinderError> {
        Ok(self.at_each(&BTreeSet::from([place]))?.pop())
    }

    /// The items at `places` that are still there, in order; each record is read once.
    pub fn at_each(&self, places: &BTreeSet<Place>) -> Result<Vec<Found>, FinderError> {
        let mut found = Vec::with_capacity(places.len());
        let mut left = places.iter().copied().peekable();
        while let Some(Place { offset, .. }) = left.peek().copied() {
            let of_record = std::iter::from_fn(|| left.next_if(|place| place.offset == offset));
            let of_record: Vec<Place> = of_record.collect();
            let payload = match self.shared.events.read_at(offset) {
                Ok(payload) => payload,
                // No record begins there: people mistype places.
                Err(
                    LogError::Trimmed { .. } | LogError::Beyond { .. } | LogError::Corrupt { .. },
                ) => continue,
                Err(source) => return Err(FinderError::Events { offset, source }),
            };
            let batch = AppliedBatch::decode(&payload)
                .map_err(|source| FinderError::Record { offset, source })?;
            for place in of_record {
                let index = usize::try_from(place.index).unwrap_or(usize::MAX);
                found.extend(batch.items.get(index).map(|item| Found::new(place, item)));
            }
        }
        Ok(found)
    }

    /// The persons that `id` leads to in `projects`, as a user id and as a device id, and the
    /// persons that these turned out to be.
    pub fn persons(&self, projects: &[&str], id: &str) -> Result<Vec<AmplitudeId>, FinderError> {
        let people = &self.shared.people;
        let mut persons = Vec::new();
        for project in projects {
            for kind in [IdKind::User, IdKind::Device] {
                let mut next = people.find(project, kind, id)?;
                while let Some(person) = next.filter(|person| !persons.contains(person)) {
                    persons.push(person);
                    next = people.get(person)?.and_then(|known| known.merged_into);
                }
            }
        }
        Ok(persons)
    }

    /// The items of `persons`, and of the anonymous persons that were merged into them, that stand
    /// in records of `offsets`; of one project where one is given. The first `limit` in `order`.
    pub fn find_user(
        &self,
        project: Option<&str>,
        persons: &[AmplitudeId],
        offsets: Range<u64>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Found>, FinderError> {
        self.shared.find_user(project, persons, offsets, order, limit)
    }

    /// Offset of the first record that was received at `received_at` or later; the end of the log
    /// where there is none, its start where all were.
    ///
    /// A record says when the first of its requests was received, so its last items may have been
    /// received after it; see [`Self::received_between`]. Records are in the order in which they
    /// were received unless the clock was set back, and then the answer is one of several.
    pub fn offset_at(&self, received_at: Timestamp) -> Result<u64, FinderError> {
        Ok(self.shared.seek(received_at.as_millis())?.offset)
    }

    /// Offsets of all records with items received from `from` on and before `to`, where given.
    ///
    /// The records at both ends may hold other items too: who wants none looks at
    /// [`Found::received_at`].
    pub fn received_between(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Range<u64>, FinderError> {
        let events = &self.shared.events;
        let seek = |at: Timestamp| self.shared.seek(at.as_millis());
        let start = from.map(seek).transpose()?.map_or(events.start(), |seek| seek.before);
        let end = to.map(seek).transpose()?.map_or(events.end(), |seek| seek.offset);
        Ok(start..end.max(start))
    }
}

/// Why the index that ends with `last` is not one of this event log.
fn misfit(store: &Store, events: &Log, last: Option<&Head>) -> Option<String> {
    let head = last?;
    if head.to > events.end() {
        return Some(format!("it reaches {} and the event log {}", head.to, events.end()));
    }
    let payload = match events.read_at(head.last_record) {
        Ok(payload) => payload,
        Err(LogError::Corrupt { offset, .. }) => return Some(format!("no record at {offset}")),
        // Trimmed, or out of reach for now: that says nothing about the index.
        Err(_) => return None,
    };
    let batch = AppliedBatch::decode(&payload).ok()?;
    let mut again = Block::at(head.last_record);
    again.push(head.last_record, head.to, &batch);
    let column = match store.column(block::Kind::Persons, head) {
        Ok(column) => column,
        Err(error) => return Some(error.to_string()),
    };
    let end = column.len().checked_sub(again.persons.len()).and_then(|at| column.get(at..));
    let pairs = end.map(|end| end.chunks(4).zip(again.persons.chunks(4)).zip(&batch.items));
    // What was erased since it was indexed had a person then.
    let stands = |((then, now), item)| then == now || matches!(item, &Applied::Erased);
    let same = pairs.is_some_and(|mut pairs| pairs.all(stands));
    (!same).then(|| format!("another record at {}", head.last_record))
}

#[cfg(test)]
mod tests;
