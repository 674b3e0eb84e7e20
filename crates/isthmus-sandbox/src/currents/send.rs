//! A batch on its way: the request or the file it becomes, and how that ended.

use super::connector::{Batch, Outcome};
use super::definition::{Endpoint, Folder, To};
use super::event::Event;
use super::file::Bucket;
use super::{Currents, Named};
use crate::model::Moment;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use isthmus_core::Timestamp;
use isthmus_core::seam::{Http, Method, Random, Request};
use serde_json::{Value, json};
use std::sync::Arc;

/// Never another one ("Custom Currents Export", read 2026-09).
const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("braze-currents-version"), HeaderValue::from_static("1"));

/// A batch with everything that sending it needs.
#[derive(Debug)]
pub(crate) struct Parcel {
    connector: String,
    number: u64,
    batch: Batch,
    to: Target,
}

#[derive(Debug)]
enum Target {
    Http(Request),
    File { bucket: Bucket, offset: u64, queued_at: Timestamp },
}

/// A batch whose sending has ended.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(super) connector: String,
    pub(super) number: u64,
    pub(super) batch: Batch,
    pub(super) outcome: Outcome,
}

impl Named {
    pub(super) fn parcel(&mut self, name: &str, batch: Batch, now: Moment) -> Parcel {
        let to = match (&self.connector.definition.to, &self.bucket) {
            (To::Http(endpoint), _) => Target::Http(endpoint.request(body(batch.events()))),
            (To::Folder(_), bucket) => {
                let bucket = bucket.clone().expect("a connector with a folder has a bucket");
                let offset = self.offset;
                self.offset += batch.events().len() as u64;
                Target::File { bucket, offset, queued_at: now.wall }
            }
        };
        Parcel { connector: name.to_owned(), number: self.number, batch, to }
    }
}

impl Parcel {
    /// Whether it becomes a file.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.to, Target::File { .. })
    }

    /// Sends it once.
    pub(crate) async fn send(self, http: Option<Arc<dyn Http>>) -> Sent {
        let Self { connector, number, batch, to } = self;
        let outcome = match to {
            Target::Http(request) => send(http, request).await,
            Target::File { bucket, offset, queued_at } => {
                let key = bucket.key(batch.kind, queued_at, offset);
                let events: Vec<_> = batch.events().cloned().collect();
                let written = match bucket.encode(batch.kind, &events) {
                    Ok(bytes) => bucket.write(&key, &bytes).await.map(drop),
                    Err(error) => Err(error),
                };
                match written {
                    Ok(()) => Outcome::Written,
                    Err(error) => Outcome::Unwritable(error.to_string()),
                }
            }
        };
        Sent { connector, number, batch, outcome }
    }
}

async fn send(http: Option<Arc<dyn Http>>, request: Request) -> Outcome {
    let Some(http) = http else { return Outcome::NoReply("there is no way out".to_owned()) };
    match http.send(request).await {
        Ok(reply) => Outcome::Status(reply.status),
        Err(error) => Outcome::NoReply(error.to_string()),
    }
}

impl Currents {
    /// The request by which Braze tries the credentials of a connector: without a body, or with
    /// no events in it. Nothing for one that writes files.
    pub(crate) fn credentials_test(&self, name: &str, with_body: bool) -> Option<Request> {
        let To::Http(endpoint) = &self.by_name.get(name)?.connector.definition.to else {
            return None;
        };
        let body = if with_body { body([].into_iter()) } else { Bytes::new() };
        Some(endpoint.request(body))
    }
}

fn body<'a>(events: impl Iterator<Item = &'a Arc<Event>>) -> Bytes {
    let events: Vec<Value> = events.map(|event| event.to_http()).collect();
    json!({ "events": events }).to_string().into()
}

impl Endpoint {
    fn request(&self, body: Bytes) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend([VERSION]);
        if let Some(token) = &self.token {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
            headers.insert(header::AUTHORIZATION, bearer.expect("a token is visible ASCII"));
        }
        let (url, timeout) = (self.url.clone(), self.timeout);
        Request { method: Method::Post, url, headers, body, timeout }
    }
}

impl Folder {
    /// The bucket that the folder stands for. Without an id of its own, the connector keeps the
    /// name it had, `stem`, or draws one.
    pub(super) fn bucket(&self, stem: Option<&str>, random: &dyn Random) -> Bucket {
        let stem_of = |id: &str| {
            let (cluster, connection) = (&self.cluster, self.connection.name());
            format!("dataexport.{cluster}.{connection}.integration.{id}")
        };
        let stem = match (&self.integration, stem) {
            (Some(id), _) => stem_of(id),
            (None, Some(stem)) => stem.to_owned(),
            (None, None) => {
                let (high, low) = (random.next_u64(), random.next_u64());
                stem_of(&format!("{high:016x}{:08x}", low >> 32))
            }
        };
        Bucket {
            folder: self.path.clone(),
            prefix: self.prefix.clone(),
            stem,
            connection: self.connection.name(),
            zone: self.zone.clone(),
            codec: self.codec,
            schema_added: self.schema_added,
        }
    }
}
