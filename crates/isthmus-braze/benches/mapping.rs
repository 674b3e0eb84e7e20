//! Event to Braze mapping on one core, beside the same mapping through `serde_json::Value`, which
//! is how connectors usually do it. One event has about 800 bytes of JSON; six properties of
//! eighteen are selected, and one filter must hold.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isthmus_braze::BrazeStream;
use isthmus_config::resource::{
    BrazeDestination, BrazeLimits, BudgetShares, Contract, DeliveryGuarantee, Filter, IdentifyBy,
    IdentifyTarget, NestedValues, OnErasure, OnUnset, PropertyRef, Retry, Scope, SelectedEvent,
    SelectedProperty, SendEvents, SendUsers, Stream,
};
use isthmus_config::{Secret, SecretRef};
use isthmus_core::destination::{Guarantee, Lane, Mapped, Mapping, Message, Section, Wants};
use isthmus_core::record::{Applied, AppliedEvent, PropertyChange, UserChange, UserProperties};
use isthmus_core::{AmplitudeId, ByteSize, Timestamp};
use serde_json::{Map, Value, json};
use std::hint::black_box;
use std::time::Duration;

const EVENT_PROPERTIES: &str = r#"{"total":84.5,"currency":"EUR","order_id":"ord-2026-0203-99812","item_count":3,"items":["SKU-1001","SKU-2040","SKU-7781"],"coupon":"WINTER10","shipping_method":"express","payment_method":"card","internal_ref":"9f8b6c1e-7a45-4f6c-9f0e-5a0c8d1b2e3f","is_gift":false,"referrer":"https://shop.example/campaign?utm_source=newsletter","checkout_ms":5213}"#;
const USER_PROPERTIES: &str = r#"{"plan":"pro","seats":4,"signup_date":"2025-11-02T10:00:00Z","first_campaign":"autumn-launch","lifetime_orders":17,"segments":["loyal","mobile"]}"#;
const FIELDS: &str = r#"{"platform":"Web","os_name":"Chrome","os_version":"131.0","country":"Germany","city":"Berlin","language":"German","library":"amplitude-ts/2.33.1","ip":"203.0.113.7"}"#;

fn properties(names: &[&str]) -> Vec<SelectedProperty> {
    names.iter().map(|name| SelectedProperty { name: (*name).to_owned(), as_name: None }).collect()
}

fn stream() -> BrazeStream {
    let destination = BrazeDestination {
        endpoint: "US-05".to_owned(),
        rest_key: SecretRef::Literal(Secret::new("key")),
        app_id: Some("7b1c0000-app".to_owned()),
        identify_settle: Duration::from_secs(1),
        on_erasure: OnErasure::Delete,
        mirror: true,
        limits: BrazeLimits {
            contract: Contract::Combined,
            objects_per_request: 75,
            requests_per_3s: 3_000,
            requests_per_minute: None,
            requests_per_hour: None,
            requests_in_flight: 8,
            shares: BudgetShares::default(),
            company: None,
            bytes_per_request: ByteSize::bytes(3_500_000),
            linger: Duration::from_millis(20),
            timeout: Duration::from_secs(30),
        },
    };
    let stream = Stream {
        name: "product-events".to_owned(),
        project: "shop".to_owned(),
        destination: "braze".to_owned(),
        enabled: true,
        identify_by: Some(IdentifyBy {
            from: PropertyRef { scope: Scope::Builtin, name: "user_id".to_owned() },
            to: IdentifyTarget::ExternalId,
        }),
        anonymous: None,
        user_alias_label: None,
        update_existing_only: false,
        nested_values: NestedValues::Drop,
        retry: Retry::Forever,
        send_events: Some(SendEvents {
            events: vec![SelectedEvent {
                name: "Order Completed".to_owned(),
                filters: vec![Filter {
                    property: PropertyRef { scope: Scope::Event, name: "total".to_owned() },
                    op: "greater".to_owned(),
                    values: vec!["50".to_owned()],
                }],
                as_name: None,
                delivery: None,
            }],
            delivery: DeliveryGuarantee::AtLeastOnce,
            event_properties: properties(&["total", "currency", "order_id", "items"]),
            user_properties: properties(&["plan", "seats"]),
        }),
        send_users: Some(SendUsers {
            user_properties: properties(&["plan", "seats"]),
            send_all_selected_on_change: false,
            on_unset: OnUnset::SendNull,
        }),
        forward: None,
    };
    BrazeStream::build(&stream, &destination).expect("the stream is right")
}

fn event() -> AppliedEvent<'static> {
    AppliedEvent {
        project: "shop",
        user: AmplitudeId(7),
        user_id: Some("u-1009"),
        device_id: "8d1e1c0a-52c1-4e0e-9e0a-2b7d0c6a9f11",
        device_id_derived: false,
        event_type: "Order Completed",
        event_time: 1_770_110_102_410,
        client_event_time: 1_770_110_102_410,
        received_at: 1_770_110_102_500,
        session_id: Some(1_770_110_000_000),
        event_id: Some(12),
        insert_id: Some("5f0c9c1e-0000-4000-8000-1a2b3c4d5e6f"),
        event_properties: Some(EVENT_PROPERTIES),
        groups: None,
        group_properties: None,
        fields: Some(FIELDS),
        user_properties: UserProperties::Inline(USER_PROPERTIES),
        sent_user_properties: None,
        skip_user_properties_sync: false,
        remote_address: None,
        currents: None,
    }
}

fn change() -> UserChange<'static> {
    UserChange {
        project: "shop",
        user: AmplitudeId(7),
        user_id: Some("u-1009"),
        device_id: "8d1e1c0a-52c1-4e0e-9e0a-2b7d0c6a9f11",
        device_id_derived: false,
        event_time: 1_770_110_102_410,
        received_at: 1_770_110_102_500,
        insert_id: None,
        first_seen: false,
        first_seen_on_device: false,
        changes: vec![
            PropertyChange { name: "last_page", from: Some("\"a\""), to: Some("\"b\"") },
            PropertyChange { name: "plan", from: Some("\"free\""), to: Some("\"pro\"") },
        ],
        user_properties: UserProperties::Inline(USER_PROPERTIES),
    }
}

/// The peer: parse everything, pick, build a tree, write it.
fn map_by_value(event: &AppliedEvent<'_>, user_properties: Option<&str>) -> Option<Mapped> {
    let parse = |raw: Option<&str>| -> Map<String, Value> {
        raw.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default()
    };
    let event_properties = parse(event.event_properties);
    let user_properties = parse(user_properties);
    if event_properties.get("total").and_then(Value::as_f64).unwrap_or_default() <= 50.0 {
        return None;
    }
    let mut properties = Map::new();
    for (names, source) in [
        (&["total", "currency", "order_id", "items"][..], &event_properties),
        (&["plan", "seats"][..], &user_properties),
    ] {
        for name in names {
            if let Some(value) = source.get(*name).filter(|value| !value.is_null()) {
                properties.insert((*name).to_owned(), value.clone());
            }
        }
    }
    let user_id = event.user_id?;
    let object = json!({
        "external_id": user_id,
        "app_id": "7b1c0000-app",
        "name": event.event_type,
        "time": Timestamp::from_millis(event.event_time).to_string(),
        "properties": properties,
    });
    Some(Mapped::Deliver(Message {
        lane: Lane::of(&format!("external_id:{user_id}")),
        section: Section(1),
        name: event.event_type.to_owned(),
        payload: object.to_string(),
        guarantee: Guarantee::AtLeastOnce,
        after: None,
    }))
}

fn mapping(criterion: &mut Criterion) {
    let stream = stream();
    let event = event();
    let item = Applied::Event(event.clone());
    let change = Applied::UserChange(change());
    let mut out = Vec::with_capacity(1);

    stream.map(&item, Some(USER_PROPERTIES), &mut out);
    let ours = payload(out.pop());
    let peers = payload(map_by_value(&event, Some(USER_PROPERTIES)));
    assert_eq!(ours, peers, "both say the same");

    let mut group = criterion.benchmark_group("mapping");
    group.throughput(Throughput::Elements(1));
    group.bench_function("event", |bencher| {
        bencher.iter(|| {
            out.clear();
            let item = black_box(&item);
            assert_eq!(stream.wants(item), Wants::ItemAndUserProperties);
            stream.map(item, Some(USER_PROPERTIES), &mut out);
            black_box(&out);
        });
    });
    group.bench_function("event through serde_json::Value", |bencher| {
        bencher.iter(|| {
            out.clear();
            out.extend(map_by_value(black_box(&event), Some(USER_PROPERTIES)));
            black_box(&out);
        });
    });
    group.bench_function("user change", |bencher| {
        bencher.iter(|| {
            out.clear();
            let change = black_box(&change);
            assert_eq!(stream.wants(change), Wants::Item);
            stream.map(change, None, &mut out);
            black_box(&out);
        });
    });
    group.bench_function("event of another type", |bencher| {
        let other = Applied::Event(AppliedEvent { event_type: "Page Viewed", ..event.clone() });
        bencher.iter(|| stream.wants(black_box(&other)));
    });
    group.finish();
}

fn payload(mapped: Option<Mapped>) -> Value {
    let Some(Mapped::Deliver(message)) = mapped else { return Value::Null };
    serde_json::from_str(&message.payload).unwrap_or_default()
}

criterion_group!(benches, mapping);
criterion_main!(benches);
