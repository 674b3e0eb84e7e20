//! `isthmus import currents`: the running server reads files of Braze's storage connector once.
//!
//! The server reads them, not this command: it knows how far it came, so that an import that was
//! interrupted goes on there when it is asked for again.

use crate::client::{Client, Target, escaped};
use crate::{out, shutdown};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use isthmus_core::seam::Clock;
use isthmus_server::report::currents::{ImportReport, ImportRequest};
use isthmus_server::system::SystemClock;
use std::io::IsTerminal;
use std::time::Duration;

/// Between two looks at an import.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Reasons and files that are told each by itself.
const TOLD_MAX: usize = 10;

/// Options of `isthmus import`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read files of Braze Currents, Avro or JSON, as events of a source. What was read before is
    /// passed over; events that are known are counted as duplicates.
    Currents(Currents),
}

#[derive(Debug, Args)]
struct Currents {
    /// A file, a folder or s3://BUCKET/PREFIX, which the server can read.
    path: String,
    /// Name of the Currents source whose events they are.
    #[arg(long, value_name = "NAME")]
    source: String,
    /// Where the bucket is served; that of the source's files, else AWS, unless given.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Region of the bucket; that of the source's files unless given.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Reads and counts, and stores nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let What::Currents(arguments) = arguments.what;
    let Currents { path, source, endpoint, region, dry_run, target, json } = arguments;
    let client = Client::new(&target)?;
    let interrupt = shutdown::token()?;
    let url = if path.contains("://") {
        path
    } else {
        let whole = std::path::absolute(&path).with_context(|| format!("`{path}` is no path"))?;
        whole.to_str().context("the path is not UTF-8")?.to_owned()
    };
    let request = ImportRequest { url, endpoint, region, dry_run };
    let imports = format!("/control/v1/currents/{}/imports", escaped(&source));
    let begun: ImportReport = client.post(&imports, &request).await?;
    let id = begun.id.clone();
    let ended = tokio::select! {
        ended = watch(&client, begun, json) => {
            ended.context("the import cannot be watched any more; run it again to go on")?
        }
        () = interrupt.cancelled() => {
            let _: ImportReport = client.post(&format!("/control/v1/imports/{id}/cancel"), &()).await?;
            bail!("interrupted; run it again to go on where it was");
        }
    };
    if json {
        out::line(serde_json::to_string_pretty(&ended)?);
    } else {
        print(&ended);
    }
    outcome(&ended)
}

/// Waits until everything is read and applied.
async fn watch(
    client: &Client,
    mut import: ImportReport,
    quiet: bool,
) -> anyhow::Result<ImportReport> {
    let clock = SystemClock::new();
    let bar = if quiet || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(0)
    };
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(style).context("the template is a constant")?);
    while !import.has_ended() {
        clock.sleep(LOOK_EVERY).await;
        import = client.get(&format!("/control/v1/imports/{}", import.id)).await?;
        if let Some(total) = import.bytes_total {
            bar.set_length(total);
            bar.set_position(import.bytes.min(total));
        }
        bar.set_message(message(&import));
    }
    bar.finish_and_clear();
    Ok(import)
}

fn message(import: &ImportReport) -> String {
    if let Some(waits_for) = &import.error {
        return format!("waiting: {waits_for}");
    }
    match (&*import.state, import.files_total) {
        ("applying", _) => format!("{} events read, being told apart", import.events),
        (_, None) => "counting files".to_owned(),
        _ => format!("{} events, {:.0} events/s", import.events, events_per_second(import)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn events_per_second(import: &ImportReport) -> f64 {
    import.events as f64 / import.seconds.max(0.001)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn print(import: &ImportReport) {
    let ImportReport { id, state, source, url, .. } = import;
    let dry = if import.dry_run { " (dry run: nothing was stored)" } else { "" };
    out::line(format!("{id} {state}: {url} as {source}{dry}"));
    let megabytes = import.bytes as f64 / 1e6;
    out::line(format!(
        "  {:>12}  events of {} files, {megabytes:.1} MB in {:.1} s: {:.0} events/s, {:.1} MB/s",
        import.events,
        import.files,
        import.seconds,
        events_per_second(import),
        megabytes / import.seconds.max(0.001)
    ));
    let count = |count: u64, what: &str| {
        if count > 0 {
            out::line(format!("  {count:>12}  {what}"));
        }
    };
    if !import.dry_run {
        out::line(format!("  {:>12}  new", import.new_events));
        out::line(format!("  {:>12}  duplicates", import.duplicates));
    }
    count(import.refused, "of people who are forgotten");
    count(import.files_known, "files that were read before");
    count(import.files_damaged, "damaged files: what stands before the damage is read");
    count(import.files_failed, "files that cannot be read");
    let mut seen = "texts that are no events".to_owned();
    if !import.dry_run {
        seen.push_str(": isthmus dead-letters currents:");
        seen.push_str(source);
    }
    count(import.unusable, &seen);
    for (reason, count) in import.by_reason.iter().take(TOLD_MAX) {
        out::line(format!("  {count:>12}    {reason}"));
    }
}

/// Whether it came to what was asked for.
fn outcome(import: &ImportReport) -> anyhow::Result<()> {
    match (&*import.state, &import.error) {
        ("failed", Some(reason)) => bail!("{reason}"),
        ("stopped", _) => bail!("it was stopped; run it again to go on where it was"),
        _ => {}
    }
    if import.files_total == Some(0) && import.files_known == 0 {
        bail!(
            "no file of {} ends in .avro, .json, .jsonl or .ndjson, or one of these and .gz",
            import.url
        );
    }
    if import.files_failed == 0 {
        return Ok(());
    }
    let told: Vec<_> = import.failures.iter().take(TOLD_MAX).map(String::as_str).collect();
    bail!("{} files cannot be read\n  {}", import.files_failed, told.join("\n  "))
}
