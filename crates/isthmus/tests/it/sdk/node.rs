//! `@amplitude/analytics-node`.

use super::{check_full_scenario, codes, products, two_thousand_and_one};
use crate::harness::clients::node;
use crate::harness::lab::{API_KEY, Lab};
use serde_json::{Value, json};

fn run(lab: &Lab, scenario: &str) -> Value {
    let url = lab.server().url("/2/httpapi");
    node("node.mjs", scenario, &[("ISTHMUS_URL", &url), ("ISTHMUS_API_KEY", API_KEY)])
}

#[test]
fn node_sdk_tells_braze_about_events_identifies_groups_and_revenue() {
    let lab = Lab::shop();
    let outcome = run(&lab, "full");
    assert_eq!(codes(&outcome), [(200, 11)]);
    check_full_scenario(&lab, "node-user-1");
}

#[test]
fn node_sdk_stops_after_a_wrong_key() {
    let lab = Lab::shop();
    let outcome = run(&lab, "wrong-key");
    assert_eq!(outcome["statuses"], json!([400]), "one request and no more");
    assert_eq!(outcome["results"][0]["message"], "Invalid API key: no-such-key");
    lab.settle();
    assert!(lab.braze().user("node-user-1").is_none());
}

#[test]
fn node_sdk_loses_one_bad_event_and_no_good_one() {
    let lab = Lab::shop();
    let outcome = run(&lab, "bad-among-good");
    assert_eq!(outcome["statuses"], json!([400, 200]));
    assert_eq!(codes(&outcome), [(200, 4), (400, 1)]);
    lab.settle();
    let good = ["node-good-1", "node-good-2", "node-good-3", "node-good-4"];
    assert_eq!(products(&lab, "node-good"), good);
    assert!(lab.braze().user("ab").is_none());
}

#[test]
fn node_sdk_splits_what_is_too_large_and_every_event_arrives_once() {
    let lab = Lab::shop();
    let outcome = run(&lab, "split");
    assert_eq!(outcome["statuses"], json!([413, 200, 200]));
    assert_eq!(codes(&outcome), [(200, 2_001)]);
    lab.settle();
    assert_eq!(products(&lab, "node-split"), two_thousand_and_one());
}
