//! Visitors who log in: what they did before and after is one person's, here and at Braze.

use crate::harness::braze::User;
use crate::harness::lab::{Lab, SHOP};
use serde_json::{Value, json};

const PHONE: &str = "phone-of-ana";

/// The shop, which tells of visitors under an alias. Its Braze lets requests overtake each other by
/// less than the shop waits.
fn lab() -> Lab {
    let anonymous = "anonymous: { from: device_id, alias_label: visitor }\nsend_events:";
    let shop = SHOP
        .replace("send_events:", anonymous)
        .replace("app_id: shop-app", "app_id: shop-app\nidentify_settle: 600ms");
    let lab = Lab::with(&shop);
    lab.braze().jitter(200);
    lab
}

/// One view of a product, as a visitor or as somebody.
fn view(lab: &Lab, device: &str, user: Option<&str>, uid: &str) {
    let mut event = json!({
        "event_type": "Product Viewed", "device_id": device, "insert_id": uid,
        "event_properties": { "uid": uid },
    });
    if let Some(user) = user {
        event["user_id"] = json!(user);
    }
    assert_eq!(lab.upload(&json!([event])).status, 200);
}

fn set(lab: &Lab, device: &str, user: Option<&str>, properties: &Value) {
    let mut event = json!({
        "event_type": "$identify", "device_id": device, "user_properties": { "$set": properties },
    });
    if let Some(user) = user {
        event["user_id"] = json!(user);
    }
    assert_eq!(lab.upload(&json!([event])).status, 200);
}

/// The uids of what `user` viewed, whatever order a Braze took them in that lets requests overtake.
fn viewed(user: &User) -> Vec<String> {
    let uid =
        |event: &crate::harness::braze::Event| event.properties["uid"].as_str().map(str::to_owned);
    let mut uids: Vec<_> = user.events_called("Product Viewed").filter_map(uid).collect();
    uids.sort();
    uids
}

/// Users at Braze, but for those that [`Lab::settle`] makes.
fn people(lab: &Lab) -> usize {
    let made =
        |user: &User| user.external_id.as_ref().is_some_and(|id| id.starts_with("last-user"));
    lab.braze().users().iter().filter(|user| !made(user)).count()
}

#[test]
fn a_visitor_who_logs_in_is_one_person_with_both_histories() {
    let lab = lab();
    view(&lab, PHONE, None, "1-visit");
    set(&lab, PHONE, None, &json!({ "plan": "trial", "seats": 2 }));
    view(&lab, PHONE, None, "2-visit");
    lab.settle_applied();
    let visitor = lab.braze().user_by_alias("visitor", PHONE).unwrap();
    assert_eq!(visitor.external_id, None);
    assert_eq!(viewed(&visitor), ["1-visit", "2-visit"]);
    assert_eq!(visitor.attributes["plan"], "trial");

    view(&lab, PHONE, Some("ana-user"), "3-logged-in");
    // A Braze that lets requests overtake each other would lose a change that follows at once.
    lab.settle_applied();
    set(&lab, PHONE, Some("ana-user"), &json!({ "plan": "pro" }));
    // The client forgets who it is; the device does not.
    view(&lab, PHONE, None, "4-forgotten");
    view(&lab, PHONE, Some("ana-user"), "5-later");
    lab.settle_applied();
    let ana = lab.braze().user("ana-user").unwrap();
    let all = ["1-visit", "2-visit", "3-logged-in", "4-forgotten", "5-later"];
    assert_eq!(viewed(&ana), all, "{ana:?}");
    assert_eq!((&ana.attributes["plan"], &ana.attributes["seats"]), (&json!("pro"), &json!(2)));
    assert_eq!(lab.braze().user_by_alias("visitor", PHONE), Some(ana));
    assert_eq!(people(&lab), 1);
    assert!(lab.braze().uids().values().all(|times| *times == 1), "{:?}", lab.braze().uids());
}

#[test]
fn a_known_user_who_logs_in_on_a_new_device_stays_one_person() {
    let lab = lab();
    view(&lab, "laptop-of-ana", Some("ana-user"), "1-laptop");
    set(&lab, "laptop-of-ana", Some("ana-user"), &json!({ "plan": "pro" }));
    view(&lab, PHONE, None, "2-phone");
    lab.settle_applied();
    assert_eq!(people(&lab), 2);
    view(&lab, PHONE, Some("ana-user"), "3-phone");
    view(&lab, "laptop-of-ana", Some("ana-user"), "4-laptop");
    lab.settle_applied();
    let ana = lab.braze().user("ana-user").unwrap();
    assert_eq!(viewed(&ana), ["1-laptop", "2-phone", "3-phone", "4-laptop"], "{ana:?}");
    assert_eq!(ana.attributes["plan"], "pro");
    assert_eq!(lab.braze().user_by_alias("visitor", PHONE), Some(ana));
    assert_eq!(people(&lab), 1);
}

#[test]
fn identifying_comes_between_what_was_told_before_and_after_and_the_ledger_tells_it() {
    let lab = lab();
    for uid in ["1-visit", "2-visit", "3-visit"] {
        view(&lab, PHONE, None, uid);
    }
    for uid in ["4-known", "5-known"] {
        view(&lab, PHONE, Some("ana-user"), uid);
    }
    lab.settle_applied();
    let requests = lab.braze().requests();
    let bodies: Vec<_> = requests
        .iter()
        .map(|request| (request["path"].as_str().unwrap(), request["body"].to_string()))
        .collect();
    let of = |text: &str| -> Vec<usize> {
        let told = bodies.iter().enumerate();
        told.filter(|(_, (path, body))| *path == "/users/track" && body.contains(text))
            .map(|(place, _)| place)
            .collect()
    };
    let calls = bodies.iter().enumerate().filter(|(_, (path, _))| *path == "/users/identify");
    let [identified] = *calls.map(|(place, _)| place).collect::<Vec<_>>() else {
        panic!("{bodies:?}");
    };
    let (before, after) = (of("-visit"), of("-known"));
    assert!(!before.is_empty() && before.iter().all(|place| *place < identified), "{bodies:?}");
    assert!(!after.is_empty() && after.iter().all(|place| *place > identified), "{bodies:?}");

    let told = lab.told("ledger?user=ana-user");
    let items = told["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["kind"] == "identified").unwrap();
    assert_eq!((&item["user_id"], &item["device_id"]), (&json!("ana-user"), &json!(PHONE)));
    let object = &item["objects"][0];
    assert_eq!(object["state"], "delivered", "{object}");
    assert_eq!(object["happenings"][1]["status"], 201, "{object}");
    let shown = lab.printed(&["ledger", "--user", "ana-user"]);
    // The visitor's story is the user's.
    assert!(shown.contains("on device phone-of-ana, insert id 1-visit"), "{shown}");
    assert!(shown.contains("identified, of user ana-user"), "{shown}");
}
