//! Users whom a destination does not know, over the control API.

use super::letters::malformed;
use super::{Control, reply, to_the_end};
use crate::runtime::RuntimeError;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;

/// Identifiers that are asked about unless told otherwise, and at most.
const SAMPLE: usize = 500;
const SAMPLE_MAX: usize = 2_000;

pub(super) fn routes() -> Router<Control> {
    Router::new().route("/control/v1/streams/{name}/unmatched", post(ask))
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    sample: usize,
    /// Whether the mirror forgets what users were told whom the destination does not know.
    forget: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self { sample: SAMPLE, forget: false }
    }
}

async fn ask(State(control): State<Control>, Path(name): Path<String>, body: String) -> Response {
    match understood(&body) {
        Ok(Asked { sample, forget }) => {
            to_the_end(async move { control.runtime.unmatched(&name, sample, forget).await }).await
        }
        Err(error) => reply::<()>(Err(error)),
    }
}

fn understood(body: &str) -> Result<Asked, RuntimeError> {
    let asked: Asked = serde_json::from_str(body).map_err(|error| malformed(&error.to_string()))?;
    if !(1..=SAMPLE_MAX).contains(&asked.sample) {
        return Err(malformed(&format!(
            "`sample` is from 1 to {SAMPLE_MAX}, not {}",
            asked.sample
        )));
    }
    Ok(asked)
}
