//! The engine on fake time, a fake disk and a fake Braze, from one seed.
//!
//! A [`run`] draws a scenario (streams, limits, sizes) and then steps: uploads, time that passes or
//! jumps, weather at the vendor, faults of the disk, decisions about dead letters, and the ends that
//! a program can come to. Whoever could go on is polled by hand, in an order that is drawn too. The
//! same seed gives the same run, to the last line of its trace.
//!
//! Real: the door, the applier, the delivery engine with its journal and ledger, the logs, the
//! mapping to Braze, the sandbox's idea of Braze. Fake: the clock, the disk of the logs, the way to
//! the vendor, and who is scheduled when.
//!
//! State is real files of a real engine, which cannot be cut in the middle of a write from here. So
//! a crash leaves it as it is, or lets it fall back: to a copy from between two earlier lives, or to
//! nothing. The intake log is never trimmed beyond what the copy holds, which is what the server
//! promises. Dead letters are kept in memory across crashes, as of the moment when storing them
//! returned.
//!
//! In reading order: [`Tally`] and `world` (what happens), `scenario`, `traffic` and `weather` (what is drawn),
//! `program` (one life of what is tested), `executor`, `wire` and `trace` (what it runs on), `model`
//! and `checks` (what must be true).

mod checks;
mod executor;
mod model;
mod program;
mod scenario;
mod trace;
mod traffic;
mod weather;
mod wire;
mod world;

pub use world::Tally;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// How a seed is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Steps before everything is brought to its end.
    pub steps: u64,
    /// Lines of the trace that are kept for a failure.
    pub lines: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 600, lines: 60 }
    }
}

/// A run in which everything held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    pub tally: Tally,
    /// A hash of everything that happened, in order.
    pub trace: u64,
}

/// A run in which something did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub seed: u64,
    /// The step at which it was found.
    pub step: u64,
    /// What did not hold.
    pub invariant: String,
    /// The last lines of the trace.
    pub lines: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "seed {} failed at step {}: {}", self.seed, self.step, self.invariant)?;
        write!(out, "repeat it with: cargo xtask sim --seed {}", self.seed)
    }
}

/// Runs `seed` to its end.
pub fn run(seed: u64, options: Options) -> Result<Passed, Box<Failed>> {
    let failed = |step, invariant, lines| Box::new(Failed { seed, step, invariant, lines });
    let mut world =
        World::new(seed, options.lines).map_err(|error| failed(0, error, Vec::new()))?;
    let trace = world.trace.clone();
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world, options.steps)));
    let outcome = lived.unwrap_or_else(|panic| Err(format!("panic: {}", said(&*panic))));
    match outcome {
        Ok(()) => Ok(Passed { tally: world.tally, trace: trace.hash() }),
        Err(invariant) => Err(failed(trace.step(), invariant, trace.lines())),
    }
}

fn live(world: &mut World, steps: u64) -> Result<(), String> {
    for step in 1..=steps {
        world.trace.set_step(step);
        world.step()?;
    }
    world.trace.set_step(steps + 1);
    world.finish()
}

fn said(panic: &dyn Any) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

#[cfg(test)]
mod tests;
