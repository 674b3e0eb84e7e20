//! Filling the mirror of a destination in from its ledger, over the control API.

use super::letters::malformed;
use super::{Control, reply, to_the_end};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;

pub(super) fn routes() -> Router<Control> {
    Router::new().route("/control/v1/destinations/{name}/mirror/rebuild", post(ask))
}

/// What is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    /// Whether what was sent before the destination or its streams were what they are counts, too.
    all: bool,
}

async fn ask(State(control): State<Control>, Path(name): Path<String>, body: String) -> Response {
    let asked = if body.is_empty() { Ok(Asked::default()) } else { serde_json::from_str(&body) };
    match asked {
        Ok(Asked { all }) => {
            to_the_end(async move { control.runtime.rebuild_mirror(&name, all).await }).await
        }
        Err(error) => reply::<()>(Err(malformed(&error.to_string()))),
    }
}
