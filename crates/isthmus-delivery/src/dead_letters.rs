//! Where objects go that the vendor will never take.

use isthmus_state::StateError;
use isthmus_state::dead_letters::{DeadLetter, DeadLetters};

/// Keeps dead letters. The server passes `isthmus_state`'s.
pub trait DeadLetterStore: Send + Sync {
    /// Stores `letters`, replacing those of the same objects; returns once they survive power
    /// loss.
    fn put(&self, letters: &[DeadLetter]) -> Result<(), StateError>;
}

impl DeadLetterStore for DeadLetters {
    fn put(&self, letters: &[DeadLetter]) -> Result<(), StateError> {
        Self::put(self, letters)
    }
}
