//! `GET /api/2/event-streaming/delivery-metrics-summary`: what became of one stream's events in some
//! span of time (`amplitude-read.md` 5).
//!
//! Events on their way are in no count. Running counts are told every ten seconds, so the last
//! moments may be missing.

use super::period::{BeyondRetention, Period, Span, printed};
use super::turnstile::{Closed, Rule};
use super::{ReadApi, Refusal};
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, Uri};
use isthmus_state::delivery_history::Tally;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(super) const PATH: &str = "/api/2/event-streaming/delivery-metrics-summary";

/// What Amplitude lets in of one project (`amplitude-read.md` 5).
pub(super) const RULE: Rule = Rule { often: 12, per: Duration::from_mins(1), at_once: 4 };

/// The answer, in the order of Amplitude's example.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    time_period: &'static str,
    events_delivered: u64,
    events_not_delivered: u64,
    /// 1.0 without traffic, so that alerts stay quiet.
    delivery_rate: f64,
    latency_in_seconds: f64,
    time_period_start: String,
    time_period_end: String,
    success_on_first_attempt: u64,
    success_after_retry: u64,
    events_expired: u64,
    events_discarded: u64,
}

/// The query; everything is text, so that an error can say what is wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    sync_id: Option<String>,
    time_period: Option<String>,
    start: Option<String>,
    end: Option<String>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    sync_id: u64,
    period: Period,
}

pub(super) async fn answer(
    api: &ReadApi,
    headers: &HeaderMap,
    query: &str,
) -> Result<Summary, Refusal> {
    let project = api.project(headers)?;
    let _pass = api.turnstiles.enter(&project, api.clock.monotonic()).map_err(|closed| {
        let (error, retry_after) = match closed {
            Closed::TooOften { wait } => ("more than 12 requests in a minute", Some(wait)),
            Closed::TooMany => ("more than 4 requests at once", None),
        };
        Refusal { retry_after, ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, error) }
    })?;
    let Question { sync_id, period } =
        Question::read(query).map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error))?;
    let sync = api.sync(sync_id).filter(|sync| sync.project == project);
    let Some(sync) = sync else {
        let error = format!("sync_id {sync_id} is no sync of this project");
        return Err(Refusal::new(StatusCode::FORBIDDEN, error));
    };
    // Not 400: that is how Amplitude answers.
    let span = period.span(api.clock.now()).map_err(|BeyondRetention| {
        let error = "start lies beyond the 90 days for which metrics are kept";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    })?;
    let history = api.history.clone();
    // Months are thousands of rows, which a thread that answers others must not wait for.
    let reading =
        tokio::task::spawn_blocking(move || history.sum(&sync.stream, span.start, span.end));
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "delivery history cannot be read");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be read")
    };
    let tally = reading.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    Ok(Summary::of(period, span, &tally))
}

impl Question {
    /// Reads the query; an error names the parameter.
    fn read(query: &str) -> Result<Self, String> {
        let uri: Uri = format!("/?{query}").parse().map_err(|_| "query cannot be read")?;
        let Query(parameters) = Query::<Parameters>::try_from_uri(&uri)
            .map_err(|error| format!("query cannot be read: {}", error.body_text()))?;
        let sync_id = parameters.sync_id.ok_or("sync_id is required")?;
        let sync_id =
            sync_id.trim().parse().map_err(|_| "sync_id must be an integer".to_owned())?;
        let text = |text: &'_ Option<String>| text.clone();
        let (time_period, start, end) =
            (text(&parameters.time_period), text(&parameters.start), text(&parameters.end));
        let period = Period::read(time_period.as_deref(), start.as_deref(), end.as_deref())?;
        Ok(Self { sync_id, period })
    }
}

impl Summary {
    fn of(period: Period, span: Span, tally: &Tally) -> Self {
        let (delivered, not_delivered) = (tally.delivered(), tally.not_delivered());
        Self {
            time_period: period.name(),
            events_delivered: delivered,
            events_not_delivered: not_delivered,
            delivery_rate: rate(delivered, not_delivered),
            latency_in_seconds: tally.latency.percentile(95).as_secs_f64(),
            time_period_start: printed(span.start),
            time_period_end: printed(span.end),
            success_on_first_attempt: tally.first_attempt,
            success_after_retry: tally.after_retry,
            events_expired: tally.expired,
            events_discarded: tally.discarded,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 events suffice")]
fn rate(delivered: u64, not_delivered: u64) -> f64 {
    match delivered.saturating_add(not_delivered) {
        0 => 1.0,
        all => delivered as f64 / all as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::{Bucket, Timestamp};
    use std::time::Duration;

    #[test]
    fn answers_as_amplitudes_example_does() {
        let now = Timestamp::parse_iso("2026-02-17T09:29:31Z").unwrap();
        let mut tally = Tally {
            first_attempt: 4_398,
            after_retry: 12,
            expired: 4,
            discarded: 2,
            ..Tally::default()
        };
        tally.latency.record(Bucket::of(Duration::from_millis(20)));
        let question = Question::read("sync_id=7&time_period=FOUR_HOURS").unwrap();
        assert_eq!(question.sync_id, 7);
        let span = question.period.span(now).unwrap();
        let text = serde_json::to_string(&Summary::of(question.period, span, &tally)).unwrap();
        assert_eq!(
            text,
            r#"{"timePeriod":"FOUR_HOURS","eventsDelivered":4410,"eventsNotDelivered":6,"#
                .to_owned()
                + r#""deliveryRate":0.998641304347826,"latencyInSeconds":0.02,"#
                + r#""timePeriodStart":"2026-02-17 05:30:00.000000","#
                + r#""timePeriodEnd":"2026-02-17 09:30:00.000000","#
                + r#""successOnFirstAttempt":4398,"successAfterRetry":12,"eventsExpired":4,"eventsDiscarded":2}"#
        );
    }

    #[test]
    fn without_traffic_everything_is_fine() {
        assert!((rate(0, 0) - 1.0).abs() < f64::EPSILON);
        assert!(rate(0, 3).abs() < f64::EPSILON);
    }

    #[test]
    fn a_query_is_decoded_as_browsers_encode_it() {
        let custom = "sync_id=1&time_period=CUSTOM&start=2026-02-17T06:00:00+01:00\
                      &end=2026-02-17T07:00%2B01:00";
        let Period::Custom { start, end } = Question::read(custom).unwrap().period else {
            panic!("not custom")
        };
        assert_eq!(start.to_string(), "2026-02-17T05:00:00.000Z");
        assert_eq!(end.to_string(), "2026-02-17T06:00:00.000Z");
    }

    #[test]
    fn what_is_wrong_names_its_parameter() {
        let error = |query| Question::read(query).unwrap_err();
        assert_eq!(error("time_period=ONE_DAY"), "sync_id is required");
        assert_eq!(error("sync_id=x&time_period=ONE_DAY"), "sync_id must be an integer");
        assert_eq!(error("sync_id=-1&time_period=ONE_DAY"), "sync_id must be an integer");
        assert!(error("sync_id=1").starts_with("time_period is required"));
    }
}
