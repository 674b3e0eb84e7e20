//! The data folder: who holds it, the control token, and where the running server listens.

use anyhow::{Context, bail};
use isthmus_core::seam::Random;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where data is kept unless told otherwise.
pub const DATA_DIR: &str = "isthmus-data";

const LOCK: &str = "lock";
const TOKEN: &str = "control.token";
const ADDRESS: &str = "server.json";

/// A data folder that this process holds until it is dropped.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Opens `path`, creating it if needed; refuses when another process holds it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("data folder {} cannot be made", path.display()))?;
        let lock = File::create(path.join(LOCK))
            .with_context(|| format!("data folder {} cannot be written to", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "data folder {} is in use by another isthmus; stop it, or choose another folder \
                 with --data-dir",
                path.display()
            ),
            Err(TryLockError::Error(error)) => Err(error)
                .with_context(|| format!("data folder {} cannot be locked", path.display())),
        }
    }

    /// A file or folder inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The control token, and whether it was made just now.
    pub(crate) fn token(&self, random: &dyn Random) -> anyhow::Result<(String, bool)> {
        if let Some(token) = token_of(&self.path) {
            return Ok((token, false));
        }
        let words = [0; 4].map(|_: u8| format!("{:016x}", random.next_u64()));
        let token = words.concat();
        let file = self.path.join(TOKEN);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut open| open.write_all(token.as_bytes()).and_then(|()| open.sync_all()))
            .with_context(|| format!("control token cannot be kept in {}", file.display()))?;
        Ok((token, true))
    }

    /// Notes where this server listens, for commands on the same machine.
    pub(crate) fn note_address(&self, address: SocketAddr) -> anyhow::Result<()> {
        let file = self.path.join(ADDRESS);
        let note = serde_json::json!({ "url": format!("http://{address}") });
        std::fs::write(&file, note.to_string())
            .with_context(|| format!("address cannot be noted in {}", file.display()))
    }
}

/// The control token kept in `folder`, if there is one.
pub fn token_of(folder: &Path) -> Option<String> {
    let token = std::fs::read_to_string(folder.join(TOKEN)).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Where the server of `folder` listens, or last listened.
pub fn address_of(folder: &Path) -> Option<String> {
    let note = std::fs::read_to_string(folder.join(ADDRESS)).ok()?;
    let note: serde_json::Value = serde_json::from_str(&note).ok()?;
    note.get("url")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::seam::SeededRandom;

    #[test]
    fn the_token_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let random = SeededRandom::new(1);
        let (token, is_new) = data.token(&random).unwrap();
        assert!(is_new && token.len() == 64);
        assert_eq!(data.token(&random).unwrap(), (token, false));
        let mode = std::fs::metadata(data.join(TOKEN)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_folder_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let _held = DataFolder::open(folder.path()).unwrap();
        let second = DataFolder::open(folder.path()).unwrap_err().to_string();
        assert!(second.contains("in use by another isthmus"), "{second}");
    }
}
