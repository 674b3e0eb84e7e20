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

/// Project, a zero byte, the length of the type, the type, the name: types may hold any character,
/// names of projects hold no zero byte.
fn key(project: &str, group_type: &str, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(project.len() + group_type.len() + name.len() + 5);
    key.extend_from_slice(project.as_bytes());
    key.push(0);
    key.extend_from_slice(&u32::try_from(group_type.len()).unwrap_or(u32::MAX).to_be_bytes());
    key.extend_from_slice(group_type.as_bytes());
    key.extend_from_slice(name.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn types_and_names_do_not_run_together() {
        assert_ne!(key("shop", "a\0", "b"), key("shop", "a", "\0b"));
        assert_ne!(key("shop", "ab", "c"), key("shop", "a", "bc"));
    }
}
