//! Who an event is about, and what is known of them (`Track unique users` and `User properties`,
//! read 2026-03).

use isthmus_amplitude::built_in::{self, Said};
use isthmus_core::AmplitudeId;
use isthmus_core::identity::{DeviceSight, UserSight, Who, resolve};
use isthmus_core::profile::{self, Properties};
use isthmus_core::record::IntakeEvent;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);

/// One person.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) user_id: Option<String>,
    pub(super) device_ids: BTreeSet<String>,
    /// Custom properties as they are now. Events hold on to what they were.
    pub(super) properties: Arc<Properties>,
    pub(super) built_in: Properties,
    /// Groups that the person belongs to until they are overwritten: type to name or names.
    pub(super) groups: Properties,
    /// Anonymous people who turned out to be this one.
    pub(super) merged: Vec<AmplitudeId>,
    /// Of stored events, in milliseconds since the Unix epoch.
    pub(super) first_event: Option<i64>,
    pub(super) last_event: Option<i64>,
    pub(super) events: u64,
    /// Who this person turned out to be.
    merged_into: Option<AmplitudeId>,
    updates: Allowance,
}

/// Updates of properties within an hour: a bucket that fills up again evenly.
#[derive(Debug, Clone, Default)]
struct Allowance {
    /// Time that used updates still stand for, at [`Self::at`].
    used: Duration,
    at: Duration,
}

impl Allowance {
    fn take(&mut self, per_hour: u64, now: Duration) -> bool {
        self.used = self.used.saturating_sub(now.saturating_sub(self.at));
        self.at = now;
        let cost = u64::try_from(HOUR.as_nanos()).unwrap_or(u64::MAX).checked_div(per_hour);
        let Some(cost) = cost.map(Duration::from_nanos) else { return false };
        let allowed = self.used + cost <= HOUR;
        if allowed {
            self.used += cost;
        }
        allowed
    }
}

/// The people of one project.
#[derive(Debug, Default)]
pub(super) struct People {
    users: HashMap<String, AmplitudeId>,
    devices: HashMap<String, AmplitudeId>,
    persons: BTreeMap<AmplitudeId, Person>,
    merges: u64,
}

impl People {
    pub(super) fn len(&self) -> usize {
        self.persons.len()
    }

    /// How many people turned out to be another one.
    pub(super) fn merges(&self) -> u64 {
        self.merges
    }

    /// The person that an event of these ids is about; `device_id` is sent or derived.
    pub(super) fn resolve(&mut self, user_id: Option<&str>, device_id: &str) -> AmplitudeId {
        let user = match user_id.map(|id| self.users.get(id)) {
            None => UserSight::None,
            Some(None) => UserSight::Unknown,
            Some(Some(person)) => UserSight::Known(self.canonical(*person)),
        };
        let device = self.devices.get(device_id).map(|person| {
            let person = self.canonical(*person);
            let anonymous = self.get(person).is_none_or(|known| known.user_id.is_none());
            DeviceSight { person, anonymous }
        });
        let resolution = resolve(user, device);
        let id = match resolution.person {
            Who::Existing(id) => id,
            Who::New => AmplitudeId(self.persons.len() as u64 + 1),
        };
        let person = self.persons.entry(id).or_insert_with(Person::new);
        person.device_ids.insert(device_id.to_owned());
        if let Some(user_id) = user_id.filter(|_| resolution.bind_user) {
            person.user_id = Some(user_id.to_owned());
            self.users.insert(user_id.to_owned(), id);
        }
        if resolution.link_device {
            self.devices.insert(device_id.to_owned(), id);
        }
        if let Some(anonymous) = resolution.merge {
            self.merge(anonymous, id);
        }
        id
    }

    /// What the user lacks is taken from the anonymous person; what they have stays.
    fn merge(&mut self, anonymous: AmplitudeId, into: AmplitudeId) {
        let Some(gone) = self.persons.get_mut(&anonymous) else { return };
        gone.merged_into = Some(into);
        let gone = gone.clone();
        self.merges += 1;
        let Some(person) = self.persons.get_mut(&into) else { return };
        profile::adopt(Arc::make_mut(&mut person.properties), &gone.properties);
        profile::adopt(&mut person.built_in, &gone.built_in);
        profile::adopt(&mut person.groups, &gone.groups);
        person.device_ids.extend(gone.device_ids);
        person.merged.push(anonymous);
        person.merged.extend(gone.merged);
        person.first_event = [person.first_event, gone.first_event].into_iter().flatten().min();
        person.last_event = [person.last_event, gone.last_event].into_iter().flatten().max();
        person.events += gone.events;
    }

    fn canonical(&self, mut id: AmplitudeId) -> AmplitudeId {
        while let Some(into) = self.persons.get(&id).and_then(|person| person.merged_into) {
            id = into;
        }
        id
    }

    pub(super) fn get(&self, id: AmplitudeId) -> Option<&Person> {
        self.persons.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: AmplitudeId) -> Option<&mut Person> {
        self.persons.get_mut(&id)
    }

    /// By user id, device id, or Amplitude id, in this order; whoever that person turned out to be.
    pub(super) fn find(&self, id: &str) -> Option<(AmplitudeId, &Person)> {
        let by_number = || id.parse().ok().map(AmplitudeId);
        let found = self.users.get(id).or_else(|| self.devices.get(id)).copied();
        let id = self.canonical(found.or_else(by_number)?);
        Some((id, self.get(id)?))
    }
}

impl Person {
    fn new() -> Self {
        Self {
            user_id: None,
            device_ids: BTreeSet::new(),
            properties: Arc::default(),
            built_in: Properties::new(),
            groups: Properties::new(),
            merged: Vec::new(),
            first_event: None,
            last_event: None,
            events: 0,
            merged_into: None,
            updates: Allowance::default(),
        }
    }

    /// Takes in what an event, or an identification, says of the person. Whether its properties
    /// were taken, rather than dropped as too many in an hour.
    pub(super) fn learn(
        &mut self,
        event: &IntakeEvent<'_>,
        said: Said,
        updates_per_hour: u64,
        now: Duration,
    ) -> bool {
        let has_revenue = built_in::has_revenue(event.event_properties);
        built_in::apply(&mut self.built_in, event.fields, has_revenue, said);
        let update = event.user_properties.filter(|update| profile::could_change(update));
        let Some(update) = update.and_then(|update| object(Some(update))) else { return true };
        if !self.updates.take(updates_per_hour, now) {
            return false;
        }
        profile::fold(Arc::make_mut(&mut self.properties), &update);
        true
    }

    /// Counts a stored event.
    pub(super) fn count(&mut self, event_time: i64) {
        self.events += 1;
        self.first_event = Some(self.first_event.map_or(event_time, |at| at.min(event_time)));
        self.last_event = Some(self.last_event.map_or(event_time, |at| at.max(event_time)));
    }
}

/// A raw JSON object, read.
pub(super) fn object(raw: Option<&str>) -> Option<Properties> {
    match serde_json::from_str(raw?) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_found_as_amplitude_documents_it() {
        let mut people = People::default();
        let steps = [
            ("d1", None, 1),
            ("d1", Some("ana"), 1),
            ("d1", None, 1),
            ("d1", Some("bo"), 2),
            ("d1", None, 2),
            ("d2", None, 3),
            ("d2", Some("ana"), 1),
            ("d2", None, 1),
        ];
        for (device, user, person) in steps {
            assert_eq!(people.resolve(user, device), AmplitudeId(person), "{device} {user:?}");
        }
        let (id, ana) = people.find("ana").expect("ana");
        assert_eq!((id, ana.merged.as_slice()), (AmplitudeId(1), &[AmplitudeId(3)][..]));
        assert_eq!(people.find("3").expect("merged").0, AmplitudeId(1));
        assert_eq!((people.len(), people.merges()), (3, 1));
    }

    #[test]
    fn updates_beyond_the_hourly_number_are_dropped_and_allowed_again_evenly() {
        let mut person = Person::new();
        let event = IntakeEvent {
            user_properties: Some(r#"{"$add":{"visits":1}}"#),
            ..IntakeEvent::default()
        };
        let mut learn =
            |second| person.learn(&event, Said::ByEvent, 3, Duration::from_secs(second));
        assert!(learn(0) && learn(0) && learn(0) && !learn(0));
        assert!(!learn(1_199) && learn(1_200) && !learn(1_201));
        assert_eq!(person.properties["visits"], 4);
    }
}
