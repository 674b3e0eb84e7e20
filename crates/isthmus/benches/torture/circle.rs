//! A round of the whole circle: products' events go to Braze and to Amplitude, Braze messages who sent
//! them, and what people do with the messages comes back through Currents and goes to Amplitude.
//!
//! Amplitude keeps the first of every `insert_id`, so what is counted is what it stored: everything
//! once, whatever was sent again, and nothing of what only says what Braze was told.

use crate::control;
use crate::harness::comparison::{Evidence, Listed, Uids};
use crate::harness::http::{get, send};
use crate::harness::lab::Lab;
use crate::harness::load::{Kind, Load};
use crate::harness::patience::{eventually_within, pause_for};
use crate::harness::process::REST_KEY;
use crate::rows::Row;
use crate::scenario::{Finding, Policy, mend, moment, perform};
use isthmus_core::seam::SeededRandom;
use serde_json::{Value, json};
use std::time::Duration;

const ORDER: Kind = Kind { event_type: "Order Completed", prefix: "order-" };
/// Wait of a client between two uploads: every event comes back as three or more.
const BETWEEN: Duration = Duration::from_millis(60);
/// Longest wait until everything is where it belongs.
const SETTLED_WITHIN: Duration = Duration::from_mins(2);
/// The stream to Amplitude.
const FORWARD: &str = "forward";
/// Types that only say what Braze was told.
const BEHAVIORS: &str = "users.behaviors.";

const CONFIGURATION: &str = "\
[delivery]
backoff_cap = \"1s\"
";

/// Runs one round of `row`: what became of products' events, and of Currents'.
///
/// # Panics
/// When the server does not do what it is there for at all, as to start or to settle.
pub(crate) fn run(row: &Row, seed: u64, brief: bool) -> Vec<Finding> {
    let random = SeededRandom::new(seed);
    let mut lab = Lab::configured(&resources(row), CONFIGURATION);
    lab.amplitude().watch_insert_ids();
    export(&lab);
    put(
        &lab,
        "campaigns/thanks",
        &json!({
            "channel": "content_card",
            "trigger": { "event": ORDER.event_type },
            "re_eligible_after": "0s",
            "message": "Thank you.",
            "engagement": { "opened": 0.8, "clicked": 0.5, "speed": 100_000 },
        }),
    );
    let load = Load::new(&lab, &[ORDER], BETWEEN);
    load.during(|| {
        for act in row.acts {
            moment(&load, &random, brief);
            perform(*act, &mut lab, &load, &random, &export);
        }
        moment(&load, &random, brief);
        mend(&lab);
    });
    let told = settle(&lab);
    let is_ours = |uid: &str| uid.starts_with(ORDER.prefix) || uid.starts_with("last-");
    let products = Evidence {
        sent: load.sent(),
        acknowledged: load.acknowledged(),
        arrived: lab.amplitude().insert_ids(),
        accounted: Uids::new(),
    }
    .only(|uid| uid.starts_with(ORDER.prefix));
    let currents = Evidence {
        sent: exported(&lab),
        acknowledged: told,
        arrived: lab.amplitude().insert_ids(),
        accounted: Uids::new(),
    }
    .only(|uid| !is_ours(uid));
    let refused = control::refused(&lab, FORWARD);
    assert!(refused.is_empty(), "Amplitude refuses nothing here: {refused:?}");
    let listed = control::listed(&lab, FORWARD);
    [(Policy::Forwarded, products), (Policy::Returned, currents)]
        .into_iter()
        .map(|(policy, evidence)| Finding {
            policy,
            events: evidence.acknowledged.len() as u64,
            compared: evidence.compare(),
            listed: some(&listed, |uid| is_ours(uid) == (policy == Policy::Forwarded)),
            unknown: 0,
            refused: 0,
        })
        .collect()
}

/// Of what is listed, that for which `wanted` holds.
fn some(listed: &Listed, wanted: impl Fn(&str) -> bool) -> Listed {
    match listed {
        Listed::Uids(uids) => {
            Listed::Uids(uids.iter().filter(|uid| wanted(uid)).cloned().collect())
        }
        Listed::Count(count) => Listed::Count(*count),
    }
}

fn resources(row: &Row) -> String {
    let timeout = row.timeout;
    format!(
        "kind: project\nname: shop\napi_key: shop-key\n---\n\
         kind: destination\nname: braze\ntype: braze\nendpoint: http://BRAZE\n\
         rest_key: {{ env: ISTHMUS_TEST_REST_KEY }}\nlimits: {{ timeout: {timeout} }}\n---\n\
         kind: stream\nname: orders\nproject: shop\ndestination: braze\nenabled: true\n\
         identify_by: {{ from: user_id, to: external_id }}\n\
         send_events:\n  events: [{{ name: {} }}]\n  event_properties: [uid]\n---\n\
         kind: currents_source\nname: posts\nproject: shop\ndestination: braze\n\
         token: {{ env: ISTHMUS_TEST_REST_KEY }}\n---\n\
         kind: destination\nname: amplitude\ntype: amplitude\nendpoint: http://BRAZE\n\
         api_key: {{ env: ISTHMUS_TEST_REST_KEY }}\nlimits: {{ timeout: {timeout} }}\n---\n\
         kind: stream\nname: {FORWARD}\nproject: shop\ndestination: amplitude\nenabled: true\n\
         forward: {{ events: all, currents: {{ types: all }} }}\n",
        ORDER.event_type
    )
}

/// Points the sandbox's Currents at the server, where that is now; what waits there stays.
fn export(lab: &Lab) {
    put(
        lab,
        "currents/home",
        &json!({
            "url": lab.server().url("/currents/http/posts"), "token": REST_KEY,
            "linger": "50ms", "batch_max": 40, "duplicates": 0.1, "reorder": 0.1,
            "retry_first": "50ms", "retry_max": "300ms", "credentials_retry": "300ms",
        }),
    );
}

fn put(lab: &Lab, path: &str, body: &Value) {
    let path = format!("/_sandbox/{path}");
    let headers = [("content-type", "application/json")];
    let body = body.to_string();
    let answer = send(lab.sandbox().address(), "PUT", &path, &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
}

/// Ids of everything that Currents exported so far and that says something new.
fn exported(lab: &Lab) -> Uids {
    let told = get(lab.sandbox().address(), "/_sandbox/currents/home/events").json();
    assert_eq!(told["forgotten"], 0, "a round has less than is kept");
    let events = told["events"].as_object().unwrap().iter();
    let is_news = |kind: &Value| !kind.as_str().unwrap().starts_with(BEHAVIORS);
    events.filter(|(_, kind)| is_news(kind)).map(|(id, _)| id.clone()).collect()
}

/// Waits until everything is where it belongs; returns what Currents had told of.
fn settle(lab: &Lab) -> Uids {
    let delivered = |uid: &str| {
        let event = json!([{ "event_type": ORDER.event_type, "user_id": uid, "insert_id": uid,
                             "event_properties": { "uid": uid } }]);
        let answer = lab.upload(&event);
        assert_eq!(answer.status, 200, "{}", answer.text());
        eventually_within(SETTLED_WITHIN, "the last event reaches both vendors", || {
            let (braze, amplitude) = (lab.braze().uids(), lab.amplitude().insert_ids());
            let is_there = braze.contains_key(uid) && amplitude.contains_key(uid);
            if is_there { Ok(()) } else { Err(control::streams(lab).to_string()) }
        });
        eventually_within(SETTLED_WITHIN, "nothing is pending", || {
            let report = control::streams(lab);
            let streams = report["streams"].as_array().unwrap();
            let pending = streams.iter().any(|stream| stream["pending"] != json!(0));
            if pending { Err(report.to_string()) } else { Ok(()) }
        });
    };
    // Braze has everything, and people have read what they will read.
    delivered("last-to-braze");
    let mut before = Uids::new();
    let told = eventually_within(SETTLED_WITHIN, "Currents has told everything", || {
        pause_for(Duration::from_millis(500));
        let connector = get(lab.sandbox().address(), "/_sandbox/currents/home").json();
        let dropped = connector["dropped"].as_object().unwrap();
        assert!(dropped.values().all(|count| *count == 0), "{connector}");
        let now = exported(lab);
        let is_quiet = connector["queued"] == 0 && now == before && !now.is_empty();
        let told = if is_quiet { Ok(now.clone()) } else { Err(connector.to_string()) };
        before = now;
        told
    });
    // And Amplitude has what came before this.
    delivered("last-of-all");
    told
}
