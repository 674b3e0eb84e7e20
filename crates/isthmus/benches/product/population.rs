//! A server that knows many users, each with properties of their own.

use crate::ingest::applied;
use crate::load::Connection;
use crate::process::{Process, now, pause};
use anyhow::ensure;
use isthmus_core::seam::{Clock, Random, SeededRandom};
use isthmus_server::system::SystemClock;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Users unless `--users` says otherwise.
pub(crate) const USERS: u64 = 1_000_000;
/// Users when a run is only to see that it runs.
pub(crate) const USERS_SMOKE: u64 = 2_000;
/// What the generator can number in the eight digits that it has.
const USERS_MAX: u64 = 100_000_000;
pub(crate) const SECRET_KEY: &str = "bench-secret";
pub(crate) const EVENTS_PER_REQUEST: u64 = 100;
pub(crate) const CONNECTIONS: u64 = 16;
const API_KEY: &str = "bench-key";
/// Events that may wait for the applier while users are made, so that the log stays small.
const AHEAD_MAX: u64 = 500_000;
/// Between two looks at how far the applier is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Starts a server with one project, which has a secret key.
pub(crate) async fn start(folder: &Path) -> anyhow::Result<Process> {
    let text = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (key, resources, data) = (text("secret.key"), text("bench.yaml"), text("data"));
    std::fs::write(&key, SECRET_KEY)?;
    let project =
        format!("kind: project\nname: bench\napi_key: {API_KEY}\nsecret_key: {{ file: {key} }}\n");
    std::fs::write(&resources, project)?;
    let arguments = ["--data-dir", &*data, "--listen", "127.0.0.1:0", "--resources", &*resources];
    Process::start("serve", folder, &arguments).await
}

/// Signs up `users` users through the door and waits until all of them are applied.
pub(crate) async fn fill(server: &Process, users: u64) -> anyhow::Result<Duration> {
    ensure!(users <= USERS_MAX, "--users is at most {USERS_MAX}");
    let started = now();
    let clock = Arc::new(SystemClock::new());
    // What the connections may take up to; what they took.
    let (allowed, taken) = (Arc::new(AtomicU64::new(AHEAD_MAX)), Arc::new(AtomicU64::new(0)));
    let requests = users.div_ceil(EVENTS_PER_REQUEST);
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for seed in 0..CONNECTIONS {
        let per_request = usize::try_from(EVENTS_PER_REQUEST)?;
        let address = server.address();
        let mut connection =
            Connection::signing_up(address, API_KEY, seed + 1, per_request).await?;
        let (clock, allowed, taken) = (clock.clone(), allowed.clone(), taken.clone());
        tasks.spawn(async move {
            loop {
                let request = taken.fetch_add(1, Ordering::Relaxed);
                if request >= requests {
                    return Ok(());
                }
                let first = request * EVENTS_PER_REQUEST;
                while first >= allowed.load(Ordering::Relaxed) {
                    pause(LOOK_EVERY).await;
                }
                let mut next = first;
                connection.set_users(|| {
                    next += 1;
                    (next - 1) % users
                });
                connection.post(clock.now()).await?;
            }
        });
    }
    let events = requests * EVENTS_PER_REQUEST;
    loop {
        while let Some(finished) = tasks.try_join_next() {
            finished??;
        }
        let done = applied(server).await?;
        if done >= events {
            return Ok(started.elapsed());
        }
        allowed.store(done + AHEAD_MAX, Ordering::Relaxed);
        pause(LOOK_EVERY).await;
    }
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Senders {
    /// Anybody at any time: the hardest there is, because nobody sends twice within a while.
    Anybody = 1,
    /// As people use products: a few are there at a time, send some events each, and are followed by
    /// others.
    Sessions = 2,
}

/// Users of one connection who are there at a time, and events that each sends before others come.
const SESSIONS_AT_ONCE: u64 = 2_000;
const EVENTS_PER_SESSION: u64 = 20;

/// Posts mixed traffic of all users as fast as it is taken, until `until`; returns the events.
pub(crate) async fn traffic(
    address: &str,
    users: u64,
    senders: Senders,
    until: Instant,
) -> anyhow::Result<u64> {
    let clock = Arc::new(SystemClock::new());
    let mut tasks: JoinSet<anyhow::Result<u64>> = JoinSet::new();
    for seed in 0..CONNECTIONS {
        let per_request = usize::try_from(EVENTS_PER_REQUEST)?;
        // Other seeds than those of the sign-ups and of other senders, so that no insert id comes
        // twice.
        let seed = CONNECTIONS * (1 + senders as u64) + seed + 1;
        let mut connection =
            Connection::open(address, "/2/httpapi", API_KEY, seed, users, per_request).await?;
        let (clock, random) = (clock.clone(), SeededRandom::new(seed));
        tasks.spawn(async move {
            let (mut events, first) = (0, random.below(users));
            let at_once = SESSIONS_AT_ONCE.min(users);
            while now() < until {
                connection.set_users(|| match senders {
                    Senders::Anybody => random.below(users),
                    Senders::Sessions => {
                        (first + events / EVENTS_PER_SESSION + random.below(at_once)) % users
                    }
                });
                connection.post(clock.now()).await?;
                events += EVENTS_PER_REQUEST;
            }
            Ok(events)
        });
    }
    let mut events = 0;
    while let Some(finished) = tasks.join_next().await {
        events += finished??;
    }
    Ok(events)
}
