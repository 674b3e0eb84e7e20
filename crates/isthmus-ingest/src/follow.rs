//! Following a folder or bucket to which Braze's storage connector writes, and reading one once.
//!
//! In reading order: `bucket` opens what a URL names; `listing` finds files in it; `reading` takes one
//! file to the door, record by record; [`Follower`] does that for ever, [`Import`] once; [`Tally`] is what
//! others see of both.
//!
//! - A file is done when all of its events are in the intake log; how far it has come is noted after
//!   each record. After a crash reading goes on there, and what is handed in twice is recognised by its
//!   ids.
//! - Nothing holds a whole file: bytes come as they are asked for, and at most a few records wait for
//!   the log, which pushes back.
//! - A file that cannot be read holds up no other.

mod bucket;
mod follower;
mod import;
mod listing;
mod reading;
mod tally;

pub use bucket::{Bucket, BucketError, BucketSettings, S3Keys};
pub use follower::{Follower, FollowerSettings};
pub use import::{Import, ImportEnd};
pub use reading::{Ground, Intake};
pub use tally::{Tally, TallyView};

#[cfg(test)]
mod tests;
