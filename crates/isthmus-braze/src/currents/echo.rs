//! Whether an event is an echo: what we told Braze, told back by Braze.
//!
//! A custom event or purchase that we send comes back through Currents as
//! `users.behaviors.CustomEvent` or `users.behaviors.Purchase`, with an id of Braze's own. Both sides
//! are reduced to one key: who, event or purchase, which one, and in which second. Currents tells
//! whole seconds, and nothing says whether they are cut or rounded; so a key is looked for in the
//! second of the event and in the one before.
//!
//! Who was told by an alias alone has no `external_user_id` in Currents. The key then says nothing
//! of who, and the event's own properties instead.

use super::received::Received;
use crate::calls::{EVENTS, PURCHASES};
use isthmus_core::destination::Section;
use isthmus_core::{Timestamp, json};
use serde_json::Value;
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_64;

/// What an object that was sent and its echo share. It is stable: it may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EchoKey(pub u64);

/// The keys under which an event may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// In the second that Currents tells.
    pub at: EchoKey,
    /// In the second before.
    pub before: EchoKey,
}

/// The key of an object that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentKey<'a> {
    pub key: EchoKey,
    /// Who it was about, where the key does not say it and the object names an alias.
    pub alias: Option<Alias<'a>>,
}

/// A user alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias<'a> {
    pub name: Cow<'a, str>,
    pub label: Cow<'a, str>,
}

impl Echo {
    /// The keys to look for, likelier first.
    pub fn candidates(self) -> [EchoKey; 2] {
        [self.at, self.before]
    }
}

/// The keys under which `event` may have been sent by us: with its `external_user_id`, and without
/// anybody where it has none. `None` for anything but custom events and purchases that have a name.
pub fn echo_key(event: &Received<'_>) -> Option<Echo> {
    let told = Told::of_event(event)?;
    let seconds = event.time.div_euclid(1_000);
    Some(match event.external_user_id.as_deref() {
        Some(user) => told.echo(seconds, |told, second| told.of_user(user, second)),
        None => told.echo_of_anyone(seconds),
    })
}

/// The keys under which `event` may have been sent for an alias, even if it has an
/// `external_user_id` by now: the person may have been identified in between.
pub fn echo_key_of_anyone(event: &Received<'_>) -> Option<Echo> {
    Some(Told::of_event(event)?.echo_of_anyone(event.time.div_euclid(1_000)))
}

/// The key of `payload`, a raw object of `POST /users/track` in the list of `section`. `None` for
/// anything but events and purchases that have a name and a time.
pub fn sent_key(section: Section, payload: &str) -> Option<SentKey<'_>> {
    let (kind, name) = match section {
        EVENTS => (Kind::Event, "name"),
        PURCHASES => (Kind::Purchase, "product_id"),
        _ => return None,
    };
    let text = |name| json::member(payload, name).and_then(json::text_of);
    let told = Told { kind, name: text(name)?, own: json::member(payload, "properties") };
    let seconds = instant(&text("time")?)?.div_euclid(1_000);
    if let Some(user) = text("external_id") {
        return Some(SentKey { key: told.of_user(&user, seconds), alias: None });
    }
    let alias = json::member(payload, "user_alias").and_then(|alias| {
        let text = |name| json::member(alias, name).and_then(json::text_of);
        Some(Alias { name: text("alias_name")?, label: text("alias_label")? })
    });
    Some(SentKey { key: told.of_anyone(seconds), alias })
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Event = 1,
    Purchase = 2,
}

/// What was told of somebody, in both directions.
struct Told<'a> {
    kind: Kind,
    /// Of the event, or of the product.
    name: Cow<'a, str>,
    /// Raw object of own properties.
    own: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of_event(event: &'a Received<'_>) -> Option<Self> {
        let (kind, name, own) = match event.event_type.as_ref() {
            "users.behaviors.CustomEvent" => (Kind::Event, "name", "custom_properties"),
            "users.behaviors.Purchase" => (Kind::Purchase, "product_id", "purchase_properties"),
            _ => return None,
        };
        let properties = &event.properties;
        let name = json::member(properties, name).and_then(json::text_of)?;
        Some(Self { kind, name, own: json::member(properties, own) })
    }

    fn echo(&self, seconds: i64, key: impl Fn(&Self, i64) -> EchoKey) -> Echo {
        Echo { at: key(self, seconds), before: key(self, seconds.saturating_sub(1)) }
    }

    fn echo_of_anyone(&self, seconds: i64) -> Echo {
        let own = self.canonical();
        self.echo(seconds, |told, second| told.key(b"anyone", &own, second))
    }

    fn of_user(&self, user: &str, seconds: i64) -> EchoKey {
        self.key(b"user", user.as_bytes(), seconds)
    }

    fn of_anyone(&self, seconds: i64) -> EchoKey {
        self.key(b"anyone", &self.canonical(), seconds)
    }

    /// Each part is preceded by its length, so that no two lists of parts are one.
    fn key(&self, sort: &[u8], who: &[u8], seconds: i64) -> EchoKey {
        let mut bytes = Vec::with_capacity(sort.len() + who.len() + self.name.len() + 40);
        for part in [sort, who, self.name.as_bytes()] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&seconds.to_le_bytes());
        EchoKey(xxh3_64(&bytes))
    }

    /// Own properties in one spelling: sorted, without nulls, 1.0 as 1. No properties and an empty
    /// object are one, and so is what is no object.
    fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let own = self.own.and_then(|own| serde_json::from_str::<Value>(own).ok());
        if let Some(Value::Object(members)) = own {
            canonical(&Value::Object(members), &mut out);
        } else {
            canonical(&Value::Object(serde_json::Map::new()), &mut out);
        }
        out
    }
}

fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().filter(|(_, value)| !value.is_null()).collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (key, value) in members {
                out.extend_from_slice(&(key.len() as u64).to_le_bytes());
                out.extend_from_slice(key.as_bytes());
                canonical(value, out);
            }
            out.push(b'}');
        }
        Value::Array(elements) => {
            out.push(b'[');
            for element in elements.iter().filter(|element| !element.is_null()) {
                canonical(element, out);
            }
            out.push(b']');
        }
        Value::Number(number) => {
            out.push(b'#');
            out.extend_from_slice(&number.as_f64().unwrap_or_default().to_bits().to_le_bytes());
        }
        Value::String(text) => {
            out.push(b'"');
            out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Value::Bool(flag) => out.push(if *flag { b't' } else { b'f' }),
        Value::Null => out.push(b'n'),
    }
}

/// Milliseconds of a time that we sent: with a zone, as streams write it, or without one, as people
/// may have; Braze reads that as UTC.
fn instant(text: &str) -> Option<i64> {
    let at = Timestamp::parse_iso(text).or_else(|| Timestamp::parse_iso(&format!("{text}Z")))?;
    Some(at.as_millis())
}

#[cfg(test)]
mod tests;
