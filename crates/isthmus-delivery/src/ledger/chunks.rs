//! Which part of the event log a chunk of the journal is about.
//!
//! An outcome names its request and not its objects, so a chunk is also about what requests of the
//! chunks before it carried, where it says what became of them.

use crate::journal::{Entry, Step};
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// What is remembered of a chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    /// Offsets of the event log between which all objects of the chunk are.
    offsets: Option<RangeInclusive<u64>>,
    /// Requests that have no outcome at the end of the chunk, with the offsets of their objects.
    open: HashMap<u64, RangeInclusive<u64>>,
}

impl About {
    /// Of the chunk after this one, before it is read.
    pub(super) fn next(&self) -> Self {
        Self { offsets: None, open: self.open.clone() }
    }

    /// Whether any object of the chunk may be from a record in `offsets`.
    pub(super) fn is_about(&self, offsets: &RangeInclusive<u64>) -> bool {
        self.offsets
            .as_ref()
            .is_some_and(|own| own.start() <= offsets.end() && offsets.start() <= own.end())
    }

    /// Takes note of the next entry of the chunk.
    pub(super) fn hear(&mut self, entry: &Entry) {
        for (_, offsets) in super::lost(&mut self.open, entry) {
            self.add(Some(offsets));
        }
        for (_, step) in super::steps(entry) {
            if let Step::Outcome(outcome) = step {
                let ended = self.open.remove(&outcome.request);
                self.add(ended);
                continue;
            }
            let offsets = || super::objects(step).iter().map(|key| key.place.offset);
            let own = offsets().min().zip(offsets().max()).map(|(first, last)| first..=last);
            if let (Step::Intent(intent), Some(own)) = (step, &own) {
                self.open.insert(intent.request, own.clone());
            }
            self.add(own);
        }
    }

    fn add(&mut self, offsets: Option<RangeInclusive<u64>>) {
        self.offsets = match (self.offsets.take(), offsets) {
            (Some(own), Some(more)) => {
                Some(*own.start().min(more.start())..=*own.end().max(more.end()))
            }
            (own, more) => own.or(more),
        };
    }
}
