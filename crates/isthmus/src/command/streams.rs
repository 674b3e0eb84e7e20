//! `isthmus streams`: what a running server's streams have done.

mod bill;
mod plan;
mod samples;
mod unmatched;

use crate::client::{Client, Target};
use crate::out;
use clap::{Args, Subcommand};
use isthmus_server::report::{StreamReport, StreamsReport};

/// Options of `isthmus streams`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show samples of what a stream did not deliver, or not at once, by category.
    Samples(samples::Arguments),
    /// Show what streams cost day by day, in objects, requests and data points, and what was saved.
    Bill(bill::Arguments),
    /// Show how many events a stream would make at Amplitude, by what was accepted lately.
    Plan(plan::Arguments),
    /// Show users whom the destination does not know although something was delivered for them.
    Unmatched(unmatched::Arguments),
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Some(Action::Samples(arguments)) => return samples::run(arguments).await,
        Some(Action::Bill(arguments)) => return bill::run(arguments).await,
        Some(Action::Plan(arguments)) => return plan::run(arguments).await,
        Some(Action::Unmatched(arguments)) => return unmatched::run(arguments).await,
        None => {}
    }
    let client = Client::new(&arguments.target)?;
    if arguments.json {
        let report: serde_json::Value = client.get("/control/v1/streams").await?;
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print(&client.get("/control/v1/streams").await?);
    Ok(())
}

/// Prints the table of streams, and what is paused.
pub(super) fn print(report: &StreamsReport) {
    if report.streams.is_empty() {
        out::line("no streams; give resources to `serve`, or put one at /control/v1/resources");
        return;
    }
    let header = [
        "stream",
        "to",
        "state",
        "accepted",
        "delivered",
        "pending",
        "rejected",
        "discarded",
        "requests",
        "p50",
        "p99",
    ];
    let rows: Vec<_> = report.streams.iter().map(row).collect();
    out::table(header, &rows);
    for destination in report.destinations.iter().filter(|each| each.paused.is_some()) {
        let reason = destination.paused.as_deref().unwrap_or_default();
        out::line(format!("destination {} is paused: {reason}", destination.name));
    }
}

fn row(stream: &StreamReport) -> [String; 11] {
    let millis = |seconds: Option<f64>| {
        seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{:.0} ms", seconds * 1e3))
    };
    [
        stream.name.clone(),
        stream.destination.clone(),
        stream.state.clone(),
        stream.accepted.to_string(),
        stream.delivered.to_string(),
        stream.pending.to_string(),
        stream.rejected.to_string(),
        stream.discarded.to_string(),
        stream.requests.to_string(),
        millis(stream.latency_seconds.p50),
        millis(stream.latency_seconds.p99),
    ]
}
