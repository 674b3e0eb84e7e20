//! `isthmus streams samples`: what a stream did not deliver, or not at once, and why.

use crate::client::{Client, Target, escaped};
use crate::out;
use clap::Args;
use isthmus_server::report::{SampleReport, SamplesReport};

/// Options of `isthmus streams samples`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name of the stream.
    stream: String,
    /// Only this category, as in `5xx` or `expired`.
    #[arg(long)]
    category: Option<String>,
    /// How many samples of each category to show.
    #[arg(long, default_value_t = 3)]
    limit: usize,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = Client::new(&arguments.target)?;
    let (stream, limit) = (escaped(&arguments.stream), arguments.limit);
    let mut path = format!("/control/v1/streams/{stream}/samples?limit={limit}");
    if let Some(category) = &arguments.category {
        path = format!("{path}&category={}", escaped(category));
    }
    if arguments.json {
        let report: serde_json::Value = client.get(&path).await?;
        out::line(serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print(&client.get(&path).await?);
    Ok(())
}

fn print(report: &SamplesReport) {
    if report.categories.is_empty() {
        out::line(format!("stream {} has no samples", report.stream));
    }
    for category in &report.categories {
        let (name, count, last_at) = (&category.category, category.count, &category.last_at);
        out::line(format!("{name}: {count} times, last at {last_at}"));
        for sample in &category.samples {
            print_sample(sample);
        }
    }
}

fn print_sample(sample: &SampleReport) {
    let name = sample.name.as_deref().unwrap_or("event");
    let mut text = format!("  {} {} {name}", sample.at, sample.id);
    if !sample.message.is_empty() {
        text = format!("{text}: {}", sample.message);
    }
    out::line(text);
    if sample.attempts > 0 {
        let next = sample.next_attempt_at.as_deref().unwrap_or("none");
        out::line(format!("    attempts: {}, next: {next}", sample.attempts));
    }
    if let Some(request) = &sample.request {
        out::line(format!("    {request}"));
    }
}
