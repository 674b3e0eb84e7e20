//! The operations that edit a list.

use super::LIST_CHARACTERS_MAX;
use super::value::{Meaning, limited};
use serde_json::Value;
use std::collections::BTreeSet;

/// How a list is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// Adds at the end, also what is there already.
    Append,
    /// Adds at the front, also what is there already.
    Prepend,
    /// Adds at the front what is not there.
    PreInsert,
    /// Adds at the end what is not there.
    PostInsert,
    /// Deletes every occurrence.
    Remove,
}

impl Edit {
    /// The list that comes of editing `stored` with `argument`, one element or a list of them;
    /// `None` when there is nothing to do.
    ///
    /// A stored scalar becomes a list of one as soon as something is added to it. A list that
    /// grows too long loses its end.
    pub(super) fn apply(self, stored: Option<&Value>, argument: &Value) -> Option<Vec<Value>> {
        let given = match argument {
            Value::Null => return None,
            Value::Array(elements) => elements.as_slice(),
            element => std::slice::from_ref(element),
        };
        if self == Self::Remove {
            let Some(Value::Array(list)) = stored else { return None };
            return remove(list, given);
        }
        let list = match stored {
            None => &[],
            Some(Value::Array(list)) => list.as_slice(),
            Some(scalar) => std::slice::from_ref(scalar),
        };
        let mut added: Vec<Value> = given.iter().map(limited).collect();
        if matches!(self, Self::PreInsert | Self::PostInsert) {
            added = absent(list, added);
        }
        if added.is_empty() {
            return None;
        }
        let mut edited = match self {
            Self::Prepend | Self::PreInsert => [&added, list].concat(),
            Self::Append | Self::PostInsert | Self::Remove => [list, &added].concat(),
        };
        shorten(&mut edited);
        Some(edited)
    }
}

fn remove(list: &[Value], given: &[Value]) -> Option<Vec<Value>> {
    let given: Vec<Value> = given.iter().map(limited).collect();
    let unwanted: BTreeSet<_> = given.iter().map(Meaning::of).collect();
    let kept = list.iter().filter(|element| !unwanted.contains(&Meaning::of(element)));
    let kept: Vec<Value> = kept.cloned().collect();
    (kept.len() < list.len()).then_some(kept)
}

/// The elements of `given` that `list` lacks, each once, in order.
fn absent(list: &[Value], given: Vec<Value>) -> Vec<Value> {
    let mut seen: BTreeSet<_> = list.iter().map(Meaning::of).collect();
    let new: Vec<bool> = given.iter().map(|element| seen.insert(Meaning::of(element))).collect();
    given.into_iter().zip(new).filter_map(|(element, new)| new.then_some(element)).collect()
}

/// Drops the elements from the first one on that does not fit into [`LIST_CHARACTERS_MAX`].
pub(super) fn shorten(list: &mut Vec<Value>) {
    let mut used = 0;
    let fits = list.iter().take_while(|element| {
        used += characters(element);
        used <= LIST_CHARACTERS_MAX
    });
    list.truncate(fits.count());
}

/// What an element counts for: the characters of its text, keys included; at least one.
fn characters(value: &Value) -> usize {
    let characters = match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => text.chars().count(),
        Value::Array(elements) => elements.iter().map(characters).sum(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.chars().count() + characters(value)).sum()
        }
    };
    characters.max(1)
}
