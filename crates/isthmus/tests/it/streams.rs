//! Streams as a person configures them and looks at them.

use crate::harness::lab::{API_KEY, Lab, SHOP};
use crate::harness::process::{REST_KEY, ended};
use serde_json::{Value, json};

#[test]
fn only_changes_of_selected_properties_are_told() {
    let lab = Lab::shop();
    let set = |plan: &str, secret: &str| {
        json!([{
            "event_type": "$identify", "user_id": "changing-user",
            "user_properties": { "$set": { "plan": plan, "secret": secret } },
        }])
    };
    for (plan, secret) in [("free", "a"), ("free", "b"), ("pro", "b"), ("pro", "c")] {
        assert_eq!(lab.upload(&set(plan, secret)).status, 200);
        lab.settle();
    }
    let user = lab.braze().user("changing-user").unwrap();
    assert_eq!(Value::Object(user.attributes), json!({ "plan": "pro" }));
    let counters = lab.braze().counters();
    let stream = lab.stream();
    // Two changes of `plan`; the last users of `settle` have an event each.
    assert_eq!(counters["attributes"], 2, "{counters} {stream}");
}

#[test]
fn filters_select_events() {
    let filtered = SHOP.replace(
        "    - name: Order Completed\n",
        "    - name: Order Completed\n      filters: [ { property: { scope: event, name: total }, op: greater, values: [50] } ]\n",
    );
    let lab = Lab::with(&filtered);
    let orders: Vec<_> = [10, 50, 51, 1_000]
        .iter()
        .map(|total| {
            json!({ "event_type": "Order Completed", "user_id": "filter-user", "event_properties": { "total": total } })
        })
        .collect();
    assert_eq!(lab.upload(&Value::Array(orders)).status, 200);
    lab.settle();
    let user = lab.braze().user("filter-user").unwrap();
    let totals: Vec<_> = user.events.iter().map(|event| &event.properties["total"]).collect();
    assert_eq!(totals, [&json!(51), &json!(1_000)]);
}

#[test]
fn users_without_the_identifier_are_left_out_and_counted() {
    let lab = Lab::shop();
    let anonymous = json!([{ "event_type": "Product Viewed", "device_id": "anonymous-device" }]);
    assert_eq!(lab.upload(&anonymous).status, 200);
    let stream = lab.settle();
    assert_eq!(stream["discarded"], 1, "{stream}");
}

#[test]
fn streams_are_shown_to_people_and_to_programs() {
    let lab = Lab::shop();
    let stream = lab.settle();
    assert_eq!(stream["name"], "shop-events");
    assert_eq!(stream["destination"], "braze");
    assert!(stream["latency_seconds"]["p50"].as_f64() > Some(0.0), "{stream}");
    // Without --server, the data folder says where the server is.
    let shown = ended(lab.folder(), &["streams", "--data-dir", "data"]);
    assert!(shown.status.success(), "{}", shown.stderr);
    assert!(shown.stdout.contains("shop-events"), "{}", shown.stdout);
}

#[test]
fn keys_are_never_logged_or_shown() {
    let lab = Lab::shop();
    lab.upload(&json!([{ "event_type": "Product Viewed", "user_id": "quiet-user" }]));
    lab.settle();
    let shown = [lab.server().log(), lab.stream().to_string()];
    for text in shown {
        assert!(!text.contains(REST_KEY), "{text}");
        assert!(!text.contains(API_KEY), "{text}");
        assert!(!text.contains("quiet-user"), "{text}");
    }
}
