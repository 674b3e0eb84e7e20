//! Events that go on to Amplitude: the real program between SDKs and an Amplitude that has troubles.

use crate::harness::eventually;
use crate::harness::http::post_form;
use crate::harness::lab::{API_KEY, Lab};
use crate::harness::process::ended;
use crate::harness::scripted_amplitude::ScriptedAmplitude;
use serde_json::{Value, json};

const DEVICE: &str = "2f9c1b6a-77de-4e0e-9a41-0a6f3f7c9d11";

/// A project whose SDKs are pointed at isthmus, and whose Amplitude project still gets everything.
fn shielded(amplitude: &ScriptedAmplitude) -> Lab {
    let resources = format!(
        "kind: project\nname: shop\napi_key: shop-key\n---\n\
         kind: destination\nname: amplitude\ntype: amplitude\nendpoint: http://{}\napi_key: realkey\n---\n\
         kind: stream\nname: shield\nproject: shop\ndestination: amplitude\nenabled: true\n\
         forward: {{ events: all, identifies: true, group_identifies: true }}\n",
        amplitude.address()
    );
    Lab::with(&resources)
}

/// The stream, once nothing of it is pending.
fn settled(lab: &Lab) -> Value {
    let stream = eventually("nothing is pending", || {
        let stream = lab.stream();
        if stream["pending"] == 0 { Ok(stream) } else { Err(stream.to_string()) }
    });
    let count = |name: &str| stream[name].as_u64().unwrap();
    assert_eq!(
        count("accepted"),
        count("delivered") + count("rejected") + count("discarded"),
        "{stream}"
    );
    stream
}

fn ride(number: u64) -> Value {
    json!({
        "event_type": "Ride Requested",
        "user_id": "rider-0042",
        "device_id": DEVICE,
        "time": 1_777_713_330_000_u64 + number,
        "session_id": 1_777_713_000_000_u64,
        "event_id": number,
        "insert_id": format!("ride-{number}"),
        "event_properties": { "number": number, "stops": ["A12"] },
        "library": "amplitude-ts/2.33.1",
        "platform": "Web",
    })
}

#[test]
fn amplitude_gets_what_sdks_sent_in_order_through_an_outage() {
    let amplitude = ScriptedAmplitude::start();
    let mut lab = shielded(&amplitude);
    for status in [503, 500, 503] {
        amplitude.answer(status, &json!("out of order"));
    }
    let identify = json!({
        "event_type": "$identify",
        "user_id": "rider-0042",
        "device_id": DEVICE,
        "time": 1_777_713_330_003_u64,
        "insert_id": "identify-3",
        "user_properties": { "$unset": { "coupon": "-" }, "$set": { "plan": "pro" } },
    });
    let group = json!({
        "event_type": "$groupidentify",
        "device_id": DEVICE,
        "user_id": "rider-0042",
        "time": 1_777_713_330_004_u64,
        "insert_id": "group-4",
        "groups": { "team": "ops" },
        "group_properties": { "$set": { "size": 4 } },
    });
    let sent = [ride(1), ride(2), identify, group, ride(5)];
    for event in &sent[..3] {
        assert_eq!(lab.upload(&json!([event])).status, 200);
    }
    assert!(lab.take_server().stop().success());
    lab.start();
    for event in &sent[3..] {
        assert_eq!(lab.upload(&json!([event])).status, 200);
    }
    let taken = amplitude.wait_for("/2/httpapi", sent.len());
    let stream = settled(&lab);
    assert_eq!(stream["delivered"], sent.len(), "{stream}");
    assert!(amplitude.refused() >= 1, "there was an outage");
    // Sent again after an unclear answer, Amplitude sees the same insert ids and keeps the first.
    let mut kept: Vec<Value> = Vec::new();
    for object in taken {
        if !kept.iter().any(|known| known["insert_id"] == object["insert_id"]) {
            kept.push(object);
        }
    }
    assert_eq!(kept, sent);
}

#[test]
fn forms_go_on_too() {
    let amplitude = ScriptedAmplitude::start();
    let lab = shielded(&amplitude);
    let address = lab.server().address();
    let paying = r#"{"user_id":"rider-0042","paying":"true","user_properties":{"plan":"pro"}}"#;
    let group = r#"{"group_type":"team","group_value":"ops","group_properties":{"size":4}}"#;
    for (path, identification) in [("/identify", paying), ("/groupidentify", group)] {
        let fields = [("api_key", API_KEY), ("identification", identification)];
        assert_eq!(post_form(address, path, &fields).status, 200);
    }
    let taken = amplitude.wait_for("/identify", 1);
    assert_eq!(taken[0]["paying"], "true");
    assert_eq!(taken[0]["user_properties"], json!({ "plan": "pro" }));
    assert!(taken[0]["insert_id"].as_str().is_some_and(|id| !id.is_empty()), "{taken:?}");
    let taken = amplitude.wait_for("/groupidentify", 1);
    assert_eq!(
        taken,
        [json!({"group_type": "team", "group_value": "ops", "group_properties": {"size": 4}})]
    );
    assert_eq!(settled(&lab)["delivered"], 2);
}

#[test]
fn what_amplitude_refuses_or_throttles_holds_up_nobody_else() {
    let amplitude = ScriptedAmplitude::start();
    let lab = shielded(&amplitude);
    let of = |user: &str| json!({ "event_type": "Ride", "user_id": user, "insert_id": format!("of-{user}") });
    // Which of them travels first is not fixed: whoever it is, the answers are about the first.
    amplitude.answer(
        400,
        &json!({ "code": 400, "error": "Invalid field values on some events", "events_with_invalid_fields": { "time": [0] } }),
    );
    amplitude.answer(413, &json!({ "code": 413, "error": "Payload too large" }));
    amplitude.answer(
        429,
        &json!({ "code": 429, "error": "Too many requests", "throttled_events": [0], "eps_threshold": 30 }),
    );
    let users = ["rider-a", "rider-b", "rider-c", "rider-d", "rider-e"];
    let events: Vec<Value> = users.iter().map(|user| of(user)).collect();
    assert_eq!(lab.upload(&Value::Array(events)).status, 200);
    let taken = amplitude.wait_for("/2/httpapi", users.len() - 1);
    let stream = settled(&lab);
    assert_eq!((&stream["delivered"], &stream["rejected"]), (&json!(4), &json!(1)), "{stream}");
    let mut names: Vec<&str> =
        taken.iter().map(|object| object["user_id"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4, "none of them twice: {taken:?}");
    let letters = isthmus(&lab, &["dead-letters", "shield"]);
    assert!(letters.contains("`time` has a value that Amplitude does not take"), "{letters}");
}

#[test]
fn a_refused_key_pauses_and_is_never_shown() {
    let amplitude = ScriptedAmplitude::start();
    let lab = shielded(&amplitude);
    amplitude.answer(400, &json!({ "code": 400, "error": "Invalid API key: realkey" }));
    assert_eq!(lab.upload(&json!([ride(1)])).status, 200);
    amplitude.wait_for("/2/httpapi", 1);
    settled(&lab);
    assert!(lab.server().log().contains("the API key is unknown"), "{}", lab.server().log());
    assert!(!lab.server().log().contains("realkey"), "{}", lab.server().log());
}

#[test]
fn a_plan_shows_what_a_stream_would_make_at_amplitude() {
    let amplitude = ScriptedAmplitude::start();
    let lab = shielded(&amplitude);
    let scroll = |number: u64| json!({ "event_type": "Scrolled", "user_id": "rider-0042", "insert_id": format!("s-{number}") });
    let events = [ride(1), ride(2), scroll(1), scroll(2), scroll(3)];
    assert_eq!(lab.upload(&json!(events)).status, 200);
    amplitude.wait_for("/2/httpapi", events.len());
    let kept = |report: &Value| -> Vec<(String, Value, Value)> {
        let types = report["types"].as_array().unwrap().iter();
        let of = |row: &Value, count: &str| row["volume"][count].clone();
        types
            .map(|row| {
                (row["event_type"].as_str().unwrap().to_owned(), of(row, "in_log"), of(row, "kept"))
            })
            .collect()
    };
    let report: Value =
        serde_json::from_str(&isthmus(&lab, &["streams", "plan", "shield", "--json"])).unwrap();
    assert_eq!(
        kept(&report),
        [
            ("Scrolled".to_owned(), json!(3), json!(3)),
            ("Ride Requested".to_owned(), json!(2), json!(2)),
        ]
    );
    assert_eq!(report["total"]["kept"], 5, "{report}");
    assert!(report["total"]["kept_per_month"].as_u64() > Some(5), "{report}");

    let other = "kind: stream\nname: shield\nproject: shop\ndestination: amplitude\n\
                 forward: { events: { except: [Scrolled] } }\n";
    std::fs::write(lab.folder().join("other.yaml"), other).unwrap();
    let plan = ["streams", "plan", "shield", "--file", "other.yaml"];
    let shown = isthmus(&lab, &plan);
    let line = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().rev().skip(1).take(7).map(str::to_owned).collect::<Vec<_>>()
    };
    // From the right: kept, refused, discarded, rolled up, sampled out, not selected, in the log.
    assert_eq!(line("Scrolled"), ["0", "0", "0", "0", "0", "3", "3"], "{shown}");
    assert_eq!(line("Ride Requested"), ["2", "0", "0", "0", "0", "0", "2"], "{shown}");
    assert_eq!(line("events"), ["2", "0", "0", "0", "0", "3", "5"], "{shown}");
    assert!(shown.contains("less than a day was counted"), "{shown}");
    assert_eq!(amplitude.taken("/2/httpapi").len(), events.len(), "a plan sends nothing");
}

/// What a command prints about the lab's server.
fn isthmus(lab: &Lab, arguments: &[&str]) -> String {
    let url = lab.server().url("");
    let target = ["--server", &url, "--data-dir", "data"];
    let ended = ended(lab.folder(), &[arguments, &target].concat());
    assert!(ended.status.success(), "{} {}", ended.stdout, ended.stderr);
    ended.stdout
}
