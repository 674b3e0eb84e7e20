//! Finds the last objects that a filter lets through, in one reading of the journal.

use super::{Filter, State};
use crate::journal::{Entry, Fate, Mark, ObjectKey, Step};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Objects held while it is not certain that they stay what is asked for: more than a destination
/// has pending, and about 30 MiB.
const HELD_MAX: usize = 262_144;

/// The listing that is being made.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    filter: &'a Filter,
    limit: usize,
    /// Objects that the filter lets through as far as is known, by the order of the last news.
    held: BTreeMap<u64, ObjectKey>,
    numbers: HashMap<ObjectKey, u64>,
    next: u64,
    /// Requests under way, with the objects that are asked for and their index.
    in_flight: HashMap<u64, Vec<(usize, ObjectKey)>>,
    /// While possible duplicates are asked for: objects of which an outcome is unknown, and those
    /// of them that were sent again.
    unknown: HashSet<ObjectKey>,
    doubled: HashSet<ObjectKey>,
}

impl<'a> Listing<'a> {
    pub(super) fn of(filter: &'a Filter, limit: usize) -> Self {
        Self {
            filter,
            limit,
            held: BTreeMap::new(),
            numbers: HashMap::new(),
            next: 0,
            in_flight: HashMap::new(),
            unknown: HashSet::new(),
            doubled: HashSet::new(),
        }
    }

    pub(super) fn hear(&mut self, entry: &Entry) {
        for (_, key) in
            super::lost(&mut self.in_flight, entry).into_iter().flat_map(|(_, keys)| keys)
        {
            self.not_known(key);
            self.news(key, State::Pending);
        }
        for (_, step) in super::steps(entry) {
            self.step(step);
        }
    }

    /// The last objects, those with the latest news last.
    pub(super) fn finish(self) -> Vec<ObjectKey> {
        let excess = self.held.len().saturating_sub(self.limit);
        self.held.into_values().skip(excess).collect()
    }

    fn step(&mut self, step: &Step) {
        let filter = self.filter;
        match step {
            Step::Intent(intent) => {
                let keys = intent.objects.0.iter().copied().enumerate();
                let keys: Vec<_> = keys.filter(|(_, key)| filter.concerns(key)).collect();
                for (_, key) in &keys {
                    if self.unknown.contains(key) {
                        self.doubled.insert(*key);
                    }
                    self.news(*key, State::InFlight);
                }
                if !keys.is_empty() {
                    self.in_flight.insert(intent.request, keys);
                }
            }
            Step::Outcome(outcome) => {
                let keys = self.in_flight.remove(&outcome.request).unwrap_or_default();
                for (index, key) in keys {
                    let Some(mark) = outcome.marks.at(index) else { continue };
                    if matches!(mark, Mark::Unknown | Mark::Parked) {
                        self.not_known(key);
                    }
                    self.news(key, State::of_mark(mark));
                }
            }
            Step::Aside(aside) => {
                for key in aside.objects.0.iter().filter(|key| filter.concerns(key)).copied() {
                    if aside.fate == Fate::Parked {
                        self.not_known(key);
                    }
                    self.news(key, State::of_fate(aside.fate));
                }
            }
            Step::Decided(decided) => {
                let state = State::of_decision(decided.decision);
                for key in decided.objects.0.iter().filter(|key| filter.concerns(key)).copied() {
                    self.news(key, state);
                }
            }
            Step::Billed(_) => {}
        }
    }

    /// Nobody knows what became of an attempt.
    fn not_known(&mut self, key: ObjectKey) {
        if self.filter.possible_duplicates {
            self.unknown.insert(key);
        }
    }

    /// The object is in `state` from now on.
    fn news(&mut self, key: ObjectKey, state: State) {
        if let Some(number) = self.numbers.remove(&key) {
            self.held.remove(&number);
        }
        let fits = self.filter.state.is_none_or(|asked| asked == state)
            && (!self.filter.possible_duplicates || self.doubled.contains(&key));
        if !fits {
            return;
        }
        self.held.insert(self.next, key);
        self.numbers.insert(key, self.next);
        self.next += 1;
        // Without a state asked for, what fits once fits for ever.
        let most = match self.filter.state {
            Some(_) => self.limit.max(HELD_MAX),
            None => self.limit,
        };
        if self.held.len() > most
            && let Some((_, key)) = self.held.pop_first()
        {
            self.numbers.remove(&key);
        }
    }
}

impl Filter {
    /// Whether the object is of a stream and of a part of the log that are asked for.
    fn concerns(&self, key: &ObjectKey) -> bool {
        self.streams.contains(&key.stream)
            && self.offsets.as_ref().is_none_or(|offsets| offsets.contains(&key.place.offset))
    }
}
