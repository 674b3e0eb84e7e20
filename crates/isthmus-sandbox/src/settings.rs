//! `/_sandbox/settings`: what can be changed while the sandbox runs.

use crate::amplitude::WrittenSettings;
use crate::api::Answer;
use crate::config::{RateProfile, Rates};
use crate::sandbox::Shared;
use axum::Router;
use axum::body::{self, Body};
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Size of a request to this route.
const BODY_BYTES_MAX: usize = 64 << 10;

/// How late requests take effect, and how many of them are answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) apply_delay: Duration,
    pub(crate) apply_jitter: Duration,
    pub(crate) rates: Rates,
}

/// [`Settings`] as they are shown and written; what is left out stays as it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    apply_delay_ms: Option<u64>,
    apply_jitter_ms: Option<u64>,
    rates: Option<RateProfile>,
    track_per_3s: Option<u32>,
    track_per_hour: Option<u32>,
    amplitude: Option<WrittenSettings>,
}

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/_sandbox/settings", get(show).post(change))
}

impl From<Settings> for Written {
    fn from(settings: Settings) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
        Self {
            apply_delay_ms: millis(settings.apply_delay),
            apply_jitter_ms: millis(settings.apply_jitter),
            rates: Some(settings.rates.profile),
            track_per_3s: Some(settings.rates.track_per_3s),
            track_per_hour: Some(settings.rates.track_per_hour),
            amplitude: None,
        }
    }
}

impl Settings {
    fn with(mut self, written: &Written) -> Self {
        if let Some(ms) = written.apply_delay_ms {
            self.apply_delay = Duration::from_millis(ms);
        }
        if let Some(ms) = written.apply_jitter_ms {
            self.apply_jitter = Duration::from_millis(ms);
        }
        self.rates.profile = written.rates.unwrap_or(self.rates.profile);
        self.rates.track_per_3s = written.track_per_3s.unwrap_or(self.rates.track_per_3s);
        self.rates.track_per_hour = written.track_per_hour.unwrap_or(self.rates.track_per_hour);
        self
    }
}

async fn show(State(shared): State<Arc<Shared>>) -> Response {
    let amplitude = Some(shared.amplitude.written_settings());
    Answer::json(200, &Written { amplitude, ..shared.settings().into() }).into_response()
}

async fn change(State(shared): State<Arc<Shared>>, body: Body) -> Response {
    let Ok(bytes) = body::to_bytes(body, BODY_BYTES_MAX).await else {
        return Answer::message(400, "the settings are too large").into_response();
    };
    match serde_json::from_slice::<Written>(&bytes) {
        Ok(mut written) => {
            if let Some(amplitude) = written.amplitude.take() {
                shared.amplitude.write_settings(amplitude);
            }
            shared.set(shared.settings().with(&written));
            show(State(shared)).await
        }
        Err(error) => Answer::message(400, &error.to_string()).into_response(),
    }
}
