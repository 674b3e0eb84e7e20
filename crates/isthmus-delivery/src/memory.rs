//! A source, a journal, a dead-letter store, a mirror and a history in memory, for tests and the simulator.
//! They keep their contents across a "crash": everything appended is on disk as far as the engine
//! can tell.

use crate::dead_letters::{DeadLetterStore, LetterChange, with_history};
use crate::history::{HistoryStore, Observed};
use crate::journal::{Entry, Journal, JournalError, VisitAt};
use crate::ledger::EntryReader;
use crate::mirror::{MirrorStore, Retold};
use crate::source::{EventSource, SourceError, SourceRecord};
use bytes::Bytes;
use isthmus_core::destination::{Lane, Told};
use isthmus_core::seam::BoxFuture;
use isthmus_core::{Place, Timestamp};
use isthmus_state::StateError;
use isthmus_state::dead_letters::DeadLetter;
use isthmus_state::mirror::{Doubt, Mark, Origin};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// An event log in memory. A record's offset is the sum of the lengths before it.
#[derive(Debug, Clone)]
pub struct MemorySource {
    records: Arc<Mutex<BTreeMap<u64, Bytes>>>,
    end: watch::Sender<u64>,
}

impl Default for MemorySource {
    fn default() -> Self {
        Self { records: Arc::default(), end: watch::Sender::new(0) }
    }
}

impl MemorySource {
    /// Appends one encoded batch and returns its offset.
    pub fn append(&self, payload: Vec<u8>) -> u64 {
        let offset = *self.end.borrow();
        let next = offset + payload.len() as u64;
        lock(&self.records).insert(offset, payload.into());
        self.end.send_replace(next);
        offset
    }

    /// Offsets of all records.
    pub fn offsets(&self) -> Vec<u64> {
        lock(&self.records).keys().copied().collect()
    }

    /// Forgets records before `offset`.
    pub fn trim(&self, offset: u64) {
        let mut records = lock(&self.records);
        let kept = records.split_off(&offset);
        *records = kept;
    }
}

impl EventSource for MemorySource {
    fn start(&self) -> u64 {
        lock(&self.records).keys().next().copied().unwrap_or(self.end())
    }

    fn end(&self) -> u64 {
        *self.end.borrow()
    }

    fn read(&self, offset: u64) -> Result<Option<SourceRecord>, SourceError> {
        let start = self.start();
        if offset < start {
            return Err(SourceError::Trimmed { offset, start });
        }
        let record = lock(&self.records).get(&offset).cloned();
        Ok(record.map(|payload| SourceRecord {
            offset,
            next: offset + payload.len() as u64,
            payload,
        }))
    }

    fn wait_beyond(&self, offset: u64) -> BoxFuture<'static, ()> {
        let mut end = self.end.subscribe();
        Box::pin(async move {
            if end.wait_for(|end| *end > offset).await.is_err() {
                // The log is gone: nothing will ever be appended.
                std::future::pending::<()>().await;
            }
        })
    }
}

/// A journal in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    entries: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
    appended: Arc<Mutex<u64>>,
    /// Whether what only a ledger needs is kept.
    keeps_all: bool,
}

impl MemoryJournal {
    /// A journal that keeps everything, for a ledger to read.
    pub fn for_a_ledger() -> Self {
        Self { keeps_all: true, ..Self::default() }
    }

    /// Entries that are kept.
    pub fn len(&self) -> usize {
        lock(&self.entries).len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends at once.
    pub fn append_now(&self, entry: Vec<u8>) -> u64 {
        let mut appended = lock(&self.appended);
        let position = *appended;
        *appended += 1;
        lock(&self.entries).insert(position, entry);
        position
    }

    /// A journal with the first `count` of the entries kept here: what a crash after them leaves.
    #[must_use]
    pub fn cut_after(&self, count: usize) -> Self {
        let entries: BTreeMap<_, _> = lock(&self.entries)
            .iter()
            .take(count)
            .map(|(at, entry)| (*at, entry.clone()))
            .collect();
        Self {
            entries: Arc::new(Mutex::new(entries)),
            appended: Arc::new(Mutex::new(*lock(&self.appended))),
            keeps_all: self.keeps_all,
        }
    }
}

impl Journal for MemoryJournal {
    fn append(&self, entry: Vec<u8>) -> BoxFuture<'static, Result<u64, JournalError>> {
        let journal = self.clone();
        Box::pin(async move { Ok(journal.append_now(entry)) })
    }

    fn replay(
        &self,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let entries = lock(&self.entries);
        let last = entries.iter().rev().find(|(_, entry)| Entry::is_checkpoint(entry));
        let from = last.map_or(0, |(at, _)| *at);
        entries.range(from..).try_for_each(|(_, entry)| visit(entry))
    }

    fn read_from(&self, position: u64, visit: &mut VisitAt<'_>) -> Result<bool, JournalError> {
        let entries = lock(&self.entries);
        if !entries.contains_key(&position) {
            return Ok(false);
        }
        entries.range(position..).try_for_each(|(at, entry)| visit(*at, entry))?;
        Ok(true)
    }

    fn range(&self) -> Range<u64> {
        let end = *lock(&self.appended);
        let first = lock(&self.entries).first_key_value().map(|(at, _)| *at);
        first.unwrap_or(end)..end
    }

    fn trim(&self, position: u64) -> Result<(), JournalError> {
        if !self.keeps_all {
            let mut entries = lock(&self.entries);
            let kept = entries.split_off(&position);
            *entries = kept;
        }
        Ok(())
    }
}

impl EntryReader for MemoryJournal {
    fn chunks(&self) -> Vec<u64> {
        vec![0]
    }

    fn read(
        &self,
        _: u64,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        lock(&self.entries).values().try_for_each(|entry| visit(entry))
    }

    fn begun_at(&self, _: u64) -> Option<Timestamp> {
        let entries = lock(&self.entries);
        Some(Entry::decode(entries.values().next()?).ok()?.at())
    }
}

/// Stream, place and part.
type Object = (String, Place, u16);

/// Dead letters in memory, by stream, place and part.
#[derive(Debug, Clone, Default)]
pub struct MemoryDeadLetters {
    letters: Arc<Mutex<BTreeMap<Object, DeadLetter>>>,
}

impl MemoryDeadLetters {
    /// All of them, in order.
    pub fn all(&self) -> Vec<DeadLetter> {
        lock(&self.letters).values().cloned().collect()
    }
}

impl DeadLetterStore for MemoryDeadLetters {
    fn apply(&self, changes: Vec<LetterChange>) -> Result<(), StateError> {
        let mut kept = lock(&self.letters);
        for change in changes {
            match change {
                LetterChange::Keep(letter) => {
                    let key = (letter.stream.clone(), letter.place, letter.part);
                    let letter = with_history(letter, kept.get(&key));
                    kept.insert(key, letter);
                }
                LetterChange::Remove(key) => drop(kept.remove(&key)),
            }
        }
        Ok(())
    }

    fn get(&self, stream: &str, place: Place, part: u16) -> Result<Option<DeadLetter>, StateError> {
        Ok(lock(&self.letters).get(&(stream.to_owned(), place, part)).cloned())
    }
}

/// A mirror in memory. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct MemoryMirror {
    kept: Arc<Mutex<Mirrored>>,
}

#[derive(Debug, Clone, Default)]
struct Mirrored {
    users: BTreeMap<Lane, Arc<Told>>,
    mark: Option<Mark>,
    origin: Option<Origin>,
}

impl MemoryMirror {
    /// How many users it knows.
    pub fn len(&self) -> usize {
        lock(&self.kept).users.len()
    }

    /// Whether it knows nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same as it is now, whatever becomes of this one.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self { kept: Arc::new(Mutex::new(lock(&self.kept).clone())) }
    }
}

impl MirrorStore for MemoryMirror {
    fn get(&self, lane: Lane) -> Result<Option<Arc<Told>>, StateError> {
        Ok(lock(&self.kept).users.get(&lane).cloned())
    }

    fn mark(&self) -> Result<Option<Mark>, StateError> {
        Ok(lock(&self.kept).mark.clone())
    }

    fn origin(&self) -> Result<Option<Origin>, StateError> {
        Ok(lock(&self.kept).origin.clone())
    }

    fn keep_origin(&self, origin: &Origin) -> Result<(), StateError> {
        lock(&self.kept).origin = Some(origin.clone());
        Ok(())
    }

    fn apply(&self, changes: &[Retold], mark: &Mark) -> Result<(), StateError> {
        let mut kept = lock(&self.kept);
        for (lane, told) in changes {
            match told {
                Some(told) => drop(kept.users.insert(*lane, Arc::clone(told))),
                None => drop(kept.users.remove(lane)),
            }
        }
        kept.mark = Some(mark.clone());
        Ok(())
    }

    fn forget(&self, doubts: &[Doubt]) -> Result<u64, StateError> {
        let mut kept = lock(&self.kept);
        let mut count = 0;
        for Doubt { lane, attributes } in doubts {
            let Some(told) = kept.users.get_mut(lane) else { continue };
            count += 1;
            if attributes.is_empty() {
                kept.users.remove(lane);
            } else {
                Arc::make_mut(told)
                    .values
                    .retain(|name| !attributes.iter().any(|doubted| doubted == name));
            }
        }
        Ok(count)
    }

    fn clear(&self) -> Result<(), StateError> {
        let mut kept = lock(&self.kept);
        *kept = Mirrored { origin: kept.origin.take(), ..Mirrored::default() };
        Ok(())
    }
}

/// Everything that was ever told, in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryHistory {
    told: Arc<Mutex<Vec<Observed>>>,
}

impl MemoryHistory {
    /// What was told, in order.
    pub fn told(&self) -> Vec<Observed> {
        lock(&self.told).clone()
    }
}

impl HistoryStore for MemoryHistory {
    fn add(&self, observed: &Observed) -> Result<(), StateError> {
        lock(&self.told).push(observed.clone());
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
