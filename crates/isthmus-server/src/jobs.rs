//! Backfills and replays: planned, started, watched, cancelled, and taken up again after a restart.
//!
//! A plan lives in memory, and is made anew when it is needed after a restart; a job that runs lives
//! in its destination's journal. Planning and taking up read the log on threads of their own, a few
//! at a time.

mod letters;
mod scope;

use crate::deliveries::{DeliveriesHandle, Served};
use crate::report::jobs::{JobReport, JobRequest, Only, PlanReport, ProgressReport};
use crate::runtime::RuntimeError;
use anyhow::anyhow;
use isthmus_core::Timestamp;
use isthmus_core::destination::Priority;
use isthmus_core::seam::Clock;
use isthmus_delivery::engine::ControlError;
use isthmus_delivery::finder::Finder;
use isthmus_delivery::jobs::JobSpec;
use isthmus_delivery::journal::{JobKind, JobRecord, StreamRecord};
use isthmus_delivery::plan::{Plan, Progress};
use isthmus_delivery::status::{DestinationStatus, StreamStatus};
use isthmus_log::Log;
use isthmus_state::dead_letters::DeadLetters;
use letters::LettersPlan;
use scope::Prepared;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Plans and jobs that are prepared at once: each reads the log as fast as the disk allows.
const PREPARING_MAX: usize = 2;
/// Plans that are kept; the oldest finished ones go first.
const PLANS_MAX: usize = 100;
/// How often jobs of a run before this one, or of an engine that was replaced, are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One plan, and what became of it.
struct Planned {
    id: String,
    destination: String,
    record: JobRecord,
    only: Only,
    made_at: Timestamp,
    progress: Arc<Progress>,
    state: PlanState,
}

enum PlanState {
    Planning,
    Ready(Arc<Prepared>),
    Failed(String),
    /// Sends dead letters again; jobs of the log go on under their own id.
    Sending {
        done: u64,
        refused: u64,
    },
    Sent {
        done: u64,
        refused: u64,
        ended_at: Timestamp,
    },
    Cancelled,
}

/// Where jobs are asked for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    shared: Arc<Shared>,
}

struct Shared {
    deliveries: DeliveriesHandle,
    finder: Finder,
    dead_letters: DeadLetters,
    events: Log,
    clock: Arc<dyn Clock>,
    slots: Semaphore,
    plans: Mutex<Plans>,
}

#[derive(Default)]
struct Plans {
    made: u64,
    kept: BTreeMap<u64, Planned>,
}

impl Jobs {
    pub(crate) fn new(
        deliveries: &DeliveriesHandle,
        finder: &Finder,
        dead_letters: &DeadLetters,
        events: &Log,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                deliveries: deliveries.clone(),
                finder: finder.clone(),
                dead_letters: dead_letters.clone(),
                events: events.clone(),
                clock: clock.clone(),
                slots: Semaphore::new(PREPARING_MAX),
                plans: Mutex::default(),
            }),
        }
    }

    /// Begins to plan; what is wrong with the request is said at once.
    pub(crate) fn plan(
        &self,
        stream: &str,
        kind: JobKind,
        request: &JobRequest,
    ) -> Result<JobReport, RuntimeError> {
        let served = self.serving(stream)?;
        let now = self.shared.clock.now();
        let record = scope::record(stream, kind, request, now).map_err(RuntimeError::Malformed)?;
        let mut plans = self.lock();
        plans.made += 1;
        let number = plans.made;
        let planned = Planned {
            id: format!("plan-{number}"),
            destination: served.destination.resource.name.clone(),
            record,
            only: request.only,
            made_at: now,
            progress: Arc::default(),
            state: PlanState::Planning,
        };
        let report = planned.report(Some(&served));
        plans.keep(number, planned);
        drop(plans);
        let jobs = self.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the plan, which can be cancelled"
        )]
        drop(tokio::spawn(async move { jobs.prepare(number).await }));
        Ok(report)
    }

    /// Prepares the plan `number` and notes what came of it.
    async fn prepare(&self, number: u64) {
        let Ok(_slot) = self.shared.slots.acquire().await else { return };
        let Some((record, only, progress)) = self.with(number, |planned| {
            (planned.record.clone(), planned.only, planned.progress.clone())
        }) else {
            return;
        };
        let jobs = self.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let served = jobs.serving(&record.stream).map_err(|error| anyhow!("{error:?}"))?;
            scope::prepare(&jobs.shared, &served, record, only, &progress)
        });
        let state = match prepared.await {
            Ok(Ok(prepared)) => PlanState::Ready(Arc::new(prepared)),
            Ok(Err(error)) => PlanState::Failed(format!("{error:#}")),
            Err(error) => PlanState::Failed(error.to_string()),
        };
        self.with(number, |planned| {
            if matches!(planned.state, PlanState::Planning) {
                planned.state = state;
            }
        });
    }

    /// Starts what was planned; returns the job as it runs, under the id that it has from now on.
    pub(crate) async fn start(&self, id: &str) -> Result<JobReport, RuntimeError> {
        let number = plan_number(id).ok_or_else(|| not_found(id))?;
        let planned = self.with(number, |planned| match &planned.state {
            PlanState::Ready(prepared) => Ok(prepared.clone()),
            PlanState::Planning => Err("the plan is not finished; wait for it".to_owned()),
            PlanState::Failed(reason) => Err(format!("the plan failed: {reason}")),
            PlanState::Cancelled => Err("the plan was cancelled".to_owned()),
            PlanState::Sending { .. } | PlanState::Sent { .. } => {
                Err("it was started already".to_owned())
            }
        });
        let prepared = planned.ok_or_else(|| not_found(id))?.map_err(RuntimeError::Conflict)?;
        let stream = prepared.record.stream.clone();
        let served = self.serving(&stream)?;
        let status = served.handle.status();
        if let Some(other) = running(&status, &stream) {
            let id = job_id(&status.name, other);
            return Err(RuntimeError::Conflict(format!(
                "job {id} of stream {stream} runs; wait for it, or cancel it"
            )));
        }
        if ended_since(&status, &stream, prepared.made_at) {
            return Err(RuntimeError::Conflict(format!(
                "another job of stream {stream} has ended since this was planned; plan it again"
            )));
        }
        let letters = prepared.letters.clone();
        let sends_letters = !letters.is_empty();
        if sends_letters {
            self.with(number, |planned| {
                planned.state = PlanState::Sending { done: 0, refused: 0 };
            });
            let (jobs, served) = (self.clone(), served.clone());
            #[expect(clippy::disallowed_methods, reason = "ends with the letters it was given")]
            drop(tokio::spawn(async move { jobs.send_letters(number, served, letters).await }));
        }
        if prepared.scope.is_none() {
            let report = self.with(number, |planned| planned.report(Some(&served)));
            return report.ok_or_else(|| not_found(id));
        }
        let spec = self.spec(&prepared).await?;
        let job = served.handle.add_job(spec).await.map_err(control_error)?;
        if !sends_letters {
            self.lock().kept.remove(&number);
        }
        let id = job_id(&served.destination.resource.name, job);
        self.get(&id)
    }

    /// The job as its engine takes it, with what its stream has told until now.
    async fn spec(&self, prepared: &Arc<Prepared>) -> Result<JobSpec, RuntimeError> {
        let (prepared, shared) = (prepared.clone(), self.shared.clone());
        let spec = tokio::task::spawn_blocking(move || scope::spec(&shared, &prepared));
        let spec = spec.await.map_err(|error| RuntimeError::Failed(error.into()))?;
        spec.map_err(RuntimeError::Failed)
    }

    async fn send_letters(&self, number: u64, served: Served, letters: LettersPlan) {
        let outcome = letters
            .send(&self.shared, &served, |done, refused| {
                let going_on = self.with(number, |planned| match planned.state {
                    PlanState::Sending { .. } => {
                        planned.state = PlanState::Sending { done, refused };
                        true
                    }
                    _ => false,
                });
                going_on.unwrap_or(false)
            })
            .await;
        let ended_at = self.shared.clock.now();
        self.with(number, |planned| match (&planned.state, outcome) {
            (PlanState::Sending { done, refused }, Ok(())) => {
                planned.state = PlanState::Sent { done: *done, refused: *refused, ended_at };
            }
            (PlanState::Sending { .. }, Err(error)) => {
                planned.state = PlanState::Failed(format!("{error:#}"));
            }
            _ => {}
        });
    }

    /// Ends a plan or a job.
    pub(crate) async fn cancel(&self, id: &str) -> Result<JobReport, RuntimeError> {
        if let Some(number) = plan_number(id) {
            let report = self.with(number, |planned| {
                planned.progress.cancel();
                if !matches!(planned.state, PlanState::Sent { .. }) {
                    planned.state = PlanState::Cancelled;
                }
                planned.report(None)
            });
            return report.ok_or_else(|| not_found(id));
        }
        let (destination, number) = parse_job_id(id).ok_or_else(|| not_found(id))?;
        let served = self.shared.deliveries.served();
        let served = served.get(destination).ok_or_else(|| not_found(id))?;
        served.handle.cancel_job(number).await.map_err(control_error)?;
        self.get(id)
    }

    /// One plan or job.
    pub(crate) fn get(&self, id: &str) -> Result<JobReport, RuntimeError> {
        let all = self.list();
        all.into_iter().find(|job| job.id == id).ok_or_else(|| not_found(id))
    }

    /// All plans and jobs that are remembered, oldest first.
    pub(crate) fn list(&self) -> Vec<JobReport> {
        let mut jobs = Vec::new();
        let served = self.shared.deliveries.served();
        for served in served.values() {
            let status = served.handle.status();
            jobs.extend(status.past_jobs.iter().filter_map(|job| past_report(&status, job)));
            jobs.extend(status.streams.iter().filter_map(|job| running_report(&status, job)));
        }
        let plans = self.lock();
        jobs.extend(plans.kept.values().map(|plan| plan.report(served.get(&plan.destination))));
        jobs.sort_by(|one, other| one.started_at.cmp(&other.started_at));
        jobs
    }

    /// Takes up jobs that nobody runs, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut taking_up: JoinSet<()> = JoinSet::new();
        let mut known: Vec<(String, u32)> = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.shared.clock.sleep(LOOK_EVERY) => {}
                Some(_) = taking_up.join_next(), if !taking_up.is_empty() => continue,
            }
            let waiting = self.waiting();
            known.retain(|job| {
                waiting.iter().any(|(name, record, _)| (name, record.number) == (&job.0, job.1))
            });
            for (destination, record, served) in waiting {
                let job = (destination, record.number);
                if known.contains(&job) {
                    continue;
                }
                known.push(job);
                let jobs = self.clone();
                taking_up.spawn(async move { jobs.take_up(record, served).await });
            }
        }
        // Whoever is being prepared is prepared again at the next start.
        taking_up.shutdown().await;
        Ok(())
    }

    fn waiting(&self) -> Vec<(String, StreamRecord, Served)> {
        let mut waiting = Vec::new();
        for (name, served) in self.shared.deliveries.served() {
            for record in &served.handle.status().past_jobs {
                if record.is_waiting_job() {
                    waiting.push((name.clone(), record.clone(), served.clone()));
                }
            }
        }
        waiting
    }

    async fn take_up(&self, record: StreamRecord, served: Served) {
        let Ok(_slot) = self.shared.slots.acquire().await else { return };
        let (number, shared) = (record.number, self.shared.clone());
        let destination = served.destination.resource.name.clone();
        let stream = record.job.as_ref().map(|job| job.stream.clone()).unwrap_or_default();
        let handle = served.handle.clone();
        let prepared =
            tokio::task::spawn_blocking(move || scope::prepare_again(&shared, &served, &record));
        let outcome = match prepared.await {
            Ok(Ok(JobSpec { mapping, skips, view, .. })) => handle
                .resume_job(number, mapping, skips, view)
                .await
                .map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(()) => tracing::info!(destination, stream, job = number, "job goes on"),
            Err(error) => {
                tracing::error!(destination, stream, job = number, error, "job does not go on");
            }
        }
    }

    fn serving(&self, stream: &str) -> Result<Served, RuntimeError> {
        self.shared.deliveries.serving(stream)
    }

    fn with<T>(&self, number: u64, change: impl FnOnce(&mut Planned) -> T) -> Option<T> {
        self.lock().kept.get_mut(&number).map(change)
    }

    fn lock(&self) -> MutexGuard<'_, Plans> {
        self.shared.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plans {
    fn keep(&mut self, number: u64, planned: Planned) {
        self.kept.insert(number, planned);
        while self.kept.len() > PLANS_MAX {
            let done = |planned: &Planned| {
                !matches!(planned.state, PlanState::Planning | PlanState::Sending { .. })
            };
            let oldest = self.kept.iter().find(|(_, planned)| done(planned));
            let Some(oldest) = oldest.map(|(number, _)| *number) else { break };
            self.kept.remove(&oldest);
        }
    }
}

impl Planned {
    fn report(&self, served: Option<&Served>) -> JobReport {
        let mut report = JobReport {
            id: self.id.clone(),
            destination: self.destination.clone(),
            ..report_of(&self.record)
        };
        report.only = Some(self.only);
        report.started_at = self.made_at.to_string();
        let (done, total) = self.progress.bytes();
        report.progress = Some(ProgressReport { done, total });
        match &self.state {
            PlanState::Planning => "planning".clone_into(&mut report.state),
            PlanState::Ready(prepared) => {
                "planned".clone_into(&mut report.state);
                report.plan = Some(plan_report(&prepared.plan, prepared, served));
            }
            PlanState::Failed(reason) => {
                "failed".clone_into(&mut report.state);
                report.error = Some(reason.clone());
            }
            PlanState::Sending { done, refused } => {
                "running".clone_into(&mut report.state);
                (report.resent, report.refused) = (*done, *refused);
            }
            PlanState::Sent { done, refused, ended_at } => {
                "done".clone_into(&mut report.state);
                (report.resent, report.refused) = (*done, *refused);
                report.ended_at = Some(ended_at.to_string());
            }
            PlanState::Cancelled => "cancelled".clone_into(&mut report.state),
        }
        report
    }
}

fn plan_report(plan: &Plan, prepared: &Prepared, served: Option<&Served>) -> PlanReport {
    let limits = served.map(|served| served.destination.vendor.limits());
    let letters = prepared.letters.len();
    let objects = plan.objects + letters;
    let per_request = limits.as_ref().map_or(1, |limits| limits.objects_per_request as u64).max(1);
    let bytes = limits.as_ref().map_or(u64::MAX, |limits| limits.bytes_per_request.as_u64());
    let requests = objects.div_ceil(per_request).max(plan.bytes.div_ceil(bytes.max(1)));
    let rate = served.and_then(|served| served.handle.status().rate);
    let share = limits.as_ref().map_or(1.0, |limits| limits.shares.of(Priority::Backfill));
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let seconds = rate
        .map(|rate| requests as f64 / (f64::from(rate.requests) / rate.per.as_secs_f64() * share));
    PlanReport {
        items: plan.items,
        users: plan.users,
        objects: plan.objects,
        dead_letters: letters,
        requests,
        seconds,
        already_delivered: prepared.already_delivered(plan),
        left_to_dead_letters: prepared.left_to_letters,
        overtaken: plan.overtaken,
        discarded: plan.discarded,
        refused: plan.refused,
        notes: prepared.notes.clone(),
    }
}

/// What every report of this job says.
fn report_of(record: &JobRecord) -> JobReport {
    let time = |millis| Timestamp::from_millis(millis).to_string();
    JobReport {
        kind: match record.kind {
            JobKind::Backfill => "backfill".to_owned(),
            JobKind::Replay => "replay".to_owned(),
        },
        stream: record.stream.clone(),
        from: time(record.from_time),
        to: time(record.to_time),
        force: record.force,
        started_at: time(record.started_at),
        ended_at: (record.ended_at > 0).then(|| time(record.ended_at)),
        skipped: record.skipped,
        ..JobReport::default()
    }
}

fn running_report(status: &DestinationStatus, job: &StreamStatus) -> Option<JobReport> {
    let record = job.job.as_ref()?;
    let (from, to) = (record.from, job.stop_at.unwrap_or(record.from));
    Some(JobReport {
        id: job_id(&status.name, job.number.0),
        destination: status.name.to_string(),
        state: if record.cancelled { "cancelling" } else { "running" }.to_owned(),
        progress: Some(ProgressReport {
            done: job.cursor.offset.min(to).saturating_sub(from),
            total: to.saturating_sub(from),
        }),
        accepted: job.counts.accepted,
        delivered: job.counts.delivered,
        rejected: job.counts.rejected,
        discarded: job.counts.discarded,
        pending: job.pending,
        requests: job.counts.requests,
        ..report_of(record)
    })
}

fn past_report(status: &DestinationStatus, record: &StreamRecord) -> Option<JobReport> {
    let job = record.job.as_ref()?;
    let state = match (record.is_waiting_job(), job.cancelled) {
        (true, _) => "waiting",
        (false, true) => "cancelled",
        (false, false) => "done",
    };
    let (from, to) = (job.from, record.stop_at.unwrap_or(job.from));
    Some(JobReport {
        id: job_id(&status.name, record.number),
        destination: status.name.to_string(),
        state: state.to_owned(),
        progress: Some(ProgressReport {
            done: record.cursor.offset.min(to).saturating_sub(from),
            total: to.saturating_sub(from),
        }),
        accepted: record.counts.accepted,
        delivered: record.counts.delivered,
        rejected: record.counts.rejected,
        discarded: record.counts.discarded,
        pending: record.counts.parked,
        requests: record.counts.requests,
        ..report_of(job)
    })
}

/// The job of `stream` that runs, or waits to be taken up.
fn running(status: &DestinationStatus, stream: &str) -> Option<u32> {
    let is_of = |job: &JobRecord| job.stream == stream;
    let runs = status.streams.iter().find(|one| one.job.as_ref().is_some_and(is_of));
    let waits = status
        .past_jobs
        .iter()
        .find(|one| one.is_waiting_job() && one.job.as_ref().is_some_and(is_of));
    runs.map(|one| one.number.0).or(waits.map(|one| one.number))
}

/// Whether a job of `stream` has ended after `at`.
fn ended_since(status: &DestinationStatus, stream: &str, at: Timestamp) -> bool {
    let jobs = status.past_jobs.iter().filter_map(|record| record.job.as_ref());
    jobs.filter(|job| job.stream == stream).any(|job| job.ended_at >= at.as_millis())
}

fn job_id(destination: &str, number: u32) -> String {
    format!("{destination}:{number}")
}

fn parse_job_id(id: &str) -> Option<(&str, u32)> {
    let (destination, number) = id.rsplit_once(':')?;
    Some((destination, number.parse().ok()?))
}

fn plan_number(id: &str) -> Option<u64> {
    id.strip_prefix("plan-")?.parse().ok()
}

fn not_found(id: &str) -> RuntimeError {
    RuntimeError::NotFound(format!("job {id}"))
}

fn control_error(error: ControlError) -> RuntimeError {
    match error {
        ControlError::Stream(error) => RuntimeError::Conflict(error.to_string()),
        ControlError::Stopped => RuntimeError::Failed(error.into()),
    }
}
