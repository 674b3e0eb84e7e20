//! The listener. Unlike an ordinary one, it can reset a connection instead of answering, or keep
//! it open and say nothing.

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use isthmus_core::seam::Clock;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Connections open at once; beyond that new ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// How long requests under way may take to finish after a stop; a latency fault may take longer.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted, for instance for lack of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A request's way to have its connection end otherwise than with an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(Arc<OnceLock<Loss>>);

/// How a connection ends without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is reset.
    Reset,
    /// It stays open and silent.
    Hang,
    /// It was never there; over a socket, as [`Self::Reset`].
    Refuse,
}

impl Line {
    /// Ends the connection this way as soon as the request's handler returns; the first call
    /// counts.
    pub(crate) fn lose(&self, loss: Loss) {
        self.0.get_or_init(|| loss);
    }

    /// How it ends, if not with an answer.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.0.get().copied()
    }
}

/// Serves `router` until `stop`; returns when every connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Both are cancel safe: a place is either taken or not, and so is a connection.
            accepted = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            } => match accepted {
                (Ok(place), Ok((stream, _))) => {
                    let connection = connection(stream, router.clone(), stop.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "connection not accepted");
                    clock.sleep(ACCEPT_PAUSE).await;
                }
                // Nobody closes the semaphore.
                (Err(_), Ok(_)) => break,
            },
            // Nothing is lost: it only collects what has ended.
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        // What is dropped is a request that a fault holds up; its client sees a reset.
        () = clock.sleep(STOP_GRACE) => connections.shutdown().await,
    }
}

/// The request's handler asked for a reset.
#[derive(Debug, thiserror::Error)]
#[error("connection reset on demand")]
struct ResetOnDemand;

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection keeps delaying small packets");
    }
    let line = Line::default();
    let stream = Resettable { stream, line: line.clone() };
    let stopped = stop.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (router, line, stopped) = (router.clone(), line.clone(), stopped.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(line.clone());
            let Ok(response) = router.oneshot(request).await;
            // An error makes hyper drop the connection without writing anything.
            match line.loss() {
                None => Ok(response),
                Some(Loss::Reset | Loss::Refuse) => Err(ResetOnDemand),
                Some(Loss::Hang) => {
                    // A client that gives up ends the connection, and this with it.
                    stopped.cancelled().await;
                    Err(ResetOnDemand)
                }
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// A stream whose end is a reset, not a close, once its line is lost.
struct Resettable {
    stream: TcpStream,
    line: Line,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.line.loss().is_some()
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "connection is closed, not reset");
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.loss().is_some() {
            // A shutdown would be an orderly end.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
