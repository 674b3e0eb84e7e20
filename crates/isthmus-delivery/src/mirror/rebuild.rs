//! The mirror, built again from what the ledger keeps.
//!
//! What was delivered is mapped again and told again, in the order of the outcomes. Where the ledger
//! does not say what exactly was sent (an object that somebody may have edited, or a job's, which
//! leaves out what was overtaken; one whose user had more to say in the same breath), the user is
//! forgotten at that point, and known again as far as what follows tells.

use super::{RemapError, Remapping, Retold};
use crate::dispatcher::UNCHANGED;
use crate::journal::{Decision, Entry, Fate, JournalError, Mark, ObjectKey, Step};
use crate::ledger::EntryReader;
use isthmus_core::destination::{Answered, Destination, Lane, Mapped, Mapping, Message, Told};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Why the mirror cannot be built again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("journal cannot be read")]
    Journal(#[from] JournalError),
    #[error("what was delivered cannot be mapped again")]
    Remap(#[from] RemapError),
}

/// What is known of users, by what the ledger keeps.
#[derive(Debug, Default)]
pub struct Rebuilt {
    users: HashMap<Lane, Told>,
    /// Answers to objects that cannot be found any more: what was told before the last of them is not
    /// known.
    pub lost: u64,
}

impl Rebuilt {
    /// How many users are known.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// What each user was told, for a store that was cleared.
    pub fn changes(self) -> impl Iterator<Item = Retold> {
        self.users.into_iter().map(|(lane, told)| (lane, Some(Arc::new(told))))
    }
}

/// Builds the mirror of `destination` from `entries`, mapping again with `streams`: mappings by the
/// number that the journal knows the stream by. An object of a job or of another stream, or one that
/// the log does not hold any more, told somebody something: nothing before it counts.
///
/// Nothing may be sent meanwhile.
pub fn rebuild(
    destination: &dyn Destination,
    entries: &dyn EntryReader,
    mut remapping: Remapping,
    streams: &BTreeMap<u32, Arc<dyn Mapping>>,
) -> Result<Rebuilt, RebuildError> {
    let mut building = Building {
        destination,
        remapping: &mut remapping,
        streams,
        rebuilt: Rebuilt::default(),
        open: HashMap::new(),
        reworded: HashSet::new(),
    };
    let mut failed = None;
    for chunk in entries.chunks() {
        entries.read(chunk, &mut |bytes| {
            let entry = Entry::decode(bytes)?;
            if failed.is_none() {
                failed = building.hear(&entry).err();
            }
            Ok(())
        })?;
        if let Some(error) = failed.take() {
            return Err(error.into());
        }
    }
    building.finish()?;
    Ok(building.rebuilt)
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
    remapping: &'a mut Remapping,
    streams: &'a BTreeMap<u32, Arc<dyn Mapping>>,
    rebuilt: Rebuilt,
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
                Said::Mirrored(message) => {
                    runs.entry(message.lane).or_default().push((*key, message, answered));
                }
                Said::Lost if answered.is_some() => {
                    self.rebuilt.lost += 1;
                    self.rebuilt.users.clear();
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
                self.rebuilt.users.remove(&lane);
                continue;
            }
            let run: Vec<(&Message, Answered)> = run
                .iter()
                .filter_map(|(_, message, answered)| Some((message, (*answered)?)))
                .collect();
            match self.destination.retold(self.rebuilt.users.get(&lane), &run) {
                Some(told) => drop(self.rebuilt.users.insert(lane, told)),
                None => drop(self.rebuilt.users.remove(&lane)),
            }
        }
        Ok(())
    }

    fn said(&mut self, key: ObjectKey) -> Result<Said, RemapError> {
        let Some(mapping) = self.streams.get(&key.stream) else { return Ok(Said::Lost) };
        let Some(mapped) = self.remapping.map(&**mapping, key.place)? else {
            return Ok(Said::Lost);
        };
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
