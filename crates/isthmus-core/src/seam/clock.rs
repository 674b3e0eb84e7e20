//! Time: what it is now, and waiting for later.

use crate::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A future that can be stored and sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The only source of time. The server passes the machine's clock, tests a [`ManualClock`].
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock, which people and vendors read; it may jump.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point; never goes back. Measure durations and deadlines with this.
    fn monotonic(&self) -> Duration;

    /// Completes once [`Clock::monotonic`] has advanced by `duration`. Dropping it is safe.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A clock that only moves when told to.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    state: std::sync::Arc<Mutex<ManualState>>,
}

#[derive(Debug, Default)]
struct ManualState {
    wall_millis: i64,
    elapsed: Duration,
    next_sleeper: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

impl ManualClock {
    /// A clock whose wall time is `now`.
    pub fn at(now: Timestamp) -> Self {
        let clock = Self::default();
        clock.lock().wall_millis = now.as_millis();
        clock
    }

    /// Moves both clocks forward and wakes the sleepers that are due.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut state = self.lock();
            state.elapsed += by;
            state.wall_millis += i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            let due_until = (state.elapsed, u64::MAX);
            let later = state.sleepers.split_off(&due_until);
            std::mem::replace(&mut state.sleepers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// Sets the wall clock alone, as an operator or a time server would.
    pub fn jump_to(&self, now: Timestamp) {
        self.lock().wall_millis = now.as_millis();
    }

    /// The time until the next sleeper is due, if there is one.
    pub fn next_due(&self) -> Option<Duration> {
        let state = self.lock();
        state.sleepers.keys().next().map(|(at, _)| at.saturating_sub(state.elapsed))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ManualState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.lock().wall_millis)
    }

    fn monotonic(&self) -> Duration {
        self.lock().elapsed
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.lock();
        let id = state.next_sleeper;
        state.next_sleeper += 1;
        let key = (state.elapsed + duration, id);
        Box::pin(ManualSleep { clock: self.clone(), key })
    }
}

struct ManualSleep {
    clock: ManualClock,
    key: (Duration, u64),
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.elapsed >= self.key.0 {
            return Poll::Ready(());
        }
        state.sleepers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_wake_when_the_clock_passes_them() {
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let mut sleep = clock.sleep(Duration::from_secs(2));
        let mut context = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut context).is_pending());
        assert_eq!(clock.next_due(), Some(Duration::from_secs(2)));
        clock.advance(Duration::from_secs(2));
        assert!(sleep.as_mut().poll(&mut context).is_ready());
        assert_eq!(clock.now(), Timestamp::from_millis(3_000));
    }
}
