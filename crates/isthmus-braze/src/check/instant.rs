//! The times that Braze reads ("Object filters", Braze documentation, read 2026-09).
//!
//! | format | example |
//! | --- | --- |
//! | ISO 8601, zone optional | `2026-03-26T18:12:00+02:00`, `2026-03-26 18:12:00` |
//! | `yyyy-MM-ddTHH:mm:ss:SSSZ` | `2026-03-26T18:12:00:125Z` |
//! | `yyyy-MM-dd`, `MM/dd/yyyy` | `2026-03-26`, `03/26/2026` |
//! | `ddd MM dd HH:mm:ss.TZD YYYY` | `Thu 03 26 18:12:00.+02:00 2026` |

use jiff::civil::{Date, DateTime};

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Whether `text` is a time in one of the formats.
pub(super) fn is_one(text: &str) -> bool {
    is_iso(text) || is_american(text) || is_weekday_first(text)
}

fn is_iso(text: &str) -> bool {
    // Civil times have no zone to speak of; an offset is passed over, a `Z` is not.
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let is_civil = |text: &str| text.parse::<DateTime>().is_ok();
    match text.split_at_checked(19) {
        Some((seconds, rest)) if rest.starts_with(':') => {
            is_civil(&format!("{seconds}.{}", rest.trim_start_matches(':')))
        }
        _ => is_civil(text),
    }
}

fn is_american(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let [month, day, year] = parts.as_slice() else { return false };
    let date = (year.parse(), month.parse(), day.parse());
    let (Ok(year), Ok(month), Ok(day)) = date else { return false };
    Date::new(year, month, day).is_ok()
}

fn is_weekday_first(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [weekday, month, day, time, year] = words.as_slice() else { return false };
    let time = time.split('.').next().unwrap_or_default();
    WEEKDAYS.contains(weekday) && is_iso(&format!("{year}-{month}-{day}T{time}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_format_is_a_time() {
        for text in [
            "2026-03-26T18:12:00Z",
            "2026-03-26T18:12:00.125Z",
            "2026-03-26T18:12:00+02:00",
            "2026-03-26T18:12:00:125Z",
            "2026-03-26T18:12:00",
            "2026-03-26 18:12:00",
            "2026-03-26",
            "03/26/2026",
            "Thu 03 26 18:12:00.+02:00 2026",
            "Thu 03 26 18:12:00.UTC 2026",
            "0001-01-01T00:00:00.000Z",
            "9999-12-31T23:59:59.999Z",
        ] {
            assert!(is_one(text), "{text}");
        }
        for text in ["", "Z", "yesterday", "2026-13-26", "26/03/2026", "1789000000", "18:12:00"] {
            assert!(!is_one(text), "{text}");
        }
    }
}
