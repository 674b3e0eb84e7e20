//! Files of a storage connector, read again.

use crate::{Bench, with_default};
use apache_avro::types::Value as Avro;
use apache_avro::{Reader, Schema};
use isthmus_core::Timestamp;
use isthmus_sandbox::currents::believable::{Believable, write_files};
use isthmus_sandbox::currents::{Codec, ConnectorView};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every file under `folder`, whatever its name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A file's schema name and its records.
fn read(path: &Path) -> (String, Vec<BTreeMap<String, Avro>>) {
    let bytes = std::fs::read(path).expect("a file");
    let reader = Reader::new(bytes.as_slice()).expect("an Avro file");
    let Schema::Record(schema) = reader.writer_schema() else { panic!("not a record") };
    let name = schema.name.fullname(None);
    let records = reader.map(|record| match record.expect("a record") {
        Avro::Record(fields) => fields.into_iter().collect(),
        other => panic!("not a record: {other:?}"),
    });
    (name, records.collect())
}

fn some(value: Avro) -> Avro {
    Avro::Union(1, Box::new(value))
}

fn text(value: &str) -> Avro {
    Avro::String(value.to_owned())
}

async fn tell(bench: &Bench, count: usize) {
    let events: Vec<Value> = (0..count)
        .map(|number| {
            json!({
                "external_id": format!("u-{number}"), "name": "Tour Booked",
                "time": "2026-09-01T10:00:00Z", "properties": {"nights": number},
            })
        })
        .collect();
    let purchase = json!({
        "external_id": "u-0", "product_id": "pot", "currency": "EUR", "price": 17.9,
        "time": "2026-09-01T10:00:00Z",
    });
    let body = json!({"events": events, "purchases": [purchase]});
    assert_eq!(bench.client.post("/users/track", &body).await.status, 201);
}

/// Waits until the connector is as it should be; files are written beside the test.
async fn until(bench: &Bench, is_so: impl Fn(&ConnectorView) -> bool) {
    for _ in 0..5_000 {
        if is_so(&bench.handle.currents().connector("s3").expect("the connector")) {
            return;
        }
        // A request gives the loop and the file system their turn.
        bench.client.get("/_sandbox/currents").await;
    }
    panic!("not so: {:?}", bench.handle.currents().connector("s3"));
}

#[tokio::test]
async fn each_type_has_files_of_its_own_under_a_key_like_brazes() {
    let folder = tempfile::tempdir().expect("a folder");
    with_default(async |bench| {
        let connector = json!({
            "folder": folder.path(), "integration": "64b7f0c2a9d3e41b5c8f0a12", "batch_max": 40,
            "linger": "5m",
        });
        bench.handle.currents().put("s3", &connector).expect("a connector");
        tell(bench, 50).await;
        until(bench, |view| view.counts.files == 1).await;
        assert_eq!(files(folder.path()).len(), 1, "forty are enough");
        bench.clock.advance(Duration::from_mins(5));
        until(bench, |view| view.counts.files == 3 && view.queued == 0).await;
    })
    .await;
    let found = files(folder.path());
    let shown: Vec<String> = found
        .iter()
        .map(|path| path.strip_prefix(folder.path()).expect("inside").display().to_string())
        .collect();
    let stem = "dataexport.prod-01.S3.integration.64b7f0c2a9d3e41b5c8f0a12";
    let start = format!(
        "currents/{stem}/event_type=users.behaviors.CustomEvent/date=2026-09-09-21/400/prod/{stem}+0+"
    );
    let offset = shown[0].strip_prefix(&start).and_then(|rest| rest.strip_suffix(".avro"));
    let is_offset = |text: &str| text.len() >= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    assert!(offset.is_some_and(is_offset), "{shown:?}");
    let read: Vec<_> = found.iter().map(|path| read(path)).collect();
    let counts: Vec<(&str, usize)> =
        read.iter().map(|(name, records)| (name.as_str(), records.len())).collect();
    assert_eq!(
        counts,
        [
            ("dataexport.S3.inner.users.behaviors.CustomEvent", 40),
            ("dataexport.S3.inner.users.behaviors.CustomEvent", 10),
            ("dataexport.S3.inner.users.behaviors.Purchase", 1),
        ]
    );
    let event = &read[0].1[7];
    assert_eq!(event["name"], text("Tour Booked"));
    assert_eq!(event["time"], Avro::Int(1_788_256_800));
    assert_eq!(event["external_user_id"], some(text("u-7")));
    assert_eq!(event["timezone"], Avro::Union(0, Box::new(Avro::Null)));
    assert_eq!(event["properties"], text("{\"nights\":7}"));
    assert!(!event.contains_key("custom_properties"));
    assert_eq!(read[2].1[0]["price"], Avro::Float(17.9));
    assert_eq!(read[2].1[0]["properties"], text("{}"));
}

#[tokio::test]
async fn what_waits_is_written_when_the_sandbox_stops() {
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let folder = tempfile::tempdir().expect("a folder");
        with_default(async |bench| {
            let connector = json!({"folder": folder.path(), "codec": codec, "linger": "1h"});
            bench.handle.currents().put("s3", &connector).expect("a connector");
            tell(bench, 30).await;
        })
        .await;
        let found = files(folder.path());
        assert_eq!(found.len(), 2, "{codec}: {found:?}");
        assert_eq!(read(&found[0]).1.len(), 30, "{codec}");
        let bytes = std::fs::read(&found[0]).expect("a file");
        let names_codec = bytes.windows(codec.len()).any(|part| part == codec.as_bytes());
        assert!(names_codec, "{codec} is in the head of the file");
    }
}

#[tokio::test]
async fn a_schema_may_grow_between_two_files() {
    let folder = tempfile::tempdir().expect("a folder");
    with_default(async |bench| {
        for added in [0, 2] {
            let connector = json!({
                "folder": folder.path(), "types": ["users.behaviors.CustomEvent"],
                "schema_added": added, "linger": "0s",
            });
            bench.handle.currents().put("s3", &connector).expect("a connector");
            tell(bench, 1).await;
            let files = 1 + added / 2;
            until(bench, |view| view.counts.files == files).await;
        }
    })
    .await;
    let found = files(folder.path());
    let (before, after) = (read(&found[1]).1, read(&found[0]).1);
    let (before, after) =
        if before[0].contains_key("added_1") { (after, before) } else { (before, after) };
    assert!(!before[0].contains_key("added_1"));
    assert_eq!(after[0]["added_2"], some(text("value 2")));
    let parents: BTreeSet<_> = found.iter().map(|path| path.ancestors().nth(2)).collect();
    assert_eq!(parents.len(), 2, "each schema has its number: {found:?}");
    let stems: BTreeSet<_> = found.iter().map(|path| path.ancestors().nth(5)).collect();
    assert_eq!(stems.len(), 1, "and the connector keeps its name");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_lost_and_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "a file where a folder should be").expect("written");
    with_default(async |bench| {
        let connector = json!({"folder": blocked, "linger": "0s"});
        bench.handle.currents().put("s3", &connector).expect("a connector");
        tell(bench, 3).await;
        until(bench, |view| view.counts.dropped.unwritable == 4).await;
        let view = bench.handle.currents().connector("s3").expect("it");
        assert_eq!(view.queued, 0);
        assert!(view.last_error.is_some_and(|error| error.reason.contains("cannot be written")));
    })
    .await;
}

#[tokio::test]
async fn believable_events_fill_files_of_every_type() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = vec!["u-1".to_owned(), "u-2".to_owned()];
    let mut events = Believable::new(4, users, Timestamp::from_millis(crate::NOW_MS));
    let written = write_files(&mut events, folder.path(), Codec::Snappy, 2_000, 100).await;
    let mut written = written.expect("files");
    written.sort();
    assert_eq!(written, files(folder.path()));
    let mut ids = BTreeSet::new();
    let mut types = BTreeSet::new();
    for path in &written {
        let (name, records) = read(path);
        assert!((1..=100).contains(&records.len()), "{} in {name}", records.len());
        let of_path = path.to_string_lossy();
        let kind = name.strip_prefix("dataexport.S3.inner.").expect("the namespace").to_owned();
        assert!(of_path.contains(&format!("event_type={kind}/")), "{of_path}: {kind}");
        types.insert(kind);
        ids.extend(records.into_iter().map(|record| format!("{:?}", record["id"])));
    }
    assert_eq!((ids.len(), types.len()), (2_000, 102));
}
