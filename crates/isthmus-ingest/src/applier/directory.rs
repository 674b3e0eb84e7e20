//! The applier's view of state: what was used lately in memory, what changed until the commit.

use super::recent::Recent;
use isthmus_core::{AmplitudeId, Timestamp};
use isthmus_state::cursor::{ApplierCursor, Cursors};
use isthmus_state::groups::Groups;
use isthmus_state::people::{IdKind, People, Person};
use isthmus_state::seen::{EventKey, Seen};
use isthmus_state::{State, StateError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Ids kept in memory per generation: about 150 bytes each.
const IDS_RECENT: usize = 400_000;
/// Persons kept in memory per generation: about 600 bytes each with a common profile.
const PERSONS_RECENT: usize = 200_000;

/// Reads through to state and gathers writes for one atomic commit.
pub(super) struct Directory {
    state: State,
    people: People,
    groups: Groups,
    seen: Seen,
    cursors: Cursors,
    ids: Recent<Box<[u8]>, AmplitudeId>,
    persons: Recent<AmplitudeId, Person>,
    /// Persons that differ from state; each is in `persons`.
    changed: BTreeSet<AmplitudeId>,
    /// Links that state does not have yet; each is in `ids`.
    linked: Vec<(String, IdKind, String, AmplitudeId)>,
    /// Sightings that state does not have yet.
    sighted: HashMap<EventKey, Timestamp>,
    /// Group properties that state does not have yet.
    regrouped: BTreeMap<(String, String, String), String>,
    key: Vec<u8>,
    pub(super) cursor: ApplierCursor,
}

impl Directory {
    /// Opens `state`; on a new one, an event seen again within `window` is a duplicate. An older
    /// one goes on by its own window until [`Self::set_window`].
    pub(super) fn open(state: &State, window: Duration) -> Result<Self, StateError> {
        let cursors = Cursors::open(state)?;
        // Ids start above zero so that a missing one is recognisable.
        let fresh = ApplierCursor { next_amplitude_id: 1, ..ApplierCursor::default() };
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let fresh = ApplierCursor { dedup_window_millis: millis, ..fresh };
        let cursor = cursors.applier()?.unwrap_or(fresh);
        let window = Duration::from_millis(cursor.dedup_window_millis);
        Ok(Self {
            people: People::open(state)?,
            groups: Groups::open(state)?,
            seen: Seen::open(state, window)?,
            cursor,
            cursors,
            state: state.clone(),
            ids: Recent::new(IDS_RECENT),
            persons: Recent::new(PERSONS_RECENT),
            changed: BTreeSet::new(),
            linked: Vec::new(),
            sighted: HashMap::new(),
            regrouped: BTreeMap::new(),
            key: Vec::new(),
        })
    }

    /// From now on, an event seen again within `window` is a duplicate.
    pub(super) fn set_window(&mut self, window: Duration) {
        self.cursor.dedup_window_millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.seen.set_window(window);
    }

    /// The person that `id` leads to, merges followed.
    pub(super) fn find(
        &mut self,
        project: &str,
        kind: IdKind,
        id: &str,
    ) -> Result<Option<AmplitudeId>, StateError> {
        fill_key(&mut self.key, project, kind, id);
        let found = match self.ids.get(self.key.as_slice()) {
            Some(person) => *person,
            None => match self.people.find(project, kind, id)? {
                Some(person) => {
                    self.ids.insert(self.key.as_slice().into(), person);
                    person
                }
                None => return Ok(None),
            },
        };
        self.canonical(found).map(Some)
    }

    /// Makes `id` lead to `person` from now on.
    pub(super) fn link(&mut self, project: &str, kind: IdKind, id: &str, person: AmplitudeId) {
        fill_key(&mut self.key, project, kind, id);
        self.ids.insert(self.key.as_slice().into(), person);
        self.linked.push((project.to_owned(), kind, id.to_owned(), person));
    }

    /// A new person of `project`.
    pub(super) fn create(&mut self, project: &str) -> AmplitudeId {
        let id = AmplitudeId(self.cursor.next_amplitude_id);
        self.cursor.next_amplitude_id += 1;
        self.persons.insert(id, Person { project: project.to_owned(), ..Person::default() });
        self.changed.insert(id);
        id
    }

    /// What is known of `id`.
    pub(super) fn person(&mut self, id: AmplitudeId) -> Result<&Person, StateError> {
        self.load(id).map(|person| &*person)
    }

    /// What is known of `id`, to be changed.
    pub(super) fn person_mut(&mut self, id: AmplitudeId) -> Result<&mut Person, StateError> {
        self.changed.insert(id);
        self.load(id)
    }

    fn load(&mut self, id: AmplitudeId) -> Result<&mut Person, StateError> {
        if self.persons.get(&id).is_none() {
            let person = self.people.get(id)?.ok_or_else(|| StateError::Malformed {
                what: "person",
                reason: format!("an id leads to person {id}, who is not there"),
            })?;
            self.persons.insert(id, person);
        }
        Ok(self.persons.get(&id).expect("it was there or has just been inserted"))
    }

    fn canonical(&mut self, id: AmplitudeId) -> Result<AmplitudeId, StateError> {
        let mut id = id;
        // Only anonymous persons are merged, into known ones, so a chain has one link; the bound
        // keeps a damaged state from looping.
        for _ in 0..8 {
            match self.person(id)?.merged_into {
                Some(into) => id = into,
                None => break,
            }
        }
        Ok(id)
    }

    /// Notes an event; returns false when it was seen before within the window.
    pub(super) fn first_sight(&mut self, key: EventKey, at: Timestamp) -> Result<bool, StateError> {
        let known = match self.sighted.get(&key) {
            Some(first) => self.seen.counts(*first, at),
            None => self.seen.first_seen(key, at)?.is_some(),
        };
        if known {
            return Ok(false);
        }
        self.sighted.insert(key, at);
        Ok(true)
    }

    /// The properties of a group as one raw JSON object.
    pub(super) fn group(
        &self,
        project: &str,
        group_type: &str,
        name: &str,
    ) -> Result<Option<String>, StateError> {
        let key = (project.to_owned(), group_type.to_owned(), name.to_owned());
        match self.regrouped.get(&key) {
            Some(properties) => Ok(Some(properties.clone())),
            None => self.groups.get(project, group_type, name),
        }
    }

    /// Replaces the properties of a group.
    pub(super) fn set_group(
        &mut self,
        project: &str,
        group_type: &str,
        name: &str,
        properties: String,
    ) {
        let key = (project.to_owned(), group_type.to_owned(), name.to_owned());
        self.regrouped.insert(key, properties);
    }

    /// Writes everything that changed, and the cursor, in one atomic batch.
    pub(super) fn commit(&mut self) -> Result<(), StateError> {
        let mut batch = self.state.batch();
        for (project, kind, id, person) in self.linked.drain(..) {
            self.people.link(&mut batch, &project, kind, &id, person);
        }
        for id in std::mem::take(&mut self.changed) {
            let person = self.persons.get(&id).expect("entries leave only in the turn below");
            self.people.put(&mut batch, id, person);
        }
        // In key order, so that the same records give the same batch.
        let mut sighted: Vec<_> = self.sighted.drain().collect();
        sighted.sort_unstable();
        for (key, at) in sighted {
            self.seen.put(&mut batch, key, at)?;
        }
        for ((project, group_type, name), properties) in std::mem::take(&mut self.regrouped) {
            self.groups.put(&mut batch, &project, &group_type, &name, &properties);
        }
        self.cursors.put_applier(&mut batch, &self.cursor);
        batch.commit()?;
        self.ids.turn();
        self.persons.turn();
        Ok(())
    }

    /// Makes what was committed survive power loss; returns the cursor that does.
    pub(super) fn persist(&mut self, now: Timestamp) -> Result<ApplierCursor, StateError> {
        self.state.persist()?;
        self.seen.forget(now)?;
        Ok(self.cursor)
    }
}

fn fill_key(key: &mut Vec<u8>, project: &str, kind: IdKind, id: &str) {
    key.clear();
    key.push(match kind {
        IdKind::User => b'u',
        IdKind::Device => b'd',
    });
    key.extend_from_slice(project.as_bytes());
    key.push(0);
    key.extend_from_slice(id.as_bytes());
}
