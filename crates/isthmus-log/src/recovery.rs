//! Opening a folder: what is there, whether it is whole, what has to be cut.
//!
//! Only the last segment is read. The others were synced before their successor was created, so
//! their lengths say enough; damage inside them is found by whoever reads it.
//!
//! **Torn or damaged?** A group is written only after the one before it was synced. So a bad frame
//! with a whole frame of a *later group* after it was durable once: that is damage, and
//! nothing is cut. A bad frame with nothing whole after it is the tail of a write that a crash
//! interrupted: never acknowledged, and cut. Between the two lies a bad frame followed by a whole
//! frame of *its own* group, because disks write the sectors of one group in any order. Sectors
//! that never arrived read as zeros; where there are such, the group is cut, else it is damage.
//!
//! A rewriting that a crash interrupted is finished before any of this.

use crate::LogError;
use crate::disk::{Disk, DiskFile, FolderLock};
use crate::format::{
    SEGMENT_HEADER, SEGMENT_HEADER_LEN, SegmentHeader, check_segment_header, parse_segment_name,
    segment_header, segment_path, version,
};
use crate::rewrite;
use crate::scan::{Span, Window};
use crate::writer::Active;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What opening a log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Segments in the folder.
    pub segments: usize,
    /// First offset kept.
    pub start: u64,
    /// Offset of the next record.
    pub end: u64,
    /// Bytes of the last segment that were read and verified.
    pub verified_bytes: u64,
    /// Bytes of interrupted or failed writes that were cut; they were never acknowledged.
    pub cut_bytes: u64,
}

/// An opened folder.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) lock: Box<dyn FolderLock>,
    pub(crate) bases: Vec<u64>,
    pub(crate) active: Option<Active>,
    pub(crate) recovery: Recovery,
}

/// One segment file as it is found.
struct Found {
    file: Arc<dyn DiskFile>,
    base: u64,
    /// Bytes after the header.
    content: u64,
    header: SegmentHeader,
}

/// Locks `folder` and makes it ready for appending.
pub(crate) fn open_folder(disk: &dyn Disk, folder: &Path) -> Result<Opened, LogError> {
    let lock = lock_folder(disk, folder)?;
    let bases = list_segments(disk, folder)?;
    rewrite::complete(disk, folder, &bases)?;
    let mut recovery = Recovery { segments: bases.len(), ..Recovery::default() };
    let Some((&last, closed)) = bases.split_last() else {
        return Ok(Opened { lock, bases, active: None, recovery });
    };

    for (base, next) in closed.iter().zip(bases.iter().skip(1)) {
        recovery.cut_bytes += close_segment(&find(disk, folder, *base)?, *next)?;
    }
    let mut tail = find(disk, folder, last)?;
    if tail.header == SegmentHeader::Invalid {
        finish_creating(&mut tail)?;
    }
    let end = recover_tail(&tail, &mut recovery)?;
    // The process before this one may have died between creating a file and this.
    disk.sync_folder(folder).map_err(LogError::io(last, "synced"))?;

    recovery.start = bases.first().copied().unwrap_or(last);
    recovery.end = end;
    let active = Some(Active { file: tail.file, base: last });
    Ok(Opened { lock, bases, active, recovery })
}

pub(crate) fn lock_folder(disk: &dyn Disk, folder: &Path) -> Result<Box<dyn FolderLock>, LogError> {
    disk.create_folder(folder).map_err(LogError::io(0, "created"))?;
    let lock = disk.lock(folder).map_err(LogError::io(0, "locked"))?;
    lock.ok_or_else(|| LogError::Locked { folder: folder.to_owned() })
}

/// Base offsets of the segments in `folder`, ascending.
pub(crate) fn list_segments(disk: &dyn Disk, folder: &Path) -> Result<Vec<u64>, LogError> {
    let names = disk.list(folder).map_err(LogError::io(0, "listed"))?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
    bases.sort_unstable();
    Ok(bases)
}

fn find(disk: &dyn Disk, folder: &Path, base: u64) -> Result<Found, LogError> {
    let mut start = [0; SEGMENT_HEADER_LEN];
    let found = disk.open(&segment_path(folder, base)).and_then(|file| {
        let count = file.read_at(&mut start, 0)?;
        let content = file.len()?.saturating_sub(SEGMENT_HEADER);
        let header = check_segment_header(start.get(..count).unwrap_or_default(), base);
        Ok(Found { file, base, content, header })
    });
    let found = found.map_err(LogError::io(base, "opened"))?;
    if let SegmentHeader::Newer(found) = found.header {
        return Err(LogError::Version { segment: base, found, known: version() });
    }
    Ok(found)
}

/// Checks a segment that has a successor, and cuts what a failed group left beyond it; returns how
/// many bytes that were.
fn close_segment(segment: &Found, next: u64) -> Result<u64, LogError> {
    let base = segment.base;
    if segment.header == SegmentHeader::Invalid {
        return Err(LogError::Corrupt { segment: base, offset: base });
    }
    let length = next - base;
    let Some(excess) = segment.content.checked_sub(length) else {
        return Err(LogError::Corrupt { segment: base, offset: base + segment.content });
    };
    if excess > 0 {
        cut(segment, length)?;
    }
    Ok(excess)
}

/// Gives the last segment the header it has not got, unless it holds records and so had one.
fn finish_creating(segment: &mut Found) -> Result<(), LogError> {
    let base = segment.base;
    let next = Window::sequential().next_frame(&segment.span(), base);
    if next.map_err(LogError::io(base, "read"))?.is_some() {
        return Err(LogError::Corrupt { segment: base, offset: base });
    }
    // `write_again` gives an empty segment its header.
    segment.file.truncate(0).map_err(LogError::io(base, "created"))?;
    segment.content = 0;
    segment.header = SegmentHeader::Valid;
    Ok(())
}

/// Verifies the last segment, cuts its torn tail and makes the rest durable; returns where it ends.
fn recover_tail(segment: &Found, recovery: &mut Recovery) -> Result<u64, LogError> {
    let Found { base, content, .. } = *segment;
    let failed = |attempt| LogError::io(base, attempt);
    let span = segment.span();
    let mut window = Window::sequential();
    let whole = whole_part(&span, &mut window).map_err(failed("read"))?;
    if was_durable(&span, &mut window, whole.end).map_err(failed("read"))? {
        return Err(LogError::Corrupt { segment: base, offset: whole.end });
    }
    recovery.verified_bytes = whole.end - base;
    recovery.cut_bytes += base + content - whole.end;
    if whole.end < base + content {
        cut(segment, whole.end - base)?;
    }
    write_again(segment, whole.last_group..whole.end).map_err(failed("synced"))?;
    Ok(whole.end)
}

/// The whole records that a segment starts with.
struct Whole {
    /// Offset of the first record of the last group.
    last_group: u64,
    /// First offset where there is no whole record.
    end: u64,
}

fn whole_part(span: &Span, window: &mut Window) -> io::Result<Whole> {
    let mut whole = Whole { last_group: span.base, end: span.base };
    while let Some((header, _)) = window.frame(span, whole.end)? {
        whole.last_group = whole.end.saturating_sub(u64::from(header.back)).max(span.base);
        whole.end += header.size();
    }
    Ok(whole)
}

/// Whether the bytes from `bad` on, where there is no whole record, were durable once.
fn was_durable(span: &Span, window: &mut Window, bad: u64) -> io::Result<bool> {
    if bad == span.end {
        return Ok(false);
    }
    let Some((next, mut header)) = window.next_frame(span, bad + 1)? else { return Ok(false) };
    let mut at = next;
    loop {
        if at.saturating_sub(u64::from(header.back)) > bad {
            return Ok(true);
        }
        match window.next_frame(span, at + header.size())? {
            Some(further) => (at, header) = further,
            None => return Ok(!window.has_empty_sector(span, bad, next)?),
        }
    }
}

/// Writes the last group, or the header where there is none, once more, and syncs.
///
/// A process that was killed, or gave up after a failed sync, may have left bytes that reads show
/// and the disk does not hold; after a failed sync Linux does not even know that it should write
/// them. Whoever reads the records acts on them, so they have to stay. Earlier groups were synced,
/// or the last one would not have been written.
fn write_again(segment: &Found, group: Range<u64>) -> io::Result<()> {
    const PIECE: u64 = 1 << 20;
    let file = &segment.file;
    if group.is_empty() {
        file.write_at(&[&segment_header(segment.base)], 0)?;
    }
    let mut buffer = Vec::new();
    let mut offset = group.start;
    while offset < group.end {
        let len = PIECE.min(group.end - offset);
        buffer.resize(usize::try_from(len).unwrap_or(0), 0);
        let position = SEGMENT_HEADER + (offset - segment.base);
        if file.read_at(&mut buffer, position)? < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(&[&buffer], position)?;
        offset += len;
    }
    file.sync()
}

fn cut(segment: &Found, content: u64) -> Result<(), LogError> {
    let length = SEGMENT_HEADER + content;
    let cut = segment.file.truncate(length).and_then(|()| segment.file.sync());
    cut.map_err(LogError::io(segment.base, "cut"))
}

impl Found {
    fn span(&self) -> Span {
        let end = self.base + self.content;
        Span { file: Arc::clone(&self.file), base: self.base, end }
    }
}
