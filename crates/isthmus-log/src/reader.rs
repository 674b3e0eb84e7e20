//! Reading records, one after the other or one by its offset.

use crate::format::{FRAME_HEADER, FrameHeader, Kind};
use crate::rewrite::Frames;
use crate::scan::{Span, Window};
use crate::segments::Shared;
use crate::{LogError, metrics as names};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// Bytes read at first for a single record; most fit.
const RECORD_PIECE: usize = 16 << 10;

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub offset: u64,
    /// Where the one after it is, or will be.
    pub next: u64,
    pub payload: Bytes,
}

/// Reads a log in order; made by [`Log::reader`](crate::Log::reader).
///
/// Holds up to 1 MiB, or the largest record it is reading. Reads block the thread, for as long as
/// the page cache or the disk takes. Keeps neither the writer alive nor segments from being
/// trimmed.
#[derive(Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
    position: u64,
    span: Option<Span>,
    window: Window,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>, from: u64) -> Result<Self, LogError> {
        let mut reader = Self { shared, position: from, span: None, window: Window::sequential() };
        let (start, end) = (reader.shared.start(), reader.shared.end());
        if from > end {
            return Err(LogError::Beyond { offset: from, end });
        }
        if from < start {
            return Err(LogError::Trimmed { offset: from, start });
        }
        if from < end {
            let span = reader.span()?;
            let in_memory = reader.shared.reading();
            let frame = frame_at(&in_memory, &mut reader.window, &span, from);
            if frame.map_err(LogError::io(span.base, "read"))?.is_none() {
                return Err(LogError::Corrupt { segment: span.base, offset: from });
            }
        }
        Ok(reader)
    }

    /// The next record; `None` at the end of what is durable, and more once there is more.
    ///
    /// After an error the position is what it was. [`LogError::Corrupt`] repeats itself;
    /// [`Log::next_valid_after`](crate::Log::next_valid_after) says where reading could go on.
    #[expect(clippy::should_implement_trait, reason = "unlike an iterator it goes on after None")]
    pub fn next(&mut self) -> Result<Option<Record>, LogError> {
        loop {
            let offset = self.position;
            if offset >= self.shared.end() {
                return Ok(None);
            }
            let span = self.span()?;
            let in_memory = self.shared.reading();
            let frame = frame_at(&in_memory, &mut self.window, &span, offset);
            let frame = frame.map_err(LogError::io(span.base, "read"))?;
            let (header, payload) = open(&self.shared, &span, offset, frame)?;
            self.position = offset + header.size();
            if let Some(payload) = payload {
                return Ok(Some(Record { offset, next: self.position, payload }));
            }
        }
    }

    /// Where the next record is, or will be.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns once there is a record to read. Dropping it is safe.
    pub async fn ready(&self) {
        wait_beyond(&self.shared, self.position).await;
    }

    /// The segment of the current position, up to its present end.
    fn span(&mut self) -> Result<Span, LogError> {
        let (base, end) = self.shared.bounds(self.position)?;
        let file = match self.span.take() {
            Some(span) if span.base == base => span.file,
            _ => self.shared.file(base, self.position)?,
        };
        let span = Span { file, base, end };
        self.span = Some(span.clone());
        Ok(span)
    }
}

/// The payload of the record at `offset`.
pub(crate) fn read_at(shared: &Shared, offset: u64) -> Result<Bytes, LogError> {
    let end = shared.end();
    if offset >= end {
        return Err(LogError::Beyond { offset, end });
    }
    let span = shared.span(offset)?;
    let mut window = Window::of(RECORD_PIECE);
    let in_memory = shared.reading();
    let frame = frame_at(&in_memory, &mut window, &span, offset);
    let frame = frame.map_err(LogError::io(span.base, "read"))?;
    let (_, payload) = open(shared, &span, offset, frame)?;
    payload.ok_or(LogError::Corrupt { segment: span.base, offset })
}

/// The first whole record after `offset`, in this segment or the following ones.
pub(crate) fn next_valid_after(shared: &Shared, offset: u64) -> Result<Option<u64>, LogError> {
    let mut from = offset.saturating_add(1).max(shared.start());
    let mut window = Window::sequential();
    while from < shared.end() {
        let span = shared.span(from)?;
        let in_memory = shared.reading();
        let next = window.next_frame(&span, from).map_err(LogError::io(span.base, "read"))?;
        let next = next.map(|(at, _)| at);
        let rewritten = in_memory.range(from..span.end).next().map(|(at, _)| *at);
        if let Some(at) = next.into_iter().chain(rewritten).min() {
            return Ok(Some(at));
        }
        from = span.end;
    }
    Ok(None)
}

/// Returns once the log ends beyond `offset`.
pub(crate) async fn wait_beyond(shared: &Shared, offset: u64) {
    let mut end = shared.end.subscribe();
    // An error would mean that the sender is gone, and it lives in what was borrowed.
    drop(end.wait_for(|end| *end > offset).await);
}

/// The frame at `offset` and its stored bytes, verified; `None` when there is no whole frame.
fn frame_at<'a>(
    in_memory: &'a Frames,
    window: &'a mut Window,
    span: &Span,
    offset: u64,
) -> io::Result<Option<(FrameHeader, &'a [u8])>> {
    if let Some(frame) = in_memory.get(&offset) {
        let header = FrameHeader::decode(frame, offset);
        return Ok(header.zip(frame.get(FRAME_HEADER..)));
    }
    window.frame(span, offset)
}

/// What a frame holds: a payload, or nothing when it is a skipped one.
fn open(
    shared: &Shared,
    span: &Span,
    offset: u64,
    frame: Option<(FrameHeader, &[u8])>,
) -> Result<(FrameHeader, Option<Bytes>), LogError> {
    let payload = frame.and_then(|(header, stored)| match header.kind {
        Kind::Skip => Some((header, None)),
        _ => Some((header, Some(header.unpack(stored)?))),
    });
    payload.ok_or_else(|| {
        let log = Arc::clone(&shared.name);
        metrics::counter!(names::CORRUPT_READS, "log" => log).increment(1);
        LogError::Corrupt { segment: span.base, offset }
    })
}
