//! JSON that a person wrote: read member by member, so that an error names the field.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What is wrong with a definition. Whoever wrote it mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct DefinitionError {
    /// The field, with the way to it: `segment.all[1].greater`. Empty for the whole.
    pub field: String,
    pub problem: String,
}

impl DefinitionError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// The members of an object that are not read yet.
#[derive(Debug)]
pub(crate) struct Members {
    at: String,
    rest: Map<String, Value>,
    read: Vec<&'static str>,
}

impl Members {
    /// The members of `value`, which stands at `at`.
    pub(crate) fn of(at: &str, value: Value) -> Result<Self, DefinitionError> {
        match value {
            Value::Object(rest) => Ok(Self { at: at.to_owned(), rest, read: Vec::new() }),
            _ => Err(DefinitionError::new(at, "must be an object")),
        }
    }

    /// The way to the member `name`.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    pub(crate) fn wrong(&self, name: &str, problem: impl Into<String>) -> DefinitionError {
        DefinitionError::new(self.path(name), problem)
    }

    /// Takes the member `name` as it is; null counts as absent.
    pub(crate) fn value(&mut self, name: &'static str) -> Option<Value> {
        self.read.push(name);
        self.rest.remove(name).filter(|value| !value.is_null())
    }

    /// Takes the member `name`, if it is there.
    pub(crate) fn take<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, DefinitionError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let read = serde_json::from_value(value);
        read.map(Some).map_err(|error| self.wrong(name, error.to_string()))
    }

    /// Takes the member `name`, which must be there.
    pub(crate) fn need<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<T, DefinitionError> {
        self.take(name)?.ok_or_else(|| self.wrong(name, "is required"))
    }

    /// Takes a share from 0 to 1.
    pub(crate) fn share(
        &mut self,
        name: &'static str,
        otherwise: f64,
    ) -> Result<f64, DefinitionError> {
        let share = self.take::<f64>(name)?.unwrap_or(otherwise);
        if (0.0..=1.0).contains(&share) {
            Ok(share)
        } else {
            Err(self.wrong(name, format!("must be from 0 to 1, not {share}")))
        }
    }

    /// Takes a whole number from 1.
    pub(crate) fn count(
        &mut self,
        name: &'static str,
        otherwise: usize,
    ) -> Result<usize, DefinitionError> {
        match self.take::<usize>(name)?.unwrap_or(otherwise) {
            0 => Err(self.wrong(name, "must be at least 1")),
            count => Ok(count),
        }
    }

    /// Refuses what nobody read.
    pub(crate) fn end(self) -> Result<(), DefinitionError> {
        let Some(unknown) = self.rest.keys().next() else { return Ok(()) };
        let known = self.read.join(", ");
        Err(self.wrong(unknown, format!("is unknown; there are {known}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<(f64, usize), DefinitionError> {
        let mut members = Members::of("here", value)?;
        let read = (members.share("share", 0.5)?, members.count("count", 7)?);
        members.end()?;
        Ok(read)
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(read(json!({"count": null})), Ok((0.5, 7)));
        for (written, error) in [
            (json!([]), "here: must be an object"),
            (json!({"share": 2}), "here.share: must be from 0 to 1, not 2"),
            (json!({"count": 0}), "here.count: must be at least 1"),
            (json!({"count": "7"}), "here.count: invalid type: string \"7\", expected usize"),
            (json!({"cout": 7}), "here.cout: is unknown; there are share, count"),
        ] {
            assert_eq!(read(written).map_err(|error| error.to_string()), Err(error.to_owned()));
        }
    }
}
