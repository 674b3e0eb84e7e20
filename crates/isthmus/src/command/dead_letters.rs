//! `isthmus dead-letters`: what a destination refused, was given up, or may have or not; looked at,
//! mended, sent again, let go or confirmed; and, as `currents:SOURCE`, what a source of Braze Currents
//! brought that is no event.

mod decide;
mod edit;

use super::ledger::show_object;
use crate::client::{Client, Target, escaped, with_query};
use crate::out;
use clap::{Args, Subcommand, ValueEnum};
use isthmus_server::report::letters::{DeadLetterDetails, DeadLetterReport, DeadLettersReport};

/// Options of `isthmus dead-letters`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Name of the stream whose newest dead letters to list, or `currents:SOURCE`.
    #[arg(required = true)]
    stream: Option<String>,
    /// How many to show, newest last.
    #[arg(long, default_value_t = LISTED)]
    limit: usize,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

const LISTED: usize = 20;

#[derive(Debug, Subcommand)]
enum Action {
    /// List them, with reasons.
    List(List),
    /// Show one with its history and everything that happened to its object.
    Show(Show),
    /// Change what is to be sent.
    Edit(edit::Arguments),
    /// Send them again. Those of which nobody knows whether they arrived are left out of `--all`
    /// unless `--cause unknown` asks for them.
    #[command(override_usage = "isthmus dead-letters resend <STREAM> <ID...|--all> [OPTIONS]")]
    Resend(decide::Arguments),
    /// Let them go.
    #[command(override_usage = "isthmus dead-letters discard <STREAM> <ID...|--all> [OPTIONS]")]
    Discard(decide::Arguments),
    /// Say that they arrived, where nobody knew.
    #[command(override_usage = "isthmus dead-letters confirm <STREAM> <ID...|--all> [OPTIONS]")]
    Confirm(decide::Arguments),
}

#[derive(Debug, Args)]
struct List {
    /// Name of the stream, or `currents:SOURCE`.
    stream: String,
    #[command(flatten)]
    filter: Filter,
    /// Only those that follow this one, oldest first.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// How many to show, newest last.
    #[arg(long, default_value_t = LISTED)]
    limit: usize,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// Name of the stream, or `currents:SOURCE`.
    stream: String,
    /// The dead letter, as `list` names it.
    id: String,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Which dead letters are meant.
#[derive(Debug, Default, Args)]
struct Filter {
    /// Only those that became one for this cause.
    #[arg(long)]
    cause: Option<Cause>,
    /// Only events, or updates, of this name.
    #[arg(long)]
    name: Option<String>,
    /// Only those whose reason contains this text.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those that became one at this instant or later, as 2026-05-02T09:15:31Z.
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Only those that became one before this instant.
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
}

/// Why an object is a dead letter.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Cause {
    /// Refused for good.
    Rejected,
    /// Given up by the stream's retry policy.
    Expired,
    /// Sent at most once, and nobody knows whether it arrived.
    Unknown,
}

impl Filter {
    fn parameters(self) -> [(&'static str, Option<String>); 5] {
        let Self { cause, name, reason, from, to } = self;
        let cause = cause.map(|cause| match cause {
            Cause::Rejected => "rejected",
            Cause::Expired => "expired",
            Cause::Unknown => "unknown",
        });
        [
            ("cause", cause.map(str::to_owned)),
            ("name", name),
            ("reason", reason),
            ("from", from),
            ("to", to),
        ]
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Some(Action::List(arguments)) => list(arguments).await,
        Some(Action::Show(arguments)) => show(arguments).await,
        Some(Action::Edit(arguments)) => edit::run(arguments).await,
        Some(Action::Resend(arguments)) => decide::run(decide::Verb::RESEND, arguments).await,
        Some(Action::Discard(arguments)) => decide::run(decide::Verb::DISCARD, arguments).await,
        Some(Action::Confirm(arguments)) => decide::run(decide::Verb::CONFIRM, arguments).await,
        None => {
            let Arguments { stream, limit, target, json, .. } = arguments;
            let (stream, filter) = (stream.unwrap_or_default(), Filter::default());
            list(List { stream, filter, after: None, limit, target, json }).await
        }
    }
}

async fn list(arguments: List) -> anyhow::Result<()> {
    let List { stream, filter, after, limit, target, json } = arguments;
    let client = Client::new(&target)?;
    let more = [("after", after), ("limit", Some(limit.to_string()))];
    let path = with_query(&path(&stream), filter.parameters().into_iter().chain(more));
    if json {
        let report: serde_json::Value = client.get(&path).await?;
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    let report: DeadLettersReport = client.get(&path).await?;
    let (shown, total) = (report.dead_letters.len(), report.total);
    if total == 0 {
        out::line(format!("{} has no dead letters", owner(&stream)));
    } else if shown < total {
        let matching = report.matching;
        out::line(format!("{shown} of {matching} that match, {total} in all"));
    }
    report.dead_letters.iter().for_each(line_of);
    if let Some(next) = &report.next {
        out::line(format!("more follow: --after {next}"));
    }
    Ok(())
}

async fn show(arguments: Show) -> anyhow::Result<()> {
    let Show { stream, id, target, json } = arguments;
    let client = Client::new(&target)?;
    let path = format!("{}/{}", path(&stream), escaped(&id));
    if json {
        let report: serde_json::Value = client.get(&path).await?;
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print(&client.get(&path).await?);
    Ok(())
}

/// Prints everything that is known of one dead letter.
fn print(details: &DeadLetterDetails) {
    let letter = &details.dead_letter;
    line_of(letter);
    out::line(format!("  cause {}, {} attempts", letter.cause, letter.attempts));
    out::line(format!("  accepted {}", letter.accepted_at));
    for past in &letter.history {
        out::line(format!("  before: {}  {}", past.at, past.what));
    }
    details.ledger.iter().for_each(show_object);
}

fn line_of(letter: &DeadLetterReport) {
    let mut notes = String::new();
    for (note, holds) in [
        (" [edited]", letter.edited),
        (" [may have arrived]", letter.possible_duplicate),
        (" [being sent again]", letter.state != letter.cause),
    ] {
        notes.push_str(if holds { note } else { "" });
    }
    out::line(format!(
        "{} {} {}{notes}: {}",
        letter.rejected_at, letter.id, letter.name, letter.reason
    ));
    if let Some(file) = &letter.file {
        out::line(format!("  from file {file}"));
    }
    // Of what is missing from a damaged file there is no text.
    if !letter.payload.is_empty() {
        out::line(format!("  {}", letter.payload));
    }
}

/// Whose dead letters they are.
fn owner(stream: &str) -> String {
    match stream.strip_prefix("currents:") {
        Some(source) => format!("currents source {source}"),
        None => format!("stream {stream}"),
    }
}

/// Where the dead letters of `stream` are.
fn path(stream: &str) -> String {
    format!("/control/v1/streams/{}/dead-letters", escaped(stream))
}
