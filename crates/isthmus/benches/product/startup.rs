//! How long a start takes after `kill -9` with much log on disk.

use crate::backlog::{Pair, To, bytes_below};
use crate::process::{folder, now};

/// Bytes of intake log and event log.
const LOG_BYTES: u64 = 1 << 30;

#[expect(clippy::cast_precision_loss, reason = "sizes for people")]
pub(crate) async fn run(smoke: bool) -> anyhow::Result<()> {
    let wanted = if smoke { 1 << 20 } else { LOG_BYTES };
    let step = if smoke { 4_000 } else { 200_000 };
    let folder = folder()?;
    let limits = "requests_per_3s: 1000000";
    let pair = Pair::start(folder.path(), To::Braze, &["--rates", "off"], limits, "").await?;
    let data = folder.path().join("data");
    let bytes = || bytes_below(&data.join("intake")) + bytes_below(&data.join("events"));
    let mut events = 0;
    while bytes() < wanted {
        pair.upload(step).await?;
        events += step;
    }
    let Pair { server, sandbox, .. } = pair;
    // Dropping a process kills it.
    drop(server);
    let on_disk = bytes();
    let started = now();
    let server = Pair::serve(folder.path()).await?;
    let listening = started.elapsed();
    crate::ask::get(format!("{}/readyz", server.url), None).await?;
    let ready = started.elapsed();
    println!(
        "start after kill -9: {events} events, {:.2} GiB of intake and event log, state {} MiB",
        on_disk as f64 / (1u64 << 30) as f64,
        bytes_below(&data.join("state")) >> 20
    );
    println!("  listening  {listening:>10.2?}");
    println!("  ready      {ready:>10.2?}");
    drop(sandbox);
    Ok(())
}
