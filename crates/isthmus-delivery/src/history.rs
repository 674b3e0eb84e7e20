//! What became of each stream's objects, minute by minute, on its way to a store.
//!
//! The dispatcher counts as objects end, and the engine hands over what was counted every few
//! seconds, once the entry that tells the same is on disk: what a crash makes happen again was not
//! handed over before. So nothing is ever counted twice; what a crash cuts off is missing.

use crate::samples::{Happened, Sampler};
use crate::stream::{Stream, StreamNumber};
use isthmus_core::{Bucket, Timestamp};
use isthmus_state::StateError;
use isthmus_state::delivery_history::{Bill, DeliveryHistory, Minute, MinuteTally, Tally};
use isthmus_state::delivery_samples::{DeliverySamples, SampleGroup};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happened since the last time that somebody asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Several may be of one stream and minute: they add up.
    pub tallies: Vec<MinuteTally>,
    pub samples: Vec<SampleGroup>,
}

/// Keeps what was observed. The server passes `isthmus_state`'s.
pub trait HistoryStore: Send + Sync {
    /// Adds `observed` to what is known; it is given once.
    fn add(&self, observed: &Observed) -> Result<(), StateError>;
}

/// History and samples in `isthmus_state`.
#[derive(Clone)]
pub struct StoredHistory {
    pub history: DeliveryHistory,
    pub samples: DeliverySamples,
}

impl HistoryStore for StoredHistory {
    fn add(&self, observed: &Observed) -> Result<(), StateError> {
        if !observed.tallies.is_empty() {
            self.history.add(&observed.tallies)?;
        }
        self.samples.add(&observed.samples)
    }
}

/// Counts on behalf of a dispatcher.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    streams: BTreeMap<StreamNumber, Recorded>,
    sampler: Sampler,
}

/// What was counted for one stream or job.
#[derive(Debug)]
struct Recorded {
    /// Name of the stream, for a job of the one it is for.
    name: Arc<str>,
    minute: Minute,
    tally: Tally,
    /// Minutes before that.
    ended: Vec<(Minute, Tally)>,
}

impl Recorder {
    /// An object was delivered, `latency` after it was accepted.
    pub(crate) fn delivered(
        &mut self,
        stream: &Stream,
        now: Timestamp,
        at_once: bool,
        latency: Bucket,
    ) {
        let tally = self.tally(stream, now);
        let count = if at_once { &mut tally.first_attempt } else { &mut tally.after_retry };
        *count += 1;
        tally.latency.record(latency);
    }

    /// Something of the stream was billed or saved.
    pub(crate) fn billed(&mut self, stream: &Stream, now: Timestamp, bill: &Bill) {
        self.tally(stream, now).bill.add(bill);
    }

    /// An object was given up.
    pub(crate) fn expired(&mut self, stream: &Stream, happened: &Happened<'_>) {
        self.tally(stream, happened.at).expired += 1;
        self.sample(stream, happened);
    }

    /// An object was refused for good, or held back by a rule.
    pub(crate) fn discarded(&mut self, stream: &Stream, happened: &Happened<'_>) {
        self.tally(stream, happened.at).discarded += 1;
        self.sample(stream, happened);
    }

    /// Takes a sample of something that did not go as it should.
    pub(crate) fn sample(&mut self, stream: &Stream, happened: &Happened<'_>) {
        self.sampler.take(stream, happened);
    }

    /// Whether there is anything to hand over.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.sampler.is_empty()
    }

    /// Everything since the last call.
    pub(crate) fn take(&mut self) -> Observed {
        let tallies = std::mem::take(&mut self.streams).into_values().flat_map(|recorded| {
            let Recorded { name, minute, tally, ended } = recorded;
            ended.into_iter().chain([(minute, tally)]).map(move |(minute, tally)| MinuteTally {
                stream: name.to_string(),
                minute,
                tally,
            })
        });
        Observed { tallies: tallies.collect(), samples: self.sampler.drain() }
    }

    fn tally(&mut self, stream: &Stream, now: Timestamp) -> &mut Tally {
        let minute = Minute::of(now);
        let recorded = self.streams.entry(stream.number).or_insert_with(|| Recorded {
            name: Arc::clone(&stream.name),
            minute,
            tally: Tally::default(),
            ended: Vec::new(),
        });
        if recorded.minute != minute {
            recorded.ended.push((recorded.minute, std::mem::take(&mut recorded.tally)));
            recorded.minute = minute;
        }
        &mut recorded.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Category;
    use isthmus_core::Place;
    use std::time::Duration;

    fn expired(at: Timestamp) -> Happened<'static> {
        Happened::aside(Category::Expired, at, Place::default(), 0)
    }

    fn stream(number: u32, name: &str) -> Stream {
        Stream::new(StreamNumber(number), name.into(), true, 0)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_770_000_000_000 + seconds * 1_000)
    }

    #[test]
    fn each_outcome_is_told_once_with_its_minute() {
        let mut recorder = Recorder::default();
        assert!(recorder.is_empty());
        let shop = stream(0, "shop");
        recorder.delivered(&shop, at(1), true, Bucket::of(Duration::from_millis(30)));
        recorder.delivered(&shop, at(59), false, Bucket::of(Duration::from_secs(30)));
        recorder.expired(&shop, &expired(at(59)));
        recorder.discarded(&shop, &expired(at(60)));
        let told = recorder.take().tallies;
        let shown: Vec<_> = told
            .iter()
            .map(|MinuteTally { minute, tally, .. }| {
                let Tally { first_attempt, after_retry, expired, discarded, latency, .. } = tally;
                let counts = [*first_attempt, *after_retry, *expired, *discarded];
                (*minute, counts, latency.count())
            })
            .collect();
        let minutes = [Minute::of(at(0)), Minute::of(at(60))];
        assert_eq!(shown, [(minutes[0], [1, 1, 1, 0], 2), (minutes[1], [0, 0, 0, 1], 0)]);
        assert!(recorder.is_empty());
        assert_eq!(recorder.take(), Observed::default());
        // The same minute goes on, and only what is new is told.
        recorder.discarded(&shop, &expired(at(61)));
        assert_eq!(recorder.take().tallies[0].tally.discarded, 1);
    }

    #[test]
    fn a_jobs_objects_count_for_its_stream() {
        let mut recorder = Recorder::default();
        for stream in [stream(0, "shop"), stream(7, "shop")] {
            recorder.discarded(&stream, &expired(at(0)));
        }
        let told = recorder.take().tallies;
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|each| each.stream == "shop"));
    }
}
