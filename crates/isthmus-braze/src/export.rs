//! Reading people back from Braze: `POST /users/export/ids`, to compare what it has with what it
//! was told.
//!
//! A field without a value is left out of an answer, and people who are not there are listed beside
//! it ("Export users by identifier endpoint", Braze documentation, read 2026-09).

mod compared;

pub use compared::{Comparison, compare};

use crate::Braze;
use crate::calls::{EVENTS, IDENTIFY};
use crate::profile::{EXPORTED_FIELDS, STANDARD_FIELDS};
use crate::reply::{refusal_of, wait};
use isthmus_core::destination::Message;
use isthmus_core::json;
use isthmus_core::seam::{Reply, Request};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// People per request, external ids and aliases together (same page).
pub const PEOPLE_MAX: usize = 50;

const PATH: &str = "/users/export/ids";
const PERMISSION: &str = "users.export.ids";
/// Where an export has what is no field of its own.
const CUSTOM_ATTRIBUTES: &str = "custom_attributes";
/// Always asked for: by them a person is known again.
const IDENTIFIERS: [&str; 2] = ["external_id", "user_aliases"];

/// Whom an export is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Person {
    ExternalId(String),
    Alias { name: String, label: String },
}

/// Whom an object tells Braze something about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Addressee {
    Person(Person),
    /// By an identifier that exports are not asked by: email, phone or braze id.
    Other(String),
}

impl Addressee {
    /// Of `message`; nothing where it tells nothing, or of nobody who can be made out.
    pub fn of(message: &Message) -> Option<Self> {
        let call = message.section.call();
        if call != EVENTS.call() && call != IDENTIFY.call() {
            return None;
        }
        let text = |name| json::member(&message.payload, name).and_then(json::text_of);
        if let Some(id) = text("external_id") {
            return Some(Self::Person(Person::ExternalId(id.into_owned())));
        }
        let alias = json::member(&message.payload, "user_alias").and_then(alias);
        if let Some(alias) = alias {
            return Some(Self::Person(alias));
        }
        let other = |name| Some(format!("{name}:{}", text(name)?));
        ["braze_id", "email", "phone"].into_iter().find_map(other).map(Self::Other)
    }
}

impl Person {
    /// Whom a lane is called after: `external_id:u-1`, or `user_alias:label:name`, where the first
    /// colon ends the label; nothing for what exports are not asked by.
    pub fn called(identifier: &str) -> Option<Self> {
        let (kind, rest) = identifier.split_once(':')?;
        match kind {
            "external_id" => Some(Self::ExternalId(rest.to_owned())),
            "user_alias" => {
                let (label, name) = rest.split_once(':')?;
                Some(Self::Alias { name: name.to_owned(), label: label.to_owned() })
            }
            _ => None,
        }
    }
}

/// As lanes are called: `external_id:u-1`, `user_alias:label:name`.
impl fmt::Display for Person {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExternalId(id) => write!(out, "external_id:{id}"),
            Self::Alias { name, label } => write!(out, "user_alias:{label}:{name}"),
        }
    }
}

/// What Braze has of the people who were asked for; each of them is in one of three places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// By attribute as streams name it, its value as raw JSON. An attribute that was asked for and is
    /// not here has no value.
    pub known: BTreeMap<Person, BTreeMap<String, String>>,
    /// Nobody there is called so.
    pub unknown: BTreeSet<Person>,
    /// The answer does not say: an external id that was renamed since, or an alias that Braze does
    /// not show after it was identified.
    pub unclear: BTreeSet<Person>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Ask again later, after the wait that Braze asked for where it did.
    #[error("not now: {reason}")]
    Later { after: Option<Duration>, reason: String },
    /// The operator must act.
    #[error("{reason}")]
    Refused { reason: String },
}

/// The field of an export that holds `attribute`; none where Braze takes it and never tells it.
pub fn field_of(attribute: &str) -> Option<&'static str> {
    if let Some(field) = EXPORTED_FIELDS.into_iter().find(|field| *field == attribute) {
        return Some(field);
    }
    (!STANDARD_FIELDS.contains(&attribute)).then_some(CUSTOM_ATTRIBUTES)
}

impl Braze {
    /// The request for these `attributes` of `people`, of whom only the first [`PEOPLE_MAX`] are
    /// asked for. It needs the permission `users.export.ids`.
    pub fn export(&self, people: &[Person], attributes: &[&str]) -> Request {
        let people = people.get(..PEOPLE_MAX).unwrap_or(people);
        let mut fields: Vec<&str> = IDENTIFIERS.to_vec();
        for field in attributes.iter().filter_map(|attribute| field_of(attribute)) {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        let (mut ids, mut aliases) = (Vec::new(), Vec::new());
        for person in people {
            let mut text = String::new();
            match person {
                Person::ExternalId(id) => {
                    json::push_text(&mut text, id);
                    ids.push(text);
                }
                Person::Alias { name, label } => {
                    text.push_str("{\"alias_name\":");
                    json::push_text(&mut text, name);
                    text.push_str(",\"alias_label\":");
                    json::push_text(&mut text, label);
                    text.push('}');
                    aliases.push(text);
                }
            }
        }
        let mut body = String::from("{");
        for (key, list) in [("external_ids", ids), ("user_aliases", aliases)] {
            if !list.is_empty() {
                json::push_text(&mut body, key);
                body.extend([":[", &list.join(","), "],"]);
            }
        }
        let fields: Vec<_> = fields.iter().map(|field| format!("\"{field}\"")).collect();
        body.extend(["\"fields_to_export\":[", &fields.join(","), "]}"]);
        self.request(PATH, body.into())
    }

    /// What the reply to [`Self::export`] says about the people `asked` for.
    pub fn judge_export(&self, asked: &[Person], reply: &Reply) -> Result<Exported, ExportError> {
        let later = |after| ExportError::Later {
            after,
            reason: format!("{}: {}", reply.status, reply.excerpt()),
        };
        match reply.status {
            200..=299 => {}
            423 | 425 | 429 | 408 | 500.. => return Err(later(wait(reply))),
            _ => return Err(ExportError::Refused { reason: refusal_of(reply, PERMISSION) }),
        }
        let text = std::str::from_utf8(&reply.body).ok();
        // The walk over the raw text trusts it.
        let valid = text.filter(|text| serde_json::from_str::<Value>(text).is_ok());
        let users = valid.and_then(|text| Some((text, json::member(text, "users")?)));
        let Some((text, users)) = users else {
            let reason = format!("{} without users: {}", reply.status, reply.excerpt());
            return Err(ExportError::Later { after: None, reason });
        };
        let asked: BTreeSet<&Person> = asked.iter().take(PEOPLE_MAX).collect();
        let mut exported = Exported::default();
        for user in json::elements(users) {
            let attributes = attributes_of(user);
            for person in people_of(user).filter(|person| asked.contains(person)) {
                exported.known.insert(person, attributes.clone());
            }
        }
        let invalid = json::member(text, "invalid_user_ids").unwrap_or_default();
        let named = json::elements(invalid).filter_map(|raw| named(raw, &asked));
        exported.unknown = named.filter(|person| !exported.known.contains_key(person)).collect();
        let answered = |person: &&Person| {
            exported.known.contains_key(*person) || exported.unknown.contains(*person)
        };
        exported.unclear = asked.into_iter().filter(|each| !answered(each)).cloned().collect();
        Ok(exported)
    }
}

/// Everything that a person is called.
fn people_of(user: &str) -> impl Iterator<Item = Person> {
    let id = json::member(user, "external_id").and_then(json::text_of);
    let aliases = json::member(user, "user_aliases").unwrap_or_default();
    let id = id.map(|id| Person::ExternalId(id.into_owned()));
    id.into_iter().chain(json::elements(aliases).filter_map(alias))
}

fn alias(raw: &str) -> Option<Person> {
    let text = |key| Some(json::text_of(json::member(raw, key)?)?.into_owned());
    Some(Person::Alias { name: text("alias_name")?, label: text("alias_label")? })
}

/// Custom attributes and standard fields, by the names under which they are sent.
fn attributes_of(user: &str) -> BTreeMap<String, String> {
    let custom = json::members(json::member(user, CUSTOM_ATTRIBUTES).unwrap_or_default());
    let standard = json::members(user).filter(|(name, _)| EXPORTED_FIELDS.contains(&name.as_ref()));
    custom
        .chain(standard)
        .filter(|(_, value)| *value != "null")
        .map(|(name, value)| (name.into_owned(), value.to_owned()))
        .collect()
}

/// Who is meant by an entry among those who are not there: an external id, or an alias, whose form
/// there is not documented: the object, or its name alone.
fn named(raw: &str, asked: &BTreeSet<&Person>) -> Option<Person> {
    let Some(text) = json::text_of(raw) else {
        return alias(raw).filter(|person| asked.contains(person));
    };
    let id = Person::ExternalId(text.as_ref().to_owned());
    if asked.contains(&id) {
        return Some(id);
    }
    let mut called =
        asked.iter().filter(|person| matches!(person, Person::Alias { name, .. } if *name == text));
    called.next().filter(|_| called.next().is_none()).map(|person| (*person).clone())
}

#[cfg(test)]
mod tests;
