//! What the ledger costs: the same events through the same stream, with and without it.

use crate::backlog::{Pair, To, bytes_below};
use crate::process::{folder, now};

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
pub(crate) async fn run(smoke: bool) -> anyhow::Result<()> {
    let events = if smoke { 4_000 } else { 400_000 };
    let rounds = if smoke { 1 } else { 3 };
    println!("ledger: {events} events in, delivered, {rounds} rounds with and without it, in turn");
    let mut totals = [(0.0, 0.0); 2];
    for _ in 0..rounds {
        for (at, ledger) in [false, true].into_iter().enumerate() {
            let folder = folder()?;
            let config = format!("[delivery]\nledger = {ledger}\n");
            let limits = "requests_per_3s: 1000000";
            let pair =
                Pair::start(folder.path(), To::Braze, &["--rates", "off"], limits, &config).await?;
            let cpu = pair.server.cpu()?;
            let started = now();
            pair.upload(events).await?;
            pair.delivered(events).await?;
            let took = started.elapsed().as_secs_f64();
            let used = pair.server.cpu()?.saturating_sub(cpu).as_secs_f64();
            totals[at].0 += took;
            totals[at].1 += used;
            if ledger {
                let data = folder.path().join("data");
                let per_event = |name: &str| bytes_below(&data.join(name)) as f64 / events as f64;
                println!(
                    "  bytes an event: journal {:.1}, finder {:.1} (event log {:.0}, for comparison)",
                    per_event("delivery"),
                    per_event("finder"),
                    per_event("events")
                );
            }
        }
    }
    let all = events as f64 * f64::from(rounds);
    for (name, (took, used)) in ["without", "with"].into_iter().zip(totals) {
        println!(
            "  {name:<8} {:>9.0} events/s in and out, {:>6.2} µs of server CPU an event",
            all / took,
            used / all * 1e6
        );
    }
    let more = |with: f64, without: f64| (with / without - 1.0) * 100.0;
    println!("  time     {:>+9.1} %", more(totals[1].0, totals[0].0));
    println!("  CPU      {:>+9.1} %", more(totals[1].1, totals[0].1));
    Ok(())
}
