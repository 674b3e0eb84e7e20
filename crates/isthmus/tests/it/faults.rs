//! A Braze that misbehaves: what must not be lost is not, and the rest is kept with its reason.

use crate::harness::eventually;
use crate::harness::lab::Lab;
use serde_json::{Value, json};

/// `count` events of as many users, named `NAME-0` and on.
fn upload(lab: &Lab, name: &str, count: usize) {
    let events: Vec<Value> = (0..count)
        .map(|at| {
            json!({
                "event_type": "Product Viewed", "user_id": format!("{name}-{at}"),
                "insert_id": format!("{name}-{at}"), "event_properties": { "uid": at },
            })
        })
        .collect();
    let answer = lab.upload(&Value::Array(events));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// How many events of users named `NAME-...` Braze holds.
fn arrived(lab: &Lab, name: &str) -> usize {
    let users = lab.braze().users();
    let is_one = |id: &Option<String>| id.as_ref().is_some_and(|id| id.starts_with(name));
    users.iter().filter(|user| is_one(&user.external_id)).map(|user| user.events.len()).sum()
}

#[test]
fn an_outage_delays_and_loses_nothing() {
    let lab = Lab::shop();
    for (name, rule) in [
        ("outage-status", json!([{ "path": "/users/track", "status": 503 }])),
        ("outage-limit", json!([{ "path": "/users/track", "rate_limit": { "retry_after": 1 } }])),
    ] {
        lab.braze().fail(&rule);
        upload(&lab, name, 200);
        eventually("the stream tries and fails", || {
            let stream = lab.stream();
            if stream["retries"].as_u64() > Some(0) { Ok(()) } else { Err(stream.to_string()) }
        });
        assert_eq!(arrived(&lab, name), 0);
        lab.braze().mend();
        eventually("all of them arrive", || match arrived(&lab, name) {
            200 => Ok(()),
            some => Err(format!("{some}")),
        });
    }
    let stream = lab.settle();
    assert_eq!(stream["rejected"], 0, "{stream}");
    assert_eq!(arrived(&lab, "outage"), 400);
}

#[test]
fn what_braze_refuses_is_kept_with_its_reason_and_holds_nobody_up() {
    let lab = Lab::shop();
    lab.braze().fail(&json!([{ "path": "/users/track", "reject": { "external_id": "poison-7" } }]));
    upload(&lab, "poison", 20);
    let stream = lab.settle();
    assert_eq!(stream["rejected"], 1, "{stream}");
    assert_eq!(arrived(&lab, "poison"), 19);
    let url = lab.server().url("");
    let arguments =
        ["dead-letters", "shop-events", "--json", "--server", &url, "--data-dir", "data"];
    let ended = crate::harness::process::ended(lab.folder(), &arguments);
    assert!(ended.status.success(), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["total"], 1, "{report}");
    let letter = &report["dead_letters"][0];
    assert_eq!(letter["name"], "Product Viewed", "{letter}");
    assert!(!letter["reason"].as_str().unwrap().is_empty(), "{letter}");
    assert!(letter["payload"].as_str().unwrap().contains("poison-7"), "{letter}");
}
