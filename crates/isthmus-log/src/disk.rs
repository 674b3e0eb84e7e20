//! The seam to the file system: what a log asks of a disk, and the machine's own.

mod fake;

pub use fake::FakeDisk;

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A file system. The server passes [`RealDisk`], tests and the simulator a [`FakeDisk`].
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates `folder` and its parents where they are missing.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Takes the lock of `folder` for as long as the answer lives; `None` when somebody has it.
    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn FolderLock>>>;

    /// Names of the files in `folder`, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Creates the file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file; open handles stay readable.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations and removals in `folder` durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Bytes that may still be written under `folder`.
    fn free_space(&self, folder: &Path) -> io::Result<u64>;
}

/// An open file. One thread writes through it at a time; any number read.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads bytes from position `at` until `buffer` is full or the file ends; returns how many.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes `parts` one after the other, from position `at`. After an error any of the bytes
    /// may have been written.
    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()>;

    /// Makes everything written so far durable, and the length of the file.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A lock that is released when dropped.
pub trait FolderLock: Send + fmt::Debug {}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

/// Held by the process that has the log open; empty, and never removed.
const LOCK_FILE: &str = "lock";

#[derive(Debug)]
struct RealFile(File);

#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl FolderLock for RealLock {}

impl Disk for RealDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(folder)?;
        // The new entry lives in the parent. Grandparents created on the way are synced too, as
        // far as they can be opened: a folder that is lost takes the log with it.
        for parent in folder.ancestors().skip(1) {
            let here = parent.as_os_str().is_empty();
            let parent = if here { Path::new(".") } else { parent };
            if File::open(parent).and_then(|file| file.sync_all()).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn FolderLock>>> {
        let path = folder.join(LOCK_FILE);
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            // A name that is not text is not one of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(File::options().read(true).write(true).open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn free_space(&self, folder: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(folder)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()> {
        // Reads are positioned, so the file's own cursor belongs to the one writer.
        let mut file = &self.0;
        file.seek(SeekFrom::Start(at))?;
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
