//! Backfills and replays, as a person runs them.

use crate::harness::lab::{Lab, SHOP};
use crate::harness::process::{Ended, ended};
use crate::harness::{eventually, http};
use serde_json::{Value, json};

const SINCE: &str = "2020-01-01T00:00:00Z";

/// Runs `isthmus ARGUMENTS --server ...` beside the lab's server.
fn isthmus(lab: &Lab, arguments: &[&str]) -> Ended {
    let url = lab.server().url("");
    let target = ["--server", &url, "--data-dir", "data"];
    ended(lab.folder(), &[arguments, &target].concat())
}

fn report(lab: &Lab, arguments: &[&str]) -> Value {
    let ended = isthmus(lab, &[arguments, &["--json"]].concat());
    assert!(ended.status.success(), "{} {}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn refused(lab: &Lab, arguments: &[&str]) -> String {
    let ended = isthmus(lab, arguments);
    assert!(!ended.status.success(), "{}", ended.stdout);
    ended.stderr.lines().last().unwrap().to_owned()
}

fn enable(lab: &Lab, enabled: bool) {
    let token = std::fs::read_to_string(lab.folder().join("data/control.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let body = json!({ "enabled": enabled }).to_string();
    let path = "/control/v1/streams/shop-events";
    let answer =
        http::send(lab.server().address(), "PATCH", path, &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn view(lab: &Lab, names: impl Iterator<Item = String>) {
    let events = names.map(|name| {
        json!({
            "event_type": "Product Viewed", "user_id": name, "insert_id": name,
            "event_properties": { "uid": name },
        })
    });
    let answer = lab.upload(&events.collect());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn applied(lab: &Lab, count: u64) {
    eventually("everything is applied", || {
        let status = lab.server().log();
        let token = std::fs::read_to_string(lab.folder().join("data/control.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("authorization", &*bearer)];
        let answer =
            http::send(lab.server().address(), "GET", "/control/v1/status", &headers, b"").unwrap();
        let applied = answer.json()["events_applied"].as_u64().unwrap();
        if applied >= count { Ok(()) } else { Err(format!("{applied} {status}")) }
    });
}

/// A shop whose stream begins disabled.
fn without_stream() -> Lab {
    Lab::with(&SHOP.replace("enabled: true", "enabled: false"))
}

#[test]
fn a_backfill_plans_first_and_sends_what_the_stream_did_not_see() {
    let lab = without_stream();
    view(&lab, (0..300).map(|n| format!("past-{n}")));
    let plan = json!([{ "event_type": "$identify", "user_id": "past-1", "user_properties": { "$set": { "plan": "free" } } }]);
    assert_eq!(lab.upload(&plan).status, 200);
    applied(&lab, 300);
    enable(&lab, true);
    let newer = json!([{ "event_type": "$identify", "user_id": "past-1", "user_properties": { "$set": { "plan": "pro" } } }]);
    assert_eq!(lab.upload(&newer).status, 200);
    lab.settle();
    assert!(lab.braze().uids().is_empty());

    let planned = isthmus(&lab, &["backfill", "shop-events", "--from", SINCE]);
    assert!(planned.status.success(), "{}", planned.stderr);
    assert!(planned.stdout.contains("300  objects to send"), "{}", planned.stdout);
    assert!(planned.stdout.contains("overtaken by later changes"), "{}", planned.stdout);
    assert!(planned.stdout.contains("run it again with --yes"), "{}", planned.stdout);
    assert!(lab.braze().uids().is_empty(), "a plan sends nothing");

    let job = report(&lab, &["backfill", "shop-events", "--from", SINCE, "--yes"]);
    assert_eq!((&job["state"], &job["delivered"]), (&json!("done"), &json!(300)), "{job}");
    assert_eq!(lab.braze().uids().len(), 300);
    let user = lab.braze().user("past-1").unwrap();
    assert_eq!(Value::Object(user.attributes), json!({ "plan": "pro" }), "never backwards");

    // What was sent once is not sent again.
    let again = report(&lab, &["backfill", "shop-events", "--from", SINCE, "--yes"]);
    assert_eq!(again["plan"]["objects"], 0, "{again}");
    assert_eq!(again["plan"]["already_delivered"], 300, "{again}");
    let jobs = report(&lab, &["jobs"]);
    let states: Vec<_> =
        jobs["jobs"].as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap()).collect();
    // Two plans were not started.
    assert_eq!(states, ["cancelled", "done", "cancelled"], "{jobs}");
    let stream = lab.settle();
    assert_eq!(stream["delivered"], 3, "the job has counts of its own: {stream}");
}

#[test]
fn a_replay_sends_what_was_refused_once_braze_takes_it_and_nothing_twice() {
    let lab = Lab::shop();
    lab.braze().fail(&json!({
        "path": "/users/track", "effect": { "partial": { "external_id": "poison-7" } },
    }));
    view(&lab, (0..20).map(|n| format!("poison-{n}")));
    let stream = lab.settle();
    assert_eq!(stream["rejected"], 1, "{stream}");
    lab.braze().mend();

    let all = report(&lab, &["replay", "shop-events", "--from", SINCE]);
    assert_eq!(all["state"], "planned", "without --yes it only plans: {all}");
    assert_eq!((&all["plan"]["objects"], &all["plan"]["dead_letters"]), (&json!(0), &json!(1)));
    assert_eq!(all["plan"]["already_delivered"], 20, "{all}");
    let unknown = report(&lab, &["replay", "shop-events", "--from", SINCE, "--only", "unknown"]);
    assert_eq!(unknown["plan"]["dead_letters"], 0, "{unknown}");
    let mended =
        report(&lab, &["replay", "shop-events", "--from", SINCE, "--only", "rejected", "--yes"]);
    assert_eq!((&mended["state"], &mended["resent"]), (&json!("done"), &json!(1)), "{mended}");
    let stream = lab.settle();
    assert_eq!((&stream["rejected"], &stream["pending"]), (&json!(0), &json!(0)), "{stream}");
    let uids = lab.braze().uids();
    assert_eq!(uids.len(), 20);
    assert!(uids.values().all(|count| *count == 1), "{uids:?}");

    let forced = report(&lab, &["replay", "shop-events", "--from", SINCE, "--force", "--yes"]);
    assert!(forced["delivered"].as_u64() >= Some(20), "{forced}");
    assert!(lab.braze().uids().values().all(|count| *count == 2), "as was asked for");
}

#[test]
fn a_job_goes_on_after_a_kill_and_loses_and_doubles_nothing_unseen() {
    const EVENTS: u64 = 6_000;
    let mut lab = without_stream();
    for chunk in 0..6 {
        view(&lab, (0..1_000).map(|n| format!("chunk-{chunk}-{n}")));
    }
    applied(&lab, EVENTS);
    enable(&lab, true);
    lab.braze().fail(&json!({
        "path": "/users/track", "effect": { "latency": { "min_ms": 80, "max_ms": 120, "when": "before" } },
    }));
    let started = report(&lab, &["backfill", "shop-events", "--from", SINCE, "--yes", "--detach"]);
    assert_eq!(started["state"], "running", "{started}");
    let id = started["id"].as_str().unwrap().to_owned();
    eventually("some of it has arrived", || {
        let some = lab.braze().uids().len();
        if some > 100 { Ok(()) } else { Err(some.to_string()) }
    });
    lab.take_server().kill();
    let before = lab.braze().uids().len();
    assert!(before < 6_000, "the kill came too late: {before}");
    lab.braze().mend();
    lab.start();
    let job = eventually("the job is done", || {
        let job = report(&lab, &["jobs", "show", &id]);
        if job["state"] == "done" { Ok(job) } else { Err(job.to_string()) }
    });
    let uids = lab.braze().uids();
    assert_eq!(uids.len() as u64, EVENTS, "{job}");
    let doubled = uids.values().filter(|count| **count > 1).count();
    assert!(doubled <= 8 * 75, "only what was under way: {doubled}");
    assert_eq!(job["delivered"], EVENTS, "{job}");
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason_before_anything_is_sent() {
    let lab = Lab::shop();
    view(&lab, (0..3).map(|n| format!("seen-{n}")));
    lab.settle();
    let cases: [(&[&str], &str); 8] = [
        (&["backfill", "no-such", "--from", SINCE], "there is no stream no-such"),
        (&["replay", "shop-events", "--from", "yesterday"], "`from` is not an instant"),
        (
            &[
                "replay",
                "shop-events",
                "--from",
                "2026-02-01T00:00:00Z",
                "--to",
                "2026-01-01T00:00:00Z",
            ],
            "must be before `to`",
        ),
        (
            &[
                "replay",
                "shop-events",
                "--from",
                "2999-01-01T00:00:00Z",
                "--to",
                "2999-01-02T00:00:00Z",
            ],
            "in the future",
        ),
        (&["backfill", "shop-events", "--from", SINCE], "has read everything of that time itself"),
        (
            &["replay", "shop-events", "--from", SINCE, "--only", "unknown", "--force"],
            "exclude each other",
        ),
        (&["jobs", "cancel", "braze:77"], "there is no job 77 that runs"),
        (&["jobs", "show", "plan-99"], "there is no job plan-99"),
    ];
    for (arguments, expected) in cases {
        let said = refused(&lab, arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert!(lab.braze().uids().values().all(|count| *count == 1));
}
