//! `isthmus mirror`: what a destination was told, against what it has and by what the ledger says.

use crate::client::{Client, Target, escaped};
use crate::out;
use clap::{Args, Subcommand};
use isthmus_server::report::rebuild::RebuildReport;
use isthmus_server::report::reconcile::{DriftedUser, Healed, ReconcileReport};
use serde_json::{Value, json};
use std::time::Duration;

/// A ledger of a hundred million objects is read by then.
const REBUILT_WITHIN: Duration = Duration::from_hours(1);

/// Options of `isthmus mirror`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Ask a destination what it has of some users, and show what is not as it was told.
    Reconcile(Reconcile),
    /// Add what the ledger tells of users of whom the mirror knows nothing.
    Rebuild(Rebuild),
}

#[derive(Debug, Args)]
struct Rebuild {
    /// Name of the destination.
    destination: String,
    /// Counts also what was sent before the destination was the workspace it is now, its streams were
    /// what they are, or it was last found not to have what it was told: only where you know that it
    /// is there.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Reconcile {
    /// Name of the destination.
    destination: String,
    /// How many users to draw; 2000 at most.
    #[arg(long, default_value_t = 500, value_name = "N")]
    sample: usize,
    /// Forgets what differs, and tells the users again.
    #[arg(long)]
    heal: bool,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::Reconcile(arguments) => reconcile(arguments).await,
        Action::Rebuild(arguments) => rebuild(arguments).await,
    }
}

async fn rebuild(arguments: Rebuild) -> anyhow::Result<()> {
    let Rebuild { destination, all, target, json } = arguments;
    let client = Client::new(&target)?.waiting(REBUILT_WITHIN);
    if !json {
        out::line(format!(
            "reading the ledger of {destination}; nothing is sent to it until that is done"
        ));
    }
    let path = format!("/control/v1/destinations/{}/mirror/rebuild", escaped(&destination));
    let answer: Value = client.post(&path, &json!({ "all": all })).await?;
    if json {
        out::line(serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    let RebuildReport { since, users, added, lost, .. } = serde_json::from_value(answer)?;
    let since = since.unwrap_or_else(|| "the destination is what it is".to_owned());
    out::line(format!(
        "since {since} the ledger tells of {users} users: {added} were added to the mirror, which \
         knew the others"
    ));
    if lost > 0 {
        out::line(format!(
            "what was told before the last of {lost} answers is not known: their objects were sent \
             by jobs, by streams that are gone, or are not in the event log any more"
        ));
    }
    if !all {
        out::line(
            "what was sent before the destination and its streams were what they are, or before it \
             was last found not to have what it was told, is not counted; `--all` does, for whoever \
             knows that it is there",
        );
    }
    out::line(format!("`isthmus mirror reconcile {destination}` compares it with what is there"));
    Ok(())
}

async fn reconcile(arguments: Reconcile) -> anyhow::Result<()> {
    let Reconcile { destination, sample, heal, target, json } = arguments;
    let client = Client::new(&target)?;
    let path = format!("/control/v1/destinations/{}/reconcile", escaped(&destination));
    let answer: Value = client.post(&path, &json!({ "sample": sample, "heal": heal })).await?;
    if json {
        out::line(serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    print(&serde_json::from_value(answer)?);
    Ok(())
}

fn print(report: &ReconcileReport) {
    let ReconcileReport { destination, users, same, drifted, unknown, .. } = report;
    out::line(format!(
        "of {users} users, {destination} has {same} as it was told, {} not, and does not know {}",
        drifted.len(),
        unknown.len()
    ));
    drifted.iter().for_each(print_drifted);
    for user in unknown {
        out::line(format!("  {}: not known{}", user.identifier, again(user.told_again)));
    }
    for identifier in &report.unclear {
        out::line(format!("  {identifier}: the answer does not say"));
    }
    if report.cannot_be_asked > 0 {
        let count = report.cannot_be_asked;
        out::line(format!("{count} users cannot be asked about: by email, phone or braze id"));
    }
    if let Some(why) = &report.held_up {
        out::line(format!("{} users were not asked about: {why}", report.not_asked));
    }
    out::line(format!(
        "{} attributes compared, {} could not be",
        report.attributes_compared, report.attributes_not_compared
    ));
    if let Some(rate) = report.drift_rate {
        out::line(format!("drift rate: {:.1} % of users", rate * 100.0));
    }
    if let Some(Healed { forgotten, told_again }) = report.healed {
        out::line(format!(
            "healed: what differs was forgotten of {forgotten} users, and {told_again} are told again"
        ));
        out::line("`isthmus ledger --user ID` shows what became of it");
    }
}

fn print_drifted(user: &DriftedUser) {
    out::line(format!("  {}{}", user.identifier, again(user.told_again)));
    for drift in &user.attributes {
        let has = drift.has.as_ref().map_or("no value".to_owned(), Value::to_string);
        out::line(format!("    {}: told {}, has {has}", drift.name, drift.told));
    }
}

fn again(told_again: bool) -> &'static str {
    if told_again { ", told again" } else { "" }
}
