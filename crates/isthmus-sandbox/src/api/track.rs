//! `/users/track`, `/users/track/bulk`, `/users/track/sync`.

use super::Call;
use super::answer::{Answer, Fields};
use crate::config::LimitMode;
use crate::fault::{FaultEffect, TOO_MANY_OBJECTS};
use crate::model::{Array, Body, Checked, Effect, Identifier, Reason, Spot, Unusable, Workspace};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Objects per bulk request, and per user in it ("Bulk update users", read 2026-09).
const BULK_OBJECTS_MAX: usize = 1_000;
const BULK_OBJECTS_PER_USER_MAX: usize = 100;

/// Which of the three endpoints is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    Plain,
    Bulk,
    /// Takes effect before the answer, which shows the user.
    Sync,
}

fn too_many() -> Answer {
    Answer::message(400, TOO_MANY_OBJECTS)
}

impl Call<'_> {
    pub(super) fn track(&self, variant: Variant) -> Result<Answer, Answer> {
        let body = Body::read(self.body).map_err(|unusable| match unusable {
            Unusable::Syntax => {
                Answer::message(400, "Error while parsing request body. Please check your syntax.")
            }
            Unusable::NotAnArray(array) => {
                Answer::message(400, &format!("'{}' must be an array of objects", array.name()))
            }
        })?;
        let (mode, objects_max) = match variant {
            Variant::Plain => (self.shared.config.limit_mode, self.shared.config.objects_max),
            Variant::Bulk => (LimitMode::Combined, BULK_OBJECTS_MAX),
            Variant::Sync => (LimitMode::Combined, 1),
        };
        let objects = body.objects(mode);
        if objects > objects_max {
            return Err(too_many());
        }
        for effect in self.faults {
            if let FaultEffect::ObjectsMax { max, message } = effect
                && objects > *max
            {
                return Err(Answer::message(400, message));
            }
        }
        let mut refused = Vec::new();
        let mut poisoned = None;
        let mut checked = body.check(self.now.wall, |spot| {
            poisoned = poisoned.or_else(|| self.poison(spot));
            let reason = self.refuses(spot)?;
            refused.push((spot.array, spot.index));
            Some(reason)
        });
        if let Some(message) = poisoned {
            return Err(Answer::message(400, message));
        }
        let errors: Vec<Value> = std::mem::take(&mut checked.refusals)
            .into_iter()
            .map(|refusal| {
                json!({
                    "type": refusal.reason,
                    "input_array": refusal.array.name(),
                    "index": refusal.index,
                })
            })
            .collect();
        if variant == Variant::Bulk && has_too_many_of_one_user(&checked) {
            return Err(too_many());
        }
        let mut workspace = self.room.lock();
        workspace.catch_up(self.now);
        let counters = workspace.counters_mut();
        counters.objects_refused += errors.len() as u64;
        if checked.accepted_total() == 0 {
            let message =
                "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields.";
            return Ok(Fields::default()
                .with("message", message)
                .with_list("errors", errors)
                .answer(400));
        }
        counters.attributes += checked.attributes.len() as u64;
        counters.events += checked.events.len() as u64;
        counters.purchases += checked.purchases.len() as u64;
        let points_before = counters.data_points.total();
        if variant == Variant::Sync || workspace.applies_at_once() {
            workspace.track(&checked, self.now);
        } else {
            let (body, received_at) = (self.body.clone(), self.now.wall);
            workspace.submit(Effect::Track { body, received_at, refused }, self.now);
        }
        let data_points = workspace.counters().data_points.total() - points_before;
        let mut fields = Fields::default().with("message", "success");
        if variant == Variant::Sync {
            fields = fields.with("users", synced(&workspace, &checked));
        } else {
            for array in Array::ALL {
                let name = format!("{}_processed", array.name());
                fields = fields.with_count(&name, checked.accepted(array));
            }
        }
        drop(workspace);
        let mut answer = fields.with_list("errors", errors).answer(201);
        answer.data_points = data_points;
        Ok(answer)
    }

    /// What a fault answers to the whole request because of this object.
    fn poison(&self, spot: &Spot<'_>) -> Option<&str> {
        self.faults.iter().find_map(|effect| {
            let FaultEffect::Poison { external_id, name, message } = effect else { return None };
            is_meant(spot, external_id.as_deref(), name.as_deref()).then_some(message.as_str())
        })
    }

    /// Whether a blocklist or a fault refuses an object that is fine.
    fn refuses(&self, spot: &Spot<'_>) -> Option<Reason> {
        let id = external_id(spot);
        if id.is_some_and(|id| self.shared.config.blocked_ids.iter().any(|blocked| blocked == id)) {
            let reason = "provided external_id is blacklisted and disallowed";
            return Some(Reason::Borrowed(reason));
        }
        self.faults.iter().find_map(|effect| {
            let FaultEffect::Partial { external_id, name, every, error } = effect else {
                return None;
            };
            let position = spot.position as u64 + 1;
            let meant = is_meant(spot, external_id.as_deref(), name.as_deref())
                && every.is_none_or(|every| position.is_multiple_of(every));
            meant.then(|| Reason::Owned(error.clone()))
        })
    }
}

fn external_id<'a>(spot: &'a Spot<'_>) -> Option<&'a str> {
    match spot.who {
        Identifier::ExternalId(id) => Some(id.as_ref()),
        _ => None,
    }
}

/// Whether an object is of this user and of this name, as far as either is given.
fn is_meant(spot: &Spot<'_>, id: Option<&str>, name: Option<&str>) -> bool {
    id.is_none_or(|wanted| external_id(spot) == Some(wanted))
        && name.is_none_or(|wanted| spot.name == Some(wanted))
}

fn has_too_many_of_one_user(checked: &Checked<'_>) -> bool {
    let mut objects = HashMap::new();
    checked.people().any(|who| {
        let count = objects.entry(who).or_insert(0_usize);
        *count += 1;
        *count > BULK_OBJECTS_PER_USER_MAX
    })
}

/// The one user of a sync request, with what the request was about as it is now.
fn synced(workspace: &Workspace, checked: &Checked<'_>) -> Vec<Value> {
    let Some(who) = checked.people().next() else { return Vec::new() };
    let Some(user) = workspace.directory().find(who).and_then(|key| workspace.directory().get(key))
    else {
        return Vec::new();
    };
    let mut shown = match who {
        Identifier::ExternalId(id) => Fields::default().with("external_id", id.as_ref()),
        Identifier::Alias { name, label } => {
            let alias = json!({ "alias_name": name, "alias_label": label });
            Fields::default().with("user_alias", alias)
        }
        Identifier::BrazeId(id) => Fields::default().with("braze_id", id.as_ref()),
        Identifier::Email(address) => Fields::default().with("email", address.as_ref()),
        Identifier::Phone(number) => Fields::default().with("phone", number.as_ref()),
        Identifier::PushToken => Fields::default(),
    };
    for attributes in &checked.attributes {
        let named = attributes.members.iter();
        let now = named.filter_map(|(name, _)| {
            Some((name.clone().into_owned(), user.custom.get(name.as_ref())?.clone()))
        });
        shown = shown.with("custom_attributes", Value::Object(now.collect()));
    }
    for event in &checked.events {
        if let Some(tally) = user.events.get(event.name.as_ref()) {
            let summary = crate::model::summary("name", &event.name, *tally);
            shown = shown.with("custom_events", vec![summary]);
        }
    }
    for purchase in &checked.purchases {
        if let Some(tally) = user.purchases.get(purchase.product_id.as_ref()) {
            let summary = crate::model::summary("product_id", &purchase.product_id, *tally);
            shown = shown.with("purchase_events", vec![summary]);
        }
    }
    vec![shown.value()]
}
