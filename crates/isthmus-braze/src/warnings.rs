//! Counts of what a stream changed or left out on the way to Braze, without refusing the object.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often a value or a name was changed on its way, since the stream was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Warnings {
    /// Strings cut to 255 characters: Braze ignores longer ones without an error.
    pub strings_cut: u64,
    /// Objects and arrays of objects left out, because the stream drops them, because they are
    /// nested too deep, or because their JSON text is longer than a string may be.
    pub nested_dropped: u64,
    /// Event properties called `time` or `event_name`, sent as `time_` and `event_name_`.
    pub reserved_renamed: u64,
    /// Strings left out because they are not text (half a surrogate pair).
    pub not_text: u64,
}

/// The counters behind [`Warnings`].
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) strings_cut: Count,
    pub(crate) nested_dropped: Count,
    pub(crate) reserved_renamed: Count,
    pub(crate) not_text: Count,
}

impl Tally {
    pub(crate) fn read(&self) -> Warnings {
        Warnings {
            strings_cut: self.strings_cut.read(),
            nested_dropped: self.nested_dropped.read(),
            reserved_renamed: self.reserved_renamed.read(),
            not_text: self.not_text.read(),
        }
    }
}

/// A counter that orders nothing.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
