//! What people, or an echo from the vendor, decide about objects that had ended.

use super::{Dispatcher, Moment, StreamError};
use crate::dead_letters::LetterChange;
use crate::journal::{self, Decision, ObjectKey, Objects, Step, Was};
use crate::lanes::{Queued, Ticket};
use crate::stream::{Stream, StreamNumber};
use isthmus_core::destination::{Delivery, Message};
use isthmus_state::dead_letters::{Cause, DeadLetter, LetterKey, UNKNOWN_OWNER};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How it is known that an object was delivered whose outcome was not written down.
const LETTER_GONE: &str = "taken, and the program ended before that was written down";

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decided {
    /// Objects it was carried out for.
    pub objects: usize,
    /// Objects that are to be sent again already, or are delivered or let go; and where they were to
    /// be confirmed, those that are known not to be delivered.
    pub passed_over: usize,
}

impl Dispatcher {
    /// Carries out `decision` for the objects of `letters`, which are dead letters of the stream
    /// `name`. To send one again, its letter must be on disk as it is to be sent; it stays there
    /// until the object is delivered.
    pub fn decide(
        &mut self,
        name: &str,
        letters: Vec<DeadLetter>,
        decision: Decision,
        reason: &str,
        now: Moment,
    ) -> Result<Decided, StreamError> {
        let parent = self.number_of(name)?;
        let pending = self.streams.get(&parent).map_or(0, |stream| stream.pending);
        if decision == Decision::Resend && pending >= self.rules.window.objects {
            // What is sent again is in memory until it is sent, as what is read is.
            return Err(StreamError::Full { name: name.to_owned(), pending });
        }
        let mut decided = Decided::default();
        let mut keys: BTreeMap<Was, Vec<ObjectKey>> = BTreeMap::new();
        for letter in letters {
            let (owner, was) = self.owner(&letter, parent);
            let known = decision == Decision::Confirm && letter.cause != Cause::Unknown;
            let Some(stream) = self.streams.get_mut(&owner).filter(|_| !known) else {
                decided.passed_over += 1;
                continue;
            };
            let (place, part) = (letter.place, letter.part);
            // What was tried and has not ended can have a letter, left by a run that ended before it
            // wrote down the outcome.
            let is_pending = stream.is_revived(place, part) || stream.tried(place, part).is_some();
            if is_pending || stream.removing.contains(&(place, part)) {
                decided.passed_over += 1;
                continue;
            }
            decided.objects += 1;
            stream.counts.leave(was);
            keys.entry(was).or_default().push(ObjectKey { stream: owner.0, place, part });
            match decision {
                Decision::Resend => {
                    stream.counts.accepted -= u64::from(was != Was::Elsewhere);
                    self.revive(owner, letter, now);
                    continue;
                }
                Decision::Discard => {
                    stream.counts.accepted -= u64::from(was != Was::Elsewhere);
                    stream.discard(reason.to_owned());
                }
                Decision::Confirm => {
                    stream.counts.accepted += u64::from(was == Was::Elsewhere);
                    stream.counts.delivered += 1;
                }
            }
            stream.removing.insert((place, part));
        }
        for (was, objects) in keys {
            let (reason, objects) = (reason.to_owned(), Objects(objects));
            let decided = journal::Decided { was, decision, reason, objects };
            self.steps.push(Step::Decided(decided));
        }
        Ok(decided)
    }

    /// Letters that are to be removed because what was decided about their objects is on disk, as of
    /// the last entry that was written. Each must be given to [`Self::removed`] afterwards.
    pub fn removable(&self) -> Vec<(StreamNumber, LetterKey)> {
        let of = |stream: &Stream| {
            let (number, name) = (stream.number, stream.name.to_string());
            let keys: Vec<_> = stream.removing.iter().copied().collect();
            keys.into_iter().map(move |(place, part)| (number, (name.clone(), place, part)))
        };
        self.streams.values().flat_map(of).collect()
    }

    /// The letters are gone.
    pub fn removed(&mut self, letters: &[(StreamNumber, LetterKey)]) {
        for (number, (_, place, part)) in letters {
            if let Some(stream) = self.streams.get_mut(number) {
                stream.removing.remove(&(*place, *part));
            }
        }
    }

    /// Who counts the object of `letter`, and as what.
    fn owner(&self, letter: &DeadLetter, parent: StreamNumber) -> (StreamNumber, Was) {
        let was = match letter.cause {
            Cause::Rejected => Was::Rejected,
            Cause::Expired => Was::Expired,
            Cause::Unknown => Was::Parked,
        };
        let owner = StreamNumber(letter.owner);
        if letter.owner == UNKNOWN_OWNER {
            (parent, was)
        } else if self.streams.contains_key(&owner) {
            (owner, was)
        } else {
            (parent, Was::Elsewhere)
        }
    }

    /// Puts the object of `letter` into its lane again.
    fn revive(&mut self, owner: StreamNumber, letter: DeadLetter, now: Moment) {
        let Some(stream) = self.streams.get_mut(&owner) else { return };
        let DeadLetter { place, part, name, payload, lane, section, guarantee, .. } = letter;
        if !stream.revive(place, part) {
            // Later, so that it overtakes nothing that is read again.
            return;
        }
        stream.counts.accepted += 1;
        stream.pending += 1;
        stream.pending_bytes += payload.len() as u64;
        let tried = stream.tried(place, part);
        let ticket = Ticket {
            stream: owner,
            item: None,
            priority: stream.priority,
            // Whoever sends it again gives it its time again.
            since: now.wall,
            attempts: tried.map_or(0, |tried| tried.attempts),
            failing_since: Duration::ZERO,
            unknown: letter.cause == Cause::Unknown || tried.is_some_and(|tried| tried.unknown),
            group: None,
        };
        let message = Message { lane, section, name, payload, guarantee, after: None };
        let stream = Arc::clone(&stream.name);
        let delivery = Delivery { stream, place, part, accepted_at: letter.accepted_at, message };
        self.lanes.push(Queued { delivery, ticket }, None, now.monotonic);
    }

    /// The objects that a run before this one was to send again, by stream, of streams that have read
    /// again what that run had read: each must be given to [`Self::take_up`].
    pub fn revived(&self) -> Vec<(StreamNumber, Arc<str>, isthmus_core::Place, u16)> {
        let of = |stream: &Stream| {
            let (number, name) = (stream.number, stream.name.clone());
            let keys: Vec<_> = stream.to_revive().collect();
            keys.into_iter().map(move |(place, part)| (number, name.clone(), place, part))
        };
        self.streams.values().flat_map(of).collect()
    }

    /// Goes on with an object of [`Self::revived`]. Without its letter it was delivered: the letter
    /// goes before the outcome is written down.
    pub fn take_up(
        &mut self,
        number: StreamNumber,
        place: isthmus_core::Place,
        part: u16,
        letter: Option<DeadLetter>,
        now: Moment,
        changes: &mut Vec<LetterChange>,
    ) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let tried = stream.tried(place, part);
        let Some(letter) = letter else {
            stream.finish_revived(place, part);
            stream.counts.accepted += 1;
            stream.counts.delivered += 1;
            // The ledger knows of an attempt without an answer only.
            self.steps.push(Step::Decided(journal::Decided {
                was: Was::Elsewhere,
                decision: Decision::Confirm,
                reason: LETTER_GONE.to_owned(),
                objects: Objects(vec![ObjectKey { stream: number.0, place, part }]),
            }));
            return;
        };
        let parks = tried.is_some_and(|tried| tried.unknown)
            && letter.guarantee == isthmus_core::destination::Guarantee::AtMostOnce;
        if parks {
            stream.finish_revived(place, part);
            stream.counts.accepted += 1;
            stream.counts.parked += 1;
            let reason = super::NO_OUTCOME.to_owned();
            let letter = DeadLetter { cause: Cause::Unknown, reason, owner: number.0, ..letter };
            let key = ObjectKey { stream: number.0, place, part };
            super::note(&mut self.asides, journal::Fate::Parked, super::NO_OUTCOME, key);
            changes.push(LetterChange::Keep(letter));
            return;
        }
        self.revive(number, letter, now);
    }
}
