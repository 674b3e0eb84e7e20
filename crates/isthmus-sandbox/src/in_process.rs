//! The sandbox as an HTTP client: no socket and no runtime, for a simulator.
//!
//! A request goes through the very code that a listener's requests go through. The only waiting is
//! on the injected clock, so that with a clock, a seed and an order of requests the rest follows.

use crate::config::SandboxConfig;
use crate::sandbox::{SandboxHandle, Shared};
use crate::serve::{Line, Loss};
use axum::Router;
use axum::body::{self, Body};
use futures_util::future::{self, Either};
use http::uri::PathAndQuery;
use isthmus_core::seam::{BoxFuture, Clock, Http, Method, Random, Reply, Request, SendError};
use std::pin::pin;
use std::sync::Arc;
use tower::ServiceExt;

/// A sandbox that is reached by calling it. Host and scheme of a request do not matter.
///
/// A request whose future is dropped, or that times out, has taken effect or not, as far as it
/// came; what has taken effect stays so.
#[derive(Debug, Clone)]
pub struct SandboxHttp {
    router: Router,
    clock: Arc<dyn Clock>,
}

impl SandboxHttp {
    /// A sandbox and a look inside. Address and snapshot of `config` are of no meaning here, and
    /// calls of messages find no connection.
    pub fn new(
        config: SandboxConfig,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> (Self, SandboxHandle) {
        Self::over(Shared::new(config, clock, random, None))
    }

    /// The same with a way out for the calls of messages.
    pub fn calling(
        config: SandboxConfig,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        http: Arc<dyn Http>,
    ) -> (Self, SandboxHandle) {
        Self::over(Shared::new(config, clock, random, Some(http)))
    }

    fn over(shared: Shared) -> (Self, SandboxHandle) {
        let shared = Arc::new(shared);
        let (router, clock) = (shared.router(), shared.clock().clone());
        (Self { router, clock }, SandboxHandle::new(shared))
    }
}

impl Http for SandboxHttp {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Reply, SendError>> {
        let (router, clock) = (self.router.clone(), self.clock.clone());
        Box::pin(async move {
            let timeout = request.timeout;
            let answer = pin!(exchange(router, clock.clone(), request));
            // An answer that comes at the very moment of the timeout is in time.
            match future::select(answer, clock.sleep(timeout)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => Err(unknown(format!("no answer within {timeout:?}"))),
            }
        })
    }
}

/// Sends `request` and waits for its end, which may never come.
async fn exchange(
    router: Router,
    clock: Arc<dyn Clock>,
    request: Request,
) -> Result<Reply, SendError> {
    let line = Line::default();
    let mut request = as_received(request)?;
    request.extensions_mut().insert(line.clone());
    let Ok(response) = router.oneshot(request).await;
    match line.loss() {
        None => {}
        Some(Loss::Reset) => return Err(unknown("connection reset".to_owned())),
        Some(Loss::Refuse) => {
            return Err(SendError::NotSent { reason: "connection refused".to_owned() });
        }
        Some(Loss::Hang) => future::pending().await,
    }
    let (parts, body) = response.into_parts();
    let body = body::to_bytes(body, usize::MAX).await;
    let body = body.map_err(|error| unknown(format!("answer broken off: {error}")))?;
    Ok(Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        received_at: clock.now(),
    })
}

/// The request as it arrives at a server.
fn as_received(request: Request) -> Result<http::Request<Body>, SendError> {
    let not_sent = |reason: String| SendError::NotSent { reason };
    let url: http::Uri = request.url.parse().map_err(|error| not_sent(format!("URL: {error}")))?;
    let mut received = http::Request::new(Body::from(request.body));
    *received.method_mut() = match request.method {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
    };
    let path = url.into_parts().path_and_query;
    *received.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
    *received.headers_mut() = request.headers;
    Ok(received)
}

fn unknown(reason: String) -> SendError {
    SendError::Unknown { reason }
}
