//! The control API, `/control/v1/...`: behind its own token, JSON in and out.

mod bill;
mod currents;
mod destinations;
mod erasures;
mod jobs;
mod ledger;
mod letters;
mod openapi;
mod profiles;
mod rebuild;
mod reconcile;
mod samples;
mod unmatched;
mod volume;

use crate::report::{ErrorReport, Problems};
use crate::runtime::{Runtime, RuntimeError};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;

/// Largest resource text that is taken.
const RESOURCES_BYTES_MAX: usize = 4 << 20;
/// Dead letters and audit lines listed unless asked otherwise, and at most.
const LISTED: usize = 100;
const LISTED_MAX: usize = 10_000;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) token: Arc<str>,
}

/// The routes of the control API.
pub(crate) fn router(control: Control) -> Router {
    Router::new()
        .route("/control/v1/status", get(status))
        .route("/control/v1/streams", get(streams))
        .route("/control/v1/streams/{name}", patch(change_stream))
        .route("/control/v1/streams/{name}/samples", get(samples::list))
        .route("/control/v1/destinations", get(destinations::list))
        .merge(bill::routes())
        .merge(unmatched::routes())
        .merge(volume::routes())
        .merge(rebuild::routes())
        .merge(reconcile::routes())
        .merge(letters::routes())
        .merge(currents::routes())
        .merge(ledger::routes())
        .merge(profiles::routes())
        .merge(erasures::routes())
        .route("/control/v1/destinations/{name}/probe", post(probe))
        .route("/control/v1/destinations/{name}/pause", post(destinations::pause))
        .route("/control/v1/destinations/{name}/resume", post(destinations::resume))
        .route("/control/v1/resources", get(resources).put(put_resources))
        .route("/control/v1/resources/{kind}/{name}", delete(remove_resource))
        .route("/control/v1/audit", get(audit))
        .merge(jobs::routes())
        .layer(axum::extract::DefaultBodyLimit::max(RESOURCES_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(control.clone(), authorize))
        .route("/control/v1/openapi.json", get(openapi::document))
        .with_state(control)
}

async fn authorize(State(control): State<Control>, request: Request, next: Next) -> Response {
    if is_authorized(request.headers(), &control.token) {
        return next.run(request).await;
    }
    let error = "the control API needs `Authorization: Bearer TOKEN`; the token is in the file \
                 control.token of the data folder";
    fail(StatusCode::UNAUTHORIZED, error)
}

fn is_authorized(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    isthmus_config::secret::matches(given.trim().as_bytes(), token.as_bytes())
}

async fn status(State(control): State<Control>) -> Response {
    Json(control.runtime.status()).into_response()
}

async fn streams(State(control): State<Control>) -> Response {
    Json(control.runtime.streams()).into_response()
}

/// What may be changed of a stream without giving it anew.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamChange {
    enabled: bool,
}

async fn change_stream(
    State(control): State<Control>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    let change: StreamChange = match serde_json::from_str(&body) {
        Ok(change) => change,
        Err(error) => return fail(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    reply(
        control
            .runtime
            .set_enabled(&name, change.enabled)
            .await
            .map(|()| control.runtime.streams()),
    )
}

#[derive(Deserialize)]
struct Listing {
    limit: Option<usize>,
}

impl Listing {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LISTED).min(LISTED_MAX)
    }
}

async fn probe(State(control): State<Control>, Path(name): Path<String>) -> Response {
    reply(control.runtime.probe(&name).await)
}

async fn resources(State(control): State<Control>) -> Response {
    reply(control.runtime.resources().await)
}

async fn put_resources(State(control): State<Control>, body: String) -> Response {
    to_the_end(async move { control.runtime.put_resources(&body).await }).await
}

async fn remove_resource(
    State(control): State<Control>,
    Path((kind, name)): Path<(String, String)>,
) -> Response {
    to_the_end(async move { control.runtime.remove_resource(&kind, &name).await }).await
}

async fn audit(State(control): State<Control>, Query(listing): Query<Listing>) -> Response {
    reply(control.runtime.audit(listing.limit()).await)
}

/// Answers what `change` comes to, and carries it out also when the client has gone: a change that
/// is stored must be taken up.
async fn to_the_end<T, F>(change: F) -> Response
where
    T: serde::Serialize + Send + 'static,
    F: Future<Output = Result<T, RuntimeError>> + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "bounded by the change, which it must outlive")]
    let task = tokio::spawn(change);
    match task.await {
        Ok(result) => reply(result),
        Err(error) => reply::<()>(Err(RuntimeError::Failed(error.into()))),
    }
}

/// What was asked in the query, or why it cannot be understood.
fn query<T>(asked: Result<Query<T>, QueryRejection>) -> Result<T, RuntimeError> {
    asked.map(|Query(asked)| asked).map_err(|error| RuntimeError::Malformed(error.body_text()))
}

fn reply<T: serde::Serialize>(result: Result<T, RuntimeError>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(RuntimeError::NotFound(what)) => {
            fail(StatusCode::NOT_FOUND, &format!("there is no {what}"))
        }
        Err(RuntimeError::Conflict(why)) => fail(StatusCode::CONFLICT, &why),
        Err(RuntimeError::Malformed(why)) => fail(StatusCode::BAD_REQUEST, &why),
        Err(RuntimeError::Invalid(diagnostics)) => {
            let problems = diagnostics.iter().map(ToString::to_string).collect();
            (StatusCode::BAD_REQUEST, Json(Problems { problems })).into_response()
        }
        Err(RuntimeError::Failed(error)) => {
            tracing::error!(error = format!("{error:#}"), "control request failed");
            fail(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}"))
        }
    }
}

fn fail(status: StatusCode, error: &str) -> Response {
    (status, Json(ErrorReport { error: error.to_owned() })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_the_whole_token_opens() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            is_authorized(&headers, "secret")
        };
        assert!(with("Bearer secret"));
        assert!(!with("Bearer secre") && !with("Bearer secretly") && !with("secret"));
        assert!(!with("Bearer ") && !is_authorized(&HeaderMap::new(), "secret"));
    }
}
