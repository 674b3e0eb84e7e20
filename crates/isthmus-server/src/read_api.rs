//! Amplitude's read APIs: who may ask, how often, and how a refusal looks.
//!
//! A client sends `Authorization: Basic base64(api_key ":" secret_key)`: the API key names the
//! project, the secret key opens it (`amplitude-read.md` 1.2). A project without a secret key answers
//! nobody.

pub(crate) mod deletions;
mod delivery_metrics;
mod keys;
mod period;
mod turnstile;
mod user_map;

use crate::assembly::Assembly;
use crate::catalog::Catalog;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use isthmus_core::seam::Clock;
use isthmus_state::delivery_history::DeliveryHistory;
use isthmus_state::people::People;
use isthmus_state::user_map::UserMap;
use keys::Keys;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use turnstile::Turnstiles;

/// What the handlers share.
pub(crate) struct ReadApi {
    clock: Arc<dyn Clock>,
    history: DeliveryHistory,
    people: People,
    map: UserMap,
    known: RwLock<Known>,
    turnstiles: Turnstiles,
}

/// What follows from the resources.
#[derive(Debug, Default)]
struct Known {
    keys: Keys,
    /// Streams by sync id.
    syncs: BTreeMap<u64, Sync>,
}

/// What Amplitude calls a sync: a stream, and the project whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sync {
    stream: String,
    project: String,
}

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    error: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), retry_after: None }
    }
}

impl ReadApi {
    /// Knows nobody until [`Self::take_up`].
    pub(crate) fn new(
        history: DeliveryHistory,
        people: People,
        map: UserMap,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (known, turnstiles) = (RwLock::default(), Turnstiles::new(delivery_metrics::RULE));
        Self { clock, history, people, map, known, turnstiles }
    }

    /// Answers for the projects and streams of `assembly` from now on; a stream that is new gets its
    /// sync id from `catalog`.
    pub(crate) async fn take_up(
        &self,
        catalog: &Catalog,
        assembly: &Assembly,
    ) -> anyhow::Result<()> {
        let streams = || assembly.streams.iter().map(|stream| &stream.resource);
        let names: Vec<_> = streams().map(|stream| stream.name.as_str()).collect();
        let ids = catalog.sync_ids(&names).await?;
        let syncs = streams().filter_map(|stream| {
            let (stream, project) = (stream.name.clone(), stream.project.clone());
            Some((*ids.get(&stream)?, Sync { stream, project }))
        });
        let keys = Keys::of(&assembly.projects, &assembly.secret_keys);
        let known = Known { keys, syncs: syncs.collect() };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// The number of `stream` in Amplitude's terms.
    pub(crate) fn sync_id(&self, stream: &str) -> Option<u64> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.syncs.iter().find(|(_, sync)| sync.stream == stream).map(|(id, _)| *id)
    }

    fn sync(&self, id: u64) -> Option<Sync> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.syncs.get(&id).cloned()
    }

    /// The project that these keys open.
    fn project_of(&self, api_key: &str, secret_key: &str) -> Result<String, Refusal> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let project = known.keys.project_of(api_key, secret_key);
        project.map(str::to_owned).map_err(|why| Refusal::new(StatusCode::UNAUTHORIZED, why))
    }

    /// Every project that can be read.
    fn projects(&self) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys.projects().map(str::to_owned).collect()
    }

    /// Whether the request has credentials with an API key that is no project's.
    fn is_key_unknown(&self, headers: &HeaderMap) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys.is_unknown(headers)
    }

    /// The project that the request's credentials open.
    fn project(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let project = known.keys.project(headers);
        project.map(str::to_owned).map_err(|why| Refusal::new(StatusCode::UNAUTHORIZED, why))
    }
}

/// The routes of the read APIs.
pub(crate) fn router(api: Arc<ReadApi>) -> Router {
    Router::new()
        .route(delivery_metrics::PATH, any(summary))
        .route(user_map::PATH, any(mappings))
        .with_state(api)
}

async fn summary(State(api): State<Arc<ReadApi>>, request: Request) -> Response {
    if request.method() != Method::GET {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        return refuse(&refusal);
    }
    let query = request.uri().query().unwrap_or_default();
    match delivery_metrics::answer(&api, request.headers(), query).await {
        Ok(summary) => with_type(StatusCode::OK, serde_json::json!(summary).to_string()),
        Err(refusal) => refuse(&refusal),
    }
}

async fn mappings(State(api): State<Arc<ReadApi>>, request: Request) -> Response {
    if request.method() != Method::GET {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        return refuse(&refusal);
    }
    match user_map::answer(&api, request).await {
        Ok(body) => with_type(StatusCode::OK, body),
        Err(refusal) => refuse(&refusal),
    }
}

/// The form that every client finds something in (`amplitude-read.md` 1.3).
fn refuse(refusal: &Refusal) -> Response {
    let Refusal { status, error, retry_after } = refusal;
    let body = serde_json::json!({
        "error": error,
        "code": status.as_u16(),
        "message": error,
        "status": status.canonical_reason().unwrap_or_default(),
    });
    let mut response = with_type(*status, body.to_string());
    let headers = response.headers_mut();
    if *status == StatusCode::UNAUTHORIZED {
        let realm = HeaderValue::from_static("Basic realm=\"amplitude\"");
        headers.insert(header::WWW_AUTHENTICATE, realm);
    }
    if let Some(wait) = retry_after {
        let seconds = wait.as_secs_f64().ceil().max(1.0);
        if let Ok(value) = HeaderValue::from_str(&format!("{seconds:.0}")) {
            headers.insert(header::RETRY_AFTER, value);
        }
    }
    response
}

fn with_type(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
