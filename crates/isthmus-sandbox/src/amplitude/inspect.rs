//! `/_sandbox/amplitude/...`: a look inside for programs. None of this exists at Amplitude.
//!
//! Everything takes `?project=NAME`; without it, the first project is meant.

use super::event::AmplitudeEventFilter;
use super::project::Project;
use crate::api::Answer;
use crate::config::Keep;
use crate::inspect::{Kept, LIMIT};
use crate::sandbox::Shared;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sandbox/amplitude/events", get(events))
        .route("/_sandbox/amplitude/counts", get(counts))
        .route("/_sandbox/amplitude/users/{*id}", get(user))
        .route("/_sandbox/amplitude/groups/{group_type}/{*name}", get(group))
        .route("/_sandbox/amplitude/senders", get(senders))
        .route("/_sandbox/amplitude/uids", get(uids))
        .route("/_sandbox/amplitude/reset", post(reset))
}

/// What a request asks to see.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Look {
    project: Option<String>,
    event_type: Option<String>,
    user_id: Option<String>,
    device_id: Option<String>,
    insert_id: Option<String>,
    /// Of a user or device, to see the rates of.
    id: Option<String>,
    limit: Option<usize>,
}

/// Answers with a look at the project that is meant.
fn look(shared: &Shared, project: Option<&str>, look: impl FnOnce(&Project) -> Answer) -> Response {
    let answer = match shared.amplitude.project(project) {
        Some(project) => look(&project),
        None => Answer::message(404, "unknown project"),
    };
    answer.into_response()
}

async fn events(State(shared): State<Arc<Shared>>, Query(asked): Query<Look>) -> Response {
    let filter = AmplitudeEventFilter {
        event_type: asked.event_type,
        user_id: asked.user_id,
        device_id: asked.device_id,
        insert_id: asked.insert_id,
        limit: Some(asked.limit.unwrap_or(LIMIT)),
    };
    look(&shared, asked.project.as_deref(), |project| {
        let events: Vec<_> = project.events(&filter).collect();
        Answer::json(200, &json!({ "events": events }))
    })
}

async fn counts(State(shared): State<Arc<Shared>>, Query(asked): Query<Look>) -> Response {
    look(&shared, asked.project.as_deref(), |project| Answer::json(200, &project.counters()))
}

/// By user id, device id or Amplitude id.
async fn user(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(asked): Query<Look>,
) -> Response {
    look(&shared, asked.project.as_deref(), |project| match project.person(&id) {
        Some((person, events)) => Answer::json(200, &json!({ "user": person, "events": events })),
        None => Answer::message(404, "unknown user"),
    })
}

async fn group(
    State(shared): State<Arc<Shared>>,
    Path((group_type, name)): Path<(String, String)>,
    Query(asked): Query<Look>,
) -> Response {
    look(&shared, asked.project.as_deref(), |project| match project.group(&group_type, &name) {
        Some(properties) => Answer::json(200, &json!({ "group_properties": properties })),
        None => Answer::message(404, "unknown group"),
    })
}

async fn senders(State(shared): State<Arc<Shared>>, Query(asked): Query<Look>) -> Response {
    let (limits, now) = (shared.amplitude.settings().limits, shared.now().elapsed);
    look(&shared, asked.project.as_deref(), |project| {
        let (peaks, mut senders) = (project.peaks(), project.senders(&limits, now));
        senders.retain(|sender| asked.id.as_ref().is_none_or(|id| *id == sender.id));
        senders.truncate(asked.limit.unwrap_or(LIMIT));
        Answer::json(200, &json!({ "peaks": peaks, "senders": senders }))
    })
}

async fn uids(State(shared): State<Arc<Shared>>, Query(asked): Query<Look>) -> Response {
    look(&shared, asked.project.as_deref(), |project| Answer::json(200, project.uids()))
}

/// How to go on after a reset; without a word, as before.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    keep: Option<Kept>,
    uid_property: Option<String>,
}

/// Every project, and nothing of Braze.
async fn reset(State(shared): State<Arc<Shared>>, Query(asked): Query<Reset>) -> Response {
    shared.amplitude.reset(asked.keep.map(Keep::from), asked.uid_property.as_deref());
    Answer::message(200, "success").into_response()
}
