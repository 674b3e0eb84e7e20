//! The mirror, built again from what the ledger keeps.
//!
//! What was delivered is mapped again and told again, in the order of the outcomes. Where the ledger
//! does not say what exactly was sent (an object that somebody may have edited, or a job's, which
//! leaves out what was overtaken; one whose user had more to say in the same breath), the user is
//! forgotten at that point, and known again as far as what follows tells.

use super::{MirrorStore, RemapError, Remapping, Retold, note_origin};
use crate::dispatcher::UNCHANGED;
use crate::journal::replay::replay;
use crate::journal::{Decision, Entry, Fate, Journal, JournalError, Mark, ObjectKey, Step};
use crate::source::EventSource;
use isthmus_core::Timestamp;
use isthmus_core::destination::{Answered, Destination, Lane, Mapped, Mapping, Message, Told};
use isthmus_state::StateError;
use isthmus_state::mirror::Mark as Upto;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Users that are gathered in memory, at about half a kilobyte each; where there are more, the ledger
/// is read once for each part of them.
const USERS_AT_ONCE: usize = 500_000;
/// Users that are written together.
const WRITTEN_AT_ONCE: usize = 10_000;

/// Why the mirror cannot be built again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("journal cannot be read")]
    Journal(#[from] JournalError),
    #[error("what was delivered cannot be mapped again")]
    Remap(#[from] RemapError),
    #[error("what users were told cannot be stored")]
    State(#[from] StateError),
    #[error("the server stops; what was added so far is kept")]
    Stopped,
}

/// What a ledger is read with. Reading blocks the thread.
#[derive(Debug)]
pub struct Telling<'a> {
    pub destination: &'a dyn Destination,
    /// Holds the items that were delivered.
    pub source: Arc<dyn EventSource>,
    pub journal: &'a dyn Journal,
    /// By stream. An object of a job or of another stream, or one that the log does not hold any more,
    /// told somebody something: nothing before it counts.
    pub mappings: BTreeMap<String, Arc<dyn Mapping>>,
    /// As in the mark.
    pub fingerprint: u64,
    /// Gives up.
    pub stop: CancellationToken,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refilled {
    /// When the first entry was written that was read; nothing where there is none.
    pub since: Option<Timestamp>,
    /// Users of whom the ledger tells.
    pub users: u64,
    /// Those of them of whom the mirror knew nothing, and knows now.
    pub added: u64,
    /// Answers to objects that cannot be found any more: what was told before the last of them is not
    /// known.
    pub lost: u64,
}

/// Adds to `store` the users of whom it knows nothing and the ledger does. What was written down before
/// the destination was another recipient, or its streams were other ones, counts only with
/// `everything`: for whoever knows that it went where it goes now, by the same mappings.
///
/// Nothing may be sent meanwhile, and no request be open.
pub fn refill(
    store: &dyn MirrorStore,
    telling: &Telling<'_>,
    everything: bool,
) -> Result<Refilled, RebuildError> {
    refill_by(USERS_AT_ONCE, store, telling, everything)
}

pub(crate) fn refill_by(
    users_at_once: usize,
    store: &dyn MirrorStore,
    telling: &Telling<'_>,
    everything: bool,
) -> Result<Refilled, RebuildError> {
    let Telling { destination, journal, fingerprint, .. } = telling;
    let origin = note_origin(store, *destination, *fingerprint, *journal)?;
    let kept = journal.range();
    let from = if everything { kept.start } else { origin.position.max(kept.start) };
    let mut refilled = Refilled::default();
    let mut share = Share { part: 0, of: 1 };
    while share.part < share.of {
        let Some(built) = build(telling, from, share, users_at_once)? else {
            share = Share { part: share.part * 2, of: share.of * 2 };
            continue;
        };
        share.part += 1;
        (refilled.since, refilled.lost) = (built.since, built.lost);
        refilled.users += built.users.len() as u64;
        let Some(position) = built.last else { continue };
        let mark = Upto {
            recipient: origin.recipient.clone(),
            mappings: origin.mappings,
            position,
            covers: true,
        };
        let mut added: Vec<Retold> = Vec::new();
        for (lane, told) in built.users {
            if store.get(lane)?.is_none() {
                added.push((lane, Some(Arc::new(told))));
            }
        }
        refilled.added += added.len() as u64;
        for together in added.chunks(WRITTEN_AT_ONCE) {
            store.apply(together, &mark)?;
        }
    }
    Ok(refilled)
}

/// One of `of` equal parts of all lanes.
#[derive(Debug, Clone, Copy)]
struct Share {
    part: u64,
    of: u64,
}

impl Share {
    fn holds(self, lane: Lane) -> bool {
        (u128::from(lane.0) * u128::from(self.of)) >> u64::BITS == u128::from(self.part)
    }
}

/// What is known of the users of a share.
#[derive(Debug, Default)]
struct Built {
    users: HashMap<Lane, Told>,
    lost: u64,
    since: Option<Timestamp>,
    /// Position of the last entry.
    last: Option<u64>,
}

/// Builds what users of `share` were told by the entries from the one at `from` on; nothing where there
/// are more than `users_at_once`.
fn build(
    telling: &Telling<'_>,
    from: u64,
    share: Share,
    users_at_once: usize,
) -> Result<Option<Built>, RebuildError> {
    if from >= telling.journal.range().end {
        return Ok(Some(Built::default()));
    }
    let records = replay(telling.journal)?.streams.into_iter();
    let streams = records.filter(|record| record.job.is_none()).filter_map(|record| {
        Some((record.number, Arc::clone(telling.mappings.get(&record.name)?)))
    });
    let mut building = Building {
        destination: telling.destination,
        remapping: Remapping::new(Arc::clone(&telling.source)),
        streams: streams.collect(),
        share,
        built: Built::default(),
        open: HashMap::new(),
        reworded: HashSet::new(),
    };
    let mut failed = None;
    let mut is_full = false;
    telling.journal.read_from(from, &mut |position, bytes| {
        if failed.is_some() || is_full || telling.stop.is_cancelled() {
            return Ok(());
        }
        let entry = Entry::decode(bytes)?;
        building.built.since.get_or_insert(entry.at());
        building.built.last = Some(position);
        failed = building.hear(&entry).err();
        is_full = building.built.users.len() > users_at_once;
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if telling.stop.is_cancelled() {
        return Err(RebuildError::Stopped);
    }
    building.finish()?;
    Ok((!is_full).then_some(building.built))
}

/// A request that is open.
struct Open {
    objects: Vec<ObjectKey>,
    /// Lanes of which something was left out while the request was filled; nothing where that may be
    /// any lane.
    sifted: Option<HashSet<Lane>>,
}

/// One of the objects of a user in a request; no answer where the vendor did not take it.
type Part = (ObjectKey, Message, Option<Answered>);

/// What an object said.
enum Said {
    /// What a user is like.
    Mirrored(Message),
    SomethingElse,
    /// Nobody knows.
    Lost,
}

struct Building<'a> {
    destination: &'a dyn Destination,
    remapping: Remapping,
    /// By the number that the journal knows the stream by.
    streams: BTreeMap<u32, Arc<dyn Mapping>>,
    share: Share,
    built: Built,
    open: HashMap<u64, Open>,
    /// Objects of which the log does not say what exactly was sent.
    reworded: HashSet<ObjectKey>,
}

impl Building<'_> {
    fn hear(&mut self, entry: &Entry) -> Result<(), RemapError> {
        let steps = match entry {
            Entry::Progress(progress) => &progress.steps,
            Entry::Checkpoint(checkpoint) => &checkpoint.since,
        };
        let mut sifted = Some(HashSet::new());
        for step in steps {
            match step {
                Step::Aside(aside)
                    if aside.fate == Fate::Discarded && aside.reason == UNCHANGED =>
                {
                    for key in &aside.objects.0 {
                        match (self.said(*key)?, &mut sifted) {
                            (Said::Mirrored(message), Some(sifted)) => {
                                sifted.insert(message.lane);
                            }
                            (Said::Lost, _) => sifted = None,
                            _ => {}
                        }
                    }
                }
                Step::Intent(intent) => {
                    let (objects, sifted) = (intent.objects.0.clone(), sifted.clone());
                    self.open.insert(intent.request, Open { objects, sifted });
                }
                Step::Outcome(outcome) => {
                    let Some(open) = self.open.remove(&outcome.request) else { continue };
                    let marks = (0..open.objects.len()).map(|index| outcome.marks.at(index));
                    let marks: Vec<_> = marks.collect();
                    self.ended(&open, &marks)?;
                }
                Step::Decided(decided) if decided.decision == Decision::Resend => {
                    self.reworded.extend(&decided.objects.0);
                }
                Step::Aside(_) | Step::Decided(_) | Step::Billed(_) => {}
            }
        }
        if let Entry::Checkpoint(checkpoint) = entry {
            let open: HashSet<u64> = checkpoint.in_flight.iter().map(|one| one.request).collect();
            let lost: Vec<u64> =
                self.open.keys().filter(|request| !open.contains(request)).copied().collect();
            for request in lost {
                self.unanswered(request)?;
            }
            for stream in &checkpoint.streams {
                let key = |(place, part): &(isthmus_core::Place, u16)| ObjectKey {
                    stream: stream.number,
                    place: *place,
                    part: *part,
                };
                self.reworded.extend(stream.revived.iter().map(key));
            }
        }
        Ok(())
    }

    /// Requests that nobody answered before the journal ends.
    fn finish(&mut self) -> Result<(), RemapError> {
        let open: Vec<u64> = self.open.keys().copied().collect();
        for request in open {
            self.unanswered(request)?;
        }
        Ok(())
    }

    fn unanswered(&mut self, request: u64) -> Result<(), RemapError> {
        let Some(open) = self.open.remove(&request) else { return Ok(()) };
        let marks = vec![Some(Mark::Unknown); open.objects.len()];
        self.ended(&open, &marks)
    }

    fn ended(&mut self, open: &Open, marks: &[Option<Mark>]) -> Result<(), RemapError> {
        let mut runs: BTreeMap<Lane, Vec<Part>> = BTreeMap::new();
        for (key, mark) in open.objects.iter().zip(marks) {
            let answered = match mark {
                Some(Mark::DeliveredAtOnce | Mark::Delivered) => Some(Answered::Accepted),
                Some(Mark::Rejected | Mark::Again | Mark::Deferred) => None,
                Some(Mark::Expired | Mark::Unknown | Mark::Parked) | None => {
                    Some(Answered::Unknown)
                }
            };
            match self.said(*key)? {
                Said::Mirrored(message) if !self.share.holds(message.lane) => {}
                Said::Mirrored(message) => {
                    runs.entry(message.lane).or_default().push((*key, message, answered));
                }
                Said::Lost if answered.is_some() => {
                    self.built.lost += 1;
                    self.built.users.clear();
                }
                Said::SomethingElse | Said::Lost => {}
            }
        }
        for (lane, run) in runs {
            let sifted = open.sifted.as_ref().is_none_or(|sifted| sifted.contains(&lane));
            let inexact = sifted || run.iter().any(|(key, ..)| self.reworded.contains(key));
            let accepted = |(.., answered): &Part| *answered == Some(Answered::Accepted);
            // What one of several left out, the others were to say.
            let torn = run.len() > 1 && !run.iter().all(accepted);
            if inexact || torn {
                self.reworded.extend(run.iter().map(|(key, ..)| *key));
                self.built.users.remove(&lane);
                continue;
            }
            let run: Vec<(&Message, Answered)> = run
                .iter()
                .filter_map(|(_, message, answered)| Some((message, (*answered)?)))
                .collect();
            match self.destination.retold(self.built.users.get(&lane), &run) {
                Some(told) => drop(self.built.users.insert(lane, told)),
                None => drop(self.built.users.remove(&lane)),
            }
        }
        Ok(())
    }

    fn said(&mut self, key: ObjectKey) -> Result<Said, RemapError> {
        let Some(mapping) = self.streams.get(&key.stream) else { return Ok(Said::Lost) };
        let Some(mapped) = self.remapping.map(&**mapping, key.place)? else {
            return Ok(Said::Lost);
        };
        if mapped.is_empty() && self.remapping.was_erased() {
            // Nobody is left who was told it.
            return Ok(Said::SomethingElse);
        }
        Ok(match mapped.into_iter().nth(usize::from(key.part)) {
            Some(Mapped::Deliver(message) | Mapped::Reject { message, .. })
                if self.destination.is_mirrored(&message) =>
            {
                Said::Mirrored(message)
            }
            Some(_) => Said::SomethingElse,
            None => Said::Lost,
        })
    }
}
