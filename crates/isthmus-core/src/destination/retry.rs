//! How long an object is tried before it is given up, and how long each wait is. Data; the engine
//! does the counting and the waiting.

use std::time::Duration;

const MINUTE: u64 = 60;

/// When an object that was not delivered is given up, and the waits until then.
///
/// Whichever of the two bounds is reached first ends it; without any it is tried for as long as it
/// takes. A refusal for good ends it at once, whatever the policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included.
    pub attempts: Option<u32>,
    /// Time since the object was accepted, after which a failed attempt was the last. An object that
    /// was never tried is tried, however old.
    pub within: Option<Duration>,
    pub waits: Waits,
}

/// How long to wait between attempts, where the vendor asks for no wait of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Waits {
    /// As the engine's back-off says.
    #[default]
    Backoff,
    /// After each attempt the next of these; after the last one, that one again.
    Fixed(Vec<Duration>),
}

impl RetryPolicy {
    /// Never given up.
    pub fn forever() -> Self {
        Self::default()
    }

    /// Ten attempts within four hours ("Event streaming", Amplitude documentation, read 2026-09).
    /// The waits between them are not documented: these fit into the window.
    pub fn amplitude() -> Self {
        let minutes = [1, 2, 5, 10, 20, 40, 60, 90];
        let waits = [30].into_iter().chain(minutes.map(|minutes| minutes * MINUTE));
        Self {
            attempts: Some(10),
            within: Some(Duration::from_hours(4)),
            waits: Waits::Fixed(waits.map(Duration::from_secs).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amplitudes_attempts_fit_into_their_window() {
        let RetryPolicy { attempts, within, waits } = RetryPolicy::amplitude();
        let Waits::Fixed(waits) = waits else { panic!("{waits:?}") };
        assert_eq!(attempts, u32::try_from(waits.len() + 1).ok());
        assert_eq!(waits.first(), Some(&Duration::from_secs(30)));
        assert_eq!(waits.last(), Some(&Duration::from_mins(90)));
        assert!(within > Some(waits.iter().sum()));
    }

    #[test]
    fn nothing_is_given_up_unless_told() {
        assert_eq!(RetryPolicy::default(), RetryPolicy::forever());
        let RetryPolicy { attempts, within, waits } = RetryPolicy::forever();
        assert_eq!((attempts, within, waits), (None, None, Waits::Backoff));
    }
}
