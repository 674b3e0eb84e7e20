use super::super::received::read_batch;
use super::*;
use insta::assert_snapshot;
use proptest::prelude::*;

fn event(event_type: &str, user: &str, properties: &str) -> Received<'static> {
    let body = format!(
        r#"{{"events":[{{"event_type":"{event_type}","id":"i","time":1,"user":{user},"properties":{properties}}}]}}"#
    );
    let mut batch = read_batch(body.as_bytes()).expect("a batch");
    batch.remove(0).expect("an event").into_owned()
}

const SOMEBODY: &str = r#"{"user_id":"b","external_user_id":"u","timezone":"Asia/Tokyo"}"#;

/// The event that is sent, or why there is none.
fn sent(form: &Form, event: &Received<'_>) -> String {
    let appearance = appear(event, form);
    match appearance.export {
        Export::No { reason } => format!("no: {reason}"),
        Export::Documented | Export::Expected => appearance.upload(event),
    }
}

fn shown(event_type: &str, properties: &str) -> String {
    sent(&Form::default(), &event(event_type, SOMEBODY, properties))
}

#[test]
fn unknown_types_are_shown_with_all_they_have() {
    let properties = r#"{"b":1,"a":[null],"n":null,"b":2,"user_id":"b","price":3}"#;
    let kiosk = event("users.messages.kiosk.LinkOpened", SOMEBODY, properties);
    assert_snapshot!(sent(&Form::default(), &kiosk), @r#"{"user_id":"u","event_type":"[Appboy] Kiosk Link Opened","time":1000,"insert_id":"i","library":"Braze","event_properties":{"b":2,"a":[null],"price":3}}"#);
    let held = Form { hold_back_unknown_types: true, ..Form::default() };
    assert_eq!(sent(&held, &kiosk), "no: unknown event type");
    let device = event("users.messages.kiosk.LinkOpened", r#"{"device_id":"d"}"#, "{}");
    assert_snapshot!(sent(&Form::default(), &device), @r#"{"device_id":"d","event_type":"[Appboy] Kiosk Link Opened","time":1000,"insert_id":"i","library":"Braze","event_properties":{}}"#);
}

#[test]
fn unknown_properties_of_known_types_are_passed_on() {
    let properties =
        r#"{"new":{"x":null},"is_amp":"yes","user_id":"b","sending_ip":"1","carrier":"c"}"#;
    assert_snapshot!(shown("users.messages.email.Open", properties), @r#"{"user_id":"u","event_type":"[Appboy] Email Open","time":1000,"insert_id":"i","library":"Braze","event_properties":{"is_amp":"yes","new":{"x":null},"sending_ip":"1","carrier":"c"}}"#);
    assert_snapshot!(shown("users.messages.email.Bounce", properties), @r#"{"user_id":"u","event_type":"[Appboy] Email Bounce","time":1000,"insert_id":"i","library":"Braze","event_properties":{"new":{"x":null},"is_amp":"yes","carrier":"c"}}"#);
}

/// `gender` and `carrier` of these types are in files only, though somebody may post them.
#[test]
fn what_only_files_have_is_shown_on_demand() {
    let flag = event(
        "users.messages.featureflag.Impression",
        SOMEBODY,
        r#"{"carrier":"c","gender":null,"browser":"b"}"#,
    );
    assert_snapshot!(sent(&Form::default(), &flag), @r#"{"user_id":"u","event_type":"[Appboy] Feature Flag Experiment Impression","time":1000,"insert_id":"i","library":"Braze","event_properties":{"browser":"b","timezone":"Asia/Tokyo"}}"#);
    let all = Form { pass_unknown_storage_fields: true, ..Form::default() };
    assert_snapshot!(sent(&all, &flag), @r#"{"user_id":"u","event_type":"[Appboy] Feature Flag Experiment Impression","time":1000,"insert_id":"i","library":"Braze","event_properties":{"browser":"b","timezone":"Asia/Tokyo","carrier":"c"}}"#);
}

#[test]
fn line_and_rcs_can_have_names_of_their_own() {
    let qualified = Form { qualified_channel_names: true, ..Form::default() };
    for (event_type, plain, longer) in [
        ("users.messages.line.Click", "[Appboy] Click", "[Appboy] LINE Click"),
        ("users.messages.rcs.Abort", "[Appboy] Abort", "[Appboy] RCS Abort"),
        ("users.messages.email.Click", "[Appboy] Email Click", "[Appboy] Email Click"),
    ] {
        let event = event(event_type, SOMEBODY, "{}");
        assert_eq!(appear(&event, &Form::default()).event_type, plain);
        assert_eq!(appear(&event, &qualified).event_type, longer);
    }
}

#[test]
fn prefixes_are_as_configured() {
    let form = Form {
        event_prefix: "Braze ".to_owned(),
        custom_event_prefix: String::new(),
        custom_event_property_prefix: "own.".to_owned(),
        purchase_property_prefix: String::new(),
        ..Form::default()
    };
    let custom = r#"{"name":" Trial \"1\"","custom_properties":{"a b":1,"n":null}}"#;
    let custom = event("users.behaviors.CustomEvent", SOMEBODY, custom);
    assert_snapshot!(sent(&form, &custom), @r#"{"user_id":"u","event_type":" Trial \"1\"","time":1000,"insert_id":"i","library":"Braze","event_properties":{"own.a b":1}}"#);
    let bought = r#"{"purchase_properties":{"size":"M"}}"#;
    let bought = event("users.behaviors.Purchase", SOMEBODY, bought);
    assert_snapshot!(sent(&form, &bought), @r#"{"user_id":"u","event_type":"Braze Purchase","time":1000,"insert_id":"i","library":"Braze","event_properties":{"size":"M"}}"#);
}

#[test]
fn own_properties_that_are_no_object_are_kept_whole_and_told() {
    let custom = event(
        "users.behaviors.CustomEvent",
        SOMEBODY,
        r#"{"name":"x","custom_properties":"{broken"}"#,
    );
    let appearance = appear(&custom, &Form::default());
    assert!(appearance.own_properties_unreadable);
    assert_eq!(appearance.event_properties, r#"{"[Custom event property]":"{broken"}"#);
    let fine = event("users.behaviors.CustomEvent", SOMEBODY, r#"{"custom_properties":{}}"#);
    let appearance = appear(&fine, &Form::default());
    assert!(!appearance.own_properties_unreadable);
    assert_eq!(appearance.event_type, "[Appboy] [Custom Event]", "nameless");
}

#[test]
fn a_price_is_a_number_or_left_out() {
    let beside = |properties: &str| {
        let event = event("users.behaviors.Purchase", SOMEBODY, properties);
        appear(&event, &Form::default()).top_level
    };
    for (price, beside_library) in [
        ("19.99", ",\"price\":19.99"),
        ("-5", ",\"price\":-5"),
        ("0", ",\"price\":0"),
        ("\"19.990\"", ",\"price\":19.990"),
        ("\"[REDACTED]\"", ""),
        ("\"\"", ""),
        ("null", ""),
        ("true", ""),
        ("[1]", ""),
    ] {
        let expected = format!("{{\"library\":\"Braze\"{beside_library}}}");
        assert_eq!(beside(&format!(r#"{{"price":{price}}}"#)), expected, "{price}");
    }
    let product = beside(r#"{"price":1,"product_id":"SKU"}"#);
    assert_eq!(product, r#"{"library":"Braze","price":1,"productId":"SKU"}"#);
    assert_eq!(beside(r#"{"product_id":""}"#), r#"{"library":"Braze"}"#);
}

#[test]
fn amplitudes_own_fields_are_filled_on_demand() {
    let form = Form { top_level_device_facts: true, top_level_currency: true, ..Form::default() };
    let properties = r#"{"currency":"EUR","platform":"ios","os_version":"26.1","device_model":"iPhone18,1","ad_id":"A","ad_id_type":"ios_idfa"}"#;
    let bought = event("users.behaviors.Purchase", SOMEBODY, properties);
    assert_snapshot!(appear(&bought, &form).top_level, @r#"{"library":"Braze","currency":"EUR","idfa":"A","platform":"iOS","os_name":"ios","os_version":"26.1","device_model":"iPhone18,1"}"#);
    let roku = event(
        "users.behaviors.app.SessionStart",
        SOMEBODY,
        r#"{"platform":"roku","currency":"EUR"}"#,
    );
    assert_snapshot!(appear(&roku, &form).top_level, @r#"{"library":"Braze","platform":"roku"}"#);
}

#[test]
fn an_advertising_id_goes_by_its_kind() {
    let beside = |kind: &str| {
        let properties = format!(r#"{{"ad_id":"A","ad_id_type":{kind}}}"#);
        appear(&event("users.behaviors.Location", SOMEBODY, &properties), &Form::default())
            .top_level
    };
    assert_eq!(beside("\"ios_idfa\""), r#"{"library":"Braze","idfa":"A"}"#);
    assert_eq!(beside("\"google_ad_id\""), r#"{"library":"Braze","adid":"A"}"#);
    assert_eq!(beside("\"roku_ad_id\""), r#"{"library":"Braze"}"#);
    assert_eq!(beside("null"), r#"{"library":"Braze"}"#);
}

#[test]
fn who_is_nobody_to_amplitude_is_not_exported() {
    let open = |user: &str| {
        let event = event("users.messages.email.Open", user, "{}");
        appear(&event, &Form::default()).export
    };
    let nobody = Export::No { reason: "nobody to attach it to" };
    assert_eq!(open(r#"{"external_user_id":"u"}"#), Export::Documented);
    assert_eq!(open(r#"{"device_id":"d"}"#), Export::Documented);
    assert_eq!(open(r#"{"user_id":"b"}"#), nobody);
    assert_eq!(open(r#"{"external_user_id":"[REDACTED]"}"#), nobody);
    // This type does not tell the device.
    let exit = event("users.canvas.exit.PerformedEvent", r#"{"device_id":"d"}"#, "{}");
    assert_eq!(appear(&exit, &Form::default()).export, nobody);
}

#[test]
fn some_types_are_exported_on_demand_or_never() {
    let form = Form { optional_types: true, ..Form::default() };
    let export = |form: &Form, event_type: &str| {
        appear(&event(event_type, r#"{"external_user_id":"u"}"#, "{}"), form).export
    };
    for event_type in ["agentconsole.AgentExecuted", "users.profile.Update", "users.UserOrphan"] {
        assert!(matches!(export(&Form::default(), event_type), Export::No { .. }), "{event_type}");
        assert_eq!(export(&form, event_type), Export::Expected, "{event_type}");
    }
    for event_type in
        ["users.RandomBucketNumberUpdate", "users.UserDeleteRequest", "agentconsole.ToolInvocation"]
    {
        assert!(matches!(export(&form, event_type), Export::No { .. }), "{event_type}");
    }
    assert_eq!(export(&form, "users.messages.email.Retry"), Export::Expected);
}

proptest! {
    #[test]
    fn what_is_shown_is_json(key: String, value: String, kind in 0..112_usize, all: bool) {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let (key, value) = (text(&key), text(&value));
        let properties = format!(
            r#"{{{key}:{value},"name":{value},"price":{value},"ad_id":{value},"ad_id_type":"ios_idfa","custom_properties":{{{key}:{value}}},"purchase_properties":{value},"platform":{value},"currency":{value}}}"#
        );
        let event_type = catalogue::all().nth(kind).map_or("x.Y", |about| &about.event_type);
        let form = Form {
            pass_unknown_storage_fields: all,
            top_level_device_facts: all,
            top_level_currency: all,
            ..Form::default()
        };
        let event = event(event_type, SOMEBODY, &properties);
        let upload = appear(&event, &form).upload(&event);
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&upload);
        prop_assert!(parsed.is_ok(), "{}", upload);
    }
}
