//! `isthmus streams plan`: how many events a stream would make at Amplitude.

use crate::client::{Client, Target, escaped};
use crate::out;
use anyhow::Context;
use clap::Args;
use isthmus_server::report::volume::{VolumeCounts, VolumeReport, VolumeRequest};
use serde_json::Value;
use std::path::PathBuf;

/// Options of `isthmus streams plan`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name of the stream.
    stream: String,
    /// When the first event was accepted, as in 2026-11-03T09:00:00Z; a week ago unless given.
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// When the first event after it was; now unless given.
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
    /// Counts for the stream as this file has it, not as it runs.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { stream, from, to, file, target, json } = arguments;
    let read = |file: PathBuf| {
        std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))
    };
    let request = VolumeRequest { from, to, resources: file.map(read).transpose()? };
    let client = Client::new(&target)?;
    let path = format!("/control/v1/streams/{}/plan", escaped(&stream));
    let answer: Value = client.post(&path, &request).await?;
    if json {
        out::line(serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    print(&serde_json::from_value(answer)?);
    Ok(())
}

fn print(report: &VolumeReport) {
    let VolumeReport { stream, destination, from, to, types, total, notes } = report;
    out::line(format!("{stream} to {destination}: what was accepted from {from} to {to}"));
    if types.is_empty() {
        out::line("there are no events of that time");
    } else {
        let header = [
            "event type",
            "in the log",
            "not selected",
            "sampled out",
            "rolled up",
            "discarded",
            "refused",
            "kept",
            "per month",
        ];
        let mut rows: Vec<_> = types
            .iter()
            .map(|of_type| {
                let name = &of_type.event_type;
                let mark = if of_type.is_event { "" } else { " (no event)" };
                cells(format!("{name}{mark}"), &of_type.volume)
            })
            .collect();
        rows.push(cells("events".to_owned(), total));
        out::table(header, &rows);
    }
    for note in notes {
        out::line(note);
    }
}

fn cells(first: String, counts: &VolumeCounts) -> [String; 9] {
    let VolumeCounts {
        in_log,
        not_selected,
        discarded,
        refused,
        sampled_out,
        rolled_up,
        kept,
        kept_per_month,
    } = counts;
    let [in_log, not_selected, sampled_out, rolled_up, discarded, refused, kept] =
        [in_log, not_selected, sampled_out, rolled_up, discarded, refused, kept]
            .map(u64::to_string);
    let per_month = kept_per_month.map_or_else(|| "-".to_owned(), |count| count.to_string());
    [first, in_log, not_selected, sampled_out, rolled_up, discarded, refused, kept, per_month]
}
