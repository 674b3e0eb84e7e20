//! Whom an erasure is about, as the applier found.

use crate::catalog::deletions::Deletion;
use anyhow::Context;
use isthmus_core::record::{Applied, AppliedBatch, Erasure};
use isthmus_core::{AmplitudeId, Place};
use isthmus_ingest::erasure::Forgotten;
use isthmus_log::Log;
use serde::{Deserialize, Serialize};

/// Kept in the catalog until they are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    /// Where the erasure stands in the event log: offset and index.
    place: Option<(u64, u32)>,
    users: Vec<u64>,
    user_id: Option<String>,
    device_ids: Vec<String>,
    #[serde(default)]
    braze_ids: Vec<String>,
}

impl Subject {
    /// Nobody was there.
    pub(super) fn nobody() -> Self {
        Self {
            place: None,
            users: Vec::new(),
            user_id: None,
            device_ids: Vec::new(),
            braze_ids: Vec::new(),
        }
    }

    /// The one that the catalog holds, once it does.
    pub(super) fn of(deletion: &Deletion) -> anyhow::Result<Option<Self>> {
        let text = deletion.subject.as_deref();
        text.map(|text| serde_json::from_str(text).context("subject of a deletion")).transpose()
    }

    pub(super) fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// Looks for the erasure called `request` in `events`, at `from` or later. Blocks the thread.
    pub(super) fn find(events: &Log, from: u64, request: &str) -> anyhow::Result<Option<Self>> {
        let mut reader = events.reader(from.max(events.start()))?;
        while let Some(record) = reader.next()? {
            let batch = AppliedBatch::decode(&record.payload)?;
            for (index, item) in (0..).zip(&batch.items) {
                if let Applied::Erasure(erasure) = item
                    && erasure.request == request
                {
                    let place = Place { offset: record.offset, index };
                    return Ok(Some(Self::new(place, erasure)));
                }
            }
        }
        Ok(None)
    }

    fn new(place: Place, erasure: &Erasure<'_>) -> Self {
        Self {
            place: Some((place.offset, place.index)),
            users: erasure.users.iter().map(|user| user.0).collect(),
            user_id: erasure.user_id.map(str::to_owned),
            device_ids: erasure.device_ids.iter().map(|id| (*id).to_owned()).collect(),
            braze_ids: erasure.braze_ids.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.place.map(|(offset, index)| Place { offset, index })
    }

    pub(super) fn amplitude_ids(&self) -> Vec<u64> {
        self.users.clone()
    }

    /// How many ids led to the person.
    pub(super) fn ids(&self) -> usize {
        self.device_ids.len() + self.braze_ids.len() + usize::from(self.user_id.is_some())
    }

    /// Adds them to those whom the logs forget.
    pub(super) fn add_to(&self, forgotten: Forgotten, project: &str) -> Forgotten {
        let braze_ids = self.braze_ids.iter().map(String::as_str);
        forgotten
            .with(
                project,
                self.users.iter().copied().map(AmplitudeId),
                self.user_id.as_deref(),
                self.device_ids.iter().map(String::as_str),
            )
            .with_braze_ids(project, braze_ids)
    }

    /// Whether `item` is about them.
    pub(super) fn is_about(&self, item: &Applied<'_>) -> bool {
        let is = |user: AmplitudeId| self.users.contains(&user.0);
        match item {
            Applied::Event(event) => is(event.user),
            Applied::UserChange(change) => is(change.user),
            Applied::Merge(merge) => is(merge.anonymous) || is(merge.into),
            Applied::Identified(identified) => is(identified.user),
            Applied::Identify(identify) => is(identify.user),
            Applied::Erasure(erasure) => erasure.users.iter().any(|user| is(*user)),
            Applied::GroupChange(_) | Applied::Erased => false,
        }
    }

    /// Whether `text`, which is JSON or contains some, names one of their ids.
    pub(super) fn is_named_in(&self, text: &str) -> bool {
        let ids = self.device_ids.iter().chain(&self.braze_ids).chain(&self.user_id);
        ids.into_iter().any(|id| {
            let mut quoted = String::new();
            isthmus_core::json::push_text(&mut quoted, id);
            text.contains(&quoted)
        })
    }
}
