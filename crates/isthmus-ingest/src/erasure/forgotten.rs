//! Who is to be forgotten.

use crate::currents::Beside;
use isthmus_core::record::{Applied, AppliedEvent, Command, IntakeEvent, Mend};
use isthmus_core::{AmplitudeId, json};
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
    users: BTreeSet<String>,
    devices: BTreeSet<String>,
    braze: BTreeSet<String>,
    /// All of them as JSON texts, for looking into texts that are no events.
    quoted: BTreeSet<String>,
}

impl Ids {
    /// Whether the first of these ids that is there is one of them.
    fn have(&self, user_id: Option<&str>, device_id: Option<&str>, braze_id: Option<&str>) -> bool {
        match (user_id, device_id, braze_id) {
            (Some(id), _, _) => self.users.contains(id),
            (None, Some(id), _) => self.devices.contains(id),
            (None, None, Some(id)) => self.braze.contains(id),
            (None, None, None) => false,
        }
    }

    fn quote<'a>(&mut self, ids: impl Iterator<Item = &'a String>) {
        self.quoted.extend(ids.map(|id| {
            let mut quoted = String::new();
            json::push_text(&mut quoted, id);
            quoted
        }));
    }
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
        let user_ids: Vec<_> = user_ids.into_iter().map(str::to_owned).collect();
        let device_ids: Vec<_> = device_ids.into_iter().map(str::to_owned).collect();
        ids.quote(user_ids.iter().chain(&device_ids));
        ids.users.extend(user_ids);
        ids.devices.extend(device_ids);
        self
    }

    /// Adds ids that Braze has for people of `project`.
    #[must_use]
    pub fn with_braze_ids<'a>(
        mut self,
        project: &str,
        braze_ids: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let ids = self.ids.entry(project.to_owned()).or_default();
        let braze_ids: Vec<_> = braze_ids.into_iter().map(str::to_owned).collect();
        ids.quote(braze_ids.iter());
        ids.braze.extend(braze_ids);
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
            Applied::Event(event) if event.user.somebody().is_none() => self.are_named_by(event),
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

    /// Whether `event`, of which nobody knew whose it was, has an id of these people.
    fn are_named_by(&self, event: &AppliedEvent<'_>) -> bool {
        let device_id = (!event.device_id_derived).then_some(event.device_id);
        let braze_id = event.currents.as_ref().and_then(|currents| currents.braze_id);
        let ids = self.ids.get(event.project);
        ids.is_some_and(|ids| ids.have(event.user_id, device_id, braze_id))
    }

    /// Whether `event`, of `project`, has an id of these people; of an event of Currents, `beside`
    /// has some.
    pub(super) fn sent(
        &self,
        project: &str,
        event: &IntakeEvent<'_>,
        beside: Option<&Beside<'_>>,
    ) -> bool {
        let known_as = beside.and_then(|beside| beside.known_as.as_deref());
        let braze_id = beside.and_then(|beside| beside.braze_id.as_deref());
        let device_id = event.device_id.or(known_as);
        let ids = self.ids.get(project);
        ids.is_some_and(|ids| ids.have(event.user_id, device_id, braze_id))
    }

    /// Whether `braze_id`, in `project`, is one of these people's.
    pub(super) fn has_braze_id(&self, project: &str, braze_id: Option<&str>) -> bool {
        let ids = self.ids.get(project);
        ids.zip(braze_id).is_some_and(|(ids, id)| ids.braze.contains(id))
    }

    /// Whether `text`, of `project`, which is JSON or contains some, names an id of these people.
    pub(super) fn named_in(&self, project: &str, text: &str) -> bool {
        let ids = self.ids.get(project);
        ids.is_some_and(|ids| ids.quoted.iter().any(|id| text.contains(id.as_str())))
    }

    /// Whether `command`, of `project`, names these people.
    pub(super) fn named(&self, project: &str, command: &Command<'_>) -> bool {
        let (user_id, global_user_id) = match command {
            Command::Map { user_id, global_user_id } => (user_id, global_user_id),
            Command::Mend(Mend { raw: Some(raw), .. }) => return self.named_in(project, raw),
            Command::Mend(_) | Command::Erase(_) | Command::Retell { .. } => return false,
        };
        let named = [Some(*user_id), *global_user_id];
        self.ids
            .get(project)
            .is_some_and(|ids| named.into_iter().flatten().any(|id| ids.users.contains(id)))
    }
}
