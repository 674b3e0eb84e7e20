//! `isthmus dead-letters resend`, `discard` and `confirm`.

use super::{Filter, owner, path};
use crate::client::{Client, Target};
use crate::out;
use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use isthmus_core::seam::Method;
use isthmus_server::report::letters::DecisionReport;
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};

/// Dead letters of one request: few enough to be answered within a moment.
const AT_ONCE: u64 = 5_000;

/// Options of the three.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of the stream, or `currents:SOURCE`.
    stream: String,
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    filter: Filter,
    /// Says how many it would be, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Which ones.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// Dead letters, as `list` names them.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that the filters let through.
    #[arg(long)]
    all: bool,
}

/// What is decided, in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verb {
    name: &'static str,
    done: &'static str,
    would: &'static str,
}

impl Verb {
    pub(super) const RESEND: Self =
        Self { name: "resend", done: "being sent again", would: "would be sent again" };
    pub(super) const DISCARD: Self =
        Self { name: "discard", done: "let go", would: "would be let go" };
    pub(super) const CONFIRM: Self =
        Self { name: "confirm", done: "confirmed", would: "would be confirmed" };
}

pub(super) async fn run(verb: Verb, arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { stream, subject, filter, dry_run, yes, target, json } = arguments;
    let filters: Vec<_> =
        filter.parameters().into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    if let (false, Some((name, _))) = (subject.all, filters.first()) {
        bail!("--{name} goes with --all; the ids say already which dead letters are meant");
    }
    let client = Client::new(&target)?;
    let path = format!("{}/{}", path(&stream), verb.name);
    let mut order = Map::new();
    if subject.all {
        order.insert("all".to_owned(), json!(true));
        order.extend(filters.into_iter().map(|(name, value)| (name.to_owned(), value.into())));
    } else {
        order.insert("ids".to_owned(), json!(subject.ids));
    }
    let mut count = 0;
    if dry_run || subject.all {
        let mut trial = order.clone();
        trial.insert("dry_run".to_owned(), json!(true));
        let would: DecisionReport = send(&client, &path, &trial).await?;
        if dry_run {
            return report(verb, &would, json);
        }
        count = would.done;
        if count == 0 {
            return report(verb, &would, json);
        }
        if !may(verb, &stream, count, yes)? {
            out::line("nothing was done");
            return Ok(());
        }
    }
    let mut sum = DecisionReport::default();
    let bar = ProgressBar::new(count as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} dead letters") {
        bar.set_style(style);
    }
    if subject.all {
        order.insert("limit".to_owned(), json!(AT_ONCE));
    }
    loop {
        let DecisionReport { done, passed_over, refused, refusals, next, .. } =
            send(&client, &path, &order).await?;
        sum.done += done;
        sum.passed_over += passed_over;
        sum.refused += refused;
        sum.refusals.extend(refusals);
        bar.set_position(sum.done as u64);
        // Each is looked at once: what is refused again while this goes on keeps its place.
        let Some(next) = next else { break };
        order.insert("after".to_owned(), next.into());
    }
    bar.finish_and_clear();
    report(verb, &sum, json)
}

async fn send(
    client: &Client,
    path: &str,
    order: &Map<String, Value>,
) -> anyhow::Result<DecisionReport> {
    client.send(Method::Post, path, serde_json::to_string(order)?).await
}

/// Whether the person in front of the terminal, or `--yes`, says so.
fn may(verb: Verb, stream: &str, count: usize, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    let what = format!("{} {} of {}", verb.name, letters(count), owner(stream));
    let mut stderr = std::io::stderr();
    if !std::io::stdin().is_terminal() {
        bail!("this would {what}; say --yes to do it");
    }
    write!(stderr, "{what}? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn report(verb: Verb, report: &DecisionReport, json: bool) -> anyhow::Result<()> {
    if json {
        out::line(serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    let what = if report.dry_run { verb.would } else { verb.done };
    out::line(format!("{} {what}", letters(report.done)));
    if report.passed_over > 0 {
        let why = match verb.name {
            "confirm" => "it is known what became of them, or they are being sent again",
            _ => "they are being sent again already, or gone",
        };
        out::line(format!("{} passed over: {why}", report.passed_over));
    }
    if report.refused > 0 {
        out::line(format!(
            "{} would be refused again as they are, and were left alone:",
            report.refused
        ));
        for refusal in &report.refusals {
            out::line(format!("  {}: {}", refusal.id, refusal.reason));
        }
    }
    Ok(())
}

fn letters(count: usize) -> String {
    let noun = if count == 1 { "dead letter" } else { "dead letters" };
    format!("{count} {noun}")
}
