//! The time formats that Braze reads ("Object filters", Braze documentation, read 2026-09).
//!
//! | format | example |
//! | --- | --- |
//! | ISO 8601, zone optional | `2026-03-26T18:12:00+02:00`, `2026-03-26 18:12:00` |
//! | `yyyy-MM-ddTHH:mm:ss:SSSZ` | `2026-03-26T18:12:00:125Z` |
//! | `yyyy-MM-dd`, `MM/dd/yyyy` | `2026-03-26`, `03/26/2026` |
//! | `ddd MM dd HH:mm:ss.TZD YYYY` | `Thu 03 26 18:12:00.+02:00 2026` |
//!
//! Without a zone, UTC.

use isthmus_core::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use std::ops::RangeInclusive;

/// Years that an attribute keeps as a time; a date outside stays a string.
const ATTRIBUTE_YEARS: RangeInclusive<i16> = 0..=3_000;

/// Reads a time in any of the formats.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    match (bytes.first()?, bytes.get(2), bytes.get(4), bytes.get(7)) {
        (b'0'..=b'9', _, Some(b'-'), Some(b'-')) => parse_iso(text),
        (b'0'..=b'9', Some(b'/'), ..) => utc(parse_american(text)?.at(0, 0, 0, 0)),
        (b'A'..=b'Z', ..) => parse_weekday_first(text),
        _ => None,
    }
}

/// Reads a time that an attribute may keep; a text that is none stays text.
pub(crate) fn parse_attribute(text: &str) -> Option<Timestamp> {
    let at = parse(text)?;
    let instant = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    ATTRIBUTE_YEARS.contains(&Offset::UTC.to_datetime(instant).year()).then_some(at)
}

/// Reads `yyyy-MM-dd` alone.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    (text.len() == 10).then(|| text.parse().ok())?
}

fn utc(at: DateTime) -> Option<Timestamp> {
    let at = Offset::UTC.to_timestamp(at).ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

/// Which parser fits follows from the text's end, so that a failure costs no second attempt.
fn parse_iso(text: &str) -> Option<Timestamp> {
    if text.len() == 10 {
        return utc(parse_date(text)?.at(0, 0, 0, 0));
    }
    if text.contains('[') {
        return None;
    }
    if text.as_bytes().get(19) == Some(&b':') {
        let with_dot = format!("{}.{}", text.get(..19)?, text.get(20..)?);
        return Timestamp::parse_iso(&with_dot);
    }
    let time = text.get(10..)?;
    if time.ends_with(['Z', 'z']) || time.contains(['+', '-']) {
        Timestamp::parse_iso(text)
    } else {
        utc(text.parse().ok()?)
    }
}

fn parse_american(text: &str) -> Option<Date> {
    let mut parts = text.split('/');
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    if (month.len(), day.len(), year.len()) != (2, 2, 4) || parts.next().is_some() {
        return None;
    }
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

fn parse_weekday_first(text: &str) -> Option<Timestamp> {
    const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let mut words = text.split(' ');
    let weekday = words.next()?;
    let (month, day, time, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if !WEEKDAYS.contains(&weekday) || words.next().is_some() {
        return None;
    }
    let (time, zone) = time.split_once('.')?;
    let zone = if matches!(zone, "UTC" | "GMT") { "Z" } else { zone };
    Timestamp::parse_iso(&format!("{year}-{month}-{day}T{time}{zone}"))
}

/// A [`Timestamp`] in a snapshot: milliseconds since the epoch.
pub(crate) mod millis {
    use isthmus_core::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        at.as_millis().serialize(out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<String> {
        parse(text).map(|at| at.to_string())
    }

    #[test]
    fn reads_every_documented_format() {
        for (text, expected) in [
            ("2026-03-26T18:12:00Z", "2026-03-26T18:12:00.000Z"),
            ("2026-03-26T18:12:00+02:00", "2026-03-26T16:12:00.000Z"),
            ("2026-03-26T18:12:00.125-0230", "2026-03-26T20:42:00.125Z"),
            ("2026-03-26T18:12:00:125Z", "2026-03-26T18:12:00.125Z"),
            ("2026-03-26T18:12:00", "2026-03-26T18:12:00.000Z"),
            ("2026-03-26 18:12:00", "2026-03-26T18:12:00.000Z"),
            ("2026-03-26", "2026-03-26T00:00:00.000Z"),
            ("03/26/2026", "2026-03-26T00:00:00.000Z"),
            ("Thu 03 26 18:12:00.+02:00 2026", "2026-03-26T16:12:00.000Z"),
            ("Thu 03 26 18:12:00.UTC 2026", "2026-03-26T18:12:00.000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn leaves_other_text_alone() {
        for text in [
            "",
            "20260326",
            "2026-13-01",
            "26/03/2026",
            "3/26/2026",
            "tomorrow",
            "Thursday",
            "1774548720",
            "2026-03-26T18:12:00Z[Europe/Paris]",
            "2026-03-26T25:00:00Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(parse("3001-01-01").is_some());
        assert_eq!(parse_attribute("3001-01-01"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            for text in [text.clone(), format!("2026-03-26{text}"), format!("Mon {text}")] {
                prop_assert!(parse_attribute(&text).is_none() || parse(&text).is_some());
            }
        }

        #[test]
        fn reads_what_isthmus_writes(millis in 0i64..32_503_680_000_000) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(parse(&at.to_string()), Some(at));
        }
    }
}
