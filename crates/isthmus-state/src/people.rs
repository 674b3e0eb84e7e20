//! Persons and the ids that lead to them.
//!
//! Keyspace `ids`: (kind, project, id) to Amplitude id. Keyspace `people`: Amplitude id to
//! [`Person`]. What the entries mean is decided by the applier; nothing here does.

use crate::{State, StateError, WriteBatch};
use fjall::Keyspace;
use isthmus_core::{AmplitudeId, Place};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// What is known of one person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Person {
    /// Name of the project the person belongs to.
    pub project: String,
    /// The user id bound to this person, once there is one; it never changes.
    pub user_id: Option<String>,
    /// User properties as one raw JSON object; empty when there are none.
    pub properties: String,
    /// Where the event log holds the present properties, if it does.
    pub snapshot: Option<Place>,
    /// Groups the person belongs to, as one raw JSON object; empty when there are none.
    pub groups: String,
    /// Earliest event time seen, in milliseconds since the Unix epoch.
    pub first_event_time: Option<i64>,
    /// The person that this anonymous one turned out to be.
    pub merged_into: Option<AmplitudeId>,
}

/// Which kind of id leads to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdKind {
    User,
    Device,
}

/// The two keyspaces, open.
#[derive(Clone)]
pub struct People {
    ids: Keyspace,
    people: Keyspace,
}

impl People {
    /// Opens the keyspaces in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { ids: state.keyspace("ids")?, people: state.keyspace("people")? })
    }

    /// The person that `id` leads to in `project`.
    pub fn find(
        &self,
        project: &str,
        kind: IdKind,
        id: &str,
    ) -> Result<Option<AmplitudeId>, StateError> {
        let Some(value) = self.ids.get(id_key(project, kind, id))? else { return Ok(None) };
        let bytes = <[u8; 8]>::try_from(&*value)
            .map_err(|error| StateError::malformed("person of an id", &error))?;
        Ok(Some(AmplitudeId(u64::from_be_bytes(bytes))))
    }

    /// Makes `id` lead to `person`.
    pub fn link(
        &self,
        batch: &mut WriteBatch,
        project: &str,
        kind: IdKind,
        id: &str,
        person: AmplitudeId,
    ) {
        batch.insert(&self.ids, id_key(project, kind, id), person.0.to_be_bytes());
    }

    /// The person with this Amplitude id.
    pub fn get(&self, person: AmplitudeId) -> Result<Option<Person>, StateError> {
        let Some(value) = self.people.get(person.0.to_be_bytes())? else { return Ok(None) };
        crate::decode("person", VERSION, &value).map(Some)
    }

    /// Writes what is known of `person`.
    pub fn put(&self, batch: &mut WriteBatch, person: AmplitudeId, known: &Person) {
        batch.insert(&self.people, person.0.to_be_bytes(), crate::encode(VERSION, known));
    }

    /// How many persons there are, roughly.
    pub fn count(&self) -> usize {
        self.people.approximate_len()
    }
}

/// Kind, project, a zero byte, id: ids of one project stand together.
fn id_key(project: &str, kind: IdKind, id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(project.len() + id.len() + 2);
    key.push(match kind {
        IdKind::User => b'u',
        IdKind::Device => b'd',
    });
    key.extend_from_slice(project.as_bytes());
    key.push(0);
    key.extend_from_slice(id.as_bytes());
    key
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
            properties: r#"{"plan":"pro"}"#.into(),
            snapshot: Some(Place { offset: 7, index: 3 }),
            ..Person::default()
        };
        {
            let state = State::open(folder.path()).unwrap();
            let people = People::open(&state).unwrap();
            let mut batch = state.batch();
            people.link(&mut batch, "shop", IdKind::User, "ana", AmplitudeId(100));
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
}
