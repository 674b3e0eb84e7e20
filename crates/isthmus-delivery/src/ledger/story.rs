//! The story of one object: what happened to it, in order.

use crate::journal::{Decision, Entry, Fate, Mark, ObjectKey, Step};
use isthmus_core::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What became of an object so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Waits for a request: its first, or another one.
    Pending,
    /// A request carries it, and has no answer yet.
    InFlight,
    Delivered,
    /// A dead letter.
    Rejected,
    /// A dead letter: given up by the stream's retry policy.
    Expired,
    /// Held back by a rule, or let go by somebody.
    Discarded,
    /// Sent, nobody knows what became of it, and not sent again.
    Unknown,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::InFlight,
        Self::Delivered,
        Self::Rejected,
        Self::Expired,
        Self::Discarded,
        Self::Unknown,
    ];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InFlight => "in flight",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Discarded => "discarded",
            Self::Unknown => "unknown",
        }
    }
}

/// Everything that is known of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    pub key: ObjectKey,
    pub happenings: Vec<Happening>,
}

/// One thing that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// When it was written down, which for a request is just before it was sent.
    pub at: Timestamp,
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// This request, by its number within the destination, was about to carry it.
    Sent { request: u64 },
    /// The request ended.
    Ended {
        request: u64,
        /// HTTP status; zero when there was no reply.
        status: u16,
        took: Duration,
        /// What the vendor said, of this object if it said so; or why there is no reply.
        message: String,
        mark: Mark,
        /// When it comes back: how long until it is tried again.
        wait: Duration,
    },
    /// The program ended before an answer came.
    NoAnswer { request: u64 },
    /// It ended without a request.
    Aside { fate: Fate, reason: String },
    /// Somebody, or an echo from the vendor, decided.
    Decided { decision: Decision, reason: String },
}

impl Story {
    /// What became of the object so far.
    pub fn state(&self) -> State {
        let state = |what: &What| match what {
            What::Sent { .. } => State::InFlight,
            What::Ended { mark, .. } => State::of_mark(*mark),
            What::NoAnswer { .. } => State::Pending,
            What::Aside { fate, .. } => State::of_fate(*fate),
            What::Decided { decision, .. } => State::of_decision(*decision),
        };
        self.happenings.last().map_or(State::Pending, |last| state(&last.what))
    }

    /// Whether it was sent again after an outcome that nobody knew, so that the vendor may have it
    /// twice.
    pub fn is_possible_duplicate(&self) -> bool {
        let mut after = self.happenings.iter().skip_while(|happening| !happening.what.is_unknown());
        after.any(|happening| matches!(happening.what, What::Sent { .. }))
    }

    /// Whether an attempt was made of which nobody knows the outcome: the vendor may have it.
    pub fn has_unknown_outcome(&self) -> bool {
        self.happenings.iter().any(|happening| happening.what.is_unknown())
    }
}

impl What {
    fn is_unknown(&self) -> bool {
        matches!(
            self,
            Self::NoAnswer { .. }
                | Self::Ended { mark: Mark::Unknown | Mark::Parked, .. }
                | Self::Aside { fate: Fate::Parked, .. }
        )
    }
}

/// Tells the stories of the objects that `wants` asks for, from the journal's entries in order.
pub(super) struct Telling<W> {
    wants: W,
    stories: BTreeMap<ObjectKey, Vec<Happening>>,
    /// Requests that carry any of them: their index in the request.
    in_flight: HashMap<u64, Vec<(usize, ObjectKey)>>,
}

impl<W: Fn(&ObjectKey) -> bool> Telling<W> {
    pub(super) fn of(wants: W) -> Self {
        Self { wants, stories: BTreeMap::new(), in_flight: HashMap::new() }
    }

    pub(super) fn hear(&mut self, entry: &Entry) {
        for (request, keys) in super::lost(&mut self.in_flight, entry) {
            for (_, key) in keys {
                self.tell(key, entry.at(), What::NoAnswer { request });
            }
        }
        for (at, step) in super::steps(entry) {
            self.step(Timestamp::from_millis(at), step);
        }
    }

    fn step(&mut self, at: Timestamp, step: &Step) {
        match step {
            Step::Intent(intent) => {
                let keys = intent.objects.0.iter().copied().enumerate();
                let keys: Vec<_> = keys.filter(|(_, key)| (self.wants)(key)).collect();
                for (_, key) in &keys {
                    self.tell(*key, at, What::Sent { request: intent.request });
                }
                if !keys.is_empty() {
                    self.in_flight.insert(intent.request, keys);
                }
            }
            Step::Outcome(outcome) => {
                let request = outcome.request;
                for (index, key) in self.in_flight.remove(&request).unwrap_or_default() {
                    let Some(mark) = outcome.marks.at(index) else { continue };
                    let own = outcome.reasons.iter().find(|(of, _)| usize::from(*of) == index);
                    let message = own.map_or(&outcome.message, |(_, reason)| reason).clone();
                    let what = What::Ended {
                        request,
                        status: outcome.status,
                        took: Duration::from_millis(outcome.took_millis.into()),
                        message,
                        mark,
                        wait: Duration::from_millis(outcome.wait_millis.into()),
                    };
                    self.tell(key, at, what);
                }
            }
            Step::Aside(aside) => {
                for key in aside.objects.0.iter().filter(|key| (self.wants)(key)) {
                    let what = What::Aside { fate: aside.fate, reason: aside.reason.clone() };
                    let known = self.stories.entry(*key).or_default();
                    // A restart reads again what the cursor had not passed.
                    if known.last().is_none_or(|last| last.what != what) {
                        known.push(Happening { at, what });
                    }
                }
            }
            Step::Decided(decided) => {
                for key in decided.objects.0.iter().filter(|key| (self.wants)(key)) {
                    let (decision, reason) = (decided.decision, decided.reason.clone());
                    self.stories
                        .entry(*key)
                        .or_default()
                        .push(Happening { at, what: What::Decided { decision, reason } });
                }
            }
            Step::Billed(_) => {}
        }
    }

    fn tell(&mut self, key: ObjectKey, at: Timestamp, what: What) {
        self.stories.entry(key).or_default().push(Happening { at, what });
    }

    pub(super) fn finish(self) -> Vec<Story> {
        let mut stories: Vec<Story> =
            self.stories.into_iter().map(|(key, happenings)| Story { key, happenings }).collect();
        stories.sort_by_key(|story| (story.key.place, story.key.stream, story.key.part));
        stories
    }
}
