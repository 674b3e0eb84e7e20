//! Whom a campaign is for: conditions about attributes and about what users did.

use crate::model::{OccurrenceKind, User, UserKey, Workspace, is_standard, parse_time};
use crate::span::Span;
use crate::written::{DefinitionError, Members};
use isthmus_core::Timestamp;
use serde_json::Value;
use std::cmp::Ordering;
use std::time::Duration;

/// Conditions in conditions, so that reading one ends.
const DEPTH_MAX: usize = 8;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Segment {
    /// Every one of them; of none, everybody.
    All(Vec<Self>),
    Any(Vec<Self>),
    None(Vec<Self>),
    Attribute {
        name: String,
        test: Test,
    },
    Performed {
        event: String,
        at_least: u64,
        within: Option<Duration>,
    },
}

/// What is asked about an attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    Equals(Value),
    /// Another value, or none.
    Not(Value),
    /// A number, or a time.
    Greater(Value),
    Less(Value),
    Exists(bool),
    /// An element of an array, or a part of a text.
    Contains(Value),
}

impl Segment {
    /// Everybody.
    pub(super) fn everybody() -> Self {
        Self::All(Vec::new())
    }

    /// Reads a condition that stands at `at`.
    pub(super) fn read(at: &str, written: Value) -> Result<Self, DefinitionError> {
        Self::read_within(at, written, DEPTH_MAX)
    }

    fn read_within(at: &str, written: Value, depth: usize) -> Result<Self, DefinitionError> {
        if depth == 0 {
            return Err(DefinitionError::new(at, format!("is nested deeper than {DEPTH_MAX}")));
        }
        let kind = written.as_object().and_then(|members| {
            ["all", "any", "none", "attribute", "event"]
                .into_iter()
                .find(|kind| members.contains_key(*kind))
        });
        let mut members = Members::of(at, written)?;
        let read = match kind {
            Some("attribute") => {
                let name = members.need("attribute")?;
                let test = Test::read(&mut members)?;
                Self::Attribute { name, test }
            }
            Some("event") => Self::Performed {
                event: members.need("event")?,
                at_least: members.count("at_least", 1)? as u64,
                within: members.take::<Span>("within")?.map(|span| span.0),
            },
            Some(kind) => {
                let parts = members.need::<Vec<Value>>(kind)?.into_iter().enumerate();
                let read = |(number, part)| {
                    let at = format!("{}[{number}]", members.path(kind));
                    Self::read_within(&at, part, depth - 1)
                };
                let parts = parts.map(read).collect::<Result<_, _>>()?;
                match kind {
                    "all" => Self::All(parts),
                    "any" => Self::Any(parts),
                    _ => Self::None(parts),
                }
            }
            None => {
                let problem = "needs one of all, any, none, attribute and event";
                return Err(DefinitionError::new(at, problem));
            }
        };
        members.end()?;
        Ok(read)
    }

    /// Whether the user is in it at `now`.
    pub(super) fn holds(&self, workspace: &Workspace, who: UserKey, now: Timestamp) -> bool {
        let holds = |part: &Self| part.holds(workspace, who, now);
        match self {
            Self::All(parts) => parts.iter().all(holds),
            Self::Any(parts) => parts.iter().any(holds),
            Self::None(parts) => !parts.iter().any(holds),
            Self::Attribute { name, test } => {
                let user = workspace.directory().get(who);
                user.is_some_and(|user| test.holds(value_of(user, name).as_ref()))
            }
            Self::Performed { event, at_least, within } => {
                performed(workspace, who, event, within.map(|within| (now, within))) >= *at_least
            }
        }
    }
}

/// How often the user performed `event`; within a time, as far back as occurrences are kept, but
/// at least once if the last one was within it.
fn performed(
    workspace: &Workspace,
    who: UserKey,
    event: &str,
    within: Option<(Timestamp, Duration)>,
) -> u64 {
    let tally = workspace.directory().get(who).and_then(|user| user.events.get(event));
    let Some(tally) = tally else { return 0 };
    let Some((now, within)) = within else { return tally.count };
    if now.since(tally.last) > within {
        return 0;
    }
    if now.since(tally.first) <= within {
        return tally.count;
    }
    let occurrences = workspace.history().of(who);
    let matching = occurrences.filter(|occurrence| {
        let at = Timestamp::parse_iso(&occurrence.time);
        occurrence.kind == OccurrenceKind::Event
            && occurrence.name == event
            && at.is_some_and(|at| now.since(at) <= within)
    });
    (matching.count() as u64).max(1)
}

/// A standard field, `external_id`, or a custom attribute; `a.b` is `b` inside of `a`.
fn value_of(user: &User, name: &str) -> Option<Value> {
    if name == "external_id" {
        return user.external_id.as_deref().map(Value::from);
    }
    if is_standard(name) {
        return user.standard.get(name).cloned();
    }
    if let Some(value) = user.custom.get(name) {
        return Some(value.clone());
    }
    let mut parts = name.split('.');
    let mut value = user.custom.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value.clone())
}

impl Test {
    fn read(members: &mut Members) -> Result<Self, DefinitionError> {
        let mut tests = Vec::new();
        for (name, test) in [
            ("equals", Self::Equals as fn(Value) -> Self),
            ("not", Self::Not),
            ("greater", Self::Greater),
            ("less", Self::Less),
            ("contains", Self::Contains),
        ] {
            if let Some(value) = members.value(name) {
                tests.push((name, test(value)));
            }
        }
        if let Some(exists) = members.take("exists")? {
            tests.push(("exists", Self::Exists(exists)));
        }
        let (Some((name, test)), true) = (tests.pop(), tests.is_empty()) else {
            let problem = "needs exactly one of equals, not, greater, less, exists and contains";
            return Err(members.wrong("attribute", problem));
        };
        if let Self::Greater(value) | Self::Less(value) = &test
            && rank(value).is_none()
        {
            return Err(members.wrong(name, "must be a number or a time"));
        }
        if let Self::Equals(value) | Self::Not(value) | Self::Contains(value) = &test
            && (value.is_object() || value.is_array())
        {
            return Err(members.wrong(name, "must be a text, a number or a boolean"));
        }
        Ok(test)
    }

    fn holds(&self, value: Option<&Value>) -> bool {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return matches!(self, Self::Not(_) | Self::Exists(false));
        };
        match self {
            Self::Equals(wanted) => is_same(value, wanted),
            Self::Not(wanted) => !is_same(value, wanted),
            Self::Greater(bound) => compare(value, bound) == Some(Ordering::Greater),
            Self::Less(bound) => compare(value, bound) == Some(Ordering::Less),
            Self::Exists(wanted) => *wanted,
            Self::Contains(wanted) => match (value, wanted) {
                (Value::Array(values), wanted) => values.iter().any(|value| is_same(value, wanted)),
                (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
                _ => false,
            },
        }
    }
}

/// What two values are compared by: kinds apart, as a number is never after a time.
fn rank(value: &Value) -> Option<(bool, f64)> {
    match value {
        Value::Number(number) => Some((false, number.as_f64()?)),
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of all years fit in 53 bits")]
        Value::String(text) => Some((true, parse_time(text)?.as_millis() as f64)),
        _ => None,
    }
}

fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    let ((kind, one), (other_kind, other)) = (rank(one)?, rank(other)?);
    if kind == other_kind { one.partial_cmp(&other) } else { None }
}

/// Numbers are the same whatever their type, and times whatever their form.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || compare(one, other) == Some(Ordering::Equal)
}

#[cfg(test)]
mod tests;
