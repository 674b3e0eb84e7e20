//! `isthmus ledger`: what happened to an event, to a user's events, or to what a stream sent.

use crate::client::{Client, Target, with_query};
use crate::out;
use clap::Args;
use isthmus_server::report::ledger::{LedgerHappening, LedgerItem, LedgerObject, LedgerReport};

/// Options of `isthmus ledger`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// Only objects in this state: pending, in_flight, delivered, rejected, expired, discarded or
    /// unknown.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only objects that were sent again after an outcome that nobody knew.
    #[arg(long)]
    possible_duplicates: bool,
    /// Only what was accepted at this instant or later, as 2026-05-02T09:15:31Z.
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Only what was accepted before this instant.
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
    /// How many to show, newest last.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What to ask about.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// An event by its insert id, or an item of the event log by its place OFFSET-INDEX.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Everything of a user, by user id or device id.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// What a stream and its jobs did last.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { subject, state, possible_duplicates, from, to, limit, target, json } =
        arguments;
    let client = Client::new(&target)?;
    let path = with_query(
        "/control/v1/ledger",
        [
            ("event", subject.event),
            ("user", subject.user),
            ("stream", subject.stream),
            ("state", state),
            ("possible_duplicates", possible_duplicates.then(|| "true".to_owned())),
            ("from", from),
            ("to", to),
            ("limit", Some(limit.to_string())),
        ],
    );
    if json {
        let report: serde_json::Value = client.get(&path).await?;
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    let report: LedgerReport = client.get(&path).await?;
    if report.items.is_empty() {
        out::line("the ledger has nothing that was asked for");
    }
    if report.truncated {
        out::line(format!("the last {}; older ones are left out", report.items.len()));
    }
    for item in &report.items {
        show(item);
    }
    Ok(())
}

fn show(item: &LedgerItem) {
    let name = item.name.as_deref().unwrap_or("an item that the event log does not reach back to");
    let mut facts = vec![name.to_owned()];
    let mut fact = |what: &str, value: &Option<String>| {
        facts.extend(value.iter().map(|value| format!("{what} {value}")));
    };
    fact("of user", &item.user_id);
    fact("on device", &item.device_id.clone().filter(|_| item.user_id.is_none()));
    fact("insert id", &item.insert_id);
    fact("at", &Some(item.place.clone()));
    fact("accepted", &item.accepted_at);
    fact("event time", &item.event_time);
    out::line(facts.join(", "));
    for object in &item.objects {
        show_object(object);
    }
    if let Some(note) = &item.note {
        out::line(format!("  {note}"));
    }
}

/// Prints what became of an object and, below, how.
pub(super) fn show_object(object: &LedgerObject) {
    let job = object.job.as_ref().map(|job| format!(" ({} {})", job.kind, job.number));
    let part = (object.part > 0).then(|| format!(" part {}", object.part));
    let duplicate = object.possible_duplicate.then_some(", possible duplicate");
    let why = object.why.as_ref().map(|why| format!(": {why}"));
    out::line(format!(
        "  {}{}{} -> {}: {}{}{}",
        object.stream,
        job.unwrap_or_default(),
        part.unwrap_or_default(),
        object.destination,
        object.state.replace('_', " "),
        duplicate.unwrap_or_default(),
        why.unwrap_or_default(),
    ));
    for happening in &object.happenings {
        out::line(format!("    {}  {}", happening.at, told(happening)));
    }
}

/// One thing that happened, in words.
fn told(happening: &LedgerHappening) -> String {
    let LedgerHappening { what, request, status, message, took_ms, mark, retry_in_ms, .. } =
        happening;
    let text = |value: Option<String>| value.unwrap_or_default();
    let what = match what.as_str() {
        "answered" => format!("answered {}", text(status.map(|status| status.to_string()))),
        other => other.replace('_', " "),
    };
    let meaning = mark.as_deref().map(|mark| match mark {
        "again" => "to be sent again",
        "deferred" => "to be sent again, through no fault of its own",
        "unknown" => "outcome unknown, to be sent again",
        "set_aside" => "outcome unknown, not to be sent again",
        other => other,
    });
    [
        text(request.map(|request| format!("request {request} "))),
        what,
        text(took_ms.map(|took| format!(" after {took} ms"))),
        text(meaning.map(|meaning| format!(": {meaning}"))),
        text(retry_in_ms.map(|wait| format!(" in {wait} ms"))),
        text(message.as_ref().map(|message| format!(" ({message})"))),
    ]
    .concat()
}
