use super::*;
use insta::assert_snapshot;
use isthmus_core::destination::{Guarantee, Lane, Section};

fn check(section: Section, payload: &str) -> String {
    let message = Message {
        lane: Lane(1),
        section,
        name: "any".to_owned(),
        payload: payload.to_owned(),
        guarantee: Guarantee::AtLeastOnce,
        after: None,
    };
    object(&message).err().unwrap_or_else(|| "fine".to_owned())
}

/// Each of `objects` after `head`, one answer a line.
fn each(section: Section, head: &str, objects: &[&str]) -> String {
    let lines = objects.iter().map(|rest| check(section, &format!("{{{head}{rest}}}")));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_object_has_one_user() {
    let long = format!(r#","external_id":"{}""#, "é".repeat(494));
    let longest = format!(r#","external_id":"{}""#, "x".repeat(987));
    assert_snapshot!(each(ATTRIBUTES, r#""plan":"pro""#, &[
        r#","external_id":"u""#,
        &longest,
        r#","external_id":1042"#,
        r#","external_id":null,"email":"ada@example.com""#,
        r#","external_id":"u","email":"ada@example.com""#,
        r#","phone":"+81 3 1234 5678""#,
        r#","user_alias":{"alias_name":"d-7","alias_label":"device"}"#,
        r#","push_token_import":true,"push_tokens":[]"#,
        "",
        r#","external_id":"""#,
        r#","external_id":["u"]"#,
        &long,
        r#","external_id":"u","braze_id":"b""#,
        r#","user_alias":{"alias_name":"d-7"}"#,
        r#","user_alias":"d-7""#,
        r#","braze_id":7"#,
        r#","email":"nobody""#,
    ]), @r#"
    fine
    fine
    fine
    fine
    fine
    fine
    fine
    fine
    the object names no user: `external_id`, `user_alias`, `braze_id`, `email` or `phone` is required
    `external_id` is empty
    `external_id` must be a text
    `external_id` has 988 bytes; Braze takes 987
    `external_id` and `braze_id` exclude each other
    `user_alias.alias_label` must be a text
    `user_alias.alias_name` must be a text
    `braze_id` must be a text
    `email` is not an address: "nobody"
    "#);
}

#[test]
fn an_event_has_a_name_and_a_time() {
    let long = format!(r#""name":"{}","time":"2026-02-03""#, "é".repeat(256));
    let longest = format!(r#""name":"{}","time":"2026-02-03""#, "é".repeat(255));
    assert_snapshot!(each(EVENTS, r#""external_id":"u","#, &[
        r#""name":"Bought","time":"2026-02-03T09:15:02.410Z""#,
        r#""name":"Bought","time":"2999-01-01T00:00:00Z","app_id":7"#,
        &longest,
        r#""time":"2026-02-03""#,
        r#""name":"","time":"2026-02-03""#,
        r#""name":5,"time":"2026-02-03""#,
        &long,
        r#""name":"Bought""#,
        r#""name":"Bought","time":null"#,
        r#""name":"Bought","time":1770110102"#,
        r#""name":"Bought","time":"yesterday""#,
    ]), @r#"
    fine
    fine
    fine
    `name` is required
    `name` is empty
    `name` must be a text
    `name` has 256 characters; Braze takes 255
    `time` is required
    `time` is required
    `time` must be a text
    `time` is not a time that Braze reads: "yesterday"
    "#);
}

#[test]
fn properties_are_refused_for_their_names_only() {
    let text = "x".repeat(1_000);
    let long = format!(r#"{{"{}":1}}"#, "x".repeat(256));
    let many: Vec<_> = (0..300).map(|at| format!(r#""p{at}":{at}"#)).collect();
    let head = r#""external_id":"u","name":"Bought","time":"2026-02-03","properties":"#;
    assert_snapshot!(each(EVENTS, head, &[
        "null",
        r#"{"total":1,"price":2,"items":[{"a b":null}]}"#,
        &format!(r#"{{"note":"{text}"}}"#),
        &format!("{{{}}}", many.join(",")),
        "[]",
        r#""total""#,
        r#"{"time":1}"#,
        r#"{"event_name":"x"}"#,
        r#"{"":1}"#,
        r#"{"$set":1}"#,
        &long,
    ]), @"
    fine
    fine
    fine
    fine
    `properties` must be an object
    `properties` must be an object
    `properties.time` has a name that Braze reserves
    `properties.event_name` has a name that Braze reserves
    an empty name is no property
    property `$set` starts with `$`
    property `xxxxxxxxxxxxxxxxxxxx…` has a name of 256 characters; Braze takes 255
    ");
}

#[test]
fn a_purchase_has_a_product_a_price_and_a_currency() {
    let head = r#""external_id":"u","time":"2026-02-03","#;
    assert_snapshot!(each(PURCHASES, head, &[
        r#""product_id":"p","currency":"EUR","price":9.5,"quantity":100,"properties":{"total":1}"#,
        r#""currency":"EUR","price":9.5"#,
        r#""product_id":"p","price":9.5"#,
        r#""product_id":"p","currency":"euro","price":9.5"#,
        r#""product_id":"p","currency":"EUR""#,
        r#""product_id":"p","currency":"EUR","price":"9.5""#,
        r#""product_id":"p","currency":"EUR","price":9.5,"quantity":0"#,
        r#""product_id":"p","currency":"EUR","price":9.5,"quantity":101"#,
        r#""product_id":"p","currency":"EUR","price":9.5,"quantity":1.5"#,
        r#""product_id":"p","currency":"EUR","price":9.5,"properties":{"price":1}"#,
    ]), @r#"
    fine
    `product_id` is required
    `currency` is required
    `currency` is not an ISO 4217 currency: "euro"
    `price` is required
    `price` must be a number
    `quantity` must be a whole number from 1 to 100
    `quantity` must be a whole number from 1 to 100
    `quantity` must be a whole number from 1 to 100
    `properties.price` has a name that Braze reserves
    "#);
}

#[test]
fn attributes_are_refused_for_their_names_and_for_standard_fields() {
    let text = format!(r#","note":"{}""#, "x".repeat(1_000));
    let long = format!(r#","{}":1"#, "x".repeat(256));
    assert_snapshot!(each(ATTRIBUTES, r#""external_id":"u""#, &[
        "",
        r#","plan":null,"seats":{"inc":2},"cart":{"a.b":null},"dob":"soon""#,
        &text,
        r#","email":null,"email_subscribe":"opted_in","current_location":{"longitude":139.7,"latitude":35.6}"#,
        r#","$plan":1"#,
        &long,
        r#","":1"#,
        r#","email":"nobody""#,
        r#","email":7"#,
        r#","push_subscribe":"yes""#,
        r#","current_location":{"longitude":"139.7"}"#,
        r#","subscription_groups":{}"#,
        r#","subscription_groups":[{"subscription_group_id":"g"}]"#,
        r#","email_subscription_info":1"#,
    ]), @r#"
    fine
    fine
    fine
    fine
    attribute `$plan` starts with `$`
    attribute `xxxxxxxxxxxxxxxxxxxx…` has a name of 256 characters; Braze takes 255
    an empty name is no attribute
    `email` is not an address: "nobody"
    `email` must be a text
    `push_subscribe` must be one of opted_in, subscribed, unsubscribed
    `current_location` must have the numbers `longitude` and `latitude`
    `subscription_groups` must be a list
    `subscription_groups[0].subscription_state` must be one of subscribed, unsubscribed
    `email_subscription_info` is no attribute
    "#);
}

#[test]
fn what_is_no_object_is_refused() {
    let large = format!(r#"{{"external_id":"u","a":[{}1]}}"#, "1,".repeat(51_200));
    let told = [
        check(EVENTS, "{"),
        check(EVENTS, r#"["external_id"]"#),
        check(ATTRIBUTES, &large),
        check(Section(9), r#"{"external_id":"u"}"#),
    ];
    assert_snapshot!(told.join("\n"), @"
    the object is not JSON: EOF while parsing an object at line 1 column 1
    the object is not a JSON object
    object of 102427 bytes exceeds Braze's limit of 102400
    Braze has no section 9
    ");
}
