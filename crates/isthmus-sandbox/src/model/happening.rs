//! Events and purchases that somebody else wants to hear of: campaigns and Currents.

use super::Occurrence;
use super::directory::UserKey;
use isthmus_core::Timestamp;
use std::sync::Arc;
use tokio::sync::Notify;

/// How many wait until they are heard; further ones are counted alone.
const WAITING_MAX: usize = 1_000_000;

/// An event or a purchase that was applied.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    pub(crate) who: UserKey,
    pub(crate) time: Timestamp,
    pub(crate) occurrence: Occurrence,
}

/// What happened and was not heard yet. Nothing is kept while nobody listens.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    is_heard: bool,
    waiting: Vec<Happening>,
    overlooked: u64,
    bell: Arc<Notify>,
}

impl Happenings {
    /// Rings `bell` when there is something to hear or to wait for.
    pub(super) fn new(bell: Arc<Notify>) -> Self {
        Self { bell, ..Self::default() }
    }

    /// The same listener with nothing to hear.
    pub(super) fn emptied(self) -> Self {
        Self { is_heard: self.is_heard, ..Self::new(self.bell) }
    }

    pub(super) fn listen(&mut self, is_heard: bool) {
        self.is_heard = is_heard;
        if !is_heard {
            self.waiting.clear();
        }
    }

    pub(super) fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// Wakes whoever listens.
    pub(super) fn ring(&self) {
        if self.is_heard {
            self.bell.notify_one();
        }
    }

    pub(super) fn push(&mut self, who: UserKey, time: Timestamp, occurrence: &Occurrence) {
        if !self.is_heard {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.overlooked += 1;
            return;
        }
        self.waiting.push(Happening { who, time, occurrence: occurrence.clone() });
        self.ring();
    }

    /// What waits, in the order in which it was applied.
    pub(super) fn take(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn overlooked(&self) -> u64 {
        self.overlooked
    }
}
