//! `isthmus streams unmatched`: users whom the destination does not know.

use crate::client::{Client, Target, escaped};
use crate::out;
use clap::Args;
use isthmus_server::report::unmatched::{UnmatchedReport, UnmatchedUser};
use serde_json::{Value, json};

/// Options of `isthmus streams unmatched`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name of the stream.
    stream: String,
    /// How many identifiers to ask about, those delivered last first; 2000 at most.
    #[arg(long, default_value_t = 500, value_name = "N")]
    sample: usize,
    /// Forgets what users were told whom the destination does not know, so that they are told
    /// everything again when they appear.
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { stream, sample, forget, target, json } = arguments;
    let client = Client::new(&target)?;
    let path = format!("/control/v1/streams/{}/unmatched", escaped(&stream));
    let answer: Value = client.post(&path, &json!({ "sample": sample, "forget": forget })).await?;
    if json {
        out::line(serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    print(&serde_json::from_value(answer)?);
    Ok(())
}

fn print(report: &UnmatchedReport) {
    let UnmatchedReport { stream, destination, identifiers, known, unknown, .. } = report;
    out::line(format!(
        "{stream}: of the {identifiers} identifiers delivered last, {destination} knows {known} and does not know {}",
        unknown.len()
    ));
    unknown.iter().for_each(print_user);
    for identifier in &report.unclear {
        out::line(format!("  {identifier}: the answer does not say"));
    }
    let fact = |count: u64, what: &str| {
        if count > 0 {
            out::line(format!("{count} {what}"));
        }
    };
    fact(report.cannot_be_asked, "identifiers are of a kind that cannot be asked about");
    fact(report.lost, "deliveries are of events that the event log does not hold any more");
    for (reason, count) in &report.without_identifier {
        fact(*count, &format!("objects went to nobody: {reason}"));
    }
    if let Some(why) = &report.held_up {
        out::line(format!("{} identifiers were not asked about: {why}", report.not_asked));
    }
    if let Some(forgotten) = report.forgotten {
        out::line(format!("what {forgotten} of them were told is forgotten"));
    }
    if let Some(rate) = report.match_rate {
        out::line(format!("match rate: {:.1} %", rate * 100.0));
    }
}

fn print_user(user: &UnmatchedUser) {
    let UnmatchedUser { identifier, amplitude_id, user_id, device_id, .. } = user;
    let who = match (user_id, device_id, amplitude_id) {
        (Some(user), _, _) => format!("user {user}"),
        (None, Some(device), _) => format!("device {device}"),
        (None, None, Some(id)) => format!("Amplitude id {id}"),
        (None, None, None) => "nobody here".to_owned(),
    };
    let at = user.last_delivered_at.as_deref().unwrap_or("some time");
    out::line(format!("  {identifier}: {who}, last delivered at {at} ({})", user.place));
}
