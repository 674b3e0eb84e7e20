//! A server and an emulated Braze, with the resources of a shop.

use super::amplitude::Amplitude;
use super::braze::Braze;
use super::http::{Answer, post};
use super::patience::eventually;
use super::process::{Process, ended};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// The key that SDKs send.
pub(crate) const API_KEY: &str = "shop-key";

/// A shop whose events and users reach Braze by external id.
pub(crate) const SHOP: &str = r#"
kind: project
name: shop
api_key: shop-key
---
kind: destination
name: braze
type: braze
endpoint: http://BRAZE
rest_key: { env: ISTHMUS_TEST_REST_KEY }
app_id: shop-app
---
kind: stream
name: shop-events
project: shop
destination: braze
identify_by: { from: user_id, to: external_id }
send_events:
  events:
    - name: Product Viewed
    - name: Order Completed
    - name: revenue_amount
    - name: session_start
    - name: "[Amplitude] Page Viewed"
  event_properties:
    - product
    - price
    - in_stock
    - total
    - items
    - gift
    - currency
    - coupons
    - note
    - uid
    - { name: $price, as: unit_price }
    - { name: $quantity, as: units }
    - { name: $productId, as: sku }
  user_properties: [plan, seats]
send_users:
  user_properties: [plan, seats, beta, tags, badges, scratch, first_plan, company]
enabled: true
"#;

/// Both, running. Everything is gone when this is dropped.
pub(crate) struct Lab {
    server: Option<Process>,
    sandbox: Process,
    folder: TempDir,
}

impl Lab {
    /// The shop.
    pub(crate) fn shop() -> Self {
        Self::with(SHOP)
    }

    /// `resources`, where `BRAZE` stands for the emulator's address.
    pub(crate) fn with(resources: &str) -> Self {
        Self::configured(resources, "")
    }

    /// As [`Self::with`], with an `isthmus.toml`.
    pub(crate) fn configured(resources: &str, configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("isthmus.toml"), configuration).unwrap();
        let sandbox = Process::start(folder.path(), "sandbox", &["--apply-delay", "0ms"]);
        Braze { address: sandbox.address() }.keep_everything();
        let resources = resources.replace("BRAZE", sandbox.address());
        std::fs::write(folder.path().join("shop.yaml"), resources).unwrap();
        let mut lab = Self { server: None, sandbox, folder };
        lab.start();
        lab
    }

    /// Starts the server on the same data again.
    pub(crate) fn start(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        let arguments = ["--data-dir", "data", "--resources", "shop.yaml"];
        self.server = Some(Process::start(self.folder.path(), "serve", &arguments));
    }

    /// Takes the server away, to end it in some way.
    pub(crate) fn take_server(&mut self) -> Process {
        self.server.take().unwrap()
    }

    pub(crate) fn server(&self) -> &Process {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn sandbox(&self) -> &Process {
        &self.sandbox
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// What the emulator holds.
    pub(crate) fn braze(&self) -> Braze<'_> {
        Braze { address: self.sandbox().address() }
    }

    /// What the emulator holds as Amplitude.
    pub(crate) fn amplitude(&self) -> Amplitude<'_> {
        Amplitude { address: self.sandbox().address() }
    }

    /// Uploads `events` to `/2/httpapi`.
    pub(crate) fn upload(&self, events: &Value) -> Answer {
        let body = json!({ "api_key": API_KEY, "events": events });
        post(self.server().address(), "/2/httpapi", &body)
    }

    /// What `isthmus streams --json` prints.
    pub(crate) fn streams(&self) -> Value {
        let url = self.server().url("");
        let arguments = ["streams", "--json", "--server", &url, "--data-dir", "data"];
        let ended = ended(self.folder.path(), &arguments);
        assert!(ended.status.success(), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// What it prints about the first stream.
    pub(crate) fn stream(&self) -> Value {
        self.streams()["streams"][0].clone()
    }

    /// Waits until everything that was uploaded is delivered, refused or left out, and checks that
    /// the counts add up.
    ///
    /// It uploads one more event: once that is with Braze, the stream has seen all that came before.
    pub(crate) fn settle(&self) -> Value {
        static LAST: AtomicU64 = AtomicU64::new(1);
        let user = format!("last-user-{}", LAST.fetch_add(1, Ordering::Relaxed));
        let last = json!([{ "event_type": "Product Viewed", "user_id": user }]);
        assert_eq!(self.upload(&last).status, 200);
        eventually("the last event reaches Braze", || {
            self.braze().user(&user).ok_or_else(|| self.stream().to_string())
        });
        let stream = eventually("nothing is pending", || {
            let stream = self.stream();
            if stream["pending"] == 0 { Ok(stream) } else { Err(stream.to_string()) }
        });
        let count = |name: &str| stream[name].as_u64().unwrap();
        let sum = count("delivered") + count("rejected") + count("discarded") + count("pending");
        assert_eq!(count("accepted"), sum, "{stream}");
        stream
    }

    /// As [`Self::settle`], and what Braze has taken has come into effect, too.
    pub(crate) fn settle_applied(&self) {
        self.settle();
        eventually("all requests have come into effect", || {
            let waiting = self.braze().waiting();
            if waiting == 0 { Ok(()) } else { Err(format!("{waiting} wait")) }
        });
    }
}
