//! Replacing payloads of records where they stand.
//!
//! A rewritten frame has the size of the one it replaces, so no offset moves. The new frames are
//! written to a side file and synced before the first old one is touched, and the side file is
//! removed after the last new one was synced. So at every moment either the old frames are whole
//! or the side file is, and opening the log finishes what it finds there.
//!
//! ```text
//! rewrite = header (32): magic 8, version 4, length of the body 8, crc32 of the body 4, zero 4,
//!                        crc32 of these 4
//!           body: per frame its offset 8, its size 4, its bytes
//! ```
//!
//! **Readers** go on meanwhile. They read under a lock that is taken for writing only while bytes
//! are put in place, so that nobody sees half a frame; the syncs before and after it hold nobody
//! up. Until a frame is known to be in place, readers take it from memory: whatever the disk does
//! half-way, what they see is whole. A lock was chosen over checking for torn reads afterwards
//! because a reader holds windows of a mebibyte, and would have to know the age of each. It costs
//! a reader two atomic operations a record, and appending nothing.

use crate::LogError;
use crate::disk::{Disk, DiskFile};
use crate::format::{FRAME_HEADER, FrameHeader, Kind, SEGMENT_HEADER, segment_path};
use crate::metrics as names;
use crate::scan::Window;
use crate::segments::{Shared, lock};
use crate::writer::failure;
use bytes::{Buf, BufMut, Bytes};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

const FILE_NAME: &str = "rewrite";
const MAGIC: [u8; 8] = *b"isthrewr";
const VERSION: u32 = 1;
const HEADER: usize = 32;
/// Bytes read at first to see what is to be replaced.
const PIECE: usize = 64 << 10;

/// What [`Log::rewrite`](crate::Log::rewrite) replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rewritten {
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// Whole frames by their offset.
pub(crate) type Frames = BTreeMap<u64, Bytes>;

/// What an earlier rewriting left to do.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// Frames of which the side file has a durable copy, and the segments maybe not.
    frames: Frames,
    /// Whether there may be a side file.
    file: bool,
}

/// Replaces the payloads of the records at these offsets.
pub(crate) fn rewrite(
    shared: &Shared,
    replacements: &[(u64, Vec<u8>)],
) -> Result<Rewritten, LogError> {
    let mut unfinished = lock(&shared.unfinished);
    if *shared.ended.borrow() {
        // The folder is not ours any more.
        return Err(LogError::Closed);
    }
    finish(shared, &mut unfinished)?;
    let frames = refit(shared, replacements)?;
    let Some(first) = frames.keys().next().copied() else { return Ok(Rewritten::default()) };
    let records = frames.len() as u64;
    let bytes = frames.values().map(|frame| frame.len() as u64).sum();

    unfinished.file = true;
    if let Err(error) = write_file(&*shared.disk, &shared.folder, &frames) {
        // Nothing was replaced. If the file stays, opening the log may replace it yet.
        drop(finish(shared, &mut unfinished));
        let segment = shared.bounds(first).map_or(first, |(base, _)| base);
        return Err(failure(shared, segment, "rewritten", &Arc::new(error)));
    }
    unfinished.frames = frames;
    finish(shared, &mut unfinished)?;
    let name = Arc::clone(&shared.name);
    metrics::counter!(names::REWRITTEN_RECORDS, "log" => name).increment(records);
    Ok(Rewritten { records, bytes })
}

/// The frames that replace those at the given offsets. Those that were trimmed are left out.
fn refit(shared: &Shared, replacements: &[(u64, Vec<u8>)]) -> Result<Frames, LogError> {
    let mut frames = Frames::new();
    let mut window = Window::of(PIECE);
    for (offset, payload) in replacements {
        let (offset, end) = (*offset, shared.end());
        if offset >= end {
            return Err(LogError::Beyond { offset, end });
        }
        let span = match shared.span(offset) {
            Err(LogError::Trimmed { .. }) => continue,
            span => span?,
        };
        let frame = window.frame(&span, offset).map_err(LogError::io(span.base, "read"))?;
        let header = frame.map(|(header, _)| header).filter(|header| header.kind != Kind::Skip);
        let header = header.ok_or(LogError::Corrupt { segment: span.base, offset })?;
        let room = u64::from(header.stored);
        let frame = header.refit(offset, payload).ok_or(LogError::NoRoom { offset, room })?;
        frames.insert(offset, frame.into());
    }
    Ok(frames)
}

/// Does what is left of a rewriting. After an error it is left still, and nobody reads anything
/// that is not whole.
fn finish(shared: &Shared, unfinished: &mut Unfinished) -> Result<(), LogError> {
    if !unfinished.frames.is_empty() {
        let bases = shared.read_bases(<[u64]>::to_vec);
        let targets = {
            let mut in_memory = shared.in_memory.write().unwrap_or_else(PoisonError::into_inner);
            in_memory.clone_from(&unfinished.frames);
            put(&*shared.disk, &shared.folder, &bases, &unfinished.frames)
        };
        sync(&targets?)?;
        shared.in_memory.write().unwrap_or_else(PoisonError::into_inner).clear();
        unfinished.frames.clear();
    }
    if unfinished.file {
        remove_file(&*shared.disk, &shared.folder).map_err(LogError::io(0, "rewritten"))?;
        unfinished.file = false;
    }
    Ok(())
}

/// Finishes what the process before this one began, in a folder with these segments.
pub(crate) fn complete(disk: &dyn Disk, folder: &Path, bases: &[u64]) -> Result<(), LogError> {
    let failed = |attempt| LogError::io(0, attempt);
    let known = disk.list(folder).map_err(failed("listed"))?;
    if !known.iter().any(|name| name == FILE_NAME) {
        return Ok(());
    }
    let bytes = read_file(disk, folder).map_err(failed("read"))?;
    let records = match decode(bytes.into())? {
        None => 0,
        Some(frames) => {
            sync(&put(disk, folder, bases, &frames)?)?;
            frames.len()
        }
    };
    remove_file(disk, folder).map_err(failed("rewritten"))?;
    tracing::info!(folder = %folder.display(), records, "interrupted rewriting finished");
    Ok(())
}

/// Segments that were written to, by their base.
type Targets = Vec<(u64, Arc<dyn DiskFile>)>;

/// Writes `frames` where they belong; what is left to do is to sync. What was trimmed is passed
/// over.
fn put(
    disk: &dyn Disk,
    folder: &Path,
    bases: &[u64],
    frames: &Frames,
) -> Result<Targets, LogError> {
    let mut targets = Targets::new();
    for (at, base) in bases.iter().enumerate() {
        let next = bases.get(at + 1).copied().unwrap_or(u64::MAX);
        let mut within = frames.range(*base..next).peekable();
        if within.peek().is_none() {
            continue;
        }
        // A handle of its own: the one that appends belongs to the writer.
        let file = match disk.open(&segment_path(folder, *base)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(LogError::io(*base, "opened"))?,
        };
        put_within(&*file, *base, within).map_err(LogError::io(*base, "rewritten"))?;
        targets.push((*base, file));
    }
    Ok(targets)
}

fn put_within<'a>(
    file: &dyn DiskFile,
    base: u64,
    frames: impl Iterator<Item = (&'a u64, &'a Bytes)>,
) -> io::Result<()> {
    let length = file.len()?;
    for (offset, frame) in frames {
        let position = SEGMENT_HEADER + (offset - base);
        // A segment that lost its end is damaged, and must not look as if it were not.
        if position + frame.len() as u64 <= length {
            file.write_at(&[frame], position)?;
        }
    }
    Ok(())
}

fn sync(targets: &Targets) -> Result<(), LogError> {
    let sync = |(base, file): &(u64, Arc<dyn DiskFile>)| {
        file.sync().map_err(LogError::io(*base, "rewritten"))
    };
    targets.iter().try_for_each(sync)
}

fn file_path(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

fn write_file(disk: &dyn Disk, folder: &Path, frames: &Frames) -> io::Result<()> {
    let body = encode_body(frames);
    let mut header = [0; HEADER];
    let mut fields = &mut header[..];
    fields.put_slice(&MAGIC);
    fields.put_u32_le(VERSION);
    fields.put_u64_le(body.len() as u64);
    fields.put_u32_le(crc32fast::hash(&body));
    fields.put_u32_le(0);
    let (summed, mut sum) = header.split_at_mut(HEADER - 4);
    sum.put_u32_le(crc32fast::hash(summed));
    let file = disk.create(&file_path(folder))?;
    file.write_at(&[&header, &body], 0)?;
    file.sync()?;
    disk.sync_folder(folder)
}

fn encode_body(frames: &Frames) -> Vec<u8> {
    let mut body = Vec::with_capacity(frames.values().map(|frame| frame.len() + 12).sum());
    for (offset, frame) in frames {
        body.put_u64_le(*offset);
        body.put_u32_le(u32::try_from(frame.len()).expect("frames are at most PAYLOAD_MAX long"));
        body.put_slice(frame);
    }
    body
}

fn read_file(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(&file_path(folder))?;
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// The frames in a side file; `None` when it was not written to its end.
fn decode(mut bytes: Bytes) -> Result<Option<Frames>, LogError> {
    let Some((summed, mut sum)) =
        bytes.get(..HEADER).and_then(|at| at.split_at_checked(HEADER - 4))
    else {
        return Ok(None);
    };
    let Some(mut fields) = summed.strip_prefix(&MAGIC) else { return Ok(None) };
    if crc32fast::hash(summed) != sum.get_u32_le() {
        return Ok(None);
    }
    let (found, length, body_sum) = (fields.get_u32_le(), fields.get_u64_le(), fields.get_u32_le());
    if found != VERSION {
        return Err(LogError::Version { segment: 0, found, known: VERSION });
    }
    bytes.advance(HEADER);
    if bytes.len() as u64 != length || crc32fast::hash(&bytes) != body_sum {
        return Ok(None);
    }
    Ok(decode_body(bytes))
}

fn decode_body(mut body: Bytes) -> Option<Frames> {
    let mut frames = Frames::new();
    while body.has_remaining() {
        let offset = body.try_get_u64_le().ok()?;
        let size = body.try_get_u32_le().ok()? as usize;
        if body.remaining() < size {
            return None;
        }
        let frame = body.split_to(size);
        let header = FrameHeader::decode(&frame, offset)?;
        if !header.matches(frame.get(FRAME_HEADER..)?) {
            return None;
        }
        frames.insert(offset, frame);
    }
    Some(frames)
}

fn remove_file(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    match disk.remove(&file_path(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    disk.sync_folder(folder)
}
