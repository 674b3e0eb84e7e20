use super::super::received::read_batch;
use super::*;
use insta::assert_snapshot;
use proptest::prelude::*;

const CUSTOM: &str = "users.behaviors.CustomEvent";

fn event(event_type: &str, time: i64, user: &str, properties: &str) -> Received<'static> {
    let body = format!(
        r#"{{"events":[{{"event_type":"{event_type}","id":"a","time":{time},"user":{user},"properties":{properties}}}]}}"#
    );
    let mut batch = read_batch(body.as_bytes()).expect("a batch");
    batch.remove(0).expect("an event").into_owned()
}

fn sent(payload: &str) -> SentKey<'_> {
    sent_key(EVENTS, payload).expect("an event that was sent")
}

/// In which of the two seconds `event` is the echo of `payload`.
fn echo_of(event: &Received<'_>, payload: &str) -> Option<usize> {
    let key = sent(payload).key;
    echo_key(event)?.candidates().iter().position(|candidate| *candidate == key)
}

#[test]
fn what_was_sent_by_external_id_is_recognized() {
    let payload = r#"{"external_id":"u-1","app_id":"x","name":"Order","time":"2026-02-03T09:15:02.810Z","properties":{"a":1}}"#;
    let user = r#"{"external_user_id":"u-1","user_id":"b-1"}"#;
    let told = |time| event(CUSTOM, time, user, r#"{"name":"Order","custom_properties":{}}"#);
    assert_eq!(echo_of(&told(1_770_110_102), payload), Some(0), "cut to seconds");
    assert_eq!(echo_of(&told(1_770_110_103), payload), Some(1), "rounded up");
    assert_eq!(echo_of(&told(1_770_110_104), payload), None);
    assert_eq!(echo_of(&told(1_770_110_101), payload), None);
    let other = r#"{"external_user_id":"u-2"}"#;
    let named =
        |user, name: &str| event(CUSTOM, 1_770_110_102, user, &format!(r#"{{"name":"{name}"}}"#));
    assert_eq!(echo_of(&named(other, "Order"), payload), None);
    assert_eq!(echo_of(&named(user, "Ordered"), payload), None);
    assert_eq!(sent(payload).alias, None);
}

#[test]
fn what_was_sent_by_alias_is_recognized_by_its_properties() {
    let payload = r#"{"user_alias":{"alias_name":"d-1","alias_label":"device"},"name":"Order","time":"2026-02-03T09:15:02Z","properties":{"b":[1,"x"],"a":84.50,"c":{"d":true,"e":"é"}}}"#;
    let own = r#"{"name":"Order","custom_properties":{"c":{"e":"\u00e9","d":true,"f":null},"a":84.5,"b":[1.0,"x"]}}"#;
    let told = event(CUSTOM, 1_770_110_102, r#"{"user_id":"b-1"}"#, own);
    assert_eq!(echo_of(&told, payload), Some(0));
    let alias = Alias { name: "d-1".into(), label: "device".into() };
    assert_eq!(sent(payload).alias, Some(alias));

    let changed = own.replace("84.5", "84.6");
    assert_eq!(echo_of(&event(CUSTOM, 1_770_110_102, "{}", &changed), payload), None);

    let identified = event(CUSTOM, 1_770_110_102, r#"{"external_user_id":"u-1"}"#, own);
    assert_eq!(echo_of(&identified, payload), None);
    let anyone = echo_key_of_anyone(&identified).map(|echo| echo.at);
    assert_eq!(anyone, Some(sent(payload).key));
}

#[test]
fn no_properties_and_an_empty_object_are_one() {
    let payload = r#"{"braze_id":"b-1","name":"Order","time":"2026-02-03T09:15:02Z"}"#;
    for own in [r#"{"name":"Order"}"#, r#"{"name":"Order","custom_properties":{}}"#] {
        assert_eq!(echo_of(&event(CUSTOM, 1_770_110_102, "{}", own), payload), Some(0));
    }
    assert_eq!(sent(payload).alias, None);
}

#[test]
fn purchases_are_known_by_their_product_and_are_no_events() {
    let payload = r#"{"external_id":"u-1","product_id":"SKU","currency":"EUR","price":1,"time":"2026-02-03T10:15:02+01:00"}"#;
    let key = sent_key(PURCHASES, payload).expect("a purchase that was sent").key;
    let user = r#"{"external_user_id":"u-1"}"#;
    let bought = event("users.behaviors.Purchase", 1_770_110_102, user, r#"{"product_id":"SKU"}"#);
    assert_eq!(echo_key(&bought).map(|echo| echo.at), Some(key));
    let named = event(CUSTOM, 1_770_110_102, user, r#"{"name":"SKU"}"#);
    assert_ne!(echo_key(&named).map(|echo| echo.at), Some(key));
}

#[test]
fn only_named_events_and_purchases_have_keys() {
    assert_eq!(echo_key(&event("users.messages.email.Open", 1, "{}", r#"{"name":"x"}"#)), None);
    assert_eq!(echo_key(&event(CUSTOM, 1, "{}", "{}")), None);
    let attributes = r#"{"external_id":"u-1","name":"Order","time":"2026-02-03T09:15:02Z"}"#;
    assert_eq!(sent_key(crate::calls::ATTRIBUTES, attributes), None);
    assert_eq!(sent_key(EVENTS, r#"{"external_id":"u-1","name":"x","time":"soon"}"#), None);
    assert_eq!(sent_key(EVENTS, r#"{"external_id":"u-1","time":"2026-02-03T09:15:02Z"}"#), None);
}

/// People may have edited an object that was put aside; Braze reads times without a zone as UTC.
#[test]
fn a_time_without_a_zone_is_utc() {
    let with = r#"{"external_id":"u-1","name":"x","time":"2026-02-03T09:15:02.999Z"}"#;
    let without = r#"{"external_id":"u-1","name":"x","time":"2026-02-03 09:15:02"}"#;
    assert_eq!(sent(with), sent(without));
}

/// Keys may be stored, so they stay what they are.
#[test]
fn keys_are_stable() {
    let of_user = r#"{"external_id":"u-1","name":"x","time":"2026-02-03T09:15:02Z"}"#;
    let of_anyone =
        r#"{"name":"x","time":"2026-02-03T09:15:02Z","properties":{"a":[1,null,{"b":"c"}]}}"#;
    let keys = [of_user, of_anyone].map(|payload| format!("{:016x}", sent(payload).key.0));
    assert_snapshot!(keys.join(" "), @"0970abcfd93c5d04 6b3651dc420f65d3");
}

proptest! {
    #[test]
    fn any_object_is_answered(payload: String) {
        drop(sent_key(EVENTS, &payload));
        drop(sent_key(PURCHASES, &format!("{{\"product_id\":\"a\",\"time\":{payload}}}")));
    }
}
