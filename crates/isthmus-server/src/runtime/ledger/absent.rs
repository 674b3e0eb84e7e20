//! Objects that the ledger has nothing about: what is to expect of them, or why there is nothing.

use super::view::View;
use super::{RuntimeError, failed};
use crate::report::ledger::{LedgerJob, LedgerObject};
use crate::runtime::reason_of;
use crate::vendor::StreamMapping;
use isthmus_core::destination::{Mapped, Mapping};
use isthmus_delivery::finder::Found;
use isthmus_delivery::remapping::Remapping;
use isthmus_delivery::source::event_log::EventLog;
use isthmus_delivery::status::StreamStatus;
use isthmus_log::Log;
use isthmus_state::dead_letters::DeadLetters;
use std::sync::Arc;

/// Looks at what streams make of items now.
pub(super) struct Absent<'a> {
    streams: Vec<Candidate<'a>>,
    remapping: Remapping,
    dead_letters: &'a DeadLetters,
}

/// A stream that may have something to do with an item.
struct Candidate<'a> {
    view: &'a View<'a>,
    name: &'a str,
    project: &'a str,
    /// Built apart from the one that delivers, which counts what it leaves out.
    mapping: Arc<dyn Mapping>,
}

/// Where an object stands, and why.
type Standing = (&'static str, String);

impl<'a> Absent<'a> {
    pub(super) fn new(views: &'a [View<'a>], events: &Log, dead_letters: &'a DeadLetters) -> Self {
        let of = |view: &'a View<'a>| {
            let settings = &view.served.destination.resource.settings;
            view.served.streams.iter().filter_map(move |stream| {
                let resource = &stream.resource;
                Some(Candidate {
                    view,
                    name: &resource.name,
                    project: &resource.project,
                    mapping: StreamMapping::build(resource, settings).ok()?.mapping(),
                })
            })
        };
        Self {
            streams: views.iter().flat_map(of).collect(),
            remapping: Remapping::new(Arc::new(EventLog::new(events.clone()))),
            dead_letters,
        }
    }

    /// The objects that streams make of `found` and that are not among those `told`.
    pub(super) fn objects(
        &mut self,
        found: &Found,
        told: &[LedgerObject],
    ) -> Result<Vec<LedgerObject>, RuntimeError> {
        let mut objects = Vec::new();
        for candidate in &self.streams {
            let view = candidate.view;
            let Some(status) = view.status.stream(candidate.name) else { continue };
            if candidate.project != found.project {
                continue;
            }
            let mapped = self.remapping.map(&*candidate.mapping, found.place).map_err(failed)?;
            // What it refers to is not kept any more, so nothing can be said.
            let Some(mapped) = mapped else { continue };
            for (part, mapped) in (0..).zip(&mapped) {
                let of_part = |object: &&LedgerObject| {
                    object.part == part
                        && object.stream == candidate.name
                        && object.destination == view.destination
                };
                let told: Vec<_> = told.iter().filter(of_part).collect();
                let push = |job: Option<LedgerJob>, (state, why): Standing| LedgerObject {
                    stream: candidate.name.to_owned(),
                    destination: view.destination.to_owned(),
                    job,
                    part,
                    state: state.to_owned(),
                    why: Some(why),
                    possible_duplicate: false,
                    happenings: Vec::new(),
                };
                let waiting = waiting_jobs(view, candidate.name, found, &told);
                let is_told = told.iter().any(|object| object.job.is_none());
                if !is_told {
                    let standing = candidate.standing(status, found, mapped);
                    let standing =
                        self.dead_letter(candidate.name, found, part)?.unwrap_or(standing);
                    // That a stream missed what one of its jobs has says nothing new.
                    if standing.0 != MISSED || told.is_empty() && waiting.is_empty() {
                        objects.push(push(None, standing));
                    }
                }
                for job in waiting {
                    objects
                        .push(push(Some(job), (PENDING, "waits to be read by the job".to_owned())));
                }
            }
        }
        Ok(objects)
    }

    /// As what the object is kept, if it is a dead letter.
    fn dead_letter(
        &self,
        stream: &str,
        found: &Found,
        part: u16,
    ) -> Result<Option<Standing>, RuntimeError> {
        let letter = self.dead_letters.get(stream, found.place, part).map_err(failed)?;
        Ok(letter.map(|letter| (letter.cause.name(), letter.reason)))
    }
}

const PENDING: &str = "pending";
/// The stream did not take it.
const MISSED: &str = "missed";
/// The ledger does not reach back to it.
const FORGOTTEN: &str = "forgotten";

impl Candidate<'_> {
    /// Where an object stands that is `mapped` from `found`.
    fn standing(&self, status: &StreamStatus, found: &Found, mapped: &Mapped) -> Standing {
        let offset = found.place.offset;
        let is_in_gap = |from: u64, to: u64| (from..to).contains(&offset);
        if offset < status.born {
            return (MISSED, "it came before the stream".to_owned());
        }
        if status.gaps.iter().any(|gap| is_in_gap(gap.from, gap.to)) {
            return (MISSED, "it passed while the stream was disabled".to_owned());
        }
        if status.stop_at.is_some_and(|stop_at| offset >= stop_at) {
            return (MISSED, "it passed while the stream is disabled".to_owned());
        }
        if offset >= status.position {
            return (PENDING, self.waits("waits to be read"));
        }
        match mapped {
            Mapped::Discard { reason } => return ("discarded", (*reason).to_owned()),
            Mapped::Reject { reason, .. } => return ("rejected", reason.clone()),
            Mapped::Deliver(_) => {}
        }
        if found.place >= status.cursor {
            return (PENDING, self.waits("waits for its first request"));
        }
        match self.view.kept_since {
            Some(since) if found.received_at >= since => {
                (MISSED, "the stream did not select it when it passed".to_owned())
            }
            Some(since) => {
                (FORGOTTEN, format!("it was finished; the ledger is kept since {since}"))
            }
            None => (FORGOTTEN, "it was finished; the ledger is empty".to_owned()),
        }
    }

    /// What a pending object waits for.
    fn waits(&self, what: &str) -> String {
        match reason_of(&self.view.status.condition) {
            Some(reason) => format!("{what}; the destination is held up: {reason}"),
            None => what.to_owned(),
        }
    }
}

/// Running jobs of the stream that will come to the item, unless it is delivered already.
fn waiting_jobs(
    view: &View<'_>,
    stream: &str,
    found: &Found,
    told: &[&LedgerObject],
) -> Vec<LedgerJob> {
    let offset = found.place.offset;
    let waits = |status: &&StreamStatus| {
        let Some(job) = &status.job else { return false };
        let is_in_it = offset >= job.from && status.stop_at.is_none_or(|stop_at| offset < stop_at);
        let is_done = told.iter().any(|object| {
            let same = object.job.as_ref().is_some_and(|job| job.number == status.number.0);
            same || object.state == "delivered" && !job.force
        });
        *status.name == *stream && is_in_it && offset >= status.position && !is_done
    };
    let jobs = view.status.streams.iter().filter(waits);
    jobs.filter_map(|status| view.named(status.number.0).1).collect()
}
