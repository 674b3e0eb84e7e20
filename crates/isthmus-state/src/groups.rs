//! Properties of groups. Keyspace `groups`: (project, group type, group name) to raw JSON.

use crate::{State, StateError, WriteBatch};
use fjall::Keyspace;

/// The keyspace, open.
#[derive(Clone)]
pub struct Groups {
    groups: Keyspace,
}

impl Groups {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { groups: state.keyspace("groups")? })
    }

    /// The group's properties as one raw JSON object.
    pub fn get(
        &self,
        project: &str,
        group_type: &str,
        name: &str,
    ) -> Result<Option<String>, StateError> {
        let Some(value) = self.groups.get(key(project, group_type, name))? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&value)
            .map_err(|error| StateError::malformed("group properties", &error))?;
        Ok(Some(text.to_owned()))
    }

    /// Writes the group's properties.
    pub fn put(
        &self,
        batch: &mut WriteBatch,
        project: &str,
        group_type: &str,
        name: &str,
        properties: &str,
    ) {
        batch.insert(&self.groups, key(project, group_type, name), properties.as_bytes());
    }
}

fn key(project: &str, group_type: &str, name: &str) -> Vec<u8> {
    [project, group_type, name].join("\0").into_bytes()
}
