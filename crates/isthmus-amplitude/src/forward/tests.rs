//! What a stream makes of items, as the objects that Amplitude gets.

use super::*;
use insta::assert_snapshot;
use isthmus_config::resource::DestinationSettings;
use isthmus_config::{Spec, parse_resources};
use isthmus_core::record::{Sent, UserProperties};
use isthmus_core::{AmplitudeId, Place};
use proptest::prelude::*;
use serde_json::{Value, json};

/// 2026-05-02T09:15:30.950Z
const AT: i64 = 1_777_713_330_950;
const ALL: &str = "{ events: all, identifies: true, group_identifies: true, currents: {} }";

/// The stream whose `forward` is written so, to a destination with these further keys.
fn stream_to(destination: &str, forward: &str) -> AmplitudeStream {
    let text = format!(
        "kind: destination\nname: amplitude\ntype: amplitude\napi_key: {{ env: KEY }}\n{destination}\n---\n\
         kind: stream\nname: shield\nproject: shop\ndestination: amplitude\nforward: {forward}\n"
    );
    let specs: Vec<Spec> = parse_resources(&text, "loop.yaml")
        .unwrap_or_else(|errors| panic!("{errors:?}"))
        .into_iter()
        .map(|resource| resource.spec)
        .collect();
    let [Spec::Destination(destination), Spec::Stream(stream)] = specs.as_slice() else {
        panic!("{specs:?}")
    };
    let DestinationSettings::Amplitude(destination) = &destination.settings else {
        panic!("{destination:?}")
    };
    AmplitudeStream::build(stream, destination, |name| name.starts_with("users.messages.email."))
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn stream(forward: &str) -> AmplitudeStream {
    stream_to("", forward)
}

/// What a shop's browser sent, with everything an SDK can send.
fn event() -> AppliedEvent<'static> {
    AppliedEvent {
        project: "shop",
        user: AmplitudeId(7),
        user_id: Some("rider-0042"),
        device_id: "2f9c1b6a-77de-4e0e-9a41-0a6f3f7c9d11",
        device_id_derived: false,
        event_type: "Ride Requested",
        event_time: AT,
        client_event_time: AT,
        received_at: AT + 300,
        session_id: Some(1_777_713_000_000),
        event_id: Some(17),
        insert_id: Some("0d8d2b51-5b1c-4d7d-8f0a-6f5f4f1f2a30"),
        event_properties: Some(r#"{"vehicle":"bike","eta_min":4,"stops":["A12","B07"]}"#),
        groups: Some(r#"{"city":["Lisbon"]}"#),
        group_properties: Some(r#"{"city":{"Lisbon":{"size":3}}}"#),
        fields: Some(
            r#"{"platform":"Web","language":"pt-BR","ip":"$remote","library":"amplitude-ts/2.33.1","user_agent":"Mozilla/5.0","plan":{"branch":"main"},"new_field":[1]}"#,
        ),
        user_properties: UserProperties::Inline(r#"{"plan":"pro"}"#),
        sent_user_properties: Some(r#"{"$set":{"plan":"pro"},"$add":{"rides":1}}"#),
        skip_user_properties_sync: true,
        remote_address: Some("203.0.113.7"),
        currents: None,
    }
}

/// The e-mail open of the specification's first example, as the door for Currents shows it.
fn open() -> AppliedEvent<'static> {
    AppliedEvent {
        user_id: Some("customer-4711"),
        device_id: "4ca4d6d8-ce29-52aa-987a-529e6cc591fd",
        device_id_derived: true,
        event_type: "[Appboy] Email Open",
        event_time: 1_767_258_000_000,
        client_event_time: 1_767_258_000_000,
        session_id: None,
        event_id: None,
        insert_id: Some("0b8f2a54-6d5e-4c1a-9a39-000000000001"),
        event_properties: Some(r#"{"campaign_id":"c-3","is_amp":false,"machine_open":"true"}"#),
        groups: None,
        group_properties: None,
        fields: Some(r#"{"library":"Braze"}"#),
        sent_user_properties: None,
        skip_user_properties_sync: false,
        remote_address: None,
        currents: Some(Box::new(currents())),
        ..event()
    }
}

fn currents() -> CurrentsEvent<'static> {
    CurrentsEvent {
        source: "braze",
        event_type: "users.messages.email.Open",
        campaign_id: Some("c-3"),
        properties: "{}",
        ..CurrentsEvent::default()
    }
}

fn open_with(change: impl FnOnce(&mut CurrentsEvent<'static>)) -> AppliedEvent<'static> {
    let mut currents = currents();
    change(&mut currents);
    AppliedEvent { currents: Some(Box::new(currents)), ..open() }
}

fn identify() -> AppliedIdentify<'static> {
    AppliedIdentify {
        project: "shop",
        source: Source::HttpApi,
        event_type: "$identify",
        user: AmplitudeId(7),
        user_id: Some("rider-0042"),
        device_id: Some("2f9c1b6a-77de-4e0e-9a41-0a6f3f7c9d11"),
        insert_id: Some("i-1"),
        time: Some(AT),
        received_at: AT + 300,
        session_id: Some(-1),
        event_id: Some(18),
        skip_user_properties_sync: false,
        event_properties: None,
        user_properties: Some(r#"{"$unset":{"coupon":"-"},"$setOnce":{"first":"web"}}"#),
        groups: Some(r#"{"team":"ops"}"#),
        group_properties: None,
        fields: Some(r#"{"library":"amplitude-ts/2.33.1"}"#),
        remote_address: None,
    }
}

fn mapped(stream: &AmplitudeStream, item: &Applied<'_>) -> Option<Mapped> {
    if stream.wants(item) == Wants::Nothing {
        return None;
    }
    assert_eq!(stream.wants(item), Wants::Item, "nothing is joined to what is passed on");
    let mut out = Vec::new();
    stream.map(item, None, &mut out);
    assert_eq!(out.len(), 1, "an item is one object");
    out.pop()
}

fn message(stream: &AmplitudeStream, item: &Applied<'_>) -> Message {
    match mapped(stream, item) {
        Some(Mapped::Deliver(message)) => message,
        other => panic!("{other:?}"),
    }
}

/// The object that Amplitude gets, or what happens instead.
fn sent(stream: &AmplitudeStream, item: &Applied<'_>) -> String {
    match mapped(stream, item) {
        None => "not wanted".to_owned(),
        Some(Mapped::Deliver(message)) => message.payload,
        Some(Mapped::Discard { reason }) => format!("discarded: {reason}"),
        Some(Mapped::Reject { reason, .. }) => format!("rejected: {reason}"),
    }
}

fn event_of(stream: &AmplitudeStream, event: AppliedEvent<'_>) -> String {
    sent(stream, &Applied::Event(event))
}

fn object(stream: &AmplitudeStream, event: AppliedEvent<'_>) -> Value {
    let text = event_of(stream, event);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn an_event_goes_on_with_everything_its_client_sent() {
    assert_eq!(
        object(&stream(ALL), event()),
        json!({
            "user_id": "rider-0042",
            "device_id": "2f9c1b6a-77de-4e0e-9a41-0a6f3f7c9d11",
            "event_type": "Ride Requested",
            "time": AT,
            "insert_id": "0d8d2b51-5b1c-4d7d-8f0a-6f5f4f1f2a30",
            "session_id": 1_777_713_000_000_i64,
            "event_id": 17,
            "event_properties": {"vehicle": "bike", "eta_min": 4, "stops": ["A12", "B07"]},
            "user_properties": {"$set": {"plan": "pro"}, "$add": {"rides": 1}},
            "groups": {"city": ["Lisbon"]},
            "$skip_user_properties_sync": true,
            "platform": "Web",
            "language": "pt-BR",
            "ip": "203.0.113.7",
            "library": "amplitude-ts/2.33.1",
            "user_agent": "Mozilla/5.0",
            "plan": {"branch": "main"},
            "new_field": [1],
        }),
    );
}

#[test]
fn what_a_client_did_not_send_is_not_made_up() {
    let bare = AppliedEvent {
        device_id_derived: true,
        session_id: None,
        event_id: None,
        event_properties: None,
        groups: None,
        fields: None,
        sent_user_properties: None,
        skip_user_properties_sync: false,
        remote_address: None,
        ..event()
    };
    assert_snapshot!(
        event_of(&stream(ALL), bare),
        @r#"{"user_id":"rider-0042","event_type":"Ride Requested","time":1777713330950,"insert_id":"0d8d2b51-5b1c-4d7d-8f0a-6f5f4f1f2a30"}"#
    );
}

#[test]
fn addresses_are_those_of_the_client_or_none() {
    let stream = stream(ALL);
    let ip = |ip: &'static str, remote| {
        let event = AppliedEvent { fields: Some(ip), remote_address: remote, ..event() };
        object(&stream, event).get("ip").cloned()
    };
    let client = Some("203.0.113.7");
    assert_eq!(ip(r#"{"ip":"$remote"}"#, client), Some(json!("203.0.113.7")));
    assert_eq!(ip(r#"{"ip":"$remote"}"#, None), None, "ours would be taken for the client's");
    assert_eq!(ip(r#"{"ip":"198.51.100.2"}"#, client), Some(json!("198.51.100.2")));
    assert_eq!(ip("{}", client), None);
}

#[test]
fn revenue_fields_go_on_without_the_properties_that_were_made_of_them() {
    let stream = stream(ALL);
    let properties = |fields: &'static str, properties: &'static str| {
        let event =
            AppliedEvent { fields: Some(fields), event_properties: Some(properties), ..event() };
        object(&stream, event).get("event_properties").map(Value::to_string)
    };
    for (fields, before, after) in [
        (r#"{"revenue":9,"productId":"p1"}"#, r#"{"$revenue":9,"$productId":"p1"}"#, None),
        (r#"{"revenue":9}"#, r#"{"$revenue":9,"a":1}"#, Some(r#"{"a":1}"#)),
        // Three amounts: the door computed the revenue.
        (
            r#"{"price":2.5,"quantity":5,"revenue":99}"#,
            r#"{"$revenue":12.5,"$price":2.5,"$quantity":5,"a":1}"#,
            Some(r#"{"a":1}"#),
        ),
        // The client's own.
        (r#"{"price":3}"#, r#"{"$price":4}"#, Some(r#"{"$price":4}"#)),
        (r#"{"platform":"Web"}"#, r#"{"$revenue":9}"#, Some(r#"{"$revenue":9}"#)),
    ] {
        assert_eq!(properties(fields, before).as_deref(), after, "{fields} {before}");
    }
}

#[test]
fn an_identify_is_an_event_with_its_operations_in_their_order() {
    assert_snapshot!(
        sent(&stream(ALL), &Applied::Identify(identify())),
        @r#"{"user_id":"rider-0042","device_id":"2f9c1b6a-77de-4e0e-9a41-0a6f3f7c9d11","event_type":"$identify","time":1777713330950,"insert_id":"i-1","session_id":-1,"event_id":18,"user_properties":{"$unset":{"coupon":"-"},"$setOnce":{"first":"web"}},"groups":{"team":"ops"},"library":"amplitude-ts/2.33.1"}"#
    );
}

#[test]
fn what_only_the_identify_call_sets_goes_to_it() {
    let by_form = AppliedIdentify {
        source: Source::Identify,
        time: None,
        insert_id: None,
        session_id: None,
        event_id: None,
        ..identify()
    };
    let stream = stream(ALL);
    let plain = message(&stream, &Applied::Identify(by_form.clone()));
    assert_eq!(plain.section, EVENTS);
    assert_snapshot!(
        plain.payload,
        @r#"{"user_id":"rider-0042","device_id":"2f9c1b6a-77de-4e0e-9a41-0a6f3f7c9d11","event_type":"$identify","time":1777713331250,"insert_id":"isthmus-fills-in","user_properties":{"$unset":{"coupon":"-"},"$setOnce":{"first":"web"}},"groups":{"team":"ops"},"library":"amplitude-ts/2.33.1"}"#
    );
    let paying = AppliedIdentify { fields: Some(r#"{"paying":"true"}"#), groups: None, ..by_form };
    let paying = message(&stream, &Applied::Identify(paying));
    assert_eq!(paying.section, IDENTIFY);
    assert_eq!(paying.lane, plain.lane, "both wait for each other");
    assert_snapshot!(
        paying.payload,
        @r#"{"user_id":"rider-0042","device_id":"2f9c1b6a-77de-4e0e-9a41-0a6f3f7c9d11","insert_id":"isthmus-fills-in","user_properties":{"$unset":{"coupon":"-"},"$setOnce":{"first":"web"}},"paying":"true"}"#
    );
}

#[test]
fn group_identifies_go_the_way_they_came() {
    let by_event = AppliedIdentify {
        event_type: "$groupidentify",
        user: AmplitudeId::NOBODY,
        user_id: None,
        device_id: None,
        session_id: None,
        event_id: None,
        user_properties: None,
        group_properties: Some(r#"{"$set":{"size":4}}"#),
        fields: None,
        ..identify()
    };
    let stream = stream(ALL);
    let event = message(&stream, &Applied::Identify(by_event.clone()));
    assert_eq!(event.section, EVENTS);
    assert_snapshot!(
        event.payload,
        @r#"{"event_type":"$groupidentify","time":1777713330950,"insert_id":"i-1","groups":{"team":"ops"},"group_properties":{"$set":{"size":4}}}"#
    );
    let by_form = AppliedIdentify { source: Source::GroupIdentify, ..by_event };
    let form = message(&stream, &Applied::Identify(by_form.clone()));
    assert_eq!(form.section, GROUP_IDENTIFY);
    assert_eq!(form.lane, event.lane, "what is told of a group keeps its order");
    assert_snapshot!(
        form.payload,
        @r#"{"group_type":"team","group_value":"ops","group_properties":{"$set":{"size":4}}}"#
    );
    let other = AppliedIdentify { groups: Some(r#"{"team":"sales"}"#), ..by_form };
    assert_ne!(message(&stream, &Applied::Identify(other)).lane, form.lane);
}

#[test]
fn all_of_a_device_is_in_one_lane() {
    let stream = stream(ALL);
    let lane = |event: AppliedEvent<'_>| message(&stream, &Applied::Event(event)).lane;
    let identify = message(&stream, &Applied::Identify(identify())).lane;
    assert_eq!(lane(event()), identify);
    assert_eq!(lane(AppliedEvent { user_id: None, ..event() }), identify, "before the log-in too");
    assert_ne!(lane(AppliedEvent { device_id: "another-device", ..event() }), identify);
    // Who has no device has one and the same, whatever the object.
    let derived = derived_device_id("rider-0042");
    let of_user = AppliedEvent { device_id: &derived, device_id_derived: true, ..event() };
    let told = AppliedIdentify { device_id: None, ..self::identify() };
    assert_eq!(lane(of_user), message(&stream, &Applied::Identify(told)).lane);
}

#[test]
fn nothing_is_forwarded_that_is_not_named() {
    let group = || AppliedIdentify { event_type: "$groupidentify", ..identify() };
    let wanted = |forward: &str| {
        let stream = stream(forward);
        [
            Applied::Event(event()),
            Applied::Event(open()),
            Applied::Identify(identify()),
            Applied::Identify(group()),
        ]
        .map(|item| stream.wants(&item) == Wants::Item)
    };
    assert_eq!(wanted(ALL), [true; 4]);
    assert_eq!(wanted("{ events: all }"), [true, false, false, false]);
    assert_eq!(wanted("{ currents: {} }"), [false, true, false, false]);
    assert_eq!(wanted("{ identifies: true }"), [false, false, true, false]);
    assert_eq!(wanted("{ group_identifies: true }"), [false, false, false, true]);
    let elsewhere = Applied::Event(AppliedEvent { project: "other", ..event() });
    assert_eq!(stream(ALL).wants(&elsewhere), Wants::Nothing);
    assert_eq!(stream(ALL).wants(&Applied::Erased), Wants::Nothing);
}

#[test]
fn events_are_selected_by_type() {
    for (selection, event_type, wanted) in [
        ("{ only: [Ride*, Paid] }", "Ride Requested", true),
        ("{ only: [Ride*, Paid] }", "Paid", true),
        ("{ only: [Ride*, Paid] }", "Paid Late", false),
        ("{ only: ['*Req*ed'] }", "Ride Requested", true),
        ("{ only: ['*ed*ed'] }", "Ride Requested", false),
        ("{ except: ['debug*', '[Amplitude]*'] }", "[Amplitude] Page Viewed", false),
        ("{ except: ['debug*', '[Amplitude]*'] }", "Amplitude Page Viewed", true),
        ("all", "anything", true),
    ] {
        let stream = stream(&format!("{{ events: {selection} }}"));
        let item = Applied::Event(AppliedEvent { event_type, ..event() });
        assert_eq!(stream.wants(&item) == Wants::Item, wanted, "{selection} {event_type}");
    }
    let stream = stream("{ currents: { types: { only: [users.messages.push*] } } }");
    assert_eq!(stream.wants(&Applied::Event(open())), Wants::Nothing);
    let push = open_with(|currents| currents.event_type = "users.messages.pushnotification.Open");
    assert_eq!(stream.wants(&Applied::Event(push)), Wants::Item);
}

#[test]
fn an_event_of_currents_is_sent_as_braze_would() {
    assert_snapshot!(
        event_of(&stream(ALL), open()),
        @r#"{"user_id":"customer-4711","event_type":"[Appboy] Email Open","time":1767258000000,"insert_id":"0b8f2a54-6d5e-4c1a-9a39-000000000001","event_properties":{"campaign_id":"c-3","is_amp":false,"machine_open":"true"},"library":"Braze"}"#
    );
    let anonymous = AppliedEvent {
        user_id: None,
        device_id: "D3V1CE00-0008",
        device_id_derived: false,
        ..open()
    };
    let anonymous = object(&stream(ALL), anonymous);
    assert_eq!(anonymous["device_id"], "D3V1CE00-0008");
    assert_eq!(anonymous.get("user_id"), None);
}

#[test]
fn events_of_currents_that_amplitude_never_sees_are_discarded_and_counted() {
    let stream = stream(ALL);
    let nobody = AppliedEvent { user: AmplitudeId::NOBODY, user_id: None, device_id: "", ..open() };
    assert_snapshot!(event_of(&stream, nobody), @"discarded: nobody to attach it to");
    let hidden = open_with(|currents| currents.not_exported = Some("written to storage only"));
    assert_snapshot!(
        event_of(&stream, hidden),
        @"discarded: Braze does not show such an event to Amplitude"
    );
}

#[test]
fn echoes_of_what_a_stream_told_braze_stay_here_unless_asked_for() {
    let echo = || {
        open_with(|currents| {
            currents.echo = Some(Sent {
                destination: "braze",
                stream: "product-events",
                place: Place { offset: 8, index: 0 },
                part: 0,
            });
        })
    };
    assert_snapshot!(
        event_of(&stream(ALL), echo()),
        @"discarded: an echo of what a stream told Braze"
    );
    let asked = stream("{ currents: { echoes: true } }");
    assert_eq!(event_of(&asked, echo()), event_of(&stream(ALL), open()));
}

#[test]
fn types_that_no_documentation_knows_can_be_held() {
    let kiosk = || open_with(|currents| currents.event_type = "users.messages.kiosk.Opened");
    assert!(event_of(&stream(ALL), kiosk()).starts_with('{'));
    let held = stream("{ currents: { unknown_types: hold } }");
    assert_snapshot!(
        event_of(&held, kiosk()),
        @"rejected: type `users.messages.kiosk.Opened` is in no documentation, and is held"
    );
    assert_eq!(event_of(&held, open()), event_of(&stream(ALL), open()));
}

#[test]
fn sampling_takes_always_the_same_users() {
    let sampled = |share: &str| {
        stream(&format!("{{ currents: {{ sample: {{ users.messages.email.*: {share} }} }} }}"))
    };
    let of = |stream: &AmplitudeStream, user: &str| {
        let first = open_with(|_| {});
        let click = open_with(|currents| currents.event_type = "users.messages.email.Click");
        let kept = [first, click].map(|event| {
            let sent = event_of(stream, AppliedEvent { user_id: Some(user), ..event });
            assert!(sent.starts_with('{') || sent == "discarded: sampled out", "{sent}");
            sent.starts_with('{')
        });
        assert_eq!(kept[0], kept[1], "what happened to {user} stays whole");
        kept[0]
    };
    let users: Vec<String> = (0..2_000).map(|number| format!("customer-{number}")).collect();
    let kept = |share: &str| {
        let stream = sampled(share);
        users.iter().map(|user| of(&stream, user)).collect::<Vec<bool>>()
    };
    let (tenth, half) = (kept("10%"), kept("50%"));
    let count = |kept: &[bool]| kept.iter().filter(|kept| **kept).count();
    assert!((150..250).contains(&count(&tenth)), "{}", count(&tenth));
    assert!((900..1_100).contains(&count(&half)), "{}", count(&half));
    assert!(tenth.iter().zip(&half).all(|(tenth, half)| !tenth || *half), "more adds users only");
    assert!(kept("100%").iter().all(|kept| *kept));
    let other = open_with(|currents| currents.event_type = "users.canvas.Entry");
    let stream = stream("{ currents: { sample: { users.messages.email.*: 0.001% } } }");
    assert!(event_of(&stream, other).starts_with('{'), "other types are whole");
}

#[test]
fn a_type_that_is_rolled_up_counts_once_a_user_campaign_and_period() {
    const HOUR: i64 = 3_600_000;
    let day = stream("{ currents: { roll_up: { users.messages.email.Open: day } } }");
    let id = |event: AppliedEvent<'_>| object(&day, event)["insert_id"].as_str().map(str::to_owned);
    let later =
        |hours: i64| AppliedEvent { event_time: open().event_time + hours * HOUR, ..open() };
    let device = |device_id| AppliedEvent { device_id, device_id_derived: false, ..later(1) };
    // Amplitude keeps the first of an insert id and device: the device of a known user is left out.
    let on_phone = object(&day, device("some-phone"));
    assert_eq!(on_phone.get("device_id"), None);
    assert_eq!(id(later(0)), id(device("some-phone")));
    assert_ne!(id(later(0)), id(later(24)), "another day");
    assert_ne!(id(later(0)), id(AppliedEvent { user_id: Some("customer-4712"), ..later(0) }));
    assert_ne!(id(later(0)), id(open_with(|currents| currents.campaign_id = Some("c-4"))));
    let click = open_with(|currents| currents.event_type = "users.messages.email.Click");
    assert_eq!(id(click).as_deref(), open().insert_id, "another type is not rolled up");
    let hour = stream("{ currents: { roll_up: { users.messages.email.Open: hour } } }");
    assert_ne!(
        object(&hour, later(0))["insert_id"],
        object(&hour, later(1))["insert_id"],
        "by the hour"
    );
}

#[test]
fn long_texts_of_currents_are_cut_and_those_of_clients_are_not() {
    let long = "é".repeat(2_000);
    let properties = format!(r#"{{"url":"{long}","parts":[{{"raw":"{long}"}},1,"x"],"n":null}}"#);
    let currents = AppliedEvent { event_properties: Some(&properties), ..open() };
    let cut = "é".repeat(1_024);
    assert_eq!(
        object(&stream(ALL), currents)["event_properties"],
        json!({"url": cut, "parts": [{"raw": cut}, 1, "x"], "n": null})
    );
    let client = AppliedEvent { event_properties: Some(&properties), ..event() };
    assert_eq!(object(&stream(ALL), client)["event_properties"]["url"], json!(long));
}

#[test]
fn short_ids_go_on_where_their_client_asked_for_it() {
    let short = || AppliedEvent { user_id: Some("r1"), ..event() };
    let of_braze = || AppliedEvent { user_id: Some("r1"), ..open() };
    assert_eq!(object(&stream(ALL), short())["user_id"], "r1");
    let refused = "rejected: `user_id` is shorter than the 5 characters that Amplitude takes; \
                   `min_id_length` of the destination asks for less";
    assert_eq!(event_of(&stream(ALL), of_braze()), refused);
    let stream = stream_to("min_id_length: 2", ALL);
    assert_eq!(object(&stream, of_braze())["user_id"], "r1");
    assert_eq!(
        event_of(&stream, AppliedEvent { user_id: Some("r"), ..event() }),
        refused.replace('5', "2")
    );
}

#[test]
fn ids_that_amplitude_refuses_become_dead_letters() {
    let stream = stream(ALL);
    assert_snapshot!(
        event_of(&stream, AppliedEvent { user_id: Some("unknown"), ..open() }),
        @"rejected: `user_id` is one of the ids that Amplitude refuses"
    );
    let zeros = AppliedEvent { device_id: "00000000", device_id_derived: false, ..open() };
    assert_snapshot!(
        event_of(&stream, zeros),
        @"rejected: `device_id` is one of the ids that Amplitude refuses"
    );
    let long = "x".repeat(1_025);
    assert_snapshot!(
        event_of(&stream, AppliedEvent { user_id: Some(&long), ..open() }),
        @"rejected: `user_id` is longer than 1024 characters"
    );
}

#[test]
fn personal_data_is_left_out_or_hashed_wherever_it_stands() {
    let stream = stream(
        "{ events: all, identifies: true, properties: { drop: [email*, ip], hash: [phone, user_agent] } }",
    );
    let sent = object(
        &stream,
        AppliedEvent {
            event_properties: Some(r#"{"email_address":"kim@example.org","phone":"+4930","n":1}"#),
            sent_user_properties: Some(
                r#"{"$set":{"email":"kim@example.org","phone":"+4930"},"$unset":{"phone":"-","email":"-"},"$setOnce":{"email":"k"}}"#,
            ),
            ..event()
        },
    );
    // sha256("+4930").
    let phone = "010d5fc1057946855cf8fdf1c4e3c491fbcce8168ab00831552e5be6492c7ddf";
    assert_eq!(sent["event_properties"], json!({"phone": phone, "n": 1}));
    assert_eq!(
        sent["user_properties"],
        json!({"$set": {"phone": phone}, "$unset": {"phone": "-"}})
    );
    assert_eq!(sent.get("ip"), None);
    assert_eq!(sent["user_agent"].as_str().map(str::len), Some(64));
    let only = AppliedEvent { event_properties: Some(r#"{"email":"a"}"#), ..event() };
    assert_eq!(object(&stream, only).get("event_properties"), None);
}

#[test]
fn the_volume_is_counted_by_type_and_by_what_becomes_of_it() {
    let stream = stream(
        "{ events: { only: [Ride*] }, identifies: true, currents: { \
         types: { except: [users.canvas.*] }, unknown_types: hold, \
         sample: { users.messages.email.Click: 50% }, roll_up: { users.messages.email.Open: day } } }",
    );
    let mut volume = Volume::of(&stream);
    let user_ids: Vec<String> = (0..100).map(|number| format!("customer-{number}")).collect();
    for user_id in &user_ids {
        let user_id = Some(user_id.as_str());
        let click = open_with(|currents| currents.event_type = "users.messages.email.Click");
        volume.add(&Applied::Event(AppliedEvent {
            user_id,
            event_type: "[Appboy] Email Click",
            ..click
        }));
        for _ in 0..3 {
            volume.add(&Applied::Event(AppliedEvent { user_id, ..open() }));
        }
    }
    let entry = open_with(|currents| currents.event_type = "users.canvas.Entry");
    let kiosk = open_with(|currents| currents.event_type = "users.messages.kiosk.Opened");
    for item in [
        Applied::Event(event()),
        Applied::Event(AppliedEvent { event_type: "Scrolled", ..event() }),
        Applied::Event(AppliedEvent { project: "other", ..event() }),
        Applied::Event(AppliedEvent { user: AmplitudeId::NOBODY, ..open() }),
        Applied::Event(AppliedEvent { event_type: "[Appboy] Canvas Entry", ..entry }),
        Applied::Event(AppliedEvent { event_type: "[Appboy] Kiosk Opened", ..kiosk }),
        Applied::Identify(identify()),
        Applied::Erased,
    ] {
        volume.add(&item);
    }
    let lines: Vec<String> = volume
        .finish()
        .into_iter()
        .map(|(name, volume)| {
            let TypeVolume { in_log, kept, sampled_out, rolled_up, discarded, refused, .. } = volume;
            assert!(!volume.is_estimate);
            assert_eq!(volume.is_event, name.event_type != "$identify");
            format!(
                "{}: {in_log} in the log, {kept} kept, {sampled_out} sampled out, {rolled_up} rolled up, \
                 {discarded} discarded, {refused} refused",
                name.event_type
            )
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r"
    $identify: 1 in the log, 1 kept, 0 sampled out, 0 rolled up, 0 discarded, 0 refused
    Ride Requested: 1 in the log, 1 kept, 0 sampled out, 0 rolled up, 0 discarded, 0 refused
    Scrolled: 1 in the log, 0 kept, 0 sampled out, 0 rolled up, 0 discarded, 0 refused
    [Appboy] Canvas Entry: 1 in the log, 0 kept, 0 sampled out, 0 rolled up, 0 discarded, 0 refused
    [Appboy] Email Click: 100 in the log, 57 kept, 43 sampled out, 0 rolled up, 0 discarded, 0 refused
    [Appboy] Email Open: 301 in the log, 100 kept, 0 sampled out, 200 rolled up, 1 discarded, 0 refused
    [Appboy] Kiosk Opened: 1 in the log, 0 kept, 0 sampled out, 0 rolled up, 0 discarded, 1 refused
    ");
}

proptest! {
    /// Whatever a client wrote goes on, and is JSON.
    #[test]
    fn any_event_goes_on_as_json(
        user_id in "[a-z\"\\\\\u{1}é]{5,20}",
        event_type in "\\PC{1,30}",
        properties in crate::scan::tests::any_json(),
    ) {
        let properties = json!({ "it": properties }).to_string();
        let sent = object(&stream(ALL), AppliedEvent {
            user_id: Some(&user_id),
            event_type: &event_type,
            event_properties: Some(&properties),
            ..event()
        });
        prop_assert_eq!(sent["user_id"].as_str(), Some(&*user_id));
        prop_assert_eq!(sent["event_type"].as_str(), Some(&*event_type));
        let given: Value = serde_json::from_str(&properties).expect("JSON");
        prop_assert_eq!(&sent["event_properties"], &given);
    }
}
