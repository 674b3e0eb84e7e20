//! The way past damage, for an operator who has decided to lose what is damaged.
//!
//! The header of one frame that spans the damaged bytes is written over the first of them; readers
//! step over such a frame. The bytes themselves stay, for whoever wants to look at them.

use crate::LogError;
use crate::disk::Disk;
use crate::format::{
    FRAME_HEADER, FrameHeader, Kind, SEGMENT_HEADER, SEGMENT_HEADER_LEN, SegmentHeader,
    check_segment_header, segment_header, segment_path,
};
use crate::recovery::{list_segments, lock_folder};
use crate::rewrite;
use crate::scan::{Span, Window};
use std::path::Path;

/// What an operator gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// Offset of the damaged record.
    pub from: u64,
    /// Offset of the next whole record, or the end of the segment.
    pub to: u64,
}

/// Makes readers step from the damaged record at `offset`, as named by [`LogError::Corrupt`], to
/// the next whole record of its segment. The log must not be open.
///
/// Nothing whole is given up. A whole record at `offset` is left alone, and then `to` equals
/// `from`; where the header of its segment is what is damaged, that is written again. Answers
/// [`LogError::Corrupt`] and changes nothing where bytes are missing from a segment's end.
pub fn skip_damage(disk: &dyn Disk, folder: &Path, offset: u64) -> Result<Skipped, LogError> {
    let _lock = lock_folder(disk, folder)?;
    let bases = list_segments(disk, folder)?;
    rewrite::complete(disk, folder, &bases)?;
    let after = bases.partition_point(|base| *base <= offset);
    let corrupt = |segment| LogError::Corrupt { segment, offset };
    let base = after.checked_sub(1).and_then(|at| bases.get(at)).copied();
    let base = base.ok_or_else(|| corrupt(offset))?;

    let file = disk.open(&segment_path(folder, base)).map_err(LogError::io(base, "opened"))?;
    let length = file.len().map_err(LogError::io(base, "opened"))?;
    let end = base + length.saturating_sub(SEGMENT_HEADER);
    let end = bases.get(after).map_or(end, |next| end.min(*next));
    let span = Span { file, base, end };

    let failed = LogError::io(base, "read");
    let mut start = [0; SEGMENT_HEADER_LEN];
    span.file.read_at(&mut start, 0).map_err(&failed)?;
    if check_segment_header(&start, base) == SegmentHeader::Invalid && offset == base {
        let written = span.file.write_at(&[&segment_header(base)], 0);
        written.and_then(|()| span.file.sync()).map_err(LogError::io(base, "repaired"))?;
    }
    let mut window = Window::sequential();
    if window.frame(&span, offset).map_err(&failed)?.is_some() {
        return Ok(Skipped { from: offset, to: offset });
    }
    let next = window.next_frame(&span, offset + 1).map_err(&failed)?;
    let to = next.map_or(end, |(next, _)| next);
    let stored = to.checked_sub(offset + FRAME_HEADER as u64);
    let stored = stored.and_then(|len| u32::try_from(len).ok()).ok_or_else(|| corrupt(base))?;

    let position = SEGMENT_HEADER + (offset - base);
    let mut bytes = vec![0; stored as usize];
    let read = span.file.read_at(&mut bytes, position + FRAME_HEADER as u64).map_err(&failed)?;
    if read < bytes.len() {
        return Err(corrupt(base));
    }
    let sum = crc32fast::hash(&bytes);
    let header = FrameHeader { kind: Kind::Skip, stored, payload: 0, back: 0, sum };
    let written = span.file.write_at(&[&header.encode(offset)], position);
    written.and_then(|()| span.file.sync()).map_err(LogError::io(base, "repaired"))?;
    Ok(Skipped { from: offset, to })
}
