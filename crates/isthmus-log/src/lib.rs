//! The durable log: append, sync, read from an offset, trim; rewrite in place.
//!
//! An acknowledged record survives power loss, and is read back exactly or not at all: a damaged
//! one is an error that names its place, never skipped in silence. The log does not look into
//! payloads and keeps no cursors; readers bring their own offsets.
//!
//! An **offset** is a byte position over all segments laid end to end. Segment headers take no
//! offsets, so rolling to a new segment shows nowhere, and a sole appender knows what offset its
//! next record gets: [`Log::end`] after the previous append returned.
//!
//! In reading order:
//! - `log`: the handle everybody holds, and how a log is opened.
//! - `format`: the bytes of segments and records.
//! - `queue` and `writer`: appends waiting for the disk, and the groups they are written in.
//! - `reader` and `scan`: reading and verifying records.
//! - `rewrite`: replacing payloads where they stand, to erase what they say.
//! - `recovery` and `repair`: telling a torn tail from damage, and the way past damage.
//! - [`disk`]: the seam to the file system, and a fake disk with faults.

pub mod disk;
pub mod metrics;

mod config;
mod error;
mod format;
mod log;
mod queue;
mod reader;
mod recovery;
mod repair;
mod rewrite;
mod scan;
mod segments;
mod writer;

pub use config::LogConfig;
pub use disk::{Disk, FakeDisk, RealDisk};
pub use error::{FullBecause, LogError, Remedy};
pub use format::Frame;
pub use log::Log;
pub use reader::{LogReader, Record};
pub use recovery::Recovery;
pub use repair::{Skipped, skip_damage};
pub use rewrite::Rewritten;
pub use writer::Writer;
