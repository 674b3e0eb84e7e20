//! Amplitude's endpoints: paths, bodies, keys, judgement and answers.
//!
//! A request is taken as a whole or refused as a whole, and every answer is a JSON object whose
//! `code` is the status. The order of checks: path, size, JSON, required fields, number of events,
//! key, content of every event, faults, silenced devices, rates.

mod body;
mod judge;

use super::Amplitude;
use super::config::AmplitudeLimits;
use super::project::Arrival;
use crate::api::Answer;
use crate::fault::FaultEffect;
use crate::model::Moment;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use isthmus_amplitude::upload::Upload as Parsed;
use isthmus_amplitude::{EndpointRules, Form, Refusal, parse_upload, success_body};
use isthmus_core::ByteSize;
use isthmus_core::record::IntakeEvent;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Endpoint {
    HttpApi,
    Batch,
    Identify,
    GroupIdentify,
}

/// Where a path of Amplitude's leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    To(Endpoint),
    /// Beside an endpoint, such as with a slash at its end.
    Astray,
}

/// A request to one of the endpoints, read to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upload<'a> {
    pub(crate) way: Way,
    pub(crate) parts: &'a Parts,
    /// Nothing when it was larger than [`Amplitude::body_bytes_max`].
    pub(crate) body: Option<&'a Bytes>,
    /// Faults that depend on what the request holds.
    pub(crate) faults: &'a [FaultEffect],
    pub(crate) now: Moment,
}

/// Why a request is refused.
#[derive(Debug)]
enum Refused {
    Documented(Refusal),
    /// With 400 and this text, and without a word about which event is meant.
    Poisoned(String),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Documented(refusal)
    }
}

impl Endpoint {
    const ALL: [Self; 4] = [Self::HttpApi, Self::Batch, Self::Identify, Self::GroupIdentify];

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::HttpApi => "/2/httpapi",
            Self::Batch => "/batch",
            Self::Identify => "/identify",
            Self::GroupIdentify => "/groupidentify",
        }
    }

    fn is_form(self) -> bool {
        matches!(self, Self::Identify | Self::GroupIdentify)
    }

    /// `GET` is documented for `/identify` alone.
    fn takes(self, method: &Method) -> bool {
        *method == Method::POST || self == Self::Identify && *method == Method::GET
    }

    /// Events per second and per day of one user or device.
    pub(super) fn limits_of_sender(self, limits: &AmplitudeLimits) -> (u64, u64) {
        match self {
            Self::Batch => (limits.batch_per_second, limits.batch_per_day),
            Self::HttpApi | Self::Identify | Self::GroupIdentify => {
                (limits.http_api_per_second, limits.http_api_per_day)
            }
        }
    }

    /// Events per second of a whole project.
    pub(super) fn per_second_of_project(self, limits: &AmplitudeLimits) -> u64 {
        match self {
            Self::HttpApi => limits.project_http_api_per_second,
            Self::Batch | Self::Identify => limits.project_per_second,
            Self::GroupIdentify => limits.project_group_identify_per_second,
        }
    }

    /// Amplitude's rules with the limits that hold now.
    fn rules(self, limits: &AmplitudeLimits) -> EndpointRules {
        let rules = match self {
            Self::HttpApi => EndpointRules::http_api(),
            Self::Batch => EndpointRules::batch(),
            Self::Identify => EndpointRules::identify(),
            Self::GroupIdentify => EndpointRules::group_identify(),
        };
        EndpointRules {
            body_max: ByteSize::bytes(self.body_bytes_max(limits) as u64),
            events_max: limits.events_max.min(rules.events_max),
            ..rules
        }
    }

    fn body_bytes_max(self, limits: &AmplitudeLimits) -> usize {
        match self {
            Self::Batch => limits.batch_bytes_max,
            Self::HttpApi | Self::Identify | Self::GroupIdentify => limits.http_api_bytes_max,
        }
    }
}

impl Way {
    /// Where `path` leads to, if it is Amplitude's.
    pub(crate) fn of(path: &str) -> Option<Self> {
        if let Some(endpoint) = Endpoint::ALL.into_iter().find(|known| known.path() == path) {
            return Some(Self::To(endpoint));
        }
        let beside = |known: Endpoint| {
            path.strip_prefix(known.path()).is_some_and(|rest| rest.starts_with('/'))
        };
        let astray = path.starts_with("/2/") || Endpoint::ALL.into_iter().any(beside);
        astray.then_some(Self::Astray)
    }
}

impl Amplitude {
    /// Bytes that are read of a request on its way.
    pub(crate) fn body_bytes_max(&self, way: Way) -> usize {
        let limits = self.settings().limits;
        match way {
            Way::To(endpoint) => endpoint.body_bytes_max(&limits),
            Way::Astray => limits.http_api_bytes_max,
        }
    }

    /// Answers one request. All that an answer depends on is here; there is no waiting.
    pub(crate) fn respond(&self, upload: &Upload<'_>) -> Answer {
        let mut answer = match self.judge(upload) {
            Ok(body) => Answer::written(200, body),
            Err(Refused::Documented(refusal)) => {
                let mut answer = Answer::written(refusal.status(), refusal.body());
                if let Some(wait) = refusal.retry_after() {
                    answer.header("retry-after", wait.as_secs());
                }
                answer
            }
            Err(Refused::Poisoned(error)) => {
                Answer::json(400, &json!({ "code": 400, "error": error }))
            }
        };
        answer.open_to_browsers();
        answer
    }

    fn judge(&self, upload: &Upload<'_>) -> Result<String, Refused> {
        let parts = upload.parts;
        let Way::To(endpoint) = upload.way else { return Err(Refusal::InvalidPath.into()) };
        if !endpoint.takes(&parts.method) {
            return Err(Refusal::InvalidPath.into());
        }
        let rules = endpoint.rules(&self.settings().limits);
        let packed = upload.body.ok_or(Refusal::TooLarge)?;
        let body = body::plain(packed, text(&parts.headers, &header::CONTENT_ENCODING), &rules)?;
        let larger = |effect: &FaultEffect| matches!(effect, FaultEffect::BytesMax { max } if body.len() > *max);
        if upload.faults.iter().any(larger) {
            return Err(Refusal::TooLarge.into());
        }
        let taken = if endpoint.is_form() {
            let content_type = text(&parts.headers, &header::CONTENT_TYPE);
            // Documented as a form alone: JSON has no field that a form would have.
            let fields = if judge::is_json(&body) { &[][..] } else { &body };
            let form = Form::parse(content_type, parts.uri.query(), fields, &rules)?;
            self.take(form.upload(&rules)?, endpoint, &rules, upload)?
        } else {
            self.take(parse_upload(&body, &rules)?, endpoint, &rules, upload)?
        };
        Ok(success_body(taken, packed.len(), upload.now.wall))
    }

    /// Takes a whole upload and counts it; how many events it held.
    fn take(
        &self,
        parsed: Parsed<'_>,
        endpoint: Endpoint,
        rules: &EndpointRules,
        upload: &Upload<'_>,
    ) -> Result<usize, Refused> {
        let key = parsed.api_key();
        let mut project = self.open(key).ok_or_else(|| Refusal::invalid_api_key(key))?;
        let count = parsed.event_count();
        project.counters_mut().request(endpoint, count);
        let settings = self.settings();
        let taken = parsed.check(rules).map_err(Refused::from).and_then(|checked| {
            let events: Vec<IntakeEvent<'_>> = checked.events().collect();
            judge::strictly(endpoint, &events)?;
            judge::by_faults(upload.faults, &events, endpoint, &settings.limits)?;
            judge::silenced(&settings.silenced_devices, &events, endpoint, &settings.limits)?;
            let client_upload_time = checked.client_upload_time();
            let arrival = Arrival { endpoint, client_upload_time, now: upload.now };
            project.admit(&events, &settings.limits, &arrival)?;
            project.take(&events, &settings.limits, &arrival);
            Ok(count)
        });
        if let Err(refused) = &taken {
            let counters = project.counters_mut();
            match refused {
                Refused::Documented(refusal) => {
                    counters.refusal(refusal.status(), count);
                    counters.named(refusal);
                }
                Refused::Poisoned(_) => counters.refusal(400, count),
            }
        }
        taken
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What a browser asks before it uploads from another site's page.
pub(crate) fn preflight(headers: &HeaderMap) -> Answer {
    let mut answer = Answer::empty(204);
    answer.open_to_browsers();
    let wanted = text(headers, &header::ACCESS_CONTROL_REQUEST_HEADERS);
    answer.written_header("access-control-allow-headers", wanted.unwrap_or("content-type"));
    answer.written_header("access-control-max-age", "86400");
    answer
}

/// The body that a fault's status has where the fault names none.
pub(crate) fn fault_body(status: u16) -> Value {
    let error: Cow<'_, str> = match status {
        400 => "Bad request".into(),
        403 => "Forbidden".into(),
        413 => Refusal::TooLarge.to_string().into(),
        429 => "Too many requests".into(),
        500 => Refusal::OutcomeUnknown.to_string().into(),
        503 => Refusal::Unavailable.to_string().into(),
        _ => "a fault of the sandbox".into(),
    };
    json!({ "code": status, "error": error })
}
