//! The whole loop on this machine: what people do reaches Braze, Braze messages them, Currents tells
//! what they did with the messages, and Amplitude has all of it once.

use crate::harness::eventually;
use crate::harness::http::{get, send};
use crate::harness::lab::{Lab, SHOP};
use crate::harness::process::REST_KEY;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const CIRCLE: &str = "---
kind: currents_source
name: posts
project: shop
token: { env: ISTHMUS_TEST_REST_KEY }
destination: braze
---
kind: destination
name: amplitude
type: amplitude
endpoint: http://BRAZE
api_key: { env: ISTHMUS_TEST_REST_KEY }
---
kind: stream
name: to-amplitude
project: shop
destination: amplitude
forward:
  events: all
  identifies: true
  group_identifies: true
  currents: { types: all }
enabled: true
";

/// The shop, and the way back; the emulator's users read their e-mails at once.
fn lab(shop: &str) -> Lab {
    let shop = shop.replace("[plan, seats, beta,", "[email, plan, seats, beta,");
    let lab = Lab::with(&format!("{shop}{CIRCLE}"));
    lab.amplitude().watch_insert_ids();
    export(&lab);
    put(
        &lab,
        "campaigns/thanks",
        &json!({
            "channel": "email",
            "trigger": { "event": "Order Completed" },
            "re_eligible_after": "0s",
            "message": "Thank you, {{${user_id}}}.",
            "engagement": { "delivered": 1, "opened": 1, "clicked": 0, "unsubscribed": 0,
                            "machine_opens": 0, "speed": 100_000 },
        }),
    );
    lab
}

/// Points the emulator's Currents at the server, in the worst order and with repetitions.
fn export(lab: &Lab) {
    let url = lab.server().url("/currents/http/posts");
    put(
        lab,
        "currents/home",
        &json!({
            "url": url, "token": REST_KEY, "linger": "100ms", "batch_max": 7, "duplicates": 0.3,
            "reorder": 0.3, "retry_first": "50ms", "retry_max": "200ms", "credentials_retry": "200ms",
        }),
    );
}

fn put(lab: &Lab, path: &str, body: &Value) {
    let (address, path) = (lab.sandbox().address(), format!("/_sandbox/{path}"));
    let headers = [("content-type", "application/json")];
    let answer = send(address, "PUT", &path, &headers, body.to_string().as_bytes()).unwrap();
    assert!(answer.status < 300, "{path}: {}", answer.text());
}

fn order(user: &str, number: usize) -> Value {
    json!({
        "event_type": "Order Completed", "user_id": user, "device_id": format!("{user}-phone"),
        "insert_id": format!("{user}-order-{number}"), "session_id": 1_767_258_000_000_u64,
        "event_id": number, "library": "shop/1.0", "platform": "iOS",
        "event_properties": { "total": 12.5, "uid": format!("{user}-order-{number}") },
        "user_properties": { "$set": { "email": format!("{user}@example.test") } },
    })
}

/// How many events of each type Amplitude stored.
fn by_type(lab: &Lab) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for event in lab.amplitude().events("") {
        *count.entry(event["event_type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    count
}

fn wait_for(lab: &Lab, event_type: &str, wanted: usize) {
    eventually(&format!("Amplitude has {wanted} of {event_type}"), || {
        match by_type(lab).get(event_type) {
            Some(count) if *count >= wanted => Ok(()),
            _ => Err(format!("{:?}\n{}", by_type(lab), lab.streams())),
        }
    });
}

/// The ids of everything that Currents exported, by type.
fn exported(lab: &Lab) -> BTreeMap<String, BTreeSet<String>> {
    let found = get(lab.sandbox().address(), "/_sandbox/currents/home/events");
    let mut by_type: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, kind) in found.json()["events"].as_object().unwrap() {
        by_type.entry(kind.as_str().unwrap().to_owned()).or_default().insert(id.clone());
    }
    by_type
}

#[test]
fn what_people_do_with_messages_comes_back_and_reaches_amplitude_once() {
    let mut lab = lab(SHOP);
    let users: Vec<String> = (0..20).map(|at| format!("shopper-{at:02}")).collect();
    let orders = |number| Value::Array(users.iter().map(|user| order(user, number)).collect());
    assert_eq!(lab.upload(&orders(1)).status, 200);
    wait_for(&lab, "[Appboy] Email Send", 20);

    // The server dies where it stands, and Braze goes on meanwhile.
    lab.take_server().kill();
    lab.start();
    export(&lab);
    assert_eq!(lab.upload(&orders(2)).status, 200);
    wait_for(&lab, "[Appboy] Email Open", 40);
    lab.settle();
    let told = exported(&lab);
    let of = |kind: &str| told.get(kind).map_or(0, BTreeSet::len);
    let (sends, opens) = ("users.messages.email.Send", "users.messages.email.Open");
    assert_eq!((of(sends), of(opens)), (40, 40), "{told:?}");

    // Each once, under the id that Braze gave it.
    let ids = lab.amplitude().insert_ids();
    for (kind, sent) in &told {
        for id in sent {
            let expected = (!kind.starts_with("users.behaviors.")).then_some(1);
            assert_eq!(ids.get(id).copied(), expected, "{kind} {id}");
        }
    }
    assert!(ids.values().all(|count| *count == 1), "{ids:?}");
    // What the shop told Braze came back too, and is not told to Amplitude again.
    assert!(of("users.behaviors.CustomEvent") >= 40, "{told:?}");
    let stored = by_type(&lab);
    assert_eq!(stored.get("Order Completed"), Some(&40), "{stored:?}");
    assert!(!stored.keys().any(|name| name.contains("[Custom Event]")), "{stored:?}");

    // The product's events are what the product sent.
    let events = lab.amplitude().events("user_id=shopper-07&event_type=Order%20Completed");
    let [first, _] = &*events else { panic!("{events:?}") };
    for (name, sent) in order("shopper-07", 1).as_object().unwrap() {
        let there = if name == "platform" { &first["fields"][name] } else { &first[name] };
        assert!(name == "user_properties" || there == sent, "{name} of {first}");
    }
    // And it is one person who did all of it.
    let person = lab.amplitude().person("shopper-07").unwrap();
    let did: Vec<_> =
        person["events"].as_array().unwrap().iter().map(|event| &event["event_type"]).collect();
    assert!(did.contains(&&json!("[Appboy] Email Open")), "{did:?}");
    assert_eq!(person["user"]["user_properties"]["email"], "shopper-07@example.test", "{person}");
}

#[test]
fn an_echo_settles_what_nobody_knew_the_outcome_of() {
    let careful = SHOP.replace(
        "    - name: Order Completed\n",
        "    - { name: Order Completed, delivery: at_most_once }\n",
    );
    let lab = lab(&careful);
    lab.braze().fail(&json!({
        "path": "/users/track", "times": 1, "effect": { "reset": { "when": "after" } },
    }));
    assert_eq!(lab.upload(&json!([order("shopper-00", 1)])).status, 200);
    eventually("the echo settles it", || {
        let ledger = lab.control("GET", "ledger?event=shopper-00-order-1", &Value::Null).json();
        let items = ledger["items"].as_array().into_iter().flatten();
        let Some(order) = items.into_iter().find(|item| item["kind"] == "event") else {
            return Err(ledger.to_string());
        };
        let text = order["objects"].to_string();
        if text.contains("Braze told of it through Currents") { Ok(()) } else { Err(text) }
    });
    let unknown = lab.told("streams/shop-events/dead-letters?cause=unknown");
    assert_eq!(unknown["total"], 0, "{unknown}");
    assert_eq!(lab.braze().uids().get("shopper-00-order-1"), Some(&1));
}
