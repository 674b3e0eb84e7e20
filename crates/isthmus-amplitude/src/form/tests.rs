use super::*;
use isthmus_core::record::IntakeEvent;
use proptest::prelude::*;

const IDENTIFY: EndpointRules = EndpointRules::identify();
const GROUP_IDENTIFY: EndpointRules = EndpointRules::group_identify();
const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

/// The refusal's body, or the accepted identifications.
fn answer(
    rules: &EndpointRules,
    content_type: Option<&str>,
    query: Option<&str>,
    body: impl AsRef<[u8]>,
) -> String {
    let read = || {
        let form = Form::parse(content_type, query, body.as_ref(), rules)?;
        let upload = form.upload(rules)?;
        assert_eq!(upload.api_key(), "key");
        let upload = upload.check(rules)?;
        let shown: Vec<String> = upload.events().map(|event| shown(&event)).collect();
        Ok::<_, Refusal>(shown.join("\n"))
    };
    read().unwrap_or_else(|refusal| refusal.body())
}

fn shown(event: &IntakeEvent<'_>) -> String {
    let ids = [event.user_id, event.device_id, event.insert_id];
    let ids: Vec<&str> = ids.into_iter().flatten().collect();
    let objects = [event.user_properties, event.groups, event.group_properties, event.fields];
    let objects: Vec<&str> = objects.into_iter().flatten().collect();
    assert_eq!(event.event_properties, None);
    format!("{} {} {}", event.event_type, ids.join(","), objects.join(" "))
}

fn encoded(members: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish()
}

const ONE: &str = r#"{"user_id":"rider","user_properties":{"$set":{"plan":"pro & more"}},"platform":"iOS","paying":"true"}"#;
const ONE_SHOWN: &str =
    r#"$identify rider {"$set":{"plan":"pro & more"}} {"platform":"iOS","paying":"true"}"#;

#[test]
fn every_way_of_sending_reads_the_same() {
    let form = encoded(&[("api_key", "key"), ("identification", ONE), ("options", "undefined")]);
    assert_eq!(answer(&IDENTIFY, FORM, None, &form), ONE_SHOWN);
    assert_eq!(answer(&IDENTIFY, None, None, &form), ONE_SHOWN);
    assert_eq!(answer(&IDENTIFY, None, Some(&form), ""), ONE_SHOWN);
    let (key, rest) = form.split_once('&').expect("three members");
    assert_eq!(answer(&IDENTIFY, FORM, Some(key), rest), ONE_SHOWN);

    let json = format!(r#" {{"api_key":"key","identification":[{ONE}],"options":{{}}}}"#);
    assert_eq!(answer(&IDENTIFY, Some("application/json"), None, &json), ONE_SHOWN);
    let text = serde_json::to_string(ONE).expect("text");
    let json = format!(r#"{{"api_key":"key","identification":{text}}}"#);
    assert_eq!(answer(&IDENTIFY, None, None, &json), ONE_SHOWN);

    let multipart = format!(
        "preamble\r\n--XyZ\r\nContent-Disposition: form-data; name=\"api_key\"\r\n\r\nkey\r\n--XyZ\r\n\
         content-type: text/plain\r\ncontent-disposition: form-data; name=identification\r\n\r\n{ONE}\r\n\
         --XyZ\r\nContent-Disposition: form-data; name=\"options\"\r\n\r\nundefined\r\n--XyZ--\r\n"
    );
    for kind in
        ["multipart/form-data; boundary=XyZ", "Multipart/Form-Data;charset=utf-8; Boundary=\"XyZ\""]
    {
        assert_eq!(answer(&IDENTIFY, Some(kind), None, &multipart), ONE_SHOWN);
    }
}

#[test]
fn identifications_come_alone_or_in_a_list() {
    let list = r#"[{"user_id":"rider","event_type":"x","event_properties":[]},{"device_id":"device","insert_id":"i1","groups":{"team":"red"}}]"#;
    let form = encoded(&[("api_key", "key"), ("identification", list)]);
    assert_eq!(
        answer(&IDENTIFY, FORM, None, form),
        "$identify rider \n$identify device,i1 {\"team\":\"red\"}"
    );
    let form = encoded(&[("api_key", "key"), ("identification", "[]")]);
    assert_eq!(answer(&IDENTIFY, FORM, None, form), "");
}

#[test]
fn options_apply_when_they_make_sense() {
    let short = r#"{"user_id":"abc"}"#;
    for (options, accepted) in
        [(r#"{"min_id_length":3}"#, true), ("undefined", false), ("{", false), ("", false)]
    {
        let form = encoded(&[("api_key", "key"), ("identification", short), ("options", options)]);
        assert_eq!(
            answer(&IDENTIFY, FORM, None, form).starts_with("$identify abc"),
            accepted,
            "{options}"
        );
    }
}

#[test]
fn refusals_name_what_is_missing() {
    let missing = Refusal::MissingIdentification.body();
    let no_key = Refusal::MissingField("api_key").body();
    for (form, expected) in [
        (encoded(&[("api_key", "key")]), &missing),
        (encoded(&[("api_key", "key"), ("identification", "")]), &missing),
        (encoded(&[("api_key", "key"), ("identification", "undefined")]), &missing),
        (encoded(&[("api_key", "key"), ("identification", "7")]), &missing),
        (encoded(&[("api_key", "key"), ("identification", "{\"user_id\":}")]), &missing),
        (encoded(&[("api_key", "key"), ("identification", "[{}]]")]), &missing),
        (encoded(&[("identification", ONE)]), &no_key),
        (encoded(&[("api_key", " "), ("identification", ONE)]), &no_key),
        (String::new(), &no_key),
    ] {
        assert_eq!(&answer(&IDENTIFY, FORM, None, &form), expected, "{form}");
    }
    assert_eq!(answer(&IDENTIFY, None, None, "{\"api_key\":"), Refusal::InvalidJson.body());
    let form = encoded(&[
        ("api_key", "key"),
        ("identification", r#"[{"user_id":"rider"},{},{"user_id":"x","city":4}]"#),
    ]);
    insta::assert_snapshot!(
        answer(&IDENTIFY, FORM, None, form),
        @r#"{"code":400,"error":"Request missing required field","events_with_invalid_fields":{"city":[2],"user_id":[2]},"events_with_missing_fields":{"device_id":[1],"user_id":[1]},"events_with_invalid_id_lengths":{"user_id":[2]}}"#
    );
}

#[test]
fn group_identifications_become_group_identify_events() {
    let list = r#"[
        {"group_type":"team","group_value":"red","group_properties":{"$set":{"size":3},"$unset":{"old":null}}},
        {"group_type":"team \"a\"","group_value":7,"group_properties":{"plain":true},"user_id":"x","city":"y"}
    ]"#;
    let form = encoded(&[("api_key", "key"), ("identification", list)]);
    insta::assert_snapshot!(answer(&GROUP_IDENTIFY, FORM, None, form), @r#"
    $groupidentify  {"team":"red"} {"$set":{"size":3},"$unset":{"old":null}}
    $groupidentify  {"team \"a\"":"7"} {"plain":true}
    "#);
    let list = r#"[{"group_type":"team"},{"group_value":"red"},{"group_type":["a"],"group_value":" "},1,{"group_type":"t","group_value":"g","group_properties":[]}]"#;
    let form = encoded(&[("api_key", "key"), ("identification", list)]);
    insta::assert_snapshot!(
        answer(&GROUP_IDENTIFY, FORM, None, form),
        @r#"{"code":400,"error":"Invalid event JSON","events_with_invalid_fields":{"event":[3],"group_properties":[4],"group_type":[2]},"events_with_missing_fields":{"group_type":[1],"group_value":[0,2]},"events_with_invalid_id_lengths":{}}"#
    );
}

#[test]
fn sizes_beyond_the_limits_are_413() {
    let send = |rules: &EndpointRules, one: &str, count: usize| {
        let list = format!("[{}]", vec![one; count].join(","));
        answer(rules, FORM, None, encoded(&[("api_key", "key"), ("identification", &list)]))
    };
    let too_large = Refusal::TooLarge.body();
    assert_eq!(send(&IDENTIFY, r#"{"user_id":"rider"}"#, 1_025), too_large);
    assert_ne!(send(&IDENTIFY, r#"{"user_id":"rider"}"#, 1_024), too_large);
    let two = r#"{"group_type":"t","group_value":"g","group_properties":{"a":1,"$set":{"b":2}}}"#;
    assert_ne!(send(&GROUP_IDENTIFY, two, 512), too_large);
    assert_eq!(send(&GROUP_IDENTIFY, two, 513), too_large);
    assert_eq!(answer(&IDENTIFY, FORM, None, vec![b'a'; (1 << 20) + 1]), too_large);
}

proptest! {
    #[test]
    fn arbitrary_requests_never_panic(
        content_type in prop::option::of(r"(multipart/form-data; boundary=[a-]{0,3}|application/json|\PC*)"),
        query in prop::option::of(any::<String>()),
        body in prop_oneof![
            any::<Vec<u8>>(),
            r#"([a-]|--a|\r\n|: ;|name=|"|Content-Disposition:|\{|\}){0,30}"#.prop_map(String::into_bytes),
        ],
        identification: String,
    ) {
        for rules in [IDENTIFY, GROUP_IDENTIFY] {
            let form = Form::parse(content_type.as_deref(), query.as_deref(), &body, &rules);
            drop(form.and_then(|form| form.upload(&rules)?.check(&rules).map(drop)));
            let form = encoded(&[("api_key", "key"), ("identification", &identification)]);
            drop(answer(&rules, FORM, None, form));
        }
    }

    #[test]
    fn multipart_values_come_through_unchanged(value in r"[ -~é\r\n]{0,40}") {
        let body = format!("--b0undary\r\nContent-Disposition: form-data; name=\"options\"\r\n\r\n{value}\r\n--b0undary--");
        let kind = "multipart/form-data; boundary=b0undary";
        let form = Form::parse(Some(kind), None, body.as_bytes(), &IDENTIFY).expect("a form");
        prop_assert_eq!(form.options.as_deref(), Some(value.as_str()));
    }
}
