//! What survives a crash and what people can ask about afterwards: which objects were about to be
//! sent, when, and what became of them.
//!
//! The journal is a sequence of entries. A **checkpoint** is everything there is to know at that
//! moment: a start reads from the last one on. A **progress** entry is a sequence of steps with the
//! instant at which they were written: an *intent* says which objects a request is about to carry,
//! and is on disk before the request leaves; an *outcome* says what the vendor answered and what
//! became of each of them. An intent without an outcome means that nobody knows.
//!
//! Entries before the last checkpoint are kept as long as the ledger is: [`crate::ledger`] answers
//! from them.
//!
//! An entry is one version byte and postcard. Objects are named by stream, place and part, each
//! as the difference from the one before; an object costs about six bytes in an intent and
//! nothing in an outcome that is the same for the whole request.

pub mod replay;
pub mod stored;
mod v1;

use crate::counts::{Counts, Totals};
use isthmus_core::seam::BoxFuture;
use isthmus_core::{Place, Timestamp};
use isthmus_state::delivery_history::Bill;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::ops::Range;

const VERSION: u8 = 3;

/// Is shown the position of an entry, and the entry.
pub type VisitAt<'a> = dyn FnMut(u64, &[u8]) -> Result<(), JournalError> + 'a;

/// Where entries are kept. The server passes a log of the destination's own.
pub trait Journal: Send + Sync + fmt::Debug {
    /// Appends `entry`; returns its position once it survives power loss.
    fn append(&self, entry: Vec<u8>) -> BoxFuture<'static, Result<u64, JournalError>>;

    /// Shows the entries from the last checkpoint on, in order; some before it may come first.
    fn replay(
        &self,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError>;

    /// Shows the entries from the one at `position` on, in order, each with its own; `false` and
    /// nothing where that one is not there any more.
    fn read_from(&self, position: u64, visit: &mut VisitAt<'_>) -> Result<bool, JournalError>;

    /// Position of the first entry that is there, and of the next one that is written.
    fn range(&self) -> Range<u64>;

    /// Starting needs nothing before `checkpoint`: what the ledger does not need either may go.
    fn trim(&self, checkpoint: u64) -> Result<(), JournalError>;

    /// Bytes on disk; `None` where there is no disk.
    fn bytes_on_disk(&self) -> Option<u64> {
        None
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub stream: u32,
    pub place: Place,
    pub part: u16,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Checkpoint(Box<Checkpoint>),
    Progress(Progress),
}

/// What happened since the entry before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When it was written, in milliseconds since the Unix epoch.
    pub at: i64,
    pub steps: Vec<Step>,
}

/// One thing that is about to happen or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    Intent(Intent),
    Outcome(Outcome),
    Aside(Aside),
    Decided(Decided),
    /// What was billed and saved, by stream. Requests are not counted here: intents tell of them.
    Billed(BTreeMap<u32, Bill>),
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
    /// From sending to the reply, in milliseconds.
    pub took_millis: u32,
    /// From now until what comes back is tried again, in milliseconds.
    pub wait_millis: u32,
    /// What the vendor said, or why there is no reply; empty where everything was accepted.
    pub message: String,
    pub marks: Marks,
    /// Of objects that were refused for a reason of their own, by their index in the request.
    pub reasons: Vec<(u16, String)>,
}

/// What became of objects without a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    pub fate: Fate,
    /// The rule.
    pub reason: String,
    pub objects: Objects,
}

/// How an object can end without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fate {
    /// The mapping holds it back, by a rule. Reading the log again gives it again.
    Discarded,
    /// The mapping knows that the vendor would refuse it. Reading the log again gives it again.
    Refused,
    /// A run before this one sent it, nobody knows what became of it, and it is not sent again.
    Parked,
}

/// Objects that had ended and about which somebody, or an echo from the vendor, decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub was: Was,
    pub decision: Decision,
    /// Who decided, and why if they said so.
    pub reason: String,
    pub objects: Objects,
}

/// As what an object had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Was {
    Rejected,
    Expired,
    /// Sent, and nobody knows what became of it.
    Parked,
    /// In the counts of a stream or job that is gone.
    Elsewhere,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Decision {
    /// To be sent again.
    Resend,
    /// Not to be kept any longer.
    Discard,
    /// It was delivered after all.
    Confirm,
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
    /// Given up, by the stream's retry policy.
    Expired,
    /// Not taken; to be sent again.
    Again,
    /// Not taken, and through no fault of its own: to be sent again, and no attempt.
    Deferred,
    /// Nobody knows; to be sent again.
    Unknown,
    /// Nobody knows; not to be sent again.
    Parked,
}

impl Mark {
    /// Whether the object is not to be sent again, unless somebody asks for it.
    pub fn ends(self) -> bool {
        match self {
            Self::DeliveredAtOnce
            | Self::Delivered
            | Self::Rejected
            | Self::Expired
            | Self::Parked => true,
            Self::Again | Self::Deferred | Self::Unknown => false,
        }
    }
}

impl Marks {
    /// The marks, folded where they are all the same.
    pub fn of(marks: Vec<Mark>) -> Self {
        match marks.first() {
            Some(first) if marks.iter().all(|mark| mark == first) => Self::All(*first),
            _ => Self::Each(marks),
        }
    }

    /// The mark of the object at `index`, counted as the intent lists them.
    pub fn at(&self, index: usize) -> Option<Mark> {
        match self {
            Self::All(mark) => Some(*mark),
            Self::Each(marks) => marks.get(index).copied(),
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
    /// When it was written, in milliseconds since the Unix epoch.
    pub at: i64,
    pub next_request: u64,
    pub next_stream: u32,
    pub streams: Vec<StreamRecord>,
    /// Requests whose intent is on disk and whose outcome is not known yet.
    pub in_flight: Vec<Intent>,
    pub totals: Totals,
    pub waits: WaitsRecord,
    /// What happened since the entry before, for the ledger: the rest includes it.
    pub since: Vec<Step>,
    /// Most objects that a request held and the vendor did not find too many, and least that it
    /// did; zero while it never did.
    pub objects_taken: u32,
    pub objects_too_many: u32,
    /// What was billed and saved, by stream, as in [`Step::Billed`]. It stays the last one: version
    /// 2 ended before it.
    pub bills: BTreeMap<u32, Bill>,
}

/// Why and until when a destination as a whole is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WaitsRecord {
    pub condition: ConditionRecord,
    /// Milliseconds since the Unix epoch, as are all instants here; zero for none.
    pub retry_at: i64,
    /// The vendor asked for no requests until then.
    pub throttled_until: i64,
    /// The operator's reason for stopping, until resumed.
    pub halted: Option<String>,
}

/// How a destination was doing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ConditionRecord {
    #[default]
    Well,
    Struggling {
        failures: u32,
        reason: String,
    },
    Paused {
        pauses: u32,
        reason: String,
        since: i64,
    },
}

/// What is to know of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamRecord {
    pub number: u32,
    pub name: String,
    pub enabled: bool,
    /// Offset at which the stream began to read.
    pub born: u64,
    /// The first place of the log that is not finished.
    pub cursor: Place,
    /// How far the log was read.
    pub position: u64,
    /// While disabled, and for a job: the offset at which reading ends.
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
    /// Unfinished objects that were tried.
    pub tried: BTreeMap<(Place, u16), Tried>,
    /// Objects that had ended and are to be sent again.
    pub revived: BTreeSet<(Place, u16)>,
    /// Objects whose dead letters are to be removed: somebody decided.
    pub removing: BTreeSet<(Place, u16)>,
    /// Set where this is not a stream but a job: part of the past for a stream.
    pub job: Option<JobRecord>,
}

impl StreamRecord {
    /// Whether it is a job that has not ended.
    pub fn is_waiting_job(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.ended_at == 0)
    }
}

/// What is known of an object that was tried and is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tried {
    /// Attempts that count.
    pub attempts: u32,
    /// When the next one is due, in milliseconds since the Unix epoch.
    pub retry_at: i64,
    /// Whether the outcome of an attempt is unknown.
    pub unknown: bool,
}

/// A job: part of the past, for a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    pub kind: JobKind,
    /// The stream it is for.
    pub stream: String,
    /// First offset it reads; the last is the record's `stop_at`.
    pub from: u64,
    /// What the operator asked for, in milliseconds since the Unix epoch.
    pub from_time: i64,
    pub to_time: i64,
    /// Whether it sends what was delivered before.
    pub force: bool,
    pub started_at: i64,
    /// Zero while it runs.
    pub ended_at: i64,
    pub cancelled: bool,
    /// Objects left out because they were delivered before.
    pub skipped: u64,
}

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobKind {
    /// Events from before the stream existed, or from while it was disabled.
    Backfill,
    /// Events that the stream has seen.
    Replay,
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

    /// When it was written.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_millis(match self {
            Self::Checkpoint(checkpoint) => checkpoint.at,
            Self::Progress(progress) => progress.at,
        })
    }

    /// Whether `bytes` are those of a checkpoint, without reading all of it: the second byte says
    /// which kind of entry it is.
    pub fn is_checkpoint(bytes: &[u8]) -> bool {
        matches!(bytes, [1..=VERSION, 0, ..])
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, JournalError> {
        let malformed = |reason: String| JournalError::Malformed { reason };
        match bytes.split_first() {
            Some((&VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|error| malformed(error.to_string()))
            }
            // A checkpoint without bills, which come last; progress is as it was.
            Some((&2, rest)) => postcard::from_bytes(&[rest, &[0]].concat())
                .map_err(|error| malformed(error.to_string())),
            Some((&1, rest)) => v1::decode(rest).map_err(|error| malformed(error.to_string())),
            Some((version, _)) => Err(malformed(format!(
                "entry has version {version}; this build reads versions 1 to {VERSION}"
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

    fn outcome(request: u64, status: u16, marks: Marks) -> Outcome {
        let (message, reasons) = (String::new(), Vec::new());
        Outcome { request, status, took_millis: 0, wait_millis: 0, message, marks, reasons }
    }

    #[test]
    fn a_full_request_costs_about_six_bytes_per_object() {
        let keys: Vec<_> = (0..75u32)
            .map(|n| (1, 5_000_000_000 + u64::from(n / 10) * 40_000, n * 20, 0))
            .collect();
        let intent = Step::Intent(Intent { request: 1_000_000, objects: objects(&keys) });
        let marks = Marks::of(vec![Mark::DeliveredAtOnce; 75]);
        let outcome = Step::Outcome(Outcome { took_millis: 40, ..outcome(1_000_000, 201, marks) });
        let progress = Progress { at: 1_770_000_000_000, steps: vec![intent, outcome] };
        let bytes = Entry::Progress(progress).encode().len();
        assert!(bytes <= 75 * 6, "{bytes} bytes");
    }

    #[test]
    fn what_version_2_wrote_is_read() {
        let streams = vec![StreamRecord { name: "product".to_owned(), ..StreamRecord::default() }];
        let checkpoint = Checkpoint { streams, objects_too_many: 9, ..Checkpoint::default() };
        let checkpoint = Entry::Checkpoint(Box::new(checkpoint));
        let steps = vec![Step::Outcome(outcome(7, 201, Marks::All(Mark::Delivered)))];
        let progress = Entry::Progress(Progress { at: 7, steps });
        // The count of bills, none, is what version 2 did not have.
        let mut bytes = checkpoint.encode();
        assert_eq!(bytes.pop(), Some(0));
        bytes[0] = 2;
        assert!(Entry::is_checkpoint(&bytes));
        assert_eq!(Entry::decode(&bytes).unwrap(), checkpoint);
        let mut bytes = progress.encode();
        bytes[0] = 2;
        assert_eq!(Entry::decode(&bytes).unwrap(), progress);
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
            let steps = vec![
                Step::Intent(Intent { request, objects: objects(&keys) }),
                Step::Outcome(outcome(request, 201, folded)),
            ];
            let entry = Entry::Progress(Progress { at: 7, steps });
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
