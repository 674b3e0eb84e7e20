//! `/_sandbox/campaigns`: what marketers do in the dashboard. None of this exists at Braze.

use super::handle;
use crate::api::Answer;
use crate::sandbox::{Room, Shared};
use axum::Router;
use axum::body::{self, Body};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Size of a definition.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Messages that a list shows unless `?limit=` says otherwise.
const LIMIT: usize = 100;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sandbox/campaigns", get(list).post(define_named))
        .route("/_sandbox/campaigns/{name}", get(show).put(define).delete(remove))
        .route("/_sandbox/campaigns/{name}/send", post(send))
        .route("/_sandbox/campaigns/{name}/messages", get(messages))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    workspace: Option<String>,
    limit: Option<usize>,
}

fn refuse(status: u16, text: &str) -> Response {
    Answer::message(status, text).into_response()
}

/// Answers about the workspace that is meant.
fn about(shared: &Shared, asked: &Asked, look: impl FnOnce(&str, &Room) -> Answer) -> Response {
    let found = match &asked.workspace {
        Some(name) => shared.rooms().find(|(known, _)| known == name),
        None => shared.rooms().next(),
    };
    match found {
        Some((name, room)) => look(name, room).into_response(),
        None => refuse(404, "unknown workspace"),
    }
}

fn unknown() -> Answer {
    Answer::message(404, "unknown campaign")
}

async fn list(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    about(&shared, &asked, |_, room| {
        Answer::json(200, &json!({ "campaigns": room.campaigns().views() }))
    })
}

async fn show(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    about(&shared, &asked, |_, room| {
        room.campaigns().view(&name).map_or_else(unknown, |view| Answer::json(200, &view))
    })
}

async fn define(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    body: Body,
) -> Response {
    match read(body).await {
        Ok(written) => about(&shared, &asked, |_, room| put(&shared, room, &name, &written)),
        Err(refused) => refused.into_response(),
    }
}

/// A definition that says its name itself.
async fn define_named(
    State(shared): State<Arc<Shared>>,
    Query(asked): Query<Asked>,
    body: Body,
) -> Response {
    let written = match read(body).await {
        Ok(written) => written,
        Err(refused) => return refused.into_response(),
    };
    match written.get("name").and_then(Value::as_str) {
        Some(name) => about(&shared, &asked, |_, room| put(&shared, room, name, &written)),
        None => refuse(400, "name: is required"),
    }
}

async fn read(body: Body) -> Result<Value, Answer> {
    let bytes: Result<Bytes, _> = body::to_bytes(body, BODY_BYTES_MAX).await;
    let bytes = bytes.map_err(|_| Answer::message(413, "the definition is too large"))?;
    serde_json::from_slice(&bytes).map_err(|error| Answer::message(400, &error.to_string()))
}

fn put(shared: &Shared, room: &Room, name: &str, written: &Value) -> Answer {
    match handle::put(shared, room, name, written) {
        Ok(()) => room.campaigns().view(name).map_or_else(unknown, |view| Answer::json(200, &view)),
        Err(error) => Answer::message(400, &error.to_string()),
    }
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    about(&shared, &asked, |_, room| {
        if handle::remove(room, &name) { Answer::message(200, "success") } else { unknown() }
    })
}

async fn send(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    about(&shared, &asked, |workspace, room| {
        let started = handle::send(&shared, workspace, room, &name);
        started.map_or_else(unknown, |started| Answer::json(202, &started))
    })
}

async fn messages(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    about(&shared, &asked, |_, room| {
        let campaigns = room.campaigns();
        if campaigns.view(&name).is_none() {
            return unknown();
        }
        let latest = campaigns.messages(Some(&name)).take(asked.limit.unwrap_or(LIMIT));
        Answer::json(200, &json!({ "messages": latest.collect::<Vec<_>>() }))
    })
}
