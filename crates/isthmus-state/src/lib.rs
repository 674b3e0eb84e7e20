//! Key-value state on one embedded engine (fjall): identity, profiles, deduplication, cursors, dead
//! letters, quarantine, what destinations were told, and what deliveries came to.
//!
//! Everything that matters can be rebuilt from the logs; nothing here decides anything. Each module owns
//! its keyspaces and their key and value formats, which are versioned bytes.

pub mod currents_counts;
pub mod currents_files;
pub mod currents_ids;
pub mod cursor;
pub mod dead_letters;
pub mod delivery_history;
pub mod delivery_samples;
pub mod echoes;
pub mod groups;
mod key;
pub mod mirror;
pub mod past_values;
pub mod people;
pub mod quarantine;
pub mod seen;
pub mod tombstones;
pub mod user_map;

use fjall::compaction::Leveled;
use people::Packed;
use serde::{Deserialize, Serialize};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

/// Blocks of tables that are kept in memory. Those who are seen again are not read from them, but from
/// what is packed of them in memory.
const CACHE_BYTES: u64 = 64 << 20;

/// An atomic batch of writes over any keyspaces; nothing of it shows before its commit.
pub type WriteBatch = fjall::OwnedWriteBatch;

/// The engine, open. Cheap to clone.
#[derive(Clone)]
pub struct State {
    database: fjall::Database,
    /// Persons in memory, for all who open [`people::People`].
    packed: Arc<Packed>,
}

/// A failure of the engine: the operator must act (disk full, folder damaged or in use).
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("state engine failed")]
    Engine(#[from] fjall::Error),
    #[error("stored {what} cannot be read: {reason}")]
    Malformed { what: &'static str, reason: String },
}

impl StateError {
    pub(crate) fn malformed(what: &'static str, reason: &dyn std::fmt::Display) -> Self {
        Self::Malformed { what, reason: reason.to_string() }
    }
}

/// Keyspace that fills the journal.
const FILLER: &str = "filler";
const FILLER_MEMORY: u64 = 8 << 20;
const FILLER_VALUES: u64 = 70;
/// Of one value, of eight bytes each.
const FILLER_WORDS: usize = (1 << 20) / 8;

impl State {
    /// Opens the engine in `folder`, creating it if needed. One process at a time.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let database = fjall::Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .worker_threads(workers(cores))
            .open()?;
        Ok(Self { database, packed: Arc::default() })
    }

    /// The keyspace called `name`, created if needed.
    pub fn keyspace(&self, name: &str) -> Result<fjall::Keyspace, StateError> {
        Ok(self.database.keyspace(name, fjall::KeyspaceCreateOptions::default)?)
    }

    /// Like [`Self::keyspace`], with at most about `bytes` gathered in memory before they are
    /// written as a table.
    fn keyspace_with_memory(&self, name: &str, bytes: u64) -> Result<fjall::Keyspace, StateError> {
        let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(bytes);
        Ok(self.database.keyspace(name, options)?)
    }

    /// Like [`Self::keyspace`]; where it is created, its tables are merged as `strategy` says.
    fn keyspace_merged_by(
        &self,
        name: &str,
        strategy: Leveled,
    ) -> Result<fjall::Keyspace, StateError> {
        let strategy = Arc::new(strategy);
        let options =
            || fjall::KeyspaceCreateOptions::default().compaction_strategy(strategy.clone());
        Ok(self.database.keyspace(name, options)?)
    }

    fn keyspace_names(&self) -> Vec<String> {
        self.database.list_keyspace_names().into_iter().map(|name| name.to_string()).collect()
    }

    fn delete_keyspace(&self, keyspace: fjall::Keyspace) -> Result<(), StateError> {
        Ok(self.database.delete_keyspace(keyspace)?)
    }

    /// An empty atomic batch over any keyspaces.
    pub fn batch(&self) -> WriteBatch {
        self.database.batch()
    }

    /// Makes everything committed so far survive power loss.
    pub fn persist(&self) -> Result<(), StateError> {
        Ok(self.database.persist(fjall::PersistMode::SyncData)?)
    }

    /// Leaves nothing in the engine's journal of what was written so far. Blocks the thread for some
    /// seconds, and writes some 70 MB.
    ///
    /// The engine begins a new journal only once the old one has grown to 64 MB, and removes the old
    /// one once all that it holds is in tables: so it is filled up, and everything is flushed.
    pub fn renew_journal(&self) -> Result<(), StateError> {
        let filler = self.keyspace_with_memory(FILLER, FILLER_MEMORY)?;
        // Not compressible, or the journal would hardly grow.
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        for number in 0..FILLER_VALUES {
            let words = std::iter::repeat_with(|| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed.to_be_bytes()
            });
            let value: Vec<u8> = words.take(FILLER_WORDS).flatten().collect();
            filler.insert(number.to_be_bytes(), value)?;
        }
        filler.rotate_memtable_and_wait()?;
        for name in self.keyspace_names() {
            self.keyspace(&name)?.rotate_memtable_and_wait()?;
        }
        // Old journals are looked for whenever a memtable is put away.
        for number in 0..2_u64 {
            filler.insert(number.to_be_bytes(), [0])?;
            filler.rotate_memtable_and_wait()?;
        }
        self.delete_keyspace(filler)
    }

    /// Bytes on disk.
    pub fn bytes_on_disk(&self) -> Result<u64, StateError> {
        Ok(self.database.disk_space()?)
    }
}

/// Threads of the engine that write and merge tables.
///
/// Of several, the first one merges nothing: it hands that on, and asks again and again as long as all
/// others are at work (fjall 3.1, `worker_pool.rs`). With two cores that were one of them, lost.
fn workers(cores: usize) -> usize {
    if cores <= 2 { 1 } else { cores.min(4) }
}

/// Rewrites the tables of `keyspace`: of what was removed from it, nothing is left in them.
fn compact(keyspace: &fjall::Keyspace) -> Result<(), StateError> {
    keyspace.rotate_memtable_and_wait()?;
    Ok(keyspace.major_compact()?)
}

/// One version byte, then postcard.
pub(crate) fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![version])
        .expect("a Vec grows as needed and stored types have known lengths")
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<'a, T: Deserialize<'a>>(
    what: &'static str,
    known: u8,
    bytes: &'a [u8],
) -> Result<T, StateError> {
    match bytes.split_first() {
        Some((&version, rest)) if version == known => {
            postcard::from_bytes(rest).map_err(|error| StateError::malformed(what, &error))
        }
        Some((version, _)) => Err(StateError::malformed(
            what,
            &format!("version {version} is not known; this build reads {known}"),
        )),
        None => Err(StateError::malformed(what, &"empty")),
    }
}
