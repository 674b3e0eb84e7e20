//! What can be seen from outside, at any time, without asking the engine.

use crate::counts::{Counts, Totals};
use crate::health::Condition;
use crate::journal::{Gap, JobRecord, StreamRecord};
use crate::latency::Latency;
use crate::stream::StreamNumber;
use isthmus_core::Place;
use isthmus_core::destination::Rate;
use isthmus_state::delivery_history::Bill;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationStatus {
    pub name: Arc<str>,
    pub condition: Condition,
    /// How long its rates, or a wait that it asked for, hold requests back from now on.
    pub throttled_for: Option<Duration>,
    /// Of the rate with the least left: requests used of its present window, and its limit.
    pub budget: Option<(u32, u32)>,
    /// Of the rates, the one that allows the fewest requests in the long run.
    pub rate: Option<Rate>,
    pub requests_in_flight: usize,
    /// Whether a crash now would find everything below as it is, pending objects apart.
    pub on_disk: bool,
    /// Users with anything pending.
    pub lanes: usize,
    /// Of those, the ones that wait for a retry.
    pub lanes_waiting: usize,
    pub totals: Totals,
    /// Streams, and jobs that run.
    pub streams: Vec<StreamStatus>,
    /// Jobs that ended, and jobs of a run before this one that nobody took up yet.
    pub past_jobs: Vec<StreamRecord>,
    /// What each of them cost, by its number.
    pub past_bills: BTreeMap<u32, Bill>,
}

/// One stream of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStatus {
    /// Name of the stream, for a job of the one it is for.
    pub name: Arc<str>,
    /// Its number within the destination, which the journal and the ledger know it by.
    pub number: StreamNumber,
    /// Set for a job.
    pub job: Option<JobRecord>,
    /// Offset at which it began to read.
    pub born: u64,
    /// Parts of the log that it did not read, because it was disabled.
    pub gaps: Vec<Gap>,
    /// While disabled, and for a job: the offset at which reading ends.
    pub stop_at: Option<u64>,
    pub enabled: bool,
    /// The first place of the event log that is not finished.
    pub cursor: Place,
    /// The cursor as a restart would find it.
    pub cursor_on_disk: Place,
    /// Whether the log must be kept from [`Self::cursor_on_disk`] on.
    pub holds_log: bool,
    /// Offset of the next record to read.
    pub position: u64,
    /// Objects accepted and not finished: waiting, under way, or unknown and to be sent again.
    pub pending: u64,
    /// Of those, the ones under way.
    pub in_flight: u64,
    /// Of those, the ones that were tried and are to be sent again.
    pub retrying: u64,
    /// Of those, the ones of which an attempt's outcome is unknown, whether they are sent again or
    /// not.
    pub unknown_pending: u64,
    pub counts: Counts,
    /// What it cost so far, and what was saved.
    pub bill: Bill,
    /// Objects discarded, by reason.
    pub discards: BTreeMap<Cow<'static, str>, u64>,
    /// From acceptance to acknowledgement, over the last minute.
    pub latency: Latency,
}

impl DestinationStatus {
    /// The stream called `name`.
    pub fn stream(&self, name: &str) -> Option<&StreamStatus> {
        self.streams.iter().find(|stream| stream.job.is_none() && *stream.name == *name)
    }

    /// How many jobs run.
    pub fn jobs_running(&self) -> usize {
        self.streams.iter().filter(|stream| stream.job.is_some()).count()
    }

    /// The first place of the event log that a restart would need; `None` when it needs none.
    pub fn lowest_cursor(&self) -> Option<Place> {
        let holding = self.streams.iter().filter(|stream| stream.holds_log);
        let waiting = self.past_jobs.iter().filter(|record| record.is_waiting_job());
        let waiting = waiting.map(|record| record.cursor);
        holding.map(|stream| stream.cursor_on_disk).chain(waiting).min()
    }
}

impl StreamStatus {
    /// Whether accepted = delivered + rejected + discarded + pending.
    pub fn adds_up(&self) -> bool {
        let Counts { accepted, delivered, rejected, discarded, .. } = self.counts;
        accepted == delivered + rejected + discarded + self.pending
    }
}
