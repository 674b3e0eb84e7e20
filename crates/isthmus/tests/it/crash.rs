//! Sudden ends: what was answered with 200 is never lost.

use crate::harness::comparison::Evidence;
use crate::harness::lab::Lab;
use crate::harness::load::{Kind, Load};
use crate::harness::process::Process;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ORDERS: [Kind; 1] = [Kind { event_type: "Order Completed", prefix: "" }];
/// Uploads that must be acknowledged before each sudden end.
const UPLOADS_PER_ROUND: u64 = 60;
/// Objects that can be with Braze, unacknowledged, when the server ends: by default 8 requests of
/// 75 objects.
const IN_FLIGHT_MAX: u64 = 8 * 75;

/// Runs the load while `rounds` ends the server and starts it again, then compares.
fn survives(lab: &mut Lab, rounds: u64, end: impl Fn(Process)) -> BTreeMap<String, u64> {
    let load = Load::new(lab, &ORDERS, Duration::ZERO);
    load.during(|| {
        for _ in 0..rounds {
            load.go_on(UPLOADS_PER_ROUND);
            end(lab.take_server());
            lab.start();
            load.follow(lab);
        }
        load.go_on(UPLOADS_PER_ROUND);
    });
    lab.settle();
    let evidence = Evidence {
        sent: load.sent(),
        acknowledged: load.acknowledged(),
        arrived: lab.braze().uids(),
        ..Evidence::default()
    };
    let compared = evidence.compare();
    let (lost, all) = (&compared.lost, evidence.acknowledged.len());
    assert!(lost.is_empty(), "{} of {all} were lost: {lost:?}", lost.len());
    assert!(compared.invented.is_empty(), "never sent: {:?}", compared.invented);
    evidence.arrived
}

#[test]
fn kill_9_under_load_loses_no_acknowledged_event() {
    const KILLS: u64 = 3;
    let mut lab = Lab::shop();
    let arrived = survives(&mut lab, KILLS, Process::kill);
    // Only what was with Braze, unanswered, at a sudden end may be there once more.
    let extra: u64 = arrived.values().map(|count| count - 1).sum();
    assert!(extra <= KILLS * IN_FLIGHT_MAX, "{extra} duplicates");
    let most = arrived.values().max().copied().unwrap_or_default();
    assert!(most <= 1 + KILLS, "one event is there {most} times");
}

#[test]
fn an_orderly_stop_under_load_loses_nothing_and_doubles_nothing() {
    let mut lab = Lab::shop();
    let arrived = survives(&mut lab, 2, |server| {
        let status = server.stop();
        assert!(status.success(), "{status}");
    });
    let doubled: Vec<_> = arrived.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
}

#[test]
fn profiles_survive_a_kill() {
    let mut lab = Lab::shop();
    let identify = |operations: Value| json!([{ "event_type": "$identify", "user_id": "survivor", "user_properties": operations }]);
    let answer =
        lab.upload(&identify(json!({ "$set": { "plan": "pro" }, "$add": { "seats": 2 } })));
    assert_eq!(answer.status, 200, "{}", answer.text());
    lab.take_server().kill();
    lab.start();
    assert_eq!(lab.upload(&identify(json!({ "$add": { "seats": 3 } }))).status, 200);
    lab.settle();
    let user = lab.braze().user("survivor").unwrap();
    assert_eq!(Value::Object(user.attributes), json!({ "plan": "pro", "seats": 5 }));
}
