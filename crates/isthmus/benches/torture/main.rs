//! Nothing is lost, and nothing is doubled unnoticed: the real server and the real sandbox as
//! processes, faults and sudden ends at random moments under load, many rounds of each.
//!
//! `cargo xtask torture` runs this. Everything is on loopback, in folders of its own, and bounded
//! in time; only processes that it started are ended. It fails when something that was
//! acknowledged is absent at the end, when something is doubled that the server does not list, and
//! when a round does not settle.

#![expect(clippy::print_stdout, reason = "it prints what it found")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a surprise ends the round, with its line, and counts as a failure"
)]

/// The end-to-end tests' way to start the program and to look at it from outside.
#[path = "../../tests/it/harness"]
#[expect(dead_code, reason = "the tests look at more than this does")]
mod harness {
    pub(crate) mod amplitude;
    pub(crate) mod braze;
    pub(crate) mod comparison;
    pub(crate) mod http;
    pub(crate) mod lab;
    pub(crate) mod load;
    pub(crate) mod patience;
    pub(crate) mod process;
}
mod circle;
mod control;
mod report;
mod rows;
mod scenario;

use self::report::Report;
use self::rows::{ROWS, Row, Way};
use anyhow::{Context, bail};
use clap::Parser;
use isthmus_core::seam::{Random, SeededRandom};
use std::process::ExitCode;

/// What a run that only proves that this works is made of.
const SMOKE: [&str; 3] = ["kill", "lost-answers", "circle-kill"];

/// Options, as `cargo xtask torture` passes them on.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds of each row; every round starts from nothing.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Names of rows; without any, all.
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<String>,
    /// Where the random moments come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Only see that it runs.
    #[arg(long)]
    test: bool,
    /// What cargo adds when it measures and not when it tests.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let smoke = arguments.test || !arguments.bench;
    let (rounds, rows) = if smoke {
        (1, select(&SMOKE.map(str::to_owned))?)
    } else {
        (arguments.rounds, select(&arguments.faults)?)
    };
    let mut report = Report::default();
    let seeds = SeededRandom::new(arguments.seed);
    for row in rows {
        for round in 1..=rounds {
            let seed = seeds.next_u64();
            eprintln!("{} {round}/{rounds}, seed {seed:016x}: {}", row.name, row.about);
            // A round that fails says why as it ends; the others go on.
            let outcome = std::panic::catch_unwind(|| match row.way {
                Way::ToBraze => scenario::run(row, seed, smoke),
                Way::Circle => circle::run(row, seed, smoke),
            });
            report.add(row, outcome.ok());
        }
    }
    if arguments.json {
        println!("{}", report.json());
    } else {
        println!("{}", report.markdown());
    }
    let code = if report.is_proof() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(code)
}

/// The rows called so, in the order of the table.
fn select(names: &[String]) -> anyhow::Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let known = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    if let Some(name) = names.iter().find(|name| ROWS.iter().all(|row| row.name != **name)) {
        bail!("no fault is called {name}; there are {}", known());
    }
    let rows: Vec<_> =
        ROWS.iter().filter(|row| names.iter().any(|name| name == row.name)).collect();
    rows.first().context("nothing to do")?;
    Ok(rows)
}
