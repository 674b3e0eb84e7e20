//! From a time to an offset.

use super::block::Row;
use super::search::Stretch;
use super::{FinderError, Shared};
use isthmus_core::record::AppliedBatch;
use isthmus_log::LogError;
use std::ops::{ControlFlow, Range};

/// Where a time is in the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seek {
    /// The first record received at that time or later, or the end.
    pub(super) offset: u64,
    /// The record before it, or the start.
    pub(super) before: u64,
}

impl Shared {
    /// Where the records received at `at` or later begin, in milliseconds since the Unix epoch.
    pub(super) fn seek(&self, at: i64) -> Result<Seek, FinderError> {
        let view = self.view();
        let kept = self.events.start()..self.events.end();
        let mut before = kept.start;
        for stretch in view.stretches(&kept) {
            let found = match &stretch {
                Stretch::Stored(head) if head.latest < at => {
                    before = head.last_record.max(kept.start);
                    None
                }
                Stretch::Stored(head) => match self.stored(&view, self.store.rows(head)) {
                    Some(rows) => among(&rows, at, kept.start, &mut before),
                    None => self.seek_in_log(head.from..head.to, at, &mut before)?,
                },
                Stretch::Open(open) => among(&open.rows, at, kept.start, &mut before),
                Stretch::Log(range) => self.seek_in_log(range.clone(), at, &mut before)?,
            };
            if let Some(offset) = found {
                return Ok(Seek { offset, before });
            }
        }
        Ok(Seek { offset: kept.end, before })
    }

    /// Finds the segment by its first record, which is received before `at`, and reads on there.
    fn seek_in_log(
        &self,
        range: Range<u64>,
        at: i64,
        before: &mut u64,
    ) -> Result<Option<u64>, FinderError> {
        let mut bases = self.events.segments();
        bases.retain(|base| range.start < *base && *base < range.end);
        let earlier = bases.partition_point(|base| {
            // One that cannot be read is read past below, from the segment before it.
            self.first_received(*base).ok().flatten().is_some_and(|received| received < at)
        });
        let base = earlier.checked_sub(1).and_then(|index| bases.get(index)).copied();
        let mut found = None;
        self.read(base.unwrap_or(range.start)..range.end, |offset, batch| {
            if batch.received_at >= at {
                found = Some(offset);
                return ControlFlow::Break(());
            }
            *before = offset;
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    fn first_received(&self, base: u64) -> Result<Option<i64>, LogError> {
        let record = self.events.reader(base)?.next()?;
        let received =
            |payload: &[u8]| AppliedBatch::decode(payload).ok().map(|batch| batch.received_at);
        Ok(record.and_then(|record| received(&record.payload)))
    }
}

/// The first of `rows` from `start` on that was received at `at` or later.
fn among(rows: &[Row], at: i64, start: u64, before: &mut u64) -> Option<u64> {
    for row in rows.iter().filter(|row| row.offset >= start) {
        if row.received_at >= at {
            return Some(row.offset);
        }
        *before = row.offset;
    }
    None
}
