//! How long a stream tries an object that its destination does not take.

use crate::decode::{Decode, Fields, Report, Wrong};
use crate::diagnostic::{Problem, meant};
use crate::duration::parse_duration;
use crate::node::Node;
use crate::shape::{Shape, shape};
use isthmus_core::destination::{RetryPolicy, Waits};
use std::time::Duration;

/// `retry` of a stream: a word, or limits of one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// `forever`.
    Forever,
    /// `amplitude`: Amplitude's own, documented attempts.
    Amplitude,
    /// A mapping.
    Limited(RetryLimits),
}

shape! {
    /// `retry` of a stream as a mapping: at least one of the two. Whichever is reached first makes a
    /// dead letter of what was not delivered.
    #[derive(Copy, Eq)]
    pub struct RetryLimits {
        /// Attempts in all, the first one included.
        pub attempts: Option<u32> => some_attempts,
        /// Time since the first attempt, after which no other one begins.
        pub within ("for"): Option<Duration> => some_time,
    }
}

const FOREVER: &str = "write `retry: forever` to try for as long as it takes";

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "a check is a function of the very type of its field"
)]
fn some_attempts(attempts: &Option<u32>) -> Result<(), Wrong> {
    match attempts {
        Some(0) => {
            Err(Wrong::new("must be more than zero: the first attempt counts").hint(FOREVER))
        }
        _ => Ok(()),
    }
}

#[expect(clippy::ref_option, reason = "a check is a function of the very type of its field")]
fn some_time(within: &Option<Duration>) -> Result<(), Wrong> {
    match within {
        Some(Duration::ZERO) => Err(Wrong::new("must be more than zero").hint(FOREVER)),
        _ => Ok(()),
    }
}

impl Retry {
    const WORDS: [(&str, Self); 2] = [("forever", Self::Forever), ("amplitude", Self::Amplitude)];

    /// What is wrong between keys, at `path`.
    pub(super) fn check(self, path: &str) -> Option<Problem> {
        let Self::Limited(RetryLimits { attempts: None, within: None }) = self else { return None };
        let message = format!("`{path}` has no limit");
        Some(Problem::new(path, message).hint(format!("add `attempts` or `for`, or {FOREVER}")))
    }

    /// What the engine does.
    pub fn policy(self) -> RetryPolicy {
        match self {
            Self::Forever => RetryPolicy::forever(),
            Self::Amplitude => RetryPolicy::amplitude(),
            Self::Limited(RetryLimits { attempts, within }) => {
                RetryPolicy { attempts, within, waits: Waits::Backoff }
            }
        }
    }
}

impl Decode for Retry {
    const EXPECTED: &'static str = "`forever`, `amplitude` or a mapping";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let Some(text) = node.text() else {
            let mut fields = Fields::open(node, Self::EXPECTED, &[], report)?;
            let limits = RetryLimits::take_fields(&mut fields, report);
            fields.close(report);
            return limits.map(Self::Limited);
        };
        if let Some((_, retry)) = Self::WORDS.into_iter().find(|(word, _)| *word == text) {
            return Some(retry);
        }
        let message = format!("must be {}, found {}", Self::EXPECTED, node.found());
        let hint = match meant(text, Self::WORDS.map(|(word, _)| word)) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if text.parse::<u32>().is_ok() => Some(format!("write `{{ attempts: {text} }}`")),
            None if parse_duration(text).is_ok() => Some(format!("write `{{ for: {text} }}`")),
            None => None,
        };
        report.wrong(node.at, Wrong { message, hint });
        None
    }

    fn expected_on_page() -> String {
        format!(
            "`forever`, `amplitude` (10 attempts within 4 hours) or {}",
            RetryLimits::expected_on_page()
        )
    }

    fn show(&self) -> String {
        match Self::WORDS.into_iter().find(|(_, retry)| retry == self) {
            Some((word, _)) => format!("`{word}`"),
            None => "see there".to_owned(),
        }
    }
}
