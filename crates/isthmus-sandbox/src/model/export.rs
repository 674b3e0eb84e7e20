//! What `/users/export/ids` tells about a user. What has no value is left out.

use super::directory::UserKey;
use super::identifier::Identifier;
use super::user::{Tally, User};
use super::{Moment, Workspace};
use isthmus_core::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Summaries cover this much of the past.
const SUMMARY_SPAN: Duration = Duration::from_hours(90 * 24);

/// Whom an export asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// By an identifier; everybody who shares it, for an email or a phone.
    Identifier(Identifier<'static>),
    Device(String),
}

impl Workspace {
    /// The user with this key as an export shows it: as of the export lag ago, and with `fields`
    /// only unless there are none.
    pub(crate) fn exported(
        &self,
        key: UserKey,
        fields: Option<&[String]>,
        now: Moment,
    ) -> Option<Value> {
        let user = self.directory.lagging(key, now)?;
        let mut exported = profile(user, Some(now.wall));
        if let Some(fields) = fields {
            exported.retain(|name, _| fields.iter().any(|field| field == name));
        }
        Some(Value::Object(exported))
    }

    /// Everybody that a lookup finds.
    pub(crate) fn look_up(&self, lookup: &Lookup) -> Vec<UserKey> {
        match lookup {
            Lookup::Identifier(identifier @ (Identifier::Email(_) | Identifier::Phone(_))) => {
                self.directory.sharing(identifier).to_vec()
            }
            Lookup::Identifier(identifier) => self.directory.find(identifier).into_iter().collect(),
            Lookup::Device(id) => {
                let has = |user: &User| {
                    let mut ids =
                        user.push_tokens.iter().filter_map(|token| token.get("device_id"));
                    ids.any(|known| known == id.as_str())
                };
                let users = self.directory.iter().filter(|(_, user)| has(user));
                users.map(|(key, _)| key).collect()
            }
        }
    }
}

/// A user as JSON. Event and purchase summaries reach back 90 days from `now`, or to the
/// beginning without one.
pub(crate) fn profile(user: &User, now: Option<Timestamp>) -> Map<String, Value> {
    let mut out = user.standard.clone();
    let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    put("braze_id", json!(user.braze_id));
    put("created_at", json!(user.created_at.to_string()));
    if let Some(id) = &user.external_id {
        put("external_id", json!(id));
    }
    if !user.aliases.is_empty() {
        let alias = |(label, name)| json!({ "alias_name": name, "alias_label": label });
        put("user_aliases", user.aliases.iter().map(alias).collect());
    }
    if !user.custom.is_empty() {
        put("custom_attributes", Value::Object(user.custom.clone()));
    }
    for (name, tallies) in [("custom_events", &user.events), ("purchases", &user.purchases)] {
        let summaries = summaries(tallies, now);
        if !summaries.is_empty() {
            put(name, Value::Array(summaries));
        }
    }
    if user.revenue != 0.0 {
        put("total_revenue", json!(user.revenue));
    }
    if !user.push_tokens.is_empty() {
        put("push_tokens", json!(user.push_tokens));
    }
    if !user.subscription_groups.is_empty() {
        let group =
            |(id, state)| json!({ "subscription_group_id": id, "subscription_state": state });
        put("subscription_groups", user.subscription_groups.iter().map(group).collect());
    }
    out
}

fn summaries(tallies: &BTreeMap<String, Tally>, now: Option<Timestamp>) -> Vec<Value> {
    let recent = |tally: &Tally| now.is_none_or(|now| now.since(tally.last) <= SUMMARY_SPAN);
    let recent = tallies.iter().filter(|(_, tally)| recent(tally));
    recent.map(|(name, tally)| summary("name", name, *tally)).collect()
}

/// `{name, first, last, count}`, with the name under `key`.
pub(crate) fn summary(key: &str, name: &str, tally: Tally) -> Value {
    let (first, last) = (tally.first.to_string(), tally.last.to_string());
    json!({ key: name, "first": first, "last": last, "count": tally.count })
}
