//! What a stream and a destination count. The unit is one mapped object, unless it says otherwise.

use crate::journal::Was;
use serde::{Deserialize, Serialize};

/// What became of the objects of one stream since the stream exists. Part of the journal's format.
///
/// `accepted = delivered + rejected + discarded + pending`. Of what is pending, `parked` is counted
/// here and the rest apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Outcomes of the mapping: objects to deliver, objects discarded, objects rejected.
    pub accepted: u64,
    /// Acknowledged by the vendor.
    pub delivered: u64,
    /// Of those delivered, the ones acknowledged the first time they were sent.
    pub delivered_at_once: u64,
    /// Refused for good, by the vendor or by the mapping on its behalf, or given up: dead letters.
    pub rejected: u64,
    /// Of those rejected, the ones given up by the stream's retry policy.
    pub expired: u64,
    /// Held back by a rule of the mapping, or let go by somebody.
    pub discarded: u64,
    /// Sent, nobody knows what became of them, and not sent again: part of what is pending until
    /// somebody or something says.
    pub parked: u64,
    /// Times that an object has to be sent again, for whatever reason.
    pub retries: u64,
    /// Times that an object was sent and no answer came.
    pub unknown: u64,
    /// Times that an object was sent again after its outcome was unknown.
    pub possible_duplicates: u64,
    /// Times that an object was sent.
    pub sent: u64,
    /// Requests that carried at least one object of this stream.
    pub requests: u64,
    /// Payload bytes sent.
    pub bytes: u64,
}

impl Counts {
    /// Objects that are not to be sent again, unless somebody asks for it.
    pub fn ended(&self) -> u64 {
        self.delivered + self.rejected + self.discarded + self.parked
    }

    /// Adds what `other` counted, field by field.
    pub(crate) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.delivered_at_once += other.delivered_at_once;
        self.rejected += other.rejected;
        self.expired += other.expired;
        self.discarded += other.discarded;
        self.parked += other.parked;
        self.retries += other.retries;
        self.unknown += other.unknown;
        self.possible_duplicates += other.possible_duplicates;
        self.sent += other.sent;
        self.requests += other.requests;
        self.bytes += other.bytes;
    }

    /// An object that had ended is to be counted as something else.
    pub(crate) fn leave(&mut self, was: Was) {
        let count = match was {
            Was::Rejected => &mut self.rejected,
            Was::Expired => {
                self.expired = self.expired.saturating_sub(1);
                &mut self.rejected
            }
            Was::Parked => &mut self.parked,
            Was::Elsewhere => return,
        };
        *count = count.saturating_sub(1);
    }
}

/// What a destination's requests add up to since the destination exists. Part of the journal's
/// format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Requests sent.
    pub requests: u64,
    /// Vendor objects sent.
    pub objects: u64,
    /// Objects saved: deliveries that shared a vendor object with another one.
    pub joined: u64,
    /// Bytes of request bodies sent.
    pub bytes: u64,
}
