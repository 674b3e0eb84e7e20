//! The shop's traffic, sent as an Amplitude SDK sends it: over HTTP, in batches, again when told to.

use super::view::{Progress, sums};
use crate::client::Client;
use anyhow::{Context, bail};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use isthmus_core::Timestamp;
use isthmus_core::seam::{Clock, Http, Method, Request};
use isthmus_server::system::{SystemClock, SystemHttp};
use isthmus_testkit::shop::{self, Shop};
use std::sync::Arc;
use std::time::Duration;

/// Public by design, like every Amplitude API key.
pub(super) const API_KEY: &str = "5b1e0c77a8f04d0b9c2f6e1d3a4b5c6d";

/// Events per upload, as Amplitude's browser SDK sends them.
const EVENTS_PER_UPLOAD: usize = 30;
/// Spreads the traffic over some seconds, so that there is something to watch.
const PAUSE: Duration = Duration::from_millis(8);
/// How often the numbers are refreshed.
const REFRESH: Duration = Duration::from_millis(100);
/// A demo that has not arrived after this long is broken.
const ARRIVES_WITHIN: Duration = Duration::from_mins(1);

/// Where the shop sends its events.
pub(super) struct ShopFront {
    url: String,
    http: SystemHttp,
    clock: Arc<SystemClock>,
}

impl ShopFront {
    pub(super) fn new(server: &str, clock: Arc<SystemClock>) -> anyhow::Result<Self> {
        let http = SystemHttp::new(clock.clone())?;
        Ok(Self { url: format!("{server}/2/httpapi"), http, clock })
    }

    /// Sends `events` events of `shoppers` visitors and waits until all have arrived in Braze.
    pub(super) async fn play(
        &self,
        seed: u64,
        shoppers: usize,
        events: usize,
        progress: &Progress,
        client: &Client,
    ) -> anyhow::Result<()> {
        // The shop opened long enough ago to close about now: Braze takes no events of the future.
        let open_for = events as u64 * shop::STEP_MILLIS_MAX;
        let opened_at = self.clock.now().as_millis().saturating_sub_unsigned(open_for);
        let mut shop = Shop::new(seed, shoppers, Timestamp::from_millis(opened_at));
        let (mut sent, mut refreshed) = (0, Duration::ZERO);
        while sent < events {
            let batch: Vec<_> = shop.by_ref().take(EVENTS_PER_UPLOAD.min(events - sent)).collect();
            if batch.is_empty() {
                break;
            }
            sent += batch.len();
            self.upload(&batch).await?;
            if self.clock.monotonic() >= refreshed + REFRESH {
                refreshed = self.clock.monotonic();
                progress.show(sent, &client.get("/control/v1/streams").await?);
            }
            self.clock.sleep(PAUSE).await;
        }
        let deadline = self.clock.monotonic() + ARRIVES_WITHIN;
        loop {
            let health: Health = client.get("/control/v1/status").await?;
            let report = client.get("/control/v1/streams").await?;
            progress.show(sent, &report);
            let pending = sums(&report).pending;
            if health.lag_bytes == 0 && pending == 0 {
                break;
            }
            if self.clock.monotonic() > deadline {
                bail!("{pending} objects have not arrived after {ARRIVES_WITHIN:?}");
            }
            self.clock.sleep(REFRESH).await;
        }
        progress.finish();
        Ok(())
    }

    async fn upload(&self, events: &[shop::Event]) -> anyhow::Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Request {
            method: Method::Post,
            url: self.url.clone(),
            headers,
            body: shop::upload_body(API_KEY, events).into(),
            timeout: Duration::from_secs(10),
        };
        let reply = self.http.send(request).await.context("the server does not answer")?;
        if reply.status != 200 {
            bail!("the server answered {}: {}", reply.status, reply.excerpt());
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct Health {
    /// Bytes accepted but not yet read by every stream.
    lag_bytes: u64,
}
