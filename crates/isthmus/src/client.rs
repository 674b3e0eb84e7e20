//! A client of the running server's control API, for the commands that ask it.

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use isthmus_core::seam::{Http, Method, Request};
use isthmus_server::report::ErrorReport;
use isthmus_server::system::{SystemClock, SystemHttp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Which server to ask, and how to be let in.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Address of the running server; found in the data folder unless given.
    #[arg(long, env = "ISTHMUS_SERVER", value_name = "URL")]
    server: Option<String>,
    /// Control token; read from the data folder unless given.
    #[arg(long, env = "ISTHMUS_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Data folder of the server on this machine.
    #[arg(long, env = "ISTHMUS_DATA_DIR", default_value = isthmus_server::DATA_DIR, value_name = "DIR")]
    data_dir: PathBuf,
}

/// A control API that answers.
pub(crate) struct Client {
    http: SystemHttp,
    url: String,
    headers: HeaderMap,
    timeout: Duration,
}

impl Client {
    /// A client of the server that `target` names.
    pub(crate) fn new(target: &Target) -> anyhow::Result<Self> {
        let folder = &target.data_dir;
        let url = match &target.server {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => isthmus_server::address_of(folder).with_context(|| {
                format!("no server has run on {}; name one with --server", folder.display())
            })?,
        };
        let token = match &target.token {
            Some(token) => token.clone(),
            None => isthmus_server::token_of(folder).with_context(|| {
                format!("no control token in {}; give one with --token", folder.display())
            })?,
        };
        Self::with(&url, &token)
    }

    /// A client of the server at `url`.
    pub(crate) fn with(url: &str, token: &str) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .context("the control token has characters that no header can hold")?;
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let http = SystemHttp::new(Arc::new(SystemClock::new()))?;
        Ok(Self { http, url: url.to_owned(), headers, timeout: TIMEOUT })
    }

    /// Waits longer for answers: what is asked for takes its time.
    #[must_use]
    pub(crate) fn waiting(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Asks for `path` and reads the JSON that comes back.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::Get, path, Bytes::new()).await
    }

    /// Posts `body` as JSON to `path` and reads the JSON that comes back.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body).context("the request cannot be written as JSON")?;
        self.call(Method::Post, path, body.into()).await
    }

    /// Sends the JSON `body` to `path` and reads the JSON that comes back.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<T> {
        self.call(method, path, body.into()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<T> {
        let url = format!("{}{path}", self.url);
        let headers = self.headers.clone();
        let request = Request { method, url: url.clone(), headers, body, timeout: self.timeout };
        let reply =
            self.http.send(request).await.with_context(|| {
                format!("{} cannot be reached; is the server running?", self.url)
            })?;
        if !reply.is_success() {
            if let Ok(ErrorReport { error }) = serde_json::from_slice(&reply.body) {
                bail!("{error}");
            }
            bail!("{url} answered {}: {}", reply.status, reply.excerpt());
        }
        serde_json::from_slice(&reply.body).with_context(|| format!("{url} answered no JSON"))
    }
}

/// `text` as part of a path or of a query.
pub(crate) fn escaped(text: &str) -> String {
    let character = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(character).collect()
}

/// `path` with a query of the parameters that have a value.
pub(crate) fn with_query<'a>(
    path: &str,
    parameters: impl IntoIterator<Item = (&'a str, Option<String>)>,
) -> String {
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let pairs: Vec<_> = given.map(|(name, value)| format!("{name}={}", escaped(&value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::with_query;

    #[test]
    fn a_query_holds_any_text_and_only_what_is_given() {
        let given = |text: &str| Some(text.to_owned());
        let query = with_query("/p", [("a", given("ä b&c=1")), ("b", None), ("c", given("x"))]);
        assert_eq!(query, "/p?a=%C3%A4%20b%26c%3D1&c=x");
        assert_eq!(with_query("/p", [("a", None)]), "/p");
    }
}
