//! Faults on demand: what goes wrong, where, how often.

use isthmus_core::seam::Random;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Rules that one sandbox holds; more are refused.
const RULES_MAX: usize = 1_000;
/// Steps in which a probability is drawn.
const CHANCES: u32 = 1 << 30;

/// A rule: requests it concerns, how often it strikes, what happens then.
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
    /// Waits, evenly drawn between the two, in milliseconds.
    Latency {
        min_ms: u64,
        max_ms: u64,
        /// Whether the wait is before or after the request takes effect.
        #[serde(default = "before")]
        when: When,
    },
    /// Resets the TCP connection without an answer.
    Reset {
        /// Whether the request takes effect first, so that only its answer is lost.
        when: When,
    },
    /// Refuses some objects of `/users/track` that are fine.
    Partial {
        /// Only objects of this user.
        #[serde(default)]
        external_id: Option<String>,
        /// Only events with this name or purchases of this product.
        #[serde(default)]
        name: Option<String>,
        /// Only every so many objects, counted from the first of the request: 2 refuses the
        /// second, the fourth, ...
        #[serde(default)]
        every: Option<u64>,
        /// The error entry's `type`.
        #[serde(default = "partial_error")]
        error: String,
    },
    /// Answers 429.
    RateLimit {
        /// How the headers say when to come back.
        form: RateLimitForm,
        /// When that is.
        seconds: u64,
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
    /// The standard `retry-after` alone.
    StandardRetryAfter,
    /// No header at all.
    Bare,
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

fn partial_error() -> String {
    "refused by a fault of the sandbox".to_owned()
}

impl Fault {
    /// A rule that strikes every request to `path`, forever.
    pub fn on(path: impl Into<String>, effect: FaultEffect) -> Self {
        Self { path: path.into(), skip: 0, times: None, probability: 1.0, effect }
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

    /// What is wrong with the rule, if anything is.
    fn problem(&self) -> Option<&'static str> {
        if !(0.0..=1.0).contains(&self.probability) {
            return Some("probability is from 0 to 1");
        }
        match &self.effect {
            FaultEffect::Status { code, .. } if !(200..=599).contains(code) => {
                Some("code is from 200 to 599")
            }
            FaultEffect::Latency { min_ms, max_ms, .. } if min_ms > max_ms => {
                Some("min_ms is at most max_ms")
            }
            FaultEffect::Partial { every: Some(0), .. } => Some("every is at least 1"),
            _ => None,
        }
    }

    fn concerns(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path == self.path,
        }
    }
}

/// A rule and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rule {
    pub(crate) fault: Fault,
    /// Requests it has concerned.
    pub(crate) seen: u64,
    /// Requests it has struck.
    pub(crate) struck: u64,
}

/// What strikes one request: the effects of all rules, put together.
#[derive(Debug, Default)]
pub(crate) struct Strike {
    /// Time to wait before and after the request takes effect.
    pub(crate) wait_before: Duration,
    pub(crate) wait_after: Duration,
    /// What happens instead of taking effect and answering.
    pub(crate) instead: Option<FaultEffect>,
    /// What happens instead of the answer, once the request took effect.
    pub(crate) then: Option<FaultEffect>,
    /// Effects of the kind [`FaultEffect::Partial`].
    pub(crate) partial: Vec<FaultEffect>,
}

impl Strike {
    /// Whether anything struck.
    pub(crate) fn struck(&self) -> bool {
        self.instead.is_some()
            || self.then.is_some()
            || !self.partial.is_empty()
            || !(self.wait_before + self.wait_after).is_zero()
    }

    fn take(&mut self, effect: &FaultEffect, random: &dyn Random) {
        match effect {
            FaultEffect::Latency { min_ms, max_ms, when } => {
                let spread = max_ms.saturating_sub(*min_ms).saturating_add(1);
                let wait = Duration::from_millis(min_ms.saturating_add(random.below(spread)));
                match when {
                    When::Before => self.wait_before = self.wait_before.saturating_add(wait),
                    When::After => self.wait_after = self.wait_after.saturating_add(wait),
                }
            }
            FaultEffect::Partial { .. } => self.partial.push(effect.clone()),
            FaultEffect::RateLimit { .. }
            | FaultEffect::Status { when: When::Before, .. }
            | FaultEffect::Reset { when: When::Before } => {
                self.instead.get_or_insert_with(|| effect.clone());
            }
            FaultEffect::Status { .. } | FaultEffect::Reset { .. } => {
                self.then.get_or_insert_with(|| effect.clone());
            }
        }
    }
}

/// All rules, in the order they were made. The first that ends a request wins; waits add up.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<Vec<Rule>>,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule, or says what is wrong with it.
    pub(crate) fn add(&self, fault: Fault) -> Result<(), &'static str> {
        if let Some(problem) = fault.problem() {
            return Err(problem);
        }
        let mut rules = self.lock();
        if rules.len() >= RULES_MAX {
            return Err("too many rules; DELETE them first");
        }
        rules.push(Rule { fault, seen: 0, struck: 0 });
        Ok(())
    }

    pub(crate) fn rules(&self) -> Vec<Rule> {
        self.lock().clone()
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// What strikes a request to `path`.
    pub(crate) fn draw(&self, path: &str, random: &dyn Random) -> Strike {
        let mut strike = Strike::default();
        for rule in self.lock().iter_mut().filter(|rule| rule.fault.concerns(path)) {
            rule.seen += 1;
            let spent = rule.fault.times.is_some_and(|times| rule.struck >= times);
            if spent || rule.seen <= rule.fault.skip || !hits(rule.fault.probability, random) {
                continue;
            }
            rule.struck += 1;
            strike.take(&rule.fault.effect, random);
        }
        strike
    }
}

fn hits(probability: f64, random: &dyn Random) -> bool {
    if probability >= 1.0 {
        return true;
    }
    let draw = u32::try_from(random.below(u64::from(CHANCES))).unwrap_or(0);
    f64::from(draw) < probability * f64::from(CHANCES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::seam::SeededRandom;
    use serde_json::json;

    fn status(code: u16) -> FaultEffect {
        FaultEffect::Status { code, body: None, headers: BTreeMap::new(), when: When::Before }
    }

    fn strikes(faults: &Faults, path: &str, requests: usize) -> usize {
        let random = SeededRandom::new(7);
        (0..requests).filter(|_| faults.draw(path, &random).struck()).count()
    }

    #[test]
    fn a_rule_strikes_its_path_as_often_as_it_says() {
        let faults = Faults::default();
        faults.add(Fault::on("/users/track", status(503)).after(2).times(3)).expect("valid");
        assert_eq!(strikes(&faults, "/users/identify", 5), 0);
        assert_eq!(strikes(&faults, "/users/track", 2), 0);
        assert_eq!(strikes(&faults, "/users/track", 9), 3);
        faults.clear();
        faults.add(Fault::on("/users/*", status(503))).expect("valid");
        assert_eq!(strikes(&faults, "/users/track/bulk", 4), 4);
    }

    #[test]
    fn probability_strikes_about_that_share() {
        let faults = Faults::default();
        faults.add(Fault::on("*", status(503)).with_probability(0.25)).expect("valid");
        let struck = strikes(&faults, "/", 10_000);
        assert!((2_300..2_700).contains(&struck), "{struck}");
    }

    #[test]
    fn waits_add_up_and_the_first_end_wins() {
        let faults = Faults::default();
        let wait = |ms| FaultEffect::Latency { min_ms: ms, max_ms: ms, when: When::Before };
        for effect in [wait(10), status(503), status(500), wait(5)] {
            faults.add(Fault::on("*", effect)).expect("valid");
        }
        let strike = faults.draw("/", &SeededRandom::new(1));
        assert_eq!(strike.wait_before, Duration::from_millis(15));
        assert_eq!(strike.instead, Some(status(503)));
    }

    #[test]
    fn rules_read_as_they_are_documented() {
        let rule =
            json!({"path": "/users/track", "times": 2, "effect": {"reset": {"when": "after"}}});
        let fault: Fault = serde_json::from_value(rule).expect("a rule");
        assert_eq!(
            fault,
            Fault::on("/users/track", FaultEffect::Reset { when: When::After }).times(2)
        );
        let rule = json!({"effect": {"rate_limit": {"form": "retry_after", "seconds": 2}}});
        assert!(serde_json::from_value::<Fault>(rule).is_ok());
        let unknown = json!({"effect": {"status": {"code": 503, "why": "x"}}});
        assert!(serde_json::from_value::<Fault>(unknown).is_err());
    }

    #[test]
    fn impossible_rules_are_refused() {
        let faults = Faults::default();
        assert!(faults.add(Fault::on("*", status(99))).is_err());
        assert!(faults.add(Fault::on("*", status(503)).with_probability(2.0)).is_err());
        let backwards = FaultEffect::Latency { min_ms: 2, max_ms: 1, when: When::Before };
        assert!(faults.add(Fault::on("*", backwards)).is_err());
    }
}
