//! Events of Braze Currents: posts through the door in, event log, persons and quarantine out.

use super::*;
use crate::door::{CurrentsSource, Door, DoorRules, Echoes, NobodyMapped, Recognised};
use isthmus_braze::currents::{Form, Received, Unusable, read_batch};
use isthmus_core::AmplitudeId;
use isthmus_core::record::Mend;
use isthmus_state::currents_counts::{CountsOfCurrents, CurrentsCounts};
use isthmus_state::quarantine::Quarantine;
use std::time::Duration;

const SECONDS: i64 = 1_767_258_000;

/// One event in the form of the HTTP connector; `user` and `properties` are raw members.
fn event(kind: &str, id: &str, user: &str, properties: &str) -> String {
    format!(
        r#"{{"event_type":"{kind}","id":"{id}","time":{SECONDS},"user":{{{user}}},"properties":{{{properties}}}}}"#
    )
}

fn open(id: &str, user: &str) -> String {
    event("users.messages.email.Open", id, user, r#""campaign_id":"c-1""#)
}

fn source(name: &str, scope: &str) -> CurrentsSource {
    CurrentsSource {
        name: name.to_owned(),
        project: "shop".to_owned(),
        scope: scope.to_owned(),
        destination: None,
        form: Form::default(),
        token: None,
        posted: true,
    }
}

impl Bench {
    fn door(&self) -> Door {
        let rules = DoorRules::default();
        let door =
            Door::new(self.intake.clone(), self.clock.clone(), rules, Arc::new(NobodyMapped));
        let form = Form { event_prefix: "> ".to_owned(), ..Form::default() };
        let named = CurrentsSource { form, ..source("named", "named") };
        door.set_currents([source("posts", "posts"), source("files", "posts"), named]);
        door
    }

    async fn post(&self, source: &str, events: &[String]) {
        let door = self.door();
        let admitted = door.admit_currents(source, None).unwrap();
        let body = format!(r#"{{"events":[{}]}}"#, events.join(","));
        let answer = door.answer_currents(&admitted, None, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// The events of Currents in the event log, one a line.
    fn shown(&self) -> String {
        let mut reader = self.events.reader(self.events.start()).unwrap();
        let mut shown = String::new();
        while let Some(record) = reader.next().unwrap() {
            for item in AppliedBatch::decode(&record.payload).unwrap().items {
                let Applied::Event(event) = item else { continue };
                let Some(currents) = &event.currents else { continue };
                let (user, id) = (event.user, event.insert_id.unwrap());
                let user_id = event.user_id.unwrap_or("-");
                let device = if event.device_id_derived { "-" } else { event.device_id };
                let not = currents.not_exported.map_or(String::new(), |why| format!(" ({why})"));
                writeln!(shown, "{id} {user} {user_id} {device} {}{not}", event.event_type)
                    .unwrap();
            }
        }
        shown
    }

    fn quarantined(&self, source: &str) -> Vec<(Place, String)> {
        let quarantine = Quarantine::open(&self.state).unwrap();
        let listed = quarantine.list(source, None, 100).unwrap();
        listed.into_iter().map(|(place, entry)| (place, entry.raw)).collect()
    }
}

#[tokio::test]
async fn an_event_has_the_form_that_amplitude_shows_and_what_it_said_beside() {
    let bench = Bench::new();
    let user =
        r#""user_id":"5fa1","external_user_id":"ana","device_id":"d1","timezone":"Asia/Tokyo""#;
    let properties = r#""campaign_id":"c-1","price":3.14,"product_id":"p","currency":"EUR","purchase_properties":{"size":"L"}"#;
    bench.post("posts", &[event("users.behaviors.Purchase", "a-1", user, properties)]).await;
    bench.post("named", &[event("users.behaviors.Purchase", "a-1", user, properties)]).await;
    bench.apply().await;
    let mut reader = bench.events.reader(0).unwrap();
    let record = reader.next().unwrap().unwrap();
    let items = AppliedBatch::decode(&record.payload).unwrap().items;
    let [Applied::UserChange(change), Applied::Event(event), Applied::Event(named)] = &items[..]
    else {
        panic!("{items:?}")
    };
    assert!(change.first_seen && change.first_seen_on_device && change.changes.is_empty());
    assert_eq!((event.user, event.user_id, event.device_id), (AmplitudeId(1), Some("ana"), "d1"));
    assert_eq!(event.event_type, "[Appboy] Purchase");
    assert_eq!(named.event_type, "> Purchase", "the source says what its events are called");
    assert_eq!((event.event_time, event.client_event_time), (SECONDS * 1_000, SECONDS * 1_000));
    assert_eq!(
        event.event_properties,
        Some(r#"{"currency":"EUR","[Purchase property] size":"L","campaign_id":"c-1"}"#)
    );
    assert_eq!(event.fields, Some(r#"{"library":"Braze","price":3.14,"productId":"p"}"#));
    assert_eq!(event.user_properties, UserProperties::None);
    let currents = event.currents.as_ref().unwrap();
    assert_eq!((currents.source, currents.event_type), ("posts", "users.behaviors.Purchase"));
    assert_eq!((currents.braze_id, currents.timezone), (Some("5fa1"), Some("Asia/Tokyo")));
    assert_eq!((currents.campaign_id, currents.action), (Some("c-1"), Some("purchase")));
    assert_eq!(currents.properties, format!("{{{properties}}}"));
    assert_eq!((currents.not_exported, currents.echo), (None, None));
}

#[tokio::test]
async fn an_event_is_kept_once_however_much_later_it_comes_again() {
    let bench = Bench::new();
    let one = open("a-1", r#""external_user_id":"ana""#);
    bench.post("posts", &[one.clone(), one.clone()]).await;
    bench.apply().await;
    let bench = bench.reopen("state").await;
    bench.clock.advance(Duration::from_hours(24 * 3_650));
    bench.post("files", std::slice::from_ref(&one)).await;
    bench.apply().await;
    bench.post("posts", &[one.clone(), open("a-2", r#""external_user_id":"ana""#)]).await;
    bench.apply().await;
    insta::assert_snapshot!(bench.shown(), @r"
    a-1 1 ana - [Appboy] Email Open
    a-2 1 ana - [Appboy] Email Open
    ");
    bench.post("named", &[one]).await;
    bench.apply().await;
    assert!(bench.shown().ends_with("a-1 1 ana - > Email Open\n"), "another scope");
    let progress = *bench.open_applier().progress().borrow();
    assert_eq!((progress.applied, progress.duplicates), (3, 3));
}

#[tokio::test]
async fn it_is_somebodys_by_user_id_then_device_then_what_braze_calls_them() {
    let bench = Bench::new();
    bench.accept(&[seen(Some("d1"), Some("ana")), seen(Some("d2"), None)]).await;
    bench
        .post(
            "posts",
            &[
                open("a-1", r#""user_id":"b-ana","external_user_id":"ana""#),
                open("a-2", r#""user_id":"b-anon""#),
                open("a-3", r#""user_id":"b-anon","device_id":"d2""#),
                open("a-4", r#""user_id":"b-anon""#),
                open("a-5", r#""user_id":"b-ana""#),
                open("a-6", r#""user_id":"b-new","device_id":"d3""#),
                open("a-7", ""),
                // What is known of an id of Braze stays.
                open("a-8", r#""user_id":"b-anon","device_id":"d3""#),
                open("a-9", r#""user_id":"b-anon""#),
            ],
        )
        .await;
    bench.accept(&[seen(Some("d2"), Some("bo"))]).await;
    bench.post("posts", &[open("b-1", r#""user_id":"b-anon""#)]).await;
    bench.apply().await;
    insta::assert_snapshot!(bench.shown(), @r"
    a-1 1 ana - [Appboy] Email Open
    a-2 0 - - [Appboy] Email Open (nobody to attach it to)
    a-3 2 - d2 [Appboy] Email Open
    a-4 2 - - [Appboy] Email Open (nobody to attach it to)
    a-5 0 - - [Appboy] Email Open (nobody to attach it to)
    a-6 3 - d3 [Appboy] Email Open
    a-7 0 - - [Appboy] Email Open (nobody to attach it to)
    a-8 3 - d3 [Appboy] Email Open
    a-9 2 - - [Appboy] Email Open (nobody to attach it to)
    b-1 2 - - [Appboy] Email Open (nobody to attach it to)
    ");
    assert_eq!(bench.person_of(IdKind::Braze, "b-anon").user_id.as_deref(), Some("bo"));
    let people = People::open(&bench.state).unwrap();
    let known = people.find("shop", IdKind::Braze, "b-ana").unwrap();
    assert_eq!(known, None, "who has a user id is found by it");
}

#[tokio::test]
async fn what_brazes_connector_would_not_send_makes_nobody_known() {
    let bench = Bench::new();
    let deleted = event("users.UserDeleteRequest", "a-1", r#""external_user_id":"ana""#, "");
    let bucket = |id, user| event("users.RandomBucketNumberUpdate", id, user, "");
    bench.post("posts", &[deleted, bucket("a-2", r#""device_id":"d1""#)]).await;
    bench.accept(&[seen(Some("d1"), None)]).await;
    bench.post("posts", &[bucket("a-3", r#""device_id":"d1""#)]).await;
    bench.apply().await;
    insta::assert_snapshot!(bench.story(), @r"
    [Appboy] User Delete Request 0 {}
    [Appboy] Random Bucket Number Update 0 {}
    change 1 first seen
    Viewed 1 {}
    [Appboy] Random Bucket Number Update 1 {}
    ");
    let people = People::open(&bench.state).unwrap();
    assert_eq!(people.find("shop", IdKind::User, "ana").unwrap(), None);
}

#[tokio::test]
async fn it_changes_nothing_of_a_person_but_first_and_last_times() {
    let bench = Bench::new();
    let known = IntakeEvent {
        user_properties: Some(r#"{"plan":"pro"}"#),
        fields: Some(r#"{"platform":"iOS","library":"amplitude-ts/1"}"#),
        time: Some(START),
        ..seen(Some("d1"), Some("ana"))
    };
    bench.accept(&[known]).await;
    bench.apply().await;
    let before = bench.person_of(IdKind::User, "ana");
    let user = r#""user_id":"b","external_user_id":"ana""#;
    let device = r#""platform":"android","os_version":"14","device_model":"Pixel""#;
    bench.post("posts", &[event("users.behaviors.app.SessionStart", "a-1", user, device)]).await;
    bench.apply().await;
    let after = bench.person_of(IdKind::User, "ana");
    assert_eq!(after.first_event_time, Some(SECONDS * 1_000));
    let same = isthmus_state::people::Person {
        first_event_time: before.first_event_time,
        devices: before.devices.clone(),
        ..after
    };
    assert_eq!(same, before);
    assert!(
        bench
            .story()
            .ends_with("[Appboy] Session Start 1 {\"plan\":\"pro\",\"platform\":\"iOS\"}\n"),
        "{}",
        bench.story()
    );
}

#[derive(Debug)]
struct ToldAsDevice(&'static str);

impl Echoes for ToldAsDevice {
    fn recognise(&self, _: Option<&str>, events: &[Received<'_>]) -> Vec<Option<Recognised>> {
        let recognised = || Recognised {
            destination: "braze".to_owned(),
            stream: "shop-events".to_owned(),
            place: Place { offset: 7, index: 1 },
            part: 0,
            device_id: Some(self.0.to_owned()),
        };
        events.iter().map(|event| (event.id != "a-9").then(recognised)).collect()
    }
}

#[tokio::test]
async fn an_echo_is_of_whom_it_was_sent_for() {
    let bench = Bench::new();
    bench.accept(&[seen(Some("d1"), None)]).await;
    let door = bench.door();
    door.set_echoes(Arc::new(ToldAsDevice("d1")));
    let named = r#""name":"Order Completed""#;
    let own = |id, user| event("users.behaviors.CustomEvent", id, user, named);
    let body = [
        own("a-1", r#""user_id":"b-1""#),
        own("a-2", r#""user_id":"b-1","external_user_id":"ana""#),
        own("a-9", r#""user_id":"b-1""#),
    ];
    let body = format!(r#"{{"events":[{}]}}"#, body.join(","));
    let admitted = door.admit_currents("posts", None).unwrap();
    assert_eq!(door.answer_currents(&admitted, None, body.as_bytes()).await.status, 200);
    bench.apply().await;
    insta::assert_snapshot!(bench.shown(), @r"
    a-1 1 - d1 [Appboy] [Custom Event] Order Completed (nobody to attach it to)
    a-2 2 ana - [Appboy] [Custom Event] Order Completed
    a-9 1 - - [Appboy] [Custom Event] Order Completed (nobody to attach it to)
    ");
    let mut reader = bench.events.reader(0).unwrap();
    let record = reader.next().unwrap().unwrap();
    let items = AppliedBatch::decode(&record.payload).unwrap().items;
    let echoes: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Applied::Event(event) => event.currents.as_ref().map(|currents| currents.echo),
            _ => None,
        })
        .map(|echo| echo.map(|of| (of.stream, of.place)))
        .collect();
    let sent = Some(("shop-events", Place { offset: 7, index: 1 }));
    assert_eq!(echoes, [sent, sent, None]);
}

#[tokio::test]
async fn what_is_no_event_is_put_aside_once_and_let_go_when_it_is_mended() {
    let bench = Bench::new();
    let broken = r#"{"event_type":"users.messages.email.Open","time":1767258000}"#.to_owned();
    let good = open("a-1", r#""external_user_id":"ana""#);
    bench.post("posts", &[broken.clone(), good, "7".to_owned()]).await;
    bench.post("posts", std::slice::from_ref(&broken)).await;
    bench.apply().await;
    let at = |index| Place { offset: 0, index };
    assert_eq!(bench.quarantined("posts"), [(at(0), broken.clone()), (at(1), "7".to_owned())]);
    assert_eq!(bench.quarantined("files"), []);

    let mended = open("a-2", r#""external_user_id":"ana""#);
    let mend = Mend { source: "posts", place: at(0), raw: Some(&mended) };
    bench.command(Command::Mend(mend)).await;
    bench.apply().await;
    assert_eq!(bench.quarantined("posts")[0].1, mended);
    let body = format!(r#"{{"events":[{mended}]}}"#);
    let event = read_batch(body.as_bytes()).unwrap().remove(0).unwrap();
    bench.door().accept_mended("posts", vec![(at(0), event)]).await.unwrap();
    let gone = Mend { source: "posts", place: at(1), raw: None };
    bench.command(Command::Mend(gone)).await;
    bench.command(Command::Mend(Mend { raw: Some("{}"), ..gone })).await;
    bench.apply().await;
    assert_eq!(bench.quarantined("posts"), [], "and what is gone is not mended");
    assert!(bench.shown().ends_with("a-2 1 ana - [Appboy] Email Open\n"), "{}", bench.shown());
    bench.post("posts", &[broken]).await;
    bench.apply().await;
    assert_eq!(bench.quarantined("posts"), [], "Braze sent it again");
}

#[tokio::test]
async fn each_damaged_file_is_put_aside_once() {
    let bench = Bench::new();
    let cut = |reason: &str| Unusable { raw: "".into(), reason: reason.to_owned() };
    for (file, reason) in [("x", "cut"), ("y", "cut"), ("x", "cut"), ("x", "strange")] {
        let door = bench.door();
        door.accept_events("files", vec![], vec![cut(reason)], Some(file)).await.unwrap();
    }
    bench.apply().await;
    let quarantine = Quarantine::open(&bench.state).unwrap();
    let listed = quarantine.list("files", None, 100).unwrap();
    let told: Vec<_> = listed
        .iter()
        .map(|(_, entry)| (entry.file.as_deref().unwrap_or_default(), &*entry.reason))
        .collect();
    assert_eq!(told, [("x", "cut"), ("y", "cut"), ("x", "strange")]);
}

#[tokio::test]
async fn what_a_source_came_to_is_counted() {
    let bench = Bench::new();
    let user = r#""external_user_id":"ana""#;
    bench.post("posts", &[open("a-1", user), open("a-2", user), "7".to_owned()]).await;
    bench.post("files", &[open("a-1", user), open("a-3", user), "7".to_owned()]).await;
    bench.apply().await;
    bench.post("posts", &[open("a-3", user)]).await;
    bench.apply().await;
    let counts = CountsOfCurrents::open(&bench.state).unwrap();
    let of = |source| {
        let CurrentsCounts { events, duplicates, unusable, newest_event_at, .. } =
            counts.get(source).unwrap();
        assert_eq!(newest_event_at, Some(SECONDS * 1_000));
        (events, duplicates, unusable)
    };
    assert_eq!((of("posts"), of("files")), ((2, 1, 1), (1, 2, 0)));
}

#[tokio::test]
async fn applied_again_everything_comes_out_the_same() {
    let mut bench = Bench::new();
    let broken = r#"{"event_type":"a.B","id":"","time":1}"#.to_owned();
    for round in 0..40 {
        let user = [
            "\"external_user_id\":\"ana\",\"user_id\":\"b-1\"",
            "\"user_id\":\"b-2\"",
            "\"user_id\":\"b-2\",\"device_id\":\"d2\"",
            "\"device_id\":\"d3\"",
        ][round % 4];
        let ids = [round, round / 3, round / 2].map(|id| open(&format!("a-{id}"), user));
        bench.post("posts", &ids).await;
        bench.post("files", &[broken.clone(), round.to_string()]).await;
        bench.accept(&[seen(Some("d2"), (round > 20).then_some("bo"))]).await;
        if round % 7 == 0 {
            bench.apply().await;
        }
    }
    let gone = Mend { source: "files", place: bench.quarantined("files")[0].0, raw: None };
    bench.command(Command::Mend(gone)).await;
    bench.apply().await;
    let before = (bench.story(), bench.shown(), bench.quarantined("files"));
    assert_eq!(before.2.len(), 40, "each text once, and one is gone");
    assert_eq!(before.1.lines().count(), 40);
    for state in ["state-2", "state-3"] {
        bench = bench.reopen(state).await;
        bench.apply().await;
        let after = (bench.story(), bench.shown(), bench.quarantined("files"));
        assert_eq!(after, before);
        let bo = bench.person_of(IdKind::User, "bo");
        assert_eq!(bo.braze_ids, ["b-2"]);
        bench.post("posts", &[open("a-1", "")]).await;
        bench.apply().await;
        assert_eq!(bench.story(), before.0, "a repetition adds nothing");
    }
}

#[tokio::test]
async fn later_events_of_a_forgotten_person_are_refused_by_every_id() {
    let bench = Bench::new();
    bench
        .post(
            "posts",
            &[
                open("a-1", r#""user_id":"b-1","device_id":"d1""#),
                open("a-2", r#""user_id":"b-9","external_user_id":"ana","device_id":"d2""#),
            ],
        )
        .await;
    bench.apply().await;
    bench.erase(1, true).await;
    bench.erase(2, true).await;
    bench.apply().await;
    assert!(
        bench.story().ends_with("erasure e1 of [AmplitudeId(1)]\nerasure e1 of [AmplitudeId(2)]\n")
    );
    let people = People::open(&bench.state).unwrap();
    assert_eq!(people.find("shop", IdKind::Braze, "b-1").unwrap(), None);
    bench
        .post(
            "posts",
            &[
                open("b-1", r#""user_id":"b-1""#),
                open("b-2", r#""device_id":"d1""#),
                open("b-3", r#""user_id":"b-7","external_user_id":"ana""#),
            ],
        )
        .await;
    bench.apply().await;
    assert_eq!(bench.shown().lines().count(), 2, "{}", bench.shown());
}

#[tokio::test]
async fn a_batch_that_fills_more_than_one_record_of_the_event_log_is_applied_again_the_same() {
    let bench = Bench::new();
    let large = "x".repeat(1 << 20);
    let named = format!(r#""name":"Order Completed","custom_properties":{{"note":"{large}"}}"#);
    let user = r#""external_user_id":"ana""#;
    let mut events: Vec<_> = (0..5)
        .map(|id| event("users.behaviors.CustomEvent", &format!("a-{id}"), user, &named))
        .collect();
    events.extend((0..10).map(|number| format!(r#"{{"number":{number},"note":"{large}"}}"#)));
    bench.post("posts", &events).await;
    bench.post("posts", &[open("b-1", user)]).await;
    bench.apply().await;
    let mut reader = bench.events.reader(0).unwrap();
    let mut ends = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        ends.push(AppliedBatch::decode(&record.payload).unwrap().intake.to.index);
    }
    assert!(ends.iter().any(|end| (1..5).contains(end)), "amid the events: {ends:?}");
    assert!(ends.iter().any(|end| (6..15).contains(end)), "amid what is no event: {ends:?}");
    let before = (bench.shown(), bench.quarantined("posts"), bench.events.end());
    assert_eq!((before.0.lines().count(), before.1.len()), (6, 10));
    let bench = bench.reopen("another-state").await;
    bench.apply().await;
    let after = (bench.shown(), bench.quarantined("posts"), bench.events.end());
    assert!(after == before);
}
