//! What was sent and acknowledged, against what Braze holds. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Names of events, each of which was sent as one event.
pub(crate) type Uids = BTreeSet<String>;

/// What is known once everything has settled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// Whatever a client uploaded, acknowledged or not.
    pub(crate) sent: Uids,
    /// Answered with 200.
    pub(crate) acknowledged: Uids,
    /// How often each is with Braze.
    pub(crate) arrived: BTreeMap<String, u64>,
    /// What the program says about those that need not be with Braze: refused, or unknown where
    /// nothing is sent twice.
    pub(crate) accounted: Uids,
}

impl Evidence {
    /// Of all that, what concerns the events for which `wanted` holds.
    pub(crate) fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let some = |uids: &Uids| uids.iter().filter(|uid| wanted(uid)).cloned().collect();
        let arrived = self.arrived.iter().filter(|(uid, _)| wanted(uid));
        Self {
            sent: some(&self.sent),
            acknowledged: some(&self.acknowledged),
            arrived: arrived.map(|(uid, count)| (uid.clone(), *count)).collect(),
            accounted: some(&self.accounted),
        }
    }

    /// What is wrong, if anything is.
    pub(crate) fn compare(&self) -> Comparison {
        let is_lost = |uid: &&String| {
            !self.arrived.contains_key(uid.as_str()) && !self.accounted.contains(uid.as_str())
        };
        let doubled = self.arrived.iter().filter(|(_, count)| **count > 1);
        let is_invented = |uid: &&String| !self.sent.contains(uid.as_str());
        Comparison {
            lost: self.acknowledged.iter().filter(is_lost).cloned().collect(),
            doubled: doubled.map(|(uid, count)| (uid.clone(), *count)).collect(),
            invented: self.arrived.keys().filter(is_invented).cloned().collect(),
        }
    }
}

/// What sets the two sides apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Acknowledged, and neither with Braze nor accounted for.
    pub(crate) lost: Uids,
    /// With Braze more than once, and how often.
    pub(crate) doubled: BTreeMap<String, u64>,
    /// With Braze, and never sent.
    pub(crate) invented: Uids,
}

/// What the program itself lists as possibly doubled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Which.
    Uids(Uids),
    /// How often something was sent again after no answer.
    Count(u64),
}

impl Listed {
    /// How much it lists.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Uids(uids) => uids.len() as u64,
            Self::Count(count) => *count,
        }
    }
}

impl Comparison {
    /// Occurrences beyond the first ones.
    pub(crate) fn extra(&self) -> u64 {
        self.doubled.values().map(|count| count - 1).sum()
    }

    /// How many are doubled without being listed: names that are missing from the list, or
    /// occurrences beyond the number of those that were counted.
    pub(crate) fn unlisted(&self, listed: &Listed) -> u64 {
        match listed {
            Listed::Uids(uids) => {
                self.doubled.keys().filter(|uid| !uids.contains(*uid)).count() as u64
            }
            Listed::Count(count) => self.extra().saturating_sub(*count),
        }
    }
}
