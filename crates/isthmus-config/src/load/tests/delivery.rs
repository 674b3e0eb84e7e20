//! What resources say about delivering: how long, how often at most, and with which part of a budget.

use super::*;
use isthmus_core::destination::{Guarantee, RetryPolicy};

#[test]
fn a_stream_says_how_long_it_tries() {
    let policy =
        |retry: &str| stream(&format!("{STREAM}send_users: {{}}\n{retry}\n")).retry_policy();
    assert_eq!(policy(""), RetryPolicy::forever());
    assert_eq!(policy("retry: forever"), RetryPolicy::forever());
    assert_eq!(policy("retry: amplitude"), RetryPolicy::amplitude());
    let attempts = RetryPolicy { attempts: Some(1), ..RetryPolicy::forever() };
    assert_eq!(policy("retry: { attempts: 1 }"), attempts);
    let within = RetryPolicy { within: Some(Duration::from_mins(90)), ..RetryPolicy::forever() };
    assert_eq!(policy("retry: { for: 1h30m }"), within);
    let both = RetryPolicy { attempts: Some(5), ..within };
    assert_eq!(policy("retry: { attempts: 5, for: 90m }"), both);
}

#[test]
fn a_retry_that_cannot_be_is_named() {
    let retry = |retry: &str| {
        said(&format!("{PROJECT}---\n{BRAZE}---\n{STREAM}send_users: {{}}\nretry: {retry}\n"))
    };
    assert_snapshot!(retry("for ever"), @"
    loop.yaml:17:8: `retry` must be `forever`, `amplitude` or a mapping, found `for ever`
      hint: did you mean `forever`?
    ");
    assert_snapshot!(retry("Amplitude"), @"
    loop.yaml:17:8: `retry` must be `forever`, `amplitude` or a mapping, found `Amplitude`
      hint: did you mean `amplitude`?
    ");
    assert_snapshot!(retry("5"), @"
    loop.yaml:17:8: `retry` must be `forever`, `amplitude` or a mapping, found `5`
      hint: write `{ attempts: 5 }`
    ");
    assert_snapshot!(retry("4h"), @"
    loop.yaml:17:8: `retry` must be `forever`, `amplitude` or a mapping, found `4h`
      hint: write `{ for: 4h }`
    ");
    assert_snapshot!(retry("[5]"), @"
    loop.yaml:17:8: `retry` must be `forever`, `amplitude` or a mapping, found a list
    ");
    assert_snapshot!(retry("{}"), @"
    loop.yaml:17:8: `retry` has no limit
      hint: add `attempts` or `for`, or write `retry: forever` to try for as long as it takes
    ");
    assert_snapshot!(retry("{ attempts: 0, for: 0s }"), @"
    loop.yaml:17:20: `retry.attempts` must be more than zero: the first attempt counts
      hint: write `retry: forever` to try for as long as it takes
    loop.yaml:17:28: `retry.for` must be more than zero
      hint: write `retry: forever` to try for as long as it takes
    ");
    assert_snapshot!(retry("{ for: 4 hours }"), @"
    loop.yaml:17:15: `retry.for` must be a duration, found `4 hours`
      hint: write a whole number and a unit, like 20ms, 30s or 7d
    ");
    assert_snapshot!(retry("{ attemps: 5 }"), @"
    loop.yaml:17:10: unknown key `attemps` in `retry` of stream `product-events`
      hint: did you mean `attempts`?
    ");
}

#[test]
fn what_the_stream_says_of_events_holds_unless_the_event_says_otherwise() {
    let guarantees = |of_stream: &str| {
        let events =
            "[ A, { name: B, delivery: at_most_once }, { name: C, delivery: at_least_once } ]";
        let text = format!("{STREAM}send_events: {{ events: {events}{of_stream} }}\n");
        let send_events = stream(&text).send_events.unwrap();
        send_events.events.iter().map(|event| send_events.guarantee_of(event)).collect::<Vec<_>>()
    };
    let (least, most) = (Guarantee::AtLeastOnce, Guarantee::AtMostOnce);
    assert_eq!(guarantees(""), [least, most, least]);
    assert_eq!(guarantees(", delivery: at_least_once"), [least, most, least]);
    assert_eq!(guarantees(", delivery: at_most_once"), [most, most, least]);
    let wrong =
        "send_events: { delivery: at-most-once, events: [ { name: A, delivery: exactly_once } ] }";
    assert_snapshot!(said(&format!("{PROJECT}---\n{BRAZE}---\n{STREAM}{wrong}\n")), @"
    loop.yaml:16:26: `send_events.delivery` must be `at_least_once` or `at_most_once`, found `at-most-once`
      hint: did you mean `at_most_once`?
    loop.yaml:16:71: `send_events.events[0].delivery` must be `at_least_once` or `at_most_once`, found `exactly_once`
    ");
}

#[test]
fn a_share_is_part_of_a_whole() {
    let limits = |limits: &str| said(&format!("{BRAZE}limits: {{ {limits} }}\n"));
    assert_eq!(limits("shares: { realtime_cohorts: 1.0, backfill: 1e-3 }"), "good");
    assert_snapshot!(limits("shares: { realtime_cohorts: 90, scheduled_syncs: 0, backfill: -0.5 }"), @"
    loop.yaml:6:39: `limits.shares.realtime_cohorts` must be more than 0 and at most 1, found `90`
      hint: write 0.9 for 90 %
    loop.yaml:6:60: `limits.shares.scheduled_syncs` must be more than 0 and at most 1, found `0`
    loop.yaml:6:73: `limits.shares.backfill` must be more than 0 and at most 1, found `-0.5`
    ");
    assert_snapshot!(limits("shares: { backfill: most, triggers: 1, realtime_cohorts: .nan }"), @"
    loop.yaml:6:31: `limits.shares.backfill` must be a number, found `most`
    loop.yaml:6:37: unknown key `triggers` in `limits.shares` of destination `braze`
      hint: known keys: realtime_cohorts, scheduled_syncs, backfill
    loop.yaml:6:68: `limits.shares.realtime_cohorts` must be a number, found `.nan`
    ");
    assert_snapshot!(limits("shares: 0.9, company: ' '"), @"
    loop.yaml:6:19: `limits.shares` must be a mapping, found `0.9`
    loop.yaml:6:33: `limits.company` is empty
    ");
}
