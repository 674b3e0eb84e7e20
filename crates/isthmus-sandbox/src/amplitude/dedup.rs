//! Which events were there before: by `insert_id` and device, within a window that begins with the
//! first sighting.

use isthmus_core::record::IntakeEvent;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3;

/// Parts of the window, and of the room, in which what is remembered is forgotten.
const GENERATIONS: u32 = 8;

/// Fingerprints of the events of one project with the time of their first sighting.
///
/// They are forgotten a generation at a time; whether one still counts is judged exactly.
#[derive(Debug)]
pub(super) struct Dedup {
    kept_max: usize,
    /// Oldest first.
    generations: VecDeque<Generation>,
    kept: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Generation {
    begun: Duration,
    seen: HashMap<u128, Duration>,
}

impl Dedup {
    pub(super) fn new(kept_max: usize) -> Self {
        Self { kept_max, generations: VecDeque::new(), kept: 0, forgotten: 0 }
    }

    /// Notes `event` of `device_id`, sent or derived; whether it was seen within `window`.
    ///
    /// Without an `insert_id`, the older rule holds: the same `event_id` and time. An event with
    /// neither is never a duplicate.
    pub(super) fn is_duplicate(
        &mut self,
        device_id: &str,
        event: &IntakeEvent<'_>,
        now: Duration,
        window: Duration,
    ) -> bool {
        let Some(print) = fingerprint(device_id, event) else { return false };
        self.forget(now, window);
        let mut sighted = None;
        for generation in &self.generations {
            // A later generation holds a later sighting.
            sighted = generation.seen.get(&print).copied().or(sighted);
        }
        if sighted.is_some_and(|at| now.saturating_sub(at) < window) {
            return true;
        }
        self.note(print, now, window);
        false
    }

    /// Those that were forgotten before their time.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn note(&mut self, print: u128, now: Duration, window: Duration) {
        let full = self.kept_max / GENERATIONS as usize;
        let present = self.generations.back().filter(|present| {
            present.seen.len() < full.max(1)
                && now.saturating_sub(present.begun) < window / GENERATIONS
        });
        if present.is_none() {
            self.generations.push_back(Generation { begun: now, seen: HashMap::new() });
        }
        if let Some(present) = self.generations.back_mut()
            && present.seen.insert(print, now).is_none()
        {
            self.kept += 1;
        }
    }

    /// Lets go of generations that are over, and of the oldest when there is no room.
    fn forget(&mut self, now: Duration, window: Duration) {
        while let Some(oldest) = self.generations.front() {
            let over = now.saturating_sub(oldest.begun) >= window + window / GENERATIONS;
            if !over && self.kept < self.kept_max.max(1) {
                return;
            }
            if !over {
                let counts = |at: &&Duration| now.saturating_sub(**at) < window;
                self.forgotten += oldest.seen.values().filter(counts).count() as u64;
            }
            self.kept -= oldest.seen.len();
            self.generations.pop_front();
        }
    }
}

/// What makes an event the same as another one.
fn fingerprint(device_id: &str, event: &IntakeEvent<'_>) -> Option<u128> {
    let mut hasher = Xxh3::new();
    // Nobody can write the byte between the parts into a text of JSON's.
    hasher.update(device_id.as_bytes());
    match (event.insert_id, event.event_id) {
        (Some(insert_id), _) => {
            hasher.update(&[0xff, b'i']);
            hasher.update(insert_id.as_bytes());
        }
        (None, Some(event_id)) => {
            hasher.update(&[0xff, b'e']);
            hasher.update(&event_id.to_le_bytes());
            hasher.update(&event.time?.to_le_bytes());
        }
        (None, None) => return None,
    }
    Some(hasher.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_secs(800);

    fn event(insert_id: &str) -> IntakeEvent<'_> {
        IntakeEvent { insert_id: Some(insert_id), ..IntakeEvent::default() }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_window_begins_with_the_first_sighting() {
        let mut dedup = Dedup::new(1_000);
        let mut is_duplicate =
            |second| dedup.is_duplicate("d", &event("a"), seconds(second), WINDOW);
        assert!(!is_duplicate(50));
        assert!(is_duplicate(51) && is_duplicate(849), "repeats do not prolong it");
        assert!(!is_duplicate(850));
        assert!(is_duplicate(1_649) && !is_duplicate(1_650));
    }

    #[test]
    fn device_and_insert_id_together_tell_events_apart() {
        let mut dedup = Dedup::new(1_000);
        let mut is_duplicate =
            |device, event: IntakeEvent<'_>| dedup.is_duplicate(device, &event, seconds(1), WINDOW);
        assert!(!is_duplicate("d", event("a")));
        assert!(!is_duplicate("e", event("a")));
        assert!(!is_duplicate("da", event("")));
        assert!(is_duplicate("d", event("a")));
        let counted = |event_id, time| IntakeEvent {
            event_id: Some(event_id),
            time,
            ..IntakeEvent::default()
        };
        assert!(!is_duplicate("d", counted(1, Some(5))));
        assert!(!is_duplicate("d", counted(1, Some(6))));
        assert!(is_duplicate("d", counted(1, Some(5))));
        assert!(!is_duplicate("d", counted(1, None)) && !is_duplicate("d", counted(1, None)));
        assert!(!is_duplicate("d", IntakeEvent { insert_id: Some("b"), ..counted(1, Some(5)) }));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_lost_is_counted() {
        let mut dedup = Dedup::new(80);
        for number in 0..1_000_u64 {
            let id = number.to_string();
            assert!(!dedup.is_duplicate("d", &event(&id), seconds(1), WINDOW));
            assert!(dedup.kept <= 80);
        }
        assert!(dedup.is_duplicate("d", &event("999"), seconds(2), WINDOW));
        assert_eq!(dedup.forgotten() + dedup.kept as u64, 1_000);
        let mut dedup = Dedup::new(80);
        for number in 0..1_000_u64 {
            dedup.is_duplicate("d", &event(&number.to_string()), seconds(number * 100), WINDOW);
        }
        assert!(dedup.kept <= 10);
        assert_eq!(dedup.forgotten(), 0, "their time was over");
    }

    proptest! {
        /// The same answers as from a list of every first sighting.
        #[test]
        fn generations_do_not_show(steps in proptest::collection::vec((0_u64..300, 0_u8..6), 1..80)) {
            let mut dedup = Dedup::new(1_000);
            let (mut now, mut first) = (0, HashMap::new());
            for (wait, id) in steps {
                now += wait;
                let seen = first.get(&id).is_some_and(|at| now - at < WINDOW.as_secs());
                if !seen {
                    first.insert(id, now);
                }
                let id = id.to_string();
                let found = dedup.is_duplicate("d", &event(&id), seconds(now), WINDOW);
                prop_assert_eq!(found, seen);
            }
        }
    }
}
