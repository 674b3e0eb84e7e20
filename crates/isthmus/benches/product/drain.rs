//! How fast a backlog drains: into a Braze without limits, and into one with the documented limit.

use crate::backlog::{Pair, To};
use crate::process::{folder, now};

/// Requests in 3 seconds, by contract ("/users/track", Braze documentation, read 2026-09).
const DOCUMENTED: u32 = 3_000;
/// Objects in a request.
const PER_REQUEST: u32 = 75;

pub(crate) async fn run(smoke: bool) -> anyhow::Result<()> {
    let events = if smoke { 4_000 } else { 1_000_000 };
    println!("drain of a backlog of {events} events, {PER_REQUEST} objects a request");
    drain(events, "no limit", 1_000_000, &["--rates", "off"]).await?;
    // What two cores that also run the emulator can do lies below the documented limit; a third of
    // it shows how much of a limit is used.
    for limit in [DOCUMENTED, DOCUMENTED / 3] {
        let argument = limit.to_string();
        let arguments = ["--rates", "datapoint", "--track-per-3s", &*argument];
        drain(events, &format!("{limit} requests in 3 s"), limit, &arguments).await?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
async fn drain(events: u64, name: &str, per_3s: u32, sandbox: &[&str]) -> anyhow::Result<()> {
    let folder = folder()?;
    let limits = format!("requests_per_3s: {per_3s}");
    let pair = Pair::start(folder.path(), To::Braze, sandbox, &limits, "").await?;
    pair.fail(true).await?;
    pair.upload(events).await?;
    crate::ingest::wait_applied(&pair.server, events).await?;
    let before = pair.stream().await?;
    pair.fail(false).await?;
    let cpu = (pair.server.cpu()?, pair.sandbox.cpu()?);
    let started = now();
    pair.resume().await?;
    let stream = pair.delivered(events).await?;
    let took = started.elapsed().as_secs_f64();
    let of = |name: &str| {
        stream[name].as_u64().unwrap_or(0).saturating_sub(before[name].as_u64().unwrap_or(0)) as f64
    };
    println!("  {name}: {took:.1} s");
    println!("    events/s          {:>10.0}", of("delivered") / took);
    println!("    requests/s        {:>10.0}", of("requests") / took);
    let cores =
        |used: std::time::Duration, before| used.saturating_sub(before).as_secs_f64() / took;
    println!("    server CPU        {:>10.2} cores", cores(pair.server.cpu()?, cpu.0));
    println!("    sandbox CPU       {:>10.2} cores", cores(pair.sandbox.cpu()?, cpu.1));
    println!("    server peak memory{:>10} MiB", pair.server.peak_memory_mib()?);
    let legal = f64::from(per_3s) / 3.0;
    if per_3s < 1_000_000 {
        println!("    of the legal rate {:>9.1} %", of("requests") / took / legal * 100.0);
        println!("    refused (429)     {:>10}", of("retries"));
    }
    Ok(())
}
