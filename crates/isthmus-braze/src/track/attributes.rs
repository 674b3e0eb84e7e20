//! Changes of user properties as Braze attributes.
//!
//! ```json
//! { "external_id": "u-1009", "plan": "pro", "seats": null }
//! ```
//!
//! - Sent when a selected property really changed, and then only what changed, because Braze bills
//!   each attribute written. The stream may ask for all selected ones instead.
//! - On the first sight of the identifier, all selected properties that have a value are sent:
//!   none of them can have been sent under it before. That is the first sight of the user, of the
//!   device too where devices identify, or the change that gives the identifying property its
//!   value. With nothing selected, an object that holds only the identifier creates the user.
//! - The first sight of an alias that may be new always sends an object, if only the identifier:
//!   Braze's pages disagree about whether events alone create the person of an alias, and it
//!   processes attributes first. So a stream of events alone has this mapping too, for aliases.
//! - A property that lost its value is sent as `null`, which removes it, unless the stream ignores
//!   that.
//! - An attribute called like one of Braze's standard profile fields (`email`, `first_name`,
//!   `country`, ...) sets that field: Braze has one namespace.

use super::finished;
use crate::calls::ATTRIBUTES;
use crate::identifier::Identifiers;
use crate::identity::Anonymous;
use crate::names::Names;
use crate::track::origin::{fill, own_device_id};
use crate::value::{Nested, push_value};
use crate::warnings::Tally;
use isthmus_core::destination::{Guarantee, Mapped, Wants};
use isthmus_core::json;
use isthmus_core::record::UserChange;
use std::borrow::Cow;

/// What people call an attributes object.
const MESSAGE_NAME: &str = "user update";
/// A selected property changed, and its new value is of a kind that the stream drops.
pub(crate) const NOTHING_LEFT: &str = "no value of a kind that is sent";

/// Where the identifier of a change comes from.
#[derive(Debug)]
pub(crate) enum Source {
    UserId,
    DeviceId,
    Property(String),
}

/// What one stream sends about users.
#[derive(Debug)]
pub(crate) struct AttributesMapping {
    pub(crate) source: Source,
    pub(crate) identifiers: Identifiers,
    /// `,"_update_existing_only":true` and the like, or nothing.
    pub(crate) creation: &'static str,
    /// How people without a user id are told of.
    pub(crate) anonymous: Option<Anonymous>,
    pub(crate) announced: Announced,
    /// Selected properties; slots are indexes into `members`.
    pub(crate) names: Names,
    /// `"plan":`, in the order of selection.
    pub(crate) members: Vec<String>,
    pub(crate) all_on_change: bool,
    pub(crate) send_null: bool,
    pub(crate) nested: Nested,
}

/// Whose first sight is worth an object that says nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    Nobody,
    Aliases,
    Everybody,
}

/// What is to be said of one selected property.
type Said<'a> = Option<&'a str>;

impl AttributesMapping {
    pub(crate) fn wants(&self, change: &UserChange<'_>) -> Wants {
        let first_sight = self.is_first_sight(change);
        if first_sight && !self.names.is_empty() {
            return Wants::ItemAndUserProperties;
        }
        let triggered = if self.names.is_empty() {
            first_sight && self.announces(change)
        } else {
            change.changes.iter().any(|property| {
                self.names.find(property.name).is_some()
                    && (self.send_null || has_value(property.to))
            })
        };
        match (triggered, &self.source) {
            (false, _) => Wants::Nothing,
            (true, Source::Property(_)) => Wants::ItemAndUserProperties,
            (true, _) if self.all_on_change => Wants::ItemAndUserProperties,
            (true, _) => Wants::Item,
        }
    }

    /// Appends what becomes of `change`: nothing when there is nothing to say.
    pub(crate) fn map(
        &self,
        change: &UserChange<'_>,
        user_properties: Option<&str>,
        tally: &Tally,
        out: &mut Vec<Mapped>,
    ) {
        let first_sight = self.is_first_sight(change);
        let mut said: Vec<Said<'_>> = vec![None; self.names.len()];
        if first_sight || self.all_on_change {
            fill(&mut said, &self.names, user_properties);
        }
        let mut triggered = first_sight;
        for property in &change.changes {
            let Some(slot) = self.names.find(property.name) else { continue };
            let Some(slot) = said.get_mut(slot) else { continue };
            *slot =
                if has_value(property.to) { property.to } else { self.send_null.then_some("null") };
            triggered |= slot.is_some();
        }
        let alone = first_sight && self.announces(change);
        let something = said.iter().any(Option::is_some);
        if !triggered || !(something || alone) {
            return;
        }
        match self.identifier(change, user_properties) {
            Ok((identifiers, identifier)) => {
                out.push(self.object(identifiers, &identifier, &said, alone, tally));
            }
            // An anonymous user without anything to say is no loss worth counting.
            Err(reason) if something => out.push(Mapped::Discard { reason }),
            Err(_) => {}
        }
    }

    fn object(
        &self,
        (identifiers, creation): (&Identifiers, &str),
        identifier: &str,
        said: &[Said<'_>],
        alone: bool,
        tally: &Tally,
    ) -> Mapped {
        let copied: usize = self
            .members
            .iter()
            .zip(said)
            .filter_map(|(member, value)| Some(member.len() + (*value)?.len() + 1))
            .sum();
        let mut payload =
            String::with_capacity(identifiers.length(identifier) + creation.len() + copied + 2);
        let lane = identifiers.lane(identifier, &mut payload);
        payload.push('{');
        identifiers.push(identifier, &mut payload);
        payload.push_str(creation);
        let head = payload.len();
        for (member, value) in self.members.iter().zip(said) {
            let Some(value) = *value else { continue };
            let before = payload.len();
            payload.push(',');
            payload.push_str(member);
            if value == "null" {
                payload.push_str(value);
            } else if !push_value(&mut payload, value, self.nested, tally) {
                payload.truncate(before);
            }
        }
        if payload.len() == head && !alone {
            return Mapped::Discard { reason: NOTHING_LEFT };
        }
        payload.push('}');
        // Saying again what a user is like changes nothing.
        finished(lane, ATTRIBUTES, MESSAGE_NAME, payload, Guarantee::AtLeastOnce)
    }

    /// Whether the first sight of the person is worth an object that says nothing else.
    fn announces(&self, change: &UserChange<'_>) -> bool {
        match self.announced {
            Announced::Nobody => false,
            Announced::Aliases => {
                let is_anonymous = self.anonymous.is_some() && change.user_id.is_none();
                is_anonymous || self.identifiers.is_alias()
            }
            Announced::Everybody => true,
        }
    }

    /// Whether nothing of this user can have been sent under this identifier before: the engine
    /// saw the user for the first time, or on this device for the first time where the device
    /// identifies, or the property that identifies just got its value.
    fn is_first_sight(&self, change: &UserChange<'_>) -> bool {
        match &self.source {
            Source::UserId => change.first_seen,
            // A known user's second device is a profile of its own.
            Source::DeviceId => change.first_seen || change.first_seen_on_device,
            Source::Property(name) => change
                .changes
                .iter()
                .any(|property| property.name == name && has_value(property.to)),
        }
    }

    /// Who the change is about, with how that is written and what is said about creating them.
    fn identifier<'a>(
        &self,
        change: &UserChange<'a>,
        user_properties: Option<&'a str>,
    ) -> Result<((&Identifiers, &'static str), Cow<'a, str>), &'static str> {
        if let (None, Some(anonymous)) = (change.user_id, &self.anonymous) {
            let name = anonymous.accept(change.device_id, change.device_id_derived)?;
            return Ok(((&anonymous.identifiers, anonymous.creation), name));
        }
        let name = self.known_identifier(change, user_properties)?;
        Ok(((&self.identifiers, self.creation), name))
    }

    fn known_identifier<'a>(
        &self,
        change: &UserChange<'a>,
        user_properties: Option<&'a str>,
    ) -> Result<Cow<'a, str>, &'static str> {
        let text = match &self.source {
            Source::UserId => change.user_id,
            Source::DeviceId => own_device_id(change.device_id, change.device_id_derived),
            Source::Property(name) => {
                let value = user_properties.and_then(|object| json::member(object, name));
                return self.identifiers.accept_raw(value);
            }
        };
        match text {
            Some(text) => self.identifiers.accept(Cow::Borrowed(text)),
            None => self.identifiers.accept_raw(None),
        }
    }
}

fn has_value(raw: Option<&str>) -> bool {
    raw.is_some_and(|raw| raw != "null")
}
