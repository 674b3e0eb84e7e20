//! Identifiers that are ours: of a person, and of a place in a log.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Amplitude's canonical person behind any number of user ids and device ids; ours to assign.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct AmplitudeId(pub u64);

impl AmplitudeId {
    /// Stands where something is about nobody we know; never assigned.
    pub const NOBODY: Self = Self(0);

    /// The person, if there is one.
    pub fn somebody(self) -> Option<Self> {
        (self != Self::NOBODY).then_some(self)
    }
}

impl fmt::Display for AmplitudeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Where an item stands in a log: the offset of its record and its index inside that record.
///
/// Ordered as the items were written, so "everything before" is a comparison.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Place {
    /// Byte offset of the record in its log.
    pub offset: u64,
    /// Zero-based index of the item inside the record.
    pub index: u32,
}

/// `1048576-3`: the offset and the index.
impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.offset, self.index)
    }
}

impl std::str::FromStr for Place {
    type Err = ParsePlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (offset, index) = text.split_once('-').ok_or(ParsePlaceError)?;
        let offset = offset.parse().map_err(|_| ParsePlaceError)?;
        let index = index.parse().map_err(|_| ParsePlaceError)?;
        Ok(Self { offset, index })
    }
}

/// The text is not of the form `OFFSET-INDEX`.
#[derive(Debug, thiserror::Error)]
#[error("a place is written OFFSET-INDEX, for example 1048576-3")]
pub struct ParsePlaceError;
