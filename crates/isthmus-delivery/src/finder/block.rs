//! One run of records of the event log, reduced to what a search needs, and its bytes. Pure.
//!
//! ```text
//! entry    = version 1, kind 1, body
//! ids      = a fingerprint per item: little-endian u32 of its insert id, zero for none
//! persons  = a fingerprint per item: little-endian u32 of its person, zero for none
//! records  = postcard: per record the offset and the time it was received, as differences from
//!            the record before, and how many items it has
//! merges   = postcard: per merge its item, the anonymous person and the known one
//! heads    = postcard: the heads of this block and of some before it
//! ```
//!
//! A block of 64 Ki items in records of a hundred takes 8.05 bytes an item, one in records of a
//! single item 12, as a test says; a merge adds 10 or so. A fingerprint may belong to several ids,
//! so what it finds is a candidate and no more.

use isthmus_core::record::{Applied, AppliedBatch};
use isthmus_core::{AmplitudeId, Place};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;

/// Heads in an entry at most. Opening reads one entry for as many blocks.
pub(super) const HEADS_MAX: usize = 16;

/// What an entry of the finder's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ids,
    Persons,
    Records,
    Merges,
    Heads,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Ids => b'i',
            Self::Persons => b'p',
            Self::Records => b'r',
            Self::Merges => b'm',
            Self::Heads => b'h',
        }
    }
}

/// Bytes that are not what this program writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry is malformed: {0}")]
pub(super) struct Malformed(pub(super) String);

/// What is known of a block without reading it, and where the rest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Offset in the event log at which the block begins.
    pub(super) from: u64,
    /// Offset of the first record after it.
    pub(super) to: u64,
    pub(super) last_record: u64,
    pub(super) items: u32,
    /// Latest time at which one of its records was received, in milliseconds since the Unix epoch.
    pub(super) latest: i64,
    /// Positions in the finder's log.
    pub(super) ids: u64,
    pub(super) persons: u64,
    pub(super) records: u64,
    pub(super) merges: Option<u64>,
}

/// The body of an entry of [`Kind::Heads`]. Such entries are a chain backwards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Heads {
    /// Oldest first; the last is the block that was just written.
    pub(super) heads: Vec<Head>,
    /// Position of the entry that holds the heads before these.
    pub(super) previous: Option<u64>,
}

/// One record of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) offset: u64,
    /// Number of its first item, counted from the start of the block.
    pub(super) first_item: u32,
    /// In milliseconds since the Unix epoch.
    pub(super) received_at: i64,
}

/// One merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MergeRow {
    /// Number of the item, counted from the start of the block.
    pub(super) item: u32,
    pub(super) anonymous: AmplitudeId,
    pub(super) into: AmplitudeId,
}

/// A block in memory, growing.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) ids: Vec<u8>,
    pub(super) persons: Vec<u8>,
    pub(super) rows: Vec<Row>,
    pub(super) merges: Vec<MergeRow>,
    pub(super) items: u32,
    /// Meaningless before the first record.
    pub(super) latest: i64,
}

/// A record's row as it is stored.
type Step = (u64, u32, i64);

impl Block {
    /// A block that begins at `offset` and holds nothing yet.
    pub(super) fn at(offset: u64) -> Self {
        Self { from: offset, to: offset, latest: i64::MIN, ..Self::default() }
    }

    /// Takes up the record at `offset`, which the one at `next` follows.
    pub(super) fn push(&mut self, offset: u64, next: u64, batch: &AppliedBatch<'_>) {
        let received_at = batch.received_at;
        self.rows.push(Row { offset, first_item: self.items, received_at });
        for item in &batch.items {
            let id = insert_id(item).map_or(0, fingerprint_of_id);
            let person = person(item).map_or(0, fingerprint_of_person);
            self.ids.extend_from_slice(&id.to_le_bytes());
            self.persons.extend_from_slice(&person.to_le_bytes());
            if let Applied::Merge(merge) = item {
                let (anonymous, into) = (merge.anonymous, merge.into);
                self.merges.push(MergeRow { item: self.items, anonymous, into });
            }
            self.items += 1;
        }
        self.latest = self.latest.max(received_at);
        self.to = next;
    }

    /// The entries that hold everything but the head: ids, persons, records, and merges where
    /// there are any.
    pub(super) fn entries(&self) -> Vec<Vec<u8>> {
        let column = |kind: Kind, bytes: &[u8]| [&[VERSION, kind.byte()], bytes].concat();
        let mut entries = vec![
            column(Kind::Ids, &self.ids),
            column(Kind::Persons, &self.persons),
            encode(Kind::Records, &steps(self.from, self.items, &self.rows)),
        ];
        if !self.merges.is_empty() {
            entries.push(encode(Kind::Merges, &self.merges));
        }
        entries
    }

    /// The head, once the entries are at `positions`; `None` for an empty block.
    pub(super) fn head(&self, positions: &[u64]) -> Option<Head> {
        let (&[ids, persons, records], rest) = positions.split_first_chunk()?;
        Some(Head {
            from: self.from,
            to: self.to,
            last_record: self.rows.last()?.offset,
            items: self.items,
            latest: self.latest,
            ids,
            persons,
            records,
            merges: rest.first().copied(),
        })
    }
}

fn steps(from: u64, items: u32, rows: &[Row]) -> Vec<Step> {
    let (mut offset, mut received_at) = (from, 0i64);
    let ends = rows.iter().skip(1).map(|row| row.first_item).chain([items]);
    let step = |(row, end): (&Row, u32)| {
        let step = (
            row.offset.wrapping_sub(offset),
            end.wrapping_sub(row.first_item),
            row.received_at.wrapping_sub(received_at),
        );
        (offset, received_at) = (row.offset, row.received_at);
        step
    };
    rows.iter().zip(ends).map(step).collect()
}

/// The rows in an entry of [`Kind::Records`] of the block with this `head`.
pub(super) fn decode_rows(bytes: &[u8], head: &Head) -> Result<Vec<Row>, Malformed> {
    let steps: Vec<Step> = decode(Kind::Records, bytes)?;
    let (mut offset, mut received_at, mut first_item) = (head.from, 0i64, 0u32);
    let mut rows = Vec::with_capacity(steps.len());
    for (distance, items, later) in steps {
        offset = offset.wrapping_add(distance);
        received_at = received_at.wrapping_add(later);
        rows.push(Row { offset, first_item, received_at });
        first_item = first_item.saturating_add(items);
    }
    let ascending = rows.is_sorted_by(|one, other| one.offset < other.offset);
    if !ascending || first_item != head.items || offset != head.last_record {
        return Err(Malformed("records do not fit their head".to_owned()));
    }
    Ok(rows)
}

/// The fingerprints in an entry of `kind` of the block with this `head`.
pub(super) fn decode_column<'a>(
    kind: Kind,
    bytes: &'a [u8],
    head: &Head,
) -> Result<&'a [u8], Malformed> {
    let column = body(kind, bytes)?;
    if column.len() as u64 != u64::from(head.items) * 4 {
        return Err(Malformed(format!("{} bytes of {} fingerprints", column.len(), head.items)));
    }
    Ok(column)
}

/// An entry with `body`.
pub(super) fn encode<T: Serialize>(kind: Kind, body: &T) -> Vec<u8> {
    postcard::to_extend(body, vec![VERSION, kind.byte()])
        .expect("a Vec grows as needed and these types have known lengths")
}

/// Reads what [`encode`] wrote.
pub(super) fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, Malformed> {
    postcard::from_bytes(body(kind, bytes)?).map_err(|error| Malformed(error.to_string()))
}

/// Whether `bytes` are an entry of `kind`.
pub(super) fn is(kind: Kind, bytes: &[u8]) -> bool {
    body(kind, bytes).is_ok()
}

fn body(kind: Kind, bytes: &[u8]) -> Result<&[u8], Malformed> {
    match bytes {
        [VERSION, found, body @ ..] if *found == kind.byte() => Ok(body),
        [VERSION, found, ..] => Err(Malformed(format!("kind {found} where {kind:?} belong"))),
        [version, ..] => {
            Err(Malformed(format!("version {version}; this build reads version {VERSION}")))
        }
        [] => Err(Malformed("it is empty".to_owned())),
    }
}

/// The place of item number `item` of a block with these `rows`.
pub(super) fn place_of(rows: &[Row], item: u32) -> Option<Place> {
    // The last row that starts at or before the item: rows without items share their start with
    // the row after them.
    let after = rows.partition_point(|row| row.first_item <= item);
    let row = rows.get(after.checked_sub(1)?)?;
    Some(Place { offset: row.offset, index: item - row.first_item })
}

/// Fingerprints to look for.
#[derive(Debug)]
pub(super) struct Needles {
    sorted: Vec<u32>,
    /// A bit for every value of the low sixteen bits: most items are told apart by it alone.
    low: Vec<u64>,
}

impl Needles {
    pub(super) fn new(fingerprints: impl IntoIterator<Item = u32>) -> Self {
        let mut sorted: Vec<u32> = fingerprints.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut low = vec![0u64; 1 << 10];
        for fingerprint in &sorted {
            if let Some(word) = low.get_mut(word_of(*fingerprint)) {
                *word |= 1 << (fingerprint & 63);
            }
        }
        Self { sorted, low }
    }

    /// Numbers of the items in `column` whose fingerprint is one of these, ascending.
    pub(super) fn find(&self, column: &[u8]) -> Vec<u32> {
        let values = column.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let numbered = (0u32..).zip(values);
        if let [only] = self.sorted.as_slice() {
            return numbered.filter(|(_, value)| value == only).map(|(item, _)| item).collect();
        }
        let hit = |value: u32| {
            let word = self.low.get(word_of(value)).copied().unwrap_or_default();
            word >> (value & 63) & 1 == 1 && self.sorted.binary_search(&value).is_ok()
        };
        numbered.filter(|(_, value)| hit(*value)).map(|(item, _)| item).collect()
    }
}

fn word_of(fingerprint: u32) -> usize {
    (fingerprint >> 6 & 0x3ff) as usize
}

/// The insert id of an item, or of its cause.
pub(super) fn insert_id<'a>(item: &Applied<'a>) -> Option<&'a str> {
    match item {
        Applied::Event(event) => event.insert_id,
        Applied::UserChange(change) => change.insert_id,
        Applied::Identify(identify) => identify.insert_id,
        Applied::GroupChange(_)
        | Applied::Merge(_)
        | Applied::Identified(_)
        | Applied::Erasure(_)
        | Applied::Erased => None,
    }
}

/// The person of an item; of a merge the known one.
pub(super) fn person(item: &Applied<'_>) -> Option<AmplitudeId> {
    match item {
        Applied::Event(event) => event.user.somebody(),
        Applied::Identify(identify) => identify.user.somebody(),
        Applied::UserChange(change) => Some(change.user),
        Applied::Merge(merge) => Some(merge.into),
        Applied::Identified(identified) => Some(identified.user),
        Applied::Erasure(erasure) => erasure.users.first().copied(),
        Applied::GroupChange(_) | Applied::Erased => None,
    }
}

/// Never zero, which means none. Stored, so it is part of the format.
pub(super) fn fingerprint_of_id(id: &str) -> u32 {
    fold(xxh3_64(id.as_bytes()))
}

/// Never zero, which means none. Stored, so it is part of the format.
pub(super) fn fingerprint_of_person(person: AmplitudeId) -> u32 {
    // The finalizer of SplitMix64: Amplitude ids are handed out one after the other.
    let mut hash = person.0 ^ person.0 >> 30;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    fold(hash ^ hash >> 31)
}

#[expect(clippy::cast_possible_truncation, reason = "a fingerprint is a part of the hash")]
fn fold(hash: u64) -> u32 {
    (hash as u32).max(1)
}

/// Whether `range` and what lies from `from` to `to` have an offset in common.
pub(super) fn overlap(range: &Range<u64>, from: u64, to: u64) -> bool {
    from < range.end && range.start < to
}
