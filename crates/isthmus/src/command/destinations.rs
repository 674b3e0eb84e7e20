//! `isthmus destinations`: how a running server's destinations are doing; probe, pause and resume one.

use crate::client::{Client, Target, escaped};
use crate::out;
use anyhow::bail;
use clap::{Args, Subcommand};
use isthmus_server::report::{DestinationDetail, DestinationsReport, ProbeReport};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Options of `isthmus destinations`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    output: Output,
}

/// Which server to ask, and how to show what it answers.
#[derive(Debug, Args)]
struct Output {
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check endpoint and key without changing anything; fails when the destination is not ready.
    Probe(Named),
    /// Stop sending until resumed; nothing is lost.
    Pause {
        #[command(flatten)]
        named: Named,
        /// Why, for whoever looks.
        #[arg(long, default_value = "paused by an operator")]
        reason: String,
    },
    /// Send again, at once, whatever it was that sending waited for.
    Resume(Named),
}

/// One destination.
#[derive(Debug, Args)]
struct Named {
    /// Name of the destination.
    destination: String,
    #[command(flatten)]
    output: Output,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        None => list(&arguments.output).await,
        Some(Action::Probe(named)) => probe(&named).await,
        Some(Action::Pause { named, reason }) => {
            change(&named, "pause", &json!({ "reason": reason })).await
        }
        Some(Action::Resume(named)) => change(&named, "resume", &json!({})).await,
    }
}

async fn list(output: &Output) -> anyhow::Result<()> {
    let answer: Value = Client::new(&output.target)?.get("/control/v1/destinations").await?;
    if let Some(report) = shown::<DestinationsReport>(output, answer)? {
        print(&report);
    }
    Ok(())
}

async fn probe(named: &Named) -> anyhow::Result<()> {
    let answer: Value = named.post("probe", &json!({})).await?;
    let ProbeReport { ready, reason } = serde_json::from_value(answer.clone())?;
    let name = &named.destination;
    if shown::<Value>(&named.output, answer)?.is_some() && ready {
        out::line(format!("destination {name} is ready"));
    }
    if !ready {
        bail!("destination {name} is not ready: {}", reason.unwrap_or_default());
    }
    Ok(())
}

async fn change(named: &Named, what: &str, body: &Value) -> anyhow::Result<()> {
    let answer: Value = named.post(what, body).await?;
    if let Some(report) = shown::<DestinationsReport>(&named.output, answer)? {
        print(&report);
    }
    Ok(())
}

impl Named {
    async fn post(&self, what: &str, body: &Value) -> anyhow::Result<Value> {
        let client = Client::new(&self.output.target)?;
        let path = format!("/control/v1/destinations/{}/{what}", escaped(&self.destination));
        client.post(&path, body).await
    }
}

/// Prints `answer` as JSON where that was asked for; otherwise reads it for people.
fn shown<T: DeserializeOwned>(output: &Output, answer: Value) -> anyhow::Result<Option<T>> {
    if output.json {
        out::line(serde_json::to_string_pretty(&answer)?);
        return Ok(None);
    }
    Ok(Some(serde_json::from_value(answer)?))
}

fn print(report: &DestinationsReport) {
    if report.destinations.is_empty() {
        out::line(
            "no destinations; give resources to `serve`, or put one at /control/v1/resources",
        );
        return;
    }
    let header = ["destination", "condition", "budget used", "in flight", "pending", "jobs"];
    let rows: Vec<_> = report.destinations.iter().map(row).collect();
    out::table(header, &rows);
    for destination in &report.destinations {
        if let Some(reason) = &destination.reason {
            let DestinationDetail { name, condition, .. } = destination;
            out::line(format!("destination {name} is {condition}: {reason}"));
        }
    }
}

fn row(destination: &DestinationDetail) -> [String; 6] {
    let budget = destination
        .budget
        .map_or_else(|| "-".to_owned(), |budget| format!("{} of {}", budget.used, budget.limit));
    [
        destination.name.clone(),
        destination.condition.clone(),
        budget,
        destination.requests_in_flight.to_string(),
        destination.pending.to_string(),
        destination.jobs.to_string(),
    ]
}
