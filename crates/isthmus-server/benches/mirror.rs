//! What the mirror costs and what it spares: `cargo xtask bench mirror` runs this.
//!
//! First, how many users a second it is decided for what differs from what they were told, with all
//! of them in the state store. Then a trace of nine repeats in ten through the dispatcher: how many
//! attributes were sent that Braze had already.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use anyhow::{Context, anyhow, ensure};
use isthmus_braze::Braze;
use isthmus_config::resource::{BrazeDestination, BrazeLimits, OnErasure};
use isthmus_config::{Secret, SecretRef};
use isthmus_core::destination::{
    Answered, Destination, Difference, Guarantee, Lane, Mapped, Message, Section, Verdict,
};
use isthmus_core::seam::{Backoff, Random, SeededRandom};
use isthmus_core::{Place, Timestamp, json};
use isthmus_delivery::dispatcher::{
    Dispatcher, Ending, Extent, Manner, Moment, Rules, UNCHANGED, Window,
};
use isthmus_delivery::governor::SharedGovernor;
use isthmus_delivery::journal::Checkpoint;
use isthmus_delivery::mirror::{MirrorStore, Retold};
use isthmus_state::State;
use isthmus_state::mirror::{Mark, Mirror};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One in so many says something new.
const NEWS: u64 = 10;
/// Objects of a request.
const REQUEST: usize = 75;
const NOW: Moment =
    Moment { monotonic: Duration::from_secs(1), wall: Timestamp::from_millis(1_770_000_000_000) };

fn main() -> anyhow::Result<()> {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let (users, decisions, objects) =
        if smoke { (2_000, 4_000, 4_000) } else { (1_000_000, 1_000_000, 400_000) };
    let braze = Arc::new(braze()?);
    let folder = tempfile::tempdir()?;
    let state = State::open(folder.path())?;
    let mirror = Mirror::open(&state, "braze")?;
    decide(&braze, &mirror, users, decisions)?;
    let other = tempfile::tempdir()?;
    repeat(&braze, other.path(), users.min(20_000), objects)
}

fn braze() -> anyhow::Result<Braze> {
    let destination = BrazeDestination {
        endpoint: "US-05".to_owned(),
        rest_key: SecretRef::Literal(Secret::new("key")),
        app_id: None,
        identify_settle: Duration::from_secs(1),
        on_erasure: OnErasure::Delete,
        mirror: true,
        limits: BrazeLimits::default(),
    };
    Braze::build(&destination, "key").map_err(|problems| anyhow!("{problems:?}"))
}

fn mark() -> Mark {
    Mark { recipient: "bench".to_owned(), mappings: 0, position: 0, covers: true }
}

/// What is said of a user: `version` changes one of six attributes.
fn message(user: u64, version: u64) -> Message {
    let payload = format!(
        r#"{{"external_id":"user-{user:07}","plan":"pro","seats":{version},"city":"Ulm","score":12.5,"segments":["loyal","mobile"],"trial":false}}"#
    );
    Message {
        lane: Lane::of(&format!("external_id:user-{user:07}")),
        section: Section(0),
        name: "user update".to_owned(),
        payload,
        guarantee: Guarantee::AtLeastOnce,
        after: None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = std::time::Instant::now();
    let done = work();
    (done, started.elapsed())
}

/// Decisions for users at random, of whom all are in the store.
fn decide(braze: &Braze, mirror: &Mirror, users: u64, decisions: u64) -> anyhow::Result<()> {
    println!("mirror: {decisions} decisions for {users} users in the state store");
    let mut versions: HashMap<u64, u64> = HashMap::new();
    let mut told = Vec::new();
    for user in 0..users {
        let message = message(user, 0);
        let known = braze.retold(None, &[(&message, Answered::Accepted)]).context("it is told")?;
        told.push((message.lane, Some(Arc::new(known))));
        if told.len() == 10_000 || user + 1 == users {
            mirror.apply(&std::mem::take(&mut told), &mark())?;
        }
    }
    let random = SeededRandom::new(7);
    let said: Vec<(Message, bool)> = (0..decisions)
        .map(|_| {
            let user = random.below(users);
            let version = versions.entry(user).or_default();
            let news = random.below(NEWS) == 0;
            *version += u64::from(news);
            (message(user, *version), news)
        })
        .collect();
    let (differing, took) = timed(|| -> anyhow::Result<u64> {
        let mut changes: Vec<Retold> = Vec::new();
        let mut differing = 0;
        for (message, news) in &said {
            let known = mirror.get(message.lane)?;
            let difference = braze.differences(&[message], known.as_deref()).pop();
            let differs = !matches!(difference, Some(Difference::Nothing { .. }));
            ensure!(differs || !news, "something new was not found");
            if differs {
                differing += 1;
                let after = braze.retold(known.as_deref(), &[(message, Answered::Accepted)]);
                changes.push((message.lane, after.map(Arc::new)));
            }
            // One user may be in it twice, as in no request.
            if changes.len() == REQUEST {
                mirror.apply(&std::mem::take(&mut changes), &mark())?;
            }
        }
        Ok(differing)
    });
    let differing = differing?;
    println!("  {:>9.0} users/s, {differing} of them with news", per_second(decisions, took));
    Ok(())
}

/// A trace of repeats through the dispatcher, and what of it a vendor sees that takes everything.
fn repeat(braze: &Arc<Braze>, folder: &Path, users: u64, objects: u64) -> anyhow::Result<()> {
    println!("mirror: {objects} objects of {users} users, nine in ten say nothing new");
    let mirror = Arc::new(Mirror::open(&State::open(folder)?, "braze")?);
    let backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_mins(1) };
    let mut limits = braze.limits();
    (limits.rates, limits.linger) = (Vec::new(), Duration::ZERO);
    let rules = Rules { limits, backoff, window: Window::default() };
    let governor = SharedGovernor::new(&rules.limits);
    let mut dispatcher = Dispatcher::new("bench", rules, governor, Checkpoint::default(), NOW)
        .billed_by(braze.clone());
    dispatcher.mirror_in(mirror.clone());
    let log = Extent { start: 0, end: 0 };
    let stream = dispatcher.add_stream("product".into(), Manner::default(), log)?;
    let (random, mut versions) = (SeededRandom::new(7), HashMap::new());
    let mut items = (0..objects)
        .map(|_| {
            let user = random.below(users);
            let version = versions.entry(user).or_insert(0);
            *version += u64::from(random.below(NEWS) == 0);
            message(user, *version)
        })
        .collect::<Vec<_>>()
        .into_iter()
        .zip(0u32..)
        .peekable();
    let mut vendor: HashMap<Lane, HashMap<String, String>> = HashMap::new();
    let (mut told, mut redundant, mut offset) = (0u64, 0u64, 0);
    let (outcome, took) = timed(|| -> anyhow::Result<()> {
        let mut letters = Vec::new();
        while items.peek().is_some() || !dispatcher.is_idle(offset) {
            for (message, index) in items.by_ref().take(1_000) {
                let (place, mut mapped) = (Place { offset, index }, vec![Mapped::Deliver(message)]);
                dispatcher.take(stream, place, NOW.wall, &mut mapped, NOW, &mut letters);
            }
            offset += 1_000_000;
            dispatcher.advance(stream, offset);
            while let Some(id) = dispatcher.start(NOW) {
                // Of one user's objects in a request the last values are what is told.
                let mut request: HashMap<(Lane, String), String> = HashMap::new();
                for delivery in dispatcher.batch(id) {
                    for (name, value) in json::members(&delivery.message.payload).skip(1) {
                        let key = (delivery.message.lane, name.into_owned());
                        request.insert(key, value.to_owned());
                    }
                }
                for ((lane, name), value) in request {
                    told += 1;
                    let before = vendor.entry(lane).or_default().insert(name, value.clone());
                    redundant += u64::from(before == Some(value));
                }
                let verdicts = vec![Verdict::Accepted; dispatcher.batch(id).len()];
                let message = String::new();
                let ending = Ending::Judged { status: 201, message, verdicts, budget: None };
                dispatcher.finish(id, &ending, Duration::ZERO, NOW, 7, &mut letters);
                MirrorStore::apply(&*mirror, &dispatcher.take_told(), &mark())?;
            }
            drop(dispatcher.take_entry(NOW));
        }
        Ok(())
    });
    outcome?;
    let status = dispatcher.status(&"bench".into(), NOW);
    let stream = status.stream("product").context("it was added")?;
    let unchanged = stream.discards.get(UNCHANGED).copied().unwrap_or_default();
    println!("  {:>9.0} objects/s, {unchanged} not sent", per_second(objects, took));
    println!("  {told:>9} attributes sent, {} spared", stream.bill.attributes_saved);
    println!("  {redundant:>9} attributes sent that Braze had");
    ensure!(redundant == 0, "something was sent that Braze had");
    Ok(())
}
