//! How long a request is held up: drawn from a distribution.

use super::When;
use isthmus_core::seam::Random;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;
use std::time::Duration;

/// The longest wait that is drawn; the tail of a distribution has no end of its own.
const WAIT_MAX: Duration = Duration::from_hours(1);
/// Standard deviations from the median to the 99th percentile of a normal distribution.
const DEVIATIONS_TO_P99: f64 = 2.326_347_874_040_841;

/// A wait and its place. In JSON the distribution follows from the fields that are there:
/// `min_ms` and `max_ms`, `p50_ms` and `p99_ms`, or `mean_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub enum Latency {
    /// Evenly drawn between the two, in milliseconds.
    Uniform { min_ms: u64, max_ms: u64, when: When },
    /// Log-normal, as the answers of busy services are: half are faster than `p50_ms`, one in a
    /// hundred is slower than `p99_ms`, and a few are much slower. At most an hour.
    LogNormal { p50_ms: u64, p99_ms: u64, when: When },
    /// Exponential: many are fast, and `mean_ms` is the average. At most an hour.
    Exponential { mean_ms: u64, when: When },
}

/// [`Latency`] as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p50_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p99_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mean_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<When>,
}

impl TryFrom<Fields> for Latency {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let when = fields.when.unwrap_or(When::Before);
        let uniform = fields.min_ms.zip(fields.max_ms);
        let log_normal = fields.p50_ms.zip(fields.p99_ms);
        let given = [fields.min_ms, fields.max_ms, fields.p50_ms, fields.p99_ms, fields.mean_ms];
        match (given.iter().flatten().count(), uniform, log_normal, fields.mean_ms) {
            (2, Some((min_ms, max_ms)), ..) => Ok(Self::Uniform { min_ms, max_ms, when }),
            (2, _, Some((p50_ms, p99_ms)), _) => Ok(Self::LogNormal { p50_ms, p99_ms, when }),
            (1, .., Some(mean_ms)) => Ok(Self::Exponential { mean_ms, when }),
            _ => Err("latency takes `min_ms` and `max_ms`, `p50_ms` and `p99_ms`, or `mean_ms`"),
        }
    }
}

impl From<Latency> for Fields {
    fn from(latency: Latency) -> Self {
        let fields = Self { when: Some(latency.when()), ..Self::default() };
        match latency {
            Latency::Uniform { min_ms, max_ms, .. } => {
                Self { min_ms: Some(min_ms), max_ms: Some(max_ms), ..fields }
            }
            Latency::LogNormal { p50_ms, p99_ms, .. } => {
                Self { p50_ms: Some(p50_ms), p99_ms: Some(p99_ms), ..fields }
            }
            Latency::Exponential { mean_ms, .. } => Self { mean_ms: Some(mean_ms), ..fields },
        }
    }
}

impl Latency {
    /// Whether the wait is before or after the request takes effect.
    pub fn when(&self) -> When {
        match self {
            Self::Uniform { when, .. }
            | Self::LogNormal { when, .. }
            | Self::Exponential { when, .. } => *when,
        }
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Uniform { min_ms, max_ms, .. } if min_ms > max_ms => {
                Some("min_ms is at most max_ms")
            }
            Self::LogNormal { p50_ms: 0, .. } => Some("p50_ms is at least 1"),
            Self::LogNormal { p50_ms, p99_ms, .. } if p50_ms > p99_ms => {
                Some("p50_ms is at most p99_ms")
            }
            _ => None,
        }
    }

    /// One wait, in whole milliseconds.
    pub(super) fn draw(&self, random: &dyn Random) -> Duration {
        match *self {
            Self::Uniform { min_ms, max_ms, .. } => {
                let spread = max_ms.saturating_sub(min_ms).saturating_add(1);
                Duration::from_millis(min_ms.saturating_add(random.below(spread)))
            }
            Self::LogNormal { p50_ms, p99_ms, .. } => {
                let (median, p99) = (seconds(p50_ms), seconds(p99_ms));
                let deviation = (p99 / median).ln() / DEVIATIONS_TO_P99;
                rounded(median * (deviation * normal(random)).exp())
            }
            Self::Exponential { mean_ms, .. } => rounded(-seconds(mean_ms) * fraction(random).ln()),
        }
    }
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn rounded(seconds: f64) -> Duration {
    let wait = Duration::try_from_secs_f64(seconds).unwrap_or(WAIT_MAX).min(WAIT_MAX);
    Duration::from_millis(super::millis(wait))
}

/// Above 0, at most 1.
fn fraction(random: &dyn Random) -> f64 {
    let draw = u32::try_from(random.next_u64() >> 32).unwrap_or(0);
    (f64::from(draw) + 1.0) / (f64::from(u32::MAX) + 1.0)
}

/// Normally distributed around 0 with deviation 1 (Box and Muller).
fn normal(random: &dyn Random) -> f64 {
    let (radius, angle) = (fraction(random), fraction(random));
    (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()
}
