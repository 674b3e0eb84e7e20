//! Which dead letters are meant: by their ids, or by what they are.

use isthmus_core::{Place, Timestamp};
use isthmus_state::dead_letters::{Cause, DeadLetter};
use std::fmt;
use std::str::FromStr;

/// Names a dead letter within its stream: the place of its item, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) place: Place,
    pub(crate) part: u16,
}

impl Id {
    pub(crate) fn of(letter: &DeadLetter) -> Self {
        Self { place: letter.place, part: letter.part }
    }
}

/// `1048576-3-0`.
impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.place, self.part)
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (place, part) = text.rsplit_once('-')?;
            Some(Self { place: place.parse().ok()?, part: part.parse().ok()? })
        };
        read().ok_or_else(|| {
            format!("{text:?} is no id of a dead letter, which is written OFFSET-INDEX-PART")
        })
    }
}

/// What the letters that are meant have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Matching {
    pub(crate) cause: Option<Cause>,
    /// Name of the event, or kind of update.
    pub(crate) name: Option<String>,
    /// Part of the reason, in any case.
    pub(crate) reason: Option<String>,
    /// Refused at this instant or later.
    pub(crate) from: Option<Timestamp>,
    /// Refused before this instant.
    pub(crate) to: Option<Timestamp>,
}

impl Matching {
    pub(crate) fn contains(&self, letter: &DeadLetter) -> bool {
        self.cause.is_none_or(|cause| cause == letter.cause)
            && self.name.as_ref().is_none_or(|name| *name == letter.name)
            && self
                .reason
                .as_ref()
                .is_none_or(|reason| letter.reason.to_lowercase().contains(&reason.to_lowercase()))
            && self.from.is_none_or(|from| letter.rejected_at >= from)
            && self.to.is_none_or(|to| letter.rejected_at < to)
    }
}

/// The letters of a decision.
#[derive(Debug)]
pub(crate) enum Choice {
    These(Vec<Id>),
    /// The first `limit` after `after` that match.
    All {
        matching: Matching,
        after: Option<Id>,
        limit: usize,
    },
}

/// For the audit log.
impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        match self {
            Self::These(ids) => {
                let shown: Vec<_> = ids.iter().take(SHOWN).map(ToString::to_string).collect();
                write!(out, "ids {}", shown.join(" "))?;
                match ids.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(out, " and {more} more"),
                }
            }
            Self::All { matching, after, .. } => {
                let Matching { cause, name, reason, from, to } = matching;
                out.write_str("all")?;
                let filters = [
                    ("cause", cause.map(|cause| cause.name().to_owned())),
                    ("name", name.as_ref().map(|name| format!("{name:?}"))),
                    ("reason", reason.as_ref().map(|reason| format!("{reason:?}"))),
                    ("from", from.map(|at| at.to_string())),
                    ("to", to.map(|at| at.to_string())),
                    ("after", after.map(|id| id.to_string())),
                ];
                for (name, value) in filters {
                    if let Some(value) = value {
                        write!(out, " {name}={value}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_anything_else_is_refused() {
        let id = Id { place: Place { offset: 1_048_576, index: 3 }, part: 1 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "7", "7-0", "7-0-", "7-0-x", "7-0-70000", "-1-0-0", "7-0-0-0"] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_audit_log_says_which_letters_were_meant() {
        let id = |offset| Id { place: Place { offset, index: 0 }, part: 0 };
        let these = Choice::These((0..12).map(id).collect());
        assert!(these.to_string().ends_with("9-0-0 and 2 more"), "{these}");
        let matching = Matching {
            cause: Some(Cause::Expired),
            reason: Some("too \"long\"".to_owned()),
            from: Some(Timestamp::from_millis(0)),
            ..Matching::default()
        };
        let all = Choice::All { matching, after: Some(id(7)), limit: 1 };
        assert_eq!(
            all.to_string(),
            "all cause=expired reason=\"too \\\"long\\\"\" from=1970-01-01T00:00:00.000Z after=7-0-0"
        );
    }
}
