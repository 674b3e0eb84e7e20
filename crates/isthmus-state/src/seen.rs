//! Which events were seen before, for deduplication.
//!
//! What was seen lately is in memory, and for the next start in rows of keyspace `sighted`, a few for
//! each commit: first instant, then the keys, each 128 bits of hash. Put into the engine one by one,
//! they cost more than all else that is done for an event. When there are many, they are sorted and
//! written as one table of the keyspace of their day, on a thread of its own: `seen-20780`, days since
//! the Unix epoch, then `seen-20780-1` and so on, so that forgetting a day is deleting keyspaces. There
//! a key is the hash and a value the instant.
//!
//! Most events are new, so most searches find nothing. A filter knows every key that is in memory or in
//! the keyspaces begun since the filter was: these are searched when it says so, and all others, whose
//! tables are merged by then and have filters of their own, always. When the filter is full, or a start
//! finds more than is quickly read, the next keyspace is begun.

mod filter;

use crate::{State, StateError, WriteBatch};
use filter::Filter;
use fjall::Keyspace;
use fjall::compaction::Leveled;
use isthmus_core::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const DAY_MILLIS: i64 = 86_400_000;
const PREFIX: &str = "seen-";
const ROWS: &str = "sighted";
/// Rows gathered in memory before they are written as a table.
const ROWS_MEMORY_TABLE_MAX: u64 = 16 << 20;
/// Sightings in memory that are worth a table: with what comes until it is written, about 40 MiB.
const RUN_KEYS: usize = 400_000;
/// So many times [`RUN_KEYS`] wait at most for the table before them to be written.
const RUNS_WAITING_MAX: usize = 4;
/// Keys of the newest keyspace that a start reads into the filter; more would make starting slow.
const READ_AT_START: usize = 1 << 20;
/// Tables of a keyspace from which the engine begins to merge them: never, because that is done here,
/// once, when no more come.
const TABLES_UNMERGED: u8 = u8::MAX;
/// Unmerged tables that a keyspace of before the last start may have and stay as it is.
const TABLES_SEARCHED: usize = 4;

/// What makes two events the same one, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey([u8; 16]);

impl EventKey {
    /// The key made of `parts`; ("ab", "c") and ("a", "bc") differ.
    pub fn of(parts: &[&str]) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for part in parts {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.digest128().to_be_bytes())
    }
}

/// A keyspace by its day, in days since the Unix epoch, and its number within the day.
type Part = (i64, u32);

/// What was seen lately.
#[derive(Debug, Default)]
struct Run {
    seen: HashMap<EventKey, Timestamp>,
    /// Numbers of the rows that hold the same.
    rows: Range<u64>,
}

type Job = JoinHandle<Result<(), StateError>>;

/// Sightings of about the last days. Work is under way on other threads, which end before this does.
pub struct Seen {
    state: State,
    window: Duration,
    /// [`RUN_KEYS`], except in tests.
    run_keys: usize,
    rows: Keyspace,
    /// What `rows` does not have yet, in the order in which it came.
    noted: Vec<(EventKey, Timestamp)>,
    young: Run,
    /// What is being written as a table.
    writing: Option<(Arc<Run>, Job)>,
    /// The keyspaces of the days that still count.
    parts: BTreeMap<Part, Keyspace>,
    /// Those of `parts` whose every key is in `filter`.
    covered: BTreeSet<Part>,
    filter: Filter,
    /// Keyspaces to which no more tables come.
    unmerged: Vec<Keyspace>,
    merging: Option<Job>,
}

impl Seen {
    /// Opens what `state` holds; sightings older than `window` do not count.
    pub fn open(state: &State, window: Duration) -> Result<Self, StateError> {
        let mut parts = BTreeMap::new();
        for name in state.keyspace_names() {
            if let Some(part) = name.strip_prefix(PREFIX).and_then(parse) {
                parts.insert(part, open_part(state, &name)?);
            }
        }
        let (mut filter, mut covered) = (Filter::new(), BTreeSet::new());
        if let Some((part, keyspace)) = parts.last_key_value()
            && keyspace.approximate_len() <= READ_AT_START
        {
            for entry in keyspace.iter() {
                filter.extend(<[u8; 16]>::try_from(&*entry.key()?));
            }
            covered.insert(*part);
        }
        let many_tables = |(part, keyspace): &(&Part, &Keyspace)| {
            !covered.contains(part) && keyspace.l0_table_count() > TABLES_SEARCHED
        };
        let unmerged = parts.iter().filter(many_tables).map(|(_, keyspace)| keyspace.clone());
        let unmerged = unmerged.collect();
        let rows = state.keyspace_with_memory(ROWS, ROWS_MEMORY_TABLE_MAX)?;
        let young = read(&rows)?;
        filter.extend(young.seen.keys().map(|key| key.0));
        Ok(Self {
            state: state.clone(),
            window,
            run_keys: RUN_KEYS,
            rows,
            noted: Vec::new(),
            young,
            writing: None,
            parts,
            covered,
            filter,
            unmerged,
            merging: None,
        })
    }

    /// When `key` was first seen, if that was within the window that ends `now`.
    pub fn first_seen(
        &self,
        key: EventKey,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StateError> {
        let maybe_lately = self.filter.may_hold(key.0);
        if maybe_lately {
            let being_written = self.writing.as_ref().and_then(|(run, _)| run.seen.get(&key));
            if let Some(at) = self.young.seen.get(&key).or(being_written) {
                return Ok(self.counts(*at, now).then_some(*at));
            }
        }
        for (part, keyspace) in self.parts.iter().rev() {
            if !maybe_lately && self.covered.contains(part) {
                continue;
            }
            let Some(value) = keyspace.get(key.0)? else { continue };
            let at = instant(&value)?;
            return Ok(self.counts(at, now).then_some(at));
        }
        Ok(None)
    }

    /// Sightings older than `window` do not count from now on.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// Whether a first sighting at `first` lies within the window that ends `now`.
    fn counts(&self, first: Timestamp, now: Timestamp) -> bool {
        now.since(first) < self.window
    }

    /// Notes that `key` was seen `at`; [`Self::put`] is to follow.
    pub fn note(&mut self, key: EventKey, at: Timestamp) {
        self.filter.insert(key.0);
        self.young.seen.insert(key, at);
        self.noted.push((key, at));
    }

    /// Writes what was noted.
    pub fn put(&mut self, batch: &mut WriteBatch) {
        for together in self.noted.chunk_by(|(_, one), (_, other)| one == other) {
            let Some((_, at)) = together.first() else { continue };
            let mut row = Vec::with_capacity(8 + 16 * together.len());
            row.extend(at.as_millis().to_be_bytes());
            row.extend(together.iter().flat_map(|(key, _)| key.0));
            batch.insert(&self.rows, self.young.rows.end.to_be_bytes(), row);
            self.young.rows.end += 1;
        }
        self.noted.clear();
    }

    /// Whether so much is in memory that [`Self::settle`] should be called soon.
    pub fn is_due(&self) -> bool {
        let waiting_for = match &self.writing {
            Some((_, job)) if !job.is_finished() => RUNS_WAITING_MAX,
            _ => 1,
        };
        self.young.seen.len() >= self.run_keys.saturating_mul(waiting_for)
    }

    /// Moves what is in memory into tables when there is much of it, and deletes the days that lie
    /// wholly before the window that ends `now`.
    ///
    /// All that was put must have been committed and survive power loss: a table does, and what is in it
    /// must not be newer than the applier's cursor.
    pub fn settle(&mut self, now: Timestamp) -> Result<(), StateError> {
        self.forget(now)?;
        let is_due = self.is_due();
        if let Some((run, job)) = self.writing.take_if(|(_, job)| is_due || job.is_finished()) {
            finish(job)?;
            let mut batch = self.state.batch();
            for row in run.rows.clone() {
                batch.remove(&self.rows, row.to_be_bytes());
            }
            batch.commit()?;
            if self.filter.is_full() {
                self.renew_filter();
            }
        }
        if self.writing.is_none() && self.noted.is_empty() && is_due {
            self.begin_table(now)?;
        }
        if let Some(job) = self.merging.take_if(|job| job.is_finished()) {
            finish(job)?;
        }
        if self.merging.is_none()
            && let Some(keyspace) = self.unmerged.pop()
        {
            let merge = move || Ok(keyspace.major_compact()?);
            self.merging = Some(start("sightings-merge", merge)?);
        }
        Ok(())
    }

    /// Begins to write what is in memory as tables, one for each day of it.
    fn begin_table(&mut self, now: Timestamp) -> Result<(), StateError> {
        let run = std::mem::take(&mut self.young);
        self.young.rows = run.rows.end..run.rows.end;
        self.young.seen.reserve(run.seen.len());
        let run = Arc::new(run);
        let oldest = self.oldest_day(now);
        let days: BTreeSet<i64> = run.seen.values().map(|at| day(*at)).collect();
        let mut tables = Vec::new();
        for day in days.range(oldest..) {
            tables.push((*day, self.part_of(*day)?));
        }
        let sightings = run.clone();
        let write = move || {
            tables.into_iter().try_for_each(|(day, part)| write(&sightings.seen, day, &part))
        };
        self.writing = Some((run, start("sightings-table", write)?));
        Ok(())
    }

    /// The keyspace to which sightings of `day` go, of which the filter knows.
    fn part_of(&mut self, day: i64) -> Result<Keyspace, StateError> {
        let is_newest = self.parts.last_key_value().is_none_or(|((last, _), _)| *last <= day);
        let newest_of_day = self.parts.range((day, 0)..=(day, u32::MAX)).next_back();
        let number = match newest_of_day {
            // A day that is not the newest one gets few keys: what comes late.
            Some((part, keyspace)) if self.covered.contains(part) || !is_newest => {
                return Ok(keyspace.clone());
            }
            Some(((_, number), _)) => number.saturating_add(1),
            None => 0,
        };
        let part = (day, number);
        let keyspace = open_part(&self.state, &name(part))?;
        self.parts.insert(part, keyspace.clone());
        self.covered.insert(part);
        Ok(keyspace)
    }

    /// From now on the filter knows only what is in memory.
    fn renew_filter(&mut self) {
        self.filter = Filter::new();
        self.filter.extend(self.young.seen.keys().map(|key| key.0));
        let covered = std::mem::take(&mut self.covered);
        self.unmerged.extend(covered.iter().filter_map(|part| self.parts.get(part).cloned()));
    }

    fn oldest_day(&self, now: Timestamp) -> i64 {
        let window = i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX);
        now.as_millis().saturating_sub(window).div_euclid(DAY_MILLIS)
    }

    fn forget(&mut self, now: Timestamp) -> Result<(), StateError> {
        let kept = self.parts.split_off(&(self.oldest_day(now), 0));
        for (part, keyspace) in std::mem::replace(&mut self.parts, kept) {
            self.covered.remove(&part);
            self.unmerged.retain(|unmerged| *unmerged != keyspace);
            self.state.delete_keyspace(keyspace)?;
        }
        Ok(())
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let writing = self.writing.take().map(|(_, job)| job);
        for job in writing.into_iter().chain(self.merging.take()) {
            // What failed is done again after the next start.
            drop(job.join());
        }
    }
}

fn start(
    name: &str,
    work: impl FnOnce() -> Result<(), StateError> + Send + 'static,
) -> Result<Job, StateError> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    Ok(started.map_err(fjall::Error::from)?)
}

fn finish(job: Job) -> Result<(), StateError> {
    job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Writes those of `seen` that are of `day` as one table of `part`.
fn write(
    seen: &HashMap<EventKey, Timestamp>,
    of_day: i64,
    part: &Keyspace,
) -> Result<(), StateError> {
    let of_day = seen.iter().filter(|(_, at)| day(**at) == of_day);
    let mut sorted: Vec<(EventKey, Timestamp)> = of_day.map(|(key, at)| (*key, *at)).collect();
    sorted.sort_unstable();
    let mut table = part.start_ingestion()?;
    for (key, at) in sorted {
        table.write(key.0, at.as_millis().to_be_bytes())?;
    }
    Ok(table.finish()?)
}

/// What the rows say.
fn read(rows: &Keyspace) -> Result<Run, StateError> {
    let mut run = Run::default();
    for entry in rows.iter() {
        let (number, row) = entry.into_inner()?;
        let number = <[u8; 8]>::try_from(&*number)
            .map_err(|error| StateError::malformed("number of sightings", &error))?;
        let number = u64::from_be_bytes(number);
        if run.rows.is_empty() {
            run.rows.start = number;
        }
        run.rows.end = number.saturating_add(1);
        let (at, keys) = row.split_at_checked(8).unwrap_or_default();
        let at = instant(at)?;
        let (keys, rest) = keys.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(StateError::malformed("sightings", &"a key is cut off"));
        }
        run.seen.extend(keys.iter().map(|key| (EventKey(*key), at)));
    }
    Ok(run)
}

fn instant(bytes: &[u8]) -> Result<Timestamp, StateError> {
    let bytes = <[u8; 8]>::try_from(bytes)
        .map_err(|error| StateError::malformed("first sighting", &error))?;
    Ok(Timestamp::from_millis(i64::from_be_bytes(bytes)))
}

fn day(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MILLIS)
}

fn parse(name: &str) -> Option<Part> {
    match name.split_once('-') {
        None => Some((name.parse().ok()?, 0)),
        Some((day, number)) => Some((day.parse().ok()?, number.parse().ok()?)),
    }
}

fn name((day, number): Part) -> String {
    if number == 0 { format!("{PREFIX}{day}") } else { format!("{PREFIX}{day}-{number}") }
}

fn open_part(state: &State, name: &str) -> Result<Keyspace, StateError> {
    let unmerged = Leveled::default().with_l0_threshold(TABLES_UNMERGED);
    state.keyspace_merged_by(name, unmerged)
}

#[cfg(test)]
mod tests;
