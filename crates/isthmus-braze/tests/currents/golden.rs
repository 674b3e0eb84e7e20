//! Every event type, in files that people read: what comes in, and what Amplitude is shown.
//!
//! One file for each group of the catalogue. `ISTHMUS_WRITE_DOCS=1 cargo test -p isthmus-braze
//! --test currents` writes them anew; then read the difference.

use crate::container::Codec;
use crate::events::{posted, read_posted, read_stored, stored, upload};
use isthmus_braze::currents::catalogue::{self, EventType};
use isthmus_braze::currents::{Export, Form, appear};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/currents/golden");

/// What a file lacks of what is posted: `device_id`, `event_properties.dispatch_id`.
pub(crate) fn lacking(posted: &Value, stored: &Value) -> BTreeSet<String> {
    let flat = |upload: &Value| -> BTreeMap<String, Value> {
        let mut flat = BTreeMap::new();
        for (key, value) in upload.as_object().into_iter().flatten() {
            match value.as_object().filter(|_| key == "event_properties") {
                Some(properties) => flat.extend(
                    properties.iter().map(|(name, value)| (format!("{key}.{name}"), value.clone())),
                ),
                None => drop(flat.insert(key.clone(), value.clone())),
            }
        }
        flat
    };
    let (posted, stored) = (flat(posted), flat(stored));
    for (key, value) in &stored {
        assert_eq!(posted.get(key), Some(value), "{key}");
    }
    posted.into_keys().filter(|key| !stored.contains_key(key)).collect()
}

fn page(about: &EventType) -> String {
    let mut out = format!("== {}\n\n", about.event_type);
    let record = stored(about);
    let from_file = read_stored(about, &record, Codec::Null);
    let form = Form::default();
    let export = match appear(&from_file, &form).export {
        Export::Documented => "documented".to_owned(),
        Export::Expected => "expected".to_owned(),
        Export::No { reason } => format!("no: {reason}"),
    };
    let shown_from_file = upload(&from_file, &form);
    let event = posted(about);
    if let Some(event) = &event {
        writeln!(out, "posted {event}").unwrap();
    }
    writeln!(out, "stored {record}\n").unwrap();
    writeln!(out, "export {export}").unwrap();
    let shown = event.map(|event| upload(&read_posted(&event), &form));
    if let Some(shown) = &shown {
        let lacking: Vec<_> = lacking(shown, &shown_from_file).into_iter().collect();
        if !lacking.is_empty() {
            writeln!(out, "a file lacks {}", lacking.join(", ")).unwrap();
        }
    }
    let shown = shown.as_ref().unwrap_or(&shown_from_file);
    writeln!(out, "{}\n", serde_json::to_string_pretty(shown).unwrap()).unwrap();
    out
}

#[test]
fn every_type_is_shown_as_it_is_written_down() {
    let mut pages: BTreeMap<&str, String> = BTreeMap::new();
    for about in catalogue::all() {
        pages.entry(&about.group).or_default().push_str(&page(about));
    }
    let write = std::env::var_os("ISTHMUS_WRITE_DOCS").is_some();
    let mut stale = Vec::new();
    for (group, page) in pages {
        let path = format!("{FOLDER}/{group}.txt");
        if write {
            std::fs::write(&path, &page).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != page {
            stale.push(group);
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?}: if that is meant, `ISTHMUS_WRITE_DOCS=1 cargo test -p isthmus-braze --test currents` writes them anew"
    );
}
