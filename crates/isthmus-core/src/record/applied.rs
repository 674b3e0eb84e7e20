//! Records of the event log.

mod earlier;

use super::intake::{Sent, Source};
use super::{RecordError, decode, encode};
use crate::{AmplitudeId, Place};
use serde::{Deserialize, Serialize};

/// Version 1 had fewer kinds of items than version 2; both had events without what only those who
/// pass them on need, and without Currents.
const VERSION: u8 = 3;
/// Bytes that an item takes, and more than most: room that is not used costs nothing.
const EXPECTED_PER_ITEM: usize = 512;

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
    /// An `$identify` or `$groupidentify` as it was sent; what it changed follows.
    #[serde(borrow)]
    Identify(AppliedIdentify<'a>),
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
    /// Raw JSON object of plain keys and operations, as they were sent with the event.
    pub sent_user_properties: Option<&'a str>,
    /// `$skip_user_properties_sync`: the event has its own user properties and no others.
    pub skip_user_properties_sync: bool,
    /// Address the request came from.
    pub remote_address: Option<&'a str>,
    /// Set where Braze Currents brought the event.
    #[serde(borrow)]
    pub currents: Option<Box<CurrentsEvent<'a>>>,
}

/// What an event of Braze Currents has beside what Amplitude shows of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CurrentsEvent<'a> {
    /// Name of the `currents_source` that brought it.
    pub source: &'a str,
    /// Braze's own type, for example `users.messages.email.Open`.
    pub event_type: &'a str,
    /// Braze's own user id.
    pub braze_id: Option<&'a str>,
    /// IANA time zone of the user.
    pub timezone: Option<&'a str>,
    /// `email`, `push`, `sms`, ...; what the type is about.
    pub channel: Option<&'a str>,
    /// `send`, `delivery`, `open`, `click`, ...; what happened.
    pub action: Option<&'a str>,
    pub campaign_id: Option<&'a str>,
    pub canvas_id: Option<&'a str>,
    pub canvas_step_id: Option<&'a str>,
    pub canvas_variation_id: Option<&'a str>,
    pub message_variation_id: Option<&'a str>,
    pub dispatch_id: Option<&'a str>,
    pub send_id: Option<&'a str>,
    pub app_id: Option<&'a str>,
    /// Everything the event has to say, as a raw JSON object in the form of the HTTP connector.
    pub properties: &'a str,
    /// Raw JSON object of what stood beside `user` and `properties` and is in no documentation.
    pub other: Option<&'a str>,
    /// Why Braze does not show such an event to Amplitude, where it does not.
    pub not_exported: Option<&'a str>,
    /// What we told Braze, where this is the echo of it.
    #[serde(borrow)]
    pub echo: Option<Sent<'a>>,
}

/// An `$identify` or `$groupidentify`, for those who pass it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedIdentify<'a> {
    pub project: &'a str,
    /// The door it came through.
    pub source: Source,
    /// `$identify` or `$groupidentify`.
    pub event_type: &'a str,
    /// The person; nobody where a `$groupidentify` came without ids.
    pub user: AmplitudeId,
    pub user_id: Option<&'a str>,
    /// As sent: never derived.
    pub device_id: Option<&'a str>,
    pub insert_id: Option<&'a str>,
    /// As the client stamped it, in milliseconds since the Unix epoch, if it did.
    pub time: Option<i64>,
    /// When the request arrived, in milliseconds since the Unix epoch.
    pub received_at: i64,
    pub session_id: Option<i64>,
    pub event_id: Option<i64>,
    pub skip_user_properties_sync: bool,
    /// Raw JSON object.
    pub event_properties: Option<&'a str>,
    /// Raw JSON object of plain keys and operations.
    pub user_properties: Option<&'a str>,
    /// Raw JSON object: group type to name or list of names.
    pub groups: Option<&'a str>,
    /// Raw JSON object of operations.
    pub group_properties: Option<&'a str>,
    /// Raw JSON object of all other fields as they were sent.
    pub fields: Option<&'a str>,
    /// Address the request came from.
    pub remote_address: Option<&'a str>,
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
    /// Braze's own ids that led to the person: those of people who had no user id.
    #[serde(borrow)]
    pub braze_ids: Vec<&'a str>,
    /// User properties at that moment, as one raw JSON object: streams that identify by one of them
    /// need it.
    pub user_properties: Option<&'a str>,
    pub received_at: i64,
}

impl<'a> AppliedBatch<'a> {
    /// The bytes of this batch.
    pub fn encode(&self) -> Vec<u8> {
        encode(VERSION, self, self.items.len() * EXPECTED_PER_ITEM)
    }

    /// Reads what [`Self::encode`] wrote, or an earlier version of it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        match bytes.first() {
            Some(&version @ 1..=2) => earlier::decode(version, bytes),
            _ => decode(VERSION, bytes),
        }
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
            Self::GroupChange(_)
            | Self::Merge(_)
            | Self::Identified(_)
            | Self::Erased
            | Self::Identify(_) => UserProperties::None,
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
            Self::Identify(identify) => identify.received_at,
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
            Self::Identify(identify) => identify.project,
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
                        sent_user_properties: Some(&raw),
                        skip_user_properties_sync: true,
                        remote_address: Some(&name),
                        currents: Some(Box::new(CurrentsEvent {
                            source: &name,
                            properties: &raw,
                            echo: Some(Sent { destination: &name, stream: "s", place, part: 1 }),
                            ..CurrentsEvent::default()
                        })),
                    }),
                    Applied::Identify(AppliedIdentify {
                        project: "shop",
                        source: Source::Identify,
                        event_type: "$identify",
                        user: AmplitudeId(offset),
                        user_id: Some(&name),
                        device_id: None,
                        insert_id: Some(&name),
                        time: Some(time),
                        received_at: time,
                        session_id: None,
                        event_id: Some(time),
                        skip_user_properties_sync: false,
                        event_properties: None,
                        user_properties: Some(&raw),
                        groups: Some(&raw),
                        group_properties: None,
                        fields: Some(&raw),
                        remote_address: None,
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
