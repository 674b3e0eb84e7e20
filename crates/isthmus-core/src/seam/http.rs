//! HTTP as data: what is sent, what came back, and what is known when nothing did.

use super::clock::BoxFuture;
use crate::Timestamp;
use bytes::Bytes;
use http::HeaderMap;
use std::fmt;
use std::time::Duration;

/// Sends requests. The server passes a real client, the simulator a fake vendor.
pub trait Http: Send + Sync + fmt::Debug {
    /// Sends `request` once; never retries and follows no redirect.
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Reply, SendError>>;
}

/// The methods vendors ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// One request, complete.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// Absolute URL.
    pub url: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// How long to wait for the whole reply.
    pub timeout: Duration,
}

/// Shows neither headers nor body, which hold credentials and personal data.
impl fmt::Debug for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {} ({} bytes)", self.method, self.url, self.body.len())
    }
}

/// One reply, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// When the reply was complete, on our wall clock.
    pub received_at: Timestamp,
}

impl Reply {
    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header's value as text, if it is there and is text. The name is lower-case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The first 200 characters of the body, for people.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let mut excerpt: String = text.chars().take(200).collect();
        if excerpt.len() < text.len() {
            excerpt.push('…');
        }
        excerpt
    }
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The request did not reach the vendor (no connection): sending again cannot double it.
    #[error("not sent: {reason}")]
    NotSent { reason: String },
    /// The request may have reached the vendor (timeout, reset): its outcome is unknown.
    #[error("no reply: {reason}")]
    Unknown { reason: String },
}
