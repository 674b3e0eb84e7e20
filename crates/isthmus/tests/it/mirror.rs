//! What users were told, as an operator looks at it: what it costs and what it saves.

use crate::harness::eventually;
use crate::harness::lab::{Lab, SHOP};
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
