//! `/api/2/deletions/users`: people who are to be forgotten, as Amplitude's User Privacy API takes
//! and tells it (`amplitude-read.md` section 7).
//!
//! What is asked for is gathered in jobs, one per project and day. A job within three days is closed:
//! later requests go to a later one, and nothing of it can be taken back. Where
//! `deletion_delay_days` is less than that, a job is closed once it begins. The org is this server:
//! `delete_from_org` reaches all of its projects.

mod order;

use super::turnstile::{Closed, Rule, Turnstiles};
use super::{Refusal, refuse, with_type};
use crate::catalog::deletions::{Deletion, DeletionStatus, NewDeletion};
use crate::erasures::day_of;
use crate::runtime::profiles::Who;
use crate::runtime::{Runtime, RuntimeError};
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{delete, post};
use isthmus_core::{AmplitudeId, Timestamp};
use order::Order;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const PATH: &str = "/api/2/deletions/users";
const DAY_MILLIS: i64 = 86_400_000;
/// Largest body that is read.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Days before its day on which a job is closed.
const CLOSED_DAYS: i64 = 3;
/// The longest six months.
const RANGE_DAYS_MAX: i64 = 184;
/// What Amplitude lets in of one project (`amplitude-read.md` 7.4).
const RULE: Rule = Rule { often: 1, per: Duration::from_secs(1), at_once: 8 };

/// What the handlers share.
#[derive(Clone)]
struct Deletions {
    runtime: Arc<Runtime>,
    delay_days: u32,
    turnstiles: Turnstiles,
}

/// The routes; a job's day is `delay_days` after its first request.
pub(crate) fn router(runtime: Arc<Runtime>, delay_days: u32) -> Router {
    let turnstiles = Turnstiles::new(RULE);
    Router::new()
        .route(PATH, post(create).get(list))
        .route(&format!("{PATH}/{{amplitude_id}}/{{day}}"), delete(revoke))
        .with_state(Deletions { runtime, delay_days, turnstiles })
}

async fn create(State(deletions): State<Deletions>, request: Request) -> Response {
    told(deletions.create(request).await)
}

async fn list(State(deletions): State<Deletions>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    told(deletions.list(request.headers(), query).await)
}

async fn revoke(
    State(deletions): State<Deletions>,
    Path((amplitude_id, day)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    told(deletions.revoke(&headers, &amplitude_id, &day).await)
}

fn told(answer: Result<Value, Denied>) -> Response {
    match answer {
        Ok(body) => with_type(StatusCode::OK, body.to_string()),
        Err(Denied::Refused(refusal)) => refuse(&refusal),
        // In these words only here, and what clients know.
        Err(Denied::UnknownKey) => {
            let message = "HTTP 403: Forbidden (Invalid API Key)";
            let body = json!({ "code": 403, "message": message, "status": "Forbidden" });
            with_type(StatusCode::FORBIDDEN, body.to_string())
        }
    }
}

/// Why there is no answer.
enum Denied {
    UnknownKey,
    Refused(Refusal),
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<RuntimeError> for Denied {
    fn from(error: RuntimeError) -> Self {
        tracing::error!(?error, "deletions cannot be read or written");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "deletions are not available now").into()
    }
}

impl From<anyhow::Error> for Denied {
    fn from(error: anyhow::Error) -> Self {
        RuntimeError::Failed(error).into()
    }
}

fn bad(why: impl Into<String>) -> Denied {
    Refusal::new(StatusCode::BAD_REQUEST, why).into()
}

impl Deletions {
    /// The project that the credentials open.
    fn project(&self, headers: &HeaderMap) -> Result<String, Denied> {
        if self.runtime.read_api.is_key_unknown(headers) {
            return Err(Denied::UnknownKey);
        }
        Ok(self.runtime.read_api.project(headers)?)
    }

    fn enter(&self, project: &str) -> Result<super::turnstile::Pass, Denied> {
        let entered = self.turnstiles.enter(project, self.runtime.clock.monotonic());
        entered.map_err(|closed| {
            let (error, retry_after) = match closed {
                Closed::TooOften { wait } => ("more than one request in a second", Some(wait)),
                Closed::TooMany => ("more than 8 requests at once", None),
            };
            Refusal { retry_after, ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, error) }.into()
        })
    }

    async fn create(&self, request: Request) -> Result<Value, Denied> {
        let (head, body) = request.into_parts();
        let project = self.project(&head.headers)?;
        let _pass = self.enter(&project)?;
        let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
        let body =
            body.map_err(|_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body too large"))?;
        let order = Order::read(&body).map_err(bad)?;
        let projects =
            if order.from_org { self.runtime.read_api.projects() } else { vec![project.clone()] };
        let mut found = Vec::new();
        for name in &projects {
            found.push((name.clone(), self.find(name, &order)?));
        }
        if let Some((_, Found { invalid, .. })) = found.first()
            && !order.ignores_invalid
            && !invalid.is_empty()
        {
            let ids: Vec<_> = invalid.iter().map(id_text).collect();
            let app = self.runtime.catalog.project_id(&project).await?;
            return Err(bad(format!(
                "invalid amplitude/user ids for app {app}, nothing scheduled: {}",
                ids.join(", ")
            )));
        }
        if found.iter().all(|(_, found)| found.people.is_empty()) {
            let app = self.runtime.catalog.project_id(&project).await?;
            let message =
                format!("Nothing scheduled due to invalid amplitude/user ids for app {app}");
            let invalid = found.into_iter().find(|(name, _)| *name == project);
            let invalid = invalid.map(|(_, found)| found.invalid).unwrap_or_default();
            return Ok(json!({ "message": message, "invalid_ids": invalid }));
        }
        self.schedule(&order, &found).await
    }

    async fn schedule(&self, order: &Order, found: &[(String, Found)]) -> Result<Value, Denied> {
        let now = self.runtime.clock.now();
        let waiting = self.runtime.catalog.deletions().await?;
        let mut days = BTreeMap::new();
        for (project, _) in found {
            days.insert(project, job_day(&waiting, project, now, self.delay_days));
        }
        let mut new = Vec::new();
        for (project, found) in found {
            for (amplitude_id, user_id) in &found.people {
                new.push(NewDeletion {
                    project,
                    day: days.get(project).map_or("", String::as_str),
                    amplitude_id: *amplitude_id,
                    user_id: user_id.as_deref(),
                    requester: &order.requester,
                    requested_at: now.as_millis(),
                });
            }
        }
        let ids: BTreeSet<_> = self.runtime.add_deletions(&new).await?.into_iter().collect();
        let all = self.runtime.catalog.deletions().await?;
        let mut answer = Vec::new();
        for (project, found) in found {
            let of_project = |each: &&Deletion| each.project == *project && ids.contains(&each.id);
            let theirs: Vec<_> = all.iter().filter(of_project).collect();
            let app = self.runtime.catalog.project_id(project).await?;
            for mut job in jobs(&theirs, app, order.names_users) {
                if let Some(members) = job.as_object_mut() {
                    members.insert("invalid_ids".to_owned(), json!(found.invalid));
                }
                answer.push(job);
            }
        }
        Ok(Value::Array(answer))
    }

    /// Whom `order` names in `project`.
    fn find(&self, project: &str, order: &Order) -> Result<Found, Denied> {
        let mut found = Found::default();
        let ids = order.amplitude_ids.iter().map(|id| (Who::Person(AmplitudeId(*id)), json!(id)));
        let users = order.user_ids.iter().map(|id| (Who::User(id.clone()), json!(id)));
        for (who, id) in ids.chain(users) {
            let person = self.runtime.profiles.find(project, &who).map_err(anyhow::Error::from)?;
            match person {
                Some((id, person)) => {
                    found.people.insert(id.0, person.user_id);
                }
                None => found.invalid.push(id),
            }
        }
        Ok(found)
    }

    async fn list(&self, headers: &HeaderMap, query: &str) -> Result<Value, Denied> {
        let project = self.project(headers)?;
        let _pass = self.enter(&project)?;
        let (start, end) = range(query).map_err(bad)?;
        let all = self.runtime.catalog.deletions().await?;
        let is_asked = |each: &&Deletion| {
            each.project == project && (start.as_str()..=end.as_str()).contains(&&*each.day)
        };
        let theirs: Vec<_> = all.iter().filter(is_asked).collect();
        let app = self.runtime.catalog.project_id(&project).await?;
        Ok(Value::Array(jobs(&theirs, app, false)))
    }

    async fn revoke(&self, headers: &HeaderMap, id: &str, day: &str) -> Result<Value, Denied> {
        let project = self.project(headers)?;
        let _pass = self.enter(&project)?;
        let id: u64 = id.parse().map_err(|_| bad("amplitude_id must be an integer"))?;
        let at = day_at(day).ok_or_else(|| bad("the job day must have the form YYYY-MM-DD"))?;
        let all = self.runtime.catalog.deletions().await?;
        let is_meant = |each: &&Deletion| {
            (&*each.project, each.amplitude_id, &*each.day) == (&*project, id, day)
        };
        let deletion = all.iter().rev().find(is_meant);
        let deletion = deletion.ok_or_else(|| {
            Refusal::new(StatusCode::NOT_FOUND, format!("no deletion of {id} on {day}"))
        })?;
        let is_closed = is_closed(at, self.runtime.clock.now(), self.delay_days);
        if is_closed || !self.runtime.revoke_deletion(deletion).await? {
            return Err(bad(format!("the job of {day} is closed, nothing can be taken back")));
        }
        Ok(entry(deletion, false))
    }
}

/// Whom ids lead to, and those that lead nowhere.
#[derive(Debug, Default)]
struct Found {
    /// User ids by Amplitude id.
    people: BTreeMap<u64, Option<String>>,
    invalid: Vec<Value>,
}

fn id_text(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// The day of the job that a request of `now` goes to.
fn job_day(all: &[Deletion], project: &str, now: Timestamp, delay_days: u32) -> String {
    let usual = day_of(now.plus(Duration::from_secs(u64::from(delay_days) * 86_400)));
    let is_open = |each: &&Deletion| {
        let closed = day_at(&each.day).is_none_or(|at| is_closed(at, now, delay_days));
        each.project == project && each.status == DeletionStatus::Staging && !closed
    };
    let days = all.iter().filter(is_open).map(|each| &each.day);
    days.filter(|day| **day <= usual).min().cloned().unwrap_or(usual)
}

/// Whether the job of the day that begins at `at` takes no requests and no revocations.
fn is_closed(at: Timestamp, now: Timestamp, delay_days: u32) -> bool {
    let today = now.as_millis().div_euclid(DAY_MILLIS);
    let days = at.as_millis().div_euclid(DAY_MILLIS) - today;
    days < CLOSED_DAYS.min(i64::from(delay_days).max(1))
}

/// `deletions` of one project as jobs, in order of their days.
fn jobs(deletions: &[&Deletion], app: u64, names_users: bool) -> Vec<Value> {
    let mut days: BTreeMap<&str, Vec<&Deletion>> = BTreeMap::new();
    for deletion in deletions {
        days.entry(&deletion.day).or_default().push(deletion);
    }
    let job = |(day, of_day): (&str, Vec<&Deletion>)| {
        let all = |status| of_day.iter().all(|each| each.status == status);
        let status = match () {
            () if all(DeletionStatus::Done) => DeletionStatus::Done,
            () if all(DeletionStatus::Staging) => DeletionStatus::Staging,
            () => DeletionStatus::Submitted,
        };
        let scrubbed = of_day.iter().filter_map(|each| each.scrubbed_on.as_deref()).max();
        let entries: Vec<_> = of_day.iter().map(|each| entry(each, names_users)).collect();
        json!({
            "day": day,
            "status": status.name(),
            "app": app,
            "active_scrub_done_date": scrubbed.filter(|_| status == DeletionStatus::Done),
            "amplitude_ids": entries,
        })
    };
    days.into_iter().map(job).collect()
}

fn entry(deletion: &Deletion, names_user: bool) -> Value {
    let mut entry = json!({
        "amplitude_id": deletion.amplitude_id,
        "requester": deletion.requester,
        "requested_on_day": day_of(Timestamp::from_millis(deletion.requested_at)),
    });
    if let (true, Some(members)) = (names_user, entry.as_object_mut()) {
        members.insert("user_id".to_owned(), json!(deletion.user_id));
    }
    entry
}

/// The first and the last day that the query asks for.
fn range(query: &str) -> Result<(String, String), String> {
    let day = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let found = pairs.find(|(key, _)| key == name);
        let (_, text) = found.ok_or_else(|| format!("{name} is required"))?;
        let at = day_at(&text).ok_or_else(|| format!("{name} must have the form YYYY-MM-DD"))?;
        Ok::<_, String>((text.into_owned(), at.as_millis()))
    };
    let ((start, from), (end, to)) = (day("start_day")?, day("end_day")?);
    if to < from {
        return Err("end_day must not be before start_day".to_owned());
    }
    if to - from > RANGE_DAYS_MAX * DAY_MILLIS {
        return Err("start_day and end_day must not be more than six months apart".to_owned());
    }
    Ok((start, end))
}

/// When the day `YYYY-MM-DD` begins, UTC.
fn day_at(day: &str) -> Option<Timestamp> {
    let at = Timestamp::parse_iso(&format!("{day}T00:00:00Z"))?;
    (day_of(at) == day).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletion(day: &str, status: DeletionStatus) -> Deletion {
        Deletion {
            id: 1,
            project: "shop".to_owned(),
            day: day.to_owned(),
            amplitude_id: 100,
            user_id: Some("ana".to_owned()),
            requester: "dpo@example.org".to_owned(),
            requested_at: day_at("2026-02-17").unwrap().as_millis(),
            status,
            submitted_at: None,
            events_from: None,
            subject: None,
            scrubbed_on: (status == DeletionStatus::Done).then(|| day.to_owned()),
            receipt: None,
        }
    }

    #[test]
    fn requests_gather_in_one_job_until_three_days_before_it() {
        let day = |today: &str, delay| {
            let waiting = [deletion("2026-03-19", DeletionStatus::Staging)];
            job_day(&waiting, "shop", day_at(today).unwrap(), delay)
        };
        assert_eq!(day("2026-02-18", 30), "2026-03-19");
        assert_eq!(day("2026-03-16", 30), "2026-03-19");
        assert_eq!(day("2026-03-17", 30), "2026-04-16", "it is closed");
        assert_eq!(day("2026-03-01", 5), "2026-03-06", "never later than the delay");
        assert_eq!(day("2026-03-19", 0), "2026-03-19");
        let begun = [deletion("2026-03-19", DeletionStatus::Submitted)];
        let today = day_at("2026-03-01").unwrap();
        assert_eq!(job_day(&begun, "shop", today, 30), "2026-03-31");
    }

    #[test]
    fn a_short_delay_leaves_time_to_take_it_back() {
        let at = |day| day_at(day).unwrap();
        for (today, delay, closed) in [
            ("2026-03-16", 30, false),
            ("2026-03-17", 30, true),
            ("2026-03-17", 2, false),
            ("2026-03-18", 2, true),
            ("2026-03-18", 1, false),
            ("2026-03-19", 1, true),
            ("2026-03-19", 0, true),
        ] {
            assert_eq!(is_closed(at("2026-03-19"), at(today), delay), closed, "{today} {delay}");
        }
    }

    #[test]
    fn a_job_looks_as_at_amplitude() {
        let (staging, done) = (
            deletion("2026-03-19", DeletionStatus::Staging),
            deletion("2026-02-17", DeletionStatus::Done),
        );
        assert_eq!(
            Value::Array(jobs(&[&staging, &done], 7, false)),
            json!([
                { "day": "2026-02-17", "status": "done", "app": 7,
                  "active_scrub_done_date": "2026-02-17",
                  "amplitude_ids": [{ "amplitude_id": 100, "requester": "dpo@example.org",
                                      "requested_on_day": "2026-02-17" }] },
                { "day": "2026-03-19", "status": "staging", "app": 7,
                  "active_scrub_done_date": null,
                  "amplitude_ids": [{ "amplitude_id": 100, "requester": "dpo@example.org",
                                      "requested_on_day": "2026-02-17" }] },
            ])
        );
        assert_eq!(entry(&staging, true)["user_id"], "ana");
        let mut other = deletion("2026-03-19", DeletionStatus::Done);
        other.amplitude_id = 101;
        let job = jobs(&[&staging, &other], 7, false).remove(0);
        assert_eq!(
            (&job["status"], &job["active_scrub_done_date"]),
            (&json!("submitted"), &Value::Null)
        );
    }

    #[test]
    fn a_range_is_two_days_at_most_six_months_apart() {
        assert!(range("start_day=2026-01-01&end_day=2026-07-01").is_ok());
        assert!(range("start_day=2026-01-01&end_day=2026-01-01").is_ok());
        for (query, why) in [
            ("", "start_day is required"),
            ("start_day=2026-01-01", "end_day is required"),
            ("start_day=20260101&end_day=2026-01-02", "start_day must have the form YYYY-MM-DD"),
            ("start_day=2026-01-01&end_day=2026-02-30", "end_day must have the form YYYY-MM-DD"),
            ("start_day=2026-01-02&end_day=2026-01-01", "end_day must not be before start_day"),
            (
                "start_day=2026-01-01&end_day=2026-08-01",
                "start_day and end_day must not be more than six months apart",
            ),
        ] {
            assert_eq!(range(query), Err(why.to_owned()), "{query}");
        }
    }
}
