//! One run over a log: records read in order, those that concern somebody rewritten in batches.

use super::ErasureError;
use isthmus_core::record::RecordError;
use isthmus_log::{Log, LogError, LogReader, Record};
use std::ops::{ControlFlow, Range};

/// Bytes of new payloads that are rewritten together: enough that the syncs cost little beside
/// reading, little enough to be kept in memory.
const BATCH_BYTES: usize = 8 << 20;
/// Bytes that are read between two reports.
const REPORT_BYTES: u64 = 4 << 20;

/// What a run over one log did, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sweep {
    /// Everything before this offset was searched, and what was found is rewritten.
    pub searched_to: u64,
    /// Records rewritten.
    pub records: u64,
    /// Items or events erased in them.
    pub items: u64,
    /// Bytes that these records take on disk.
    pub bytes: u64,
    /// Offset of the first record rewritten.
    pub first: Option<u64>,
    /// Offset of the last record rewritten.
    pub last: Option<u64>,
    /// Bytes that are damaged, so that nobody knows what they said of whom.
    pub damaged_bytes: u64,
    /// Records that did not fit into their place when rewritten, and are as they were. None is
    /// known to exist; were there one, the people in it would not be forgotten.
    pub unfit: u64,
}

/// A record that is about to be rewritten.
struct Found {
    offset: u64,
    items: u64,
    payload: Vec<u8>,
}

struct Run<'a> {
    log: &'a Log,
    sweep: Sweep,
    batch: Vec<Found>,
    batch_bytes: usize,
}

/// Reads the records that begin in `range` and rewrites those for which `blank` gives a number of
/// items and a new payload.
pub(super) fn run(
    name: &'static str,
    log: &Log,
    range: Range<u64>,
    mut progress: impl FnMut(&Sweep) -> ControlFlow<()>,
    blank: impl Fn(&[u8]) -> Result<Option<(u64, Vec<u8>)>, RecordError>,
) -> Result<Sweep, ErasureError> {
    let end = range.end.min(log.end());
    let mut position = range.start.max(log.start()).min(end);
    let sweep = Sweep { searched_to: position, ..Sweep::default() };
    let mut run = Run { log, sweep, batch: Vec::new(), batch_bytes: 0 };
    let mut reader = None;
    while position < end {
        let read = next(log, &mut reader, position);
        let record = match read {
            Ok(Some(record)) if record.offset < end => record,
            Ok(_) => {
                run.sweep.damaged_bytes += end - position;
                break;
            }
            Err(LogError::Trimmed { start, .. }) => {
                position = start;
                continue;
            }
            Err(LogError::Corrupt { offset, .. }) => {
                let next = log.next_valid_after(offset)?.unwrap_or(end).min(end);
                tracing::warn!(log = name, offset, next, "damaged bytes are not erased");
                run.sweep.damaged_bytes += next - position;
                position = next;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // What lies between is damage that an operator has skipped.
        run.sweep.damaged_bytes += record.offset - position;
        position = record.next;
        let offset = record.offset;
        let blanked = blank(&record.payload).map_err(|source| ErasureError::Record {
            log: name,
            offset,
            source,
        })?;
        if let Some((items, payload)) = blanked {
            run.batch_bytes += payload.len();
            run.batch.push(Found { offset, items, payload });
        }
        let due = position - run.sweep.searched_to >= REPORT_BYTES;
        if run.batch_bytes >= BATCH_BYTES || due {
            run.flush(position)?;
            if progress(&run.sweep).is_break() {
                return Ok(run.sweep);
            }
            std::thread::yield_now();
        }
    }
    run.flush(end)?;
    Ok(run.sweep)
}

/// The record at `position`, or the first after it that is not skipped.
fn next(
    log: &Log,
    reader: &mut Option<LogReader>,
    position: u64,
) -> Result<Option<Record>, LogError> {
    let mut standing = match reader.take().filter(|reader| reader.position() == position) {
        Some(reader) => reader,
        None => log.reader(position)?,
    };
    let record = standing.next()?;
    *reader = Some(standing);
    Ok(record)
}

impl Run<'_> {
    /// Rewrites what was found before `searched_to`.
    fn flush(&mut self, searched_to: u64) -> Result<(), LogError> {
        let mut batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let rewritten = loop {
            let payload = |found: &mut Found| (found.offset, std::mem::take(&mut found.payload));
            let mut replacements: Vec<_> = batch.iter_mut().map(payload).collect();
            // Also with nothing to rewrite: it finishes what a failed rewriting left.
            match self.log.rewrite(&replacements) {
                Err(LogError::NoRoom { offset, .. }) => {
                    tracing::error!(offset, "record cannot be rewritten, its items stay");
                    self.sweep.unfit += 1;
                    let keep = |(at, payload): (u64, Vec<u8>)| (at != offset).then_some(payload);
                    let payloads: Vec<_> = replacements.drain(..).map(keep).collect();
                    let kept = batch.into_iter().zip(payloads);
                    let kept = kept
                        .filter_map(|(found, payload)| Some(Found { payload: payload?, ..found }));
                    batch = kept.collect();
                }
                outcome => break outcome?,
            }
        };
        self.sweep.searched_to = searched_to;
        self.sweep.records += rewritten.records;
        self.sweep.bytes += rewritten.bytes;
        self.sweep.items += batch.iter().map(|found| found.items).sum::<u64>();
        self.sweep.first = self.sweep.first.or(batch.first().map(|found| found.offset));
        self.sweep.last = batch.last().map(|found| found.offset).or(self.sweep.last);
        Ok(())
    }
}
