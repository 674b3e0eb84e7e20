//! What Amplitude's answers mean.
//!
//! | answer | verdict |
//! | --- | --- |
//! | 2xx of Amplitude | accepted |
//! | 2xx of somebody else | pause; what was sent is unknown |
//! | 400 for the API key, 401, 403, 404, redirects | pause: key, region or endpoint are wrong |
//! | 400 that lacks `api_key` or `events` | pause: our bug, or a proxy's |
//! | 400 that lists events | those are rejected, silenced ones too; throttled ones wait; the rest goes again at once |
//! | 400 otherwise, 413 | smaller requests, down to the culprit |
//! | 429 that lists events or ids | those wait 30 s (batch 15 s), beyond the daily quota an hour; the rest goes again at once |
//! | 429 otherwise | the destination waits |
//! | 503 | retry: nothing was taken |
//! | 408, other 5xx | unknown, and harmless: the `insert_id` is the same |
//!
//! Errors are matched by position, never by content. "HTTP V2 API" and "Batch Event Upload API", read
//! 2026-03; bodies of `/identify` and `/groupidentify` are not documented and read the same way.

use super::{Delivery, GROUP_IDENTIFY_CALL, IDENTIFY_CALL};
use isthmus_config::resource::Upload;
use isthmus_core::destination::{Call, Verdict};
use isthmus_core::json;
use isthmus_core::seam::Reply;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// The daily quota is looked at in steps of an hour.
const QUOTA_WAIT: Duration = Duration::from_hours(1);
const WAIT_MAX: Duration = Duration::from_hours(1);
/// Lists of events with what is wrong with them, and how to say it.
const LISTS: [(&str, &str); 3] = [
    ("events_with_missing_fields", "is required"),
    ("events_with_invalid_id_lengths", "is shorter than Amplitude takes it"),
    ("events_with_invalid_fields", "has a value that Amplitude does not take"),
];

/// One verdict per delivery of `batch`, in its order.
pub(super) fn judge(batch: &[Delivery], reply: &Reply, upload: Upload) -> Vec<Verdict> {
    let all = |verdict: Verdict| vec![verdict; batch.len()];
    let body = Body::of(reply);
    let reason = format!("{}: {}", reply.status, reply.excerpt());
    let call = batch.first().map_or(Call::MAIN, |first| first.message.section.call());
    match body.status {
        200..=299 if body.is_success(reply) => all(Verdict::Accepted),
        200..=299 => {
            let reason =
                format!("{} that is not an answer of Amplitude: {}", reply.status, reply.excerpt());
            all(Verdict::Pause { reason })
        }
        400 => {
            if let Some(reason) = body.refuses_all(reply) {
                return all(Verdict::Pause { reason });
            }
            let pause = pause_of(call, upload);
            body.listed(batch, pause, &reason)
                .unwrap_or_else(|| all(Verdict::Split { reason, too_many: false }))
        }
        // More bytes than it takes, or more events: halving finds out.
        413 => all(Verdict::Split { reason, too_many: false }),
        429 => {
            let pause = retry_after(reply).unwrap_or_else(|| pause_of(call, upload));
            body.listed(batch, pause, &reason)
                .unwrap_or_else(|| all(Verdict::Retry { after: Some(pause), reason }))
        }
        503 => all(Verdict::Retry { after: retry_after(reply), reason }),
        408 | 500..=599 => all(Verdict::Unknown { after: retry_after(reply), reason }),
        300..=499 => {
            all(Verdict::Pause { reason: format!("{}: {}", refused(body.status), reply.excerpt()) })
        }
        status => all(Verdict::Unknown { after: None, reason: format!("status {status}") }),
    }
}

/// What the reply to an upload without events means. Whether the key is looked up before their absence
/// is noticed is not documented; any answer of Amplitude's but a refusal of the key is good.
pub(super) fn judge_probe(reply: &Reply) -> Result<(), String> {
    let body = Body::of(reply);
    match body.status {
        200..=299 if body.is_success(reply) => Ok(()),
        400 => match body.refuses_all(reply) {
            Some(why) if body.missing_field().as_deref() != Some("events") => Err(why),
            _ if body.members.is_empty() => {
                Err(format!("400 that is not an answer of Amplitude: {}", reply.excerpt()))
            }
            _ => Ok(()),
        },
        429 => Ok(()),
        200..=299 => {
            Err(format!("{} that is not an answer of Amplitude: {}", reply.status, reply.excerpt()))
        }
        status @ 300..=499 => Err(format!("{}: {}", refused(status), reply.excerpt())),
        status => Err(format!("{status}: {}", reply.excerpt())),
    }
}

fn refused(status: u16) -> String {
    let look_at = match status {
        403 => "the firewall of Amplitude refuses us",
        404 => "the endpoint is wrong",
        300..=399 => "the endpoint redirects; name its target",
        _ => "the endpoint refuses the request",
    };
    format!("{status}: {look_at}")
}

/// How long a throttled user waits where the answer does not say.
fn pause_of(call: Call, upload: Upload) -> Duration {
    Duration::from_secs(match (call, upload) {
        (IDENTIFY_CALL, _) | (Call::MAIN, Upload::Batch) => 15,
        (GROUP_IDENTIFY_CALL, _) => 60,
        _ => 30,
    })
}

fn retry_after(reply: &Reply) -> Option<Duration> {
    let seconds = reply.header("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX)).filter(|wait| !wait.is_zero())
}

/// The parts of a body that matter.
struct Body {
    members: Map<String, Value>,
    /// The body's `code`, which SDKs go by, else the reply's status.
    status: u16,
}

impl Body {
    fn of(reply: &Reply) -> Self {
        let members = match serde_json::from_slice(&reply.body) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let code =
            members.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let status = match code {
            // Only what refuses is believed against the status: a 5xx was not taken for sure.
            Some(code @ 400..=499) if reply.is_success() => code,
            _ => reply.status,
        };
        Self { members, status }
    }

    fn is_success(&self, reply: &Reply) -> bool {
        let text = reply.body.trim_ascii();
        self.members.get("code").and_then(Value::as_u64) == Some(200)
            || matches!(text, b"" | b"success" | b"\"success\"")
    }

    fn text(&self, key: &str) -> String {
        self.members.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn missing_field(&self) -> Option<String> {
        Some(self.text("missing_field")).filter(|field| !field.is_empty())
    }

    /// Why no request like this one would be taken. What Amplitude says of a key has the key in it, and
    /// is left out.
    fn refuses_all(&self, reply: &Reply) -> Option<String> {
        let error = self.text("error").to_lowercase();
        if error.starts_with("invalid api key") || error.contains("invalid_api_key") {
            let why = "the API key is unknown to this endpoint; is the region right?";
            return Some(format!("{}: {why}", reply.status));
        }
        if error.starts_with("invalid request path") {
            return Some(format!("the endpoint is wrong: {}", reply.excerpt()));
        }
        self.missing_field().map(|field| {
            format!(
                "the request came without `{field}`: a proxy changed it, or isthmus has a bug: {}",
                reply.excerpt()
            )
        })
    }

    /// What becomes of each of `batch` where any of them is listed: a rejection, a wait, or for the rest
    /// another attempt at once.
    fn listed(&self, batch: &[Delivery], pause: Duration, reason: &str) -> Option<Vec<Verdict>> {
        let mut rejected: BTreeMap<usize, String> = BTreeMap::new();
        for (list, what) in LISTS {
            let fields = self.members.get(list).and_then(Value::as_object);
            for (field, indexes) in fields.into_iter().flatten() {
                for index in indexes_of(Some(indexes)) {
                    rejected.entry(index).or_insert_with(|| format!("`{field}` {what}"));
                }
            }
        }
        for index in indexes_of(self.members.get("silenced_events")) {
            rejected
                .entry(index)
                .or_insert_with(|| "`device_id` is silenced by Amplitude".to_owned());
        }
        let throttled = indexes_of(self.members.get("throttled_events"));
        let verdicts: Vec<_> = batch
            .iter()
            .enumerate()
            .map(|(index, delivery)| {
                let [user_id, device_id] = ids_of(&delivery.message.payload);
                let is_in = |of_users: &str, of_devices: &str| {
                    self.names(of_users, user_id.as_deref())
                        || self.names(of_devices, device_id.as_deref())
                };
                if self.names_listed("silenced_devices", device_id.as_deref()) {
                    return Verdict::Rejected {
                        reason: "`device_id` is silenced by Amplitude".to_owned(),
                    };
                }
                if let Some(reason) = rejected.get(&index) {
                    return Verdict::Rejected { reason: reason.clone() };
                }
                let after = if is_in("exceeded_daily_quota_users", "exceeded_daily_quota_devices") {
                    QUOTA_WAIT
                } else if throttled.contains(&index)
                    || is_in("throttled_users", "throttled_devices")
                {
                    pause
                } else {
                    Duration::ZERO
                };
                Verdict::Later { after, reason: reason.to_owned() }
            })
            .collect();
        let innocent =
            |verdict: &Verdict| matches!(verdict, Verdict::Later { after, .. } if after.is_zero());
        (!verdicts.iter().all(innocent)).then_some(verdicts)
    }

    /// Whether `id` is a member of the object at `key`.
    fn names(&self, key: &str, id: Option<&str>) -> bool {
        let object = self.members.get(key).and_then(Value::as_object);
        id.is_some_and(|id| object.is_some_and(|object| object.contains_key(id)))
    }

    /// Whether `id` is an element of the list at `key`.
    fn names_listed(&self, key: &str, id: Option<&str>) -> bool {
        let list = self.members.get(key).and_then(Value::as_array);
        id.is_some_and(|id| list.is_some_and(|list| list.iter().any(|each| each == id)))
    }
}

fn indexes_of(list: Option<&Value>) -> Vec<usize> {
    let list = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_u64).filter_map(|index| usize::try_from(index).ok()).collect()
}

/// User id and device id of an object, which stand at its beginning.
pub(super) fn ids_of(payload: &str) -> [Option<Cow<'_, str>>; 2] {
    let mut ids = [None, None];
    for (name, raw) in json::members(payload).take(2) {
        match (&*name, &mut ids) {
            ("user_id", [user_id, _]) => *user_id = json::text_of(raw),
            ("device_id", [_, device_id]) => *device_id = json::text_of(raw),
            _ => {}
        }
    }
    ids
}
