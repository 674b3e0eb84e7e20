//! Only differences reach the vendor, and whatever happens it ends up with what was said last.

use super::*;
use crate::dispatcher::UNCHANGED;
use crate::ledger::State as Became;
use crate::memory::MemoryMirror;
use crate::mirror::{MirrorStore, Refilled, Retold, Telling, refill_by};
use bytes::Bytes;
use isthmus_core::destination::{
    Answered, Budget, Cost, Delivery, Difference, Guarantee, Lane, Limits, Mapped, Mapping,
    Message, Saved, Section, Told, Values, Wants,
};
use isthmus_core::seam::BoxFuture;
use isthmus_state::StateError;
use isthmus_state::mirror::{Doubt, Mark, Origin};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Users and their attributes.
type People = BTreeMap<String, BTreeMap<String, String>>;

/// A vendor that holds what it is told. A payload is `user name=value,name=value`, or `user !event`.
#[derive(Debug)]
struct Registry {
    inner: Vendor,
    clock: ManualClock,
    state: Arc<Mutex<Registered>>,
}

#[derive(Debug)]
struct Registered {
    random: SeededRandom,
    /// Whether anything goes wrong.
    hostile: bool,
    people: People,
    /// Attributes that it was told and had.
    redundant: usize,
    /// Attributes that it was told.
    told: usize,
    events: Vec<String>,
    bodies: Vec<String>,
}

fn attributes(payload: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (user, said) = payload.split_once(' ')?;
    let pairs: Option<Vec<_>> = said.split(',').map(|pair| pair.split_once('=')).collect();
    Some((user, pairs?))
}

impl Registered {
    fn take(&mut self, body: &str) {
        self.bodies.push(body.to_owned());
        let mut new: BTreeMap<(String, String), String> = BTreeMap::new();
        for line in body.lines() {
            let Some((user, pairs)) = attributes(line) else {
                self.events.push(line.to_owned());
                continue;
            };
            for (name, value) in pairs.into_iter().filter(|(_, value)| *value != "bad") {
                new.insert((user.to_owned(), name.to_owned()), value.to_owned());
            }
        }
        for ((user, name), value) in new {
            self.told += 1;
            let before = self.people.entry(user).or_default().insert(name, value.clone());
            self.redundant += usize::from(before == Some(value));
        }
    }
}

impl Http for Registry {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Reply, SendError>> {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        let mut state = self.state.lock().unwrap();
        let mood = if state.hostile { state.random.below(8) } else { 7 };
        if mood != 0 && mood != 1 {
            state.take(&body);
        }
        let late = Duration::from_millis(state.random.below(200));
        let clock = self.clock.clone();
        Box::pin(async move {
            clock.sleep(late).await;
            if mood == 2 || mood == 1 {
                return Err(SendError::Unknown { reason: "timed out".to_owned() });
            }
            let status = if mood == 0 { 503 } else { 201 };
            let bad = body.lines().enumerate().filter(|(_, line)| line.contains("=bad"));
            let refused = bad.map(|(index, _)| index.to_string()).collect::<Vec<_>>().join("\n");
            let body = Bytes::from(if status == 201 { refused } else { String::new() });
            Ok(Reply { status, headers: http::HeaderMap::new(), body, received_at: clock.now() })
        })
    }
}

impl Destination for Registry {
    fn limits(&self) -> Limits {
        Limits { objects_per_request: 10, requests_in_flight: 3, ..self.inner.limits() }
    }

    fn encode(&self, batch: &[Delivery]) -> Result<Encoded, EncodeError> {
        self.inner.encode(batch)
    }

    fn judge(&self, batch: &[Delivery], reply: &Reply) -> Vec<Verdict> {
        self.inner.judge(batch, reply)
    }

    fn budget(&self, _: &Reply) -> Option<Budget> {
        None
    }

    fn probe(&self) -> Request {
        self.inner.probe()
    }

    fn check(&self, message: &Message) -> Result<(), String> {
        self.inner.check(message)
    }

    fn account(&self) -> String {
        "registry".to_owned()
    }

    fn is_mirrored(&self, message: &Message) -> bool {
        message.section == Section(0)
    }

    fn differences(&self, run: &[&Message], told: Option<&Told>) -> Vec<Difference> {
        let Some(told) = told else { return vec![Difference::Whole; run.len()] };
        let said: Vec<_> = run.iter().map(|m| attributes(&m.payload).unwrap()).collect();
        let mut last: BTreeMap<&str, &str> = BTreeMap::new();
        last.extend(said.iter().flat_map(|(_, pairs)| pairs.iter().copied()));
        let has = |name: &str, value: &str| told.values.get(name).is_some_and(|has| has == value);
        last.retain(|name, value| !has(name, value));
        // What goes there and back in objects that are sent stays, as the contract wants it.
        loop {
            let before = last.len();
            for (_, pairs) in &said {
                if pairs.iter().any(|(name, _)| last.contains_key(name)) {
                    last.extend(pairs.iter().copied().filter(|(name, value)| !has(name, value)));
                }
            }
            if last.len() == before {
                break;
            }
        }
        let difference = |(user, pairs): &(&str, Vec<(&str, &str)>)| {
            let kept: Vec<_> = pairs.iter().filter(|(name, _)| last.contains_key(name)).collect();
            let attributes = (pairs.len() - kept.len()) as u64;
            let saved = Saved { attributes, points: attributes };
            let said: Vec<_> = kept.iter().map(|(name, value)| format!("{name}={value}")).collect();
            match kept.len() {
                0 => Difference::Nothing { saved },
                all if all == pairs.len() => Difference::Whole,
                _ => Difference::Part { payload: format!("{user} {}", said.join(",")), saved },
            }
        };
        said.iter().map(difference).collect()
    }

    fn retold(&self, told: Option<&Told>, run: &[(&Message, Answered)]) -> Option<Told> {
        let mut told = told.cloned();
        for (message, answered) in run {
            let (user, pairs) = attributes(&message.payload).unwrap();
            if told.is_none() && *answered == Answered::Unknown {
                continue;
            }
            let known = told.get_or_insert_with(|| Told {
                identifier: user.to_owned(),
                values: Values::default(),
            });
            assert_eq!(known.identifier, user);
            for (name, value) in pairs {
                let value = if *answered == Answered::Accepted { value } else { "" };
                known.values.insert(name, value);
            }
        }
        told
    }

    fn costs(&self, batch: &[Delivery]) -> Vec<Cost> {
        let points = |delivery: &Delivery| {
            attributes(&delivery.message.payload).map_or(1, |(_, pairs)| pairs.len() as u64)
        };
        batch.iter().map(|delivery| Cost { object: true, points: points(delivery) }).collect()
    }
}

/// Maps an event to the attributes, or to the event, that it is called.
#[derive(Debug)]
struct Sayings;

impl Mapping for Sayings {
    fn wants(&self, _: &Applied<'_>) -> Wants {
        Wants::Item
    }

    fn map(&self, item: &Applied<'_>, _: Option<&str>, out: &mut Vec<Mapped>) {
        let Applied::Event(event) = item else { return };
        let user = event.user_id.unwrap();
        out.push(Mapped::Deliver(Message {
            lane: Lane::of(user),
            section: Section(u8::from(event.event_type.starts_with('!'))),
            name: event.event_type.to_owned(),
            payload: format!("{user} {}", event.event_type),
            guarantee: Guarantee::AtLeastOnce,
            after: None,
        }));
    }
}

/// A mirror of which every state is kept, so that a crash may lose the last ones.
#[derive(Debug, Default)]
struct Versions(Mutex<Vec<MemoryMirror>>);

impl Versions {
    fn last(&self) -> MemoryMirror {
        self.0.lock().unwrap().last().cloned().unwrap_or_default()
    }

    fn lose(&self, count: usize) {
        let mut versions = self.0.lock().unwrap();
        let kept = versions.len().saturating_sub(count);
        versions.truncate(kept);
    }
}

impl MirrorStore for Versions {
    fn get(&self, lane: Lane) -> Result<Option<Arc<Told>>, StateError> {
        self.last().get(lane)
    }

    fn mark(&self) -> Result<Option<Mark>, StateError> {
        self.last().mark()
    }

    fn origin(&self) -> Result<Option<Origin>, StateError> {
        self.last().origin()
    }

    fn keep_origin(&self, origin: &Origin) -> Result<(), StateError> {
        let next = self.last().copied();
        next.keep_origin(origin)?;
        self.0.lock().unwrap().push(next);
        Ok(())
    }

    fn apply(&self, changes: &[Retold], mark: &Mark) -> Result<(), StateError> {
        let next = self.last().copied();
        next.apply(changes, mark)?;
        self.0.lock().unwrap().push(next);
        Ok(())
    }

    fn forget(&self, doubts: &[Doubt]) -> Result<u64, StateError> {
        let next = self.last().copied();
        let count = next.forget(doubts)?;
        self.0.lock().unwrap().push(next);
        Ok(count)
    }

    fn clear(&self) -> Result<(), StateError> {
        let next = self.last().copied();
        next.clear()?;
        self.0.lock().unwrap().push(next);
        Ok(())
    }
}

/// Everything that a crash leaves in place, apart from what it may take of the mirror.
struct Scene {
    bench: Bench,
    registry: Arc<Registry>,
    mirror: Arc<Versions>,
    mappings: u64,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let bench = Bench { journal: MemoryJournal::for_a_ledger(), ..Bench::new() };
        let state = Registered {
            random: SeededRandom::new(seed),
            hostile: false,
            people: People::new(),
            redundant: 0,
            told: 0,
            events: Vec::new(),
            bodies: Vec::new(),
        };
        let (inner, clock) = (Vendor::new(bench.clock.clone()), bench.clock.clone());
        let registry = Arc::new(Registry { inner, clock, state: Arc::new(Mutex::new(state)) });
        Self { bench, registry, mirror: Arc::default(), mappings: 1 }
    }

    /// Runs an engine while `scenario` lasts, and then kills it.
    async fn run<T>(&self, scenario: impl AsyncFnOnce(Handle) -> T) -> T {
        let parts = Parts {
            destination: self.registry.clone(),
            http: self.registry.clone(),
            ..self.bench.parts()
        };
        let spec = StreamSpec { mapping: Arc::new(Sayings), ..words("product") };
        let (engine, handle) = Engine::open(parts, vec![spec]).unwrap();
        let engine = engine.mirroring_in(self.mirror.clone(), self.mappings).unwrap();
        let engine = Box::pin(engine.run(CancellationToken::new()));
        drive(&self.bench.clock, async {
            tokio::select! {
                result = engine => panic!("engine ended: {result:?}"),
                outcome = scenario(handle) => outcome,
            }
        })
        .await
    }

    /// Says `text` and waits until all of it is settled; returns what arrived, request by request.
    async fn say(&self, text: &str) -> Vec<String> {
        self.state(|state| state.bodies.clear());
        self.run(async |handle| {
            // What is said before the stream is there is not its business.
            handle.wait_on_disk().await.unwrap();
            self.bench.append(text);
            handle.wait_idle().await.unwrap();
            handle.wait_on_disk().await.unwrap();
            assert!(handle.status().stream("product").unwrap().adds_up());
        })
        .await;
        self.state(|state| state.bodies.clone())
    }

    /// Adds to `mirror` what the ledger tells.
    fn refill(&self, mirror: &MemoryMirror, users_at_once: usize, everything: bool) -> Refilled {
        let mapping: Arc<dyn Mapping> = Arc::new(Sayings);
        let telling = Telling {
            destination: &*self.registry,
            source: Arc::new(self.bench.source.clone()),
            journal: &self.bench.journal,
            mappings: BTreeMap::from([("product".to_owned(), mapping)]),
            fingerprint: self.mappings,
            stop: CancellationToken::new(),
        };
        refill_by(users_at_once, mirror, &telling, everything).unwrap()
    }

    fn state<T>(&self, of: impl FnOnce(&mut Registered) -> T) -> T {
        of(&mut self.registry.state.lock().unwrap())
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_not_sent_again_and_counts_as_saved() {
    let scene = Scene::new(1);
    assert_eq!(
        scene.say("ana:plan=a,seats=1 bob:plan=a").await,
        ["ana plan=a,seats=1\nbob plan=a"]
    );
    let said = "ana:plan=a bob:plan=b ana:plan=a,seats=2 ana:!went";
    assert_eq!(scene.say(said).await, ["bob plan=b\nana seats=2\nana !went"]);
    let status = scene
        .run(async |handle| {
            handle.wait_idle().await.unwrap();
            handle.status()
        })
        .await;
    let stream = status.stream("product").unwrap();
    assert_eq!((stream.counts.delivered, stream.counts.discarded), (5, 1));
    assert_eq!(stream.discards[UNCHANGED], 1);
    let bill = stream.bill;
    assert_eq!((bill.objects, bill.objects_saved, bill.attributes_saved), (5, 1, 2));
    assert_eq!((bill.points, bill.points_saved, bill.requests), (6, 2, 2));
    let ledger = Ledger::new(Arc::new(scene.bench.journal.clone()));
    let offset = scene.bench.source.offsets()[1];
    let stories = ledger.stories(&[Place { offset, index: 0 }].into()).unwrap();
    assert_eq!(stories[0].state(), Became::Discarded);
}

#[tokio::test]
async fn repeats_make_room_for_what_is_new() {
    let scene = Scene::new(1);
    let users: Vec<String> = (0..100).map(|n| format!("u{n}")).collect();
    let all = |value: &dyn Fn(usize) -> u32| -> String {
        let words = users.iter().enumerate().map(|(n, user)| format!("{user}:v={}", value(n)));
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(scene.say(&all(&|_| 1)).await.len(), 10);
    // Every lane has something queued, so that repeats are found while requests are filled.
    let twice = format!("{} {}", all(&|_| 2), all(&|n| if n % 10 == 0 { 3 } else { 1 }));
    let bodies = scene.say(&twice).await;
    assert!(bodies.len() <= 12, "{bodies:?}");
    assert_eq!(scene.state(|state| state.redundant), 0);
}

#[tokio::test]
async fn of_a_refused_value_the_one_before_is_believed() {
    let scene = Scene::new(1);
    scene.say("ana:plan=a").await;
    assert_eq!(scene.say("ana:plan=bad").await, ["ana plan=bad"]);
    assert_eq!(scene.say("ana:plan=a").await, Vec::<String>::new());
    assert_eq!(scene.say("ana:plan=b").await, ["ana plan=b"]);
}

#[tokio::test]
async fn after_a_crash_users_of_open_requests_are_told_again_and_others_are_not() {
    let scene = Scene::new(1);
    scene.say("bob:plan=a").await;
    scene.say("ana:plan=a").await;
    scene.say("ana:plan=b").await;
    // What the mirror learned of ana since is lost.
    let plan = |told: Arc<Told>| told.values.get("plan").expect("it is told").to_owned();
    while scene.mirror.get(Lane::of("ana")).unwrap().map(plan).as_deref() == Some("b") {
        scene.mirror.lose(1);
    }
    assert_eq!(scene.say("ana:plan=a bob:plan=a").await, ["ana plan=a"]);
    scene.say("ana:plan=b").await;
    scene.mirror.lose(2);
    // The mapping is another one: nobody can say who was told what.
    let mut scene = Scene { mappings: 2, ..scene };
    assert_eq!(scene.say("bob:plan=a").await, ["bob plan=a"]);
    // A mirror without a mark, or one for somebody else's vendor, says nothing.
    scene.mirror = Arc::default();
    assert_eq!(scene.say("ana:plan=a bob:plan=a").await.len(), 1);
}

#[tokio::test]
async fn a_journal_that_was_trimmed_leaves_nothing_to_believe() {
    let mut scene = Scene::new(1);
    scene.say("ana:plan=a").await;
    scene.bench.journal = MemoryJournal::default();
    assert_eq!(scene.say("ana:plan=a").await, ["ana plan=a"]);
}

#[tokio::test]
async fn the_ledger_tells_what_the_mirror_does_not_know() {
    let mut scene = Scene::new(1);
    scene.say("ana:plan=a bob:plan=b").await;
    scene.say("ana:plan=c eve:plan=bad joe:!went").await;
    let mirror = scene.mirror.last();
    let bob = mirror.get(Lane::of("bob")).unwrap();
    mirror.forget(&[Doubt { lane: Lane::of("ana"), attributes: Vec::new() }]).unwrap();
    let refilled = scene.refill(&mirror, 9, false);
    let Refilled { since, users, added, lost } = refilled;
    assert_eq!((since.is_some(), users, added, lost), (true, 2, 1, 0));
    let plan = |mirror: &MemoryMirror, user: &str| {
        Some(mirror.get(Lane::of(user)).unwrap()?.values.get("plan")?.to_owned())
    };
    assert_eq!(plan(&mirror, "ana").as_deref(), Some("c"));
    assert_eq!(mirror.get(Lane::of("bob")).unwrap(), bob);
    // What the vendor was found not to have, the ledger does not make it have.
    let doubts = vec![Doubt { lane: Lane::of("bob"), attributes: Vec::new() }];
    let forgotten = scene
        .run(async |handle| {
            let forgotten = handle.forget(doubts, Why::NotThere).await;
            handle.wait_on_disk().await.unwrap();
            forgotten
        })
        .await;
    assert_eq!(forgotten, Ok(1));
    let wrong = scene.mirror.last();
    assert_eq!(scene.refill(&wrong, 9, false).users, 0);
    assert_eq!(plan(&wrong, "bob"), None);
    scene.mirror = Arc::new(Versions(Mutex::new(vec![mirror.copied()])));
    // As after the mirror was switched off and on: what is told is believed at the next start.
    mirror.clear().unwrap();
    assert_eq!(scene.refill(&mirror, 9, false).added, 2);
    scene.mirror = Arc::new(Versions(Mutex::new(vec![mirror.copied()])));
    assert_eq!(scene.say("ana:plan=c bob:plan=b").await, Vec::<String>::new());
    // Other mappings may have said something else.
    mirror.clear().unwrap();
    let mut scene = Scene { mappings: 2, ..scene };
    assert_eq!(scene.refill(&mirror, 9, false), Refilled::default());
    assert_eq!(plan(&mirror, "ana"), None);
    scene.mirror = Arc::new(Versions(Mutex::new(vec![mirror.copied()])));
    scene.say("eve:plan=e").await;
    let mirror = scene.mirror.last();
    mirror.clear().unwrap();
    assert_eq!(scene.refill(&mirror, 9, false).added, 1);
    assert_eq!((plan(&mirror, "ana"), plan(&mirror, "eve").as_deref()), (None, Some("e")));
    assert_eq!(scene.refill(&mirror, 9, true).added, 2);
    assert_eq!(plan(&mirror, "ana").as_deref(), Some("c"));
}

fn choose<'a>(random: &SeededRandom, of: &[&'a str]) -> &'a str {
    of[usize::try_from(random.below(of.len() as u64)).unwrap()]
}

fn sayings(random: &SeededRandom) -> String {
    let one = |_| {
        let user = choose(random, &["ana", "bob", "eve", "joe"]);
        let pair = |name: &str| format!("{name}={}", choose(random, &["1", "1", "2", "3"]));
        match random.below(5) {
            0 => format!("{user}:!e"),
            // Alone: what is reduced may be taken where the whole would be refused.
            4 => format!("{user}:plan=bad"),
            1 => format!("{user}:{},{}", pair("plan"), pair("seats")),
            2 => format!("{user}:{}", pair("seats")),
            _ => format!("{user}:{}", pair("plan")),
        }
    };
    (0..=random.below(6)).map(one).collect::<Vec<_>>().join(" ")
}

/// What was said last, of what is not refused.
fn said(people: &mut People, text: &str) {
    for word in text.split_whitespace() {
        let (user, said) = word.split_once(':').unwrap();
        if said.contains("bad") || said.starts_with('!') {
            continue;
        }
        for pair in said.split(',') {
            let (name, value) = pair.split_once('=').unwrap();
            people.entry(user.to_owned()).or_default().insert(name.to_owned(), value.to_owned());
        }
    }
}

/// The journal's mirror agrees with what the vendor has, as far as it claims anything.
fn check_claims(scene: &Scene, told: &dyn Fn(Lane) -> Option<Arc<Told>>) {
    scene.state(|state| {
        for (user, held) in &state.people {
            let Some(told) = told(Lane::of(user)) else { continue };
            assert_eq!(&told.identifier, user);
            for (name, value) in told.values.iter().filter(|(_, value)| !value.is_empty()) {
                assert_eq!(held.get(name).map(String::as_str), Some(value), "{user} {name}");
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 0, ..ProptestConfig::default() })]

    /// However the vendor answers, and wherever the program is killed.
    #[test]
    fn the_vendor_has_what_was_said_last_and_the_mirror_claims_nothing_else(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let scene = Scene::new(seed);
            let random = SeededRandom::new(seed ^ 7);
            let mut people = People::new();
            scene.run(async |handle| handle.wait_on_disk().await.unwrap()).await;
            for _ in 0..12 {
                scene.state(|state| state.hostile = true);
                scene.run(async |_| {
                    for _ in 0..random.below(12) {
                        let text = sayings(&random);
                        said(&mut people, &text);
                        scene.bench.append(&text);
                        scene.bench.clock.sleep(Duration::from_millis(random.below(400))).await;
                    }
                })
                .await;
                scene.mirror.lose(usize::try_from(random.below(4)).unwrap());
            }
            scene.state(|state| state.hostile = false);
            scene.run(async |handle| {
                handle.wait_idle().await.unwrap();
                assert!(handle.status().stream("product").unwrap().adds_up());
            })
            .await;
            let held = scene.state(|state| state.people.clone());
            prop_assert_eq!(held, people);
            check_claims(&scene, &|lane| scene.mirror.get(lane).unwrap());
            let rebuilt = MemoryMirror::default();
            let refilled = scene.refill(&rebuilt, usize::MAX, true);
            check_claims(&scene, &|lane| rebuilt.get(lane).unwrap());
            // The same, read for a few at a time; and nobody is added who is known.
            let by_parts = MemoryMirror::default();
            prop_assert_eq!(scene.refill(&by_parts, 1, true), refilled);
            for user in ["ana", "bob", "eve", "joe"].map(Lane::of) {
                prop_assert_eq!(by_parts.get(user).unwrap(), rebuilt.get(user).unwrap());
            }
            prop_assert_eq!(refilled.added, by_parts.len() as u64);
            prop_assert_eq!(scene.refill(&by_parts, 9, true), Refilled { added: 0, ..refilled });
            // Once all is well, nothing is said twice.
            let (told, random) = (scene.state(|state| (state.redundant, state.told)).1, &random);
            scene.say("ana:plan=9,seats=9 bob:plan=9,seats=9 eve:plan=9,seats=9 joe:plan=9,seats=9").await;
            let before = scene.state(|state| state.redundant);
            for _ in 0..20 {
                // One that is refused stands between two that are not, and what goes there and back
                // is sent where a part of it is.
                let text = sayings(random).replace("bad", "4");
                let single = |word: &str| word.split(',').next().unwrap_or_default().to_owned();
                let words: Vec<_> = text.split_whitespace().map(single).collect();
                scene.say(&words.join(" ")).await;
            }
            scene.state(|state| {
                prop_assert_eq!(state.redundant, before);
                prop_assert!(state.told > told);
                Ok(())
            })
        })?;
    }
}
