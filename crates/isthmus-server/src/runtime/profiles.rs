//! What is known of one person, for people to look at.

use super::{Runtime, RuntimeError};
use crate::report::profiles::{PastValueReport, ProfileReport, PropertyReport};
use isthmus_core::{AmplitudeId, Timestamp, json};
use isthmus_state::past_values::{PastValue, PastValues};
use isthmus_state::people::{IdKind, People, Person, Values};
use isthmus_state::user_map::UserMap;
use isthmus_state::{State, StateError};
use serde_json::Value;
use std::collections::BTreeMap;

const DAY_MILLIS: i64 = 86_400_000;
/// User ids shown that are mapped to one.
const MAPPED_FROM_MAX: usize = 1_000;

/// Who is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    User(String),
    Device(String),
    Person(AmplitudeId),
}

/// What profiles are read from.
#[derive(Clone)]
pub(crate) struct Profiles {
    pub(crate) people: People,
    pub(crate) past: PastValues,
    pub(crate) map: UserMap,
}

impl Runtime {
    /// What is known of `who` in `project`, which may be left out where there is only one.
    pub(crate) async fn profile(
        &self,
        project: Option<String>,
        who: &Who,
    ) -> Result<ProfileReport, RuntimeError> {
        let project = self.project_named(project).await?;
        let profiles = &self.profiles;
        let found =
            profiles.find(&project, who).map_err(|error| RuntimeError::Failed(error.into()))?;
        let (id, person) = found.ok_or_else(|| RuntimeError::NotFound(who.to_string()))?;
        profiles.report(id, &person).map_err(|error| RuntimeError::Failed(error.into()))
    }

    /// `project` if there is such a project, or the only one there is.
    pub(crate) async fn project_named(
        &self,
        project: Option<String>,
    ) -> Result<String, RuntimeError> {
        let resources = self.resources.lock().await;
        let mut names = resources
            .iter()
            .filter(|each| each.kind() == "project")
            .map(isthmus_config::Resource::name);
        match project {
            Some(project) if names.any(|name| name == project) => Ok(project),
            Some(project) => Err(RuntimeError::NotFound(format!("project {project}"))),
            None => match (names.next(), names.next()) {
                (Some(name), None) => Ok(name.to_owned()),
                (None, _) => Err(RuntimeError::NotFound("project".to_owned())),
                (Some(_), Some(_)) => {
                    let why = "there are several projects; say which one by `project`";
                    Err(RuntimeError::Malformed(why.to_owned()))
                }
            },
        }
    }
}

impl Profiles {
    pub(crate) fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self {
            people: People::open(state)?,
            past: PastValues::open(state)?,
            map: UserMap::open(state)?,
        })
    }

    /// The person in `project`, merges followed.
    pub(crate) fn find(
        &self,
        project: &str,
        who: &Who,
    ) -> Result<Option<(AmplitudeId, Person)>, StateError> {
        match who {
            Who::User(id) => self.people.find_person(project, IdKind::User, id),
            Who::Device(id) => self.people.find_person(project, IdKind::Device, id),
            Who::Person(id) => {
                let found = self.people.follow(*id)?;
                Ok(found.filter(|(_, person)| person.project == project))
            }
        }
    }

    fn report(&self, id: AmplitudeId, person: &Person) -> Result<ProfileReport, StateError> {
        let (mut mapped_to, mut mapped_from) = (None, Vec::new());
        if let Some(user_id) = &person.user_id {
            mapped_to = self.map.mapped_to(&person.project, user_id)?;
            mapped_from = self.map.mapped_from(&person.project, user_id, MAPPED_FROM_MAX)?;
        }
        let mut properties = BTreeMap::new();
        add(&mut properties, &person.built_in, true);
        add(&mut properties, &person.custom, false);
        for past in self.past.get(id)? {
            let property = properties.entry(past.name.clone()).or_insert_with(|| PropertyReport {
                name: past.name.clone(),
                value: None,
                built_in: false,
                since: None,
                before: Vec::new(),
            });
            property.before.insert(0, before(&past));
        }
        Ok(ProfileReport {
            project: person.project.clone(),
            amplitude_id: id.0,
            user_id: person.user_id.clone(),
            device_ids: person.devices.clone(),
            merged: person.merged.iter().map(|id| id.0).collect(),
            mapped_to,
            mapped_from,
            first_event_at: person.first_event_time.and_then(instant),
            last_event_on: person.last_event_day.and_then(|day| {
                let day = instant(day.saturating_mul(DAY_MILLIS))?;
                day.split('T').next().map(str::to_owned)
            }),
            library: person.library.clone(),
            groups: value(if person.groups.is_empty() { "{}" } else { &person.groups }),
            properties: properties.into_values().collect(),
        })
    }
}

fn add(properties: &mut BTreeMap<String, PropertyReport>, values: &Values, built_in: bool) {
    let since = values.since.iter().copied().chain(std::iter::repeat(0));
    for ((name, raw), since) in json::members(&values.text).zip(since) {
        let name = name.into_owned();
        let property = PropertyReport {
            name: name.clone(),
            value: Some(value(raw)),
            built_in,
            since: instant(since),
            before: Vec::new(),
        };
        properties.insert(name, property);
    }
}

fn before(past: &PastValue) -> PastValueReport {
    PastValueReport {
        value: value(&past.value),
        from: instant(past.from),
        until: Timestamp::from_millis(past.until).to_string(),
    }
}

fn value(raw: &str) -> Value {
    serde_json::from_str(raw).unwrap_or_default()
}

/// Zero stands for a time that is not known.
fn instant(millis: i64) -> Option<String> {
    (millis != 0).then(|| Timestamp::from_millis(millis).to_string())
}

impl std::fmt::Display for Who {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(id) => write!(out, "user {id}"),
            Self::Device(id) => write!(out, "device {id}"),
            Self::Person(id) => write!(out, "person {id}"),
        }
    }
}
