//! The sandbox through a real listener on loopback, with time standing still unless it is moved.

mod amplitude;
mod client;
mod endpoints;
mod faults;
mod in_process;
mod inside;
mod outbound;
mod render;
mod settings;

use client::Client;
use isthmus_core::Timestamp;
use isthmus_core::seam::{BoxFuture, Http, ManualClock, Reply, Request, SeededRandom, SendError};
use isthmus_sandbox::{Sandbox, SandboxConfig, SandboxHandle};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// 2026-09-09T21:46:40Z, in the middle of a minute and of a 3-second window.
const NOW_MS: i64 = 1_788_990_401_000;

/// A running sandbox as a test sees it.
struct Bench {
    client: Client,
    handle: SandboxHandle,
    clock: ManualClock,
}

/// A network without hosts.
#[derive(Debug)]
struct Nowhere;

impl Http for Nowhere {
    fn send(&self, _: Request) -> BoxFuture<'static, Result<Reply, SendError>> {
        Box::pin(async { Err(SendError::NotSent { reason: "no such host".to_owned() }) })
    }
}

fn on_loopback(config: SandboxConfig) -> SandboxConfig {
    SandboxConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..config }
}

/// Runs `test` against a sandbox and then stops it.
async fn with(config: SandboxConfig, test: impl AsyncFnOnce(&Bench)) {
    let clock = ManualClock::at(Timestamp::from_millis(NOW_MS));
    let random = Arc::new(SeededRandom::new(1));
    let http = Arc::new(Nowhere);
    let sandbox = Sandbox::bind(on_loopback(config), Arc::new(clock.clone()), random, http).await;
    let sandbox = sandbox.expect("a sandbox on a free port");
    let client = Client::new(sandbox.address());
    let bench = Bench { client, handle: sandbox.handle(), clock };
    let stop = CancellationToken::new();
    let tested = async {
        test(&bench).await;
        stop.cancel();
    };
    let (served, ()) = tokio::join!(sandbox.run(stop.clone()), tested);
    served.expect("an orderly end");
}

/// Runs `test` against a sandbox with the default configuration.
async fn with_default(test: impl AsyncFnOnce(&Bench)) {
    with(SandboxConfig::default(), test).await;
}
