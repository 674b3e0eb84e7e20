//! What a job would do: counted before anything is sent, by the code that does it.
//!
//! Preparing reads the job's part of the log, and what the stream has told since, once. It gives
//! the plan for people, and what the job must know while it runs; going on with a job after a
//! restart prepares again.

use crate::jobs::{Latest, Skips, View, inlined, map_item};
use crate::snapshots::{SnapshotError, Snapshots};
use crate::source::{EventSource, SourceError};
use isthmus_core::Place;
use isthmus_core::destination::{Lane, Mapped, Mapping};
use isthmus_core::record::{Applied, AppliedBatch, RecordError};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The part of the past that a job is about, and what is known of it.
#[derive(Debug, Clone)]
pub struct Scope {
    pub source: Arc<dyn EventSource>,
    pub mapping: Arc<dyn Mapping>,
    /// Offsets of the job's records.
    pub offsets: Range<u64>,
    /// Parts of the log that the stream reads itself, up to where it has read.
    pub told: Vec<Range<u64>>,
    pub skips: Skips,
}

/// What a job would do. The unit is an object unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Items of the log that it would send anything of.
    pub items: u64,
    /// Users it would send anything of.
    pub users: u64,
    pub objects: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Left out: delivered before, or among the dead letters.
    pub left_out: u64,
    /// Properties of users left out, because a later change overtook them.
    pub overtaken: u64,
    /// Held back by a rule of the mapping.
    pub discarded: u64,
    /// Refused by the mapping on the vendor's behalf: they would become dead letters.
    pub refused: u64,
}

/// How far preparing has come, and whether anybody still wants it.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Bytes of the log read, and to be read.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Nobody wants it any more.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Why a job cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("events cannot be read")]
    Source(#[from] SourceError),
    #[error("record at offset {offset} of the event log cannot be read")]
    Record { offset: u64, source: RecordError },
    #[error("user properties cannot be read")]
    Snapshot(#[from] SnapshotError),
    #[error("cancelled")]
    Cancelled,
}

/// Finds out what of the job's part of the past was overtaken since. Blocks the thread.
pub fn latest(scope: &Scope, progress: &Progress) -> Result<Latest, PlanError> {
    let mut latest = Latest::default();
    let parts: Vec<Range<u64>> =
        [scope.offsets.clone()].into_iter().chain(beyond(&scope.told, &scope.offsets)).collect();
    let bytes: u64 = parts.iter().map(|part| part.end.saturating_sub(part.start)).sum();
    progress.total.fetch_add(bytes, Ordering::Relaxed);
    for part in parts {
        note(&mut latest, &*scope.source, part, progress)?;
    }
    Ok(latest)
}

/// Takes note of what was told in `offsets`. Blocks the thread.
pub fn note(
    latest: &mut Latest,
    source: &dyn EventSource,
    offsets: Range<u64>,
    progress: &Progress,
) -> Result<(), PlanError> {
    read(source, offsets, progress, |_, place, item| {
        latest.note(item, place);
        Ok(())
    })
}

/// Counts what the job would do. Blocks the thread.
pub fn plan(scope: &Scope, view: &View, progress: &Progress) -> Result<Plan, PlanError> {
    let Range { start, end } = scope.offsets;
    progress.total.fetch_add(end.saturating_sub(start), Ordering::Relaxed);
    let mut plan = Plan::default();
    let mut users: HashSet<Lane> = HashSet::new();
    let mut snapshots = Snapshots::new(scope.source.clone());
    let mut mapped = Vec::new();
    read(&*scope.source, scope.offsets.clone(), progress, |batch, place, item| {
        let found = map_item(&*scope.mapping, Some(view), item, place, &mut mapped, |at| {
            match inlined(batch, place.offset, at) {
                Some(text) => Ok(text),
                None => snapshots.at(at),
            }
        })?;
        plan.overtaken += found.unwrap_or(0) as u64;
        let before = plan.objects;
        for (part, mapped) in mapped.drain(..).enumerate() {
            let part = u16::try_from(part).unwrap_or(u16::MAX);
            if scope.skips.contains(place, part) {
                plan.left_out += 1;
                continue;
            }
            match mapped {
                Mapped::Deliver(message) => {
                    plan.objects += 1;
                    plan.bytes += message.payload.len() as u64;
                    users.insert(message.lane);
                }
                Mapped::Discard { .. } => plan.discarded += 1,
                Mapped::Reject { .. } => plan.refused += 1,
            }
        }
        plan.items += u64::from(plan.objects > before);
        Ok(())
    })?;
    plan.users = users.len() as u64;
    Ok(plan)
}

/// The parts of `told` that lie beyond `offsets`: what lies before cannot overtake.
fn beyond(told: &[Range<u64>], offsets: &Range<u64>) -> Vec<Range<u64>> {
    let after = |part: &Range<u64>| part.start.max(offsets.end)..part.end;
    told.iter().map(after).filter(|part| part.start < part.end).collect()
}

fn read(
    source: &dyn EventSource,
    offsets: Range<u64>,
    progress: &Progress,
    mut visit: impl FnMut(&AppliedBatch<'_>, Place, &Applied<'_>) -> Result<(), PlanError>,
) -> Result<(), PlanError> {
    let mut offset = offsets.start.max(source.start());
    while offset < offsets.end {
        if progress.cancelled.load(Ordering::Relaxed) {
            return Err(PlanError::Cancelled);
        }
        let Some(record) = source.read(offset)? else { break };
        let batch = AppliedBatch::decode(&record.payload)
            .map_err(|source| PlanError::Record { offset, source })?;
        for (index, item) in (0..).zip(&batch.items) {
            visit(&batch, Place { offset, index }, item)?;
        }
        progress.done.fetch_add(record.next.saturating_sub(offset), Ordering::Relaxed);
        offset = record.next;
    }
    Ok(())
}
