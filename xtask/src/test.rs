//! `cargo xtask test`: installs what the tests need, then builds and runs all of them.
//!
//! It says what it installs and what it leaves out, and it fails when a published SDK that the
//! tests are meant to drive was not driven.

use crate::clients;
use crate::shell::{cargo, run as execute, say, timed, works};
use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Tests that drive published SDKs are in the module of this name.
const SDK_TESTS: &str = "sdk::";
/// Tells the end-to-end tests where to write down which SDK they drove.
const RUNS_VARIABLE: &str = "ISTHMUS_SDK_RUNS";

/// What the tests must have driven at the end.
const SDKS: [&str; 4] = [
    "@amplitude/analytics-node",
    "@amplitude/analytics-browser",
    "amplitude-analytics",
    "braze-api",
];

pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    let mut quick = false;
    for option in options {
        match *option {
            "--quick" => quick = true,
            other => bail!("{other} is not an option of this command; there is --quick"),
        }
    }
    let (outcome, took) = timed(|| if quick { quickly() } else { completely() });
    match &outcome {
        Ok(()) => say(format_args!("cargo xtask test: passed in {} s", took.as_secs())),
        Err(_) => say(format_args!("cargo xtask test: FAILED after {} s", took.as_secs())),
    }
    outcome
}

fn completely() -> anyhow::Result<()> {
    say(
        "cargo xtask test: builds the workspace and runs every test of it. Published SDKs drive the",
    );
    say("real program, so this installs, where they are missing:");
    say("  Node SDKs     npm ci, from tests/clients/node/package-lock.json, in that folder");
    say("  Python SDK    pip, from tests/clients/python/requirements.txt, in target/clients/venv");
    say("  Chromium      from the distribution's packages");
    clients::install()?;
    let runs = fresh_folder_of_runs()?;
    let tests = run_tests(&runs, &[]);
    let driven = report(&runs)?;
    tests?;
    let missing: Vec<_> = SDKS.iter().filter(|sdk| !driven.contains(**sdk)).copied().collect();
    if !missing.is_empty() {
        bail!("no test drove {}", missing.join(", "));
    }
    Ok(())
}

fn quickly() -> anyhow::Result<()> {
    say("cargo xtask test --quick: installs nothing");
    let runs = fresh_folder_of_runs()?;
    run_tests(&runs, &["--", "--skip", SDK_TESTS])?;
    say("left out: the tests that drive published SDKs, which are");
    for sdk in SDKS {
        say(format_args!("  {sdk}"));
    }
    Ok(())
}

/// The documentation's examples first, so that the last summary is that of the tests.
fn run_tests(runs: &Path, filter: &[&str]) -> anyhow::Result<()> {
    execute(&mut cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
    let mut tests = if works(&mut cargo(&["nextest", "--version"])) {
        cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        say("cargo-nextest is not installed; running with cargo test");
        cargo(&["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"])
    };
    execute(tests.args(filter).env(RUNS_VARIABLE, runs))
}

/// Where the end-to-end tests write down what they drove, one file per run.
fn fresh_folder_of_runs() -> anyhow::Result<PathBuf> {
    let folder = clients::folder().join("runs");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("{} cannot be emptied", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

/// Lists what was driven; returns the names of the SDKs.
fn report(runs: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(runs)? {
        lines.push(std::fs::read_to_string(entry?.path())?);
    }
    let scenarios = by_sdk(&lines);
    say("SDK runs");
    if scenarios.is_empty() {
        say("  none");
    }
    for ((sdk, version), names) in &scenarios {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        say(format_args!("  {sdk} {version}: {}", names.join(", ")));
    }
    Ok(scenarios.into_keys().map(|(sdk, _)| sdk).collect())
}

type Scenarios = BTreeMap<(String, String), BTreeSet<String>>;

/// Joins the lines `SDK VERSION SCENARIO`.
fn by_sdk(lines: &[String]) -> Scenarios {
    let mut scenarios = Scenarios::new();
    for line in lines {
        let mut words = line.split_whitespace().map(str::to_owned);
        if let (Some(sdk), Some(version), Some(name)) = (words.next(), words.next(), words.next()) {
            scenarios.entry((sdk, version)).or_default().insert(name);
        }
    }
    scenarios
}

#[cfg(test)]
mod tests {
    use super::by_sdk;

    #[test]
    fn runs_are_listed_by_sdk_and_version() {
        let lines = ["a 1.0 full\n", "b 2.0 full\n", "a 1.0 split\n", "a 1.0 full\n", "torn"];
        let scenarios = by_sdk(&lines.map(str::to_owned));
        let text: Vec<_> = scenarios
            .iter()
            .map(|((sdk, version), names)| format!("{sdk} {version} {names:?}"))
            .collect();
        assert_eq!(text, [r#"a 1.0 {"full", "split"}"#, r#"b 2.0 {"full"}"#]);
    }
}
