//! The applier through its boundary: intake records in, event log and persons out.

mod currents;

use super::*;
use isthmus_core::record::{Command, Erase, IntakeEvent, Source, UserProperties};
use isthmus_core::seam::{ManualClock, SeededRandom};
use isthmus_core::{Place, Timestamp};
use isthmus_log::{LogConfig, RealDisk};
use isthmus_state::past_values::PastValues;
use isthmus_state::people::{IdKind, People};
use isthmus_state::user_map::UserMap;
use proptest::prelude::*;
use std::fmt::Write;
use std::path::Path;

const START: i64 = 1_770_000_000_000;
const WEEK: i64 = 7 * 86_400_000;

struct Bench {
    folder: tempfile::TempDir,
    intake: Log,
    events: Log,
    state: State,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        Self::with_state(tempfile::tempdir().unwrap(), "state")
    }

    fn with_state(folder: tempfile::TempDir, state_folder: &'static str) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START)));
        let open = |name: &str| open_log(&folder.path().join(name), clock.clone());
        let (intake, events) = (open("intake"), open("events"));
        let state = State::open(&folder.path().join(state_folder)).unwrap();
        Self { folder, intake, events, state, clock }
    }

    async fn reopen(self, state_folder: &'static str) -> Self {
        let Self { folder, intake, events, state, .. } = self;
        drop(state);
        intake.close().await;
        events.close().await;
        Self::with_state(folder, state_folder)
    }

    async fn accept(&self, events: &[IntakeEvent<'_>]) {
        self.accept_at(START, None, events).await;
    }

    async fn accept_at(&self, received_at: i64, uploaded: Option<i64>, events: &[IntakeEvent<'_>]) {
        let batch = IntakeBatch {
            received_at,
            client_upload_time: uploaded,
            events: events.to_vec(),
            ..batch()
        };
        self.intake.append(batch.encode()).await.unwrap();
    }

    async fn command(&self, command: Command<'_>) {
        let batch = IntakeBatch { source: Source::Command, commands: vec![command], ..batch() };
        self.intake.append(batch.encode()).await.unwrap();
    }

    async fn erase(&self, user: u64, refuse_later: bool) {
        let user = isthmus_core::AmplitudeId(user);
        self.command(Command::Erase(Erase { user, request: "e1", refuse_later })).await;
    }

    fn open_applier(&self) -> Applier {
        let (intake, events) = (self.intake.clone(), self.events.clone());
        let config = ApplierConfig::default();
        Applier::open(
            &self.state,
            intake,
            events,
            self.clock.clone(),
            &SeededRandom::new(1),
            config,
        )
        .unwrap()
    }

    async fn apply(&self) {
        let stop = CancellationToken::new();
        stop.cancel();
        self.open_applier().run(stop).await.unwrap();
    }

    /// Every item of the event log, one a line.
    fn story(&self) -> String {
        let mut reader = self.events.reader(self.events.start()).unwrap();
        let mut story = String::new();
        while let Some(record) = reader.next().unwrap() {
            for item in AppliedBatch::decode(&record.payload).unwrap().items {
                self.tell(&mut story, &item);
            }
        }
        story
    }

    fn tell(&self, story: &mut String, item: &Applied<'_>) {
        match item {
            Applied::Event(event) => {
                let properties = self.resolve(event.user_properties);
                writeln!(story, "{} {} {properties}", event.event_type, event.user).unwrap();
            }
            Applied::UserChange(change) => {
                let seen = match (change.first_seen, change.first_seen_on_device) {
                    (true, _) => " first seen",
                    (false, true) => " on another device",
                    (false, false) => "",
                };
                write!(story, "change {}{seen}", change.user).unwrap();
                for change in &change.changes {
                    let (from, to) = (change.from.unwrap_or("-"), change.to.unwrap_or("-"));
                    write!(story, " {}: {from} -> {to}", change.name).unwrap();
                }
                story.push('\n');
            }
            Applied::GroupChange(change) => {
                writeln!(story, "group {} {}", change.group_type, change.group_name).unwrap();
            }
            Applied::Merge(merge) => {
                writeln!(story, "merge {} into {}", merge.anonymous, merge.into).unwrap();
            }
            Applied::Identified(identified) => {
                writeln!(story, "identified {} as {}", identified.user, identified.user_id)
                    .unwrap();
            }
            Applied::Erasure(erasure) => {
                writeln!(story, "erasure {} of {:?}", erasure.request, erasure.users).unwrap();
            }
            Applied::Identify(identify) => {
                writeln!(story, "sent {} {}", identify.event_type, identify.user).unwrap();
            }
            Applied::Erased => story.push_str("erased\n"),
        }
    }

    fn resolve(&self, properties: UserProperties<'_>) -> String {
        match properties {
            UserProperties::None => "{}".to_owned(),
            UserProperties::Inline(text) => text.to_owned(),
            UserProperties::At(Place { offset, index }) => {
                let payload = self.events.read_at(offset).unwrap();
                let batch = AppliedBatch::decode(&payload).unwrap();
                match batch.items[index as usize].user_properties() {
                    UserProperties::Inline(text) => text.to_owned(),
                    other => panic!("a reference leads to {other:?}"),
                }
            }
        }
    }

    /// Whose each event is now, merges followed: a user, or a device that nobody has claimed.
    fn owners(&self) -> Vec<String> {
        let people = People::open(&self.state).unwrap();
        let mut reader = self.events.reader(self.events.start()).unwrap();
        let mut owners = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            for item in AppliedBatch::decode(&record.payload).unwrap().items {
                let Applied::Event(event) = item else { continue };
                let (_, person) = people.follow(event.user).unwrap().unwrap();
                owners.push(person.user_id.unwrap_or_else(|| event.device_id.to_owned()));
            }
        }
        owners
    }

    fn person_of(&self, kind: IdKind, id: &str) -> isthmus_state::people::Person {
        let people = People::open(&self.state).unwrap();
        let person = people.find("shop", kind, id).unwrap().unwrap();
        people.get(person).unwrap().unwrap()
    }
}

fn batch<'a>() -> IntakeBatch<'a> {
    IntakeBatch {
        project: "shop",
        source: Source::HttpApi,
        received_at: START,
        client_upload_time: None,
        remote_address: None,
        events: Vec::new(),
        commands: Vec::new(),
        currents: None,
    }
}

fn open_log(folder: &Path, clock: Arc<ManualClock>) -> Log {
    Log::open(Arc::new(RealDisk), folder, LogConfig::default(), clock).unwrap().0
}

fn seen(device_id: Option<&'static str>, user_id: Option<&'static str>) -> IntakeEvent<'static> {
    IntakeEvent { event_type: "Viewed", device_id, user_id, ..IntakeEvent::default() }
}

fn identify(user_id: &'static str, operations: &'static str) -> IntakeEvent<'static> {
    IntakeEvent {
        event_type: "$identify",
        user_id: Some(user_id),
        user_properties: Some(operations),
        ..IntakeEvent::default()
    }
}

#[tokio::test]
async fn follows_the_worked_identity_table() {
    let bench = Bench::new();
    bench
        .accept(&[
            seen(Some("d1"), None),
            seen(Some("d1"), Some("ana")),
            seen(Some("d1"), None),
            seen(Some("d1"), Some("bo")),
            seen(Some("d1"), None),
            seen(Some("d2"), None),
            seen(Some("d2"), Some("ana")),
            seen(Some("d2"), None),
        ])
        .await;
    bench.apply().await;
    insta::assert_snapshot!(bench.story(), @r"
    change 1 first seen
    Viewed 1 {}
    identified 1 as ana
    change 1 first seen
    Viewed 1 {}
    Viewed 1 {}
    change 2 first seen
    Viewed 2 {}
    Viewed 2 {}
    change 3 first seen
    Viewed 3 {}
    merge 3 into 1
    change 1 on another device
    Viewed 1 {}
    Viewed 1 {}
    ");
}

#[tokio::test]
async fn an_event_carries_the_properties_of_its_moment() {
    let bench = Bench::new();
    let with_properties = IntakeEvent {
        user_properties: Some(r#"{"city":"Lyon"}"#),
        ..seen(Some("d1"), Some("ana"))
    };
    let alone = IntakeEvent {
        user_properties: Some(r#"{"only":"here"}"#),
        skip_user_properties_sync: true,
        ..seen(None, Some("ana"))
    };
    bench
        .accept(&[
            identify("ana", r#"{"$set":{"plan":"pro"},"$add":{"visits":1}}"#),
            seen(None, Some("ana")),
            with_properties,
            identify("ana", r#"{"$set":{"plan":"pro"},"$unset":{"city":"-"}}"#),
            identify("ana", r#"{"$set":{"plan":"pro"}}"#),
            seen(None, Some("ana")),
            alone,
            seen(None, Some("ana")),
        ])
        .await;
    bench.apply().await;
    insta::assert_snapshot!(bench.story(), @r#"
    sent $identify 1
    change 1 first seen plan: - -> "pro" visits: - -> 1
    Viewed 1 {"plan":"pro","visits":1}
    change 1 on another device city: - -> "Lyon"
    Viewed 1 {"city":"Lyon","plan":"pro","visits":1}
    sent $identify 1
    change 1 city: "Lyon" -> -
    sent $identify 1
    Viewed 1 {"plan":"pro","visits":1}
    Viewed 1 {"only":"here"}
    Viewed 1 {"plan":"pro","visits":1}
    "#);
}

#[tokio::test]
async fn what_was_anonymous_fills_the_gaps_of_the_known_person() {
    let bench = Bench::new();
    let anonymous = IntakeEvent {
        user_properties: Some(r#"{"plan":"free","utm_source":"news"}"#),
        ..seen(Some("d9"), None)
    };
    bench
        .accept(&[identify("ana", r#"{"plan":"pro"}"#), anonymous, seen(Some("d9"), Some("ana"))])
        .await;
    bench.apply().await;
    let ana = bench.person_of(IdKind::User, "ana");
    assert_eq!(ana.custom.text, r#"{"plan":"pro","utm_source":"news"}"#);
    assert_eq!(bench.person_of(IdKind::Device, "d9"), ana);
}

#[tokio::test]
async fn duplicates_are_dropped_for_seven_days_per_device() {
    let bench = Bench::new();
    let once = |device_id, user_id, insert_id| IntakeEvent {
        insert_id: Some(insert_id),
        ..seen(device_id, user_id)
    };
    let counted = |event_id, time| IntakeEvent {
        event_id: Some(event_id),
        time: Some(time),
        ..seen(Some("d1"), None)
    };
    bench.accept(&[once(Some("d1"), None, "i1"), once(Some("d1"), None, "i1")]).await;
    bench.accept(&[once(Some("d2"), None, "i1"), once(None, Some("ana"), "i1")]).await;
    bench.accept(&[once(None, Some("ana"), "i1"), counted(7, START), counted(7, START)]).await;
    bench.accept(&[counted(8, START), counted(7, START + 1)]).await;
    bench.accept_at(START + WEEK - 1, None, &[once(Some("d1"), None, "i1")]).await;
    bench.accept_at(START + WEEK, None, &[once(Some("d1"), None, "i1")]).await;
    bench.apply().await;
    let applier = bench.open_applier();
    let progress = *applier.progress().borrow();
    assert_eq!((progress.applied, progress.duplicates), (7, 4));
}

#[tokio::test]
async fn a_wrong_client_clock_is_corrected_beyond_a_minute() {
    let cases = [
        (None, Some(START - 5_000), START - 5_000),
        (Some(START - 30_000), Some(START - 40_000), START - 40_000),
        (Some(START - 600_000), Some(START - 610_000), START - 10_000),
        (Some(START + 600_000), Some(START + 590_000), START - 10_000),
        (None, None, START),
    ];
    let bench = Bench::new();
    for (uploaded, time, _) in cases {
        bench.accept_at(START, uploaded, &[IntakeEvent { time, ..seen(Some("d1"), None) }]).await;
    }
    bench.apply().await;
    let mut reader = bench.events.reader(0).unwrap();
    let mut times = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        for item in AppliedBatch::decode(&record.payload).unwrap().items {
            if let Applied::Event(event) = item {
                times.push(event.event_time);
            }
        }
    }
    assert_eq!(times, cases.map(|(_, _, expected)| expected));
}

#[tokio::test]
async fn group_properties_change_without_any_id() {
    let bench = Bench::new();
    let event = IntakeEvent {
        event_type: "$groupidentify",
        groups: Some(r#"{"company":"acme"}"#),
        group_properties: Some(r#"{"$set":{"size":12}}"#),
        ..IntakeEvent::default()
    };
    bench.accept(&[event.clone(), event]).await;
    bench.apply().await;
    let sent = "sent $groupidentify 0\n";
    assert_eq!(bench.story(), format!("{sent}group company acme\n{sent}"));
}

#[tokio::test]
async fn state_lost_behind_the_event_log_is_rebuilt_and_nothing_is_written_twice() {
    let bench = Bench::new();
    for round in 0..3 {
        bench
            .accept(&[
                seen(Some("d1"), None),
                identify("ana", r#"{"$add":{"visits":1},"$append":{"pages":"home"}}"#),
                IntakeEvent { insert_id: Some("once"), ..seen(Some("d1"), Some("ana")) },
            ])
            .await;
        if round < 2 {
            bench.apply().await;
        }
    }
    bench.apply().await;
    let (story, end) = (bench.story(), bench.events.end());
    let ana = bench.person_of(IdKind::User, "ana");

    let bench = bench.reopen("another-state").await;
    bench.apply().await;
    assert_eq!(bench.events.end(), end);
    assert_eq!(bench.story(), story);
    assert_eq!(bench.person_of(IdKind::User, "ana"), ana);
    bench.accept(&[IntakeEvent { insert_id: Some("once"), ..seen(Some("d1"), None) }]).await;
    bench.apply().await;
    assert_eq!(bench.story(), story, "the duplicate is still known after the rebuild");
}

#[tokio::test]
async fn an_event_log_that_state_did_not_write_is_refused() {
    let bench = Bench::new();
    bench.accept(&[seen(Some("d1"), None)]).await;
    let to = Place { offset: bench.intake.end(), index: 0 };
    let intake = IntakeRange { from: Place::default(), to };
    let foreign = AppliedBatch { intake, received_at: START, items: Vec::new() };
    bench.events.append(foreign.encode()).await.unwrap();
    let (intake, events) = (bench.intake.clone(), bench.events.clone());
    let config = ApplierConfig::default();
    let opened = Applier::open(
        &bench.state,
        intake,
        events,
        bench.clock.clone(),
        &SeededRandom::new(1),
        config,
    );
    assert!(matches!(opened.err(), Some(ApplierError::Diverged { .. })));
}

/// `$set` operations of about `bytes` each that all differ.
fn bulky(count: usize, bytes: usize) -> Vec<String> {
    let value = |n: usize| format!("{n:0>1000}");
    let property = |n: usize, at: usize| format!(r#""p{at}":"{}""#, value(n + at));
    let set = |n| (0..bytes / 1_000).map(|at| property(n, at)).collect::<Vec<_>>().join(",");
    (0..count).map(|n| format!(r#"{{"$set":{{{}}}}}"#, set(n))).collect()
}

#[tokio::test]
async fn a_request_that_changes_much_is_applied_in_several_batches_and_again_after_a_crash() {
    let bench = Bench::new();
    let updates = bulky(120, 100_000);
    let events: Vec<_> = updates
        .iter()
        .map(|update| IntakeEvent {
            event_type: "$identify",
            user_id: Some("ana"),
            user_properties: Some(update),
            ..IntakeEvent::default()
        })
        .collect();
    bench.accept(&events).await;
    bench.accept(&[seen(None, Some("ana"))]).await;
    bench.apply().await;
    let mut reader = bench.events.reader(0).unwrap();
    let mut sizes = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        sizes.push(record.payload.len());
    }
    assert!(sizes.len() > 3 && sizes.iter().all(|size| *size < 8 << 20), "{sizes:?}");
    let (story, end) = (bench.story(), bench.events.end());
    assert_eq!(story.lines().filter(|line| line.starts_with("change")).count(), 120);
    let bench = bench.reopen("another-state").await;
    bench.apply().await;
    assert!(bench.story() == story && bench.events.end() == end);
}

#[tokio::test]
async fn an_update_that_would_make_a_profile_huge_is_dropped_and_the_event_kept() {
    let bench = Bench::new();
    let huge = bulky(1, 400_000);
    let event = IntakeEvent { user_properties: Some(&huge[0]), ..seen(Some("d1"), Some("ana")) };
    bench.accept(&[identify("ana", r#"{"plan":"pro"}"#), event]).await;
    bench.apply().await;
    assert!(bench.person_of(IdKind::User, "ana").custom.text == r#"{"plan":"pro"}"#);
    assert!(bench.story().contains("Viewed"));
}

#[tokio::test]
async fn an_event_carries_the_properties_of_its_groups() {
    let bench = Bench::new();
    let group = IntakeEvent {
        event_type: "$groupidentify",
        groups: Some(r#"{"company":"acme"}"#),
        group_properties: Some(r#"{"size":12}"#),
        ..IntakeEvent::default()
    };
    let event = IntakeEvent {
        groups: Some(r#"{"company":["acme","other"],"team":"red"}"#),
        ..seen(Some("d1"), None)
    };
    bench.accept(&[group, event]).await;
    bench.apply().await;
    let record = bench.events.reader(0).unwrap().next().unwrap().unwrap();
    let batch = AppliedBatch::decode(&record.payload).unwrap();
    let Some(Applied::Event(event)) = batch.items.last() else { panic!("an event comes last") };
    assert_eq!(event.group_properties, Some(r#"{"company":{"acme":{"size":12}}}"#));
}

#[tokio::test]
async fn fields_of_events_become_built_in_properties_behind_custom_ones() {
    let bench = Bench::new();
    let with_fields = |fields, user_properties| IntakeEvent {
        fields: Some(fields),
        user_properties,
        ..seen(Some("d1"), Some("ana"))
    };
    let phone = r#"{"platform":"iOS","country":"Japan","library":"amplitude-swift/1.0"}"#;
    let web = r#"{"platform":"Web"}"#;
    bench
        .accept(&[
            with_fields(phone, None),
            with_fields(phone, None),
            with_fields(web, Some(r#"{"country":"mine"}"#)),
            with_fields(web, Some(r#"{"$unset":{"country":"-"}}"#)),
            IntakeEvent { event_properties: Some(r#"{"$revenue":9.5}"#), ..with_fields(web, None) },
        ])
        .await;
    bench.apply().await;
    insta::assert_snapshot!(bench.story(), @r#"
    change 1 first seen country: - -> "Japan" platform: - -> "iOS"
    Viewed 1 {"country":"Japan","platform":"iOS"}
    Viewed 1 {"country":"Japan","platform":"iOS"}
    change 1 country: "Japan" -> "mine" platform: "iOS" -> "Web"
    Viewed 1 {"country":"mine","platform":"Web"}
    change 1 country: "mine" -> "Japan"
    Viewed 1 {"country":"Japan","platform":"Web"}
    change 1 paying: - -> true
    Viewed 1 {"country":"Japan","paying":true,"platform":"Web"}
    "#);
    assert_eq!(bench.person_of(IdKind::User, "ana").library.as_deref(), Some("http/2.0"));
}

#[tokio::test]
async fn since_when_a_property_has_its_value_and_what_it_was_before_is_known() {
    let bench = Bench::new();
    let hour = 3_600_000;
    bench.accept_at(START, None, &[identify("ana", r#"{"plan":"free","seats":2}"#)]).await;
    bench.accept_at(START + hour, None, &[identify("ana", r#"{"plan":"free"}"#)]).await;
    bench.accept_at(START + 2 * hour, None, &[identify("ana", r#"{"plan":"pro"}"#)]).await;
    bench.apply().await;
    let ana = bench.person_of(IdKind::User, "ana");
    assert_eq!(ana.custom.text, r#"{"plan":"pro","seats":2}"#);
    assert_eq!(ana.custom.since, [START + 2 * hour, START]);
    let past = PastValues::open(&bench.state).unwrap();
    let past = past.get(isthmus_core::AmplitudeId(1)).unwrap();
    let told: Vec<_> =
        past.iter().map(|v| (v.name.as_str(), v.value.as_str(), v.from, v.until)).collect();
    assert_eq!(told, [("plan", r#""free""#, START, START + 2 * hour)]);
}

#[tokio::test]
async fn a_person_has_so_many_property_updates_an_hour_and_their_events_stay() {
    let bench = Bench::new();
    let updates: Vec<_> = (0..1_900).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let event =
        |update| IntakeEvent { user_properties: Some(update), ..seen(Some("d1"), Some("ana")) };
    let events: Vec<_> = updates.iter().map(|update| event(update.as_str())).collect();
    bench.accept(&events).await;
    bench.apply().await;
    assert_eq!(bench.person_of(IdKind::User, "ana").custom.text, r#"{"n":1799}"#);
    assert_eq!(bench.story().lines().filter(|line| line.starts_with("Viewed")).count(), 1_900);
    bench.accept_at(START + 3_600_000, None, &events[1_899..]).await;
    bench.apply().await;
    assert_eq!(bench.person_of(IdKind::User, "ana").custom.text, r#"{"n":1899}"#);
}

#[tokio::test]
async fn first_and_last_times_are_those_of_events_and_survive_a_merge() {
    let bench = Bench::new();
    let at = |days: i64, event| IntakeEvent { time: Some(START + days * 86_400_000), ..event };
    bench
        .accept(&[
            at(0, seen(Some("d1"), Some("ana"))),
            at(9, identify("ana", r#"{"plan":"pro"}"#)),
            at(-3, seen(Some("d2"), None)),
            at(4, seen(Some("d2"), None)),
            at(1, seen(Some("d2"), Some("ana"))),
        ])
        .await;
    bench.apply().await;
    let ana = bench.person_of(IdKind::User, "ana");
    assert_eq!(ana.first_event_time, Some(START - 3 * 86_400_000));
    assert_eq!(ana.last_event_day, Some((START + 4 * 86_400_000) / 86_400_000));
    assert_eq!(ana.devices.last().map(String::as_str), Some("d2"));
    assert_eq!(ana.merged, [isthmus_core::AmplitudeId(2)]);
}

#[tokio::test]
async fn user_ids_are_mapped_and_cycles_are_not() {
    let bench = Bench::new();
    let map = |user_id, global_user_id| Command::Map { user_id, global_user_id };
    bench.command(map("ana@home", Some("ana"))).await;
    bench.command(map("ana", Some("cust-1"))).await;
    bench.command(map("cust-1", Some("ana@home"))).await;
    bench.command(map("bo", Some("cust-2"))).await;
    bench.command(map("bo", None)).await;
    bench.apply().await;
    let all = UserMap::open(&bench.state).unwrap().all("shop").unwrap();
    let all: Vec<_> = all.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    assert_eq!(all, [("ana", "cust-1"), ("ana@home", "ana")]);
}

/// Everything of `ana` and of whoever turned out to be her goes; nothing of `bo` does.
#[tokio::test]
async fn an_erased_person_is_gone_with_everybody_merged_into_them() {
    let bench = Bench::new();
    bench
        .accept(&[
            identify("ana", r#"{"plan":"free"}"#),
            identify("ana", r#"{"plan":"pro"}"#),
            seen(Some("d1"), Some("ana")),
            seen(Some("d2"), None),
            seen(Some("d2"), Some("ana")),
            seen(Some("d1"), Some("bo")),
        ])
        .await;
    bench.command(Command::Map { user_id: "ana", global_user_id: Some("cust-1") }).await;
    bench.apply().await;
    bench.erase(2, true).await;
    bench.apply().await;
    insta::assert_snapshot!(bench.story().lines().last().unwrap(), @"erasure e1 of [AmplitudeId(1), AmplitudeId(2)]");

    let people = People::open(&bench.state).unwrap();
    for (kind, id) in [(IdKind::User, "ana"), (IdKind::Device, "d2")] {
        assert_eq!(people.find("shop", kind, id).unwrap(), None, "{id}");
    }
    for person in [1, 2] {
        assert_eq!(people.get(isthmus_core::AmplitudeId(person)).unwrap(), None);
    }
    let past = PastValues::open(&bench.state).unwrap();
    assert!(past.get(isthmus_core::AmplitudeId(1)).unwrap().is_empty());
    assert!(UserMap::open(&bench.state).unwrap().all("shop").unwrap().is_empty());
    assert_eq!(bench.person_of(IdKind::Device, "d1").user_id.as_deref(), Some("bo"));

    // What comes later is refused: by user id, and by a device that was hers alone.
    let end = bench.story().lines().count();
    bench.accept(&[seen(Some("d9"), Some("ana")), seen(Some("d2"), None)]).await;
    bench.apply().await;
    assert_eq!(bench.story().lines().count(), end);
    bench.accept(&[seen(Some("d2"), Some("cy"))]).await;
    bench.apply().await;
    assert!(bench.story().ends_with("Viewed 4 {}\n"), "somebody else on her device");
}

#[tokio::test]
async fn without_a_tombstone_the_same_ids_begin_a_new_person() {
    let bench = Bench::new();
    bench.accept(&[seen(Some("d1"), Some("ana"))]).await;
    bench.erase(1, false).await;
    bench.accept(&[seen(Some("d1"), Some("ana"))]).await;
    bench.apply().await;
    insta::assert_snapshot!(bench.story(), @r"
    change 1 first seen
    Viewed 1 {}
    erasure e1 of [AmplitudeId(1)]
    change 2 first seen
    Viewed 2 {}
    ");
    bench.erase(1, false).await;
    bench.apply().await;
    assert!(!bench.story().ends_with("]\n"), "nobody is there to be erased again");
}

#[tokio::test]
async fn a_person_is_told_again_as_if_seen_for_the_first_time() {
    let bench = Bench::new();
    let ana = identify("ana", r#"{"plan":"free"}"#);
    bench.accept(&[seen(Some("d1"), None), ana, seen(Some("d1"), Some("ana"))]).await;
    bench.apply().await;
    let told = bench.story();
    // By whom she was before, too.
    for user in [1, 2, 9] {
        let user = isthmus_core::AmplitudeId(user);
        bench.command(Command::Retell { user }).await;
    }
    bench.apply().await;
    let story = bench.story();
    assert_eq!(story.strip_prefix(&told), Some("change 2 first seen\nchange 2 first seen\n"));
}

#[tokio::test]
async fn commands_are_applied_again_after_a_crash() {
    let bench = Bench::new();
    bench.accept(&[seen(Some("d1"), Some("ana")), seen(Some("d2"), Some("bo"))]).await;
    bench.command(Command::Retell { user: isthmus_core::AmplitudeId(2) }).await;
    bench.erase(1, true).await;
    bench.accept(&[seen(Some("d1"), Some("ana")), seen(Some("d1"), Some("bo"))]).await;
    bench.apply().await;
    let (story, end) = (bench.story(), bench.events.end());
    let bench = bench.reopen("another-state").await;
    bench.apply().await;
    assert!(bench.story() == story && bench.events.end() == end);
    assert_eq!(bench.person_of(IdKind::Device, "d1").user_id.as_deref(), Some("bo"));
}

/// Whose each event of a history is once all of it is known: the user who sent it, else the last one
/// seen on its device before, else the first one seen on it after, else nobody but the device.
fn owners_by_the_book(steps: &[(u8, Option<u8>)]) -> Vec<String> {
    let owner = |(at, (device, user)): (usize, &(u8, Option<u8>))| {
        let on_device = |step: &&(u8, Option<u8>)| step.0 == *device && step.1.is_some();
        let before = steps[..at].iter().rev().find(on_device);
        let after = steps[at..].iter().find(on_device);
        let known = user.or_else(|| before.or(after).and_then(|step| step.1));
        known.map_or_else(|| format!("device-{device}"), |user| format!("user-{user}"))
    };
    steps.iter().enumerate().map(owner).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The applier, one request at a time and restarted on the way, comes to what the whole history
    /// says.
    #[test]
    fn everybody_gets_their_events_as_the_model_says(
        steps in prop::collection::vec((0u8..4, prop::option::weighted(0.4, 0u8..3)), 1..25),
        restart_every in 1usize..10,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let owners = runtime.block_on(async {
            let bench = Bench::new();
            for (index, (device, user)) in steps.iter().enumerate() {
                let (device, user) = (format!("device-{device}"), user.map(|u| format!("user-{u}")));
                let event = IntakeEvent {
                    event_type: "Viewed",
                    device_id: Some(&device),
                    user_id: user.as_deref(),
                    ..IntakeEvent::default()
                };
                bench.accept(&[event]).await;
                if index % restart_every == 0 {
                    bench.apply().await;
                }
            }
            bench.apply().await;
            bench.owners()
        });
        prop_assert_eq!(owners, owners_by_the_book(&steps));
    }
}
