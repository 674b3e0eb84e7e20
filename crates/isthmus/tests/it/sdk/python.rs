//! `amplitude-analytics` for Python.

use super::{check_full_scenario, codes, products, two_thousand_and_one};
use crate::harness::clients::python;
use crate::harness::lab::{API_KEY, Lab, SHOP};
use serde_json::{Value, json};

fn run(lab: &Lab, scenario: &str) -> Value {
    let url = lab.server().url("/2/httpapi");
    python(scenario, &[("ISTHMUS_URL", &url), ("ISTHMUS_API_KEY", API_KEY)])
}

#[test]
fn python_sdk_tells_braze_about_events_identifies_groups_and_revenue() {
    let lab = Lab::shop();
    let outcome = run(&lab, "full");
    assert_eq!(codes(&outcome), [(200, 11)]);
    check_full_scenario(&lab, "python-user-1");
}

#[test]
fn python_sdk_stops_after_a_wrong_key() {
    let lab = Lab::shop();
    let outcome = run(&lab, "wrong-key");
    assert_eq!(outcome["statuses"], json!([400]), "one request and no more");
    assert_eq!(outcome["log"], json!(["Invalid API Key"]));
    lab.settle();
    assert!(lab.braze().user("python-user-1").is_none());
}

#[test]
fn python_sdk_loses_one_bad_event_and_no_good_one() {
    let lab = Lab::shop();
    let outcome = run(&lab, "bad-among-good");
    assert_eq!(outcome["statuses"][0], 400);
    assert_eq!(codes(&outcome), [(200, 4), (400, 1)]);
    lab.settle();
    let good = ["python-good-1", "python-good-2", "python-good-3", "python-good-4"];
    assert_eq!(products(&lab, "python-good"), good);
    assert!(lab.braze().user("ab").is_none());
}

#[test]
fn python_sdk_splits_what_is_too_large_and_every_event_arrives_once() {
    let lab = Lab::shop();
    let outcome = run(&lab, "split");
    assert_eq!(outcome["statuses"][0], 413);
    assert_eq!(codes(&outcome), [(200, 2_001)]);
    lab.settle();
    assert_eq!(products(&lab, "python-split"), two_thousand_and_one());
}

#[test]
fn python_sdk_holds_back_a_busy_user_and_resends_the_others_at_once() {
    let throttled =
        SHOP.replace("api_key: shop-key", "api_key: shop-key\nthrottle: { events_per_second: 1 }");
    let lab = Lab::with(&throttled);
    let order = json!([{ "event_type": "Order Completed", "user_id": "python-busy" }]);
    assert_eq!(lab.upload(&order).status, 200, "the rate is an average over 30 seconds");
    let outcome = run(&lab, "throttled");
    let (first, resent) = outcome["statuses"].as_array().unwrap().split_first().unwrap();
    assert_eq!(first, 429);
    // The SDK queues them one by one beside the thread that uploads, which may take some early.
    assert!(!resent.is_empty() && resent.iter().all(|status| status == 200), "{resent:?}");
    assert_eq!(codes(&outcome), [(200, 5)], "nobody's events are dropped");
    lab.settle();
    assert_eq!(products(&lab, "python-calm"), ["0", "1", "2", "3", "4"]);
    let busy = lab.braze().user("python-busy").unwrap();
    assert_eq!(
        busy.events_called("Product Viewed").count(),
        0,
        "a refused upload is refused whole"
    );
}
