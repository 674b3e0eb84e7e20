//! One round: a server and a sandbox from nothing, load, what goes wrong, and what is there once
//! everything has settled.

use crate::control;
use crate::harness::comparison::{Comparison, Evidence, Listed, Uids};
use crate::harness::lab::Lab;
use crate::harness::load::{Kind, Load};
use crate::harness::patience::{eventually, eventually_within, pause_for};
use crate::rows::{Act, Row};
use isthmus_core::seam::{Random, SeededRandom};
use serde_json::{Value, json};
use std::time::Duration;

/// A burst of orders and now and then a purchase.
const LOAD: [Kind; 5] = [ORDER, ORDER, ORDER, ORDER, PURCHASE];
const ORDER: Kind = Kind { event_type: "Order Completed", prefix: "order-" };
const PURCHASE: Kind = Kind { event_type: "Purchase Made", prefix: "purchase-" };
/// Wait of a client between two uploads: as much as Braze, when it is slow, can follow.
const BETWEEN: Duration = Duration::from_millis(20);
/// Uploads that are acknowledged at least between two acts: a few requests to Braze.
const UPLOADS_MIN: u64 = 10;
/// Longest wait until nothing is pending.
const SETTLED_WITHIN: Duration = Duration::from_mins(2);

/// What becomes of an attempt whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Policy {
    /// It is sent again.
    AtLeastOnce,
    /// It is not.
    AtMostOnce,
    /// Products' events for Amplitude: sent again, and kept once by their `insert_id`.
    Forwarded,
    /// The same for what Currents brought.
    Returned,
}

/// A stream, the events it takes, and how it delivers them.
struct Stream {
    name: &'static str,
    kind: Kind,
    policy: Policy,
}

const STREAMS: [Stream; 2] = [
    Stream { name: "orders", kind: ORDER, policy: Policy::AtLeastOnce },
    Stream { name: "purchases", kind: PURCHASE, policy: Policy::AtMostOnce },
];

const CONFIGURATION: &str = "\
[delivery]
backoff_cap = \"1s\"
";

/// What one stream came to in one round.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) policy: Policy,
    /// Events acknowledged.
    pub(crate) events: u64,
    pub(crate) compared: Comparison,
    pub(crate) listed: Listed,
    /// Listed as unknown for good.
    pub(crate) unknown: u64,
    /// Refused by Braze, and kept as dead letters.
    pub(crate) refused: u64,
}

impl Finding {
    /// How many are doubled that the server does not list. At most once or at Amplitude, none may be.
    pub(crate) fn unlisted(&self) -> u64 {
        match self.policy {
            Policy::AtLeastOnce => self.compared.unlisted(&self.listed),
            Policy::AtMostOnce | Policy::Forwarded | Policy::Returned => {
                self.compared.unlisted(&Listed::Count(0))
            }
        }
    }
}

/// Runs one round of `row`; one finding per stream.
///
/// # Panics
/// When the server does not do what it is there for at all, as to start or to settle.
pub(crate) fn run(row: &Row, seed: u64, brief: bool) -> Vec<Finding> {
    let random = SeededRandom::new(seed);
    let mut lab = Lab::configured(&resources(row), CONFIGURATION);
    let load = Load::new(&lab, &LOAD, BETWEEN);
    load.during(|| {
        for act in row.acts {
            moment(&load, &random, brief);
            perform(*act, &mut lab, &load, &random, &|_| {});
        }
        moment(&load, &random, brief);
        mend(&lab);
    });
    settle(&lab);
    let refused = STREAMS.map(|stream| control::refused(&lab, stream.name));
    let unknown = STREAMS.map(|stream| control::unknown(&lab, stream.name));
    let mut accounted = Uids::new();
    for (stream, (refused, unknown)) in STREAMS.iter().zip(refused.iter().zip(&unknown)) {
        accounted.extend(refused.iter().cloned());
        if stream.policy == Policy::AtMostOnce {
            accounted.extend(unknown.iter().cloned());
        }
    }
    let evidence = Evidence {
        sent: load.sent(),
        acknowledged: load.acknowledged(),
        arrived: lab.braze().uids(),
        accounted,
    };
    let findings = STREAMS.iter().zip(refused.iter().zip(&unknown)).map(|(stream, lists)| {
        let evidence = evidence.only(|uid| uid.starts_with(stream.kind.prefix));
        Finding {
            policy: stream.policy,
            events: evidence.acknowledged.len() as u64,
            compared: evidence.compare(),
            listed: control::listed(&lab, stream.name),
            refused: lists.0.len() as u64,
            unknown: lists.1.len() as u64,
        }
    });
    findings.collect()
}

fn resources(row: &Row) -> String {
    let streams = STREAMS.map(|stream| {
        let delivery = match stream.policy {
            Policy::AtMostOnce => ", delivery: at_most_once",
            _ => "",
        };
        format!(
            "---\nkind: stream\nname: {}\nproject: shop\ndestination: braze\nenabled: true\n\
             identify_by: {{ from: user_id, to: external_id }}\n\
             send_events:\n  events: [{{ name: {}{delivery} }}]\n  event_properties: [uid]\n",
            stream.name, stream.kind.event_type
        )
    });
    format!(
        "kind: project\nname: shop\napi_key: shop-key\n---\n\
         kind: destination\nname: braze\ntype: braze\nendpoint: http://BRAZE\n\
         rest_key: {{ env: ISTHMUS_TEST_REST_KEY }}\nlimits: {{ timeout: {} }}\n{}",
        row.timeout,
        streams.concat()
    )
}

/// Lets the load go on until a random moment.
pub(crate) fn moment(load: &Load, random: &SeededRandom, brief: bool) {
    load.go_on(UPLOADS_MIN);
    let most = if brief { 100 } else { 600 };
    pause_for(Duration::from_millis(random.below(most)));
}

/// Does `act`, and `restarted` whenever the server runs again, on another port.
pub(crate) fn perform(
    act: Act,
    lab: &mut Lab,
    load: &Load,
    random: &SeededRandom,
    restarted: &dyn Fn(&Lab),
) {
    let start = |lab: &mut Lab| {
        lab.start();
        load.follow(lab);
        restarted(lab);
    };
    let kill = |lab: &mut Lab| {
        lab.take_server().kill();
        start(lab);
    };
    match act {
        Act::Fail(rules) => {
            for rule in rules {
                let rule: Value = serde_json::from_str(rule).unwrap();
                lab.braze().fail(&rule);
            }
        }
        Act::Mend => mend(lab),
        Act::Kill => kill(lab),
        Act::KillInFlight => {
            eventually("requests are unanswered", || match control::in_flight(lab) {
                0 => Err("none is".to_owned()),
                _ => Ok(()),
            });
            kill(lab);
        }
        Act::KillTwice => {
            kill(lab);
            pause_for(Duration::from_millis(random.below(200)));
            kill(lab);
        }
        Act::Stop => {
            let status = lab.take_server().stop();
            assert!(status.success(), "the orderly stop ended with {status}");
            start(lab);
        }
        Act::Freeze => {
            lab.sandbox().signal("STOP");
            pause_for(Duration::from_millis(300 + random.below(600)));
            lab.sandbox().signal("CONT");
        }
    }
}

/// Takes the faults away once all have struck: as often as they may, or at all.
pub(crate) fn mend(lab: &Lab) {
    eventually("every fault strikes", || {
        let rules = lab.braze().faults();
        let waits = rules
            .iter()
            .find(|rule| rule["struck"].as_u64() < rule["fault"]["times"].as_u64().or(Some(1)));
        waits.map_or(Ok(()), |rule| Err(rule.to_string()))
    });
    lab.braze().mend();
}

/// Waits until everything that was uploaded is delivered, refused or listed.
///
/// It uploads one more event of each kind: once those are with Braze, every stream has seen all
/// that came before.
fn settle(lab: &Lab) {
    let uid = |stream: &Stream| format!("last-{}", stream.name);
    let events = STREAMS.each_ref().map(|stream| {
        let uid = uid(stream);
        json!({
            "event_type": stream.kind.event_type, "user_id": uid, "insert_id": uid,
            "event_properties": { "uid": uid },
        })
    });
    let answer = lab.upload(&json!(events));
    assert_eq!(answer.status, 200, "{}", answer.text());
    eventually_within(SETTLED_WITHIN, "the last events reach Braze", || {
        let arrived = lab.braze().uids();
        let missing = STREAMS.iter().find(|stream| !arrived.contains_key(&uid(stream)));
        missing.map_or(Ok(()), |_| Err(control::streams(lab).to_string()))
    });
    eventually_within(SETTLED_WITHIN, "nothing is pending", || {
        let report = control::streams(lab);
        let streams = report["streams"].as_array().unwrap();
        for stream in streams {
            let count = |name: &str| stream[name].as_u64().unwrap();
            let sum: u64 =
                ["delivered", "rejected", "discarded", "pending"].map(count).iter().sum();
            assert_eq!(count("accepted"), sum, "{stream}");
        }
        // What is unknown and must not be doubled stays pending until somebody says.
        let pending = streams.iter().any(|stream| stream["pending"] != stream["unknown"]);
        if pending { Err(report.to_string()) } else { Ok(()) }
    });
}
