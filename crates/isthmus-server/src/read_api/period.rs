//! Spans of time as clients ask for them, and as the history can tell them. Pure.

use isthmus_core::Timestamp;
use isthmus_state::delivery_history::{MINUTES_KEPT, RETENTION};
use std::time::Duration;

const MINUTE_MILLIS: i64 = 60_000;
const HOUR_MILLIS: i64 = 60 * MINUTE_MILLIS;
const DAY: Duration = Duration::from_hours(24);

/// `time_period`, with the names that clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    /// So long until now.
    Last {
        name: &'static str,
        length: Duration,
    },
    Custom {
        start: Timestamp,
        end: Timestamp,
    },
}

/// From `start` on and before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// The span begins before anything that is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BeyondRetention;

const LAST: [(&str, Duration); 6] = [
    ("TEN_MINUTES", Duration::from_mins(10)),
    ("ONE_HOUR", Duration::from_hours(1)),
    ("FOUR_HOURS", Duration::from_hours(4)),
    ("ONE_DAY", DAY),
    ("ONE_WEEK", Duration::from_hours(7 * 24)),
    ("TWO_WEEKS", Duration::from_hours(14 * 24)),
];
const CUSTOM: &str = "CUSTOM";

impl Period {
    /// The period that the parameters name; an error names the parameter.
    pub(super) fn read(
        time_period: Option<&str>,
        start: Option<&str>,
        end: Option<&str>,
    ) -> Result<Self, String> {
        let names = || {
            let names: Vec<_> = LAST.iter().map(|(name, _)| *name).chain([CUSTOM]).collect();
            names.join(", ")
        };
        let Some(named) = time_period else {
            return Err(format!("time_period is required: one of {}", names()));
        };
        if named == CUSTOM {
            let (start, end) = (instant("start", start)?, instant("end", end)?);
            if end <= start {
                return Err("end must be later than start".to_owned());
            }
            return Ok(Self::Custom { start, end });
        }
        let found = LAST.into_iter().find(|(name, _)| *name == named);
        let (name, length) =
            found.ok_or_else(|| format!("time_period must be one of {}", names()))?;
        Ok(Self::Last { name, length })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Last { name, .. } => name,
            Self::Custom { .. } => CUSTOM,
        }
    }

    /// What the history can tell of the period at `now`: whole minutes, the running one included;
    /// beyond the time for which minutes are kept apart, whole hours.
    pub(super) fn span(self, now: Timestamp) -> Result<Span, BeyondRetention> {
        let (start, end) = match self {
            Self::Last { length, .. } => {
                let step = if length > MINUTES_KEPT { HOUR_MILLIS } else { MINUTE_MILLIS };
                let end = down(now, step).plus(millis(step));
                (earlier(end, length), end)
            }
            Self::Custom { start, end } => {
                if start < earlier(now, RETENTION) {
                    return Err(BeyondRetention);
                }
                let apart_from = earlier(now, MINUTES_KEPT);
                let step = |at| if at < apart_from { HOUR_MILLIS } else { MINUTE_MILLIS };
                (down(start, step(start)), up(end, step(end)))
            }
        };
        Ok(Span { start, end })
    }
}

/// An instant in ISO 8601 with an offset; seconds may be absent, and `+` may have become a space.
fn instant(parameter: &str, given: Option<&str>) -> Result<Timestamp, String> {
    let Some(text) = given else {
        return Err(format!("{parameter} is required with time_period {CUSTOM}"));
    };
    let text = text.trim();
    let mended = match text.split_once(['T', 't']) {
        Some((date, time)) => format!("{date}T{}", time.replace(' ', "+")),
        None => text.to_owned(),
    };
    Timestamp::parse_iso(&mended).ok_or_else(|| {
        format!("{parameter} must be ISO 8601 with an offset, as in 2026-02-03T06:00+00:00")
    })
}

/// UTC as Amplitude prints it: `2026-02-03 06:00:00.000000`.
pub(super) fn printed(at: Timestamp) -> String {
    let text = at.to_string().replace('T', " ");
    format!("{}000", text.trim_end_matches('Z'))
}

fn down(at: Timestamp, step: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis().div_euclid(step).saturating_mul(step))
}

fn up(at: Timestamp, step: i64) -> Timestamp {
    let below = down(at, step);
    if below == at { at } else { below.plus(millis(step)) }
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.as_millis().saturating_sub(by))
}

fn millis(step: i64) -> Duration {
    Duration::from_millis(step.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::Timestamp;

    fn now() -> Timestamp {
        Timestamp::parse_iso("2026-02-17T09:29:31.250Z").unwrap()
    }

    fn read(time_period: &str, start: Option<&str>, end: Option<&str>) -> Result<Period, String> {
        Period::read(Some(time_period), start, end)
    }

    fn span(period: Period) -> (String, String) {
        let Span { start, end } = period.span(now()).unwrap();
        (printed(start), printed(end))
    }

    fn custom(start: &str, end: &str) -> (String, String) {
        span(read("CUSTOM", Some(start), Some(end)).unwrap())
    }

    fn both(start: &str, end: &str) -> (String, String) {
        (format!("2026-02-{start}.000000"), format!("2026-02-{end}.000000"))
    }

    #[test]
    fn recent_periods_end_with_the_running_minute_and_long_ones_with_the_running_hour() {
        let of = |name| span(read(name, None, None).unwrap());
        assert_eq!(of("TEN_MINUTES"), both("17 09:20:00", "17 09:30:00"));
        assert_eq!(of("ONE_HOUR"), both("17 08:30:00", "17 09:30:00"));
        assert_eq!(of("FOUR_HOURS"), both("17 05:30:00", "17 09:30:00"));
        assert_eq!(of("ONE_DAY"), both("16 10:00:00", "17 10:00:00"));
        assert_eq!(of("ONE_WEEK"), both("10 10:00:00", "17 10:00:00"));
        assert_eq!(of("TWO_WEEKS"), both("03 10:00:00", "17 10:00:00"));
    }

    #[test]
    fn a_custom_period_is_whole_minutes_and_whole_hours_where_it_is_old() {
        let recent = custom("2026-02-17T06:10Z", "2026-02-17T09:15:00+00:00");
        assert_eq!(recent, both("17 06:10:00", "17 09:15:00"));
        let seconds = custom("2026-02-17T06:10:59Z", "2026-02-17T09:15:01Z");
        assert_eq!(seconds, both("17 06:10:00", "17 09:16:00"));
        let old = custom("2026-02-16T06:10Z", "2026-02-16T07:15Z");
        assert_eq!(old, both("16 06:00:00", "16 08:00:00"));
        let across = custom("2026-02-16T06:10Z", "2026-02-17T09:15Z");
        assert_eq!(across, both("16 06:00:00", "17 09:15:00"));
    }

    #[test]
    fn a_plus_may_arrive_as_a_space_and_offsets_count() {
        let expected = both("17 06:00:00", "17 07:30:00");
        assert_eq!(custom("2026-02-17T07:00+01:00", "2026-02-17T08:30+01:00"), expected);
        assert_eq!(custom("2026-02-17T07:00 01:00", "2026-02-17T08:30:00 01:00"), expected);
        assert_eq!(custom("2026-02-17T04:00-02:00", "2026-02-17T05:30-02:00"), expected);
    }

    #[test]
    fn what_is_wrong_names_its_parameter() {
        let of = |time_period, start, end| Period::read(time_period, start, end).unwrap_err();
        assert!(of(None, None, None).starts_with("time_period is required"));
        assert!(of(Some("ONE_YEAR"), None, None).starts_with("time_period must be one of TEN_"));
        assert!(of(Some("one_day"), None, None).starts_with("time_period must be"));
        let good = Some("2026-02-17T06:00Z");
        assert!(of(Some(CUSTOM), None, good).starts_with("start is required"));
        assert!(of(Some(CUSTOM), good, None).starts_with("end is required"));
        for bad in
            ["", "yesterday", "2026-02-17", "2026-02-17T06:00", "1770000000", "2026-02-30T06:00Z"]
        {
            assert!(of(Some(CUSTOM), Some(bad), good).starts_with("start must be"), "{bad}");
            assert!(of(Some(CUSTOM), good, Some(bad)).starts_with("end must be ISO"), "{bad}");
        }
        assert_eq!(of(Some(CUSTOM), good, good), "end must be later than start");
    }

    #[test]
    fn beyond_ninety_days_nothing_is_known() {
        let from =
            |start| read("CUSTOM", Some(start), Some("2026-02-17T06:00Z")).unwrap().span(now());
        assert_eq!(from("2025-11-19T09:29Z"), Err(BeyondRetention));
        assert!(from("2025-11-19T09:30Z").is_ok());
    }
}
