//! The event log as versions 1 and 2 wrote it.

use super::{
    Applied, AppliedBatch, AppliedEvent, Erasure, GroupChange, Identified, IntakeRange, Merge,
    UserChange, UserProperties,
};
use crate::AmplitudeId;
use crate::record::RecordError;
use serde::Deserialize;

/// Reads a batch of `version`, 1 or 2: version 1 has fewer kinds of items, and those it has are the
/// same.
pub(super) fn decode(version: u8, bytes: &[u8]) -> Result<AppliedBatch<'_>, RecordError> {
    let batch: Batch<'_> = crate::record::decode(version, bytes)?;
    let items = batch.items.into_iter().map(Applied::from).collect();
    Ok(AppliedBatch { intake: batch.intake, received_at: batch.received_at, items })
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct Batch<'a> {
    intake: IntakeRange,
    received_at: i64,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
enum Item<'a> {
    #[serde(borrow)]
    Event(OldEvent<'a>),
    #[serde(borrow)]
    UserChange(UserChange<'a>),
    #[serde(borrow)]
    GroupChange(GroupChange<'a>),
    #[serde(borrow)]
    Merge(Merge<'a>),
    #[serde(borrow)]
    Identified(Identified<'a>),
    #[serde(borrow)]
    Erasure(OldErasure<'a>),
    Erased,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct OldErasure<'a> {
    project: &'a str,
    request: &'a str,
    users: Vec<AmplitudeId>,
    #[serde(borrow)]
    user_id: Option<&'a str>,
    #[serde(borrow)]
    device_ids: Vec<&'a str>,
    user_properties: Option<&'a str>,
    received_at: i64,
}

impl<'a> From<OldErasure<'a>> for Erasure<'a> {
    fn from(old: OldErasure<'a>) -> Self {
        Self {
            project: old.project,
            request: old.request,
            users: old.users,
            user_id: old.user_id,
            device_ids: old.device_ids,
            braze_ids: Vec::new(),
            user_properties: old.user_properties,
            received_at: old.received_at,
        }
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct OldEvent<'a> {
    project: &'a str,
    user: AmplitudeId,
    user_id: Option<&'a str>,
    device_id: &'a str,
    device_id_derived: bool,
    event_type: &'a str,
    event_time: i64,
    client_event_time: i64,
    received_at: i64,
    session_id: Option<i64>,
    event_id: Option<i64>,
    insert_id: Option<&'a str>,
    event_properties: Option<&'a str>,
    groups: Option<&'a str>,
    group_properties: Option<&'a str>,
    fields: Option<&'a str>,
    #[serde(borrow)]
    user_properties: UserProperties<'a>,
}

impl<'a> From<Item<'a>> for Applied<'a> {
    fn from(item: Item<'a>) -> Self {
        match item {
            Item::Event(event) => Self::Event(event.into()),
            Item::UserChange(change) => Self::UserChange(change),
            Item::GroupChange(change) => Self::GroupChange(change),
            Item::Merge(merge) => Self::Merge(merge),
            Item::Identified(identified) => Self::Identified(identified),
            Item::Erasure(erasure) => Self::Erasure(erasure.into()),
            Item::Erased => Self::Erased,
        }
    }
}

impl<'a> From<OldEvent<'a>> for AppliedEvent<'a> {
    fn from(old: OldEvent<'a>) -> Self {
        Self {
            project: old.project,
            user: old.user,
            user_id: old.user_id,
            device_id: old.device_id,
            device_id_derived: old.device_id_derived,
            event_type: old.event_type,
            event_time: old.event_time,
            client_event_time: old.client_event_time,
            received_at: old.received_at,
            session_id: old.session_id,
            event_id: old.event_id,
            insert_id: old.insert_id,
            event_properties: old.event_properties,
            groups: old.groups,
            group_properties: old.group_properties,
            fields: old.fields,
            user_properties: old.user_properties,
            sent_user_properties: None,
            skip_user_properties_sync: false,
            remote_address: None,
            currents: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;
    use crate::record::encode;

    #[test]
    fn earlier_versions_are_read() {
        let place = Place { offset: 7, index: 1 };
        let intake = IntakeRange { from: Place::default(), to: place };
        let event = OldEvent {
            project: "shop",
            user: AmplitudeId(4),
            user_id: Some("u-1"),
            device_id: "d",
            device_id_derived: false,
            event_type: "Opened",
            event_time: 5,
            client_event_time: 6,
            received_at: 7,
            session_id: None,
            event_id: Some(8),
            insert_id: None,
            event_properties: Some("{}"),
            groups: None,
            group_properties: None,
            fields: Some(r#"{"library":"x"}"#),
            user_properties: UserProperties::At(place),
        };
        let items = vec![Item::Erased, Item::Event(event)];
        let old = Batch { intake, received_at: 9, items };
        for version in [1, 2] {
            let bytes = encode(version, &old, 0);
            let read = AppliedBatch::decode(&bytes).expect("an earlier version");
            assert_eq!((read.intake, read.received_at), (intake, 9));
            let [Applied::Erased, Applied::Event(event)] = &read.items[..] else {
                panic!("{:?}", read.items)
            };
            assert_eq!((event.user_id, event.event_id), (Some("u-1"), Some(8)));
            assert_eq!(event.fields, Some(r#"{"library":"x"}"#));
            assert_eq!(event.user_properties, UserProperties::At(place));
            assert_eq!(event.currents, None);
        }
    }
}
