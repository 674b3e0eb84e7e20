//! A look inside from the same process.

use super::config::AmplitudeLimits;
use super::counters::AmplitudeCounters;
use super::event::{AmplitudeEvent, AmplitudeEventFilter};
use super::project::{AmplitudePerson, Project};
use super::rates::{AmplitudePeak, AmplitudeSender};
use crate::config::Keep;
use crate::sandbox::Shared;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The same that `/_sandbox/amplitude/...` shows of one project, without HTTP.
#[derive(Debug, Clone)]
pub struct AmplitudeHandle {
    shared: Arc<Shared>,
    project: Option<String>,
}

impl AmplitudeHandle {
    /// Of a project that exists; without a name, of the first.
    pub(crate) fn new(shared: Arc<Shared>, project: Option<String>) -> Self {
        Self { shared, project }
    }

    fn with<T>(&self, look: impl FnOnce(&Project) -> T) -> T {
        let project = self.shared.amplitude.project(self.project.as_deref());
        look(&project.expect("projects are made at the start and stay"))
    }

    /// What was counted.
    pub fn counters(&self) -> AmplitudeCounters {
        self.with(Project::counters)
    }

    /// Kept events that `filter` asks for, the latest first.
    pub fn events(&self, filter: &AmplitudeEventFilter) -> Vec<AmplitudeEvent> {
        self.with(|project| project.events(filter).cloned().collect())
    }

    /// A person by user id, device id or Amplitude id.
    pub fn person(&self, id: &str) -> Option<AmplitudePerson> {
        self.with(|project| project.person(id).map(|(person, _)| person))
    }

    /// The kept events of a person in the order of their arrival, those of anonymous people who
    /// turned out to be the same one included.
    pub fn events_of(&self, id: &str) -> Vec<AmplitudeEvent> {
        let cloned = |events: Vec<&AmplitudeEvent>| events.into_iter().cloned().collect();
        self.with(|project| project.person(id).map_or_else(Vec::new, |(_, events)| cloned(events)))
    }

    /// The properties of a group.
    pub fn group(&self, group_type: &str, name: &str) -> Option<Value> {
        self.with(|project| project.group(group_type, name).cloned().map(Value::Object))
    }

    /// The highest rates that were ever reached, of each endpoint, of users and of devices.
    pub fn peaks(&self) -> Vec<AmplitudePeak> {
        self.with(Project::peaks)
    }

    /// How fast every user and device sent, the fastest first.
    pub fn senders(&self) -> Vec<AmplitudeSender> {
        let (limits, now) = (self.limits(), self.shared.now().elapsed);
        self.with(|project| project.senders(&limits, now))
    }

    /// How often each value of [`super::AmplitudeConfig::uid_property`] was stored.
    pub fn uids(&self) -> HashMap<String, u64> {
        self.with(|project| project.uids().clone())
    }

    /// The limits that hold now, in every project.
    pub fn limits(&self) -> AmplitudeLimits {
        self.shared.amplitude.settings().limits
    }

    /// Changes the limits of every project. What is counted towards a limit stays counted.
    pub fn set_limits(&self, limits: AmplitudeLimits) {
        self.shared.amplitude.change(|settings| settings.limits = limits);
    }

    /// Refuses events of these devices from now on, and of no others, in every project.
    pub fn silence(&self, devices: impl IntoIterator<Item = String>) {
        let devices = devices.into_iter().collect();
        self.shared.amplitude.change(|settings| settings.silenced_devices = devices);
    }

    /// Forgets events, people and counters of every project, and keeps as much as `keep` says, and
    /// remembers the values of `uid_property`, from now on; without a word, as before. Settings stay.
    pub fn reset(&self, keep: Option<Keep>, uid_property: Option<&str>) {
        self.shared.amplitude.reset(keep, uid_property);
    }
}
