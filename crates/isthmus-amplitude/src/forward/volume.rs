//! How many events a stream would make at Amplitude, counted by the code that makes them.

use super::{AmplitudeStream, Mapped, reason, roll_up};
use isthmus_core::destination::{Lane, Mapping, Wants};
use isthmus_core::record::Applied;
use std::collections::{BTreeMap, HashSet};

/// Different ids of a type that are known by themselves; of more a part stands for all.
const KNOWN_MAX: usize = 1 << 18;

/// Counts what a stream makes of items, by type.
#[derive(Debug)]
pub struct Volume<'a> {
    stream: &'a AmplitudeStream,
    types: BTreeMap<TypeName, (TypeVolume, Distinct)>,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeName {
    /// As Amplitude shows it.
    pub event_type: String,
    /// Braze's own type, for events of Currents.
    pub braze_type: Option<String>,
}

/// What becomes of the items of one type. What is in none of the other counts is not selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TypeVolume {
    /// All there are in the log.
    pub in_log: u64,
    /// What Amplitude keeps.
    pub kept: u64,
    /// Of users who are not in the sample.
    pub sampled_out: u64,
    /// Sent, but of the same user, campaign and period as another one that is kept.
    pub rolled_up: u64,
    /// Held back by another rule.
    pub discarded: u64,
    /// Kept here as dead letters.
    pub refused: u64,
    /// Whether Amplitude counts it as an event, which identifies are not.
    pub is_event: bool,
    /// Whether [`Self::kept`] and [`Self::rolled_up`] are estimated, with an error below one percent.
    pub is_estimate: bool,
}

impl<'a> Volume<'a> {
    /// Counts what `stream` makes of what [`Self::add`] is given.
    pub fn of(stream: &'a AmplitudeStream) -> Self {
        Self { stream, types: BTreeMap::new() }
    }

    /// Counts `item`, if it is an event or an identify of the stream's project.
    pub fn add(&mut self, item: &Applied<'_>) {
        if item.project() != self.stream.project {
            return;
        }
        let (event_type, currents) = match item {
            Applied::Event(event) => (event.event_type, event.currents.as_deref()),
            Applied::Identify(identify) => (identify.event_type, None),
            _ => return,
        };
        let name = TypeName {
            event_type: event_type.to_owned(),
            braze_type: currents.map(|currents| currents.event_type.to_owned()),
        };
        let (volume, ids) = self.types.entry(name).or_default();
        volume.in_log += 1;
        volume.is_event = matches!(item, Applied::Event(_));
        if self.stream.wants(item) == Wants::Nothing {
            return;
        }
        let mut mapped = Vec::new();
        self.stream.map(item, None, &mut mapped);
        for mapped in mapped {
            match mapped {
                Mapped::Discard { reason: reason::SAMPLED_OUT } => volume.sampled_out += 1,
                Mapped::Discard { .. } => volume.discarded += 1,
                Mapped::Reject { .. } => volume.refused += 1,
                Mapped::Deliver(_) => match rolled_up(self.stream, item) {
                    Some(id) => {
                        volume.rolled_up += 1;
                        ids.note(Lane::of(&id).0);
                    }
                    None => volume.kept += 1,
                },
            }
        }
    }

    /// The counts by type, in the order of their names.
    pub fn finish(self) -> Vec<(TypeName, TypeVolume)> {
        let counted = self.types.into_iter().map(|(name, (mut volume, ids))| {
            let kept = ids.count().min(volume.rolled_up);
            volume.kept += kept;
            volume.rolled_up -= kept;
            volume.is_estimate = ids.halvings > 0;
            (name, volume)
        });
        counted.collect()
    }
}

fn rolled_up(stream: &AmplitudeStream, item: &Applied<'_>) -> Option<String> {
    let Applied::Event(event) = item else { return None };
    let currents = event.currents.as_deref()?;
    roll_up(event, currents, stream.forward.currents.as_ref()?)
}

/// Counts different hashes in bounded memory: exactly while there are few, and then by those that end
/// in as many zeros as it takes to keep few of them.
#[derive(Debug, Default)]
struct Distinct {
    kept: HashSet<u64>,
    halvings: u32,
}

impl Distinct {
    fn note(&mut self, hash: u64) {
        if hash.trailing_zeros() < self.halvings {
            return;
        }
        self.kept.insert(hash);
        while self.kept.len() > KNOWN_MAX {
            self.halvings += 1;
            let halvings = self.halvings;
            self.kept.retain(|hash| hash.trailing_zeros() >= halvings);
        }
    }

    fn count(&self) -> u64 {
        (self.kept.len() as u64) << self.halvings.min(32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_ids_are_counted_exactly_while_few_and_nearly_when_many() {
        let mut ids = Distinct::default();
        for number in 0..KNOWN_MAX as u64 {
            for _ in 0..2 {
                ids.note(Lane::of(&number.to_string()).0);
            }
        }
        assert_eq!((ids.count(), ids.halvings), (KNOWN_MAX as u64, 0));
        let many = 3_000_000u64;
        (0..many).for_each(|number| ids.note(Lane::of(&number.to_string()).0));
        assert!(ids.kept.len() <= KNOWN_MAX);
        assert!(ids.count().abs_diff(many) < many / 100, "{}", ids.count());
    }
}
