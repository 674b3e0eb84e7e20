//! How a request ends: with its answer, or as a fault wants it.

use super::answer::Answer;
use crate::amplitude;
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
use serde_json::{Value, json};
use std::future::poll_fn;
use std::io;
use std::task::Poll;

/// The page of a proxy that is in the way.
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Please sign in</title></head>\
                    <body><h1>Please sign in</h1><p>A fault of the sandbox.</p></body></html>\n";
const HOUR_S: u64 = 3_600;

/// Whose endpoint a request is to, and so whose words a fault speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vendor {
    Braze,
    Amplitude,
}

impl Vendor {
    fn fault_body(self, status: u16) -> Value {
        match self {
            Self::Braze => json!({ "message": "a fault of the sandbox" }),
            Self::Amplitude => amplitude::fault_body(status),
        }
    }

    fn rate_limit_body(self) -> Value {
        match self {
            Self::Braze => json!({ "message": "Rate limited" }),
            Self::Amplitude => amplitude::fault_body(429),
        }
    }

    fn answer(self, status: u16, body: &Value) -> Answer {
        let mut answer = Answer::json(status, body);
        if self == Self::Amplitude {
            answer.open_to_browsers();
        }
        answer
    }
}

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
    pub(super) fn of_fault(
        effect: &FaultEffect,
        answer: Option<Answer>,
        now: Moment,
        vendor: Vendor,
    ) -> Self {
        match effect {
            FaultEffect::Status { code, body, headers, .. } => {
                let told = || vendor.fault_body(*code);
                let body = body.clone().unwrap_or_else(told);
                let mut answer = vendor.answer(*code, &body);
                for (name, value) in headers {
                    answer.written_header(name, value);
                }
                Self::Answer(answer)
            }
            FaultEffect::Garbage { code, .. } => Self::Answer(Answer::html(*code, PAGE)),
            FaultEffect::RateLimit { form, seconds } => {
                let answer = vendor.answer(429, &vendor.rate_limit_body());
                Self::Answer(rate_limited(answer, *form, seconds.unwrap_or(0), now.wall))
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
            | FaultEffect::BytesMax { .. }
            | FaultEffect::Throttle { .. }
            | FaultEffect::Silence { .. } => Self::Lost(Loss::Reset),
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

/// Adds to `answer` when to come back.
fn rate_limited(mut answer: Answer, form: RateLimitForm, seconds: u64, now: Timestamp) -> Answer {
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
