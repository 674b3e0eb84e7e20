//! `/control/v1/destinations`.

use super::{Control, fail, to_the_end};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// Longest reason of a pause, in characters.
const REASON_CHARACTERS_MAX: usize = 500;

pub(super) async fn list(State(control): State<Control>) -> Response {
    Json(control.runtime.destinations()).into_response()
}

/// Why a destination is paused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    reason: String,
}

pub(super) async fn pause(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    let Pause { reason } = match serde_json::from_str(&body) {
        Ok(pause) => pause,
        Err(error) => return fail(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > REASON_CHARACTERS_MAX {
        let error = format!("`reason` must have 1 to {REASON_CHARACTERS_MAX} characters");
        return fail(StatusCode::BAD_REQUEST, &error);
    }
    to_the_end(async move { control.runtime.pause_destination(&name, &reason).await }).await
}

pub(super) async fn resume(State(control): State<Control>, Path(name): Path<String>) -> Response {
    to_the_end(async move { control.runtime.resume_destination(&name).await }).await
}
