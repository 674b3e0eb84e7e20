//! The ledger over journals written by hand, a step a line.

use super::*;
use crate::journal::{Aside, Checkpoint, Decided, Intent, Marks, Objects, Outcome, Progress, Was};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A journal in chunks, which counts how many were read.
#[derive(Debug, Default)]
struct Chunks {
    entries: Vec<Vec<Entry>>,
    /// How many of the first ones are trimmed.
    trimmed: AtomicUsize,
    read: AtomicUsize,
}

impl EntryReader for Chunks {
    fn chunks(&self) -> Vec<u64> {
        (0..self.entries.len() as u64).skip(self.trimmed.load(Ordering::Relaxed)).collect()
    }

    fn read(
        &self,
        chunk: u64,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        self.read.fetch_add(1, Ordering::Relaxed);
        let entries = &self.entries[usize::try_from(chunk).unwrap()];
        entries.iter().try_for_each(|entry| visit(&entry.encode()))
    }

    fn begun_at(&self, chunk: u64) -> Option<Timestamp> {
        self.entries[usize::try_from(chunk).unwrap()].first().map(Entry::at)
    }
}

impl Chunks {
    fn of(chunks: &[&[Entry]]) -> (Arc<Self>, Ledger) {
        let entries = chunks.iter().map(|chunk| chunk.to_vec()).collect();
        let chunks = Arc::new(Self { entries, ..Self::default() });
        (chunks.clone(), Ledger::new(chunks))
    }

    /// How many chunks `ask` reads.
    fn read_by<T>(&self, ask: impl FnOnce() -> T) -> usize {
        self.read.store(0, Ordering::Relaxed);
        drop(ask());
        self.read.load(Ordering::Relaxed)
    }
}

/// The object of stream 1 from the record at `offset`.
fn key(offset: u64) -> ObjectKey {
    ObjectKey { stream: 1, place: Place { offset, index: 0 }, part: 0 }
}

fn objects(offsets: &[u64]) -> Objects {
    Objects(offsets.iter().map(|offset| key(*offset)).collect())
}

fn progress(at: i64, steps: Vec<Step>) -> Entry {
    Entry::Progress(Progress { at, steps })
}

/// A checkpoint while the requests `in_flight` are under way.
fn checkpoint(at: i64, in_flight: &[u64]) -> Entry {
    let in_flight = in_flight
        .iter()
        .map(|request| Intent { request: *request, objects: Objects::default() })
        .collect();
    Entry::Checkpoint(Box::new(Checkpoint { at, in_flight, ..Checkpoint::default() }))
}

fn intent(request: u64, offsets: &[u64]) -> Step {
    Step::Intent(Intent { request, objects: objects(offsets) })
}

fn outcome(request: u64, status: u16, marks: &[Mark]) -> Step {
    Step::Outcome(Outcome {
        request,
        status,
        took_millis: 40,
        wait_millis: 500,
        message: "said".to_owned(),
        marks: Marks::of(marks.to_vec()),
        reasons: vec![(1, "own reason".to_owned())],
    })
}

fn decided(decision: Decision, offsets: &[u64]) -> Step {
    let (was, reason) = (Was::Rejected, "ana".to_owned());
    Step::Decided(Decided { was, decision, reason, objects: objects(offsets) })
}

fn aside(fate: Fate, offsets: &[u64]) -> Step {
    Step::Aside(Aside { fate, reason: "no identifier".to_owned(), objects: objects(offsets) })
}

/// The story of the object at `offset`: its state, a star for a possible duplicate, and what
/// happened, as text.
fn story(ledger: &Ledger, offset: u64) -> String {
    let stories = ledger.stories(&BTreeSet::from([key(offset).place])).unwrap();
    stories.first().map_or_else(|| "no story".to_owned(), told)
}

fn told(story: &Story) -> String {
    let happening = |happening: &Happening| {
        let what = match &happening.what {
            What::Sent { request } => format!("sent {request}"),
            What::Ended { request, status, message, mark, .. } => {
                format!("{request} ended {status} {mark:?} {message}")
            }
            What::NoAnswer { request } => format!("{request} unanswered"),
            What::Aside { fate, reason } => format!("{fate:?} {reason}"),
            What::Decided { decision, reason } => format!("{decision:?} {reason}"),
        };
        format!("{} {what}", happening.at.as_millis())
    };
    let happenings: Vec<_> = story.happenings.iter().map(happening).collect();
    let star = if story.is_possible_duplicate() { "*" } else { "" };
    format!("{}{star}: {}", story.state().name(), happenings.join(", "))
}

/// Offsets of the objects that a listing has, in its order.
fn listed(ledger: &Ledger, filter: Filter, limit: usize) -> Vec<u64> {
    let filter = Filter { streams: BTreeSet::from([1]), ..filter };
    let stories = ledger.list(&filter, limit).unwrap();
    stories.iter().map(|story| story.key.place.offset).collect()
}

fn in_state(state: State) -> Filter {
    Filter { state: Some(state), ..Filter::default() }
}

#[test]
fn a_story_tells_every_request_with_its_answer_and_what_people_decided() {
    let (_, ledger) = Chunks::of(&[&[
        progress(10, vec![intent(1, &[100, 200])]),
        progress(20, vec![outcome(1, 503, &[Mark::Again, Mark::Again]), intent(2, &[100, 200])]),
        progress(30, vec![outcome(2, 201, &[Mark::Delivered, Mark::Rejected])]),
        progress(40, vec![decided(Decision::Resend, &[200]), aside(Fate::Discarded, &[300])]),
        progress(50, vec![intent(3, &[200])]),
    ]]);
    assert_eq!(
        story(&ledger, 100),
        "delivered: 10 sent 1, 20 1 ended 503 Again said, 20 sent 2, 30 2 ended 201 Delivered said"
    );
    assert_eq!(
        story(&ledger, 200),
        "in flight: 10 sent 1, 20 1 ended 503 Again own reason, 20 sent 2, \
         30 2 ended 201 Rejected own reason, 40 Resend ana, 50 sent 3"
    );
    assert_eq!(story(&ledger, 300), "discarded: 40 Discarded no identifier");
    assert_eq!(story(&ledger, 400), "no story");
}

#[test]
fn a_crash_leaves_an_unanswered_request_and_what_follows_may_double() {
    let (_, ledger) = Chunks::of(&[&[
        progress(10, vec![intent(1, &[100]), intent(2, &[200])]),
        progress(20, vec![outcome(2, 201, &[Mark::DeliveredAtOnce])]),
        // The next run begins with a checkpoint, and knows of no request under way.
        checkpoint(30, &[]),
        progress(40, vec![intent(3, &[100])]),
        progress(50, vec![outcome(3, 201, &[Mark::Delivered])]),
    ]]);
    assert_eq!(
        story(&ledger, 100),
        "delivered*: 10 sent 1, 30 1 unanswered, 40 sent 3, 50 3 ended 201 Delivered said"
    );
    assert_eq!(story(&ledger, 200), "delivered: 10 sent 2, 20 2 ended 201 DeliveredAtOnce said");
}

#[test]
fn what_a_run_does_first_comes_after_what_the_run_before_left_unanswered() {
    let first = Checkpoint {
        at: 30,
        in_flight: vec![Intent { request: 3, objects: objects(&[100]) }],
        since: vec![
            intent(3, &[100]),
            outcome(2, 201, &[Mark::DeliveredAtOnce]),
            aside(Fate::Parked, &[300]),
        ],
        ..Checkpoint::default()
    };
    let (_, ledger) = Chunks::of(&[&[
        progress(10, vec![intent(1, &[100]), intent(2, &[200]), intent(0, &[300])]),
        Entry::Checkpoint(Box::new(first)),
        progress(40, vec![outcome(3, 201, &[Mark::Delivered])]),
    ]]);
    assert_eq!(
        story(&ledger, 100),
        "delivered*: 10 sent 1, 30 1 unanswered, 30 sent 3, 40 3 ended 201 Delivered said"
    );
    assert_eq!(story(&ledger, 200), "delivered: 10 sent 2, 30 2 ended 201 DeliveredAtOnce said");
    assert_eq!(story(&ledger, 300), "unknown: 10 sent 0, 30 0 unanswered, 30 Parked no identifier");
    let doubles = Filter { possible_duplicates: true, ..Filter::default() };
    assert_eq!(listed(&ledger, doubles, 10), [100]);
    assert_eq!(listed(&ledger, in_state(State::Unknown), 10), [300]);
}

#[test]
fn a_checkpoint_in_between_does_not_end_what_is_under_way() {
    let (_, ledger) = Chunks::of(&[&[
        progress(10, vec![intent(1, &[100])]),
        checkpoint(20, &[1]),
        progress(30, vec![outcome(1, 201, &[Mark::DeliveredAtOnce])]),
    ]]);
    assert_eq!(story(&ledger, 100), "delivered: 10 sent 1, 30 1 ended 201 DeliveredAtOnce said");
}

#[test]
fn what_is_read_again_after_a_restart_is_told_once() {
    let again = || progress(10, vec![aside(Fate::Discarded, &[100])]);
    let (_, ledger) = Chunks::of(&[&[again(), again()]]);
    assert_eq!(story(&ledger, 100), "discarded: 10 Discarded no identifier");
}

#[test]
fn a_possible_duplicate_is_one_that_was_sent_after_nobody_knew() {
    let (_, ledger) = Chunks::of(&[&[
        progress(10, vec![intent(1, &[100, 200, 300])]),
        progress(20, vec![outcome(1, 500, &[Mark::Unknown, Mark::Unknown, Mark::Parked])]),
        progress(30, vec![intent(2, &[100])]),
        progress(40, vec![outcome(2, 201, &[Mark::Delivered])]),
        progress(50, vec![decided(Decision::Confirm, &[300])]),
    ]]);
    assert!(story(&ledger, 100).starts_with("delivered*"), "{}", story(&ledger, 100));
    assert!(story(&ledger, 200).starts_with("pending: "), "{}", story(&ledger, 200));
    assert!(story(&ledger, 300).starts_with("delivered: "), "{}", story(&ledger, 300));
    let doubles = || Filter { possible_duplicates: true, ..Filter::default() };
    assert_eq!(listed(&ledger, doubles(), 10), [100]);
    let pending = Filter { state: Some(State::Pending), ..doubles() };
    assert_eq!(listed(&ledger, pending, 10), [0u64; 0]);
}

#[test]
fn a_listing_has_the_latest_news_last_and_each_object_once() {
    let (_, ledger) = Chunks::of(&[&[
        progress(10, vec![intent(1, &[100]), intent(2, &[200]), intent(3, &[300])]),
        progress(20, vec![outcome(2, 201, &[Mark::DeliveredAtOnce])]),
        progress(30, vec![outcome(1, 503, &[Mark::Again])]),
        progress(40, vec![aside(Fate::Discarded, &[400])]),
    ]]);
    assert_eq!(listed(&ledger, Filter::default(), 10), [300, 200, 100, 400]);
    assert_eq!(listed(&ledger, Filter::default(), 2), [100, 400]);
    let offsets = Filter { offsets: Some(150..=300), ..Filter::default() };
    assert_eq!(listed(&ledger, offsets, 10), [300, 200]);
    let states = [State::Pending, State::InFlight, State::Delivered, State::Discarded];
    let first = |state| listed(&ledger, in_state(state), 10);
    assert_eq!(states.map(first), [vec![100], vec![300], vec![200], vec![400]]);
    assert_eq!(listed(&ledger, in_state(State::Rejected), 10), [0u64; 0]);
    let foreign = Filter { streams: BTreeSet::from([2]), ..Filter::default() };
    assert!(ledger.list(&foreign, 10).unwrap().is_empty());
}

#[test]
fn an_old_object_that_is_stuck_is_listed_whatever_was_retried_since() {
    let mut entries = vec![
        progress(10, vec![intent(1, &[100])]),
        progress(20, vec![outcome(1, 503, &[Mark::Again])]),
    ];
    for request in 2..50 {
        entries.push(progress(30, vec![intent(request, &[request * 100])]));
        entries.push(progress(40, vec![outcome(request, 503, &[Mark::Again])]));
        let last = vec![
            intent(request + 100, &[request * 100]),
            outcome(request + 100, 201, &[Mark::Delivered]),
        ];
        entries.push(progress(50, last));
    }
    let (_, ledger) = Chunks::of(&[&entries]);
    assert_eq!(listed(&ledger, in_state(State::Pending), 3), [100]);
    assert_eq!(listed(&ledger, in_state(State::Delivered), 2), [4_800, 4_900]);
}

#[test]
fn what_people_decide_moves_an_object_from_one_listing_to_another() {
    let (_, ledger) = Chunks::of(&[&[
        progress(10, vec![intent(1, &[100, 200, 300])]),
        progress(20, vec![outcome(1, 400, &[Mark::Rejected, Mark::Rejected, Mark::Parked])]),
        progress(30, vec![decided(Decision::Discard, &[100])]),
        progress(40, vec![decided(Decision::Confirm, &[300])]),
    ]]);
    assert_eq!(listed(&ledger, in_state(State::Rejected), 10), [200]);
    assert_eq!(listed(&ledger, in_state(State::Discarded), 10), [100]);
    assert_eq!(listed(&ledger, in_state(State::Delivered), 10), [300]);
    assert_eq!(listed(&ledger, in_state(State::Unknown), 10), [0u64; 0]);
}

#[test]
fn delivered_objects_are_those_of_the_streams_and_the_part_that_are_asked_for() {
    let (_, ledger) = Chunks::of(&[&[
        progress(10, vec![intent(1, &[100, 200, 300]), intent(2, &[400])]),
        progress(20, vec![outcome(1, 201, &[Mark::Delivered, Mark::Rejected, Mark::Delivered])]),
        progress(30, vec![decided(Decision::Confirm, &[200])]),
    ]]);
    let delivered = |streams: &[u32], offsets| {
        let streams = streams.iter().copied().collect();
        let delivered = ledger.delivered(&streams, offsets).unwrap();
        let of = [100, 200, 300, 400].into_iter();
        of.filter(|at| delivered.contains(key(*at).place, 0)).collect::<Vec<_>>()
    };
    assert_eq!(delivered(&[1, 2], 0..=1_000), [100, 200, 300]);
    assert_eq!(delivered(&[1], 150..=250), [200]);
    assert_eq!(delivered(&[2], 0..=1_000), [0u64; 0]);
}

#[test]
fn one_event_is_looked_up_in_the_chunks_that_are_about_it() {
    let chunk = |request: u64| {
        let offset = request * 100;
        vec![
            progress(offset.cast_signed(), vec![intent(request, &[offset])]),
            progress(offset.cast_signed() + 1, vec![outcome(request, 201, &[Mark::Delivered])]),
        ]
    };
    let chunks: Vec<_> = (1..=20).map(chunk).collect();
    let (entries, ledger) = Chunks::of(&chunks.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let ask = || story(&ledger, 700);
    assert_eq!(entries.read_by(ask), 20, "nothing is known of them at first");
    assert_eq!(entries.read_by(ask), 2, "its own, and the last, which grows");
    assert!(ask().starts_with("delivered"), "{}", ask());
    assert_eq!(ledger.kept_since(), Some(Timestamp::from_millis(100)));
    entries.trimmed.store(10, Ordering::Relaxed);
    assert_eq!((ask().as_str(), entries.read_by(ask)), ("no story", 1));
    assert_eq!(ledger.kept_since(), Some(Timestamp::from_millis(1_100)));
}

#[test]
fn an_outcome_is_found_in_a_chunk_that_names_none_of_its_objects() {
    let (entries, ledger) = Chunks::of(&[
        &[progress(10, vec![intent(1, &[100]), intent(2, &[200])])],
        // A checkpoint knows both, and neither is told of here.
        &[checkpoint(20, &[1, 2]), progress(21, vec![intent(3, &[9_000])])],
        &[progress(30, vec![outcome(1, 201, &[Mark::DeliveredAtOnce])])],
        // A crash: the second request has no answer and never will.
        &[checkpoint(40, &[]), progress(41, vec![intent(4, &[9_100])])],
        &[progress(50, vec![intent(5, &[9_200])])],
    ]);
    for round in ["first", "with what is remembered"] {
        assert_eq!(
            story(&ledger, 100),
            "delivered: 10 sent 1, 30 1 ended 201 DeliveredAtOnce said",
            "{round}"
        );
        assert_eq!(story(&ledger, 200), "pending: 10 sent 2, 40 2 unanswered", "{round}");
    }
    let ask = || story(&ledger, 9_000);
    assert_eq!(entries.read_by(ask), 3, "{}", ask());
}

#[test]
fn damage_is_an_error_and_not_a_gap_in_the_story() {
    let journal = crate::memory::MemoryJournal::for_a_ledger();
    journal.append_now(progress(10, vec![intent(1, &[100])]).encode());
    journal.append_now(vec![99, 1, 2]);
    let ledger = Ledger::new(Arc::new(journal));
    let error = ledger.stories(&BTreeSet::from([key(100).place])).unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
}
