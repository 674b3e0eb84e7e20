//! What answers mean. Fixtures are answers as documented.

use super::*;
use insta::assert_snapshot;
use isthmus_core::destination::{Budget, Destination, Verdict};
use isthmus_core::seam::Reply;
use proptest::prelude::*;

const SUCCESS: &str = include_str!("../fixtures/success.json");
const PARTIAL: &str = include_str!("../fixtures/partial.json");
const NOTHING_VALID: &str = include_str!("../fixtures/nothing_valid.json");

type Headers<'a> = &'a [(&'static str, &'a str)];

fn reply(status: u16, body: &str, headers: Headers<'_>) -> Reply {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).parse().expect("a name"), value.parse().expect("a value")))
        .collect();
    Reply { status, headers, body: body.to_owned().into(), received_at: Timestamp::from_millis(AT) }
}

/// Two attributes objects (the first of them joined from two deliveries) and two events.
fn batch() -> Vec<Delivery> {
    vec![
        delivery("a", 0, r#"{"external_id":"a","plan":"free"}"#),
        delivery("a", 1, r#"{"external_id":"a","name":"x"}"#),
        delivery("b", 0, r#"{"external_id":"b","plan":"pro"}"#),
        delivery("a", 0, r#"{"external_id":"a","plan":"pro"}"#),
        delivery("b", 1, r#"{"external_id":"b","name":"x"}"#),
    ]
}

/// One line per delivery.
fn verdicts(batch: &[Delivery], reply: &Reply) -> String {
    let lines: Vec<String> = braze()
        .judge(batch, reply)
        .iter()
        .map(|verdict| match verdict {
            Verdict::Accepted => "accepted".to_owned(),
            Verdict::Retry { after, reason } => format!("retry after {after:?}: {reason}"),
            Verdict::Later { after, reason } => format!("later, after {after:?}: {reason}"),
            Verdict::Unknown { after, reason } => format!("unknown, after {after:?}: {reason}"),
            Verdict::Split { reason, too_many: false } => format!("split: {reason}"),
            Verdict::Split { reason, too_many: true } => format!("too many: {reason}"),
            Verdict::Pause { reason } => format!("pause: {reason}"),
            Verdict::Rejected { reason } => format!("rejected: {reason}"),
        })
        .collect();
    lines.join("\n")
}

/// The verdict on a single event.
fn verdict(status: u16, body: &str, headers: Headers<'_>) -> String {
    verdicts(&batch()[1..2], &reply(status, body, headers))
}

#[test]
fn success_accepts_everything() {
    for (status, body) in [
        (201, SUCCESS),
        (200, r#"{"message":"success","errors":[]}"#),
        (202, r#"{"message":"queued"}"#),
        (201, r#"{"message":"success","errors":null,"surprise":[1]}"#),
    ] {
        let verdicts = braze().judge(&batch(), &reply(status, body, &[]));
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Accepted), "{body}");
    }
}

#[test]
fn an_error_rejects_the_object_it_points_at() {
    assert_snapshot!(verdicts(&batch(), &reply(201, PARTIAL, &[])), @"
    accepted
    accepted
    accepted
    accepted
    rejected: 'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required
    ");
}

#[test]
fn an_error_of_a_joined_object_rejects_all_its_deliveries() {
    let body = r#"{"message":"success","errors":[
        {"type":"EMAIL_BAD_FORMAT","input_array":"attributes","index":0},
        {"type":"BAD_DEVICE_ID","input_array":"attributes","index":0}]}"#;
    assert_snapshot!(verdicts(&batch(), &reply(201, body, &[])), @"
    rejected: EMAIL_BAD_FORMAT; BAD_DEVICE_ID
    accepted
    accepted
    rejected: EMAIL_BAD_FORMAT; BAD_DEVICE_ID
    accepted
    ");
}

#[test]
fn errors_without_a_usable_position_are_warnings_beside_success() {
    for errors in [
        r#"["something odd"]"#,
        r#"[{"type":"odd"}]"#,
        r#"[{"type":"odd","input_array":"events"}]"#,
        r#"[{"type":"odd","input_array":"events","index":7}]"#,
        r#"[{"type":"odd","input_array":"users","index":0}]"#,
        r#"[{"type":"odd","index":0}]"#,
        r#"[{"type":"odd","input_array":"events","index":-1}]"#,
        r#"{"odd":true}"#,
        "[[[]]]",
    ] {
        let body = format!(r#"{{"message":"success","errors":{errors}}}"#);
        let verdicts = braze().judge(&batch(), &reply(201, &body, &[]));
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Accepted), "{errors}");
    }
}

#[test]
fn an_error_that_can_only_mean_the_one_object_rejects_it() {
    assert_snapshot!(verdict(201, r#"{"message":"success","errors":["odd"]}"#, &[]), @"rejected: odd");
    assert_snapshot!(verdict(201, r#"{"message":"success","errors":[{"type":"odd","index":"0"}]}"#, &[]), @"rejected: odd");
    assert_snapshot!(verdict(201, r#"{"message":"success","events_processed":1,"errors":["odd"]}"#, &[]), @"accepted");
}

#[test]
fn a_success_status_without_success_is_no_success() {
    assert_snapshot!(verdict(201, r#"{"message":"try again"}"#, &[]), @"retry after None: 201 without success: try again");
    assert_snapshot!(verdict(200, r#"{"errors":["down"]}"#, &[]), @"retry after None: 200 without success: down");
    assert_snapshot!(verdict(200, "<html>log in</html>", &[]), @"pause: 200 that is not an answer of Braze: <html>log in</html>");
    assert_snapshot!(verdict(204, "", &[]), @"pause: 204 that is not an answer of Braze: ");
    assert_snapshot!(verdict(200, "[]", &[]), @"pause: 200 that is not an answer of Braze: []");
}

#[test]
fn a_refused_request_rejects_its_culprits_and_resends_the_others_in_smaller_ones() {
    assert_snapshot!(verdicts(&batch(), &reply(400, NOTHING_VALID, &[])), @"
    rejected: The value provided for the 'email' field is not a valid email.
    split: 400: Valid data must be provided in the 'attributes', 'events', or 'purchases' fields.
    split: 400: Valid data must be provided in the 'attributes', 'events', or 'purchases' fields.
    rejected: The value provided for the 'email' field is not a valid email.
    split: 400: Valid data must be provided in the 'attributes', 'events', or 'purchases' fields.
    ");
}

#[test]
fn each_status_has_its_verdict() {
    let told = |status: u16, body: &str| verdict(status, body, &[]);
    assert_snapshot!(told(400, r#"{"message":"Max input length exceeded"}"#), @"split: 400: Max input length exceeded");
    assert_snapshot!(told(400, r#"{"error":"Error while parsing request body. Please check your syntax."}"#), @"split: 400: Error while parsing request body. Please check your syntax.");
    assert_snapshot!(told(400, "no"), @"split: 400: no");
    assert_snapshot!(told(413, ""), @"split: 413: ");
    assert_snapshot!(told(401, r#"{"message":"Invalid API Key"}"#), @r#"pause: 401: the REST API key is unknown to this endpoint: {"message":"Invalid API Key"}"#);
    assert_snapshot!(told(403, ""), @"pause: 403: the key lacks the permission users.track, its IP allowlist excludes us, or the endpoint is wrong: ");
    assert_snapshot!(told(404, "gone"), @"pause: 404: the endpoint is wrong: gone");
    assert_snapshot!(told(415, ""), @"pause: 415: a proxy changed the content type: ");
    assert_snapshot!(told(302, ""), @"pause: 302: the endpoint redirects; name its target: ");
    assert_snapshot!(told(408, ""), @"unknown, after None: 408: ");
    assert_snapshot!(told(500, "oops"), @"unknown, after None: 500: oops");
    assert_snapshot!(told(599, ""), @"unknown, after None: 599: ");
    assert_snapshot!(told(0, ""), @"unknown, after None: status 0");
}

#[test]
fn a_request_with_too_many_objects_is_told_from_one_with_a_bad_object() {
    let too_many = |body: &str| {
        let verdicts = braze().judge(&batch(), &reply(400, body, &[]));
        verdicts.iter().all(|verdict| matches!(verdict, Verdict::Split { too_many: true, .. }))
    };
    for body in [
        r#"{"message":"Max input length exceeded"}"#,
        r#"{"error":"max input length exceeded."}"#,
        r#"{"message":"Bad request","errors":["Too many events in one request"]}"#,
        r#"{"errors":[{"type":"Maximum number of objects exceeded"}]}"#,
    ] {
        assert!(too_many(body), "{body}");
    }
    for body in [NOTHING_VALID, "Max input length exceeded", r#"{"message":"Bad request"}"#] {
        assert!(!too_many(body), "{body}");
    }
    // About one object of several, and about the only one.
    let body =
        r#"{"message":"no","errors":[{"type":"too many","input_array":"events","index":0}]}"#;
    assert_snapshot!(verdicts(&batch(), &reply(400, body, &[])), @"
    split: 400: no
    rejected: too many
    split: 400: no
    split: 400: no
    split: 400: no
    ");
    assert_snapshot!(verdict(400, r#"{"message":"Max input length exceeded"}"#, &[]), @"split: 400: Max input length exceeded");
    assert_snapshot!(verdicts(&batch(), &reply(413, r#"{"message":"input length"}"#, &[])).lines().next().unwrap_or_default(), @"split: 413: input length");
}

#[test]
fn a_rate_limit_is_waited_out_as_the_first_matching_header_says() {
    let now = AT / 1_000;
    let in_40s = (now + 40).to_string();
    let past = (now - 5).to_string();
    let in_40s_millis = (AT + 40_000).to_string();
    let cases: &[(Headers<'_>, Option<u64>)] = &[
        (&[], None),
        (
            &[("x-ratelimit-retry-after", "7"), ("retry-after", "8"), ("x-ratelimit-reset", "9")],
            Some(7),
        ),
        (&[("retry-after", "8"), ("x-ratelimit-reset", "9")], Some(8)),
        (&[("x-ratelimit-reset", "9")], Some(9)),
        (&[("x-ratelimit-reset", &in_40s)], Some(40)),
        (&[("x-ratelimit-reset", &in_40s_millis)], Some(40)),
        (&[("x-ratelimit-reset", &past)], None),
        (&[("retry-after", "Tue, 03 Feb 2026 09:15:32 GMT")], Some(30)),
        (&[("retry-after", "1.2")], Some(2)),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "soon"), ("x-ratelimit-reset", "9")], Some(9)),
        (&[("retry-after", "999999999")], Some(3_600)),
        (&[("retry-after", "-3")], None),
        (&[("X-RateLimit-Retry-After", "7")], Some(7)),
        (&[("Retry-After", "\"8\"")], Some(8)),
        (&[("x-ratelimit-retry-after", &in_40s)], Some(40)),
        (&[("x-ratelimit-retry-after", ""), ("retry-after", "8")], Some(8)),
        (&[("x-ratelimit-reset", "1000000000")], Some(3_600)),
        (&[("x-ratelimit-reset", "1000000001")], None),
    ];
    for (headers, seconds) in cases {
        let verdicts = braze().judge(&batch(), &reply(429, "", headers));
        for verdict in verdicts {
            let Verdict::Retry { after, .. } = verdict else { panic!("{headers:?}: {verdict:?}") };
            let waited = after.map(|after| after.as_millis().div_ceil(1_000));
            assert_eq!(waited, seconds.map(u128::from), "{headers:?}");
        }
    }
}

#[test]
fn an_outage_is_not_waited_out_to_the_end_of_the_rate_window() {
    let headers = [("x-ratelimit-reset", "3000")];
    assert_snapshot!(verdict(503, "", &headers), @"unknown, after None: 503: ");
    assert_snapshot!(verdict(503, "", &[("retry-after", "4")]), @"unknown, after Some(4s): 503: ");
    assert_snapshot!(verdict(503, "", &[("x-ratelimit-retry-after", "4")]), @"unknown, after Some(4s): 503: ");
}

/// `limit/remaining, reset after wait`, or `nothing`.
fn budget(status: u16, headers: Headers<'_>) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    match braze().budget(&reply(status, SUCCESS, headers)) {
        None => "nothing".to_owned(),
        Some(Budget { limit, remaining, reset_after }) => {
            let reset = reset_after.map_or_else(|| "-".to_owned(), |wait| format!("{wait:?}"));
            format!("{}/{}, reset after {reset}", number(limit), number(remaining))
        }
    }
}

#[test]
fn the_budget_is_what_the_headers_say() {
    const LIMIT: (&str, &str) = ("x-ratelimit-limit", "3000");
    const LEFT: (&str, &str) = ("x-ratelimit-remaining", "2999");
    // The reply came at .410 of its second.
    let epoch = (AT / 1_000 + 40).to_string();
    let epoch_millis = (AT + 40_000).to_string();
    let past = (AT / 1_000 - 5).to_string();
    for (status, headers, expected) in [
        (201, &[][..], "nothing"),
        (201, &[LIMIT, LEFT, ("x-ratelimit-reset", &epoch)], "3000/2999, reset after 39.59s"),
        (201, &[LIMIT, LEFT, ("x-ratelimit-reset", "2")], "3000/2999, reset after 2s"),
        (201, &[LEFT, ("x-ratelimit-reset", &epoch_millis)], "-/2999, reset after 40s"),
        (201, &[LEFT, ("x-ratelimit-reset", &past)], "-/2999, reset after 0ns"),
        (201, &[LEFT, ("x-ratelimit-reset", "99999")], "-/2999, reset after 3600s"),
        (
            201,
            &[("X-RateLimit-Limit", "3000"), ("X-RateLimit-Remaining", "7")],
            "3000/7, reset after -",
        ),
        (201, &[("x-ratelimit-remaining", "-1")], "-/0, reset after -"),
        (201, &[("x-ratelimit-limit", "many")], "nothing"),
        (201, &[("x-ratelimit-retry-after", "11")], "-/0, reset after 11s"),
        (429, &[], "nothing"),
        (429, &[("x-ratelimit-retry-after", "11")], "-/0, reset after 11s"),
        (429, &[("X-RateLimit-Retry-After", "11")], "-/0, reset after 11s"),
        (429, &[LIMIT, LEFT, ("x-ratelimit-reset", "2")], "3000/0, reset after 2s"),
        (
            429,
            &[LEFT, ("x-ratelimit-reset", "2"), ("x-ratelimit-retry-after", "3")],
            "-/0, reset after 3s",
        ),
        (429, &[("retry-after", "8")], "-/0, reset after 8s"),
        (429, &[("retry-after", "Tue, 03 Feb 2026 09:15:32 GMT")], "-/0, reset after 29.59s"),
        // An outage says nothing about the budget.
        (503, &[("retry-after", "8")], "nothing"),
    ] {
        assert_eq!(budget(status, headers), expected, "{status} {headers:?}");
    }
}

#[test]
fn a_probe_tells_a_good_key_from_a_bad_one() {
    let told = |status: u16, body: &str| match braze().judge_probe(&reply(status, body, &[])) {
        Ok(()) => "good".to_owned(),
        Err(reason) => reason,
    };
    assert_snapshot!(told(400, NOTHING_VALID), @"good");
    assert_snapshot!(told(201, SUCCESS), @"good");
    assert_snapshot!(told(429, ""), @"good");
    assert_snapshot!(told(401, r#"{"message":"Invalid API Key"}"#), @r#"401: the REST API key is unknown to this endpoint: {"message":"Invalid API Key"}"#);
    assert_snapshot!(told(200, "<html>"), @"200 that is not an answer of Braze: <html>");
    assert_snapshot!(told(503, "down"), @"503: down");
}

#[test]
fn an_answer_too_large_to_be_one_is_not_read() {
    let errors = r#"{"type":"odd","input_array":"events","index":0},"#.repeat(30_000);
    let body = format!(r#"{{"message":"success","errors":[{errors}0]}}"#);
    assert!(verdict(201, &body, &[]).starts_with("pause: 201 that is not an answer of Braze"));
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let error = prop_oneof![
        "[a-z]{0,4}".prop_map(|text| format!("\"{text}\"")),
        ("events|attributes|purchases|users", any::<i8>()).prop_map(|(array, index)| format!(
            r#"{{"type":"t","input_array":"{array}","index":{index}}}"#
        )),
        Just("null".to_owned()),
        Just("{\"index\":1e99}".to_owned()),
        Just("[[{}]]".to_owned()),
    ];
    prop_oneof![
        any::<Vec<u8>>(),
        ("success|queued|other", proptest::collection::vec(error, 0..6)).prop_map(
            |(message, errors)| {
                format!(r#"{{"message":"{message}","errors":[{}]}}"#, errors.join(",")).into_bytes()
            }
        ),
        (1usize..3_000).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

proptest! {
    #[test]
    fn any_reply_gives_one_verdict_per_delivery(
        status in prop_oneof![any::<u16>(), 190u16..210, 395u16..435, 495u16..510],
        body in any_body(),
        header in "[ -~]{0,20}",
        size in 1usize..6,
    ) {
        let batch: Vec<Delivery> = batch().into_iter().cycle().take(size).collect();
        let mut reply = reply(status, "", &[("x-ratelimit-reset", &header), ("retry-after", &header)]);
        reply.body = body.into();
        let verdicts = braze().judge(&batch, &reply);
        prop_assert_eq!(verdicts.len(), batch.len());
        if !reply.is_success() {
            prop_assert!(!verdicts.contains(&Verdict::Accepted));
        }
        braze().budget(&reply);
        drop(braze().judge_probe(&reply));
    }
}
