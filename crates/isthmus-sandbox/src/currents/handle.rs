//! Connectors from the same process, and what their HTTP routes do.

use super::view::ConnectorView;
use crate::sandbox::{Room, Shared};
use crate::written::DefinitionError;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The connectors of the first workspace.
#[derive(Debug, Clone)]
pub struct CurrentsHandle {
    shared: Arc<Shared>,
}

/// With what Braze tries credentials; both have no effect on the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestBody {
    /// An empty body.
    #[default]
    Empty,
    /// `{"events": []}`.
    Events,
}

impl CurrentsHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn room(&self) -> &Room {
        self.shared.room(None).expect("a sandbox has at least one workspace")
    }

    /// Defines a connector, as `PUT /_sandbox/currents/{name}` does.
    pub fn put(&self, name: &str, definition: &Value) -> Result<(), DefinitionError> {
        put(&self.shared, self.room(), name, definition)
    }

    /// Removes a connector with everything that waits in it; whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        remove(self.room(), name)
    }

    /// The connector with this name.
    pub fn connector(&self, name: &str) -> Option<ConnectorView> {
        self.room().currents().view(name)
    }

    /// All connectors by name.
    pub fn connectors(&self) -> Vec<ConnectorView> {
        self.room().currents().views()
    }

    /// Ids of everything that a connector was given, with their types, as many as are kept.
    pub fn events(&self, name: &str) -> BTreeMap<String, &'static str> {
        let currents = self.room().currents();
        let ids = currents.ids(name).map(|(ids, _)| ids);
        ids.into_iter().flatten().map(|(id, kind)| (id.to_owned(), kind)).collect()
    }

    /// Lets everything that waits for more events, or for a better time, be sent now; whether
    /// there is such a connector.
    pub fn flush(&self, name: &str) -> bool {
        flush(&self.shared, self.room(), name)
    }

    /// Tries the credentials of a connector: the status, or why there is none. `None` when there
    /// is no such connector, or it writes files.
    pub async fn test(&self, name: &str, body: TestBody) -> Option<Result<u16, String>> {
        test(&self.shared, self.room(), name, body).await
    }

    /// Queues one believable event of each ticked type; how many.
    pub fn send_test_events(&self, name: &str) -> Option<usize> {
        test_events(&self.shared, self.room(), name)
    }
}

pub(super) fn put(
    shared: &Shared,
    room: &Room,
    name: &str,
    definition: &Value,
) -> Result<(), DefinitionError> {
    room.currents().put(name, definition, shared.now(), shared.random.as_ref())?;
    room.listen();
    shared.bell.notify_one();
    Ok(())
}

pub(super) fn remove(room: &Room, name: &str) -> bool {
    let removed = room.currents().remove(name);
    room.listen();
    removed
}

pub(super) fn flush(shared: &Shared, room: &Room, name: &str) -> bool {
    let flushed = room.currents().flush(name, shared.now());
    shared.bell.notify_one();
    flushed
}

pub(super) fn test_events(shared: &Shared, room: &Room, name: &str) -> Option<usize> {
    let queued = room.currents().push_test_events(name, shared.now(), shared.random.as_ref());
    shared.bell.notify_one();
    queued
}

pub(super) async fn test(
    shared: &Shared,
    room: &Room,
    name: &str,
    body: TestBody,
) -> Option<Result<u16, String>> {
    let request = room.currents().credentials_test(name, body == TestBody::Events)?;
    let Some(http) = &shared.http else { return Some(Err("there is no way out".to_owned())) };
    let reply = http.send(request).await;
    Some(reply.map(|reply| reply.status).map_err(|error| error.to_string()))
}
