//! Amplitude without HTTP: one project, and what uploads do to it.

use super::config::{AmplitudeConfig, AmplitudeLimits};
use super::counters::AmplitudeCounters;
use super::dedup::Dedup;
use super::door::Endpoint;
use super::event::{AmplitudeEvent, AmplitudeEventFilter, Events};
use super::people::{People, Person, object};
use super::rates::{AmplitudePeak, AmplitudeSender, Rates};
use crate::config::{Keep, SandboxConfig};
use crate::model::Moment;
use isthmus_amplitude::built_in::{Said, library};
use isthmus_amplitude::{Refusal, derived_device_id};
use isthmus_core::AmplitudeId;
use isthmus_core::json;
use isthmus_core::profile::{self, Properties};
use isthmus_core::record::IntakeEvent;
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

const IDENTIFY: &str = "$identify";
const GROUP_IDENTIFY: &str = "$groupidentify";
/// A client's clock may be off by less than this ("Time in Amplitude", read 2026-03).
const SKEW_MS: i64 = 60_000;

/// One Amplitude project.
#[derive(Debug)]
pub(crate) struct Project {
    counters: AmplitudeCounters,
    dedup: Dedup,
    rates: Rates,
    people: People,
    /// Properties by group type and group name.
    groups: BTreeMap<(String, String), Properties>,
    events: Events,
    uid_property: Option<String>,
    uids: HashMap<String, u64>,
}

/// What is known of one person. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AmplitudePerson {
    pub amplitude_id: u64,
    pub user_id: Option<String>,
    pub device_ids: Vec<String>,
    /// Custom properties, with all operations applied.
    pub user_properties: Value,
    /// What events say of platform, place, language and version.
    pub built_in_properties: Value,
    /// Groups that identifications put the person in.
    pub groups: Value,
    /// Anonymous people who turned out to be this one. Their events keep their own id.
    pub merged: Vec<u64>,
    /// Stored events, kept or not.
    pub events: u64,
    pub first_event: Option<i64>,
    pub last_event: Option<i64>,
}

/// When an upload came, and what it says of its client's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) endpoint: Endpoint,
    pub(super) client_upload_time: Option<i64>,
    pub(super) now: Moment,
}

impl Arrival {
    fn received_at(&self) -> i64 {
        self.now.wall.as_millis()
    }

    /// A time of the client's clock, put right if that is a minute off or more.
    fn corrected(&self, client_time: i64) -> i64 {
        let received_at = self.received_at();
        let skew = received_at.saturating_sub(self.client_upload_time.unwrap_or(received_at));
        if skew.saturating_abs() < SKEW_MS { client_time } else { client_time.saturating_add(skew) }
    }
}

impl Project {
    pub(super) fn new(config: &SandboxConfig) -> Self {
        let AmplitudeConfig { uid_property, .. } = &config.amplitude;
        Self::empty(config, config.keep, uid_property.clone())
    }

    fn empty(config: &SandboxConfig, keep: Keep, uid_property: Option<String>) -> Self {
        Self {
            counters: AmplitudeCounters::default(),
            dedup: Dedup::new(config.amplitude.insert_ids_kept),
            rates: Rates::default(),
            people: People::default(),
            groups: BTreeMap::new(),
            events: Events::new(keep, config.occurrences_kept),
            uid_property,
            uids: HashMap::new(),
        }
    }

    /// Forgets everything, and goes on as it is told to or as before.
    pub(super) fn reset(
        &mut self,
        config: &SandboxConfig,
        keep: Option<Keep>,
        uid_property: Option<&str>,
    ) {
        let keep = keep.unwrap_or(self.events.keep());
        let uid_property = uid_property.map(str::to_owned).or(self.uid_property.take());
        *self = Self::empty(config, keep, uid_property);
    }

    /// What was counted.
    pub(super) fn counters(&self) -> AmplitudeCounters {
        AmplitudeCounters {
            insert_ids_forgotten: self.dedup.forgotten(),
            senders_forgotten: self.rates.forgotten(),
            people_created: self.people.len() as u64,
            people_merged: self.people.merges(),
            ..self.counters.clone()
        }
    }

    pub(super) fn counters_mut(&mut self) -> &mut AmplitudeCounters {
        &mut self.counters
    }

    /// Whether the senders of `events`, and the project, are slow enough; counts them then.
    pub(super) fn admit(
        &mut self,
        events: &[IntakeEvent<'_>],
        limits: &AmplitudeLimits,
        arrival: &Arrival,
    ) -> Result<(), Refusal> {
        self.rates.admit(arrival.endpoint, events, limits, arrival.now.elapsed)
    }

    /// Takes events that were judged, in their order.
    pub(super) fn take(
        &mut self,
        events: &[IntakeEvent<'_>],
        limits: &AmplitudeLimits,
        arrival: &Arrival,
    ) {
        for event in events {
            let device_id = match (event.device_id, event.user_id) {
                (Some(device_id), _) => Cow::Borrowed(device_id),
                (None, Some(user_id)) => Cow::Owned(derived_device_id(user_id)),
                (None, None) => Cow::Borrowed(""),
            };
            let (elapsed, window) = (arrival.now.elapsed, limits.dedup_window);
            if self.dedup.is_duplicate(&device_id, event, elapsed, window) {
                self.counters.duplicates += 1;
                continue;
            }
            match event.event_type {
                IDENTIFY => self.identify(event, &device_id, limits, arrival),
                GROUP_IDENTIFY => self.identify_group(event),
                _ => self.store(event, &device_id, limits, arrival),
            }
        }
    }

    fn identify(
        &mut self,
        event: &IntakeEvent<'_>,
        device_id: &str,
        limits: &AmplitudeLimits,
        arrival: &Arrival,
    ) {
        self.counters.identifies += 1;
        let said = match arrival.endpoint {
            Endpoint::Identify => Said::ByIdentification,
            _ => Said::ByEvent,
        };
        let Some((_, person)) = self.learn(event, device_id, said, limits, arrival) else { return };
        for (group_type, names) in object(event.groups).unwrap_or_default() {
            person.groups.insert(group_type, names);
        }
    }

    fn identify_group(&mut self, event: &IntakeEvent<'_>) {
        self.counters.group_identifies += 1;
        let Some(update) = object(event.group_properties) else { return };
        if self.events.keep() == Keep::Counts {
            return;
        }
        for group in groups(event) {
            profile::fold(self.groups.entry(group).or_default(), &update);
        }
    }

    fn store(
        &mut self,
        event: &IntakeEvent<'_>,
        device_id: &str,
        limits: &AmplitudeLimits,
        arrival: &Arrival,
    ) {
        self.counters.event(event.event_type);
        self.note_uid(event);
        let client_event_time = event.time.unwrap_or(arrival.received_at());
        let event_time = arrival.corrected(client_event_time);
        let learned = self.learn(event, device_id, Said::ByEvent, limits, arrival);
        let Some((amplitude_id, person)) = learned else { return };
        person.count(event_time);
        let user_properties = if event.skip_user_properties_sync {
            let mut own = Properties::new();
            profile::fold(&mut own, &object(event.user_properties).unwrap_or_default());
            Arc::new(own)
        } else {
            person.properties.clone()
        };
        let stored = AmplitudeEvent {
            sequence: 0,
            endpoint: arrival.endpoint.path(),
            amplitude_id: amplitude_id.0,
            event_type: event.event_type.to_owned(),
            user_id: event.user_id.map(str::to_owned),
            device_id: device_id.to_owned(),
            insert_id: event.insert_id.map(str::to_owned),
            event_id: event.event_id,
            session_id: event.session_id,
            client_event_time,
            event_time,
            server_received_time: arrival.received_at(),
            library: library(event.fields).into_owned(),
            event_properties: shown(event.event_properties),
            user_properties,
            groups: shown(event.groups),
            group_properties: self.properties_of_groups(event),
            fields: shown(event.fields),
        };
        self.events.push(stored);
    }

    /// The person that `event` is about, who learns what it says. Nobody where people are not kept.
    fn learn(
        &mut self,
        event: &IntakeEvent<'_>,
        device_id: &str,
        said: Said,
        limits: &AmplitudeLimits,
        arrival: &Arrival,
    ) -> Option<(AmplitudeId, &mut Person)> {
        if self.events.keep() == Keep::Counts {
            return None;
        }
        let id = self.people.resolve(event.user_id, device_id);
        let person = self.people.get_mut(id)?;
        if !event.skip_user_properties_sync {
            let per_hour = limits.property_updates_per_hour;
            let learned = person.learn(event, said, per_hour, arrival.now.elapsed);
            self.counters.property_updates_dropped += u64::from(!learned);
        }
        Some((id, person))
    }

    fn properties_of_groups(&self, event: &IntakeEvent<'_>) -> Value {
        let mut types = Map::new();
        for (group_type, name) in groups(event) {
            let key = (group_type, name);
            if let Some(properties) = self.groups.get(&key) {
                let (group_type, name) = key;
                let named = types.entry(group_type).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(named) = named {
                    named.insert(name, Value::Object(properties.clone()));
                }
            }
        }
        Value::Object(types)
    }

    fn note_uid(&mut self, event: &IntakeEvent<'_>) {
        let uid = match self.uid_property.as_deref() {
            None => return,
            Some("insert_id") => event.insert_id.map(Cow::Borrowed),
            Some(property) => event
                .event_properties
                .and_then(|properties| json::member(properties, property))
                .map(|raw| json::text_of(raw).unwrap_or(Cow::Borrowed(raw))),
        };
        let Some(uid) = uid else { return };
        if let Some(times) = self.uids.get_mut(uid.as_ref()) {
            *times += 1;
            self.counters.uids_repeated += 1;
        } else {
            self.uids.insert(uid.into_owned(), 1);
            self.counters.uids += 1;
        }
    }

    /// How often each value of the watched field or property was stored.
    pub(super) fn uids(&self) -> &HashMap<String, u64> {
        &self.uids
    }

    /// Kept events, the latest first.
    pub(super) fn events(
        &self,
        filter: &AmplitudeEventFilter,
    ) -> impl Iterator<Item = &AmplitudeEvent> {
        self.events.latest(filter)
    }

    /// A person by user id, device id or Amplitude id, with their kept events in the order of
    /// arrival, those of people merged into them included.
    pub(super) fn person(&self, id: &str) -> Option<(AmplitudePerson, Vec<&AmplitudeEvent>)> {
        let (id, person) = self.people.find(id)?;
        let mut all = vec![id];
        all.extend(&person.merged);
        let view = AmplitudePerson {
            amplitude_id: id.0,
            user_id: person.user_id.clone(),
            device_ids: person.device_ids.iter().cloned().collect(),
            user_properties: Value::Object(person.properties.as_ref().clone()),
            built_in_properties: Value::Object(person.built_in.clone()),
            groups: Value::Object(person.groups.clone()),
            merged: person.merged.iter().map(|merged| merged.0).collect(),
            events: person.events,
            first_event: person.first_event,
            last_event: person.last_event,
        };
        Some((view, self.events.of(&all).collect()))
    }

    /// The properties of a group.
    pub(super) fn group(&self, group_type: &str, name: &str) -> Option<&Properties> {
        self.groups.get(&(group_type.to_owned(), name.to_owned()))
    }

    /// The highest rates that were ever reached.
    pub(super) fn peaks(&self) -> Vec<AmplitudePeak> {
        self.rates.peaks().cloned().collect()
    }

    /// How fast every sender that is known was, the fastest first.
    pub(super) fn senders(&self, limits: &AmplitudeLimits, now: Duration) -> Vec<AmplitudeSender> {
        self.rates.senders(limits, now)
    }
}

/// Types and names of an event's groups.
fn groups(event: &IntakeEvent<'_>) -> Vec<(String, String)> {
    let mut groups = Vec::new();
    for (group_type, names) in object(event.groups).unwrap_or_default() {
        let names = match names {
            Value::Array(names) => names,
            name => vec![name],
        };
        let names = names.iter().filter_map(Value::as_str);
        groups.extend(names.map(|name| (group_type.clone(), name.to_owned())));
    }
    groups
}

/// A raw JSON object to look at; empty when there is none.
fn shown(raw: Option<&str>) -> Value {
    Value::Object(object(raw).unwrap_or_default())
}
