use super::*;
use isthmus_core::seam::SeededRandom;
use std::collections::BTreeMap;

const EVERYTHING: Engagement = Engagement {
    delivered: 1.0,
    bounced: 0.0,
    soft_bounced: 0.0,
    opened: 1.0,
    clicked: 1.0,
    unsubscribed: 1.0,
    machine_opens: 1.0,
    speed: 1.0,
};

fn steps(channel: Channel, engagement: &Engagement, seed: u64) -> Vec<Step> {
    plan(channel, engagement, &SeededRandom::new(seed))
}

fn what(channel: Channel, engagement: &Engagement) -> Vec<What> {
    steps(channel, engagement, 1).iter().map(|step| step.what).collect()
}

#[test]
fn a_seed_decides_what_becomes_of_a_message() {
    let engagement = Engagement { opened: 0.5, clicked: 0.5, ..EVERYTHING };
    let runs = |seed| {
        let random = SeededRandom::new(seed);
        (0..50).map(|_| plan(Channel::Email, &engagement, &random)).collect::<Vec<_>>()
    };
    assert_eq!(runs(7), runs(7));
    assert_ne!(runs(7), runs(8));
}

#[test]
fn each_channel_has_its_own_course() {
    use What::{Bounced, Carried, Clicked, Delivered, MachineOpened, Opened, Sent, Unsubscribed};
    for (channel, mut course) in [
        (Channel::Email, vec![Sent, Delivered, MachineOpened, Opened, Clicked, Unsubscribed]),
        (Channel::Push, vec![Sent, Opened, Unsubscribed]),
        (Channel::Sms, vec![Sent, Carried, Delivered, Clicked]),
        (Channel::ContentCard, vec![Sent, Opened, Clicked]),
        (Channel::InAppMessage, vec![Sent, Opened, Clicked]),
        (Channel::Webhook, vec![Sent]),
    ] {
        let mut happened = what(channel, &EVERYTHING);
        assert_eq!(happened.first(), Some(&Sent));
        happened.sort_unstable();
        course.sort_unstable();
        assert_eq!(happened, course, "{channel:?}");
    }
    let bouncing = Engagement { bounced: 1.0, ..EVERYTHING };
    for channel in [Channel::Email, Channel::Push, Channel::Webhook] {
        assert_eq!(what(channel, &bouncing), [Sent, Bounced], "{channel:?}");
    }
}

#[test]
fn nothing_happens_before_what_it_follows_from() {
    for seed in 0..200 {
        let steps = steps(Channel::Email, &EVERYTHING, seed);
        let at: BTreeMap<What, Duration> =
            steps.iter().map(|step| (step.what, step.after)).collect();
        assert!(at[&What::Sent].is_zero());
        assert!(at[&What::Delivered] < at[&What::Opened] && at[&What::Opened] < at[&What::Clicked]);
        assert!(at[&What::Opened] < at[&What::Unsubscribed]);
        assert!(at[&What::Opened] < Duration::from_hours(7));
        assert!(steps.is_sorted_by_key(|step| step.after));
    }
}

#[test]
fn speed_shortens_every_wait() {
    let fast = Engagement { speed: 1_000.0, ..EVERYTHING };
    let (slow, fast) = (steps(Channel::Email, &EVERYTHING, 3), steps(Channel::Email, &fast, 3));
    assert_eq!(slow.len(), fast.len());
    let last = |steps: &[Step]| steps.last().expect("a step").after;
    assert!(last(&fast) < last(&slow) / 900, "{:?} and {:?}", last(&fast), last(&slow));
}

#[test]
fn shares_come_out_as_asked_for() {
    let engagement = Engagement {
        bounced: 0.2,
        soft_bounced: 0.2,
        opened: 0.5,
        clicked: 0.0,
        unsubscribed: 0.0,
        machine_opens: 0.0,
        ..EVERYTHING
    };
    let random = SeededRandom::new(5);
    let mut counts: BTreeMap<What, u32> = BTreeMap::new();
    for _ in 0..10_000 {
        for step in plan(Channel::Email, &engagement, &random) {
            *counts.entry(step.what).or_default() += 1;
        }
    }
    for (what, expected) in [
        (What::Bounced, 2_000_u32),
        (What::SoftBounced, 2_000),
        (What::Delivered, 6_000),
        (What::Opened, 3_000),
    ] {
        assert!(counts[&what].abs_diff(expected) < 200, "{what:?}: {}", counts[&what]);
    }
    assert!(!counts.contains_key(&What::Clicked));
}

#[test]
fn every_step_of_a_channel_has_its_event_but_an_in_app_message_is_not_sent() {
    for channel in [
        Channel::Email,
        Channel::Push,
        Channel::Sms,
        Channel::InAppMessage,
        Channel::ContentCard,
        Channel::Webhook,
    ] {
        assert!(crate::currents::Kind::of(abort_type(channel)).is_some());
        for what in what(channel, &EVERYTHING) {
            let name = what.event_type(channel);
            let is_silent = (channel, what) == (Channel::InAppMessage, What::Sent)
                || (channel, what) == (Channel::Push, What::Unsubscribed);
            assert_eq!(name.is_none(), is_silent, "{channel:?} {what:?}");
            assert!(name.is_none_or(|name| crate::currents::Kind::of(name).is_some()), "{name:?}");
        }
    }
}
