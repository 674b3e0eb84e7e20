//! The isthmus binary: reads the command line and runs one command.

mod client;
mod command;
mod out;
mod shutdown;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The system's allocator gives way: the applier allocates and frees small pieces of many sizes all day,
/// which costs it a quarter of its time there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Amplitude and Braze, joined by one self-hosted binary.
#[derive(Debug, Parser)]
#[command(name = "isthmus", version, propagate_version = true)]
struct Cli {
    /// What to log, as in `info` or `isthmus_delivery=debug`.
    #[arg(long, global = true, env = "ISTHMUS_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show it all in one terminal: server, sandbox Braze, a shop's traffic, what arrived.
    Demo(command::demo::Arguments),
    /// Run the server.
    Serve(command::serve::Arguments),
    /// Run the Braze emulator alone.
    Sandbox(command::sandbox::Arguments),
    /// Check configuration and resources as `serve` would, and report every problem.
    Check(command::check::Arguments),
    /// List the streams of a running server: delivered, pending, rejected, latency.
    Streams(command::streams::Arguments),
    /// List the destinations of a running server, or probe, pause or resume one.
    Destinations(command::destinations::Arguments),
    /// Send events from before a stream existed, or from while it was disabled.
    Backfill(command::backfill::Arguments),
    /// Send events again that a stream has seen and that are not delivered.
    Replay(command::replay::Arguments),
    /// List, watch and cancel backfills and replays.
    Jobs(command::jobs::Arguments),
    /// List the sources of Braze Currents: events, duplicates, files, what is quarantined.
    Currents(command::currents::Arguments),
    /// Read files once, while the server runs.
    Import(command::import::Arguments),
    /// Look at what a destination refused, mend it, send it again or let it go.
    DeadLetters(command::dead_letters::Arguments),
    /// Tell what happened to an event, to a user's events, or to what a stream sent.
    Ledger(command::ledger::Arguments),
    /// Look at what is known of a person.
    Profile(command::profile::Arguments),
    /// Compare what a destination has with what it was told, and make it so again.
    Mirror(command::mirror::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_log(&cli.log) {
        return out::fail(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return out::fail(&anyhow::Error::new(error)),
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Demo(arguments) => command::demo::run(arguments).await,
            Command::Serve(arguments) => command::serve::run(arguments).await,
            Command::Sandbox(arguments) => command::sandbox::run(arguments).await,
            Command::Check(arguments) => command::check::run(&arguments),
            Command::Streams(arguments) => command::streams::run(arguments).await,
            Command::Destinations(arguments) => command::destinations::run(arguments).await,
            Command::Currents(arguments) => command::currents::run(arguments).await,
            Command::Import(arguments) => command::import::run(arguments).await,
            Command::DeadLetters(arguments) => command::dead_letters::run(arguments).await,
            Command::Backfill(arguments) => command::backfill::run(arguments).await,
            Command::Replay(arguments) => command::replay::run(arguments).await,
            Command::Jobs(arguments) => command::jobs::run(arguments).await,
            Command::Ledger(arguments) => command::ledger::run(arguments).await,
            Command::Profile(arguments) => command::profile::run(arguments).await,
            Command::Mirror(arguments) => command::mirror::run(arguments).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::fail(&error),
    }
}

/// Logs go to standard error, so that standard output holds only what was asked for.
fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow::anyhow!("log filter `{filter}` is not valid: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    Ok(())
}
