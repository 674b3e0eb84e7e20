//! Amplitude's ingest endpoints over HTTP: reads the request within bounds, asks the door, and
//! answers with the headers that browsers need.

use crate::background::Background;
use crate::listener::Peer;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use isthmus_core::seam::Clock;
use isthmus_ingest::door::{Answer, Call, Door, Endpoint};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bodies in memory at once, over all connections, in KiB; beyond that requests wait, and are
/// answered with 503 if that takes as long as a body may.
const BODIES_KIB_MAX: usize = 512 << 10;
/// A body that is too large is still read this far beyond the limit, because a client that is cut
/// off while sending sees a broken connection instead of the 413, and drops its batch.
const DRAINED_BEYOND_LIMIT: usize = 64 << 20;

/// What SDKs fetch at start when pointed here: diagnostics off (`amplitude-ingest.md` section 15).
const REMOTE_CONFIG: &str =
    r#"{"configs":{"diagnostics":{"browserSDK":{"enabled":false,"sampleRate":0}}}}"#;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Ingest {
    door: Arc<Door>,
    clock: Arc<dyn Clock>,
    /// How many proxies in front of us append to `X-Forwarded-For`; zero trusts none.
    trusted_hops: usize,
    /// How long a client may take to send a body.
    body_timeout: Duration,
    room: Semaphore,
    background: Background,
}

impl Ingest {
    pub(crate) fn new(
        door: Arc<Door>,
        clock: Arc<dyn Clock>,
        trusted_hops: usize,
        body_timeout: Duration,
        background: Background,
    ) -> Self {
        let room = Semaphore::new(BODIES_KIB_MAX);
        Self { door, clock, trusted_hops, body_timeout, room, background }
    }

    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// Room for a body of which `announced` bytes are to come, at most `limit`.
    async fn room(&self, announced: Option<u64>, limit: usize) -> Option<SemaphorePermit<'_>> {
        let limit = limit as u64;
        let kib = announced.unwrap_or(limit).min(limit).div_ceil(1_024);
        let kib = usize::try_from(kib).unwrap_or(usize::MAX).min(BODIES_KIB_MAX);
        self.room.acquire_many(u32::try_from(kib).unwrap_or(u32::MAX)).await.ok()
    }
}

/// The routes of `ingest`.
pub(crate) fn router(ingest: Arc<Ingest>) -> Router {
    let endpoints = [
        Endpoint::HttpApi,
        Endpoint::Batch,
        Endpoint::Identify,
        Endpoint::GroupIdentify,
        Endpoint::UserMap,
    ];
    let mut router = Router::new().route("/config/{key}", get(remote_config));
    for endpoint in endpoints {
        let handler = move |State(ingest): State<Arc<Ingest>>, request: Request<Body>| async move {
            handle(&ingest, endpoint, request).await
        };
        router = router.route(endpoint.path(), any(handler));
    }
    router.with_state(ingest)
}

async fn handle(ingest: &Ingest, endpoint: Endpoint, request: Request<Body>) -> Response {
    let takes_forms = !matches!(endpoint, Endpoint::HttpApi | Endpoint::Batch);
    match *request.method() {
        Method::OPTIONS => return preflight(request.headers()),
        Method::POST => {}
        Method::GET if takes_forms => {}
        _ => return refuse(405, "Method not allowed"),
    }
    let (head, body) = request.into_parts();
    let limit = ingest.door.rules().of(endpoint).body_max.as_usize();
    let received = match receive(ingest, &head.headers, body, limit).await {
        Ok(received) => received,
        Err(response) => return response,
    };
    let peer = head.extensions.get::<Peer>().map(|peer| peer.0.ip());
    let remote = client(&head.headers, peer, ingest.trusted_hops);
    let (door, body) = (Arc::clone(&ingest.door), received.body.clone());
    let answer = ingest.background.run(async move {
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let (content_type, content_encoding) =
            (text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
        let (query, body) = (head.uri.query(), &*body);
        door.answer(Call { endpoint, content_type, content_encoding, query, body, remote }).await
    });
    answer.await.map_or_else(|| refuse(500, "Internal server error"), respond)
}

/// A body, and the room that it takes.
pub(crate) struct Received<'i> {
    pub(crate) body: Bytes,
    _room: Option<SemaphorePermit<'i>>,
}

/// Reads a body of at most `limit` bytes once there is room for it, or answers why not.
pub(crate) async fn receive<'i>(
    ingest: &'i Ingest,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Received<'i>, Response> {
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > (limit + DRAINED_BEYOND_LIMIT) as u64) {
        return Err(refuse(413, "Payload too large"));
    }
    let room = tokio::select! {
        room = ingest.room(announced, limit) => room,
        () = ingest.clock.sleep(ingest.body_timeout) => {
            return Err(refuse(503, "Service unavailable"));
        }
    };
    let body = tokio::select! {
        body = read(body, limit) => body,
        () = ingest.clock.sleep(ingest.body_timeout) => return Err(refuse(408, "Request timeout")),
    };
    match body {
        Ok(body) => Ok(Received { body, _room: room }),
        Err(ReadError::TooLarge) => Err(refuse(413, "Payload too large")),
        Err(ReadError::Broken) => Err(refuse(400, "Request body ended early")),
    }
}

/// Reads a body that is not looked at, within the usual bounds.
pub(crate) async fn drain(ingest: &Ingest, body: Body) {
    tokio::select! {
        // Nothing of it is kept.
        _ = read(body, 0) => {}
        () = ingest.clock.sleep(ingest.body_timeout) => {}
    }
}

/// Why a body was not read.
enum ReadError {
    TooLarge,
    Broken,
}

async fn read(body: Body, limit: usize) -> Result<Bytes, ReadError> {
    let mut stream = body.into_data_stream();
    let (mut whole, mut length) = (BytesMut::new(), 0usize);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ReadError::Broken)?;
        length += chunk.len();
        if length <= limit {
            whole.extend_from_slice(&chunk);
        } else if length - limit > DRAINED_BEYOND_LIMIT {
            break;
        } else {
            whole = BytesMut::new();
        }
    }
    if length > limit { Err(ReadError::TooLarge) } else { Ok(whole.freeze()) }
}

/// The client's address: the peer, or what the outermost trusted proxy saw.
fn client(headers: &HeaderMap, peer: Option<IpAddr>, trusted_hops: usize) -> Option<IpAddr> {
    let forwarded = headers.get_all("x-forwarded-for");
    let hops: Vec<&str> = forwarded
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let seen = trusted_hops.checked_sub(1).and_then(|hop| hops.iter().rev().nth(hop));
    seen.and_then(|address| address.parse().ok()).or(peer)
}

async fn remote_config(Path(_key): Path<String>) -> Response {
    with_cors(StatusCode::OK, Body::from(REMOTE_CONFIG))
}

pub(crate) fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_cors(status, Body::from(answer.body));
    if let Some(wait) = answer.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}

/// An answer of ours in the documented form.
pub(crate) fn refuse(status: u16, error: &str) -> Response {
    let body = format!(r#"{{"code":{status},"error":"{error}"}}"#);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    with_cors(status, Body::from(body))
}

/// Browsers hide any answer without the allow-origin header, error bodies included.
fn with_cors(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Answers a browser that asks whether it may (`amplitude-ingest.md` 2.3).
fn preflight(asked: &HeaderMap) -> Response {
    const USUAL: HeaderValue = HeaderValue::from_static(
        "content-type, content-encoding, accept, cross-origin-resource-policy",
    );
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, OPTIONS"),
    );
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(USUAL));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_who_the_outermost_trusted_proxy_saw() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 1.1.1.1"));
        headers.append("x-forwarded-for", HeaderValue::from_static("2.2.2.2"));
        let peer: Option<IpAddr> = Some([127, 0, 0, 1].into());
        let seen = |hops| client(&headers, peer, hops).map(|address| address.to_string());
        assert_eq!(seen(0).as_deref(), Some("127.0.0.1"));
        assert_eq!(seen(1).as_deref(), Some("2.2.2.2"));
        assert_eq!(seen(2).as_deref(), Some("1.1.1.1"));
        assert_eq!(seen(9).as_deref(), Some("127.0.0.1"));
    }
}
