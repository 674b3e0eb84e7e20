//! Reading one segment in big pieces, verifying frames, finding the next whole one after damage.

use crate::disk::DiskFile;
use crate::format::{FRAME_HEADER, FrameHeader, MARKER, SEGMENT_HEADER};
use std::io;
use std::sync::Arc;

/// Bytes read at once: large enough that a sequential reader is bound by the disk.
const READ_BYTES: usize = 1 << 20;

/// The readable part of one segment.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) file: Arc<dyn DiskFile>,
    /// Offset of the first frame.
    pub(crate) base: u64,
    /// First offset that is not to be read.
    pub(crate) end: u64,
}

/// A piece of a segment in memory.
///
/// Bytes below a log's end change only where a record is rewritten, at its size: what was read
/// before shows the record as it was. Only where it shows a part of one is it read again.
#[derive(Debug)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    /// Base of the segment and offset of the first byte of the buffer.
    at: (u64, u64),
    piece: usize,
}

impl Window {
    /// A window for sequential reading.
    pub(crate) fn sequential() -> Self {
        Self { buffer: Vec::new(), at: (0, 0), piece: READ_BYTES }
    }

    /// A window for one record: reads `piece` bytes at first, and what is missing after that.
    pub(crate) fn of(piece: usize) -> Self {
        Self { buffer: Vec::new(), at: (0, 0), piece }
    }

    /// At least `len` bytes from `offset` on, or fewer when the span or its file ends before.
    fn bytes(&mut self, span: &Span, offset: u64, len: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(span.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        if self.held(span.base, offset).is_none_or(|held| held.len() < len) {
            let room = self.piece.max(len);
            self.buffer.resize(room.min(left), 0);
            // One large record must not hold its memory for ever.
            self.buffer.shrink_to(room);
            let position = SEGMENT_HEADER + (offset - span.base);
            let read = span.file.read_at(&mut self.buffer, position);
            // What was there before is gone, even when nothing took its place.
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            self.at = (span.base, offset);
            read?;
        }
        Ok(self.held(span.base, offset).unwrap_or_default())
    }

    fn held(&self, base: u64, offset: u64) -> Option<&[u8]> {
        let skip = offset.checked_sub(self.at.1).filter(|_| self.at.0 == base)?;
        self.buffer.get(usize::try_from(skip).ok()?..)
    }

    /// The frame at `offset` and its stored bytes, verified; `None` when there is no whole frame.
    pub(crate) fn frame(
        &mut self,
        span: &Span,
        offset: u64,
    ) -> io::Result<Option<(FrameHeader, &[u8])>> {
        let mut header = self.verified(span, offset)?;
        if header.is_none() && !self.buffer.is_empty() {
            self.buffer.clear();
            header = self.verified(span, offset)?;
        }
        let Some(header) = header else { return Ok(None) };
        let size = FRAME_HEADER + header.stored as usize;
        let stored = self.held(span.base, offset).and_then(|held| held.get(FRAME_HEADER..size));
        Ok(stored.map(|stored| (header, stored)))
    }

    /// The header of the frame at `offset`, if the whole frame is held after that, and right.
    fn verified(&mut self, span: &Span, offset: u64) -> io::Result<Option<FrameHeader>> {
        let start = self.bytes(span, offset, FRAME_HEADER)?;
        let Some(header) = FrameHeader::decode(start, offset) else { return Ok(None) };
        if offset + header.size() > span.end {
            return Ok(None);
        }
        let size = FRAME_HEADER + header.stored as usize;
        let stored = self.bytes(span, offset, size)?.get(FRAME_HEADER..size);
        Ok(stored.is_some_and(|stored| header.matches(stored)).then_some(header))
    }

    /// The first whole frame at `from` or later: its offset and header.
    pub(crate) fn next_frame(
        &mut self,
        span: &Span,
        from: u64,
    ) -> io::Result<Option<(u64, FrameHeader)>> {
        let mut offset = from;
        loop {
            let bytes = self.bytes(span, offset, FRAME_HEADER)?;
            if bytes.len() < FRAME_HEADER {
                return Ok(None);
            }
            let candidate = bytes
                .windows(FRAME_HEADER)
                .zip(offset..)
                .filter(|(bytes, _)| bytes.starts_with(&MARKER))
                .find(|(bytes, at)| FrameHeader::decode(bytes, *at).is_some());
            let Some((_, at)) = candidate else {
                offset += (bytes.len() - FRAME_HEADER) as u64 + 1;
                continue;
            };
            if let Some((header, _)) = self.frame(span, at)? {
                return Ok(Some((at, header)));
            }
            offset = at + 1;
        }
    }

    /// Whether the file holds nothing but zeros in some sector between two offsets, or in the part
    /// of it that lies between them. Sectors that a power failure kept from the disk look so;
    /// damage to bytes that were there does not.
    pub(crate) fn has_empty_sector(&mut self, span: &Span, from: u64, to: u64) -> io::Result<bool> {
        const SECTOR: u64 = 512;
        let mut offset = from;
        while offset < to {
            let into = (SEGMENT_HEADER + (offset - span.base)) % SECTOR;
            let len = (SECTOR - into).min(to - offset);
            let bytes = self.bytes(span, offset, usize::try_from(len).unwrap_or(0))?;
            if bytes.iter().zip(0..len).all(|(byte, _)| *byte == 0) {
                return Ok(true);
            }
            offset += len;
        }
        Ok(false)
    }
}
