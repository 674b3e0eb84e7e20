//! The door for files: no faster than events are applied. Files can wait where they are, and what posts
//! and SDKs bring needs the room in the intake log.

use isthmus_braze::currents::{Received, Unusable};
use isthmus_core::seam::BoxFuture;
use isthmus_ingest::applier::Progress;
use isthmus_ingest::door::{CurrentsError, Door};
use isthmus_ingest::follow::Intake;
use isthmus_log::Log;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Bytes of the intake log that may wait to be applied before files wait: some seconds of work for the
/// applier.
const BACKLOG_MAX: u64 = 64 << 20;

/// The door, and how far behind it the applier is.
pub(crate) struct Paced {
    pub(crate) door: Arc<Door>,
    pub(crate) intake: Log,
    pub(crate) applier: watch::Receiver<Progress>,
}

impl fmt::Debug for Paced {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Paced").field("door", &self.door).finish_non_exhaustive()
    }
}

impl Intake for Paced {
    fn accept<'a>(
        &'a self,
        source: &'a str,
        events: Vec<Received<'a>>,
        unusable: Vec<Unusable<'a>>,
        file: &'a str,
    ) -> BoxFuture<'a, Result<(), CurrentsError>> {
        self.door.accept(source, events, unusable, file)
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut applier = self.applier.clone();
            let keeps_up = |progress: &Progress| {
                self.intake.end().saturating_sub(progress.intake) < BACKLOG_MAX
            };
            // An error is the applier having ended, and with it the server.
            drop(applier.wait_for(keeps_up).await);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemClock;
    use futures_util::FutureExt;
    use isthmus_ingest::door::{DoorRules, NobodyMapped};
    use isthmus_log::{LogConfig, RealDisk};

    #[tokio::test]
    async fn files_wait_while_too_much_waits_to_be_applied() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let config = LogConfig::default();
        let (intake, _) =
            Log::open(Arc::new(RealDisk), folder.path(), config, clock.clone()).unwrap();
        let rules = DoorRules::default();
        let door = Arc::new(Door::new(intake.clone(), clock, rules, Arc::new(NobodyMapped)));
        let (progress, applier) = watch::channel(Progress::default());
        let paced = Paced { door, intake: intake.clone(), applier };
        assert!(paced.ready().now_or_never().is_some());
        // Nothing that would compress.
        let noise: Vec<u8> = (0..1_u64 << 17)
            .flat_map(|n| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).to_be_bytes())
            .collect();
        while intake.end() < BACKLOG_MAX {
            intake.append(noise.clone()).await.unwrap();
        }
        assert!(paced.ready().now_or_never().is_none());
        progress.send_modify(|progress| progress.intake = intake.end() - BACKLOG_MAX / 2);
        assert!(paced.ready().now_or_never().is_some());
    }
}
