//! The finder through its boundary: real logs in, places out.

use super::block::fingerprint_of_id;
use super::*;
use isthmus_core::ByteSize;
use isthmus_core::record::Applied;
use isthmus_core::record::{
    AppliedEvent, GroupChange, IntakeRange, Merge, UserChange, UserProperties,
};
use isthmus_core::seam::ManualClock;
use isthmus_log::{LogConfig, RealDisk};
use isthmus_state::State;
use isthmus_state::people::{Link, Person};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use tokio_util::sync::CancellationToken;

const START: i64 = 1_770_000_000_000;

struct Case {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    events: Log,
    state: State,
    config: FinderConfig,
}

impl Case {
    /// Blocks of `block_items_max`, and segments of the event log that hold a few records.
    fn new(block_items_max: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START)));
        let events = open_events(&folder.path().join("events"), clock.clone());
        let state = State::open(&folder.path().join("state")).unwrap();
        let config = FinderConfig { block_items_max, ..FinderConfig::default() };
        Self { folder, clock, events, state, config }
    }

    fn open(&self) -> (Finder, Indexer) {
        let parts = FinderParts {
            disk: Arc::new(RealDisk),
            folder: self.finder_folder(),
            events: self.events.clone(),
            people: People::open(&self.state).unwrap(),
            clock: self.clock.clone(),
            config: self.config,
        };
        Finder::open(parts).unwrap()
    }

    /// A finder that has everything indexed.
    async fn indexed(&self) -> (Finder, Indexer) {
        let (finder, mut indexer) = self.open();
        indexer.catch_up().await.unwrap();
        (finder, indexer)
    }

    fn finder_folder(&self) -> PathBuf {
        self.folder.path().join("finder")
    }

    async fn append(&self, received_at: i64, items: Vec<Applied<'_>>) -> u64 {
        let intake = IntakeRange { from: Place::default(), to: Place::default() };
        let batch = AppliedBatch { intake, received_at, items };
        self.events.append(batch.encode()).await.unwrap()
    }

    /// Records of three events each: `e0` to `e2`, `e3` to `e5` and so on, of persons 0 to 6 in
    /// turn. Returns their offsets.
    async fn append_events(&self, records: std::ops::Range<u64>) -> Vec<u64> {
        let mut offsets = Vec::new();
        for record in records {
            let ids: Vec<String> = (0..3).map(|n| format!("e{}", record * 3 + n)).collect();
            let items = ids.iter().zip(record * 3..);
            let items = items.map(|(id, n)| event(n % 7, Some(id))).collect();
            let received_at = START + i64::try_from(record).unwrap() * 1_000;
            offsets.push(self.append(received_at, items).await);
        }
        offsets
    }
}

fn open_events(folder: &Path, clock: Arc<ManualClock>) -> Log {
    let config = LogConfig { segment_max: ByteSize::kib(1), ..LogConfig::default() };
    Log::open(Arc::new(RealDisk), folder, config, clock).unwrap().0
}

fn event(person: u64, insert_id: Option<&str>) -> Applied<'_> {
    Applied::Event(AppliedEvent {
        project: if person.is_multiple_of(2) { "shop" } else { "app" },
        user: AmplitudeId(person),
        user_id: Some("ana"),
        device_id: "d",
        device_id_derived: false,
        event_type: "Viewed",
        event_time: START,
        client_event_time: START,
        received_at: START,
        session_id: None,
        event_id: None,
        insert_id,
        event_properties: None,
        groups: None,
        group_properties: None,
        fields: None,
        user_properties: UserProperties::None,
        sent_user_properties: None,
        skip_user_properties_sync: false,
        remote_address: None,
        currents: None,
    })
}

fn change(person: u64, insert_id: &str) -> Applied<'_> {
    Applied::UserChange(UserChange {
        project: "shop",
        user: AmplitudeId(person),
        user_id: None,
        device_id: "d",
        device_id_derived: true,
        event_time: START,
        received_at: START,
        insert_id: Some(insert_id),
        first_seen: true,
        first_seen_on_device: false,
        changes: Vec::new(),
        user_properties: UserProperties::None,
    })
}

fn merge(anonymous: u64, into: u64) -> Applied<'static> {
    Applied::Merge(Merge {
        project: "shop",
        anonymous: AmplitudeId(anonymous),
        into: AmplitudeId(into),
        user_id: "ana",
        device_id: "d",
        event_time: START,
        received_at: START,
    })
}

fn group() -> Applied<'static> {
    Applied::GroupChange(GroupChange {
        project: "shop",
        group_type: "company",
        group_name: "acme",
        event_time: START,
        received_at: START,
        changes: Vec::new(),
    })
}

fn place(offset: u64, index: u32) -> Place {
    Place { offset, index }
}

fn places(found: Vec<Found>) -> Vec<Place> {
    found.into_iter().map(|found| found.place).collect()
}

/// Where the events of `person` are, by reading everything.
fn places_of(case: &Case, persons: &[u64]) -> Vec<Place> {
    let mut reader = case.events.reader(case.events.start()).unwrap();
    let mut places = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        let batch = AppliedBatch::decode(&record.payload).unwrap();
        for (index, item) in (0..).zip(&batch.items) {
            if block::person(item).is_some_and(|person| persons.contains(&person.0)) {
                places.push(place(record.offset, index));
            }
        }
    }
    places
}

fn ids(persons: &[u64]) -> Vec<AmplitudeId> {
    persons.iter().copied().map(AmplitudeId).collect()
}

fn find_all(finder: &Finder, persons: &[u64], order: Order, limit: usize) -> Vec<Place> {
    places(finder.find_user(None, &ids(persons), 0..u64::MAX, order, limit).unwrap())
}

#[track_caller]
fn assert_finds_all(finder: &Finder, offsets: &[u64], first: usize) {
    for (record, offset) in offsets.iter().enumerate() {
        for index in 0..3 {
            let found = finder.find_event(&format!("e{}", record * 3 + index as usize), 9).unwrap();
            let there = (record >= first).then(|| place(*offset, index));
            assert_eq!(places(found), Vec::from_iter(there), "record {record}");
        }
    }
}

#[tokio::test]
async fn events_are_found_in_stored_blocks_in_the_open_one_and_beyond() {
    let case = Case::new(10);
    let mut offsets = case.append_events(0..19).await;
    let (finder, mut indexer) = case.indexed().await;
    offsets.extend(case.append_events(19..21).await);
    let view = finder.shared.view();
    assert!(view.heads.len() == 4 && view.open.items > 0 && view.open.to < case.events.end());
    assert_finds_all(&finder, &offsets, 0);
    assert_eq!(finder.find_event("e63", 9).unwrap(), []);
    indexer.catch_up().await.unwrap();
    assert_finds_all(&finder, &offsets, 0);
}

#[tokio::test]
async fn a_finder_that_has_indexed_nothing_finds_the_same() {
    let case = Case::new(10);
    let offsets = case.append_events(0..5).await;
    let (finder, _indexer) = case.open();
    assert_finds_all(&finder, &offsets, 0);
    assert_eq!(find_all(&finder, &[3], Order::OldestFirst, 99), places_of(&case, &[3]));
}

#[tokio::test]
async fn it_goes_on_after_reopening_where_it_stopped() {
    let case = Case::new(4);
    let mut offsets = case.append_events(0..90).await;
    let (finder, indexer) = case.indexed().await;
    let stop = CancellationToken::new();
    stop.cancel();
    indexer.run(stop.clone()).await;
    let stored = finder.shared.view();
    // More blocks than one entry of heads tells of.
    assert!(stored.heads.len() > 2 * block::HEADS_MAX);
    assert_eq!(stored.open.to, case.events.end());
    drop(finder);

    offsets.extend(case.append_events(90..95).await);
    let (finder, mut indexer) = case.open();
    let reopened = finder.shared.view();
    assert_eq!((reopened.heads, reopened.open.to), (stored.heads, stored.open.to));
    assert_finds_all(&finder, &offsets, 0);
    indexer.catch_up().await.unwrap();
    indexer.run(stop).await;
    drop(finder);
    let (finder, _indexer) = case.open();
    assert_eq!(finder.shared.view().open.to, case.events.end());
    assert_finds_all(&finder, &offsets, 0);
}

#[tokio::test]
async fn what_a_crash_left_unstored_is_indexed_again() {
    let case = Case::new(1_000);
    let offsets = case.append_events(0..20).await;
    let (finder, indexer) = case.indexed().await;
    finder.shared.store.close().await;
    drop(indexer);
    let (finder, mut indexer) = case.open();
    assert_eq!(finder.shared.view().open.to, case.events.start());
    indexer.catch_up().await.unwrap();
    assert_finds_all(&finder, &offsets, 0);
}

#[tokio::test]
async fn the_part_indexes_while_it_runs_and_stores_what_grows_old() {
    let case = Case::new(1_000);
    let (finder, indexer) = case.open();
    let stop = CancellationToken::new();
    let run = indexer.run(stop.clone());
    let drive = async {
        case.append_events(0..5).await;
        while finder.shared.view().open.to < case.events.end() {
            tokio::task::yield_now().await;
        }
        assert_eq!(finder.shared.view().heads.len(), 0);
        case.clock.advance(case.config.block_age_max);
        while finder.shared.view().heads.is_empty() {
            case.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(run, drive);
    assert_eq!(finder.shared.view().heads[0].to, case.events.end());
}

#[tokio::test]
async fn what_is_trimmed_is_forgotten_and_the_rest_found() {
    let case = Case::new(10);
    let offsets = case.append_events(0..40).await;
    let (finder, mut indexer) = case.indexed().await;
    let blocks = finder.shared.view().heads.len();
    let start = case.events.trim(offsets[20]).unwrap();
    let first = offsets.iter().position(|offset| *offset == start).unwrap();
    assert!(first > 0);
    // Before anybody told the finder, and after.
    assert_finds_all(&finder, &offsets, first);
    indexer.trim(start).unwrap();
    assert!(finder.shared.view().heads.len() < blocks);
    assert_finds_all(&finder, &offsets, first);
    assert_eq!(finder.at(place(offsets[0], 0)).unwrap(), None);
    assert_eq!(finder.offset_at(Timestamp::from_millis(0)).unwrap(), start);
}

#[tokio::test]
async fn a_finder_left_behind_by_trimming_goes_on_at_the_start_of_the_log() {
    let case = Case::new(10);
    case.append_events(0..8).await;
    let (finder, mut indexer) = case.indexed().await;
    let offsets = case.append_events(8..60).await;
    let start = case.events.trim(offsets[30]).unwrap();
    assert!(start > finder.shared.view().open.to);
    indexer.catch_up().await.unwrap();
    for persons in [&[2u64][..], &[1, 5]] {
        let expected = places_of(&case, persons);
        assert_eq!(find_all(&finder, persons, Order::OldestFirst, 999), expected);
    }
    indexer.seal().await.unwrap();
    finder.shared.store.close().await;
    let reopened = case.open().0.shared.view();
    assert_eq!(reopened.heads.first().unwrap().from, start);
    assert_eq!(reopened.open.to, case.events.end());
}

#[tokio::test]
async fn a_damaged_log_of_the_finder_is_built_again() {
    for spoil in [spoil_all as fn(&Path), spoil_start, spoil_middle] {
        let case = Case::new(4);
        let offsets = case.append_events(0..30).await;
        let (finder, mut indexer) = case.indexed().await;
        indexer.seal().await.unwrap();
        finder.shared.store.close().await;
        drop((finder, indexer));
        spoil(&case.finder_folder());
        let (finder, mut indexer) = case.open();
        assert_finds_all(&finder, &offsets, 0);
        indexer.begin_anew_where_damaged();
        indexer.catch_up().await.unwrap();
        assert_finds_all(&finder, &offsets, 0);
        assert!(finder.shared.view().heads.len() > 10);
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}

fn spoil_all(folder: &Path) {
    for segment in segments(folder) {
        fs::write(segment, b"these are other bytes").unwrap();
    }
}

fn spoil_start(folder: &Path) {
    spoil_at(folder, |_| 40);
}

fn spoil_middle(folder: &Path) {
    spoil_at(folder, |len| len / 2);
}

fn spoil_at(folder: &Path, at: fn(usize) -> usize) {
    for segment in segments(folder) {
        let mut bytes = fs::read(&segment).unwrap();
        let at = at(bytes.len());
        bytes[at..at + 4].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(segment, bytes).unwrap();
    }
}

#[tokio::test]
async fn damage_met_by_a_search_is_gone_around_and_built_again() {
    let case = Case::new(4);
    let offsets = case.append_events(0..30).await;
    let (finder, mut indexer) = case.indexed().await;
    // The log is open, so only a search can notice.
    spoil_middle(&case.finder_folder());
    assert_finds_all(&finder, &offsets, 0);
    assert_eq!(find_all(&finder, &[3], Order::NewestFirst, 99).len(), places_of(&case, &[3]).len());
    indexer.begin_anew_where_damaged();
    let view = finder.shared.view();
    assert_eq!((view.heads.len(), view.epoch), (0, 2));
    indexer.catch_up().await.unwrap();
    assert_finds_all(&finder, &offsets, 0);
    indexer.begin_anew_where_damaged();
    assert_eq!(finder.shared.view().epoch, 2);
}

#[tokio::test]
async fn foreign_entries_are_thrown_away() {
    let case = Case::new(4);
    let offsets = case.append_events(0..5).await;
    let folder = case.finder_folder();
    let clock = case.clock.clone();
    let (log, _) = Log::open(Arc::new(RealDisk), &folder, LogConfig::default(), clock).unwrap();
    for entry in [&b""[..], b"\x01h\xff\xff\xff", b"\x09h", b"\x01h\x01\x09\x09\x09"] {
        log.append(entry.to_vec()).await.unwrap();
    }
    log.close().await;
    let (finder, mut indexer) = case.open();
    indexer.catch_up().await.unwrap();
    assert_finds_all(&finder, &offsets, 0);
}

#[tokio::test]
async fn the_index_of_another_event_log_is_thrown_away() {
    for (records, first) in [(40, "x"), (5, "x")] {
        let mut case = Case::new(4);
        case.append_events(0..30).await;
        let (finder, mut indexer) = case.indexed().await;
        indexer.seal().await.unwrap();
        finder.shared.store.close().await;
        drop((finder, indexer));
        case.events = open_events(&case.folder.path().join("others"), case.clock.clone());
        case.append(START, vec![event(1, Some(first))]).await;
        let offsets = case.append_events(0..records).await;
        let (finder, _indexer) = case.indexed().await;
        assert_finds_all(&finder, &offsets, 0);
    }
}

#[tokio::test]
async fn what_was_erased_is_not_found_and_the_index_serves_on() {
    let case = Case::new(6);
    let offsets = case.append_events(0..10).await;
    let (finder, mut indexer) = case.indexed().await;
    indexer.seal().await.unwrap();
    // The events of person 1, among them `e29` in the last record of all.
    let mut rewritten = Vec::new();
    for offset in &offsets {
        let payload = case.events.read_at(*offset).unwrap();
        let mut batch = AppliedBatch::decode(&payload).unwrap();
        for item in &mut batch.items {
            if block::person(item) == Some(AmplitudeId(1)) {
                *item = Applied::Erased;
            }
        }
        rewritten.push((*offset, batch.encode()));
    }
    case.events.rewrite(&rewritten).unwrap();
    let assert_finds_the_rest = |finder: &Finder| {
        assert_eq!(find_all(finder, &[1], Order::OldestFirst, 99), []);
        assert_eq!(finder.find_event("e29", 9).unwrap(), []);
        for person in [2, 3, 4, 5, 6] {
            let found = find_all(finder, &[person], Order::OldestFirst, 99);
            assert_eq!(found, places_of(&case, &[person]));
        }
        let gone = finder.at(place(offsets[9], 2)).unwrap().unwrap();
        assert_eq!((gone.kind, gone.user_id), (FoundKind::Erased, None));
    };
    assert_finds_the_rest(&finder);
    finder.shared.store.close().await;
    drop((finder, indexer));
    let (finder, _indexer) = case.open();
    assert_eq!(finder.shared.view().open.to, case.events.end(), "it is not built again");
    assert_finds_the_rest(&finder);
}

#[tokio::test]
async fn an_id_that_shares_a_fingerprint_is_not_taken_for_another() {
    let mut seen = HashMap::new();
    let twins = (0..400_000).find_map(|n| {
        let id = format!("id-{n}");
        let twin = seen.insert(fingerprint_of_id(&id), id.clone())?;
        Some((twin, id))
    });
    let (one, other) = twins.unwrap();
    let case = Case::new(2);
    let first = case.append(START, vec![event(1, Some(&one)), event(2, None)]).await;
    let second = case.append(START, vec![event(3, None), event(4, Some(&other))]).await;
    let (finder, _indexer) = case.indexed().await;
    assert_eq!(finder.shared.view().heads.len(), 2);
    assert_eq!(places(finder.find_event(&one, 9).unwrap()), [place(first, 0)]);
    assert_eq!(places(finder.find_event(&other, 9).unwrap()), [place(second, 1)]);
}

#[tokio::test]
async fn a_user_is_found_in_either_order_within_limits_and_offsets() {
    let case = Case::new(10);
    let offsets = case.append_events(0..50).await;
    let (finder, _indexer) = case.indexed().await;
    case.append_events(50..53).await;
    for persons in [&[5u64][..], &[2, 3, 6], &[1, 2, 3, 4, 5, 6], &[77], &[]] {
        let expected = places_of(&case, persons);
        let reversed: Vec<Place> = expected.iter().rev().copied().collect();
        for limit in [0, 1, 5, 999] {
            let until = limit.min(expected.len());
            let oldest = find_all(&finder, persons, Order::OldestFirst, limit);
            assert_eq!(oldest, expected[..until]);
            let newest = find_all(&finder, persons, Order::NewestFirst, limit);
            assert_eq!(newest, reversed[..until]);
        }
        // Neither end has to be where a record begins.
        for range in [offsets[3]..offsets[3], offsets[3]..offsets[9], offsets[3] + 1..u64::MAX] {
            let order = Order::OldestFirst;
            let found = finder.find_user(None, &ids(persons), range.clone(), order, 999).unwrap();
            let mut inside = expected.clone();
            inside.retain(|place| range.contains(&place.offset));
            assert_eq!(places(found), inside);
        }
    }
    let shop = finder.find_user(Some("shop"), &ids(&[3, 4]), 0..u64::MAX, Order::OldestFirst, 999);
    assert_eq!(places(shop.unwrap()), places_of(&case, &[4]));
}

#[tokio::test]
async fn a_user_is_found_with_the_anonymous_persons_that_became_it() {
    for block_items_max in [1, 2, 100] {
        for indexed in [true, false] {
            let case = Case::new(block_items_max);
            case.append(START, vec![event(10, None), event(12, None)]).await;
            case.append(START, vec![merge(12, 10), event(30, None), group()]).await;
            case.append(START, vec![event(10, None), change(20, "i")]).await;
            case.append(START, vec![merge(10, 20), event(20, None)]).await;
            case.append(START, vec![event(30, None), merge(31, 30)]).await;
            let (finder, mut indexer) = case.open();
            if indexed {
                indexer.catch_up().await.unwrap();
            }
            let everything = places_of(&case, &[10, 12, 20]);
            assert_eq!(everything.len(), 7);
            assert_eq!(find_all(&finder, &[20], Order::OldestFirst, 99), everything);
            // The anonymous person's own items, and how it ended.
            let mut ended = places_of(&case, &[10, 12]);
            ended.insert(4, everything[5]);
            assert_eq!(find_all(&finder, &[10], Order::OldestFirst, 99), ended);
        }
    }
}

#[tokio::test]
async fn ids_lead_to_persons_in_every_project_and_to_what_these_became() {
    let case = Case::new(10);
    let people = People::open(&case.state).unwrap();
    let mut batch = case.state.batch();
    people.link(&mut batch, &Link::of("shop", IdKind::User, "ana"), Some(AmplitudeId(1)));
    people.link(&mut batch, &Link::of("shop", IdKind::Device, "ana"), Some(AmplitudeId(2)));
    people.link(&mut batch, &Link::of("app", IdKind::User, "ana"), Some(AmplitudeId(3)));
    let merged = Person { merged_into: Some(AmplitudeId(4)), ..Person::default() };
    let _stored = people.put(&mut batch, AmplitudeId(2), &merged);
    batch.commit().unwrap();
    let (finder, _indexer) = case.open();
    let persons = |projects: &[&str], id| finder.persons(projects, id).unwrap();
    assert_eq!(persons(&["shop", "app"], "ana"), ids(&[1, 2, 4, 3]));
    assert_eq!(persons(&["app"], "ana"), ids(&[3]));
    assert_eq!(persons(&["shop"], "bob"), []);
}

#[tokio::test]
async fn what_is_found_says_what_it_is() {
    let case = Case::new(10);
    let items = vec![change(20, "i"), event(20, Some("i")), merge(5, 20), group()];
    let offset = case.append(START + 5, items).await;
    let (finder, _indexer) = case.indexed().await;
    let found = Found {
        place: place(offset, 1),
        kind: FoundKind::Event,
        name: "Viewed".into(),
        project: "shop".into(),
        amplitude_id: Some(AmplitudeId(20)),
        user_id: Some("ana".into()),
        device_id: Some("d".into()),
        insert_id: Some("i".into()),
        event_time: Timestamp::from_millis(START),
        received_at: Timestamp::from_millis(START),
    };
    let both = finder.find_event("i", 9).unwrap();
    assert_eq!(both[1], found);
    assert_eq!((both[0].kind, &*both[0].name), (FoundKind::UserChange, "user update"));
    assert_eq!(finder.find_event("i", 1).unwrap(), both[1..]);
    let merged = finder.at(place(offset, 2)).unwrap().unwrap();
    assert_eq!((merged.kind, merged.amplitude_id), (FoundKind::Merge, Some(AmplitudeId(20))));
    let group = finder.at(place(offset, 3)).unwrap().unwrap();
    assert_eq!((group.kind, group.amplitude_id), (FoundKind::GroupChange, None));

    assert_eq!(finder.look_up("i", 9).unwrap(), both);
    assert_eq!(finder.look_up(&format!("{offset}-1"), 9).unwrap(), [found]);
    for nowhere in [format!("{offset}-4"), format!("{}-0", offset + 1), "9999999-0".into()] {
        assert_eq!(finder.look_up(&nowhere, 9).unwrap(), []);
    }
}

#[tokio::test]
async fn damage_to_the_event_log_hides_only_what_is_damaged() {
    let case = Case::new(1_000);
    let offsets = case.append_events(0..4).await;
    let segment = segments(&case.folder.path().join("events")).pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = usize::try_from(offsets[1]).unwrap() + 32 + 30;
    bytes[at] ^= 0x55;
    fs::write(&segment, bytes).unwrap();
    let (finder, mut indexer) = case.open();
    for _ in 0..2 {
        for (id, offset) in [("e2", Some(offsets[0])), ("e3", None), ("e6", Some(offsets[2]))] {
            let found = finder.find_event(id, 9).unwrap();
            assert_eq!(found.first().map(|found| found.place.offset), offset, "{id}");
        }
        indexer.catch_up().await.unwrap();
        assert_eq!(finder.shared.view().open.to, case.events.end());
    }
}

/// A log of records received at `times`, of which `indexed` are indexed in blocks of `block`.
fn timed(times: &[i64], indexed: usize, block: u32) -> (Case, Finder, Vec<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let case = Case::new(block);
        let (finder, mut indexer) = case.open();
        let mut offsets = Vec::new();
        for (n, time) in times.iter().enumerate() {
            if n == indexed {
                indexer.catch_up().await.unwrap();
            }
            let items = vec![event(1, Some("i")); n % 3];
            offsets.push(case.append(*time, items).await);
        }
        (case, finder, offsets)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_time_leads_to_the_first_record_received_then_or_later(
        mut times in prop::collection::vec(-20i64..20, 0..40),
        indexed in 0usize..50,
        block in 1u32..9,
        trimmed in 0usize..40,
    ) {
        times.sort_unstable();
        let (case, finder, offsets) = timed(&times, indexed, block);
        if let Some(offset) = offsets.get(trimmed) {
            case.events.trim(*offset).unwrap();
        }
        let (start, end) = (case.events.start(), case.events.end());
        let kept: Vec<(u64, i64)> = offsets
            .iter()
            .copied()
            .zip(times.iter().copied())
            .filter(|(offset, _)| *offset >= start)
            .collect();
        let mut last = start;
        for at in -21..21 {
            let first = kept.iter().position(|(_, time)| *time >= at);
            let expected = first.map_or(end, |first| kept[first].0);
            let offset = finder.offset_at(Timestamp::from_millis(at)).unwrap();
            prop_assert_eq!(offset, expected, "at {}", at);
            prop_assert!(offset >= last, "later times lead further");
            last = offset;

            let before = first.unwrap_or(kept.len()).checked_sub(1);
            let before = before.map_or(start, |before| kept[before].0);
            let from = Some(Timestamp::from_millis(at));
            prop_assert_eq!(finder.received_between(from, None).unwrap(), before..end);
            prop_assert_eq!(finder.received_between(None, from).unwrap(), start..expected);
        }
    }
}

mod entries {
    use super::super::block::*;
    use super::*;

    fn block_of(records: u64, items: u64) -> Block {
        let mut block = Block::at(5_000_000_000);
        for record in 0..records {
            let ids: Vec<String> =
                (0..items).map(|item| format!("{:x}", (record * items + item) << 20)).collect();
            let intake = IntakeRange { from: Place::default(), to: Place::default() };
            let events = ids.iter().zip(0..).map(|(id, item)| event(record ^ item, Some(id)));
            let received_at = START + i64::try_from(record).unwrap() * 40;
            let batch = AppliedBatch { intake, received_at, items: events.collect() };
            let size = items * 300;
            block.push(block.to, block.to + size, &batch);
        }
        block
    }

    #[test]
    fn an_item_costs_little_more_than_its_two_fingerprints() {
        // Hundredths of a byte.
        let per_item = |records, items| {
            let bytes: usize = block_of(records, items).entries().iter().map(Vec::len).sum();
            bytes as u64 * 100 / (records * items)
        };
        let (busy, quiet) = (per_item(656, 100), per_item(65_536, 1));
        insta::assert_snapshot!(format!("{busy} {quiet}"), @"805 1200");
    }

    #[test]
    fn rows_and_columns_read_back() {
        let block = block_of(50, 3);
        let entries = block.entries();
        let head = block.head(&[1, 2, 3]).unwrap();
        assert_eq!(decode_rows(&entries[2], &head).unwrap(), block.rows);
        assert_eq!(decode_column(Kind::Ids, &entries[0], &head).unwrap(), block.ids);
        for item in 0..block.items {
            let row = &block.rows[item as usize / 3];
            let expected = place(row.offset, item % 3);
            assert_eq!(place_of(&block.rows, item), Some(expected));
        }
        assert!(decode_rows(&entries[1], &head).is_err());
        assert!(decode_column(Kind::Persons, &entries[0], &head).is_err());
        assert!(decode_rows(&entries[2], &Head { items: 7, ..head }).is_err());
        assert_eq!(Block::at(7).head(&[1, 2, 3]), None);
    }

    /// Fingerprints are stored: another function is another format.
    #[test]
    fn fingerprints_are_what_they_were() {
        insta::assert_snapshot!(
            format!("{:08x} {:08x}", fingerprint_of_id("i-1"), fingerprint_of_person(AmplitudeId(1))),
            @"e4fc3529 100b05e5"
        );
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(mut bytes: Vec<u8>, items: u32, from: u64) {
            let head = Head { from, items, ..block_of(1, 1).head(&[1, 2, 3]).unwrap() };
            for start in [None, Some(b'r'), Some(b'h'), Some(b'm'), Some(b'i')] {
                if let Some(kind) = start {
                    bytes.splice(0..0, [1, kind]);
                }
                drop(decode_rows(&bytes, &head));
                drop(decode_column(Kind::Ids, &bytes, &head));
                drop(decode::<Heads>(Kind::Heads, &bytes));
                drop(decode::<Vec<MergeRow>>(Kind::Merges, &bytes));
            }
        }

        #[test]
        fn needles_find_what_comparing_finds(
            values in prop::collection::vec(0u32..200_000, 0..200),
            extra in prop::collection::vec(0u32..200_000, 0..4),
            step in 1usize..5,
        ) {
            let wanted: Vec<u32> = values.iter().step_by(step).copied().chain(extra).collect();
            let column: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let expected: Vec<u32> = (0u32..)
                .zip(&values)
                .filter(|(_, value)| wanted.contains(value))
                .map(|(item, _)| item)
                .collect();
            prop_assert_eq!(Needles::new(wanted).find(&column), expected);
        }
    }
}
