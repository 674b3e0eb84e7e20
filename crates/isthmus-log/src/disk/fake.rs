//! A disk in memory that fails on demand and loses what a power failure may lose.
//!
//! It is as unkind as real disks are: unsynced sectors of one file survive a crash in any
//! combination, unsynced creations and removals too, and after a failed sync the lost bytes stay
//! lost while reads still show them, as Linux does.

use super::{Disk, DiskFile, FolderLock};
use isthmus_core::seam::{Random, SeededRandom};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a real disk writes whole or not at all.
const SECTOR: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct FakeDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: SeededRandom,
    /// What the machine sees.
    files: BTreeMap<PathBuf, Arc<FakeFile>>,
    /// What the folder would list after a power failure.
    durable: BTreeMap<PathBuf, Arc<FakeFile>>,
    locks: BTreeSet<PathBuf>,
    /// How many processes were killed so far.
    process: u32,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Faults {
    free: Option<u64>,
    free_hidden: bool,
    syncs_lost: bool,
    writes: u32,
    syncs: u32,
    truncates: u32,
    removes: u32,
    creates: u32,
    /// Changes until the power is gone.
    power: Option<u64>,
}

#[derive(Debug)]
struct FakeFile {
    disk: std::sync::Weak<Mutex<State>>,
    content: Mutex<Content>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    /// What reads show.
    seen: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
    /// Ranges of `seen` that the next sync makes durable.
    dirty: Vec<Range<usize>>,
}

#[derive(Debug)]
struct FakeLock {
    disk: FakeDisk,
    folder: PathBuf,
    /// The process that took it; a killed one has nothing to release.
    process: u32,
}

impl FakeDisk {
    /// An empty disk whose accidents are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: SeededRandom::new(seed),
            files: BTreeMap::new(),
            durable: BTreeMap::new(),
            locks: BTreeSet::new(),
            process: 0,
            faults: Faults::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Bytes that may still be written; `None` is without end.
    pub fn set_free(&self, free: Option<u64>) {
        self.lock_state().faults.free = free;
    }

    /// Whether [`Disk::free_space`] knows nothing of [`Self::set_free`], as with quotas.
    pub fn hide_free_space(&self, hidden: bool) {
        self.lock_state().faults.free_hidden = hidden;
    }

    /// Whether every sync fails from now on and, unlike [`Self::fail_syncs`], leaves what it should
    /// have made durable in flight: the moment before the power goes.
    pub fn lose_syncs(&self, lost: bool) {
        self.lock_state().faults.syncs_lost = lost;
    }

    /// No faults from now on, and space without end.
    pub fn clear_faults(&self) {
        self.lock_state().faults = Faults::default();
    }

    /// Fails the next `count` writes, after writing a part.
    pub fn fail_writes(&self, count: u32) {
        self.lock_state().faults.writes = count;
    }

    /// Fails the next `count` syncs of files; what they should have made durable is lost.
    pub fn fail_syncs(&self, count: u32) {
        self.lock_state().faults.syncs = count;
    }

    /// Fails the next `count` truncations.
    pub fn fail_truncates(&self, count: u32) {
        self.lock_state().faults.truncates = count;
    }

    /// Fails the next `count` removals.
    pub fn fail_removes(&self, count: u32) {
        self.lock_state().faults.removes = count;
    }

    /// Fails the next `count` creations.
    pub fn fail_creates(&self, count: u32) {
        self.lock_state().faults.creates = count;
    }

    /// Lets the next `changes` to the disk happen; all later ones fail, the first of them half-way,
    /// until [`Self::crash`] says what is left.
    pub fn lose_power_after(&self, changes: u64) {
        self.lock_state().faults.power = Some(changes);
    }

    /// Ends the process, as `kill -9` does: locks are released, everything written stays.
    /// Files opened before no longer reach the disk.
    pub fn kill(&self) {
        let mut state = self.lock_state();
        state.locks.clear();
        state.process += 1;
        state.faults = Faults::default();
        let files = std::mem::take(&mut state.files);
        let mut fresh: BTreeMap<*const FakeFile, Arc<FakeFile>> = BTreeMap::new();
        let mut renew = |file: &Arc<FakeFile>| {
            let content = file.lock_content().clone();
            let copy = || Arc::new(FakeFile { disk: file.disk.clone(), content: content.into() });
            Arc::clone(fresh.entry(Arc::as_ptr(file)).or_insert_with(copy))
        };
        let renewed = files.iter().map(|(path, file)| (path.clone(), renew(file))).collect();
        let durable = std::mem::take(&mut state.durable);
        state.durable = durable.iter().map(|(path, file)| (path.clone(), renew(file))).collect();
        state.files = renewed;
    }

    /// Cuts the power. Of everything unsynced, each sector, creation and removal survives or not.
    pub fn crash(&self) {
        self.kill();
        let mut state = self.lock_state();
        let mut survivors = BTreeMap::new();
        let paths: BTreeSet<PathBuf> =
            state.files.keys().chain(state.durable.keys()).cloned().collect();
        for path in paths {
            let (seen, durable) = (state.files.get(&path), state.durable.get(&path));
            let survivor = if state.random.below(2) == 0 { seen } else { durable };
            if let Some(file) = survivor {
                file.lock_content().crash(&state.random);
                survivors.insert(path, Arc::clone(file));
            }
        }
        state.files.clone_from(&survivors);
        state.durable = survivors;
    }

    /// Inverts bit `bit` of byte `at`, on the platter.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip(&self, path: &Path, at: u64, bit: u32) {
        self.edit(path, |bytes| {
            let byte = bytes.get_mut(position(at)).expect("the file is long enough");
            *byte ^= 1_u8.rotate_left(bit);
        });
    }

    /// Changes the bytes of a file, on the platter.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let state = self.lock_state();
        let mut content = state.files.get(path).expect("the file exists").lock_content();
        let mut bytes = std::mem::take(&mut content.seen);
        change(&mut bytes);
        *content = Content { seen: bytes.clone(), durable: bytes, dirty: Vec::new() };
    }

    /// The bytes of a file as reads show them.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        Some(self.lock_state().files.get(path)?.lock_content().seen.clone())
    }

    /// Paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock_state().files.keys().cloned().collect()
    }

    /// Another disk with the same files and no faults.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        for path in self.paths() {
            let bytes = self.bytes(&path).unwrap_or_default();
            let content = Content { seen: bytes.clone(), durable: bytes, dirty: Vec::new() };
            let file = copy.new_file(content);
            let mut state = copy.lock_state();
            state.files.insert(path.clone(), Arc::clone(&file));
            state.durable.insert(path, file);
        }
        copy
    }

    fn new_file(&self, content: Content) -> Arc<FakeFile> {
        Arc::new(FakeFile { disk: Arc::downgrade(&self.state), content: Mutex::new(content) })
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for FakeDisk {
    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn FolderLock>>> {
        let mut state = self.lock_state();
        if !state.locks.insert(folder.to_owned()) {
            return Ok(None);
        }
        let process = state.process;
        Ok(Some(Box::new(FakeLock { disk: self.clone(), folder: folder.to_owned(), process })))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.lock_state();
        let inside = state.files.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let known = {
            let mut state = self.lock_state();
            draw(&mut state.faults.power)?;
            fail(&mut state.faults.creates)?;
            state.files.get(path).cloned()
        };
        let file = if let Some(file) = known {
            file.truncate(0)?;
            file
        } else {
            let file = self.new_file(Content::default());
            self.lock_state().files.insert(path.to_owned(), Arc::clone(&file));
            file
        };
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock_state();
        let file = state.files.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::clone(file) as Arc<dyn DiskFile>)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        draw(&mut state.faults.power)?;
        fail(&mut state.faults.removes)?;
        let file = state.files.remove(path).ok_or(ErrorKind::NotFound)?;
        if let Some(free) = &mut state.faults.free {
            *free += file.lock_content().seen.len() as u64;
        }
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        draw(&mut state.faults.power)?;
        let State { files, durable, .. } = &mut *state;
        durable.retain(|path, _| path.parent() != Some(folder) || files.contains_key(path));
        for (path, file) in files.iter().filter(|(path, _)| path.parent() == Some(folder)) {
            durable.insert(path.clone(), Arc::clone(file));
        }
        Ok(())
    }

    fn free_space(&self, _folder: &Path) -> io::Result<u64> {
        let state = self.lock_state();
        let known = state.faults.free.filter(|_| !state.faults.free_hidden);
        Ok(known.unwrap_or(u64::MAX))
    }
}

impl FakeFile {
    fn lock_content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the disk for a fault, unless it is gone.
    fn fault(&self, of: impl FnOnce(&mut Faults) -> io::Result<()>) -> io::Result<()> {
        let disk = self.disk.upgrade().ok_or(ErrorKind::NotFound)?;
        let mut state = disk.lock().unwrap_or_else(PoisonError::into_inner);
        of(&mut state.faults)
    }
}

impl DiskFile for FakeFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let content = self.lock_content();
        let rest = content.seen.get(position(at)..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(count)
    }

    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()> {
        let bytes = parts.concat();
        let mut fits = bytes.len();
        let outcome = self.fault(|faults| {
            let powered = draw(&mut faults.power);
            if let Err(error) = powered.and_then(|()| fail(&mut faults.writes)) {
                fits = bytes.len() / 2;
                return Err(error);
            }
            if let Some(free) = &mut faults.free {
                fits = fits.min(position(*free));
                *free -= fits as u64;
                if fits < bytes.len() {
                    return Err(ErrorKind::StorageFull.into());
                }
            }
            Ok(())
        });
        self.lock_content().write(bytes.get(..fits).unwrap_or_default(), position(at));
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        let mut in_flight = false;
        let outcome = self.fault(|faults| {
            in_flight = faults.syncs_lost || draw(&mut faults.power).is_err();
            if in_flight { Err(on_demand()) } else { fail(&mut faults.syncs) }
        });
        if in_flight {
            return outcome;
        }
        let mut content = self.lock_content();
        if outcome.is_err() {
            // Linux marks the pages clean: a later sync works and does not write them.
            content.dirty.clear();
            return outcome;
        }
        content.sync();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.fault(|faults| {
            draw(&mut faults.power)?;
            fail(&mut faults.truncates)
        })?;
        let mut content = self.lock_content();
        let freed = (content.seen.len() as u64).saturating_sub(len);
        content.truncate(position(len));
        drop(content);
        self.fault(|faults| {
            if let Some(free) = &mut faults.free {
                *free += freed;
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.lock_content().seen.len() as u64)
    }
}

impl Content {
    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        self.seen.resize(self.seen.len().max(end), 0);
        for (to, from) in self.seen.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
        self.dirty.push(at..end);
    }

    fn truncate(&mut self, len: usize) {
        self.seen.truncate(len);
        for range in &mut self.dirty {
            range.end = range.end.min(len);
        }
        self.dirty.retain(|range| !range.is_empty());
    }

    fn sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.durable.resize(self.seen.len(), 0);
        for range in dirty {
            let (to, from) = (self.durable.get_mut(range.clone()), self.seen.get(range));
            if let (Some(to), Some(from)) = (to, from) {
                to.copy_from_slice(from);
            }
        }
    }

    /// Keeps a random length between what is durable and what is seen, and of the dirty sectors a
    /// random choice: all, a prefix, or any combination.
    fn crash(&mut self, random: &SeededRandom) {
        let (short, long) =
            (self.durable.len().min(self.seen.len()), self.durable.len().max(self.seen.len()));
        let len = short + position(random.below((long - short) as u64 + 1));
        let mut kept = self.durable.clone();
        kept.resize(len, 0);
        let manner = random.below(3);
        let sectors = self.seen.len().div_ceil(SECTOR) as u64;
        let prefix = random.below(sectors + 1);
        for range in std::mem::take(&mut self.dirty) {
            for at in range {
                let sector = (at / SECTOR) as u64;
                let survives = match manner {
                    0 => true,
                    1 => sector < prefix,
                    // The same answer for every byte of a sector.
                    _ => SeededRandom::new(prefix ^ (sector << 20)).below(2) == 0,
                };
                if let (true, Some(to), Some(from)) =
                    (survives, kept.get_mut(at), self.seen.get(at))
                {
                    *to = *from;
                }
            }
        }
        *self = Self { seen: kept.clone(), durable: kept, dirty: Vec::new() };
    }
}

impl FolderLock for FakeLock {}

impl Drop for FakeLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        if state.process == self.process {
            state.locks.remove(&self.folder);
        }
    }
}

/// Uses up one of the faults that were asked for.
fn fail(left: &mut u32) -> io::Result<()> {
    if *left == 0 {
        return Ok(());
    }
    *left -= 1;
    Err(on_demand())
}

/// Uses up a little of the power that is left.
fn draw(power: &mut Option<u64>) -> io::Result<()> {
    match power {
        Some(0) => Err(on_demand()),
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

fn on_demand() -> io::Error {
    io::Error::other("fault on demand")
}

fn position(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}
