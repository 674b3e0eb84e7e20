//! One destination at one moment, as a question to its ledger sees it.

use crate::deliveries::Served;
use crate::report::ledger::LedgerJob;
use isthmus_core::Timestamp;
use isthmus_delivery::journal::{JobKind, JobRecord};
use isthmus_delivery::status::DestinationStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A destination with the streams and jobs that its ledger knows by number.
pub(in crate::runtime) struct View<'a> {
    pub(super) destination: &'a str,
    pub(in crate::runtime) served: &'a Served,
    pub(super) status: Arc<DestinationStatus>,
    /// Since when the ledger is kept.
    pub(super) kept_since: Option<Timestamp>,
    numbers: BTreeMap<u32, (String, Option<LedgerJob>)>,
}

impl<'a> View<'a> {
    pub(in crate::runtime) fn of(destination: &'a str, served: &'a Served) -> Self {
        let status = served.handle.status();
        let job = |number: u32, record: &JobRecord| {
            let kind = match record.kind {
                JobKind::Backfill => "backfill",
                JobKind::Replay => "replay",
            };
            LedgerJob { number, kind: kind.to_owned() }
        };
        let running = status.streams.iter().map(|stream| {
            let number = stream.number.0;
            let job = stream.job.as_ref().map(|record| job(number, record));
            (number, (stream.name.to_string(), job))
        });
        let past = status.past_jobs.iter().map(|stream| {
            let known = stream.job.as_ref();
            let name = known.map_or(&stream.name, |record| &record.stream);
            (stream.number, (name.clone(), known.map(|record| job(stream.number, record))))
        });
        let numbers = running.chain(past).collect();
        let kept_since = served.ledger.kept_since();
        Self { destination, served, status, kept_since, numbers }
    }

    /// The numbers of the stream called `name` and of its jobs.
    pub(in crate::runtime) fn numbers_of(&self, name: &str) -> BTreeSet<u32> {
        let of = self.numbers.iter().filter(|(_, (stream, _))| stream == name);
        of.map(|(number, _)| *number).collect()
    }

    /// The stream, and the job, with this number.
    pub(super) fn named(&self, number: u32) -> (String, Option<LedgerJob>) {
        let gone = || (format!("stream {number}, which is gone"), None);
        self.numbers.get(&number).cloned().unwrap_or_else(gone)
    }
}
