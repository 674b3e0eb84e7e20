//! `/control/v1/streams/{name}/samples`.

use super::{Control, reply};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use isthmus_state::delivery_samples::SAMPLES_MAX;
use serde::Deserialize;

/// Samples of each category unless asked otherwise.
const LISTED: usize = 10;

#[derive(Deserialize)]
pub(super) struct Selection {
    category: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(control): State<Control>,
    Path(name): Path<String>,
    Query(selection): Query<Selection>,
) -> Response {
    let Selection { category, limit } = selection;
    let limit = limit.unwrap_or(LISTED).min(SAMPLES_MAX);
    reply(control.runtime.samples(&name, category.as_deref(), limit))
}
