//! Entries as version 1 wrote them: without instants, answers, retries, jobs.

use super::{
    Checkpoint, Entry, Gap, Intent, Mark, Marks, Outcome, Progress, Step, StreamRecord, Tried,
};
use crate::counts::Totals;
use isthmus_core::Place;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize, Deserialize)]
enum Entry1 {
    Checkpoint(Box<Checkpoint1>),
    Progress(Vec<Step1>),
}

#[derive(Serialize, Deserialize)]
enum Step1 {
    Intent(Intent),
    Outcome(Outcome1),
}

#[derive(Serialize, Deserialize)]
struct Outcome1 {
    request: u64,
    status: u16,
    marks: Marks1,
}

#[derive(Serialize, Deserialize)]
enum Marks1 {
    All(Mark1),
    Each(Vec<Mark1>),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Mark1 {
    DeliveredAtOnce,
    Delivered,
    Rejected,
    Again,
    Unknown,
}

#[derive(Serialize, Deserialize)]
struct Checkpoint1 {
    next_request: u64,
    next_stream: u32,
    streams: Vec<StreamRecord1>,
    in_flight: Vec<Intent>,
    totals: Totals,
}

#[derive(Serialize, Deserialize)]
struct StreamRecord1 {
    number: u32,
    name: String,
    enabled: bool,
    cursor: Place,
    position: u64,
    stop_at: Option<u64>,
    gaps: Vec<Gap>,
    counts: Counts1,
    discards: BTreeMap<String, u64>,
    items_done: BTreeSet<Place>,
    parts_done: BTreeSet<(Place, u16)>,
    unknown: BTreeSet<(Place, u16)>,
}

#[derive(Serialize, Deserialize)]
struct Counts1 {
    accepted: u64,
    delivered: u64,
    delivered_at_once: u64,
    rejected: u64,
    discarded: u64,
    retries: u64,
    unknown: u64,
    possible_duplicates: u64,
    sent: u64,
    requests: u64,
    bytes: u64,
}

/// Reads an entry after its version byte.
pub(super) fn decode(bytes: &[u8]) -> Result<Entry, postcard::Error> {
    Ok(match postcard::from_bytes(bytes)? {
        Entry1::Checkpoint(checkpoint) => Entry::Checkpoint(Box::new(of_checkpoint(*checkpoint))),
        Entry1::Progress(steps) => {
            let steps = steps.into_iter().map(of_step).collect();
            Entry::Progress(Progress { at: 0, steps })
        }
    })
}

fn of_step(step: Step1) -> Step {
    let Outcome1 { request, status, marks } = match step {
        Step1::Intent(intent) => return Step::Intent(intent),
        Step1::Outcome(outcome) => outcome,
    };
    let marks = match marks {
        Marks1::All(mark) => Marks::All(of_mark(mark)),
        Marks1::Each(marks) => Marks::Each(marks.into_iter().map(of_mark).collect()),
    };
    let (message, reasons) = (String::new(), Vec::new());
    Step::Outcome(Outcome {
        request,
        status,
        took_millis: 0,
        wait_millis: 0,
        message,
        marks,
        reasons,
    })
}

fn of_mark(mark: Mark1) -> Mark {
    match mark {
        Mark1::DeliveredAtOnce => Mark::DeliveredAtOnce,
        Mark1::Delivered => Mark::Delivered,
        Mark1::Rejected => Mark::Rejected,
        Mark1::Again => Mark::Again,
        Mark1::Unknown => Mark::Unknown,
    }
}

fn of_checkpoint(checkpoint: Checkpoint1) -> Checkpoint {
    let Checkpoint1 { next_request, next_stream, streams, in_flight, totals } = checkpoint;
    let streams = streams.into_iter().map(of_stream).collect();
    Checkpoint { next_request, next_stream, streams, in_flight, totals, ..Checkpoint::default() }
}

fn of_stream(stream: StreamRecord1) -> StreamRecord {
    let Counts1 {
        accepted,
        delivered,
        delivered_at_once,
        rejected,
        discarded,
        retries,
        unknown,
        possible_duplicates,
        sent,
        requests,
        bytes,
    } = stream.counts;
    let tried = Tried { unknown: true, ..Tried::default() };
    StreamRecord {
        number: stream.number,
        name: stream.name,
        enabled: stream.enabled,
        // Where it began was not written down: as far as anybody knows, here.
        born: stream.cursor.offset,
        cursor: stream.cursor,
        position: stream.position,
        stop_at: stream.stop_at,
        gaps: stream.gaps,
        counts: crate::counts::Counts {
            accepted,
            delivered,
            delivered_at_once,
            rejected,
            discarded,
            retries,
            unknown,
            possible_duplicates,
            sent,
            requests,
            bytes,
            ..crate::counts::Counts::default()
        },
        discards: stream.discards,
        items_done: stream.items_done,
        parts_done: stream.parts_done,
        tried: stream.unknown.into_iter().map(|object| (object, tried)).collect(),
        revived: BTreeSet::new(),
        removing: BTreeSet::new(),
        job: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_version_1_wrote_is_read() {
        let place = Place { offset: 40, index: 2 };
        let stream = StreamRecord1 {
            number: 3,
            name: "product".into(),
            enabled: true,
            cursor: place,
            position: 90,
            stop_at: None,
            gaps: vec![Gap { from: 1, to: 2 }],
            counts: Counts1 {
                accepted: 5,
                delivered: 4,
                delivered_at_once: 3,
                rejected: 1,
                discarded: 0,
                retries: 9,
                unknown: 1,
                possible_duplicates: 1,
                sent: 14,
                requests: 2,
                bytes: 700,
            },
            discards: BTreeMap::new(),
            items_done: [].into(),
            parts_done: [].into(),
            unknown: [(place, 1)].into(),
        };
        let checkpoint = Checkpoint1 {
            next_request: 8,
            next_stream: 4,
            streams: vec![stream],
            in_flight: Vec::new(),
            totals: Totals::default(),
        };
        let write = |entry: &Entry1| postcard::to_extend(entry, vec![1]).unwrap();
        let read = Entry::decode(&write(&Entry1::Checkpoint(Box::new(checkpoint)))).unwrap();
        let Entry::Checkpoint(read) = read else { panic!("{read:?}") };
        assert_eq!((read.next_request, read.streams[0].counts.delivered), (8, 4));
        assert!(read.streams[0].tried[&(place, 1)].unknown);
        let outcome = Outcome1 { request: 7, status: 201, marks: Marks1::All(Mark1::Unknown) };
        let read = Entry::decode(&write(&Entry1::Progress(vec![Step1::Outcome(outcome)]))).unwrap();
        let Entry::Progress(read) = read else { panic!("{read:?}") };
        let Step::Outcome(outcome) = &read.steps[0] else { panic!("{read:?}") };
        assert_eq!((outcome.request, outcome.status), (7, 201));
        assert_eq!(outcome.marks, Marks::All(Mark::Unknown));
    }
}
