//! Forwarding on one core: mapping an event, writing requests of 1,000 and judging an answer, beside the
//! same through `serde_json::Value`, which is how connectors usually do it. One event has about 800 bytes
//! of JSON.
//!
//! `cargo bench -p isthmus-amplitude --bench forward`; events per second are the reported elements per
//! second.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use isthmus_amplitude::{Amplitude, AmplitudeStream};
use isthmus_config::resource::DestinationSettings;
use isthmus_config::{Spec, parse_resources};
use isthmus_core::destination::{Delivery, Destination, Mapped, Mapping, Message, Wants};
use isthmus_core::record::{Applied, AppliedEvent, CurrentsEvent, UserProperties};
use isthmus_core::seam::Reply;
use isthmus_core::{AmplitudeId, Place, Timestamp};
use serde_json::{Map, Value, json};
use std::hint::black_box;

const EVENTS: u32 = 1_000;
const AT: i64 = 1_777_713_330_950;
const RESOURCES: &str = "\
kind: destination
name: amplitude
type: amplitude
api_key: { env: KEY }
---
kind: stream
name: shield
project: rides
destination: amplitude
forward:
  events: all
  currents: { sample: { users.messages.email.Open: 50% }, roll_up: { users.messages.email.Open: day } }
";
const EVENT_PROPERTIES: &str = r#"{"vehicle":"bike","eta_min":4,"stops":["A12","B07"],"price":12.75,"currency":"BRL","surge":false,"city":"São Paulo","[Amplitude] Page URL":"https://rides.example.com/book?from=A12&to=B07","[Amplitude] Page Title":"Book a ride","note":null}"#;
const FIELDS: &str = r#"{"platform":"Web","os_name":"Chrome","os_version":"137","device_model":"Linux","country":"Brazil","app_version":"4.12.0","language":"pt-BR","ip":"$remote","library":"amplitude-ts/2.33.1","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36"}"#;

fn parts() -> (Amplitude, AmplitudeStream) {
    let resources = parse_resources(RESOURCES, "bench").expect("the resources are right");
    let specs: Vec<Spec> = resources.into_iter().map(|resource| resource.spec).collect();
    let [Spec::Destination(destination), Spec::Stream(stream)] = specs.as_slice() else {
        panic!("a destination and a stream")
    };
    let DestinationSettings::Amplitude(settings) = &destination.settings else {
        panic!("an Amplitude")
    };
    let amplitude = Amplitude::build(settings, "5b1e0c77a8f04d0b").expect("it is right");
    let stream = AmplitudeStream::build(stream, settings, |_| true).expect("it is right");
    (amplitude, stream)
}

fn event() -> AppliedEvent<'static> {
    AppliedEvent {
        project: "rides",
        user: AmplitudeId(7),
        user_id: Some("rider-000042"),
        device_id: "2f9c1b6a-77de-4e0e-9a41-0a6f3f7c9d11",
        device_id_derived: false,
        event_type: "Ride Requested",
        event_time: AT,
        client_event_time: AT,
        received_at: AT,
        session_id: Some(1_777_713_000_000),
        event_id: Some(17),
        insert_id: Some("0d8d2b51-5b1c-4d7d-8f0a-6f5f4f1f2a30"),
        event_properties: Some(EVENT_PROPERTIES),
        groups: None,
        group_properties: None,
        fields: Some(FIELDS),
        user_properties: UserProperties::None,
        sent_user_properties: None,
        skip_user_properties_sync: false,
        remote_address: Some("198.51.100.7"),
        currents: None,
    }
}

/// The peer: parse everything, build a tree, write it.
fn map_by_value(event: &AppliedEvent<'_>) -> String {
    let parse = |raw: Option<&str>| -> Map<String, Value> {
        raw.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default()
    };
    let mut object = parse(event.fields);
    if object.get("ip").is_some_and(|ip| ip == "$remote") {
        object.insert("ip".to_owned(), event.remote_address.into());
    }
    object.insert("event_properties".to_owned(), parse(event.event_properties).into());
    for (name, value) in [
        ("user_id", json!(event.user_id)),
        ("device_id", json!(event.device_id)),
        ("event_type", json!(event.event_type)),
        ("time", json!(event.event_time)),
        ("session_id", json!(event.session_id)),
        ("event_id", json!(event.event_id)),
        ("insert_id", json!(event.insert_id)),
    ] {
        object.insert(name.to_owned(), value);
    }
    Value::Object(object).to_string()
}

fn message(stream: &AmplitudeStream, item: &Applied<'_>) -> Message {
    let mut out = Vec::new();
    stream.map(item, None, &mut out);
    match out.pop() {
        Some(Mapped::Deliver(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn mapping(criterion: &mut Criterion) {
    let (_, stream) = parts();
    let event = event();
    let item = Applied::Event(event.clone());
    let ours: Value = serde_json::from_str(&message(&stream, &item).payload).expect("JSON");
    let peers: Value = serde_json::from_str(&map_by_value(&event)).expect("JSON");
    assert_eq!(ours, peers, "both say the same");

    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::with_capacity(1);
    let mut map = |item: &Applied<'_>| {
        out.clear();
        let item = black_box(item);
        assert_eq!(stream.wants(item), Wants::Item);
        stream.map(item, None, &mut out);
        black_box(&out);
    };
    group.bench_function("event", |bencher| bencher.iter(|| map(&item)));
    let currents = CurrentsEvent {
        source: "braze",
        event_type: "users.messages.email.Open",
        campaign_id: Some("c0ffee00-0003-4ccc-8ddd-000000000003"),
        properties: "{}",
        ..CurrentsEvent::default()
    };
    let open = Applied::Event(AppliedEvent { currents: Some(Box::new(currents)), ..event.clone() });
    group.bench_function("event of Currents, sampled and rolled up", |bencher| {
        bencher.iter(|| map(&open));
    });
    group.bench_function("event through serde_json::Value", |bencher| {
        bencher.iter(|| map_by_value(black_box(&event)));
    });
    group.finish();
}

fn requests(criterion: &mut Criterion) {
    let (amplitude, stream) = parts();
    let batch = |insert_id| -> Vec<Delivery> {
        let message = message(&stream, &Applied::Event(AppliedEvent { insert_id, ..event() }));
        (0..EVENTS)
            .map(|index| Delivery {
                stream: "shield".into(),
                place: Place { offset: 4_096, index },
                part: 0,
                accepted_at: Timestamp::from_millis(AT),
                message: message.clone(),
            })
            .collect()
    };
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(u64::from(EVENTS)));
    for (name, batch) in
        [("request", batch(event().insert_id)), ("request without insert ids", batch(None))]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| amplitude.encode(black_box(&batch)).expect("one call"));
        });
    }
    let batch = batch(event().insert_id);
    let throttled: Vec<u32> = (0..EVENTS).step_by(10).collect();
    let body =
        json!({"code": 429, "throttled_users": {"rider-7": 44}, "throttled_events": throttled});
    let reply = Reply {
        status: 429,
        headers: http::HeaderMap::new(),
        body: body.to_string().into(),
        received_at: Timestamp::from_millis(AT),
    };
    group.bench_function("judging a throttled request", |bencher| {
        bencher.iter_batched(
            || reply.clone(),
            |reply| amplitude.judge(black_box(&batch), &reply),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, mapping, requests);
criterion_main!(benches);
