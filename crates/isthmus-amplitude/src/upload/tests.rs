use super::*;
use crate::scan::tests::any_json;
use insta::assert_snapshot;
use isthmus_core::record::IntakeBatch;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::fmt::Write;

/// What the door would do: the refusal's body, or one line per accepted event.
fn answer(rules: &EndpointRules, body: impl AsRef<[u8]>) -> String {
    match parse_upload(body.as_ref(), rules).and_then(|upload| upload.check(rules)) {
        Err(refusal) => {
            assert_eq!(json_of(&refusal.body())["code"], refusal.status());
            refusal.body()
        }
        Ok(upload) => {
            let mut out = format!("accepted {}", upload.event_count());
            upload.events().for_each(|event| write!(out, "\n{}", shown(&event)).expect("a String"));
            out
        }
    }
}

/// The members of an event that are there, without quotes around texts that need none.
fn shown(event: &IntakeEvent<'_>) -> String {
    let number = |number: Option<i64>| number.map(|number| number.to_string());
    let text = |text: Option<&str>| text.map(str::to_owned);
    let members = [
        ("user", text(event.user_id)),
        ("device", text(event.device_id)),
        ("insert", text(event.insert_id)),
        ("time", number(event.time)),
        ("session", number(event.session_id)),
        ("event_id", number(event.event_id)),
        ("skip", event.skip_user_properties_sync.then(|| "true".to_owned())),
        ("event_properties", text(event.event_properties)),
        ("user_properties", text(event.user_properties)),
        ("groups", text(event.groups)),
        ("group_properties", text(event.group_properties)),
        ("fields", text(event.fields)),
    ];
    let mut out = format!("{:?}", event.event_type);
    for (name, value) in members {
        if let Some(value) = value {
            write!(out, " {name}={value}").expect("a String");
        }
    }
    out
}

fn json_of(text: &str) -> Json {
    serde_json::from_str(text).expect("valid JSON")
}

fn http(events: &str) -> String {
    answer(&EndpointRules::http_api(), format!(r#"{{"api_key":"key","events":[{events}]}}"#))
}

fn batch(events: &str) -> String {
    answer(&EndpointRules::batch(), format!(r#"{{"api_key":"key","events":[{events}]}}"#))
}

/// `member` in an event that is fine without it.
fn with(member: &str) -> String {
    http(&format!(r#"{{"event_type":"Ride","user_id":"rider-1",{member}}}"#))
}

#[test]
fn requests_are_refused_in_the_documented_order() {
    let rules = EndpointRules::http_api();
    let missing = |name| Refusal::MissingField(name).body();
    for (body, expected) in [
        ("", Refusal::MissingBody.body()),
        (" \n", Refusal::MissingBody.body()),
        ("success", Refusal::InvalidJson.body()),
        ("[]", Refusal::InvalidJson.body()),
        ("\"text\"", Refusal::InvalidJson.body()),
        ("{", Refusal::InvalidJson.body()),
        ("{} x", Refusal::InvalidJson.body()),
        ("{}\0", Refusal::InvalidJson.body()),
        ("{}", missing("api_key")),
        (r#"{"events":[]}"#, missing("api_key")),
        (r#"{"api_key":"","events":[]}"#, missing("api_key")),
        (r#"{"api_key":null,"events":[]}"#, missing("api_key")),
        (r#"{"api_key":7,"events":[]}"#, missing("api_key")),
        (r#"{"api_key":"key"}"#, missing("events")),
        (r#"{"api_key":"key","events":null}"#, missing("events")),
        (r#"{"api_key":"key","events":{}}"#, missing("events")),
        (r#"{"api_key":"key","events":"[]"}"#, missing("events")),
        (r#"{"api_key":"key","events":[]}"#, "accepted 0".to_owned()),
        (r#"{"api_key":"key","events":[{}],"events":[]}"#, "accepted 0".to_owned()),
        (r#"{"api_key":"key","events":[],"events":1}"#, missing("events")),
    ] {
        assert_eq!(answer(&rules, body), expected, "{body}");
    }
    assert_eq!(answer(&rules, b"{\"api_key\":\"\xff\"}"), Refusal::InvalidJson.body());
}

#[test]
fn sizes_beyond_the_limits_are_413() {
    let rules = EndpointRules::http_api();
    let events = |count: usize| {
        let event = r#"{"event_type":"a","user_id":"rider"}"#;
        format!(r#"{{"api_key":"key","events":[{}]}}"#, vec![event; count].join(","))
    };
    assert!(answer(&rules, events(2_000)).starts_with("accepted 2000"));
    assert_eq!(answer(&rules, events(2_001)), Refusal::TooLarge.body());
    let padded = |length: usize| {
        let mut body = r#"{"api_key":"key","events":[]}"#.to_owned();
        body.extend(std::iter::repeat_n(' ', length - body.len()));
        body
    };
    assert_eq!(answer(&rules, padded(1 << 20)), "accepted 0");
    assert_eq!(answer(&rules, padded((1 << 20) + 1)), Refusal::TooLarge.body());
    assert_eq!(answer(&EndpointRules::batch(), padded((1 << 20) + 1)), "accepted 0");
}

#[test]
fn elements_beyond_the_limit_are_counted_and_not_kept() {
    let body = format!(r#"{{"api_key":"key","events":[{}0]}}"#, "0,".repeat(500_000));
    let text = std::str::from_utf8(body.as_bytes()).expect("text");
    let envelope = Envelope::read(text, &EndpointRules::http_api()).expect("valid");
    let elements = envelope.elements.expect("an array");
    assert_eq!((elements.kept.len(), elements.beyond), (2_000, 498_001));
}

#[test]
fn the_key_is_known_before_the_events_are_checked() {
    let rules = EndpointRules::http_api();
    let body = br#"{"events":[{}, 3],"api_key":"5b1e\u0030"}"#;
    let upload = parse_upload(body, &rules).expect("well-formed");
    assert_eq!((upload.api_key(), upload.event_count()), ("5b1e0", 2));
    assert!(matches!(upload.check(&rules), Err(Refusal::Events(_))));
}

#[test]
fn every_documented_field_has_its_place() {
    let body = r#"{
      "api_key": "5b1e0c77a8f04d0b9c2f6e1d3a4b5c6d",
      "client_upload_time": "2026-05-02T09:15:31.208Z",
      "options": { "min_id_length": 4 },
      "request_metadata": {"sdk":{"metrics":{"histogram":{}}}},
      "events": [
        {
          "user_id": " rider-0042 ", "device_id": "2f9c1b6a", "event_type": "Ride Requested",
          "time": 1777713330950, "session_id": 1777713000000, "event_id": 17, "insert_id": "0d8d2b51",
          "event_properties": { "vehicle": "bike", "stops": ["A12", null] },
          "user_properties": {"$set": {"plan": "pro"}}, "groups": {"team": ["red"]},
          "group_properties": {"ignored": true}, "$skip_user_properties_sync": true,
          "platform": "Web",   "language": "pt-BR", "ip": "$remote", "use_batch_endpoint": false,
          "library": "amplitude-ts/2.33.1", "plan": {"versionId": "3"}, "carrier": null, "location_lat": -1.5e0
        }
      ]
    }"#;
    assert_snapshot!(answer(&EndpointRules::http_api(), body), @r#"
    accepted 1
    "Ride Requested" user=rider-0042 device=2f9c1b6a insert=0d8d2b51 time=1777713330950 session=1777713000000 event_id=17 skip=true event_properties={ "vehicle": "bike", "stops": ["A12", null] } user_properties={"$set": {"plan": "pro"}} groups={"team": ["red"]} fields={"platform": "Web",   "language": "pt-BR", "ip": "$remote", "use_batch_endpoint": false,
              "library": "amplitude-ts/2.33.1", "plan": {"versionId": "3"},"location_lat":-1.5e0}
    "#);
    let upload = parse_upload(body.as_bytes(), &EndpointRules::http_api()).expect("well-formed");
    assert_eq!(upload.decoded.client_upload_time(), Some(1_777_713_331_208));
}

#[test]
fn what_sdks_send_is_accepted() {
    for (event, expected) in [
        // Kotlin sends empty objects on every event.
        (
            r#"{"event_type":"a","device_id":"device","event_properties":{},"user_properties":{},"groups":{},"group_properties":{}}"#,
            r#""a" device=device"#,
        ),
        (r#"{"event_type":"a","user_id":"","device_id":"device"}"#, r#""a" device=device"#),
        (r#"{"event_type":"a","user_id":null,"device_id":"device"}"#, r#""a" device=device"#),
        (
            r#"{"event_type":"a","user_id":12345678901234567890}"#,
            r#""a" user=12345678901234567890"#,
        ),
        (r#"{"event_type":"a","user_id":"rider","insert_id":77}"#, r#""a" user=rider insert=77"#),
        // Go clears all properties like this.
        (
            r#"{"event_type":"$identify","user_id":"rider","user_properties":{"$clearAll":{"-":null}}}"#,
            r#""$identify" user=rider user_properties={"$clearAll":{"-":null}}"#,
        ),
        (
            r#"{"event_type":"$identify","user_id":"rider","groups":{"team":"red"},"user_properties":{"$set":{"team":"red"}}}"#,
            r#""$identify" user=rider user_properties={"$set":{"team":"red"}} groups={"team":"red"}"#,
        ),
        // Python, Node and Go identify groups without any id.
        (
            r#"{"event_type":"$groupidentify","groups":{"team":["red"]},"group_properties":{"$set":{"size":3}}}"#,
            r#""$groupidentify" groups={"team":["red"]} group_properties={"$set":{"size":3}}"#,
        ),
        (
            r#"{"event_type":"revenue_amount","user_id":"rider","event_properties":{"$price":0,"$quantity":1,"$revenue":12.5,"$productId":""}}"#,
            r#""revenue_amount" user=rider event_properties={"$price":0,"$quantity":1,"$revenue":12.5,"$productId":""}"#,
        ),
        // Python sends null revenue members.
        (
            r#"{"event_type":"revenue_amount","user_id":"rider","event_properties":{"$productId":null,"$price":3}}"#,
            r#""revenue_amount" user=rider event_properties={"$price":3}"#,
        ),
        (
            r#"{"event_type":"[Amplitude] Page Viewed","user_id":"rider"}"#,
            r#""[Amplitude] Page Viewed" user=rider"#,
        ),
        (
            r#"{"event_type":"session_start","user_id":"rider","session_id":-1}"#,
            r#""session_start" user=rider session=-1"#,
        ),
        (
            r#"{"event_type":"Buy","user_id":"rider","price":2.5,"quantity":5,"revenue":1}"#,
            r#""Buy" user=rider event_properties={"$revenue":12.5,"$price":2.5,"$quantity":5} fields={"price":2.5,"quantity":5,"revenue":1}"#,
        ),
        // JavaScript cuts strings between the halves of an emoji.
        (
            r#"{"event_type":"a\ud83d","user_id":"rider","event_properties":{"t":"x\ud83d"},"city":"\ud83d"}"#,
            "\"a\u{fffd}\" user=rider event_properties={\"t\":\"x\u{fffd}\"} fields={\"city\":\"\u{fffd}\"}",
        ),
        (
            r#"{"event_type":"a","user_id":"rider","group_type":1,"x\n":[{}]}"#,
            r#""a" user=rider fields={"group_type":1,"x\n":[{}]}"#,
        ),
        (r#"{"ev\u0065nt_type":"a","user_id":"rider"}"#, r#""a" user=rider"#),
    ] {
        assert_eq!(http(event), format!("accepted 1\n{expected}"), "{event}");
    }
}

#[test]
fn ids_that_leave_no_event_are_listed() {
    let answers = [
        http(r#"{"event_type":"a"}"#),
        http(r#"{"event_type":"a","user_id":" "}"#),
        http(r#"{"event_type":"a","user_id":"rid"}"#),
        http(r#"{"event_type":"a","user_id":"  rid  ","device_id":"device"}"#),
        http(r#"{"event_type":"a","user_id":"rider","device_id":1}"#),
        http(r#"{"event_type":"a","user_id":true}"#),
        http(r#"{"event_type":"a","user_id":"anonymous"}"#),
        http(r#"{"event_type":"a","user_id":"anonymous","device_id":"device"}"#),
        http(r#"{"event_type":"a","device_id":"000000000000000"}"#),
    ];
    assert_snapshot!(answers.join("\n"), @r#"
    {"code":400,"error":"Request missing required field","events_with_invalid_fields":{},"events_with_missing_fields":{"device_id":[0],"user_id":[0]},"events_with_invalid_id_lengths":{}}
    {"code":400,"error":"Request missing required field","events_with_invalid_fields":{},"events_with_missing_fields":{"device_id":[0],"user_id":[0]},"events_with_invalid_id_lengths":{}}
    {"code":400,"error":"Invalid id length for user_id or device_id","events_with_invalid_fields":{"user_id":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{"user_id":[0]}}
    {"code":400,"error":"Invalid id length for user_id or device_id","events_with_invalid_fields":{"user_id":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{"user_id":[0]}}
    {"code":400,"error":"Invalid id length for user_id or device_id","events_with_invalid_fields":{"device_id":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{"device_id":[0]}}
    {"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"user_id":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}
    {"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"user_id":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}
    {"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"user_id":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}
    {"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"device_id":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}
    "#);
}

#[test]
fn unusable_device_ids_are_dropped_beside_a_user_id() {
    for id in ["000000000000000", "unknown", "00000000-0000-0000-0000-000000000000"] {
        let event = format!(r#"{{"event_type":"a","user_id":"rider","device_id":"{id}"}}"#);
        assert_eq!(http(&event), "accepted 1\n\"a\" user=rider");
    }
}

#[test]
fn batch_strips_ids_while_one_is_left() {
    for (ids, expected) in [
        (r#""user_id":"r","device_id":"device""#, Some("device=device")),
        (r#""user_id":"anonymous","device_id":"device""#, Some("device=device")),
        (r#""user_id":"rider","device_id":"d""#, Some("user=rider")),
        (r#""user_id":"r","device_id":"d""#, None),
        (r#""user_id":"r""#, None),
        (r#""user_id":"anonymous""#, None),
        (r#""user_id":"r","device_id":"unknown""#, None),
    ] {
        let answer = batch(&format!(r#"{{"event_type":"a",{ids}}}"#));
        match expected {
            Some(left) => assert_eq!(answer, format!("accepted 1\n\"a\" {left}")),
            None => assert_eq!(json_of(&answer)["code"], 400, "{ids}"),
        }
    }
    let long = "x".repeat(1_025);
    let answer = batch(&format!(r#"{{"event_type":"a","user_id":"{long}","device_id":"device"}}"#));
    assert_eq!(json_of(&answer)["events_with_invalid_id_lengths"], json!({"user_id": [0]}));
}

#[test]
fn min_id_length_applies_wherever_it_stands_and_nonsense_is_ignored() {
    let ids = |options: &str| {
        let events = r#""events":[{"event_type":"a","user_id":"abc"}]"#;
        answer(
            &EndpointRules::http_api(),
            format!(r#"{{"api_key":"key",{events},"options":{options}}}"#),
        )
        .starts_with("accepted")
    };
    for (options, accepted) in [
        (r#"{"min_id_length":3}"#, true),
        (r#"{"min_id_length":0}"#, true),
        (r#"{"min_id_length":4}"#, false),
        ("{}", false),
        ("null", false),
        ("[]", false),
        ("\"undefined\"", false),
        (r#"{"min_id_length":-1}"#, false),
        (r#"{"min_id_length":"1"}"#, false),
        (r#"{"min_id_length":1.5}"#, false),
        (r#"{"min_id_length":99999999999999999999}"#, false),
    ] {
        assert_eq!(ids(options), accepted, "{options}");
    }
    // A length that no id can have is nonsense too.
    let body = r#"{"api_key":"key","options":{"min_id_length":5000},"events":[{"event_type":"a","user_id":"rider"}]}"#;
    assert!(answer(&EndpointRules::http_api(), body).starts_with("accepted"));
}

#[test]
fn event_types_are_checked_verbatim() {
    let answers = [
        http(r#"{"user_id":"rider"}"#),
        http(r#"{"user_id":"rider","event_type":null}"#),
        http(r#"{"user_id":"rider","event_type":" \t"}"#),
        http(r#"{"user_id":"rider","event_type":5}"#),
        http(r#"{"user_id":"rider","event_type":"[Amplitude] Revenue (Verified)"}"#),
        http(r#"{"user_id":"rider","event_type":"[amplitude] revenue (verified) "}"#),
    ];
    assert_snapshot!(answers.join("\n"), @r#"
    {"code":400,"error":"Request missing required field","events_with_invalid_fields":{},"events_with_missing_fields":{"event_type":[0]},"events_with_invalid_id_lengths":{}}
    {"code":400,"error":"Request missing required field","events_with_invalid_fields":{},"events_with_missing_fields":{"event_type":[0]},"events_with_invalid_id_lengths":{}}
    {"code":400,"error":"Request missing required field","events_with_invalid_fields":{},"events_with_missing_fields":{"event_type":[0]},"events_with_invalid_id_lengths":{}}
    {"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"event_type":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}
    {"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"event_type":[0]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{}}
    accepted 1
    "[amplitude] revenue (verified) " user=rider
    "#);
    for name in [
        "[Amplitude] Start Session",
        "[Amplitude] End Session",
        "[Amplitude] Revenue",
        "[Amplitude] Revenue (Unverified)",
        "[Amplitude] Merged User",
    ] {
        let answer = http(&format!(r#"{{"user_id":"rider","event_type":"{name}"}}"#));
        assert_eq!(json_of(&answer)["events_with_invalid_fields"], json!({"event_type": [0]}));
    }
}

#[test]
fn wrong_types_are_listed_under_their_field() {
    let deep = format!("{}{}", r#"{"a":"#.repeat(41), "1".to_owned() + &"}".repeat(41));
    for (field, values) in [
        (
            "time",
            &[
                r#""2026-05-02""#,
                "1777713330950.5",
                "1777713330950.0",
                "1e3",
                "true",
                "[]",
                "99999999999999999999",
            ][..],
        ),
        ("session_id", &["\"1\"", "1.5", "{}"]),
        ("event_id", &["\"1\"", "1.5"]),
        ("quantity", &["\"1\"", "1.5"]),
        ("price", &["\"1\"", "true", "1e999", "-1e999"]),
        ("revenue", &["\"1\"", "[1]"]),
        ("location_lat", &["\"1\""]),
        ("location_lng", &["{}"]),
        ("platform", &["1", "{}", "false"]),
        ("app_version", &["1"]),
        ("ip", &["1"]),
        ("insert_id", &["{}", "true"]),
        ("user_id", &["{}", "true"]),
        ("$skip_user_properties_sync", &["1", "\"true\""]),
        ("event_properties", &["[]", "\"\"", "1", &deep]),
        ("user_properties", &["[]", &deep]),
        ("groups", &["[]", "\"team\""]),
        ("plan", &["\"p\""]),
        ("delay", &["1"]),
    ] {
        for value in values {
            let answer = json_of(&with(&format!(r#""{field}":{value},"device_id":"device""#)));
            assert_eq!(answer["code"], 400, "{field}: {value}");
            assert_eq!(answer["events_with_invalid_fields"], json!({field: [0]}), "{value}");
            let mended = with(&format!(r#""{field}":{value},"{field}":null,"device_id":"device""#));
            assert!(mended.starts_with("accepted"), "the last one counts: {mended}");
        }
        assert!(with(&format!(r#""{field}":null,"device_id":"device""#)).starts_with("accepted"));
    }
    for fine in [
        "\"price\":1e2",
        "\"location_lat\":0",
        "\"quantity\":-3",
        "\"time\":-1",
        "\"group_properties\":7",
    ] {
        assert!(with(fine).starts_with("accepted"), "{fine}");
    }
}

#[test]
fn unknown_fields_are_never_refused() {
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    assert_eq!(
        with(&format!(r#""odd":{deep},"even":2,"none":null"#)),
        "accepted 1\n\"Ride\" user=rider-1 fields={\"even\":2}"
    );
}

#[test]
fn long_texts_are_cut_and_long_ids_refused() {
    let (long, cut) = ("é".repeat(1_030), "é".repeat(1_024));
    let event = format!(
        r#"{{"event_type":"{long}","user_id":"rider","insert_id":"{long}","city":"{long}"}}"#
    );
    assert_eq!(
        http(&event),
        format!("accepted 1\n\"{cut}\" user=rider insert={cut} fields={{\"city\":\"{cut}\"}}")
    );
    let answer = json_of(&http(&format!(r#"{{"event_type":"a","user_id":"{long}"}}"#)));
    assert_eq!(answer["events_with_invalid_id_lengths"], json!({"user_id": [0]}));
    assert_eq!(answer["events_with_invalid_fields"], json!({"user_id": [0]}));
}

#[test]
fn all_problems_of_all_events_are_collected() {
    assert_snapshot!(
        http(r#"{"event_type":"a","user_id":"rider"}, 7, {"user_id":"rid","time":"x","device_id":false}, {}, {"event_type":"a","user_id":"x"}"#),
        @r#"{"code":400,"error":"Invalid event JSON","events_with_invalid_fields":{"device_id":[2],"event":[1],"time":[2],"user_id":[2,4]},"events_with_missing_fields":{"device_id":[3],"event_type":[2,3],"user_id":[3]},"events_with_invalid_id_lengths":{"user_id":[2,4]}}"#
    );
    assert_snapshot!(
        http(r#"{"event_type":"a","user_id":"rider","time":1.5},{"event_type":"a","user_id":"rid"}"#),
        @r#"{"code":400,"error":"Invalid field values on some events","events_with_invalid_fields":{"time":[0],"user_id":[1]},"events_with_missing_fields":{},"events_with_invalid_id_lengths":{"user_id":[1]}}"#
    );
}

#[test]
fn client_upload_time_is_read_in_any_form_and_never_refused() {
    for (sent, expected) in [
        (r#""2026-05-02T09:15:31.208Z""#, Some(1_777_713_331_208)),
        (r#""2026-05-02T11:15:31.208+02:00""#, Some(1_777_713_331_208)),
        ("1777713331208", Some(1_777_713_331_208)),
        (r#""yesterday""#, None),
        ("null", None),
        ("{}", None),
    ] {
        let body = format!(r#"{{"client_upload_time":{sent},"api_key":"key","events":[]}}"#);
        let rules = EndpointRules::http_api();
        let upload = parse_upload(body.as_bytes(), &rules).expect("well-formed");
        assert_eq!(upload.check(&rules).expect("no events").client_upload_time(), expected);
    }
}

/// Checks what the intake log promises about every event.
fn keeps_its_promises(upload: &CheckedUpload<'_>, source: Source) {
    for event in upload.events() {
        assert!(!event.event_type.trim().is_empty());
        assert!(
            event.user_id.is_some()
                || event.device_id.is_some()
                || event.event_type == event::GROUP_IDENTIFY
        );
        let objects = [
            event.event_properties,
            event.user_properties,
            event.groups,
            event.group_properties,
            event.fields,
        ];
        for object in objects.into_iter().flatten() {
            assert!(json_of(object).is_object());
        }
    }
    let batch = IntakeBatch {
        project: "shop",
        source,
        received_at: 5,
        client_upload_time: upload.client_upload_time(),
        remote_address: None,
        events: upload.events().collect(),
        commands: Vec::new(),
        currents: None,
    };
    assert_eq!(IntakeBatch::decode(&batch.encode()), Ok(batch));
}

fn field_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "event_type", "user_id", "device_id", "insert_id", "time", "session_id", "event_id",
            "event_properties", "user_properties", "groups", "group_properties", "price", "quantity",
            "revenue", "city", "plan", "$skip_user_properties_sync",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// What can be wrong with one event: nothing, or one thing under one name.
#[derive(Debug, Clone, Copy)]
enum Flaw {
    None,
    NotAnObject,
    NoType,
    NoIds,
    ShortId,
    StringTime,
    ListProperties,
}

fn flaw() -> impl Strategy<Value = Flaw> {
    use Flaw::{ListProperties, NoIds, NoType, None, NotAnObject, ShortId, StringTime};
    prop::sample::select(vec![
        None,
        None,
        None,
        NotAnObject,
        NoType,
        NoIds,
        ShortId,
        StringTime,
        ListProperties,
    ])
}

fn flawed(flaw: Flaw) -> Json {
    let mut event = json!({"event_type": "Ride", "user_id": "rider-1", "time": 5, "event_properties": {"a": 1}});
    match flaw {
        Flaw::None => {}
        Flaw::NotAnObject => event = json!([event]),
        Flaw::NoType => event["event_type"] = json!(null),
        Flaw::NoIds => event["user_id"] = json!(""),
        Flaw::ShortId => event["user_id"] = json!("r"),
        Flaw::StringTime => event["time"] = json!("5"),
        Flaw::ListProperties => event["event_properties"] = json!([]),
    }
    event
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        drop(answer(&EndpointRules::http_api(), bytes));
    }

    #[test]
    fn whatever_is_accepted_keeps_the_promises_of_the_log(
        events in prop::collection::vec(prop::collection::vec((field_name(), any_json()), 0..8), 0..4),
        sound: bool,
    ) {
        let elements: Vec<String> = events.into_iter().map(|members| {
            let mut members: Vec<String> =
                members.into_iter().map(|(name, value)| format!("{}:{value}", Json::from(name))).collect();
            if sound {
                members.push(r#""event_type":"a","user_id":"rider","device_id":"device""#.to_owned());
            }
            format!("{{{}}}", members.join(","))
        }).collect();
        let body = format!(r#"{{"api_key":"key","events":[{}]}}"#, elements.join(","));
        for rules in [EndpointRules::http_api(), EndpointRules::batch()] {
            let upload = parse_upload(body.as_bytes(), &rules).expect("well-formed");
            match upload.check(&rules) {
                Ok(upload) => keeps_its_promises(&upload, rules.source),
                Err(Refusal::Events(problems)) => {
                    let indexes = problems.indexes();
                    prop_assert!(!indexes.is_empty() && indexes.iter().all(|index| *index < elements.len()));
                }
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn a_sound_event_is_accepted_as_it_was_sent(
        event_type in "[a-zé😀\"\\\\\n]{1,20}",
        user_id in "[a-zé]{5,20}",
        properties in prop::collection::btree_map("[a-z]{1,5}", any::<i64>(), 1..5),
        time: i64,
        city: String,
    ) {
        prop_assume!(!event_type.trim().is_empty());
        let event = json!({
            "city": city, "event_type": event_type, "user_id": user_id, "time": time,
            "event_properties": properties, "user_properties": {"$set": properties},
        });
        let body = json!({"api_key": "key", "events": [event, event]}).to_string();
        let rules = EndpointRules::http_api();
        let upload = parse_upload(body.as_bytes(), &rules).and_then(|upload| upload.check(&rules));
        let upload = upload.expect("sound");
        keeps_its_promises(&upload, rules.source);
        for read in upload.events() {
            prop_assert_eq!(read.event_type, event_type.as_str());
            prop_assert_eq!(read.user_id, Some(user_id.as_str()));
            prop_assert_eq!(read.time, Some(time));
            prop_assert_eq!(json_of(read.event_properties.expect("sent")), json!(properties));
            prop_assert_eq!(json_of(read.user_properties.expect("sent")), json!({"$set": properties}));
            prop_assert_eq!(json_of(read.fields.expect("sent")), json!({"city": city}));
        }
    }

    #[test]
    fn exactly_the_bad_events_are_reported(flaws in prop::collection::vec(flaw(), 0..30)) {
        let events: Vec<Json> = flaws.iter().map(|flaw| flawed(*flaw)).collect();
        let body = json!({"api_key": "key", "events": events}).to_string();
        let rules = EndpointRules::http_api();
        let upload = parse_upload(body.as_bytes(), &rules).expect("well-formed");
        let bad: Vec<usize> = (0..flaws.len()).filter(|index| !matches!(flaws[*index], Flaw::None)).collect();
        let problems = match upload.check(&rules) {
            Ok(_) => EventProblems::default(),
            Err(Refusal::Events(problems)) => *problems,
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        prop_assert_eq!(problems.indexes(), bad);
        for map in [&problems.missing, &problems.invalid, &problems.id_lengths] {
            for indexes in map.values() {
                let sorted: BTreeSet<usize> = indexes.iter().copied().collect();
                prop_assert!(sorted.iter().eq(indexes), "ascending, each once");
            }
        }
    }
}
