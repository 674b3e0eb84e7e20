//! Faults on demand: what goes wrong, where, when, how often.
//!
//! Rules are data, so that a file or a request can hold them. What they draw comes from the
//! sandbox's random numbers and what they wait for from its clock: a seed and a clock repeat it.

mod latency;
mod list;
mod strike;

pub use latency::Latency;
pub use list::FaultError;

pub(crate) use strike::Faults;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A rule: requests it concerns, when and how often it strikes, what happens then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Path, exact; or its beginning, followed by `*`.
    #[serde(default = "everywhere")]
    pub path: String,
    /// Requests it lets pass before it strikes for the first time.
    #[serde(default)]
    pub skip: u64,
    /// How often it strikes before it is spent; without a number, forever.
    #[serde(default)]
    pub times: Option<u64>,
    /// Share of the requests that it strikes, from 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// When it begins, in milliseconds after it was added. Requests outside its time are not
    /// counted by [`Self::skip`].
    #[serde(default)]
    pub after_ms: u64,
    /// How long it lasts from then on; without a number, forever.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// Time from one beginning to the next; without a number, it begins once.
    #[serde(default)]
    pub every_ms: Option<u64>,
    /// What happens.
    pub effect: FaultEffect,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultEffect {
    /// Answers with this status.
    Status {
        code: u16,
        /// JSON; without one, a message that says it is a fault.
        #[serde(default)]
        body: Option<Value>,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// Whether the request takes effect all the same.
        #[serde(default = "before")]
        when: When,
    },
    /// Waits.
    Latency(Latency),
    /// Resets the TCP connection without an answer.
    Reset {
        /// Whether the request takes effect first, so that only its answer is lost.
        when: When,
    },
    /// Never answers and keeps the connection open, until the client gives up or the sandbox
    /// stops.
    Hang {
        /// Whether the request takes effect first: processed, and never answered.
        when: When,
    },
    /// Refuses the connection, so that the request is surely not sent. Over a socket, where the
    /// connection is there before the path is known, the same as a reset before the effect.
    Refuse {},
    /// Resets the TCP connection in the middle of the answer's body, after the request took
    /// effect.
    Truncate {
        /// Bytes of the body that still arrive; without a number, half of them.
        #[serde(default)]
        bytes: Option<usize>,
    },
    /// Answers with a page in HTML, as a proxy in between would.
    Garbage {
        #[serde(default = "ok")]
        code: u16,
        /// Whether the request takes effect all the same.
        #[serde(default = "before")]
        when: When,
    },
    /// Refuses some objects of `/users/track` that are fine; of an upload to Amplitude, names some
    /// events under `events_with_invalid_fields`, and takes none.
    Partial {
        /// Only objects of this user; of an Amplitude event, its user id.
        #[serde(default)]
        external_id: Option<String>,
        /// Only events with this name or purchases of this product; of an Amplitude event, its type.
        #[serde(default)]
        name: Option<String>,
        /// Only every so many objects, counted from the first of the request: 2 refuses the
        /// second, the fourth, ...
        #[serde(default)]
        every: Option<u64>,
        /// The error entry's `type`; Amplitude has none.
        #[serde(default = "partial_error")]
        error: String,
    },
    /// Refuses a whole `/users/track` request, or upload to Amplitude, with 400, and does not say
    /// for which object, when it holds one that is meant.
    Poison {
        /// Objects of this user.
        #[serde(default)]
        external_id: Option<String>,
        /// Events with this name or purchases of this product.
        #[serde(default)]
        name: Option<String>,
        #[serde(default = "poison_message")]
        message: String,
    },
    /// Refuses a `/users/track` request with more objects than this with 400, as Braze does for
    /// accounts with a smaller limit; an upload to Amplitude with more events with 413.
    ObjectsMax {
        max: usize,
        #[serde(default = "objects_max_message")]
        message: String,
    },
    /// Refuses a request with a larger body than this with 413.
    BytesMax { max: usize },
    /// Refuses an upload to Amplitude with 429, and names these users and devices, as far as they are
    /// in it, as sending too fast, with all of their events; without any, everybody and everything.
    Throttle {
        #[serde(default)]
        user_ids: Vec<String>,
        #[serde(default)]
        device_ids: Vec<String>,
        /// Whether the daily quota is said to be used up, so that clients drop the events.
        #[serde(default)]
        daily: bool,
    },
    /// Refuses an upload to Amplitude with 400 as holding events of silenced devices.
    Silence {
        /// Without any, every device.
        #[serde(default)]
        device_ids: Vec<String>,
    },
    /// Answers 429; on Amplitude's paths without naming anybody, for which there is `Throttle`.
    RateLimit {
        /// How the headers say when to come back.
        form: RateLimitForm,
        /// When that is; needed unless the form says nothing or takes it from the clock.
        #[serde(default)]
        seconds: Option<u64>,
    },
}

/// Before or after a request takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    Before,
    After,
}

/// The forms in which Braze, or something in front of it, says when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateLimitForm {
    /// `x-ratelimit-reset` in epoch seconds, beside limit and remaining.
    Epoch,
    /// `x-ratelimit-reset` in seconds from now, beside limit and remaining.
    Seconds,
    /// `x-ratelimit-retry-after` alone, as on MAU contracts.
    RetryAfter,
    /// `x-ratelimit-retry-after` alone, up to the next full hour, as when the hourly limit of an
    /// MAU contract is used up.
    Hour,
    /// The standard `retry-after` alone, in seconds.
    StandardRetryAfter,
    /// The standard `retry-after` alone, as a date.
    StandardRetryAfterDate,
    /// No header at all.
    Bare,
}

impl RateLimitForm {
    fn takes_seconds(self) -> bool {
        !matches!(self, Self::Hour | Self::Bare)
    }
}

fn everywhere() -> String {
    "*".to_owned()
}

fn always() -> f64 {
    1.0
}

fn before() -> When {
    When::Before
}

fn ok() -> u16 {
    200
}

fn partial_error() -> String {
    "refused by a fault of the sandbox".to_owned()
}

fn poison_message() -> String {
    "Invalid request".to_owned()
}

fn objects_max_message() -> String {
    TOO_MANY_OBJECTS.to_owned()
}

/// The documentation's text for a request with too many objects.
pub(crate) const TOO_MANY_OBJECTS: &str = "Max input length exceeded";

impl Fault {
    /// A rule that strikes every request to `path`, forever.
    pub fn on(path: impl Into<String>, effect: FaultEffect) -> Self {
        Self {
            path: path.into(),
            skip: 0,
            times: None,
            probability: 1.0,
            after_ms: 0,
            for_ms: None,
            every_ms: None,
            effect,
        }
    }

    /// Strikes `times` times and is spent.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Lets `skip` requests pass first.
    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Strikes this share of the requests, from 0 to 1.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Begins so long after it is added and lasts so long, in whole milliseconds.
    #[must_use]
    pub fn during(mut self, begin: Duration, length: Duration) -> Self {
        self.after_ms = millis(begin);
        self.for_ms = Some(millis(length));
        self
    }

    /// Begins again after so long, counted from one beginning to the next.
    #[must_use]
    pub fn every(mut self, period: Duration) -> Self {
        self.every_ms = Some(millis(period));
        self
    }

    /// What is wrong with the rule, if anything is.
    fn problem(&self) -> Option<&'static str> {
        if !self.path.starts_with(['/', '*']) {
            return Some("path begins with / or is *");
        }
        if !(0.0..=1.0).contains(&self.probability) {
            return Some("probability is from 0 to 1");
        }
        match (self.for_ms, self.every_ms) {
            (Some(0), _) => return Some("for_ms is at least 1"),
            (None, Some(_)) => return Some("every_ms needs for_ms"),
            (Some(length), Some(period)) if period < length => {
                return Some("every_ms is at least for_ms");
            }
            _ => {}
        }
        self.effect.problem()
    }

    fn concerns(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path == self.path,
        }
    }

    /// Whether it may strike, so long after it was added.
    fn is_on(&self, age: Duration) -> bool {
        let Some(age) = age.checked_sub(Duration::from_millis(self.after_ms)) else {
            return false;
        };
        let Some(length) = self.for_ms.map(Duration::from_millis) else { return true };
        let age = match self.every_ms {
            Some(period) => Duration::from_millis(millis(age).checked_rem(period).unwrap_or(0)),
            None => age,
        };
        age < length
    }
}

impl FaultEffect {
    fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Status { code, .. } | Self::Garbage { code, .. }
                if !(200..=599).contains(code) =>
            {
                Some("code is from 200 to 599")
            }
            Self::Status { headers, .. } if !headers.iter().all(is_header) => {
                Some("headers holds a name or value that HTTP does not allow")
            }
            Self::Latency(latency) => latency.problem(),
            Self::Partial { every: Some(0), .. } => Some("every is at least 1"),
            Self::RateLimit { form, seconds: None } if form.takes_seconds() => {
                Some("seconds is needed with this form")
            }
            _ => None,
        }
    }
}

fn is_header((name, value): (&String, &String)) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
