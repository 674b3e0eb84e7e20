use super::*;
use isthmus_core::seam::SeededRandom;
use serde_json::json;

fn status(code: u16) -> FaultEffect {
    FaultEffect::Status { code, body: None, headers: BTreeMap::new(), when: When::Before }
}

fn strikes(faults: &Faults, path: &str, requests: usize) -> usize {
    let random = SeededRandom::new(7);
    let struck = |_: &usize| faults.draw(path, Duration::ZERO, &random).struck();
    (0..requests).filter(struck).count()
}

fn add(faults: &Faults, fault: Fault) {
    faults.add(vec![fault], Duration::ZERO).expect("a possible rule");
}

#[test]
fn a_rule_strikes_its_path_as_often_as_it_says() {
    let faults = Faults::default();
    add(&faults, Fault::on("/users/track", status(503)).after(2).times(3));
    assert_eq!(strikes(&faults, "/users/identify", 5), 0);
    assert_eq!(strikes(&faults, "/users/track", 2), 0);
    assert_eq!(strikes(&faults, "/users/track", 9), 3);
    faults.clear();
    add(&faults, Fault::on("/users/*", status(503)));
    assert_eq!(strikes(&faults, "/users/track/bulk", 4), 4);
}

#[test]
fn probability_strikes_about_that_share() {
    let faults = Faults::default();
    add(&faults, Fault::on("*", status(503)).with_probability(0.25));
    let struck = strikes(&faults, "/", 10_000);
    assert!((2_300..2_700).contains(&struck), "{struck}");
}

#[test]
fn waits_add_up_and_the_first_end_wins() {
    let faults = Faults::default();
    let wait = |ms| {
        let latency = Latency::Uniform { min_ms: ms, max_ms: ms, when: When::Before };
        FaultEffect::Latency(latency)
    };
    for effect in [wait(10), status(503), status(500), wait(5)] {
        add(&faults, Fault::on("*", effect));
    }
    let strike = faults.draw("/", Duration::ZERO, &SeededRandom::new(1));
    assert_eq!(strike.wait_before, Duration::from_millis(15));
    assert_eq!(strike.instead, Some(status(503)));
}

#[test]
fn a_rule_strikes_in_its_time_and_again_every_so_often() {
    let seconds_struck = |fault: Fault| {
        let faults = Faults::default();
        let added = Duration::from_secs(100);
        faults.add(vec![fault], added).expect("a possible rule");
        let random = SeededRandom::new(1);
        let strikes =
            |second: &u64| faults.draw("/", added + Duration::from_secs(*second), &random).struck();
        (0..12).filter(strikes).collect::<Vec<u64>>()
    };
    let second = Duration::from_secs(1);
    let outage = Fault::on("*", status(503)).during(2 * second, 3 * second);
    assert_eq!(seconds_struck(outage.clone()), [2, 3, 4]);
    assert_eq!(seconds_struck(outage.clone().every(5 * second)), [2, 3, 4, 7, 8, 9]);
    assert_eq!(seconds_struck(outage.clone().every(5 * second).after(1).times(3)), [3, 4, 7]);
    assert_eq!(seconds_struck(Fault { for_ms: None, ..outage }), (2..12).collect::<Vec<_>>());
}

#[test]
fn waits_follow_their_distribution() {
    let sorted = |latency: Latency| {
        let random = SeededRandom::new(5);
        let mut waits: Vec<_> = (0..20_000).map(|_| latency.draw(&random).as_millis()).collect();
        waits.sort_unstable();
        waits
    };
    let when = When::Before;
    let waits = sorted(Latency::LogNormal { p50_ms: 100, p99_ms: 2_000, when });
    assert!((95..105).contains(&waits[10_000]), "{}", waits[10_000]);
    assert!((1_700..2_300).contains(&waits[19_800]), "{}", waits[19_800]);
    assert!(waits[0] < 20 && waits[19_999] > 3_000, "{} {}", waits[0], waits[19_999]);
    let waits = sorted(Latency::Exponential { mean_ms: 100, when });
    let mean = waits.iter().sum::<u128>() / 20_000;
    assert!((97..103).contains(&mean), "{mean}");
    assert!((66..73).contains(&waits[10_000]), "{}", waits[10_000]);
    let waits = sorted(Latency::Uniform { min_ms: 10, max_ms: 20, when });
    assert_eq!((waits[0], waits[10_000], waits[19_999]), (10, 15, 20));
    let waits = sorted(Latency::LogNormal { p50_ms: 70, p99_ms: 70, when });
    assert_eq!((waits[0], waits[19_999]), (70, 70));
}

#[test]
fn rules_read_as_they_are_documented() {
    let read = |rule: serde_json::Value| Fault::read(rule.to_string().as_bytes());
    let rule = json!({"path": "/users/track", "times": 2, "effect": {"reset": {"when": "after"}}});
    let reset = Fault::on("/users/track", FaultEffect::Reset { when: When::After }).times(2);
    assert_eq!(read(rule.clone()), Ok(vec![reset.clone()]));
    assert_eq!(read(json!([rule, rule])), Ok(vec![reset.clone(), reset]));
    for effect in [
        json!({"rate_limit": {"form": "retry_after", "seconds": 2}}),
        json!({"rate_limit": {"form": "hour"}}),
        json!({"latency": {"min_ms": 1, "max_ms": 2, "when": "after"}}),
        json!({"latency": {"p50_ms": 80, "p99_ms": 900}}),
        json!({"latency": {"mean_ms": 80}}),
        json!({"hang": {"when": "after"}}),
        json!({"refuse": {}}),
        json!({"truncate": {}}),
        json!({"truncate": {"bytes": 0}}),
        json!({"garbage": {"code": 502, "when": "after"}}),
        json!({"poison": {"external_id": "u"}}),
        json!({"objects_max": {"max": 10}}),
        json!({"bytes_max": {"max": 1_000}}),
        json!({"throttle": {"user_ids": ["u"], "device_ids": ["d", "e"], "daily": true}}),
        json!({"throttle": {}}),
        json!({"silence": {"device_ids": ["d"]}}),
    ] {
        let rule = json!({"after_ms": 5, "for_ms": 2, "every_ms": 9, "effect": effect});
        let read = read(rule).unwrap_or_else(|error| panic!("{effect}: {error}"));
        let written = serde_json::to_vec(&read).expect("JSON");
        assert_eq!(Fault::read(&written), Ok(read));
    }
}

#[test]
fn a_wrong_rule_says_where_and_what_is_wrong() {
    for (text, said) in [
        ("{}", "line 1, column 2: missing field `effect`"),
        (
            "[\n{\"effect\": {\"refuse\": {}}, \"pth\": \"*\"}]",
            "line 2, column 32: unknown field `pth`, expected one of `path`, `skip`, `times`, \
             `probability`, `after_ms`, `for_ms`, `every_ms`, `effect`",
        ),
        (
            r#"{"effect": {"latency": {"min_ms": 1}}}"#,
            "line 1, column 37: latency takes `min_ms` and `max_ms`, `p50_ms` and `p99_ms`, or \
             `mean_ms`",
        ),
        (
            r#"[{"effect": {"refuse": {}}}, {"effect": {"refuse": {}}, "probability": 2}]"#,
            "rule 2: probability is from 0 to 1",
        ),
    ] {
        let error = Fault::read(text.as_bytes()).expect_err("a wrong rule");
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn impossible_rules_are_refused_and_with_them_the_whole_list() {
    let fine = || Fault::on("*", status(503));
    let effect = |effect: serde_json::Value| -> Fault {
        let effect = serde_json::from_value(effect).expect("an effect");
        Fault::on("*", effect)
    };
    let faults = Faults::default();
    for wrong in [
        Fault::on("*", status(99)),
        Fault::on("users/track", status(503)),
        fine().with_probability(2.0),
        fine().every(Duration::from_secs(1)),
        fine().during(Duration::ZERO, Duration::ZERO),
        fine().during(Duration::ZERO, Duration::from_secs(2)).every(Duration::from_secs(1)),
        effect(json!({"status": {"code": 200, "headers": {"a b": "c"}}})),
        effect(json!({"latency": {"min_ms": 2, "max_ms": 1}})),
        effect(json!({"latency": {"p50_ms": 0, "p99_ms": 1}})),
        effect(json!({"latency": {"p50_ms": 2, "p99_ms": 1}})),
        effect(json!({"partial": {"every": 0}})),
        effect(json!({"garbage": {"code": 100}})),
        effect(json!({"rate_limit": {"form": "epoch"}})),
    ] {
        let added = faults.add(vec![fine(), wrong.clone()], Duration::ZERO);
        assert!(matches!(added, Err(FaultError::Impossible { rule: 2, .. })), "{wrong:?}");
    }
    assert!(faults.rules().is_empty());
    let many = vec![fine(); 1_001];
    assert_eq!(faults.add(many, Duration::ZERO), Err(FaultError::TooMany));
}
