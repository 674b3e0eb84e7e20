//! `cargo xtask torture`: faults and sudden ends, many times, and a count of what is lost or
//! doubled afterwards.
//!
//! It runs the `torture` bench of the `isthmus` crate, which does the work, and says beside its
//! table which commit and which machine that was.

use crate::bench::machine;
use crate::shell::{cargo, run as execute, say};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

const OPTIONS: &str =
    "--rounds N, --fault NAME (again for more), --seed S, --json, --dev and --smoke";

/// What to run, and how to show it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// Rounds of each fault.
    rounds: Option<u64>,
    /// Names of faults; without any, all.
    faults: Vec<String>,
    /// Where the random moments come from.
    seed: Option<u64>,
    json: bool,
    /// The development build instead of the release build.
    dev: bool,
    /// Only see that it runs.
    smoke: bool,
}

impl Options {
    fn parse(words: &[&str]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} takes a value"));
            match *word {
                "--rounds" => options.rounds = Some(number(word, value()?)?),
                "--seed" => options.seed = Some(number(word, value()?)?),
                "--fault" => options.faults.push((*value()?).to_owned()),
                "--json" => options.json = true,
                "--dev" => options.dev = true,
                "--smoke" => options.smoke = true,
                other => bail!("{other} is not an option of this command; there are {OPTIONS}"),
            }
        }
        if options.rounds == Some(0) {
            bail!("--rounds is at least 1");
        }
        Ok(options)
    }

    /// The arguments of `cargo`.
    fn arguments(&self) -> Vec<String> {
        let profile = if self.dev { "dev" } else { "bench" };
        let words = ["bench", "--package", "isthmus", "--bench", "torture", "--profile", profile];
        let mut arguments: Vec<String> = words.map(str::to_owned).into();
        if self.json {
            arguments.push("--quiet".to_owned());
        }
        arguments.push("--".to_owned());
        let mut add = |name: &str, value: &str| {
            arguments.extend([name, value].map(str::to_owned));
        };
        if let Some(rounds) = self.rounds {
            add("--rounds", &rounds.to_string());
        }
        if let Some(seed) = self.seed {
            add("--seed", &seed.to_string());
        }
        for fault in &self.faults {
            add("--fault", fault);
        }
        let flags = [("--json", self.json), ("--test", self.smoke)];
        arguments.extend(flags.iter().filter(|flag| flag.1).map(|flag| flag.0.to_owned()));
        arguments
    }
}

fn number(name: &str, value: &str) -> anyhow::Result<u64> {
    value.parse().with_context(|| format!("{name} takes a whole number, not {value}"))
}

pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    let options = Options::parse(options)?;
    let arguments = options.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = cargo(&arguments);
    if options.json {
        return as_json(&mut command);
    }
    for (name, value) in machine()? {
        say(format_args!("{name:<9} {value}"));
    }
    execute(&mut command).context("it is not proven; see above")
}

/// Prints what the command prints, with commit and machine in the same object.
fn as_json(command: &mut Command) -> anyhow::Result<()> {
    // Progress goes to standard error.
    let output = command.stderr(Stdio::inherit()).output()?;
    let mut report: Value =
        serde_json::from_slice(&output.stdout).context("it came to no result; see above")?;
    for (name, value) in machine()? {
        if let Some(report) = report.as_object_mut() {
            report.insert(name.to_owned(), json!(value));
        }
    }
    say(&report);
    if !output.status.success() {
        bail!("it is not proven; see above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn options_are_read_and_passed_on() {
        let words = "--rounds 5 --fault kill --fault stop --seed 7 --json --dev";
        let words: Vec<_> = words.split(' ').collect();
        let options = Options::parse(&words).unwrap();
        let expected = Options {
            rounds: Some(5),
            faults: vec!["kill".to_owned(), "stop".to_owned()],
            seed: Some(7),
            json: true,
            dev: true,
            smoke: false,
        };
        assert_eq!(options, expected);
        assert_eq!(
            options.arguments().join(" "),
            "bench --package isthmus --bench torture --profile dev --quiet -- \
             --rounds 5 --seed 7 --fault kill --fault stop --json"
        );
    }

    #[test]
    fn without_options_the_release_build_runs_every_fault() {
        let arguments = Options::parse(&[]).unwrap().arguments().join(" ");
        assert_eq!(arguments, "bench --package isthmus --bench torture --profile bench --");
        let arguments = Options::parse(&["--smoke"]).unwrap().arguments().join(" ");
        assert!(arguments.ends_with(" -- --test"), "{arguments}");
    }

    #[test]
    fn what_is_no_option_is_refused_with_the_ones_there_are() {
        let refusal = |words: &[&str]| Options::parse(words).unwrap_err().to_string();
        assert_eq!(refusal(&["--rounds"]), "--rounds takes a value");
        assert_eq!(refusal(&["--rounds", "many"]), "--rounds takes a whole number, not many");
        assert_eq!(refusal(&["--rounds", "0"]), "--rounds is at least 1");
        let told = refusal(&["kill"]);
        assert!(told.starts_with("kill is not an option of this command; there are --rounds"));
    }
}
