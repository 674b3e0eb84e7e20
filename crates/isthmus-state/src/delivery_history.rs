//! What became of each stream's objects, minute by minute for the last hours and hour by hour for a
//! quarter of a year.
//!
//! Keyspace `delivery_history`: (span, stream, start) to [`Tally`], where a span is a minute or an
//! hour. Whoever adds to a minute adds to what is there, so each tally must be given once; a minute
//! is in one row only, its own or its hour's. What was added last may be missing after a power loss,
//! and nothing is ever there twice.

use crate::key::{put_name, split_name};
use crate::{State, StateError};
use fjall::Keyspace;
use isthmus_core::{Histogram, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long minutes are kept apart.
pub const MINUTES_KEPT: Duration = Duration::from_hours(4);
/// How long anything is kept.
pub const RETENTION: Duration = Duration::from_hours(90 * 24);

const VERSION: u8 = 2;
const WHAT: &str = "delivery history";
const MINUTE_MILLIS: i64 = 60_000;
const HOUR_MILLIS: i64 = 60 * MINUTE_MILLIS;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// What became of objects in some span of time. The unit is one object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Delivered the first time they were sent.
    pub first_attempt: u64,
    /// Delivered, and sent more than once for that.
    pub after_retry: u64,
    /// Given up by the stream's retry policy.
    pub expired: u64,
    /// Invalid or incomplete: refused for good, or held back by a rule.
    pub discarded: u64,
    /// From acceptance to acknowledgement, of those delivered.
    pub latency: Histogram,
    /// What the vendor may bill, and what it was spared.
    pub bill: Bill,
}

/// What a stream cost, and what was saved, in some span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bill {
    /// Vendor objects that the vendor took; objects that were joined count once, for the first.
    pub objects: u64,
    /// Objects that were not sent because they said nothing that the vendor was not told before.
    pub objects_saved: u64,
    /// Attributes that were not sent for that reason, those of objects saved among them.
    pub attributes_saved: u64,
    /// Requests sent that carried anything of the stream.
    pub requests: u64,
    /// What the vendor bills for what it took, in its own currency (data points).
    pub points: u64,
    /// What it would have billed for the attributes saved.
    pub points_saved: u64,
}

/// What a stream cost on one day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayBill {
    pub day: Day,
    pub bill: Bill,
    /// Requests of the hour with most of them.
    pub busiest_hour_requests: u64,
}

impl DayBill {
    /// How much of what the limits allow in an hour the busiest hour took: 1 is all of it.
    #[expect(clippy::cast_precision_loss, reason = "a share; 2^53 requests suffice")]
    pub fn busiest_hour_share(&self, requests_per_hour: u64) -> f64 {
        self.busiest_hour_requests as f64 / requests_per_hour.max(1) as f64
    }
}

impl Bill {
    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        let Self { objects, objects_saved, attributes_saved, requests, points, points_saved } =
            other;
        self.objects = self.objects.saturating_add(*objects);
        self.objects_saved = self.objects_saved.saturating_add(*objects_saved);
        self.attributes_saved = self.attributes_saved.saturating_add(*attributes_saved);
        self.requests = self.requests.saturating_add(*requests);
        self.points = self.points.saturating_add(*points);
        self.points_saved = self.points_saved.saturating_add(*points_saved);
    }
}

/// A day in UTC, by its number since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day that `at` lies in.
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_millis().div_euclid(DAY_MILLIS))
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(DAY_MILLIS))
    }
}

/// A minute, by its number since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(i64);

/// What became of a stream's objects in one minute, as far as it was not told before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinuteTally {
    pub stream: String,
    pub minute: Minute,
    pub tally: Tally,
}

impl Tally {
    pub fn delivered(&self) -> u64 {
        self.first_attempt.saturating_add(self.after_retry)
    }

    pub fn not_delivered(&self) -> u64 {
        self.expired.saturating_add(self.discarded)
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        let Self { first_attempt, after_retry, expired, discarded, latency, bill } = other;
        self.first_attempt = self.first_attempt.saturating_add(*first_attempt);
        self.after_retry = self.after_retry.saturating_add(*after_retry);
        self.expired = self.expired.saturating_add(*expired);
        self.discarded = self.discarded.saturating_add(*discarded);
        self.latency.merge(latency);
        self.bill.add(bill);
    }
}

impl Minute {
    /// The minute that `at` lies in.
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_millis().div_euclid(MINUTE_MILLIS))
    }

    fn start(self) -> i64 {
        self.0.saturating_mul(MINUTE_MILLIS)
    }
}

/// What version 1 stored, and version 2 still does before the [`Bill`]. Buckets are those of
/// [`Histogram`].
#[derive(Serialize, Deserialize)]
struct Stored {
    first_attempt: u64,
    after_retry: u64,
    expired: u64,
    discarded: u64,
    latency: Vec<(u16, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Minute,
    Hour,
}

impl Span {
    fn byte(self) -> u8 {
        match self {
            Self::Minute => b'm',
            Self::Hour => b'h',
        }
    }
}

/// The keyspace, open. Cheap to clone.
#[derive(Clone)]
pub struct DeliveryHistory {
    state: State,
    tallies: Keyspace,
    /// Held while rows are read and written again, and while they are summed.
    turn: Arc<Mutex<()>>,
}

impl DeliveryHistory {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        let tallies = state.keyspace("delivery_history")?;
        Ok(Self { state: state.clone(), tallies, turn: Arc::default() })
    }

    /// Adds `tallies` to what is known of their minutes, all or none.
    pub fn add(&self, tallies: &[MinuteTally]) -> Result<(), StateError> {
        let _turn = self.turn();
        let mut rows: BTreeMap<Vec<u8>, Tally> = BTreeMap::new();
        for MinuteTally { stream, minute, tally } in tallies {
            rows.entry(key(Span::Minute, stream, minute.start())).or_default().merge(tally);
        }
        let mut batch = self.state.batch();
        for (key, mut tally) in rows {
            if let Some(before) = self.tallies.get(&key)? {
                tally.merge(&decode(&before)?);
            }
            batch.insert(&self.tallies, key, encode(&tally));
        }
        Ok(batch.commit()?)
    }

    /// What became of the objects of `stream` from `from` on and before `to`, both whole minutes,
    /// and where minutes are not kept apart any more whole hours.
    pub fn sum(&self, stream: &str, from: Timestamp, to: Timestamp) -> Result<Tally, StateError> {
        let _turn = self.turn();
        let mut sum = Tally::default();
        for span in [Span::Minute, Span::Hour] {
            let start = key(span, stream, from.as_millis());
            let end = key(span, stream, to.as_millis());
            if start >= end {
                continue;
            }
            for guard in self.tallies.range(start..end) {
                let (_, value) = guard.into_inner()?;
                sum.merge(&decode(&value)?);
            }
        }
        Ok(sum)
    }

    /// What `stream` cost on each day from `from` to `to`, both among them; days on which nothing
    /// was sent or saved are left out.
    pub fn bill(&self, stream: &str, from: Day, to: Day) -> Result<Vec<DayBill>, StateError> {
        let _turn = self.turn();
        let mut hours: BTreeMap<i64, Bill> = BTreeMap::new();
        let end = to.0.saturating_add(1).saturating_mul(DAY_MILLIS);
        for span in [Span::Minute, Span::Hour] {
            let start = key(span, stream, from.start().as_millis());
            let end = key(span, stream, end);
            if start >= end {
                continue;
            }
            for guard in self.tallies.range(start..end) {
                let (row, value) = guard.into_inner()?;
                let (_, start) = split(&row)?;
                let hour = hours.entry(start.div_euclid(HOUR_MILLIS)).or_default();
                hour.add(&decode(&value)?.bill);
            }
        }
        let mut days: BTreeMap<Day, DayBill> = BTreeMap::new();
        for (hour, bill) in hours.into_iter().filter(|(_, bill)| *bill != Bill::default()) {
            let day = Day(hour.div_euclid(DAY_MILLIS / HOUR_MILLIS));
            let of_day = days.entry(day).or_insert(DayBill {
                day,
                bill: Bill::default(),
                busiest_hour_requests: 0,
            });
            of_day.bill.add(&bill);
            of_day.busiest_hour_requests = of_day.busiest_hour_requests.max(bill.requests);
        }
        Ok(days.into_values().collect())
    }

    /// Puts minutes together that nobody needs apart any more at `now`, and forgets what is older
    /// than [`RETENTION`]. Reading is right however late this happens.
    pub fn roll_up(&self, now: Timestamp) -> Result<(), StateError> {
        let _turn = self.turn();
        let before = |age: Duration| {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            now.as_millis().saturating_sub(age)
        };
        let (apart_from, kept_from) = (before(MINUTES_KEPT), before(RETENTION));
        let mut hours: BTreeMap<Vec<u8>, Tally> = BTreeMap::new();
        let mut batch = self.state.batch();
        for guard in self.tallies.prefix([Span::Minute.byte()]) {
            let (row, value) = guard.into_inner()?;
            let (stream, start) = split(&row)?;
            let hour = start.div_euclid(HOUR_MILLIS) * HOUR_MILLIS;
            let end = hour.saturating_add(HOUR_MILLIS);
            if end > apart_from {
                continue;
            }
            if end > kept_from {
                let tally = decode(&value)?;
                hours.entry(key(Span::Hour, stream, hour)).or_default().merge(&tally);
            }
            batch.remove(&self.tallies, row);
        }
        for (key, mut tally) in hours {
            if let Some(before) = self.tallies.get(&key)? {
                tally.merge(&decode(&before)?);
            }
            batch.insert(&self.tallies, key, encode(&tally));
        }
        for guard in self.tallies.prefix([Span::Hour.byte()]) {
            let row = guard.key()?;
            let (_, start) = split(&row)?;
            if start.saturating_add(HOUR_MILLIS) <= kept_from {
                batch.remove(&self.tallies, row);
            }
        }
        Ok(batch.commit()?)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(span: Span, stream: &str, start: i64) -> Vec<u8> {
    let mut key = vec![span.byte()];
    put_name(&mut key, stream);
    // Nothing was delivered before 1970.
    key.extend(u64::try_from(start).unwrap_or(0).to_be_bytes());
    key
}

/// Stream and start of a row.
fn split(key: &[u8]) -> Result<(&str, i64), StateError> {
    let short = || StateError::malformed("key of delivery history", &"too short");
    let (_, rest) = key.split_first().ok_or_else(short)?;
    let (stream, rest) = split_name(rest).ok_or_else(short)?;
    let start = <[u8; 8]>::try_from(rest).map_err(|_| short())?;
    Ok((stream, i64::try_from(u64::from_be_bytes(start)).unwrap_or(i64::MAX)))
}

fn encode(tally: &Tally) -> Vec<u8> {
    let Tally { first_attempt, after_retry, expired, discarded, latency, bill } = tally;
    let stored = Stored {
        first_attempt: *first_attempt,
        after_retry: *after_retry,
        expired: *expired,
        discarded: *discarded,
        latency: latency.buckets().collect(),
    };
    crate::encode(VERSION, &(stored, bill))
}

fn decode(value: &[u8]) -> Result<Tally, StateError> {
    let (stored, bill): (Stored, Bill) = if value.first() == Some(&1) {
        // Nobody counted what it cost.
        (crate::decode(WHAT, 1, value)?, Bill::default())
    } else {
        crate::decode(WHAT, VERSION, value)?
    };
    let Stored { first_attempt, after_retry, expired, discarded, latency } = stored;
    let latency = Histogram::from_buckets(latency);
    Ok(Tally { first_attempt, after_retry, expired, discarded, latency, bill })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::Bucket;
    use proptest::prelude::*;

    /// 2026-02-02 02:40 UTC.
    const START: Timestamp = Timestamp::from_millis(1_770_000_000_000);
    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);

    fn tally(first_attempt: u64, latency: Duration) -> Tally {
        let mut tally = Tally { first_attempt, after_retry: 1, expired: 2, ..Tally::default() };
        tally.latency.record(Bucket::of(latency));
        tally
    }

    fn at(stream: &str, at: Timestamp, first_attempt: u64) -> MinuteTally {
        let tally = tally(first_attempt, Duration::from_millis(40));
        MinuteTally { stream: stream.to_owned(), minute: Minute::of(at), tally }
    }

    fn open(folder: &std::path::Path) -> DeliveryHistory {
        DeliveryHistory::open(&State::open(folder).unwrap()).unwrap()
    }

    fn delivered(history: &DeliveryHistory, from: Timestamp, to: Timestamp) -> u64 {
        history.sum("shop", from, to).unwrap().first_attempt
    }

    #[test]
    fn a_minute_told_in_parts_and_across_a_restart_is_their_sum() {
        let folder = tempfile::tempdir().unwrap();
        {
            let history = open(folder.path());
            history.add(&[at("shop", START, 3), at("shop", START.plus(MINUTE), 100)]).unwrap();
            history.add(&[at("shop", START, 4), at("shop", START, 5)]).unwrap();
        }
        let history = open(folder.path());
        history.add(&[at("shop", START.plus(Duration::from_secs(59)), 6)]).unwrap();
        let sum = history.sum("shop", START, START.plus(MINUTE)).unwrap();
        assert_eq!((sum.first_attempt, sum.after_retry, sum.expired), (18, 4, 8));
        assert_eq!((sum.delivered(), sum.not_delivered(), sum.latency.count()), (22, 8, 4));
    }

    #[test]
    fn the_start_is_in_the_end_is_not_and_neither_are_other_streams() {
        let folder = tempfile::tempdir().unwrap();
        let history = open(folder.path());
        let minutes = |count: u32| START.plus(MINUTE * count);
        let rows: Vec<_> = (0..4).map(|minute| at("shop", minutes(minute), 1 << minute)).collect();
        history.add(&rows).unwrap();
        history.add(&[at("sho", START, 64), at("shop-2", START, 64)]).unwrap();
        assert_eq!(delivered(&history, minutes(1), minutes(3)), 2 + 4);
        assert_eq!(delivered(&history, minutes(3), minutes(1)), 0);
        assert_eq!(history.sum("none", START, minutes(9)).unwrap(), Tally::default());
    }

    #[test]
    fn whole_hours_are_rolled_up_once_and_nothing_is_lost_or_doubled() {
        let folder = tempfile::tempdir().unwrap();
        let history = open(folder.path());
        let hour = Timestamp::from_millis(START.as_millis() / HOUR_MILLIS * HOUR_MILLIS);
        let rows: Vec<_> =
            (0..180).map(|minute| at("shop", hour.plus(MINUTE * minute), 1)).collect();
        history.add(&rows).unwrap();
        let end = hour.plus(3 * HOUR);
        // The first hour is four hours old when five have passed since it began.
        let almost = hour.plus(5 * HOUR).as_millis() - 1;
        history.roll_up(Timestamp::from_millis(almost)).unwrap();
        assert_eq!(delivered(&history, hour, hour.plus(MINUTE)), 1, "minutes are still apart");
        for _ in 0..2 {
            history.roll_up(hour.plus(5 * HOUR)).unwrap();
            assert_eq!(delivered(&history, hour, hour.plus(MINUTE)), 60, "an hour is one row");
            assert_eq!(delivered(&history, hour.plus(HOUR), hour.plus(HOUR + MINUTE)), 1);
            assert_eq!(delivered(&history, hour, end), 180);
        }
        // A clock that goes back adds to a minute whose hour is rolled up already.
        history.add(&[at("shop", hour, 20)]).unwrap();
        assert_eq!(delivered(&history, hour, end), 200);
        history.roll_up(hour.plus(9 * HOUR)).unwrap();
        assert_eq!(delivered(&history, hour, end), 200);
        assert_eq!(history.sum("shop", hour, end).unwrap().latency.count(), 181);
    }

    #[test]
    fn what_is_older_than_the_retention_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let history = open(folder.path());
        history.add(&[at("shop", START, 1), at("shop", START.plus(2 * HOUR), 2)]).unwrap();
        let later = START.plus(RETENTION + HOUR);
        history.roll_up(later).unwrap();
        assert_eq!(delivered(&history, Timestamp::default(), later), 2);
        history.roll_up(later.plus(3 * HOUR)).unwrap();
        assert_eq!(delivered(&history, Timestamp::default(), later), 0);
    }

    #[test]
    fn what_version_1_stored_is_read_and_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let history = open(folder.path());
        let latency = vec![(3, 2)];
        let (first_attempt, after_retry, expired, discarded) = (2, 1, 4, 5);
        let stored = Stored { first_attempt, after_retry, expired, discarded, latency };
        let mut batch = history.state.batch();
        let row = key(Span::Minute, "shop", Minute::of(START).start());
        batch.insert(&history.tallies, row, crate::encode(1, &stored));
        batch.commit().unwrap();
        history.add(&[at("shop", START, 3)]).unwrap();
        let sum = history.sum("shop", START, START.plus(MINUTE)).unwrap();
        assert_eq!((sum.first_attempt, sum.discarded, sum.latency.count()), (5, 5, 3));
        assert_eq!(sum.bill, Bill::default());
    }

    #[test]
    fn a_bill_is_per_day_in_utc_whether_minutes_are_apart_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let history = open(folder.path());
        let day = Day::of(START).start();
        let billed = |after: Duration, requests, points_saved| {
            let bill = Bill { requests, points_saved, points: 3, ..Bill::default() };
            let (stream, minute) = ("shop".to_owned(), Minute::of(day.plus(after)));
            MinuteTally { stream, minute, tally: Tally { bill, ..Tally::default() } }
        };
        let last_hour = 23 * HOUR;
        let rows = [
            billed(Duration::ZERO, 10, 1),
            billed(last_hour, 20, 0),
            billed(last_hour + 59 * MINUTE, 30, 5),
            billed(24 * HOUR, 7, 0),
            // Something happened, and nobody was billed for it.
            at("shop", day.plus(72 * HOUR), 1),
        ];
        history.add(&rows).unwrap();
        let of = |from: u32, to: u32| {
            let day = |days: u32| Day::of(day.plus(days * 24 * HOUR));
            history.bill("shop", day(from), day(to)).unwrap()
        };
        for _ in 0..2 {
            let told: Vec<_> = of(0, 9)
                .iter()
                .map(|day| {
                    let Bill { requests, points, points_saved, .. } = day.bill;
                    (day.day.start(), requests, points, points_saved, day.busiest_hour_requests)
                })
                .collect();
            let next = day.plus(24 * HOUR);
            assert_eq!(told, [(day, 60, 9, 6, 50), (next, 7, 3, 0, 7)]);
            assert_eq!((of(1, 1).len(), of(1, 0).len(), of(2, 9).len()), (1, 0, 0));
            history.roll_up(day.plus(48 * HOUR)).unwrap();
        }
        assert!((of(0, 0)[0].busiest_hour_share(200) - 0.25).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(key: Vec<u8>, value: Vec<u8>) {
            drop(split(&key));
            drop(decode(&value));
        }

        #[test]
        fn rows_lead_back_to_stream_and_start(stream: String, start in 0..i64::MAX) {
            let key = key(Span::Minute, &stream, start);
            prop_assert_eq!(split(&key).unwrap(), (stream.as_str(), start));
        }
    }
}
