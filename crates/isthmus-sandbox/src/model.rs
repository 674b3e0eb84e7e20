//! Braze without HTTP: one workspace, its users, and what requests do to them.
//!
//! A workspace is told what time it is and does no I/O. Requests that take effect later wait in
//! it; whoever looks at it lets it catch up first, so no task runs in the background.

mod attribute;
mod audit;
mod counters;
mod currency;
mod directory;
mod ecommerce;
mod export;
mod happening;
mod history;
mod identifier;
mod identity;
mod instant;
mod pending;
mod properties;
mod standard;
mod track;
mod user;

pub use audit::AuditEntry;
pub use counters::{Counters, DataPoints};
pub use history::{Occurrence, OccurrenceKind};

pub(crate) use directory::{Directory, Priority, UserKey};
pub(crate) use export::{Lookup, profile, summary};
pub(crate) use happening::Happening;
pub(crate) use identifier::{Identifier, Identifying, Reason, alias, external_id};
pub(crate) use identity::{AliasRename, IdRename, Identify, Selector};
pub(crate) use instant::parse as parse_time;
pub(crate) use pending::Effect;
pub(crate) use standard::is_standard;
pub(crate) use track::{Array, Body, Checked, Spot, Unusable};
pub(crate) use user::{Tally, User};

use crate::config::{Keep, SandboxConfig};
use attribute::Dropped;
use audit::Audit;
use happening::Happenings;
use history::History;
use isthmus_core::Timestamp;
use isthmus_core::json;
use isthmus_core::seam::Random;
use pending::Pending;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use track::{Attributes, Event, Purchase, Who};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What time it is: for people, and for measuring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) wall: Timestamp,
    pub(crate) elapsed: Duration,
}

/// One Braze workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    config: Arc<SandboxConfig>,
    random: Arc<dyn Random>,
    directory: Directory,
    history: History,
    happenings: Happenings,
    audit: Audit,
    counters: Counters,
    pending: Pending,
    keep: Keep,
    uid_property: Option<String>,
    apply_delay: Duration,
    apply_jitter: Duration,
}

impl Workspace {
    /// An empty workspace, which rings `bell` when there is something to hear or to wait for.
    pub(crate) fn new(
        config: Arc<SandboxConfig>,
        random: Arc<dyn Random>,
        bell: Arc<Notify>,
    ) -> Self {
        let (keep, uid_property) = (config.keep, config.uid_property.clone());
        Self {
            directory: Directory::new(config.export_lag),
            history: History::new(keep, config.occurrences_kept, config.occurrences_kept_per_user),
            happenings: Happenings::new(bell),
            audit: Audit::new(config.audit_kept),
            counters: Counters::default(),
            pending: Pending::default(),
            keep,
            uid_property,
            apply_delay: config.apply_delay,
            apply_jitter: config.apply_jitter,
            config,
            random,
        }
    }

    /// Forgets everything, requests that wait included; keeps as much as `keep` says from now on.
    pub(crate) fn reset(&mut self, keep: Keep, uid_property: Option<String>) {
        let (delay, jitter) = (self.apply_delay, self.apply_jitter);
        let happenings = std::mem::take(&mut self.happenings).emptied();
        *self = Self::new(self.config.clone(), self.random.clone(), Arc::default());
        self.happenings = happenings;
        self.set_lag(delay, jitter);
        let config = &self.config;
        self.history =
            History::new(keep, config.occurrences_kept, config.occurrences_kept_per_user);
        (self.keep, self.uid_property) = (keep, uid_property);
    }

    /// Takes in users and counters from a snapshot; only right after [`Self::new`].
    pub(crate) fn restore(&mut self, users: Vec<User>, counters: Counters) {
        for user in users {
            self.directory.restore(user);
        }
        self.counters = counters;
    }

    pub(crate) fn keep(&self) -> Keep {
        self.keep
    }

    pub(crate) fn uid_property(&self) -> Option<&str> {
        self.uid_property.as_deref()
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn audit(&self) -> impl DoubleEndedIterator<Item = &AuditEntry> {
        self.audit.entries()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Whether somebody wants to hear of events and purchases.
    pub(crate) fn listen(&mut self, is_heard: bool) {
        self.happenings.listen(is_heard);
    }

    /// Events and purchases that nobody heard of yet, in the order in which they were applied.
    pub(crate) fn take_happenings(&mut self) -> Vec<Happening> {
        self.happenings.take()
    }

    /// Events and purchases that nobody will hear of, as too many waited.
    pub(crate) fn overlooked(&self) -> u64 {
        self.happenings.overlooked()
    }

    /// When the next request takes effect, if that is of interest to anybody.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.pending.next_due().filter(|_| self.happenings.is_heard())
    }

    /// Sets a subscription state of a user, who may be gone, to unsubscribed.
    pub(crate) fn unsubscribe(&mut self, key: UserKey, field: &str, now: Moment) {
        self.set_field(key, field, "unsubscribed", now);
    }

    /// Requests that wait to take effect.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Applies what is due.
    pub(crate) fn catch_up(&mut self, now: Moment) {
        while let Some(effect) = self.pending.due(now.elapsed) {
            self.apply(effect, now);
        }
    }

    /// Applies everything that was answered, due or not.
    pub(crate) fn settle(&mut self, now: Moment) {
        while let Some(effect) = self.pending.next() {
            self.apply(effect, now);
        }
    }

    /// How long after its answer a request takes effect: at least, and up to this much more.
    pub(crate) fn lag(&self) -> (Duration, Duration) {
        (self.apply_delay, self.apply_jitter)
    }

    /// Changes that for requests to come; those that wait keep their time.
    pub(crate) fn set_lag(&mut self, apply_delay: Duration, apply_jitter: Duration) {
        (self.apply_delay, self.apply_jitter) = (apply_delay, apply_jitter);
    }

    /// Whether a request would take effect before it is answered.
    pub(crate) fn applies_at_once(&self) -> bool {
        self.apply_delay.is_zero() && self.apply_jitter.is_zero()
    }

    /// Lets a request take effect: now, or after the delay that is asked for.
    pub(crate) fn submit(&mut self, effect: Effect, now: Moment) {
        self.catch_up(now);
        if self.applies_at_once() {
            self.apply(effect, now);
            return;
        }
        let jitter = u64::try_from(self.apply_jitter.as_millis()).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(self.random.below(jitter.saturating_add(1)));
        let due = now.elapsed.saturating_add(self.apply_delay).saturating_add(jitter);
        self.pending.push(due, effect);
        self.happenings.ring();
    }

    fn apply(&mut self, effect: Effect, now: Moment) {
        match effect {
            Effect::Track { body, received_at, refused } => {
                let Ok(body) = Body::read(&body) else { return };
                let listed = |spot: &Spot<'_>| {
                    let place = (spot.array, spot.index);
                    refused.binary_search(&place).is_ok().then_some(Reason::Borrowed("refused"))
                };
                let checked = body.check(received_at, listed);
                self.track(&checked, now);
            }
            Effect::Identify(entries) => {
                for entry in entries {
                    self.identify(&entry, now);
                }
            }
            Effect::AliasNew(entries) => {
                for (external_id, label, name) in entries {
                    self.alias_new(external_id.as_deref(), &label, &name, now);
                }
            }
            Effect::AliasUpdate(renames) => {
                for rename in renames {
                    self.alias_update(&rename, now);
                }
            }
            Effect::Merge(mut pairs) => {
                // The order inside a request is not guaranteed.
                while !pairs.is_empty() {
                    let at = usize::try_from(self.random.below(pairs.len() as u64)).unwrap_or(0);
                    let (source, target) = pairs.swap_remove(at);
                    self.merge(&source, &target, now);
                }
            }
            Effect::RemoveMerged(key) => drop(self.directory.remove(key, now)),
            Effect::Delete(selectors) => {
                for selector in selectors {
                    self.delete(&selector, now);
                }
            }
        }
    }

    /// Applies checked objects: attributes, then events, then purchases.
    pub(crate) fn track(&mut self, checked: &Checked<'_>, now: Moment) {
        for attributes in &checked.attributes {
            self.write_attributes(attributes, now);
        }
        for event in &checked.events {
            self.count_event(event, now);
        }
        for purchase in &checked.purchases {
            self.count_purchase(purchase, now);
        }
    }

    /// Finds the user, or creates one where the object asks for it.
    fn resolve(&mut self, who: &Who<'_>, now: Moment) -> Option<UserKey> {
        if let Some(key) = self.directory.find(&who.identifier) {
            return Some(key);
        }
        if !who.creates() {
            self.note(now, "update-only object for an unknown user", &who.identifier, "");
            return None;
        }
        let key = self.directory.create(now, self.random.as_ref());
        self.counters.users_created += 1;
        match &who.identifier {
            Identifier::ExternalId(id) => self.directory.set_external_id(key, id),
            Identifier::Alias { name, label } => {
                self.directory.add_alias(key, label, name);
            }
            Identifier::Email(address) => self.set_field(key, "email", address, now),
            Identifier::Phone(number) => self.set_field(key, "phone", number, now),
            Identifier::BrazeId(_) | Identifier::PushToken => {}
        }
        Some(key)
    }

    fn set_field(&mut self, key: UserKey, field: &str, text: &str, now: Moment) {
        let Some(user) = self.directory.edit(key, now) else { return };
        let before = user.contacts();
        user.standard.insert(field.to_owned(), Value::from(text));
        self.directory.contacts_changed(key, &before);
    }

    /// Records something that Braze does without telling.
    fn note(&mut self, now: Moment, what: &str, who: &dyn std::fmt::Display, detail: &str) {
        self.counters.ignored += 1;
        self.audit.push(now.wall, what, who, detail);
    }

    fn write_attributes(&mut self, object: &Attributes<'_>, now: Moment) {
        if self.keep == Keep::Counts {
            let points = attribute::Points::try_from(object.members.len()).unwrap_or(0);
            self.counters.data_points.attributes += points;
            return;
        }
        let Some(key) = self.resolve(&object.who, now) else { return };
        let Some(user) = self.directory.edit(key, now) else { return };
        let before = user.contacts();
        let mut points = 0;
        let mut dropped = Vec::new();
        for (name, raw) in &object.members {
            let written = match serde_json::from_str::<Value>(raw) {
                Ok(value) if standard::is_standard(name) => {
                    standard::write(user, name, value).unwrap_or(Ok(0))
                }
                Ok(value) => attribute::write(&mut user.custom, name, value, object.merge_objects),
                Err(_) => Err(Dropped("nested too deep")),
            };
            match written {
                Ok(cost) => points += cost,
                Err(Dropped(why)) => dropped.push((why, name)),
            }
        }
        user.data_points += points;
        let groups = object.members.iter().any(|(name, _)| name == "subscription_groups");
        self.counters.data_points.attributes += points;
        self.directory.contacts_changed(key, &before);
        if groups {
            self.share_subscriptions(key, now);
        }
        for (why, name) in dropped {
            self.note(now, why, &object.who.identifier, name);
        }
    }

    /// Subscription groups belong to an address: whoever shares the email shares the states.
    fn share_subscriptions(&mut self, key: UserKey, now: Moment) {
        let Some(user) = self.directory.get(key) else { return };
        let groups = user.subscription_groups.clone();
        let Some(email) = user.contacts().email else { return };
        let others = self.directory.sharing(&Identifier::Email(email.into())).to_vec();
        for other in others.into_iter().filter(|other| *other != key) {
            if let Some(other) = self.directory.edit(other, now) {
                other.subscription_groups.extend(groups.clone());
            }
        }
    }

    fn count_event(&mut self, event: &Event<'_>, now: Moment) {
        let properties = event.properties.json.as_ref();
        self.fingerprint(&event.who, &event.name, event.time, properties);
        // Recommended e-commerce events cost nothing.
        let cost = u64::from(event.recommended.is_none());
        self.counters.data_points.events += cost;
        if !self.history.keeps() {
            return;
        }
        let Some(key) = self.resolve(&event.who, now) else { return };
        let names_max = self.config.names_per_user_max;
        let Some(user) = self.directory.edit(key, now) else { return };
        if user.events.len() >= names_max && !user.events.contains_key(event.name.as_ref()) {
            self.note(now, "user has too many event names", &event.who.identifier, &event.name);
            return;
        }
        user::count(&mut user.events, &event.name, 1, event.time);
        user.data_points += cost;
        if let Some(recommended) = event.recommended {
            recommended.apply(user, properties);
        }
        self.counters.events_applied += 1;
        if event.properties.passed_over > 0 {
            let what = "properties passed over: longer than 255 characters, or beyond the 256th";
            self.note(now, what, &event.who.identifier, &event.name);
        }
        let occurrence = Occurrence {
            sequence: 0,
            kind: OccurrenceKind::Event,
            name: event.name.clone().into_owned(),
            time: event.time.to_string(),
            app_id: event.app_id.as_deref().map(str::to_owned),
            price: None,
            quantity: 1,
            properties: properties.to_owned(),
        };
        self.happenings.push(key, event.time, &occurrence);
        self.history.push(key, occurrence);
    }

    /// Counts repeats and unique ids, and folds the event into the checksum.
    fn fingerprint(&mut self, who: &Who<'_>, name: &str, time: Timestamp, properties: &str) {
        let mut print = who.identifier.fingerprint();
        print = xxh3_64_with_seed(name.as_bytes(), print);
        print = xxh3_64_with_seed(&time.as_millis().to_le_bytes(), print);
        print = xxh3_64_with_seed(properties.as_bytes(), print);
        self.counters.events_checksum = self.counters.events_checksum.wrapping_add(print);
        if self.history.is_repeat(print) {
            self.counters.events_repeated += 1;
        }
        if let Some(property) = &self.uid_property
            && let Some(uid) = json::member(properties, property)
        {
            let text = json::text_of(uid);
            if self.history.note_uid(text.as_deref().unwrap_or(uid)) {
                self.counters.uids_repeated += 1;
            } else {
                self.counters.uids += 1;
            }
        }
    }

    fn count_purchase(&mut self, purchase: &Purchase<'_>, now: Moment) {
        let quantity = u64::from(purchase.quantity);
        self.counters.data_points.purchases += quantity;
        if !self.history.keeps() {
            return;
        }
        let Some(key) = self.resolve(&purchase.who, now) else { return };
        let names_max = self.config.names_per_user_max;
        let Some(user) = self.directory.edit(key, now) else { return };
        let product = purchase.product_id.as_ref();
        if user.purchases.len() >= names_max && !user.purchases.contains_key(product) {
            self.note(now, "user has too many products", &purchase.who.identifier, product);
            return;
        }
        user::count(&mut user.purchases, product, quantity, purchase.time);
        user.revenue += purchase.price * f64::from(purchase.quantity);
        user.data_points += quantity;
        self.counters.purchases_applied += 1;
        let occurrence = Occurrence {
            sequence: 0,
            kind: OccurrenceKind::Purchase,
            name: product.to_owned(),
            time: purchase.time.to_string(),
            app_id: purchase.app_id.as_deref().map(str::to_owned),
            price: Some((purchase.price, purchase.currency.clone().into_owned())),
            quantity: purchase.quantity,
            properties: purchase.properties.json.clone().into_owned(),
        };
        self.happenings.push(key, purchase.time, &occurrence);
        self.history.push(key, occurrence);
    }
}

#[cfg(test)]
mod tests;
