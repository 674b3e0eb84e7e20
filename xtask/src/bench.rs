//! `cargo xtask bench`: runs a benchmark, with what a reader needs to judge its numbers beside it.
//!
//! It prints and stores nothing. A number that goes into the docs names the command that made it.

use crate::shell::{cargo, command, output, run as execute, say};
use anyhow::{Context, bail};

/// One benchmark: what it measures, and the arguments of `cargo` that run it.
struct Bench {
    name: &'static str,
    about: &'static str,
    cargo: &'static [&'static str],
    /// Whether it takes `--users`.
    of_users: bool,
}

const BENCHES: [Bench; 16] = [
    Bench {
        name: "ingest",
        about: "durable ingest over HTTP, batches of 100, on disk before the answer",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "ingest"],
        of_users: false,
    },
    Bench {
        name: "latency",
        about: "from a client's upload to Braze's answer, at 5,000 events a second",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "latency"],
        of_users: false,
    },
    Bench {
        name: "drain",
        about: "a backlog of a million events into Braze, without limits and with documented ones",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "drain"],
        of_users: false,
    },
    Bench {
        name: "forwarding",
        about: "a backlog of a million events into Amplitude, and how much of its limits that uses",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "forwarding"],
        of_users: false,
    },
    Bench {
        name: "ledger",
        about: "what the ledger costs in time, CPU and bytes an event",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "ledger"],
        of_users: false,
    },
    Bench {
        name: "startup",
        about: "from kill -9 with 1 GiB of log to ready",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "startup"],
        of_users: false,
    },
    Bench {
        name: "profile",
        about: "user profiles over HTTP, alone and while events come in at full rate",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "profile"],
        of_users: true,
    },
    Bench {
        name: "applier",
        about: "from the intake log to profiles with many users: events a second, memory",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "applier"],
        of_users: true,
    },
    Bench {
        name: "currents-ingest",
        about: "durable intake of Braze Currents over HTTP, batches of 100, on disk before the answer",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "currents-ingest"],
        of_users: false,
    },
    Bench {
        name: "currents-import",
        about: "a folder of Avro files of Braze Currents read once, and one of four times its size",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "currents-import"],
        of_users: false,
    },
    Bench {
        name: "mirror",
        about: "what differs from what a million users were told, and what of it is sent twice",
        cargo: &["bench", "--package", "isthmus-server", "--bench", "mirror", "--"],
        of_users: false,
    },
    Bench {
        name: "mapping",
        about: "from an applied event to Braze's request, on one core",
        cargo: &["bench", "--package", "isthmus-braze", "--bench", "mapping", "--"],
        of_users: false,
    },
    Bench {
        name: "currents",
        about: "Braze Currents read from posts and files, and shown as Amplitude shows them, on one core",
        cargo: &["bench", "--package", "isthmus-braze", "--bench", "currents", "--"],
        of_users: false,
    },
    Bench {
        name: "forward",
        about: "from an applied event to Amplitude's request, on one core",
        cargo: &["bench", "--package", "isthmus-amplitude", "--bench", "forward", "--"],
        of_users: false,
    },
    Bench {
        name: "decode",
        about: "from an upload's bytes to validated events, on one core",
        cargo: &["bench", "--package", "isthmus-amplitude", "--bench", "decode", "--"],
        of_users: false,
    },
    Bench {
        name: "log",
        about: "appends to the durable log, against bare writes and syncs",
        cargo: &["bench", "--package", "isthmus-log", "--bench", "log", "--"],
        of_users: false,
    },
];

/// How to run benchmarks, beside their names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options<'a> {
    names: Vec<&'a str>,
    /// Only see that it runs.
    smoke: bool,
    users: Option<u64>,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a str]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--smoke" => options.smoke = true,
                "--users" => {
                    let users = words.next().and_then(|value| value.parse().ok());
                    let users = users.filter(|users| *users > 0);
                    options.users = Some(users.context("--users takes a number, 1 or more")?);
                }
                flag if flag.starts_with("--") => {
                    bail!("{flag} is not an option of this command; there are --smoke and --users")
                }
                name => options.names.push(name),
            }
        }
        Ok(options)
    }
}

pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    let options = Options::parse(words)?;
    if options.names.is_empty() {
        say(
            "usage: cargo xtask bench NAME... [--smoke] [--users N], or `all`; --smoke only sees that it runs",
        );
        for bench in &BENCHES {
            let users = if bench.of_users { " (--users N, a million by default)" } else { "" };
            say(format_args!("  {:<15} {}{users}", bench.name, bench.about));
        }
        return Ok(());
    }
    let selected = select(&options.names)?;
    if options.users.is_some() && !selected.iter().any(|bench| bench.of_users) {
        bail!("--users is for profile and applier");
    }
    for (name, value) in machine()? {
        say(format_args!("{name:<9} {value}"));
    }
    for bench in selected {
        say(format_args!("== {}: {}", bench.name, bench.about));
        let mut command = cargo(bench.cargo);
        if options.smoke {
            command.arg("--test");
        }
        if let Some(users) = options.users.filter(|_| bench.of_users) {
            command.arg(format!("--users={users}"));
        }
        execute(&mut command)?;
    }
    Ok(())
}

fn select(names: &[&str]) -> anyhow::Result<Vec<&'static Bench>> {
    if names == ["all"] {
        return Ok(BENCHES.iter().collect());
    }
    let find = |name: &&str| {
        BENCHES.iter().find(|bench| bench.name == *name).with_context(|| {
            let known: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
            format!("no benchmark is called {name}; there are {}, and all", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

/// The commit, the compiler and the machine, each under its name.
pub(crate) fn machine() -> anyhow::Result<[(&'static str, String); 3]> {
    let commit = output(&mut command("git", &["rev-parse", "--short=12", "HEAD"]))?;
    let changed = output(&mut command("git", &["status", "--porcelain"]))?;
    let changed = if changed.trim().is_empty() { "" } else { ", with uncommitted changes" };
    let compiler = output(&mut command("rustc", &["--version"]))?;
    let cores = std::thread::available_parallelism()?;
    let about = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        value_of(&text, key).unwrap_or_else(|| "unknown".to_owned())
    };
    let processor = about("/proc/cpuinfo", "model name");
    let memory = about("/proc/meminfo", "MemTotal");
    Ok([
        ("commit", format!("{}{changed}", commit.trim())),
        ("compiler", compiler.trim().to_owned()),
        ("machine", format!("{cores} cores of {processor}, {memory} of memory")),
    ])
}

/// The text after `key   :`.
fn value_of(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    let (_, value) = line.split_once(':')?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Options, select, value_of};

    #[test]
    fn an_unknown_benchmark_is_refused_with_the_names_there_are() {
        let error = select(&["decode", "speed"]).err().unwrap().to_string();
        assert!(error.starts_with("no benchmark is called speed; there are ingest,"), "{error}");
        assert_eq!(select(&["all"]).unwrap().len(), 16);
        assert_eq!(select(&["log"]).unwrap()[0].name, "log");
    }

    #[test]
    fn options_are_read_before_anything_runs() {
        let options = Options::parse(&["applier", "--users", "5000", "--smoke"]).unwrap();
        assert_eq!(options, Options { names: vec!["applier"], smoke: true, users: Some(5_000) });
        for (words, refusal) in [
            (
                &["--fast"][..],
                "--fast is not an option of this command; there are --smoke and --users",
            ),
            (&["applier", "--users"], "--users takes a number, 1 or more"),
            (&["applier", "--users", "0"], "--users takes a number, 1 or more"),
        ] {
            assert_eq!(Options::parse(words).unwrap_err().to_string(), refusal);
        }
    }

    #[test]
    fn values_of_proc_files_are_found() {
        let text = "processor\t: 0\nmodel name\t: Some CPU\n";
        assert_eq!(value_of(text, "model name").as_deref(), Some("Some CPU"));
        assert_eq!(value_of(text, "MemTotal"), None);
    }
}
