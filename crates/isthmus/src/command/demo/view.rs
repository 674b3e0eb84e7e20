//! What the demo shows: live numbers, then users as Braze sees them.

use crate::client::Client;
use crate::out;
use anyhow::Context;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use indicatif::{ProgressBar, ProgressStyle};
use isthmus_amplitude::forward::reason;
use isthmus_core::seam::{Http, Method, Request};
use isthmus_server::report::StreamsReport;
use isthmus_server::system::{SystemClock, SystemHttp};
use isthmus_testkit::shop::Shop;
use serde_json::{Value, json};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// Users shown at the end.
const SHOWN: usize = 3;
/// Shoppers looked through for users who signed up.
const LOOKED_THROUGH: usize = 40;

/// Where nobody watches, the numbers are printed once in this many events.
const PRINTED_EVERY: u64 = 5_000;

/// The line of live numbers.
pub(super) struct Progress {
    bar: ProgressBar,
    printed: Cell<u64>,
}

impl Progress {
    pub(super) fn new(events: usize) -> Self {
        let bar = ProgressBar::new(events as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} events  {msg}") {
            bar.set_style(style);
        }
        Self { bar, printed: Cell::new(0) }
    }

    pub(super) fn show(&self, accepted: usize, report: &StreamsReport) {
        let accepted = accepted as u64;
        let Sums { delivered, pending, requests, objects_saved, .. } = sums(report);
        let numbers = format!(
            "delivered {delivered}  pending {pending}  requests {requests}  objects saved {objects_saved}"
        );
        if self.bar.is_hidden() && accepted >= self.printed.get() + PRINTED_EVERY {
            self.printed.set(accepted);
            out::line(format!("{accepted} events accepted  {numbers}"));
        }
        self.bar.set_position(accepted);
        self.bar.set_message(numbers);
    }

    pub(super) fn finish(&self) {
        self.bar.finish();
    }
}

/// What all streams did, together.
#[derive(Debug, Default)]
pub(super) struct Sums {
    delivered: u64,
    pub(super) pending: u64,
    requests: u64,
    objects_saved: u64,
    /// Events that Braze told because a stream told Braze, and that were not forwarded.
    pub(super) echoes: u64,
}

pub(super) fn sums(report: &StreamsReport) -> Sums {
    let mut all = Sums::default();
    for stream in &report.streams {
        all.delivered += stream.delivered;
        all.pending += stream.pending;
        all.requests += stream.requests;
        all.objects_saved += stream.objects_saved;
        all.echoes += stream.discards.get(reason::ECHO).copied().unwrap_or_default();
    }
    all
}

/// Prints some users with what Braze exports of them, and returns the external ids of all that it
/// looked through. Users who came as visitors still have the alias that they had then.
pub(super) async fn show_users(
    sandbox: &str,
    clock: Arc<SystemClock>,
) -> anyhow::Result<Vec<String>> {
    let ids: Vec<String> = (0..LOOKED_THROUGH).map(Shop::user_id).collect();
    let fields = [
        "external_id",
        "user_aliases",
        "email",
        "first_name",
        "custom_attributes",
        "custom_events",
    ];
    let body = json!({ "external_ids": ids, "fields_to_export": fields }).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer demo-rest-key"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = Request {
        method: Method::Post,
        url: format!("{sandbox}/users/export/ids"),
        headers,
        body: body.into(),
        timeout: Duration::from_secs(10),
    };
    let reply = SystemHttp::new(clock)?.send(request).await.context("sandbox does not answer")?;
    let export: Value = serde_json::from_slice(&reply.body).context("sandbox answered no JSON")?;
    let users = export.get("users").and_then(Value::as_array).cloned().unwrap_or_default();
    out::line("");
    out::line(format!("{SHOWN} users as Braze sees them (POST /users/export/ids):"));
    for user in users.iter().take(SHOWN) {
        out::line("");
        out::line(serde_json::to_string_pretty(user)?);
    }
    if users.is_empty() {
        anyhow::bail!("Braze holds no users after the traffic; {}", reply.excerpt());
    }
    let ids = users.iter().filter_map(|user| user.get("external_id").and_then(Value::as_str));
    Ok(ids.map(str::to_owned).collect())
}

/// Prints the table of streams.
pub(super) async fn show_totals(client: &Client) -> anyhow::Result<()> {
    let report: StreamsReport = client.get("/control/v1/streams").await?;
    out::line("");
    crate::command::streams::print(&report);
    Ok(())
}
