//! Properties of one kind (custom or built-in) of a person, with the time since when each has its
//! value.

use isthmus_core::profile::{self, Change, Properties};
use isthmus_state::people::Values;
use std::collections::BTreeMap;

/// [`Values`], read.
pub(super) struct Profile {
    pub(super) properties: Properties,
    /// By name; a property without an entry has its value since nobody knows when.
    since: BTreeMap<String, i64>,
}

impl Profile {
    pub(super) fn read(values: &Values) -> Self {
        let properties = super::apply::parse(&values.text);
        let since = properties.keys().cloned().zip(values.since.iter().copied()).collect();
        Self { properties, since }
    }

    pub(super) fn write(&self) -> Values {
        let since = self.properties.keys().map(|name| self.since(name)).collect();
        Values { text: super::apply::text(&self.properties), since }
    }

    /// Since when `name` has its value; zero where that is not known.
    pub(super) fn since(&self, name: &str) -> i64 {
        self.since.get(name).copied().unwrap_or_default()
    }

    /// Notes that `changes` happened `at`.
    pub(super) fn changed(&mut self, changes: &[Change], at: i64) {
        for change in changes {
            self.since.insert(change.name.clone(), at);
        }
    }

    /// Takes what it lacks of `other`, with its times; returns what was gained.
    pub(super) fn adopt(&mut self, other: &Self) -> Vec<Change> {
        let gained = profile::adopt(&mut self.properties, &other.properties);
        for change in &gained {
            self.since.insert(change.name.clone(), other.since(&change.name));
        }
        gained
    }
}
