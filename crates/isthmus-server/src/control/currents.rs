//! `/control/v1/currents` and `/control/v1/imports`: Currents sources, and imports of their files.

use super::{Control, fail, reply};
use crate::report::currents::{ImportRequest, ImportsReport};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

/// The routes of Currents sources.
pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/control/v1/currents", get(list))
        .route("/control/v1/currents/{name}/imports", post(import))
        .route("/control/v1/imports", get(imports))
        .route("/control/v1/imports/{id}", get(show))
        .route("/control/v1/imports/{id}/cancel", post(cancel))
}

async fn list(State(control): State<Control>) -> Response {
    reply(control.runtime.currents_sources().await)
}

async fn import(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    match serde_json::from_str::<ImportRequest>(&body) {
        Ok(request) => {
            let runtime = control.runtime;
            super::to_the_end(async move { runtime.start_import(&name, request).await }).await
        }
        Err(error) => fail(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn imports(State(control): State<Control>) -> Response {
    reply(control.runtime.currents.imports.list().map(|imports| ImportsReport { imports }))
}

async fn show(State(control): State<Control>, Path(id): Path<String>) -> Response {
    reply(control.runtime.currents.imports.get(&id))
}

async fn cancel(State(control): State<Control>, Path(id): Path<String>) -> Response {
    reply(control.runtime.currents.imports.cancel(&id))
}
