//! What happened to an event: as a person asks, and as a program does.

use crate::harness::eventually;
use crate::harness::lab::{API_KEY, Lab, SHOP};
use serde_json::{Value, json};

/// One event of `user`, with `id` as its insert id.
fn upload(lab: &Lab, name: &str, user: &str, id: &str) {
    let event = json!([{
        "event_type": name, "user_id": user, "insert_id": id,
        "event_properties": { "uid": id },
    }]);
    assert_eq!(lab.upload(&event).status, 200);
}

/// The only object of the event with this insert id.
fn object(lab: &Lab, id: &str) -> Value {
    let report = lab.told(&format!("ledger?event={id}"));
    let items = report["items"].as_array().unwrap();
    let events: Vec<_> = items.iter().filter(|item| item["kind"] == "event").collect();
    assert_eq!(events.len(), 1, "{report}");
    assert_eq!(events[0]["objects"].as_array().unwrap().len(), 1, "{report}");
    events[0]["objects"][0].clone()
}

#[test]
fn a_delivered_event_has_a_story_with_its_request() {
    let lab = Lab::shop();
    upload(&lab, "Product Viewed", "ana-user", "view-1");
    lab.settle();
    let report = lab.told("ledger?event=view-1");
    // The update that made the user known comes first.
    let item = &report["items"][1];
    assert_eq!(item["name"], "Product Viewed", "{report}");
    assert_eq!((&item["project"], &item["user_id"]), (&json!("shop"), &json!("ana-user")));
    assert_eq!((&item["uid"], &item["insert_id"]), (&json!("view-1"), &json!("view-1")));
    assert!(item["accepted_at"].is_string() && item["event_time"].is_string(), "{item}");
    let object = object(&lab, "view-1");
    assert_eq!(object["stream"], "shop-events");
    assert_eq!((&object["destination"], &object["state"]), (&json!("braze"), &json!("delivered")));
    assert_eq!((&object["why"], &object["possible_duplicate"]), (&Value::Null, &json!(false)));
    let [sent, answered] = object["happenings"].as_array().unwrap().as_slice() else {
        panic!("{object}");
    };
    assert_eq!((&sent["what"], &answered["what"]), (&json!("sent"), &json!("answered")));
    assert_eq!(sent["request"], answered["request"]);
    assert_eq!((&answered["status"], &answered["mark"]), (&json!(201), &json!("delivered")));
    assert!(answered["took_ms"].is_u64(), "{answered}");
    assert!(sent["at"].as_str() <= answered["at"].as_str(), "{object}");
    // The place leads there too, and so does the user.
    let place = item["place"].as_str().unwrap();
    assert_eq!(lab.told(&format!("ledger?event={place}"))["items"], json!([item]));
    let of_user = lab.told("ledger?user=ana-user");
    assert!(of_user["items"].as_array().unwrap().contains(item), "{of_user}");
    let shown = lab.printed(&["ledger", "--event", "view-1"]);
    assert!(shown.contains("Product Viewed, of user ana"), "{shown}");
    assert!(shown.contains("shop-events -> braze: delivered"), "{shown}");
    assert!(shown.contains("answered 201 after"), "{shown}");
    let printed: Value =
        serde_json::from_str(&lab.printed(&["ledger", "--event", "view-1", "--json"])).unwrap();
    assert_eq!(printed["items"], report["items"]);
}

#[test]
fn a_refused_object_has_the_reason_that_braze_gave_and_the_others_do_not() {
    let lab = Lab::shop();
    lab.braze().fail(&json!({
        "path": "/users/track",
        "effect": { "partial": { "external_id": "bob-user", "error": "external_id is disallowed" } },
    }));
    upload(&lab, "Product Viewed", "ana-user", "of-ana");
    upload(&lab, "Product Viewed", "bob-user", "of-bob");
    lab.settle();
    let (ana, bob) = (object(&lab, "of-ana"), object(&lab, "of-bob"));
    assert_eq!(ana["state"], "delivered", "{ana}");
    assert_eq!(bob["state"], "rejected", "{bob}");
    assert!(bob["why"].as_str().unwrap().contains("disallowed"), "{bob}");
    let rejected = lab.told("ledger?stream=shop-events&state=rejected");
    assert_eq!(rejected["items"].as_array().unwrap().len(), 1, "{rejected}");
    assert_eq!(rejected["items"][0]["uid"], "of-bob", "{rejected}");
}

#[test]
fn a_lost_answer_shows_as_a_possible_duplicate() {
    let lab = Lab::shop();
    lab.braze().fail(&json!({
        "path": "/users/track", "times": 1, "effect": { "reset": { "when": "after" } },
    }));
    upload(&lab, "Product Viewed", "ana-user", "twice");
    lab.settle();
    let object = object(&lab, "twice");
    assert_eq!(
        (&object["state"], &object["possible_duplicate"]),
        (&json!("delivered"), &json!(true))
    );
    let whats: Vec<_> = object["happenings"].as_array().unwrap().iter().collect();
    let names: Vec<_> = whats.iter().map(|each| each["what"].as_str().unwrap()).collect();
    assert_eq!(names, ["sent", "not_answered", "sent", "answered"], "{object}");
    assert_eq!(whats[1]["mark"], "unknown", "{object}");
    let listed = lab.told("ledger?stream=shop-events&possible_duplicates=true");
    let uids: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|item| &item["uid"]).collect();
    assert!(uids.contains(&&json!("twice")), "{listed}");
    let shown = lab.printed(&["ledger", "--stream", "shop-events", "--possible-duplicates"]);
    assert!(shown.contains("delivered, possible duplicate"), "{shown}");
}

#[test]
fn a_story_goes_on_after_a_sudden_end() {
    let mut lab = Lab::shop();
    lab.braze().fail(&json!({
        "path": "/users/track", "effect": { "hang": { "when": "before" } },
    }));
    upload(&lab, "Product Viewed", "ana-user", "cut-off");
    eventually("it is under way", || {
        let listed = lab.told("ledger?stream=shop-events&state=in_flight");
        if listed["items"][0]["uid"] == "cut-off" { Ok(()) } else { Err(listed.to_string()) }
    });
    lab.take_server().kill();
    lab.braze().mend();
    lab.start();
    lab.settle();
    let object = object(&lab, "cut-off");
    assert_eq!(
        (&object["state"], &object["possible_duplicate"]),
        (&json!("delivered"), &json!(true)),
        "{object}"
    );
    let names: Vec<_> = object["happenings"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names.iter().map(|each| each["what"].as_str().unwrap()).collect();
    assert_eq!(names, ["sent", "not_answered", "sent", "answered"], "{object}");
}

#[test]
fn what_no_stream_sends_is_explained() {
    let lab = Lab::shop();
    upload(&lab, "Window Closed", "ana-user", "not-selected");
    let anonymous = json!([{
        "event_type": "Product Viewed", "device_id": "a-device", "insert_id": "nobody",
    }]);
    assert_eq!(lab.upload(&anonymous).status, 200);
    lab.settle();
    let report = lab.told("ledger?event=not-selected");
    let events = report["items"].as_array().unwrap().iter();
    let event = events.clone().find(|item| item["kind"] == "event").unwrap();
    assert_eq!(event["objects"], json!([]), "{report}");
    assert_eq!(event["note"], "no stream selects it", "{report}");
    let object = object(&lab, "nobody");
    assert_eq!((&object["state"], &object["why"]), (&json!("discarded"), &json!("no identifier")));
    let of_device = lab.told("ledger?user=a-device&state=discarded");
    assert_eq!(of_device["items"].as_array().unwrap().len(), 1, "{of_device}");
}

#[test]
fn what_waits_or_passed_by_is_explained() {
    let lab = Lab::with(&SHOP.replace("enabled: true", "enabled: false"));
    upload(&lab, "Product Viewed", "ana-user", "while-disabled");
    let state = |id: &str| {
        eventually("the event is in the log", || {
            let answer = lab.control("GET", &format!("ledger?event={id}"), &Value::Null);
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
        let object = object(&lab, id);
        (object["state"].as_str().unwrap().to_owned(), object["why"].as_str().unwrap().to_owned())
    };
    let (missed, why) = state("while-disabled");
    assert_eq!((&*missed, &*why), ("missed", "it passed while the stream is disabled"));
    let enable = json!({ "enabled": true });
    assert_eq!(lab.control("PATCH", "streams/shop-events", &enable).status, 200);
    let (missed, why) = state("while-disabled");
    assert_eq!((&*missed, &*why), ("missed", "it passed while the stream was disabled"));
    // A destination that is held up keeps what comes next waiting.
    lab.braze().fail(&json!({ "path": "/users/track", "effect": { "status": { "code": 401 } } }));
    upload(&lab, "Product Viewed", "ana-user", "first");
    eventually("the destination is paused", || {
        let report = lab.streams();
        report["destinations"][0]["paused"].as_str().map(drop).ok_or_else(|| report.to_string())
    });
    upload(&lab, "Product Viewed", "bob-user", "second");
    let (pending, why) = state("second");
    assert_eq!(pending, "pending", "{why}");
    assert!(why.contains("held up: since"), "{why}");
    lab.braze().mend();
}

#[test]
fn questions_without_an_answer_say_why() {
    let lab = Lab::shop();
    upload(&lab, "Product Viewed", "ana-user", "known");
    lab.settle();
    let refused = |path: &str| {
        let answer = lab.control("GET", path, &Value::Null);
        (answer.status, answer.json()["error"].as_str().unwrap().to_owned())
    };
    let (status, error) = refused("ledger?event=unknown-id");
    assert_eq!(status, 404);
    assert!(error.contains("no event with the insert id unknown-id"), "{error}");
    assert!(error.contains("the event log reaches back to 20"), "{error}");
    assert!(error.contains("the ledger of braze to 20"), "{error}");
    assert_eq!(refused("ledger?event=7-7").0, 404);
    assert_eq!(refused("ledger?user=stranger").0, 404);
    assert_eq!(refused("ledger?stream=nothing").0, 404);
    for (query, field) in [
        ("", "`event`"),
        ("?event=a&user=b", "`event`"),
        ("?event=a&limit=10001", "`limit`"),
        ("?event=a&state=lost", "`state`"),
        ("?event=a&from=yesterday", "`from`"),
        ("?event=a&colour=red", "`colour`"),
    ] {
        let (status, error) = refused(&format!("ledger{query}"));
        assert_eq!(status, 400, "{query}");
        assert!(error.contains(field), "{query}: {error}");
    }
    let ended = lab.command(&["ledger", "--event", "unknown-id"]);
    assert!(!ended.status.success());
    assert!(
        ended.stderr.contains("error: there is no event with the insert id"),
        "{}",
        ended.stderr
    );
    assert!(!lab.command(&["ledger"]).status.success(), "one of them is demanded");
    assert!(!lab.command(&["ledger", "--event", "a", "--user", "b"]).status.success());
    // A time without anything is an answer.
    let none = lab.told("ledger?user=ana-user&to=2001-01-01T00:00:00Z");
    assert_eq!(none["items"], json!([]), "{none}");
    let some = lab.told("ledger?stream=shop-events&from=2001-01-01T00:00:00Z&limit=1");
    assert_eq!((some["items"].as_array().unwrap().len(), &some["truncated"]), (1, &json!(true)));
    assert!(!lab.told("ledger?event=known").to_string().contains(API_KEY));
}
