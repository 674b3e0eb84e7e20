//! A Braze that misbehaves: what must not be lost is not, and the rest is kept with its reason.

use crate::harness::eventually;
use crate::harness::lab::Lab;
use crate::harness::process::ended;
use serde_json::{Value, json};

/// `count` events of as many users, `NAME-0` and on, with the same as their `uid`.
fn upload(lab: &Lab, name: &str, count: usize) {
    let events: Vec<Value> = (0..count)
        .map(|at| {
            let id = format!("{name}-{at}");
            json!({
                "event_type": "Product Viewed", "user_id": id, "insert_id": id,
                "event_properties": { "uid": id },
            })
        })
        .collect();
    let answer = lab.upload(&Value::Array(events));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// How many different events whose `uid` begins with `name` Braze holds.
fn arrived(lab: &Lab, name: &str) -> usize {
    lab.braze().uids().keys().filter(|uid| uid.starts_with(name)).count()
}

fn wait_until_arrived(lab: &Lab, name: &str, count: usize) {
    eventually("all of them arrive", || match arrived(lab, name) {
        all if all == count => Ok(()),
        some => Err(format!("{some} of {count}")),
    });
}

fn wait_for_retries(lab: &Lab, beyond: &Value) {
    eventually("the stream tries again", || {
        let stream = lab.stream();
        let more = stream["retries"].as_u64() > beyond["retries"].as_u64();
        if more { Ok(()) } else { Err(stream.to_string()) }
    });
}

fn track(effect: &Value) -> Value {
    json!({ "path": "/users/track", "effect": effect })
}

#[test]
fn an_outage_or_a_limit_delays_and_loses_nothing() {
    let lab = Lab::shop();
    let effects = [
        ("status", json!({ "status": { "code": 503 } })),
        ("reset", json!({ "reset": { "when": "before" } })),
        ("limit", json!({ "rate_limit": { "form": "epoch", "seconds": 1 } })),
        ("bare", json!({ "rate_limit": { "form": "bare", "seconds": 1 } })),
    ];
    for (name, effect) in effects {
        let before = lab.stream();
        lab.braze().fail(&track(&effect));
        upload(&lab, name, 200);
        wait_for_retries(&lab, &before);
        assert_eq!(arrived(&lab, name), 0);
        lab.braze().mend();
        wait_until_arrived(&lab, name, 200);
    }
    let stream = lab.settle();
    assert_eq!(stream["rejected"], 0, "{stream}");
}

#[test]
fn refusals_that_pass_double_nothing() {
    let lab = Lab::shop();
    lab.braze().fail(&json!({
        "path": "/users/track", "times": 3, "effect": { "status": { "code": 500 } },
    }));
    upload(&lab, "refused", 200);
    lab.settle();
    assert_eq!(lab.braze().faults()[0]["struck"], 3);
    let uids = lab.braze().uids();
    assert_eq!(uids.len(), 200);
    assert!(uids.values().all(|count| *count == 1), "{uids:?}");
}

#[test]
fn a_lost_answer_loses_nothing_and_is_counted_as_a_possible_duplicate() {
    let lab = Lab::shop();
    lab.braze().fail(&json!({
        "path": "/users/track", "times": 1, "effect": { "reset": { "when": "after" } },
    }));
    upload(&lab, "unanswered", 10);
    let stream = lab.settle();
    let uids = lab.braze().uids();
    assert_eq!(uids.len(), 10, "{uids:?}");
    let doubled = uids.values().filter(|count| **count == 2).count() as u64;
    assert!(doubled > 0, "the request took effect, and was sent again: {uids:?}");
    assert!(uids.values().all(|count| *count <= 2), "{uids:?}");
    assert!(stream["possible_duplicates"].as_u64() >= Some(doubled), "{stream}");
}

#[test]
fn what_braze_refuses_is_kept_with_its_reason_and_holds_nobody_up() {
    let lab = Lab::shop();
    lab.braze().fail(&track(&json!({
        "partial": { "external_id": "poison-7", "error": "provided external_id is blacklisted and disallowed" },
    })));
    upload(&lab, "poison", 20);
    let stream = lab.settle();
    assert_eq!(stream["rejected"], 1, "{stream}");
    assert_eq!(arrived(&lab, "poison"), 19);
    let url = lab.server().url("");
    let arguments =
        ["dead-letters", "shop-events", "--json", "--server", &url, "--data-dir", "data"];
    let ended = ended(lab.folder(), &arguments);
    assert!(ended.status.success(), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["total"], 1, "{report}");
    let letter = &report["dead_letters"][0];
    assert_eq!(letter["name"], "Product Viewed", "{letter}");
    assert!(letter["reason"].as_str().unwrap().contains("blacklisted"), "{letter}");
    assert!(letter["payload"].as_str().unwrap().contains("poison-7"), "{letter}");
}

#[test]
fn a_wrong_key_pauses_the_destination_until_it_is_mended() {
    let lab = Lab::shop();
    lab.braze().fail(&track(&json!({ "status": { "code": 401 } })));
    upload(&lab, "locked-out", 20);
    eventually("the destination is paused, with the reason", || {
        let report = lab.streams();
        let paused = report["destinations"][0]["paused"].as_str();
        paused.map(str::to_owned).ok_or_else(|| report.to_string())
    });
    assert_eq!(lab.stream()["pending"], 20, "nothing is given up");
    lab.braze().mend();
    wait_until_arrived(&lab, "locked-out", 20);
    let stream = lab.settle();
    assert_eq!(stream["rejected"], 0, "{stream}");
}
