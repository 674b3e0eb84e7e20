//! The emulated Amplitude, through a real listener.

mod answers;
mod faults;
mod inside;
mod people;
mod rates;

use crate::Bench;
use crate::client::Reply;
use flate2::Compression;
use flate2::write::GzEncoder;
use isthmus_sandbox::{AmplitudeConfig, SandboxConfig};
use serde_json::{Value, json};
use std::io::Write;
use url::form_urlencoded;

const KEY: &str = "any-key";

fn upload(events: &[Value]) -> Value {
    json!({ "api_key": KEY, "events": events })
}

/// An event of a user with an `insert_id`.
fn event(user_id: &str, insert_id: &str) -> Value {
    json!({"event_type": "Viewed", "user_id": user_id, "insert_id": insert_id, "time": 1_788_990_400_000_i64})
}

/// An event of a device without an `insert_id`.
fn from_device(device_id: &str) -> Value {
    json!({"event_type": "Viewed", "device_id": device_id})
}

async fn post(bench: &Bench, events: &[Value]) -> Reply {
    bench.client.post("/2/httpapi", &upload(events)).await
}

/// A body as it is, without a key in a header.
async fn raw(bench: &Bench, line: &str, headers: &str, body: &[u8]) -> Reply {
    bench.client.send(&format!("{line} HTTP/1.1\r\n{headers}"), body).await.expect("an answer")
}

async fn form(bench: &Bench, path: &str, fields: &[(&str, &str)]) -> Reply {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let head = "content-type: application/x-www-form-urlencoded\r\n";
    raw(bench, &format!("POST {path}"), head, body.as_bytes()).await
}

async fn identify(bench: &Bench, identification: &Value) -> Reply {
    let identification = identification.to_string();
    form(bench, "/identify", &[("api_key", KEY), ("identification", &identification)]).await
}

async fn look(bench: &Bench, path: &str) -> Value {
    let reply = bench.client.get(&format!("/_sandbox/amplitude/{path}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

async fn set(bench: &Bench, settings: Value) {
    let reply = bench.client.post("/_sandbox/settings", &json!({ "amplitude": settings })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("a vector");
    encoder.finish().expect("a vector")
}

fn config(amplitude: AmplitudeConfig) -> SandboxConfig {
    SandboxConfig { amplitude, ..SandboxConfig::default() }
}
