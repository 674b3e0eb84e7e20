//! Records of the event log.

use super::{RecordError, decode, encode};
use crate::{AmplitudeId, Place};
use serde::{Deserialize, Serialize};

/// Version 1 had fewer kinds of items; what it has is the same.
const VERSION: u8 = 2;

/// What one run of the applier over part of the intake log produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedBatch<'a> {
    /// The part of the intake log that this batch covers.
    pub intake: IntakeRange,
    /// When the first request covered arrived, in milliseconds since the Unix epoch.
    pub received_at: i64,
    #[serde(borrow)]
    pub items: Vec<Applied<'a>>,
}

/// Places in the intake log: from the first event covered to the first one not covered. A large
/// request can be covered by several batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeRange {
    pub from: Place,
    pub to: Place,
}

/// One thing that happened, in the order it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied<'a> {
    /// An event with its person.
    #[serde(borrow)]
    Event(AppliedEvent<'a>),
    /// User properties changed, or a user was seen for the first time.
    #[serde(borrow)]
    UserChange(UserChange<'a>),
    /// Group properties changed.
    #[serde(borrow)]
    GroupChange(GroupChange<'a>),
    /// An anonymous person turned out to be a known one.
    #[serde(borrow)]
    Merge(Merge<'a>),
    /// An anonymous person got a user id: their events under the device are the user's.
    #[serde(borrow)]
    Identified(Identified<'a>),
    /// A person is to be forgotten, here and wherever they were told about.
    #[serde(borrow)]
    Erasure(Erasure<'a>),
    /// What stood here was about a person who was forgotten.
    Erased,
}

/// An event, deduplicated, with its person and its corrected time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedEvent<'a> {
    pub project: &'a str,
    pub user: AmplitudeId,
    pub user_id: Option<&'a str>,
    /// As sent, or derived from the user id when none was sent.
    pub device_id: &'a str,
    /// Whether `device_id` was derived.
    pub device_id_derived: bool,
    pub event_type: &'a str,
    /// Corrected for the client's clock, in milliseconds since the Unix epoch.
    pub event_time: i64,
    /// As the client stamped it, in milliseconds since the Unix epoch.
    pub client_event_time: i64,
    /// When the request arrived, in milliseconds since the Unix epoch.
    pub received_at: i64,
    pub session_id: Option<i64>,
    pub event_id: Option<i64>,
    pub insert_id: Option<&'a str>,
    /// Raw JSON object.
    pub event_properties: Option<&'a str>,
    /// Raw JSON object: group type to name or list of names.
    pub groups: Option<&'a str>,
    /// Properties of those groups at this moment, where they have any. Raw JSON object: group type
    /// to group name to property to value.
    pub group_properties: Option<&'a str>,
    /// Raw JSON object of all other fields as they were sent.
    pub fields: Option<&'a str>,
    #[serde(borrow)]
    pub user_properties: UserProperties<'a>,
}

/// The user properties at the moment of an item.
///
/// A rich profile would multiply the log, so it is written once and then referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserProperties<'a> {
    /// No properties at all.
    None,
    /// Raw JSON object, whole.
    Inline(&'a str),
    /// The same as those inlined at this earlier place of the event log.
    At(Place),
}

/// User properties that changed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserChange<'a> {
    pub project: &'a str,
    pub user: AmplitudeId,
    pub user_id: Option<&'a str>,
    /// As sent, or derived from the user id when none was sent.
    pub device_id: &'a str,
    /// Whether `device_id` was derived.
    pub device_id_derived: bool,
    /// Event time of the cause, in milliseconds since the Unix epoch.
    pub event_time: i64,
    /// When the request arrived, in milliseconds since the Unix epoch.
    pub received_at: i64,
    /// Insert id of the cause, if it had one.
    pub insert_id: Option<&'a str>,
    /// Whether this is the first sight of this user id, or of this device id when there is none.
    pub first_seen: bool,
    /// Whether the device id leads to this person only since now.
    pub first_seen_on_device: bool,
    #[serde(borrow)]
    pub changes: Vec<PropertyChange<'a>>,
    /// All properties after the change.
    #[serde(borrow)]
    pub user_properties: UserProperties<'a>,
}

/// One property: what it was and what it is, as raw JSON; absent means it has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyChange<'a> {
    pub name: &'a str,
    pub from: Option<&'a str>,
    pub to: Option<&'a str>,
}

/// Properties of one group that changed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupChange<'a> {
    pub project: &'a str,
    pub group_type: &'a str,
    pub group_name: &'a str,
    pub event_time: i64,
    pub received_at: i64,
    #[serde(borrow)]
    pub changes: Vec<PropertyChange<'a>>,
}

/// `anonymous` is the same person as `into` from now on; its stored events keep their id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge<'a> {
    pub project: &'a str,
    pub anonymous: AmplitudeId,
    pub into: AmplitudeId,
    pub user_id: &'a str,
    pub device_id: &'a str,
    pub event_time: i64,
    pub received_at: i64,
}

/// The person of `device_id`, anonymous until now, is `user_id`, who was never seen before.
///
/// Comes before everything that the person does under the user id. Where the user id was known
/// already, there is a [`Merge`] instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identified<'a> {
    pub project: &'a str,
    pub user: AmplitudeId,
    pub user_id: &'a str,
    pub device_id: &'a str,
    pub event_time: i64,
    pub received_at: i64,
}

/// A person and everybody who was merged into them are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure<'a> {
    pub project: &'a str,
    /// What later answers call this erasure.
    pub request: &'a str,
    /// The person, and those merged into them.
    pub users: Vec<AmplitudeId>,
    #[serde(borrow)]
    pub user_id: Option<&'a str>,
    /// Devices that the person was seen on last.
    #[serde(borrow)]
    pub device_ids: Vec<&'a str>,
    /// User properties at that moment, as one raw JSON object: streams that identify by one of them
    /// need it.
    pub user_properties: Option<&'a str>,
    pub received_at: i64,
}

impl<'a> AppliedBatch<'a> {
    /// The bytes of this batch.
    pub fn encode(&self) -> Vec<u8> {
        encode(VERSION, self)
    }

    /// Reads what [`Self::encode`] wrote, or version 1 of it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let version = bytes.first().copied().filter(|version| *version == 1);
        decode(version.unwrap_or(VERSION), bytes)
    }
}

impl<'a> Applied<'a> {
    /// The user properties that belong to this item.
    pub fn user_properties(&self) -> UserProperties<'a> {
        match self {
            Self::Event(event) => event.user_properties,
            Self::UserChange(change) => change.user_properties,
            Self::Erasure(erasure) => {
                erasure.user_properties.map_or(UserProperties::None, UserProperties::Inline)
            }
            Self::GroupChange(_) | Self::Merge(_) | Self::Identified(_) | Self::Erased => {
                UserProperties::None
            }
        }
    }

    /// When the request that caused this item arrived, in milliseconds since the Unix epoch; zero
    /// where the item was erased.
    pub fn received_at(&self) -> i64 {
        match self {
            Self::Event(event) => event.received_at,
            Self::UserChange(change) => change.received_at,
            Self::GroupChange(change) => change.received_at,
            Self::Merge(merge) => merge.received_at,
            Self::Identified(identified) => identified.received_at,
            Self::Erasure(erasure) => erasure.received_at,
            Self::Erased => 0,
        }
    }

    /// The project this item belongs to; empty where the item was erased.
    pub fn project(&self) -> &'a str {
        match self {
            Self::Event(event) => event.project,
            Self::UserChange(change) => change.project,
            Self::GroupChange(change) => change.project,
            Self::Merge(merge) => merge.project,
            Self::Identified(identified) => identified.project,
            Self::Erasure(erasure) => erasure.project,
            Self::Erased => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_inverts_encode(name: String, raw: String, offset: u64, index: u32, time: i64) {
            let place = Place { offset, index };
            let batch = AppliedBatch {
                intake: IntakeRange { from: Place::default(), to: place },
                received_at: time,
                items: vec![
                    Applied::UserChange(UserChange {
                        project: "shop",
                        user: AmplitudeId(offset),
                        user_id: Some(&name),
                        device_id: "d",
                        device_id_derived: true,
                        event_time: time,
                        received_at: time,
                        insert_id: None,
                        first_seen: true,
                        first_seen_on_device: false,
                        changes: vec![PropertyChange { name: &name, from: None, to: Some(&raw) }],
                        user_properties: UserProperties::Inline(&raw),
                    }),
                    Applied::Event(AppliedEvent {
                        project: "shop",
                        user: AmplitudeId(offset),
                        user_id: None,
                        device_id: &name,
                        device_id_derived: false,
                        event_type: &name,
                        event_time: time,
                        client_event_time: time,
                        received_at: time,
                        session_id: Some(time),
                        event_id: None,
                        insert_id: Some(&name),
                        event_properties: Some(&raw),
                        groups: None,
                        group_properties: Some(&raw),
                        fields: None,
                        user_properties: UserProperties::At(place),
                    }),
                ],
            };
            let bytes = batch.encode();
            prop_assert_eq!(AppliedBatch::decode(&bytes), Ok(batch));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            drop(AppliedBatch::decode(&bytes));
        }
    }
}
