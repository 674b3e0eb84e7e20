//! What became of events over time: Amplitude's summary, samples of failures, Prometheus.

use crate::harness::eventually;
use crate::harness::http::{Answer, get, send};
use crate::harness::lab::{Lab, SHOP};
use crate::harness::process::{REST_KEY, ended};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const PATH: &str = "/api/2/event-streaming/delivery-metrics-summary";
const SECRET_KEY: &str = "shop-secret";

/// The shop with a secret key, and a second project whose secret comes from the environment.
fn lab() -> Lab {
    let shop = SHOP.replace("api_key: shop-key", "api_key: shop-key\nsecret_key: shop-secret");
    Lab::with(&format!(
        "{shop}---\nkind: project\nname: other\napi_key: other-key\n\
         secret_key: {{ env: ISTHMUS_TEST_REST_KEY }}\n---\n\
         kind: project\nname: closed\napi_key: closed-key\n"
    ))
}

fn ask_as(lab: &Lab, pair: &str, query: &str) -> Answer {
    let authorization = format!("Basic {}", BASE64_STANDARD.encode(pair));
    let headers = [("authorization", authorization.as_str())];
    send(lab.server().address(), "GET", &format!("{PATH}?{query}"), &headers, b"").unwrap()
}

fn ask(lab: &Lab, query: &str) -> Answer {
    ask_as(lab, &format!("shop-key:{SECRET_KEY}"), query)
}

fn summary(lab: &Lab, query: &str) -> Value {
    let answer = ask(lab, query);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// A stop hands over what was counted, so nobody has to wait for it.
fn restart(lab: &mut Lab) {
    assert!(lab.take_server().stop().success());
    lab.start();
}

/// Ten events, of which one is refused and one is sent twice, and one that is nobody's.
fn traffic(lab: &Lab) -> Value {
    let event = |user: &str| json!({ "event_type": "Product Viewed", "user_id": user });
    let many: Vec<_> = (0..8).map(|at| event(&format!("metrics-{at}"))).collect();
    assert_eq!(lab.upload(&Value::Array(many)).status, 200);
    lab.settle();
    lab.braze().fail(&json!({
        "path": "/users/track", "times": 1,
        "effect": { "partial": { "external_id": "poison-1", "error": "provided external_id is blacklisted" } },
    }));
    // Alone, it would be refused with its request; beside another one, it is refused by name.
    assert_eq!(lab.upload(&json!([event("poison-1"), event("beside-it")])).status, 200);
    lab.settle();
    lab.braze().fail(&json!({
        "path": "/users/track", "times": 1, "effect": { "status": { "code": 503 } },
    }));
    assert_eq!(lab.upload(&json!([event("again-1")])).status, 200);
    lab.settle();
    let nobody = json!([{ "event_type": "Product Viewed", "device_id": "anonymous-device" }]);
    assert_eq!(lab.upload(&nobody).status, 200);
    lab.settle()
}

#[test]
fn the_summary_adds_up_to_what_the_stream_counts_and_nothing_doubles() {
    let mut lab = lab();
    let stream = traffic(&lab);
    assert_eq!((&stream["rejected"], &stream["discarded"]), (&json!(1), &json!(1)), "{stream}");
    assert_eq!(stream["sync_id"], 1, "{stream}");
    restart(&mut lab);
    let told = summary(&lab, "sync_id=1&time_period=FOUR_HOURS");
    assert_eq!(told["timePeriod"], "FOUR_HOURS");
    assert_eq!(told["eventsDelivered"], stream["delivered"], "{told} {stream}");
    assert_eq!(told["eventsNotDelivered"], 2, "{told}");
    assert_eq!((&told["eventsExpired"], &told["eventsDiscarded"]), (&json!(0), &json!(2)));
    let count = |name: &str| told[name].as_u64().unwrap();
    assert!(count("successAfterRetry") >= 1, "{told}");
    assert_eq!(
        count("successOnFirstAttempt") + count("successAfterRetry"),
        count("eventsDelivered"),
        "{told}"
    );
    let rate = told["deliveryRate"].as_f64().unwrap();
    let delivered = stream["delivered"].as_f64().unwrap();
    assert!((rate - delivered / (delivered + 2.0)).abs() < 1e-9, "{told}");
    let latency = told["latencyInSeconds"].as_f64().unwrap();
    assert!(latency > 0.0 && latency < 60.0, "{told}");
    for name in ["timePeriodStart", "timePeriodEnd"] {
        let text = told[name].as_str().unwrap();
        assert!(text.len() == 26 && text.ends_with(":00.000000"), "{told}");
    }

    // As Amplitude's own examples write instants, and as curl sends them: a bare plus is a space.
    let at = |name: &str| told[name].as_str().unwrap().split_at(16).0.replace(' ', "T");
    let custom = format!(
        "sync_id=1&time_period=CUSTOM&start={}+00:00&end={}:00Z",
        at("timePeriodStart"),
        at("timePeriodEnd")
    );
    restart(&mut lab);
    for query in ["sync_id=1&time_period=ONE_DAY", "sync_id=1&time_period=TWO_WEEKS", &custom] {
        let again = summary(&lab, query);
        for name in ["eventsDelivered", "eventsDiscarded", "successAfterRetry", "latencyInSeconds"]
        {
            assert_eq!(again[name], told[name], "{query}: {again} {told}");
        }
    }
    // A kill loses what was not handed over, and doubles nothing.
    lab.settle();
    lab.take_server().kill();
    lab.start();
    let stream = lab.settle();
    restart(&mut lab);
    let after = summary(&lab, "sync_id=1&time_period=ONE_DAY");
    assert_eq!(lab.stream()["sync_id"], 1);
    let delivered = after["eventsDelivered"].as_u64();
    assert!(delivered <= stream["delivered"].as_u64(), "{after} {stream}");
    assert!(delivered > told["eventsDelivered"].as_u64(), "{after} {told}");
}

#[test]
fn a_summary_without_traffic_is_quiet() {
    let lab = lab();
    let quiet = summary(&lab, "sync_id=1&time_period=TEN_MINUTES");
    assert_eq!((&quiet["deliveryRate"], &quiet["latencyInSeconds"]), (&json!(1.0), &json!(0.0)));
    assert_eq!((&quiet["eventsDelivered"], &quiet["eventsNotDelivered"]), (&json!(0), &json!(0)));
}

#[test]
fn only_the_projects_own_keys_open_its_summary() {
    let lab = lab();
    let query = "sync_id=1&time_period=ONE_DAY";
    let none = get(lab.server().address(), &format!("{PATH}?{query}"));
    let mut refused = vec![none];
    for pair in ["shop-key:wrong", "shop-key:", "nobody:shop-secret", "closed-key:", "nonsense"] {
        refused.push(ask_as(&lab, pair, query));
    }
    for answer in refused {
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"amplitude\""));
        let body = answer.json();
        assert_eq!(
            (&body["code"], &body["status"]),
            (&json!(401), &json!("Unauthorized")),
            "{body}"
        );
        assert!(body["error"].is_string() && body["error"] == body["message"], "{body}");
    }
    let foreign = ask_as(&lab, &format!("other-key:{REST_KEY}"), query);
    assert_eq!(foreign.status, 403, "{}", foreign.text());
    assert_eq!(foreign.json()["code"], 403);
    assert_eq!(ask(&lab, "sync_id=99&time_period=ONE_DAY").status, 403);
    let log = lab.server().log();
    assert!(!log.contains(SECRET_KEY) && !log.contains(REST_KEY), "{log}");
}

#[test]
fn wrong_parameters_are_named_and_too_many_requests_refused() {
    let lab = lab();
    for (query, parameter) in [
        ("time_period=ONE_DAY", "sync_id"),
        ("sync_id=shop&time_period=ONE_DAY", "sync_id"),
        ("sync_id=1", "time_period"),
        ("sync_id=1&time_period=ONE_YEAR", "time_period"),
        ("sync_id=1&time_period=CUSTOM&end=2026-02-03T06:00Z", "start"),
        ("sync_id=1&time_period=CUSTOM&start=2026-02-03T06:00Z&end=later", "end"),
        ("sync_id=1&time_period=CUSTOM&start=2026-02-03T06:00Z&end=2026-02-03T06:00Z", "end"),
    ] {
        let answer = ask(&lab, query);
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        let body = answer.json();
        assert!(body["error"].as_str().unwrap().starts_with(parameter), "{query}: {body}");
        assert_eq!((&body["code"], &body["status"]), (&json!(400), &json!("Bad Request")));
    }
    let old = "sync_id=1&time_period=CUSTOM&start=2020-02-03T06:00Z&end=2020-02-04T06:00Z";
    let answer = ask(&lab, old);
    assert_eq!((answer.status, &answer.json()["code"]), (500, &json!(500)), "beyond the retention");
    for _ in 8..12 {
        assert_eq!(ask(&lab, "sync_id=1&time_period=ONE_HOUR").status, 200);
    }
    let answer = ask(&lab, "sync_id=1&time_period=ONE_HOUR");
    assert_eq!((answer.status, &answer.json()["code"]), (429, &json!(429)), "the thirteenth");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let other = ask_as(&lab, &format!("other-key:{REST_KEY}"), "sync_id=1&time_period=ONE_HOUR");
    assert_eq!(other.status, 403, "another project has its own budget");
    let posted = send(lab.server().address(), "POST", PATH, &[], b"").unwrap();
    assert_eq!(posted.status, 405);
}

#[test]
fn samples_show_what_went_wrong_and_no_values() {
    let mut lab = lab();
    traffic(&lab);
    restart(&mut lab);
    let url = lab.server().url("");
    let show = |more: &[&str]| {
        let mut arguments = vec!["streams", "samples"];
        arguments.extend(more);
        arguments.extend(["--server", &url, "--data-dir", "data"]);
        ended(lab.folder(), &arguments)
    };
    let shown = show(&["shop-events", "--json"]);
    assert!(shown.status.success(), "{}", shown.stderr);
    for secret in ["poison-1", "again-1", "anonymous-device"] {
        assert!(!shown.stdout.contains(secret), "{}", shown.stdout);
    }
    let report: Value = serde_json::from_str(&shown.stdout).unwrap();
    let categories = report["categories"].as_array().unwrap();
    let of = |name: &str| {
        let found = categories.iter().find(|each| each["category"] == name);
        found.unwrap_or_else(|| panic!("{name}: {report}"))
    };
    let refused = &of("rejected: provided external_id is blacklisted")["samples"][0];
    assert_eq!((&refused["status"], &refused["attempts"]), (&json!(201), &json!(1)), "{refused}");
    assert_eq!(refused["next_attempt_at"], Value::Null);
    assert_eq!(refused["request"]["external_id"], "***");
    assert_eq!(refused["request"]["name"], "Product Viewed");
    let retried = &of("5xx")["samples"][0];
    assert_eq!((&retried["status"], &retried["name"]), (&json!(503), &json!("Product Viewed")));
    assert!(
        retried["next_attempt_at"].as_str() > retried["first_attempt_at"].as_str(),
        "{retried}"
    );
    let discarded = categories.iter().find(|each| {
        each["category"].as_str().is_some_and(|category| category.starts_with("discarded: "))
    });
    assert_eq!(discarded.unwrap()["count"], 1, "{report}");

    let one = show(&["shop-events", "--category", "5xx", "--json"]);
    let one: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!(one["categories"].as_array().unwrap().len(), 1, "{one}");
    let text = show(&["shop-events"]);
    assert!(text.stdout.contains("5xx: "), "{}", text.stdout);
    let none = show(&["shop-events", "--category", "none"]);
    assert!(none.stdout.contains("no samples"), "{}", none.stdout);
    let unknown = show(&["nothing"]);
    assert!(
        !unknown.status.success() && unknown.stderr.contains("there is no stream nothing"),
        "{}",
        unknown.stderr
    );
    // What `streams` did without a subcommand it still does.
    assert_eq!(lab.stream()["name"], "shop-events");
}

#[test]
fn every_outcome_is_a_metric() {
    let lab = lab();
    let stream = traffic(&lab);
    let of = |outcome: &str| {
        format!(
            "isthmus_delivery_stream_objects{{destination=\"braze\",stream=\"shop-events\",outcome=\"{outcome}\"}} "
        )
    };
    let both = "{destination=\"braze\",stream=\"shop-events\"}";
    let one = "{destination=\"braze\"}";
    let expected = [
        format!("{}{}", of("accepted"), stream["accepted"]),
        format!("{}{}", of("delivered"), stream["delivered"]),
        format!("{}1", of("rejected")),
        format!("{}0", of("expired")),
        format!("{}1", of("discarded")),
        format!("{}0", of("unknown")),
        format!("isthmus_delivery_pending_objects{both} 0"),
        format!("isthmus_delivery_retrying_objects{both} 0"),
        format!("isthmus_delivery_in_flight_objects{both} 0"),
        format!("isthmus_delivery_running_jobs{one} 0"),
        "isthmus_delivery_dead_letters{stream=\"shop-events\"} 1".to_owned(),
    ];
    let text = eventually("all metrics are there", || {
        let text = get(lab.server().address(), "/metrics").text();
        let missing: Vec<_> =
            expected.iter().filter(|line| !text.lines().any(|known| known == *line)).collect();
        if missing.is_empty() { Ok(text) } else { Err(format!("{missing:?}\n{text}")) }
    });
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("isthmus_delivery_journal_disk_bytes") > 0.0);
    assert!((0.0..=1.0).contains(&value("isthmus_delivery_budget_used_ratio")));
}
