//! Input that is meant to hurt: it gets its answer, and the server stays as it was.

use crate::harness::http::{connect, get, read, send};
use crate::harness::lab::{API_KEY, Lab};
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress};
use serde_json::json;
use std::io::Write;

/// What the server may occupy after all of it, in KiB.
const RESIDENT_KIB_MAX: u64 = 512 * 1024;

/// An event still goes all the way.
fn check_health(lab: &Lab) {
    assert_eq!(get(lab.server().address(), "/healthz").status, 200);
    lab.settle();
    let resident = lab.server().resident_kib();
    assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB are in use");
    let log = lab.server().log();
    assert!(!log.contains("panicked"), "{log}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn deep_json_is_refused() {
    let lab = Lab::shop();
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(
            r#"{{"api_key":"{API_KEY}","events":[{{"event_type":"Product Viewed","user_id":"deep-user","event_properties":{{"a":{open}{close}}}}}]}}"#
        )
    };
    for depth in [41, 200, 100_000, 400_000] {
        let answer =
            send(lab.server().address(), "POST", "/2/httpapi", &[], deep(depth).as_bytes())
                .unwrap();
        assert_eq!(answer.status, 400, "depth {depth}: {}", answer.text());
        assert_eq!(answer.json()["code"], 400);
    }
    check_health(&lab);
    assert!(lab.braze().user("deep-user").is_none());
}

/// The beginning of a gzip stream that never ends: `mib` MiB of spaces, packed a thousand times.
fn bomb(mib: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(64 << 10);
    let mut compress = Compress::new(Compression::fast(), false);
    // A full flush ends at a byte and refers to nothing before it, so the block can be repeated.
    let spaces = vec![b' '; 1 << 20];
    compress.compress_vec(&spaces, &mut block, FlushCompress::Full).unwrap();
    assert_eq!(compress.total_in(), 1 << 20);
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    [&header, block.repeat(mib).as_slice()].concat()
}

#[test]
fn a_gzip_bomb_is_cut_off() {
    let lab = Lab::shop();
    let headers = [("content-encoding", "gzip"), ("content-type", "application/json")];
    for (path, mib) in [("/2/httpapi", 150), ("/batch", 2_000)] {
        let answer = send(lab.server().address(), "POST", path, &headers, &bomb(mib)).unwrap();
        assert_eq!(answer.status, 413, "{path}: {}", answer.text());
        assert_eq!(answer.json()["code"], 413);
    }
    check_health(&lab);
}

#[test]
fn broken_gzip_is_refused_and_good_gzip_is_taken() {
    let lab = Lab::shop();
    let headers = [("content-encoding", "gzip"), ("content-type", "application/json")];
    let body = json!({ "api_key": API_KEY, "events": [{ "event_type": "Product Viewed", "user_id": "gzip-user" }] });
    let good = gzip(body.to_string().as_bytes());
    let (cut, _) = good.split_at(good.len() / 2);
    for broken in [cut, b"not gzip at all".as_slice(), b"".as_slice()] {
        let answer = send(lab.server().address(), "POST", "/2/httpapi", &headers, broken).unwrap();
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    let answer = send(lab.server().address(), "POST", "/2/httpapi", &headers, &good).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    check_health(&lab);
    assert!(lab.braze().user("gzip-user").is_some());
}

#[test]
fn bad_text_and_strange_values_are_answered() {
    let lab = Lab::shop();
    let envelope = |event: &[u8]| {
        let mut body = format!(r#"{{"api_key":"{API_KEY}","events":["#).into_bytes();
        body.extend_from_slice(event);
        body.extend_from_slice(b"]}");
        body
    };
    let cases: [&[u8]; 11] = [
        b"{\"event_type\":\"Product Viewed\",\"user_id\":\"bad-\xff\xfe\"}",
        b"{\"event_type\":\"Product Viewed\",\"user_id\":\"bad-escape-\\x\"}",
        b"{\"event_type\":\"Product Viewed\",\"user_id\":{\"$ne\":null}}",
        b"{\"event_type\":[],\"user_id\":\"bad-type\"}",
        b"{\"event_type\":\"Product Viewed\",\"user_id\":\"bad-time\",\"time\":1e999}",
        b"{\"event_type\":\"Product Viewed\",\"user_id\":\"bad-time\",\"time\":-99999999999999999999}",
        b"{\"event_type\":\"Product Viewed\",\"user_id\":\"bad-map\",\"event_properties\":[1]}",
        b"{\"event_type\":\"Product Viewed\",\"user_id\":\"bad-map\",\"user_properties\":\"x\"}",
        b"{\"event_type\":\"Product Viewed\",\"user_id\":\"bad-map\",\"groups\":7}",
        b"7",
        b"null",
    ];
    for event in cases {
        let shown = String::from_utf8_lossy(event);
        let answer =
            send(lab.server().address(), "POST", "/2/httpapi", &[], &envelope(event)).unwrap();
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        assert_eq!(answer.json()["code"], 400, "{shown}");
    }
    for body in [
        "[]",
        "\"text\"",
        "0",
        "{\"api_key\":[],\"events\":[]}",
        "{\"api_key\":\"shop-key\",\"events\":{}}",
    ] {
        let answer =
            send(lab.server().address(), "POST", "/2/httpapi", &[], body.as_bytes()).unwrap();
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    check_health(&lab);
}

#[test]
fn bodies_beyond_the_limit_are_refused() {
    let lab = Lab::shop();
    let address = lab.server().address();
    let filler = "x".repeat(1_200_000);
    let body = json!({ "api_key": API_KEY, "events": [{
        "event_type": "Product Viewed", "user_id": "large-user", "event_properties": { "note": filler },
    }] });
    let answer = send(address, "POST", "/2/httpapi", &[], body.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(answer.json(), json!({ "code": 413, "error": "Payload too large" }));

    // Announced or not, what is much too large is not waited for: an answer or a closed connection.
    let mut announced = connect(address).unwrap();
    let head = format!(
        "POST /2/httpapi HTTP/1.1\r\nhost: {address}\r\ncontent-length: 10000000000\r\n\r\n"
    );
    announced.write_all(head.as_bytes()).unwrap();
    let answer = read(&mut announced).unwrap();
    assert_eq!(answer.status, 413, "{}", answer.text());

    let mut endless = connect(address).unwrap();
    let head = format!(
        "POST /2/httpapi HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    endless.write_all(head.as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let refused = (0..10_000).any(|_| endless.write_all(chunk.as_bytes()).is_err());
    assert!(refused, "655 MB were taken");
    check_health(&lab);
}

#[test]
fn requests_that_are_no_http_are_turned_away() {
    let lab = Lab::shop();
    let cases: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /2/httpapi HTTP/1.1\r\nhost: x\r\ncontent-length: minus one\r\n\r\n",
        b"POST /2/httpapi HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n12345",
        b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    for bytes in cases {
        let mut stream = connect(lab.server().address()).unwrap();
        stream.write_all(bytes).unwrap();
        if let Ok(answer) = read(&mut stream) {
            assert!(
                (400..600).contains(&answer.status),
                "{:?}: {}",
                String::from_utf8_lossy(bytes),
                answer.status
            );
        }
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1 << 20));
    let mut stream = connect(lab.server().address()).unwrap();
    // The server may close before it has all of it.
    drop(stream.write_all(long.as_bytes()));
    if let Ok(answer) = read(&mut stream) {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    check_health(&lab);
}

#[test]
fn slow_clients_keep_nobody_waiting() {
    let lab = Lab::shop();
    let address = lab.server().address();
    let head =
        format!("POST /2/httpapi HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1000\r\n\r\n");
    let beginnings = ["", "POST /2/htt", &head, &format!("{head}{{\"api_key\":")];
    let slow: Vec<_> = (0..200)
        .map(|at| {
            let mut stream = connect(address).unwrap();
            stream.write_all(beginnings[at % beginnings.len()].as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        let answer =
            lab.upload(&json!([{ "event_type": "Product Viewed", "user_id": "quick-user" }]));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    check_health(&lab);
    drop(slow);
    check_health(&lab);
}
