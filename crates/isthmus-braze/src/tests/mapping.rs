//! What becomes of events and user changes.

use super::*;
use crate::Warnings;
use insta::assert_snapshot;
use isthmus_core::destination::Destination;
use proptest::prelude::*;
use serde_json::{Map, Value};

const PROFILE: &str = r#"{"plan":"pro","seats":4,"email":"ada@example.com"}"#;

#[test]
fn an_event_carries_exactly_the_selected_properties() {
    assert_snapshot!(told_event(&stream(), &event(), PROFILE), @r#"{"external_id":"u-1009","app_id":"7b1c0000-app","name":"Order Completed","time":"2026-02-03T09:15:02.410Z","properties":{"total":84.5,"currency":"EUR","plan":"pro"}}"#);
}

#[test]
fn an_event_with_only_what_is_required() {
    let stream = stream_with(|stream| {
        let events = events_of(stream);
        events.event_properties.clear();
        events.user_properties.clear();
    });
    let plain = BrazeDestination { app_id: None, ..destination() };
    let built = BrazeStream::build(&stream, &plain).expect("right");
    let item = Applied::Event(AppliedEvent { event_properties: None, fields: None, ..event() });
    assert_eq!(built.wants(&item), Wants::Item);
    assert_snapshot!(told(&built, &item, ""), @r#"{"external_id":"u-1009","name":"Order Completed","time":"2026-02-03T09:15:02.410Z"}"#);
}

#[test]
fn an_event_with_every_field() {
    let stream = stream_with(|stream| {
        stream.identify_by =
            Some(IdentifyBy { from: builtin("device_id"), to: IdentifyTarget::UserAlias });
        stream.user_alias_label = Some("amplitude_device".to_owned());
        stream.nested_values = NestedValues::Nested;
        let events = events_of(stream);
        events.events[0].as_name = Some("Ordered".to_owned());
        events.event_properties = selected(&["total as amount", "items", "cart", "time", "gone"]);
        events.user_properties = selected(&["plan as plan_then", "country", "platform"]);
    });
    let event = AppliedEvent {
        event_properties: Some(
            r#"{"total":1e2,"items":["a",2,true,null],"cart":{"sku.id":[{"n":1}]},"time":"noon","gone":null}"#,
        ),
        ..event()
    };
    assert_snapshot!(told_event(&stream, &event, r#"{"plan":"pro","country":"Japan"}"#), @r#"{"user_alias":{"alias_name":"d-77","alias_label":"amplitude_device"},"app_id":"7b1c0000-app","name":"Ordered","time":"2026-02-03T09:15:02.410Z","_update_existing_only":false,"properties":{"amount":1e2,"items":["a",2,true],"cart":{"sku_id":[{"n":1}]},"time_":"noon","plan_then":"pro","country":"Japan","platform":"Web"}}"#);
}

#[test]
fn an_event_property_wins_over_a_user_property_of_its_name() {
    let stream = stream_with(|stream| {
        let events = events_of(stream);
        events.event_properties = selected(&["plan"]);
        events.user_properties = selected(&["plan"]);
    });
    let with = AppliedEvent { event_properties: Some(r#"{"plan":"of event"}"#), ..event() };
    let without = AppliedEvent { event_properties: Some(r#"{"plan":null}"#), ..event() };
    assert!(told_event(&stream, &with, PROFILE).ends_with(r#""properties":{"plan":"of event"}}"#));
    assert!(told_event(&stream, &without, PROFILE).ends_with(r#""properties":{"plan":"pro"}}"#));
    assert_snapshot!(build(&stream).notes().join("\n"), @"user property `plan` is sent only with events that have no event property for `plan`");
}

#[test]
fn of_a_repeated_key_the_last_one_counts() {
    let event = AppliedEvent {
        event_properties: Some(r#"{"total":1,"currency":"EUR","total":2,"currency":null}"#),
        ..event()
    };
    assert!(told_event(&stream(), &event, "{}").ends_with(r#""properties":{"total":2}}"#));
}

#[test]
fn events_of_other_types_and_projects_do_not_concern_the_stream() {
    let stream = build(&stream());
    for event in [
        AppliedEvent { event_type: "Page Viewed", ..event() },
        AppliedEvent { project: "blog", ..event() },
    ] {
        assert_eq!(stream.wants(&Applied::Event(event)), Wants::Nothing);
    }
}

#[test]
fn filters_look_where_their_scope_says() {
    for (scope, name, op, values, holds) in [
        (Scope::Event, "total", "greater", &["50"][..], true),
        (Scope::Event, "total", "greater", &["90"], false),
        (Scope::Event, "coupon", "is", &["(none)"], true),
        (Scope::User, "plan", "is", &["pro", "team"], true),
        (Scope::User, "plan", "is not", &["pro"], false),
        (Scope::User, "country", "is", &["Germany"], true),
        (Scope::Builtin, "platform", "is", &["Web"], true),
        (Scope::Builtin, "platform", "is", &["iOS"], false),
        (Scope::Builtin, "user_id", "is not", &["(none)"], true),
        (Scope::Builtin, "session_id", "is", &["1770110000000"], true),
        (Scope::Builtin, "event_id", "is", &["(none)"], true),
    ] {
        let stream = stream_with(|stream| {
            events_of(stream).events[0].filters = vec![filter(scope, name, op, values)];
        });
        let told = told_event(&stream, &event(), PROFILE);
        assert_eq!(!told.is_empty(), holds, "{scope:?} {name} {op} {values:?}: {told}");
    }
}

#[test]
fn each_event_has_its_guarantee_and_user_updates_are_sent_again() {
    let guarantees = |of_stream, of_event| {
        let built = build(&stream_with(|stream| {
            let events = events_of(stream);
            events.delivery = of_stream;
            events.events[0].delivery = of_event;
        }));
        let mut out = Vec::new();
        let changes = vec![changed("plan", None, Some("\"pro\""))];
        built.map(&Applied::Event(event()), Some(PROFILE), &mut out);
        built.map(&Applied::UserChange(change(changes)), Some(PROFILE), &mut out);
        let guarantee = |mapped: &Mapped| match mapped {
            Mapped::Deliver(message) => message.guarantee,
            other => panic!("{other:?}"),
        };
        out.iter().map(guarantee).collect::<Vec<_>>()
    };
    let (least, most) = (DeliveryGuarantee::AtLeastOnce, DeliveryGuarantee::AtMostOnce);
    for (of_stream, of_event, expected) in [
        (least, None, Guarantee::AtLeastOnce),
        (most, None, Guarantee::AtMostOnce),
        (least, Some(most), Guarantee::AtMostOnce),
        (most, Some(least), Guarantee::AtLeastOnce),
    ] {
        assert_eq!(guarantees(of_stream, of_event), [expected, Guarantee::AtLeastOnce]);
    }
}

#[test]
fn all_filters_must_hold() {
    let stream = stream_with(|stream| {
        events_of(stream).events[0].filters = vec![
            filter(Scope::Event, "total", "greater", &["50"]),
            filter(Scope::Event, "total", "less", &["60"]),
        ];
    });
    assert_eq!(told_event(&stream, &event(), PROFILE), "");
    let cheaper = AppliedEvent { event_properties: Some(r#"{"total":55}"#), ..event() };
    assert_ne!(told_event(&stream, &cheaper, PROFILE), "");
}

#[test]
fn group_filters_hold_if_they_hold_in_one_group() {
    const NO_GROUP: Option<&str> = None;
    const UNKNOWN: Option<&str> = Some(r#"{"org":{"acme":{"city":"Kyoto"}}}"#);
    const GOLD: Option<&str> = Some(r#"{"org":{"acme":{"tier":"gold","seats":3}}}"#);
    const TWO_NAMES: Option<&str> =
        Some(r#"{"org":{"acme":{"tier":"gold","seats":3},"initech":{"tier":"free","seats":50}}}"#);
    const TWO_TYPES: Option<&str> = Some(
        r#"{"org":{"acme":{"city":"Kyoto"}},"team":{"core":{"tier":null,"x":{"tier":"gold"}},"web":{"tier":["free","trial"]}}}"#,
    );
    for (group_properties, name, op, values, holds) in [
        (GOLD, "tier", "is", &["gold"][..], true),
        (GOLD, "tier", "is", &["free"], false),
        (GOLD, "tier", "is not", &["gold"], false),
        (GOLD, "seats", "less", &["10"], true),
        // Neither a group's type nor its name is a property.
        (GOLD, "org", "is", &["(none)"], true),
        (GOLD, "acme", "is", &["(none)"], true),
        (TWO_NAMES, "tier", "is", &["free"], true),
        (TWO_NAMES, "tier", "is", &["trial"], false),
        (TWO_NAMES, "tier", "is not", &["gold"], true),
        (TWO_NAMES, "tier", "is not", &["gold", "free"], false),
        (TWO_NAMES, "seats", "greater", &["40"], true),
        (TWO_TYPES, "tier", "is", &["trial"], true),
        (TWO_TYPES, "tier", "is", &["gold"], false),
        // Missing only where no group has it.
        (TWO_TYPES, "tier", "is", &["(none)"], false),
        (UNKNOWN, "tier", "is", &["(none)"], true),
        (UNKNOWN, "tier", "is not", &["gold"], true),
        (NO_GROUP, "tier", "is", &["(none)"], true),
        (NO_GROUP, "tier", "is not", &["gold"], true),
        (NO_GROUP, "tier", "is", &["gold"], false),
    ] {
        let stream = stream_with(|stream| {
            events_of(stream).events[0].filters = vec![filter(Scope::Group, name, op, values)];
        });
        let event = AppliedEvent { group_properties, ..event() };
        let told = told_event(&stream, &event, PROFILE);
        assert_eq!(!told.is_empty(), holds, "{group_properties:?} {name} {op} {values:?}: {told}");
    }
}

#[test]
fn conditions_on_one_group_property_must_hold_in_the_same_group() {
    let between = stream_with(|stream| {
        events_of(stream).events[0].filters = vec![
            filter(Scope::Group, "seats", "greater", &["10"]),
            filter(Scope::Event, "total", "greater", &["50"]),
            filter(Scope::Group, "seats", "less", &["20"]),
        ];
    });
    let neither = stream_with(|stream| {
        events_of(stream).events[0].filters = vec![
            filter(Scope::Group, "seats", "is not", &["5"]),
            filter(Scope::Group, "seats", "is not", &["50"]),
        ];
    });
    for (org, team, is_between, is_neither) in [
        ("5", "50", false, false),
        ("15", "50", true, true),
        ("[5,50]", "null", true, false),
        ("5", "15", true, true),
    ] {
        let stamped = format!(
            r#"{{"org":{{"acme":{{"seats":{org}}}}},"team":{{"web":{{"seats":{team}}}}}}}"#
        );
        let event = AppliedEvent { group_properties: Some(&stamped), ..event() };
        assert_eq!(!told_event(&between, &event, PROFILE).is_empty(), is_between, "{stamped}");
        assert_eq!(!told_event(&neither, &event, PROFILE).is_empty(), is_neither, "{stamped}");
    }
}

#[test]
fn group_filters_do_not_ask_for_user_properties() {
    let stream = build(&stream_with(|stream| {
        let events = events_of(stream);
        events.user_properties.clear();
        events.events[0].filters = vec![filter(Scope::Group, "tier", "is", &["gold"])];
    }));
    assert_eq!(stream.wants(&Applied::Event(event())), Wants::Item);
}

#[test]
fn identifiers_come_from_the_configured_source() {
    let by = |from: PropertyRef, to| {
        stream_with(|stream| stream.identify_by = Some(IdentifyBy { from, to }))
    };
    let starts = |stream: &Stream, event: &AppliedEvent<'_>| {
        let told = told_event(stream, event, PROFILE);
        told.split(",\"app_id\"").next().unwrap_or_default().to_owned()
    };
    let external = by(builtin("user_id"), IdentifyTarget::ExternalId);
    let email = by(user_property("email"), IdentifyTarget::Email);
    let seats = by(user_property("seats"), IdentifyTarget::BrazeId);
    let device = by(builtin("device_id"), IdentifyTarget::ExternalId);
    assert_snapshot!(starts(&external, &event()), @r#"{"external_id":"u-1009""#);
    assert_snapshot!(starts(&email, &event()), @r#"{"email":"ada@example.com""#);
    assert_snapshot!(starts(&seats, &event()), @r#"{"braze_id":"4""#);
    assert_snapshot!(starts(&device, &event()), @r#"{"external_id":"d-77""#);
    let anonymous = AppliedEvent { user_id: None, ..event() };
    let derived = AppliedEvent { device_id_derived: true, ..event() };
    let nobody = AppliedEvent { user_id: Some("undefined"), ..event() };
    assert_snapshot!(starts(&external, &anonymous), @"discarded: no identifier");
    assert_snapshot!(starts(&device, &derived), @"discarded: no identifier");
    assert_snapshot!(starts(&external, &nobody), @"discarded: identifier is a placeholder");
}

#[test]
fn objects_about_one_user_share_a_lane() {
    let stream = build(&stream());
    let mut out = Vec::new();
    stream.map(&Applied::Event(event()), None, &mut out);
    let changes = vec![changed("plan", None, Some("\"pro\""))];
    stream.map(&Applied::UserChange(change(changes)), None, &mut out);
    let lanes: Vec<_> = out
        .iter()
        .map(|mapped| match mapped {
            Mapped::Deliver(message) => (message.lane, message.section, message.name.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    let lane = Lane::of("external_id:u-1009");
    let expected = [(lane, Section(1), "Order Completed"), (lane, Section(0), "user update")];
    assert_eq!(lanes, expected);
}

#[test]
fn update_only_is_said_when_the_stream_says_so_and_denied_for_aliases() {
    for (update_only, to, said) in [
        (false, IdentifyTarget::ExternalId, None),
        (true, IdentifyTarget::ExternalId, Some(true)),
        (false, IdentifyTarget::UserAlias, Some(false)),
        (true, IdentifyTarget::UserAlias, Some(true)),
    ] {
        let stream = stream_with(|stream| {
            stream.update_existing_only = update_only;
            identity_of(stream).to = to;
            stream.user_alias_label = Some("label".to_owned());
        });
        let changes = vec![changed("plan", None, Some("\"pro\""))];
        for payload in [
            told_event(&stream, &event(), PROFILE),
            told_change(&stream, &change(changes), PROFILE),
        ] {
            let object: Value = serde_json::from_str(&payload).expect("an object");
            let flag = object.get("_update_existing_only").and_then(Value::as_bool);
            assert_eq!(flag, said, "{payload}");
        }
    }
}

#[test]
fn what_was_changed_or_left_out_is_counted() {
    let stream = build(&stream_with(|stream| {
        events_of(stream).event_properties = selected(&["note", "cart", "event_name", "odd"]);
    }));
    let long = format!(
        r#"{{"note":"{}","cart":{{"a":1}},"event_name":"x","odd":"\ud800"}}"#,
        "x".repeat(300)
    );
    let told = told(
        &stream,
        &Applied::Event(AppliedEvent { event_properties: Some(&long), ..event() }),
        "{}",
    );
    let expected = format!(r#""properties":{{"note":"{}","event_name_":"x"}}}}"#, "x".repeat(255));
    assert!(told.ends_with(&expected), "{told}");
    assert_eq!(
        stream.warnings(),
        Warnings { strings_cut: 1, nested_dropped: 1, reserved_renamed: 1, not_text: 1 }
    );
}

#[test]
fn an_object_that_braze_would_refuse_for_its_size_is_rejected() {
    let stream = stream_with(|stream| events_of(stream).event_properties = selected(&["items"]));
    let items = format!("{{\"items\":[{}1]}}", "1000000,".repeat(13_000));
    let event = AppliedEvent { event_properties: Some(&items), ..event() };
    assert_snapshot!(told_event(&stream, &event, "{}"), @"rejected: object of 104134 bytes exceeds Braze's limit of 102400");
}

#[test]
fn a_change_sends_only_what_changed() {
    let changes = vec![
        changed("plan", Some("\"free\""), Some("\"pro\"")),
        changed("last_page", None, Some("\"/cart\"")),
    ];
    assert_snapshot!(told_change(&stream(), &change(changes.clone()), PROFILE), @r#"{"external_id":"u-1009","plan":"pro"}"#);
    let all = stream_with(|stream| users_of(stream).send_all_selected_on_change = true);
    assert_snapshot!(told_change(&all, &change(changes), PROFILE), @r#"{"external_id":"u-1009","plan":"pro","seats":4}"#);
    let other = vec![changed("last_page", None, Some("\"/cart\""))];
    assert_snapshot!(told_change(&stream(), &change(other.clone()), PROFILE), @"nothing");
    assert_snapshot!(told_change(&all, &change(other), PROFILE), @"nothing");
}

#[test]
fn changes_keep_types_and_follow_their_new_names() {
    let stream = stream_with(|stream| {
        users_of(stream).user_properties = selected(&["tags", "seats as team_size", "address"]);
    });
    let changes = vec![
        changed("tags", Some("[\"a\"]"), Some("[\"a\",\"b\"]")),
        changed("seats", Some("4"), Some("5.0")),
        changed("address", None, Some("{\"city\":\"Kyoto\"}")),
    ];
    assert_snapshot!(told_change(&stream, &change(changes), PROFILE), @r#"{"external_id":"u-1009","tags":["a","b"],"team_size":5.0}"#);
    let only_nested = vec![changed("address", None, Some("{\"city\":\"Kyoto\"}"))];
    assert_snapshot!(told_change(&stream, &change(only_nested), PROFILE), @"discarded: no value of a kind that is sent");
}

#[test]
fn a_property_that_lost_its_value_is_removed_or_ignored() {
    let changes = vec![changed("seats", Some("4"), None)];
    assert_snapshot!(told_change(&stream(), &change(changes.clone()), "{}"), @r#"{"external_id":"u-1009","seats":null}"#);
    let ignoring = stream_with(|stream| users_of(stream).on_unset = OnUnset::Ignore);
    assert_snapshot!(told_change(&ignoring, &change(changes), "{}"), @"nothing");
}

#[test]
fn at_first_sight_everything_selected_is_new() {
    let first = UserChange { first_seen: true, ..change(Vec::new()) };
    assert_snapshot!(told_change(&stream(), &first, PROFILE), @r#"{"external_id":"u-1009","plan":"pro","seats":4}"#);
    assert_snapshot!(told_change(&stream(), &first, "{}"), @"");
    let anonymous = UserChange { user_id: None, ..first.clone() };
    assert_snapshot!(told_change(&stream(), &anonymous, PROFILE), @"discarded: no identifier");
    assert_snapshot!(told_change(&stream(), &anonymous, "{}"), @"");
}

#[test]
fn everything_selected_is_new_on_another_device_where_devices_identify() {
    let by_device = stream_with(|stream| identity_of(stream).from = builtin("device_id"));
    let seats = vec![changed("seats", None, Some("4"))];
    let known = change(seats);
    let another_device = UserChange { first_seen_on_device: true, ..known.clone() };
    let another_user = UserChange { first_seen: true, ..known.clone() };
    assert_snapshot!(told_change(&by_device, &known, PROFILE), @r#"{"external_id":"d-77","seats":4}"#);
    assert_snapshot!(told_change(&by_device, &another_device, PROFILE), @r#"{"external_id":"d-77","plan":"pro","seats":4}"#);
    assert_snapshot!(told_change(&by_device, &another_user, PROFILE), @r#"{"external_id":"d-77","plan":"pro","seats":4}"#);
    assert_snapshot!(told_change(&stream(), &another_device, PROFILE), @r#"{"external_id":"u-1009","seats":4}"#);
    let unchanged = UserChange { changes: Vec::new(), ..another_device };
    assert_snapshot!(told_change(&by_device, &unchanged, PROFILE), @r#"{"external_id":"d-77","plan":"pro","seats":4}"#);
    assert_snapshot!(told_change(&stream(), &unchanged, PROFILE), @"nothing");
}

#[test]
fn a_user_gets_everything_when_the_identifying_property_comes() {
    let stream = stream_with(|stream| {
        stream.identify_by =
            Some(IdentifyBy { from: user_property("email"), to: IdentifyTarget::Email });
    });
    let changes = vec![changed("email", None, Some("\"ada@example.com\""))];
    assert_snapshot!(told_change(&stream, &change(changes), PROFILE), @r#"{"email":"ada@example.com","plan":"pro","seats":4}"#);
    let before = vec![changed("plan", None, Some("\"pro\""))];
    assert_snapshot!(told_change(&stream, &change(before), r#"{"plan":"pro"}"#), @"discarded: no identifier");
}

#[test]
fn with_nothing_selected_the_first_sight_creates_the_user() {
    let stream = stream_with(|stream| users_of(stream).user_properties.clear());
    let first = UserChange { first_seen: true, ..change(Vec::new()) };
    assert_snapshot!(told_change(&stream, &first, PROFILE), @r#"{"external_id":"u-1009"}"#);
    let later = change(vec![changed("plan", None, Some("\"pro\""))]);
    assert_snapshot!(told_change(&stream, &later, PROFILE), @"nothing");
    let anonymous = UserChange { user_id: None, ..first };
    assert_snapshot!(told_change(&stream, &anonymous, PROFILE), @"");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(Value::from("long ".repeat(80))),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-c.$ ]{1,3}|inc|add", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof!["total|currency|plan|seats|time|cart", any::<String>()];
    proptest::collection::btree_map(name, any_json(), 0..12)
        .prop_map(|map| map.into_iter().collect())
}

fn any_user_id() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z0-9-]{1,12}",
        "[a-zA-Z.]{1,8}@[a-z]{1,8}\\.example",
        "é{480,500}"
    ]
}

fn any_target() -> impl Strategy<Value = IdentifyTarget> {
    prop_oneof![
        Just(IdentifyTarget::ExternalId),
        Just(IdentifyTarget::BrazeId),
        Just(IdentifyTarget::UserAlias),
        Just(IdentifyTarget::Email)
    ]
}

fn any_nested() -> impl Strategy<Value = NestedValues> {
    prop_oneof![
        Just(NestedValues::Drop),
        Just(NestedValues::JsonString),
        Just(NestedValues::Nested)
    ]
}

/// Whether Braze keeps `value` in an event: nothing longer than a string may be, no nulls.
fn is_fine(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => text.chars().count() <= 255,
        Value::Array(items) => items.iter().all(is_fine),
        Value::Object(map) => {
            map.iter().all(|(key, value)| !key.contains(['.', '$', ' ']) && is_fine(value))
        }
        Value::Bool(_) | Value::Number(_) => true,
    }
}

proptest! {
    #[test]
    fn events_are_valid_json_with_only_selected_keys(
        of_event in any_object(),
        of_user in any_object(),
        user_id: String,
        nested in any_nested(),
    ) {
        let stream = stream_with(|stream| {
            stream.nested_values = nested;
            events_of(stream).event_properties = selected(&["total", "currency", "time", "cart"]);
        });
        let of_event_text = Value::Object(of_event.clone()).to_string();
        let event = AppliedEvent {
            user_id: Some(&user_id),
            event_properties: Some(&of_event_text),
            ..event()
        };
        let told = told_event(&stream, &event, &Value::Object(of_user.clone()).to_string());
        if told.starts_with("discarded") {
            return Ok(());
        }
        let object: Value = serde_json::from_str(&told).expect("valid JSON");
        prop_assert_eq!(object["external_id"].as_str(), Some(user_id.trim()));
        let sent = object["properties"].as_object().cloned().unwrap_or_default();
        for (key, value) in &sent {
            let source = match key.as_str() {
                "total" | "currency" | "cart" => of_event.get(key),
                "time_" => of_event.get("time"),
                "plan" => of_user.get(key),
                other => panic!("{other} was not selected"),
            };
            prop_assert!(source.is_some());
            prop_assert!(is_fine(value), "{} is not fine: {}", key, value);
            if value.is_number() || value.is_boolean() {
                prop_assert_eq!(source, Some(value));
            }
        }
        for key in ["total", "currency"] {
            let is_scalar = of_event
                .get(key)
                .is_some_and(|value| value.is_number() || value.is_boolean() || value.is_string());
            prop_assert!(!is_scalar || sent.contains_key(key), "{} was lost", key);
        }
    }

    #[test]
    fn changes_are_valid_json_with_only_selected_keys(
        from in any_object(),
        to in any_object(),
        first_seen: bool,
        all: bool,
        nested in any_nested(),
    ) {
        let stream = stream_with(|stream| {
            stream.nested_values = nested;
            let users = users_of(stream);
            users.user_properties = selected(&["plan", "seats as size", "cart"]);
            users.send_all_selected_on_change = all;
        });
        let (from, to): (Vec<_>, Vec<_>) = ["plan", "seats", "cart", "total"]
            .map(|name| (from.get(name).map(Value::to_string), to.get(name).map(Value::to_string)))
            .into_iter()
            .unzip();
        let names = ["plan", "seats", "cart", "total"];
        let changes: Vec<_> = names
            .into_iter()
            .zip(from.iter().zip(&to))
            .filter(|(_, (from, to))| from != to)
            .map(|(name, (from, to))| PropertyChange { name, from: from.as_deref(), to: to.as_deref() })
            .collect();
        let after: Map<String, Value> = names
            .into_iter()
            .zip(&to)
            .filter_map(|(name, value)| Some((name.to_owned(), serde_json::from_str(value.as_ref()?).ok()?)))
            .collect();
        let after = Value::Object(after).to_string();
        let item = Applied::UserChange(UserChange { first_seen, changes: changes.clone(), ..change(Vec::new()) });
        let built = build(&stream);
        let told = told(&built, &item, &after);
        let selected_changed = changes.iter().any(|change| change.name != "total");
        if !selected_changed && !first_seen {
            prop_assert_eq!(told, "nothing");
            return Ok(());
        }
        if told.is_empty() || told.starts_with("discarded") {
            return Ok(());
        }
        let object: Value = serde_json::from_str(&told).expect("valid JSON");
        for (key, value) in object.as_object().expect("an object") {
            prop_assert!(["external_id", "plan", "size", "cart"].contains(&key.as_str()));
            prop_assert!(value.is_null() || is_fine(value));
            let source = if key == "size" { "seats" } else { key };
            let has_changed = changes.iter().any(|change| change.name == source);
            prop_assert!(key == "external_id" || has_changed || first_seen || all);
        }
    }

    #[test]
    fn what_is_delivered_passes_the_check(
        of_event in any_object(),
        of_user in any_object(),
        user_id in any_user_id(),
        event_time: i64,
        to in any_target(),
        update_existing_only: bool,
        nested in any_nested(),
    ) {
        let stream = stream_with(|stream| {
            identity_of(stream).to = to;
            stream.user_alias_label = Some("amplitude".to_owned());
            stream.update_existing_only = update_existing_only;
            stream.nested_values = nested;
            let events = events_of(stream);
            events.event_properties = selected(&["total", "time", "cart as event_name"]);
            events.user_properties = selected(&["plan", "seats"]);
            users_of(stream).user_properties = selected(&["plan", "cart as basket"]);
        });
        let (of_event, of_user) = (Value::Object(of_event), Value::Object(of_user));
        let (event_properties, user_properties) = (of_event.to_string(), of_user.to_string());
        let event = AppliedEvent {
            user_id: Some(&user_id),
            event_time,
            event_properties: Some(&event_properties),
            ..event()
        };
        let change =
            UserChange { user_id: Some(&user_id), first_seen: true, ..change(Vec::new()) };
        let built = build(&stream);
        let mut out = Vec::new();
        built.map(&Applied::Event(event), Some(&user_properties), &mut out);
        built.map(&Applied::UserChange(change), Some(&user_properties), &mut out);
        for mapped in out {
            let Mapped::Deliver(message) = mapped else { continue };
            prop_assert_eq!(braze().check(&message), Ok(()), "{}", message.payload);
        }
    }

    #[test]
    fn foreign_text_never_panics(
        of_event: String,
        of_user: String,
        fields: String,
        groups: String,
        device_id: String,
    ) {
        let stream = stream_with(|stream| {
            stream.nested_values = NestedValues::Nested;
            identity_of(stream).from = user_property("plan");
            events_of(stream).events[0].filters =
                vec![filter(Scope::Builtin, "platform", "is not", &["x"]),
                filter(Scope::Group, "tier", "is not", &["x"])];
        });
        let event = AppliedEvent {
            event_properties: Some(&of_event),
            group_properties: Some(&groups),
            fields: Some(&fields),
            device_id: &device_id,
            ..event()
        };
        told_event(&stream, &event, &of_user);
        let groups = format!("{{\"org\":{{\"acme\":{{\"tier\":{groups}}}}}}}");
        let event = AppliedEvent { group_properties: Some(&groups), ..event };
        told_event(&stream, &event, &format!("{{\"plan\":{of_user}}}"));
    }
}
