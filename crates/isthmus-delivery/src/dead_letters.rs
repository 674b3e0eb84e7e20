//! Where objects go that the vendor will not take, or of which nobody knows whether it did.

use isthmus_core::Place;
use isthmus_state::StateError;
use isthmus_state::dead_letters::{DeadLetter, DeadLetters, LetterKey, Past};
use std::collections::BTreeMap;

/// What happened to a letter before that is kept, newest first.
const HISTORY_MAX: usize = 20;

/// A change to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterChange {
    /// Keeps the letter, in place of the one of the same object.
    Keep(DeadLetter),
    /// The object is delivered, or let go.
    Remove(LetterKey),
}

/// Keeps dead letters. The server passes `isthmus_state`'s.
pub trait DeadLetterStore: Send + Sync {
    /// Makes `changes`, in their order; returns once they survive power loss. A letter that was
    /// there before becomes history of the one that takes its place.
    fn apply(&self, changes: Vec<LetterChange>) -> Result<(), StateError>;

    /// The letter of this object, if there is one.
    fn get(&self, stream: &str, place: Place, part: u16) -> Result<Option<DeadLetter>, StateError>;
}

impl DeadLetterStore for DeadLetters {
    fn apply(&self, changes: Vec<LetterChange>) -> Result<(), StateError> {
        let mut last: BTreeMap<LetterKey, Option<DeadLetter>> = BTreeMap::new();
        for change in changes {
            match change {
                LetterChange::Keep(letter) => {
                    let key = (letter.stream.clone(), letter.place, letter.part);
                    last.insert(key, Some(letter));
                }
                LetterChange::Remove(key) => drop(last.insert(key, None)),
            }
        }
        let (mut keep, mut remove) = (Vec::new(), Vec::new());
        for (key, letter) in last {
            match letter {
                Some(letter) => {
                    let before = Self::get(self, &key.0, key.1, key.2)?;
                    keep.push(with_history(letter, before.as_ref()));
                }
                None => remove.push(key),
            }
        }
        self.change(&keep, &remove)
    }

    fn get(&self, stream: &str, place: Place, part: u16) -> Result<Option<DeadLetter>, StateError> {
        Self::get(self, stream, place, part)
    }
}

/// `letter` with what is known of the one before it. Storing the same one again changes nothing: a
/// restart reads again what the cursor had not passed.
pub(crate) fn with_history(mut letter: DeadLetter, before: Option<&DeadLetter>) -> DeadLetter {
    let Some(before) = before else { return letter };
    let known = letter.history.is_empty();
    if known {
        letter.history.clone_from(&before.history);
    }
    let same = (&before.reason, before.attempts, before.cause)
        == (&letter.reason, letter.attempts, letter.cause);
    if known && !same {
        let what = format!("{}: {}", before.cause.name(), before.reason);
        letter.history.push(Past { at: before.rejected_at.as_millis(), what });
    }
    let excess = letter.history.len().saturating_sub(HISTORY_MAX);
    letter.history.drain(..excess);
    letter
}
