//! Files of Currents sources: which were read, and how far.
//!
//! Keyspace `currents_files`: `f`, source, 128 bits of hash of the file's address, to what is known of it;
//! and `s`, source, hash of the bucket's address, to what is known of the bucket. Unlike the rest of the
//! state it does not come from the logs. It may know less than was read, never more: what is read again
//! is recognised by the ids of its events.
//!
//! A file takes some 40 bytes. It is forgotten once no listing has shown it for a while.

use crate::key::put_name;
use crate::{State, StateError};
use fjall::Keyspace;
use isthmus_core::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

const VERSION: u8 = 1;
const DAY_MILLIS: i64 = 86_400_000;

/// What is known of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Hash of what tells one content of the file from another: its ETag, or size and time of change.
    pub content: u64,
    /// Events of it that are in the intake log, unusable ones included.
    pub entries: u64,
    pub standing: Standing,
    /// When a listing showed it last, in days since the Unix epoch.
    pub seen_day: u32,
}

/// How far the reading of a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// There is more to read.
    Begun,
    /// All of it is in the intake log.
    Whole,
    /// What stands before the damage is, and the damage is reported.
    Damaged,
    /// It was there before the source was followed, and is not asked for.
    Passed,
}

/// What is known of a bucket or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRecord {
    /// When it was first followed, in milliseconds since the Unix epoch.
    pub begun_at: i64,
    /// Whether everything in it was listed once.
    pub listed: bool,
    /// When forgotten files were last looked for, in days since the Unix epoch.
    pub tidied_day: u32,
}

/// The days since the Unix epoch of `at`.
pub fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.as_millis().div_euclid(DAY_MILLIS)).unwrap_or_default()
}

/// The keyspace, open. Cheap to clone.
#[derive(Clone)]
pub struct CurrentsFiles {
    files: Keyspace,
}

impl CurrentsFiles {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { files: state.keyspace("currents_files")? })
    }

    /// What is known of the file at `address`.
    pub fn file(&self, source: &str, address: &str) -> Result<Option<FileRecord>, StateError> {
        let Some(value) = self.files.get(key(b'f', source, address))? else { return Ok(None) };
        crate::decode("record of a file", VERSION, &value).map(Some)
    }

    /// Notes what is known of the file at `address`.
    pub fn put_file(
        &self,
        source: &str,
        address: &str,
        record: &FileRecord,
    ) -> Result<(), StateError> {
        Ok(self.files.insert(key(b'f', source, address), crate::encode(VERSION, record))?)
    }

    /// What is known of the bucket at `address`.
    pub fn bucket(&self, source: &str, address: &str) -> Result<Option<BucketRecord>, StateError> {
        let Some(value) = self.files.get(key(b's', source, address))? else { return Ok(None) };
        crate::decode("record of a bucket", VERSION, &value).map(Some)
    }

    /// Notes what is known of the bucket at `address`.
    pub fn put_bucket(
        &self,
        source: &str,
        address: &str,
        record: &BucketRecord,
    ) -> Result<(), StateError> {
        Ok(self.files.insert(key(b's', source, address), crate::encode(VERSION, record))?)
    }

    /// Forgets the files of `source` that no listing has shown since `day`; returns how many.
    pub fn forget_before(&self, source: &str, day: u32) -> Result<u64, StateError> {
        let mut forgotten = 0;
        for guard in self.files.prefix(prefix(b'f', source)) {
            let (key, value) = guard.into_inner()?;
            let record: FileRecord = crate::decode("record of a file", VERSION, &value)?;
            if record.seen_day < day {
                self.files.remove(key)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }
}

fn prefix(kind: u8, source: &str) -> Vec<u8> {
    let mut prefix = vec![kind];
    put_name(&mut prefix, source);
    prefix
}

fn key(kind: u8, source: &str, address: &str) -> Vec<u8> {
    let mut key = prefix(kind, source);
    key.extend(xxh3_128(address.as_bytes()).to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_source_and_address_and_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let record =
            FileRecord { content: 7, entries: 15_000, standing: Standing::Whole, seen_day: 20_000 };
        let bucket = BucketRecord { begun_at: 1_770_000_000_000, listed: true, tidied_day: 20_000 };
        {
            let state = State::open(folder.path()).unwrap();
            let files = CurrentsFiles::open(&state).unwrap();
            files.put_file("posts", "s3://b/x.avro", &record).unwrap();
            files.put_bucket("posts", "s3://b/x.avro", &bucket).unwrap();
            state.persist().unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        let files = CurrentsFiles::open(&state).unwrap();
        assert_eq!(files.file("posts", "s3://b/x.avro").unwrap(), Some(record));
        assert_eq!(files.bucket("posts", "s3://b/x.avro").unwrap(), Some(bucket));
        assert_eq!(files.file("posts", "s3://b/y.avro").unwrap(), None);
        assert_eq!(files.file("post", "s3://b/x.avro").unwrap(), None);
    }

    #[test]
    fn what_no_listing_shows_any_more_is_forgotten_in_its_source_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let files = CurrentsFiles::open(&state).unwrap();
        let seen =
            |day| FileRecord { content: 7, entries: 0, standing: Standing::Whole, seen_day: day };
        for (source, address, day) in
            [("posts", "old", 99), ("posts", "new", 100), ("post", "old", 99)]
        {
            files.put_file(source, address, &seen(day)).unwrap();
        }
        assert_eq!(files.forget_before("posts", 100).unwrap(), 1);
        assert_eq!(files.file("posts", "old").unwrap(), None);
        assert_eq!(files.file("posts", "new").unwrap(), Some(seen(100)));
        assert_eq!(files.file("post", "old").unwrap(), Some(seen(99)));
    }
}
