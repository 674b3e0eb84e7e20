//! Records of the intake log.

use super::{RecordError, decode, encode};
use serde::{Deserialize, Serialize};

/// Version 1 had no [`Source::Command`] and no commands.
const VERSION: u8 = 2;

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
        encode(VERSION, self)
    }

    /// Reads what [`Self::encode`] wrote, or version 1 of it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        match bytes.first() {
            Some(1) => decode::<IntakeBatchV1<'a>>(1, bytes).map(Self::from),
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
                ],
            };
            let bytes = batch.encode();
            prop_assert_eq!(IntakeBatch::decode(&bytes), Ok(batch));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            drop(IntakeBatch::decode(&bytes));
        }
    }

    /// What version 1 wrote ends where the commands begin.
    #[test]
    fn version_one_is_read() {
        let batch = IntakeBatch {
            project: "shop",
            source: Source::Batch,
            received_at: 5,
            client_upload_time: None,
            remote_address: Some("::1"),
            events: vec![IntakeEvent { event_type: "Opened", ..IntakeEvent::default() }],
            commands: Vec::new(),
        };
        let mut bytes = batch.encode();
        assert_eq!(bytes.pop(), Some(0), "no commands");
        if let Some(version) = bytes.first_mut() {
            *version = 1;
        }
        assert_eq!(IntakeBatch::decode(&bytes), Ok(batch));
    }
}
