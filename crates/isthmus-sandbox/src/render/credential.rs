//! `/_sandbox/credentials`: what `:basic_auth` and `:auth_credentials` name.

use crate::api::Answer;
use crate::sandbox::Shared;
use axum::Router;
use axum::body::{self, Body};
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Size of a request to this route.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What a message sends with a call without knowing it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Credential {
    /// For `:basic_auth`.
    Basic { username: String, password: String },
    /// For `:auth_credentials`: headers that go to `domain` and its subdomains alone.
    Headers { domain: String, headers: BTreeMap<String, String> },
}

/// Shows which kind it is and nothing else.
impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { .. } => out.write_str("Basic(***)"),
            Self::Headers { domain, .. } => write!(out, "Headers({domain}: ***)"),
        }
    }
}

/// Credentials by name.
#[derive(Debug, Default)]
pub(crate) struct Credentials(Mutex<BTreeMap<String, Credential>>);

impl Credentials {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Credential>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds credentials, in the place of those that have the same names.
    pub(crate) fn add(&self, new: BTreeMap<String, Credential>) {
        self.lock().extend(new);
    }

    /// Writes the headers of the credential `name`, if it is of the kind that is asked for and may
    /// go to `host`.
    pub(super) fn write(
        &self,
        name: &str,
        host: &str,
        headers: &mut HeaderMap,
        is_kind: impl Fn(&Credential) -> bool,
    ) -> Result<(), String> {
        let found = self.lock().get(name).filter(|found| is_kind(found)).cloned();
        match found.ok_or_else(|| format!("no such credential: {name}"))? {
            Credential::Basic { username, password } => {
                let pair = basic(&username, &password);
                headers.insert(header::AUTHORIZATION, secret(&pair)?);
            }
            Credential::Headers { domain, headers: own } => {
                let domain = domain.to_lowercase();
                if host != domain && !host.ends_with(&format!(".{domain}")) {
                    return Err(format!("the credential {name} is for {domain}, not for {host}"));
                }
                for (header, value) in own {
                    let header = HeaderName::from_bytes(header.as_bytes());
                    let header = header.map_err(|error| format!("credential {name}: {error}"))?;
                    headers.insert(header, secret(&value)?);
                }
            }
        }
        Ok(())
    }
}

fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The header of HTTP's basic authentication (RFC 7617).
fn basic(username: &str, password: &str) -> String {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    format!("Basic {}", engine.encode(format!("{username}:{password}")))
}

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/_sandbox/credentials", get(show).post(add).delete(clear))
}

/// Names alone.
async fn show(State(shared): State<Arc<Shared>>) -> Response {
    let names: Vec<String> = shared.credentials.lock().keys().cloned().collect();
    Answer::json(200, &json!({ "credentials": names })).into_response()
}

async fn add(State(shared): State<Arc<Shared>>, body: Body) -> Response {
    let Ok(bytes) = body::to_bytes(body, BODY_BYTES_MAX).await else {
        return Answer::message(400, "the credentials are too large").into_response();
    };
    match serde_json::from_slice(&bytes) {
        Ok(new) => {
            shared.credentials.add(new);
            show(State(shared)).await
        }
        Err(error) => Answer::message(400, &error.to_string()).into_response(),
    }
}

async fn clear(State(shared): State<Arc<Shared>>) -> Response {
    shared.credentials.lock().clear();
    show(State(shared)).await
}
