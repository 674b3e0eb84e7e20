//! Destinations as an operator looks at them, checks them, stops them and starts them again.

use crate::harness::eventually;
use crate::harness::http::{Answer, send};
use crate::harness::lab::{Lab, SHOP};
use crate::harness::process::{Ended, ended};
use serde_json::{Value, json};

fn run(lab: &Lab, arguments: &[&str]) -> Ended {
    let url = lab.server().url("");
    let mut all = vec!["destinations"];
    all.extend(arguments);
    all.extend(["--server", &url, "--data-dir", "data"]);
    ended(lab.folder(), &all)
}

/// The only destination, as `isthmus destinations --json` shows it.
fn braze(lab: &Lab) -> Value {
    let shown = run(lab, &["--json"]);
    assert!(shown.status.success(), "{}", shown.stderr);
    let report: Value = serde_json::from_str(&shown.stdout).unwrap();
    report["destinations"][0].clone()
}

fn control(lab: &Lab, method: &str, path: &str, body: &str) -> Answer {
    let token = std::fs::read_to_string(lab.folder().join("data/control.token")).unwrap();
    let authorization = format!("Bearer {}", token.trim());
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    send(lab.server().address(), method, path, &headers, body.as_bytes()).unwrap()
}

#[test]
fn a_probe_tells_whether_a_destination_is_ready_before_any_stream_is_enabled() {
    let lab = Lab::with(&SHOP.replace("enabled: true", "enabled: false"));
    let probe = run(&lab, &["probe", "braze"]);
    assert!(probe.status.success(), "{}", probe.stderr);
    assert!(probe.stdout.contains("destination braze is ready"), "{}", probe.stdout);
    let probe = run(&lab, &["probe", "braze", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&probe.stdout).unwrap()["ready"], true);

    lab.braze().fail(&json!({ "path": "/users/track", "effect": { "status": { "code": 401 } } }));
    let probe = run(&lab, &["probe", "braze", "--json"]);
    assert_eq!(probe.status.code(), Some(1));
    let report: Value = serde_json::from_str(&probe.stdout).unwrap();
    assert_eq!(report["ready"], false, "{report}");
    let probe = run(&lab, &["probe", "braze"]);
    assert_eq!(probe.status.code(), Some(1));
    assert!(probe.stderr.contains("not ready: 401"), "{}", probe.stderr);
    let unknown = run(&lab, &["probe", "nothing"]);
    assert!(
        !unknown.status.success() && unknown.stderr.contains("there is no destination nothing"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn a_paused_destination_takes_nothing_until_it_is_resumed_and_the_audit_log_says_who() {
    let mut lab = Lab::shop();
    lab.settle();
    let well = braze(&lab);
    assert_eq!((&well["name"], &well["condition"]), (&json!("braze"), &json!("well")), "{well}");
    assert_eq!(well["streams"], json!(["shop-events"]), "{well}");
    assert!(well["budget"]["limit"].as_u64() > Some(0), "{well}");

    let paused = run(&lab, &["pause", "braze", "--reason", "moving to another cluster"]);
    assert!(paused.status.success(), "{}", paused.stderr);
    assert!(paused.stdout.contains("braze is halted: moving to"), "{}", paused.stdout);
    let event = json!([{ "event_type": "Product Viewed", "user_id": "patient-user" }]);
    assert_eq!(lab.upload(&event).status, 200);
    eventually("the event waits", || {
        let destination = braze(&lab);
        if destination["pending"] == 1 { Ok(()) } else { Err(destination.to_string()) }
    });
    assert!(lab.take_server().stop().success());
    lab.start();
    let halted = braze(&lab);
    assert_eq!(halted["condition"], "halted", "{halted}");
    assert_eq!(halted["reason"], "moving to another cluster", "{halted}");
    assert_eq!(lab.braze().user("patient-user"), None);

    let resumed = run(&lab, &["resume", "braze", "--json"]);
    assert!(resumed.status.success(), "{}", resumed.stderr);
    eventually("the event arrives", || {
        lab.braze().user("patient-user").ok_or("not yet".to_owned())
    });
    assert_eq!(braze(&lab)["condition"], "well");
    let audit = control(&lab, "GET", "/control/v1/audit", "").json();
    let lines: Vec<_> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["detail"].as_str().unwrap()))
        .collect();
    assert_eq!(lines, [("resume", ""), ("pause", "moving to another cluster")]);
    assert_eq!(audit[0]["subject"], "destination/braze");
}

#[test]
fn what_cannot_be_done_to_a_destination_is_refused() {
    let lab = Lab::shop();
    let pause = "/control/v1/destinations/braze/pause";
    for body in ["", "{}", r#"{"reason":" "}"#, r#"{"reason":"x","more":1}"#] {
        let answer = control(&lab, "POST", pause, body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    for what in ["pause", "resume"] {
        let path = format!("/control/v1/destinations/nothing/{what}");
        let answer = control(&lab, "POST", &path, r#"{"reason":"x"}"#);
        assert_eq!(answer.status, 404, "{}", answer.text());
        let unknown = run(&lab, &[what, "nothing"]);
        assert!(!unknown.status.success(), "{}", unknown.stdout);
    }
    let path = "/control/v1/destinations";
    let unauthorized = send(lab.server().address(), "GET", path, &[], b"").unwrap();
    assert_eq!(unauthorized.status, 401);
    let before = run(&lab, &["--json", "probe", "braze"]);
    assert!(!before.status.success(), "options of the list are no options of a probe");
    let audit = control(&lab, "GET", "/control/v1/audit", "").json();
    assert_eq!(audit, json!([]), "nothing was done");
}
