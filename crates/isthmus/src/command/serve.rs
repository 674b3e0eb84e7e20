//! `isthmus serve`: the server.

use crate::{out, shutdown};
use anyhow::Context;
use clap::Args;
use isthmus_server::{Options, Server};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Configuration {
    /// Server configuration; `isthmus.toml` in this folder is used when it is there.
    #[arg(long, env = "ISTHMUS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Resource files, or folders of them (YAML or JSON).
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) resources: Vec<PathBuf>,
}

impl Configuration {
    /// Reads everything, and reports every problem at once.
    pub(crate) fn load(&self) -> anyhow::Result<isthmus_config::Loaded> {
        let usual = Path::new("isthmus.toml");
        let config = self.config.as_deref().or_else(|| usual.exists().then_some(usual));
        isthmus_server::load(config, &self.resources).map_err(|problems| {
            let count = problems.len();
            let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
            let noun = if count == 1 { "problem" } else { "problems" };
            anyhow::anyhow!("{count} {noun} in the configuration\n{}", text.join("\n"))
        })
    }
}

/// Options of `isthmus serve`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// Folder for all data; one server at a time.
    #[arg(long, env = "ISTHMUS_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free port.
    #[arg(long, env = "ISTHMUS_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Writes the address to this file once the server is ready.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = shutdown::token()?;
    let loaded = arguments.configuration.load()?;
    let options = Options { data_dir: arguments.data_dir, listen: arguments.listen };
    let server = Server::open(loaded, options).await?;
    let address = server.address();
    if let Some(token) = server.new_token() {
        out::line(format!("control token (also in the data folder): {token}"));
    }
    out::line(format!("listening on http://{address}"));
    if let Some(file) = &arguments.port_file {
        write_port_file(file, address)?;
    }
    server.run(stop).await
}

/// Writes `address` to `file` in one step, so that a reader never sees half of it.
pub(crate) fn write_port_file(file: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&draft, file))
        .with_context(|| format!("address cannot be written to {}", file.display()))
}
