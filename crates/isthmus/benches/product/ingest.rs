//! Durable ingest over HTTP: batches of 100 events of about 800 bytes, on disk before the answer; as
//! SDKs upload them, or as Braze Currents posts them.

use crate::histogram::Histogram;
use crate::load::{Connection, closed_loop};
use crate::process::{Process, folder, now, own_cpu, pause};
use crate::{ask, disk};
use anyhow::Context;
use isthmus_core::seam::{Clock, Random, SeededRandom};
use isthmus_server::system::SystemClock;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const API_KEY: &str = "bench-key";
const EVENTS_PER_REQUEST: usize = 100;
const CONNECTIONS: u64 = 16;
/// Users who send, anybody at any time.
const USERS: u64 = 100_000;

const RESOURCES: &str = "kind: project\nname: bench\napi_key: bench-key\n---\n\
                         kind: currents_source\nname: posts\nproject: bench\nopen: true\n";

/// Whose events they are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Traffic {
    Sdks,
    Currents,
}

impl Traffic {
    async fn connect(self, address: &str, seed: u64, events: usize) -> anyhow::Result<Connection> {
        match self {
            Self::Sdks => {
                Connection::open(address, "/2/httpapi", API_KEY, seed, USERS, events).await
            }
            Self::Currents => {
                Connection::telling(address, "/currents/http/posts", seed, events).await
            }
        }
    }
}

pub(crate) async fn run(smoke: bool, traffic: Traffic) -> anyhow::Result<()> {
    let span = Duration::from_secs(if smoke { 1 } else { 20 });
    let folder = folder()?;
    let resources = folder.path().join("bench.yaml");
    std::fs::write(&resources, RESOURCES)?;
    let data = folder.path().join("data");
    let (data, resources) = (data.to_string_lossy(), resources.to_string_lossy());
    let arguments = ["--data-dir", &*data, "--listen", "127.0.0.1:0", "--resources", &*resources];
    let server = Process::start("serve", folder.path(), &arguments).await?;

    let clock = Arc::new(SystemClock::new());
    let mut tasks = JoinSet::new();
    let mut bytes_per_request = 0;
    let (server_cpu, own_cpu_before) = (server.cpu()?, own_cpu()?);
    let started = now();
    let until = started + span;
    for seed in 0..CONNECTIONS {
        let connection = traffic.connect(server.address(), seed + 1, EVENTS_PER_REQUEST).await?;
        bytes_per_request = connection.body_len();
        let (clock, random) = (clock.clone(), SeededRandom::new(seed + 1));
        let anybody = move || random.below(USERS);
        tasks.spawn(closed_loop(connection, until, anybody, move || clock.now()));
    }
    let (mut requests, mut latencies) = (0, Histogram::default());
    while let Some(finished) = tasks.join_next().await {
        let (count, measured) = finished??;
        requests += count;
        latencies.join(measured);
    }
    let took = started.elapsed().as_secs_f64();
    let server_cpu = server.cpu()?.saturating_sub(server_cpu).as_secs_f64();
    let own = own_cpu()?.saturating_sub(own_cpu_before).as_secs_f64();
    let events = requests * EVENTS_PER_REQUEST as u64;
    let applied = applied(&server).await?;
    let drain = now();
    wait_applied(&server, events).await?;
    let drained = drain.elapsed().as_secs_f64();

    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let (events_f, requests_f, applied_f) = (events as f64, requests as f64, applied as f64);
    println!(
        "durable ingest, {traffic:?}: {CONNECTIONS} connections, {EVENTS_PER_REQUEST} events of {} bytes a request, {USERS} users, {took:.1} s",
        bytes_per_request / EVENTS_PER_REQUEST
    );
    println!("  events/s           {:>10.0}", events_f / took);
    println!("  requests/s         {:>10.0}", requests_f / took);
    println!("  answer p50         {:>10.1?}", latencies.quantile(0.50));
    println!("  answer p99         {:>10.1?}", latencies.quantile(0.99));
    println!("  requests measured  {:>10}", latencies.len());
    println!("  server CPU         {:>10.2} cores", server_cpu / took);
    println!("  generator CPU      {:>10.2} cores", own / took);
    println!("  server peak memory {:>10} MiB", server.peak_memory_mib()?);
    println!("  applied meanwhile  {:>10.0} events/s", applied_f / took);
    println!("  rest applied in    {drained:>10.1} s");
    for block in [80_000, 1 << 20] {
        let rate = disk::synced_write_rate(folder.path(), block, Duration::from_secs(2))?;
        println!("  limit: this disk, {block} bytes a sync: {:.0} MB/s", rate / 1e6);
    }
    let mut alone = traffic.connect(server.address(), 999, 1).await?;
    let mut single = Histogram::default();
    for _ in 0..(if smoke { 10 } else { 1_000 }) {
        single.add(alone.post(clock.now()).await?);
    }
    println!(
        "  one event a request, one connection: p50 {:.2?}, p99 {:.2?}",
        single.quantile(0.5),
        single.quantile(0.99)
    );
    Ok(())
}

/// Events the applier has applied, from the server's metrics.
pub(crate) async fn applied(server: &Process) -> anyhow::Result<u64> {
    metric(server, "isthmus_applier_items_total{kind=\"event\"}").await
}

pub(crate) async fn wait_applied(server: &Process, events: u64) -> anyhow::Result<()> {
    while applied(server).await? < events {
        pause(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn metric(server: &Process, name: &str) -> anyhow::Result<u64> {
    let text = ask::get(format!("{}/metrics", server.url), None).await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    let value: f64 = value.trim().parse().with_context(|| format!("{name} is not a number"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
    Ok(value as u64)
}
