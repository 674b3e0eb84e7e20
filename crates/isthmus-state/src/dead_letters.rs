//! What a destination will never take, was given up, or of which nobody knows whether it was taken:
//! kept for people to read, mend and send again.
//!
//! Keyspace `dead_letters`: (stream, place, part) to [`DeadLetter`]. The key says which object it
//! is, so storing one twice stores it once.

use crate::{State, StateError};
use fjall::{Guard, Keyspace};
use isthmus_core::destination::{Guarantee, Lane, Section};
use isthmus_core::{Place, Timestamp};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 2;

/// Why an object is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Refused for good, by the vendor or by the mapping on its behalf.
    Rejected,
    /// Given up, by the stream's retry policy.
    Expired,
    /// Sent, and nobody knows what became of it; its guarantee is at most once.
    Unknown,
}

impl Cause {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

/// Something that happened to a dead letter before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    /// For people: why it was refused then, or what was changed.
    pub what: String,
}

/// One object that its destination refused for good, with everything needed to send it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Name of the stream it belongs to.
    pub stream: String,
    /// The item of the event log it came from.
    pub place: Place,
    /// Which of the objects mapped from that item it is, from zero.
    pub part: u16,
    /// What people call it: the event's name, or the kind of update.
    pub name: String,
    /// The object, encoded for the vendor.
    pub payload: String,
    /// Why it was refused, for people.
    pub reason: String,
    pub lane: Lane,
    pub section: Section,
    /// When the event behind it was accepted.
    pub accepted_at: Timestamp,
    /// When it was refused.
    pub rejected_at: Timestamp,
    pub cause: Cause,
    pub guarantee: Guarantee,
    /// Number of the stream or job that counts it.
    pub owner: u32,
    /// Attempts that were made.
    pub attempts: u32,
    /// What happened to it before, oldest first.
    pub history: Vec<Past>,
}

/// Which object a dead letter is of: stream, place and part.
pub type LetterKey = (String, Place, u16);

/// What version 1 stored; version 2 appends to it.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    name: &'a str,
    payload: &'a str,
    reason: &'a str,
    lane: u64,
    section: u8,
    /// Milliseconds since the Unix epoch, as is `rejected_at`.
    accepted_at: i64,
    rejected_at: i64,
}

/// What version 2 stores.
#[derive(Serialize, Deserialize)]
struct Stored2<'a> {
    #[serde(borrow)]
    letter: Stored<'a>,
    cause: Cause,
    at_most_once: bool,
    owner: u32,
    attempts: u32,
    history: Vec<Past>,
}

/// The keyspace, open.
#[derive(Clone)]
pub struct DeadLetters {
    state: State,
    letters: Keyspace,
}

impl DeadLetters {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { state: state.clone(), letters: state.keyspace("dead_letters")? })
    }

    /// Stores `letters`, all or none; returns once they survive power loss.
    pub fn put(&self, letters: &[DeadLetter]) -> Result<(), StateError> {
        self.change(letters, &[])
    }

    /// Removes the dead letters of `keys`, all or none; returns once that survives power loss.
    pub fn remove(&self, keys: &[LetterKey]) -> Result<(), StateError> {
        self.change(&[], keys)
    }

    /// Stores `letters` and removes those of `keys`, all or none; returns once that survives power
    /// loss.
    pub fn change(&self, letters: &[DeadLetter], keys: &[LetterKey]) -> Result<(), StateError> {
        let mut batch = self.state.batch();
        for (stream, place, part) in keys {
            batch.remove(&self.letters, key(stream, *place, *part));
        }
        for letter in letters {
            let key = key(&letter.stream, letter.place, letter.part);
            batch.insert(&self.letters, key, crate::encode(VERSION, &stored(letter)));
        }
        batch.commit()?;
        self.state.persist()
    }

    /// The dead letter of this object, if there is one.
    pub fn get(
        &self,
        stream: &str,
        place: Place,
        part: u16,
    ) -> Result<Option<DeadLetter>, StateError> {
        let Some(value) = self.letters.get(key(stream, place, part))? else { return Ok(None) };
        read(stream, place, part, &value).map(Some)
    }

    /// Up to `limit` dead letters of `stream` in log order, those after `after` when it is given.
    pub fn list(
        &self,
        stream: &str,
        after: Option<(Place, u16)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StateError> {
        self.beyond(stream, after).take(limit).map(|guard| letter(stream, guard)).collect()
    }

    /// The last `limit` dead letters of `stream`, in log order.
    pub fn newest(&self, stream: &str, limit: usize) -> Result<Vec<DeadLetter>, StateError> {
        let last = self.beyond(stream, None).rev().take(limit);
        let mut letters: Vec<_> =
            last.map(|guard| letter(stream, guard)).collect::<Result<_, _>>()?;
        letters.reverse();
        Ok(letters)
    }

    /// Rewrites what is stored, so that nothing of what was removed is left on disk.
    pub fn compact(&self) -> Result<(), StateError> {
        crate::compact(&self.letters)
    }

    /// How many dead letters `stream` has; stops counting at `limit`.
    pub fn count(&self, stream: &str, limit: usize) -> usize {
        self.beyond(stream, None).take(limit).count()
    }

    fn beyond(
        &self,
        stream: &str,
        after: Option<(Place, u16)>,
    ) -> impl DoubleEndedIterator<Item = Guard> {
        use std::ops::Bound::{Excluded, Included};
        let from = match after {
            Some((place, part)) => Excluded(key(stream, place, part)),
            None => Included(prefix(stream)),
        };
        // Longer than every key of the stream and, from its prefix on, never below one.
        let mut last = prefix(stream);
        last.extend([u8::MAX; OBJECT_BYTES + 1]);
        self.letters.range::<Vec<u8>, _>((from, Included(last)))
    }
}

fn stored(letter: &DeadLetter) -> Stored2<'_> {
    Stored2 {
        letter: Stored {
            name: &letter.name,
            payload: &letter.payload,
            reason: &letter.reason,
            lane: letter.lane.0,
            section: letter.section.0,
            accepted_at: letter.accepted_at.as_millis(),
            rejected_at: letter.rejected_at.as_millis(),
        },
        cause: letter.cause,
        at_most_once: letter.guarantee == Guarantee::AtMostOnce,
        owner: letter.owner,
        attempts: letter.attempts,
        history: letter.history.clone(),
    }
}

fn letter(stream: &str, guard: Guard) -> Result<DeadLetter, StateError> {
    let (key, value) = guard.into_inner()?;
    let (place, part) = object(&key)?;
    read(stream, place, part, &value)
}

/// Offset, index and part, at the end of every key.
const OBJECT_BYTES: usize = 8 + 4 + 2;

fn prefix(stream: &str) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(4 + stream.len() + OBJECT_BYTES + 1);
    crate::key::put_name(&mut prefix, stream);
    prefix
}

fn key(stream: &str, place: Place, part: u16) -> Vec<u8> {
    let mut key = prefix(stream);
    key.extend(place.offset.to_be_bytes());
    key.extend(place.index.to_be_bytes());
    key.extend(part.to_be_bytes());
    key
}

fn object(key: &[u8]) -> Result<(Place, u16), StateError> {
    let short = || StateError::malformed("key of a dead letter", &"too short");
    let (rest, part) = key.split_last_chunk::<2>().ok_or_else(short)?;
    let (rest, index) = rest.split_last_chunk::<4>().ok_or_else(short)?;
    let (_, offset) = rest.split_last_chunk::<8>().ok_or_else(short)?;
    let place = Place { offset: u64::from_be_bytes(*offset), index: u32::from_be_bytes(*index) };
    Ok((place, u16::from_be_bytes(*part)))
}

fn read(stream: &str, place: Place, part: u16, value: &[u8]) -> Result<DeadLetter, StateError> {
    const WHAT: &str = "dead letter";
    let known = match value.first() {
        Some(1) => Stored2 {
            letter: crate::decode(WHAT, 1, value)?,
            cause: Cause::Rejected,
            at_most_once: false,
            owner: UNKNOWN_OWNER,
            attempts: 0,
            history: Vec::new(),
        },
        _ => crate::decode::<Stored2<'_>>(WHAT, VERSION, value)?,
    };
    let Stored2 { letter, cause, at_most_once, owner, attempts, history } = known;
    Ok(DeadLetter {
        stream: stream.to_owned(),
        place,
        part,
        name: letter.name.to_owned(),
        payload: letter.payload.to_owned(),
        reason: letter.reason.to_owned(),
        lane: Lane(letter.lane),
        section: Section(letter.section),
        accepted_at: Timestamp::from_millis(letter.accepted_at),
        rejected_at: Timestamp::from_millis(letter.rejected_at),
        cause,
        guarantee: if at_most_once { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce },
        owner,
        attempts,
        history,
    })
}

/// Stands for the stream of the letter's name, which is all that version 1 knew.
pub const UNKNOWN_OWNER: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letter(stream: &str, offset: u64, part: u16, reason: &str) -> DeadLetter {
        DeadLetter {
            stream: stream.to_owned(),
            place: Place { offset, index: 3 },
            part,
            name: "Order Completed".to_owned(),
            payload: r#"{"name":"Order Completed"}"#.to_owned(),
            reason: reason.to_owned(),
            lane: Lane::of("external_id:ana"),
            section: Section(1),
            accepted_at: Timestamp::from_millis(1_770_000_000_000),
            rejected_at: Timestamp::from_millis(1_770_000_000_250),
            cause: Cause::Unknown,
            guarantee: Guarantee::AtMostOnce,
            owner: 3,
            attempts: 2,
            history: vec![Past { at: 1_770_000_000_200, what: "edited".to_owned() }],
        }
    }

    #[test]
    fn dead_letters_read_back_in_log_order_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let (early, late) = (letter("shop", 7, 1, "too long"), letter("shop", 300, 0, "no name"));
        {
            let state = State::open(folder.path()).unwrap();
            let letters = DeadLetters::open(&state).unwrap();
            letters.put(&[late.clone(), letter("sho", 8, 0, "other")]).unwrap();
            letters.put(std::slice::from_ref(&early)).unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        let letters = DeadLetters::open(&state).unwrap();
        assert_eq!(letters.list("shop", None, 10).unwrap(), [early.clone(), late.clone()]);
        assert_eq!(letters.list("shop", None, 1).unwrap(), std::slice::from_ref(&early));
        let all = letters.list("shop", None, 100).unwrap();
        assert_eq!(letters.newest("shop", 1).unwrap().as_slice(), &all[all.len() - 1..]);
        assert_eq!(letters.newest("shop", 100).unwrap(), all);
        let after = Some((early.place, early.part));
        assert_eq!(letters.list("shop", after, 10).unwrap(), std::slice::from_ref(&late));
        assert_eq!(letters.get("shop", late.place, late.part).unwrap(), Some(late));
        assert_eq!(letters.get("shop", early.place, 9).unwrap(), None);
        assert_eq!(letters.count("shop", 10), 2);
        assert_eq!(letters.count("shop", 1), 1);
        assert_eq!(letters.count("other", 10), 0);
    }

    #[test]
    fn storing_an_object_again_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::open(&State::open(folder.path()).unwrap()).unwrap();
        letters.put(&[letter("shop", 7, 0, "first")]).unwrap();
        letters.put(&[letter("shop", 7, 0, "second")]).unwrap();
        assert_eq!(letters.list("shop", None, 10).unwrap(), [letter("shop", 7, 0, "second")]);
    }

    #[test]
    fn a_removed_letter_is_gone_and_the_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::open(&State::open(folder.path()).unwrap()).unwrap();
        let (gone, stays) = (letter("shop", 7, 0, "a"), letter("shop", 7, 1, "b"));
        letters.put(&[gone.clone(), stays.clone()]).unwrap();
        letters.remove(&[(gone.stream, gone.place, gone.part)]).unwrap();
        assert_eq!(letters.list("shop", None, 10).unwrap(), [stays]);
    }

    #[test]
    fn what_version_1_wrote_is_read() {
        let new = letter("shop", 7, 0, "a");
        let old = crate::encode(1, &stored(&new).letter);
        let read = read("shop", new.place, new.part, &old).unwrap();
        assert_eq!((&read.payload, read.cause), (&new.payload, Cause::Rejected));
        assert_eq!((read.owner, read.guarantee), (UNKNOWN_OWNER, Guarantee::AtLeastOnce));
    }

    proptest! {
        #[test]
        fn keys_sort_as_objects_do_and_lead_back_to_them(
            one: (u64, u32, u16),
            other: (u64, u32, u16),
            stream: String,
        ) {
            let of = |(offset, index, part)| (Place { offset, index }, part);
            let bytes = |object: (Place, u16)| key(&stream, object.0, object.1);
            prop_assert_eq!(of(one).cmp(&of(other)), bytes(of(one)).cmp(&bytes(of(other))));
            prop_assert_eq!(object(&bytes(of(one))).unwrap(), of(one));
        }

        #[test]
        fn foreign_bytes_never_panic(key: Vec<u8>, value: Vec<u8>) {
            drop(object(&key));
            drop(read("shop", Place::default(), 0, &value));
        }
    }
}
