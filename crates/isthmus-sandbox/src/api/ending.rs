//! How a request ends: with its answer, or as a fault wants it.

use super::answer::Answer;
use crate::fault::{FaultEffect, RateLimitForm};
use crate::model::Moment;
use crate::serve::{Line, Loss};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, header};
use isthmus_core::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::json;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

/// The page of a proxy that is in the way.
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Please sign in</title></head>\
                    <body><h1>Please sign in</h1><p>A fault of the sandbox.</p></body></html>\n";
const HOUR_S: u64 = 3_600;

/// How a request ends.
#[derive(Debug)]
pub(super) enum Ending {
    Answer(Answer),
    /// The answer, of which only so many bytes of the body arrive.
    Truncated(Answer, usize),
    Lost(Loss),
}

impl Ending {
    /// What `effect` makes of a request, with the answer it would have had if it took effect.
    pub(super) fn of_fault(effect: &FaultEffect, answer: Option<Answer>, now: Moment) -> Self {
        match effect {
            FaultEffect::Status { code, body, headers, .. } => {
                let told = json!({ "message": "a fault of the sandbox" });
                let mut answer = Answer::json(*code, body.as_ref().unwrap_or(&told));
                for (name, value) in headers {
                    answer.written_header(name, value);
                }
                Self::Answer(answer)
            }
            FaultEffect::Garbage { code, .. } => Self::Answer(Answer::html(*code, PAGE)),
            FaultEffect::RateLimit { form, seconds } => {
                Self::Answer(rate_limited(*form, seconds.unwrap_or(0), now.wall))
            }
            FaultEffect::Truncate { bytes } => match answer {
                Some(answer) => {
                    let kept = bytes.unwrap_or(answer.body.len() / 2);
                    Self::Truncated(answer, kept)
                }
                None => Self::Lost(Loss::Reset),
            },
            FaultEffect::Hang { .. } => Self::Lost(Loss::Hang),
            FaultEffect::Refuse {} => Self::Lost(Loss::Refuse),
            FaultEffect::Reset { .. }
            // These end nothing by themselves.
            | FaultEffect::Latency(_)
            | FaultEffect::Partial { .. }
            | FaultEffect::Poison { .. }
            | FaultEffect::ObjectsMax { .. }
            | FaultEffect::BytesMax { .. } => Self::Lost(Loss::Reset),
        }
    }

    /// The answer, whether or not all of it arrives.
    pub(super) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) | Self::Truncated(answer, _) => Some(answer),
            Self::Lost(_) => None,
        }
    }

    /// Tells `line` what becomes of the connection, and gives what is written to it.
    pub(super) fn into_response(self, line: Option<&Line>) -> Response {
        match self {
            Self::Answer(answer) => answer.into_response(),
            Self::Truncated(mut answer, kept) => {
                let mut body = Bytes::from(std::mem::take(&mut answer.body));
                let promised = HeaderValue::from(body.len());
                body.truncate(kept);
                let body = Body::from_stream(broken_off(body, line.cloned()));
                let mut response = answer.into_response_with(body);
                response.headers_mut().insert(header::CONTENT_LENGTH, promised);
                response
            }
            Self::Lost(loss) => {
                if let Some(line) = line {
                    line.lose(loss);
                }
                Response::default()
            }
        }
    }
}

/// `beginning`, and then a reset.
fn broken_off(beginning: Bytes, line: Option<Line>) -> impl Stream<Item = io::Result<Bytes>> {
    let end = async move {
        // What is there is written out while there seems to be nothing more yet.
        let mut waited = false;
        poll_fn(|context| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        if let Some(line) = line {
            line.lose(Loss::Reset);
        }
        Err(io::ErrorKind::ConnectionReset.into())
    };
    stream::iter([Ok(beginning)]).chain(stream::once(end))
}

fn rate_limited(form: RateLimitForm, seconds: u64, now: Timestamp) -> Answer {
    let mut answer = Answer::message(429, "Rate limited");
    let now = u64::try_from(now.as_millis().div_euclid(1_000)).unwrap_or(0);
    let reset = match form {
        RateLimitForm::Epoch => Some(now.saturating_add(seconds)),
        RateLimitForm::Seconds => Some(seconds),
        RateLimitForm::RetryAfter => {
            answer.header("x-ratelimit-retry-after", seconds);
            None
        }
        RateLimitForm::Hour => {
            answer.header("x-ratelimit-retry-after", HOUR_S - now % HOUR_S);
            None
        }
        RateLimitForm::StandardRetryAfter => {
            answer.header("retry-after", seconds);
            None
        }
        RateLimitForm::StandardRetryAfterDate => {
            if let Some(date) = http_date(now.saturating_add(seconds)) {
                answer.written_header("retry-after", &date);
            }
            None
        }
        RateLimitForm::Bare => None,
    };
    if let Some(reset) = reset {
        answer.header("x-ratelimit-limit", 3_000);
        answer.header("x-ratelimit-remaining", 0);
        answer.header("x-ratelimit-reset", reset);
    }
    answer
}

/// Epoch seconds as HTTP writes them; nothing beyond the year 9999.
fn http_date(second: u64) -> Option<String> {
    let at = jiff::Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}
