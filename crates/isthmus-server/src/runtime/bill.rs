//! What streams cost, and what the mirror saved.

use super::ledger::{blocking, failed};
use super::{Runtime, RuntimeError};
use crate::report::bill::{BillCounts, BillReport, DayBillReport, StreamBill};
use isthmus_core::destination::Rate;
use isthmus_state::delivery_history::{Bill, Day, DayBill};
use std::time::Duration;

/// Days that a bill is about unless asked otherwise.
const DAYS: u32 = 7;
const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);

/// A question for bills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BillQuery {
    /// All of them unless given.
    pub(crate) stream: Option<String>,
    pub(crate) from: Option<Day>,
    /// Today unless given.
    pub(crate) to: Option<Day>,
}

impl Runtime {
    pub(crate) async fn bill(&self, query: BillQuery) -> Result<BillReport, RuntimeError> {
        let (from, to) = query.days(Day::of(self.clock.now()))?;
        let mut wanted: Vec<(String, String, Option<Rate>)> = Vec::new();
        for (destination, served) in self.deliveries.served() {
            let rate = served.handle.status().rate;
            for stream in &served.streams {
                let name = &stream.resource.name;
                if query.stream.as_ref().is_none_or(|asked| asked == name) {
                    wanted.push((name.clone(), destination.clone(), rate));
                }
            }
        }
        if let (Some(asked), true) = (&query.stream, wanted.is_empty()) {
            return Err(RuntimeError::NotFound(format!("stream {asked}")));
        }
        wanted.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let history = self.history.clone();
        blocking(move || {
            let mut total = Bill::default();
            let mut streams = Vec::with_capacity(wanted.len());
            for (stream, destination, rate) in wanted {
                let days = history.bill(&stream, from, to).map_err(failed)?;
                let mut of_stream = Bill::default();
                for day in &days {
                    of_stream.add(&day.bill);
                }
                total.add(&of_stream);
                let requests_per_hour = rate.map(per_hour);
                streams.push(StreamBill {
                    stream,
                    destination,
                    requests_per_hour,
                    days: days.iter().map(|day| reported(day, requests_per_hour)).collect(),
                    total: counts(&of_stream),
                });
            }
            Ok(BillReport { from: date(from), to: date(to), streams, total: counts(&total) })
        })
        .await
    }
}

impl BillQuery {
    /// The first and the last day that are asked for.
    fn days(&self, today: Day) -> Result<(Day, Day), RuntimeError> {
        let to = self.to.unwrap_or(today);
        let from = self.from.unwrap_or_else(|| {
            let before = i64::try_from((DAY * (DAYS - 1)).as_millis()).unwrap_or(0);
            let start = to.start().as_millis().saturating_sub(before);
            Day::of(isthmus_core::Timestamp::from_millis(start))
        });
        if from > to {
            let why = format!("`from` ({}) is after `to` ({})", date(from), date(to));
            return Err(RuntimeError::Malformed(why));
        }
        Ok((from, to))
    }
}

fn reported(day: &DayBill, requests_per_hour: Option<u64>) -> DayBillReport {
    DayBillReport {
        day: date(day.day),
        bill: counts(&day.bill),
        busiest_hour_requests: day.busiest_hour_requests,
        busiest_hour_share: requests_per_hour.map(|limit| day.busiest_hour_share(limit)),
    }
}

fn counts(bill: &Bill) -> BillCounts {
    let Bill { objects, objects_saved, attributes_saved, requests, points, points_saved } = *bill;
    BillCounts { objects, objects_saved, attributes_saved, requests, points, points_saved }
}

/// What `rate` allows in an hour.
fn per_hour(rate: Rate) -> u64 {
    let hour = u128::from(rate.requests) * HOUR.as_millis();
    u64::try_from(hour / rate.per.as_millis().max(1)).unwrap_or(u64::MAX)
}

fn date(day: Day) -> String {
    let start = day.start().to_string();
    start.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::Timestamp;

    fn day(text: &str) -> Day {
        Day::of(Timestamp::parse_iso(&format!("{text}T12:00:00Z")).unwrap())
    }

    #[test]
    fn a_bill_is_about_the_last_seven_days_unless_asked_otherwise() {
        let days = |from: Option<&str>, to: Option<&str>| {
            let query = BillQuery { stream: None, from: from.map(day), to: to.map(day) };
            match query.days(day("2026-03-02")) {
                Ok((from, to)) => format!("{} {}", date(from), date(to)),
                Err(RuntimeError::Malformed(why)) => why,
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(days(None, None), "2026-02-24 2026-03-02");
        assert_eq!(days(None, Some("2026-02-07")), "2026-02-01 2026-02-07");
        assert_eq!(days(Some("2026-03-02"), None), "2026-03-02 2026-03-02");
        assert_eq!(
            days(Some("2026-03-03"), None),
            "`from` (2026-03-03) is after `to` (2026-03-02)"
        );
    }

    #[test]
    fn an_hour_allows_as_many_requests_as_its_windows() {
        let rate = |requests, per| per_hour(Rate { requests, per });
        assert_eq!(rate(3_000, Duration::from_secs(3)), 3_600_000);
        assert_eq!(rate(250_000, Duration::from_hours(1)), 250_000);
        assert_eq!(rate(1, Duration::ZERO), 3_600_000);
    }
}
