//! How fast events go on to Amplitude, and how much of what it documents as its limits that uses.

use crate::ask;
use crate::backlog::{Pair, To};
use crate::process::{folder, now, pause};
use serde_json::Value;
use std::time::Duration;

/// What Amplitude takes of one project in a second, and of one user or device on average over 30
/// seconds ("HTTP V2 API", "Batch Event Upload API", Amplitude documentation, read 2026-03).
struct Documented {
    upload: &'static str,
    of_project: f64,
    of_one: f64,
}

const HTTP_V2: Documented = Documented { upload: "http_v2", of_project: 50_000.0, of_one: 30.0 };
const BATCH: Documented = Documented { upload: "batch", of_project: 100_000.0, of_one: 1_000.0 };

/// So many that nobody has to wait for their own limit.
const USERS: u64 = 100_000;
/// Users who sent more than Amplitude takes of them at once.
const BUSY: u64 = 100;
/// Their averages are looked at over this long: several windows of Amplitude's.
const BUSY_FOR: Duration = Duration::from_secs(90);

pub(crate) async fn run(smoke: bool) -> anyhow::Result<()> {
    let events = if smoke { 4_000 } else { 1_000_000 };
    println!("forwarding a backlog of {events} events of {USERS} users to Amplitude");
    for limits in [HTTP_V2, BATCH] {
        everybody(events, &limits).await?;
    }
    let busy_for = if smoke { Duration::from_secs(1) } else { BUSY_FOR };
    println!("forwarding of {BUSY} users who each wait for more than Amplitude takes of one");
    busy(busy_for, &HTTP_V2).await
}

/// A backlog of many people.
async fn everybody(events: u64, limits: &Documented) -> anyhow::Result<()> {
    let folder = folder()?;
    let pair = waiting(folder.path(), USERS, events, limits).await?;
    let before = pair.stream().await?;
    let cpu = (pair.server.cpu()?, pair.sandbox.cpu()?);
    let started = now();
    pair.fail(false).await?;
    pair.resume().await?;
    let stream = pair.delivered(events).await?;
    let took = started.elapsed().as_secs_f64();
    let rate = rate(&stream, &before, "delivered", took);
    println!("  upload: {}, {took:.1} s", limits.upload);
    println!("    events/s            {rate:>10.0}");
    println!("    requests/s          {:>10.1}", self::rate(&stream, &before, "requests", took));
    println!("    of a project's limit{:>9.1} %", rate / limits.of_project * 100.0);
    let cores = |used: Duration, before| used.saturating_sub(before).as_secs_f64() / took;
    println!("    server CPU          {:>10.2} cores", cores(pair.server.cpu()?, cpu.0));
    println!("    sandbox CPU         {:>10.2} cores", cores(pair.sandbox.cpu()?, cpu.1));
    println!("    server peak memory  {:>10} MiB", pair.server.peak_memory_mib()?);
    taken(&pair, limits).await
}

/// A backlog of a few, who are paced one by one.
async fn busy(span: Duration, limits: &Documented) -> anyhow::Result<()> {
    let folder = folder()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousands")]
    let most = (limits.of_one * (span.as_secs_f64() + 60.0)) as u64 * BUSY;
    let pair = waiting(folder.path(), BUSY, most.next_multiple_of(2_000), limits).await?;
    let before = pair.stream().await?;
    let started = now();
    pair.fail(false).await?;
    pair.resume().await?;
    pause(span).await;
    let stream = pair.stream().await?;
    let took = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let of_one = rate(&stream, &before, "delivered", took) / BUSY as f64;
    println!("  upload: {}, {took:.1} s", limits.upload);
    println!("    events/s of each    {of_one:>10.1}");
    println!("    of a user's limit   {:>9.1} %", of_one / limits.of_one * 100.0);
    taken(&pair, limits).await
}

/// A pair with `events` of `users` applied, and an Amplitude that does not answer yet.
async fn waiting(
    folder: &std::path::Path,
    users: u64,
    events: u64,
    limits: &Documented,
) -> anyhow::Result<Pair> {
    let pair = Pair::start(folder, To::Amplitude(limits.upload), &[], "", "").await?;
    pair.fail(true).await?;
    pair.upload_of_anybody(users, events).await?;
    crate::ingest::wait_applied(&pair.server, events).await?;
    Ok(pair)
}

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
fn rate(after: &Value, before: &Value, name: &str, seconds: f64) -> f64 {
    let of = |report: &Value| report[name].as_u64().unwrap_or(0);
    of(after).saturating_sub(of(before)) as f64 / seconds
}

/// Prints how near Amplitude's limits it came, as Amplitude saw it.
async fn taken(pair: &Pair, limits: &Documented) -> anyhow::Result<()> {
    let look = async |what: &str| -> anyhow::Result<Value> {
        let url = format!("{}/_sandbox/amplitude/{what}", pair.sandbox.url);
        Ok(serde_json::from_str(&ask::get(url, None).await?)?)
    };
    let (counts, senders) = (look("counts").await?, look("senders?limit=0").await?);
    let peaks = senders["peaks"].as_array().into_iter().flatten();
    let fastest = peaks.filter_map(|peak| peak["peak_per_second"].as_f64()).fold(0.0, f64::max);
    let share = fastest / limits.of_one * 100.0;
    println!(
        "    fastest user        {fastest:>10.1} events/s over 30 s, {share:.1} % of the limit"
    );
    println!("    throttled (429)     {:>10}", counts["throttled"].as_u64().unwrap_or(0));
    println!("    duplicates          {:>10}", counts["duplicates"].as_u64().unwrap_or(0));
    Ok(())
}
