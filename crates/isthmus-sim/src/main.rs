//! `isthmus-sim`: runs seeds and says how they went. `cargo xtask sim` builds and starts it.

use isthmus_sim::{Options, Tally};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage: isthmus-sim [--seeds N] [--seed S] [--steps N] [--lines N]";
/// Seeds between two lines that say how far it is.
const PROGRESS_EVERY: u64 = 50;

struct Wanted {
    seeds: u64,
    first: u64,
    options: Options,
}

fn main() -> ExitCode {
    let wanted = match wanted(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(error) => {
            say(format_args!("error: {error}\n{USAGE}"));
            return ExitCode::FAILURE;
        }
    };
    // What panics is reported with the trace of its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut total, mut failed) = (Tally::default(), Vec::new());
    for at in 0..wanted.seeds {
        let seed = wanted.first + at;
        match isthmus_sim::run(seed, wanted.options) {
            Ok(passed) => total.add(&passed.tally),
            Err(failure) => {
                say(&failure);
                failed.push(seed.to_string());
            }
        }
        if (at + 1) % PROGRESS_EVERY == 0 && at + 1 < wanted.seeds {
            say(format_args!("{} of {} seeds, {} failed", at + 1, wanted.seeds, failed.len()));
        }
    }
    say(format_args!("seeds               {}", wanted.seeds));
    say(total.to_string().trim_end());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(format_args!("failed: {}", failed.join(" ")));
    ExitCode::FAILURE
}

fn wanted(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let (mut seeds, mut first, mut options) = (None, None, Options::default());
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{value} is not a number"))
        };
        match argument.as_str() {
            "--seeds" => seeds = Some(number()?),
            "--seed" => first = Some(number()?),
            "--steps" => options.steps = number()?,
            "--lines" => options.lines = usize::try_from(number()?).unwrap_or(usize::MAX),
            _ => return Err(format!("{argument} is not an option")),
        }
    }
    // One seed that somebody names is all that they want to see.
    let seeds = seeds.unwrap_or(if first.is_some() { 1 } else { 100 });
    Ok(Wanted { seeds, first: first.unwrap_or(0), options })
}

/// Prints on standard output. A closed pipe is the reader's wish, not an error.
fn say(text: impl Display) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}
