//! From a question to the items that answer it: columns, candidates, records.

use super::block::{
    Kind, MergeRow, Needles, fingerprint_of_id, fingerprint_of_person, insert_id, overlap, place_of,
};
use super::{Block, FinderError, Found, Head, Shared, View};
use isthmus_core::record::{Applied, AppliedBatch};
use isthmus_core::{AmplitudeId, Place};
use isthmus_log::{LogError, Record};
use std::collections::{BTreeSet, VecDeque};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Which items come first, and so which are left out where there are more than asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// A part of the event log, by how it is searched.
#[derive(Debug)]
pub(super) enum Stretch {
    /// By the columns of a block that is stored.
    Stored(Head),
    /// By those of the block that grows.
    Open(Arc<Block>),
    /// By reading it.
    Log(Range<u64>),
}

/// What is looked for.
enum Wanted<'a> {
    Event(&'a str),
    Persons { ids: BTreeSet<AmplitudeId>, project: Option<&'a str> },
}

impl Wanted<'_> {
    fn needles(&self) -> Needles {
        match self {
            Self::Event(id) => Needles::new([fingerprint_of_id(id)]),
            Self::Persons { ids, .. } => {
                Needles::new(ids.iter().map(|person| fingerprint_of_person(*person)))
            }
        }
    }

    fn is(&self, item: &Applied<'_>) -> bool {
        match self {
            Self::Event(id) => insert_id(item) == Some(id),
            Self::Persons { ids, project } => {
                let is_theirs = match item {
                    Applied::Event(event) => ids.contains(&event.user),
                    Applied::UserChange(change) => ids.contains(&change.user),
                    Applied::Merge(merge) => {
                        ids.contains(&merge.into) || ids.contains(&merge.anonymous)
                    }
                    Applied::Identified(identified) => ids.contains(&identified.user),
                    Applied::Identify(identify) => ids.contains(&identify.user),
                    Applied::Erasure(erasure) => {
                        erasure.users.iter().any(|user| ids.contains(user))
                    }
                    Applied::GroupChange(_) | Applied::Erased => false,
                };
                is_theirs && project.is_none_or(|project| project == item.project())
            }
        }
    }
}

/// One search.
struct Search<'a> {
    shared: &'a Shared,
    view: View,
    wanted: Wanted<'a>,
    needles: Needles,
    offsets: Range<u64>,
    order: Order,
}

impl Shared {
    /// Newest first.
    pub(super) fn find_event(&self, id: &str, limit: usize) -> Result<Vec<Found>, FinderError> {
        let view = self.view();
        let offsets = self.events.start()..self.events.end();
        let wanted = Wanted::Event(id);
        let needles = wanted.needles();
        let order = Order::NewestFirst;
        Search { shared: self, view, wanted, needles, offsets, order }.run(limit)
    }

    pub(super) fn find_user(
        &self,
        project: Option<&str>,
        persons: &[AmplitudeId],
        offsets: Range<u64>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Found>, FinderError> {
        let view = self.view();
        let kept = self.events.start()..self.events.end();
        let offsets = offsets.start.max(kept.start)..offsets.end.min(kept.end);
        let mut ids: BTreeSet<AmplitudeId> = persons.iter().copied().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.add_merged(&view, kept, &mut ids)?;
        let wanted = Wanted::Persons { ids, project };
        let needles = wanted.needles();
        Search { shared: self, view, wanted, needles, offsets, order }.run(limit)
    }

    /// Adds the anonymous persons that were merged into `ids`.
    fn add_merged(
        &self,
        view: &View,
        offsets: Range<u64>,
        ids: &mut BTreeSet<AmplitudeId>,
    ) -> Result<(), FinderError> {
        // Backwards: whoever was merged into an anonymous person was so before that one was.
        for stretch in view.stretches(&offsets).into_iter().rev() {
            let merges = match &stretch {
                Stretch::Stored(head) => match self.stored(view, self.store.merges(head)) {
                    Some(merges) => merges,
                    None => self.read_merges(head.from..head.to)?,
                },
                Stretch::Open(open) => open.merges.clone(),
                Stretch::Log(range) => self.read_merges(range.clone())?,
            };
            for merge in merges.into_iter().rev() {
                if ids.contains(&merge.into) {
                    ids.insert(merge.anonymous);
                }
            }
        }
        Ok(())
    }

    fn read_merges(&self, range: Range<u64>) -> Result<Vec<MergeRow>, FinderError> {
        let mut merges = Vec::new();
        self.read(range, |_, batch| {
            let rows = (0u32..).zip(&batch.items).filter_map(|(item, applied)| match applied {
                Applied::Merge(merge) => {
                    let (anonymous, into) = (merge.anonymous, merge.into);
                    Some(MergeRow { item, anonymous, into })
                }
                _ => None,
            });
            merges.extend(rows);
            ControlFlow::Continue(())
        })?;
        Ok(merges)
    }

    /// Shows the records of `range`, which begins with one, in order, until told to stop.
    ///
    /// Steps over what is trimmed meanwhile, and over what is damaged, with a warning.
    pub(super) fn read(
        &self,
        range: Range<u64>,
        mut visit: impl FnMut(u64, &AppliedBatch<'_>) -> ControlFlow<()>,
    ) -> Result<(), FinderError> {
        let events = &self.events;
        let end = range.end.min(events.end());
        let mut position = range.start.max(events.start());
        let mut reader = None;
        while position < end {
            let attempt = match reader.take() {
                Some(reader) => Ok(reader),
                None => events.reader(position),
            };
            let record = attempt.and_then(|mut standing| {
                let record = standing.next()?;
                reader = Some(standing);
                Ok(record)
            });
            let Record { offset, next, payload } = match record {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(LogError::Trimmed { start, .. }) => {
                    position = start.max(position + 1);
                    continue;
                }
                Err(LogError::Corrupt { offset, .. }) => {
                    let next = events.next_valid_after(offset);
                    let next = next.map_err(|source| FinderError::Events { offset, source })?;
                    tracing::warn!(offset, ?next, "damaged events are not searched");
                    let Some(next) = next else { break };
                    position = next;
                    continue;
                }
                Err(source) => return Err(FinderError::Events { offset: position, source }),
            };
            position = next;
            if offset >= end {
                break;
            }
            match AppliedBatch::decode(&payload) {
                Ok(batch) => {
                    if visit(offset, &batch).is_break() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(offset, %error, "unreadable record of events is not searched");
                }
            }
        }
        Ok(())
    }
}

impl View {
    /// How the records of `offsets` are to be searched, in order.
    pub(super) fn stretches(&self, offsets: &Range<u64>) -> Vec<Stretch> {
        let first = self.heads.partition_point(|head| head.to <= offsets.start);
        let before = first.checked_sub(1).and_then(|index| self.heads.get(index));
        // Always an offset at which a record begins, whatever was asked for.
        let mut at = before.map_or(0, |head| head.to);
        let mut stretches = Vec::new();
        let gap = |at: u64, to: u64| overlap(offsets, at, to).then_some(Stretch::Log(at..to));
        for head in self.heads.get(first..).unwrap_or_default() {
            if !overlap(offsets, head.from, head.to) {
                break;
            }
            stretches.extend(gap(at, head.from));
            stretches.push(Stretch::Stored(*head));
            at = head.to;
        }
        let open = &self.open;
        if at < open.from && self.heads.last().is_none_or(|last| last.to <= at) {
            stretches.extend(gap(at, open.from));
        }
        if overlap(offsets, open.from, open.to) {
            stretches.push(Stretch::Open(Arc::clone(open)));
        }
        stretches.extend(gap(open.to, offsets.end.max(open.to)));
        stretches
    }
}

impl Search<'_> {
    /// The first `limit` items in order.
    fn run(&self, limit: usize) -> Result<Vec<Found>, FinderError> {
        let mut stretches = self.view.stretches(&self.offsets);
        if self.order == Order::NewestFirst {
            stretches.reverse();
        }
        let mut found = Vec::new();
        for stretch in stretches {
            if found.len() >= limit {
                break;
            }
            let left = limit - found.len();
            match self.candidates(&stretch) {
                Some(places) => self.verify(&places, left, &mut found)?,
                None => self.scan(stretch.range(), left, &mut found)?,
            }
        }
        Ok(found)
    }

    /// Where the columns say that an item may be, in the order of the log; `None` when there are
    /// no columns to ask.
    fn candidates(&self, stretch: &Stretch) -> Option<Vec<Place>> {
        let by_person = matches!(self.wanted, Wanted::Persons { .. });
        let kind = if by_person { Kind::Persons } else { Kind::Ids };
        let (shared, view) = (self.shared, &self.view);
        let (mut items, rows, merges) = match stretch {
            Stretch::Log(_) => return None,
            Stretch::Open(open) => {
                let column = if by_person { &open.persons } else { &open.ids };
                (self.needles.find(column), open.rows.clone(), open.merges.clone())
            }
            Stretch::Stored(head) => {
                let column = shared.stored(view, shared.store.column(kind, head))?;
                let items = self.needles.find(&column);
                let merges = if by_person { shared.store.merges(head) } else { Ok(Vec::new()) };
                let merges = shared.stored(view, merges)?;
                if items.is_empty() && merges.is_empty() {
                    return Some(Vec::new());
                }
                (items, shared.stored(view, shared.store.rows(head))?, merges)
            }
        };
        if let Wanted::Persons { ids, .. } = &self.wanted {
            // The column has only the known person of a merge.
            let theirs = merges.iter().filter(|merge| ids.contains(&merge.anonymous));
            items.extend(theirs.map(|merge| merge.item));
            items.sort_unstable();
            items.dedup();
        }
        let places = items.into_iter().filter_map(|item| place_of(&rows, item));
        Some(places.filter(|place| self.offsets.contains(&place.offset)).collect())
    }

    /// Reads the records of `places` in order and adds what is wanted, up to `left`.
    fn verify(
        &self,
        places: &[Place],
        left: usize,
        found: &mut Vec<Found>,
    ) -> Result<(), FinderError> {
        let until = found.len().saturating_add(left);
        let newest_first = self.order == Order::NewestFirst;
        let mut groups: Vec<&[Place]> =
            places.chunk_by(|one, other| one.offset == other.offset).collect();
        if newest_first {
            groups.reverse();
        }
        for group in groups {
            let Some(offset) = group.first().map(|place| place.offset) else { continue };
            let payload = match self.shared.events.read_at(offset) {
                Ok(payload) => payload,
                // Trimmed since the search began.
                Err(LogError::Trimmed { .. }) => continue,
                Err(source) => return Err(FinderError::Events { offset, source }),
            };
            let batch = AppliedBatch::decode(&payload)
                .map_err(|source| FinderError::Record { offset, source })?;
            let wanted = |place: &Place| {
                let item = batch.items.get(usize::try_from(place.index).ok()?)?;
                self.wanted.is(item).then(|| Found::new(*place, item))
            };
            if newest_first {
                found.extend(group.iter().rev().filter_map(wanted));
            } else {
                found.extend(group.iter().filter_map(wanted));
            }
            if found.len() >= until {
                found.truncate(until);
                break;
            }
        }
        Ok(())
    }

    /// Reads the records of `range` and adds what is wanted, up to `left`.
    fn scan(
        &self,
        range: Range<u64>,
        left: usize,
        found: &mut Vec<Found>,
    ) -> Result<(), FinderError> {
        let oldest_first = self.order == Order::OldestFirst;
        let mut seen = VecDeque::new();
        self.shared.read(range, |offset, batch| {
            if offset >= self.offsets.end {
                return ControlFlow::Break(());
            }
            if offset < self.offsets.start {
                return ControlFlow::Continue(());
            }
            for (index, item) in (0u32..).zip(&batch.items) {
                if !self.wanted.is(item) {
                    continue;
                }
                if seen.len() >= left {
                    if oldest_first {
                        return ControlFlow::Break(());
                    }
                    seen.pop_front();
                }
                seen.push_back(Found::new(Place { offset, index }, item));
            }
            ControlFlow::Continue(())
        })?;
        if oldest_first {
            found.extend(seen);
        } else {
            found.extend(seen.into_iter().rev());
        }
        Ok(())
    }
}

impl Stretch {
    fn range(&self) -> Range<u64> {
        match self {
            Self::Stored(head) => head.from..head.to,
            Self::Open(open) => open.from..open.to,
            Self::Log(range) => range.clone(),
        }
    }
}
