//! The finder's own log: blocks in, heads and columns out.
//!
//! It holds derived data, so nothing here is worth stopping for. What cannot be read is said to be
//! damaged, and whoever asked goes on without it.

use super::block::{
    Block, HEADS_MAX, Head, Heads, Kind, Malformed, MergeRow, Row, decode, decode_column,
    decode_rows, encode, is,
};
use bytes::Bytes;
use isthmus_core::ByteSize;
use isthmus_core::seam::Clock;
use isthmus_log::{Disk, Log, LogConfig, LogError};
use std::path::Path;
use std::sync::Arc;

/// Why something is not to be had from the finder's log.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl StoreError {
    /// Whether what is stored is wrong, rather than gone or out of reach for now.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Malformed(_) => true,
            Self::Log(error) => matches!(
                error,
                LogError::Corrupt { .. } | LogError::Version { .. } | LogError::Beyond { .. }
            ),
        }
    }
}

/// Heads of all blocks kept, oldest first, and where the chain of entries goes on.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) heads: Vec<Head>,
    pub(super) chain: Chain,
}

/// The end of the chain of head entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    /// Heads that the next entry repeats.
    group: Vec<Head>,
    /// Position of the entry that holds the heads before these.
    previous: Option<u64>,
}

/// Opens the log in `folder`; one that cannot be opened is removed and begun anew.
pub(super) fn open(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    clock: &Arc<dyn Clock>,
) -> Result<Store, LogError> {
    let attempt = || Log::open(Arc::clone(disk), folder, log_config(), Arc::clone(clock));
    let (log, _) = match attempt() {
        Err(error) if !matches!(error, LogError::Locked { .. }) => {
            tracing::warn!(%error, "damaged finder removed");
            remove(&**disk, folder)?;
            attempt()?
        }
        outcome => outcome?,
    };
    Ok(Store { log })
}

/// Removes the segments in `folder`, whatever is in them.
fn remove(disk: &dyn Disk, folder: &Path) -> Result<(), LogError> {
    let failed = |error| LogError::Io { segment: 0, attempt: "removed", source: Arc::new(error) };
    for name in disk.list(folder).map_err(failed)? {
        let path = folder.join(name);
        if path.extension().is_some_and(|extension| extension == "log") {
            disk.remove(&path).map_err(failed)?;
        }
    }
    disk.sync_folder(folder).map_err(failed)
}

/// Small segments, because only whole ones can go and opening looks into the last.
fn log_config() -> LogConfig {
    LogConfig { segment_max: ByteSize::mib(8), ..LogConfig::default() }
}

/// The finder's log, open.
#[derive(Debug, Clone)]
pub(super) struct Store {
    log: Log,
}

impl Store {
    /// Follows the chain of heads back from the last one, as far as it is kept.
    pub(super) fn load(&self) -> Result<Loaded, StoreError> {
        let Some((mut position, entry)) = self.last_heads()? else { return Ok(Loaded::default()) };
        let chain = Chain::after(position, &entry);
        let mut groups = vec![entry.heads];
        let mut previous = entry.previous;
        while let Some(before) = previous.filter(|before| *before >= self.log.start()) {
            if before >= position {
                return Err(Malformed("heads lead forward".to_owned()).into());
            }
            position = before;
            let entry: Heads = decode(Kind::Heads, &self.log.read_at(before)?)?;
            groups.push(entry.heads);
            previous = entry.previous;
        }
        let start = self.log.start();
        let heads: Vec<Head> =
            groups.into_iter().rev().flatten().filter(|head| head.ids >= start).collect();
        let ascending = heads.is_sorted_by(|one, other| one.to <= other.from);
        if !ascending || heads.iter().any(|head| head.from >= head.to) {
            return Err(Malformed("blocks are out of order".to_owned()).into());
        }
        Ok(Loaded { heads, chain })
    }

    fn last_heads(&self) -> Result<Option<(u64, Heads)>, StoreError> {
        for base in self.log.segments().into_iter().rev() {
            let mut reader = self.log.reader(base)?;
            let mut last = None;
            while let Some(record) = reader.next()? {
                if is(Kind::Heads, &record.payload) {
                    last = Some((record.offset, record.payload));
                }
            }
            if let Some((position, payload)) = last {
                return Ok(Some((position, decode(Kind::Heads, &payload)?)));
            }
        }
        Ok(None)
    }

    /// Stores `block`, which is not empty; returns its head once it survives power loss.
    pub(super) async fn append(
        &self,
        block: &Block,
        chain: &mut Chain,
    ) -> Result<Option<Head>, LogError> {
        let positions = self.log.append_many(block.entries()).await?;
        let Some(head) = block.head(&positions) else { return Ok(None) };
        let mut heads = chain.group.clone();
        heads.push(head);
        let entry = Heads { heads, previous: chain.previous };
        let position = self.log.append(encode(Kind::Heads, &entry)).await?;
        *chain = Chain::after(position, &entry);
        Ok(Some(head))
    }

    pub(super) fn column(&self, kind: Kind, head: &Head) -> Result<Bytes, StoreError> {
        let position = if kind == Kind::Ids { head.ids } else { head.persons };
        let payload = self.log.read_at(position)?;
        let column = decode_column(kind, &payload, head)?;
        Ok(payload.slice_ref(column))
    }

    pub(super) fn rows(&self, head: &Head) -> Result<Vec<Row>, StoreError> {
        Ok(decode_rows(&self.log.read_at(head.records)?, head)?)
    }

    pub(super) fn merges(&self, head: &Head) -> Result<Vec<MergeRow>, StoreError> {
        let Some(position) = head.merges else { return Ok(Vec::new()) };
        Ok(decode(Kind::Merges, &self.log.read_at(position)?)?)
    }

    /// Lets go of what lies before `position`, or some of it.
    pub(super) fn trim(&self, position: u64) -> Result<(), LogError> {
        self.log.trim(position).map(drop)
    }

    pub(super) fn end(&self) -> u64 {
        self.log.end()
    }

    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.log.bytes_on_disk()
    }

    pub(super) async fn close(&self) {
        self.log.close().await;
    }
}

impl Chain {
    /// The chain that ends with `entry` at `position`.
    fn after(position: u64, entry: &Heads) -> Self {
        if entry.heads.len() >= HEADS_MAX {
            Self { group: Vec::new(), previous: Some(position) }
        } else {
            Self { group: entry.heads.clone(), previous: entry.previous }
        }
    }
}
