//! Key-value state on one embedded engine (fjall): identity, profiles, deduplication, cursors and
//! dead letters.
//!
//! Everything here can be rebuilt from the logs; nothing here decides anything. Each module owns
//! one keyspace and its key and value formats, which are versioned bytes.

use std::path::Path;

/// The engine, open. Cheap to clone.
#[derive(Clone)]
pub struct State {
    database: fjall::Database,
}

/// A failure of the engine: the operator must act (disk full, folder damaged or in use).
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("state engine failed")]
    Engine(#[from] fjall::Error),
    #[error("stored {what} cannot be read: {reason}")]
    Malformed { what: &'static str, reason: String },
}

impl State {
    /// Opens the engine in `folder`, creating it if needed. One process at a time.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        Ok(Self { database: fjall::Database::builder(folder).open()? })
    }

    /// The keyspace called `name`, created if needed.
    pub fn keyspace(&self, name: &str) -> Result<fjall::Keyspace, StateError> {
        Ok(self.database.keyspace(name, fjall::KeyspaceCreateOptions::default)?)
    }

    /// An empty atomic batch over any keyspaces.
    pub fn batch(&self) -> fjall::OwnedWriteBatch {
        self.database.batch()
    }

    /// Makes everything committed so far survive power loss.
    pub fn persist(&self) -> Result<(), StateError> {
        Ok(self.database.persist(fjall::PersistMode::SyncData)?)
    }
}
