//! What Braze's answers mean.
//!
//! | answer | verdict |
//! | --- | --- |
//! | 2xx, `success` or `queued` | accepted, except the objects that `errors` points at: rejected |
//! | 2xx, any other message | retry: Braze says that it did not take the request |
//! | 2xx, not an answer of Braze | pause: a proxy or a portal answers in its place; what was sent is unknown |
//! | 400 that points at objects | those are rejected; the others, refused with them, go again in smaller requests |
//! | 400 that says that there are too many objects | smaller requests from now on |
//! | 400 otherwise, 413, 422 | smaller requests, down to the culprit |
//! | 404 of Braze to a request that deletes | accepted: nobody of that name is there |
//! | 401, 403, 404, redirects, other 4xx | pause: key, permission or endpoint are wrong |
//! | 429 | retry after the wait that Braze asks for |
//! | 423, 425 | retry |
//! | 408, 5xx, anything else | unknown: Braze may have taken the request, and does not replay what failed in an incident |
//!
//! Errors are matched by position only, never by content, and read leniently: objects with `type`,
//! `input_array` and `index`, the same with parts missing, plain strings, an empty list. An error
//! without a usable position is a warning beside `success`, unless it can only mean the one object
//! that was sent. Known error types are all permanent, and unknown ones are taken as such.
//!
//! `success` means accepted and queued: alias misses, update-only misses and over-long strings all
//! come back as success ("/users/track", Braze documentation, read 2026-09).

use crate::body::{Layout, call_of};
use crate::calls::{self, About, DELETE_USERS, IDENTIFY_USERS, TRACK};
use isthmus_core::Timestamp;
use isthmus_core::destination::{Budget, Delivery, Section, Verdict};
use isthmus_core::seam::Reply;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

/// Headers about the rate limit ("API limits" and "/users/track", read 2026-09).
const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
/// An instant on some contracts, seconds from now on others.
const RESET: &str = "x-ratelimit-reset";
/// Stands in for the three others on the 429 of some contracts.
const RETRY_AFTER: &str = "x-ratelimit-retry-after";
/// Not documented, understood all the same.
const RETRY_AFTER_OF_HTTP: &str = "retry-after";
/// Where a 429 says how long to wait, best first.
const WAITS: [&str; 3] = [RETRY_AFTER, RETRY_AFTER_OF_HTTP, RESET];
/// What answers to too many objects have in common, in lower case. Only the first is documented
/// ("Max input length exceeded"); the others are what such a text might become.
const TOO_MANY: [&str; 3] = ["input length", "too many", "maximum number of"];
/// Larger answers are not read: three errors for each of 225 objects have a fifth of this.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest reason that is kept, in characters.
const REASON_CHARACTERS_MAX: usize = 300;
/// Longest wait that is obeyed: the longest window of Braze is an hour.
const WAIT_MAX: Duration = Duration::from_hours(1);
/// Values above are instants, values up to it are durations, both in seconds.
const EPOCH_SECONDS_MIN: u64 = 1_000_000_000;
/// Values above are instants in milliseconds.
const EPOCH_MILLIS_MIN: u64 = 100_000_000_000;

/// One verdict per delivery of `batch`, in its order.
pub(crate) fn judge(batch: &[Delivery], reply: &Reply) -> Vec<Verdict> {
    let all = |verdict: Verdict| vec![verdict; batch.len()];
    let about = calls::about(call_of(batch)).unwrap_or(&TRACK);
    let deletes = about.call == DELETE_USERS.call;
    match reply.status {
        200..=299 => match Answer::read(&reply.body) {
            None => all(Verdict::Pause {
                reason: format!(
                    "{} that is not an answer of Braze: {}",
                    reply.status,
                    reply.excerpt()
                ),
            }),
            Some(answer) if !(answer.is_success() || deletes && answer.has_deleted()) => {
                let reason = format!("{} without success: {}", reply.status, answer.text());
                all(Verdict::Retry { after: None, reason })
            }
            Some(answer) if answer.errors.is_empty() => all(Verdict::Accepted),
            Some(answer) => {
                let layout = Layout::of(batch);
                judge_objects(&layout, &answer, &Verdict::Accepted)
            }
        },
        400 | 413 | 422 => {
            let answer = Answer::read(&reply.body).unwrap_or_default();
            let told = answer.text();
            let told = if told.is_empty() { reply.excerpt() } else { told };
            let too_many = reply.status != 413 && answer.says_too_many();
            let reason = format!("{}: {told}", reply.status);
            judge_refused(batch, &answer, reason, too_many)
        }
        423 | 425 | 429 => all(Verdict::Retry {
            after: wait(reply),
            reason: format!("{}: {}", reply.status, reply.excerpt()),
        }),
        408 | 500..=599 => all(Verdict::Unknown {
            after: wait(reply),
            reason: format!("{}: {}", reply.status, reply.excerpt()),
        }),
        // Nobody of that name is there any more, says Braze and not somebody in its place.
        404 if deletes && Answer::read(&reply.body).is_some() => all(Verdict::Accepted),
        300..=499 => all(Verdict::Pause { reason: refusal(reply, about) }),
        _ => all(Verdict::Unknown { after: None, reason: format!("status {}", reply.status) }),
    }
}

/// Splits a request that was refused as a whole. One object alone is never too many.
fn judge_refused(
    batch: &[Delivery],
    answer: &Answer,
    reason: String,
    says_too_many: bool,
) -> Vec<Verdict> {
    let layout = Layout::of(batch);
    let too_many = says_too_many && layout.objects() > 1;
    judge_objects(&layout, answer, &Verdict::Split { reason, too_many })
}

/// Rejects the deliveries of the objects that `answer` points at; the others get `otherwise`.
fn judge_objects(layout: &Layout<'_>, answer: &Answer, otherwise: &Verdict) -> Vec<Verdict> {
    let refused = answer.refused(layout);
    layout
        .slots
        .iter()
        .map(|slot| match slot.and_then(|slot| refused.get(&slot)) {
            Some(reason) => Verdict::Rejected { reason: reason.clone() },
            None => otherwise.clone(),
        })
        .collect()
}

/// What the reply to a probe means: `Ok` when the endpoint is Braze and takes the key.
///
/// The probe holds no object, so Braze refuses it for that alone, once it knows the key. Being
/// rate limited also takes a workspace, and so a good key.
pub(crate) fn judge_probe(reply: &Reply) -> Result<(), String> {
    match reply.status {
        200..=299 | 400 | 422 => match Answer::read(&reply.body) {
            Some(answer) if !answer.text().is_empty() => Ok(()),
            _ => {
                Err(format!("{} that is not an answer of Braze: {}", reply.status, reply.excerpt()))
            }
        },
        429 => Ok(()),
        300..=499 => Err(refusal(reply, &TRACK)),
        status => Err(format!("{status}: {}", reply.excerpt())),
    }
}

/// Why the whole destination is refused, and what to look at.
fn refusal(reply: &Reply, about: &About) -> String {
    refusal_of(reply, about.permission)
}

/// The same of a request that needs `permission`.
pub(crate) fn refusal_of(reply: &Reply, permission: &str) -> String {
    let lacks;
    let look_at = match reply.status {
        401 if permission == TRACK.permission => "the REST API key is unknown to this endpoint",
        401 => {
            lacks = format!(
                "the REST API key is unknown to this endpoint, or lacks the permission {permission}"
            );
            &lacks
        }
        403 => {
            lacks = format!(
                "the key lacks the permission {permission}, its IP allowlist excludes us, or the endpoint is wrong"
            );
            &lacks
        }
        404 => "the endpoint is wrong",
        415 => "a proxy changed the content type",
        300..=399 => "the endpoint redirects; name its target",
        _ => "the endpoint refuses the request",
    };
    format!("{}: {look_at}: {}", reply.status, reply.excerpt())
}

/// What a reply says about the current window.
///
/// A 429 spends what is left, whatever the number beside it: on some contracts it is approximate.
pub(crate) fn budget(reply: &Reply) -> Option<Budget> {
    let refused = reply.status == 429;
    let reset_after = first_delay(reply, if refused { &WAITS } else { &[RETRY_AFTER, RESET] });
    let spent = (refused && reset_after.is_some()) || delay(reply, RETRY_AFTER).is_some();
    let remaining = if spent { Some(0) } else { number(reply, REMAINING) };
    let limit = number(reply, LIMIT);
    let says_something = limit.is_some() || remaining.is_some() || reset_after.is_some();
    says_something.then_some(Budget { limit, remaining, reset_after })
}

/// The wait that a refusal asks for; `None` leaves it to the engine's own back-off.
pub(crate) fn wait(reply: &Reply) -> Option<Duration> {
    // Braze puts the reset of the window on every answer; only on a 429 is it a wait.
    let headers: &[&str] =
        if reply.status == 429 { &WAITS } else { &[RETRY_AFTER, RETRY_AFTER_OF_HTTP] };
    // A window that ended while the answer travelled: knocking at once would be refused again.
    first_delay(reply, headers).filter(|wait| !wait.is_zero())
}

/// The first of `names` that the reply has and that can be read, as a duration.
fn first_delay(reply: &Reply, names: &[&str]) -> Option<Duration> {
    names.iter().find_map(|name| delay(reply, name))
}

/// A header as a duration from the reply on: seconds, an instant in seconds or milliseconds, or
/// an HTTP date. Never longer than [`WAIT_MAX`].
fn delay(reply: &Reply, name: &str) -> Option<Duration> {
    let until = |millis: i64| Timestamp::from_millis(millis).since(reply.received_at);
    let delay = match number(reply, name) {
        Some(millis) if millis > EPOCH_MILLIS_MIN => until(i64::try_from(millis).ok()?),
        Some(seconds) if seconds > EPOCH_SECONDS_MIN => {
            until(i64::try_from(seconds).ok()?.checked_mul(1_000)?)
        }
        Some(seconds) => Duration::from_secs(seconds),
        None => until(http_date(reply.header(name)?)?),
    };
    Some(delay.min(WAIT_MAX))
}

/// A header as a number, rounded up; below zero it is zero.
fn number(reply: &Reply, name: &str) -> Option<u64> {
    let text = reply.header(name)?.trim().trim_matches('"');
    if let Ok(number) = text.parse::<u64>() {
        return Some(number);
    }
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float casts saturate, and the sign was taken away"
    )]
    Some(number.max(0.0).ceil() as u64)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in milliseconds since the Unix epoch.
fn http_date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|at| at.timestamp().as_millisecond())
}

/// The parts of a body that matter.
#[derive(Debug, Default)]
struct Answer {
    message: String,
    errors: Vec<ObjectError>,
    /// `*_processed`, by array.
    processed: HashMap<Section, u64>,
}

/// One entry of `errors`.
#[derive(Debug)]
struct ObjectError {
    reason: String,
    array: Option<String>,
    index: Option<usize>,
}

impl Answer {
    /// Reads a body; `None` when it is not a JSON object or too large to be one of Braze's.
    fn read(body: &[u8]) -> Option<Self> {
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
        let Value::Object(body) = serde_json::from_slice(body).ok()? else { return None };
        let text_at = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        // Syntax errors may come in `error` instead of `message`.
        let message = Some(text_at("message")).filter(|text| !text.is_empty());
        let errors = match body.get("errors") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(errors)) => errors.iter().map(ObjectError::read).collect(),
            Some(other) => vec![ObjectError::read(other)],
        };
        let lists = [&TRACK, &IDENTIFY_USERS, &DELETE_USERS].into_iter().flat_map(|of| of.lists);
        let processed = lists
            .filter_map(|list| Some((list.section, body.get(list.counter)?.as_u64()?)))
            .collect();
        Some(Self { message: shortened(message.unwrap_or(text_at("error"))), errors, processed })
    }

    fn is_success(&self) -> bool {
        ["success", "queued"].iter().any(|word| self.message.eq_ignore_ascii_case(word))
    }

    /// Whether it counts who is deleted and says nothing else, as the documented answer does.
    fn has_deleted(&self) -> bool {
        let mut lists = DELETE_USERS.lists.iter();
        self.message.is_empty() && lists.any(|list| self.processed.contains_key(&list.section))
    }

    /// The message, or the first error where there is none.
    fn text(&self) -> String {
        if self.message.is_empty() {
            self.errors.first().map(|error| error.reason.clone()).unwrap_or_default()
        } else {
            self.message.clone()
        }
    }

    /// Whether the request, and not one of its objects, is said to hold too many.
    fn says_too_many(&self) -> bool {
        let of_request = self.errors.iter().filter(|error| error.index.is_none());
        of_request.map(|error| error.reason.as_str()).chain([self.message.as_str()]).any(|text| {
            let text = text.to_lowercase();
            TOO_MANY.iter().any(|words| text.contains(words))
        })
    }

    /// The objects that were refused, each with its reasons.
    fn refused(&self, layout: &Layout<'_>) -> HashMap<(Section, usize), String> {
        let mut refused: HashMap<_, String> = HashMap::new();
        for error in &self.errors {
            let Some(slot) = self.slot_of(error, layout) else { continue };
            let reasons = refused.entry(slot).or_default();
            if reasons.is_empty() {
                reasons.push_str(&error.reason);
            } else if !reasons.contains(&error.reason)
                && reasons.len() + error.reason.len() <= REASON_CHARACTERS_MAX
            {
                reasons.push_str("; ");
                reasons.push_str(&error.reason);
            }
        }
        refused
    }

    /// The object that an error is about, where that is beyond doubt.
    fn slot_of(&self, error: &ObjectError, layout: &Layout<'_>) -> Option<(Section, usize)> {
        let mut candidates = layout.lists().iter().filter(|list| {
            layout.objects_in(list.section) > 0
                && error.array.as_deref().is_none_or(|array| [list.key, list.also].contains(&array))
        });
        let section = candidates.next().filter(|_| candidates.next().is_none())?.section;
        let count = layout.objects_in(section);
        if let Some(index) = error.index {
            return (index < count).then_some((section, index));
        }
        // The only object that was sent, and not counted as processed: it can only be that.
        let unprocessed = self.processed.get(&section).is_none_or(|count| *count == 0);
        (layout.objects() == 1 && count == 1 && unprocessed).then_some((section, 0))
    }
}

impl ObjectError {
    fn read(error: &Value) -> Self {
        let text_at = |key: &str| error.get(key).and_then(Value::as_str);
        let reason = ["type", "message", "error"].into_iter().find_map(text_at);
        let reason = reason.or(error.as_str()).map_or_else(|| error.to_string(), str::to_owned);
        let array = text_at("input_array").map(shortened);
        let index = match error.get("index") {
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(number) => number.as_u64().and_then(|index| usize::try_from(index).ok()),
            None => None,
        };
        Self { reason: shortened(&reason), array, index }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_CHARACTERS_MAX).collect()
}
