//! Lets go of log segments that nobody needs: behind every consumer, and old enough.

use isthmus_core::record::{AppliedBatch, IntakeBatch};
use isthmus_core::seam::Clock;
use isthmus_core::{ByteSize, Timestamp};
use isthmus_ingest::applier::{Progress, SNAPSHOT_REACH_BYTES};
use isthmus_log::{Log, LogError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often segments are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// How long each log is kept at least, room permitting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    pub(crate) intake: Duration,
    pub(crate) events: Duration,
    /// Where a budget is set, old segments go early to stay within it, but never before every
    /// consumer has passed.
    pub(crate) intake_budget: Option<ByteSize>,
    pub(crate) event_budget: Option<ByteSize>,
}

/// The part that trims.
pub(crate) struct Retention {
    pub(crate) intake: Log,
    pub(crate) events: Log,
    pub(crate) applier: watch::Receiver<Progress>,
    /// The lowest offset of the event log that a stream needs, if any stream needs one.
    pub(crate) lowest_cursor: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    pub(crate) keep: Keep,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Retention {
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = self.clock.sleep(EVERY) => {}
                () = stop.cancelled() => return Ok(()),
            }
            if let Err(error) = self.trim() {
                tracing::error!(%error, "old segments not removed");
            }
        }
    }

    fn trim(&self) -> Result<(), LogError> {
        let now = self.clock.now();
        let applied = self.applier.borrow().intake_persisted;
        trim(&self.intake, applied, self.keep.intake, self.keep.intake_budget, now, |payload| {
            let batch = IntakeBatch::decode(payload).ok()?;
            Some(Timestamp::from_millis(batch.received_at))
        })?;
        let read = (self.lowest_cursor)().unwrap_or_else(|| self.events.end());
        // An item refers to user properties that were written up to this far before it.
        let free = read.saturating_sub(SNAPSHOT_REACH_BYTES);
        trim(&self.events, free, self.keep.events, self.keep.event_budget, now, |payload| {
            Some(Timestamp::from_millis(AppliedBatch::decode(payload).ok()?.received_at))
        })
    }
}

/// Trims `log` up to `free`, segment by segment, as long as the segment is older than `keep` or
/// the log exceeds its budget.
fn trim(
    log: &Log,
    free: u64,
    keep: Duration,
    budget: Option<ByteSize>,
    now: Timestamp,
    written_at: impl Fn(&[u8]) -> Option<Timestamp>,
) -> Result<(), LogError> {
    // Room for what arrives until the next look.
    let within = |budget: ByteSize| log.bytes_on_disk() <= budget.as_u64() / 4 * 3;
    for start in log.segments().into_iter().skip(1) {
        if start > free {
            break;
        }
        // A segment is as old as the first record after it.
        let old = log
            .read_at(start)
            .ok()
            .and_then(|payload| written_at(&payload))
            .is_some_and(|at| now.since(at) >= keep);
        if !old && budget.is_none_or(within) {
            break;
        }
        log.trim(start)?;
    }
    Ok(())
}
