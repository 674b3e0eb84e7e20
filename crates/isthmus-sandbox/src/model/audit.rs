//! The audit list: what Braze does without telling.

use isthmus_core::Timestamp;
use serde::Serialize;
use std::collections::VecDeque;

/// Something that was accepted and then silently ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// When it was ignored, ISO 8601.
    pub at: String,
    /// What was ignored, and why.
    pub what: String,
    /// The identifier in the request.
    pub who: String,
    /// The attribute or event, where there is one.
    pub detail: String,
}

/// The latest entries.
#[derive(Debug)]
pub(crate) struct Audit {
    kept_max: usize,
    entries: VecDeque<AuditEntry>,
}

impl Audit {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { kept_max, entries: VecDeque::new() }
    }

    pub(crate) fn push(
        &mut self,
        at: Timestamp,
        what: &str,
        who: &dyn std::fmt::Display,
        detail: &str,
    ) {
        if self.kept_max == 0 {
            return;
        }
        if self.entries.len() >= self.kept_max {
            self.entries.pop_front();
        }
        self.entries.push_back(AuditEntry {
            at: at.to_string(),
            what: what.to_owned(),
            who: who.to_string(),
            detail: detail.to_owned(),
        });
    }

    /// Oldest first.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &AuditEntry> {
        self.entries.iter()
    }
}
