//! User and group properties, and the operations that change them.
//!
//! Pure and deterministic: the same properties and the same update give the same result on every
//! machine, because profiles are rebuilt by replaying the log. Order, effects and limits are those
//! of `amplitude-ingest.md` 8.4 and 12. Limits are applied to what is written, so a stored property
//! is never null and never longer than the limits.
//!
//! A value that means the same as the stored one (1 and 1.0) changes nothing: the stored form
//! stays, and nothing is sent downstream for it.

mod list;
pub(crate) mod number;
mod value;

pub(crate) use value::cut;

use crate::json;
use list::Edit;
use number::Number;
use serde_json::{Map, Value};
use value::{same, stored_form};

/// Properties by name. No value is null.
pub type Properties = Map<String, Value>;

/// Characters kept of any string value, however deep inside a property.
pub const STRING_CHARACTERS_MAX: usize = 1024;

/// Characters kept of a list, counted over its elements (each counts for at least one).
///
/// Amplitude documents this for lists grown by `$append` and `$prepend`, and 1,024 for the list
/// they start from (read March 2026). We keep the larger limit for both: cutting a list that was
/// sent whole would lose data to gain nothing.
pub const LIST_CHARACTERS_MAX: usize = 10_000;

/// One property that changed: what it was and what it is; `None` means it has no value.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub name: String,
    pub from: Option<Value>,
    pub to: Option<Value>,
}

/// Applies the `user_properties` (or `group_properties`) object of one event to `properties`, and
/// returns what really changed, each property once, sorted by name.
///
/// The ten operation keys are applied in Amplitude's order (`$clearAll`, `$unset`, `$set`,
/// `$setOnce`, `$add`, `$append`, `$prepend`, `$preInsert`, `$postInsert`, `$remove`), whatever
/// their order in the object; all other keys are then set as plain properties. A null value is as
/// good as not sent, and does not remove the property: only `$unset` does, which ignores values. An
/// operation whose argument is not an object does nothing, `$clearAll` apart.
pub fn fold(properties: &mut Properties, update: &Properties) -> Vec<Change> {
    let mut folding = Folding { properties, touched: Vec::new() };
    if update.keys().any(|name| name.starts_with('$')) {
        for operation in Operation::IN_ORDER {
            if let Some(argument) = update.get(operation.key()) {
                folding.apply(operation, argument);
            }
        }
    }
    for (name, value) in update {
        if Operation::of(name).is_none() {
            folding.set(name, value);
        }
    }
    folding.changes()
}

/// Gives `properties` what they lack of `anonymous`, the profile of someone who turned out to be
/// the same person; what they have stays. Returns what was gained, sorted by name.
pub fn adopt(properties: &mut Properties, anonymous: &Properties) -> Vec<Change> {
    let mut folding = Folding { properties, touched: Vec::new() };
    for (name, value) in anonymous {
        folding.set_once(name, value);
    }
    folding.changes()
}

/// Whether `update`, the raw JSON object that would be given to [`fold`], could change anything.
///
/// False for an empty object, for empty operations, and for what is no object at all.
pub fn could_change(update: &str) -> bool {
    json::members(update).any(|(name, value)| match Operation::of(&name) {
        None | Some(Operation::ClearAll) => true,
        Some(_) => json::members(value).next().is_some(),
    })
}

/// What an operation key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    ClearAll,
    Unset,
    Set,
    SetOnce,
    Add,
    Edit(Edit),
}

impl Operation {
    const IN_ORDER: [Self; 10] = [
        Self::ClearAll,
        Self::Unset,
        Self::Set,
        Self::SetOnce,
        Self::Add,
        Self::Edit(Edit::Append),
        Self::Edit(Edit::Prepend),
        Self::Edit(Edit::PreInsert),
        Self::Edit(Edit::PostInsert),
        Self::Edit(Edit::Remove),
    ];

    fn key(self) -> &'static str {
        match self {
            Self::ClearAll => "$clearAll",
            Self::Unset => "$unset",
            Self::Set => "$set",
            Self::SetOnce => "$setOnce",
            Self::Add => "$add",
            Self::Edit(Edit::Append) => "$append",
            Self::Edit(Edit::Prepend) => "$prepend",
            Self::Edit(Edit::PreInsert) => "$preInsert",
            Self::Edit(Edit::PostInsert) => "$postInsert",
            Self::Edit(Edit::Remove) => "$remove",
        }
    }

    fn of(key: &str) -> Option<Self> {
        if !key.starts_with('$') {
            return None;
        }
        Self::IN_ORDER.into_iter().find(|operation| operation.key() == key)
    }
}

/// Properties being changed, with what each touched one was before, in the order of touching.
struct Folding<'a> {
    properties: &'a mut Properties,
    touched: Vec<(String, Option<Value>)>,
}

impl Folding<'_> {
    fn apply(&mut self, operation: Operation, argument: &Value) {
        if operation == Operation::ClearAll {
            let cleared = std::mem::take(self.properties);
            self.touched.extend(cleared.into_iter().map(|(name, from)| (name, Some(from))));
            return;
        }
        let Value::Object(arguments) = argument else { return };
        for (name, value) in arguments {
            match operation {
                Operation::ClearAll => {}
                Operation::Unset => self.unset(name),
                Operation::Set => self.set(name, value),
                Operation::SetOnce => self.set_once(name, value),
                Operation::Add => self.add(name, value),
                Operation::Edit(edit) => self.edit(name, edit, value),
            }
        }
    }

    /// The present value of `name`, if it has one.
    fn value(&self, name: &str) -> Option<&Value> {
        self.properties.get(name).filter(|value| !value.is_null())
    }

    fn put(&mut self, name: &str, value: Value) {
        let from = match self.properties.get_mut(name) {
            Some(stored) => Some(std::mem::replace(stored, value)),
            None => self.properties.insert(name.to_owned(), value),
        };
        self.touched.push((name.to_owned(), from));
    }

    fn unset(&mut self, name: &str) {
        if let Some((name, from)) = self.properties.remove_entry(name) {
            self.touched.push((name, Some(from)));
        }
    }

    fn set(&mut self, name: &str, value: &Value) {
        let changes = !self.value(name).is_some_and(|stored| same(stored, value));
        if changes && !value.is_null() {
            self.put(name, stored_form(value));
        }
    }

    fn set_once(&mut self, name: &str, value: &Value) {
        if self.value(name).is_none() && !value.is_null() {
            self.put(name, stored_form(value));
        }
    }

    /// Text counts as a number only where the stored value is numeric text; the sum is a number.
    fn add(&mut self, name: &str, value: &Value) {
        let stored = self.value(name);
        let read = |value: &Value| match value {
            Value::Number(number) => Some(Number::from_json(number)),
            Value::String(text) if stored.is_some_and(Value::is_string) => Number::parse(text),
            _ => None,
        };
        let present = stored.map_or(Some(Number::ZERO), read);
        let (Some(present), Some(added)) = (present, read(value)) else { return };
        if added == Number::ZERO && stored.is_some() {
            return;
        }
        if let Some(sum) = present.plus(added).to_json() {
            self.put(name, Value::Number(sum));
        }
    }

    fn edit(&mut self, name: &str, edit: Edit, value: &Value) {
        if let Some(list) = edit.apply(self.value(name), value) {
            self.put(name, Value::Array(list));
        }
    }

    fn changes(self) -> Vec<Change> {
        let Self { properties, mut touched } = self;
        // Stable, so that of several touches the first, which saw the original, stays.
        touched.sort_by(|(left, _), (right, _)| left.cmp(right));
        touched.dedup_by(|(later, _), (earlier, _)| later == earlier);
        let change = |(name, from): (String, Option<Value>)| {
            let from = from.filter(|value| !value.is_null());
            match (from, properties.get_mut(&name)) {
                (None, None) => None,
                (Some(from), Some(to)) if same(&from, to) => {
                    *to = from;
                    None
                }
                (from, to) => {
                    let to = to.cloned();
                    Some(Change { name, from, to })
                }
            }
        };
        touched.into_iter().filter_map(change).collect()
    }
}

#[cfg(test)]
mod tests;
