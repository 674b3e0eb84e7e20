//! Erasure through its boundary: traffic of several people in, real logs and files looked at after.

mod currents;

use super::*;
use crate::applier::{Applier, ApplierConfig};
use isthmus_core::record::{
    Applied, Command, Erase, Erasure, IntakeEvent, IntakeRange, Merge, Source, UserProperties,
};
use isthmus_core::seam::{ManualClock, Random, SeededRandom};
use isthmus_core::{AmplitudeId, ByteSize, Place, Timestamp};
use isthmus_log::{FakeDisk, LogConfig, RealDisk, Writer};
use isthmus_state::people::{IdKind, People, Person, Values};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const START: i64 = 1_770_000_000_000;

struct Bench {
    folder: tempfile::TempDir,
    intake: Log,
    events: Log,
    state: State,
    clock: Arc<ManualClock>,
}

/// Items of the event log by place, with the properties they refer to.
type Items = BTreeMap<Place, (Option<AmplitudeId>, String)>;

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START)));
        let config = LogConfig { segment_max: ByteSize::kib(8), ..LogConfig::default() };
        let open = |name: &str| {
            let folder = folder.path().join(name);
            Log::open(Arc::new(RealDisk), &folder, config, clock.clone()).unwrap().0
        };
        let (intake, events) = (open("intake"), open("events"));
        let state = State::open(&folder.path().join("state")).unwrap();
        Self { folder, intake, events, state, clock }
    }

    async fn accept(&self, events: Vec<IntakeEvent<'_>>, commands: Vec<Command<'_>>) {
        self.intake.append(Self::request(events, commands)).await.unwrap();
    }

    fn request(events: Vec<IntakeEvent<'_>>, commands: Vec<Command<'_>>) -> Vec<u8> {
        let batch = IntakeBatch {
            project: "shop",
            source: Source::HttpApi,
            received_at: START,
            client_upload_time: None,
            remote_address: Some("203.0.113.7"),
            events,
            commands,
            currents: None,
        };
        batch.encode()
    }

    async fn apply(&self) {
        let (intake, events) = (self.intake.clone(), self.events.clone());
        let config = ApplierConfig::default();
        let applier = Applier::open(
            &self.state,
            intake,
            events,
            self.clock.clone(),
            &SeededRandom::new(1),
            config,
        );
        let stop = CancellationToken::new();
        stop.cancel();
        applier.unwrap().run(stop).await.unwrap();
    }

    /// Days of traffic of seven people on five devices, some of them shared in turn.
    async fn traffic(&self, seed: u64, requests: u64) {
        let random = SeededRandom::new(seed);
        let pick = |below: u64| usize::try_from(random.below(below)).unwrap();
        let users =
            ["ana", "bo", "cy", "dee", "eli", "fay"].map(|name| format!("{name}@example.org"));
        let mut records = Vec::new();
        for request in 0..requests {
            let texts: Vec<_> = (0..=pick(5))
                .map(|event| {
                    let user = users.get(pick(8));
                    let whose = user.and_then(|user| user.get(..3)).unwrap_or("nobody");
                    let device = format!("{whose}-phone-{}", pick(2));
                    let note = format!(r#"{{"note":"{whose} wrote {}"}}"#, random.next_u64());
                    let set = format!(
                        r#"{{"$set":{{"city":"{whose}ville","mood":{}}}}}"#,
                        random.below(3)
                    );
                    let insert_id = format!("{whose}-{request}-{event}");
                    // Some are anonymous before they are known, and now and then later.
                    let user = user.filter(|_| pick(4) > 0);
                    (user, device, note, set, insert_id)
                })
                .collect();
            let events = texts.iter().map(|(user, device, note, set, insert_id)| IntakeEvent {
                event_type: if pick(4) == 0 { "$identify" } else { "Viewed" },
                user_id: user.map(String::as_str),
                device_id: (user.is_none() || pick(3) > 0).then_some(device),
                insert_id: Some(insert_id),
                event_properties: Some(note),
                user_properties: (pick(3) == 0).then_some(set),
                ..IntakeEvent::default()
            });
            records.push(Self::request(events.collect(), Vec::new()));
        }
        self.intake.append_many(records).await.unwrap();
    }

    /// Everybody behind `user_id`, with the devices whose names say so.
    fn family(&self, user_id: &str, devices: &[&str]) -> Forgotten {
        let people = People::open(&self.state).unwrap();
        let mut users =
            BTreeSet::from([people.find("shop", IdKind::User, user_id).unwrap().unwrap()]);
        for (person, _) in
            self.items().into_values().filter_map(|(person, told)| Some((person?, told)))
        {
            let known = people.get(person).unwrap().unwrap();
            if known.merged_into.is_some_and(|into| users.contains(&into)) {
                users.insert(person);
            }
        }
        Forgotten::new().with("shop", users, [user_id], devices.iter().copied())
    }

    fn items(&self) -> Items {
        let mut reader = self.events.reader(self.events.start()).unwrap();
        let mut payloads = BTreeMap::new();
        while let Some(record) = reader.next().unwrap() {
            payloads.insert(record.offset, record.payload);
        }
        let batches: BTreeMap<u64, Vec<Applied<'_>>> = payloads
            .iter()
            .map(|(offset, payload)| (*offset, AppliedBatch::decode(payload).unwrap().items))
            .collect();
        let places = batches.iter().flat_map(|(offset, items)| {
            (0..).zip(items).map(|(index, item)| (Place { offset: *offset, index }, item))
        });
        let mut items = Items::new();
        for (place, item) in places {
            let mut told = format!("{item:?}");
            if let UserProperties::At(source) = item.user_properties() {
                let source = &batches[&source.offset][source.index as usize];
                let whose = person(source);
                assert_eq!(whose, person(item), "properties come from an item of the same person");
                let UserProperties::Inline(text) = source.user_properties() else {
                    panic!("a reference of {told} leads to {source:?}");
                };
                told.push_str(text);
            }
            items.insert(place, (person(item), told));
        }
        items
    }

    /// Erases from the logs those whom state has forgotten.
    fn erase(&self, forgotten: &Forgotten) -> (Sweep, Sweep) {
        let people = People::open(&self.state).unwrap();
        let mut batch = self.state.batch();
        for user in &forgotten.users {
            let known = people.get(*user).unwrap().unwrap();
            let nothing = Person { custom: Values::default(), snapshot: None, ..known };
            let _stored = people.put(&mut batch, *user, &nothing);
        }
        batch.commit().unwrap();
        let reach = Reach::of(&self.state).unwrap();
        let go_on = |_: &Sweep| ControlFlow::Continue(());
        let events = erase_events(&self.events, 0..reach.events, forgotten, go_on).unwrap();
        let intake = erase_intake(&self.intake, 0..reach.intake, forgotten, go_on).unwrap();
        (events, intake)
    }

    /// Where `text` is found: in files as they are, or in records as they are read.
    fn finds(&self, text: &str) -> Vec<String> {
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
        let mut found = Vec::new();
        for (name, log) in [("events", &self.events), ("intake", &self.intake)] {
            for entry in std::fs::read_dir(self.folder.path().join(name)).unwrap() {
                let path = entry.unwrap().path();
                if holds(&std::fs::read(&path).unwrap()) {
                    found.push(path.display().to_string());
                }
            }
            let mut reader = log.reader(log.start()).unwrap();
            while let Some(record) = reader.next().unwrap() {
                if holds(&record.payload) {
                    found.push(format!("{name} at {}", record.offset));
                }
            }
        }
        found
    }
}

fn person(item: &Applied<'_>) -> Option<AmplitudeId> {
    match item {
        Applied::Event(event) => event.user.somebody(),
        Applied::UserChange(change) => Some(change.user),
        Applied::Merge(merge) => Some(merge.into),
        Applied::Identified(identified) => Some(identified.user),
        Applied::Identify(identify) => identify.user.somebody(),
        Applied::GroupChange(_) | Applied::Erasure(_) | Applied::Erased => None,
    }
}

fn of(user_id: &'static str, event_type: &'static str) -> IntakeEvent<'static> {
    IntakeEvent { event_type, user_id: Some(user_id), ..IntakeEvent::default() }
}

/// The intake log's events and commands, one a line.
fn told(intake: &Log) -> Vec<String> {
    let mut reader = intake.reader(0).unwrap();
    let mut told = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        let batch = IntakeBatch::decode(&record.payload).unwrap();
        for event in &batch.events {
            let whose = event.user_id.or(event.device_id).unwrap_or("-");
            told.push(format!("{} {whose} {}", event.event_type, event.groups.unwrap_or("-")));
        }
        told.extend(batch.commands.iter().map(|command| format!("{command:?}")));
        told.extend(batch.remote_address.map(str::to_owned));
    }
    told
}

#[tokio::test]
async fn nothing_of_a_forgotten_person_is_left_and_everybody_else_is_as_before() {
    for seed in 0..3 {
        let bench = Bench::new();
        for round in 0..6 {
            bench.traffic(10 * seed + round, 50).await;
            bench.apply().await;
        }
        assert!(bench.events.segments().len() > 2 && bench.intake.segments().len() > 2);
        let forgotten = bench.family("ana@example.org", &["ana-phone-0", "ana-phone-1"]);
        let before = bench.items();
        assert!(!bench.finds("ana-phone").is_empty() && !bench.finds("anaville").is_empty());
        let (end, intake_end) = (bench.events.end(), bench.intake.end());

        let (events, intake) = bench.erase(&forgotten);
        assert!(events.items > 50 && intake.items > 50, "{events:?} {intake:?}");
        let derived = isthmus_amplitude::derived_device_id("ana@example.org");
        for text in ["ana@", "ana-", "anaville", "ana wrote", derived.as_str()] {
            assert_eq!(bench.finds(text), Vec::<String>::new(), "{text}, seed {seed}");
        }
        let after = bench.items();
        assert_eq!(after.len(), before.len(), "indexes stay");
        let mut erased = 0;
        for ((place, before), (same, after)) in before.iter().zip(&after) {
            assert_eq!(place, same);
            if before.1.contains("ana@") || before.1.contains("ana-") {
                assert_eq!(after.1, "Erased");
                erased += 1;
            } else {
                assert_eq!(before, after, "at {place}, seed {seed}");
            }
        }
        assert_eq!(erased, events.items);
        assert_eq!((bench.events.end(), bench.intake.end()), (end, intake_end));

        let (again, intake_again) = bench.erase(&forgotten);
        assert_eq!((again.records, intake_again.records), (0, 0), "there is nothing left to find");
        bench.traffic(seed + 1_000, 20).await;
        bench.apply().await;
        assert!(bench.items().len() > after.len(), "the applier goes on");
    }
}

#[tokio::test]
async fn state_is_rebuilt_over_what_was_erased_and_everybody_else_is_who_they_were() {
    for seed in 0..3 {
        let mut bench = Bench::new();
        for round in 0..4 {
            bench.traffic(10 * seed + round, 15).await;
            bench.apply().await;
        }
        for name in ["ana", "fay"] {
            let devices = [format!("{name}-phone-0"), format!("{name}-phone-1")];
            let devices: Vec<_> = devices.iter().map(String::as_str).collect();
            bench.erase(&bench.family(&format!("{name}@example.org"), &devices));
        }
        let before = bench.items();
        let people = People::open(&bench.state).unwrap();
        let find = |people: &People| {
            let id = people.find("shop", IdKind::User, "bo@example.org").unwrap().unwrap();
            people.get(id).unwrap().map(|known| (id, known))
        };
        let bo = find(&people);
        bench.state = State::open(&bench.folder.path().join("another-state")).unwrap();
        bench.apply().await;
        let people = People::open(&bench.state).unwrap();
        assert_eq!(find(&people), bo, "seed {seed}");
        assert_eq!(people.find("shop", IdKind::User, "ana@example.org").unwrap(), None);
        assert_eq!(bench.items(), before, "nothing is written twice, seed {seed}");
    }
}

#[tokio::test]
async fn a_run_that_is_stopped_goes_on_where_it_was() {
    let bench = Bench::new();
    bench.traffic(1, 40).await;
    // Letters that LZ4 cannot pack, so that they take as many bytes on disk.
    let random = SeededRandom::new(2);
    let letter = |byte: u8| char::from(b'0' + byte % 42);
    let letters = (0..90_000).flat_map(|_| random.next_u64().to_le_bytes()).map(letter);
    let large: String = letters.collect();
    for _ in 0..10 {
        let event = IntakeEvent { event_properties: Some(&large), ..of("bo@example.org", "Large") };
        bench.accept(vec![event, of("ana@example.org", "Viewed")], Vec::new()).await;
    }
    let forgotten = Forgotten::new().with("shop", [], ["ana@example.org"], []);
    let (mut from, mut runs, mut items) = (0, 0, 0);
    let end = bench.intake.end();
    while from < end {
        let stop = |_: &Sweep| ControlFlow::Break(());
        let sweep = erase_intake(&bench.intake, from..end, &forgotten, stop).unwrap();
        assert!(sweep.searched_to > from && sweep.first.is_none_or(|first| first >= from));
        (from, runs, items) = (sweep.searched_to, runs + 1, items + sweep.items);
    }
    assert!(runs > 1 && items > 10, "{runs} runs, {items} items");
    assert_eq!(bench.finds("ana@").iter().filter(|at| at.contains("intake")).count(), 0);
}

#[tokio::test]
async fn what_state_does_not_hold_for_good_is_left_alone() {
    let bench = Bench::new();
    bench.traffic(3, 10).await;
    assert_eq!(Reach::of(&bench.state).unwrap(), Reach::default());
    bench.apply().await;
    let forgotten = bench.family("ana@example.org", &["ana-phone-0", "ana-phone-1"]);
    let reach = Reach::of(&bench.state).unwrap();
    assert_eq!(reach, Reach { events: bench.events.end(), intake: bench.intake.end() });
    bench.traffic(4, 10).await;
    let late = bench.intake.end() - reach.intake;
    bench.erase(&forgotten);
    let found = bench.finds("ana@");
    assert!(late > 0 && found.iter().any(|at| at.contains("intake")), "{found:?}");
    assert!(found.iter().all(|at| !at.contains("events")), "{found:?}");
    bench.apply().await;
    bench.erase(&bench.family("ana@example.org", &["ana-phone-0", "ana-phone-1"]));
    assert_eq!(bench.finds("ana@"), Vec::<String>::new());
}

#[tokio::test]
async fn of_the_intake_log_only_what_names_the_person_is_blanked() {
    let bench = Bench::new();
    let device = |device_id| IntakeEvent {
        event_type: "Viewed",
        device_id: Some(device_id),
        ..IntakeEvent::default()
    };
    let group = IntakeEvent {
        groups: Some(r#"{"company":"acme"}"#),
        group_properties: Some(r#"{"size":12}"#),
        ..of("ana", "$groupidentify")
    };
    let borrowed = IntakeEvent { device_id: Some("tablet"), ..of("bo", "Viewed") };
    bench.accept(vec![of("ana", "Viewed"), device("tablet"), group], Vec::new()).await;
    bench.accept(vec![of("ana", "Viewed"), of("bo", "Viewed"), borrowed], Vec::new()).await;
    let erase = Erase { user: AmplitudeId(1), request: "r1", refuse_later: false };
    let commands = vec![
        Command::Map { user_id: "ana", global_user_id: Some("global") },
        Command::Map { user_id: "bo", global_user_id: Some("ana") },
        Command::Map { user_id: "bo", global_user_id: None },
        Command::Erase(erase),
    ];
    bench.accept(Vec::new(), commands).await;
    let end = bench.intake.end();
    let elsewhere = Forgotten::new().with("other", [], ["ana"], ["tablet"]);
    let before = told(&bench.intake);
    let go_on = |_: &Sweep| ControlFlow::Continue(());
    assert_eq!(erase_intake(&bench.intake, 0..end, &elsewhere, go_on).unwrap().items, 0);
    assert_eq!(told(&bench.intake), before, "ids are those of one project");

    let forgotten = Forgotten::new().with("shop", [AmplitudeId(1)], ["ana"], ["tablet"]);
    let sweep = erase_intake(&bench.intake, 0..end, &forgotten, go_on).unwrap();
    assert_eq!((sweep.records, sweep.items), (3, 6));
    insta::assert_snapshot!(told(&bench.intake).join("\n"), @r#"
    $erased - -
    $erased - -
    $groupidentify - {"company":"acme"}
    $erased - -
    Viewed bo -
    Viewed bo -
    203.0.113.7
    Map { user_id: "", global_user_id: None }
    Map { user_id: "", global_user_id: None }
    Map { user_id: "bo", global_user_id: None }
    Erase(Erase { user: AmplitudeId(1), request: "r1", refuse_later: false })
    "#);
}

#[tokio::test]
async fn the_order_to_forget_stays_until_it_is_asked_for_too() {
    let bench = Bench::new();
    let erasure = |user, user_id| {
        Applied::Erasure(Erasure {
            project: "shop",
            request: "r1",
            users: vec![AmplitudeId(user), AmplitudeId(user + 1)],
            user_id: Some(user_id),
            device_ids: vec!["tablet"],
            braze_ids: Vec::new(),
            user_properties: None,
            received_at: START,
        })
    };
    let intake = IntakeRange { from: Place::default(), to: Place::default() };
    let items = vec![erasure(1, "ana"), erasure(5, "bo")];
    let batch = AppliedBatch { intake, received_at: START, items };
    bench.events.append(batch.encode()).await.unwrap();
    let go_on = |_: &Sweep| ControlFlow::Continue(());
    let forgotten = Forgotten::new().with("shop", [AmplitudeId(2)], ["ana"], []);
    let end = bench.events.end();
    assert_eq!(erase_events(&bench.events, 0..end, &forgotten, go_on).unwrap().items, 0);
    let forgotten = forgotten.and_their_erasures();
    assert_eq!(erase_events(&bench.events, 0..end, &forgotten, go_on).unwrap().items, 1);
    assert!(bench.finds("ana").is_empty() && !bench.finds("bo").is_empty());
}

#[tokio::test]
async fn an_event_that_a_client_calls_erased_is_an_event() {
    let bench = Bench::new();
    let event = IntakeEvent { insert_id: Some("i1"), ..of("ana", "$erased") };
    bench.accept(vec![event, IntakeEvent::erased()], Vec::new()).await;
    bench.apply().await;
    let items = bench.items();
    let told: Vec<_> = items.values().map(|(_, told)| told.contains(r#""$erased""#)).collect();
    assert_eq!(told, [false, true], "the person is seen, then the event");
}

#[tokio::test]
async fn damage_is_passed_over_and_counted() {
    let bench = Bench::new();
    bench.traffic(5, 60).await;
    bench.apply().await;
    let forgotten = bench.family("ana@example.org", &["ana-phone-0", "ana-phone-1"]);
    let damaged = bench.intake.segments()[0];
    let path: &Path = &bench.folder.path().join("intake").join(format!("{damaged:020}.log"));
    let mut bytes = std::fs::read(path).unwrap();
    bytes[32 + 30] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let next = bench.intake.next_valid_after(0).unwrap().unwrap();
    let (_, intake) = bench.erase(&forgotten);
    assert_eq!(intake.damaged_bytes, next);
    assert!(intake.first.unwrap() >= next && intake.items > 10, "{intake:?}");
}

/// A log on a fake disk; appends are written by the writer's next step.
fn open_fake(disk: &FakeDisk) -> (Log, Writer) {
    let config = LogConfig { segment_max: ByteSize::kib(4), ..LogConfig::default() };
    let clock = Arc::new(ManualClock::default());
    let opened = Log::open_stepped(Arc::new(disk.clone()), Path::new("events"), config, clock);
    let (log, writer, _) = opened.unwrap();
    (log, writer)
}

/// Merges of `ana` with one device after the other, among those of `bo`, in forty records.
async fn merges(disk: &FakeDisk) {
    let (log, mut writer) = open_fake(disk);
    let intake = IntakeRange { from: Place::default(), to: Place::default() };
    let names = ["ana", "bo"];
    for record in 0..40 {
        let devices: Vec<_> = names.iter().map(|name| format!("{name}-phone-{record}")).collect();
        let items = names.iter().zip(&devices).zip(1..).map(|((user_id, device_id), into)| {
            Applied::Merge(Merge {
                project: "shop",
                anonymous: AmplitudeId(100 + record),
                into: AmplitudeId(into),
                user_id,
                device_id,
                event_time: START,
                received_at: START,
            })
        });
        let batch = AppliedBatch { intake, received_at: START, items: items.collect() };
        let append = async { log.append(batch.encode()).await.unwrap() };
        let write = async { writer.step() };
        assert_eq!(tokio::join!(append, write).1, 1);
    }
}

#[tokio::test]
async fn power_lost_at_any_step_of_a_run_leaves_nothing_that_the_next_run_does_not_erase() {
    let origin = FakeDisk::new(0);
    merges(&origin).await;
    let forgotten = Forgotten::new().with("shop", [AmplitudeId(1)], ["ana"], []);
    let go_on = |_: &Sweep| ControlFlow::Continue(());
    for (seed, changes) in (0..12).flat_map(|seed| (0..24).map(move |changes| (seed, changes))) {
        let disk = origin.copy(seed);
        let (log, writer) = open_fake(&disk);
        disk.lose_power_after(changes);
        let finished = erase_events(&log, 0..log.end(), &forgotten, go_on).is_ok();
        disk.crash();
        drop((log, writer));

        let (log, _writer) = open_fake(&disk);
        let swept = erase_events(&log, 0..log.end(), &forgotten, go_on).unwrap();
        assert!(!finished || swept.records == 0, "what was reported is durable");
        let (mut reader, mut records) = (log.reader(0).unwrap(), 0);
        while let Some(record) = reader.next().unwrap() {
            let items = AppliedBatch::decode(&record.payload).unwrap().items;
            assert!(
                matches!(&items[..], [Applied::Erased, Applied::Merge(bo)] if bo.user_id == "bo")
            );
            records += 1;
        }
        assert_eq!(records, 40, "seed {seed}, {changes} changes");
        for path in disk.paths() {
            let bytes = disk.bytes(&path).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("ana"), "{}", path.display());
        }
    }
}
