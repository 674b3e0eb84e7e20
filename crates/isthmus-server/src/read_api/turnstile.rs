//! How often and how many at once a project may ask: 12 requests a minute, 4 at a time
//! (`amplitude-read.md` 5).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PER_MINUTE_MAX: usize = 12;
const AT_ONCE_MAX: usize = 4;
const MINUTE: Duration = Duration::from_mins(1);

/// One turnstile per project.
#[derive(Debug, Clone, Default)]
pub(super) struct Turnstiles {
    projects: Arc<Mutex<BTreeMap<String, Turnstile>>>,
}

#[derive(Debug, Default)]
struct Turnstile {
    inside: usize,
    /// When those of the last minute came in, on the monotonic clock.
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
    /// Too many in the last minute; one more may come after this long.
    TooOften { wait: Duration },
    /// Too many under way.
    TooMany,
}

impl Turnstiles {
    /// Lets a request of `project` in at `now` of the monotonic clock. One that is not let in does
    /// not count.
    pub(super) fn enter(&self, project: &str, now: Duration) -> Result<Pass, Closed> {
        let mut projects = self.lock();
        let turnstile = projects.entry(project.to_owned()).or_default();
        while turnstile.entered.front().is_some_and(|entered| now >= *entered + MINUTE) {
            turnstile.entered.pop_front();
        }
        if let Some(oldest) = turnstile.entered.front()
            && turnstile.entered.len() >= PER_MINUTE_MAX
        {
            return Err(Closed::TooOften { wait: (*oldest + MINUTE).saturating_sub(now) });
        }
        if turnstile.inside >= AT_ONCE_MAX {
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

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn twelve_a_minute_and_no_more_for_each_project() {
        let turnstiles = Turnstiles::default();
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
        let turnstiles = Turnstiles::default();
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
