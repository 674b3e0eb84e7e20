//! How many events a stream would make at Amplitude, over the control API.

use super::letters::malformed;
use super::{Control, reply};
use crate::report::volume::VolumeRequest;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;

pub(super) fn routes() -> Router<Control> {
    Router::new().route("/control/v1/streams/{name}/plan", post(plan))
}

async fn plan(State(control): State<Control>, Path(name): Path<String>, body: String) -> Response {
    match serde_json::from_str::<VolumeRequest>(&body) {
        Ok(request) => reply(control.runtime.plan_volume(&name, &request).await),
        Err(error) => reply::<()>(Err(malformed(&error.to_string()))),
    }
}
