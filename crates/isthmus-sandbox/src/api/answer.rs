//! An answer before it becomes an HTTP response.

use crate::fault::{FaultEffect, RateLimitForm};
use crate::model::Moment;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

/// Status, headers and JSON body.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(super) status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
    /// Data points that the request cost, as far as it has taken effect.
    pub(super) data_points: u64,
}

impl Answer {
    /// `{"message": text}`.
    pub(crate) fn message(status: u16, text: &str) -> Self {
        Self::json(status, &json!({ "message": text }))
    }

    /// Any JSON.
    pub(crate) fn json(status: u16, body: &impl Serialize) -> Self {
        // The types written here have text keys and finite numbers, and a Vec takes every byte.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { status, headers: Vec::new(), body, data_points: 0 }
    }

    /// What a fault answers; `None` when it answers nothing.
    pub(super) fn of_fault(effect: &FaultEffect, now: Moment) -> Option<Self> {
        match effect {
            FaultEffect::Status { code, body, headers, .. } => {
                let told = json!({ "message": "a fault of the sandbox" });
                let mut answer = Self::json(*code, body.as_ref().unwrap_or(&told));
                for (name, value) in headers {
                    let name = HeaderName::from_bytes(name.as_bytes());
                    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                        answer.headers.push((name, value));
                    }
                }
                Some(answer)
            }
            FaultEffect::RateLimit { form, seconds } => {
                let mut answer = Self::message(429, "Rate limited");
                let now = u64::try_from(now.wall.as_millis().div_euclid(1_000)).unwrap_or(0);
                let reset = match form {
                    RateLimitForm::Epoch => Some(now.saturating_add(*seconds)),
                    RateLimitForm::Seconds => Some(*seconds),
                    RateLimitForm::RetryAfter => {
                        answer.header("x-ratelimit-retry-after", *seconds);
                        None
                    }
                    RateLimitForm::StandardRetryAfter => {
                        answer.header("retry-after", *seconds);
                        None
                    }
                    RateLimitForm::Bare => None,
                };
                if let Some(reset) = reset {
                    answer.header("x-ratelimit-limit", 3_000);
                    answer.header("x-ratelimit-remaining", 0);
                    answer.header("x-ratelimit-reset", reset);
                }
                Some(answer)
            }
            FaultEffect::Reset { .. }
            | FaultEffect::Latency { .. }
            | FaultEffect::Partial { .. } => None,
        }
    }

    pub(super) fn header(&mut self, name: &'static str, value: u64) {
        self.headers.push((HeaderName::from_static(name), HeaderValue::from(value)));
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().extend(self.headers);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// A JSON object whose members are added one by one.
#[derive(Debug, Default)]
pub(super) struct Fields(serde_json::Map<String, Value>);

impl Fields {
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Left out when it is zero.
    pub(super) fn with_count(self, name: &str, count: usize) -> Self {
        if count == 0 { self } else { self.with(name, count) }
    }

    /// Left out when there are none.
    pub(super) fn with_list(self, name: &str, list: Vec<Value>) -> Self {
        if list.is_empty() { self } else { self.with(name, list) }
    }

    pub(super) fn value(self) -> Value {
        Value::Object(self.0)
    }

    pub(super) fn answer(self, status: u16) -> Answer {
        Answer::json(status, &self.0)
    }
}
