//! `isthmus backfill`: events from before a stream existed, or from while it was disabled.

use super::jobs::{JobArguments, plan_and_run};
use clap::Args;
use isthmus_server::report::jobs::{JobRequest, Only};

/// Options of `isthmus backfill`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    job: JobArguments,
    /// Sends what the ledger says is delivered, too.
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { job, force } = arguments;
    let request = JobRequest { from: job.from.clone(), to: job.to.clone(), only: Only::All, force };
    plan_and_run("backfill", &job, &request).await
}
