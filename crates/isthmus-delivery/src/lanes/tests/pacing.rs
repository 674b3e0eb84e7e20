//! Lanes of a vendor that counts objects by user and device.

use super::*;
use isthmus_core::destination::{
    Budget, Destination, EncodeError, Encoded, Pace, Priority, Verdict,
};
use isthmus_core::seam::{Reply, Request};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const SECOND: Duration = Duration::from_secs(1);
const REPLY_AFTER: Duration = Duration::from_millis(30);

/// Counts by lane, the device, and by its letter whatever the case, the user: `a` and `A` are two
/// devices of one user.
#[derive(Debug)]
struct Counting;

impl Destination for Counting {
    fn limits(&self) -> Limits {
        unreachable!("lanes are given their limits")
    }

    fn encode(&self, _: &[Delivery]) -> Result<Encoded, EncodeError> {
        unreachable!("nothing is sent")
    }

    fn judge(&self, _: &[Delivery], _: &Reply) -> Vec<Verdict> {
        unreachable!("nothing is sent")
    }

    fn budget(&self, _: &Reply) -> Option<Budget> {
        None
    }

    fn probe(&self) -> Request {
        unreachable!("nothing is sent")
    }

    fn check(&self, _: &Message) -> Result<(), String> {
        Ok(())
    }

    fn account(&self) -> String {
        "counting".to_owned()
    }

    fn paced_by(&self, message: &Message) -> Vec<Lane> {
        vec![message.lane, Lane::of(&format!("user {}", user_of(&message.name)))]
    }
}

fn user_of(name: &str) -> String {
    name.chars().take(1).collect::<String>().to_lowercase()
}

fn paced(objects: u32) -> Lanes {
    let pace = Pace { objects, per: SECOND };
    let mut lanes = lanes(50);
    lanes.limits.objects_per_section = 50;
    lanes.limits.bytes_per_request = ByteSize::mib(1);
    lanes.pace(Pacer::new(Arc::new(Counting), &[pace]));
    lanes
}

/// When each object left, in order: `name` by time. Requests are answered after a while.
fn run(lanes: &mut Lanes, arrivals: &[(Duration, Priority, String)]) -> Vec<(Duration, String)> {
    let mut arrivals = arrivals.iter().peekable();
    let mut flying: Vec<(Duration, Vec<Lane>)> = Vec::new();
    let (mut now, mut left) = (NOW, Vec::new());
    loop {
        while let Some((_, priority, word)) = arrivals.next_if(|(at, ..)| *at <= now) {
            push_as(lanes, *priority, word);
        }
        let (landed, still): (Vec<_>, Vec<_>) = flying.drain(..).partition(|(at, _)| *at <= now);
        flying = still;
        for lane in landed.into_iter().flat_map(|(_, lanes)| lanes) {
            lanes.give_back(lane, Vec::new(), now, now);
        }
        lanes.wake(now);
        for priority in Priority::ALL {
            while lanes.due_at(priority, usize::MAX, now).is_some_and(|due| due <= now) {
                let batch = lanes.fill(priority, usize::MAX, now, &mut |_| ());
                assert!(!batch.is_empty(), "what is due can leave");
                let mut of: Vec<_> =
                    batch.iter().map(|queued| queued.delivery.message.lane).collect();
                of.dedup();
                flying.push((now + REPLY_AFTER, of));
                left.extend(batch.into_iter().map(|queued| (now, queued.delivery.message.name)));
            }
        }
        lanes.check().unwrap();
        let due = Priority::ALL.into_iter().filter_map(|of| lanes.due_at(of, usize::MAX, now));
        let next = due
            .collect::<Vec<_>>()
            .into_iter()
            .chain(lanes.wakes_at())
            .chain(flying.iter().map(|(at, _)| *at))
            .chain(arrivals.peek().map(|(at, ..)| *at))
            .min();
        match next {
            Some(next) => now = next.max(now + Duration::from_nanos(1)),
            None => break,
        }
    }
    assert_eq!(lanes.len(), 0, "nothing is left behind");
    left
}

fn at_once(words: &str) -> Vec<(Duration, Priority, String)> {
    words.split_whitespace().map(|word| (NOW, Priority::Triggers, word.to_owned())).collect()
}

#[test]
fn one_user_is_held_back_and_the_others_go_on() {
    let mut lanes = paced(2);
    let left = run(&mut lanes, &at_once("a0 a0 a0 a0 a0 b0 c0 d0"));
    let seconds =
        |(at, name): &(Duration, String)| format!("{}s {name}", at.saturating_sub(NOW).as_secs());
    let told: Vec<_> = left.iter().map(seconds).collect();
    assert_eq!(told.join(", "), "0s a0, 0s a0, 0s b0, 0s c0, 0s d0, 1s a0, 1s a0, 2s a0");
}

#[test]
fn devices_of_one_user_share_the_users_pace() {
    let mut lanes = paced(3);
    let left = run(&mut lanes, &at_once("a0 a0 A0 A0 A0"));
    let first: Vec<_> = left.iter().take_while(|(at, _)| *at < NOW + SECOND).collect();
    assert_eq!(first.len(), 3, "{left:?}");
}

#[test]
fn whoever_the_vendor_asks_to_wait_waits_on_every_device() {
    let mut lanes = paced(10);
    push(&mut lanes, "a0 A0 b0");
    let flies = fill(&mut lanes);
    assert_eq!(names(&flies), "a0 A0 b0");
    let throttled = flies.iter().find(|queued| queued.delivery.message.name == "a0").unwrap();
    lanes.hold_user(&throttled.delivery.message, LATER, NOW);
    push(&mut lanes, "A0 b0");
    give_back(&mut lanes, flies, NOW, |name| name == "a0");
    assert_eq!(names(&fill(&mut lanes)), "b0");
    assert_eq!(lanes.wakes_at(), Some(LATER));
    lanes.check().unwrap();
    lanes.hurry();
    assert_eq!(names(&fill(&mut lanes)), "a0 A0", "the operator says that waiting is over");
}

#[test]
fn the_past_of_one_user_flows_at_its_pace_while_the_present_and_the_past_of_others_go_on() {
    let mut lanes = paced(30);
    let mut arrivals: Vec<_> =
        (0..3_000).map(|_| (NOW, Priority::Backfill, "a0".to_owned())).collect();
    for second in 0..60 {
        let at = NOW + SECOND * second;
        arrivals.push((at, Priority::Backfill, "b0".to_owned()));
        arrivals.push((at, Priority::Triggers, "c0".to_owned()));
    }
    arrivals.sort_by_key(|(at, ..)| *at);
    let left = run(&mut lanes, &arrivals);
    let last = |name: &str| left.iter().filter(|(_, of)| of == name).map(|(at, _)| *at).max();
    let (a, b, c) = (last("a0").unwrap(), last("b0").unwrap(), last("c0").unwrap());
    assert!(b < NOW + SECOND * 60 && c < NOW + SECOND * 60, "{b:?} {c:?}");
    let legal = NOW + SECOND * 100;
    assert!(a + SECOND >= legal && a < legal + SECOND * 12, "{a:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nobody_ever_exceeds_a_pace_nobody_starves_and_each_lane_keeps_its_order(
        objects in 1u32..6,
        arrivals in prop::collection::vec(
            (0u64..400, prop::sample::select(vec!["a", "A", "b", "B", "c"]), 0u8..3, any::<bool>()),
            1..150,
        ),
    ) {
        let mut at = NOW;
        let mut told = Vec::new();
        for (wait, user, section, past) in arrivals {
            at += Duration::from_millis(wait);
            let priority = if past { Priority::Backfill } else { Priority::Triggers };
            told.push((at, priority, format!("{user}{section}")));
        }
        let left = run(&mut paced(objects), &told);
        prop_assert_eq!(left.len(), told.len());
        let mut by_key: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for (at, name) in &left {
            by_key.entry(format!("device {}", name.get(..1).unwrap_or_default())).or_default().push(*at);
            by_key.entry(user_of(name)).or_default().push(*at);
        }
        for times in by_key.values() {
            for first in times {
                let within = times.iter().filter(|at| *at >= first && **at < *first + SECOND);
                prop_assert!(within.count() <= objects as usize);
            }
        }
        for device in ["a", "A", "b", "B", "c"] {
            let of = |name: &&String| name.starts_with(device);
            let sent: Vec<_> = left.iter().map(|(_, name)| name).filter(of).collect();
            let came: Vec<_> = told.iter().map(|(.., name)| name).filter(of).collect();
            prop_assert_eq!(sent, came);
        }
    }
}
