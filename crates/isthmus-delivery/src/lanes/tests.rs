use super::*;
use isthmus_core::destination::Message;
use isthmus_core::{ByteSize, Place, Timestamp};

const LINGER: Duration = Duration::from_millis(20);
const NOW: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(7);

fn lanes(objects_per_request: usize) -> Lanes {
    Lanes::new(Limits {
        objects_per_request,
        objects_per_section: 3,
        bytes_per_object: ByteSize::bytes(500),
        bytes_per_request: ByteSize::bytes(ENVELOPE_BYTES as u64 + 1_000),
        requests_in_flight: 2,
        rates: Vec::new(),
        linger: LINGER,
    })
}

/// `user section payload`: an object called by its payload.
fn push(lanes: &mut Lanes, text: &str) {
    for word in text.split_whitespace() {
        let (user, section) = word.split_at(1);
        let (section, payload) = section.split_at(1);
        let message = Message {
            lane: Lane::of(user),
            section: Section(section.parse().unwrap()),
            name: word.to_owned(),
            payload: payload.repeat(100),
            guarantee: Guarantee::AtLeastOnce,
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
            item: 0,
            attempts: 0,
            failing_since: Duration::ZERO,
            unknown: false,
            group: None,
        };
        lanes.push(Queued { delivery, ticket }, NOW);
    }
}

fn names(batch: &[Queued]) -> String {
    let names: Vec<_> = batch.iter().map(|queued| queued.delivery.message.name.as_str()).collect();
    names.join(" ")
}

fn fill(lanes: &mut Lanes) -> Vec<Queued> {
    lanes.fill(usize::MAX)
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
    assert_eq!(lanes.due_at(), None);
    push(&mut lanes, "a1 a0 b1");
    assert_eq!(lanes.due_at(), Some(NOW + LINGER), "a0 cannot go with a1");
    push(&mut lanes, "b1");
    assert_eq!(lanes.due_at(), Some(Duration::ZERO));
}

#[test]
fn what_came_back_goes_first_and_before_what_followed_it() {
    let mut lanes = lanes(3);
    push(&mut lanes, "a0 b0");
    let batch = fill(&mut lanes);
    push(&mut lanes, "c0 a1 d0");
    give_back(&mut lanes, batch, NOW, |_| true);
    assert_eq!(lanes.due_at(), Some(Duration::ZERO));
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
    assert_eq!(lanes.due_at(), Some(LATER));
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
    lanes.remove_stream(StreamNumber(9), NOW);
    assert_eq!(lanes.len(), 3);
    lanes.remove_stream(StreamNumber(0), NOW);
    assert_eq!((lanes.len(), lanes.due_at()), (0, None));
    push(&mut lanes, "a0");
    assert_eq!(names(&fill(&mut lanes)), "a0");
}
