//! Decoding uploads: batches of 100 events of about 800 bytes, against `serde_json::Value`.
//!
//! `cargo bench -p isthmus-amplitude`; events per second are the reported elements per second.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isthmus_amplitude::{EndpointRules, parse_upload};
use isthmus_core::record::IntakeBatch;
use std::hint::black_box;

const EVENTS: usize = 100;

/// An event as the browser SDK sends it; `note` is one more event property.
fn event(index: usize, note: &str) -> String {
    format!(
        r#"{{"user_id":"rider-{index:06}","device_id":"2f9c1b6a-77de-4e0e-9a41-0a6f3f{index:06}","session_id":1777713000000,"time":17777133{index:05},"platform":"Web","os_name":"Chrome","os_version":"137","device_model":"Linux","country":"Brazil","app_version":"4.12.0","language":"pt-BR","ip":"$remote","insert_id":"0d8d2b51-5b1c-4d7d-8f0a-6f5f4f{index:06}","event_type":"Ride Requested","event_properties":{{"vehicle":"bike","eta_min":4,"stops":["A12","B07"],"price":12.75,"currency":"BRL","surge":false,"city":"São Paulo","[Amplitude] Page URL":"https://rides.example.com/book?from=A12&to=B07","[Amplitude] Page Title":"Book a ride","note":{note}}},"event_id":{index},"library":"amplitude-ts/2.33.1","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36"}}"#
    )
}

fn body(note: &str) -> Vec<u8> {
    let events: Vec<String> = (0..EVENTS).map(|index| event(index, note)).collect();
    format!(
        r#"{{"api_key":"5b1e0c77a8f04d0b9c2f6e1d3a4b5c6d","events":[{}],"options":{{}},"client_upload_time":"2026-05-02T09:15:31.208Z"}}"#,
        events.join(",")
    )
    .into_bytes()
}

/// Everything the door does between the body and the log; returns the record's length.
fn decode_and_encode(body: &[u8], rules: &EndpointRules) -> usize {
    let upload = parse_upload(body, rules).expect("well-formed");
    let upload = upload.check(rules).expect("sound");
    let batch = IntakeBatch {
        project: "rides",
        source: rules.source,
        received_at: 1_777_713_331_260,
        client_upload_time: upload.client_upload_time(),
        remote_address: Some("198.51.100.7"),
        events: upload.events().collect(),
        commands: Vec::new(),
        currents: None,
    };
    batch.encode().len()
}

fn decode(criterion: &mut Criterion) {
    let rules = EndpointRules::http_api();
    let clean = body("\"by the station\"");
    // A null property makes every event's properties be rewritten.
    let unclean = body("null");
    let mut group = criterion.benchmark_group(format!("upload of {} bytes", clean.len()));
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("parse and check", |bencher| {
        bencher.iter(|| {
            let upload = parse_upload(black_box(&clean), &rules).expect("well-formed");
            upload.check(&rules).expect("sound").event_count()
        });
    });
    group.bench_function("parse, check and encode", |bencher| {
        bencher.iter(|| decode_and_encode(black_box(&clean), &rules));
    });
    group.bench_function("parse, check and encode, a null in each event", |bencher| {
        bencher.iter(|| decode_and_encode(black_box(&unclean), &rules));
    });
    group.bench_function("peer: serde_json::Value", |bencher| {
        bencher
            .iter(|| serde_json::from_slice::<serde_json::Value>(black_box(&clean)).expect("JSON"));
    });
    group.bench_function("peer: serde_json, validation only", |bencher| {
        bencher.iter(|| {
            serde_json::from_slice::<serde::de::IgnoredAny>(black_box(&clean)).expect("JSON")
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
