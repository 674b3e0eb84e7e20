//! A TCP listener that serves HTTP/1.1 with bounds on connections, headers and idle time.
//!
//! Stopping closes the door first: no new connection, and each open one finishes the request it is
//! reading, because two of Amplitude's SDKs lose a batch whose connection closes unanswered.

use axum::Router;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use isthmus_core::seam::Clock;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What one listener takes.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Connections open at once; beyond that new ones wait in the system's queue.
    pub(crate) connections_max: usize,
    /// How long a client may take to send a request's headers. An idle connection is closed after
    /// it too.
    pub(crate) headers_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

/// How long to wait after a connection could not be accepted: the usual reason is that too many
/// files are open, and trying at once would only heat the machine.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Address of the client at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves `router` on `listener` until `stop`; returns when every connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    let serve = |stream, peer, place| {
        connection(stream, peer, router.clone(), limits.headers_timeout, stop.clone(), place)
    };
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place?,
            () = stop.cancelled() => break,
        };
        tokio::select! {
            // Accepting is cancel safe: a connection is either taken or left in the queue.
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve(stream, peer, Some(place)));
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    limits.clock.sleep(ACCEPT_RETRY).await;
                }
            },
            () = stop.cancelled() => break,
        }
        while connections.try_join_next().is_some() {}
    }
    // Clients whose connection the system has accepted for us may have sent a request already.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        connections.spawn(serve(stream, peer, None));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    headers_timeout: Duration,
    stop: CancellationToken,
    _place: Option<OwnedSemaphorePermit>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection keeps delaying small packets");
    }
    let service = router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(headers_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            // A connection that has not been read yet may hold a request: it gets one turn first.
            if let Some(ended) = connection.as_mut().now_or_never() {
                ended
            } else {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
