//! One Currents event in canonical form, and the body of the HTTP connector.
//!
//! ```json
//! { "events": [ { "event_type": "users.messages.email.Open", "id": "0b8f2a54-...", "time": 1767258000,
//!     "user": { "user_id": "5fa1...", "external_user_id": "customer-4711", "timezone": "Europe/Berlin" },
//!     "properties": { "campaign_id": "...", "machine_open": "true" } } ] }
//! ```
//!
//! Null and absence are one. Texts, numbers and booleans are taken for one another where a name or
//! an id is meant: a connector can redact or hash any field.

use isthmus_core::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What a connector writes in place of a text that it was told to remove (Braze's "Field
/// transformations", read 2026-09).
const REDACTED: &str = "[REDACTED]";

/// Times from here on are milliseconds: as seconds they are after the year 5138, as milliseconds
/// in 1973.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// 9999-12-31T23:59:59.999Z; later times are mistakes.
const TIME_MAX: i64 = 253_402_300_799_999;

/// The empty object.
pub(super) const NOTHING: &str = "{}";

/// One Currents event in canonical form. Texts borrow from where it was read, where they can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<'a> {
    /// `users.messages.email.Open`.
    pub event_type: Cow<'a, str>,
    /// The key by which one connector's repetitions are recognized; never empty.
    pub id: Cow<'a, str>,
    /// When it happened, in milliseconds since the Unix epoch; never negative.
    pub time: i64,
    /// Braze's own id of the user.
    pub user_id: Option<Cow<'a, str>>,
    /// The customer's id of the user. Empty and redacted ones are absent, here and in the other ids.
    pub external_user_id: Option<Cow<'a, str>>,
    pub device_id: Option<Cow<'a, str>>,
    /// IANA time zone of the user, or what stands for it.
    pub timezone: Option<Cow<'a, str>>,
    /// Raw JSON object: the `properties` of the HTTP form.
    pub properties: Cow<'a, str>,
    /// Raw JSON object of what else there was: members that the HTTP form does not have, those of
    /// `user` under `user`, and fields that only files have under `properties`.
    pub other: Option<Cow<'a, str>>,
}

/// Something that stands in the place of an event and cannot be used as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unusable<'a> {
    /// As it came.
    pub raw: Cow<'a, str>,
    /// Names the field: ``no `id` ``, `` `time` is not a number ``.
    pub reason: String,
}

/// The body is not a batch, so nothing in it can be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotABatch {
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("not an object with an array `events`")]
    NoEvents,
}

impl Received<'_> {
    /// The same event, borrowing nothing.
    pub fn into_owned(self) -> Received<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Received {
            event_type: own(self.event_type),
            id: own(self.id),
            time: self.time,
            user_id: self.user_id.map(own),
            external_user_id: self.external_user_id.map(own),
            device_id: self.device_id.map(own),
            timezone: self.timezone.map(own),
            properties: own(self.properties),
            other: self.other.map(own),
        }
    }
}

impl Unusable<'_> {
    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Unusable<'static> {
        Unusable { raw: Cow::Owned(self.raw.into_owned()), reason: self.reason }
    }
}

/// Reads the body of the HTTP connector: each event, or why it cannot be used.
///
/// An empty body and an empty list are no events: Braze checks credentials with them.
///
/// # Errors
///
/// When the body is not JSON or has no array `events`. Only that deserves a 400, after which Braze
/// sends each event by itself and drops those that are refused again.
pub fn read_batch(body: &[u8]) -> Result<Vec<Result<Received<'_>, Unusable<'_>>>, NotABatch> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let body: &RawValue =
        serde_json::from_slice(body).map_err(|error| NotABatch::NotJson(error.to_string()))?;
    let events = json::member(body.get(), "events").filter(|events| events.starts_with('['));
    Ok(json::elements(events.ok_or(NotABatch::NoEvents)?).map(read_event).collect())
}

/// Reads one event in the HTTP form; `raw` is valid JSON.
pub(super) fn read_event(raw: &str) -> Result<Received<'_>, Unusable<'_>> {
    let unusable = |reason: String| Unusable { raw: Cow::Borrowed(raw), reason };
    if !raw.starts_with('{') {
        return Err(unusable("not an object".to_owned()));
    }
    let mut head = Head::default();
    let (mut user, mut properties) = (None, None);
    let mut other = Vec::new();
    for (key, value) in json::members(raw) {
        match key.as_ref() {
            "event_type" => head.event_type = scalar(value),
            "id" => head.id = scalar(value),
            "time" => head.time = Some(value),
            "user" => user = present(value),
            "properties" => properties = present(value),
            _ => other.push((key, value)),
        }
    }
    let mut of_user = Vec::new();
    for (name, value) in [("user", user), ("properties", properties)] {
        if value.is_some_and(|value| !value.starts_with('{')) {
            return Err(unusable(format!("`{name}` is not an object")));
        }
    }
    for (key, value) in user.into_iter().flat_map(json::members) {
        if !head.set_user(&key, value) {
            of_user.push((key, value));
        }
    }
    let other = (!other.is_empty() || !of_user.is_empty()).then(|| {
        let mut out = String::from("{");
        push_members(&mut out, &other);
        if !of_user.is_empty() {
            push_name(&mut out, "user");
            out.push('{');
            push_members(&mut out, &of_user);
            out.push('}');
        }
        out.push('}');
        Cow::Owned(out)
    });
    head.finish(Cow::Borrowed(properties.unwrap_or(NOTHING)), other).map_err(unusable)
}

/// The fields that every event has, as they are found.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    pub(super) event_type: Option<Cow<'a, str>>,
    pub(super) id: Option<Cow<'a, str>>,
    /// Raw.
    pub(super) time: Option<&'a str>,
    pub(super) user_id: Option<Cow<'a, str>>,
    pub(super) external_user_id: Option<Cow<'a, str>>,
    pub(super) device_id: Option<Cow<'a, str>>,
    pub(super) timezone: Option<Cow<'a, str>>,
}

impl<'a> Head<'a> {
    /// Takes the member `key` of a user; `false` when it has no place for it.
    pub(super) fn set_user(&mut self, key: &str, raw: &'a str) -> bool {
        let place = match key {
            "user_id" => &mut self.user_id,
            "external_user_id" => &mut self.external_user_id,
            "device_id" => &mut self.device_id,
            "timezone" => {
                self.timezone = scalar(raw);
                return true;
            }
            _ => return false,
        };
        *place = scalar(raw).filter(|id| !id.is_empty() && id != REDACTED);
        true
    }

    /// The event, or which field keeps it from being one.
    pub(super) fn finish(
        self,
        properties: Cow<'a, str>,
        other: Option<Cow<'a, str>>,
    ) -> Result<Received<'a>, String> {
        let required = |name: &str, value: Option<Cow<'a, str>>| match value {
            Some(text) if text.is_empty() => Err(format!("`{name}` is empty")),
            Some(text) => Ok(text),
            None => Err(format!("no `{name}`")),
        };
        Ok(Received {
            event_type: required("event_type", self.event_type)?,
            id: required("id", self.id)?,
            time: time(self.time)?,
            user_id: self.user_id,
            external_user_id: self.external_user_id,
            device_id: self.device_id,
            timezone: self.timezone,
            properties,
            other,
        })
    }
}

/// `raw`, unless it is null.
pub(super) fn present(raw: &str) -> Option<&str> {
    (raw != "null").then_some(raw)
}

/// The text of a raw text, number or boolean.
pub(super) fn scalar(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => json::text_of(raw),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// Milliseconds of a raw `time`, which is in seconds, or in milliseconds when it is that large.
fn time(raw: Option<&str>) -> Result<i64, String> {
    let raw = raw.and_then(present).ok_or("no `time`")?;
    let text = scalar(raw).filter(|text| !text.is_empty()).ok_or("`time` is not a number")?;
    let millis = if let Ok(whole) = text.parse::<i64>() {
        if whole.unsigned_abs() < MILLISECONDS_FROM.unsigned_abs() { whole * 1_000 } else { whole }
    } else {
        fractional_time(&text).ok_or("`time` is not a number")?
    };
    if (0..=TIME_MAX).contains(&millis) {
        return Ok(millis);
    }
    Err(format!("`time` is {text}, which is no time at which something can have happened"))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, and what is too large is refused"
)]
#[expect(clippy::cast_precision_loss, reason = "the threshold is exact")]
fn fractional_time(text: &str) -> Option<i64> {
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    let is_seconds = number.abs() < MILLISECONDS_FROM as f64;
    Some((if is_seconds { number * 1_000.0 } else { number }).floor() as i64)
}

/// Appends raw members to an object that was opened.
pub(super) fn push_members(out: &mut String, members: &[(Cow<'_, str>, &str)]) {
    for (key, value) in members {
        push_name(out, key);
        out.push_str(value);
    }
}

/// Appends the name of a member to an object that was opened.
pub(super) fn push_name(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    json::push_text(out, name);
    out.push(':');
}

#[cfg(test)]
mod tests;
