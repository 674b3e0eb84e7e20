//! `/control/v1/erasures`.

use super::{Control, fail, reply};
use crate::control::profiles::Asked;
use crate::report::erasures::ErasureOrder;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

/// Who asked, where nobody said.
const NOBODY: &str = "control API";

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/control/v1/erasures", get(list).post(order))
        .route("/control/v1/erasures/{id}", get(show))
}

async fn list(State(control): State<Control>) -> Response {
    reply(control.runtime.erasures().await)
}

async fn show(State(control): State<Control>, Path(id): Path<i64>) -> Response {
    reply(control.runtime.erasure(id).await)
}

async fn order(State(control): State<Control>, body: String) -> Response {
    let order: ErasureOrder = match serde_json::from_str(&body) {
        Ok(order) => order,
        Err(error) => return fail(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let ErasureOrder { project, user, device, amplitude_id, requester } = order;
    match (Asked { project, user, device, amplitude_id }).who() {
        Ok((project, who)) => {
            let requester = requester.as_deref().unwrap_or(NOBODY);
            reply(control.runtime.erase(project, &who, requester).await)
        }
        Err(error) => reply::<()>(Err(error)),
    }
}
