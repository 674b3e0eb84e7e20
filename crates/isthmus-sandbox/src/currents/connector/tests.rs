use super::*;
use crate::currents::believable;
use isthmus_core::Timestamp;
use isthmus_core::seam::SeededRandom;
use serde_json::{Value, json};

const SENT: &str = "users.messages.email.Send";
const OPENED: &str = "users.messages.email.Open";

/// A connector on a clock that only moves when told to.
struct Lab {
    connector: Connector,
    random: SeededRandom,
    elapsed: Duration,
    made: usize,
}

impl Lab {
    fn new(definition: &Value) -> Self {
        let definition = Definition::read(definition).expect("a definition");
        let random = SeededRandom::new(1);
        Self { connector: Connector::new(definition), random, elapsed: Duration::ZERO, made: 0 }
    }

    fn to(mut definition: Value) -> Self {
        definition["url"] = json!("http://receiver.test/currents");
        Self::new(&definition)
    }

    fn now(&self) -> Moment {
        Moment {
            wall: Timestamp::from_millis(1_788_990_401_000).plus(self.elapsed),
            elapsed: self.elapsed,
        }
    }

    fn push(&mut self, name: &str, count: usize) {
        let kind = Kind::of(name).expect("a type");
        for _ in 0..count {
            let mut event = believable::event(kind, "u", self.now().wall, &self.random);
            event.id = format!("e-{}", self.made);
            self.made += 1;
            self.connector.push(&Arc::new(event), self.now(), &self.random);
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.elapsed += Duration::from_secs(seconds);
    }

    /// Lets time pass until something is due, and takes it.
    fn next(&mut self) -> Vec<Batch> {
        let due = self.connector.next_due().expect("something to come");
        self.elapsed = self.elapsed.max(due);
        self.connector.due(self.now())
    }

    fn close(&mut self, batch: Batch, outcome: &Outcome) {
        self.connector.close(batch, outcome, self.now(), &self.random);
    }

    /// Sends everything until nothing is left; ids as they were taken, and how large requests were.
    fn answer(
        &mut self,
        mut answer: impl FnMut(&[String]) -> Outcome,
    ) -> (Vec<String>, Vec<usize>) {
        let (mut taken, mut sizes) = (Vec::new(), Vec::new());
        while self.connector.next_due().is_some() {
            for batch in self.next() {
                let ids = ids(&batch);
                sizes.push(ids.len());
                let outcome = answer(&ids);
                if outcome == Outcome::Status(200) {
                    taken.extend(ids);
                }
                self.close(batch, &outcome);
            }
        }
        (taken, sizes)
    }
}

fn ids(batch: &Batch) -> Vec<String> {
    batch.events().map(|event| event.id.clone()).collect()
}

#[test]
fn a_batch_is_of_one_type_and_waits_until_it_is_full_or_old() {
    let mut lab = Lab::to(json!({"batch_max": 3, "linger": "2s"}));
    lab.push(SENT, 4);
    lab.push(OPENED, 1);
    let full = lab.connector.due(lab.now());
    assert_eq!(full.iter().map(ids).collect::<Vec<_>>(), [["e-0", "e-1", "e-2"]]);
    lab.pass(1);
    assert!(lab.connector.due(lab.now()).is_empty());
    lab.pass(1);
    let old = lab.connector.due(lab.now());
    assert_eq!(
        old.iter().map(ids).collect::<Vec<_>>(),
        [["e-4"]],
        "a batch of its type is under way"
    );
    for batch in full {
        lab.close(batch, &Outcome::Status(204));
    }
    assert_eq!(lab.next().iter().map(ids).collect::<Vec<_>>(), [["e-3"]]);
}

#[test]
fn a_400_cuts_a_batch_into_single_events_and_a_second_one_drops_them() {
    let mut lab = Lab::to(json!({}));
    lab.push(SENT, 5);
    let bad =
        |ids: &[String]| Outcome::Status(if ids.contains(&"e-2".to_owned()) { 400 } else { 200 });
    let (taken, sizes) = lab.answer(bad);
    assert_eq!(taken, ["e-0", "e-1", "e-3", "e-4"]);
    assert_eq!(sizes, [5, 1, 1, 1, 1, 1]);
    assert_eq!(lab.connector.counts().dropped.refused, 1);
    assert_eq!((lab.connector.queued(), lab.connector.counts().acknowledged), (0, 4));
    let error = lab.connector.last_error().expect("an error");
    assert_eq!((error.status, error.event_type), (Some(400), SENT));
    lab.push(OPENED, 1);
    let (_, sizes) = lab.answer(|_| Outcome::Status(400));
    assert_eq!(sizes, [1, 1], "a batch of one is sent once more, too");
}

#[test]
fn a_413_halves_a_batch() {
    let mut lab = Lab::to(json!({}));
    lab.push(SENT, 10);
    let (taken, sizes) = lab.answer(|ids| Outcome::Status(if ids.len() > 3 { 413 } else { 200 }));
    assert_eq!(taken.len(), 10);
    assert!(taken.is_sorted(), "{taken:?}");
    assert_eq!(sizes, [10, 5, 3, 2, 5, 3, 2]);
    lab.push(SENT, 1);
    lab.answer(|_| Outcome::Status(413));
    assert_eq!(lab.connector.counts().dropped.too_large, 1);
}

#[test]
fn other_failures_are_tried_again_after_ever_longer_waits() {
    for outcome in [
        Outcome::Status(429),
        Outcome::Status(500),
        Outcome::Status(302),
        Outcome::NoReply("no connection".to_owned()),
    ] {
        let mut lab = Lab::to(json!({"retry_first": "1s", "retry_max": "1m", "linger": "0s"}));
        lab.push(SENT, 2);
        let mut waited = Vec::new();
        for _ in 0..40 {
            let before = lab.elapsed;
            let batch = lab.next().pop().expect("a batch");
            waited.push(lab.elapsed.saturating_sub(before));
            assert_eq!(ids(&batch), ["e-0", "e-1"]);
            lab.close(batch, &outcome);
        }
        let longest = waited.iter().max().expect("waits");
        assert!(*longest > Duration::from_secs(30) && *longest <= Duration::from_mins(1));
        assert!(waited[1] <= Duration::from_secs(1), "the first wait is short: {waited:?}");
        let (taken, _) = lab.answer(|_| Outcome::Status(200));
        assert_eq!(taken, ["e-0", "e-1"]);
        assert_eq!(lab.connector.counts().dropped.total(), 0);
    }
}

#[test]
fn one_type_does_not_wait_for_another() {
    let mut lab = Lab::to(json!({"linger": "0s"}));
    lab.push(SENT, 1);
    let stuck = lab.next().pop().expect("a batch");
    lab.close(stuck, &Outcome::Status(503));
    lab.push(OPENED, 1);
    let other = lab.connector.due(lab.now());
    assert_eq!(other.iter().map(|batch| batch.kind.name).collect::<Vec<_>>(), [OPENED]);
}

#[test]
fn wrong_credentials_hold_everything_and_one_request_asks_again() {
    for status in [401, 403, 404] {
        let mut lab = Lab::to(json!({"linger": "0s", "credentials_retry": "2m"}));
        lab.push(SENT, 1);
        let refused = lab.next().pop().expect("a batch");
        lab.close(refused, &Outcome::Status(status));
        assert_eq!(lab.connector.standing(), Standing::Credentials);
        lab.push(OPENED, 1);
        lab.pass(119);
        assert!(lab.connector.due(lab.now()).is_empty());
        lab.pass(1);
        let asking = lab.connector.due(lab.now());
        assert_eq!(asking.len(), 1);
        assert!(lab.connector.due(lab.now()).is_empty(), "one asks for all");
        for batch in asking {
            lab.close(batch, &Outcome::Status(200));
        }
        assert_eq!(lab.connector.standing(), Standing::Running);
        lab.answer(|_| Outcome::Status(200));
        assert_eq!(lab.connector.counts().acknowledged, 2);
    }
}

#[test]
fn too_many_failures_switch_it_off_until_it_is_defined_again() {
    let mut lab = Lab::to(json!({"linger": "0s", "failures_max": 3}));
    lab.push(SENT, 2);
    lab.answer(|_| Outcome::Status(401));
    assert_eq!((lab.connector.standing(), lab.connector.counts().requests), (Standing::Off, 3));
    lab.push(SENT, 1);
    let counts = lab.connector.counts();
    assert_eq!((lab.connector.queued(), counts.events, counts.dropped.off), (2, 3, 1));
    let again = Definition::read(&json!({"url": "http://receiver.test/new"})).expect("one");
    lab.connector.redefine(again);
    let (taken, _) = lab.answer(|_| Outcome::Status(200));
    assert_eq!(taken, ["e-0", "e-1"]);
}

#[test]
fn duplicates_are_sent_again_later_and_counted_apart() {
    let mut lab = Lab::to(json!({"duplicates": 0.5, "batch_max": 10}));
    lab.push(SENT, 200);
    let (taken, _) = lab.answer(|_| Outcome::Status(200));
    let counts = lab.connector.counts();
    assert_eq!((counts.events, counts.acknowledged), (200, 200));
    assert!((70..130).contains(&counts.duplicates), "{}", counts.duplicates);
    assert_eq!(taken.len() as u64, 200 + counts.duplicates);
    assert_eq!(lab.connector.queued(), 0);
    let unique: std::collections::BTreeSet<&String> = taken.iter().collect();
    assert_eq!(unique.len(), 200);
}

#[test]
fn reordered_events_come_after_later_ones_and_none_is_missing() {
    let mut lab = Lab::to(json!({"reorder": 0.3, "batch_max": 10}));
    lab.push(SENT, 100);
    let (mut taken, _) = lab.answer(|_| Outcome::Status(200));
    let in_order: Vec<String> = (0..100).map(|number| format!("e-{number}")).collect();
    assert_ne!(taken, in_order);
    taken.sort_by_key(|id| id.trim_start_matches("e-").parse::<u32>().expect("a number"));
    assert_eq!(taken, in_order);
}

#[test]
fn a_full_queue_and_a_huge_event_lose_what_comes() {
    let mut lab = Lab::to(json!({"queue_max": 2}));
    lab.push(SENT, 3);
    assert_eq!(lab.connector.counts().dropped.overflow, 1);
    let mut lab = Lab::to(json!({}));
    let kind = Kind::of("users.behaviors.CustomEvent").expect("a type");
    let facts =
        json!({"user_id": "b", "name": "n", "custom_properties": {"a": "x".repeat(900_000)}});
    let event = Event::new(kind, "e".to_owned(), lab.now().wall, facts.as_object().expect("one"));
    lab.connector.push(&Arc::new(event), lab.now(), &lab.random);
    assert_eq!(lab.connector.counts().dropped.too_large, 1);
}

#[test]
fn transformed_fields_leave_as_they_are_wanted() {
    let mut lab = Lab::to(json!({
        "linger": "0s", "transform": {"email_address": "hash", "campaign_name": "redact"},
    }));
    let kind = Kind::of(SENT).expect("a type");
    let facts = json!({"user_id": "b", "email_address": "a@b.test", "campaign_name": "Secret"});
    let event = Event::new(kind, "e".to_owned(), lab.now().wall, facts.as_object().expect("one"));
    lab.connector.push(&Arc::new(event), lab.now(), &lab.random);
    let batch = lab.next().pop().expect("a batch");
    let sent = batch.events().next().expect("an event").to_http();
    assert_eq!(
        sent["properties"],
        json!({
            "email_address": "d98fb7ed563d6a2727d2de61d3ec97dbdf76dbc88916a54cefb32e3f54d531fa",
            "campaign_name": "[REDACTED]",
        })
    );
}

#[test]
fn what_is_not_ticked_is_not_there_at_all() {
    let mut lab = Lab::to(json!({"types": [OPENED]}));
    lab.push(SENT, 5);
    lab.push(OPENED, 1);
    assert_eq!(lab.connector.counts().events, 1);
    assert_eq!(lab.connector.ids().0.collect::<Vec<_>>(), [("e-5", OPENED)]);
}
