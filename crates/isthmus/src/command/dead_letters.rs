//! `isthmus dead-letters`: what a destination refused, and why.

use crate::client::{Client, Target};
use crate::out;
use clap::Args;
use isthmus_server::report::DeadLettersReport;

/// Options of `isthmus dead-letters`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name of the stream.
    stream: String,
    /// How many to show, newest last.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = Client::new(&arguments.target)?;
    let path =
        format!("/control/v1/streams/{}/dead-letters?limit={}", arguments.stream, arguments.limit);
    if arguments.json {
        let report: serde_json::Value = client.get(&path).await?;
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    let report: DeadLettersReport = client.get(&path).await?;
    if report.dead_letters.is_empty() {
        out::line(format!("stream {} has no dead letters", arguments.stream));
    }
    for letter in &report.dead_letters {
        out::line(format!(
            "{} {} {}: {}",
            letter.rejected_at, letter.id, letter.name, letter.reason
        ));
        out::line(format!("  {}", letter.payload));
    }
    Ok(())
}
