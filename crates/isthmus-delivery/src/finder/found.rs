//! An item that was found, apart from the record it was in.

use super::block;
use isthmus_core::record::Applied;
use isthmus_core::{AmplitudeId, Place, Timestamp};

/// One item of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub place: Place,
    pub kind: FoundKind,
    /// The event type; for other kinds what they are: `user update`, `group update`, `merge`.
    pub name: String,
    pub project: String,
    /// Of a merge the known person; of a group nobody.
    pub amplitude_id: Option<AmplitudeId>,
    pub user_id: Option<String>,
    /// As sent, or derived from the user id when none was sent.
    pub device_id: Option<String>,
    /// Of the event, or of what caused the update.
    pub insert_id: Option<String>,
    /// Corrected for the client's clock.
    pub event_time: Timestamp,
    /// When the request arrived.
    pub received_at: Timestamp,
}

/// What kind of item it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundKind {
    Event,
    UserChange,
    GroupChange,
    Merge,
    Identified,
    Erasure,
    /// An identification as it was sent.
    Identify,
    /// Gone, with the person it was about.
    Erased,
}

impl Found {
    pub(super) fn new(place: Place, item: &Applied<'_>) -> Self {
        let (kind, name, ids, event_time) = match item {
            Applied::Event(event) => {
                let ids = (event.user_id, Some(event.device_id));
                (FoundKind::Event, event.event_type, ids, event.event_time)
            }
            Applied::UserChange(change) => {
                let ids = (change.user_id, Some(change.device_id));
                (FoundKind::UserChange, "user update", ids, change.event_time)
            }
            Applied::GroupChange(change) => {
                (FoundKind::GroupChange, "group update", (None, None), change.event_time)
            }
            Applied::Merge(merge) => {
                let ids = (Some(merge.user_id), Some(merge.device_id));
                (FoundKind::Merge, "merge", ids, merge.event_time)
            }
            Applied::Identified(identified) => {
                let ids = (Some(identified.user_id), Some(identified.device_id));
                (FoundKind::Identified, "identified", ids, identified.event_time)
            }
            Applied::Erasure(erasure) => {
                (FoundKind::Erasure, "erasure", (erasure.user_id, None), erasure.received_at)
            }
            Applied::Identify(identify) => {
                let ids = (identify.user_id, identify.device_id);
                let time = identify.time.unwrap_or(identify.received_at);
                (FoundKind::Identify, identify.event_type, ids, time)
            }
            Applied::Erased => (FoundKind::Erased, "erased", (None, None), 0),
        };
        let (user_id, device_id) = ids;
        Self {
            place,
            kind,
            name: name.to_owned(),
            project: item.project().to_owned(),
            amplitude_id: block::person(item),
            user_id: user_id.map(str::to_owned),
            device_id: device_id.map(str::to_owned),
            insert_id: block::insert_id(item).map(str::to_owned),
            event_time: Timestamp::from_millis(event_time),
            received_at: Timestamp::from_millis(item.received_at()),
        }
    }
}
