//! `/_sandbox/currents`: connectors, as the dashboard would show them. None of this exists at
//! Braze.

use super::handle::{self, TestBody};
use crate::api::Answer;
use crate::sandbox::{Room, Shared};
use axum::Router;
use axum::body::{self, Body};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Size of a definition.
const BODY_BYTES_MAX: usize = 64 << 10;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sandbox/currents", get(list))
        .route("/_sandbox/currents/{name}", get(show).put(define).delete(remove))
        .route("/_sandbox/currents/{name}/events", get(events))
        .route("/_sandbox/currents/{name}/flush", post(flush))
        .route("/_sandbox/currents/{name}/test", post(test))
        .route("/_sandbox/currents/{name}/test-events", post(test_events))
}

/// Which workspace is meant, and for a test, which body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    workspace: Option<String>,
    #[serde(default)]
    body: TestBody,
}

fn refuse(status: u16, text: &str) -> Response {
    Answer::message(status, text).into_response()
}

/// Answers about the workspace that is meant.
fn about(shared: &Shared, asked: &Asked, look: impl FnOnce(&Room) -> Answer) -> Response {
    match shared.room(asked.workspace.as_deref()) {
        Some(room) => look(room).into_response(),
        None => refuse(404, "unknown workspace"),
    }
}

fn unknown() -> Answer {
    Answer::message(404, "unknown connector")
}

async fn list(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    about(&shared, &asked, |room| {
        let overlooked = room.lock().overlooked();
        let connectors = room.currents().views();
        Answer::json(200, &json!({ "connectors": connectors, "overlooked": overlooked }))
    })
}

async fn show(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    about(&shared, &asked, |room| {
        room.currents().view(&name).map_or_else(unknown, |view| Answer::json(200, &view))
    })
}

async fn define(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    body: Body,
) -> Response {
    let Ok(bytes) = body::to_bytes(body, BODY_BYTES_MAX).await else {
        return refuse(413, "the definition is too large");
    };
    let written: Value = match serde_json::from_slice(&bytes) {
        Ok(written) => written,
        Err(error) => return refuse(400, &error.to_string()),
    };
    about(&shared, &asked, |room| match handle::put(&shared, room, &name, &written) {
        Ok(()) => room.currents().view(&name).map_or_else(unknown, |view| Answer::json(200, &view)),
        Err(error) => Answer::message(400, &error.to_string()),
    })
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    about(&shared, &asked, |room| {
        if handle::remove(room, &name) { Answer::message(200, "success") } else { unknown() }
    })
}

/// Every event that was queued, with its type, as many as are kept.
async fn events(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    about(&shared, &asked, |room| {
        let currents = room.currents();
        let Some((ids, forgotten)) = currents.ids(&name) else { return unknown() };
        let events: Map<String, Value> =
            ids.map(|(id, kind)| (id.to_owned(), Value::from(kind))).collect();
        Answer::json(200, &json!({ "events": events, "forgotten": forgotten }))
    })
}

async fn flush(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    about(&shared, &asked, |room| {
        if handle::flush(&shared, room, &name) {
            Answer::message(202, "success")
        } else {
            unknown()
        }
    })
}

/// Tries the credentials, as Braze does when a connector is saved.
async fn test(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let Some(room) = shared.room(asked.workspace.as_deref()) else {
        return refuse(404, "unknown workspace");
    };
    match handle::test(&shared, room, &name, asked.body).await {
        None => refuse(404, "unknown connector, or one that writes files"),
        Some(Ok(status)) => {
            let is_accepted = (200..300).contains(&status);
            Answer::json(200, &json!({ "accepted": is_accepted, "status": status })).into_response()
        }
        Some(Err(error)) => {
            let answer = json!({ "accepted": false, "status": null, "error": error });
            Answer::json(200, &answer).into_response()
        }
    }
}

async fn test_events(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    about(&shared, &asked, |room| match handle::test_events(&shared, room, &name) {
        Some(events) => Answer::json(202, &json!({ "events": events })),
        None => unknown(),
    })
}
