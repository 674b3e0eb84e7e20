//! What a destination has against what it was told, over the control API.

use super::letters::malformed;
use super::{Control, reply, to_the_end};
use crate::runtime::RuntimeError;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;

/// Users that are asked about unless told otherwise, and at most.
const SAMPLE: usize = 500;
const SAMPLE_MAX: usize = 2_000;

pub(super) fn routes() -> Router<Control> {
    Router::new().route("/control/v1/destinations/{name}/reconcile", post(ask))
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    sample: usize,
    /// Whether what differs is forgotten and told again.
    heal: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self { sample: SAMPLE, heal: false }
    }
}

async fn ask(State(control): State<Control>, Path(name): Path<String>, body: String) -> Response {
    match understood(&body) {
        Ok(Asked { sample, heal }) => {
            to_the_end(async move { control.runtime.reconcile(&name, sample, heal).await }).await
        }
        Err(error) => reply::<()>(Err(error)),
    }
}

fn understood(body: &str) -> Result<Asked, RuntimeError> {
    let asked: Asked = serde_json::from_str(body).map_err(|error| malformed(&error.to_string()))?;
    if !(1..=SAMPLE_MAX).contains(&asked.sample) {
        let why = format!("`sample` is from 1 to {SAMPLE_MAX}, not {}", asked.sample);
        return Err(malformed(&why));
    }
    Ok(asked)
}
