//! What was counted of one project since the start or the last reset. Exact, however little else is
//! kept.

use super::door::Endpoint;
use isthmus_amplitude::Refusal;
use serde::Serialize;
use std::collections::BTreeMap;

/// Event types that are told apart, as many as Amplitude indexes in a project ("Limits", read
/// 2026-03).
const EVENT_TYPES_MAX: usize = 2_000;
/// Where events of all further types are counted.
const OTHER_TYPES: &str = "(other)";

/// Totals of one project.
///
/// received = stored + duplicates + identifies + `group_identifies` + refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AmplitudeCounters {
    /// Requests with a key of the project by path, refused ones included.
    pub requests: BTreeMap<&'static str, u64>,
    /// Requests that were refused, by status.
    pub requests_refused: BTreeMap<u16, u64>,
    /// Events and identifications in all those requests.
    pub received: u64,
    /// Events that were taken and are no duplicates.
    pub stored: u64,
    /// Events and identifications that were taken, and ignored because they were there before.
    pub duplicates: u64,
    /// Identifications of people that were taken.
    pub identifies: u64,
    /// Identifications of groups that were taken.
    pub group_identifies: u64,
    /// Events and identifications in requests that were refused, those beside the named ones
    /// included.
    pub refused: u64,
    /// Those that a 400 named as unusable.
    pub invalid: u64,
    /// Those that a 429 named as too fast or too many.
    pub throttled: u64,
    /// Those that a 400 named as silenced.
    pub silenced: u64,
    /// Property updates that were dropped silently, because a person had too many in an hour.
    pub property_updates_dropped: u64,
    /// Stored events by type: the first 2,000 types, and all others together.
    pub by_event_type: BTreeMap<String, u64>,
    /// Distinct values of the field or property that is watched, over stored events.
    pub uids: u64,
    /// Stored events with a value of it that was there before.
    pub uids_repeated: u64,
    /// `insert_id`s that were forgotten before their time, for lack of room.
    pub insert_ids_forgotten: u64,
    /// Users and devices whose rates were forgotten before their time, for lack of room.
    pub senders_forgotten: u64,
    pub people_created: u64,
    /// Anonymous people who turned out to be a known one.
    pub people_merged: u64,
}

impl AmplitudeCounters {
    /// Counts a request of so many events.
    pub(super) fn request(&mut self, endpoint: Endpoint, events: usize) {
        *self.requests.entry(endpoint.path()).or_default() += 1;
        self.received += events as u64;
    }

    /// Counts a request of so many events as refused.
    pub(super) fn refusal(&mut self, status: u16, events: usize) {
        *self.requests_refused.entry(status).or_default() += 1;
        self.refused += events as u64;
    }

    /// Counts the events that a refusal names.
    pub(super) fn named(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::Events(problems) => self.invalid += problems.indexes().len() as u64,
            Refusal::Throttled(throttle) => {
                self.throttled += throttle.throttled_events.len() as u64;
            }
            Refusal::Silenced(silenced) => {
                self.silenced += silenced.silenced_events.len() as u64;
            }
            _ => {}
        }
    }

    /// Counts a stored event.
    pub(super) fn event(&mut self, event_type: &str) {
        self.stored += 1;
        if let Some(count) = self.by_event_type.get_mut(event_type) {
            *count += 1;
            return;
        }
        let room = self.by_event_type.len() < EVENT_TYPES_MAX;
        let name = if room { event_type } else { OTHER_TYPES };
        *self.by_event_type.entry(name.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_beyond_the_bound_are_counted_together() {
        let mut counters = AmplitudeCounters::default();
        for number in 0..2_500 {
            counters.event(&format!("type {number}"));
        }
        counters.event("type 7");
        assert_eq!(counters.by_event_type.len(), EVENT_TYPES_MAX + 1);
        assert_eq!(counters.by_event_type[OTHER_TYPES], 500);
        assert_eq!((counters.by_event_type["type 7"], counters.stored), (2, 2_501));
    }
}
