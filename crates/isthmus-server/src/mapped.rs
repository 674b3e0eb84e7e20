//! User mappings as the door and the read API see them.

use isthmus_ingest::applier::Progress;
use isthmus_ingest::door::MappedUsers;
use isthmus_state::user_map::UserMap;
use std::fmt;
use tokio::sync::watch;

/// Who is looked at when a chain is checked: a global user with more is refused nothing.
const MAPPED_FROM_MAX: usize = 10_000;

/// Mappings in state, and how far state is.
pub(crate) struct Mapped {
    pub(crate) map: UserMap,
    pub(crate) applier: watch::Receiver<Progress>,
}

impl fmt::Debug for Mapped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Mapped")
    }
}

impl MappedUsers for Mapped {
    fn mapped_to(&self, project: &str, user_id: &str) -> Result<Option<String>, String> {
        self.map.mapped_to(project, user_id).map_err(|error| error.to_string())
    }

    fn mapped_from(&self, project: &str, global_user_id: &str) -> Result<Vec<String>, String> {
        let mapped = self.map.mapped_from(project, global_user_id, MAPPED_FROM_MAX);
        mapped.map_err(|error| error.to_string())
    }

    fn applied_to(&self) -> u64 {
        self.applier.borrow().intake
    }
}
