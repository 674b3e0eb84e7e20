//! Asks a running process something over HTTP.

use anyhow::ensure;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use isthmus_core::seam::{Http, Method, Request};
use isthmus_server::system::{SystemClock, SystemHttp};
use std::sync::Arc;
use std::time::Duration;

/// The text at `url`.
pub(crate) async fn get(url: String, token: Option<&str>) -> anyhow::Result<String> {
    send(Method::Get, url, token, "").await
}

/// Posts `body`, which is JSON.
pub(crate) async fn post(url: String, token: Option<&str>, body: &str) -> anyhow::Result<()> {
    send(Method::Post, url, token, body).await.map(drop)
}

/// Deletes what is at `url`.
pub(crate) async fn delete(url: String) -> anyhow::Result<()> {
    send(Method::Delete, url, None, "").await.map(drop)
}

async fn send(
    method: Method,
    url: String,
    token: Option<&str>,
    body: &str,
) -> anyhow::Result<String> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
    }
    let timeout = Duration::from_secs(10);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = Request { method, url, headers, body: body.to_owned().into(), timeout };
    let reply = SystemHttp::new(Arc::new(SystemClock::new()))?.send(request).await?;
    ensure!(reply.is_success(), "{}: {}", reply.status, reply.excerpt());
    Ok(String::from_utf8_lossy(&reply.body).into_owned())
}
