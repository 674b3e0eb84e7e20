//! `isthmus sandbox`: the emulators of Braze and Amplitude alone.

use super::serve::write_port_file;
use crate::{out, shutdown};
use anyhow::Context;
use clap::{Args, ValueEnum};
use isthmus_core::seam::{Random, SeededRandom};
use isthmus_sandbox::{Fault, RateProfile, Rates, Sandbox, SandboxConfig};
use isthmus_server::system::{SystemClock, SystemHttp, SystemRandom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Options of `isthmus sandbox`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Address to listen on; port 0 takes a free port.
    #[arg(
        long,
        env = "ISTHMUS_SANDBOX_LISTEN",
        default_value = "127.0.0.1:8500",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// Keeps the state in this file across restarts.
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// How long after its answer a request takes effect, as Braze does.
    #[arg(long, default_value = "50ms", value_name = "TIME")]
    apply_delay: String,
    /// Up to this much more delay, drawn per request: requests overtake each other.
    #[arg(long, default_value = "0ms", value_name = "TIME")]
    apply_jitter: String,
    /// Which contract's rate limits and headers to imitate.
    #[arg(long, value_enum, default_value_t = Contract::Datapoint)]
    rates: Contract,
    /// Requests to /users/track per 3 seconds; out of reach by default.
    #[arg(long, value_name = "REQUESTS")]
    track_per_3s: Option<u32>,
    /// Requests to /users/track per hour, for the contract `mau`; out of reach by default.
    #[arg(long, value_name = "REQUESTS")]
    track_per_hour: Option<u32>,
    /// Starts with the faults in this file: a JSON list of rules.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Decides everything that is drawn; without one, it differs from run to run.
    #[arg(long)]
    seed: Option<u64>,
    /// Writes the address to this file once the sandbox is ready.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
}

/// [`RateProfile`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Contract {
    /// No limits and no headers.
    Off,
    /// Priced in data points.
    Datapoint,
    /// Priced by monthly active users.
    Mau,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = shutdown::token()?;
    let faults = arguments.faults.as_deref().map(read_faults).transpose()?;
    let random: Arc<dyn Random> = match arguments.seed {
        Some(seed) => Arc::new(SeededRandom::new(seed)),
        None => Arc::new(SystemRandom),
    };
    let config = SandboxConfig {
        listen: arguments.listen,
        apply_delay: isthmus_config::parse_duration(&arguments.apply_delay)?,
        apply_jitter: isthmus_config::parse_duration(&arguments.apply_jitter)?,
        rates: rates(&arguments)?,
        snapshot: arguments.snapshot,
        ..SandboxConfig::default()
    };
    let clock = Arc::new(SystemClock::new());
    let http = Arc::new(SystemHttp::new(clock.clone())?);
    let sandbox = Sandbox::bind(config, clock, random, http).await?;
    sandbox.handle().inject_all(faults.unwrap_or_default())?;
    let address = sandbox.address();
    out::line(format!("sandbox Braze and Amplitude: http://{address} (open it in a browser)"));
    if let Some(file) = &arguments.port_file {
        write_port_file(file, address)?;
    }
    sandbox.run(stop).await?;
    Ok(())
}

fn read_faults(file: &Path) -> anyhow::Result<Vec<Fault>> {
    let text = std::fs::read(file);
    let text = text.with_context(|| format!("faults {} cannot be read", file.display()))?;
    Fault::read(&text).with_context(|| format!("faults {} cannot be used", file.display()))
}

/// The limits that were asked for, and all others out of reach.
fn rates(arguments: &Arguments) -> anyhow::Result<Rates> {
    let profile = match arguments.rates {
        Contract::Off => RateProfile::Off,
        Contract::Datapoint => RateProfile::DataPoint,
        Contract::Mau => RateProfile::Mau,
    };
    if arguments.track_per_3s.is_some() && profile == RateProfile::Off {
        anyhow::bail!("--track-per-3s has no effect with --rates off");
    }
    if arguments.track_per_hour.is_some() && profile != RateProfile::Mau {
        anyhow::bail!("--track-per-hour needs --rates mau");
    }
    let plenty = Rates::default();
    Ok(Rates {
        profile,
        track_per_3s: arguments.track_per_3s.unwrap_or(plenty.track_per_3s),
        track_per_hour: arguments.track_per_hour.unwrap_or(plenty.track_per_hour),
        ..plenty
    })
}
