//! Names of the metrics of this crate.

/// Events accepted at the door, by `endpoint`.
pub const EVENTS_ACCEPTED: &str = "isthmus_ingest_events_accepted_total";
/// Requests answered at the door, by `endpoint` and `status`.
pub const REQUESTS: &str = "isthmus_ingest_requests_total";
/// Body bytes after decompression, by `endpoint`.
pub const BODY_BYTES: &str = "isthmus_ingest_body_bytes_total";
/// Time from the whole request being read to its answer, in seconds, by `endpoint`.
pub const ANSWER_SECONDS: &str = "isthmus_ingest_answer_seconds";
/// Items the applier wrote to the event log, by `kind`.
pub const APPLIED: &str = "isthmus_applier_items_total";
/// Events dropped because they were seen before.
pub const DUPLICATES: &str = "isthmus_applier_duplicates_total";
/// Property updates dropped because the properties would have become too large.
pub const UPDATES_OVERSIZED: &str = "isthmus_applier_updates_oversized_total";
/// Bytes of the intake log that wait to be applied.
pub const LAG_BYTES: &str = "isthmus_applier_lag_bytes";
