//! What can be seen of a connector.

use super::catalogue::Kind;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A connector as `/_sandbox/currents` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConnectorView {
    pub name: String,
    /// As it was written, without its token.
    pub definition: Value,
    pub standing: Standing,
    /// Events that wait or are under way, repeats included.
    pub queued: usize,
    #[serde(flatten)]
    pub counts: Counts,
    pub last_error: Option<LastError>,
    /// By event type.
    pub types: BTreeMap<&'static str, TypeCounts>,
}

/// How a connector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Running,
    /// The receiver refused the credentials, or is not there: everything is held, and tried again
    /// slowly.
    Credentials,
    /// Switched off after too many failures. What is queued stays, what comes is lost.
    Off,
}

impl Standing {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Credentials => "held: wrong credentials",
            Self::Off => "switched off",
        }
    }
}

/// What a connector has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events of ticked types that happened, each once.
    pub events: u64,
    pub requests: u64,
    /// Events in those requests.
    pub sent: u64,
    /// Events that the receiver took, each once.
    pub acknowledged: u64,
    /// Events that the receiver took once more.
    pub duplicates: u64,
    pub files: u64,
    pub dropped: Dropped,
}

/// Events that never arrive, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Answered with 400, alone and for the second time.
    pub refused: u64,
    /// Larger than 900 KB, or answered with 413 when alone.
    pub too_large: u64,
    /// The queue was full.
    pub overflow: u64,
    /// Happened while the connector was switched off.
    pub off: u64,
    /// The file could not be written.
    pub unwritable: u64,
}

/// Why an event never arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Refused,
    TooLarge,
    Overflow,
    Off,
    Unwritable,
}

impl Dropped {
    pub fn total(&self) -> u64 {
        self.refused + self.too_large + self.overflow + self.off + self.unwritable
    }

    pub(super) fn add(&mut self, reason: Reason, events: u64) {
        let counter = match reason {
            Reason::Refused => &mut self.refused,
            Reason::TooLarge => &mut self.too_large,
            Reason::Overflow => &mut self.overflow,
            Reason::Off => &mut self.off,
            Reason::Unwritable => &mut self.unwritable,
        };
        *counter += events;
    }
}

/// What a connector has done with the events of one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TypeCounts {
    pub events: u64,
    pub acknowledged: u64,
}

/// The last thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastError {
    pub at: String,
    pub event_type: &'static str,
    /// Of the answer, if there was one.
    pub status: Option<u16>,
    pub reason: String,
}

/// Counts by type.
#[derive(Debug, Default)]
pub(super) struct ByType(BTreeMap<&'static str, TypeCounts>);

impl ByType {
    pub(super) fn of(&mut self, kind: &Kind) -> &mut TypeCounts {
        self.0.entry(kind.name).or_default()
    }

    pub(super) fn shown(&self) -> BTreeMap<&'static str, TypeCounts> {
        self.0.clone()
    }
}
