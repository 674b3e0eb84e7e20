//! Campaigns from the same process, and what their HTTP routes do.

use super::view::{CampaignView, Message, Started};
use crate::sandbox::{Room, Shared};
use crate::written::DefinitionError;
use serde_json::Value;
use std::sync::Arc;

/// The campaigns of the first workspace.
#[derive(Debug, Clone)]
pub struct CampaignsHandle {
    shared: Arc<Shared>,
}

impl CampaignsHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn room(&self) -> (&str, &Room) {
        self.shared.rooms().next().expect("a sandbox has at least one workspace")
    }

    /// Defines a campaign, as `PUT /_sandbox/campaigns/{name}` does.
    pub fn put(&self, name: &str, definition: &Value) -> Result<(), DefinitionError> {
        put(&self.shared, self.room().1, name, definition)
    }

    /// Removes a campaign with its messages on their way; whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        remove(self.room().1, name)
    }

    /// Sends a campaign to everybody who is in its segment now; `None` without such a campaign.
    ///
    /// The messages are on their way then. They are rendered and sent while the sandbox runs.
    pub fn send(&self, name: &str) -> Option<Started> {
        let (workspace, room) = self.room();
        send(&self.shared, workspace, room, name)
    }

    /// The campaign with this name.
    pub fn campaign(&self, name: &str) -> Option<CampaignView> {
        self.room().1.campaigns().view(name)
    }

    /// All campaigns by name.
    pub fn campaigns(&self) -> Vec<CampaignView> {
        self.room().1.campaigns().views()
    }

    /// Messages that were sent or given up, the latest first, as many as are kept.
    pub fn messages(&self) -> Vec<Message> {
        self.room().1.campaigns().messages(None).cloned().collect()
    }
}

pub(super) fn put(
    shared: &Shared,
    room: &Room,
    name: &str,
    definition: &Value,
) -> Result<(), DefinitionError> {
    room.campaigns().put(name, definition)?;
    room.listen();
    // Requests may wait to take effect.
    shared.bell.notify_one();
    Ok(())
}

pub(super) fn remove(room: &Room, name: &str) -> bool {
    let removed = room.campaigns().remove(name);
    room.listen();
    removed
}

pub(super) fn send(
    shared: &Shared,
    workspace_name: &str,
    room: &Room,
    name: &str,
) -> Option<Started> {
    let exporter = shared.exporter(workspace_name);
    let now = shared.now();
    let mut events = Vec::new();
    let workspace = shared.enter(room);
    let started = room.campaigns().send(name, &workspace, &exporter, now, &mut events);
    drop(workspace);
    let mut currents = room.currents();
    for event in events {
        currents.push(event, now, shared.random.as_ref());
    }
    drop(currents);
    shared.bell.notify_one();
    started
}
