//! What sources of Currents came to, since each of them began.
//!
//! Keyspace `currents_counts`: source to [`CurrentsCounts`]. Only the applier writes, in the batch of what
//! it counts, so that counts follow from the log as far back as state does.

use crate::{State, StateError, WriteBatch};
use fjall::Keyspace;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// What one source came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CurrentsCounts {
    /// Events that were applied.
    pub events: u64,
    /// Events, and texts that are none, that came again.
    pub duplicates: u64,
    /// Events of people who were erased.
    pub refused: u64,
    /// Texts that are no events.
    pub unusable: u64,
    /// When the latest of the events happened, in milliseconds since the Unix epoch.
    pub newest_event_at: Option<i64>,
    /// When anything came last, in milliseconds since the Unix epoch.
    pub received_at: Option<i64>,
}

impl CurrentsCounts {
    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            events: self.events + more.events,
            duplicates: self.duplicates + more.duplicates,
            refused: self.refused + more.refused,
            unusable: self.unusable + more.unusable,
            newest_event_at: self.newest_event_at.max(more.newest_event_at),
            received_at: self.received_at.max(more.received_at),
        }
    }
}

/// The keyspace, open. Cheap to clone.
#[derive(Clone)]
pub struct CountsOfCurrents {
    counts: Keyspace,
}

impl CountsOfCurrents {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { counts: state.keyspace("currents_counts")? })
    }

    /// What `source` came to; nothing, if it never brought anything.
    pub fn get(&self, source: &str) -> Result<CurrentsCounts, StateError> {
        let Some(value) = self.counts.get(source)? else { return Ok(CurrentsCounts::default()) };
        crate::decode("counts of a Currents source", VERSION, &value)
    }

    /// Adds `more` to what `source` came to. A batch has one of these for each source.
    pub fn add(
        &self,
        batch: &mut WriteBatch,
        source: &str,
        more: CurrentsCounts,
    ) -> Result<(), StateError> {
        let counts = self.get(source)?.plus(more);
        batch.insert(&self.counts, source, crate::encode(VERSION, &counts));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_source_and_across_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let one = CurrentsCounts {
            events: 2,
            duplicates: 1,
            refused: 3,
            unusable: 4,
            newest_event_at: Some(9),
            received_at: Some(10),
        };
        let two = CurrentsCounts { events: 5, newest_event_at: Some(7), ..one };
        for more in [one, two] {
            let state = State::open(folder.path()).unwrap();
            let counts = CountsOfCurrents::open(&state).unwrap();
            let mut batch = state.batch();
            counts.add(&mut batch, "posts", more).unwrap();
            batch.commit().unwrap();
            state.persist().unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        let counts = CountsOfCurrents::open(&state).unwrap();
        let sum = CurrentsCounts {
            events: 7,
            duplicates: 2,
            refused: 6,
            unusable: 8,
            newest_event_at: Some(9),
            received_at: Some(10),
        };
        assert_eq!(counts.get("posts").unwrap(), sum);
        assert_eq!(counts.get("post").unwrap(), CurrentsCounts::default());
    }
}
