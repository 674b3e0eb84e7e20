//! How fast `isthmus import currents` reads a folder of Avro, and that memory does not grow with it.

use crate::backlog::bytes_below;
use crate::process::{Process, folder, now};
use anyhow::{Context, ensure};
use isthmus_testkit::currents;
use serde_json::Value;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};

/// Events of the smaller folder; the larger one has four times as many.
const EVENTS: u64 = 1_000_000;
/// Events of a file, as Braze writes them.
const FILE_EVENTS: u64 = 15_000;

const RESOURCES: &str = "kind: project\nname: shop\napi_key: shop-key\n---\n\
                         kind: currents_source\nname: files\nproject: shop\nopen: true\n";

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
pub(crate) async fn run(smoke: bool) -> anyhow::Result<()> {
    let events = if smoke { 20_000 } else { EVENTS };
    println!("currents import: folders of Avro files of {FILE_EVENTS} e-mail opens each");
    for events in [events, 4 * events] {
        let folder = folder()?;
        let exports = folder.path().join("exports");
        write(&exports, events)?;
        let bytes = bytes_below(&exports);
        std::fs::write(folder.path().join("shop.yaml"), RESOURCES)?;
        let (data, resources) = (folder.path().join("data"), folder.path().join("shop.yaml"));
        let text = |path: &Path| path.to_str().context("the folder is UTF-8").map(str::to_owned);
        let (data, resources) = (text(&data)?, text(&resources)?);
        let serving = ["--data-dir", &data, "--resources", &resources, "--listen", "127.0.0.1:0"];
        let server = Process::start("serve", folder.path(), &serving).await?;
        let before = (server.memory_mib()?, server.cpu()?);
        let started = now();
        let first = import(&exports, &data)?;
        let whole = started.elapsed().as_secs_f64();
        let cpu = server.cpu()?.saturating_sub(before.1).as_secs_f64();
        let count = |report: &Value, name: &str| report[name].as_u64().unwrap_or_default();
        let counts = (count(&first, "new_events"), count(&first, "duplicates"));
        ensure!(counts == (events, 0), "not all of them are new: {first}");
        let reading = seconds(&first)?;
        println!(
            "  {events:>9} events, {:.0} MB in {} files:",
            bytes as f64 / 1e6,
            count(&first, "files")
        );
        let rate = |what: &str, seconds: f64| {
            println!(
                "    {what:<20} {:>9.0} events/s {:>7.1} MB/s",
                events as f64 / seconds,
                bytes as f64 / 1e6 / seconds
            );
        };
        rate("durable", reading);
        rate("and applied", whole);
        println!("    server CPU           {:>9.2} µs an event", cpu / events as f64 * 1e6);
        println!(
            "    server memory        {:>9} MiB at most, {} MiB before",
            server.peak_memory_mib()?,
            before.0
        );
        let again = import(&exports, &data)?;
        ensure!(count(&again, "events") == 0, "something was read again: {again}");
        println!("    again                {:>9.2} s to see that all is read", seconds(&again)?);
    }
    Ok(())
}

fn seconds(report: &Value) -> anyhow::Result<f64> {
    report["seconds"].as_f64().context("no seconds")
}

/// Fills `folder` as a connector would.
fn write(folder: &Path, events: u64) -> anyhow::Result<()> {
    for (number, first) in (0..events).step_by(usize::try_from(FILE_EVENTS)?).enumerate() {
        let date = format!("2026-01-{:02}-{:02}", 1 + number / 24 % 28, number % 24);
        let path = folder.join(currents::key(&date, number as u64));
        std::fs::create_dir_all(path.parent().context("a key has folders")?)?;
        let mut file = BufWriter::new(File::create(path)?);
        currents::write(&mut file, first..(first + FILE_EVENTS).min(events))?;
    }
    Ok(())
}

/// What the command says in the end.
fn import(exports: &Path, data: &str) -> anyhow::Result<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_isthmus"))
        .args(["--log=warn", "import", "currents"])
        .arg(exports)
        .args(["--source", "files", "--json", "--data-dir", data])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the import ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
