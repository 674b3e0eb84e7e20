//! Requests that were answered and have not taken effect yet.

use super::directory::UserKey;
use super::identity::{AliasRename, Identify, Selector};
use super::track::Array;
use bytes::Bytes;
use isthmus_core::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a request does once it takes effect.
#[derive(Debug)]
pub(crate) enum Effect {
    Track {
        /// The request as it came; it is checked again, which gives the same result.
        body: Bytes,
        received_at: Timestamp,
        /// Objects refused for other reasons than their content, in ascending order.
        refused: Vec<(Array, usize)>,
    },
    Identify(Vec<Identify>),
    /// Of each: the `external_id` if there is one, label and name.
    AliasNew(Vec<(Option<String>, String, String)>),
    AliasUpdate(Vec<AliasRename>),
    /// Of each: source and target.
    Merge(Vec<(Selector, Selector)>),
    /// The second step of a merge.
    RemoveMerged(UserKey),
    Delete(Vec<Selector>),
}

/// Effects in the order in which they are due.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    effects: BTreeMap<(Duration, u64), Effect>,
    pushed: u64,
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.effects.len()
    }

    pub(crate) fn push(&mut self, due: Duration, effect: Effect) {
        self.effects.insert((due, self.pushed), effect);
        self.pushed += 1;
    }

    /// The next effect that is due at `elapsed`.
    pub(crate) fn due(&mut self, elapsed: Duration) -> Option<Effect> {
        let entry = self.effects.first_entry()?;
        (entry.key().0 <= elapsed).then(|| entry.remove())
    }

    /// When the next effect is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.effects.keys().next().map(|(due, _)| *due)
    }

    /// The next effect, due or not.
    pub(crate) fn next(&mut self) -> Option<Effect> {
        self.effects.pop_first().map(|(_, effect)| effect)
    }
}
