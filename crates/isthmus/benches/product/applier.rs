//! The applier alone, with many users: what the door has taken is applied while nothing else runs.

use crate::backlog::bytes_below;
use crate::ingest::{applied, wait_applied};
use crate::population::{EVENTS_PER_REQUEST, Senders, fill, start, traffic};
use crate::process::{folder, now};
use std::time::Duration;

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
pub(crate) async fn run(smoke: bool, users: u64) -> anyhow::Result<()> {
    let folder = folder()?;
    let server = start(folder.path()).await?;
    let data = folder.path().join("data");
    let took = fill(&server, users).await?.as_secs_f64();
    let signed_up = users.next_multiple_of(EVENTS_PER_REQUEST);
    println!("applier: {users} users, each with a sign-up that sets eight properties");
    println!("  signed up          {:>10.0} events/s, the door at work", users as f64 / took);
    println!("  memory after       {:>10} MiB", server.memory_mib()?);
    println!("  state on disk      {:>10} MiB", bytes_below(&data.join("state")) >> 20);

    let mut events = signed_up;
    for (name, senders) in
        [("in sessions", Senders::Sessions), ("anybody at any time", Senders::Anybody)]
    {
        // The door takes events faster than they are applied; what is left over is what is measured.
        let span = Duration::from_secs(if smoke { 1 } else { 15 });
        let sent = traffic(server.address(), users, senders, now() + span).await?;
        events += sent;
        let (started, cpu_before) = (now(), server.cpu()?);
        let waiting = events.saturating_sub(applied(&server).await?);
        wait_applied(&server, events).await?;
        let took = started.elapsed().as_secs_f64();
        let cpu = server.cpu()?.saturating_sub(cpu_before).as_secs_f64();
        println!("  {name}: {sent} events in {span:?}, {waiting} of them waiting then");
        println!("  applied alone      {:>10.0} events/s", waiting as f64 / took);
        println!("  server CPU         {:>10.2} cores", cpu / took);
        println!("  applied per core   {:>10.0} events/s", waiting as f64 / cpu.max(0.01));
    }
    println!("  memory             {:>10} MiB", server.memory_mib()?);
    println!("  peak memory        {:>10} MiB", server.peak_memory_mib()?);
    println!("  state on disk      {:>10} MiB", bytes_below(&data.join("state")) >> 20);
    Ok(())
}
