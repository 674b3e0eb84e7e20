//! `/control/v1/jobs/...`: backfills and replays.

use super::{Control, fail, reply};
use crate::report::jobs::{JobRequest, JobsReport};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use isthmus_delivery::journal::JobKind;

/// The routes of jobs.
pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/control/v1/streams/{name}/backfill", post(backfill))
        .route("/control/v1/streams/{name}/replay", post(replay))
        .route("/control/v1/jobs", get(list))
        .route("/control/v1/jobs/{id}", get(show))
        .route("/control/v1/jobs/{id}/start", post(start))
        .route("/control/v1/jobs/{id}/cancel", post(cancel))
}

async fn backfill(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    plan(&control, &name, JobKind::Backfill, &body)
}

async fn replay(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    plan(&control, &name, JobKind::Replay, &body)
}

fn plan(control: &Control, stream: &str, kind: JobKind, body: &str) -> Response {
    match serde_json::from_str::<JobRequest>(body) {
        Ok(request) => reply(control.runtime.jobs.plan(stream, kind, &request)),
        Err(error) => fail(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn list(State(control): State<Control>) -> Response {
    Json(JobsReport { jobs: control.runtime.jobs.list() }).into_response()
}

async fn show(State(control): State<Control>, Path(id): Path<String>) -> Response {
    reply(control.runtime.jobs.get(&id))
}

async fn start(State(control): State<Control>, Path(id): Path<String>) -> Response {
    super::to_the_end(async move { control.runtime.start_job(&id).await }).await
}

async fn cancel(State(control): State<Control>, Path(id): Path<String>) -> Response {
    super::to_the_end(async move { control.runtime.cancel_job(&id).await }).await
}
