//! `isthmus profile erase` and `erasures`: a question first, then an order that the server carries out
//! by itself, watched from here.

use super::{Person, PersonId, path};
use crate::client::{Client, Target};
use crate::{out, shutdown};
use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use isthmus_core::seam::Clock;
use isthmus_server::report::erasures::{
    ErasureOrder, ErasureReceipt, ErasureReport, ErasuresReport,
};
use isthmus_server::report::profiles::ProfileReport;
use isthmus_server::system::SystemClock;
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

/// Between two looks at an erasure.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Who asked, where nobody said.
const NOBODY: &str = "isthmus profile erase";

/// Options of `isthmus profile erase`.
#[derive(Debug, Args)]
pub(super) struct Erase {
    #[command(flatten)]
    person: Person,
    /// Who asks for it, for the receipt.
    #[arg(long, value_name = "TEXT")]
    requester: Option<String>,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
    /// Orders it and does not wait until it is done.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `isthmus profile erasures`.
#[derive(Debug, Args)]
pub(super) struct Erasures {
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn erase(arguments: Erase) -> anyhow::Result<()> {
    let Erase { person, requester, yes, no_wait, target, json } = arguments;
    let client = Client::new(&target)?;
    let profile: ProfileReport = client.get(&path(&person)).await?;
    if !may(&profile, yes)? {
        out::line("nothing was done");
        return Ok(());
    }
    let PersonId { user, device, amplitude_id } = person.id;
    let requester = Some(requester.unwrap_or_else(|| NOBODY.to_owned()));
    let order = ErasureOrder { project: person.project, user, device, amplitude_id, requester };
    let mut erasure: ErasureReport = client.post("/control/v1/erasures", &order).await?;
    if !no_wait {
        erasure = watch(&client, erasure, json).await?;
    }
    if json {
        out::line(serde_json::to_string_pretty(&erasure)?);
        return Ok(());
    }
    print(&erasure);
    Ok(())
}

pub(super) async fn erasures(arguments: Erasures) -> anyhow::Result<()> {
    let client = Client::new(&arguments.target)?;
    let report: ErasuresReport = client.get("/control/v1/erasures").await?;
    if arguments.json {
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    if report.erasures.is_empty() {
        out::line("nobody was to be forgotten so far");
        return Ok(());
    }
    let header = ["erasure", "project", "Amplitude id", "asked by", "day", "status", "waits for"];
    let row = |erasure: &ErasureReport| {
        [
            erasure.id.to_string(),
            erasure.project.clone(),
            erasure.amplitude_id.to_string(),
            erasure.requester.clone(),
            erasure.day.clone(),
            erasure.status.clone(),
            erasure.waits_for.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = report.erasures.iter().map(row).collect();
    out::table(header, &rows);
    Ok(())
}

/// Whether the person in front of the terminal, or `--yes`, says so.
fn may(profile: &ProfileReport, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    let who = profile.user_id.as_deref().unwrap_or("an anonymous person");
    let (id, project) = (profile.amplitude_id, &profile.project);
    let what = format!("forget {who} of project {project}, Amplitude id {id}, for good");
    if !std::io::stdin().is_terminal() {
        bail!("this would {what}; say --yes to do it");
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{what}? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("the answer cannot be read")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Waits until it is done. Interrupted, the erasure goes on.
async fn watch(
    client: &Client,
    mut erasure: ErasureReport,
    quiet: bool,
) -> anyhow::Result<ErasureReport> {
    let interrupt = shutdown::token()?;
    let clock = SystemClock::new();
    let bar = if quiet || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new_spinner()
    };
    let style = ProgressStyle::with_template("{spinner} {msg}");
    bar.set_style(style.context("the template is a constant")?);
    while erasure.status != "done" {
        bar.set_message(format!("waits for {}", erasure.waits_for.as_deref().unwrap_or("nothing")));
        bar.tick();
        // Both waits can be dropped: the server goes on whatever happens here.
        tokio::select! {
            () = clock.sleep(LOOK_EVERY) => {}
            () = interrupt.cancelled() => break,
        }
        erasure = client.get(&format!("/control/v1/erasures/{}", erasure.id)).await?;
    }
    bar.finish_and_clear();
    Ok(erasure)
}

fn print(erasure: &ErasureReport) {
    let ErasureReport { id, project, amplitude_id, requester, requested_at, .. } = erasure;
    out::line(format!("erasure {id}: Amplitude id {amplitude_id} of project {project}"));
    out::line(format!("  asked for by {requester} at {requested_at}"));
    if let Some(receipt) = &erasure.receipt {
        print_receipt(receipt);
        return;
    }
    let waits_for = erasure.waits_for.as_deref().unwrap_or("nothing");
    out::line(format!("  {}, waits for {waits_for}", erasure.status));
    out::line("  it goes on by itself; see `isthmus profile erasures`");
}

fn print_receipt(receipt: &ErasureReceipt) {
    out::line(format!("  done at {}", receipt.finished_at));
    let people: Vec<_> = receipt.amplitude_ids.iter().map(u64::to_string).collect();
    out::line(format!("  people, merged ones included: {}", people.join(", ")));
    out::line("  removed:");
    for removed in &receipt.removed {
        let detail = match &*removed.detail {
            "" => String::new(),
            detail => format!(" ({detail})"),
        };
        let (count, what, from, at) = (removed.count, &removed.what, &removed.from, &removed.at);
        out::line(format!("  {count:>8}  {what} in {from}, at {at}{detail}"));
    }
    if receipt.destinations.is_empty() {
        out::line("  no destination had to be asked");
    } else {
        out::line("  destinations asked:");
    }
    for asked in &receipt.destinations {
        let status = asked.status.map(|status| format!(", answered {status}"));
        let at = asked.at.as_ref().map(|at| format!(" at {at}"));
        let why = asked.why.as_ref().map(|why| format!(": {why}"));
        out::line(format!(
            "    {} -> {}: {}{}{}{}",
            asked.stream,
            asked.destination,
            asked.state,
            status.unwrap_or_default(),
            at.unwrap_or_default(),
            why.unwrap_or_default(),
        ));
    }
    out::line("  left on purpose:");
    for left in &receipt.left {
        out::line(format!("    {left}"));
    }
}
