//! The User Profile API, `GET /v1/userprofile`: what Braze's Connected Content asks while it renders a
//! message (`amplitude-read.md` section 2; Amplitude's "User Profile API" page, read 2026-03).
//!
//! A client sends `Authorization: Api-Key SECRET`; the secret key alone names the project. Answers
//! come from state, one person at a time, and change nothing. No CORS: keys do not belong in
//! browsers.

mod answer;
mod limit;
mod parts;
mod query;

pub(crate) use parts::{NoParts, ProfileParts};

use crate::assembly::Assembly;
use crate::metrics as names;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use isthmus_config::Secret;
use isthmus_config::server::ProfileApiConfig;
use isthmus_core::AmplitudeId;
use isthmus_core::seam::Clock;
use isthmus_state::StateError;
use isthmus_state::people::{IdKind, People, Person};
use limit::PerMinute;
use query::Query;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Where it is, as at Amplitude.
pub(crate) const PATH: &str = "/v1/userprofile";

/// What the handlers share.
pub(crate) struct ProfileApi {
    people: People,
    parts: Arc<dyn ProfileParts>,
    clock: Arc<dyn Clock>,
    /// Secret keys and the projects they open.
    keys: RwLock<Arc<Vec<(Secret, String)>>>,
    limit: Option<PerMinute>,
    not_seen: StatusCode,
}

/// Why there is no profile to answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    NoKey,
    WrongKey,
    /// A parameter is missing or cannot be read.
    Malformed(String),
    NotSeen,
    TooOften {
        wait: Duration,
    },
    Failed,
}

impl ProfileApi {
    /// Opens no project before [`Self::take_up`].
    pub(crate) fn new(
        people: People,
        parts: Arc<dyn ProfileParts>,
        clock: Arc<dyn Clock>,
        config: &ProfileApiConfig,
    ) -> Self {
        Self {
            people,
            parts,
            clock,
            keys: RwLock::default(),
            limit: config.requests_per_minute.map(PerMinute::new),
            not_seen: u16::try_from(config.not_seen_status)
                .ok()
                .and_then(|status| StatusCode::from_u16(status).ok())
                .unwrap_or(StatusCode::NOT_FOUND),
        }
    }

    /// The secret keys of `assembly` open its projects from now on.
    pub(crate) fn take_up(&self, assembly: &Assembly) {
        let keys = assembly.secret_keys.iter().map(|(project, key)| (key.clone(), project.clone()));
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys.collect());
    }

    fn answer(&self, headers: &HeaderMap, query: &str) -> Result<String, Refusal> {
        let project = self.project(headers)?;
        if let Some(limit) = &self.limit {
            limit.admit(self.clock.monotonic()).map_err(|wait| Refusal::TooOften { wait })?;
        }
        let query = Query::parse(query).map_err(Refusal::Malformed)?;
        let found = self.find(&project, &query).map_err(|error| {
            tracing::error!(%error, "profile cannot be read");
            Refusal::Failed
        })?;
        let (id, person) = found.ok_or(Refusal::NotSeen)?;
        Ok(answer::body(&project, id, &person, &query, &*self.parts))
    }

    /// The project that the request's key opens. Every key is compared, so that the time taken does
    /// not tell which one was close.
    fn project(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, given) =
            header.and_then(|header| header.trim().split_once(' ')).ok_or(Refusal::NoKey)?;
        if !scheme.eq_ignore_ascii_case("api-key") || given.trim().is_empty() {
            return Err(Refusal::NoKey);
        }
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let mut project = Err(Refusal::WrongKey);
        for (key, of) in &*keys {
            if isthmus_config::secret::matches(given.trim().as_bytes(), key.expose().as_bytes()) {
                project = Ok(of.clone());
            }
        }
        project
    }

    /// The user id decides; the device id is for when it leads nowhere.
    fn find(
        &self,
        project: &str,
        query: &Query,
    ) -> Result<Option<(AmplitudeId, Person)>, StateError> {
        let user = query.user_id.as_deref().map(|id| (IdKind::User, id));
        let device = query.device_id.as_deref().map(|id| (IdKind::Device, id));
        for (kind, id) in user.into_iter().chain(device) {
            if let Some(found) = self.people.find_person(project, kind, id)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The routes of the User Profile API.
pub(crate) fn router(api: Arc<ProfileApi>) -> Router {
    Router::new()
        .route(PATH, any(profile))
        // Nothing else is there, and the real service says so without a word.
        .route("/v1/{*rest}", any(|| async { StatusCode::NOT_FOUND }))
        .with_state(api)
}

async fn profile(State(api): State<Arc<ProfileApi>>, request: Request) -> Response {
    let started = api.clock.monotonic();
    let response = if matches!(*request.method(), Method::GET | Method::HEAD) {
        let query = request.uri().query().unwrap_or_default();
        match api.answer(request.headers(), query) {
            Ok(body) => json(StatusCode::OK, body),
            Err(refusal) => api.refuse(&refusal),
        }
    } else {
        json(StatusCode::METHOD_NOT_ALLOWED, error("method not allowed"))
    };
    let took = api.clock.monotonic().saturating_sub(started);
    let status = names::status_label(response.status());
    metrics::counter!(names::PROFILE_REQUESTS, "status" => status).increment(1);
    metrics::histogram!(names::PROFILE_SECONDS).record(took.as_secs_f64());
    response
}

impl ProfileApi {
    fn refuse(&self, refusal: &Refusal) -> Response {
        match refusal {
            Refusal::NoKey => {
                text(StatusCode::UNAUTHORIZED, "Missing Api-Key in Authorization header")
            }
            Refusal::WrongKey => text(StatusCode::UNAUTHORIZED, "Invalid Api-Key"),
            Refusal::Malformed(why) => json(StatusCode::BAD_REQUEST, error(why)),
            Refusal::NotSeen => json(self.not_seen, error("User id and device id not seen before")),
            Refusal::TooOften { wait } => {
                const WHY: &str = "Number of requests per minute exceeds system limit. Contact \
                                   Support if you need this limit raised";
                let mut response = json(StatusCode::TOO_MANY_REQUESTS, error(WHY));
                let seconds = wait.as_secs().saturating_add(1);
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
            Refusal::Failed => {
                json(StatusCode::INTERNAL_SERVER_ERROR, error("the profile cannot be read now"))
            }
        }
    }
}

fn error(why: &str) -> String {
    serde_json::json!({ "error": why }).to_string()
}

fn json(status: StatusCode, body: String) -> Response {
    with_type(status, "application/json", body)
}

fn text(status: StatusCode, body: &'static str) -> Response {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
