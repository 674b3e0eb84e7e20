//! An Amplitude event as a Braze custom event.
//!
//! ```json
//! { "external_id": "u-1009", "app_id": "7b1c0000-app", "name": "Order Completed",
//!   "time": "2026-02-03T09:15:02.410Z", "properties": { "total": 84.5, "plan": "pro" } }
//! ```
//!
//! - `properties` holds exactly the selected properties that have a value on this event, event
//!   properties first. User properties are those at the time of the event.
//! - An event property wins over a user property that is sent under the same name.
//! - `time` is the event's corrected time. Braze replaces future times by the time of receipt.

use super::finished;
use super::origin::{Origin, Origins, Value, Values};
use crate::calls::EVENTS;
use crate::identifier::Identifiers;
use crate::identity::Anonymous;
use crate::value::{Nested, push_value};
use crate::warnings::Tally;
use isthmus_core::Timestamp;
use isthmus_core::destination::{Guarantee, Mapped};
use isthmus_core::filter::Conditions;
use isthmus_core::json;
use isthmus_core::record::AppliedEvent;
use std::borrow::Cow;
use std::fmt::Write;

/// Bytes of an object beyond what is precomputed and copied: braces, `time`, separators.
const OVERHEAD_BYTES: usize = 64;

/// One selected event type.
#[derive(Debug)]
pub(crate) struct EventRule {
    /// The Braze event's name.
    pub(crate) name: String,
    /// What stands between the identifier and the time.
    before_time: String,
    /// All must hold.
    pub(crate) filters: Vec<Filtered>,
    /// What happens to such an event when nobody knows whether Braze took it.
    pub(crate) guarantee: Guarantee,
}

/// Conditions on one property.
#[derive(Debug)]
pub(crate) struct Filtered {
    pub(crate) subject: Subject,
    pub(crate) conditions: Conditions,
}

/// What conditions are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The one value found there, or that it is missing.
    Value(Origin),
    /// The property of this name in the event's groups, whatever their types.
    ///
    /// An event can have several groups. We decided: the conditions hold if one group's value
    /// satisfies them all; groups without the property are passed over, and only where no group has
    /// it is it missing.
    InGroups(String),
}

impl EventRule {
    pub(crate) fn new(
        name: String,
        app_id: Option<&str>,
        filters: Vec<Filtered>,
        guarantee: Guarantee,
    ) -> Self {
        let mut before_time = String::new();
        if let Some(app_id) = app_id {
            before_time.push_str(",\"app_id\":");
            json::push_text(&mut before_time, app_id);
        }
        before_time.push_str(",\"name\":");
        json::push_text(&mut before_time, &name);
        before_time.push_str(",\"time\":\"");
        Self { name, before_time, filters, guarantee }
    }

    fn holds(&self, values: &Values<'_, '_>) -> bool {
        self.filters.iter().all(|filtered| filtered.holds(values))
    }
}

impl Filtered {
    pub(crate) fn needs_user_properties(&self) -> bool {
        matches!(self.subject, Subject::Value(origin) if origin.needs_user_properties())
    }

    fn holds(&self, values: &Values<'_, '_>) -> bool {
        match &self.subject {
            Subject::Value(origin) => {
                let value = values.get(*origin).map(Value::to_raw);
                self.conditions.hold(value.as_deref())
            }
            Subject::InGroups(name) => {
                let mut found = values.in_groups(name).peekable();
                if found.peek().is_none() {
                    return self.conditions.hold(None);
                }
                found.any(|value| self.conditions.hold(Some(value)))
            }
        }
    }
}

/// One property of the Braze event.
#[derive(Debug)]
pub(crate) struct EventProperty {
    /// `"total":`
    pub(crate) member: String,
    pub(crate) origin: Origin,
    /// Sent only where this one has no value.
    pub(crate) unless: Option<Origin>,
    /// Whether the name was changed because Braze reserves it.
    pub(crate) renamed: bool,
}

/// What all events of one stream have in common.
#[derive(Debug)]
pub(crate) struct EventMapping {
    pub(crate) origins: Origins,
    pub(crate) identify: Identify,
    /// `,"_update_existing_only":true` and the like, or nothing.
    pub(crate) creation: &'static str,
    /// How people without a user id are told of.
    pub(crate) anonymous: Option<Anonymous>,
    pub(crate) properties: Vec<EventProperty>,
    pub(crate) nested: Nested,
}

/// Where the identifier of an event comes from, and how it is written.
#[derive(Debug)]
pub(crate) struct Identify {
    pub(crate) origin: Origin,
    pub(crate) identifiers: Identifiers,
}

impl EventMapping {
    /// Appends what becomes of `event`: nothing when the filters of `rule` do not hold.
    pub(crate) fn map(
        &self,
        rule: &EventRule,
        event: &AppliedEvent<'_>,
        user_properties: Option<&str>,
        tally: &Tally,
        out: &mut Vec<Mapped>,
    ) {
        let mapped = self.origins.look_up(event, user_properties, |values| {
            rule.holds(values).then(|| self.object(rule, event, values, tally))
        });
        out.extend(mapped);
    }

    fn object(
        &self,
        rule: &EventRule,
        event: &AppliedEvent<'_>,
        values: &Values<'_, '_>,
        tally: &Tally,
    ) -> Mapped {
        let Identify { origin, identifiers } = &self.identify;
        let (mut identifiers, mut creation) = (identifiers, self.creation);
        let identifier = match (values.get(*origin), &self.anonymous) {
            (Some(Value::Text(text)), _) => identifiers.accept(Cow::Borrowed(text)),
            (Some(Value::Raw(raw)), _) => identifiers.accept_raw(Some(raw)),
            (None, Some(anonymous)) => {
                (identifiers, creation) = (&anonymous.identifiers, anonymous.creation);
                anonymous.accept(event.device_id, event.device_id_derived)
            }
            (Some(Value::Integer(_)) | None, _) => identifiers.accept_raw(None),
        };
        let identifier = match identifier {
            Ok(identifier) => identifier,
            Err(reason) => return Mapped::Discard { reason },
        };
        let copied: usize = self
            .properties
            .iter()
            .map(|property| {
                property.member.len() + values.get(property.origin).map_or(0, Value::length)
            })
            .sum();
        let mut payload = String::with_capacity(
            identifiers.length(&identifier) + rule.before_time.len() + copied + OVERHEAD_BYTES,
        );
        let lane = identifiers.lane(&identifier, &mut payload);
        payload.push('{');
        identifiers.push(&identifier, &mut payload);
        payload.push_str(&rule.before_time);
        push_time(&mut payload, event.event_time);
        payload.push('"');
        payload.push_str(creation);
        self.push_properties(values, tally, &mut payload);
        payload.push('}');
        finished(lane, EVENTS, &rule.name, payload, rule.guarantee)
    }

    fn push_properties(&self, values: &Values<'_, '_>, tally: &Tally, payload: &mut String) {
        const OPENING: &str = ",\"properties\":{";
        let mut separator = OPENING;
        for EventProperty { member, origin, unless, renamed } in &self.properties {
            let Some(value) = values.get(*origin) else { continue };
            if unless.is_some_and(|winner| values.get(winner).is_some()) {
                continue;
            }
            let before = payload.len();
            payload.push_str(separator);
            payload.push_str(member);
            let pushed = match value {
                Value::Raw(raw) => push_value(payload, raw, self.nested, tally),
                other => push_value(payload, &other.to_raw(), self.nested, tally),
            };
            if !pushed {
                payload.truncate(before);
                continue;
            }
            separator = ",";
            if *renamed {
                tally.reserved_renamed.add_one();
            }
        }
        if separator != OPENING {
            payload.push('}');
        }
    }
}

fn push_time(out: &mut String, millis: i64) {
    write!(out, "{}", Timestamp::from_millis(millis)).expect("a String takes any text");
}
