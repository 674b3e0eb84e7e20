//! `/`: what the sandbox holds, for people. Plain pages that need no JavaScript.

use crate::amplitude;
use crate::campaigns::CampaignView;
use crate::currents::ConnectorView;
use crate::inspect::find;
use crate::model::{Occurrence, Tally, User, Workspace};
use crate::render::{Rendered, try_out};
use crate::sandbox::Shared;
use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

/// Users on one page.
const USERS_PER_PAGE: usize = 50;
/// Requests on the first page.
const REQUESTS_SHOWN: usize = 10;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(users))
        .route("/profile/{*id}", get(profile))
        .route("/message", get(message))
}

#[derive(Debug, Default, Deserialize)]
struct Asked {
    workspace: Option<String>,
    #[serde(default)]
    search: String,
    #[serde(default)]
    page: usize,
}

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage {
    workspaces: Vec<String>,
    workspace: String,
    search: String,
    totals: Vec<(&'static str, u64)>,
    users: Vec<UserLine>,
    found: usize,
    page: usize,
    last_page: usize,
    campaigns: Vec<CampaignView>,
    connectors: Vec<ConnectorView>,
    requests: Vec<RequestLine>,
    faults: usize,
    amplitude: amplitude::Section,
}

struct UserLine {
    braze_id: String,
    label: String,
    email: String,
    attributes: usize,
    events: u64,
    updated_at: String,
}

struct RequestLine {
    at: String,
    method: String,
    path: String,
    status: String,
}

#[derive(Template)]
#[template(path = "profile.html")]
struct ProfilePage {
    workspace: String,
    label: String,
    facts: Vec<(String, String)>,
    fields: Vec<(String, String)>,
    attributes: Vec<(String, String)>,
    events: Vec<TallyLine>,
    purchases: Vec<TallyLine>,
    occurrences: Vec<Occurrence>,
}

struct TallyLine {
    name: String,
    count: u64,
    first: String,
    last: String,
}

/// A message to try out; nothing is rendered before there is one.
#[derive(Debug, Default, Deserialize)]
struct Draft {
    workspace: Option<String>,
    #[serde(default)]
    external_id: String,
    #[serde(default)]
    template: String,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    workspace: String,
    external_id: String,
    template: String,
    rendered: Option<Rendered>,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "missing.html")]
struct MissingPage;

pub(crate) fn show(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

pub(crate) fn missing() -> Response {
    show(StatusCode::NOT_FOUND, &MissingPage)
}

async fn users(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let Some(room) = shared.room(asked.workspace.as_deref()) else { return missing() };
    let workspaces: Vec<String> = shared.rooms().map(|(name, _)| name.to_owned()).collect();
    let first = workspaces.first().cloned().unwrap_or_default();
    let requests = shared
        .requests()
        .latest(REQUESTS_SHOWN)
        .map(|entry| {
            let (at, method, path) = entry.line();
            let status = entry.status().map_or("reset".to_owned(), |status| status.to_string());
            RequestLine {
                at: at.to_owned(),
                method: method.to_owned(),
                path: path.to_owned(),
                status,
            }
        })
        .collect();
    let workspace = shared.enter(room);
    let wanted = asked.search.trim().to_lowercase();
    let mut found = workspace.directory().len();
    let from = asked.page.saturating_mul(USERS_PER_PAGE);
    let newest_first = workspace.directory().iter().rev();
    let users: Vec<UserLine> = if wanted.is_empty() {
        newest_first.skip(from).take(USERS_PER_PAGE).map(|(_, user)| line(user)).collect()
    } else {
        let matching: Vec<_> = newest_first.filter(|(_, user)| matches(user, &wanted)).collect();
        found = matching.len();
        matching.iter().skip(from).take(USERS_PER_PAGE).map(|(_, user)| line(user)).collect()
    };
    let page = UsersPage {
        workspace: asked.workspace.unwrap_or(first),
        workspaces,
        search: asked.search,
        totals: totals(&workspace),
        users,
        found,
        page: asked.page,
        last_page: found.saturating_sub(1) / USERS_PER_PAGE,
        campaigns: room.campaigns().views(),
        connectors: room.currents().views(),
        requests,
        faults: shared.faults.rules().len(),
        amplitude: amplitude::section(&shared),
    };
    drop(workspace);
    show(StatusCode::OK, &page)
}

fn totals(workspace: &Workspace) -> Vec<(&'static str, u64)> {
    let counters = workspace.counters();
    vec![
        ("users", workspace.directory().len() as u64),
        ("requests", counters.requests.values().sum()),
        ("attributes objects", counters.attributes),
        ("events", counters.events),
        ("purchases", counters.purchases),
        ("repeated events", counters.events_repeated),
        ("refused objects", counters.objects_refused),
        ("silently ignored", counters.ignored),
        ("data points", counters.data_points.total()),
    ]
}

fn matches(user: &User, wanted: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(wanted);
    user.external_id.as_deref().is_some_and(has)
        || has(&user.braze_id)
        || user.aliases.values().any(|name| has(name))
        || ["email", "phone", "first_name", "last_name"]
            .iter()
            .any(|key| user.standard.get(*key).and_then(|value| value.as_str()).is_some_and(has))
}

fn line(user: &User) -> UserLine {
    let email = user.standard.get("email").and_then(|email| email.as_str());
    UserLine {
        braze_id: user.braze_id.clone(),
        label: user.label(),
        email: email.unwrap_or_default().to_owned(),
        attributes: user.custom.len() + user.standard.len(),
        events: user.events.values().map(|tally| tally.count).sum(),
        updated_at: user.updated_at.to_string(),
    }
}

async fn profile(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let Some(room) = shared.room(asked.workspace.as_deref()) else { return missing() };
    let workspace = shared.enter(room);
    let found = find(&workspace, &id).and_then(|key| Some((key, workspace.directory().get(key)?)));
    let Some((key, user)) = found else { return missing() };
    let latest = workspace.history().of(key).rev().cloned().collect();
    let page = profile_page(user, latest, asked.workspace.unwrap_or_default());
    drop(workspace);
    show(StatusCode::OK, &page)
}

async fn message(State(shared): State<Arc<Shared>>, Query(draft): Query<Draft>) -> Response {
    let Some(room) = shared.room(draft.workspace.as_deref()) else { return missing() };
    let mut page = MessagePage {
        workspace: draft.workspace.unwrap_or_default(),
        external_id: draft.external_id,
        template: draft.template,
        rendered: None,
        error: None,
    };
    if !page.template.is_empty() {
        let about = Some(page.external_id.trim()).filter(|id| !id.is_empty());
        match try_out(&shared, room, &page.template, about).await {
            Ok(rendered) => page.rendered = Some(rendered),
            Err(error) => page.error = Some(error),
        }
    }
    show(StatusCode::OK, &page)
}

fn profile_page(user: &User, occurrences: Vec<Occurrence>, workspace: String) -> ProfilePage {
    let mut facts = vec![("braze_id".to_owned(), user.braze_id.clone())];
    facts.extend(user.external_id.iter().map(|id| ("external_id".to_owned(), id.clone())));
    facts.extend(user.deprecated_ids.iter().map(|id| ("deprecated id".to_owned(), id.clone())));
    let alias = |(label, name): (&String, &String)| (format!("alias {label}"), name.clone());
    facts.extend(user.aliases.iter().map(alias));
    facts.push(("created".to_owned(), user.created_at.to_string()));
    facts.push(("updated".to_owned(), user.updated_at.to_string()));
    facts.push(("data points".to_owned(), user.data_points.to_string()));
    if user.revenue != 0.0 {
        facts.push(("revenue".to_owned(), user.revenue.to_string()));
    }
    let shown = |map: &serde_json::Map<String, serde_json::Value>| {
        let text = |value: &serde_json::Value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        };
        map.iter().map(|(name, value)| (name.clone(), text(value))).collect::<Vec<_>>()
    };
    let mut fields = shown(&user.standard);
    let group =
        |(id, state): (&String, &String)| (format!("subscription group {id}"), state.clone());
    fields.extend(user.subscription_groups.iter().map(group));
    ProfilePage {
        workspace,
        label: user.label(),
        facts,
        fields,
        attributes: shown(&user.custom),
        events: user.events.iter().map(tally_line).collect(),
        purchases: user.purchases.iter().map(tally_line).collect(),
        occurrences,
    }
}

fn tally_line((name, tally): (&String, &Tally)) -> TallyLine {
    TallyLine {
        name: name.clone(),
        count: tally.count,
        first: tally.first.to_string(),
        last: tally.last.to_string(),
    }
}
