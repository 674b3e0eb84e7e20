//! Automation for people and for CI: `cargo xtask COMMAND`.
//!
//! One file per command. Nothing here asks a question or needs standard input.

mod bench;
mod ci;
mod clients;
mod docs;
mod shell;
mod sim;
mod test;
mod tidy;
mod torture;

use anyhow::bail;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--quick]        install what the tests need, then build and run all of them
                        --quick installs nothing and leaves out the tests that need published SDKs
  ci                    everything CI may ask: format, tidy, docs, clippy, rustdoc, licences, test
  tidy                  check the crate map, the absences and the habits that no compiler checks
  docs                  check that the documentation's links and commands are there
  bench [NAME...] [--smoke] [--users N]
                        measure; without a name, list what can be measured
  sim [--seeds N] [--seed S] [--steps N] [--lines N]
                        the engine on fake time, a fake disk and a fake Braze; --seed alone repeats
                        one seed, --lines says how much of its trace a failure shows
  torture [--rounds N] [--fault NAME]... [--seed S] [--json] [--dev] [--smoke]
                        faults and sudden ends under load, and what was lost or doubled; --dev takes
                        the development build, --smoke only sees that it runs";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::complain(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> anyhow::Result<()> {
    let Some((command, options)) = arguments.split_first() else {
        shell::say(USAGE);
        return Ok(());
    };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    if options.contains(&"--help") {
        shell::say(USAGE);
        return Ok(());
    }
    match command.as_str() {
        "test" => test::run(&options),
        "ci" => none(&options).and_then(|()| ci::run()),
        "tidy" => none(&options).and_then(|()| tidy::run()),
        "docs" => none(&options).and_then(|()| docs::run()),
        "bench" => bench::run(&options),
        "sim" => sim::run(&options),
        "torture" => torture::run(&options),
        "help" | "--help" | "-h" => {
            shell::say(USAGE);
            Ok(())
        }
        other => bail!("no command is called {other}\n{USAGE}"),
    }
}

/// Refuses options where a command takes none.
fn none(options: &[&str]) -> anyhow::Result<()> {
    match options.first() {
        None => Ok(()),
        Some(option) => bail!("{option} is not an option of this command"),
    }
}
