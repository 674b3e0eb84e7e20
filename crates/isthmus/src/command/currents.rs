//! `isthmus currents`: what the sources of Braze Currents of a running server brought, and how
//! following their files is doing.

use crate::client::{Client, Target};
use crate::out;
use clap::Args;
use isthmus_server::report::currents::{CurrentsReport, CurrentsSourceReport, FollowedFiles};
use serde_json::Value;

/// Options of `isthmus currents`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let answer: Value = Client::new(&arguments.target)?.get("/control/v1/currents").await?;
    if arguments.json {
        out::line(serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    print(&serde_json::from_value(answer)?);
    Ok(())
}

fn print(report: &CurrentsReport) {
    if report.sources.is_empty() {
        out::line("no Currents sources; write one as `kind: currents_source`");
        return;
    }
    let header =
        ["source", "events", "duplicates", "quarantined", "last event", "files waiting", "lag"];
    let rows: Vec<_> = report.sources.iter().map(row).collect();
    out::table(header, &rows);
    for source in &report.sources {
        if let Some(files) = &source.files {
            print_files(&source.name, files);
        }
        if source.quarantined > 0 {
            let name = &source.name;
            out::line(format!("what is quarantined: isthmus dead-letters currents:{name}"));
        }
    }
}

fn row(source: &CurrentsSourceReport) -> [String; 7] {
    let files = source.files.as_ref();
    let of_files = |show: fn(&FollowedFiles) -> String| files.map_or_else(|| "-".to_owned(), show);
    [
        source.name.clone(),
        source.events.to_string(),
        source.duplicates.to_string(),
        source.quarantined.to_string(),
        source.last_event_at.clone().unwrap_or_else(|| "-".to_owned()),
        of_files(|files| files.pending.to_string()),
        of_files(|files| format!("{:.0} s", files.lag_seconds)),
    ]
}

fn print_files(source: &str, files: &FollowedFiles) {
    let until = match &files.read_until {
        Some(until) => format!("read until {until}"),
        None => "nothing read yet".to_owned(),
    };
    let damaged = match files.damaged {
        0 => String::new(),
        damaged => format!(", {damaged} damaged"),
    };
    out::line(format!("files of {source}: {}, {until}{damaged}", files.url));
    if let Some(error) = &files.error {
        let since = files.error_at.as_deref().unwrap_or("now");
        out::line(format!("  at {since}: {error}"));
    }
}
