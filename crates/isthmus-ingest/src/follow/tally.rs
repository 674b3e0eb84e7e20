//! What following or reading has come to, as others see it.

use isthmus_braze::currents::{Received, Unusable};
use isthmus_core::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Event types, and reasons, that are told apart; further ones are counted together.
const TOLD_APART_MAX: usize = 500;
/// What is counted together is called.
const OTHERS: &str = "(others)";
/// Longest reason that is kept.
const REASON_CHARS_MAX: usize = 200;

/// Counters that their reader, and anybody who looks, share.
#[derive(Debug, Default)]
pub struct Tally {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    view: TallyView,
    /// Files that were found and are not done, with when each was written.
    waiting: BTreeMap<String, Timestamp>,
}

/// The counters at one moment, since the program began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TallyView {
    /// Files there are, and their bytes, where they were counted beforehand.
    pub files_total: Option<u64>,
    pub bytes_total: Option<u64>,
    /// Files of which everything was read, damaged ones included.
    pub files: u64,
    pub files_damaged: u64,
    /// Files that could not be read and are not tried again.
    pub files_failed: u64,
    /// Files that were passed over because they were read before.
    pub files_known: u64,
    /// Files that were found and are not done.
    pub files_pending: u64,
    /// When the oldest of those was written.
    pub oldest_pending: Option<Timestamp>,
    /// When the newest file was written that is done, in this run or before.
    pub newest_done: Option<Timestamp>,
    /// Bytes of files, as they are stored.
    pub bytes: u64,
    pub events: u64,
    pub unusable: u64,
    pub by_type: BTreeMap<String, u64>,
    /// Why things were unusable.
    pub by_reason: BTreeMap<String, u64>,
    /// When the latest of the events happened.
    pub newest_event: Option<Timestamp>,
    /// When events were handed in last.
    pub handed_in_at: Option<Timestamp>,
    /// When everything that is looked at was looked at last without anything going wrong.
    pub looked_at: Option<Timestamp>,
    /// What went wrong last, and when; gone once all is well again.
    pub error: Option<(Timestamp, String)>,
}

impl Tally {
    /// The counters now.
    pub fn view(&self) -> TallyView {
        let inner = self.inner();
        TallyView {
            files_pending: inner.waiting.len() as u64,
            oldest_pending: inner.waiting.values().min().copied(),
            ..inner.view.clone()
        }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut TallyView)) {
        change(&mut self.inner().view);
    }

    pub(super) fn found(&self, address: &str, modified: Timestamp) {
        self.inner().waiting.insert(address.to_owned(), modified);
    }

    /// The file at `address`, written at `modified`, is done.
    pub(super) fn done(&self, address: &str, modified: Timestamp) {
        let mut inner = self.inner();
        inner.waiting.remove(address);
        inner.view.newest_done = inner.view.newest_done.max(Some(modified));
    }

    /// The file at `address` is waited for no more, because it is not there.
    pub(super) fn gone(&self, address: &str) {
        self.inner().waiting.remove(address);
    }

    pub(super) fn count_event(view: &mut TallyView, event: &Received<'_>) {
        view.events += 1;
        add(&mut view.by_type, &event.event_type);
        view.newest_event = view.newest_event.max(Some(Timestamp::from_millis(event.time)));
    }

    pub(super) fn count_unusable(view: &mut TallyView, unusable: &Unusable<'_>) {
        view.unusable += 1;
        let reason: String = unusable.reason.chars().take(REASON_CHARS_MAX).collect();
        add(&mut view.by_reason, &reason);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
        return;
    }
    let name = if counts.len() < TOLD_APART_MAX { name } else { OTHERS };
    *counts.entry(name.to_owned()).or_default() += 1;
}
