//! Who is to be forgotten.

use isthmus_core::AmplitudeId;
use isthmus_core::record::{Applied, Command, IntakeEvent};
use std::collections::{BTreeMap, BTreeSet};

/// People to be forgotten, of any number of projects.
#[derive(Debug, Clone, Default)]
pub struct Forgotten {
    pub(super) users: BTreeSet<AmplitudeId>,
    ids: BTreeMap<String, Ids>,
    erasures: bool,
}

/// Ids of one project.
#[derive(Debug, Clone, Default)]
struct Ids {
    user_ids: BTreeSet<String>,
    device_ids: BTreeSet<String>,
}

impl Forgotten {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a person of `project`: their Amplitude id and those of everybody who was merged into
    /// them, and the ids they came under.
    #[must_use]
    pub fn with<'a>(
        mut self,
        project: &str,
        users: impl IntoIterator<Item = AmplitudeId>,
        user_ids: impl IntoIterator<Item = &'a str>,
        device_ids: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self.users.extend(users);
        let ids = self.ids.entry(project.to_owned()).or_default();
        ids.user_ids.extend(user_ids.into_iter().map(str::to_owned));
        ids.device_ids.extend(device_ids.into_iter().map(str::to_owned));
        self
    }

    /// Erases the `Applied::Erasure` items of these people too, which say their ids. Only once
    /// every stream has read them: they tell the destinations.
    #[must_use]
    pub fn and_their_erasures(mut self) -> Self {
        self.erasures = true;
        self
    }

    /// Whether `item` is about one of these people.
    pub(super) fn concerns(&self, item: &Applied<'_>) -> bool {
        match item {
            Applied::Event(event) => self.users.contains(&event.user),
            Applied::UserChange(change) => self.users.contains(&change.user),
            Applied::Merge(merge) => {
                self.users.contains(&merge.anonymous) || self.users.contains(&merge.into)
            }
            Applied::Identified(identified) => self.users.contains(&identified.user),
            Applied::Identify(identify) => self.users.contains(&identify.user),
            Applied::Erasure(erasure) => {
                self.erasures && erasure.users.iter().any(|user| self.users.contains(user))
            }
            Applied::GroupChange(_) | Applied::Erased => false,
        }
    }

    /// Whether `event`, of `project`, has an id of these people.
    pub(super) fn sent(&self, project: &str, event: &IntakeEvent<'_>) -> bool {
        self.ids.get(project).is_some_and(|ids| match (event.user_id, event.device_id) {
            (Some(user_id), _) => ids.user_ids.contains(user_id),
            (None, Some(device_id)) => ids.device_ids.contains(device_id),
            (None, None) => false,
        })
    }

    /// Whether `command`, of `project`, names a user id of these people.
    pub(super) fn named(&self, project: &str, command: &Command<'_>) -> bool {
        let Command::Map { user_id, global_user_id } = command else { return false };
        let named = [Some(*user_id), *global_user_id];
        self.ids
            .get(project)
            .is_some_and(|ids| named.into_iter().flatten().any(|id| ids.user_ids.contains(id)))
    }
}
