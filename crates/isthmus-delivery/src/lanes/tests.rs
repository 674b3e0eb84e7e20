mod pacing;

use super::*;
use isthmus_core::destination::{CallLimits, Guarantee, Message};
use isthmus_core::{ByteSize, Place, Timestamp};

const LINGER: Duration = Duration::from_millis(20);
const NOW: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(7);

fn lanes(objects_per_request: usize) -> Lanes {
    Lanes::new(Limits {
        objects_per_request,
        objects_per_section: 3,
        calls: vec![CallLimits {
            call: Call(1),
            objects_per_request: 2,
            one_section: true,
            settle: SETTLE,
        }],
        bytes_per_object: ByteSize::bytes(500),
        bytes_per_request: ByteSize::bytes(ENVELOPE_BYTES as u64 + 1_000),
        requests_in_flight: 2,
        rates: Vec::new(),
        linger: LINGER,
        shares: isthmus_core::destination::Shares::default(),
        paces: Vec::new(),
    })
}

/// `user section payload`: an object called by its payload. Sections from 4 on are of another call,
/// and `a4>b` comes after user b.
fn push(lanes: &mut Lanes, text: &str) {
    push_as(lanes, Priority::Triggers, text);
}

fn push_as(lanes: &mut Lanes, priority: Priority, text: &str) {
    for word in text.split_whitespace() {
        let (user, section) = word.split_at(1);
        let (section, payload) = section.split_at(1);
        let after = payload.strip_prefix('>').map(Lane::of);
        let message = Message {
            lane: Lane::of(user),
            section: match section.parse().unwrap() {
                section @ 0..4 => Section(section),
                section => Section(0x10 + section),
            },
            name: word.to_owned(),
            payload: payload.repeat(100),
            guarantee: Guarantee::AtLeastOnce,
            after,
        };
        let delivery = Delivery {
            stream: "product".into(),
            place: Place::default(),
            part: 0,
            accepted_at: Timestamp::default(),
            message,
        };
        let ticket = Ticket {
            stream: StreamNumber(0),
            item: Some(0),
            priority,
            since: Timestamp::default(),
            attempts: 0,
            failing_since: Duration::ZERO,
            unknown: false,
            group: None,
        };
        lanes.push(Queued { delivery, ticket }, None, NOW);
    }
}

fn names(batch: &[Queued]) -> String {
    let names: Vec<_> = batch.iter().map(|queued| queued.delivery.message.name.as_str()).collect();
    names.join(" ")
}

fn fill(lanes: &mut Lanes) -> Vec<Queued> {
    lanes.fill(Priority::Triggers, usize::MAX, NOW, &mut |_| ())
}

fn due_at(lanes: &mut Lanes) -> Option<Duration> {
    let due = lanes.due_at(Priority::Triggers, usize::MAX, NOW);
    due.into_iter().chain(lanes.wakes_at()).min()
}

/// Gives back what `keep` says of `batch`, and takes all its lanes out of flight.
fn give_back(lanes: &mut Lanes, batch: Vec<Queued>, at: Duration, keep: impl Fn(&str) -> bool) {
    let mut by_lane: Vec<(Lane, Vec<Queued>)> = Vec::new();
    for queued in batch {
        let lane = queued.delivery.message.lane;
        if by_lane.last().is_none_or(|(last, _)| *last != lane) {
            by_lane.push((lane, Vec::new()));
        }
        if keep(&queued.delivery.message.name) {
            by_lane.last_mut().unwrap().1.push(queued);
        }
    }
    for (lane, returned) in by_lane {
        lanes.give_back(lane, returned, at, NOW);
    }
}

#[test]
fn a_request_takes_users_in_turn_and_each_users_objects_in_order() {
    let mut lanes = lanes(10);
    push(&mut lanes, "a0 b1 a1 c1 a0 b0");
    assert_eq!(names(&fill(&mut lanes)), "a0 a1 b1 c1");
    assert_eq!(names(&fill(&mut lanes)), "", "every user is in flight");
}

#[test]
fn sections_of_a_user_never_descend_within_a_request() {
    let mut lanes = lanes(10);
    push(&mut lanes, "a1 a0 a1 a1 a0");
    for expected in ["a1", "a0 a1 a1", "a0"] {
        let batch = fill(&mut lanes);
        assert_eq!(names(&batch), expected);
        give_back(&mut lanes, batch, NOW, |_| false);
    }
    assert_eq!(lanes.len(), 0);
}

#[test]
fn a_full_section_does_not_keep_other_objects_out() {
    let mut lanes = lanes(10);
    push(&mut lanes, "a1 b1 c1 d1 e0 f1 g0");
    assert_eq!(names(&fill(&mut lanes)), "a1 b1 c1 e0 g0");
    assert_eq!(names(&fill(&mut lanes)), "d1 f1");
}

#[test]
fn bytes_bound_a_request() {
    let mut lanes = lanes(10);
    push(&mut lanes, "a0xxxx b0xxxx c0xxxx d0x");
    assert_eq!(names(&fill(&mut lanes)), "a0xxxx b0xxxx d0x");
    assert_eq!(names(&fill(&mut lanes)), "c0xxxx");
}

#[test]
fn a_request_is_due_when_full_or_when_the_oldest_object_lingered() {
    let mut lanes = lanes(3);
    assert_eq!(due_at(&mut lanes), None);
    push(&mut lanes, "a1 a0 b1");
    assert_eq!(due_at(&mut lanes), Some(NOW + LINGER), "a0 cannot go with a1");
    push(&mut lanes, "b1");
    assert_eq!(due_at(&mut lanes), Some(Duration::ZERO));
}

#[test]
fn what_came_back_goes_first_and_before_what_followed_it() {
    let mut lanes = lanes(3);
    push(&mut lanes, "a0 b0");
    let batch = fill(&mut lanes);
    push(&mut lanes, "c0 a1 d0");
    give_back(&mut lanes, batch, NOW, |_| true);
    assert_eq!(due_at(&mut lanes), Some(Duration::ZERO));
    assert_eq!(names(&fill(&mut lanes)), "a0 a1 b0");
}

#[test]
fn a_user_that_waits_holds_up_nobody_else() {
    let mut lanes = lanes(3);
    push(&mut lanes, "a0 b0");
    let batch = fill(&mut lanes);
    give_back(&mut lanes, batch, LATER, |name| name == "a0");
    push(&mut lanes, "a1 b1");
    assert_eq!(names(&fill(&mut lanes)), "b1");
    assert_eq!(due_at(&mut lanes), Some(LATER));
    lanes.wake(LATER);
    assert_eq!(names(&fill(&mut lanes)), "a0 a1");
}

#[test]
fn objects_of_a_group_travel_with_nobody_else() {
    let mut lanes = lanes(10);
    push(&mut lanes, "a0 b0 c0");
    let mut batch = fill(&mut lanes);
    for (queued, group) in batch.iter_mut().zip([1, 1, 2]) {
        queued.ticket.group = Some(GroupId(group));
    }
    push(&mut lanes, "a1 b1 d1");
    give_back(&mut lanes, batch, NOW, |_| true);
    let first = fill(&mut lanes);
    assert_eq!(names(&first), "a0 b0");
    assert_eq!(names(&fill(&mut lanes)), "c0");
    assert_eq!(names(&fill(&mut lanes)), "d1");
    give_back(&mut lanes, first, NOW, |_| false);
    assert_eq!(names(&fill(&mut lanes)), "a1 b1");
}

#[test]
fn removing_a_stream_leaves_lanes_in_good_order() {
    let mut lanes = lanes(3);
    push(&mut lanes, "a0 b0");
    let batch = fill(&mut lanes);
    push(&mut lanes, "a1 c0");
    give_back(&mut lanes, batch, LATER, |name| name == "b0");
    assert!(lanes.remove_stream(StreamNumber(9), NOW).is_empty());
    assert_eq!(lanes.len(), 3);
    assert_eq!(lanes.remove_stream(StreamNumber(0), NOW).len(), 3);
    assert_eq!((lanes.len(), due_at(&mut lanes)), (0, None));
    push(&mut lanes, "a0");
    assert_eq!(names(&fill(&mut lanes)), "a0");
}

#[test]
fn the_past_waits_for_the_present_except_where_it_stands_in_front_of_it() {
    let mut lanes = lanes(3);
    push_as(&mut lanes, Priority::Backfill, "a0 b0 c0");
    assert_eq!(due_at(&mut lanes), None, "nothing urgent");
    push(&mut lanes, "b1 d0");
    // What is urgent for b goes, behind the past of b, and the past of others does not.
    assert_eq!(names(&fill(&mut lanes)), "b0 b1 d0");
    assert_eq!(names(&lanes.fill(Priority::Backfill, usize::MAX, NOW, &mut |_| ())), "a0 c0");
}

#[test]
fn a_lane_is_as_urgent_as_what_is_left_in_it() {
    let mut lanes = lanes(3);
    push_as(&mut lanes, Priority::Backfill, "a1");
    push(&mut lanes, "a0");
    push_as(&mut lanes, Priority::Backfill, "a0");
    for (priority, expected) in
        [(Priority::Triggers, "a1"), (Priority::Triggers, "a0 a0"), (Priority::Backfill, "")]
    {
        let batch = lanes.fill(priority, usize::MAX, NOW, &mut |_| ());
        assert_eq!(names(&batch), expected);
        give_back(&mut lanes, batch, NOW, |_| false);
    }
    assert_eq!(lanes.len(), 0);
}

#[test]
fn a_users_past_is_read_no_further_while_it_fills_a_request() {
    let mut lanes = lanes(3);
    push_as(&mut lanes, Priority::Backfill, "a0 b0 a0");
    push(&mut lanes, "c0 c0 c0 c0");
    assert!(!lanes.is_crowded());
    push_as(&mut lanes, Priority::Backfill, "a0 a0");
    assert!(lanes.is_crowded());
    let batch = lanes.fill(Priority::Backfill, usize::MAX, NOW, &mut |_| ());
    assert_eq!(names(&batch), "a0 a0 a0");
    assert!(!lanes.is_crowded());
    give_back(&mut lanes, batch, NOW, |_| true);
    assert!(lanes.is_crowded());
    lanes.remove_stream(StreamNumber(0), NOW);
    assert!(!lanes.is_crowded());
}

#[test]
fn a_wait_from_before_holds_a_lane_back() {
    let mut lanes = lanes(3);
    push(&mut lanes, "a0");
    let batch = fill(&mut lanes);
    give_back(&mut lanes, Vec::new(), NOW, |_| true);
    for queued in batch {
        let lane = queued.delivery.message.lane;
        lanes.give_back(lane, Vec::new(), NOW, NOW);
        lanes.push(queued, Some(LATER), NOW);
    }
    push(&mut lanes, "a1 b0");
    assert_eq!(names(&fill(&mut lanes)), "b0");
    lanes.wake(LATER);
    assert_eq!(names(&fill(&mut lanes)), "a0 a1");
}

/// What is sent from `NOW` on, each request accepted at once: one a line, with the time since.
fn drain(lanes: &mut Lanes) -> String {
    let (mut now, mut sent) = (NOW, Vec::new());
    while let Some(due) = due_at(lanes) {
        now = now.max(due);
        lanes.wake(now);
        lanes.check().unwrap();
        let batch = fill(lanes);
        if batch.is_empty() {
            continue;
        }
        sent.push(format!("{:?} {}", now.saturating_sub(NOW), names(&batch)));
        let mut lanes_of: Vec<_> =
            batch.iter().map(|queued| queued.delivery.message.lane).collect();
        lanes_of.dedup();
        for lane in lanes_of {
            if batch.iter().any(|queued| section_of(queued).call() == Call(1)) {
                lanes.settle(lane, now + SETTLE);
            }
            lanes.give_back(lane, Vec::new(), now, now);
        }
        lanes.check().unwrap();
    }
    assert_eq!(lanes.len(), 0);
    sent.join("\n")
}

#[test]
fn a_request_is_one_call_and_where_it_must_be_one_list() {
    let mut lanes = lanes(10);
    push(&mut lanes, "a0 b4 a4 c4 d5 e1 f4 b0 g5");
    insta::assert_snapshot!(drain(&mut lanes), @"
    20ms a0 e1
    1s b4 c4
    1s d5 g5
    1s f4
    1.02s a4
    2s b0
    ");
}

#[test]
fn an_object_waits_until_the_lane_that_it_comes_after_is_empty() {
    let mut lanes = lanes(10);
    push(&mut lanes, "m0 m0 a4>m a0 b4>m b0 c0");
    insta::assert_snapshot!(drain(&mut lanes), @"
    20ms m0 m0 c0
    1.02s a4>m b4>m
    2.02s a0 b0
    ");
}

#[test]
fn a_lane_is_let_go_when_what_it_waits_for_is_removed() {
    let mut lanes = lanes(10);
    push(&mut lanes, "m0");
    let flies = fill(&mut lanes);
    push(&mut lanes, "a4>m a0 m0");
    lanes.check().unwrap();
    assert_eq!(due_at(&mut lanes), None, "m is in flight, and a waits for it");
    assert_eq!(lanes.remove_stream(StreamNumber(0), NOW).len(), 3);
    lanes.check().unwrap();
    push(&mut lanes, "a4>m a0");
    give_back(&mut lanes, flies, LATER, |_| true);
    lanes.check().unwrap();
    assert_eq!(due_at(&mut lanes), Some(LATER));
    lanes.remove_stream(StreamNumber(0), NOW);
    lanes.check().unwrap();
    assert_eq!((lanes.len(), due_at(&mut lanes)), (0, None));
}
