//! Asks a running process something over HTTP.

use anyhow::ensure;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use isthmus_core::seam::{Http, Method, Request};
use isthmus_server::system::{SystemClock, SystemHttp};
use std::sync::Arc;
use std::time::Duration;

/// The text at `url`.
pub(crate) async fn get(url: String, token: Option<&str>) -> anyhow::Result<String> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
    }
    let timeout = Duration::from_secs(10);
    let request = Request { method: Method::Get, url, headers, body: Vec::new().into(), timeout };
    let reply = SystemHttp::new(Arc::new(SystemClock::new()))?.send(request).await?;
    ensure!(reply.is_success(), "{}: {}", reply.status, reply.excerpt());
    Ok(String::from_utf8_lossy(&reply.body).into_owned())
}
