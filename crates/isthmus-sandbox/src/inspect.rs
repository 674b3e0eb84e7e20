//! `/_sandbox/...`: a look inside for programs. None of this exists at Braze.
//!
//! Everything takes `?workspace=NAME`; without it, the first workspace is meant.

use crate::api::{Answer, RequestEntry};
use crate::config::Keep;
use crate::fault::Fault;
use crate::model::{
    AuditEntry, Counters, Identifier, Occurrence, User, UserKey, Workspace, profile,
};
use crate::sandbox::Shared;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, body};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries that a list shows unless `?limit=` says otherwise.
pub(crate) const LIMIT: usize = 100;
/// Size of a request to these routes.
const BODY_BYTES_MAX: usize = 1 << 20;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sandbox/state", get(state))
        .route("/_sandbox/users/{*id}", get(user))
        .route("/_sandbox/counters", get(counters))
        .route("/_sandbox/uids", get(uids))
        .route("/_sandbox/audit", get(audit))
        .route("/_sandbox/requests", get(requests))
        .route("/_sandbox/reset", post(reset))
        .route("/_sandbox/faults", get(faults).post(add_faults).delete(clear_faults))
}

/// What a request asks to see.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    workspace: Option<String>,
    external_id: Option<String>,
    limit: Option<usize>,
}

/// A user with everything known about them.
#[derive(Debug, Serialize)]
struct UserView<'a> {
    /// In the shape of an export, with events of all times.
    profile: Map<String, Value>,
    deprecated_external_ids: &'a [String],
    data_points: u64,
    orders: i64,
    refunds: f64,
    carts: &'a BTreeMap<String, Value>,
    updated_at: String,
    /// Events and purchases in the order they were applied, as many as are kept.
    occurrences: Vec<&'a Occurrence>,
}

#[derive(Debug, Serialize)]
struct StateView<'a> {
    users: Vec<UserView<'a>>,
    user_count: usize,
    /// Requests that were answered and have not taken effect yet.
    waiting: usize,
    counters: &'a Counters,
}

fn view<'a>(workspace: &'a Workspace, key: UserKey, user: &'a User) -> UserView<'a> {
    UserView {
        profile: profile(user, None),
        deprecated_external_ids: &user.deprecated_ids,
        data_points: user.data_points,
        orders: user.orders,
        refunds: user.refunds,
        carts: &user.carts,
        updated_at: user.updated_at.to_string(),
        occurrences: workspace.history().of(key).collect(),
    }
}

/// Answers with a look at the workspace that is meant.
fn look(
    shared: &Shared,
    workspace: Option<&str>,
    look: impl FnOnce(&Workspace) -> Answer,
) -> Response {
    let answer = match shared.room(workspace) {
        Some(room) => look(&shared.enter(room)),
        None => Answer::message(404, "unknown workspace"),
    };
    answer.into_response()
}

async fn state(State(shared): State<Arc<Shared>>, Query(asked): Query<Look>) -> Response {
    look(&shared, asked.workspace.as_deref(), |workspace| {
        let wanted = |user: &User| match &asked.external_id {
            Some(id) => user.external_id.as_ref() == Some(id),
            None => true,
        };
        let users = workspace.directory().iter().filter(|(_, user)| wanted(user));
        let users = users.take(asked.limit.unwrap_or(LIMIT));
        let view = StateView {
            users: users.map(|(key, user)| view(workspace, key, user)).collect(),
            user_count: workspace.directory().len(),
            waiting: workspace.waiting(),
            counters: workspace.counters(),
        };
        Answer::json(200, &view)
    })
}

/// By `external_id`, `braze_id`, or `label:name` of an alias.
pub(crate) fn find(workspace: &Workspace, id: &str) -> Option<UserKey> {
    let directory = workspace.directory();
    let alias = id
        .split_once(':')
        .map(|(label, name)| Identifier::Alias { name: name.into(), label: label.into() });
    directory
        .find(&Identifier::ExternalId(id.into()))
        .or_else(|| directory.find(&Identifier::BrazeId(id.into())))
        .or_else(|| directory.find(&alias?))
}

async fn user(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(asked): Query<Look>,
) -> Response {
    look(&shared, asked.workspace.as_deref(), |workspace| {
        let found =
            find(workspace, &id).and_then(|key| Some((key, workspace.directory().get(key)?)));
        match found {
            Some((key, user)) => Answer::json(200, &view(workspace, key, user)),
            None => Answer::message(404, "unknown user"),
        }
    })
}

async fn counters(State(shared): State<Arc<Shared>>, Query(asked): Query<Look>) -> Response {
    look(&shared, asked.workspace.as_deref(), |workspace| Answer::json(200, workspace.counters()))
}

async fn uids(State(shared): State<Arc<Shared>>, Query(asked): Query<Look>) -> Response {
    look(&shared, asked.workspace.as_deref(), |workspace| {
        Answer::json(200, workspace.history().uids())
    })
}

async fn audit(State(shared): State<Arc<Shared>>, Query(asked): Query<Look>) -> Response {
    look(&shared, asked.workspace.as_deref(), |workspace| {
        let latest = workspace.audit().rev().take(asked.limit.unwrap_or(LIMIT));
        let entries: Vec<&AuditEntry> = latest.collect();
        Answer::json(200, &json!({ "audit": entries }))
    })
}

async fn requests(State(shared): State<Arc<Shared>>, Query(asked): Query<Look>) -> Response {
    let log = shared.requests();
    let entries: Vec<&RequestEntry> = log.latest(asked.limit.unwrap_or(LIMIT)).collect();
    Answer::json(200, &json!({ "requests": entries })).into_response()
}

/// How to go on after a reset; without a word, as before.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    keep: Option<Kept>,
    uid_property: Option<String>,
}

/// [`Keep`] as a query names it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kept {
    All,
    Latest,
    Counts,
}

impl From<Kept> for Keep {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::All => Self::All,
            Kept::Latest => Self::Latest,
            Kept::Counts => Self::Counts,
        }
    }
}

async fn reset(State(shared): State<Arc<Shared>>, Query(asked): Query<Reset>) -> Response {
    shared.reset(asked.keep.map(Keep::from), asked.uid_property.as_deref());
    Answer::message(200, "success").into_response()
}

async fn faults(State(shared): State<Arc<Shared>>) -> Response {
    Answer::json(200, &json!({ "faults": shared.faults.rules() })).into_response()
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> Response {
    shared.faults.clear();
    Answer::message(200, "success").into_response()
}

/// Takes one rule or an array of them; all or none.
async fn add_faults(State(shared): State<Arc<Shared>>, body: body::Body) -> Response {
    let refuse = |text: &str| Answer::message(400, text).into_response();
    let Ok(bytes) = body::to_bytes(body, BODY_BYTES_MAX).await else {
        return refuse("the rules are too large");
    };
    if let Err(error) = Fault::read(&bytes).and_then(|faults| shared.inject(faults)) {
        return refuse(&error.to_string());
    }
    Answer::json(201, &json!({ "message": "success", "faults": shared.faults.rules() }))
        .into_response()
}
