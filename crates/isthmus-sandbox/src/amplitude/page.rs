//! `/amplitude`: what the emulated Amplitude holds, for people; and its part of the first page.

use super::event::{AmplitudeEvent, AmplitudeEventFilter};
use super::project::{AmplitudePerson, Project};
use super::rates::AmplitudeSenderKind;
use crate::page::{missing, show};
use crate::sandbox::Shared;
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use isthmus_core::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Events on the first page, and on a page of their own.
const EVENTS_ON_FIRST_PAGE: usize = 10;
const EVENTS_ON_PAGE: usize = 100;
/// Senders on a page.
const SENDERS_ON_PAGE: usize = 10;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/amplitude", get(events)).route("/amplitude/user/{*id}", get(user))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    project: Option<String>,
    user_id: String,
    event_type: String,
}

impl Asked {
    /// The project that is meant, if one is named.
    fn project(&self) -> Option<&str> {
        self.project.as_deref().filter(|name| !name.is_empty())
    }
}

/// What the first page shows of the first project.
pub(crate) struct Section {
    pub(crate) project: String,
    pub(crate) totals: Vec<(&'static str, u64)>,
    pub(crate) events: Vec<EventLine>,
}

/// One event in a table.
pub(crate) struct EventLine {
    pub(crate) at: String,
    pub(crate) event_type: String,
    /// User id, or else device id.
    pub(crate) who: String,
    pub(crate) properties: String,
}

#[derive(Template)]
#[template(path = "amplitude.html")]
struct EventsPage {
    projects: Vec<String>,
    project: String,
    user_id: String,
    event_type: String,
    totals: Vec<(&'static str, u64)>,
    types: Vec<(String, u64)>,
    events: Vec<EventLine>,
    senders: Vec<SenderLine>,
}

struct SenderLine {
    kind: &'static str,
    id: String,
    endpoint: &'static str,
    per_second: String,
    in_a_second: u64,
    last_day: u64,
}

#[derive(Template)]
#[template(path = "amplitude_user.html")]
struct UserPage {
    project: String,
    label: String,
    facts: Vec<(String, String)>,
    properties: Vec<(String, String)>,
    built_in: Vec<(String, String)>,
    events: Vec<EventLine>,
}

pub(crate) fn section(shared: &Shared) -> Section {
    let project = shared.amplitude.names().next().unwrap_or_default().to_owned();
    let latest = AmplitudeEventFilter {
        limit: Some(EVENTS_ON_FIRST_PAGE),
        ..AmplitudeEventFilter::default()
    };
    let seen = shared.amplitude.project(None);
    let seen = seen.map(|project| (totals(&project), project.events(&latest).map(line).collect()));
    let (totals, events) = seen.unwrap_or_default();
    Section { project, totals, events }
}

fn totals(project: &Project) -> Vec<(&'static str, u64)> {
    let counters = project.counters();
    vec![
        ("people", counters.people_created - counters.people_merged),
        ("requests", counters.requests.values().sum()),
        ("events", counters.stored),
        ("identifications", counters.identifies + counters.group_identifies),
        ("duplicates", counters.duplicates),
        ("refused", counters.refused),
        ("throttled", counters.throttled),
    ]
}

fn line(event: &AmplitudeEvent) -> EventLine {
    EventLine {
        at: Timestamp::from_millis(event.event_time).to_string(),
        event_type: event.event_type.clone(),
        who: event.user_id.clone().unwrap_or_else(|| event.device_id.clone()),
        properties: event.event_properties.to_string(),
    }
}

async fn events(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let (limits, now) = (shared.amplitude.settings().limits, shared.now().elapsed);
    let Some(project) = shared.amplitude.project(asked.project()) else {
        return missing();
    };
    let wanted = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let filter = AmplitudeEventFilter {
        user_id: wanted(&asked.user_id),
        event_type: wanted(&asked.event_type),
        limit: Some(EVENTS_ON_PAGE),
        ..AmplitudeEventFilter::default()
    };
    let senders = project.senders(&limits, now);
    let senders = senders.into_iter().take(SENDERS_ON_PAGE).map(|sender| SenderLine {
        kind: match sender.kind {
            AmplitudeSenderKind::User => "user",
            AmplitudeSenderKind::Device => "device",
        },
        id: sender.id,
        endpoint: sender.endpoint,
        per_second: format!("{:.2}", sender.peak_per_second),
        in_a_second: sender.peak_in_a_second,
        last_day: sender.last_day,
    });
    let mut page = EventsPage {
        projects: Vec::new(),
        project: asked.project.unwrap_or_default(),
        user_id: asked.user_id,
        event_type: asked.event_type,
        totals: totals(&project),
        types: project.counters().by_event_type.into_iter().collect(),
        events: project.events(&filter).map(line).collect(),
        senders: senders.collect(),
    };
    drop(project);
    page.projects = shared.amplitude.names().map(str::to_owned).collect();
    if page.project.is_empty() {
        page.project = page.projects.first().cloned().unwrap_or_default();
    }
    show(StatusCode::OK, &page)
}

async fn user(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let Some(project) = shared.amplitude.project(asked.project()) else {
        return missing();
    };
    let Some((person, events)) = project.person(&id) else { return missing() };
    let latest = events.into_iter().rev().take(EVENTS_ON_PAGE).map(line).collect();
    let page = user_page(person, latest, asked.project.unwrap_or_default());
    drop(project);
    show(StatusCode::OK, &page)
}

fn user_page(person: AmplitudePerson, events: Vec<EventLine>, project: String) -> UserPage {
    let mut facts = vec![("amplitude id".to_owned(), person.amplitude_id.to_string())];
    facts.extend(person.user_id.iter().map(|id| ("user id".to_owned(), id.clone())));
    facts.extend(person.device_ids.iter().map(|id| ("device id".to_owned(), id.clone())));
    facts.extend(person.merged.iter().map(|id| ("merged".to_owned(), id.to_string())));
    facts.extend(
        shown(&person.groups).into_iter().map(|(name, value)| (format!("group {name}"), value)),
    );
    facts.push(("events".to_owned(), person.events.to_string()));
    UserPage {
        project,
        label: person.user_id.unwrap_or_else(|| format!("anonymous {}", person.amplitude_id)),
        facts,
        properties: shown(&person.user_properties),
        built_in: shown(&person.built_in_properties),
        events,
    }
}

fn shown(object: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let members = object.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), text(value))).collect()
}
