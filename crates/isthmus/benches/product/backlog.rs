//! A server, an emulated Braze or Amplitude and a stream between them, and many events at once.

use crate::ask;
use crate::load::Connection;
use crate::process::{Process, pause};
use isthmus_core::seam::{Clock, Random, SeededRandom};
use isthmus_server::system::SystemClock;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const API_KEY: &str = "bench-key";
const EVENTS_PER_REQUEST: u64 = 500;
const CONNECTIONS: u64 = 4;
const USERS: u64 = 100_000;
/// Between two looks at the stream.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where the stream ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To {
    Braze,
    /// By the call that `upload` of an Amplitude destination names.
    Amplitude(&'static str),
}

impl To {
    fn name(self) -> &'static str {
        match self {
            Self::Braze => "braze",
            Self::Amplitude(_) => "amplitude",
        }
    }

    /// Where events are sent.
    fn path(self) -> &'static str {
        match self {
            Self::Braze => "/users/track",
            Self::Amplitude("batch") => "/batch",
            Self::Amplitude(_) => "/2/httpapi",
        }
    }

    fn resources(self, sandbox: &str, limits: &str) -> String {
        let (of_destination, of_stream) = match self {
            Self::Braze => (
                "type: braze\nrest_key: sandbox-key\napp_id: app\n".to_owned(),
                "identify_by: { from: user_id, to: external_id }\n\
                 send_events:\n  events: [{ name: Order Completed }, { name: Product Viewed }, { name: Product Added }, { name: Page Viewed }, { name: Search Performed }, { name: Checkout Started }, { name: Signed Up }]\n  \
                 event_properties: [order_id, total, currency, items]\n",
            ),
            Self::Amplitude(upload) => (
                format!("type: amplitude\napi_key: sandbox-key\nupload: {upload}\n"),
                "forward: { events: all }\n",
            ),
        };
        let name = self.name();
        format!(
            "kind: project\nname: bench\napi_key: bench-key\n---\n\
             kind: destination\nname: {name}\nendpoint: {sandbox}\n{of_destination}limits: {{ {limits} }}\n---\n\
             kind: stream\nname: events\nproject: bench\ndestination: {name}\nenabled: true\n{of_stream}"
        )
    }
}

/// Both, running.
pub(crate) struct Pair {
    pub(crate) server: Process,
    pub(crate) sandbox: Process,
    to: To,
    token: String,
}

impl Pair {
    /// Starts both in `folder`; `limits` is YAML for the destination's `limits`.
    pub(crate) async fn start(
        folder: &Path,
        to: To,
        sandbox: &[&str],
        limits: &str,
        config: &str,
    ) -> anyhow::Result<Self> {
        let arguments = [&["--listen", "127.0.0.1:0", "--apply-delay", "0ms"], sandbox].concat();
        let sandbox = Process::start("sandbox", folder, &arguments).await?;
        ask::post(format!("{}/_sandbox/reset?keep=counts", sandbox.url), None, "").await?;
        std::fs::write(folder.join("bench.yaml"), to.resources(&sandbox.url, limits))?;
        std::fs::write(folder.join("bench.toml"), config)?;
        let server = Self::serve(folder).await?;
        let token = std::fs::read_to_string(folder.join("data").join("control.token"))?;
        Ok(Self { server, sandbox, to, token: token.trim().to_owned() })
    }

    /// Starts the server of `folder`.
    pub(crate) async fn serve(folder: &Path) -> anyhow::Result<Process> {
        let text = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (data, resources, config) = (text("data"), text("bench.yaml"), text("bench.toml"));
        let arguments = [
            "--data-dir",
            &*data,
            "--listen",
            "127.0.0.1:0",
            "--resources",
            &*resources,
            "--config",
            &*config,
        ];
        Process::start("serve", folder, &arguments).await
    }

    /// Uploads `events` as fast as they are taken. A connection repeats the users of its first request.
    pub(crate) async fn upload(&self, events: u64) -> anyhow::Result<()> {
        self.upload_of(events, None).await
    }

    /// Uploads `events`, each of anybody of `users`.
    pub(crate) async fn upload_of_anybody(&self, users: u64, events: u64) -> anyhow::Result<()> {
        self.upload_of(events, Some(users)).await
    }

    async fn upload_of(&self, events: u64, anybody_of: Option<u64>) -> anyhow::Result<()> {
        let clock = Arc::new(SystemClock::new());
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for seed in 1..=CONNECTIONS {
            let per_request = usize::try_from(EVENTS_PER_REQUEST)?;
            let address = self.server.address();
            let mut connection =
                Connection::open(address, "/2/httpapi", API_KEY, seed, USERS, per_request).await?;
            let (clock, random) = (clock.clone(), SeededRandom::new(seed));
            tasks.spawn(async move {
                for _ in 0..events / EVENTS_PER_REQUEST / CONNECTIONS {
                    if let Some(users) = anybody_of {
                        connection.set_users(|| random.below(users));
                    }
                    connection.post(clock.now()).await?;
                }
                Ok(())
            });
        }
        while let Some(finished) = tasks.join_next().await {
            finished??;
        }
        Ok(())
    }

    /// The stream as the control API shows it.
    pub(crate) async fn stream(&self) -> anyhow::Result<Value> {
        let url = format!("{}/control/v1/streams", self.server.url);
        let report: Value = serde_json::from_str(&ask::get(url, Some(&self.token)).await?)?;
        Ok(report["streams"][0].clone())
    }

    /// Waits until the stream has delivered `events`.
    pub(crate) async fn delivered(&self, events: u64) -> anyhow::Result<Value> {
        loop {
            let stream = self.stream().await?;
            if stream["delivered"].as_u64() >= Some(events) {
                return Ok(stream);
            }
            pause(LOOK_EVERY).await;
        }
    }

    /// Lets the emulator fail every request of the stream, or answer again.
    pub(crate) async fn fail(&self, fails: bool) -> anyhow::Result<()> {
        let faults = format!("{}/_sandbox/faults", self.sandbox.url);
        if fails {
            let path = self.to.path();
            let rule = format!(r#"{{"path":"{path}","effect":{{"status":{{"code":503}}}}}}"#);
            ask::post(faults, None, &rule).await?;
        } else {
            ask::delete(faults).await?;
        }
        Ok(())
    }

    /// Says that waiting is over.
    pub(crate) async fn resume(&self) -> anyhow::Result<()> {
        let (server, name) = (&self.server.url, self.to.name());
        let url = format!("{server}/control/v1/destinations/{name}/resume");
        ask::post(url, Some(&self.token), "{}").await
    }
}

/// Bytes of all files below `folder`.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
