//! User mapping: which user id is counted as which global one.
//!
//! Keyspace `user_map`: `t`, project, user id to the global user id; and the way back, `f`, project,
//! global user id, user id to nothing. Whether a mapping may exist is decided by
//! [`isthmus_core::identity`]; nothing here does.

use crate::key::{put_name, split_name};
use crate::{State, StateError, WriteBatch};
use fjall::Keyspace;

/// The keyspace, open.
#[derive(Clone)]
pub struct UserMap {
    map: Keyspace,
}

impl UserMap {
    /// Opens the keyspace in `state`.
    pub fn open(state: &State) -> Result<Self, StateError> {
        Ok(Self { map: state.keyspace("user_map")? })
    }

    /// What `user_id` is mapped to in `project`.
    pub fn mapped_to(&self, project: &str, user_id: &str) -> Result<Option<String>, StateError> {
        let Some(value) = self.map.get(to_key(project, user_id))? else { return Ok(None) };
        let text = std::str::from_utf8(&value);
        let text = text.map_err(|error| StateError::malformed("global user id", &error))?;
        Ok(Some(text.to_owned()))
    }

    /// The user ids that are mapped to `global_user_id` in `project`, in order, at most `limit`.
    pub fn mapped_from(
        &self,
        project: &str,
        global_user_id: &str,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        let prefix = from_prefix(project, global_user_id);
        let mut found = Vec::new();
        for entry in self.map.prefix(&prefix).take(limit) {
            let key = entry.key()?;
            let rest = key.get(prefix.len()..).unwrap_or_default();
            let user_id = std::str::from_utf8(rest);
            let user_id = user_id.map_err(|error| StateError::malformed("user id", &error))?;
            found.push(user_id.to_owned());
        }
        Ok(found)
    }

    /// Maps `user_id` to `global_user_id`, or to nobody; `before` is what it was mapped to.
    pub fn put(
        &self,
        batch: &mut WriteBatch,
        project: &str,
        user_id: &str,
        before: Option<&str>,
        global_user_id: Option<&str>,
    ) {
        if let Some(before) = before {
            batch.remove(&self.map, from_key(project, before, user_id));
        }
        match global_user_id {
            Some(global) => {
                batch.insert(&self.map, to_key(project, user_id), global.as_bytes());
                batch.insert(&self.map, from_key(project, global, user_id), []);
            }
            None => batch.remove(&self.map, to_key(project, user_id)),
        }
    }

    /// Every mapping of `project`: user id and global user id, in order of user ids.
    pub fn all(&self, project: &str) -> Result<Vec<(String, String)>, StateError> {
        let mut prefix = vec![b't'];
        put_name(&mut prefix, project);
        let mut found = Vec::new();
        for entry in self.map.prefix(&prefix) {
            let (key, value) = entry.into_inner()?;
            let user_id = key.get(1..).and_then(split_name).map(|(_, rest)| rest);
            let user_id = user_id.and_then(|rest| std::str::from_utf8(rest).ok());
            let (Some(user_id), Ok(global)) = (user_id, std::str::from_utf8(&value)) else {
                return Err(StateError::malformed("user mapping", &"not text"));
            };
            found.push((user_id.to_owned(), global.to_owned()));
        }
        Ok(found)
    }

    /// Rewrites what is stored, so that nothing of what was removed is left on disk.
    pub fn compact(&self) -> Result<(), StateError> {
        crate::compact(&self.map)
    }
}

fn to_key(project: &str, user_id: &str) -> Vec<u8> {
    let mut key = vec![b't'];
    put_name(&mut key, project);
    key.extend(user_id.as_bytes());
    key
}

fn from_prefix(project: &str, global_user_id: &str) -> Vec<u8> {
    let mut key = vec![b'f'];
    put_name(&mut key, project);
    put_name(&mut key, global_user_id);
    key
}

fn from_key(project: &str, global_user_id: &str, user_id: &str) -> Vec<u8> {
    let mut key = from_prefix(project, global_user_id);
    key.extend(user_id.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_found_in_both_directions() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let map = UserMap::open(&state).unwrap();
        let put = |user: &str, before: Option<&str>, global: Option<&str>| {
            let mut batch = state.batch();
            map.put(&mut batch, "shop", user, before, global);
            batch.commit().unwrap();
        };
        put("ana@home", None, Some("cust-1"));
        put("ana@work", None, Some("cust-1"));
        assert_eq!(map.mapped_to("shop", "ana@home").unwrap().as_deref(), Some("cust-1"));
        assert_eq!(map.mapped_from("shop", "cust-1", 9).unwrap(), ["ana@home", "ana@work"]);
        assert_eq!(map.mapped_to("other", "ana@home").unwrap(), None);

        put("ana@home", Some("cust-1"), Some("cust-2"));
        put("ana@work", Some("cust-1"), None);
        assert_eq!(map.mapped_from("shop", "cust-1", 9).unwrap(), [""; 0]);
        assert_eq!(map.all("shop").unwrap(), [("ana@home".into(), "cust-2".into())]);
    }
}
