//! What happened, occurrence by occurrence: bounded, while counts and checksums stay exact.

use super::directory::UserKey;
use crate::config::Keep;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet, VecDeque};

/// Fingerprints in each of the two generations that repeats are found in.
const FINGERPRINTS_PER_GENERATION: usize = 1_000_000;

/// Whether something was an event or a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OccurrenceKind {
    Event,
    Purchase,
}

/// One event or purchase of one user, as it was applied.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Occurrence {
    /// Grows with every occurrence of the workspace.
    pub sequence: u64,
    pub kind: OccurrenceKind,
    /// Event name or product id.
    pub name: String,
    /// When it happened, ISO 8601.
    pub time: String,
    pub app_id: Option<String>,
    /// Price and currency of each unit, for a purchase.
    pub price: Option<(f64, String)>,
    /// Units, for a purchase.
    pub quantity: u8,
    /// Raw JSON object; empty without properties.
    #[serde(serialize_with = "as_json")]
    pub properties: String,
}

/// Writes raw JSON as JSON, however deep it is; what is none as text, and nothing as null.
fn as_json<S: Serializer>(raw: &str, out: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(raw) {
        Ok(json) => json.serialize(out),
        Err(_) if raw.is_empty() => out.serialize_none(),
        Err(_) => out.serialize_str(raw),
    }
}

/// The occurrences that are kept, and what is known of all of them.
#[derive(Debug)]
pub(crate) struct History {
    keep: Keep,
    kept_max: usize,
    kept_per_user_max: usize,
    by_user: HashMap<UserKey, VecDeque<Occurrence>>,
    /// Every kept occurrence, oldest first, possibly with some that are gone already.
    order: VecDeque<(UserKey, u64)>,
    next: u64,
    fingerprints: [HashSet<u64>; 2],
    uids: HashMap<String, u64>,
}

impl History {
    pub(crate) fn new(keep: Keep, kept_max: usize, kept_per_user_max: usize) -> Self {
        Self {
            keep,
            kept_max,
            kept_per_user_max,
            by_user: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
            fingerprints: [HashSet::new(), HashSet::new()],
            uids: HashMap::new(),
        }
    }

    /// Whether occurrences are kept at all.
    pub(crate) fn keeps(&self) -> bool {
        self.keep != Keep::Counts
    }

    /// Notes a fingerprint; whether it was seen before, as far back as is remembered.
    pub(crate) fn is_repeat(&mut self, fingerprint: u64) -> bool {
        let [current, previous] = &mut self.fingerprints;
        if previous.contains(&fingerprint) || !current.insert(fingerprint) {
            return true;
        }
        if self.keep != Keep::All && current.len() >= FINGERPRINTS_PER_GENERATION {
            std::mem::swap(current, previous);
            current.clear();
        }
        false
    }

    /// Notes a unique id; whether it was seen before.
    pub(crate) fn note_uid(&mut self, uid: &str) -> bool {
        if let Some(times) = self.uids.get_mut(uid) {
            *times += 1;
            return true;
        }
        self.uids.insert(uid.to_owned(), 1);
        false
    }

    /// How often each unique id occurred.
    pub(crate) fn uids(&self) -> &HashMap<String, u64> {
        &self.uids
    }

    /// Keeps an occurrence, which gets its sequence here, and lets go of the oldest ones.
    pub(crate) fn push(&mut self, user: UserKey, mut occurrence: Occurrence) {
        occurrence.sequence = self.next;
        self.next += 1;
        self.order.push_back((user, occurrence.sequence));
        let kept = self.by_user.entry(user).or_default();
        kept.push_back(occurrence);
        if self.keep == Keep::All {
            return;
        }
        while kept.len() > self.kept_per_user_max {
            kept.pop_front();
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.order.len() > self.kept_max {
            let Some((user, sequence)) = self.order.pop_front() else { return };
            let Some(kept) = self.by_user.get_mut(&user) else { continue };
            if let Ok(at) = kept.binary_search_by_key(&sequence, |kept| kept.sequence) {
                kept.remove(at);
            }
            if kept.is_empty() {
                self.by_user.remove(&user);
            }
        }
    }

    /// Kept occurrences of a user, oldest first.
    pub(crate) fn of(&self, user: UserKey) -> impl DoubleEndedIterator<Item = &Occurrence> {
        self.by_user.get(&user).into_iter().flatten()
    }

    /// What was of `from` is now of `to`.
    pub(crate) fn merge(&mut self, from: UserKey, to: UserKey) {
        let Some(moved) = self.by_user.remove(&from) else { return };
        self.order.extend(moved.iter().map(|occurrence| (to, occurrence.sequence)));
        let kept = self.by_user.entry(to).or_default();
        kept.extend(moved);
        kept.make_contiguous().sort_by_key(|occurrence| occurrence.sequence);
        if self.keep != Keep::All {
            let excess = kept.len().saturating_sub(self.kept_per_user_max);
            kept.drain(..excess);
            self.trim();
        }
    }

    /// Lets go of a user's occurrences.
    pub(crate) fn remove(&mut self, user: UserKey) {
        self.by_user.remove(&user);
    }
}
