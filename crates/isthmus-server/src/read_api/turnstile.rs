//! How often and how many at once a project may ask.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is let in of each project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// Requests within `per`.
    pub(super) often: usize,
    pub(super) per: Duration,
    /// Requests under way.
    pub(super) at_once: usize,
}

/// One turnstile per project.
#[derive(Debug, Clone)]
pub(super) struct Turnstiles {
    rule: Rule,
    projects: Arc<Mutex<BTreeMap<String, Turnstile>>>,
}

#[derive(Debug, Default)]
struct Turnstile {
    inside: usize,
    /// When the last ones came in, on the monotonic clock.
    entered: VecDeque<Duration>,
}

/// A request that is let in, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    turnstiles: Turnstiles,
    project: String,
}

/// Why a request is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Too many of late; one more may come after this long.
    TooOften { wait: Duration },
    /// Too many under way.
    TooMany,
}

impl Turnstiles {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, projects: Arc::default() }
    }

    /// Lets a request of `project` in at `now` of the monotonic clock. One that is not let in does
    /// not count.
    pub(super) fn enter(&self, project: &str, now: Duration) -> Result<Pass, Closed> {
        let Rule { often, per, at_once } = self.rule;
        let mut projects = self.lock();
        let turnstile = projects.entry(project.to_owned()).or_default();
        while turnstile.entered.front().is_some_and(|entered| now >= *entered + per) {
            turnstile.entered.pop_front();
        }
        if let Some(oldest) = turnstile.entered.front()
            && turnstile.entered.len() >= often
        {
            return Err(Closed::TooOften { wait: (*oldest + per).saturating_sub(now) });
        }
        if turnstile.inside >= at_once {
            return Err(Closed::TooMany);
        }
        turnstile.inside += 1;
        turnstile.entered.push_back(now);
        Ok(Pass { turnstiles: self.clone(), project: project.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Turnstile>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(turnstile) = self.turnstiles.lock().get_mut(&self.project) {
            turnstile.inside -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { often: 12, per: Duration::from_mins(1), at_once: 4 };

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn twelve_a_minute_and_no_more_for_each_project() {
        let turnstiles = Turnstiles::new(RULE);
        for second in 0..12 {
            drop(turnstiles.enter("shop", seconds(second)).unwrap());
        }
        let closed = turnstiles.enter("shop", seconds(30)).unwrap_err();
        assert_eq!(closed, Closed::TooOften { wait: seconds(30) });
        drop(turnstiles.enter("other", seconds(30)).unwrap());
        drop(turnstiles.enter("shop", seconds(60)).unwrap());
        let closed = turnstiles.enter("shop", seconds(60)).unwrap_err();
        assert_eq!(closed, Closed::TooOften { wait: seconds(1) });
    }

    #[test]
    fn four_at_once_and_one_more_when_one_is_done() {
        let turnstiles = Turnstiles::new(RULE);
        let mut inside: Vec<_> =
            (0..4).map(|_| turnstiles.enter("shop", seconds(0)).unwrap()).collect();
        assert_eq!(turnstiles.enter("shop", seconds(0)).unwrap_err(), Closed::TooMany);
        let other = turnstiles.enter("other", seconds(0)).unwrap();
        inside.pop();
        inside.push(turnstiles.enter("shop", seconds(0)).unwrap());
        assert_eq!(turnstiles.enter("shop", seconds(0)).unwrap_err(), Closed::TooMany);
        drop(other);
    }
}
