//! What the emulated Amplitude holds, as its inspection routes show it.

use super::http::{get, post};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The emulator at an address.
pub(crate) struct Amplitude<'a> {
    pub(crate) address: &'a str,
}

impl Amplitude<'_> {
    /// Stored events of `query`, such as `event_type=Open`, oldest first.
    pub(crate) fn events(&self, query: &str) -> Vec<Value> {
        let found = get(self.address, &format!("/_sandbox/amplitude/events?limit=10000&{query}"));
        assert_eq!(found.status, 200, "{}", found.text());
        let mut events = found.json()["events"].as_array().unwrap().clone();
        events.reverse();
        events
    }

    /// Counts by `insert_id` from now on, and forgets what there was.
    pub(crate) fn watch_insert_ids(&self) {
        let path = "/_sandbox/amplitude/reset?uid_property=insert_id";
        let answer = post(self.address, path, &json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// How often each `insert_id` was stored, after [`Self::watch_insert_ids`].
    pub(crate) fn insert_ids(&self) -> BTreeMap<String, u64> {
        let found = get(self.address, "/_sandbox/amplitude/uids").json();
        serde_json::from_value(found).unwrap()
    }

    /// The person with this user id or device id, and their events in the order of arrival.
    pub(crate) fn person(&self, id: &str) -> Option<Value> {
        let answer = get(self.address, &format!("/_sandbox/amplitude/users/{id}"));
        (answer.status == 200).then(|| answer.json())
    }
}
