//! YAML and TOML as one tree of values that know where they were written.
//!
//! A scalar keeps its text, so nothing is lost to guessing: `0123` stays a key, `1e5` a name and
//! `no` a country. Readers decide what a scalar is by what they expect. The size of the tree is
//! bounded before it is built, whatever the text expands to.

pub(crate) mod toml;
pub(crate) mod yaml;

use crate::diagnostic::{Location, clip};

/// Bytes of one text; the largest hand-written resources are a hundredth of this.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 20;
/// Levels of lists and mappings inside each other.
pub(crate) const DEPTH_MAX: usize = 48;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) at: Location,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `blank` when nothing was written, as opposed to a word for nothing.
    Null {
        blank: bool,
    },
    /// `plain` when it was written without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping and its value; no key is there twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Location,
    pub(crate) value: Node,
}

impl Node {
    /// The value of `key`, where this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The text, where this is a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What a message says was found here.
    pub(crate) fn found(&self) -> String {
        match &self.value {
            Value::Null { .. } => "nothing".to_owned(),
            Value::Scalar { text, plain: true } => format!("`{}`", clip(text)),
            Value::Scalar { text, plain: false } => format!("the text \"{}\"", clip(text)),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(entries) if entries.is_empty() => "an empty mapping".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// How many values there are in here, this one included, and how deep they go.
    fn measure(&self) -> (usize, usize) {
        let add = |(count, depth): (usize, usize), node: &Node| {
            let (more, deeper) = node.measure();
            (count + more, depth.max(deeper))
        };
        let (count, depth) = match &self.value {
            Value::Null { .. } | Value::Scalar { .. } => (0, 0),
            Value::List(items) => items.iter().fold((0, 0), add),
            Value::Map(entries) => entries.iter().map(|entry| &entry.value).fold((0, 0), add),
        };
        (count + 1, depth + 1)
    }
}

/// Something wrong with a text as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Location,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}
