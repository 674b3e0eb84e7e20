use super::*;
use crate::config::SandboxConfig;
use crate::model::{Body, Moment};
use isthmus_core::seam::SeededRandom;
use serde_json::json;
use std::sync::Arc;

/// 2026-09-09T21:46:41Z.
const NOW: Timestamp = Timestamp::from_millis(1_788_990_401_000);

/// A workspace with one user.
fn workspace() -> (Workspace, UserKey) {
    let event = |name: &str, time: &str| json!({"external_id": "u", "name": name, "time": time});
    let body = json!({
        "attributes": [{
            "external_id": "u", "email": "kim@example.test", "plan": "pro", "seats": 7,
            "trial": false, "tags": ["trail", "snow", 5], "joined": "2026-03-01",
            "shape": {"size": 4},
        }],
        "events": [
            event("Order Completed", "2026-01-01"),
            event("Order Completed", "2026-09-08"),
            event("Order Completed", "2026-09-09"),
            event("Signed Up", "2026-01-01"),
        ],
    });
    let random = Arc::new(SeededRandom::new(1));
    let mut workspace = Workspace::new(Arc::new(SandboxConfig::default()), random, Arc::default());
    let bytes = body.to_string();
    let checked = Body::read(bytes.as_bytes()).expect("a body").check(NOW, |_| None);
    workspace.track(&checked, Moment { wall: NOW, elapsed: Duration::ZERO });
    let who = workspace.directory().iter().next().expect("a user").0;
    (workspace, who)
}

fn holds(written: &Value) -> bool {
    let segment = Segment::read("segment", written.clone()).expect("a segment");
    let (workspace, who) = workspace();
    segment.holds(&workspace, who, NOW)
}

#[test]
fn attributes_are_compared() {
    for (name, test, value, expected) in [
        ("plan", "equals", json!("pro"), true),
        ("plan", "equals", json!("free"), false),
        ("plan", "not", json!("free"), true),
        ("plan", "not", json!("pro"), false),
        ("plan", "contains", json!("ro"), true),
        ("plan", "exists", json!(true), true),
        ("plan", "exists", json!(false), false),
        ("seats", "equals", json!(7.0), true),
        ("seats", "greater", json!(6), true),
        ("seats", "greater", json!(7), false),
        ("seats", "less", json!(7.5), true),
        ("seats", "less", json!("2026-01-01"), false),
        ("trial", "equals", json!(false), true),
        ("trial", "exists", json!(true), true),
        ("tags", "contains", json!("snow"), true),
        ("tags", "contains", json!(5), true),
        ("tags", "contains", json!("sno"), false),
        ("joined", "less", json!("2026-03-02"), true),
        ("joined", "greater", json!("03/02/2026"), false),
        ("joined", "equals", json!("2026-03-01T00:00:00Z"), true),
        ("shape.size", "greater", json!(3), true),
        ("shape.none", "exists", json!(true), false),
        ("email", "contains", json!("@example.test"), true),
        ("external_id", "equals", json!("u"), true),
        ("phone", "exists", json!(false), true),
        ("phone", "not", json!("+1"), true),
        ("phone", "less", json!(1), false),
    ] {
        assert_eq!(
            holds(&json!({"attribute": name, test: value})),
            expected,
            "{name} {test} {value}"
        );
    }
}

#[test]
fn events_are_counted_within_a_time() {
    for (condition, expected) in [
        (json!({"event": "Order Completed"}), true),
        (json!({"event": "Order Completed", "at_least": 3}), true),
        (json!({"event": "Order Completed", "at_least": 4}), false),
        (json!({"event": "Order Completed", "at_least": 2, "within": "7d"}), true),
        (json!({"event": "Order Completed", "at_least": 3, "within": "7d"}), false),
        (json!({"event": "Order Completed", "at_least": 3, "within": "365d"}), true),
        (json!({"event": "Order Completed", "within": "1h"}), false),
        (json!({"event": "Signed Up", "within": "30d"}), false),
        (json!({"event": "Never"}), false),
    ] {
        assert_eq!(holds(&condition), expected, "{condition}");
    }
}

#[test]
fn conditions_are_combined() {
    let (yes, no) = (json!({"attribute": "plan", "equals": "pro"}), json!({"event": "Never"}));
    for (condition, expected) in [
        (json!({"all": [yes, yes]}), true),
        (json!({"all": [yes, no]}), false),
        (json!({"all": []}), true),
        (json!({"any": [no, yes]}), true),
        (json!({"any": []}), false),
        (json!({"none": [no, no]}), true),
        (json!({"none": [no, yes]}), false),
        (json!({"all": [yes, {"none": [no]}, {"any": [yes, no]}]}), true),
    ] {
        assert_eq!(holds(&condition), expected, "{condition}");
    }
}
