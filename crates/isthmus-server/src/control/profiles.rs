//! `/control/v1/profiles`.

use super::letters::malformed;
use super::{Control, query, reply};
use crate::runtime::RuntimeError;
use crate::runtime::profiles::Who;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use isthmus_core::AmplitudeId;
use serde::Deserialize;

pub(super) fn routes() -> Router<Control> {
    Router::new().route("/control/v1/profiles", get(show))
}

/// Who may be asked about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) project: Option<String>,
    pub(super) user: Option<String>,
    pub(super) device: Option<String>,
    pub(super) amplitude_id: Option<u64>,
}

impl Asked {
    pub(super) fn who(self) -> Result<(Option<String>, Who), RuntimeError> {
        let who = match (self.user, self.device, self.amplitude_id) {
            (Some(user), None, None) => Who::User(user),
            (None, Some(device), None) => Who::Device(device),
            (None, None, Some(id)) => Who::Person(AmplitudeId(id)),
            _ => return Err(malformed("say one of `user`, `device` and `amplitude_id`")),
        };
        Ok((self.project, who))
    }
}

async fn show(
    State(control): State<Control>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    match query(asked).and_then(Asked::who) {
        Ok((project, who)) => reply(control.runtime.profile(project, &who).await),
        Err(error) => reply::<()>(Err(error)),
    }
}
