//! Braze Currents over HTTP: `POST /currents/http/SOURCE`.
//!
//! The token is asked before the body is read, and a body that nobody may send is read to its end and
//! thrown away, so that the sender sees the answer.

use crate::ingest::{Ingest, drain, receive, refuse, respond};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use axum::response::Response;
use axum::routing::any;
use std::sync::Arc;

/// The route of `ingest`.
pub(crate) fn router(ingest: Arc<Ingest>) -> Router {
    Router::new().route("/currents/http/{source}", any(post)).with_state(ingest)
}

async fn post(
    State(ingest): State<Arc<Ingest>>,
    Path(source): Path<String>,
    request: Request<Body>,
) -> Response {
    if request.method() != Method::POST {
        let mut response = refuse(405, "Method not allowed");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (head, body) = request.into_parts();
    let door = ingest.door();
    let admitted = match door.admit_currents(&source, text(&head.headers, header::AUTHORIZATION)) {
        Ok(admitted) => admitted,
        Err(refused) => {
            drain(&ingest, body).await;
            return respond(refused);
        }
    };
    let limit = door.rules().currents_body_max.as_usize();
    let received = match receive(&ingest, &head.headers, body, limit).await {
        Ok(received) => received,
        Err(response) => return response,
    };
    let encoding = text(&head.headers, header::CONTENT_ENCODING);
    respond(door.answer_currents(&admitted, encoding, &received.body).await)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
