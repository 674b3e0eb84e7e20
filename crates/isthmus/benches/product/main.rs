//! The product's own numbers: the real binary, a load generator on the same machine, the limit of
//! the same disk in the same run.
//!
//! `cargo xtask bench ingest` and its siblings run this. It takes no part in
//! `cargo test`, where a benchmark is only started to see that it starts.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::indexing_slicing, reason = "a benchmark may end with a panic")]

mod applier;
mod ask;
mod backlog;
mod currents_import;
mod disk;
mod drain;
mod forwarding;
mod histogram;
mod ingest;
mod latency;
mod ledger;
mod load;
mod population;
mod process;
mod profile;
mod startup;

use anyhow::{Context, bail};
use ingest::Traffic;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let smoke = std::env::args().any(|argument| argument == "--test");
    let users =
        std::env::args().find_map(|argument| Some(argument.strip_prefix("--users=")?.parse()));
    let users = match users.transpose().context("--users is a number")? {
        Some(users) => users,
        None if smoke => population::USERS_SMOKE,
        None => population::USERS,
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match arguments.first().map(String::as_str) {
            Some("ingest") => ingest::run(smoke, Traffic::Sdks).await,
            Some("currents-ingest") => ingest::run(smoke, Traffic::Currents).await,
            Some("latency") => latency::run(smoke).await,
            Some("drain") => drain::run(smoke).await,
            Some("forwarding") => forwarding::run(smoke).await,
            Some("ledger") => ledger::run(smoke).await,
            Some("startup") => startup::run(smoke).await,
            Some("profile") => profile::run(smoke, users).await,
            Some("applier") => applier::run(smoke, users).await,
            Some("currents-import") => currents_import::run(smoke).await,
            None => {
                ingest::run(smoke, Traffic::Sdks).await?;
                ingest::run(smoke, Traffic::Currents).await?;
                latency::run(smoke).await?;
                drain::run(smoke).await?;
                forwarding::run(smoke).await?;
                ledger::run(smoke).await?;
                startup::run(smoke).await?;
                profile::run(smoke, users).await?;
                applier::run(smoke, users).await?;
                currents_import::run(smoke).await
            }
            Some(other) => bail!(
                "no benchmark is called {other}; there are ingest, latency, drain, forwarding, ledger, \
                 startup, profile, applier, currents-ingest, currents-import"
            ),
        }
    })
}
