//! Looking inside: `/_sandbox/...`, the pages, the snapshot.

use crate::{Bench, Nowhere, on_loopback, with, with_default};
use isthmus_core::seam::SeededRandom;
use isthmus_sandbox::{Sandbox, SandboxConfig, SandboxError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

async fn fill(bench: &Bench) {
    let properties = json!({"event_uid": "e-1", "total": 12.50});
    let body = json!({
        "attributes": [{"external_id": "<b>u", "first_name": "Ada", "plan": "pro & more", "late": "x".repeat(300)}],
        "events": [{"external_id": "<b>u", "name": "Order Completed", "time": "2026-09-01", "properties": properties}],
        "purchases": [{"external_id": "<b>u", "product_id": "pot", "currency": "EUR", "price": 2.5, "time": "2026-09-01"}],
    });
    assert_eq!(bench.client.post("/users/track", &body).await.status, 201);
}

#[tokio::test]
async fn state_shows_users_with_everything_about_them() {
    with_default(async |bench| {
        fill(bench).await;
        let state = bench.client.get("/_sandbox/state").await.json();
        let user = &state["users"][0];
        assert_eq!(user["profile"]["custom_attributes"], json!({"plan": "pro & more"}));
        assert_eq!(user["occurrences"][0]["properties"]["total"], json!(12.5));
        assert_eq!(user["occurrences"][1]["price"], json!([2.5, "EUR"]));
        assert_eq!(user["data_points"], json!(4));
        assert_eq!(state["counters"]["events_applied"], json!(1));
        let one = bench.client.get("/_sandbox/users/%3Cb%3Eu").await.json();
        assert_eq!(&one, user);
        assert_eq!(bench.client.get("/_sandbox/users/nobody").await.status, 404);
        let none = bench.client.get("/_sandbox/state?external_id=nobody").await.json();
        assert_eq!((&none["users"], &none["user_count"]), (&json!([]), &json!(1)));
        let none = bench.client.get("/_sandbox/state?limit=0").await.json();
        assert_eq!(none["users"], json!([]));
        assert_eq!(bench.client.get("/_sandbox/state?workspace=other").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn silent_drops_are_in_the_audit_list() {
    with_default(async |bench| {
        fill(bench).await;
        let audit = bench.client.get("/_sandbox/audit").await.json();
        let entry = &audit["audit"][0];
        assert_eq!(entry["what"], json!("string longer than 255 characters"));
        assert_eq!(entry["who"], json!("external_id <b>u"));
        assert_eq!(entry["detail"], json!("late"));
        assert_eq!(bench.handle.audit().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn requests_are_kept_without_credentials() {
    with(SandboxConfig { requests_kept: 2, ..SandboxConfig::default() }, async |bench| {
        for _ in 0..3 {
            fill(bench).await;
        }
        let reply = bench.client.get("/_sandbox/requests").await;
        assert!(!reply.text.contains("any-key"));
        let requests = reply.json();
        assert_eq!(requests["requests"].as_array().map(Vec::len), Some(2));
        let latest = &requests["requests"][0];
        assert_eq!(latest["headers"]["authorization"], json!("***"));
        assert_eq!((&latest["status"], &latest["data_points"]), (&json!(201), &json!(4)));
        let body: Value =
            serde_json::from_str(latest["body"].as_str().expect("text")).expect("JSON");
        assert_eq!(body["events"][0]["name"], json!("Order Completed"));
    })
    .await;
}

#[tokio::test]
async fn a_reset_forgets_and_may_change_what_is_kept() {
    with_default(async |bench| {
        fill(bench).await;
        let reply = bench.client.post("/_sandbox/reset?uid_property=event_uid", &json!({})).await;
        assert_eq!(reply.status, 200);
        assert_eq!((bench.handle.user_count(), bench.handle.counters().events), (0, 0));
        fill(bench).await;
        fill(bench).await;
        assert_eq!(bench.client.get("/_sandbox/uids").await.json(), json!({"e-1": 2}));
        bench.client.post("/_sandbox/reset?keep=counts", &json!({})).await;
        fill(bench).await;
        assert_eq!((bench.handle.user_count(), bench.handle.counters().events), (0, 1));
        assert_eq!(bench.client.post("/_sandbox/reset?keep=some", &json!({})).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn pages_show_users_and_escape_what_they_say() {
    with_default(async |bench| {
        let empty = bench.client.get("/").await;
        assert!(empty.status == 200 && empty.text.contains("Nobody yet"));
        fill(bench).await;
        let users = bench.client.get("/").await.text;
        assert!(users.contains("&#60;b&#62;u") && !users.contains("<b>u"), "{users}");
        assert!(users.contains("POST /users/track"));
        assert!(bench.client.get("/?search=ADA").await.text.contains("1 users"));
        assert!(bench.client.get("/?search=nobody").await.text.contains("0 users"));
        let braze_id = bench.handle.users()[0]["braze_id"].as_str().expect("an id").to_owned();
        let profile = bench.client.get(&format!("/profile/{braze_id}")).await.text;
        for shown in ["Ada", "pro &#38; more", "Order Completed", "12.5", "pot", "2.5 EUR"] {
            assert!(profile.contains(shown), "{shown} is missing in {profile}");
        }
        let missing = bench.client.get("/profile/nobody").await;
        assert!(missing.status == 404 && missing.text.contains("knows nothing"));
    })
    .await;
}

#[tokio::test]
async fn users_survive_a_restart_in_the_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sandbox.json");
    let config = SandboxConfig { snapshot: Some(path.clone()), ..SandboxConfig::default() };
    with(config.clone(), async |bench| fill(bench).await).await;
    with(config.clone(), async |bench| {
        let user = bench.handle.user("<b>u").expect("the user");
        assert_eq!(user["custom_events"][0]["count"], json!(1));
        fill(bench).await;
        assert_eq!(bench.handle.user_count(), 1);
        assert_eq!(bench.handle.counters().events, 2);
    })
    .await;
    std::fs::write(&path, "{\"version\":9,\"workspaces\":{}}").expect("written");
    let clock = Arc::new(isthmus_core::seam::ManualClock::default());
    let random = Arc::new(SeededRandom::new(1));
    let bound = Sandbox::bind(on_loopback(config), clock, random, Arc::new(Nowhere)).await;
    assert!(matches!(bound, Err(SandboxError::SnapshotFormat { .. })));
}

#[tokio::test]
async fn the_snapshot_holds_what_was_answered_and_had_not_taken_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sandbox.json");
    let delay = Duration::from_mins(1);
    let config =
        SandboxConfig { snapshot: Some(path), apply_delay: delay, ..SandboxConfig::default() };
    with(config.clone(), async |bench| {
        fill(bench).await;
        assert_eq!(bench.handle.user_count(), 0);
    })
    .await;
    with(config, async |bench| assert_eq!(bench.handle.user_count(), 1)).await;
}

#[tokio::test]
async fn occurrences_are_kept_in_order() {
    with_default(async |bench| {
        for name in ["a", "b", "c"] {
            let event = json!({"external_id": "u", "name": name, "time": "2026-09-01"});
            bench.client.post("/users/track", &json!({ "events": [event] })).await;
        }
        let names: Vec<_> = bench.handle.occurrences("u").into_iter().map(|o| o.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
    })
    .await;
}

#[tokio::test]
async fn a_message_can_be_tried_on_a_page() {
    with_default(async |bench| {
        fill(bench).await;
        let empty = bench.client.get("/message").await;
        assert_eq!(empty.status, 200);
        assert!(!empty.text.contains("<h2>Message</h2>"), "nothing is rendered unasked");
        let query = "/message?external_id=%3Cb%3Eu&template=Hi+%7B%7B%24%7Buser_id%7D%7D%7D\
                     +%7B%25+connected_content+https://a.test/x+%25%7D";
        let page = bench.client.get(query).await.text;
        assert!(page.contains("Hi &#60;b&#62;u"), "{page}");
        assert!(page.contains("599 after 0 ms: not sent: no such host"), "{page}");
        let wrong = bench.client.get("/message?template=%7B%7B").await.text;
        assert!(wrong.contains("line 1:"), "{wrong}");
    })
    .await;
}
