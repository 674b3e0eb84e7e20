//! Whether a destination answers at all, and how carefully to try when it does not. Pure.
//!
//! A vendor that fails every request must not get each new user's first object thrown at it, nor
//! be given up on: after a few failures in a row one request at a time is tried, ever more
//! rarely, until one is answered. Wrong credentials are handled the same way, with one object.

use crate::dispatcher::Moment;
use crate::journal::{ConditionRecord, WaitsRecord};
use isthmus_core::Timestamp;
use isthmus_core::seam::Backoff;
use std::time::Duration;

/// Requests that fail in a row before only one at a time is tried: enough that a single bad
/// connection does not slow a healthy destination down.
const FAILURES_BEFORE_CAUTION: u32 = 5;

/// How long a destination that refuses our credentials is left alone between tries: nobody mends
/// a key within a second, and everybody wants to see it work within a minute.
const PAUSED: Backoff = Backoff { first: Duration::from_secs(2), cap: Duration::from_mins(1) };

/// How a destination is doing, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It answers.
    Well,
    /// It fails every request; one at a time is tried.
    Struggling { failures: u32, reason: String },
    /// It refuses us (credentials, quota); one object is tried now and then. Nothing is lost.
    Paused { reason: String, since: Timestamp },
    /// Stopped by the operator until resumed.
    Halted { reason: String },
}

/// How much may be tried at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caution {
    pub(crate) requests_in_flight: usize,
    pub(crate) objects_per_request: usize,
}

/// Decides how much may be tried, and when.
#[derive(Debug)]
pub(crate) struct Health {
    backoff: Backoff,
    /// The operator's reason for stopping.
    halted: Option<String>,
    state: State,
    /// Grows when the state changes. Only what was sent since then tells about the new state: of
    /// sixty requests that fail together, one counts.
    epoch: u64,
    answered_at: Option<Duration>,
}

#[derive(Debug)]
enum State {
    Well { failures: u32 },
    Struggling { failures: u32, retry_at: Duration, reason: String },
    Paused { pauses: u32, retry_at: Duration, reason: String, since: Timestamp },
}

impl Health {
    pub(crate) fn new(backoff: Backoff) -> Self {
        let state = State::Well { failures: 0 };
        Self { backoff, halted: None, state, epoch: 0, answered_at: None }
    }

    /// Goes on from what the journal says: a restart neither forgets a wait nor cuts it short.
    pub(crate) fn recover(&mut self, known: &WaitsRecord, now: Moment) {
        self.halted.clone_from(&known.halted);
        let wait = |cap| now.monotonic + until(known.retry_at, now, cap);
        self.state = match &known.condition {
            ConditionRecord::Well => State::Well { failures: 0 },
            ConditionRecord::Struggling { failures, reason } => State::Struggling {
                failures: *failures,
                retry_at: wait(self.backoff.cap),
                reason: reason.clone(),
            },
            ConditionRecord::Paused { pauses, reason, since } => State::Paused {
                pauses: *pauses,
                retry_at: wait(PAUSED.cap),
                reason: reason.clone(),
                since: Timestamp::from_millis(*since),
            },
        };
    }

    /// What the journal has to remember.
    pub(crate) fn record(&self, now: Moment) -> WaitsRecord {
        let (condition, retry_at) = match &self.state {
            State::Well { .. } => (ConditionRecord::Well, None),
            State::Struggling { failures, retry_at, reason } => {
                let (failures, reason) = (*failures, reason.clone());
                (ConditionRecord::Struggling { failures, reason }, Some(*retry_at))
            }
            State::Paused { pauses, retry_at, reason, since } => {
                let (pauses, reason, since) = (*pauses, reason.clone(), since.as_millis());
                (ConditionRecord::Paused { pauses, reason, since }, Some(*retry_at))
            }
        };
        WaitsRecord {
            condition,
            retry_at: retry_at.map_or(0, |at| on_the_wall(at, now)),
            throttled_until: 0,
            halted: self.halted.clone(),
        }
    }

    /// The present epoch, for a request that starts.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When the vendor last processed a request.
    pub(crate) fn answered_at(&self) -> Option<Duration> {
        self.answered_at
    }

    /// How much may be under way.
    pub(crate) fn caution(&self) -> Caution {
        let (requests_in_flight, objects_per_request) = match (&self.halted, &self.state) {
            (Some(_), _) => (0, 0),
            (None, State::Well { .. }) => (usize::MAX, usize::MAX),
            (None, State::Struggling { .. }) => (1, usize::MAX),
            (None, State::Paused { .. }) => (1, 1),
        };
        Caution { requests_in_flight, objects_per_request }
    }

    /// When the next request may start.
    pub(crate) fn free_at(&self) -> Duration {
        match self.state {
            State::Well { .. } => Duration::ZERO,
            State::Struggling { retry_at, .. } | State::Paused { retry_at, .. } => retry_at,
        }
    }

    /// The vendor processed a request of `epoch`.
    pub(crate) fn answered(&mut self, epoch: u64, now: Duration) {
        self.answered_at = Some(now);
        if epoch == self.epoch {
            if !matches!(self.state, State::Well { .. }) {
                self.epoch += 1;
            }
            self.state = State::Well { failures: 0 };
        }
    }

    /// A request of `epoch` as a whole came to nothing.
    pub(crate) fn failed(&mut self, epoch: u64, now: Duration, random: u64, reason: &str) {
        if epoch != self.epoch {
            return;
        }
        match &mut self.state {
            State::Well { failures } if *failures + 1 < FAILURES_BEFORE_CAUTION => *failures += 1,
            State::Well { .. } => {
                let retry_at = now + self.backoff.wait(1, random);
                let reason = reason.to_owned();
                self.state =
                    State::Struggling { failures: FAILURES_BEFORE_CAUTION, retry_at, reason };
                self.epoch += 1;
            }
            State::Struggling { failures, retry_at, reason: known } => {
                *failures = failures.saturating_add(1);
                let attempt = failures.saturating_sub(FAILURES_BEFORE_CAUTION) + 1;
                *retry_at = now + self.backoff.wait(attempt, random);
                reason.clone_into(known);
                self.epoch += 1;
            }
            State::Paused { pauses, retry_at, .. } => {
                *pauses = pauses.saturating_add(1);
                *retry_at = now + PAUSED.wait(*pauses, random);
                self.epoch += 1;
            }
        }
    }

    /// The vendor refused a request of `epoch` because of who we are or what we may.
    pub(crate) fn refused(
        &mut self,
        epoch: u64,
        now: (Duration, Timestamp),
        random: u64,
        reason: &str,
    ) {
        if epoch != self.epoch {
            return;
        }
        let (pauses, since) = match self.state {
            State::Paused { pauses, since, .. } => (pauses.saturating_add(1), since),
            State::Well { .. } | State::Struggling { .. } => (1, now.1),
        };
        let retry_at = now.0 + PAUSED.wait(pauses, random);
        self.state = State::Paused { pauses, retry_at, reason: reason.to_owned(), since };
        self.epoch += 1;
    }

    /// The operator stops the destination.
    pub(crate) fn halt(&mut self, reason: String) {
        self.halted = Some(reason);
    }

    /// The operator lets it run, and says that waiting is over.
    pub(crate) fn resume(&mut self) {
        self.halted = None;
        if let State::Struggling { retry_at, .. } | State::Paused { retry_at, .. } = &mut self.state
        {
            *retry_at = Duration::ZERO;
        }
    }

    pub(crate) fn condition(&self) -> Condition {
        if let Some(reason) = &self.halted {
            return Condition::Halted { reason: reason.clone() };
        }
        match &self.state {
            State::Well { .. } => Condition::Well,
            State::Struggling { failures, reason, .. } => {
                Condition::Struggling { failures: *failures, reason: reason.clone() }
            }
            State::Paused { reason, since, .. } => {
                Condition::Paused { reason: reason.clone(), since: *since }
            }
        }
    }
}

/// How long it is from `now` until the wall clock says `at`, at most `cap`: a clock that was set
/// meanwhile must not stop anything for good.
pub(crate) fn until(at: i64, now: Moment, cap: Duration) -> Duration {
    Timestamp::from_millis(at).since(now.wall).min(cap)
}

/// What the wall clock will say at the monotonic instant `at`, in milliseconds since the Unix
/// epoch.
pub(crate) fn on_the_wall(at: Duration, now: Moment) -> i64 {
    now.wall.plus(at.saturating_sub(now.monotonic)).as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_mins(1) };
    const NOW: Duration = Duration::from_secs(100);
    const WALL: Timestamp = Timestamp::from_millis(1_770_000_000_000);

    fn struggling() -> Health {
        let mut health = Health::new(BACKOFF);
        for _ in 0..FAILURES_BEFORE_CAUTION {
            assert_eq!(health.condition(), Condition::Well);
            health.failed(0, NOW, u64::MAX, "no connection");
        }
        health
    }

    #[test]
    fn failures_in_a_row_leave_one_request_at_a_time() {
        let mut health = struggling();
        assert_eq!(health.caution().requests_in_flight, 1);
        let retry_at = health.free_at();
        for _ in 0..60 {
            health.failed(0, NOW, u64::MAX, "sent before, failed later");
        }
        assert_eq!(health.free_at(), retry_at, "what was sent together counts once");
        health.answered(health.epoch(), NOW);
        assert_eq!(health.condition(), Condition::Well);
        assert_eq!(health.caution().requests_in_flight, usize::MAX);
    }

    #[test]
    fn an_answer_between_failures_starts_the_count_again() {
        let mut health = Health::new(BACKOFF);
        for _ in 0..FAILURES_BEFORE_CAUTION {
            health.failed(0, NOW, 0, "reset");
            health.answered(0, NOW);
        }
        assert_eq!(health.condition(), Condition::Well);
    }

    #[test]
    fn wrong_credentials_pause_until_one_object_is_taken() {
        let mut health = Health::new(BACKOFF);
        health.refused(0, (NOW, WALL), 0, "401 invalid key");
        let later = WALL.plus(Duration::from_secs(5));
        health.refused(health.epoch(), (NOW, later), 0, "401 invalid key");
        let paused = Condition::Paused { reason: "401 invalid key".into(), since: WALL };
        assert_eq!(health.condition(), paused);
        assert_eq!(health.caution(), Caution { requests_in_flight: 1, objects_per_request: 1 });
        health.failed(health.epoch(), NOW, 0, "reset");
        assert_eq!(health.condition(), paused, "a failure does not mend a key");
        health.answered(0, NOW);
        assert_eq!(health.condition(), paused, "an answer from before does not either");
        health.answered(health.epoch(), NOW);
        assert_eq!(health.condition(), Condition::Well);
    }

    #[test]
    fn an_operator_stops_everything_and_lets_it_go_on_at_once() {
        let mut health = struggling();
        health.halt("maintenance".into());
        assert_eq!(health.caution().requests_in_flight, 0);
        assert_eq!(health.condition(), Condition::Halted { reason: "maintenance".into() });
        health.resume();
        assert_eq!(health.free_at(), Duration::ZERO);
        assert_eq!(health.caution().requests_in_flight, 1);
    }
}
