//! `isthmus sandbox`: the Braze emulator alone.

use super::serve::write_port_file;
use crate::{out, shutdown};
use clap::Args;
use isthmus_sandbox::{Sandbox, SandboxConfig};
use isthmus_server::system::{SystemClock, SystemRandom};
use std::net::SocketAddr;
use std::path::PathBuf;
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
    /// Writes the address to this file once the sandbox is ready.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = shutdown::token()?;
    let apply_delay = isthmus_config::parse_duration(&arguments.apply_delay)?;
    let config = SandboxConfig {
        listen: arguments.listen,
        snapshot: arguments.snapshot,
        apply_delay,
        ..SandboxConfig::default()
    };
    let sandbox =
        Sandbox::bind(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom)).await?;
    let address = sandbox.address();
    out::line(format!("sandbox Braze: http://{address} (open it in a browser)"));
    if let Some(file) = &arguments.port_file {
        write_port_file(file, address)?;
    }
    sandbox.run(stop).await?;
    Ok(())
}
