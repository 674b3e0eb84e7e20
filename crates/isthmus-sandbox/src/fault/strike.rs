//! The rules at work: which of them strike a request.

use super::list::{self, RULES_MAX};
use super::{Fault, FaultEffect, FaultError, When};
use isthmus_core::seam::Random;
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Steps in which a probability is drawn.
const CHANCES: u32 = 1 << 30;

/// A rule and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rule {
    pub(crate) fault: Fault,
    /// Requests it has concerned.
    pub(crate) seen: u64,
    /// Requests it has struck.
    pub(crate) struck: u64,
    /// When it was added, on the clock that measures.
    #[serde(skip)]
    added: Duration,
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
    /// Effects that depend on what the request holds.
    pub(crate) content: Vec<FaultEffect>,
}

impl Strike {
    /// Whether anything struck.
    pub(crate) fn struck(&self) -> bool {
        self.instead.is_some()
            || self.then.is_some()
            || !self.content.is_empty()
            || !(self.wait_before + self.wait_after).is_zero()
    }

    fn take(&mut self, effect: &FaultEffect, random: &dyn Random) {
        match effect {
            FaultEffect::Latency(latency) => {
                let wait = latency.draw(random);
                match latency.when() {
                    When::Before => self.wait_before = self.wait_before.saturating_add(wait),
                    When::After => self.wait_after = self.wait_after.saturating_add(wait),
                }
            }
            FaultEffect::Partial { .. }
            | FaultEffect::Poison { .. }
            | FaultEffect::ObjectsMax { .. }
            | FaultEffect::BytesMax { .. }
            | FaultEffect::Throttle { .. }
            | FaultEffect::Silence { .. } => self.content.push(effect.clone()),
            FaultEffect::RateLimit { .. }
            | FaultEffect::Refuse {}
            | FaultEffect::Status { when: When::Before, .. }
            | FaultEffect::Garbage { when: When::Before, .. }
            | FaultEffect::Hang { when: When::Before }
            | FaultEffect::Reset { when: When::Before } => {
                self.instead.get_or_insert_with(|| effect.clone());
            }
            FaultEffect::Status { .. }
            | FaultEffect::Garbage { .. }
            | FaultEffect::Hang { .. }
            | FaultEffect::Truncate { .. }
            | FaultEffect::Reset { .. } => {
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

    /// Adds all rules at `now`, or none and says what is wrong with them.
    pub(crate) fn add(&self, faults: Vec<Fault>, now: Duration) -> Result<(), FaultError> {
        list::check(&faults)?;
        let mut rules = self.lock();
        if rules.len() + faults.len() > RULES_MAX {
            return Err(FaultError::TooMany);
        }
        rules.extend(faults.into_iter().map(|fault| Rule {
            fault,
            seen: 0,
            struck: 0,
            added: now,
        }));
        Ok(())
    }

    pub(crate) fn rules(&self) -> Vec<Rule> {
        self.lock().clone()
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// What strikes a request to `path` that arrives at `now`.
    pub(crate) fn draw(&self, path: &str, now: Duration, random: &dyn Random) -> Strike {
        let mut strike = Strike::default();
        for rule in self.lock().iter_mut().filter(|rule| rule.fault.concerns(path)) {
            if !rule.fault.is_on(now.saturating_sub(rule.added)) {
                continue;
            }
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
