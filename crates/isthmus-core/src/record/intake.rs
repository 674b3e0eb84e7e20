//! Records of the intake log.

use super::{RecordError, decode, encode};
use serde::{Deserialize, Serialize};

/// Version 1 had no [`Source::Command`] and no commands, version 2 no [`Source::Currents`] and nothing
/// of it.
const VERSION: u8 = 3;
/// Bytes that an event takes, and more than most: room that is not used costs nothing.
const EXPECTED_PER_EVENT: usize = 512;

/// Which door an intake batch came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// `POST /2/httpapi`.
    HttpApi,
    /// `POST /batch`.
    Batch,
    /// `/identify`: user properties without an event.
    Identify,
    /// `/groupidentify`: group properties without an event.
    GroupIdentify,
    /// No door for events: commands that take effect in their place among the events.
    Command,
    /// Braze Currents, by HTTP or from files; see [`CurrentsBatch`].
    Currents,
}

/// Something that changes what is known of people, and that is no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command<'a> {
    /// `/usermap`: queries count `user_id` as `global_user_id`; `None` takes that back.
    Map { user_id: &'a str, global_user_id: Option<&'a str> },
    /// Forget a person; see [`Erase`].
    #[serde(borrow)]
    Erase(Erase<'a>),
    /// Tell streams of a person's present properties again, as on the first sight.
    Retell { user: crate::AmplitudeId },
    /// Change something [`Unusable`], or let it go.
    Mend(Mend<'a>),
}

/// What became of something [`Unusable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mend<'a> {
    /// Name of the `currents_source` that brought it.
    pub source: &'a str,
    /// Offset of the intake record that brought it, and its index among what was unusable there.
    pub place: crate::Place,
    /// What it is now; nothing where it is let go: sent through the door again, or thrown away.
    pub raw: Option<&'a str>,
}

/// Removes one person and everybody who was merged into them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erase<'a> {
    pub user: crate::AmplitudeId,
    /// What later answers call this erasure.
    pub request: &'a str,
    /// Keep a salted hash of the person's ids, and drop later events that carry one of them.
    pub refuse_later: bool,
}

/// Everything one accepted request carried, in the order it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeBatch<'a> {
    /// Name of the project whose key the request carried.
    pub project: &'a str,
    pub source: Source,
    /// When the request arrived, in milliseconds since the Unix epoch.
    pub received_at: i64,
    /// The client's clock at upload, in milliseconds since the Unix epoch, if it said.
    pub client_upload_time: Option<i64>,
    /// Address the request came from.
    pub remote_address: Option<&'a str>,
    #[serde(borrow)]
    pub events: Vec<IntakeEvent<'a>>,
    /// After the events.
    #[serde(borrow)]
    pub commands: Vec<Command<'a>>,
    /// What the events of [`Source::Currents`] have in common.
    #[serde(borrow)]
    pub currents: Option<CurrentsBatch<'a>>,
}

/// Events of Braze Currents that arrived together.
///
/// The events stand in [`IntakeBatch::events`]: `event_type` is Braze's own, `user_id` its
/// `external_user_id`, `insert_id` its `id`, `event_properties` its `properties` in the form of the
/// HTTP connector, and `fields` holds everything else, Braze's `user_id` and `timezone` among it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentsBatch<'a> {
    /// Name of the `currents_source`.
    pub source: &'a str,
    /// What the ids of its events are unique within: sources of the same events share one.
    pub scope: &'a str,
    /// How Amplitude shows the events, as a raw JSON object that the Braze crate reads; empty for the
    /// documented form. In the record, so that applying it again gives the same.
    pub form: &'a str,
    /// Which of the events came from us.
    #[serde(borrow)]
    pub echoes: Vec<Echo<'a>>,
    /// What cannot be read as an event, after the commands.
    #[serde(borrow)]
    pub unusable: Vec<Unusable<'a>>,
}

/// An event that a stream of ours told Braze, and that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo<'a> {
    /// Its index among the events of the batch.
    pub event: u32,
    #[serde(borrow)]
    pub of: Sent<'a>,
}

/// An object that a stream sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent<'a> {
    pub destination: &'a str,
    pub stream: &'a str,
    /// The item of the event log it was mapped from.
    pub place: crate::Place,
    /// Which of the objects mapped from that item it is.
    pub part: u16,
}

/// Something that is no event, with why: kept until somebody mends it or throws it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unusable<'a> {
    /// As it came.
    pub raw: &'a str,
    /// What is wrong with it; names the field.
    pub reason: &'a str,
    /// The file it was read from, where it was.
    pub file: Option<&'a str>,
}

impl Unusable<'_> {
    /// What stands where something was that named a person who is forgotten.
    pub fn erased() -> Self {
        Self { raw: "", reason: "", file: None }
    }

    /// Whether this is [`Self::erased`].
    pub fn is_erased(&self) -> bool {
        *self == Self::erased()
    }
}

/// A batch as version 1 wrote it.
#[derive(Deserialize)]
struct IntakeBatchV1<'a> {
    project: &'a str,
    source: Source,
    received_at: i64,
    client_upload_time: Option<i64>,
    remote_address: Option<&'a str>,
    #[serde(borrow)]
    events: Vec<IntakeEvent<'a>>,
}

impl<'a> From<IntakeBatchV1<'a>> for IntakeBatch<'a> {
    fn from(old: IntakeBatchV1<'a>) -> Self {
        Self {
            project: old.project,
            source: old.source,
            received_at: old.received_at,
            client_upload_time: old.client_upload_time,
            remote_address: old.remote_address,
            events: old.events,
            commands: Vec::new(),
            currents: None,
        }
    }
}

/// A batch as version 2 wrote it.
#[derive(Deserialize)]
struct IntakeBatchV2<'a> {
    project: &'a str,
    source: Source,
    received_at: i64,
    client_upload_time: Option<i64>,
    remote_address: Option<&'a str>,
    #[serde(borrow)]
    events: Vec<IntakeEvent<'a>>,
    #[serde(borrow)]
    commands: Vec<Command<'a>>,
}

impl<'a> From<IntakeBatchV2<'a>> for IntakeBatch<'a> {
    fn from(old: IntakeBatchV2<'a>) -> Self {
        Self {
            project: old.project,
            source: old.source,
            received_at: old.received_at,
            client_upload_time: old.client_upload_time,
            remote_address: old.remote_address,
            events: old.events,
            commands: old.commands,
            currents: None,
        }
    }
}

/// One event, or one identification of `/identify` and `/groupidentify`, which have the event
/// types `$identify` and `$groupidentify` here.
///
/// Ids are trimmed, checked and present as the spec demands; JSON texts are valid objects within
/// the documented depth and length.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IntakeEvent<'a> {
    pub event_type: &'a str,
    pub user_id: Option<&'a str>,
    pub device_id: Option<&'a str>,
    pub insert_id: Option<&'a str>,
    /// Event time on the client's clock, in milliseconds since the Unix epoch.
    pub time: Option<i64>,
    /// Start of the session in milliseconds since the Unix epoch; absent or -1 means none.
    pub session_id: Option<i64>,
    /// The client's event counter.
    pub event_id: Option<i64>,
    /// `$skip_user_properties_sync`: neither read nor write the profile for this event.
    pub skip_user_properties_sync: bool,
    /// Raw JSON object.
    pub event_properties: Option<&'a str>,
    /// Raw JSON object of plain keys and operations (`$set`, `$add`, ...).
    pub user_properties: Option<&'a str>,
    /// Raw JSON object: group type to name or list of names.
    pub groups: Option<&'a str>,
    /// Raw JSON object of operations; only with `$groupidentify`.
    pub group_properties: Option<&'a str>,
    /// Raw JSON object of all other fields as they were sent, unknown ones included.
    pub fields: Option<&'a str>,
}

impl IntakeEvent<'_> {
    /// What stands where an event was that is forgotten. It does nothing when it is applied.
    ///
    /// A client may send this event type too, but never without any id.
    pub fn erased() -> Self {
        Self { event_type: "$erased", ..Self::default() }
    }

    /// Whether this is [`Self::erased`].
    pub fn is_erased(&self) -> bool {
        *self == Self::erased()
    }
}

impl Command<'_> {
    /// What stands where a mapping was that is forgotten: it takes back what nobody has.
    pub fn erased() -> Self {
        Self::Map { user_id: "", global_user_id: None }
    }
}

impl<'a> IntakeBatch<'a> {
    /// The bytes of this batch.
    pub fn encode(&self) -> Vec<u8> {
        encode(VERSION, self, self.events.len() * EXPECTED_PER_EVENT)
    }

    /// Reads what [`Self::encode`] wrote, or an earlier version of it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        match bytes.first() {
            Some(1) => decode::<IntakeBatchV1<'a>>(1, bytes).map(Self::from),
            Some(2) => decode::<IntakeBatchV2<'a>>(2, bytes).map(Self::from),
            _ => decode(VERSION, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_inverts_encode(
            kind: String,
            user in any::<Option<String>>(),
            raw in any::<Option<String>>(),
            time in any::<Option<i64>>(),
            flag: bool,
        ) {
            let event = IntakeEvent {
                event_type: &kind,
                user_id: user.as_deref(),
                event_properties: raw.as_deref(),
                time,
                skip_user_properties_sync: flag,
                ..IntakeEvent::default()
            };
            let batch = IntakeBatch {
                project: "shop",
                source: Source::Batch,
                received_at: 5,
                client_upload_time: time,
                remote_address: None,
                events: vec![event.clone(), event],
                commands: vec![
                    Command::Map { user_id: &kind, global_user_id: user.as_deref() },
                    Command::Erase(Erase {
                        user: crate::AmplitudeId(7),
                        request: &kind,
                        refuse_later: flag,
                    }),
                    Command::Retell { user: crate::AmplitudeId(8) },
                    Command::Mend(Mend {
                        source: &kind,
                        place: crate::Place { offset: 9, index: 0 },
                        raw: user.as_deref(),
                    }),
                ],
                currents: flag.then(|| CurrentsBatch {
                    source: &kind,
                    scope: "",
                    form: "{}",
                    echoes: vec![Echo {
                        event: 1,
                        of: Sent {
                            destination: "braze",
                            stream: &kind,
                            place: crate::Place { offset: 9, index: 1 },
                            part: 2,
                        },
                    }],
                    unusable: vec![Unusable { raw: &kind, reason: "no `id`", file: None }],
                }),
            };
            let bytes = batch.encode();
            prop_assert_eq!(IntakeBatch::decode(&bytes), Ok(batch));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            drop(IntakeBatch::decode(&bytes));
        }
    }

    /// What version 1 wrote ends where the commands begin, what version 2 wrote before Currents.
    #[test]
    fn earlier_versions_are_read() {
        let batch = IntakeBatch {
            project: "shop",
            source: Source::Batch,
            received_at: 5,
            client_upload_time: None,
            remote_address: Some("::1"),
            events: vec![IntakeEvent { event_type: "Opened", ..IntakeEvent::default() }],
            commands: Vec::new(),
            currents: None,
        };
        let mut bytes = batch.encode();
        for (version, last) in [(2, "no Currents"), (1, "no commands")] {
            assert_eq!(bytes.pop(), Some(0), "{last}");
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            assert_eq!(IntakeBatch::decode(&bytes), Ok(batch.clone()));
        }
    }
}
