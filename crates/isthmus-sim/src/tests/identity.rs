//! Who people are, told to a Braze that takes its time: the engine, the mapping and the sandbox on
//! fake time, with items of the event log written by hand.

use crate::executor::Tasks;
use isthmus_braze::export::{Exported, Person};
use isthmus_braze::{Braze, BrazeStream};
use isthmus_config::resource::DestinationSettings;
use isthmus_config::{Spec, parse_resources};
use isthmus_core::record::{
    Applied, AppliedBatch, AppliedEvent, Erasure, Identified, IntakeRange, Merge, PropertyChange,
    UserChange, UserProperties,
};
use isthmus_core::seam::{
    BoxFuture, Clock, Http, ManualClock, Reply, Request, SeededRandom, SendError,
};
use isthmus_core::{AmplitudeId, Place, Timestamp};
use isthmus_delivery::dispatcher::Manner;
use isthmus_delivery::engine::{Engine, EngineConfig, Handle, Parts, StreamSpec};
use isthmus_delivery::governor::Budgets;
use isthmus_delivery::memory::{MemoryDeadLetters, MemoryJournal, MemorySource};
use isthmus_sandbox::{SandboxConfig, SandboxHandle, SandboxHttp};
use serde_json::{Value, json};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const START: Timestamp = Timestamp::from_millis(1_770_000_000_000);

const RESOURCES: &str = "
kind: destination
name: braze
type: braze
endpoint: http://127.0.0.1:8500
rest_key: sandbox
identify_settle: 1s
---
kind: stream
name: product
project: shop
destination: braze
enabled: true
identify_by: { from: user_id, to: external_id }
anonymous: { alias_label: amplitude_device }
send_events: { events: [Viewed, Ordered] }
send_users: { user_properties: [plan, source] }
";

/// The way to the sandbox: writes down what is sent when, and is down for a while if it is told to.
#[derive(Clone)]
struct Line {
    sandbox: SandboxHttp,
    clock: ManualClock,
    sent: Arc<Mutex<Vec<(Duration, String)>>>,
    down_until: Arc<Mutex<Duration>>,
}

impl fmt::Debug for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Line")
    }
}

impl Http for Line {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Reply, SendError>> {
        let now = self.clock.monotonic();
        if now < *self.down_until.lock().unwrap() {
            let reason = "the line is down".to_owned();
            return Box::pin(async { Err(SendError::NotSent { reason }) });
        }
        let call = request.url.rsplit('/').next().unwrap().to_owned();
        self.sent.lock().unwrap().push((now, call));
        self.sandbox.send(request)
    }
}

struct World {
    clock: ManualClock,
    source: MemorySource,
    line: Line,
    sandbox: SandboxHandle,
    handle: Handle,
    braze: Arc<Braze>,
    tasks: Tasks<()>,
}

impl World {
    /// A Braze in which everything takes effect up to 0.8 s after it said success.
    fn new() -> Self {
        let clock = ManualClock::at(START);
        let config = SandboxConfig {
            apply_delay: Duration::from_millis(300),
            apply_jitter: Duration::from_millis(500),
            ..SandboxConfig::default()
        };
        let time: Arc<dyn Clock> = Arc::new(clock.clone());
        let (sandbox, inside) =
            SandboxHttp::new(config, time.clone(), Arc::new(SeededRandom::new(3)));
        let (sent, down_until) = (Arc::default(), Arc::default());
        let line = Line { sandbox, clock: clock.clone(), sent, down_until };
        let (mut braze, mut streams) = (None, Vec::new());
        for resource in parse_resources(RESOURCES, "test").unwrap() {
            match (resource.spec, &braze) {
                (Spec::Destination(found), _) => {
                    let DestinationSettings::Braze(settings) = found.settings else {
                        panic!("{} is not Braze", found.name)
                    };
                    braze = Some(settings);
                }
                (Spec::Stream(stream), Some(settings)) => {
                    let mapping = Arc::new(BrazeStream::build(&stream, settings).unwrap());
                    let (name, manner) = (stream.name.into(), Manner::default());
                    streams.push(StreamSpec { name, mapping, manner });
                }
                other => panic!("{other:?}"),
            }
        }
        let braze = Arc::new(Braze::build(&braze.unwrap(), "sandbox").unwrap());
        let source = MemorySource::default();
        let parts = Parts {
            name: "braze".into(),
            destination: braze.clone(),
            source: Arc::new(source.clone()),
            journal: Arc::new(MemoryJournal::default()),
            dead_letters: Arc::new(MemoryDeadLetters::default()),
            budgets: Budgets::default(),
            http: Arc::new(line.clone()),
            clock: time,
            random: Arc::new(SeededRandom::new(7)),
            config: EngineConfig::default(),
        };
        let (engine, handle) = Engine::open(parts, streams).unwrap();
        let mut tasks = Tasks::new();
        tasks.add(async move { engine.run(CancellationToken::new()).await.unwrap() });
        Self { clock, source, line, sandbox: inside, handle, braze, tasks }
    }

    fn happens(&self, items: Vec<Applied<'_>>) {
        let intake = IntakeRange { from: Place::default(), to: Place::default() };
        let received_at = self.clock.now().as_millis();
        self.source.append(AppliedBatch { intake, received_at, items }.encode());
    }

    /// Lets `time` pass.
    fn pass(&mut self, time: Duration) {
        let until = self.clock.monotonic() + time;
        loop {
            while let Some(id) = self.tasks.woken().first().copied() {
                assert!(self.tasks.poll(id).is_none(), "the engine ended");
            }
            let now = self.clock.monotonic();
            let due = self.clock.next_due().map(|due| due.max(Duration::from_millis(1)));
            match due.filter(|due| now + *due <= until) {
                Some(due) => self.clock.advance(due),
                None if now < until => self.clock.advance(until.saturating_sub(now)),
                None => return,
            }
        }
    }

    /// What Braze has of these people.
    fn export(&mut self, people: Vec<Person>) -> Exported {
        let (braze, answer) = (self.braze.clone(), Arc::new(Mutex::new(None)));
        let reply = self.line.sandbox.send(braze.export(&people, &["plan", "source", "email"]));
        let told = answer.clone();
        self.tasks.add(async move {
            let exported = braze.judge_export(&people, &reply.await.unwrap()).unwrap();
            *told.lock().unwrap() = Some(exported);
        });
        for id in self.tasks.woken() {
            self.tasks.poll(id);
        }
        answer.lock().unwrap().take().expect("an answer")
    }

    /// Calls in the order in which they were sent.
    fn calls(&self) -> Vec<(Duration, String)> {
        self.line.sent.lock().unwrap().clone()
    }
}

fn event<'a>(user_id: Option<&'a str>, device_id: &'a str, event_type: &'a str) -> Applied<'a> {
    Applied::Event(AppliedEvent {
        project: "shop",
        user: AmplitudeId(1),
        user_id,
        device_id,
        device_id_derived: false,
        event_type,
        event_time: START.as_millis(),
        client_event_time: START.as_millis(),
        received_at: START.as_millis(),
        session_id: None,
        event_id: None,
        insert_id: None,
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

/// The first sight of a person, with one property.
fn arrives<'a>(
    user_id: Option<&'a str>,
    device_id: &'a str,
    name: &'a str,
    value: &'a str,
) -> Applied<'a> {
    Applied::UserChange(UserChange {
        project: "shop",
        user: AmplitudeId(1),
        user_id,
        device_id,
        device_id_derived: false,
        event_time: START.as_millis(),
        received_at: START.as_millis(),
        insert_id: None,
        first_seen: true,
        first_seen_on_device: true,
        changes: vec![PropertyChange { name, from: None, to: Some(value) }],
        user_properties: UserProperties::None,
    })
}

fn counts(user: &Value) -> Value {
    let events = user.get("custom_events").and_then(Value::as_array).unwrap();
    events.iter().map(|event| json!([event["name"], event["count"]])).collect()
}

#[test]
fn a_person_who_logs_in_is_one_profile_with_both_histories() {
    let mut world = World::new();
    world.happens(vec![
        arrives(None, "d-1", "source", "\"newsletter\""),
        event(None, "d-1", "Viewed"),
        event(None, "d-1", "Viewed"),
        Applied::Identified(Identified {
            project: "shop",
            user: AmplitudeId(1),
            user_id: "ana",
            device_id: "d-1",
            event_time: START.as_millis(),
            received_at: START.as_millis(),
        }),
        arrives(Some("ana"), "d-1", "plan", "\"pro\""),
        event(Some("ana"), "d-1", "Ordered"),
        event(Some("bob"), "d-9", "Viewed"),
    ]);
    world.pass(Duration::from_secs(10));
    let calls = world.calls();
    let names: Vec<_> = calls.iter().map(|(_, call)| call.as_str()).collect();
    assert_eq!(names, ["track", "identify", "track"]);
    for pair in calls.windows(2) {
        assert!(pair[1].0 >= pair[0].0 + Duration::from_secs(1), "{calls:?}");
    }
    let ana = world.sandbox.user("ana").expect("identified");
    assert_eq!(counts(&ana), json!([["Ordered", 1], ["Viewed", 2]]));
    assert_eq!(ana["custom_attributes"], json!({"plan": "pro", "source": "newsletter"}));
    let alias = json!([{"alias_name": "d-1", "alias_label": "amplitude_device"}]);
    assert_eq!(ana["user_aliases"], alias);
    assert_eq!(world.sandbox.user_count(), 2, "ana and bob");
    let ids = ["ana", "bob", "cleo"].map(|id| Person::ExternalId(id.to_owned()));
    let alias = Person::Alias { name: "d-1".to_owned(), label: "amplitude_device".to_owned() };
    let exported = world.export(ids.iter().chain([&alias]).cloned().collect());
    assert_eq!(exported.known[&alias], exported.known[&ids[0]]);
    assert_eq!(exported.known[&alias]["source"], "\"newsletter\"");
    assert_eq!(exported.known[&alias].len(), 2);
    assert!(exported.known[&ids[1]].is_empty());
    assert_eq!(exported.unknown, [ids[2].clone()].into());
    assert!(world.sandbox.audit().is_empty(), "{:?}", world.sandbox.audit());
    assert!(world.handle.status().lanes == 0, "nobody waits any more");
}

#[test]
fn an_anonymous_person_is_merged_into_a_user_that_braze_has() {
    let mut world = World::new();
    world.happens(vec![
        arrives(Some("ana"), "d-1", "plan", "\"pro\""),
        event(Some("ana"), "d-1", "Viewed"),
        event(None, "d-2", "Viewed"),
    ]);
    world.pass(Duration::from_secs(5));
    // The alias lane is empty by now, but what it said may have been said just now.
    world.happens(vec![event(None, "d-2", "Viewed")]);
    world.pass(Duration::from_millis(50));
    world.happens(vec![
        Applied::Merge(Merge {
            project: "shop",
            anonymous: AmplitudeId(2),
            into: AmplitudeId(1),
            user_id: "ana",
            device_id: "d-2",
            event_time: START.as_millis(),
            received_at: START.as_millis(),
        }),
        event(Some("ana"), "d-2", "Ordered"),
    ]);
    world.pass(Duration::from_secs(10));
    let ana = world.sandbox.user("ana").expect("known");
    assert_eq!(counts(&ana), json!([["Ordered", 1], ["Viewed", 3]]));
    assert_eq!(world.sandbox.user_count(), 1);
    let calls = world.calls();
    let names: Vec<_> = calls.iter().map(|(_, call)| call.as_str()).collect();
    assert_eq!(names, ["track", "track", "identify", "track"]);
}

#[test]
fn an_erased_person_is_deleted_after_everything_that_was_said_before() {
    let mut world = World::new();
    let erasure = Applied::Erasure(Erasure {
        project: "shop",
        request: "r-1",
        users: vec![AmplitudeId(1)],
        user_id: Some("ana"),
        device_ids: vec!["d-1"],
        braze_ids: Vec::new(),
        user_properties: None,
        received_at: START.as_millis(),
    });
    world.happens(vec![event(Some("ana"), "d-1", "Viewed"), event(None, "d-1", "Viewed")]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.sandbox.user_count(), 2);
    *world.line.down_until.lock().unwrap() = world.clock.monotonic() + Duration::from_secs(20);
    world.happens(vec![
        event(Some("ana"), "d-1", "Ordered"),
        event(None, "d-1", "Ordered"),
        erasure,
        Applied::Erased,
        event(Some("bob"), "d-9", "Viewed"),
    ]);
    world.pass(Duration::from_mins(10));
    assert_eq!(world.sandbox.user_count(), 1, "bob");
    assert!(world.sandbox.user("bob").is_some());
    let calls = world.calls();
    let last: Vec<_> = calls.iter().rev().take(2).map(|(_, call)| call.as_str()).collect();
    assert_eq!(last, ["delete", "delete"], "{calls:?}");
    let status = world.handle.status();
    assert_eq!(status.streams[0].counts.delivered, 7, "receipts of deletions too");
}
