//! All users and the indexes that find them. Invariant: an index names a user exactly when the
//! user carries the identifier.

use super::Moment;
use super::identifier::{Identifier, normal_email, normal_phone};
use super::user::{Contacts, User};
use isthmus_core::seam::Random;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// A user's place in the directory; never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UserKey(usize);

/// All users of a workspace.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    slots: Vec<Slot>,
    users: usize,
    by_external_id: HashMap<String, UserKey>,
    /// By label, then by name.
    by_alias: HashMap<String, HashMap<String, UserKey>>,
    by_braze_id: HashMap<String, UserKey>,
    by_email: HashMap<String, Vec<UserKey>>,
    by_phone: HashMap<String, Vec<UserKey>>,
    updates: u64,
    /// How long former versions of a user are kept; zero keeps none.
    lag: Duration,
}

#[derive(Debug, Default)]
struct Slot {
    /// Boxed, because the place of a user who is gone stays.
    user: Option<Box<User>>,
    /// Former versions, each with the time at which it was replaced, oldest first.
    former: VecDeque<(Duration, Option<Box<User>>)>,
}

/// Which of several users with one address is meant: filters, applied one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    Identified,
    Unidentified,
    MostRecentlyUpdated,
    LeastRecentlyUpdated,
}

impl Directory {
    /// An empty directory that can show users as they were up to `lag` ago.
    pub(crate) fn new(lag: Duration) -> Self {
        Self { lag, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.users
    }

    pub(crate) fn get(&self, key: UserKey) -> Option<&User> {
        self.slots.get(key.0)?.user.as_deref()
    }

    /// Users in the order of their creation.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (UserKey, &User)> {
        let with_key = |(at, slot): (usize, &'_ Slot)| (UserKey(at), slot.user.is_some());
        let present = self.slots.iter().enumerate().map(with_key).filter(|(_, present)| *present);
        present.filter_map(|(key, _)| Some((key, self.get(key)?)))
    }

    /// The user as of [`Directory::new`]'s lag ago.
    pub(crate) fn lagging(&self, key: UserKey, now: Moment) -> Option<&User> {
        let slot = self.slots.get(key.0)?;
        let then = now.elapsed.saturating_sub(self.lag);
        let former = slot.former.iter().find(|(replaced_at, _)| *replaced_at > then);
        former.map_or(slot.user.as_deref(), |(_, user)| user.as_deref())
    }

    /// The user to be changed, marked as updated now.
    ///
    /// Identifiers and addresses are changed with the methods for it, which keep the indexes.
    pub(crate) fn edit(&mut self, key: UserKey, now: Moment) -> Option<&mut User> {
        self.remember(key, now);
        self.updates += 1;
        let user = self.slots.get_mut(key.0)?.user.as_deref_mut()?;
        user.updated = self.updates;
        user.updated_at = now.wall;
        Some(user)
    }

    /// Marks the user as updated now, before a change of identifiers.
    pub(crate) fn touch(&mut self, key: UserKey, now: Moment) {
        self.edit(key, now);
    }

    /// Keeps the present version for as long as the lag may ask for it.
    fn remember(&mut self, key: UserKey, now: Moment) {
        if self.lag.is_zero() {
            return;
        }
        let Some(slot) = self.slots.get_mut(key.0) else { return };
        while slot.former.front().is_some_and(|(at, _)| *at + self.lag <= now.elapsed) {
            slot.former.pop_front();
        }
        // Changes at one instant have one version before them.
        if slot.former.back().is_none_or(|(at, _)| *at != now.elapsed) {
            slot.former.push_back((now.elapsed, slot.user.clone()));
        }
    }

    /// The user with this identifier. Among several with one address: the most recently updated
    /// one that has an `external_id`, else the most recently updated one.
    pub(crate) fn find(&self, identifier: &Identifier<'_>) -> Option<UserKey> {
        match identifier {
            Identifier::ExternalId(id) => self.by_external_id.get(id.as_ref()).copied(),
            Identifier::Alias { name, label } => {
                self.by_alias.get(label.as_ref())?.get(name.as_ref()).copied()
            }
            Identifier::BrazeId(id) => self.by_braze_id.get(id.as_ref()).copied(),
            Identifier::Email(_) | Identifier::Phone(_) => {
                let rank = |key: &UserKey| {
                    let user = self.get(*key);
                    user.map(|user| (user.external_id.is_some(), user.updated))
                };
                self.sharing(identifier).iter().copied().max_by_key(rank)
            }
            Identifier::PushToken => None,
        }
    }

    /// Everybody with this email or phone.
    pub(crate) fn sharing(&self, identifier: &Identifier<'_>) -> &[UserKey] {
        let found = match identifier {
            Identifier::Email(address) => self.by_email.get(&normal_email(address)),
            Identifier::Phone(number) => {
                normal_phone(number).and_then(|number| self.by_phone.get(&number))
            }
            _ => None,
        };
        found.map_or(&[], Vec::as_slice)
    }

    /// Those with this email or phone that are left after `priorities`.
    pub(crate) fn prioritised(
        &self,
        identifier: &Identifier<'_>,
        priorities: &[Priority],
    ) -> Vec<UserKey> {
        let mut left = self.sharing(identifier).to_vec();
        let identified = |key: &UserKey| self.get(*key).is_some_and(|u| u.external_id.is_some());
        let updated = |key: &UserKey| self.get(*key).map(|user| user.updated);
        for priority in priorities {
            match priority {
                Priority::Identified => left.retain(identified),
                Priority::Unidentified => left.retain(|key| !identified(key)),
                Priority::MostRecentlyUpdated => {
                    left = left.into_iter().max_by_key(updated).into_iter().collect();
                }
                Priority::LeastRecentlyUpdated => {
                    left = left.into_iter().min_by_key(updated).into_iter().collect();
                }
            }
        }
        left
    }

    /// A new user without any identifier but the one Braze assigns.
    pub(crate) fn create(&mut self, now: Moment, random: &dyn Random) -> UserKey {
        let (high, low) = (random.next_u64(), random.next_u64());
        let braze_id = format!("{high:016x}{:08x}", low >> 32);
        let key = UserKey(self.slots.len());
        self.updates += 1;
        let user = User {
            braze_id: braze_id.clone(),
            created_at: now.wall,
            updated_at: now.wall,
            updated: self.updates,
            ..User::default()
        };
        let mut slot = Slot::default();
        if !self.lag.is_zero() {
            slot.former.push_back((now.elapsed, None));
        }
        slot.user = Some(Box::new(user));
        self.slots.push(slot);
        self.users += 1;
        self.by_braze_id.insert(braze_id, key);
        key
    }

    /// Takes in a user from a snapshot.
    pub(crate) fn restore(&mut self, user: User) {
        let key = UserKey(self.slots.len());
        self.by_braze_id.insert(user.braze_id.clone(), key);
        for id in user.external_id.iter().chain(&user.deprecated_ids) {
            self.by_external_id.insert(id.clone(), key);
        }
        for (label, name) in &user.aliases {
            self.by_alias.entry(label.clone()).or_default().insert(name.clone(), key);
        }
        self.updates = self.updates.max(user.updated);
        let contacts = user.contacts();
        self.slots.push(Slot { user: Some(Box::new(user)), former: VecDeque::new() });
        self.users += 1;
        self.reindex(key, &Contacts::default(), &contacts);
    }

    /// Gives the user an `external_id` that nobody has. A former one stays as deprecated.
    pub(crate) fn set_external_id(&mut self, key: UserKey, id: &str) {
        let Some(user) = self.slots.get_mut(key.0).and_then(|slot| slot.user.as_mut()) else {
            return;
        };
        if let Some(former) = user.external_id.replace(id.to_owned()) {
            user.deprecated_ids.push(former);
        }
        self.by_external_id.insert(id.to_owned(), key);
    }

    /// Forgets a deprecated `external_id`; whether there was one.
    pub(crate) fn remove_deprecated_id(&mut self, id: &str) -> bool {
        let Some(&key) = self.by_external_id.get(id) else { return false };
        let Some(user) = self.slots.get_mut(key.0).and_then(|slot| slot.user.as_mut()) else {
            return false;
        };
        let before = user.deprecated_ids.len();
        user.deprecated_ids.retain(|known| known != id);
        if user.deprecated_ids.len() == before {
            return false;
        }
        self.by_external_id.remove(id);
        true
    }

    /// Gives the user an alias that nobody has, unless the user has one with this label.
    pub(crate) fn add_alias(&mut self, key: UserKey, label: &str, name: &str) -> bool {
        let Some(user) = self.slots.get_mut(key.0).and_then(|slot| slot.user.as_mut()) else {
            return false;
        };
        let names = self.by_alias.entry(label.to_owned()).or_default();
        if user.aliases.contains_key(label) || names.contains_key(name) {
            return false;
        }
        user.aliases.insert(label.to_owned(), name.to_owned());
        names.insert(name.to_owned(), key);
        true
    }

    /// Takes the alias with this label from the user.
    pub(crate) fn remove_alias(&mut self, key: UserKey, label: &str) -> Option<String> {
        let user = self.slots.get_mut(key.0)?.user.as_mut()?;
        let name = user.aliases.remove(label)?;
        if let Some(names) = self.by_alias.get_mut(label) {
            names.remove(&name);
        }
        Some(name)
    }

    /// Brings the address indexes up to date after a change of the user's fields.
    pub(crate) fn contacts_changed(&mut self, key: UserKey, before: &Contacts) {
        let Some(after) = self.get(key).map(User::contacts) else { return };
        self.reindex(key, before, &after);
    }

    fn reindex(&mut self, key: UserKey, before: &Contacts, after: &Contacts) {
        for (index, before, after) in [
            (&mut self.by_email, &before.email, &after.email),
            (&mut self.by_phone, &before.phone, &after.phone),
        ] {
            if before == after {
                continue;
            }
            if let Some(before) = before
                && let Some(keys) = index.get_mut(before)
            {
                keys.retain(|known| *known != key);
                if keys.is_empty() {
                    index.remove(before);
                }
            }
            if let Some(after) = after {
                index.entry(after.clone()).or_default().push(key);
            }
        }
    }

    /// Removes a user and everything that finds it.
    pub(crate) fn remove(&mut self, key: UserKey, now: Moment) -> Option<User> {
        self.remember(key, now);
        let user = self.slots.get_mut(key.0)?.user.take()?;
        self.users -= 1;
        self.by_braze_id.remove(&user.braze_id);
        for id in user.external_id.iter().chain(&user.deprecated_ids) {
            self.by_external_id.remove(id);
        }
        for (label, name) in &user.aliases {
            if let Some(names) = self.by_alias.get_mut(label) {
                names.remove(name);
            }
        }
        self.reindex(key, &user.contacts(), &Contacts::default());
        Some(*user)
    }
}
