//! Currents events on one core: a posted batch of 100 clicks read, each shown as Amplitude shows
//! it, and files of the same clicks read. One event has about 1,100 bytes of JSON.

#![expect(clippy::indexing_slicing, reason = "JSON values are looked into")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isthmus_braze::currents::{
    Form, StorageReader, appear, catalogue, echo_key, facts, read_batch, read_json_line,
};
use serde_json::{Value, json};
use std::fmt::Write;
use std::hint::black_box;

const EVENTS: usize = 100;
const CLICK: &str = r#"{"event_type":"users.messages.email.Click","id":"0b8f2a54-6d5e-4c1a-9a39-000000000002","time":1767258060,"user":{"user_id":"5fa1c0ffee5fa1c0ffee0001","external_user_id":"customer-4711","timezone":"Europe/Berlin"},"properties":{"canvas_id":"ca11ab1e-0005-4eee-9fff-000000000005","canvas_name":"Welcome series","canvas_step_id":"ca11ab1e-0006-4eee-9fff-000000000006","canvas_step_name":"Step 2","canvas_variation_id":"ca11ab1e-0007-4eee-9fff-000000000007","canvas_variation_name":"Path A","app_group_id":"7d1c4e0e-0001-4b1b-8c1c-000000000001","dispatch_id":"65a0b1c2d3e4f5a6b7c8d9e1","email_address":"kim@example.org","url":"https://shop.example/offer?x=1","link_alias":"hero","link_id":"lnk-88","is_suspected_bot_click":false,"suspected_bot_click_reason":["datacenter_ip"],"user_agent":"Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15","esp":"SparkPost","ip_pool":"main","from_domain":"news.shop.example"}}"#;
const CUSTOM: &str = r#"{"event_type":"users.behaviors.CustomEvent","id":"a","time":1767258060,"user":{"external_user_id":"customer-4711"},"properties":{"app_id":"7d1c4e0e-0001-4b1b-8c1c-000000000001","name":"Order Completed","custom_properties":{"total":84.5,"currency":"EUR"}}}"#;

fn body(event: &str) -> Vec<u8> {
    format!("{{\"events\":[{}]}}", vec![event; EVENTS].join(",")).into_bytes()
}

/// The fields of [`CLICK`] as files have them.
fn stored() -> Value {
    let event: Value = serde_json::from_str(CLICK).unwrap_or_default();
    let mut record = json!({"id": event["id"], "time": event["time"]});
    for part in ["user", "properties"] {
        for (name, value) in event[part].as_object().into_iter().flatten() {
            record[name] = value.clone();
        }
    }
    record
}

fn push_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    loop {
        let [seven, ..] = (rest & 0x7f).to_le_bytes();
        rest >>= 7;
        out.push(if rest == 0 { seven } else { seven | 0x80 });
        if rest == 0 {
            return;
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    push_long(out, i64::try_from(text.len()).unwrap_or_default());
    out.extend_from_slice(text.as_bytes());
}

/// An uncompressed container with [`EVENTS`] records of one block.
fn container() -> Vec<u8> {
    let (record, mut fields, mut bytes) = (stored(), Vec::new(), Vec::new());
    let about = catalogue::find("users.messages.email.Click");
    for (name, kind) in about.into_iter().flat_map(|about| &about.storage) {
        let kind = kind.trim_end_matches('?');
        let plain = if kind == "array<string>" {
            json!({"type": "array", "items": "string"})
        } else {
            json!(kind)
        };
        fields.push(json!({"name": name, "type": ["null", plain]}));
        push_long(&mut bytes, i64::from(record.get(name).is_some()));
        match record.get(name) {
            Some(Value::String(text)) => push_text(&mut bytes, text),
            Some(Value::Number(number)) => {
                push_long(&mut bytes, number.as_i64().unwrap_or_default());
            }
            Some(Value::Bool(flag)) => bytes.push(u8::from(*flag)),
            Some(Value::Array(items)) => {
                for text in items.iter().filter_map(Value::as_str) {
                    push_long(&mut bytes, 1);
                    push_text(&mut bytes, text);
                }
                push_long(&mut bytes, 0);
            }
            _ => {}
        }
    }
    let schema = json!({"type": "record", "name": "Click", "namespace": "dataexport.S3.inner.users.messages.email", "fields": fields});
    let records = bytes.repeat(EVENTS);
    let mut file = b"Obj\x01".to_vec();
    push_long(&mut file, 1);
    push_text(&mut file, "avro.schema");
    push_text(&mut file, &schema.to_string());
    push_long(&mut file, 0);
    let marker = [7; 16];
    file.extend_from_slice(&marker);
    push_long(&mut file, i64::try_from(EVENTS).unwrap_or_default());
    push_long(&mut file, i64::try_from(records.len()).unwrap_or_default());
    file.extend_from_slice(&records);
    file.extend_from_slice(&marker);
    file
}

fn currents(criterion: &mut Criterion) {
    let (clicks, customs) = (body(CLICK), body(CUSTOM));
    let form = Form::default();
    let mut group = criterion.benchmark_group("currents");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("read a batch", |bencher| {
        bencher.iter(|| read_batch(black_box(&clicks)).map(|batch| batch.len()));
    });
    let read =
        |body| read_batch(body).unwrap_or_default().into_iter().flatten().collect::<Vec<_>>();
    for (name, events) in [("a click", read(&clicks)), ("a custom event", read(&customs))] {
        assert_eq!(events.len(), EVENTS);
        group.bench_function(format!("show {name}"), |bencher| {
            bencher.iter(|| {
                for event in &events {
                    black_box(appear(black_box(event), &form));
                }
            });
        });
        group.bench_function(format!("facts of {name}"), |bencher| {
            bencher.iter(|| {
                for event in &events {
                    black_box(facts(black_box(event)));
                }
            });
        });
        group.bench_function(format!("echo key of {name}"), |bencher| {
            bencher.iter(|| {
                for event in &events {
                    black_box(echo_key(black_box(event)));
                }
            });
        });
    }
    let file = container();
    group.bench_function("read an Avro file", |bencher| {
        bencher.iter(|| {
            let events = StorageReader::open(black_box(file.as_slice()), None)
                .map_or(0, |reader| reader.flatten().count());
            assert_eq!(events, EVENTS);
        });
    });
    let mut lines = String::new();
    let line = stored().to_string();
    for _ in 0..EVENTS {
        writeln!(lines, "{line}").unwrap_or_default();
    }
    group.bench_function("read flat lines", |bencher| {
        bencher.iter(|| {
            let read = |line| read_json_line(line, Some("users.messages.email.Click"));
            assert_eq!(black_box(&lines).lines().flat_map(read).count(), EVENTS);
        });
    });
    group.finish();
}

criterion_group!(benches, currents);
criterion_main!(benches);
