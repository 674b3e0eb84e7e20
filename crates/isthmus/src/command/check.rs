//! `isthmus check`: what `serve` checks before it opens the door.

use super::serve::Configuration;
use crate::out;
use clap::Args;

/// Options of `isthmus check`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = arguments.configuration.load()?;
    let count = loaded.resources.len();
    let noun = if count == 1 { "resource" } else { "resources" };
    out::line(format!("configuration is good: {count} {noun}"));
    Ok(())
}
