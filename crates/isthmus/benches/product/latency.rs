//! From the event's arrival to Braze's answer: 5,000 events a second for a minute, one stream.

use crate::ask;
use crate::load::Connection;
use crate::process::{Process, folder, now, own_cpu, pause};
use isthmus_core::seam::Clock;
use isthmus_server::system::SystemClock;
use std::time::Duration;

const EVENTS_PER_SECOND: u64 = 5_000;
const EVENTS_PER_REQUEST: u64 = 10;
const USERS: u64 = 20_000;

pub(crate) async fn run(smoke: bool) -> anyhow::Result<()> {
    let span = Duration::from_secs(if smoke { 2 } else { 60 });
    let folder = folder()?;
    let sandbox = Process::start(
        "sandbox",
        folder.path(),
        &["--listen", "127.0.0.1:0", "--apply-delay", "0ms"],
    )
    .await?;
    let resources = folder.path().join("bench.yaml");
    std::fs::write(&resources, resource_text(&sandbox.url))?;
    let data = folder.path().join("data");
    let (data, resources) = (data.to_string_lossy(), resources.to_string_lossy());
    let arguments = ["--data-dir", &*data, "--listen", "127.0.0.1:0", "--resources", &*resources];
    let server = Process::start("serve", folder.path(), &arguments).await?;

    let clock = SystemClock::new();
    let mut connection = Connection::open(
        server.address(),
        "/2/httpapi",
        "bench-key",
        1,
        USERS,
        usize::try_from(EVENTS_PER_REQUEST)?,
    )
    .await?;
    let every = Duration::from_secs(1) / u32::try_from(EVENTS_PER_SECOND / EVENTS_PER_REQUEST)?;
    let cpu = (server.cpu()?, sandbox.cpu()?, own_cpu()?);
    let started = now();
    let mut requests = 0u32;
    while started.elapsed() < span {
        let due = every * requests;
        let early = due.saturating_sub(started.elapsed());
        if early > Duration::from_micros(500) {
            pause(early).await;
        }
        connection.post(clock.now()).await?;
        requests += 1;
    }
    let sent = u64::from(requests) * EVENTS_PER_REQUEST;
    let took = started.elapsed().as_secs_f64();
    let token = std::fs::read_to_string(folder.path().join("data").join("control.token"))?;
    let status = loop {
        let url = format!("{}/control/v1/streams", server.url);
        let streams: serde_json::Value =
            serde_json::from_str(&ask::get(url, Some(token.trim())).await?)?;
        let stream = streams["streams"][0].clone();
        if stream["pending"] == 0 && stream["accepted"].as_u64() >= Some(sent) {
            break stream;
        }
        pause(Duration::from_millis(50)).await;
    };
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let rate = sent as f64 / took;
    println!(
        "ingest to Braze's answer: {EVENTS_PER_REQUEST} events a request, {took:.1} s, {sent} events"
    );
    println!("  events/s          {rate:>10.0}");
    for name in ["p50", "p95", "p99"] {
        println!(
            "  {name}               {:>10.1} ms",
            status["latency_seconds"][name].as_f64().unwrap_or(f64::NAN) * 1e3
        );
    }
    println!("  delivered         {:>10}", status["delivered"]);
    println!("  requests to Braze {:>10}", status["requests"]);
    println!(
        "  server CPU        {:>10.2} cores",
        server.cpu()?.saturating_sub(cpu.0).as_secs_f64() / took
    );
    println!(
        "  sandbox CPU       {:>10.2} cores",
        sandbox.cpu()?.saturating_sub(cpu.1).as_secs_f64() / took
    );
    println!(
        "  generator CPU     {:>10.2} cores",
        own_cpu()?.saturating_sub(cpu.2).as_secs_f64() / took
    );
    println!("  server peak memory{:>10} MiB", server.peak_memory_mib()?);
    Ok(())
}

fn resource_text(sandbox: &str) -> String {
    format!(
        "kind: project\nname: bench\napi_key: bench-key\n---\n\
         kind: destination\nname: braze\ntype: braze\nendpoint: {sandbox}\nrest_key: sandbox-key\napp_id: app\n---\n\
         kind: stream\nname: events\nproject: bench\ndestination: braze\nenabled: true\n\
         identify_by: {{ from: user_id, to: external_id }}\n\
         send_events:\n  events: [{{ name: Order Completed }}, {{ name: Product Viewed }}, {{ name: Product Added }}, {{ name: Page Viewed }}, {{ name: Search Performed }}, {{ name: Checkout Started }}, {{ name: Signed Up }}]\n  \
         event_properties: [order_id, total, currency, items]\n"
    )
}
