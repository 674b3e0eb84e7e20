//! Requests, what answers mean, and what is asked of objects that people edit.

use super::*;
use insta::assert_snapshot;
use isthmus_config::resource::DestinationSettings;
use isthmus_config::{Spec, parse_resources};
use isthmus_core::destination::{Guarantee, Pace, Rate};
use isthmus_core::{ByteSize, Place, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

/// 2026-05-02T09:15:30.950Z
const AT: i64 = 1_777_713_330_950;
const KEY: &str = "5b1e0c77a8f04d0b9c2f6e1d3a4b5c6d";

fn config(keys: &str) -> AmplitudeDestination {
    let text = format!(
        "kind: destination\nname: amplitude\ntype: amplitude\napi_key: {{ env: KEY }}\n{keys}\n"
    );
    let resources =
        parse_resources(&text, "loop.yaml").unwrap_or_else(|errors| panic!("{errors:?}"));
    match resources.into_iter().next().map(|resource| resource.spec) {
        Some(Spec::Destination(destination)) => match destination.settings {
            DestinationSettings::Amplitude(amplitude) => amplitude,
            other @ DestinationSettings::Braze(_) => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn amplitude(keys: &str) -> Amplitude {
    Amplitude::build(&config(keys), KEY).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn problems(keys: &str, api_key: &str) -> String {
    match Amplitude::build(&config(keys), api_key) {
        Ok(built) => format!("{built:?}"),
        Err(problems) => {
            let lines: Vec<String> = problems
                .iter()
                .map(|problem| {
                    format!(
                        "{}: {} ({})",
                        problem.path,
                        problem.message,
                        problem.hint.as_deref().unwrap_or("-")
                    )
                })
                .collect();
            lines.join("\n")
        }
    }
}

fn message(section: Section, payload: &str) -> Message {
    Message {
        lane: Lane(1),
        section,
        name: "Ride Requested".to_owned(),
        payload: payload.to_owned(),
        guarantee: Guarantee::AtLeastOnce,
        after: None,
    }
}

fn delivery(index: u32, section: Section, payload: &str) -> Delivery {
    Delivery {
        stream: "shield".into(),
        place: Place { offset: 640, index },
        part: 0,
        accepted_at: Timestamp::from_millis(AT),
        message: message(section, payload),
    }
}

/// Events of four users, each with a device.
fn batch() -> Vec<Delivery> {
    (0..4)
        .map(|index| {
            let payload = format!(
                r#"{{"user_id":"rider-{index}","device_id":"phone-{index}","event_type":"Ride","time":{AT},"insert_id":"i-{index}"}}"#
            );
            delivery(index, EVENTS, &payload)
        })
        .collect()
}

fn body(request: &Request) -> String {
    String::from_utf8(request.body.to_vec()).expect("bodies are text")
}

fn encoded(amplitude: &Amplitude, batch: &[Delivery]) -> Request {
    let encoded = amplitude.encode(batch).expect("the batch is of one call");
    assert_eq!(encoded.objects, batch.len());
    encoded.request
}

/// Members of a form.
fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

#[test]
fn events_are_uploaded_as_one_list() {
    let request = encoded(&amplitude(""), &batch()[..2]);
    assert_eq!(request.method, Method::Post);
    assert_eq!(request.headers[CONTENT_TYPE], "application/json");
    assert_snapshot!(request.url, @"https://api2.amplitude.com/2/httpapi");
    assert_snapshot!(
        body(&request),
        @r#"{"api_key":"5b1e0c77a8f04d0b9c2f6e1d3a4b5c6d","events":[{"user_id":"rider-0","device_id":"phone-0","event_type":"Ride","time":1777713330950,"insert_id":"i-0"},{"user_id":"rider-1","device_id":"phone-1","event_type":"Ride","time":1777713330950,"insert_id":"i-1"}]}"#
    );
}

#[test]
fn the_endpoint_and_the_api_are_the_configured_ones() {
    for (keys, url) in [
        ("endpoint: EU", "https://api.eu.amplitude.com/2/httpapi"),
        ("endpoint: us\nupload: batch", "https://api2.amplitude.com/batch"),
        ("endpoint: http://127.0.0.1:8500/", "http://127.0.0.1:8500/2/httpapi"),
        ("endpoint: https://proxy.example/amp\nupload: batch", "https://proxy.example/amp/batch"),
    ] {
        assert_eq!(encoded(&amplitude(keys), &batch()).url, url, "{keys}");
    }
}

#[test]
fn identifications_go_to_their_calls_as_forms() {
    let amplitude = amplitude("min_id_length: 3");
    let paying = r#"{"user_id":"rider-0042","insert_id":"i","paying":"true & more"}"#;
    let request = encoded(&amplitude, &[delivery(0, IDENTIFY, paying)]);
    assert_snapshot!(request.url, @"https://api2.amplitude.com/identify");
    assert_eq!(request.headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
    let expected = [
        ("api_key", KEY),
        ("identification", &*format!("[{paying}]")),
        ("options", r#"{"min_id_length":3}"#),
    ];
    assert_eq!(form(&request), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let group = r#"{"group_type":"team","group_value":"ops","group_properties":{}}"#;
    let request = encoded(&amplitude, &[delivery(0, GROUP_IDENTIFY, group)]);
    assert_snapshot!(request.url, @"https://api2.amplitude.com/groupidentify");
    assert_eq!(form(&request)[1].1, format!("[{group}]"));
    let mixed = [delivery(0, IDENTIFY, paying), delivery(1, EVENTS, paying)];
    amplitude.encode(&mixed).expect_err("a request is one call");
}

#[test]
fn requests_ask_for_ids_as_short_as_theirs() {
    let asked = |keys: &str, ids: &[&str]| {
        let batch: Vec<Delivery> = ids
            .iter()
            .map(|id| delivery(0, EVENTS, &format!(r#"{{"user_id":"{id}","event_type":"Ride"}}"#)))
            .collect();
        let body: Value =
            serde_json::from_slice(&encoded(&amplitude(keys), &batch).body).expect("JSON");
        body.pointer("/options/min_id_length").and_then(Value::as_u64)
    };
    assert_eq!(asked("", &["rider-0042", "rider"]), None);
    assert_eq!(asked("", &["rider-0042", "r1", "ääää"]), Some(2));
    assert_eq!(asked("", &["ääää"]), Some(4));
    assert_eq!(asked("min_id_length: 3", &["rider-0042"]), Some(3));
}

#[test]
fn an_event_without_an_insert_id_gets_the_same_one_whenever_it_is_sent() {
    let payload = format!(
        r#"{{"user_id":"rider \"insert_id\":\"{INSERT_ID_TO_COME}\"","event_type":"Ride","insert_id":"{INSERT_ID_TO_COME}","event_properties":{{"insert_id":"{INSERT_ID_TO_COME}"}}}}"#
    );
    let amplitude = amplitude("");
    let events = |batch: &[Delivery]| {
        let body: Value = serde_json::from_slice(&encoded(&amplitude, batch).body).expect("JSON");
        body["events"].as_array().cloned().expect("a list")
    };
    let first = delivery(0, EVENTS, &payload);
    let alone = events(std::slice::from_ref(&first));
    assert_eq!(alone[0]["event_properties"]["insert_id"], INSERT_ID_TO_COME, "only the object's");
    assert!(alone[0]["user_id"].as_str().is_some_and(|id| id.contains(INSERT_ID_TO_COME)));
    let id = alone[0]["insert_id"].as_str().expect("a text").to_owned();
    assert_eq!(id.len(), INSERT_ID_TO_COME.len(), "limits of bytes hold");
    let others = [
        delivery(1, EVENTS, &payload),
        Delivery { part: 1, ..first.clone() },
        Delivery { place: Place { offset: 641, index: 0 }, ..first.clone() },
        // Another installation's log has the same places.
        Delivery { accepted_at: Timestamp::from_millis(AT + 1), ..first.clone() },
    ];
    let again = events(&[&others[..], &[first]].concat());
    assert_eq!(again[4]["insert_id"], *id, "in another request too");
    for other in &again[..4] {
        assert_ne!(other["insert_id"], *id);
    }
}

fn reply(status: u16, body: &(impl ToString + ?Sized), headers: &[(&'static str, &str)]) -> Reply {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).parse().expect("a name"), value.parse().expect("a value")))
        .collect();
    Reply {
        status,
        headers,
        body: body.to_string().into(),
        received_at: Timestamp::from_millis(AT),
    }
}

fn shown(verdict: &Verdict) -> String {
    let seconds = |wait: &Duration| format!("{} s", wait.as_secs());
    let wait =
        |after: &Option<Duration>| after.as_ref().map_or_else(|| "a while".to_owned(), seconds);
    match verdict {
        Verdict::Accepted => "accepted".to_owned(),
        Verdict::Retry { after, .. } => format!("all wait {}", wait(after)),
        Verdict::Later { after, .. } if after.is_zero() => "again at once".to_owned(),
        Verdict::Later { after, .. } => format!("waits {}", seconds(after)),
        Verdict::Unknown { after, .. } => format!("unknown, again in {}", wait(after)),
        Verdict::Split { too_many, .. } => format!("split, too_many={too_many}"),
        Verdict::Pause { reason } => format!("pause: {reason}"),
        Verdict::Rejected { reason } => format!("rejected: {reason}"),
    }
}

/// One line, or one per delivery where they differ.
fn judged_by(amplitude: &Amplitude, reply: &Reply) -> String {
    let batch = batch();
    let verdicts = amplitude.judge(&batch, reply);
    assert_eq!(verdicts.len(), batch.len());
    let mut lines: Vec<String> = verdicts.iter().map(shown).collect();
    if lines.iter().all(|line| Some(line) == lines.first()) {
        lines.truncate(1);
    }
    lines.join("\n")
}

fn judged(status: u16, body: &(impl ToString + ?Sized)) -> String {
    judged_by(&amplitude(""), &reply(status, body, &[]))
}

#[test]
fn success_is_what_amplitude_calls_so() {
    let documented = r#"{"code":200,"events_ingested":4,"payload_size_bytes":1422,"server_upload_time":1777713331260}"#;
    for body in [documented, "", "success", "\"success\"\n"] {
        assert_eq!(judged(200, &body), "accepted", "{body}");
    }
    assert_snapshot!(
        judged(200, "<html>Sign in to the guest network</html>"),
        @"pause: 200 that is not an answer of Amplitude: <html>Sign in to the guest network</html>"
    );
    // Some proxies hide the status.
    assert_eq!(judged(200, r#"{"code":413,"error":"Payload too large"}"#), "split, too_many=false");
    // An error of the server counts although the body says otherwise.
    assert_eq!(judged(502, r#"{"code":200}"#), "unknown, again in a while");
}

#[test]
fn listed_events_are_refused_and_the_others_go_again_at_once() {
    let body = json!({
        "code": 400,
        "error": "Invalid field values on some events",
        "events_with_invalid_fields": {"time": [0], "user_id": [2]},
        "events_with_missing_fields": {},
        "events_with_invalid_id_lengths": {"user_id": [2]},
    });
    assert_snapshot!(judged(400, &body), @r"
    rejected: `time` has a value that Amplitude does not take
    again at once
    rejected: `user_id` is shorter than Amplitude takes it
    again at once
    ");
    let body = json!({
        "code": 400,
        "error": "Request missing required field",
        "events_with_missing_fields": {"event_type": [1, 3]},
    });
    assert_snapshot!(judged(400, &body), @r"
    again at once
    rejected: `event_type` is required
    again at once
    rejected: `event_type` is required
    ");
}

#[test]
fn silenced_devices_are_refused_and_throttled_ones_wait() {
    let body = json!({
        "code": 400,
        "error": "Events silenced for device_id",
        "silenced_devices": ["phone-0"],
        "silenced_events": [1],
        "throttled_devices": {"phone-2": 44},
        "throttled_events": [],
        "eps_threshold": 30,
        "exceeded_daily_quota_devices": {},
    });
    assert_snapshot!(judged(400, &body), @r"
    rejected: `device_id` is silenced by Amplitude
    rejected: `device_id` is silenced by Amplitude
    waits 30 s
    again at once
    ");
}

#[test]
fn who_is_throttled_waits_alone() {
    let body = json!({
        "code": 429,
        "error": "Too many requests for some devices and users",
        "eps_threshold": 30,
        "throttled_devices": {"phone-1": 44},
        "throttled_users": {"rider-2": 44},
        "throttled_events": [0],
    });
    assert_snapshot!(judged(429, &body), @r"
    waits 30 s
    waits 30 s
    waits 30 s
    again at once
    ");
    let batch = amplitude("upload: batch");
    assert_snapshot!(judged_by(&batch, &reply(429, &body, &[])), @r"
    waits 15 s
    waits 15 s
    waits 15 s
    again at once
    ");
    let asked = reply(429, &body, &[("retry-after", "7")]);
    assert!(judged_by(&batch, &asked).starts_with("waits 7 s\n"));
    let quota = json!({
        "code": 429,
        "exceeded_daily_quota_users": {"rider-0": 500_001},
        "exceeded_daily_quota_devices": {"phone-3": 500_001},
        "throttled_events": [0, 1, 3],
    });
    assert_snapshot!(judged(429, &quota), @r"
    waits 3600 s
    waits 30 s
    again at once
    waits 3600 s
    ");
}

#[test]
fn a_limit_of_the_project_holds_up_everybody() {
    assert_eq!(judged(429, r#"{"code":429,"error":"Too many requests"}"#), "all wait 30 s");
    assert_eq!(judged(429, "slow down"), "all wait 30 s");
    // Lists that name nobody of this request.
    let elsewhere = json!({"code": 429, "throttled_events": [9], "throttled_users": {"x": 1}});
    assert_eq!(judged(429, &elsewhere), "all wait 30 s");
    let asked = reply(429, "", &[("retry-after", "5")]);
    assert_eq!(judged_by(&amplitude(""), &asked), "all wait 5 s");
    let too_long = reply(429, "", &[("retry-after", "999999")]);
    assert_eq!(judged_by(&amplitude(""), &too_long), "all wait 3600 s");
}

#[test]
fn what_is_refused_without_a_culprit_is_sent_in_smaller_requests() {
    for (status, body) in [
        (413, r#"{"code":413,"error":"Payload too large"}"#),
        (413, "<html>nginx</html>"),
        (400, r#"{"code":400,"error":"Invalid event JSON"}"#),
        (400, r#"{"code":400,"events_with_invalid_fields":{"time":[17]}}"#),
        (400, "not JSON"),
    ] {
        assert_eq!(judged(status, &body), "split, too_many=false", "{status} {body}");
    }
}

#[test]
fn a_wrong_key_or_endpoint_pauses_and_nothing_is_lost() {
    let key = format!(r#"{{"code":400,"error":"Invalid API key: {KEY}"}}"#);
    assert_snapshot!(
        judged(400, &key),
        @"pause: 400: the API key is unknown to this endpoint; is the region right?"
    );
    assert_snapshot!(
        judged(400, r#"{"code":400,"error":"Request missing required field","missing_field":"api_key"}"#),
        @r#"pause: the request came without `api_key`: a proxy changed it, or isthmus has a bug: {"code":400,"error":"Request missing required field","missing_field":"api_key"}"#
    );
    assert_snapshot!(
        judged(403, r#"{"code":403,"error":"Forbidden"}"#),
        @r#"pause: 403: the firewall of Amplitude refuses us: {"code":403,"error":"Forbidden"}"#
    );
    for status in [301, 401, 404, 405] {
        assert!(judged(status, "").starts_with("pause: "), "{status}");
    }
}

#[test]
fn troubles_of_amplitude_are_waited_out() {
    assert_eq!(judged(503, ""), "all wait a while");
    for status in [408, 500, 502, 504] {
        assert_eq!(judged(status, "<html>"), "unknown, again in a while", "{status}");
    }
    let asked = reply(503, "", &[("retry-after", "3")]);
    assert_eq!(judged_by(&amplitude(""), &asked), "all wait 3 s");
}

#[test]
fn the_probe_tells_a_good_key_from_a_bad_one() {
    let amplitude = amplitude("");
    assert_snapshot!(
        body(&amplitude.probe()),
        @r#"{"api_key":"5b1e0c77a8f04d0b9c2f6e1d3a4b5c6d","events":[]}"#
    );
    let probe = |status: u16, body: &str| amplitude.judge_probe(&reply(status, body, &[]));
    for (status, body) in [
        (200, r#"{"code":200,"events_ingested":0}"#),
        (400, r#"{"code":400,"error":"Request missing required field","missing_field":"events"}"#),
        (429, ""),
    ] {
        assert_eq!(probe(status, body), Ok(()), "{status} {body}");
    }
    for (status, body) in [
        (400, r#"{"code":400,"error":"Invalid API key: k"}"#),
        (400, "Bad Request"),
        (200, "<html>"),
        (404, ""),
        (500, ""),
    ] {
        probe(status, body).expect_err(body);
    }
}

#[test]
fn limits_stay_under_those_of_the_api() {
    let limits = |keys: &str| amplitude(keys).limits();
    let second = Duration::from_secs(1);
    let day = Duration::from_hours(24);
    let live = limits("");
    assert_eq!(live.objects_per_request, 1_000);
    assert_eq!(live.bytes_per_request, ByteSize::bytes(900_000));
    assert_eq!(live.rates, [Rate { requests: 45, per: second }], "45,000 events of 50,000");
    let paces = [Pace { objects: 27, per: second }, Pace { objects: 490_000, per: day }];
    assert_eq!(live.paces, paces);
    assert_eq!(live.objects_of(IDENTIFY_CALL), 100);
    let batch = limits("upload: batch");
    assert_eq!(batch.bytes_per_request, ByteSize::bytes(10_000_000));
    assert_eq!(batch.rates, [Rate { requests: 90, per: second }]);
    assert_eq!(batch.paces[0], Pace { objects: 300, per: second });
    let own =
        limits("limits: { events_per_request: 10, events_per_second: 5, requests_per_second: 2 }");
    assert_eq!((own.objects_per_request, own.paces[0].objects), (10, 5));
    assert_eq!(own.rates, [Rate { requests: 2, per: second }]);
}

#[test]
fn what_amplitude_cannot_take_is_said_before_the_start() {
    assert_snapshot!(
        problems("limits: { events_per_request: 2001, bytes_per_request: 2MB, events_per_second: 31 }", KEY),
        @r"
    limits.events_per_request: 2001 events per request is not possible (Amplitude takes 2000)
    limits.bytes_per_request: a request of 2MB is not possible (with `upload: http_v2` Amplitude takes 1MiB)
    limits.events_per_second: 31 events of one user in a second are too many (with `upload: http_v2` Amplitude throttles at 30)
    "
    );
    assert_snapshot!(
        problems("upload: batch\nlimits: { bytes_per_request: 2MB, events_per_second: 31 }", KEY),
        @"Amplitude(https://api2.amplitude.com)"
    );
    assert_snapshot!(
        problems("endpoint: https://api2.amplitude.com/2/httpapi", " \n"),
        @r"
    endpoint: `https://api2.amplitude.com/2/httpapi` names one API; the URL in front of it is needed (write `https://api2.amplitude.com`; `upload` chooses the API)
    api_key: the API key has characters no key has, or none at all (check that the secret holds the key and nothing else)
    "
    );
    assert!(!problems("", KEY).contains(KEY), "the key is never shown");
}

#[test]
fn amplitude_counts_users_and_devices() {
    let amplitude = amplitude("");
    let keys = |section, payload: &str| amplitude.paced_by(&message(section, payload));
    let both = keys(EVENTS, r#"{"user_id":"rider","device_id":"phone","event_type":"x"}"#);
    assert_eq!(both.len(), 2);
    assert_eq!(keys(EVENTS, r#"{"user_id":"rider","event_type":"x"}"#), both[..1]);
    assert_eq!(keys(IDENTIFY, r#"{"device_id":"phone"}"#), both[1..]);
    assert_ne!(keys(EVENTS, r#"{"device_id":"rider"}"#), both[..1], "a device is no user");
    assert!(keys(EVENTS, r#"{"event_type":"$groupidentify"}"#).is_empty());
    assert!(keys(GROUP_IDENTIFY, r#"{"group_type":"team"}"#).is_empty());
}

#[test]
fn edited_objects_keep_their_user_and_their_form() {
    let amplitude = amplitude("");
    let before = r#"{"user_id":"rider","event_type":"Ride","insert_id":"i"}"#;
    assert_snapshot!(
        amplitude.edited(before, r#"{"event_type":"a","time":1,"user_id":"rider","time":2}"#).expect("fine"),
        @r#"{"user_id":"rider","event_type":"a","time":2}"#
    );
    assert_snapshot!(
        amplitude.edited(before, r#"{"user_id":"other"}"#).expect_err("another user"),
        @r#"`user_id` must stay "rider": an object keeps its user"#
    );
    amplitude.edited(before, "{}").expect_err("nobody");
    let given = amplitude.edited(before, r#"{"device_id":"phone","user_id":"rider"}"#);
    assert_eq!(given.as_deref(), Ok(r#"{"user_id":"rider","device_id":"phone"}"#));
}

#[test]
fn objects_are_checked_as_amplitude_would() {
    let check = |keys: &str, section, payload: &str| {
        amplitude(keys).check(&message(section, payload)).err().unwrap_or_else(|| "good".to_owned())
    };
    let event = |payload: &str| check("", EVENTS, payload);
    assert_snapshot!(event(r#"{"user_id":"rider","event_type":"Ride","insert_id":"i"}"#), @"good");
    assert_snapshot!(event(r#"{"user_id":"r","event_type":"Ride","insert_id":"i"}"#), @"good");
    assert_snapshot!(
        check("min_id_length: 3", EVENTS, r#"{"user_id":"r","event_type":"Ride","insert_id":"i"}"#),
        @"`user_id` is shorter or longer than Amplitude takes it"
    );
    assert_snapshot!(
        event(r#"{"user_id":"rider","event_type":"Ride"}"#),
        @"`insert_id` is required: without it, sending again may double it"
    );
    assert_snapshot!(
        event(r#"{"user_id":"rider","insert_id":"i"}"#),
        @"`event_type` is required"
    );
    assert_snapshot!(
        event(r#"{"user_id":"rider","event_type":"Ride","insert_id":"i","time":"now"}"#),
        @"`time` has a value that Amplitude does not take"
    );
    assert!(event("[]").starts_with("the object is not a JSON object"));
    assert_snapshot!(check("", IDENTIFY, r#"{"user_id":"rider","paying":"true"}"#), @"good");
    assert_snapshot!(
        check("", IDENTIFY, r#"{"user_id":"rider","event_type":"$identify"}"#),
        @"`event_type` has no meaning here"
    );
    assert_snapshot!(
        check("", GROUP_IDENTIFY, r#"{"group_type":"team","group_value":" "}"#),
        @"`group_value` is required"
    );
    assert_snapshot!(check("", GROUP_IDENTIFY, r#"{"group_type":"team","group_value":"ops"}"#), @"good");
}

proptest! {
    /// Whatever comes back, there is one verdict per delivery, and none without a way to go on.
    #[test]
    fn any_answer_is_judged(
        status in 100u16..600,
        body in prop_oneof![
            "\\PC{0,40}",
            crate::scan::tests::any_json().prop_map(|json| json.to_string()),
            (0u64..9, 0u64..9, crate::scan::tests::any_json()).prop_map(|(one, other, any)| json!({
                "code": 400,
                "events_with_invalid_fields": {"time": [one, any]},
                "silenced_events": [other],
                "throttled_users": any,
            }).to_string()),
        ],
    ) {
        let batch = batch();
        for keys in ["", "upload: batch"] {
            let verdicts = amplitude(keys).judge(&batch, &reply(status, &body, &[]));
            prop_assert_eq!(verdicts.len(), batch.len());
            let innocent = |verdict: &Verdict| {
                matches!(verdict, Verdict::Later { after, .. } if after.is_zero())
            };
            prop_assert!(!verdicts.iter().all(innocent), "would be sent again for ever");
        }
    }
}
