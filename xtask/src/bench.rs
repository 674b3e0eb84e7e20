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
}

const BENCHES: [Bench; 8] = [
    Bench {
        name: "ingest",
        about: "durable ingest over HTTP, batches of 100, on disk before the answer",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "ingest"],
    },
    Bench {
        name: "latency",
        about: "from a client's upload to Braze's answer, at 5,000 events a second",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "latency"],
    },
    Bench {
        name: "drain",
        about: "a backlog of a million events into Braze, without limits and with documented ones",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "drain"],
    },
    Bench {
        name: "ledger",
        about: "what the ledger costs in time, CPU and bytes an event",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "ledger"],
    },
    Bench {
        name: "startup",
        about: "from kill -9 with 1 GiB of log to ready",
        cargo: &["bench", "--package", "isthmus", "--bench", "product", "--", "startup"],
    },
    Bench {
        name: "mapping",
        about: "from an applied event to Braze's request, on one core",
        cargo: &["bench", "--package", "isthmus-braze", "--bench", "mapping", "--"],
    },
    Bench {
        name: "decode",
        about: "from an upload's bytes to validated events, on one core",
        cargo: &["bench", "--package", "isthmus-amplitude", "--bench", "decode", "--"],
    },
    Bench {
        name: "log",
        about: "appends to the durable log, against bare writes and syncs",
        cargo: &["bench", "--package", "isthmus-log", "--bench", "log", "--"],
    },
];

pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    let (flags, names): (Vec<&str>, Vec<&str>) =
        options.iter().partition(|option| option.starts_with("--"));
    if let Some(flag) = flags.iter().find(|flag| **flag != "--smoke") {
        bail!("{flag} is not an option of this command; there is --smoke");
    }
    if names.is_empty() {
        say("usage: cargo xtask bench NAME... [--smoke], or `all`; --smoke only sees that it runs");
        for bench in &BENCHES {
            say(format_args!("  {:<9} {}", bench.name, bench.about));
        }
        return Ok(());
    }
    let selected = select(&names)?;
    for (name, value) in machine()? {
        say(format_args!("{name:<9} {value}"));
    }
    for bench in selected {
        say(format_args!("== {}: {}", bench.name, bench.about));
        let mut command = cargo(bench.cargo);
        if !flags.is_empty() {
            command.arg("--test");
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
    use super::{select, value_of};

    #[test]
    fn an_unknown_benchmark_is_refused_with_the_names_there_are() {
        let error = select(&["decode", "speed"]).err().unwrap().to_string();
        assert!(error.starts_with("no benchmark is called speed; there are ingest,"), "{error}");
        assert_eq!(select(&["all"]).unwrap().len(), 8);
        assert_eq!(select(&["log"]).unwrap()[0].name, "log");
    }

    #[test]
    fn values_of_proc_files_are_found() {
        let text = "processor\t: 0\nmodel name\t: Some CPU\n";
        assert_eq!(value_of(text, "model name").as_deref(), Some("Some CPU"));
        assert_eq!(value_of(text, "MemTotal"), None);
    }
}
