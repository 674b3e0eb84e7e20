//! The running server as the control API sees it: what it does, and how it is told to change.

pub(crate) mod bill;
pub(crate) mod currents;
mod destinations;
mod erasures;
mod exports;
pub(crate) mod ledger;
pub(crate) mod letters;
pub(crate) mod profiles;
mod rebuild;
mod reconcile;
mod samples;
mod unmatched;
mod volume;

use crate::assembly::{self, Assembly};
use crate::catalog::{AuditEntry, Catalog, StoredResource};
use crate::deliveries::{DeliveriesHandle, Served};
use crate::jobs::Jobs;
use crate::profile_api::ProfileApi;
use crate::read_api::ReadApi;
use crate::report::jobs::JobReport;
use crate::report::{
    DestinationReport, LogReport, ProbeReport, Quantiles, ResourceReport, ResourcesReport,
    StatusReport, StreamReport, StreamsReport,
};
pub(crate) use currents::CurrentsDesk;
use isthmus_config::{Diagnostic, Resource, check_references, parse_resources};
use isthmus_core::seam::{Clock, Http, Random};
use isthmus_delivery::finder::Finder;
use isthmus_delivery::health::Condition;
use isthmus_delivery::status::{DestinationStatus, StreamStatus};
use isthmus_ingest::applier::Progress;
use isthmus_ingest::door::Door;
use isthmus_log::Log;
use isthmus_state::dead_letters::DeadLetters;
use isthmus_state::delivery_history::DeliveryHistory;
use isthmus_state::delivery_samples::DeliverySamples;
use isthmus_state::quarantine::Quarantine;
use profiles::Profiles;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};

/// What stands for the file of resources that came over the control API.
pub(crate) const API_ORIGIN: &str = "control API";

/// Why a control request was not carried out.
#[derive(Debug)]
pub(crate) enum RuntimeError {
    NotFound(String),
    Conflict(String),
    /// What was asked is not a question or an order that can be understood.
    Malformed(String),
    Invalid(Vec<Diagnostic>),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for RuntimeError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// The parts that the control API asks, and the resources it changes.
pub(crate) struct Runtime {
    pub(crate) catalog: Catalog,
    pub(crate) door: Arc<Door>,
    pub(crate) deliveries: DeliveriesHandle,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) quarantine: Quarantine,
    pub(crate) currents: CurrentsDesk,
    pub(crate) samples: DeliverySamples,
    pub(crate) history: DeliveryHistory,
    pub(crate) read_api: Arc<ReadApi>,
    pub(crate) profile_api: Arc<ProfileApi>,
    pub(crate) profiles: Profiles,
    pub(crate) intake: Log,
    pub(crate) events: Log,
    pub(crate) finder: Finder,
    pub(crate) applier: watch::Receiver<Progress>,
    pub(crate) http: Arc<dyn Http>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) jobs: Jobs,
    /// All resources; held while they change, so that one change follows another.
    pub(crate) resources: Mutex<Vec<Resource>>,
    /// Wakes the part that forgets people.
    pub(crate) erasures_asked: Arc<Notify>,
    /// When a destination may be asked about users again; held while one is.
    pub(crate) exports: Mutex<Duration>,
    /// Held while dead letters are edited or decided about, so that nobody edits what is being sent.
    pub(crate) letters: Mutex<()>,
}

impl Runtime {
    pub(crate) fn status(&self) -> StatusReport {
        let progress = *self.applier.borrow();
        let log = |log: &Log| LogReport {
            start: log.start(),
            end: log.end(),
            bytes_on_disk: log.bytes_on_disk(),
        };
        let (intake, events) = (log(&self.intake), log(&self.events));
        let unread: u64 = self
            .deliveries
            .served()
            .values()
            .flat_map(|served| served.handle.status().streams.clone())
            .filter(|stream| stream.enabled)
            .map(|stream| events.end.saturating_sub(stream.position))
            .max()
            .unwrap_or(0);
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lag_bytes: intake.end.saturating_sub(progress.intake) + unread,
            events_applied: progress.applied,
            duplicates: progress.duplicates,
            intake,
            events,
        }
    }

    pub(crate) fn streams(&self) -> StreamsReport {
        let mut report = StreamsReport { streams: Vec::new(), destinations: Vec::new() };
        for (name, served) in self.deliveries.served() {
            let status = served.handle.status();
            let saved = share_of_joined(&status);
            for stream in status.streams.iter().filter(|stream| stream.job.is_none()) {
                if let Some(mut stream) = stream_report(&served, &status, stream, &saved) {
                    stream.sync_id = self.read_api.sync_id(&stream.name);
                    report.streams.push(stream);
                }
            }
            report.destinations.push(DestinationReport {
                name,
                paused: reason_of(&status.condition),
                requests_in_flight: status.requests_in_flight as u64,
            });
        }
        report.streams.sort_by(|one, other| one.name.cmp(&other.name));
        report
    }

    /// Enables or disables a stream until it is told otherwise or given anew.
    pub(crate) async fn set_enabled(
        &self,
        stream: &str,
        enabled: bool,
    ) -> Result<(), RuntimeError> {
        // Held so that no change of the resources comes in between.
        let _resources = self.resources.lock().await;
        let served = self.serving(stream)?;
        self.catalog.switch(stream, enabled, API_ORIGIN, self.clock.now()).await?;
        let changed = if enabled {
            served.handle.enable_stream(stream).await
        } else {
            served.handle.disable_stream(stream).await
        };
        changed.map_err(|error| RuntimeError::Failed(error.into()))
    }

    pub(crate) async fn probe(&self, destination: &str) -> Result<ProbeReport, RuntimeError> {
        let served = self.deliveries.served();
        let found = served
            .get(destination)
            .ok_or_else(|| RuntimeError::NotFound(format!("destination {destination}")))?;
        let vendor = &found.destination.vendor;
        let reason = match self.http.send(vendor.probe()).await {
            Ok(reply) => vendor.judge_probe(&reply).err(),
            Err(error) => Some(error.to_string()),
        };
        Ok(ProbeReport { ready: reason.is_none(), reason })
    }

    pub(crate) async fn resources(&self) -> Result<ResourcesReport, RuntimeError> {
        Ok(listed(&self.resources.lock().await))
    }

    /// Adds or replaces the resources of `text`, all or none.
    pub(crate) async fn put_resources(&self, text: &str) -> Result<ResourcesReport, RuntimeError> {
        let given = parse_resources(text, API_ORIGIN).map_err(RuntimeError::Invalid)?;
        let mut resources = self.resources.lock().await;
        let mut next = resources.clone();
        for resource in &given {
            let same = |other: &Resource| {
                other.kind() == resource.kind() && other.name() == resource.name()
            };
            if let Some(owner) = next.iter().find(|other| same(other) && other.file != API_ORIGIN) {
                return Err(owned_by_file(owner));
            }
            next.retain(|other| !same(other));
            next.push(resource.clone());
        }
        let mut assembly = check(&next)?;
        let stored: Vec<_> = given
            .iter()
            .map(|resource| StoredResource {
                kind: resource.kind().to_owned(),
                name: resource.name().to_owned(),
                // A text with several resources is kept under each of their names.
                text: text.to_owned(),
            })
            .collect();
        self.catalog.put(&stored, API_ORIGIN, self.clock.now()).await?;
        // What is stored is what counts from here on, also if an engine does not start.
        *resources = next;
        assembly.switch(&self.catalog.switches().await?);
        self.take_up(assembly).await?;
        Ok(listed(&resources))
    }

    /// Removes a resource that came over the control API.
    pub(crate) async fn remove_resource(
        &self,
        kind: &str,
        name: &str,
    ) -> Result<ResourcesReport, RuntimeError> {
        let mut resources = self.resources.lock().await;
        let is_it = |resource: &Resource| resource.kind() == kind && resource.name() == name;
        let Some(found) = resources.iter().find(|resource| is_it(resource)) else {
            return Err(RuntimeError::NotFound(format!("{kind} {name}")));
        };
        if found.file != API_ORIGIN {
            return Err(owned_by_file(found));
        }
        let next: Vec<_> = resources.iter().filter(|each| !is_it(each)).cloned().collect();
        let mut assembly = check(&next)?;
        self.catalog.remove(kind, name, API_ORIGIN, self.clock.now()).await?;
        *resources = next;
        assembly.switch(&self.catalog.switches().await?);
        self.take_up(assembly).await?;
        Ok(listed(&resources))
    }

    pub(crate) async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>, RuntimeError> {
        Ok(self.catalog.audit(u32::try_from(limit).unwrap_or(u32::MAX)).await?)
    }

    async fn take_up(&self, assembly: Assembly) -> anyhow::Result<()> {
        // First, so that no SDK is refused a key that was just added.
        self.door.set_projects(&assembly.projects);
        self.door.set_currents(assembly.currents.iter().cloned());
        self.currents.following.take_up(&assembly);
        self.read_api.take_up(&self.catalog, &assembly).await?;
        self.profile_api.take_up(&assembly);
        self.deliveries.reconfigure(Arc::new(assembly)).await?;
        self.deliveries.wait_on_disk(&*self.clock).await;
        Ok(())
    }

    /// Starts a planned job, which is a line of the audit log.
    pub(crate) async fn start_job(&self, id: &str) -> Result<JobReport, RuntimeError> {
        let job = self.jobs.start(id).await?;
        let detail = format!("{} as {}, from {} to {}", id, job.id, job.from, job.to);
        self.note(&job.kind, &format!("stream/{}", job.stream), &detail).await?;
        Ok(job)
    }

    /// Ends a plan or a job, which is a line of the audit log.
    pub(crate) async fn cancel_job(&self, id: &str) -> Result<JobReport, RuntimeError> {
        let job = self.jobs.cancel(id).await?;
        self.note("cancel", &format!("job/{id}"), &format!("stream {}", job.stream)).await?;
        Ok(job)
    }

    async fn note(&self, action: &str, subject: &str, detail: &str) -> Result<(), RuntimeError> {
        let now = self.clock.now();
        Ok(self.catalog.note(API_ORIGIN, now, action, subject, detail).await?)
    }

    fn serving(&self, stream: &str) -> Result<Served, RuntimeError> {
        self.deliveries.serving(stream)
    }
}

/// Every check that `resources` must pass before they are taken up.
pub(crate) fn check(resources: &[Resource]) -> Result<Assembly, RuntimeError> {
    let mut found = check_references(resources);
    match assembly::assemble(resources) {
        Ok(assembly) if found.is_empty() => Ok(assembly),
        Ok(_) => Err(RuntimeError::Invalid(found)),
        Err(problems) => {
            found.extend(problems);
            Err(RuntimeError::Invalid(found))
        }
    }
}

fn owned_by_file(resource: &Resource) -> RuntimeError {
    RuntimeError::Conflict(format!(
        "{} {} comes from {}; change it there",
        resource.kind(),
        resource.name(),
        resource.file
    ))
}

fn listed(resources: &[Resource]) -> ResourcesReport {
    let resources = resources
        .iter()
        .map(|resource| ResourceReport {
            kind: resource.kind().to_owned(),
            name: resource.name().to_owned(),
            origin: resource.file.clone(),
        })
        .collect();
    ResourcesReport { resources }
}

/// The only stream of a destination owns all objects that joining saved; of several, each has its
/// share by deliveries.
fn share_of_joined(status: &DestinationStatus) -> impl Fn(&StreamStatus) -> u64 {
    let all: u64 = status.streams.iter().map(|stream| stream.counts.sent).sum();
    let joined = status.totals.joined;
    move |stream| match all {
        0 => 0,
        all => {
            let share = u128::from(joined) * u128::from(stream.counts.sent) / u128::from(all);
            u64::try_from(share).unwrap_or(joined)
        }
    }
}

fn stream_report(
    served: &Served,
    status: &DestinationStatus,
    stream: &StreamStatus,
    saved: &impl Fn(&StreamStatus) -> u64,
) -> Option<StreamReport> {
    let known = served.streams.iter().find(|known| *known.resource.name == *stream.name)?;
    let state = match (&status.condition, stream.enabled) {
        (_, false) => "disabled",
        (Condition::Paused { .. } | Condition::Halted { .. }, true) => "paused",
        (Condition::Struggling { .. }, true) => "retrying",
        (Condition::Well, true) => "running",
    };
    let seconds = |duration: Duration| (stream.latency.count > 0).then_some(duration.as_secs_f64());
    let warnings = known.mapping.warnings();
    let objects_saved = saved(stream);
    Some(StreamReport {
        name: stream.name.to_string(),
        sync_id: None,
        project: known.resource.project.clone(),
        destination: known.resource.destination.clone(),
        state: state.to_owned(),
        accepted: stream.counts.accepted,
        delivered: stream.counts.delivered,
        rejected: stream.counts.rejected,
        discarded: stream.counts.discarded,
        pending: stream.pending,
        expired: stream.counts.expired,
        in_flight: stream.in_flight,
        retrying: stream.retrying,
        unknown: stream.counts.parked,
        retries: stream.counts.retries,
        possible_duplicates: stream.counts.possible_duplicates,
        requests: stream.counts.requests,
        objects: stream.counts.sent.saturating_sub(objects_saved),
        objects_saved,
        latency_seconds: Quantiles {
            p50: seconds(stream.latency.p50),
            p95: seconds(stream.latency.p95),
            p99: seconds(stream.latency.p99),
        },
        discards: stream
            .discards
            .iter()
            .map(|(reason, count)| (reason.to_string(), *count))
            .collect(),
        warnings: warnings
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
    })
}

fn reason_of(condition: &Condition) -> Option<String> {
    match condition {
        Condition::Well => None,
        Condition::Struggling { failures, reason } => {
            Some(format!("{failures} failures in a row, trying on: {reason}"))
        }
        Condition::Paused { reason, since } => Some(format!("since {since}: {reason}")),
        Condition::Halted { reason } => Some(reason.clone()),
    }
}

/// The resource text that the catalog holds, read again.
pub(crate) fn reread(stored: &StoredResource) -> Result<Option<Resource>, Vec<Diagnostic>> {
    let resources = parse_resources(&stored.text, API_ORIGIN)?;
    let is_it =
        |resource: &Resource| resource.kind() == stored.kind && resource.name() == stored.name;
    Ok(resources.into_iter().find(is_it))
}
