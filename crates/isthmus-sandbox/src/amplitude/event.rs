//! Events as Amplitude keeps them, and which of them somebody asks for.

use crate::config::Keep;
use isthmus_core::AmplitudeId;
use isthmus_core::profile::Properties;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;

/// One stored event. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AmplitudeEvent {
    /// Grows with every stored event of the project.
    pub sequence: u64,
    /// The request's path.
    pub endpoint: &'static str,
    /// The person at that time; see [`AmplitudePerson::merged`](super::AmplitudePerson::merged).
    pub amplitude_id: u64,
    pub event_type: String,
    pub user_id: Option<String>,
    /// As it was sent, or derived from the user id.
    pub device_id: String,
    pub insert_id: Option<String>,
    pub event_id: Option<i64>,
    pub session_id: Option<i64>,
    /// The event's own time; when it was received where it said none.
    pub client_event_time: i64,
    /// The same, put right where the client's clock was off by a minute or more.
    pub event_time: i64,
    pub server_received_time: i64,
    /// As it was sent, or `http/2.0`.
    pub library: String,
    pub event_properties: Value,
    /// All properties of the person after this event; those of the event alone where it said
    /// `$skip_user_properties_sync`.
    #[serde(serialize_with = "shared")]
    pub user_properties: Arc<Properties>,
    pub groups: Value,
    /// Type, name and properties of the event's groups, as far as they have some.
    pub group_properties: Value,
    /// All other fields, as they were sent.
    pub fields: Value,
}

fn shared<S: Serializer>(properties: &Arc<Properties>, out: S) -> Result<S::Ok, S::Error> {
    properties.as_ref().serialize(out)
}

/// Which events are asked for; all of it must fit, and the latest come first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AmplitudeEventFilter {
    pub event_type: Option<String>,
    pub user_id: Option<String>,
    pub device_id: Option<String>,
    pub insert_id: Option<String>,
    /// Events at most; without a number, all that are kept.
    pub limit: Option<usize>,
}

impl AmplitudeEventFilter {
    fn fits(&self, event: &AmplitudeEvent) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        is(&self.event_type, Some(&event.event_type))
            && is(&self.user_id, event.user_id.as_deref())
            && is(&self.device_id, Some(&event.device_id))
            && is(&self.insert_id, event.insert_id.as_deref())
    }
}

/// The events that are kept, in the order of their arrival.
#[derive(Debug)]
pub(super) struct Events {
    keep: Keep,
    kept_max: usize,
    kept: VecDeque<AmplitudeEvent>,
    next: u64,
}

impl Events {
    pub(super) fn new(keep: Keep, kept_max: usize) -> Self {
        Self { keep, kept_max, kept: VecDeque::new(), next: 0 }
    }

    pub(super) fn keep(&self) -> Keep {
        self.keep
    }

    /// Keeps an event, which gets its sequence here, and lets go of the oldest.
    pub(super) fn push(&mut self, mut event: AmplitudeEvent) {
        event.sequence = self.next;
        self.next += 1;
        self.kept.push_back(event);
        if self.keep != Keep::All {
            let excess = self.kept.len().saturating_sub(self.kept_max);
            self.kept.drain(..excess);
        }
    }

    /// Those that `filter` asks for, the latest first.
    pub(super) fn latest(
        &self,
        filter: &AmplitudeEventFilter,
    ) -> impl Iterator<Item = &AmplitudeEvent> {
        let fitting = self.kept.iter().rev().filter(|event| filter.fits(event));
        fitting.take(filter.limit.unwrap_or(usize::MAX))
    }

    /// Those of these people, in the order of their arrival.
    pub(super) fn of(&self, people: &[AmplitudeId]) -> impl Iterator<Item = &AmplitudeEvent> {
        self.kept.iter().filter(|event| people.contains(&AmplitudeId(event.amplitude_id)))
    }
}
