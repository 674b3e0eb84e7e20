//! Dead letters: found, mended, sent again, let go, confirmed.

use crate::harness::eventually;
use crate::harness::lab::{Lab, SHOP};
use serde_json::{Value, json};

const LETTERS: &str = "streams/shop-events/dead-letters";

/// One event for each of `users`, with the user and a number as its `uid`.
fn upload(lab: &Lab, name: &str, users: &[&str]) {
    let events: Vec<_> = (0..)
        .zip(users)
        .map(|(number, user)| {
            let id = format!("{user}-{number}");
            json!({
                "event_type": name, "user_id": user, "insert_id": id,
                "event_properties": { "uid": id },
            })
        })
        .collect();
    assert_eq!(lab.upload(&Value::Array(events)).status, 200);
}

/// A shop whose Braze refuses objects of `user`.
fn refusing(user: &str) -> Lab {
    let lab = Lab::shop();
    refuse(&lab, user);
    lab
}

fn refuse(lab: &Lab, user: &str) {
    lab.braze().fail(&json!({
        "path": "/users/track",
        "effect": { "partial": { "external_id": user, "error": "refused for the test" } },
    }));
}

fn letters(lab: &Lab, query: &str) -> Vec<Value> {
    lab.told(&format!("{LETTERS}{query}"))["dead_letters"].as_array().unwrap().clone()
}

fn ids(letters: &[Value]) -> Vec<String> {
    letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the stream counts this much as delivered and rejected, and nothing as pending.
fn wait_for(lab: &Lab, delivered: u64, rejected: u64) -> Value {
    eventually("the counts are as expected", || {
        let stream = lab.stream();
        let is_it = stream["delivered"] == delivered
            && stream["rejected"] == rejected
            && stream["pending"] == 0;
        if is_it { Ok(stream) } else { Err(stream.to_string()) }
    })
}

fn adds_up(stream: &Value) {
    let count = |name: &str| stream[name].as_u64().unwrap();
    let sum = count("delivered") + count("rejected") + count("discarded") + count("pending");
    assert_eq!(count("accepted"), sum, "{stream}");
}

#[test]
fn a_letter_is_mended_only_as_braze_would_take_it_and_then_arrives() {
    let lab = refusing("ana-user");
    upload(&lab, "Product Viewed", &["ana-user"]);
    let before = lab.settle();
    assert_eq!(before["rejected"], 1, "{before}");
    lab.braze().mend();
    let letter = letters(&lab, "").remove(0);
    let id = letter["id"].as_str().unwrap();
    assert_eq!((&letter["cause"], &letter["state"]), (&json!("rejected"), &json!("rejected")));
    assert_eq!((&letter["edited"], &letter["possible_duplicate"]), (&json!(false), &json!(false)));
    let path = format!("{LETTERS}/{id}");
    let payload: Value = serde_json::from_str(letter["payload"].as_str().unwrap()).unwrap();
    let with = |field: &str, value: Value| {
        let mut payload = payload.clone();
        payload[field] = value;
        json!({ "payload": payload })
    };
    for (body, field) in [
        (with("name", Value::Null), "`name`"),
        (with("time", json!("yesterday")), "`time`"),
        (with("external_id", json!("bob-user")), "`external_id`"),
        (json!({ "payload": "text" }), "`payload`"),
        (json!({ "payload": {} }), "`external_id`"),
        (json!({ "payload": payload, "reason": "x" }), "`reason`"),
        (json!({}), "`payload`"),
    ] {
        let answer = lab.control("PATCH", &path, &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert!(answer.text().contains(field), "{body}: {}", answer.text());
    }
    assert_eq!(letters(&lab, ""), std::slice::from_ref(&letter), "nothing was stored");

    let mended = with("properties", json!({ "uid": "mended" })).to_string();
    let mended: Value = serde_json::from_str(&mended).unwrap();
    let text = mended["payload"].to_string();
    let shown = lab.printed(&["dead-letters", "edit", "shop-events", id, "--payload", &text]);
    assert!(shown.contains("[edited]") && shown.contains("edited by control API"), "{shown}");
    let listed = letters(&lab, "").remove(0);
    assert_eq!(listed["edited"], true, "{listed}");
    let details = lab.told(&path);
    assert_eq!(details["ledger"][0]["state"], "rejected", "{details}");
    assert_eq!(details["dead_letter"]["history"].as_array().unwrap().len(), 1, "{details}");

    let shown = lab.printed(&["dead-letters", "resend", "shop-events", id]);
    assert!(shown.contains("1 dead letter being sent again"), "{shown}");
    let delivered = before["delivered"].as_u64().unwrap() + 1;
    let stream = wait_for(&lab, delivered, 0);
    adds_up(&stream);
    assert_eq!(lab.braze().uids().get("mended"), Some(&1));
    eventually("the letter is gone", || {
        if letters(&lab, "").is_empty() { Ok(()) } else { Err("it is there".to_owned()) }
    });
    let story = &lab.told("ledger?event=ana-user-0&state=delivered")["items"][0]["objects"][0];
    let whats: Vec<_> = story["happenings"].as_array().unwrap().iter().collect();
    let whats: Vec<_> = whats.iter().map(|each| each["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["sent", "answered", "to_be_resent", "sent", "answered"], "{story}");
    assert_eq!(
        lab.audited(),
        [
            format!("resend dead letters stream/shop-events: ids {id}: 1 done, 0 refused"),
            format!("edit dead letter stream/shop-events: {id}"),
        ]
    );
    assert_eq!(lab.control("PATCH", &path, &mended).status, 404, "it is delivered");
}

#[test]
fn many_are_chosen_by_what_they_are() {
    let lab = Lab::shop();
    lab.braze().fail(&json!([
        { "path": "/users/track", "effect": { "partial": { "name": "Product Viewed", "error": "first kind" } } },
        { "path": "/users/track", "effect": { "partial": { "name": "Order Completed", "error": "second kind" } } },
    ]));
    let users: Vec<String> = (0..30).map(|number| format!("user-{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    upload(&lab, "Product Viewed", &users);
    upload(&lab, "Order Completed", &["ana-user", "bob-user"]);
    let before = eventually("all are refused", || {
        let stream = lab.stream();
        if stream["rejected"] == 32 { Ok(stream) } else { Err(stream.to_string()) }
    });
    lab.braze().mend();
    let asked = |query: &str| letters(&lab, query).len();
    assert_eq!(asked("?name=Order%20Completed"), 2);
    assert_eq!(asked("?reason=FIRST&limit=7"), 7);
    assert_eq!(asked("?cause=expired"), 0);
    assert_eq!(asked("?to=2001-01-01T00:00:00Z"), 0);
    let pages = {
        let first = lab.told(&format!("{LETTERS}?after=0-0-0&limit=20"));
        let next = first["next"].as_str().unwrap().to_owned();
        let second = lab.told(&format!("{LETTERS}?after={next}&limit=20"));
        assert_eq!(second["next"], Value::Null, "{second}");
        let list = |page: &Value| ids(page["dead_letters"].as_array().unwrap());
        [list(&first), list(&second)].concat()
    };
    assert_eq!(pages, ids(&letters(&lab, "?limit=100")));

    let trial = lab.printed(&["dead-letters", "resend", "shop-events", "--all", "--dry-run"]);
    assert!(trial.contains("32 dead letters would be sent again"), "{trial}");
    let refused = lab.command(&["dead-letters", "resend", "shop-events", "--all"]);
    assert!(!refused.status.success(), "nobody said yes");
    assert!(refused.stderr.contains("this would resend 32 dead letters"), "{}", refused.stderr);
    assert!(lab.audited().is_empty(), "nothing was done");

    // In parts, each from where the one before stopped.
    let order = json!({ "all": true, "reason": "first", "limit": 20 });
    let first = lab.control("POST", &format!("{LETTERS}/resend"), &order).json();
    assert_eq!((&first["done"], &first["remaining"]), (&json!(20), &json!(10)), "{first}");
    let order = json!({ "all": true, "reason": "first", "limit": 20, "after": first["next"] });
    let second = lab.control("POST", &format!("{LETTERS}/resend"), &order).json();
    assert_eq!((&second["done"], &second["remaining"]), (&json!(10), &json!(0)), "{second}");
    assert_eq!(second["next"], Value::Null, "{second}");
    let delivered = before["delivered"].as_u64().unwrap() + 30;
    adds_up(&wait_for(&lab, delivered, 2));
    assert!(lab.braze().uids().values().all(|count| *count == 1));

    let shown = lab.printed(&[
        "dead-letters",
        "discard",
        "shop-events",
        "--all",
        "--name",
        "Order Completed",
        "--yes",
    ]);
    assert!(shown.contains("2 dead letters let go"), "{shown}");
    let stream = wait_for(&lab, delivered, 0);
    adds_up(&stream);
    assert_eq!(stream["discarded"], 2, "{stream}");
    assert!(letters(&lab, "").is_empty());
    let audited = lab.audited();
    assert_eq!(
        audited[0],
        "discard dead letters stream/shop-events: all name=\"Order Completed\": 2 done, 0 refused"
    );
    assert_eq!(audited.len(), 3, "{audited:?}");
    let gone = &lab.told("ledger?event=ana-user-0&state=discarded")["items"][0]["objects"][0];
    assert_eq!(gone["why"], "let go: control API", "{gone}");
}

#[test]
fn what_braze_would_refuse_again_is_not_sent_and_what_is_refused_again_stays() {
    let lab = refusing("ana-user");
    upload(&lab, "Product Viewed", &["ana-user"]);
    lab.settle();
    let before = letters(&lab, "").remove(0);
    let all = json!({ "all": true });
    let answer = lab.control("POST", &format!("{LETTERS}/resend"), &all).json();
    assert_eq!((&answer["done"], &answer["refused"]), (&json!(1), &json!(0)), "{answer}");
    let after = eventually("it is refused again", || {
        let letter = letters(&lab, "").remove(0);
        let is_new =
            letter["rejected_at"] != before["rejected_at"] && letter["state"] == "rejected";
        if is_new { Ok(letter) } else { Err(letter.to_string()) }
    });
    assert_eq!(after["id"], before["id"]);
    let stream = eventually("it is counted", || {
        let stream = lab.stream();
        if stream["rejected"] == 1 && stream["pending"] == 0 {
            Ok(stream)
        } else {
            Err(stream.to_string())
        }
    });
    adds_up(&stream);
    let trial =
        lab.control("POST", &format!("{LETTERS}/resend"), &json!({ "all": true, "dry_run": true }));
    assert_eq!(trial.json()["done"], 1);
}

#[test]
fn an_event_that_must_not_be_doubled_waits_for_a_word() {
    let careful = SHOP.replace(
        "    - name: Order Completed\n",
        "    - { name: Order Completed, delivery: at_most_once }\n",
    );
    let lab = Lab::with(&careful);
    lab.braze().fail(&json!({
        "path": "/users/track", "times": 1, "effect": { "reset": { "when": "after" } },
    }));
    upload(&lab, "Order Completed", &["ana-user"]);
    let stream = eventually("it is set aside", || {
        let stream = lab.stream();
        let unknown = lab.told(&format!("{LETTERS}?cause=unknown"));
        if unknown["total"] == 1 { Ok(stream) } else { Err(stream.to_string()) }
    });
    assert_eq!((&stream["pending"], &stream["rejected"]), (&json!(1), &json!(0)), "{stream}");
    adds_up(&stream);
    let shown = lab.printed(&["dead-letters", "list", "shop-events", "--cause", "unknown"]);
    assert!(shown.contains("Order Completed [may have arrived]"), "{shown}");
    let object = &lab.told("ledger?event=ana-user-0&state=unknown")["items"][0]["objects"][0];
    assert_eq!(object["happenings"][1]["mark"], "set_aside", "{object}");
    // Sending everything again is not meant for it.
    let all = lab.printed(&["dead-letters", "resend", "shop-events", "--all", "--yes"]);
    assert!(all.starts_with("0 dead letters"), "{all}");
    assert_eq!(lab.braze().uids().get("ana-user-0"), Some(&1), "it took effect, and not twice");

    let confirmed = lab.printed(&["dead-letters", "confirm", "shop-events", "--all", "--yes"]);
    assert!(confirmed.contains("1 dead letter confirmed"), "{confirmed}");
    let stream = wait_for(&lab, 1, 0);
    adds_up(&stream);
    assert!(letters(&lab, "").is_empty());
    assert_eq!(
        lab.audited(),
        ["confirm dead letters stream/shop-events: all cause=unknown: 1 done, 0 refused"]
    );
    let object = &lab.told("ledger?event=ana-user-0&state=delivered")["items"][0]["objects"][0];
    assert_eq!(object["possible_duplicate"], false, "{object}");
}

#[test]
fn orders_that_cannot_be_understood_do_nothing_and_name_the_field() {
    let lab = refusing("ana-user");
    upload(&lab, "Product Viewed", &["ana-user"]);
    lab.settle();
    let id = ids(&letters(&lab, "")).remove(0);
    let post = |what: &str, body: Value| {
        let answer = lab.control("POST", &format!("{LETTERS}/{what}"), &body);
        (answer.status, answer.text())
    };
    for (what, body, status, says) in [
        ("resend", json!({}), 400, "`all: true`"),
        ("discard", json!({ "cause": "rejected" }), 400, "`all: true`"),
        ("discard", json!({ "al": true }), 400, "`al`"),
        ("discard", json!({ "ids": ["7"] }), 400, "`ids`"),
        ("discard", json!({ "ids": [id, "7-0-0"] }), 404, "dead letter 7-0-0"),
        ("confirm", json!({ "all": true, "cause": "rejected" }), 400, "`cause`"),
    ] {
        let (answered, error) = post(what, body.clone());
        assert_eq!(answered, status, "{what} {body}: {error}");
        assert!(error.contains(says), "{what} {body}: {error}");
    }
    // Confirming what was refused passes it over.
    let (status, answer) = post("confirm", json!({ "ids": [id] }));
    assert_eq!(status, 200);
    assert!(answer.contains(r#""done":0,"passed_over":1"#), "{answer}");
    let get = |path: &str| lab.control("GET", path, &Value::Null).status;
    assert_eq!(get(&format!("{LETTERS}/7-0-0")), 404);
    assert_eq!(get(&format!("{LETTERS}/seven")), 400);
    assert_eq!(get(&format!("{LETTERS}?colour=red")), 400);
    assert_eq!(get("streams/nothing/dead-letters"), 404);
    assert_eq!(get(&format!("streams/nothing/dead-letters/{id}")), 404);
    assert_eq!(letters(&lab, "").len(), 1, "it is still there");

    // As the README has it, with and without the word.
    let short = lab.printed(&["dead-letters", "shop-events"]);
    assert_eq!(short, lab.printed(&["dead-letters", "list", "shop-events"]));
    assert!(short.contains(&id), "{short}");
    assert!(!lab.command(&["dead-letters"]).status.success(), "a stream is demanded");
    let both = lab.command(&["dead-letters", "discard", "shop-events", &id, "--name", "x"]);
    assert!(both.stderr.contains("--name goes with --all"), "{}", both.stderr);
    let unknown = lab.command(&["dead-letters", "show", "shop-events", "7-0-0"]);
    assert!(unknown.stderr.contains("there is no dead letter 7-0-0"), "{}", unknown.stderr);
}
