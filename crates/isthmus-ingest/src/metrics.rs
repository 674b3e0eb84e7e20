//! Names of the metrics of this crate.

/// Events accepted at the door, by `endpoint`, which is `files` for those of Currents files.
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
/// Events dropped because they are of people who were erased.
pub const REFUSED: &str = "isthmus_applier_refused_total";
/// Property updates dropped, by `reason`: `too_large` where the properties would have become so,
/// `too_many` beyond what one person may have within an hour.
pub const UPDATES_DROPPED: &str = "isthmus_applier_updates_dropped_total";
/// Bytes of the intake log that wait to be applied.
pub const LAG_BYTES: &str = "isthmus_applier_lag_bytes";
/// Events of Braze Currents accepted at the door, by `source`.
pub const CURRENTS_EVENTS: &str = "isthmus_currents_events_accepted_total";
/// What Braze Currents brought that cannot be read as an event, by `source`.
pub const CURRENTS_UNUSABLE: &str = "isthmus_currents_unusable_total";
/// Events of Braze Currents dropped because they were applied before, by `source`.
pub const CURRENTS_DUPLICATES: &str = "isthmus_currents_duplicates_total";
/// Entries of the quarantine dropped because there were too many newer ones, by `source`.
pub const QUARANTINE_DROPPED: &str = "isthmus_currents_quarantine_dropped_total";
/// Files of Currents sources that were read to their end, by `source` and `outcome`.
pub const FILES_READ: &str = "isthmus_currents_files_read_total";
/// Bytes of those files as they are stored, by `source`.
pub const FILE_BYTES: &str = "isthmus_currents_files_bytes_total";
/// Files that were found and are not read to their end, by `source`.
pub const FILES_PENDING: &str = "isthmus_currents_files_pending";
/// Age of the oldest of them in seconds, by `source`.
pub const FILES_LAG: &str = "isthmus_currents_files_lag_seconds";
