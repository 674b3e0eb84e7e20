//! From the journal's entries to what was known when the program stopped.

use super::{
    Aside, Checkpoint, Decided, Decision, Entry, Fate, Intent, Journal, JournalError, Mark,
    ObjectKey, Outcome, Step, StreamRecord,
};
use std::collections::BTreeMap;

/// Reads `journal` and returns what it knows; a new one knows nothing.
///
/// Nothing is in flight in the result: an intent without an outcome has become an unknown
/// outcome, which is counted.
pub fn replay(journal: &dyn Journal) -> Result<Checkpoint, JournalError> {
    let mut replay = Replay::default();
    journal.replay(&mut |bytes| replay.apply(Entry::decode(bytes)?))?;
    Ok(replay.finish())
}

/// What is known so far.
#[derive(Debug, Default)]
pub struct Replay {
    /// Whether a checkpoint was seen. Trimming removes whole segments, so steps from before the
    /// first checkpoint can be left without what they build on; that checkpoint covers them.
    based: bool,
    known: Checkpoint,
    in_flight: BTreeMap<u64, Vec<ObjectKey>>,
}

impl Replay {
    /// Takes in the next entry.
    pub fn apply(&mut self, entry: Entry) -> Result<(), JournalError> {
        match entry {
            Entry::Checkpoint(checkpoint) => {
                self.based = true;
                self.known = *checkpoint;
                self.known.since = Vec::new();
                let in_flight = std::mem::take(&mut self.known.in_flight);
                self.in_flight =
                    in_flight.into_iter().map(|one| (one.request, one.objects.0)).collect();
            }
            Entry::Progress(progress) if self.based => {
                let at = progress.at;
                progress.steps.into_iter().try_for_each(|step| self.step(at, step))?;
            }
            Entry::Progress(_) => {}
        }
        Ok(())
    }

    fn step(&mut self, at: i64, step: Step) -> Result<(), JournalError> {
        match step {
            Step::Intent(Intent { request, objects }) => {
                self.known.next_request = self.known.next_request.max(request + 1);
                let mut counted = Vec::new();
                for key in &objects.0 {
                    let Some(stream) = self.stream(key.stream) else { continue };
                    stream.position = stream.position.max(key.place.offset + 1);
                    let tried = stream.tried.get(&(key.place, key.part));
                    let doubles = tried.is_some_and(|tried| tried.unknown);
                    stream.counts.possible_duplicates += u64::from(doubles);
                    stream.counts.sent += 1;
                    if !counted.contains(&key.stream) {
                        counted.push(key.stream);
                        stream.counts.requests += 1;
                    }
                }
                self.in_flight.insert(request, objects.0);
            }
            Step::Outcome(outcome) => self.outcome(at, &outcome)?,
            Step::Aside(Aside { fate, reason, objects }) => {
                for key in objects.0 {
                    if let Some(stream) = self.stream(key.stream) {
                        stream.position = stream.position.max(key.place.offset + 1);
                        apply_fate(stream, key, fate, &reason);
                    }
                }
            }
            Step::Decided(decided) => self.decided(decided),
            Step::Billed(bills) => {
                for (stream, bill) in bills {
                    self.known.bills.entry(stream).or_default().add(&bill);
                }
            }
        }
        Ok(())
    }

    fn decided(&mut self, decided: Decided) {
        for key in decided.objects.0 {
            let Some(stream) = self.stream(key.stream) else { continue };
            stream.counts.leave(decided.was);
            let object = (key.place, key.part);
            if decided.decision == Decision::Resend {
                stream.revived.insert(object);
            } else {
                stream.revived.remove(&object);
                stream.removing.insert(object);
            }
            match decided.decision {
                Decision::Resend => {}
                Decision::Discard => {
                    stream.counts.discarded += 1;
                    *stream.discards.entry(decided.reason.clone()).or_default() += 1;
                }
                Decision::Confirm => stream.counts.delivered += 1,
            }
        }
    }

    fn outcome(&mut self, at: i64, outcome: &Outcome) -> Result<(), JournalError> {
        let request = outcome.request;
        let wrong = |what: &str| JournalError::Malformed {
            reason: format!("outcome of request {request} {what}"),
        };
        let objects = self.in_flight.remove(&request);
        let objects = objects.ok_or_else(|| wrong("has no intent"))?;
        let marks = outcome.marks.expand(objects.len());
        let marks = marks.ok_or_else(|| wrong("does not fit its intent"))?;
        let retry_at = at.saturating_add(i64::from(outcome.wait_millis));
        for (key, mark) in objects.into_iter().zip(marks) {
            if let Some(stream) = self.stream(key.stream) {
                apply_mark(stream, key, mark, retry_at);
            }
        }
        Ok(())
    }

    /// What is known, with every intent that has no outcome counted as unknown.
    pub fn finish(mut self) -> Checkpoint {
        for key in std::mem::take(&mut self.in_flight).into_values().flatten() {
            if let Some(stream) = self.stream(key.stream) {
                apply_mark(stream, key, Mark::Unknown, 0);
            }
        }
        for stream in &mut self.known.streams {
            stream.counts.accepted = stream.counts.ended();
        }
        self.known
    }

    /// `None` for a stream that was removed.
    fn stream(&mut self, number: u32) -> Option<&mut StreamRecord> {
        self.known.streams.iter_mut().find(|stream| stream.number == number)
    }
}

fn apply_mark(stream: &mut StreamRecord, key: ObjectKey, mark: Mark, retry_at: i64) {
    let object = (key.place, key.part);
    let counts = &mut stream.counts;
    match mark {
        Mark::DeliveredAtOnce | Mark::Delivered => {
            counts.delivered += 1;
            counts.delivered_at_once += u64::from(mark == Mark::DeliveredAtOnce);
        }
        Mark::Rejected => counts.rejected += 1,
        Mark::Expired => {
            counts.rejected += 1;
            counts.expired += 1;
        }
        Mark::Parked => {
            counts.unknown += 1;
            counts.parked += 1;
        }
        Mark::Again | Mark::Unknown => {
            counts.retries += 1;
            counts.unknown += u64::from(mark == Mark::Unknown);
            let tried = stream.tried.entry(object).or_default();
            tried.attempts = tried.attempts.saturating_add(1);
            tried.unknown |= mark == Mark::Unknown;
            tried.retry_at = retry_at;
        }
        Mark::Deferred => counts.retries += 1,
    }
    if mark.ends() {
        end(stream, object);
    }
}

fn apply_fate(stream: &mut StreamRecord, key: ObjectKey, fate: Fate, reason: &str) {
    let counts = &mut stream.counts;
    match fate {
        Fate::Discarded => {
            counts.discarded += 1;
            *stream.discards.entry(reason.to_owned()).or_default() += 1;
        }
        Fate::Refused => counts.rejected += 1,
        Fate::Parked => counts.parked += 1,
    }
    end(stream, (key.place, key.part));
}

/// The object is not to be sent again.
fn end(stream: &mut StreamRecord, object: (isthmus_core::Place, u16)) {
    stream.tried.remove(&object);
    if !stream.revived.remove(&object) {
        stream.parts_done.insert(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Marks, Objects, Outcome, Progress, Tried, Was};
    use isthmus_core::Place;

    fn key(index: u32) -> ObjectKey {
        ObjectKey { stream: 1, place: Place { offset: 40, index }, part: 0 }
    }

    fn checkpoint() -> Entry {
        let stream = StreamRecord {
            number: 1,
            name: "product".into(),
            enabled: true,
            cursor: Place { offset: 40, index: 0 },
            position: 40,
            ..StreamRecord::default()
        };
        let in_flight = vec![Intent { request: 3, objects: Objects(vec![key(0)]) }];
        let checkpoint = Checkpoint {
            next_request: 4,
            streams: vec![stream],
            in_flight,
            ..Checkpoint::default()
        };
        Entry::Checkpoint(Box::new(checkpoint))
    }

    fn outcome(request: u64, marks: Vec<Mark>) -> Step {
        Step::Outcome(Outcome {
            request,
            status: 201,
            took_millis: 40,
            wait_millis: 500,
            message: String::new(),
            marks: Marks::of(marks),
            reasons: Vec::new(),
        })
    }

    fn progress(steps: Vec<Step>) -> Entry {
        Entry::Progress(Progress { at: 1_000, steps })
    }

    #[test]
    fn what_trimming_left_from_before_the_first_checkpoint_is_passed_over() {
        let mut replay = Replay::default();
        let steps = vec![outcome(2, vec![Mark::Delivered])];
        replay.apply(progress(steps)).unwrap();
        replay.apply(checkpoint()).unwrap();
        replay.apply(progress(vec![outcome(3, vec![Mark::Delivered])])).unwrap();
        let known = replay.finish();
        assert_eq!(known.streams[0].counts.delivered, 1);
    }

    #[test]
    fn outcomes_finish_objects_and_intents_alone_leave_them_unknown() {
        let mut replay = Replay::default();
        replay.apply(checkpoint()).unwrap();
        let objects = Objects(vec![key(1), key(2), key(3)]);
        let marks = vec![Mark::DeliveredAtOnce, Mark::Rejected, Mark::Again];
        let steps = vec![
            Step::Intent(Intent { request: 4, objects }),
            outcome(4, marks),
            Step::Intent(Intent { request: 5, objects: Objects(vec![key(3)]) }),
        ];
        replay.apply(progress(steps)).unwrap();
        let known = replay.finish();
        let stream = &known.streams[0];
        assert_eq!(known.next_request, 6);
        assert_eq!(stream.parts_done, [(key(1).place, 0), (key(2).place, 0)].into());
        let again = Tried { attempts: 2, retry_at: 0, unknown: true };
        let once = Tried { attempts: 1, ..again };
        assert_eq!(stream.tried, [((key(0).place, 0), once), ((key(3).place, 0), again)].into());
        let counts = stream.counts;
        assert_eq!((counts.accepted, counts.delivered, counts.rejected), (2, 1, 1));
        assert_eq!((counts.unknown, counts.retries), (2, 3));
    }

    #[test]
    fn waits_parked_objects_and_decisions_survive_and_everything_adds_up() {
        let mut replay = Replay::default();
        replay.apply(checkpoint()).unwrap();
        let objects = Objects(vec![key(1), key(2), key(3), key(4)]);
        let marks = vec![Mark::Parked, Mark::Expired, Mark::Again, Mark::Rejected];
        let decided = |was, decision, index| {
            let (reason, objects) = ("ana".to_owned(), Objects(vec![key(index)]));
            Step::Decided(Decided { was, decision, reason, objects })
        };
        let aside = |fate, index| {
            let (reason, objects) = ("a rule".to_owned(), Objects(vec![key(index)]));
            Step::Aside(Aside { fate, reason, objects })
        };
        let steps = vec![
            outcome(3, vec![Mark::Deferred]),
            Step::Intent(Intent { request: 4, objects }),
            outcome(4, marks),
            aside(Fate::Discarded, 5),
            aside(Fate::Refused, 6),
            decided(Was::Parked, Decision::Confirm, 1),
            decided(Was::Expired, Decision::Discard, 2),
            decided(Was::Rejected, Decision::Resend, 4),
        ];
        replay.apply(progress(steps)).unwrap();
        let known = replay.finish();
        let stream = &known.streams[0];
        let tried = Tried { attempts: 1, retry_at: 1_500, unknown: false };
        assert_eq!(stream.tried, [((key(3).place, 0), tried)].into());
        assert_eq!(stream.revived, [(key(4).place, 0)].into());
        let counts = stream.counts;
        assert_eq!((counts.delivered, counts.rejected, counts.expired), (1, 1, 0));
        assert_eq!((counts.discarded, counts.parked, counts.accepted), (2, 0, 4));
        assert_eq!(stream.discards, [("a rule".to_owned(), 1), ("ana".to_owned(), 1)].into());
    }

    #[test]
    fn an_outcome_that_does_not_fit_is_refused_rather_than_guessed() {
        let apply = |step| {
            let mut replay = Replay::default();
            replay.apply(checkpoint()).unwrap();
            replay.apply(progress(vec![step])).unwrap_err().to_string()
        };
        insta::assert_snapshot!(
            apply(outcome(9, vec![Mark::Again])),
            @"journal cannot be read: outcome of request 9 has no intent"
        );
        insta::assert_snapshot!(
            apply(outcome(3, vec![Mark::Again, Mark::Rejected])),
            @"journal cannot be read: outcome of request 3 does not fit its intent"
        );
    }
}
