//! Values that user properties had before the present ones.
//!
//! Keyspace `past_values`: Amplitude id to what is remembered, the latest last. Bounded per person,
//! so that a property that changes with every event costs no more than any other.

use crate::{State, StateError, WriteBatch};
use fjall::Keyspace;
use isthmus_core::AmplitudeId;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
/// Values remembered per person.
const VALUES_MAX: usize = 64;
/// Bytes of names and values remembered per person.
const BYTES_MAX: usize = 8 << 10;

/// A value that a property had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastValue {
    pub name: String,
    /// Raw JSON.
    pub value: String,
    /// Since when, in milliseconds since the Unix epoch; zero where that is not known.
    pub from: i64,
    /// Until when, in milliseconds since the Unix epoch.
    pub until: i64,
}

impl PastValue {
    fn bytes(&self) -> usize {
        self.name.len() + self.value.len() + 16
    }
}

/// The keyspace, open.
#[derive(Clone)]
pub struct PastValues {
    values: Keyspace,
}

impl PastValues {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { values: state.keyspace("past_values")? })
    }

    /// What is remembered of `person`, the latest last.
    pub fn get(&self, person: AmplitudeId) -> Result<Vec<PastValue>, StateError> {
        let Some(stored) = self.values.get(person.0.to_be_bytes())? else { return Ok(Vec::new()) };
        crate::decode("past values", VERSION, &stored)
    }

    /// Remembers `newer`, and forgets the oldest beyond what is kept.
    pub fn add(
        &self,
        batch: &mut WriteBatch,
        person: AmplitudeId,
        newer: Vec<PastValue>,
    ) -> Result<(), StateError> {
        let mut all = self.get(person)?;
        all.extend(newer);
        let (mut kept, mut bytes) = (0, 0);
        for value in all.iter().rev() {
            bytes += value.bytes();
            if kept == VALUES_MAX || bytes > BYTES_MAX {
                break;
            }
            kept += 1;
        }
        all.drain(..all.len() - kept);
        batch.insert(&self.values, person.0.to_be_bytes(), crate::encode(VERSION, &all));
        Ok(())
    }

    /// Forgets `person`.
    pub fn remove(&self, batch: &mut WriteBatch, person: AmplitudeId) {
        batch.remove(&self.values, person.0.to_be_bytes());
    }

    /// Rewrites what is stored, so that nothing of what was removed is left on disk.
    pub fn compact(&self) -> Result<(), StateError> {
        crate::compact(&self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_the_oldest_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let past = PastValues::open(&state).unwrap();
        for number in 0..100_i64 {
            let value = PastValue {
                name: "plan".into(),
                value: number.to_string(),
                from: number,
                until: number + 1,
            };
            let mut batch = state.batch();
            past.add(&mut batch, AmplitudeId(1), vec![value]).unwrap();
            batch.commit().unwrap();
        }
        let kept = past.get(AmplitudeId(1)).unwrap();
        assert_eq!(kept.len(), VALUES_MAX);
        assert_eq!(kept.last().map(|value| value.from), Some(99));
        assert!(past.get(AmplitudeId(2)).unwrap().is_empty());

        let long = |from| PastValue {
            name: "note".into(),
            value: format!("\"{}\"", "x".repeat(5_000)),
            from,
            until: from + 1,
        };
        let mut batch = state.batch();
        past.add(&mut batch, AmplitudeId(1), vec![long(200), long(201)]).unwrap();
        batch.commit().unwrap();
        let kept = past.get(AmplitudeId(1)).unwrap();
        assert_eq!(kept.iter().map(|value| value.from).collect::<Vec<_>>(), [201]);
    }
}
