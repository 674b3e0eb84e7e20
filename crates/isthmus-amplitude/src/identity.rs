//! Which user ids and device ids Amplitude takes.
//!
//! From "Device IDs and user IDs" of the HTTP V2 and Batch pages: the length rule, the list of
//! invalid ids, and all-zero device ids. Ids are trimmed before they are judged.

use crate::rules::TEXT_LENGTH_MAX;
use std::borrow::Cow;
use uuid::Uuid;

/// Ids that stand for "no id" in some library or phone; compared without regard to case.
const INVALID_IDS: [&str; 14] = [
    "anonymous",
    "nil",
    "none",
    "null",
    "n/a",
    "na",
    "undefined",
    "unknown",
    "\"\"",
    "{}",
    "lmy47d",
    "0",
    "-1",
    "00000000-0000-0000-0000-000000000000",
];
/// Length of the longest of [`INVALID_IDS`].
const INVALID_ID_LENGTH_MAX: usize = 36;

/// Namespace of derived device ids. Amplitude's own is not published; this one must never change,
/// because profiles are found through it.
const DERIVED_DEVICES: Uuid = Uuid::from_u128(0x8f6b_58d5_2c0e_5a1b_9a55_6d1c_3f0e_7b42);

/// What an id is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    Absent,
    Good,
    TooShort,
    TooLong,
    /// On the list of invalid ids, or a device id of zeros.
    Invalid,
}

/// Judges the user id `id`, already trimmed.
pub(crate) fn user_id_worth(id: Option<&str>, length_min: usize) -> Worth {
    worth(id, length_min, |_| false)
}

/// Judges the device id `id`, already trimmed.
pub(crate) fn device_id_worth(id: Option<&str>, length_min: usize) -> Worth {
    worth(id, length_min, |id| {
        id.contains('0') && id.bytes().all(|byte| matches!(byte, b'0' | b'-'))
    })
}

fn worth(id: Option<&str>, length_min: usize, also_invalid: impl Fn(&str) -> bool) -> Worth {
    let Some(id) = id.filter(|id| !id.is_empty()) else { return Worth::Absent };
    // A character takes one to four bytes, so most ids need no counting.
    if id.len() < length_min
        || (id.len() < length_min.saturating_mul(4) && id.chars().count() < length_min)
    {
        Worth::TooShort
    } else if id.len() > TEXT_LENGTH_MAX && id.chars().count() > TEXT_LENGTH_MAX {
        Worth::TooLong
    } else if also_invalid(id)
        || id.len() <= INVALID_ID_LENGTH_MAX
            && INVALID_IDS.iter().any(|invalid| invalid.eq_ignore_ascii_case(id))
    {
        Worth::Invalid
    } else {
        Worth::Good
    }
}

/// `id` without surrounding space.
pub(crate) fn trimmed(id: Cow<'_, str>) -> Cow<'_, str> {
    match id {
        Cow::Borrowed(id) => Cow::Borrowed(id.trim()),
        Cow::Owned(id) if id.trim().len() == id.len() => Cow::Owned(id),
        Cow::Owned(id) => Cow::Owned(id.trim().to_owned()),
    }
}

/// The device id of events that carry only `user_id`: a name-based UUID, the same for ever.
///
/// Exports of the real service show version 5 UUIDs for such events (observed); its namespace is
/// not known.
pub fn derived_device_id(user_id: &str) -> String {
    Uuid::new_v5(&DERIVED_DEVICES, user_id.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_judged_by_length_then_by_the_list() {
        let long = "x".repeat(1_025);
        for (id, length_min, expected) in [
            ("rider", 5, Worth::Good),
            ("ride", 5, Worth::TooShort),
            ("ééééé", 5, Worth::Good),
            ("éééé", 5, Worth::TooShort),
            ("", 0, Worth::Absent),
            ("1", 0, Worth::Good),
            ("0", 1, Worth::Invalid),
            ("-1", 1, Worth::Invalid),
            ("N/A", 1, Worth::Invalid),
            ("None", 5, Worth::TooShort),
            ("Anonymous", 5, Worth::Invalid),
            ("UNDEFINED", 5, Worth::Invalid),
            ("lmy47d", 5, Worth::Invalid),
            ("\"\"", 1, Worth::Invalid),
            ("{}", 1, Worth::Invalid),
            ("00000000-0000-0000-0000-000000000000", 5, Worth::Invalid),
            (&long, 5, Worth::TooLong),
        ] {
            assert_eq!(user_id_worth(Some(id), length_min), expected, "{id}");
        }
        assert_eq!(user_id_worth(None, 5), Worth::Absent);
        assert_eq!(user_id_worth(Some(&"é".repeat(1_024)), 5), Worth::Good);
    }

    #[test]
    fn device_ids_of_zeros_are_invalid() {
        for id in ["000000000000000", "00000000-0000-0000-0000-000000000000", "0000-0000"] {
            assert_eq!(device_id_worth(Some(id), 5), Worth::Invalid);
        }
        assert_eq!(device_id_worth(Some("-----"), 5), Worth::Good);
        assert_eq!(device_id_worth(Some("00000000-0000-0001"), 5), Worth::Good);
        assert_eq!(user_id_worth(Some("000000"), 5), Worth::Good);
    }

    #[test]
    fn derived_device_ids_never_change() {
        insta::assert_snapshot!(derived_device_id("rider-0042"), @"4ca4d6d8-ce29-52aa-987a-529e6cc591fd");
        assert_ne!(derived_device_id("rider-0042"), derived_device_id("rider-0043"));
    }
}
