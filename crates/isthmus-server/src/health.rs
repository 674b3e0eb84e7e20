//! Operations: `/healthz`, `/readyz`, `/metrics`.

use crate::observe;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

/// The routes; `stopping` is cancelled when the server was asked to stop.
pub(crate) fn router(stopping: CancellationToken) -> Router {
    let ready = move || {
        let stopping = stopping.is_cancelled();
        async move {
            if stopping {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
            } else {
                (StatusCode::OK, "ready\n")
            }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn metrics() -> Response {
    let text = observe::metrics().render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
