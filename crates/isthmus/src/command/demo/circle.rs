//! The way back: Braze thanks whoever orders, Currents tells what they do with the message, and
//! Amplitude has it beside what they did in the shop.

use super::view::sums;
use crate::client::Client;
use crate::out;
use anyhow::{Context, bail};
use isthmus_core::seam::Clock;
use isthmus_sandbox::SandboxHandle;
use isthmus_server::report::currents::CurrentsReport;
use isthmus_server::report::{StatusReport, StreamsReport};
use isthmus_server::system::SystemClock;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// With what the emulated Braze posts to the server.
pub(super) const TOKEN: &str = "demo-currents-token";
/// The emulated Amplitude's project.
pub(super) const AMPLITUDE_KEY: &str = "demo-amplitude-key";

const CAMPAIGN: &str = "thank-you";
const CONNECTOR: &str = "home";
/// How much faster than people the shop's readers are: they take hours to open an e-mail.
const READERS_SPEED: u32 = 100_000;
/// What begins the name of every event of Braze at Amplitude.
const BRAZE_PREFIX: &str = "[Appboy] ";
/// What begins the names of custom events that came back from Braze.
const CUSTOM_EVENT_PREFIX: &str = "[Appboy] [Custom Event] ";

const REFRESH: Duration = Duration::from_millis(100);
/// Nothing moved anywhere for this long: what people do with messages has come to its end.
const QUIET: Duration = Duration::from_millis(800);
/// A circle that moves on for longer than this is broken.
const CLOSES_WITHIN: Duration = Duration::from_mins(2);

/// Lets Braze thank whoever orders, and tell `server` of everything.
pub(super) fn prepare(sandbox: &SandboxHandle, server: &str) -> anyhow::Result<()> {
    let campaign = json!({
        "channel": "email",
        "trigger": { "event": "Order Completed" },
        "re_eligible_after": "0s",
        "message": "Thank you, {{${first_name} | default: 'friend'}}.",
        "engagement": { "opened": 0.6, "clicked": 0.3, "speed": READERS_SPEED },
    });
    sandbox.campaigns().put(CAMPAIGN, &campaign).context("the demo's campaign is wrong")?;
    let connector = json!({
        "url": format!("{server}/currents/http/braze-currents"), "token": TOKEN,
        "linger": "100ms",
    });
    sandbox.currents().put(CONNECTOR, &connector).context("the demo's connector is wrong")
}

/// Waits until everything that Braze told has come home and gone on to Amplitude.
pub(super) async fn close(
    sandbox: &SandboxHandle,
    client: &Client,
    clock: &SystemClock,
) -> anyhow::Result<()> {
    let deadline = clock.monotonic() + CLOSES_WITHIN;
    let (mut before, mut since) = (None, clock.monotonic());
    loop {
        let status: StatusReport = client.get("/control/v1/status").await?;
        let report: StreamsReport = client.get("/control/v1/streams").await?;
        let queued: usize = sandbox.currents().connectors().iter().map(|one| one.queued).sum();
        let pending = sums(&report).pending;
        let now = (status.events_applied, sandbox.amplitude().counters());
        if before.as_ref() != Some(&now) {
            (before, since) = (Some(now), clock.monotonic());
        }
        let waits = status.lag_bytes > 0 || queued > 0 || pending > 0 || sandbox.waiting() > 0;
        if !waits && clock.monotonic() >= since + QUIET {
            return Ok(());
        }
        if clock.monotonic() > deadline {
            bail!(
                "the circle did not close within {CLOSES_WITHIN:?}: {queued} events wait at Braze, \
                 {pending} objects on their way out"
            );
        }
        clock.sleep(REFRESH).await;
    }
}

/// Prints what Amplitude has, of everybody and of one of `users`, and what was kept from it.
pub(super) async fn show(
    sandbox: &SandboxHandle,
    users: &[String],
    client: &Client,
) -> anyhow::Result<()> {
    let amplitude = sandbox.amplitude();
    let all = Stored::of(amplitude.counters().by_event_type);
    if all.messages.is_empty() {
        bail!("Amplitude heard of no message: {all:?}");
    }
    let of = |user: &String| {
        let mut count = BTreeMap::new();
        for event in amplitude.events_of(user) {
            *count.entry(event.event_type).or_default() += 1;
        }
        (user.clone(), Stored::of(count))
    };
    let thanked = users.iter().map(of).find(|(_, stored)| !stored.messages.is_empty());
    let Some((user, theirs)) = thanked else {
        bail!("Amplitude has messages of nobody among {users:?}");
    };

    out::line("");
    out::line("Braze thanked whoever ordered. What they did with the message came back through");
    out::line("Currents and went on to Amplitude, to be there beside what they did in the shop:");
    out::line("");
    let shop = ["the shop's own events".to_owned(), all.shop.to_string(), theirs.shop.to_string()];
    let messages = all.messages.iter().map(|(name, count)| {
        let theirs = theirs.messages.get(name).copied().unwrap_or_default();
        [name.clone(), count.to_string(), theirs.to_string()]
    });
    let rows: Vec<_> = [shop].into_iter().chain(messages).collect();
    out::table(["stored in Amplitude", "all", user.as_str()], &rows);

    let report: CurrentsReport = client.get("/control/v1/currents").await?;
    let told: u64 = report.sources.iter().map(|source| source.events).sum();
    let streams: StreamsReport = client.get("/control/v1/streams").await?;
    let (echoes, stored) = (sums(&streams).echoes, all.echoes);
    out::line("");
    out::line(format!(
        "Loop guard: of {told} events that Braze told, {echoes} only repeated what isthmus had told"
    ));
    out::line(format!("Braze. {stored} of them went on to Amplitude."));
    Ok(())
}

/// Events that Amplitude stored, by where they come from.
#[derive(Debug, Default)]
struct Stored {
    shop: u64,
    /// What people did with messages, by type.
    messages: BTreeMap<String, u64>,
    /// Events of the shop that went to Braze, and came back.
    echoes: u64,
}

impl Stored {
    fn of(by_type: BTreeMap<String, u64>) -> Self {
        let mut stored = Self::default();
        for (name, count) in by_type {
            if name.starts_with(CUSTOM_EVENT_PREFIX) {
                stored.echoes += count;
            } else if name.starts_with(BRAZE_PREFIX) {
                stored.messages.insert(name, count);
            } else {
                stored.shop += count;
            }
        }
        stored
    }
}
