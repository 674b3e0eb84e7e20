//! Who is who: identify, aliases, merges, deletion, renames.
//!
//! What cannot be done is silently left undone, as Braze does, and noted in the audit list.
//! Source: "Identify users", "Merge users", Braze documentation, read 2026-09.

use super::directory::{Priority, UserKey};
use super::identifier::Identifier;
use super::pending::Effect;
use super::user::User;
use super::{Moment, Workspace};
use std::collections::BTreeMap;

/// Fields that a merge copies where the target has none.
const MERGED_FIELDS: [&str; 10] = [
    "first_name",
    "last_name",
    "email",
    "gender",
    "dob",
    "phone",
    "time_zone",
    "home_city",
    "country",
    "language",
];

/// A user as a request names one.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    pub(crate) identifier: Identifier<'static>,
    /// For emails and phones.
    pub(crate) priorities: Vec<Priority>,
}

/// An alias, email or phone whose user is to become the one with `external_id`.
#[derive(Debug, Clone)]
pub(crate) struct Identify {
    pub(crate) source: Selector,
    pub(crate) external_id: String,
    /// Whether the source's fields move to a target that exists already.
    pub(crate) merges: bool,
}

/// A new name for an alias.
#[derive(Debug, Clone)]
pub(crate) struct AliasRename {
    pub(crate) label: String,
    pub(crate) old_name: String,
    pub(crate) new_name: String,
}

/// A new `external_id`.
#[derive(Debug, Clone)]
pub(crate) struct IdRename {
    pub(crate) current: String,
    pub(crate) new: String,
}

impl Workspace {
    /// The one user that a selector leaves; none when it leaves several.
    fn select(&self, selector: &Selector) -> Option<UserKey> {
        match &selector.identifier {
            Identifier::Email(_) | Identifier::Phone(_) => {
                let left = self.directory.prioritised(&selector.identifier, &selector.priorities);
                match left.as_slice() {
                    [only] => Some(*only),
                    _ => None,
                }
            }
            other => self.directory.find(other),
        }
    }

    pub(super) fn identify(&mut self, entry: &Identify, now: Moment) {
        let Some(source) = self.select(&entry.source) else {
            self.note(now, "identify: no single user", &entry.source.identifier, "");
            return;
        };
        if self.directory.get(source).is_some_and(|user| user.external_id.is_some()) {
            self.note(now, "identify: already identified", &entry.source.identifier, "");
            return;
        }
        let target = Identifier::ExternalId(entry.external_id.as_str().into());
        let Some(target) = self.directory.find(&target) else {
            self.directory.touch(source, now);
            self.directory.set_external_id(source, &entry.external_id);
            return;
        };
        if let Identifier::Alias { label, .. } = &entry.source.identifier
            && self.has_alias(target, label)
        {
            self.note(
                now,
                "identify: target has an alias with this label",
                &entry.source.identifier,
                &entry.external_id,
            );
            return;
        }
        self.join(source, target, entry.merges, now);
    }

    fn has_alias(&self, key: UserKey, label: &str) -> bool {
        self.directory.get(key).is_some_and(|user| user.aliases.contains_key(label))
    }

    pub(super) fn merge(&mut self, source: &Selector, target: &Selector, now: Moment) {
        let (Some(from), Some(to)) = (self.select(source), self.select(target)) else {
            self.note(
                now,
                "merge: no single user",
                &source.identifier,
                &target.identifier.to_string(),
            );
            return;
        };
        if from == to {
            self.note(now, "merge: the same user twice", &source.identifier, "");
            return;
        }
        let invalid = |key| self.directory.get(key).is_some_and(User::has_invalid_phone);
        if invalid(from) && invalid(to) {
            self.note(now, "merge: both phone numbers are invalid", &source.identifier, "");
            return;
        }
        self.join(from, to, true, now);
    }

    /// Moves everything of `from` to `to` and removes `from`, at once or after lingering.
    fn join(&mut self, from: UserKey, to: UserKey, fields: bool, now: Moment) {
        let Some(source) = self.directory.get(from).cloned() else { return };
        for (label, name) in source.aliases.clone() {
            if !self.has_alias(to, &label) {
                self.directory.remove_alias(from, &label);
                self.directory.add_alias(to, &label, &name);
            }
        }
        let Some(target) = self.directory.edit(to, now) else { return };
        let before = target.contacts();
        if fields {
            fold(target, source);
        } else {
            target.push_tokens.extend(source.push_tokens);
        }
        self.directory.contacts_changed(to, &before);
        if fields {
            self.history.merge(from, to);
        } else {
            self.history.remove(from);
        }
        self.counters.users_merged += 1;
        if self.config.merge_linger.is_zero() {
            drop(self.directory.remove(from, now));
        } else {
            let due = now.elapsed + self.config.merge_linger;
            self.pending.push(due, Effect::RemoveMerged(from));
        }
    }

    pub(super) fn alias_new(
        &mut self,
        external_id: Option<&str>,
        label: &str,
        name: &str,
        now: Moment,
    ) {
        let alias = Identifier::Alias { name: name.into(), label: label.into() };
        if self.directory.find(&alias).is_some() {
            self.note(now, "alias is in use", &alias, "");
            return;
        }
        let key = match external_id {
            None => {
                self.counters.users_created += 1;
                Some(self.directory.create(now, self.random.as_ref()))
            }
            Some(id) => self.directory.find(&Identifier::ExternalId(id.into())),
        };
        let Some(key) = key else {
            self.note(now, "alias for an unknown external_id", &alias, external_id.unwrap_or(""));
            return;
        };
        // Marks the change first, so that a lagging export still shows the user without it.
        self.directory.touch(key, now);
        if !self.directory.add_alias(key, label, name) {
            self.note(now, "user has an alias with this label", &alias, "");
        }
    }

    pub(super) fn alias_update(&mut self, rename: &AliasRename, now: Moment) {
        let alias = |name: &str| Identifier::Alias {
            name: name.to_owned().into(),
            label: rename.label.clone().into(),
        };
        let old = alias(&rename.old_name);
        let taken = self.directory.find(&alias(&rename.new_name)).is_some();
        match self.directory.find(&old) {
            Some(key) if !taken => {
                self.directory.touch(key, now);
                self.directory.remove_alias(key, &rename.label);
                self.directory.add_alias(key, &rename.label, &rename.new_name);
            }
            Some(_) => self.note(now, "alias update: new name is in use", &old, &rename.new_name),
            None => self.note(now, "alias update: unknown alias", &old, &rename.new_name),
        }
    }

    pub(super) fn delete(&mut self, selector: &Selector, now: Moment) {
        let Some(key) = self.select(selector) else {
            self.note(now, "delete: no single user", &selector.identifier, "");
            return;
        };
        drop(self.directory.remove(key, now));
        self.history.remove(key);
        self.counters.users_deleted += 1;
    }

    /// Renames an `external_id`; the former one becomes deprecated.
    pub(crate) fn rename(&mut self, rename: &IdRename, now: Moment) -> Result<(), &'static str> {
        let find = |id: &str| Identifier::ExternalId(id.to_owned().into());
        let key = self.directory.find(&find(&rename.current));
        let key = key.ok_or("current_external_id does not exist")?;
        let primary = self.directory.get(key).and_then(|user| user.external_id.as_deref());
        if primary != Some(rename.current.as_str()) {
            return Err("current_external_id is deprecated");
        }
        if self.directory.find(&find(&rename.new)).is_some() {
            return Err("new_external_id is already in use");
        }
        self.directory.touch(key, now);
        self.directory.set_external_id(key, &rename.new);
        Ok(())
    }

    /// Forgets a deprecated `external_id`; whether there was one.
    pub(crate) fn remove_deprecated(&mut self, id: &str) -> bool {
        self.directory.remove_deprecated_id(id)
    }
}

/// Folds what `source` has into `target`, which wins where both have something.
fn fold(target: &mut User, source: User) {
    for (name, value) in source.standard {
        if MERGED_FIELDS.contains(&name.as_str()) {
            target.standard.entry(name).or_insert(value);
        }
    }
    for (name, value) in source.custom {
        target.custom.entry(name).or_insert(value);
    }
    for (tallies, others) in
        [(&mut target.events, source.events), (&mut target.purchases, source.purchases)]
    {
        for (name, tally) in others {
            tallies.entry(name).and_modify(|known| known.add(tally)).or_insert(tally);
        }
    }
    target.revenue += source.revenue;
    target.refunds += source.refunds;
    target.orders += source.orders;
    target.data_points += source.data_points;
    let carts: BTreeMap<_, _> = source.carts;
    for (id, cart) in carts {
        target.carts.entry(id).or_insert(cart);
    }
    target.push_tokens.extend(source.push_tokens);
}
