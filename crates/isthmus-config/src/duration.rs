//! Durations as people write them: `20ms`, `30s`, `1h30m`, `7d`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The text is not a duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration; write a whole number and a unit, like 20ms, 30s or 7d")]
pub struct ParseDurationError {
    text: String,
}

/// Reads whole numbers, each with one of the units `ms`, `s`, `m`, `h`, `d`, and adds them.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let wrong = || ParseDurationError { text: crate::diagnostic::clip(text) };
    let mut rest = text.trim();
    let mut millis = 0_u64;
    loop {
        let (count, after) = rest
            .split_at_checked(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?)
            .ok_or_else(wrong)?;
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end).ok_or_else(wrong)?;
        let (_, unit_millis) =
            UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let count: u64 = count.parse().map_err(|_| wrong())?;
        millis = count
            .checked_mul(unit_millis)
            .and_then(|more| millis.checked_add(more))
            .ok_or_else(wrong)?;
        rest = after;
        if rest.is_empty() {
            return Ok(Duration::from_millis(millis));
        }
    }
}

/// The whole duration in the largest unit that divides it: `90s`, `7d`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &(&str, u64)| millis >= *unit && millis.is_multiple_of(*unit);
    match UNITS.into_iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_with_their_units() {
        let millis = |text: &str| parse_duration(text).map(|read| read.as_millis()).ok();
        assert_eq!(millis("20ms"), Some(20));
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis(" 7d "), Some(604_800_000));
        assert_eq!(millis("0s"), Some(0));
        for wrong in ["", "5", "s", "-5s", "5 s", "5sec", "1.5s", "99999999999999999999s"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
        assert_eq!(millis(&format!("{}d", u64::MAX)), None);
    }

    proptest! {
        #[test]
        fn durations_read_as_they_are_shown(millis: u32) {
            let duration = Duration::from_millis(millis.into());
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            drop(parse_duration(&text));
        }
    }
}
