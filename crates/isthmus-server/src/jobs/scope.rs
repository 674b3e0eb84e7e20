//! Which part of the past a job is about, and what it leaves out of it.

use super::Shared;
use super::letters::LettersPlan;
use crate::deliveries::Served;
use crate::report::jobs::{JobRequest, Only};
use anyhow::{Context, anyhow, bail};
use isthmus_core::destination::Mapping;
use isthmus_core::{Place, Timestamp};
use isthmus_delivery::jobs::{JobSpec, Latest, Skips, View};
use isthmus_delivery::journal::{JobKind, JobRecord, StreamRecord};
use isthmus_delivery::plan::{self, Plan, Progress, Scope};
use isthmus_delivery::source::EventSource;
use isthmus_delivery::source::event_log::EventLog;
use isthmus_delivery::status::StreamStatus;
use isthmus_state::dead_letters::{Cause, DeadLetter};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Dead letters read at once.
const PAGE: usize = 1_000;

/// A job, ready to start.
pub(super) struct Prepared {
    pub(super) record: JobRecord,
    /// What it reads of the log; nothing where it is about dead letters alone.
    pub(super) scope: Option<Scope>,
    pub(super) view: View,
    pub(super) plan: Plan,
    /// Dead letters that it sends again.
    pub(super) letters: LettersPlan,
    /// Dead letters that it leaves alone.
    pub(super) left_to_letters: u64,
    /// What an operator should know before it starts.
    pub(super) notes: Vec<String>,
    pub(super) made_at: Timestamp,
}

impl Prepared {
    /// Of what is left out, what the ledger says is delivered.
    pub(super) fn already_delivered(&self, plan: &Plan) -> u64 {
        plan.left_out.saturating_sub(self.letters.len()).saturating_sub(self.left_to_letters)
    }
}

/// What `request` asks for, or what is wrong with it, naming the field.
pub(super) fn record(
    stream: &str,
    kind: JobKind,
    request: &JobRequest,
    now: Timestamp,
) -> Result<JobRecord, String> {
    let instant = |field: &str, text: &str| {
        Timestamp::parse_iso(text).ok_or_else(|| {
            format!("`{field}` is not an instant: {text:?}; write 2026-11-03T09:00:00Z")
        })
    };
    let from = instant("from", &request.from)?;
    let to = request.to.as_deref().map_or(Ok(now), |to| instant("to", to))?;
    if from >= to {
        return Err(format!("`from` ({from}) must be before `to` ({to})"));
    }
    if from >= now {
        return Err(format!("`from` ({from}) is in the future: now is {now}"));
    }
    if kind == JobKind::Backfill && request.only != Only::All {
        return Err("`only` is for replays: a backfill has nothing that was refused".to_owned());
    }
    if request.force && request.only != Only::All {
        return Err("`force` and `only` exclude each other: neither kind was delivered".to_owned());
    }
    Ok(JobRecord {
        kind,
        stream: stream.to_owned(),
        from: 0,
        from_time: from.as_millis(),
        to_time: to.as_millis(),
        force: request.force,
        started_at: now.as_millis(),
        ended_at: 0,
        cancelled: false,
        skipped: 0,
    })
}

/// Works out the plan. Blocks the thread.
pub(super) fn prepare(
    shared: &Shared,
    served: &Served,
    mut record: JobRecord,
    only: Only,
    progress: &Progress,
) -> anyhow::Result<Prepared> {
    let made_at = shared.clock.now();
    let (stream, mapping) = live(served, &record.stream)?;
    let mut notes = Vec::new();
    let offsets = offsets(shared, &stream, &record, only, &mut notes)?;
    let letters = letters(shared, &record, &offsets)?;
    let set_aside: BTreeSet<(Place, u16)> =
        letters.iter().map(|letter| (letter.place, letter.part)).collect();
    let wanted = |letter: &DeadLetter| match only {
        Only::All => record.kind == JobKind::Replay && letter.cause != Cause::Unknown,
        Only::Rejected => letter.cause != Cause::Unknown,
        Only::Unknown => letter.cause == Cause::Unknown,
    };
    let (sent, left): (Vec<_>, Vec<_>) = letters.into_iter().partition(wanted);
    let left_to_letters = left.len() as u64;
    if left_to_letters > 0 && only == Only::All {
        notes.push(format!(
            "{left_to_letters} dead letters of that time are left alone; look at them with \
             `isthmus dead-letters`"
        ));
    }
    let letters = LettersPlan::new(sent.iter().map(|letter| (letter.place, letter.part)));
    record.from = offsets.start;
    if only != Only::All {
        let view = View { latest: Latest::default(), latest_to: 0, times: 0..0 };
        let (scope, plan) = (None, Plan::default());
        return Ok(Prepared {
            record,
            scope,
            view,
            plan,
            letters,
            left_to_letters,
            notes,
            made_at,
        });
    }
    let scope = scope(shared, served, &stream, &record, offsets, set_aside, mapping)?;
    let view = view(&scope, &record, progress)?;
    let plan = plan::plan(&scope, &view, progress)?;
    let scope = Some(scope);
    Ok(Prepared { record, scope, view, plan, letters, left_to_letters, notes, made_at })
}

/// The job as its engine takes it. Blocks the thread.
pub(super) fn spec(shared: &Shared, prepared: &Prepared) -> anyhow::Result<JobSpec> {
    let scope = prepared.scope.as_ref().context("the plan reads nothing of the log")?;
    let mut record = prepared.record.clone();
    record.started_at = shared.clock.now().as_millis();
    // Most of what the stream has told since; the engine adds the rest.
    let mut view = prepared.view.clone();
    let end = scope.source.end();
    plan::note(&mut view.latest, &*scope.source, view.latest_to..end, &Progress::default())?;
    view.latest_to = view.latest_to.max(end);
    let (mapping, skips) = (scope.mapping.clone(), scope.skips.clone());
    Ok(JobSpec { record, to: scope.offsets.end, mapping, skips, view })
}

/// What a job of a run before this one must know to go on. Blocks the thread.
pub(super) fn prepare_again(
    shared: &Shared,
    served: &Served,
    record: &StreamRecord,
) -> anyhow::Result<JobSpec> {
    let job = record.job.clone().context("it is not a job")?;
    let (stream, mapping) = live(served, &job.stream)?;
    let to = record.stop_at.unwrap_or(job.from);
    // What lies before its cursor is done, but may have been overtaken by what follows.
    let offsets = record.cursor.offset..to;
    let letters = letters(shared, &job, &offsets)?;
    let set_aside = letters.iter().map(|letter| (letter.place, letter.part)).collect();
    let scope = scope(shared, served, &stream, &job, offsets, set_aside, mapping)?;
    let view = view(&scope, &job, &Progress::default())?;
    let (mapping, skips) = (scope.mapping.clone(), scope.skips.clone());
    Ok(JobSpec { record: job, to, mapping, skips, view })
}

/// The stream as it runs, and its mapping.
fn live(served: &Served, name: &str) -> anyhow::Result<(StreamStatus, Arc<dyn Mapping>)> {
    let status = served.handle.status();
    let stream =
        status.stream(name).cloned().with_context(|| format!("there is no stream {name}"))?;
    let known = served.streams.iter().find(|known| known.resource.name == name);
    let known = known.with_context(|| format!("there is no stream {name}"))?;
    Ok((stream, known.mapping.mapping()))
}

/// Parts of the log that the stream read or will read by itself, up to where it has read.
fn told(stream: &StreamStatus) -> Vec<Range<u64>> {
    let mut told = Vec::new();
    let mut from = stream.born;
    for gap in &stream.gaps {
        if gap.from > from {
            told.push(from..gap.from);
        }
        from = from.max(gap.to);
    }
    if stream.position > from {
        told.push(from..stream.position);
    }
    told
}

/// The records that the job reads.
fn offsets(
    shared: &Shared,
    stream: &StreamStatus,
    record: &JobRecord,
    only: Only,
    notes: &mut Vec<String>,
) -> anyhow::Result<Range<u64>> {
    let at = |millis| Some(Timestamp::from_millis(millis));
    let asked = shared.finder.received_between(at(record.from_time), at(record.to_time))?;
    let start = shared.events.start();
    if start > 0 && asked.start <= start {
        notes.push(
            "older events are not kept any more: it begins with the first that is".to_owned(),
        );
    }
    let mut offsets = asked;
    match record.kind {
        JobKind::Backfill => {
            let unread = |offset: &u64| {
                *offset < stream.born || stream.gaps.iter().any(|gap| gap.to > *offset)
            };
            if offsets.start >= offsets.end {
                bail!("no events of that time are kept");
            }
            if !unread(&offsets.start) {
                bail!(
                    "stream {} has read everything of that time itself; `replay` sends it again",
                    record.stream
                );
            }
            // Beyond the last part that it did not read there is nothing to send.
            let last = stream.gaps.iter().map(|gap| gap.to).chain([stream.born]).max();
            offsets.end = offsets.end.min(last.unwrap_or(stream.born));
        }
        JobKind::Replay => {
            let passed = stream.cursor.offset;
            if only == Only::All && offsets.end > passed {
                offsets.end = passed;
                notes.push("what the stream has not finished yet is left to it".to_owned());
            }
        }
    }
    if offsets.start >= offsets.end {
        bail!("there are no events of that time that stream {} could send again", record.stream);
    }
    Ok(offsets)
}

fn letters(
    shared: &Shared,
    record: &JobRecord,
    offsets: &Range<u64>,
) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    let mut after =
        offsets.start.checked_sub(1).map(|offset| (Place { offset, index: u32::MAX }, u16::MAX));
    loop {
        let page = shared.dead_letters.list(&record.stream, after, PAGE)?;
        let Some(last) = page.last() else { return Ok(letters) };
        after = Some((last.place, last.part));
        let full = page.len() == PAGE && last.place.offset < offsets.end;
        let times = record.from_time..record.to_time;
        letters.extend(page.into_iter().filter(|letter| {
            offsets.contains(&letter.place.offset)
                && times.contains(&letter.accepted_at.as_millis())
        }));
        if !full {
            return Ok(letters);
        }
    }
}

fn scope(
    shared: &Shared,
    served: &Served,
    stream: &StreamStatus,
    record: &JobRecord,
    offsets: Range<u64>,
    set_aside: BTreeSet<(Place, u16)>,
    mapping: Arc<dyn Mapping>,
) -> anyhow::Result<Scope> {
    let status = served.handle.status();
    let of_stream = |job: &JobRecord| job.stream == record.stream;
    let jobs = status.streams.iter().filter(|one| one.job.as_ref().is_some_and(of_stream));
    let past = status.past_jobs.iter().filter(|one| one.job.as_ref().is_some_and(of_stream));
    let numbers: BTreeSet<u32> = [stream.number.0]
        .into_iter()
        .chain(jobs.map(|job| job.number.0))
        .chain(past.map(|job| job.number))
        .collect();
    let delivered = if record.force {
        None
    } else {
        let last = offsets.end.saturating_sub(1);
        let delivered = served.ledger.delivered(&numbers, offsets.start..=last);
        Some(Arc::new(delivered.map_err(|error| anyhow!(error).context("ledger cannot be read"))?))
    };
    let told = told(stream);
    let parts = match record.kind {
        JobKind::Backfill => told.clone(),
        JobKind::Replay => Vec::new(),
    };
    let skips = Skips { delivered, set_aside: Arc::new(set_aside), parts };
    let source: Arc<dyn EventSource> = Arc::new(EventLog::new(shared.events.clone()));
    Ok(Scope { source, mapping, offsets, told, skips })
}

fn view(scope: &Scope, record: &JobRecord, progress: &Progress) -> anyhow::Result<View> {
    let latest = plan::latest(scope, progress)?;
    let told = scope.told.iter().map(|part| part.end).max();
    let latest_to = told.unwrap_or(scope.offsets.end).max(scope.offsets.end);
    Ok(View { latest, latest_to, times: record.from_time..record.to_time })
}
