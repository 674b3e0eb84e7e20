//! What is refused beyond the shape of single fields: what Amplitude might refuse, what a fault
//! refuses, and devices that are silenced.

use super::{Endpoint, Refused};
use crate::amplitude::config::AmplitudeLimits;
use crate::amplitude::rates::name_events;
use crate::fault::FaultEffect;
use isthmus_amplitude::{EventProblems, Refusal, Silenced, Throttle};
use isthmus_core::json;
use isthmus_core::record::IntakeEvent;
use std::collections::{BTreeMap, BTreeSet};

/// Operations that "Group Identify API" lists (read 2026-03).
const GROUP_OPERATIONS: [&str; 6] = ["$set", "$setOnce", "$add", "$append", "$prepend", "$unset"];

/// Whether a body looks like JSON.
pub(super) fn is_json(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// Refuses what the documentation does not allow and nobody was seen to get through with: an upload
/// of nothing, properties and operations side by side on `/identify`, and operations on groups that
/// are not listed.
pub(super) fn strictly(endpoint: Endpoint, events: &[IntakeEvent<'_>]) -> Result<(), Refusal> {
    if events.is_empty() {
        return Err(match endpoint {
            Endpoint::HttpApi | Endpoint::Batch => Refusal::MissingField("events"),
            Endpoint::Identify | Endpoint::GroupIdentify => Refusal::MissingIdentification,
        });
    }
    let (field, wrong): (&'static str, fn(&IntakeEvent<'_>) -> bool) = match endpoint {
        Endpoint::HttpApi | Endpoint::Batch => return Ok(()),
        Endpoint::Identify => ("user_properties", mixes),
        Endpoint::GroupIdentify => ("group_properties", |event| {
            let names = names(event.group_properties);
            names.iter().any(|name| name.starts_with('$') && !GROUP_OPERATIONS.contains(&&**name))
        }),
    };
    let wrong = indexes(events, wrong);
    if wrong.is_empty() {
        return Ok(());
    }
    let problems = EventProblems { invalid: [(field, wrong)].into(), ..EventProblems::default() };
    Err(Refusal::Events(Box::new(problems)))
}

fn mixes(event: &IntakeEvent<'_>) -> bool {
    let names = names(event.user_properties);
    let operations = names.iter().filter(|name| name.starts_with('$')).count();
    operations > 0 && operations < names.len()
}

fn names(object: Option<&str>) -> Vec<String> {
    json::members(object.unwrap_or_default()).map(|(name, _)| name.into_owned()).collect()
}

/// Positions of the events that `is_meant` picks.
fn indexes(events: &[IntakeEvent<'_>], is_meant: impl Fn(&IntakeEvent<'_>) -> bool) -> Vec<usize> {
    let meant = events.iter().enumerate().filter(|(_, event)| is_meant(event));
    meant.map(|(index, _)| index).collect()
}

/// Refuses what a fault concerns; the first fault that concerns anything counts.
pub(super) fn by_faults(
    faults: &[FaultEffect],
    events: &[IntakeEvent<'_>],
    endpoint: Endpoint,
    limits: &AmplitudeLimits,
) -> Result<(), Refused> {
    for fault in faults {
        let refusal = match fault {
            FaultEffect::ObjectsMax { max, .. } if events.len() > *max => Some(Refusal::TooLarge),
            FaultEffect::Poison { external_id, name, message } => {
                let (id, name) = (external_id.as_deref(), name.as_deref());
                if events.iter().any(|event| is_of(event, id, name)) {
                    return Err(Refused::Poisoned(message.clone()));
                }
                None
            }
            FaultEffect::Partial { external_id, name, every, .. } => {
                let (id, name) = (external_id.as_deref(), name.as_deref());
                let meant = indexes(events, |event| is_of(event, id, name));
                let nth = |index: &usize| {
                    every.is_none_or(|every| (*index as u64 + 1).is_multiple_of(every))
                };
                partial(meant.into_iter().filter(nth).collect())
            }
            FaultEffect::Throttle { user_ids, device_ids, daily } => {
                let limits = endpoint.limits_of_sender(limits);
                throttle(events, user_ids, device_ids, *daily, limits)
            }
            FaultEffect::Silence { device_ids } => {
                let devices = events.iter().filter_map(|event| event.device_id);
                let devices = devices.map(str::to_owned);
                let meant = devices.filter(|id| device_ids.is_empty() || device_ids.contains(id));
                silenced(&meant.collect(), events, endpoint, limits).err()
            }
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
    }
    Ok(())
}

/// Whether an event is of this user and of this type, as far as either is given.
fn is_of(event: &IntakeEvent<'_>, user_id: Option<&str>, name: Option<&str>) -> bool {
    user_id.is_none_or(|wanted| event.user_id == Some(wanted))
        && name.is_none_or(|wanted| event.event_type == wanted)
}

/// Events that are fine, named as if their properties were not.
fn partial(indexes: Vec<usize>) -> Option<Refusal> {
    if indexes.is_empty() {
        return None;
    }
    let invalid = [("event_properties", indexes)].into();
    Some(Refusal::Events(Box::new(EventProblems { invalid, ..EventProblems::default() })))
}

/// A refusal that names these users and devices, as if they had sent one event too many, when one
/// of the events is theirs; where none is given, every user and device of the request.
fn throttle(
    events: &[IntakeEvent<'_>],
    user_ids: &[String],
    device_ids: &[String],
    daily: bool,
    (per_second, per_day): (u64, u64),
) -> Option<Refusal> {
    let anybody = user_ids.is_empty() && device_ids.is_empty();
    let named = |wanted: &[String], sent: fn(&IntakeEvent<'_>) -> Option<String>| {
        let ids = events.iter().filter_map(sent);
        let ids = ids.filter(|id| anybody || wanted.contains(id));
        let count = if daily { per_day } else { per_second } + 1;
        ids.map(|id| (id, count)).collect::<BTreeMap<String, u64>>()
    };
    let users = named(user_ids, |event| event.user_id.map(str::to_owned));
    let devices = named(device_ids, |event| event.device_id.map(str::to_owned));
    let mut throttle = Throttle { eps_threshold: per_second, ..Throttle::default() };
    if daily {
        throttle.exceeded_daily_quota_users = users;
        throttle.exceeded_daily_quota_devices = devices;
    } else {
        throttle.throttled_users = users;
        throttle.throttled_devices = devices;
    }
    name_events(&mut throttle, events);
    if anybody {
        // Identifications of groups come from nobody.
        throttle.throttled_events = (0..events.len()).collect();
    }
    let strikes = !throttle.throttled_events.is_empty();
    strikes.then(|| Refusal::Throttled(Box::new(throttle)))
}

/// Refuses events of devices that are silenced.
pub(super) fn silenced(
    devices: &BTreeSet<String>,
    events: &[IntakeEvent<'_>],
    endpoint: Endpoint,
    limits: &AmplitudeLimits,
) -> Result<(), Refusal> {
    let is_silent = |id: &&str| devices.contains(*id);
    let silenced_events = indexes(events, |event| event.device_id.is_some_and(|id| is_silent(&id)));
    if silenced_events.is_empty() {
        return Ok(());
    }
    let found = events.iter().filter_map(|event| event.device_id).filter(is_silent);
    let found: BTreeSet<&str> = found.collect();
    let (eps_threshold, _) = endpoint.limits_of_sender(limits);
    Err(Refusal::Silenced(Box::new(Silenced {
        silenced_devices: found.into_iter().map(str::to_owned).collect(),
        silenced_events,
        throttle: Throttle { eps_threshold, ..Throttle::default() },
    })))
}
