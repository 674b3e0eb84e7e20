//! `isthmus-sim`: runs seeds and says how they went. `cargo xtask sim` builds and starts it.

use isthmus_sim::{STEPS, Tally};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;


const USAGE: &str = "usage: isthmus-sim [--seeds N] [--seed S] [--steps N]";
/// Seeds between two lines that say how far it is.
const PROGRESS_EVERY: u64 = 50;

struct Options {
    seeds: u64,
    first: u64,
    steps: u64,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            say(format_args!("error: {error}\n{USAGE}"));
            return ExitCode::FAILURE;
        }
    };
    // What panics is reported with the trace of its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut total, mut failed) = (Tally::default(), Vec::new());
    for at in 0..options.seeds {
        let seed = options.first + at;
        match isthmus_sim::run(seed, options.steps) {
            Ok(passed) => total.add(&passed.tally),
            Err(failure) => {
                say(&failure);
                failed.push(seed.to_string());
            }
        }
        if (at + 1) % PROGRESS_EVERY == 0 && at + 1 < options.seeds {
            say(format_args!("{} of {} seeds, {} failed", at + 1, options.seeds, failed.len()));
        }
    }
    say(format_args!("seeds               {}", options.seeds));
    say(total.to_string().trim_end());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(format_args!("failed: {}", failed.join(" ")));
    ExitCode::FAILURE
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut seeds, mut first, mut steps) = (None, None, STEPS);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{value} is not a number"))
        };
        match argument.as_str() {
            "--seeds" => seeds = Some(number()?),
            "--seed" => first = Some(number()?),
            "--steps" => steps = number()?,
            _ => return Err(format!("{argument} is not an option")),
        }
    }
    // One seed that somebody names is all that they want to see.
    let seeds = seeds.unwrap_or(if first.is_some() { 1 } else { 100 });
    Ok(Options { seeds, first: first.unwrap_or(0), steps })
}

/// Prints on standard output. A closed pipe is the reader's wish, not an error.
fn say(text: impl Display) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}
