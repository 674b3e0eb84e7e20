//! Names of the metrics of this crate, and the handles that one destination keeps.

use crate::health::Condition;
use crate::status::DestinationStatus;
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

    pub(crate) fn gauge(&self, status: &DestinationStatus) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 objects suffice")]
        for stream in &status.streams {
            let (destination, name) = (self.destination.clone(), stream.name.to_string());
            metrics::gauge!(PENDING, "destination" => destination, "stream" => name)
                .set(stream.pending as f64);
        }
        self.in_flight.set(f64::from(u32::try_from(status.requests_in_flight).unwrap_or(u32::MAX)));
        let stopped =
            matches!(status.condition, Condition::Paused { .. } | Condition::Halted { .. });
        self.paused.set(f64::from(u8::from(stopped)));
    }
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
