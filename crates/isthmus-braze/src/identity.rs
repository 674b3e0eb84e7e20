//! Who people are to Braze: aliases of those without a user id, the call that makes an alias and a
//! user one person, and the call that deletes a person.

use crate::calls::IDENTIFY;
use crate::identifier::{Identifiers, reason};
use crate::track::origin::own_device_id;
use isthmus_core::destination::{Guarantee, Mapped, Message};
use isthmus_core::json;
use isthmus_core::record::Erasure;
use std::borrow::Cow;

/// What people call the object that identifies somebody.
const IDENTIFY_NAME: &str = "identify";
/// What people call the object that deletes somebody.
const ERASURE_NAME: &str = "erasure";

/// How a stream tells of people who have no user id yet.
#[derive(Debug, Clone)]
pub(crate) struct Anonymous {
    /// Those of the alias.
    pub(crate) identifiers: Identifiers,
    /// Whether Braze may create them, said explicitly: its default for aliases is no.
    pub(crate) creation: &'static str,
}

impl Anonymous {
    /// The alias name of the person on this device. A device id that was derived names nobody.
    pub(crate) fn accept<'a>(
        &self,
        device_id: &'a str,
        derived: bool,
    ) -> Result<Cow<'a, str>, &'static str> {
        let device_id = own_device_id(device_id, derived).ok_or(reason::MISSING)?;
        self.identifiers.accept(Cow::Borrowed(device_id))
    }
}

/// Makes the person of an alias and a user one, once both are known to be.
#[derive(Debug)]
pub(crate) struct Identification {
    pub(crate) known: Identifiers,
    pub(crate) alias: Identifiers,
}

impl Identification {
    /// Appends what Braze is asked when the person of `device_id` turns out to be `user_id`: in the
    /// lane of the user, after everything that was told of the alias. Where nothing can have been
    /// told of the alias there is nothing to ask.
    pub(crate) fn map(&self, user_id: &str, device_id: &str, out: &mut Vec<Mapped>) {
        let Ok(alias) = self.alias.accept(Cow::Borrowed(device_id)) else { return };
        let known = match self.known.accept(Cow::Borrowed(user_id)) {
            Ok(known) => known,
            Err(reason) => return out.push(Mapped::Discard { reason }),
        };
        let mut payload =
            String::with_capacity(self.known.length(&known) + self.alias.length(&alias) + 3);
        let lane = self.known.lane(&known, &mut payload);
        let after = self.alias.lane(&alias, &mut payload);
        payload.push('{');
        self.known.push(&known, &mut payload);
        payload.push(',');
        self.alias.push(&alias, &mut payload);
        payload.push('}');
        out.push(Mapped::Deliver(Message {
            lane,
            section: IDENTIFY,
            name: IDENTIFY_NAME.to_owned(),
            payload,
            // Identifying somebody again changes nothing.
            guarantee: Guarantee::AtLeastOnce,
            after: Some(after),
        }));
    }
}

/// Where the identifiers of an erased person are found.
#[derive(Debug)]
pub(crate) enum Found {
    UserId,
    DeviceIds,
    /// In the user property of this name; as a property of the event where streams fall back to it.
    Property(String),
}

/// Asks Braze to delete a person, by every identifier under which a stream may have told of them.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) by: Vec<(Found, Identifiers)>,
}

impl Deletion {
    /// Appends one object for each identifier. Those that were never sent are no reason to ask.
    pub(crate) fn map(&self, erasure: &Erasure<'_>, out: &mut Vec<Mapped>) {
        for (found, identifiers) in &self.by {
            let property = match found {
                Found::Property(name) => erasure
                    .user_properties
                    .and_then(|properties| json::member(properties, name))
                    .filter(|value| *value != "null"),
                Found::UserId | Found::DeviceIds => None,
            };
            let values: Vec<_> = match found {
                Found::Property(_) if property.is_some() => vec![identifiers.accept_raw(property)],
                Found::UserId => texts(identifiers, erasure.user_id),
                Found::DeviceIds => texts(identifiers, erasure.device_ids.iter().copied()),
                Found::Property(name) if name == "user_id" => texts(identifiers, erasure.user_id),
                Found::Property(name) if name == "device_id" => {
                    texts(identifiers, erasure.device_ids.iter().copied())
                }
                Found::Property(_) => Vec::new(),
            };
            for value in values.into_iter().flatten() {
                out.push(Mapped::Deliver(deletion(identifiers, &value)));
            }
        }
    }
}

type Accepted<'a> = Result<Cow<'a, str>, &'static str>;

fn texts<'a>(
    identifiers: &Identifiers,
    values: impl IntoIterator<Item = &'a str>,
) -> Vec<Accepted<'a>> {
    values.into_iter().map(|text| identifiers.accept(Cow::Borrowed(text))).collect()
}

fn deletion(identifiers: &Identifiers, value: &str) -> Message {
    let mut payload = String::with_capacity(identifiers.length(value) + 2);
    let lane = identifiers.lane(value, &mut payload);
    payload.push('{');
    identifiers.push(value, &mut payload);
    payload.push_str(identifiers.choice_to_delete());
    payload.push('}');
    Message {
        lane,
        section: identifiers.section_to_delete(),
        name: ERASURE_NAME.to_owned(),
        payload,
        // Nobody is deleted twice.
        guarantee: Guarantee::AtLeastOnce,
        after: None,
    }
}
