//! How many requests a minute are answered, all keys together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);

/// A bucket that holds one minute's requests and is filled evenly.
#[derive(Debug)]
pub(super) struct PerMinute {
    /// Between two requests at the allowed rate.
    interval: Duration,
    /// When the bucket would be full again, on the monotonic clock.
    full_at: Mutex<Duration>,
}

impl PerMinute {
    pub(super) fn new(requests: u32) -> Self {
        Self { interval: MINUTE / requests.max(1), full_at: Mutex::default() }
    }

    /// Lets one request in at `now`, or says when the next one may come.
    pub(super) fn admit(&self, now: Duration) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let after = (*full_at).max(now) + self.interval;
        let missing = after.saturating_sub(now + MINUTE);
        if missing > Duration::ZERO {
            return Err(missing);
        }
        *full_at = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_holds_so_many_and_fills_up_evenly() {
        let limit = PerMinute::new(60);
        let now = Duration::from_secs(100);
        for _ in 0..60 {
            assert_eq!(limit.admit(now), Ok(()));
        }
        assert_eq!(limit.admit(now), Err(Duration::from_secs(1)));
        assert_eq!(limit.admit(now + Duration::from_secs(1)), Ok(()));
        assert!(limit.admit(now + Duration::from_secs(1)).is_err());
    }
}
