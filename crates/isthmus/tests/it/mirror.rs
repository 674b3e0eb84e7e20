//! What users were told, as an operator looks at it: what it costs and what it saves.

use crate::harness::eventually;
use crate::harness::http::send;
use crate::harness::lab::{Lab, SHOP};
use crate::harness::process::REST_KEY;
use serde_json::{Value, json};

/// A change of one user's plan.
fn identify(user: &str, plan: &str) -> Value {
    json!([{ "event_type": "$identify", "user_id": user,
             "user_properties": { "$set": { "plan": plan } } }])
}

fn tell(lab: &Lab, user: &str, plan: &str) {
    let answer = lab.upload(&identify(user, plan));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The shop, and a second stream that is disabled.
fn lab() -> Lab {
    let stream = SHOP.split("---\n").last().unwrap();
    let idle =
        stream.replace("shop-events", "shop-idle").replace("enabled: true", "enabled: false");
    Lab::with(&format!("{SHOP}---\n{idle}"))
}

#[test]
fn a_bill_says_what_was_sent_and_what_was_saved() {
    let lab = lab();
    tell(&lab, "saving-user", "free");
    lab.settle();
    lab.printed(&["destinations", "pause", "braze"]);
    // There and back: nothing new once both are about to be sent.
    tell(&lab, "saving-user", "pro");
    tell(&lab, "saving-user", "free");
    eventually("both wait", || {
        let stream = lab.stream();
        if stream["pending"] == 2 { Ok(()) } else { Err(stream.to_string()) }
    });
    lab.printed(&["destinations", "resume", "braze"]);
    lab.settle();
    let bill = eventually("everything is billed", || {
        let bill = lab.told("bill");
        // The user, and an event for each last user of `settle`.
        if bill["total"]["objects"] == 3 { Ok(bill) } else { Err(bill.to_string()) }
    });
    let total = &bill["total"];
    let counts = ["objects_saved", "attributes_saved", "points", "points_saved"];
    assert_eq!(counts.map(|name| &total[name]), [2, 1, 3, 1].map(|count| json!(count)).each_ref());
    let names: Vec<_> =
        bill["streams"].as_array().unwrap().iter().map(|each| &each["stream"]).collect();
    assert_eq!(names, ["shop-events", "shop-idle"]);
    let one = lab.told("bill?stream=shop-events");
    let stream = &one["streams"][0];
    let day = &stream["days"][0];
    assert_eq!(one["total"], stream["total"], "{one}");
    assert_eq!(day["bill"], stream["total"], "{one}");
    let per_hour = stream["requests_per_hour"].as_f64().unwrap();
    let busiest = day["busiest_hour_requests"].as_f64().unwrap();
    let share = day["busiest_hour_share"].as_f64().unwrap();
    assert!(busiest > 0.0 && (share - busiest / per_hour).abs() < 1e-9, "{one}");

    let shown = lab.printed(&["streams", "bill"]);
    for text in
        ["shop-idle to braze", "all streams", "the mirror saved 40 % of the objects and 25 % of"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let before = lab.printed(&["streams", "bill", "--from", "2020-01-01", "--to", "2020-01-02"]);
    assert!(before.contains("nothing was sent or saved"), "{before}");
    let json = lab.printed(&["streams", "bill", "--stream", "shop-events", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["total"], one["total"]);
}

#[test]
fn a_bill_that_cannot_be_made_out_says_why() {
    let lab = Lab::shop();
    for (arguments, why) in [
        (["--from", "yesterday"], "`from` is no day written as in 2026-02-17"),
        (["--to", "2026-02-30"], "`to` is no day written as in 2026-02-17"),
        (["--from", "2999-01-01"], "`from` (2999-01-01) is after `to`"),
        (["--stream", "nothing"], "there is no stream nothing"),
    ] {
        let ended = lab.command(&[&["streams", "bill"], arguments.as_slice()].concat());
        assert!(!ended.status.success() && ended.stderr.contains(why), "{}", ended.stderr);
    }
}

/// Asks Braze for something behind the server's back.
fn behind_our_back(lab: &Lab, path: &str, body: &Value) {
    let bearer = format!("Bearer {REST_KEY}");
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let body = body.to_string();
    let answer = send(lab.sandbox().address(), "POST", path, &headers, body.as_bytes()).unwrap();
    assert!((200..300).contains(&answer.status), "{}", answer.text());
}

/// Deletes a user from Braze.
fn delete(lab: &Lab, user: &str) {
    behind_our_back(lab, "/users/delete", &json!({ "external_ids": [user] }));
    eventually("the user is gone", || match lab.braze().user(user) {
        None => Ok(()),
        Some(user) => Err(format!("{user:?}")),
    });
}

#[test]
fn users_whom_braze_does_not_know_are_found_and_told_everything_when_they_appear_again() {
    let lab = Lab::shop();
    tell(&lab, "lasting-user", "free");
    tell(&lab, "leaving-user", "pro");
    lab.settle();
    let anonymous = json!([{ "event_type": "Product Viewed", "device_id": "anonymous-device" }]);
    assert_eq!(lab.upload(&anonymous).status, 200);
    lab.settle();
    let ask = |more: &[&str]| {
        let arguments = [&["streams", "unmatched", "shop-events", "--json"], more].concat();
        serde_json::from_str::<Value>(&lab.printed(&arguments)).unwrap()
    };
    // Both users, and the two last ones of `settle`.
    let all = ask(&[]);
    assert_eq!((&all["identifiers"], &all["known"]), (&json!(4), &json!(4)), "{all}");
    assert_eq!((&all["match_rate"], &all["unknown"]), (&json!(1.0), &json!([])), "{all}");
    assert_eq!(all["without_identifier"], json!({ "no identifier": 1 }));

    delete(&lab, "leaving-user");
    let some = ask(&["--forget"]);
    let user = &some["unknown"][0];
    assert_eq!(some["unknown"].as_array().map(Vec::len), Some(1), "{some}");
    assert_eq!(user["identifier"], "external_id:leaving-user", "{some}");
    assert_eq!(user["user_id"], "leaving-user", "{some}");
    assert!(user["last_delivered_at"].as_str().unwrap().starts_with("20"), "{some}");
    assert_eq!((&some["match_rate"], &some["forgotten"]), (&json!(0.75), &json!(1)), "{some}");
    assert_eq!(ask(&["--sample", "1"])["identifiers"], 1);
    let shown = lab.printed(&["streams", "unmatched", "shop-events"]);
    for text in ["match rate: 75.0 %", "leaving-user, last delivered at", "no identifier"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let audit = lab.told("audit");
    assert_eq!(audit[0]["action"], "forget what was told", "{audit}");
}

#[test]
fn a_key_without_the_permission_to_export_is_told_which_one_is_missing() {
    let lab = Lab::shop();
    tell(&lab, "some-user", "free");
    lab.settle();
    let fault = json!({ "path": "/users/export/ids", "effect": { "status": { "code": 403 } } });
    lab.braze().fail(&fault);
    let ended = lab.command(&["streams", "unmatched", "shop-events"]);
    assert!(
        !ended.status.success() && ended.stderr.contains("users.export.ids"),
        "{}",
        ended.stderr
    );
    for (arguments, why) in [
        (["nothing", "--sample", "1"], "there is no stream nothing"),
        (["shop-events", "--sample", "0"], "`sample` is from 1 to 2000, not 0"),
        (["shop-events", "--sample", "2001"], "`sample` is from 1 to 2000, not 2001"),
    ] {
        let ended = lab.command(&[&["streams", "unmatched"], arguments.as_slice()].concat());
        assert!(!ended.status.success() && ended.stderr.contains(why), "{}", ended.stderr);
    }
}

#[test]
fn what_changed_behind_our_back_is_found_and_healed() {
    let lab = Lab::shop();
    for (user, plan) in [("drifting-user", "pro"), ("leaving-user", "free"), ("same-user", "max")] {
        tell(&lab, user, plan);
    }
    lab.settle();
    let reconcile = |more: &[&str]| {
        let arguments = [&["mirror", "reconcile", "braze", "--json"], more].concat();
        serde_json::from_str::<Value>(&lab.printed(&arguments)).unwrap()
    };
    let before = reconcile(&[]);
    assert_eq!((&before["users"], &before["same"]), (&json!(3), &json!(3)), "{before}");
    assert_eq!((&before["drift_rate"], &before["healed"]), (&json!(0.0), &Value::Null), "{before}");

    let change = |user: &str, attributes: Value| {
        let mut object = attributes;
        object["external_id"] = json!(user);
        behind_our_back(&lab, "/users/track", &json!({ "attributes": [object] }));
    };
    change("drifting-user", json!({ "plan": "stolen", "beta": true }));
    // Nobody told Braze of this one: it is Braze's own.
    change("same-user", json!({ "beta": true }));
    delete(&lab, "leaving-user");
    let found = reconcile(&["--heal"]);
    let expected = json!([{
        "identifier": "external_id:drifting-user",
        "attributes": [{ "name": "plan", "told": "pro", "has": "stolen" }],
        "told_again": true,
    }]);
    assert_eq!(found["drifted"], expected, "{found}");
    let unknown = json!([{ "identifier": "external_id:leaving-user", "told_again": true }]);
    assert_eq!((&found["unknown"], &found["same"]), (&unknown, &json!(1)), "{found}");
    assert_eq!(found["healed"], json!({ "forgotten": 2, "told_again": 2 }), "{found}");

    lab.settle();
    let attributes = |user: &str| Value::Object(lab.braze().user(user).unwrap().attributes);
    assert_eq!(attributes("drifting-user"), json!({ "plan": "pro", "beta": true }));
    assert_eq!(attributes("leaving-user"), json!({ "plan": "free" }));
    let after = reconcile(&["--heal"]);
    assert_eq!((&after["users"], &after["same"]), (&json!(3), &json!(3)), "{after}");
    assert_eq!(after["healed"], json!({ "forgotten": 0, "told_again": 0 }), "{after}");
    let shown = lab.printed(&["mirror", "reconcile", "braze", "--sample", "2"]);
    assert!(shown.contains("drift rate: 0.0 % of users"), "{shown}");
    let story = lab.printed(&["ledger", "--user", "drifting-user"]);
    assert!(story.matches("shop-events -> braze: delivered").count() == 2, "{story}");
}

#[test]
fn a_destination_without_a_mirror_cannot_be_reconciled() {
    let lab = Lab::with(&SHOP.replace("app_id: shop-app", "app_id: shop-app\nmirror: false"));
    for (destination, why) in [("braze", "keeps no mirror"), ("nothing", "there is no destination")]
    {
        let ended = lab.command(&["mirror", "reconcile", destination]);
        assert!(!ended.status.success() && ended.stderr.contains(why), "{}", ended.stderr);
    }
}

/// Ends the server, and starts it with resources in which `from` is `to`.
fn change(lab: &mut Lab, from: &str, to: &str) {
    assert!(lab.take_server().stop().success());
    let file = lab.folder().join("shop.yaml");
    let resources = std::fs::read_to_string(&file).unwrap();
    assert!(resources.contains(from), "{resources}");
    std::fs::write(file, resources.replace(from, to)).unwrap();
    lab.start();
}

#[test]
fn what_the_mirror_forgot_the_ledger_tells() {
    let mut lab = Lab::shop();
    for user in ["first-user", "second-user"] {
        tell(&lab, user, "pro");
    }
    lab.settle();
    lab.printed(&["profile", "erase", "--user", "second-user", "--yes"]);
    let (on, off) = ("app_id: shop-app\n", "app_id: shop-app\nmirror: false\n");
    change(&mut lab, on, off);
    let none = lab.command(&["mirror", "rebuild", "braze"]);
    assert!(!none.status.success() && none.stderr.contains("keeps no mirror"), "{}", none.stderr);
    change(&mut lab, off, on);
    let rebuild = |lab: &Lab, more: &[&str]| {
        let arguments = [&["mirror", "rebuild", "braze", "--json"], more].concat();
        serde_json::from_str::<Value>(&lab.printed(&arguments)).unwrap()
    };
    // The one who stays.
    let report = rebuild(&lab, &[]);
    let counts = ["users", "added", "lost"].map(|name| report[name].clone());
    assert_eq!(counts, [1, 1, 0].map(|count| json!(count)), "{report}");
    assert!(report["since"].as_str().unwrap().starts_with("20"), "{report}");
    let shown = lab.printed(&["mirror", "rebuild", "braze"]);
    assert!(shown.contains("tells of 1 users: 0 were added"), "{shown}");
    assert_eq!(lab.told("audit")[0]["action"], "rebuild mirror");

    // It is believed, also after the next start, and sending goes on.
    lab.take_server().kill();
    lab.start();
    let saved = |lab: &Lab| lab.told("bill")["total"]["objects_saved"].as_u64().unwrap();
    let before = saved(&lab);
    lab.printed(&["destinations", "pause", "braze"]);
    // There and back, which is news to a mirror that knows nothing.
    tell(&lab, "first-user", "free");
    tell(&lab, "first-user", "pro");
    tell(&lab, "third-user", "pro");
    eventually("all wait", || {
        let stream = lab.stream();
        if stream["pending"] == 3 { Ok(()) } else { Err(stream.to_string()) }
    });
    lab.printed(&["destinations", "resume", "braze"]);
    lab.settle();
    eventually("what is no news is saved", || {
        let now = saved(&lab);
        if now == before + 2 { Ok(()) } else { Err(format!("{now}, and {before} before")) }
    });
    assert!(lab.braze().user("third-user").is_some());

    // What other mappings sent may have been called something else.
    change(&mut lab, "    - product\n", "");
    let none = lab.printed(&["mirror", "rebuild", "braze"]);
    assert!(none.contains("tells of 0 users") && none.contains("--all"), "{none}");
    let all = rebuild(&lab, &["--all"]);
    assert_eq!((&all["users"], &all["added"]), (&json!(2), &json!(0)), "{all}");

    let unknown = lab.command(&["mirror", "rebuild", "nothing"]);
    assert!(unknown.stderr.contains("destination nothing"), "{}", unknown.stderr);
    let body = json!({ "everything": true });
    let answer = lab.control("POST", "destinations/braze/mirror/rebuild", &body);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("everything"), "{}", answer.text());
}

#[test]
fn what_a_forgotten_person_was_told_is_forgotten_also_where_braze_keeps_them() {
    let lab = Lab::with(&SHOP.replace("app_id: shop-app", "app_id: shop-app\non_erasure: ignore"));
    tell(&lab, "forgotten-user", "pro");
    tell(&lab, "staying-user", "pro");
    lab.settle();
    lab.printed(&["profile", "erase", "--user", "forgotten-user", "--yes"]);
    let erasure = lab.told("erasures")["erasures"][0].clone();
    let removed = erasure["receipt"]["removed"].as_array().unwrap();
    let told = removed.iter().find(|each| each["what"] == "what destinations were told").unwrap();
    assert_eq!(told["count"], 1, "{erasure}");
    let answer = lab.control("POST", "destinations/braze/reconcile", &json!({}));
    let left = answer.json();
    assert_eq!((&left["users"], &left["same"]), (&json!(1), &json!(1)), "{left}");
    assert!(lab.braze().user("forgotten-user").is_some());
}

#[test]
fn what_a_destination_was_told_that_is_gone_goes_with_the_first_who_is_forgotten() {
    let mut lab = Lab::shop();
    tell(&lab, "forgotten-user", "pro");
    tell(&lab, "staying-user", "pro");
    lab.settle();
    let known = |lab: &Lab| {
        lab.control("POST", "destinations/braze/reconcile", &json!({})).json()["users"].clone()
    };
    let file = std::fs::read_to_string(lab.folder().join("shop.yaml")).unwrap();
    let (project, others) = file.split_at(file.find("---\n").unwrap());
    change(&mut lab, others, "");
    change(&mut lab, project, &file);
    assert_eq!(known(&lab), 2);
    change(&mut lab, others, "");
    lab.printed(&["profile", "erase", "--user", "forgotten-user", "--yes"]);
    change(&mut lab, project, &file);
    assert_eq!(known(&lab), 0);
}
