//! Braze's endpoints: who may call, how often, how large; and the answers' shapes. Amplitude's paths
//! pass through the same faults and the same log, and are answered by [`crate::amplitude`].
//!
//! Every answer is JSON, whatever its status. The order of checks: path, key, permission, rate,
//! content type, size, syntax, content.

mod answer;
mod ending;
mod endpoint;
mod export;
mod identity;
mod log;
mod rate;
mod track;

pub(crate) use answer::Answer;
pub(crate) use log::{RequestEntry, RequestLog};
pub(crate) use rate::Meter;

use crate::amplitude;
use crate::fault::FaultEffect;
use crate::model::Moment;
use crate::sandbox::{Room, Shared};
use crate::serve::Line;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use ending::{Ending, Vendor};
use endpoint::{Endpoint, Kind};
use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use std::sync::Arc;

/// Bytes that are read of a body that is too large, so that the client gets to read its 413.
const DISCARDED_BYTES_MAX: usize = 64 << 20;

/// A request to one endpoint, let in.
struct Call<'a> {
    shared: &'a Shared,
    room: &'a Room,
    body: &'a Bytes,
    /// Faults that depend on what the request holds.
    faults: &'a [FaultEffect],
    now: Moment,
}

/// Answers everything outside `/_sandbox` and the pages.
pub(crate) async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let way = amplitude::Way::of(parts.uri.path());
    let vendor = if way.is_some() { Vendor::Amplitude } else { Vendor::Braze };
    if vendor == Vendor::Amplitude && parts.method == Method::OPTIONS {
        return amplitude::preflight(&parts.headers).into_response();
    }
    let arrived = shared.now().elapsed;
    let strike = shared.faults.draw(parts.uri.path(), arrived, shared.random.as_ref());
    let endpoint = Endpoint::at(parts.uri.path());
    let body_bytes_max = match way {
        Some(way) => shared.amplitude.body_bytes_max(way),
        None => endpoint.map_or(0, |endpoint| endpoint.body_bytes_max),
    };
    let body = read_body(body, body_bytes_max).await;
    shared.wait(strike.wait_before).await;
    let now = shared.now();
    let ending = if let Some(effect) = &strike.instead {
        Ending::of_fault(effect, None, now, vendor)
    } else {
        let answer = match way {
            Some(way) => {
                let (body, faults) = (body.as_ref().ok(), strike.content.as_slice());
                let upload = amplitude::Upload { way, parts: &parts, body, faults, now };
                shared.amplitude.respond(&upload)
            }
            None => shared.respond(&parts, endpoint, &body, &strike.content, now),
        };
        match &strike.then {
            Some(effect) => Ending::of_fault(effect, Some(answer), now, vendor),
            None => Ending::Answer(answer),
        }
    };
    // Logged before the wait, which a client may not sit out.
    if shared.config.requests_kept > 0 {
        let kept = body.ok().map(|body| log::excerpt(&body, shared.config.request_body_kept));
        shared.log(RequestEntry::new(now, &parts, kept, ending.answer(), strike.struck()));
    }
    shared.wait(strike.wait_after).await;
    ending.into_response(parts.extensions.get::<Line>())
}

/// The body was larger than the endpoint takes.
struct TooLarge;

/// Collects a body of at most `max` bytes; reads on over more of it, in vain.
async fn read_body(body: Body, max: usize) -> Result<Bytes, TooLarge> {
    let mut stream = body.into_data_stream();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut read = 0;
    // A connection that breaks here ends the stream; nobody is left to answer.
    while let Some(Ok(chunk)) = stream.next().await {
        read += chunk.len();
        if read > max {
            if read > DISCARDED_BYTES_MAX {
                return Err(TooLarge);
            }
            rest.clear();
        } else if first.is_empty() {
            first = chunk;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&chunk);
        }
    }
    if read > max {
        return Err(TooLarge);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

impl Shared {
    /// Answers one request. All that an answer depends on is here; there is no waiting.
    fn respond(
        &self,
        parts: &Parts,
        endpoint: Option<&'static Endpoint>,
        body: &Result<Bytes, TooLarge>,
        faults: &[FaultEffect],
        now: Moment,
    ) -> Answer {
        let path = parts.uri.path();
        let Some(endpoint) = endpoint else {
            let slashed = path.strip_suffix('/').is_some_and(|path| Endpoint::at(path).is_some());
            return if slashed {
                Answer::message(403, "Forbidden: the path ends in a slash")
            } else {
                Answer::message(404, &format!("The sandbox has no endpoint {path}"))
            };
        };
        if parts.method != Method::POST {
            return Answer::message(404, &format!("{path} takes POST only"));
        }
        let room = match self.admit(&parts.headers, endpoint) {
            Ok(room) => room,
            Err(answer) => return answer,
        };
        let rate = self.take_rate(room, endpoint.bucket, now);
        let mut answer = if rate.refused() {
            Answer::message(429, "Rate limited")
        } else {
            match body {
                _ if !is_json(&parts.headers) => {
                    Answer::message(415, "Content-Type must be application/json")
                }
                Err(TooLarge) => {
                    Answer::message(endpoint.too_large_status, "Request body is too large")
                }
                Ok(body) if is_larger_than_faults_allow(body, faults) => {
                    Answer::message(413, "Request body is too large")
                }
                Ok(body) => Call { shared: self, room, body, faults, now }.answer(endpoint.kind),
            }
        };
        rate.write_headers(&mut answer);
        let mut workspace = room.lock();
        let counters = workspace.counters_mut();
        match counters.requests.get_mut(path) {
            Some(count) => *count += 1,
            None => drop(counters.requests.insert(path.to_owned(), 1)),
        }
        counters.requests_refused += u64::from(!answer.is_success());
        drop(workspace);
        answer
    }

    /// The workspace that the request's key opens.
    fn admit(&self, headers: &HeaderMap, endpoint: &Endpoint) -> Result<&Room, Answer> {
        let refused = || Answer::message(401, "Invalid API Key");
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let token = token.filter(|token| !token.is_empty()).ok_or_else(refused)?;
        if self.config.keys.is_empty() {
            return self.room(None).ok_or_else(refused);
        }
        let key = self.config.keys.iter().find(|key| key.key == token).ok_or_else(refused)?;
        if !key.allows(endpoint.permission) {
            let text = format!("The API key lacks the permission {}", endpoint.permission);
            return Err(Answer::message(403, &text));
        }
        self.room(Some(&key.workspace)).ok_or_else(refused)
    }
}

impl Call<'_> {
    fn answer(&self, kind: Kind) -> Answer {
        match kind {
            Kind::Track => self.track(track::Variant::Plain),
            Kind::TrackBulk => self.track(track::Variant::Bulk),
            Kind::TrackSync => self.track(track::Variant::Sync),
            Kind::Identify => self.identify(),
            Kind::AliasNew => self.alias_new(),
            Kind::AliasUpdate => self.alias_update(),
            Kind::Merge => self.merge(),
            Kind::Delete => self.delete(),
            Kind::ExternalIdsRename => self.rename(),
            Kind::ExternalIdsRemove => self.remove_external_ids(),
            Kind::ExportIds => self.export(),
        }
        .unwrap_or_else(|refused| refused)
    }
}

fn is_larger_than_faults_allow(body: &Bytes, faults: &[FaultEffect]) -> bool {
    let larger = |effect: &FaultEffect| match effect {
        FaultEffect::BytesMax { max } => body.len() > *max,
        _ => false,
    };
    faults.iter().any(larger)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mime = value.and_then(|value| value.split(';').next()).map(str::trim);
    mime.is_some_and(|mime| mime.eq_ignore_ascii_case("application/json"))
}
