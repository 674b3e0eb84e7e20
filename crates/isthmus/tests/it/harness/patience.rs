//! Waiting for processes that only the system's clock drives.

use std::time::Duration;

/// Longest wait for something that is going to happen; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again until `look` finds what it is after, and returns that.
///
/// # Panics
/// When [`PATIENCE`] runs out, with `what` and the last reason that `look` gave.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// As [`eventually`], with a patience of its own.
pub(crate) fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let mut waited = Duration::ZERO;
    loop {
        match look() {
            Ok(found) => return found,
            Err(reason) => assert!(waited < patience, "{what}: not within {patience:?}: {reason}"),
        }
        pause();
        waited += PAUSE;
    }
}

/// Lets a moment pass.
pub(crate) fn pause() {
    pause_for(PAUSE);
}

/// Lets `time` pass.
#[expect(clippy::disallowed_methods, reason = "child processes run on real time")]
pub(crate) fn pause_for(time: Duration) {
    std::thread::sleep(time);
}
