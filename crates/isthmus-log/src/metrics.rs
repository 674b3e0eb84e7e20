//! Names of this crate's metrics. The label `log` is the name of the log's folder.

/// Counter: bytes appended and synced, as stored.
pub const APPENDED_BYTES: &str = "isthmus_log_appended_bytes_total";
/// Counter: records appended and synced.
pub const APPENDED_RECORDS: &str = "isthmus_log_appended_records_total";
/// Counter: records whose payload was replaced.
pub const REWRITTEN_RECORDS: &str = "isthmus_log_rewritten_records_total";
/// Histogram: records written with one sync.
pub const GROUP_RECORDS: &str = "isthmus_log_group_records";
/// Histogram: duration of one write of a group, without its sync.
pub const WRITE_SECONDS: &str = "isthmus_log_write_seconds";
/// Histogram: duration of one sync.
pub const SYNC_SECONDS: &str = "isthmus_log_sync_seconds";
/// Counter: groups that were not stored, by `reason`: `full` or `io`.
pub const FAILED_GROUPS: &str = "isthmus_log_failed_groups_total";
/// Counter: appends refused because too many bytes wait for the disk.
pub const BUSY_APPENDS: &str = "isthmus_log_busy_appends_total";
/// Gauge: bytes on disk.
pub const DISK_BYTES: &str = "isthmus_log_disk_bytes";
/// Counter: bytes of a torn tail that were cut when a log was opened.
pub const CUT_BYTES: &str = "isthmus_log_cut_bytes_total";
/// Counter: damaged records met by readers.
pub const CORRUPT_READS: &str = "isthmus_log_corrupt_reads_total";
