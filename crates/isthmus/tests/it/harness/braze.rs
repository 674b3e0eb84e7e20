//! What the emulated Braze holds, as its inspection routes show it.

use super::http::{get, post, send};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The emulator at an address.
pub(crate) struct Braze<'a> {
    pub(crate) address: &'a str,
}

/// One user.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct User {
    pub(crate) external_id: Option<String>,
    /// Custom attributes.
    pub(crate) attributes: Map<String, Value>,
    /// In the order in which they arrived.
    pub(crate) events: Vec<Event>,
}

/// One occurrence of an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) properties: Value,
}

impl User {
    /// The occurrences of the event called `name`.
    pub(crate) fn events_called<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.name == name)
    }
}

impl Braze<'_> {
    /// Everybody.
    pub(crate) fn users(&self) -> Vec<User> {
        let state = get(self.address, "/_sandbox/state?limit=100000");
        assert_eq!(state.status, 200, "{}", state.text());
        list(&state.json()["users"]).iter().map(user).collect()
    }

    /// The user with `external_id`.
    pub(crate) fn user(&self, external_id: &str) -> Option<User> {
        let state = get(self.address, &format!("/_sandbox/state?external_id={external_id}"));
        assert_eq!(state.status, 200, "{}", state.text());
        let users: Vec<_> = list(&state.json()["users"]).iter().map(user).collect();
        users.into_iter().find(|user| user.external_id.as_deref() == Some(external_id))
    }

    /// The user with the alias called `name` under `label`, or who took it over.
    pub(crate) fn user_by_alias(&self, label: &str, name: &str) -> Option<User> {
        let answer = get(self.address, &format!("/_sandbox/users/{label}:{name}"));
        (answer.status == 200).then(|| user(&answer.json()))
    }

    /// The latest requests, oldest first.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let latest = get(self.address, "/_sandbox/requests").json();
        list(&latest["requests"]).iter().rev().cloned().collect()
    }

    /// How many requests have not come into effect yet.
    pub(crate) fn waiting(&self) -> u64 {
        get(self.address, "/_sandbox/state?limit=1").json()["waiting"].as_u64().unwrap()
    }

    /// Lets requests take effect up to `millis` after their answers, and so overtake each other.
    pub(crate) fn jitter(&self, millis: u64) {
        let answer =
            post(self.address, "/_sandbox/settings", &json!({ "apply_jitter_ms": millis }));
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    }

    /// Forgets everything, and from now on keeps every event and counts each value of the event
    /// property `uid`.
    pub(crate) fn keep_everything(&self) {
        let answer = post(self.address, "/_sandbox/reset?keep=all&uid_property=uid", &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// How often each value of the event property `uid` arrived.
    pub(crate) fn uids(&self) -> BTreeMap<String, u64> {
        let uids = get(self.address, "/_sandbox/uids").json();
        serde_json::from_value(uids).unwrap()
    }

    /// What it counted: requests, objects, events, ...
    pub(crate) fn counters(&self) -> Value {
        get(self.address, "/_sandbox/counters").json()
    }

    /// Makes it misbehave from now on.
    pub(crate) fn fail(&self, rules: &Value) {
        let answer = post(self.address, "/_sandbox/faults", rules);
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    }

    /// The rules by which it misbehaves, and how often each has struck.
    pub(crate) fn faults(&self) -> Vec<Value> {
        list(&get(self.address, "/_sandbox/faults").json()["faults"]).to_vec()
    }

    /// Makes it behave again.
    pub(crate) fn mend(&self) {
        let answer = send(self.address, "DELETE", "/_sandbox/faults", &[], b"").unwrap();
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    }
}

fn user(value: &Value) -> User {
    let profile = &value["profile"];
    let occurrences = list(&value["occurrences"]).iter();
    let event = |value: &Value| Event {
        name: value["name"].as_str().unwrap().to_owned(),
        properties: match &value["properties"] {
            Value::Null => json!({}),
            properties => properties.clone(),
        },
    };
    User {
        external_id: profile["external_id"].as_str().map(str::to_owned),
        attributes: profile["custom_attributes"].as_object().cloned().unwrap_or_default(),
        events: occurrences.filter(|each| each["kind"] == "event").map(event).collect(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
