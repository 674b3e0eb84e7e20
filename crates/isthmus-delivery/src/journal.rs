//! What survives a crash: which objects were about to be sent, and what became of them.
//!
//! The journal is a sequence of entries. A **checkpoint** is everything there is to know at that
//! moment, so entries before the last one can go. A **progress** entry is a sequence of steps:
//! an *intent* says which objects a request is about to carry, and is on disk before the request
//! leaves; an *outcome* says what became of each of them. An intent without an outcome means that
//! nobody knows: its objects are sent again, and counted as possible duplicates.
//!
//! An entry is one version byte and postcard. Objects are named by stream, place and part, each
//! as the difference from the one before; an object costs about six bytes in an intent and
//! nothing in an outcome that is the same for the whole request.

pub mod replay;
pub mod stored;

use crate::counts::{Counts, Totals};
use isthmus_core::Place;
use isthmus_core::seam::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;

const VERSION: u8 = 1;

/// Where entries are kept. The server passes a log of the destination's own.
pub trait Journal: Send + Sync + fmt::Debug {
    /// Appends `entry`; returns its position once it survives power loss.
    fn append(&self, entry: Vec<u8>) -> BoxFuture<'static, Result<u64, JournalError>>;

    /// Shows every entry that is kept, in order.
    fn replay(
        &self,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError>;

    /// Forgets entries before `position`, or some of them.
    fn trim(&self, position: u64) -> Result<(), JournalError>;
}

/// Why the journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Passes by itself: nothing is sent until it does.
    #[error("journal is full or busy")]
    Wait { source: Box<dyn Error + Send + Sync> },
    /// The operator must act.
    #[error("journal failed")]
    Failed { source: Box<dyn Error + Send + Sync> },
    /// The operator must act: an entry is not what this program writes.
    #[error("journal cannot be read: {reason}")]
    Malformed { reason: String },
}

/// One object: its stream's number, its item, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    pub stream: u32,
    pub place: Place,
    pub part: u16,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Checkpoint(Box<Checkpoint>),
    Progress(Vec<Step>),
}

/// One thing that is about to happen or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    Intent(Intent),
    Outcome(Outcome),
}

/// A request is about to be sent with these objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub request: u64,
    pub objects: Objects,
}

/// What became of a request's objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub request: u64,
    /// HTTP status of the reply; zero when there was none.
    pub status: u16,
    pub marks: Marks,
}

/// One mark per object, in the order of the intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Marks {
    All(Mark),
    Each(Vec<Mark>),
}

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// Acknowledged at its first attempt.
    DeliveredAtOnce,
    /// Acknowledged at a later attempt.
    Delivered,
    /// Refused for good.
    Rejected,
    /// Not taken; to be sent again.
    Again,
    /// Nobody knows; to be sent again.
    Unknown,
}

impl Marks {
    /// The marks, folded where they are all the same.
    pub fn of(marks: Vec<Mark>) -> Self {
        match marks.first() {
            Some(first) if marks.iter().all(|mark| mark == first) => Self::All(*first),
            _ => Self::Each(marks),
        }
    }

    /// The mark of each of `count` objects; `None` when there are not as many.
    pub fn expand(&self, count: usize) -> Option<Vec<Mark>> {
        match self {
            Self::All(mark) => Some(vec![*mark; count]),
            Self::Each(marks) => (marks.len() == count).then(|| marks.clone()),
        }
    }
}

/// Everything there is to know at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    pub next_request: u64,
    pub next_stream: u32,
    pub streams: Vec<StreamRecord>,
    /// Requests whose intent is on disk and whose outcome is not known yet.
    pub in_flight: Vec<Intent>,
    pub totals: Totals,
}

/// What is to know of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    pub number: u32,
    pub name: String,
    pub enabled: bool,
    /// The first place of the log that is not finished.
    pub cursor: Place,
    /// How far the log was read.
    pub position: u64,
    /// While disabled: the offset at which reading ends.
    pub stop_at: Option<u64>,
    pub gaps: Vec<Gap>,
    /// Of what is finished; discards and mapping's rejections only up to the cursor.
    pub counts: Counts,
    /// Discards up to the cursor, by reason.
    pub discards: BTreeMap<String, u64>,
    /// Items beyond the cursor of which every object is finished.
    pub items_done: BTreeSet<Place>,
    /// Objects finished of other items beyond the cursor.
    pub parts_done: BTreeSet<(Place, u16)>,
    /// Unfinished objects of which an attempt had an unknown outcome.
    pub unknown: BTreeSet<(Place, u16)>,
}

/// A part of the log that a stream does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Offset at which it begins.
    pub from: u64,
    /// Offset of the first record after it.
    pub to: u64,
}

impl Entry {
    /// The bytes of this entry.
    #[expect(clippy::missing_panics_doc, reason = "it cannot")]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION])
            .expect("a Vec grows as needed and these types have known lengths")
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, JournalError> {
        let malformed = |reason: String| JournalError::Malformed { reason };
        match bytes.split_first() {
            Some((&VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|error| malformed(error.to_string()))
            }
            Some((version, _)) => Err(malformed(format!(
                "entry has version {version}; this build reads version {VERSION}"
            ))),
            None => Err(malformed("entry is empty".to_owned())),
        }
    }
}

/// Objects of one request, stored as differences.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Difference>", into = "Vec<Difference>")]
pub struct Objects(pub Vec<ObjectKey>);

/// An object as the difference from the one before it.
#[derive(Serialize, Deserialize)]
struct Difference {
    stream: i32,
    offset: i64,
    index: u32,
    part: u16,
}

impl From<Objects> for Vec<Difference> {
    fn from(objects: Objects) -> Self {
        let (mut stream, mut offset) = (0u32, 0u64);
        let encode = |key: ObjectKey| {
            let difference = Difference {
                stream: key.stream.wrapping_sub(stream).cast_signed(),
                offset: key.place.offset.wrapping_sub(offset).cast_signed(),
                index: key.place.index,
                part: key.part,
            };
            (stream, offset) = (key.stream, key.place.offset);
            difference
        };
        objects.0.into_iter().map(encode).collect()
    }
}

impl From<Vec<Difference>> for Objects {
    fn from(differences: Vec<Difference>) -> Self {
        let (mut stream, mut offset) = (0u32, 0u64);
        let decode = |difference: Difference| {
            stream = stream.wrapping_add(difference.stream.cast_unsigned());
            offset = offset.wrapping_add(difference.offset.cast_unsigned());
            let place = Place { offset, index: difference.index };
            ObjectKey { stream, place, part: difference.part }
        };
        Self(differences.into_iter().map(decode).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objects(keys: &[(u32, u64, u32, u16)]) -> Objects {
        let key = |&(stream, offset, index, part)| {
            let place = Place { offset, index };
            ObjectKey { stream, place, part }
        };
        Objects(keys.iter().map(key).collect())
    }

    #[test]
    fn a_full_request_costs_about_six_bytes_per_object() {
        let keys: Vec<_> = (0..75u32)
            .map(|n| (1, 5_000_000_000 + u64::from(n / 10) * 40_000, n * 20, 0))
            .collect();
        let intent = Step::Intent(Intent { request: 1_000_000, objects: objects(&keys) });
        let marks = Marks::of(vec![Mark::DeliveredAtOnce; 75]);
        let outcome = Step::Outcome(Outcome { request: 1_000_000, status: 201, marks });
        let bytes = Entry::Progress(vec![intent, outcome]).encode().len();
        assert!(bytes <= 75 * 6, "{bytes} bytes");
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(
            keys: Vec<(u32, u64, u32, u16)>,
            request: u64,
            marks in prop::collection::vec(0..3u8, 0..5),
        ) {
            let count = marks.len();
            let mark = |n| match n {
                0 => Mark::DeliveredAtOnce,
                1 => Mark::Rejected,
                _ => Mark::Unknown,
            };
            let marks: Vec<Mark> = marks.into_iter().map(mark).collect();
            let folded = Marks::of(marks.clone());
            prop_assert_eq!(folded.expand(count), Some(marks));
            let entry = Entry::Progress(vec![
                Step::Intent(Intent { request, objects: objects(&keys) }),
                Step::Outcome(Outcome { request, status: 201, marks: folded }),
            ]);
            prop_assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
        }

        #[test]
        fn foreign_bytes_never_panic(mut bytes: Vec<u8>) {
            drop(Entry::decode(&bytes));
            bytes.insert(0, VERSION);
            drop(Entry::decode(&bytes));
        }
    }
}
