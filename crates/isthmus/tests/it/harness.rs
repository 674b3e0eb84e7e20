//! Starts the real program and looks at it from outside.

pub(crate) mod braze;
pub(crate) mod clients;
pub(crate) mod http;
pub(crate) mod lab;
pub(crate) mod process;

use std::time::Duration;

/// Longest wait for something that is going to happen; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again until `look` finds what it is after, and returns that.
///
/// # Panics
/// When [`PATIENCE`] runs out, with `what` and the last reason that `look` gave.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let mut waited = Duration::ZERO;
    loop {
        match look() {
            Ok(found) => return found,
            Err(reason) => assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}: {reason}"),
        }
        pause();
        waited += PAUSE;
    }
}

/// Lets a moment pass for processes that only the system's clock drives.
#[expect(clippy::disallowed_methods, reason = "child processes run on real time")]
pub(crate) fn pause() {
    std::thread::sleep(PAUSE);
}
