//! Samples of what did not go as it should, by stream and category, for people who look for the
//! reason.
//!
//! Keyspace `delivery_samples`: (`s`, stream, category, time, object) to [`Sample`], and (`c`, stream,
//! category) to how often and when the category occurred. Of each category the newest
//! [`SAMPLES_MAX`] are kept. Samples hold no values of users: whoever adds one has taken them out.

use crate::key::{put_name, split_name};
use crate::{State, StateError};
use fjall::Keyspace;
use isthmus_core::{Place, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Samples kept of one category of one stream.
pub const SAMPLES_MAX: usize = 100;
/// How long a sample is kept.
pub const RETENTION: Duration = Duration::from_hours(14 * 24);
/// Categories kept of one stream; what comes beyond is [`OTHER`].
pub const CATEGORIES_MAX: usize = 64;
/// The category of what has no room for a category of its own.
pub const OTHER: &str = "other";

const VERSION: u8 = 1;
const SAMPLE: u8 = b's';
const COUNT: u8 = b'c';

/// An object that was not delivered, or not at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When it ended, or an attempt at it did; milliseconds since the Unix epoch, as all times here.
    pub at: i64,
    pub offset: u64,
    pub index: u32,
    pub part: u16,
    /// The event's name, or the kind of update; empty where the mapping made no object.
    pub name: String,
    /// HTTP status of the reply; zero when there was none.
    pub status: u16,
    /// Why, for people.
    pub message: String,
    /// What the vendor answered, shortened; empty when it did not.
    pub response: String,
    /// Attempts that were made, this one included.
    pub attempts: u32,
    /// When the first attempt ended, as far as this run of the program knows.
    pub first_attempt_at: Option<i64>,
    /// When the next attempt is due; `None` when there is none.
    pub next_attempt_at: Option<i64>,
    /// The object as it was encoded for the vendor, without values; empty where there was none.
    pub request: String,
}

impl Sample {
    /// The item of the event log that it came from.
    pub fn place(&self) -> Place {
        Place { offset: self.offset, index: self.index }
    }
}

/// What happened in one category of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleGroup {
    pub stream: String,
    pub category: String,
    /// How often it happened, samples or not.
    pub count: u64,
    /// When it happened last.
    pub last_at: Timestamp,
    /// Oldest first.
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Count {
    count: u64,
    /// Milliseconds since the Unix epoch.
    last_at: i64,
}

/// The keyspace, open. Cheap to clone.
#[derive(Clone)]
pub struct DeliverySamples {
    state: State,
    samples: Keyspace,
    /// Held while rows are read and written again.
    turn: Arc<Mutex<()>>,
}

impl DeliverySamples {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        let samples = state.keyspace("delivery_samples")?;
        Ok(Self { state: state.clone(), samples, turn: Arc::default() })
    }

    /// Adds what `groups` hold to what is there, each of which must be given once.
    pub fn add(&self, groups: &[SampleGroup]) -> Result<(), StateError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for group in groups {
            self.add_group(group)?;
        }
        Ok(())
    }

    fn add_group(&self, group: &SampleGroup) -> Result<(), StateError> {
        let SampleGroup { stream, count, last_at, samples, .. } = group;
        let mut category = group.category.as_str();
        let mut known = self.count(stream, category)?;
        if known.is_none() && self.count_categories(stream) >= CATEGORIES_MAX {
            category = OTHER;
            known = self.count(stream, category)?;
        }
        let known = known.unwrap_or_default();
        let counted = Count {
            count: known.count.saturating_add(*count),
            last_at: known.last_at.max(last_at.as_millis()),
        };
        let mut batch = self.state.batch();
        let row = key(COUNT, stream, Some(category));
        batch.insert(&self.samples, row, crate::encode(VERSION, &counted));
        let prefix = key(SAMPLE, stream, Some(category));
        let mut rows = BTreeSet::new();
        for guard in self.samples.prefix(&prefix) {
            rows.insert(guard.key()?.to_vec());
        }
        for sample in samples {
            let mut row = prefix.clone();
            // Nothing happened before 1970.
            row.extend(u64::try_from(sample.at).unwrap_or(0).to_be_bytes());
            row.extend(sample.offset.to_be_bytes());
            row.extend(sample.index.to_be_bytes());
            row.extend(sample.part.to_be_bytes());
            batch.insert(&self.samples, row.clone(), crate::encode(VERSION, sample));
            rows.insert(row);
        }
        let surplus = rows.len().saturating_sub(SAMPLES_MAX);
        for row in rows.into_iter().take(surplus) {
            batch.remove(&self.samples, row);
        }
        Ok(batch.commit()?)
    }

    /// What happened in each category of `stream`, or in `category` alone, with the newest `limit`
    /// samples of each.
    pub fn groups(
        &self,
        stream: &str,
        category: Option<&str>,
        limit: usize,
    ) -> Result<Vec<SampleGroup>, StateError> {
        let mut groups = Vec::new();
        for guard in self.samples.prefix(key(COUNT, stream, None)) {
            let (row, value) = guard.into_inner()?;
            let (_, found) = split(&row)?;
            if category.is_some_and(|category| category != found) {
                continue;
            }
            let Count { count, last_at } = crate::decode("count of samples", VERSION, &value)?;
            let mut samples = Vec::new();
            let kept = self.samples.prefix(key(SAMPLE, stream, Some(found)));
            for guard in kept.rev().take(limit) {
                let (_, value) = guard.into_inner()?;
                samples.push(read(&value)?);
            }
            samples.reverse();
            let (stream, category) = (stream.to_owned(), found.to_owned());
            let last_at = Timestamp::from_millis(last_at);
            groups.push(SampleGroup { stream, category, count, last_at, samples });
        }
        Ok(groups)
    }

    /// Forgets the samples for which `is_meant` holds; returns how many there were. Counts stay.
    pub fn remove(&self, is_meant: impl Fn(&Sample) -> bool) -> Result<usize, StateError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut batch, mut removed) = (self.state.batch(), 0);
        for guard in self.samples.iter() {
            let (row, value) = guard.into_inner()?;
            if row.first() != Some(&COUNT) && is_meant(&read(&value)?) {
                batch.remove(&self.samples, row);
                removed += 1;
            }
        }
        batch.commit()?;
        Ok(removed)
    }

    /// Rewrites what is stored, so that nothing of what was removed is left on disk.
    pub fn compact(&self) -> Result<(), StateError> {
        crate::compact(&self.samples)
    }

    /// Forgets samples that are older than [`RETENTION`] at `now`, and categories that did not occur
    /// since.
    pub fn forget(&self, now: Timestamp) -> Result<(), StateError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |at: i64| now.since(Timestamp::from_millis(at)) > RETENTION;
        let mut batch = self.state.batch();
        for guard in self.samples.iter() {
            let (row, value) = guard.into_inner()?;
            let at = if row.first() == Some(&COUNT) {
                crate::decode::<Count>("count of samples", VERSION, &value)?.last_at
            } else {
                read(&value)?.at
            };
            if is_old(at) {
                batch.remove(&self.samples, row);
            }
        }
        Ok(batch.commit()?)
    }

    fn count(&self, stream: &str, category: &str) -> Result<Option<Count>, StateError> {
        let Some(value) = self.samples.get(key(COUNT, stream, Some(category)))? else {
            return Ok(None);
        };
        crate::decode("count of samples", VERSION, &value).map(Some)
    }

    fn count_categories(&self, stream: &str) -> usize {
        self.samples.prefix(key(COUNT, stream, None)).take(CATEGORIES_MAX).count()
    }
}

fn key(kind: u8, stream: &str, category: Option<&str>) -> Vec<u8> {
    let mut key = vec![kind];
    put_name(&mut key, stream);
    if let Some(category) = category {
        put_name(&mut key, category);
    }
    key
}

/// Stream and category of a row.
fn split(key: &[u8]) -> Result<(&str, &str), StateError> {
    let short = || StateError::malformed("key of a delivery sample", &"too short");
    let (_, rest) = key.split_first().ok_or_else(short)?;
    let (stream, rest) = split_name(rest).ok_or_else(short)?;
    let (category, _) = split_name(rest).ok_or_else(short)?;
    Ok((stream, category))
}

fn read(value: &[u8]) -> Result<Sample, StateError> {
    crate::decode("delivery sample", VERSION, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_millis(1_770_000_000_000);

    fn sample(at: Timestamp, offset: u64) -> Sample {
        Sample {
            at: at.as_millis(),
            offset,
            index: 1,
            part: 0,
            name: "Order Completed".to_owned(),
            status: 503,
            message: "503: down".to_owned(),
            response: "down".to_owned(),
            attempts: 2,
            first_attempt_at: Some(at.as_millis() - 5),
            next_attempt_at: None,
            request: r#"{"name":"Order Completed"}"#.to_owned(),
        }
    }

    fn group(stream: &str, category: &str, samples: Vec<Sample>) -> SampleGroup {
        let last_at = samples.last().map_or(START, |last| Timestamp::from_millis(last.at));
        let count = samples.len() as u64 + 1;
        let (stream, category) = (stream.to_owned(), category.to_owned());
        SampleGroup { stream, category, count, last_at, samples }
    }

    fn open(folder: &std::path::Path) -> DeliverySamples {
        DeliverySamples::open(&State::open(folder).unwrap()).unwrap()
    }

    #[test]
    fn samples_are_read_back_by_category_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let later = START.plus(Duration::from_secs(1));
        {
            let samples = open(folder.path());
            samples.add(&[group("shop", "5xx", vec![sample(START, 9)])]).unwrap();
            samples.add(&[group("sho", "5xx", vec![sample(START, 7)])]).unwrap();
            samples.add(&[group("shop", "429", vec![sample(START, 8)])]).unwrap();
            samples.add(&[group("shop", "5xx", vec![sample(later, 3)])]).unwrap();
        }
        let samples = open(folder.path());
        let found = samples.groups("shop", None, 10).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|group| (&*group.category, group.count, group.samples.len()))
            .collect();
        assert_eq!(shown, [("429", 2, 1), ("5xx", 4, 2)]);
        assert_eq!((found[1].last_at, &found[1].samples[1]), (later, &sample(later, 3)));
        let one = samples.groups("shop", Some("5xx"), 1).unwrap();
        assert_eq!((one.len(), &*one[0].samples), (1, [sample(later, 3)].as_slice()));
        assert_eq!(samples.groups("shop", Some("none"), 1).unwrap(), []);
    }

    #[test]
    fn the_newest_hundred_of_a_category_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let samples = open(folder.path());
        for round in 0..3u64 {
            let many = (0..60).map(|at| {
                sample(START.plus(Duration::from_secs(round * 60 + at)), round * 60 + at)
            });
            samples.add(&[group("shop", "5xx", many.collect())]).unwrap();
        }
        let found = samples.groups("shop", None, 1_000).unwrap();
        let offsets: Vec<_> = found[0].samples.iter().map(|sample| sample.offset).collect();
        assert_eq!(offsets, (80..180).collect::<Vec<_>>());
        assert_eq!(found[0].count, 183);
    }

    #[test]
    fn a_stream_has_so_many_categories_and_one_for_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let samples = open(folder.path());
        for number in 0..CATEGORIES_MAX + 9 {
            let category = format!("rejected: {number:03}");
            samples.add(&[group("shop", &category, vec![sample(START, 1)])]).unwrap();
        }
        let found = samples.groups("shop", None, 1).unwrap();
        assert_eq!(found.len(), CATEGORIES_MAX + 1);
        assert_eq!((&*found[0].category, found[0].count), (OTHER, 18));
    }

    #[test]
    fn two_weeks_later_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let samples = open(folder.path());
        let later = START.plus(Duration::from_hours(1));
        samples.add(&[group("shop", "5xx", vec![sample(START, 1), sample(later, 2)])]).unwrap();
        samples.forget(later.plus(RETENTION)).unwrap();
        let found = samples.groups("shop", None, 10).unwrap();
        assert_eq!(found[0].samples, [sample(later, 2)]);
        samples.forget(later.plus(RETENTION + Duration::from_secs(1))).unwrap();
        assert_eq!(samples.groups("shop", None, 10).unwrap(), []);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(key: Vec<u8>, value: Vec<u8>) {
            drop(split(&key));
            drop(read(&value));
        }
    }
}
