//! `isthmus demo`: the whole loop in one terminal, offline.
//!
//! Starts a sandbox of Braze and Amplitude and a server on free loopback ports, plays a shop's traffic
//! through the public HTTP API, shows what is happening, then what Braze holds, a message that Braze
//! renders with what the server knows of its reader, and what people do with messages arriving in
//! Amplitude.

mod circle;
mod message;
mod shop_front;
mod view;

use crate::client::Client;
use crate::{out, shutdown};
use anyhow::Context;
use clap::Args;
use isthmus_sandbox::{Sandbox, SandboxConfig};
use isthmus_server::parts::Parts;
use isthmus_server::system::{SystemClock, SystemHttp, SystemRandom};
use isthmus_server::{Options, Server};
use shop_front::ShopFront;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Long enough to finish what is under way, short enough for a person who pressed Ctrl-C.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Options of `isthmus demo`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Visitors of the shop.
    #[arg(long, default_value_t = 300)]
    shoppers: usize,
    /// Events to send.
    #[arg(long, default_value_t = 20_000)]
    events: usize,
    /// Decides everything the shoppers do.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ends when the traffic has arrived, instead of running on with the addresses shown.
    #[arg(long)]
    exit: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = shutdown::token()?;
    let clock = Arc::new(SystemClock::new());
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));

    let config = SandboxConfig { listen: free, ..SandboxConfig::default() };
    let http = Arc::new(SystemHttp::new(clock.clone())?);
    let sandbox = Sandbox::bind(config, clock.clone(), Arc::new(SystemRandom), http).await?;
    let sandbox_url = format!("http://{}", sandbox.address());
    let resources = folder.path().join("demo.yaml");
    std::fs::write(&resources, resources_text(&sandbox_url)).context("no room for resources")?;
    let server = open_server(folder.path(), &resources, free).await?;
    let server_url = format!("http://{}", server.address());
    let handle = sandbox.handle();
    circle::prepare(&handle, &server_url)?;
    let token = server.token().to_owned();

    let mut parts = Parts::new(clock.clone());
    parts.start("server", STOP_DEADLINE, |stop| server.run(stop));
    parts.start("sandbox", STOP_DEADLINE, |stop| async { Ok(sandbox.run(stop).await?) });
    let ended = CancellationToken::new();
    let show = async {
        let _ended = ended.clone().drop_guard();
        let client = Client::with(&server_url, &token)?;
        out::line(format!("server         {server_url}"));
        out::line(format!(
            "sandbox        {sandbox_url}  (Braze and Amplitude; open it in a browser)"
        ));
        out::line("");
        let shop = ShopFront::new(&server_url, clock.clone())?;
        let progress = view::Progress::new(arguments.events);
        shop.play(arguments.seed, arguments.shoppers, arguments.events, &progress, &client).await?;
        let users = view::show_users(&sandbox_url, clock.clone()).await?;
        message::show(&server_url, &sandbox_url, &users, clock.clone()).await?;
        circle::close(&handle, &client, &clock).await?;
        circle::show(&handle, &users, &client).await?;
        view::show_totals(&client).await?;
        if !arguments.exit {
            out::line("");
            out::line(format!("Still running. Users as Braze sees them: {sandbox_url}"));
            out::line(format!(
                "Send your own events to {server_url}/2/httpapi with the API key {}",
                shop_front::API_KEY
            ));
            out::line(format!("Try messages of your own: {sandbox_url}/message"));
            out::line(format!("Control token: {token}. Stop with Ctrl-C."));
            stop.cancelled().await;
        }
        anyhow::Ok(())
    };
    let (shown, stopped) = tokio::join!(
        async {
            tokio::select! {
                shown = show => shown,
                () = stop.cancelled() => Ok(()),
            }
        },
        parts.run_until(either(&stop, &ended)),
    );
    shown.and(stopped)
}

/// Cancelled as soon as one of the two is.
fn either(one: &CancellationToken, other: &CancellationToken) -> CancellationToken {
    let both = one.child_token();
    let (cancel, other) = (both.clone(), other.clone());
    #[expect(clippy::disallowed_methods, reason = "ends with the command it stops")]
    drop(tokio::spawn(async move {
        other.cancelled().await;
        cancel.cancel();
    }));
    both
}

async fn open_server(
    folder: &Path,
    resources: &Path,
    listen: SocketAddr,
) -> anyhow::Result<Server> {
    let loaded = isthmus_server::load(None, &[resources.to_owned()]).map_err(|problems| {
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the demo's own resources are wrong:\n{}", text.join("\n"))
    })?;
    let options = Options { data_dir: Some(folder.join("data")), listen: Some(listen) };
    Server::open(loaded, options).await
}

/// The demo's configuration: a good start for one's own.
fn resources_text(sandbox_url: &str) -> String {
    format!(
        r#"kind: project
name: shop
api_key: {api_key}
secret_key: {secret_key}
---
kind: destination
name: braze
type: braze
endpoint: {sandbox_url}
rest_key: demo-rest-key
app_id: demo-app
identify_settle: 50ms
---
kind: stream
name: product-events
project: shop
destination: braze
identify_by: {{ from: user_id, to: external_id }}
anonymous: {{ from: device_id, alias_label: visitor }}
send_events:
  events:
    - name: Signed Up
    - name: Plan Upgraded
    - name: Product Added
    - name: Order Completed
      filters: [ {{ property: {{ scope: event, name: total }}, op: greater, values: ["0"] }} ]
  event_properties: [ total, currency, items, categories, product_id, price, plan ]
  user_properties: [ {{ name: plan, as: plan_at_event }} ]
send_users:
  user_properties: [ first_name, email, plan, seats, orders, spent, categories ]
enabled: true
---
kind: currents_source
name: braze-currents
project: shop
token: {currents_token}
destination: braze
---
kind: destination
name: amplitude
type: amplitude
endpoint: {sandbox_url}
api_key: {amplitude_key}
---
kind: stream
name: to-amplitude
project: shop
destination: amplitude
forward:
  events: all
  identifies: true
  currents: {{ types: all }}
enabled: true
"#,
        amplitude_key = circle::AMPLITUDE_KEY,
        api_key = shop_front::API_KEY,
        currents_token = circle::TOKEN,
        secret_key = message::SECRET_KEY
    )
}
