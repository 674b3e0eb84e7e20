//! Currents: what happens in the sandbox leaves it as Braze exports it.
//!
//! In reading order:
//! - `catalogue`, `event`: what Braze exports, and the form of one event.
//! - `definition`: a connector as somebody wrote it; `connector`: its queues and what an answer
//!   means; `view`: what can be seen of it.
//! - `send`: the requests of a connector; `file`: its files.
//! - `export`: from what happened to events; `believable`: events from nothing but a seed.
//! - `api`: `/_sandbox/currents`; [`CurrentsHandle`]: the same from the same process.
//!
//! Sources: "Currents", "Custom Currents Export" and the event glossaries, Braze documentation,
//! read 2026-09.

mod api;
pub mod believable;
mod catalogue;
mod connector;
mod definition;
mod event;
mod export;
mod file;
mod handle;
mod send;
mod view;

pub use self::file::{Codec, FileError};
pub use self::handle::{CurrentsHandle, TestBody};
pub use self::view::{ConnectorView, Counts, Dropped, LastError, Standing, TypeCounts};

pub(crate) use self::api::routes;
pub(crate) use self::catalogue::Kind;
pub(crate) use self::connector::draw;
pub(crate) use self::event::Event;
pub(crate) use self::export::{Exporter, of_happening};
pub(crate) use self::send::{Parcel, Sent};

use self::connector::Connector;
use self::definition::{Definition, To, shown};
use self::file::Bucket;
use crate::model::Moment;
use crate::written::DefinitionError;
use isthmus_core::seam::Random;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Connectors of one workspace.
const CONNECTORS_MAX: usize = 100;

/// The connectors of a workspace.
#[derive(Debug, Default)]
pub(crate) struct Currents {
    by_name: BTreeMap<String, Named>,
    defined: u64,
}

#[derive(Debug)]
struct Named {
    /// Tells it from another one that had its name before.
    number: u64,
    written: Value,
    connector: Connector,
    /// Where its files go.
    bucket: Option<Bucket>,
    /// Of the next file, and never used twice.
    offset: u64,
}

impl Currents {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Defines a connector, anew or otherwise than before.
    pub(crate) fn put(
        &mut self,
        name: &str,
        written: &Value,
        now: Moment,
        random: &dyn Random,
    ) -> Result<(), DefinitionError> {
        let definition = Definition::read(written)?;
        if !self.by_name.contains_key(name) && self.by_name.len() >= CONNECTORS_MAX {
            let problem = format!("there are {CONNECTORS_MAX} connectors already");
            return Err(DefinitionError::new("", problem));
        }
        let former = self.by_name.remove(name);
        let stem = former.as_ref().and_then(|named| named.bucket.as_ref()).map(|b| b.stem.clone());
        let bucket = match &definition.to {
            To::Http(_) => None,
            To::Folder(folder) => Some(folder.bucket(stem.as_deref(), random)),
        };
        let written = shown(written);
        let named = if let Some(Named { number, mut connector, offset, .. }) = former {
            connector.redefine(definition);
            Named { number, written, connector, bucket, offset }
        } else {
            self.defined += 1;
            let number = self.defined;
            let offset = u64::try_from(now.wall.as_millis()).unwrap_or(0);
            Named { number, written, connector: Connector::new(definition), bucket, offset }
        };
        self.by_name.insert(name.to_owned(), named);
        Ok(())
    }

    /// Removes a connector with everything that waits in it; whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.by_name.remove(name).is_some()
    }

    /// Lets every connector begin anew, with nothing queued and nothing counted.
    pub(crate) fn reset(&mut self) {
        for named in self.by_name.values_mut() {
            self.defined += 1;
            named.number = self.defined;
            named.connector = Connector::new(named.connector.definition.clone());
        }
    }

    /// Queues an event in every connector that exports its type.
    pub(crate) fn push(&mut self, event: Event, now: Moment, random: &dyn Random) {
        let event = Arc::new(event);
        for named in self.by_name.values_mut() {
            named.connector.push(&event, now, random);
        }
    }

    /// What is to be sent now; each is under way until [`Self::close`].
    pub(crate) fn due(&mut self, now: Moment) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        for (name, named) in &mut self.by_name {
            for batch in named.connector.due(now) {
                parcels.push(named.parcel(name, batch, now));
            }
        }
        parcels
    }

    /// When there will be something to send.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.by_name.values().filter_map(|named| named.connector.next_due()).min()
    }

    /// Takes note of how sending ended. A connector that was removed meanwhile has no use for it.
    pub(crate) fn close(&mut self, sent: Sent, now: Moment, random: &dyn Random) {
        if let Some(named) = self.by_name.get_mut(&sent.connector)
            && named.number == sent.number
        {
            named.connector.close(sent.batch, &sent.outcome, now, random);
        }
    }

    /// Lets everything that waits be sent now; whether there is such a connector.
    pub(crate) fn flush(&mut self, name: &str, now: Moment) -> bool {
        let named = self.by_name.get_mut(name);
        named.is_some_and(|named| {
            named.connector.flush(now);
            true
        })
    }

    /// What waits for its file, as the sandbox ends.
    pub(crate) fn due_files(&mut self, now: Moment) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        for (name, named) in self.by_name.iter_mut().filter(|(_, named)| named.bucket.is_some()) {
            named.connector.end();
            named.connector.flush(now);
            loop {
                let batches = named.connector.due(now);
                if batches.is_empty() {
                    break;
                }
                named.connector.end();
                parcels.extend(batches.into_iter().map(|batch| named.parcel(name, batch, now)));
            }
        }
        parcels
    }

    /// Queues one believable event of every ticked type, as "send test events" does; how many.
    pub(crate) fn push_test_events(
        &mut self,
        name: &str,
        now: Moment,
        random: &dyn Random,
    ) -> Option<usize> {
        let named = self.by_name.get_mut(name)?;
        let kinds: Vec<&'static Kind> = named.connector.definition.ticked().collect();
        for kind in &kinds {
            let event = believable::event(kind, "test", now.wall, random);
            named.connector.push(&Arc::new(event), now, random);
        }
        Some(kinds.len())
    }

    pub(crate) fn views(&self) -> Vec<ConnectorView> {
        self.by_name.iter().map(|(name, named)| named.view(name)).collect()
    }

    /// Ids and types of everything that a connector was given, and how many are forgotten.
    pub(crate) fn ids(
        &self,
        name: &str,
    ) -> Option<(impl ExactSizeIterator<Item = (&str, &'static str)>, u64)> {
        self.by_name.get(name).map(|named| named.connector.ids())
    }

    pub(crate) fn view(&self, name: &str) -> Option<ConnectorView> {
        self.by_name.get(name).map(|named| named.view(name))
    }
}

impl Named {
    fn view(&self, name: &str) -> ConnectorView {
        ConnectorView {
            name: name.to_owned(),
            definition: self.written.clone(),
            standing: self.connector.standing(),
            queued: self.connector.queued(),
            counts: self.connector.counts().clone(),
            last_error: self.connector.last_error().cloned(),
            types: self.connector.types(),
        }
    }
}
