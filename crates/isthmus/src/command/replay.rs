//! `isthmus replay`: events that a stream has seen, again.

use super::jobs::{JobArguments, plan_and_run};
use clap::{Args, ValueEnum};
use isthmus_server::report::jobs::{JobRequest, Only};

/// Options of `isthmus replay`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    job: JobArguments,
    /// What of it: everything that is not delivered, what was refused or given up, or what nobody
    /// knows the outcome of.
    #[arg(long, value_enum, default_value_t = Which::All)]
    only: Which,
    /// Sends what the ledger says is delivered, too.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    All,
    Rejected,
    Unknown,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { job, only, force } = arguments;
    let only = match only {
        Which::All => Only::All,
        Which::Rejected => Only::Rejected,
        Which::Unknown => Only::Unknown,
    };
    let request = JobRequest { from: job.from.clone(), to: job.to.clone(), only, force };
    plan_and_run("replay", &job, &request).await
}
