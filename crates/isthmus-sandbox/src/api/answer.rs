//! An answer before it becomes an HTTP response.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

/// Status, headers and body.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(super) status: u16,
    content_type: &'static str,
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
        Self { status, content_type: "application/json", headers: Vec::new(), body, data_points: 0 }
    }

    /// JSON that is written already.
    pub(crate) fn written(status: u16, body: String) -> Self {
        let (content_type, body) = ("application/json", body.into_bytes());
        Self { status, content_type, headers: Vec::new(), body, data_points: 0 }
    }

    /// No body at all.
    pub(crate) fn empty(status: u16) -> Self {
        Self::written(status, String::new())
    }

    /// A page that is none of Braze's.
    pub(super) fn html(status: u16, page: &str) -> Self {
        let (content_type, body) = ("text/html; charset=utf-8", page.as_bytes().to_vec());
        Self { status, content_type, headers: Vec::new(), body, data_points: 0 }
    }

    pub(crate) fn header(&mut self, name: &'static str, value: u64) {
        self.headers.push((HeaderName::from_static(name), HeaderValue::from(value)));
    }

    /// Adds a header as somebody wrote it, unless HTTP does not allow it.
    pub(crate) fn written_header(&mut self, name: &str, value: &str) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            self.headers.push((name, value));
        }
    }

    /// Lets pages of other sites read it, as Amplitude's answers do (observed).
    pub(crate) fn open_to_browsers(&mut self) {
        self.written_header("access-control-allow-origin", "*");
        self.written_header("access-control-allow-methods", "GET, POST");
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn into_response(mut self) -> Response {
        let body = Body::from(std::mem::take(&mut self.body));
        self.into_response_with(body)
    }

    /// The response with another body in the place of its own.
    pub(super) fn into_response_with(self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().extend(self.headers);
        let content_type = HeaderValue::from_static(self.content_type);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
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
