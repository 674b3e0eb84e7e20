//! One user profile.

use super::identifier::{normal_email, normal_phone};
use super::instant::millis;
use isthmus_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A profile: identifiers, fields, attributes, and summaries of what the user did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) braze_id: String,
    pub(crate) external_id: Option<String>,
    /// Former `external_id`s, which still find the user.
    pub(crate) deprecated_ids: Vec<String>,
    /// Alias names by label.
    pub(crate) aliases: BTreeMap<String, String>,
    /// Standard fields, email and phone among them.
    pub(crate) standard: Map<String, Value>,
    pub(crate) custom: Map<String, Value>,
    /// States by subscription group id.
    pub(crate) subscription_groups: BTreeMap<String, String>,
    pub(crate) push_tokens: Vec<Value>,
    /// By event name.
    pub(crate) events: BTreeMap<String, Tally>,
    /// By product id.
    pub(crate) purchases: BTreeMap<String, Tally>,
    /// Purchases and orders minus refunds; currencies are added up as they are.
    pub(crate) revenue: f64,
    pub(crate) orders: i64,
    pub(crate) refunds: f64,
    /// Properties of the last update of each cart.
    pub(crate) carts: BTreeMap<String, Value>,
    pub(crate) data_points: u64,
    #[serde(with = "millis")]
    pub(crate) created_at: Timestamp,
    #[serde(with = "millis")]
    pub(crate) updated_at: Timestamp,
    /// Grows with every change of any user: tells which of two was updated later.
    pub(crate) updated: u64,
}

/// How often something happened, and when first and last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    #[serde(with = "millis")]
    pub(crate) first: Timestamp,
    #[serde(with = "millis")]
    pub(crate) last: Timestamp,
}

impl Tally {
    /// Adds `count` occurrences between `first` and `last`.
    pub(crate) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// Counts `count` occurrences of `name` at `at`.
pub(crate) fn count(tallies: &mut BTreeMap<String, Tally>, name: &str, count: u64, at: Timestamp) {
    let new = Tally { count, first: at, last: at };
    match tallies.get_mut(name) {
        Some(tally) => tally.add(new),
        None => drop(tallies.insert(name.to_owned(), new)),
    }
}

/// Addresses by which a user without an identifier is found; several users may share one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contacts {
    /// In lower case.
    pub(crate) email: Option<String>,
    /// With `+` and digits only.
    pub(crate) phone: Option<String>,
}

impl User {
    pub(crate) fn contacts(&self) -> Contacts {
        let text = |key: &str| self.standard.get(key).and_then(Value::as_str);
        Contacts {
            email: text("email").map(normal_email),
            phone: text("phone").and_then(normal_phone),
        }
    }

    /// Whether the phone field holds something that is no phone number.
    pub(crate) fn has_invalid_phone(&self) -> bool {
        self.standard.contains_key("phone") && self.contacts().phone.is_none()
    }

    /// How people call the user: the first identifier there is.
    pub(crate) fn label(&self) -> String {
        if let Some(id) = &self.external_id {
            return id.clone();
        }
        if let Some((label, name)) = self.aliases.first_key_value() {
            return format!("{label}:{name}");
        }
        let contact = ["email", "phone"].iter().find_map(|key| self.standard.get(*key)?.as_str());
        contact.unwrap_or(&self.braze_id).to_owned()
    }
}
