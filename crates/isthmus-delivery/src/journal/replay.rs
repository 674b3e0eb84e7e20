//! From the journal's entries to what was known when the program stopped.

use super::{
    Checkpoint, Entry, Intent, Journal, JournalError, Mark, ObjectKey, Step, StreamRecord,
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
                let in_flight = std::mem::take(&mut self.known.in_flight);
                self.in_flight =
                    in_flight.into_iter().map(|one| (one.request, one.objects.0)).collect();
            }
            Entry::Progress(steps) if self.based => {
                steps.into_iter().try_for_each(|step| self.step(step))?;
            }
            Entry::Progress(_) => {}
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), JournalError> {
        match step {
            Step::Intent(Intent { request, objects }) => {
                self.known.next_request = self.known.next_request.max(request + 1);
                for key in &objects.0 {
                    if let Some(stream) = self.stream(key.stream) {
                        stream.position = stream.position.max(key.place.offset + 1);
                    }
                }
                self.in_flight.insert(request, objects.0);
            }
            Step::Outcome(outcome) => {
                let request = outcome.request;
                let wrong = |what: &str| JournalError::Malformed {
                    reason: format!("outcome of request {request} {what}"),
                };
                let objects = self.in_flight.remove(&request);
                let objects = objects.ok_or_else(|| wrong("has no intent"))?;
                let marks = outcome.marks.expand(objects.len());
                let marks = marks.ok_or_else(|| wrong("does not fit its intent"))?;
                for (key, mark) in objects.into_iter().zip(marks) {
                    if let Some(stream) = self.stream(key.stream) {
                        apply_mark(stream, key, mark);
                    }
                }
            }
        }
        Ok(())
    }

    /// What is known, with every intent that has no outcome counted as unknown.
    pub fn finish(mut self) -> Checkpoint {
        for key in std::mem::take(&mut self.in_flight).into_values().flatten() {
            if let Some(stream) = self.stream(key.stream) {
                apply_mark(stream, key, Mark::Unknown);
            }
        }
        self.known
    }

    /// `None` for a stream that was removed.
    fn stream(&mut self, number: u32) -> Option<&mut StreamRecord> {
        self.known.streams.iter_mut().find(|stream| stream.number == number)
    }
}

fn apply_mark(stream: &mut StreamRecord, key: ObjectKey, mark: Mark) {
    let object = (key.place, key.part);
    match mark {
        Mark::DeliveredAtOnce | Mark::Delivered => {
            stream.counts.delivered += 1;
            stream.counts.delivered_at_once += u64::from(mark == Mark::DeliveredAtOnce);
        }
        Mark::Rejected => stream.counts.rejected += 1,
        Mark::Again => stream.counts.retries += 1,
        Mark::Unknown => {
            stream.counts.retries += 1;
            stream.counts.unknown += 1;
            stream.unknown.insert(object);
        }
    }
    if matches!(mark, Mark::DeliveredAtOnce | Mark::Delivered | Mark::Rejected) {
        stream.counts.accepted += 1;
        stream.unknown.remove(&object);
        stream.parts_done.insert(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Marks, Objects, Outcome};
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
            stop_at: None,
            gaps: Vec::new(),
            counts: crate::counts::Counts::default(),
            discards: BTreeMap::new(),
            items_done: [].into(),
            parts_done: [].into(),
            unknown: [].into(),
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
        Step::Outcome(Outcome { request, status: 201, marks: Marks::of(marks) })
    }

    #[test]
    fn what_trimming_left_from_before_the_first_checkpoint_is_passed_over() {
        let mut replay = Replay::default();
        let steps = vec![outcome(2, vec![Mark::Delivered])];
        replay.apply(Entry::Progress(steps)).unwrap();
        replay.apply(checkpoint()).unwrap();
        replay.apply(Entry::Progress(vec![outcome(3, vec![Mark::Delivered])])).unwrap();
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
        replay.apply(Entry::Progress(steps)).unwrap();
        let known = replay.finish();
        let stream = &known.streams[0];
        assert_eq!(known.next_request, 6);
        assert_eq!(stream.parts_done, [(key(1).place, 0), (key(2).place, 0)].into());
        assert_eq!(stream.unknown, [(key(0).place, 0), (key(3).place, 0)].into());
        let counts = stream.counts;
        assert_eq!((counts.accepted, counts.delivered, counts.rejected), (2, 1, 1));
        assert_eq!((counts.unknown, counts.retries), (2, 3));
    }

    #[test]
    fn an_outcome_that_does_not_fit_is_refused_rather_than_guessed() {
        let apply = |step| {
            let mut replay = Replay::default();
            replay.apply(checkpoint()).unwrap();
            replay.apply(Entry::Progress(vec![step])).unwrap_err().to_string()
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
