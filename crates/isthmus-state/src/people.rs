//! Persons and the ids that lead to them.
//!
//! Keyspace `ids`: (kind, project, id) to Amplitude id. Keyspace `people`: Amplitude id to
//! [`Person`]. Keyspace `snapshots`: Amplitude id to where the event log holds the present properties,
//! where that became so after the person was written. What the entries mean is decided by the applier;
//! nothing here does.
//!
//! Persons that the applier had lately are in memory, packed, for everybody who asks.

mod packed;

use packed::Beside;
pub use packed::Notes;
pub(crate) use packed::Packed;

use crate::{State, StateError, WriteBatch};
use fjall::{Keyspace, UserValue};
use isthmus_core::{AmplitudeId, Place, json};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// What is gathered in memory before it is written as a table: every step of a search in a larger one
/// misses the processor's cache.
const MEMORY_TABLE_MAX: u64 = 16 << 20;
/// The same of snapshots, which are small.
const SNAPSHOTS_MEMORY_TABLE_MAX: u64 = 8 << 20;

/// Version 1 knew no built-in properties, no times of values, no devices; version 2 no ids of Braze.
const VERSION: u8 = 3;
const SNAPSHOT_VERSION: u8 = 1;

/// What is known of one person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Person {
    /// Name of the project the person belongs to.
    pub project: String,
    /// The user id bound to this person, once there is one; it never changes.
    pub user_id: Option<String>,
    /// Custom user properties.
    pub custom: Values,
    /// Built-in user properties: what events say of platform, device, place, language and version.
    pub built_in: Values,
    /// Where the event log holds the present properties, if it does. Only [`People::recall`] tells the
    /// latest place.
    pub snapshot: Option<Place>,
    /// Groups the person belongs to, as one raw JSON object; empty when there are none.
    pub groups: String,
    /// Earliest event time seen, in milliseconds since the Unix epoch.
    pub first_event_time: Option<i64>,
    /// Day of the latest event time seen, in days since the Unix epoch (UTC).
    pub last_event_day: Option<i64>,
    /// What the latest event was sent by.
    pub library: Option<String>,
    /// Property updates within one hour.
    pub updates: Updates,
    /// Device ids that led to this person, the latest last; some may lead to others by now.
    pub devices: Vec<String>,
    /// The person that this anonymous one turned out to be.
    pub merged_into: Option<AmplitudeId>,
    /// Anonymous persons who turned out to be this one.
    pub merged: Vec<AmplitudeId>,
    /// Braze's own ids that lead to this person: of somebody who had no user id at Braze then.
    pub braze_ids: Vec<String>,
}

/// Properties with the time since when each has its value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Values {
    /// One raw JSON object; empty when there are none.
    pub text: String,
    /// Per member of the object, in its order: since when, in milliseconds since the Unix epoch.
    /// Shorter where that is not known.
    pub since: Vec<i64>,
}

/// How many property updates there were in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Updates {
    /// Hours since the Unix epoch.
    pub hour: i64,
    pub count: u32,
}

/// A person as version 1 wrote it.
#[derive(Deserialize)]
struct PersonV1 {
    project: String,
    user_id: Option<String>,
    properties: String,
    snapshot: Option<Place>,
    groups: String,
    first_event_time: Option<i64>,
    merged_into: Option<AmplitudeId>,
}

impl From<PersonV1> for Person {
    fn from(old: PersonV1) -> Self {
        Self {
            project: old.project,
            user_id: old.user_id,
            custom: Values { text: old.properties, since: Vec::new() },
            snapshot: old.snapshot,
            groups: old.groups,
            first_event_time: old.first_event_time,
            merged_into: old.merged_into,
            ..Self::default()
        }
    }
}

/// A person as version 2 wrote it.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct PersonV2 {
    project: String,
    user_id: Option<String>,
    custom: Values,
    built_in: Values,
    snapshot: Option<Place>,
    groups: String,
    first_event_time: Option<i64>,
    last_event_day: Option<i64>,
    library: Option<String>,
    updates: Updates,
    devices: Vec<String>,
    merged_into: Option<AmplitudeId>,
    merged: Vec<AmplitudeId>,
}

impl From<PersonV2> for Person {
    fn from(old: PersonV2) -> Self {
        Self {
            project: old.project,
            user_id: old.user_id,
            custom: old.custom,
            built_in: old.built_in,
            snapshot: old.snapshot,
            groups: old.groups,
            first_event_time: old.first_event_time,
            last_event_day: old.last_event_day,
            library: old.library,
            updates: old.updates,
            devices: old.devices,
            merged_into: old.merged_into,
            merged: old.merged,
            braze_ids: Vec::new(),
        }
    }
}

impl Person {
    /// All user properties, as one raw JSON object; empty when there are none. Where a custom property
    /// has the name of a built-in one, the custom one shows.
    pub fn properties(&self) -> Cow<'_, str> {
        let (custom, built_in) = (&self.custom.text, &self.built_in.text);
        if built_in.is_empty() {
            return Cow::Borrowed(custom);
        }
        if custom.is_empty() {
            return Cow::Borrowed(built_in);
        }
        let mut both = String::with_capacity(custom.len() + built_in.len());
        both.push_str(custom.strip_suffix('}').unwrap_or(custom));
        let own: Vec<_> = json::members(custom).map(|(name, _)| name).collect();
        for (name, value) in json::members(built_in) {
            if own.contains(&name) {
                continue;
            }
            both.push(',');
            json::push_text(&mut both, &name);
            both.push(':');
            both.push_str(value);
        }
        both.push('}');
        Cow::Owned(both)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        match bytes.first() {
            Some(1) => crate::decode::<PersonV1>("person", 1, bytes).map(Self::from),
            Some(2) => crate::decode::<PersonV2>("person", 2, bytes).map(Self::from),
            _ => crate::decode("person", VERSION, bytes),
        }
    }
}

/// Which kind of id leads to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdKind {
    User,
    Device,
    /// Braze's own id of somebody who has no user id there.
    Braze,
}

impl IdKind {
    /// What keys begin with.
    pub(crate) fn letter(self) -> u8 {
        match self {
            Self::User => b'u',
            Self::Device => b'd',
            Self::Braze => b'b',
        }
    }
}

/// A person as they are stored, on the way there.
#[derive(Debug)]
pub struct Stored {
    person: AmplitudeId,
    bytes: UserValue,
    snapshot: Option<Place>,
}

/// The three keyspaces, open, and who is in memory.
#[derive(Clone)]
pub struct People {
    ids: Keyspace,
    persons: Keyspace,
    snapshots: Keyspace,
    packed: Arc<Packed>,
}

impl People {
    /// Opens the keyspaces in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self {
            ids: state.keyspace_with_memory("ids", MEMORY_TABLE_MAX)?,
            persons: state.keyspace_with_memory("people", MEMORY_TABLE_MAX)?,
            snapshots: state.keyspace_with_memory("snapshots", SNAPSHOTS_MEMORY_TABLE_MAX)?,
            packed: Arc::clone(&state.packed),
        })
    }

    /// The person that `id` leads to in `project`.
    pub fn find(
        &self,
        project: &str,
        kind: IdKind,
        id: &str,
    ) -> Result<Option<AmplitudeId>, StateError> {
        let Some(value) = self.ids.get(&*Link::of(project, kind, id).0)? else { return Ok(None) };
        let bytes = <[u8; 8]>::try_from(&*value)
            .map_err(|error| StateError::malformed("person of an id", &error))?;
        Ok(Some(AmplitudeId(u64::from_be_bytes(bytes))))
    }

    /// Makes the id of `link` lead to `person`, or to nobody.
    pub fn link(&self, batch: &mut WriteBatch, link: &Link, person: Option<AmplitudeId>) {
        match person {
            Some(person) => batch.insert(&self.ids, &*link.0, person.0.to_be_bytes()),
            None => batch.remove(&self.ids, &*link.0),
        }
    }

    /// The links of all ids that lead to one of `persons`; walks all there are.
    pub fn links_to(&self, persons: &[AmplitudeId]) -> Result<Vec<Link>, StateError> {
        let mut found = Vec::new();
        for entry in self.ids.iter() {
            let (key, value) = entry.into_inner()?;
            let leads = <[u8; 8]>::try_from(&*value).map(u64::from_be_bytes).map(AmplitudeId);
            if leads.is_ok_and(|person| persons.contains(&person)) {
                found.push(Link(key.to_vec().into()));
            }
        }
        Ok(found)
    }

    /// The person with this Amplitude id.
    pub fn get(&self, person: AmplitudeId) -> Result<Option<Person>, StateError> {
        if let Some(found) = self.packed.get(person.0, |stored, _| Person::decode(stored)) {
            return found.map(Some);
        }
        let Some(value) = self.persons.get(person.0.to_be_bytes())? else { return Ok(None) };
        Person::decode(&value).map(Some)
    }

    /// Like [`Self::get`], with their present snapshot and what was noted beside the person, and keeps
    /// in memory who was not there. Only for the one who writes: anybody else could keep what is no
    /// longer so, and has no use for a snapshot.
    pub fn recall(&self, person: AmplitudeId) -> Result<Option<(Person, Notes)>, StateError> {
        let found = self.packed.get(person.0, |stored, Beside { notes, snapshot }| {
            Ok((Person { snapshot, ..Person::decode(stored)? }, notes))
        });
        if let Some(found) = found {
            return found.map(Some);
        }
        let key = person.0.to_be_bytes();
        let Some(value) = self.persons.get(key)? else { return Ok(None) };
        let mut known = Person::decode(&value)?;
        if let Some(later) = self.snapshots.get(key)? {
            let later: Place = crate::decode("snapshot", SNAPSHOT_VERSION, &later)?;
            known.snapshot = known.snapshot.max(Some(later));
        }
        let beside = Beside { notes: Notes::default(), snapshot: known.snapshot };
        self.packed.keep(person.0, &value, beside);
        Ok(Some((known, beside.notes)))
    }

    /// The person that `id` leads to in `project`, merges followed.
    pub fn find_person(
        &self,
        project: &str,
        kind: IdKind,
        id: &str,
    ) -> Result<Option<(AmplitudeId, Person)>, StateError> {
        match self.find(project, kind, id)? {
            Some(found) => self.follow(found),
            None => Ok(None),
        }
    }

    /// Who `person` is now.
    pub fn follow(&self, person: AmplitudeId) -> Result<Option<(AmplitudeId, Person)>, StateError> {
        let mut found = person;
        // As for the applier: one hop, and a bound against damage.
        for _ in 0..8 {
            match self.get(found)? {
                Some(Person { merged_into: Some(into), .. }) => found = into,
                Some(person) => return Ok(Some((found, person))),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The persons who are merged into `person`; walks all there are.
    pub fn merged_into(&self, person: AmplitudeId) -> Result<Vec<AmplitudeId>, StateError> {
        let mut found = Vec::new();
        for entry in self.persons.iter() {
            let (key, value) = entry.into_inner()?;
            if Person::decode(&value)?.merged_into == Some(person)
                && let Ok(key) = <[u8; 8]>::try_from(&*key)
            {
                found.push(AmplitudeId(u64::from_be_bytes(key)));
            }
        }
        Ok(found)
    }

    /// Writes what is known of `person`. Until the batch is committed and what is returned goes to
    /// [`Self::keep`], nobody finds them in memory.
    pub fn put(&self, batch: &mut WriteBatch, person: AmplitudeId, known: &Person) -> Stored {
        self.packed.unkeep(person.0);
        let key = person.0.to_be_bytes();
        let (bytes, snapshot) = (UserValue::from(crate::encode(VERSION, known)), known.snapshot);
        batch.insert(&self.persons, key, bytes.clone());
        if snapshot.is_none() {
            // An earlier one is no longer so.
            batch.remove(&self.snapshots, key);
        }
        Stored { person, bytes, snapshot }
    }

    /// Keeps in memory, with `notes`, who was committed.
    pub fn keep(&self, stored: &Stored, notes: Notes) {
        let beside = Beside { notes, snapshot: stored.snapshot };
        self.packed.keep(stored.person.0, &stored.bytes, beside);
    }

    /// Writes that of `person` nothing changed but where the event log holds the properties: further
    /// on than before.
    pub fn put_snapshot(&self, batch: &mut WriteBatch, person: AmplitudeId, snapshot: Place) {
        let bytes = crate::encode(SNAPSHOT_VERSION, &snapshot);
        batch.insert(&self.snapshots, person.0.to_be_bytes(), bytes);
    }

    /// Keeps in memory, with `notes`, what was committed by [`Self::put_snapshot`].
    pub fn keep_snapshot(&self, person: AmplitudeId, snapshot: Place, notes: Notes) {
        self.packed.note(person.0, Beside { notes, snapshot: Some(snapshot) });
    }

    /// Forgets `person`.
    pub fn remove(&self, batch: &mut WriteBatch, person: AmplitudeId) {
        self.packed.forget(person.0);
        batch.remove(&self.persons, person.0.to_be_bytes());
        batch.remove(&self.snapshots, person.0.to_be_bytes());
    }

    /// Rewrites what is stored, so that nothing of what was removed is left on disk.
    pub fn compact(&self) -> Result<(), StateError> {
        crate::compact(&self.ids)?;
        crate::compact(&self.persons)
    }

    /// How many persons there are, roughly.
    pub fn count(&self) -> usize {
        self.persons.approximate_len()
    }
}

/// One id of one project, as a key: kind, project, a zero byte, id. Ids of one project stand together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link(Box<[u8]>);

impl Link {
    /// The link of `id`.
    pub fn of(project: &str, kind: IdKind, id: &str) -> Self {
        let mut key = Vec::with_capacity(project.len() + id.len() + 2);
        Self::fill(&mut key, project, kind, id);
        Self(key.into())
    }

    /// The link that [`Self::fill`] wrote.
    pub fn filled(key: &[u8]) -> Self {
        Self(key.into())
    }

    /// Writes the bytes of a link into `key`, for looking up without an allocation.
    pub fn fill(key: &mut Vec<u8>, project: &str, kind: IdKind, id: &str) {
        key.clear();
        key.push(kind.letter());
        key.extend_from_slice(project.as_bytes());
        key.push(0);
        key.extend_from_slice(id.as_bytes());
    }

    /// The bytes that [`Self::fill`] writes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Kind and id; `None` when the bytes are not those of a link.
    pub fn id(&self) -> Option<(IdKind, &str)> {
        let (kind, rest) = self.0.split_first()?;
        let kind = match kind {
            b'u' => IdKind::User,
            b'd' => IdKind::Device,
            b'b' => IdKind::Braze,
            _ => return None,
        };
        let id = rest.splitn(2, |byte| *byte == 0).nth(1)?;
        Some((kind, std::str::from_utf8(id).ok()?))
    }
}

impl std::borrow::Borrow<[u8]> for Link {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_and_links_read_back_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let person = Person {
            project: "shop".into(),
            user_id: Some("ana".into()),
            custom: Values { text: r#"{"plan":"pro"}"#.into(), since: vec![1_770_000_000_000] },
            devices: vec!["d-1".into()],
            snapshot: Some(Place { offset: 7, index: 3 }),
            ..Person::default()
        };
        {
            let state = State::open(folder.path()).unwrap();
            let people = People::open(&state).unwrap();
            let mut batch = state.batch();
            let link = Link::of("shop", IdKind::User, "ana");
            assert_eq!(link.id(), Some((IdKind::User, "ana")));
            people.link(&mut batch, &link, Some(AmplitudeId(100)));
            people.put(&mut batch, AmplitudeId(100), &person);
            batch.commit().unwrap();
            state.persist().unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        let people = People::open(&state).unwrap();
        let found = people.find("shop", IdKind::User, "ana").unwrap();
        assert_eq!(found, Some(AmplitudeId(100)));
        assert_eq!(people.get(AmplitudeId(100)).unwrap(), Some(person));
        assert_eq!(people.find("shop", IdKind::Device, "ana").unwrap(), None);
        assert_eq!(people.find("other", IdKind::User, "ana").unwrap(), None);
    }

    /// Commits `write`, looks at person 5 through `look` from memory, and again after reopening.
    fn then<T: PartialEq + std::fmt::Debug>(
        folder: &std::path::Path,
        write: impl FnOnce(&People, &mut WriteBatch) -> Box<dyn FnOnce(&People)>,
        look: impl Fn(&People) -> T,
    ) -> T {
        let from_memory = {
            let state = State::open(folder).unwrap();
            let people = People::open(&state).unwrap();
            people.recall(AmplitudeId(5)).unwrap();
            let mut batch = state.batch();
            let keep = write(&people, &mut batch);
            batch.commit().unwrap();
            keep(&people);
            state.persist().unwrap();
            look(&People::open(&state).unwrap())
        };
        let state = State::open(folder).unwrap();
        let people = People::open(&state).unwrap();
        assert_eq!(look(&people), from_memory, "memory and tables differ");
        assert_eq!(look(&people), from_memory, "tables and what was kept of them differ");
        from_memory
    }

    #[test]
    fn memory_and_tables_agree_on_persons_and_their_latest_snapshots() {
        let folder = tempfile::tempdir().unwrap();
        let id = AmplitudeId(5);
        let place = |offset| Some(Place { offset, index: 3 });
        let person = |orders: u32, snapshot| {
            let text = format!("{{\"orders\":{orders}}}");
            Person { custom: Values { text, since: vec![9] }, snapshot, ..Person::default() }
        };
        let put = |known: Person| {
            move |people: &People, batch: &mut WriteBatch| -> Box<dyn FnOnce(&People)> {
                let stored = people.put(batch, id, &known);
                Box::new(move |people| people.keep(&stored, [1, 2]))
            }
        };
        let look = |people: &People| {
            let recalled = people.recall(id).unwrap().map(|(person, _)| person);
            let got = people.get(id).unwrap();
            let same = |one: &Option<Person>| one.as_ref().map(|one| one.custom.clone());
            assert_eq!(same(&got), same(&recalled));
            recalled
        };
        let told = then(folder.path(), put(person(1, place(7))), look);
        assert_eq!(told, Some(person(1, place(7))));
        let placed = |people: &People, batch: &mut WriteBatch| -> Box<dyn FnOnce(&People)> {
            let place = Place { offset: 9, index: 0 };
            people.put_snapshot(batch, id, place);
            Box::new(move |people| people.keep_snapshot(id, place, [3, 4]))
        };
        let later = Some(Place { offset: 9, index: 0 });
        assert_eq!(then(folder.path(), placed, look), Some(person(1, later)));
        let told = then(folder.path(), put(person(2, place(11))), look);
        assert_eq!(told, Some(person(2, place(11))));
        assert_eq!(then(folder.path(), put(person(3, None)), look), Some(person(3, None)));
        let gone = |people: &People, batch: &mut WriteBatch| -> Box<dyn FnOnce(&People)> {
            people.remove(batch, id);
            Box::new(|_| ())
        };
        assert_eq!(then(folder.path(), gone, look), None);
        assert_eq!(then(folder.path(), put(person(4, None)), look), Some(person(4, None)));
    }

    #[test]
    fn notes_are_in_memory_alone() {
        let folder = tempfile::tempdir().unwrap();
        let id = AmplitudeId(5);
        let notes = |people: &People| people.recall(id).unwrap().map(|(_, notes)| notes);
        {
            let state = State::open(folder.path()).unwrap();
            let people = People::open(&state).unwrap();
            let mut batch = state.batch();
            let stored = people.put(&mut batch, id, &Person::default());
            batch.commit().unwrap();
            people.keep(&stored, [1, 2]);
            assert_eq!(notes(&people), Some([1, 2]));
            people.keep_snapshot(id, Place { offset: 1, index: 0 }, [3, 4]);
            assert_eq!(notes(&people), Some([3, 4]));
        }
        let people = People::open(&State::open(folder.path()).unwrap()).unwrap();
        assert_eq!(notes(&people), Some([0, 0]));
    }

    #[test]
    fn persons_of_version_one_are_read() {
        #[derive(Serialize)]
        struct Old<'a> {
            project: &'a str,
            user_id: Option<&'a str>,
            properties: &'a str,
            snapshot: Option<Place>,
            groups: &'a str,
            first_event_time: Option<i64>,
            merged_into: Option<AmplitudeId>,
        }
        let old = Old {
            project: "shop",
            user_id: Some("ana"),
            properties: "{}",
            snapshot: None,
            groups: "",
            first_event_time: Some(5),
            merged_into: None,
        };
        let read = Person::decode(&crate::encode(1, &old)).unwrap();
        assert_eq!((read.user_id.as_deref(), read.first_event_time), (Some("ana"), Some(5)));
        assert_eq!(read.custom, Values { text: "{}".into(), since: Vec::new() });
    }

    #[test]
    fn persons_of_version_two_are_read() {
        let old = PersonV2 {
            project: "shop".into(),
            user_id: Some("ana".into()),
            custom: Values { text: r#"{"plan":"pro"}"#.into(), since: vec![3] },
            built_in: Values::default(),
            snapshot: None,
            groups: String::new(),
            first_event_time: Some(5),
            last_event_day: Some(6),
            library: Some("x".into()),
            updates: Updates { hour: 7, count: 8 },
            devices: vec!["d-1".into()],
            merged_into: None,
            merged: vec![AmplitudeId(9)],
        };
        let read = Person::decode(&crate::encode(2, &old)).unwrap();
        assert_eq!((read.devices, read.merged), (vec!["d-1".to_owned()], vec![AmplitudeId(9)]));
        assert_eq!((read.updates.count, read.braze_ids.len()), (8, 0));
    }
}
