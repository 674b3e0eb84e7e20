//! What must be true: what was uploaded, what of it was acknowledged, and what the event log made of
//! it. The event log is read as it grows, and nothing of it may ever change.

use crate::program::told;
use crate::scenario::UID;
use isthmus_core::Place;
use isthmus_core::record::{Applied, AppliedBatch};
use isthmus_log::Log;
use serde_json::Value;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// One upload, which clients send again until they know what became of it.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) body: Vec<u8>,
    pub(crate) uids: Vec<String>,
    pub(crate) fate: Fate,
}

/// What a client knows of its upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing was written: every attempt was refused.
    Refused,
    /// An attempt is under way.
    Waiting {
        before: bool,
    },
    /// An attempt ended without an answer, or with one that says that nobody knows.
    Unknown,
    Acknowledged,
}

/// One item of the event log, as far as streams are concerned.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) place: Place,
    pub(crate) user_id: Option<String>,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Event {
        event_type: String,
        uid: String,
    },
    /// Of each property that changed: its value from now on, if it has one.
    Change(Vec<(String, Option<Value>)>),
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) uploads: Vec<Upload>,
    pub(crate) items: Vec<Item>,
    /// Places in `items` by uid.
    uids: BTreeMap<String, usize>,
    /// Of each record of the event log: its offset and a hash of it.
    records: Vec<(u64, u64)>,
    read_to: u64,
}

impl Model {
    /// Reads what the event log has grown by.
    pub(crate) fn read(&mut self, events: &Log) -> Result<(), String> {
        if events.end() < self.read_to {
            return Err(format!(
                "the event log ended at {}, now at {}",
                self.read_to,
                events.end()
            ));
        }
        if events.end() == self.read_to {
            return Ok(());
        }
        let failed = |error| told("event log", &error);
        let mut reader = events.reader(self.read_to).map_err(failed)?;
        while let Some(record) = reader.next().map_err(failed)? {
            self.records.push((record.offset, xxh3_64(&record.payload)));
            let batch = AppliedBatch::decode(&record.payload);
            let batch = batch.map_err(|error| told("event log", &error))?;
            for (index, item) in (0..).zip(&batch.items) {
                self.add(Place { offset: record.offset, index }, item)?;
            }
            self.read_to = record.next;
        }
        Ok(())
    }

    fn add(&mut self, place: Place, item: &Applied<'_>) -> Result<(), String> {
        let (user_id, what) = match item {
            Applied::Event(event) => {
                let properties = json(event.event_properties.unwrap_or("{}"));
                let uid = properties.get(UID).and_then(Value::as_str).unwrap_or_default();
                let uid = uid.to_owned();
                if self.uids.insert(uid.clone(), self.items.len()).is_some() {
                    return Err(format!("event {uid} was applied twice"));
                }
                (event.user_id, What::Event { event_type: event.event_type.to_owned(), uid })
            }
            Applied::UserChange(change) => {
                let changes = change.changes.iter();
                let changes = changes.map(|one| (one.name.to_owned(), one.to.map(json)));
                (change.user_id, What::Change(changes.collect()))
            }
            Applied::GroupChange(_)
            | Applied::Merge(_)
            | Applied::Identified(_)
            | Applied::Erasure(_)
            | Applied::Erased
            | Applied::Identify(_) => return Ok(()),
        };
        self.items.push(Item { place, user_id: user_id.map(str::to_owned), what });
        Ok(())
    }

    /// Reads the event log again from its start: it must hold what it held.
    pub(crate) fn read_again(&self, events: &Log) -> Result<(), String> {
        let failed = |error| told("event log", &error);
        let mut reader = events.reader(events.start()).map_err(failed)?;
        for (offset, hash) in &self.records {
            let record = reader.next().map_err(failed)?;
            let found = record.map(|record| (record.offset, xxh3_64(&record.payload)));
            if found != Some((*offset, *hash)) {
                return Err(format!("the event log has another record at {offset} than before"));
            }
        }
        Ok(())
    }

    /// Every acknowledged event is in the event log, and nothing that was refused is.
    pub(crate) fn check_uploads(&self) -> Result<(), String> {
        let mut known = 0;
        for upload in &self.uploads {
            for uid in &upload.uids {
                let applied = self.uids.contains_key(uid);
                known += usize::from(applied);
                match (upload.fate, applied) {
                    (Fate::Acknowledged, false) => {
                        return Err(format!("event {uid} was acknowledged and is not applied"));
                    }
                    (Fate::Refused, true) => {
                        return Err(format!("event {uid} was refused and is applied"));
                    }
                    _ => {}
                }
            }
        }
        if known != self.uids.len() {
            return Err("the event log has events that nobody uploaded".to_owned());
        }
        Ok(())
    }

    /// The event with this uid.
    pub(crate) fn event(&self, uid: &str) -> Option<&Item> {
        self.items.get(*self.uids.get(uid)?)
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
