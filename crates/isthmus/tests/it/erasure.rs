//! People who are forgotten: what is left of them nowhere, and what becomes of everybody else.

use crate::harness::eventually;
use crate::harness::http::{get, post, send};
use crate::harness::lab::{API_KEY, Lab, SHOP};
use crate::harness::patience::{PATIENCE, eventually_within};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const SECRET_KEY: &str = "shop-secret";
/// What nothing may hold once Zenobia is forgotten.
const TRACES: [&str; 5] = [
    "zenobia-of-palmyra",
    "phone-of-zenobia-7731",
    "tablet-of-zenobia-7731",
    "septimia-bathzabbai",
    "purple-mantle-with-gems",
];

fn lab(privacy: &str) -> Lab {
    let shop = SHOP.replace("api_key: shop-key", "api_key: shop-key\nsecret_key: shop-secret");
    Lab::configured(&shop, &format!("[privacy]\n{privacy}\n"))
}

/// Zenobia with two devices and an anonymous past, and Ana.
fn live(lab: &Lab) {
    let events = json!([
        { "event_type": "Product Viewed", "device_id": "phone-of-zenobia-7731",
          "event_properties": { "uid": "z-1", "product": "purple-mantle-with-gems" } },
        { "event_type": "$identify", "device_id": "phone-of-zenobia-7731",
          "user_id": "zenobia-of-palmyra",
          "user_properties": { "$set": { "plan": "septimia-bathzabbai" } } },
        { "event_type": "Product Viewed", "device_id": "tablet-of-zenobia-7731",
          "user_id": "zenobia-of-palmyra", "event_properties": { "uid": "z-2" } },
        { "event_type": "Product Viewed", "device_id": "phone-of-ana", "user_id": "ana-user",
          "insert_id": "a-1", "event_properties": { "uid": "a-1" },
          "user_properties": { "plan": "pro" } },
    ]);
    assert_eq!(lab.upload(&events).status, 200);
    lab.settle();
}

fn view(lab: &Lab, user: &str, uid: &str) {
    let event = json!([{ "event_type": "Product Viewed", "user_id": user, "insert_id": uid,
                         "event_properties": { "uid": uid } }]);
    assert_eq!(lab.upload(&event).status, 200);
}

fn profile(lab: &Lab, query: &str) -> u16 {
    let authorization = format!("Api-Key {SECRET_KEY}");
    let path = format!("/v1/userprofile?{query}");
    let headers = [("authorization", &*authorization)];
    send(lab.server().address(), "GET", &path, &headers, b"").unwrap().status
}

/// Calls `look` with each file below `folder` and its text, what is ASCII as it is.
fn read_all(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, look);
        } else if let Ok(bytes) = std::fs::read(&path) {
            // Where it cannot be read, it was replaced meanwhile.
            look(&path, &String::from_utf8_lossy(&bytes));
        }
    }
}

/// Files below `folder` that hold one of the traces, with the trace.
fn traces(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    read_all(folder, &mut |path, text| {
        let there = TRACES.iter().filter(|trace| text.contains(**trace));
        found.extend(there.map(|trace| format!("{trace} in {}", path.display())));
    });
    found
}

/// How often the traces stand in the files below `folder`.
fn count_traces(folder: &Path) -> usize {
    let mut count = 0;
    read_all(folder, &mut |_, text| {
        count += TRACES.iter().map(|trace| text.matches(trace).count()).sum::<usize>();
    });
    count
}

/// The receipt of the only erasure, once there is one.
fn receipt(lab: &Lab) -> Value {
    eventually("the erasure is done", || {
        let report = lab.told("erasures");
        let erasure = &report["erasures"][0];
        if erasure["status"] == "done" {
            Ok(erasure["receipt"].clone())
        } else {
            Err(format!("{report} {}", lab.server().log()))
        }
    })
}

fn erase(lab: &Lab, more: &[&str]) -> String {
    let order = ["profile", "erase", "--user", "zenobia-of-palmyra", "--yes"];
    lab.printed(&[&order, more].concat())
}

/// How many events of forgotten people were refused.
fn refused(lab: &Lab) -> f64 {
    let metrics = get(lab.server().address(), "/metrics").text();
    let lines = metrics.lines().filter(|line| line.starts_with("isthmus_applier_refused_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn nothing_is_left_of_a_forgotten_person_and_nobody_else_is_touched() {
    let lab = lab("");
    lab.braze().fail(&json!({
        "path": "/users/track", "times": 1,
        "effect": { "partial": { "external_id": "zenobia-of-palmyra", "error": "for the test" } },
    }));
    live(&lab);
    assert!(!traces(&lab.folder().join("data")).is_empty(), "there is something to forget");
    let refusal = lab.command(&["profile", "erase", "--user", "zenobia-of-palmyra"]);
    assert!(!refusal.status.success());
    assert!(refusal.stderr.contains("say --yes to do it"), "{}", refusal.stderr);
    let printed = erase(&lab, &["--requester", "dpo@example.org"]);
    assert!(printed.contains("asked for by dpo@example.org"), "{printed}");
    assert!(printed.contains("shop-events -> braze: delivered"), "{printed}");
    let receipt = receipt(&lab);
    let removed = |what: &str, from: &str| {
        let all = receipt["removed"].as_array().unwrap();
        let one = all.iter().find(|each| each["what"] == what && each["from"] == from).unwrap();
        one["count"].as_u64().unwrap()
    };
    assert!(removed("profiles, with ids, groups, mappings and former values", "state") >= 1);
    assert!(removed("dead letters", "state") >= 1, "{receipt}");
    assert!(removed("events and updates", "intake log") >= 3, "{receipt}");
    assert!(removed("events and updates", "event log") >= 3, "{receipt}");
    for query in [
        "user_id=zenobia-of-palmyra",
        "device_id=phone-of-zenobia-7731",
        "device_id=tablet-of-zenobia-7731",
    ] {
        assert_eq!(profile(&lab, query), 404, "{query}");
    }
    assert_eq!(lab.braze().user("zenobia-of-palmyra"), None);
    assert_eq!(traces(&lab.folder().join("data")), Vec::<String>::new(), "{receipt}");

    assert_eq!(profile(&lab, "user_id=ana-user"), 200);
    assert_eq!(lab.braze().user("ana-user").unwrap().attributes["plan"], "pro");
    let story = lab.told("ledger?event=a-1");
    assert!(!story["items"].as_array().unwrap().is_empty(), "{story}");
    view(&lab, "ana-user", "a-2");
    view(&lab, "zenobia-of-palmyra", "z-3");
    lab.settle();
    let uids = lab.braze().uids();
    assert_eq!((uids.get("a-2"), uids.get("z-3")), (Some(&1), None));
    assert!((refused(&lab) - 1.0).abs() < f64::EPSILON);
    let listed = lab.printed(&["profile", "erasures"]);
    assert!(listed.contains("dpo@example.org") && listed.contains("done"), "{listed}");
}

#[test]
fn a_forgotten_person_is_somebody_new_where_that_is_wanted() {
    let lab = lab("refuse_forgotten = false");
    live(&lab);
    erase(&lab, &[]);
    view(&lab, "zenobia-of-palmyra", "z-3");
    lab.settle();
    assert_eq!(lab.braze().uids().get("z-3"), Some(&1));
    assert_eq!(profile(&lab, "user_id=zenobia-of-palmyra"), 200);
    let first = receipt(&lab)["amplitude_ids"].clone();
    let shown = lab.printed(&["profile", "show", "--user", "zenobia-of-palmyra", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(!first.as_array().unwrap().contains(&shown["amplitude_id"]), "{first} {shown}");
    assert_eq!(shown["properties"], json!([]), "nothing of before");
}

#[test]
fn an_erasure_that_was_ordered_survives_a_power_cut() {
    let mut lab = lab("");
    live(&lab);
    erase(&lab, &["--no-wait"]);
    lab.take_server().kill();
    lab.start();
    let receipt = receipt(&lab);
    assert_eq!(receipt["destinations"][0]["state"], "delivered", "{receipt}");
    assert_eq!(profile(&lab, "user_id=zenobia-of-palmyra"), 404);
    assert_eq!(lab.braze().user("zenobia-of-palmyra"), None);
    assert_eq!(traces(&lab.folder().join("data")), Vec::<String>::new());
}

#[test]
fn a_sweep_that_is_killed_on_the_way_is_finished_by_the_next_start() {
    const UPLOADS: usize = 20;
    let mut lab = lab("");
    let data = lab.folder().join("data");
    let mut killed_on_the_way = 0;
    // The intake log is swept first.
    let logs = ["intake", "events"];
    for (person, log) in (1..).zip(logs) {
        let zenobia = format!("zenobia-of-palmyra-{person}");
        for upload in 0..UPLOADS {
            let mut events: Vec<_> = (0..500)
                .map(|number| {
                    json!({ "event_type": "Note", "user_id": zenobia,
                        "device_id": format!("phone-of-zenobia-7731-{person}-{number}"),
                        "event_properties": { "n": upload * number } })
                })
                .collect();
            events.push(json!({ "event_type": "$identify", "user_id": "ana-user",
                "user_properties": { "$add": { "seats": 1 } } }));
            assert_eq!(lab.upload(&json!(events)).status, 200);
        }
        lab.settle();
        let before = count_traces(&data.join(log));
        assert!(before > 0, "there is something to forget");
        lab.printed(&["profile", "erase", "--user", &zenobia, "--yes", "--no-wait"]);
        eventually("the log is swept", || {
            let left = count_traces(&data.join(log));
            if left < before { Ok(()) } else { Err(lab.server().log()) }
        });
        lab.take_server().kill();
        killed_on_the_way += usize::from(!traces(&data).is_empty());
        lab.start();
        eventually_within(2 * PATIENCE, "all erasures are done", || {
            let report = lab.told("erasures");
            let all = report["erasures"].as_array().unwrap();
            let done = all.iter().filter(|each| each["status"] == "done").count();
            if done == person { Ok(()) } else { Err(report.to_string()) }
        });
        assert_eq!(traces(&data), Vec::<String>::new());
        assert_eq!(profile(&lab, &format!("user_id={zenobia}")), 404);
    }
    assert!(killed_on_the_way > 0, "every sweep was over before the kill");
    lab.settle();
    let ana = lab.braze().user("ana-user").unwrap().attributes;
    assert_eq!(ana["seats"], logs.len() * UPLOADS, "{ana:?}");
}

#[test]
fn a_destination_that_cannot_be_reached_is_asked_once_it_can_be() {
    let lab = lab("");
    live(&lab);
    lab.braze()
        .fail(&json!({ "path": "/users/delete", "effect": { "reset": { "when": "before" } } }));
    erase(&lab, &["--no-wait"]);
    eventually("it was tried", || {
        let struck = lab.braze().faults()[0]["struck"].as_u64().unwrap_or_default();
        if struck >= 2 { Ok(()) } else { Err(format!("{struck} times")) }
    });
    let waiting = lab.told("erasures")["erasures"][0].clone();
    assert!(waiting["receipt"].is_null(), "{waiting}");
    assert_eq!(profile(&lab, "user_id=zenobia-of-palmyra"), 404, "forgotten here at once");
    assert!(lab.braze().user("zenobia-of-palmyra").is_some());
    lab.braze().mend();
    let receipt = receipt(&lab);
    assert_eq!(receipt["destinations"][0]["state"], "delivered", "{receipt}");
    assert_eq!(lab.braze().user("zenobia-of-palmyra"), None);
    assert_eq!(traces(&lab.folder().join("data")), Vec::<String>::new());
}

#[test]
fn a_destination_that_cannot_be_asked_holds_it_up_for_so_long_and_no_longer() {
    let lab = lab("wait_for_destinations = \"3s\"");
    live(&lab);
    let paused =
        lab.control("POST", "destinations/braze/pause", &json!({ "reason": "for the test" }));
    assert!((200..300).contains(&paused.status), "{}", paused.text());
    erase(&lab, &["--no-wait"]);
    eventually("it waits for the destination", || {
        let erasure = lab.told("erasures")["erasures"][0].clone();
        let waits_for = erasure["waits_for"].as_str().unwrap_or_default().to_owned();
        if waits_for.contains("destinations") { Ok(()) } else { Err(erasure.to_string()) }
    });
    let receipt = receipt(&lab);
    assert_ne!(receipt["destinations"][0]["state"], "delivered", "{receipt}");
    assert_eq!(profile(&lab, "user_id=zenobia-of-palmyra"), 404);
}

/// Asks the User Privacy API, which lets in one request a second.
fn privacy(lab: &Lab, keys: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let authorization = format!("Basic {}", BASE64_STANDARD.encode(keys));
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    let path = format!("/api/2/deletions/users{path}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    eventually("the request is let in", || {
        let address = lab.server().address();
        let answer = send(address, method, &path, &headers, body.as_bytes()).unwrap();
        if answer.status == 429 { Err(answer.text()) } else { Ok((answer.status, answer.json())) }
    })
}

#[test]
fn deletions_are_asked_for_listed_and_taken_back_as_at_amplitude() {
    let lab = lab("deletion_delay_days = 30");
    live(&lab);
    let keys = format!("{API_KEY}:{SECRET_KEY}");
    let ask = |method: &str, path: &str, body: Value| privacy(&lab, &keys, method, path, &body);
    let (status, refusal) = ask("POST", "", json!({ "user_ids": ["ana-user", "nobody-here"] }));
    assert_eq!(status, 400, "{refusal}");
    assert!(refusal["error"].as_str().unwrap().contains("nobody-here"), "{refusal}");
    assert_eq!(lab.told("erasures")["erasures"], json!([]), "nothing is scheduled at all");
    let nobody = json!({ "user_ids": ["nobody-here"], "ignore_invalid_id": true });
    let (status, told) = ask("POST", "", nobody);
    assert_eq!((status, &told["invalid_ids"]), (200, &json!(["nobody-here"])), "{told}");
    let message = "Nothing scheduled due to invalid amplitude/user ids for app 1";
    assert_eq!(told["message"], message);
    let order = json!({ "user_ids": ["zenobia-of-palmyra", "nobody-here"],
        "ignore_invalid_ids": "true", "include_mapped_user_ids": true, "requester": "dpo" });
    let (status, jobs) = ask("POST", "", order);
    assert_eq!(status, 200, "{jobs}");
    let job = &jobs[0];
    assert_eq!((&job["status"], &job["app"]), (&json!("staging"), &json!(1)), "{jobs}");
    assert_eq!(job["invalid_ids"], json!(["nobody-here"]));
    let entry = &job["amplitude_ids"][0];
    assert_eq!(
        (&entry["user_id"], &entry["requester"]),
        (&json!("zenobia-of-palmyra"), &json!("dpo"))
    );
    let day = job["day"].as_str().unwrap();
    let range = format!("?start_day={day}&end_day={day}");
    let (_, listed) = ask("GET", &range, Value::Null);
    assert_eq!(listed[0]["amplitude_ids"][0]["amplitude_id"], entry["amplitude_id"], "{listed}");
    assert!(listed[0]["invalid_ids"].is_null());
    let path = format!("/{}/{day}", entry["amplitude_id"]);
    let (status, revoked) = ask("DELETE", &path, Value::Null);
    assert_eq!((status, &revoked["requester"]), (200, &json!("dpo")), "{revoked}");
    assert_eq!(ask("DELETE", &path, Value::Null).0, 404);
    assert_eq!(ask("DELETE", "/7/19.3.2026", Value::Null).0, 400);
    assert_eq!(ask("GET", &range, Value::Null), (200, json!([])));
    assert_eq!(ask("GET", "?start_day=2026-01-01&end_day=2026-12-01", Value::Null).0, 400);
    let (status, refusal) = privacy(&lab, "nobody:x", "GET", &range, &Value::Null);
    let forbidden = json!({ "code": 403, "status": "Forbidden",
        "message": "HTTP 403: Forbidden (Invalid API Key)" });
    assert_eq!((status, refusal), (403, forbidden));
    let wrong = format!("{API_KEY}:wrong");
    assert_eq!(privacy(&lab, &wrong, "GET", &range, &Value::Null).0, 401);
    assert_eq!(profile(&lab, "user_id=zenobia-of-palmyra"), 200);
}

#[test]
fn a_person_is_forgotten_in_every_project_where_the_order_is_for_the_org() {
    let outlet = "---\nkind: project\nname: outlet\napi_key: outlet-key\n";
    let shop = SHOP.replace("api_key: shop-key", "api_key: shop-key\nsecret_key: shop-secret");
    let lab = Lab::configured(&format!("{shop}{outlet}"), "");
    live(&lab);
    let events = json!([
        { "event_type": "Product Viewed", "user_id": "zenobia-of-palmyra" },
        { "event_type": "Product Viewed", "user_id": "ana-user" },
    ]);
    let upload = json!({ "api_key": "outlet-key", "events": events });
    assert_eq!(post(lab.server().address(), "/2/httpapi", &upload).status, 200);
    let shown = |user: &str| {
        let show = ["profile", "show", "--project", "outlet", "--user", user];
        lab.command(&show).status.success()
    };
    eventually("the outlet knows both", || {
        let known = ["zenobia-of-palmyra", "ana-user"].map(shown);
        if known == [true; 2] { Ok(()) } else { Err(format!("{known:?}")) }
    });
    let keys = format!("{API_KEY}:{SECRET_KEY}");
    let order = json!({ "user_ids": ["zenobia-of-palmyra"], "delete_from_org": "True" });
    let (status, jobs) = privacy(&lab, &keys, "POST", "", &order);
    assert_eq!(status, 200, "{jobs}");
    let jobs = jobs.as_array().unwrap();
    let apps: BTreeSet<_> = jobs.iter().map(|job| job["app"].to_string()).collect();
    assert_eq!((jobs.len(), apps.len()), (2, 2), "one job per project: {jobs:?}");
    eventually("both are done", || {
        let report = lab.told("erasures");
        let all = report["erasures"].as_array().unwrap();
        let done = all.iter().filter(|each| each["status"] == "done");
        let projects: BTreeSet<_> = done.map(|each| each["project"].to_string()).collect();
        if projects.len() == 2 { Ok(()) } else { Err(report.to_string()) }
    });
    assert_eq!(traces(&lab.folder().join("data")), Vec::<String>::new());
    assert_eq!(profile(&lab, "user_id=ana-user"), 200);
    assert!(shown("ana-user"));
    assert!(!shown("zenobia-of-palmyra"));
}
