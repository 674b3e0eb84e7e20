//! `cargo xtask ci`: everything that must hold before a change lands.
//!
//! Every step runs, so that one run shows everything that is wrong.

use crate::shell::{cargo, run as execute, say, timed, works};
use crate::{docs, test, tidy};
use anyhow::bail;

/// What a step is called, and what it does.
type Step = (&'static str, fn() -> anyhow::Result<()>);

/// Cheap ones first.
const STEPS: [Step; 7] = [
    ("fmt", || execute(&mut cargo(&["fmt", "--all", "--check"]))),
    ("tidy", tidy::run),
    ("docs", docs::run),
    ("licences", licences),
    ("clippy", || {
        let lints = ["--", "-D", "warnings"];
        execute(cargo(&["clippy", "--workspace", "--all-targets", "--quiet"]).args(lints))
    }),
    ("rustdoc", || {
        let mut rustdoc =
            cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
        execute(rustdoc.env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("test", || test::run(&[])),
];

pub(crate) fn run() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut lines = Vec::new();
    for (name, step) in STEPS {
        say(format_args!("== {name}"));
        let (outcome, took) = timed(step);
        let verdict = match &outcome {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        lines.push(format!("{name:<9} {:>4} s  {verdict}", took.as_secs()));
        if outcome.is_err() {
            failed.push(name);
        }
    }
    say("== summary");
    lines.iter().for_each(say);
    if !failed.is_empty() {
        bail!("{} of {} steps failed: {}", failed.len(), STEPS.len(), failed.join(", "));
    }
    Ok(())
}

fn licences() -> anyhow::Result<()> {
    if !works(&mut cargo(&["deny", "--version"])) {
        say("cargo-deny is not installed; licences, advisories and sources are NOT checked here");
        return Ok(());
    }
    execute(&mut cargo(&["deny", "check"]))
}
