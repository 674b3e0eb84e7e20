//! Names of the metrics of this crate, and the handles that one destination keeps.

use crate::counts::Counts;
use crate::health::Condition;
use crate::status::DestinationStatus;
use isthmus_state::delivery_history::Bill;
use metrics::{Counter, Gauge, Histogram};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ends of attempts to deliver an object, by `destination` and `outcome`: `delivered`,
/// `rejected`, `expired`, `again`, `unknown`.
pub const ATTEMPTS: &str = "isthmus_delivery_attempts_total";
/// Objects held back by a rule, by `destination` and `reason`.
pub const DISCARDED: &str = "isthmus_delivery_discarded_total";
/// Objects sent again after an unknown outcome, by `destination`.
pub const POSSIBLE_DUPLICATES: &str = "isthmus_delivery_possible_duplicates_total";
/// Requests sent, by `destination`.
pub const REQUESTS: &str = "isthmus_delivery_requests_total";
/// Replies, by `destination` and `status`: `2xx`, `4xx`, `429`, `5xx`, `none` and so on.
pub const REPLIES: &str = "isthmus_delivery_replies_total";
/// Vendor objects sent, by `destination`.
pub const OBJECTS: &str = "isthmus_delivery_objects_total";
/// Vendor objects saved by joining deliveries, by `destination`.
pub const JOINED: &str = "isthmus_delivery_joined_total";
/// Objects that were not sent because the vendor was told all of it before, by `destination` and
/// `stream`; jobs count for their stream.
pub const OBJECTS_SAVED: &str = "isthmus_delivery_objects_saved_total";
/// Attributes that were not sent for that reason, those of objects saved among them, by `destination`
/// and `stream`.
pub const ATTRIBUTES_SAVED: &str = "isthmus_delivery_attributes_saved_total";
/// What the vendor bills for what it took, in its own currency, by `destination` and `stream`.
pub const DATA_POINTS: &str = "isthmus_delivery_data_points_total";
/// What it would have billed for the attributes that were not sent, by `destination` and `stream`.
pub const DATA_POINTS_SAVED: &str = "isthmus_delivery_data_points_saved_total";
/// Bytes of request bodies sent, by `destination`.
pub const BODY_BYTES: &str = "isthmus_delivery_body_bytes_total";
/// Time from an event's acceptance to its acknowledgement, in seconds, by `destination`.
pub const LATENCY_SECONDS: &str = "isthmus_delivery_latency_seconds";
/// Time from sending a request to its reply, in seconds, by `destination`.
pub const REQUEST_SECONDS: &str = "isthmus_delivery_request_seconds";
/// Objects that wait or are under way, by `destination` and `stream`.
pub const PENDING: &str = "isthmus_delivery_pending_objects";
/// Requests under way, by `destination`.
pub const IN_FLIGHT: &str = "isthmus_delivery_in_flight_requests";
/// Whether a destination is stopped: by its refusal or by the operator. 0 or 1, by `destination`.
pub const PAUSED: &str = "isthmus_delivery_paused";
/// Objects by `destination`, `stream` and `outcome`, since the stream exists: `accepted`, `delivered`,
/// `rejected`, `expired` (part of `rejected`), `discarded`, `unknown` (sent, and nobody knows). Jobs
/// count for their stream. A gauge, because an object that is sent again leaves its outcome.
pub const STREAM_OBJECTS: &str = "isthmus_delivery_stream_objects";
/// Objects that were tried and are to be sent again, by `destination` and `stream`.
pub const RETRYING: &str = "isthmus_delivery_retrying_objects";
/// Objects under way, by `destination` and `stream`.
pub const STREAM_IN_FLIGHT: &str = "isthmus_delivery_in_flight_objects";
/// Share of the request budget that is used, of the rate with the least left; 0 to 1, by
/// `destination`.
pub const BUDGET_USED: &str = "isthmus_delivery_budget_used_ratio";
/// Dead letters by `stream`, counted up to 10000; whoever keeps them sets it.
pub const DEAD_LETTERS: &str = "isthmus_delivery_dead_letters";
/// Jobs that run, by `destination`.
pub const JOBS: &str = "isthmus_delivery_running_jobs";
/// Bytes that the journal has on disk, the ledger's part included, by `destination`.
pub const JOURNAL_DISK_BYTES: &str = "isthmus_delivery_journal_disk_bytes";
/// Bytes appended to the journal, by `destination`.
pub const JOURNAL_BYTES: &str = "isthmus_delivery_journal_bytes_total";
/// Items of the event log that the finder took up.
pub const FINDER_ITEMS: &str = "isthmus_finder_items_total";
/// Times that the finder was thrown away and built again while the server ran.
pub const FINDER_REBUILDS: &str = "isthmus_finder_rebuilds_total";
/// Bytes that the finder has on disk.
pub const FINDER_DISK_BYTES: &str = "isthmus_finder_disk_bytes";

/// Handles of one destination, looked up once.
#[derive(Debug)]
pub(crate) struct Meters {
    destination: String,
    delivered: Counter,
    discarded: BTreeMap<&'static str, Counter>,
    pub(crate) rejected: Counter,
    pub(crate) expired: Counter,
    pub(crate) again: Counter,
    pub(crate) unknown: Counter,
    pub(crate) possible_duplicates: Counter,
    requests: Counter,
    objects: Counter,
    joined: Counter,
    body_bytes: Counter,
    latency: Histogram,
    in_flight: Gauge,
    paused: Gauge,
    budget_used: Gauge,
    jobs: Gauge,
}

impl Meters {
    pub(crate) fn new(destination: &str) -> Self {
        let destination = destination.to_owned();
        let attempts = |outcome: &'static str| metrics::counter!(ATTEMPTS, "destination" => destination.clone(), "outcome" => outcome);
        let counter =
            |name: &'static str| metrics::counter!(name, "destination" => destination.clone());
        Self {
            delivered: attempts("delivered"),
            discarded: BTreeMap::new(),
            rejected: attempts("rejected"),
            expired: attempts("expired"),
            again: attempts("again"),
            unknown: attempts("unknown"),
            possible_duplicates: counter(POSSIBLE_DUPLICATES),
            requests: counter(REQUESTS),
            objects: counter(OBJECTS),
            joined: counter(JOINED),
            body_bytes: counter(BODY_BYTES),
            latency: metrics::histogram!(LATENCY_SECONDS, "destination" => destination.clone()),
            in_flight: metrics::gauge!(IN_FLIGHT, "destination" => destination.clone()),
            paused: metrics::gauge!(PAUSED, "destination" => destination.clone()),
            budget_used: metrics::gauge!(BUDGET_USED, "destination" => destination.clone()),
            jobs: metrics::gauge!(JOBS, "destination" => destination.clone()),
            destination,
        }
    }

    pub(crate) fn delivered(&self, latency: Duration) {
        self.delivered.increment(1);
        self.latency.record(latency.as_secs_f64());
    }

    pub(crate) fn discarded(&mut self, reason: &'static str) {
        let look_up = || {
            let destination = self.destination.clone();
            metrics::counter!(DISCARDED, "destination" => destination, "reason" => reason)
        };
        self.discarded.entry(reason).or_insert_with(look_up).increment(1);
    }

    pub(crate) fn sent(&self, objects: u64, joined: u64, bytes: u64) {
        self.requests.increment(1);
        self.objects.increment(objects);
        self.joined.increment(joined);
        self.body_bytes.increment(bytes);
    }

    pub(crate) fn gauge(&self, status: &DestinationStatus, journal_bytes: Option<u64>) {
        if let Some(bytes) = journal_bytes {
            let destination = self.destination.clone();
            metrics::gauge!(JOURNAL_DISK_BYTES, "destination" => destination).set(float(bytes));
        }
        for (stream, objects) in objects_by_stream(status) {
            let set = |name: &'static str, count: u64| {
                let (destination, stream) = (self.destination.clone(), stream.to_owned());
                metrics::gauge!(name, "destination" => destination, "stream" => stream)
                    .set(float(count));
            };
            set(PENDING, objects.pending);
            set(RETRYING, objects.retrying);
            set(STREAM_IN_FLIGHT, objects.in_flight);
            let total = |name: &'static str, count: u64| {
                let (destination, stream) = (self.destination.clone(), stream.to_owned());
                metrics::counter!(name, "destination" => destination, "stream" => stream)
                    .absolute(count);
            };
            total(OBJECTS_SAVED, objects.bill.objects_saved);
            total(ATTRIBUTES_SAVED, objects.bill.attributes_saved);
            total(DATA_POINTS, objects.bill.points);
            total(DATA_POINTS_SAVED, objects.bill.points_saved);
            for (outcome, count) in objects.by_outcome() {
                let (destination, stream) = (self.destination.clone(), stream.to_owned());
                metrics::gauge!(STREAM_OBJECTS, "destination" => destination, "stream" => stream, "outcome" => outcome)
                    .set(float(count));
            }
        }
        let used = status.budget.map_or(0.0, |(used, limit)| {
            if limit == 0 { 1.0 } else { f64::from(used) / f64::from(limit) }
        });
        self.budget_used.set(used.clamp(0.0, 1.0));
        self.jobs.set(float(status.jobs_running() as u64));
        self.in_flight.set(f64::from(u32::try_from(status.requests_in_flight).unwrap_or(u32::MAX)));
        let stopped =
            matches!(status.condition, Condition::Paused { .. } | Condition::Halted { .. });
        self.paused.set(f64::from(u8::from(stopped)));
    }
}

/// What a stream and its jobs have in common.
#[derive(Debug, Default, PartialEq, Eq)]
struct StreamObjects {
    pending: u64,
    retrying: u64,
    in_flight: u64,
    counts: Counts,
    bill: Bill,
}

impl StreamObjects {
    fn by_outcome(&self) -> [(&'static str, u64); 6] {
        let Counts { accepted, delivered, rejected, expired, discarded, parked, .. } = self.counts;
        [
            ("accepted", accepted),
            ("delivered", delivered),
            ("rejected", rejected),
            ("expired", expired),
            ("discarded", discarded),
            ("unknown", parked),
        ]
    }
}

/// Objects by stream, those of jobs that run or ended among them.
fn objects_by_stream(status: &DestinationStatus) -> BTreeMap<&str, StreamObjects> {
    let mut streams: BTreeMap<&str, StreamObjects> = BTreeMap::new();
    for stream in &status.streams {
        let objects = streams.entry(&stream.name).or_default();
        objects.pending += stream.pending;
        objects.retrying += stream.retrying;
        objects.in_flight += stream.in_flight;
        objects.counts.add(&stream.counts);
        objects.bill.add(&stream.bill);
    }
    for record in &status.past_jobs {
        // Of a job that waits to go on, what has ended counts all the same.
        if let Some(objects) = streams.get_mut(record.name.as_str()) {
            objects.counts.add(&record.counts);
            objects.bill.add(status.past_bills.get(&record.number).unwrap_or(&Bill::default()));
        }
    }
    streams
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 objects suffice")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The class of a reply's status, as a label.
pub(crate) fn status_class(status: u16) -> &'static str {
    match status {
        429 => "429",
        401 | 403 => "401",
        413 => "413",
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500..600 => "5xx",
        _ => "other",
    }
}
