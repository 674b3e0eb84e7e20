//! Imports of Currents files: each reads everything under a URL once, while the server serves.
//!
//! An import lives in memory. How far each file was read is on disk, so that one that ended early goes on
//! there when it is asked for again; asked for while it runs, it is the same one.

use crate::report::currents::ImportReport;
use crate::runtime::RuntimeError;
use anyhow::Context;
use isthmus_core::Timestamp;
use isthmus_ingest::applier::Progress;
use isthmus_ingest::follow::{Bucket, BucketSettings, Ground, Import, ImportEnd, Tally};
use isthmus_log::Log;
use isthmus_state::currents_counts::{CountsOfCurrents, CurrentsCounts};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Imports that run at once: each reads as fast as the intake log takes it.
const RUNNING_MAX: usize = 4;
/// Imports that are remembered; the oldest that ended go first.
const REMEMBERED_MAX: usize = 100;

/// Where imports are asked for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Imports {
    shared: Arc<Shared>,
}

struct Shared {
    ground: Ground,
    counts: CountsOfCurrents,
    intake: Log,
    applier: watch::Receiver<Progress>,
    orders: mpsc::Sender<Order>,
    /// Oldest first.
    known: Mutex<VecDeque<Arc<Known>>>,
}

/// An import that is to be carried out.
pub(crate) struct Order {
    import: Import,
    known: Arc<Known>,
}

/// One import, and what became of it.
struct Known {
    number: u64,
    source: String,
    url: String,
    dry_run: bool,
    tally: Arc<Tally>,
    stop: CancellationToken,
    started_at: Timestamp,
    /// On the monotonic clock.
    started: Duration,
    /// What the source had come to before.
    before: CurrentsCounts,
    phase: Mutex<Phase>,
}

#[derive(Debug, Clone)]
enum Phase {
    Reading,
    /// Everything is read; how long that took.
    Applying(Duration, ImportEnd),
    Ended {
        took: Duration,
        at: Timestamp,
        end: ImportEnd,
        /// What the source has come to since it began.
        came: CurrentsCounts,
    },
}

impl Imports {
    /// Imports over `ground`, and what carries them out once it is given to [`Self::run`].
    pub(crate) fn new(
        ground: Ground,
        counts: &CountsOfCurrents,
        intake: &Log,
        applier: watch::Receiver<Progress>,
    ) -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(RUNNING_MAX);
        let (counts, intake) = (counts.clone(), intake.clone());
        let known = Mutex::default();
        let shared = Shared { ground, counts, intake, applier, orders, known };
        (Self { shared: Arc::new(shared) }, receiver)
    }

    /// Reads `settings` as events of `source`, which there is; goes on if that is being done already.
    /// Returns whether it is a new one.
    pub(crate) fn start(
        &self,
        source: &str,
        settings: &BucketSettings,
        dry_run: bool,
    ) -> Result<(ImportReport, bool), RuntimeError> {
        let malformed = |error: isthmus_ingest::follow::BucketError| {
            RuntimeError::Malformed(format!("`{}`: {error}", error.field))
        };
        let bucket = Bucket::open(settings).map_err(malformed)?;
        let url = bucket.address();
        let shared = &self.shared;
        let mut all = shared.known();
        let running = || all.iter().filter(|known| !known.has_ended());
        let same = |known: &&Arc<Known>| {
            (&*known.source, &known.url, known.dry_run) == (source, &url, dry_run)
        };
        if let Some(known) = running().find(same) {
            return Ok((self.report(known)?, false));
        }
        if running().count() >= RUNNING_MAX {
            let why = format!("{RUNNING_MAX} imports are running; wait for one to end");
            return Err(RuntimeError::Conflict(why));
        }
        let clock = &shared.ground.clock;
        let known = Arc::new(Known {
            number: all.back().map_or(1, |last| last.number + 1),
            source: source.to_owned(),
            url,
            dry_run,
            tally: Arc::default(),
            stop: CancellationToken::new(),
            started_at: clock.now(),
            started: clock.monotonic(),
            before: self.counts_of(source)?,
            phase: Mutex::new(Phase::Reading),
        });
        let (tally, stop) = (known.tally.clone(), known.stop.clone());
        let import = Import::new(shared.ground.clone(), bucket, source, dry_run, tally, stop);
        let order = Order { import, known: known.clone() };
        let stopping = |_| RuntimeError::Conflict("the server is stopping".to_owned());
        shared.orders.try_send(order).map_err(stopping)?;
        all.push_back(known.clone());
        while all.len() > REMEMBERED_MAX
            && let Some(oldest) = all.iter().position(|known| known.has_ended())
        {
            drop(all.remove(oldest));
        }
        Ok((self.report(&known)?, true))
    }

    /// Every import that is remembered, newest first.
    pub(crate) fn list(&self) -> Result<Vec<ImportReport>, RuntimeError> {
        let all: Vec<_> = self.shared.known().iter().rev().cloned().collect();
        all.iter().map(|known| self.report(known)).collect()
    }

    /// One import.
    pub(crate) fn get(&self, id: &str) -> Result<ImportReport, RuntimeError> {
        self.report(&*self.find(id)?)
    }

    /// Asks an import to stop; what it has read stays.
    pub(crate) fn cancel(&self, id: &str) -> Result<ImportReport, RuntimeError> {
        let known = self.find(id)?;
        known.stop.cancel();
        self.report(&known)
    }

    /// Carries out what is ordered until `stop`, and waits for what was begun.
    pub(crate) async fn run(
        self,
        mut orders: mpsc::Receiver<Order>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut running: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                // Receiving is cancel safe: an order is either taken or left in the channel.
                Some(Order { import, known }) = orders.recv() => {
                    let imports = self.clone();
                    running.spawn(async move { imports.carry_out(import, &known).await });
                }
                Some(ended) = running.join_next() => ended.context("an import panicked")?,
                () = stop.cancelled() => break,
            }
        }
        for known in self.shared.known().iter() {
            known.stop.cancel();
        }
        while let Some(ended) = running.join_next().await {
            ended.context("an import panicked")?;
        }
        Ok(())
    }

    async fn carry_out(&self, import: Import, known: &Known) {
        let Shared { ground, intake, applier, .. } = &*self.shared;
        let Known { source, url, .. } = known;
        tracing::info!(source, url, dry_run = known.dry_run, "import begins");
        let end = import.run().await;
        let took = ground.clock.monotonic().saturating_sub(known.started);
        known.enter(Phase::Applying(took, end.clone()));
        let (read, mut applier) = (intake.end(), applier.clone());
        tokio::select! {
            // What is read is applied all the same; an error is the applier having ended.
            applied = applier.wait_for(|progress| progress.intake >= read) => drop(applied),
            () = known.stop.cancelled() => {}
        }
        let came = self.came(known).unwrap_or_else(|error| {
            tracing::error!(source, error = format!("{error:?}"), "import not counted");
            CurrentsCounts::default()
        });
        let view = known.tally.view();
        match &end {
            ImportEnd::Failed(reason) => tracing::warn!(source, url, reason, "import failed"),
            ImportEnd::Stopped => {
                tracing::info!(source, url, events = view.events, "import stopped");
            }
            ImportEnd::Done { failures } => tracing::info!(
                source,
                url,
                events = view.events,
                files = view.files,
                damaged = view.files_damaged,
                failed = failures.len(),
                "import done"
            ),
        }
        known.enter(Phase::Ended { took, at: ground.clock.now(), end, came });
    }

    fn find(&self, id: &str) -> Result<Arc<Known>, RuntimeError> {
        let all = self.shared.known();
        let found = all.iter().find(|known| known.id() == id).cloned();
        found.ok_or_else(|| RuntimeError::NotFound(format!("import {id}")))
    }

    fn counts_of(&self, source: &str) -> Result<CurrentsCounts, RuntimeError> {
        self.shared.counts.get(source).map_err(|error| RuntimeError::Failed(error.into()))
    }

    /// What the source has come to since `known` began.
    fn came(&self, known: &Known) -> Result<CurrentsCounts, RuntimeError> {
        if known.dry_run {
            return Ok(CurrentsCounts::default());
        }
        let (now, before) = (self.counts_of(&known.source)?, known.before);
        Ok(CurrentsCounts {
            events: now.events.saturating_sub(before.events),
            duplicates: now.duplicates.saturating_sub(before.duplicates),
            refused: now.refused.saturating_sub(before.refused),
            unusable: now.unusable.saturating_sub(before.unusable),
            ..now
        })
    }

    fn report(&self, known: &Known) -> Result<ImportReport, RuntimeError> {
        let phase = known.phase().clone();
        let view = known.tally.view();
        let (state, took, ended_at, end, came) = match phase {
            Phase::Reading => {
                let now = self.shared.ground.clock.monotonic();
                ("reading", now.saturating_sub(known.started), None, None, self.came(known)?)
            }
            Phase::Applying(took, end) => ("applying", took, None, Some(end), self.came(known)?),
            Phase::Ended { took, at, end, came } => {
                let state = match &end {
                    ImportEnd::Done { .. } => "done",
                    ImportEnd::Stopped => "stopped",
                    ImportEnd::Failed(_) => "failed",
                };
                (state, took, Some(at), Some(end), came)
            }
        };
        let waits_for = view.error.filter(|_| end.is_none()).map(|(_, error)| error);
        let (error, failures) = match end {
            Some(ImportEnd::Failed(reason)) => (Some(reason), Vec::new()),
            Some(ImportEnd::Done { failures }) => (None, failures),
            Some(ImportEnd::Stopped) | None => (waits_for, Vec::new()),
        };
        Ok(ImportReport {
            id: known.id(),
            source: known.source.clone(),
            url: known.url.clone(),
            dry_run: known.dry_run,
            state: state.to_owned(),
            started_at: known.started_at.to_string(),
            ended_at: ended_at.map(|at| at.to_string()),
            seconds: took.as_secs_f64(),
            files_total: view.files_total,
            bytes_total: view.bytes_total,
            files: view.files,
            files_damaged: view.files_damaged,
            files_failed: view.files_failed,
            files_known: view.files_known,
            bytes: view.bytes,
            events: view.events,
            unusable: view.unusable,
            new_events: came.events,
            duplicates: came.duplicates,
            refused: came.refused,
            by_type: view.by_type,
            by_reason: view.by_reason,
            newest_event_at: view.newest_event.map(|at| at.to_string()),
            error,
            failures,
        })
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, VecDeque<Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn id(&self) -> String {
        format!("import-{}", self.number)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.phase() = phase;
    }

    fn has_ended(&self) -> bool {
        matches!(*self.phase(), Phase::Ended { .. })
    }
}
