//! The seams as this machine provides them: its clock, its randomness, a real HTTP client.

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use isthmus_core::Timestamp;
use isthmus_core::seam::{BoxFuture, Clock, Http, Method, Random, Reply, Request, SendError};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest reply that is read; vendors answer in kilobytes.
const REPLY_BYTES_MAX: usize = 8 << 20;
/// How long an idle connection is kept for the next request.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(90);
/// How long connecting may take before the request counts as not sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn now(&self) -> Timestamp {
        let since_epoch = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Timestamp::from_millis(since_epoch)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The operating system's randomness.
#[derive(Debug)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("an operating system without randomness is unusable");
        u64::from_ne_bytes(bytes)
    }
}

/// A real HTTP client: TLS by rustls, connections kept, redirects not followed.
#[derive(Debug, Clone)]
pub struct SystemHttp {
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
}

impl SystemHttp {
    /// A client that stamps replies with `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        // Another client of this process may have installed it already; either serves.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_CONNECTION_MAX)
            .tcp_nodelay(true)
            .user_agent(concat!("isthmus/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("HTTP client cannot be built")?;
        Ok(Self { client, clock })
    }

    async fn send_once(self, request: Request) -> Result<Reply, SendError> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut response = self
            .client
            .request(method, &request.url)
            .headers(request.headers)
            .timeout(request.timeout)
            .body(request.body)
            .send()
            .await
            .map_err(|error| send_error(&error))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let body = read(&mut response).await?;
        Ok(Reply { status, headers, body, received_at: self.clock.now() })
    }
}

impl Http for SystemHttp {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Reply, SendError>> {
        Box::pin(self.clone().send_once(request))
    }
}

async fn read(response: &mut reqwest::Response) -> Result<Bytes, SendError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| send_error(&error))? {
        if body.len() + chunk.len() > REPLY_BYTES_MAX {
            return Err(SendError::Unknown {
                reason: format!("reply exceeds {REPLY_BYTES_MAX} bytes"),
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn send_error(error: &reqwest::Error) -> SendError {
    // The innermost cause says what happened; the outer ones repeat the URL.
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let reason = if error.is_timeout() && !error.is_connect() {
        "timed out".to_owned()
    } else {
        cause.to_string()
    };
    if error.is_connect() || error.is_builder() {
        SendError::NotSent { reason }
    } else {
        SendError::Unknown { reason }
    }
}
