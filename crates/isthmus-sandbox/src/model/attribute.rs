//! Custom attributes: their types, limits and operations.
//!
//! What Braze ignores without saying so comes back as [`Dropped`]; the answer to the client stays
//! a success. Source: "Custom attributes", "Nested custom attributes" and "Array of objects",
//! Braze documentation, read 2026-09.

use super::instant;
use serde_json::{Map, Value};

/// Longest string value, in characters.
const TEXT_MAX: usize = 255;
/// Longest name of an attribute, and longest key inside one, in characters.
const NAME_MAX: usize = 255;
/// Most elements of an array of scalars; what exceeds it falls off the front.
const ARRAY_MAX: usize = 500;
/// Most bytes of one array or object, as JSON.
const NESTED_BYTES_MAX: usize = 102_400;

/// Data points that a write costs.
pub(crate) type Points = u64;

/// Why a write was silently ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dropped(pub(crate) &'static str);

const TOO_LARGE: Dropped = Dropped("more than 100 KB");
const NESTED_INVALID: Dropped = Dropped("invalid value or key inside a nested attribute");
const NOT_AN_ARRAY: Dropped = Dropped("not an array, so nothing can be added or removed");

/// Whether Braze takes `name` for a custom attribute.
pub(crate) fn name_is_valid(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('$') && !longer_than(name, NAME_MAX)
}

/// Whether `text` has more than `max` characters.
pub(crate) fn longer_than(text: &str, max: usize) -> bool {
    text.len() > max && text.chars().nth(max).is_some()
}

/// Writes one member of an attributes object into `attributes`.
///
/// `deep_merge` is the object's `_merge_objects`. Nothing changes when the write is dropped.
pub(crate) fn write(
    attributes: &mut Map<String, Value>,
    name: &str,
    value: Value,
    deep_merge: bool,
) -> Result<Points, Dropped> {
    let value = match value {
        Value::Null => {
            attributes.remove(name);
            return Ok(1);
        }
        Value::String(text) if longer_than(&text, TEXT_MAX) => {
            return Err(Dropped("string longer than 255 characters"));
        }
        Value::String(text) => {
            let time = instant::parse_attribute(&text);
            (Value::String(time.map_or(text, |at| at.to_string())), 1)
        }
        Value::Array(items) => whole_array(items)?,
        Value::Object(object) => match Operation::of(object) {
            Operation::Increment(by) => increment(attributes.get(name), &by)?,
            Operation::AddAndRemove { add, remove } => {
                add_and_remove(attributes.get(name), add, remove)?
            }
            Operation::EditObjects(edit) => edit.apply(attributes.get(name), deep_merge)?,
            Operation::Set(object) => nested(attributes.get(name), object, deep_merge)?,
        },
        scalar => (scalar, 1),
    };
    let (value, points) = value;
    if is_nested(&value) && json_bytes(&value) > NESTED_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    attributes.insert(name.to_owned(), value);
    Ok(points)
}

/// What an object as value asks for.
enum Operation {
    Increment(Value),
    AddAndRemove { add: Vec<Value>, remove: Option<Vec<Value>> },
    EditObjects(EditObjects),
    Set(Map<String, Value>),
}

impl Operation {
    fn of(mut object: Map<String, Value>) -> Self {
        let only = |keys: &[&str]| {
            !object.is_empty() && object.keys().all(|key| keys.contains(&key.as_str()))
        };
        if only(&["inc"]) {
            return Self::Increment(object.remove("inc").unwrap_or_default());
        }
        if only(&["add", "remove"]) && object.values().all(Value::is_array) {
            return Self::AddAndRemove {
                add: array(object.remove("add")).unwrap_or_default(),
                remove: array(object.remove("remove")),
            };
        }
        if only(&["$add", "$remove", "$update"]) {
            return Self::EditObjects(EditObjects(object));
        }
        Self::Set(object)
    }
}

fn array(value: Option<Value>) -> Option<Vec<Value>> {
    match value? {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn increment(stored: Option<&Value>, by: &Value) -> Result<(Value, Points), Dropped> {
    let by = by.as_i64().ok_or(Dropped("increment by something that is not an integer"))?;
    let start = match stored {
        None => 0,
        Some(stored) => stored.as_i64().ok_or(Dropped("increment of what is not an integer"))?,
    };
    let sum = start.checked_add(by).ok_or(Dropped("increment beyond 64 bits"))?;
    Ok((Value::from(sum), 1))
}

/// A whole array replaces what was there.
fn whole_array(items: Vec<Value>) -> Result<(Value, Points), Dropped> {
    if items.iter().any(Value::is_object) {
        if !items.iter().all(nested_is_valid) {
            return Err(NESTED_INVALID);
        }
        let points = items.iter().map(keys_written).sum::<Points>().max(1);
        return Ok((Value::Array(items), points));
    }
    check_elements(&items)?;
    Ok((Value::Array(ordered_set(items)), 1))
}

/// Elements of an array that is not one of objects. Dates stay text: Braze has no array of times.
fn check_elements(items: &[Value]) -> Result<(), Dropped> {
    let fine = |item: &Value| match item {
        Value::Null => false,
        Value::String(text) => !longer_than(text, TEXT_MAX),
        Value::Array(_) | Value::Object(_) => nested_is_valid(item),
        Value::Bool(_) | Value::Number(_) => true,
    };
    if items.iter().all(fine) {
        Ok(())
    } else {
        Err(Dropped("array element that is null or longer than 255 characters"))
    }
}

/// The last of equal elements stays, and of more than [`ARRAY_MAX`] the last ones.
fn ordered_set(items: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::with_capacity(items.len().min(ARRAY_MAX));
    for item in items.into_iter().rev() {
        if kept.len() == ARRAY_MAX {
            break;
        }
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept.reverse();
    kept
}

/// First adds, then removes. Adding costs a point per value, removing one per call.
fn add_and_remove(
    stored: Option<&Value>,
    add: Vec<Value>,
    remove: Option<Vec<Value>>,
) -> Result<(Value, Points), Dropped> {
    check_elements(&add)?;
    let mut items = match stored {
        None => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(_) => return Err(NOT_AN_ARRAY),
    };
    let points = points(add.len()) + Points::from(remove.is_some());
    items.extend(add);
    let mut items = ordered_set(items);
    if let Some(remove) = remove {
        items.retain(|item| !remove.contains(item));
    }
    Ok((Value::Array(items), points))
}

/// A nested object replaces what was there, or is merged into it key by key.
fn nested(
    stored: Option<&Value>,
    object: Map<String, Value>,
    deep_merge: bool,
) -> Result<(Value, Points), Dropped> {
    let object = Value::Object(object);
    if !nested_is_valid(&object) {
        return Err(NESTED_INVALID);
    }
    let points = keys_written(&object).max(1);
    Ok(match stored {
        Some(stored) if deep_merge => {
            let mut merged = stored.clone();
            merge_into(&mut merged, object);
            (merged, points)
        }
        _ => (object, points),
    })
}

/// `$add`, `$remove` and `$update` of an array of objects, processed in this order.
struct EditObjects(Map<String, Value>);

impl EditObjects {
    fn apply(
        mut self,
        stored: Option<&Value>,
        deep_merge: bool,
    ) -> Result<(Value, Points), Dropped> {
        let mut items = match stored {
            None => Vec::new(),
            Some(Value::Array(items)) => items.clone(),
            Some(_) => return Err(NOT_AN_ARRAY),
        };
        let mut points = 0;
        for item in self.list("$add")? {
            if !item.is_object() || !nested_is_valid(&item) {
                return Err(NESTED_INVALID);
            }
            points += keys_written(&item);
            items.push(item);
        }
        for mut target in self.list("$remove")? {
            let (key, value) = identifying(&mut target)?;
            items.retain(|item| item.get(&key) != Some(&value));
            points += 1;
        }
        for mut update in self.list("$update")? {
            let (key, value) = identifying(&mut update)?;
            let new = update.get_mut("$new_object").map(Value::take).filter(Value::is_object);
            let new = new.filter(nested_is_valid).ok_or(NESTED_INVALID)?;
            for item in items.iter_mut().filter(|item| item.get(&key) == Some(&value)) {
                points += keys_written(&new);
                if deep_merge {
                    merge_into(item, new.clone());
                } else {
                    *item = new.clone();
                }
            }
        }
        Ok((Value::Array(items), points))
    }

    fn list(&mut self, key: &str) -> Result<Vec<Value>, Dropped> {
        match self.0.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(NESTED_INVALID),
        }
    }
}

/// The key and value by which an operation names the objects it means.
fn identifying(target: &mut Value) -> Result<(String, Value), Dropped> {
    let mut take = |key| target.get_mut(key).map(Value::take).ok_or(NESTED_INVALID);
    match take("$identifier_key")? {
        Value::String(key) => Ok((key, take("$identifier_value")?)),
        _ => Err(NESTED_INVALID),
    }
}

fn merge_into(stored: &mut Value, new: Value) {
    match (stored, new) {
        (Value::Object(stored), Value::Object(new)) => {
            for (key, value) in new {
                match stored.get_mut(&key) {
                    Some(place) => merge_into(place, value),
                    None => drop(stored.insert(key, value)),
                }
            }
        }
        (stored, new) => *stored = new,
    }
}

/// No null, no over-long string, no forbidden key, and every `$time` a time.
fn nested_is_valid(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !longer_than(text, TEXT_MAX),
        Value::Array(items) => items.iter().all(nested_is_valid),
        Value::Object(object) => match object.get("$time") {
            Some(Value::String(text)) => {
                object.len() == 1 && instant::parse_attribute(text).is_some()
            }
            Some(_) => false,
            None => object.iter().all(|(key, value)| key_is_valid(key) && nested_is_valid(value)),
        },
    }
}

fn key_is_valid(key: &str) -> bool {
    !key.is_empty() && !key.contains([' ', '.', '$']) && !longer_than(key, NAME_MAX)
}

/// Keys with a value that is not itself an object: each costs a point.
fn keys_written(value: &Value) -> Points {
    match value {
        Value::Object(object) if !object.contains_key("$time") => object
            .values()
            .map(|value| match value {
                Value::Object(_) => keys_written(value).max(1),
                _ => 1,
            })
            .sum(),
        _ => 1,
    }
}

fn points(count: usize) -> Points {
    Points::try_from(count).unwrap_or(Points::MAX)
}

fn is_nested(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

fn json_bytes(value: &Value) -> usize {
    value.to_string().len()
}

#[cfg(test)]
mod tests;
