//! How many events a stream would make at Amplitude: counted from the event log, before it is changed
//! or enabled.

use super::ledger::{blocking, failed};
use super::{Runtime, RuntimeError};
use crate::report::volume::{TypeVolumeReport, VolumeCounts, VolumeReport, VolumeRequest};
use crate::vendor::StreamMapping;
use isthmus_amplitude::AmplitudeStream;
use isthmus_amplitude::forward::{TypeVolume, Volume};
use isthmus_config::resource::{DestinationSettings, Stream};
use isthmus_config::{Spec, parse_resources};
use isthmus_core::Timestamp;
use isthmus_core::record::{Applied, AppliedBatch};
use isthmus_core::seam::Clock;
use isthmus_log::Log;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What is counted unless asked otherwise.
const PERIOD: Duration = Duration::from_hours(7 * 24);
/// How long the log is read: who asks waits for the answer.
const READ_FOR: Duration = Duration::from_secs(20);
const DAY_MILLIS: i64 = 86_400_000;
const MONTH_MILLIS: i64 = 30 * DAY_MILLIS;

/// What was counted, and of which time.
struct Counted {
    types: Vec<TypeVolumeReport>,
    /// Milliseconds since the Unix epoch.
    times: Range<i64>,
    notes: Vec<String>,
}

impl Runtime {
    /// Counts what `stream` makes of what was accepted in the period that is asked for: as it runs, or as
    /// the resources of the request have it.
    pub(crate) async fn plan_volume(
        &self,
        stream: &str,
        request: &VolumeRequest,
    ) -> Result<VolumeReport, RuntimeError> {
        let times = times(request, self.clock.now()).map_err(RuntimeError::Malformed)?;
        let (destination, mapping) = match &request.resources {
            Some(text) => self.given(stream, text)?,
            None => self.running(stream)?,
        };
        let at = |millis| Some(Timestamp::from_millis(millis));
        let finder = self.finder.clone();
        let (events, clock) = (self.events.clone(), self.clock.clone());
        let counted = blocking(move || {
            let offsets =
                finder.received_between(at(times.start), at(times.end)).map_err(failed)?;
            count(&events, offsets, times, &mapping, &*clock)
        })
        .await?;
        Ok(report(stream, destination, counted))
    }

    /// The stream as it runs, and the name of its destination.
    fn running(&self, stream: &str) -> Result<(String, Arc<AmplitudeStream>), RuntimeError> {
        let served = self.serving(stream)?;
        let known = served.streams.iter().find(|known| known.resource.name == stream);
        match known.map(|known| &known.mapping) {
            Some(StreamMapping::Amplitude(mapping)) => {
                Ok((served.destination.resource.name.clone(), mapping.clone()))
            }
            _ => Err(RuntimeError::Conflict(format!(
                "stream {stream} forwards nothing to Amplitude; `isthmus streams bill` tells what it \
                 costs"
            ))),
        }
    }

    /// The stream as `text` has it, and the name of its destination.
    fn given(
        &self,
        stream: &str,
        text: &str,
    ) -> Result<(String, Arc<AmplitudeStream>), RuntimeError> {
        let resources = parse_resources(text, super::API_ORIGIN).map_err(RuntimeError::Invalid)?;
        let found = resources.iter().find_map(|resource| match &resource.spec {
            Spec::Stream(given) if given.name == stream => Some((resource, given)),
            _ => None,
        });
        let Some((resource, given)) = found else {
            let why = format!("`resources` has no stream {stream}");
            return Err(RuntimeError::Malformed(why));
        };
        let destination = resources.iter().find_map(|resource| match &resource.spec {
            Spec::Destination(found) if found.name == given.destination => {
                Some(found.settings.clone())
            }
            _ => None,
        });
        let settings = match destination {
            Some(settings) => settings,
            None => self.destination_of(given)?,
        };
        match StreamMapping::build(given, &settings) {
            Ok(StreamMapping::Amplitude(mapping)) => Ok((given.destination.clone(), mapping)),
            Ok(StreamMapping::Braze(_)) => Err(RuntimeError::Conflict(format!(
                "stream {stream} forwards nothing to Amplitude"
            ))),
            Err(problems) => {
                let diagnosed = problems.into_iter().map(|problem| resource.diagnose(problem));
                Err(RuntimeError::Invalid(diagnosed.collect()))
            }
        }
    }

    fn destination_of(&self, stream: &Stream) -> Result<DestinationSettings, RuntimeError> {
        let served = self.deliveries.served().remove(&stream.destination);
        let served = served.map(|served| served.destination.resource.settings);
        served.ok_or_else(|| RuntimeError::NotFound(format!("destination {}", stream.destination)))
    }
}

/// The period that is asked for, in milliseconds since the Unix epoch; or what is wrong with it.
fn times(request: &VolumeRequest, now: Timestamp) -> Result<Range<i64>, String> {
    let instant = |field: &str, text: &Option<String>, otherwise: i64| match text {
        None => Ok(otherwise),
        Some(text) => Timestamp::parse_iso(text).map(Timestamp::as_millis).ok_or_else(|| {
            format!("`{field}` is not an instant: {text:?}; write 2026-11-03T09:00:00Z")
        }),
    };
    let now = now.as_millis();
    let to = instant("to", &request.to, now)?.min(now);
    let period = i64::try_from(PERIOD.as_millis()).unwrap_or(i64::MAX);
    let from = instant("from", &request.from, to.saturating_sub(period))?;
    if from >= to {
        return Err("`from` must be before `to` and before now".to_owned());
    }
    Ok(from..to)
}

/// Reads what was received in `times`, which lies within `offsets`. Blocks the thread.
fn count(
    events: &Log,
    offsets: Range<u64>,
    mut times: Range<i64>,
    stream: &AmplitudeStream,
    clock: &dyn Clock,
) -> Result<Counted, RuntimeError> {
    let mut notes = Vec::new();
    let mut volume = Volume::of(stream);
    let (mut first, mut last) = (None, times.start);
    let stop_at = clock.monotonic() + READ_FOR;
    let mut reader = events.reader(offsets.start).map_err(failed)?;
    while let Some(record) = reader.next().map_err(failed)? {
        if record.offset >= offsets.end {
            break;
        }
        let batch = AppliedBatch::decode(&record.payload).map_err(failed)?;
        let received = |item: &&Applied<'_>| times.contains(&item.received_at());
        for item in batch.items.iter().filter(received) {
            first.get_or_insert(item.received_at());
            last = last.max(item.received_at());
            volume.add(item);
        }
        if clock.monotonic() >= stop_at && record.next < offsets.end {
            times.end = last.saturating_add(1);
            let until = Timestamp::from_millis(times.end);
            notes.push(format!(
                "there is too much to count at once: counted until {until}; ask for a shorter time"
            ));
            break;
        }
    }
    // Before the first event there were none, or they are not kept any more.
    if let Some(first) = first.filter(|first| *first > times.start) {
        times.start = first;
    }
    let found = volume.finish();
    if times.end - times.start < DAY_MILLIS && !found.is_empty() {
        notes.push("less than a day was counted, which may not be like other days".to_owned());
    }
    if found.iter().any(|(_, volume)| volume.is_estimate) {
        notes.push("what is left of a roll-up is estimated, to within one percent".to_owned());
    }
    let millis = times.end - times.start;
    let mut types: Vec<TypeVolumeReport> = found
        .into_iter()
        .map(|(name, volume)| TypeVolumeReport {
            event_type: name.event_type,
            braze_type: name.braze_type,
            is_event: volume.is_event,
            volume: counts(&volume, millis),
        })
        .collect();
    types.sort_by_key(|of_type| Reverse((of_type.volume.kept, of_type.volume.in_log)));
    Ok(Counted { types, times, notes })
}

fn counts(volume: &TypeVolume, millis: i64) -> VolumeCounts {
    let TypeVolume { in_log, kept, sampled_out, rolled_up, discarded, refused, .. } = *volume;
    let selected = kept + sampled_out + rolled_up + discarded + refused;
    VolumeCounts {
        in_log,
        not_selected: in_log.saturating_sub(selected),
        discarded,
        refused,
        sampled_out,
        rolled_up,
        kept,
        kept_per_month: per_month(kept, millis),
    }
}

fn per_month(kept: u64, millis: i64) -> Option<u64> {
    let month = u128::from(MONTH_MILLIS.unsigned_abs()) * u128::from(kept);
    let estimate = month.checked_div(u128::from(u64::try_from(millis).ok()?))?;
    u64::try_from(estimate).ok()
}

fn report(stream: &str, destination: String, counted: Counted) -> VolumeReport {
    let Counted { types, times, notes } = counted;
    let mut total = VolumeCounts::default();
    for of_type in types.iter().filter(|of_type| of_type.is_event) {
        let volume = &of_type.volume;
        total.in_log += volume.in_log;
        total.not_selected += volume.not_selected;
        total.discarded += volume.discarded;
        total.refused += volume.refused;
        total.sampled_out += volume.sampled_out;
        total.rolled_up += volume.rolled_up;
        total.kept += volume.kept;
    }
    if !types.is_empty() {
        total.kept_per_month = per_month(total.kept, times.end - times.start);
    }
    VolumeReport {
        stream: stream.to_owned(),
        destination,
        from: Timestamp::from_millis(times.start).to_string(),
        to: Timestamp::from_millis(times.end).to_string(),
        types,
        total,
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-05-08T00:00:00Z";

    fn asked(from: Option<&str>, to: Option<&str>) -> Result<String, String> {
        let request = VolumeRequest {
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            resources: None,
        };
        let now = Timestamp::parse_iso(NOW).expect("an instant");
        let Range { start, end } = times(&request, now)?;
        let [start, end] = [start, end].map(|millis| Timestamp::from_millis(millis).to_string());
        Ok(format!("{start} {end}"))
    }

    #[test]
    fn the_last_week_is_counted_unless_asked_otherwise() {
        for (from, to, expected) in [
            (None, None, "2026-05-01T00:00:00.000Z 2026-05-08T00:00:00.000Z"),
            (
                Some("2026-05-07T09:00:00+02:00"),
                Some("2027-01-01T00:00:00Z"),
                "2026-05-07T07:00:00.000Z 2026-05-08T00:00:00.000Z",
            ),
            (
                None,
                Some("2026-04-08T00:00:00Z"),
                "2026-04-01T00:00:00.000Z 2026-04-08T00:00:00.000Z",
            ),
        ] {
            assert_eq!(asked(from, to).as_deref(), Ok(expected));
        }
        for (from, to, field) in [
            (Some("yesterday"), None, "`from`"),
            (None, Some("2026-05-08"), "`to`"),
            (Some(NOW), None, "before `to`"),
            (Some("2030-01-01T00:00:00Z"), None, "before `to`"),
        ] {
            let why = asked(from, to).expect_err("is refused");
            assert!(why.contains(field), "{why}");
        }
    }

    #[test]
    fn a_month_is_thirty_days_like_those_counted() {
        assert_eq!(per_month(70, 7 * DAY_MILLIS), Some(300));
        assert_eq!(per_month(1, DAY_MILLIS / 2), Some(60));
        assert_eq!(per_month(0, DAY_MILLIS), Some(0));
        assert_eq!(per_month(1, 0), None);
        assert_eq!(per_month(u64::MAX, 1), None);
    }

    #[test]
    fn what_is_in_the_log_is_accounted_for() {
        let volume = TypeVolume {
            in_log: 100,
            kept: 10,
            sampled_out: 20,
            rolled_up: 30,
            discarded: 4,
            refused: 5,
            is_event: true,
            is_estimate: false,
        };
        let counts = counts(&volume, 30 * DAY_MILLIS);
        assert_eq!((counts.not_selected, counts.kept_per_month), (31, Some(10)));
    }
}
