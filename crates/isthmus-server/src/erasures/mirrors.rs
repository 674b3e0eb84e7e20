//! Removing what destinations were told of people.
//!
//! Users of a mirror are found by what streams call them, and streams find that in the erasure: so
//! this comes before the logs are rewritten.

use super::Erasures;
use super::subject::Subject;
use anyhow::Context;
use isthmus_braze::BrazeStream;
use isthmus_config::resource::{BrazeDestination, DestinationSettings, OnErasure};
use isthmus_core::destination::{Lane, Mapped};
use isthmus_delivery::engine::Why;
use isthmus_delivery::remapping::Remapping;
use isthmus_delivery::source::event_log::EventLog;
use isthmus_state::mirror::{Doubt, Mirror};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Erasures {
    /// Makes every mirror forget them; returns of how many users something was known.
    pub(super) async fn forget_told(&self, subjects: &Arc<Vec<Subject>>) -> anyhow::Result<u64> {
        let mut forgotten = 0;
        for served in self.runtime.deliveries.served().into_values() {
            let (events, subjects) = (self.runtime.events.clone(), Arc::clone(subjects));
            let DestinationSettings::Braze(settings) = &served.destination.resource.settings else {
                // Nothing is remembered of what it was told.
                continue;
            };
            // Also where Braze is not asked to delete anybody.
            let settings = BrazeDestination { on_erasure: OnErasure::Delete, ..settings.clone() };
            let streams = served.streams.clone();
            let lanes = tokio::task::spawn_blocking(move || {
                let mut remapping = Remapping::new(Arc::new(EventLog::new(events)));
                let mut lanes: BTreeSet<Lane> = BTreeSet::new();
                for stream in &streams {
                    let mapping = BrazeStream::build(&stream.resource, &settings);
                    let Ok(mapping) = mapping else { continue };
                    for place in subjects.iter().filter_map(Subject::place) {
                        let mapped = remapping.map(&mapping, place)?.unwrap_or_default();
                        lanes.extend(mapped.iter().filter_map(lane));
                    }
                }
                anyhow::Ok(lanes)
            });
            let lanes = lanes.await?.context("users of a mirror cannot be found")?;
            if !lanes.is_empty() {
                let doubt = |lane| Doubt { lane, attributes: Vec::new() };
                let doubts = lanes.into_iter().map(doubt).collect();
                forgotten += served.handle.forget(doubts, Why::Erased).await?;
            }
        }
        let (state, served) = (self.state.clone(), self.runtime.deliveries.served());
        let forgetting = tokio::task::spawn_blocking(move || {
            // Who it knows them as only its streams could tell.
            for gone in
                Mirror::destinations(&state)?.iter().filter(|name| !served.contains_key(*name))
            {
                Mirror::open(&state, gone)?.clear()?;
                tracing::info!(
                    destination = gone,
                    "what a destination was told that is gone is forgotten"
                );
            }
            // Who they were cannot be found again once the logs are rewritten.
            state.persist()
        });
        forgetting.await??;
        Ok(forgotten)
    }
}

fn lane(mapped: &Mapped) -> Option<Lane> {
    match mapped {
        Mapped::Deliver(message) | Mapped::Reject { message, .. } => Some(message.lane),
        Mapped::Discard { .. } => None,
    }
}
