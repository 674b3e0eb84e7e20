//! Property conditions: a property, an operator and values (`cohort-language.md` 5).
//!
//! Streams filter events with them; cohorts will. A condition is built once, which checks it, and
//! then tested against raw JSON, a missing property being `None`.
//!
//! What holds for every operator:
//! - A missing or null property has the value `(none)`: `is (none)` finds it, `is not X` includes it.
//! - Booleans and objects are compared as their JSON text, numbers by value (1 is 1.0), text and
//!   dates as text, also where they look like numbers: version `1.10` is not `1.1`.
//! - Stored text counts up to its first 1,024 characters, and so do the condition's values.
//! - A negated operator is the exact complement of its positive, but `is not` on a list (below).
//! - A list satisfies `is`, `contains`, `starts with`, the order operators and `glob match` if some
//!   element does; to the `set` operators a single value is a list of one.
//!
//! Where Amplitude is silent, we decided:
//! - A missing property has no text and no place among texts: beside `(none)` itself, it does not
//!   contain, start with or match anything, and it is neither less nor greater than a date. Among
//!   numbers it counts as 0, as documented for user properties, whatever the property's scope; an
//!   additional `is not (none)` leaves it out.
//! - Text that is a number in JSON's notation is one to the order operators, and to those alone.

mod glob;
mod operator;
mod stored;

pub use glob::GlobError;
pub use operator::{Operator, UnknownOperator};

use crate::profile::cut;
use crate::profile::number::Number;
use glob::Glob;
use std::borrow::Cow;
use std::cmp::Ordering;
use stored::{Kind, Scalar, Stored};

/// The value of a property that has none.
pub const NONE: &str = "(none)";

/// An operator with its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    operator: Operator,
    values: Vec<String>,
    test: Test,
}

/// A condition that cannot be built: whoever wrote it must mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    #[error("operator `{operator}` needs a value")]
    NoValue { operator: Operator },
    #[error("operator `{operator}` takes one value, not {count}")]
    SeveralValues { operator: Operator, count: usize },
    #[error("`{pattern}` is not a glob: {reason}")]
    Glob { pattern: String, reason: GlobError },
}

impl Condition {
    /// Builds the condition; `values` are texts, also for numbers (`"50"`) and booleans (`"true"`).
    ///
    /// Several values are alternatives (`is`, `contains`, `starts with`, `glob match`: any of them;
    /// their negations: none of them), but belong together for the `set` operators. The order
    /// operators take exactly one.
    pub fn new(operator: Operator, values: Vec<String>) -> Result<Self, ConditionError> {
        let test = Test::new(operator, &values)?;
        Ok(Self { operator, values, test })
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// As they were written.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether the property with this value, raw JSON, satisfies the condition; `None` is missing.
    ///
    /// Several conditions on one property are not always the sum of each: see [`Conditions`].
    pub fn holds(&self, value: Option<&str>) -> bool {
        self.test.holds(&Stored::read(value))
    }
}

/// Conditions on one property, all of which must hold.
///
/// On a list this says more than testing each alone: several `is not` act as one with all of their
/// values, so that `[A, B]` satisfies `is not A`, but not `is not A` and `is not B` together. All
/// conditions on a property therefore belong into one of these.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conditions {
    conditions: Vec<Condition>,
}

impl Conditions {
    /// Conditions that are all on the same property. None at all always hold.
    pub fn new(conditions: impl IntoIterator<Item = Condition>) -> Self {
        let mut all = Self::default();
        for condition in conditions {
            all.push(condition);
        }
        all
    }

    pub fn push(&mut self, condition: Condition) {
        if let Test::IsNot(added) = &condition.test {
            for present in &mut self.conditions {
                if let Test::IsNot(values) = &mut present.test {
                    values.join(added);
                    present.values.extend(condition.values);
                    return;
                }
            }
        }
        self.conditions.push(condition);
    }

    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether the property with this value, raw JSON, satisfies all; `None` is missing.
    pub fn hold(&self, value: Option<&str>) -> bool {
        if self.conditions.is_empty() {
            return true;
        }
        let stored = Stored::read(value);
        self.conditions.iter().all(|condition| condition.test.holds(&stored))
    }
}

/// What a condition does, ready to run. `holds` is the answer when the positive form holds.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Is(Values),
    /// Not the complement of `Is`: a list satisfies it with an element outside the values, or
    /// with no element.
    IsNot(Values),
    /// Texts in one case.
    Contains {
        texts: Vec<String>,
        holds: bool,
    },
    /// Texts in one case.
    StartsWith {
        texts: Vec<String>,
        holds: bool,
    },
    Order {
        accepts: &'static [Ordering],
        value: Value,
    },
    SetIs {
        values: Values,
        holds: bool,
    },
    SetContains {
        values: Values,
        holds: bool,
    },
    Glob {
        globs: Vec<Glob>,
        finds_none: bool,
        holds: bool,
    },
}

impl Test {
    fn new(operator: Operator, values: &[String]) -> Result<Self, ConditionError> {
        use Operator as Op;
        let first = values.first().ok_or(ConditionError::NoValue { operator })?;
        let in_order = |accepts| match values.len() {
            1 => Ok(Self::Order { accepts, value: Value::new(first) }),
            count => Err(ConditionError::SeveralValues { operator, count }),
        };
        let texts = || values.iter().map(|value| in_one_case(cut(value)).into_owned()).collect();
        Ok(match operator {
            Op::Is => Self::Is(Values::new(values)),
            Op::IsNot => Self::IsNot(Values::new(values)),
            Op::Contains => Self::Contains { texts: texts(), holds: true },
            Op::DoesNotContain => Self::Contains { texts: texts(), holds: false },
            Op::StartsWith => Self::StartsWith { texts: texts(), holds: true },
            Op::DoesNotStartWith => Self::StartsWith { texts: texts(), holds: false },
            Op::Less => in_order(&[Ordering::Less])?,
            Op::LessOrEqual => in_order(&[Ordering::Less, Ordering::Equal])?,
            Op::Greater => in_order(&[Ordering::Greater])?,
            Op::GreaterOrEqual => in_order(&[Ordering::Greater, Ordering::Equal])?,
            Op::SetIs => Self::SetIs { values: Values::new(values), holds: true },
            Op::SetIsNot => Self::SetIs { values: Values::new(values), holds: false },
            Op::SetContains => Self::SetContains { values: Values::new(values), holds: true },
            Op::SetDoesNotContain => {
                Self::SetContains { values: Values::new(values), holds: false }
            }
            Op::GlobMatch => Self::globs(values, true)?,
            Op::GlobDoesNotMatch => Self::globs(values, false)?,
        })
    }

    fn globs(patterns: &[String], holds: bool) -> Result<Self, ConditionError> {
        let glob = |pattern: &String| {
            Glob::new(pattern)
                .map_err(|reason| ConditionError::Glob { pattern: pattern.clone(), reason })
        };
        let globs = patterns.iter().map(glob).collect::<Result<_, _>>()?;
        let finds_none = patterns.iter().any(|pattern| pattern == NONE);
        Ok(Self::Glob { globs, finds_none, holds })
    }

    fn holds(&self, stored: &Stored<'_>) -> bool {
        match self {
            Self::Is(values) => stored.any(|scalar| values.have(scalar)),
            Self::IsNot(values) => match stored {
                Stored::List(elements) if elements.is_empty() => true,
                _ => stored.any(|scalar| !values.have(scalar)),
            },
            Self::Contains { texts, holds } => {
                stored.any(|scalar| any_text(texts, scalar, |of, text| of.contains(text))) == *holds
            }
            Self::StartsWith { texts, holds } => {
                stored.any(|scalar| any_text(texts, scalar, |of, text| of.starts_with(text)))
                    == *holds
            }
            Self::Order { accepts, value } => stored.any(|scalar| {
                value.order(scalar).is_some_and(|ordering| accepts.contains(&ordering))
            }),
            Self::SetIs { values, holds } => {
                let elements = stored.elements();
                let same = elements.iter().all(|scalar| values.have(scalar))
                    && values.are_all_in(elements);
                same == *holds
            }
            Self::SetContains { values, holds } => values.are_all_in(stored.elements()) == *holds,
            Self::Glob { globs, finds_none, holds } => {
                let found = stored.any(|scalar| match scalar.kind {
                    Kind::Missing => *finds_none,
                    _ => globs.iter().any(|glob| glob.matches(&scalar.text)),
                });
                found == *holds
            }
        }
    }
}

/// Whether `scalar`, its case aside, is related to one of `texts`, which are in one case.
fn any_text(texts: &[String], scalar: &Scalar<'_>, related: fn(&str, &str) -> bool) -> bool {
    if scalar.kind == Kind::Missing {
        return texts.iter().any(|text| text == NONE);
    }
    let scalar = in_one_case(&scalar.text);
    texts.iter().any(|text| related(&scalar, text))
}

/// `text` with the difference between upper and lower case removed, character by character, so
/// that a part of a text stays a part of it.
fn in_one_case(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    // The capital sigma has a second small form, at the end of a word.
    let small = text.chars().flat_map(char::to_lowercase);
    Cow::Owned(small.map(|small| if small == 'ς' { 'σ' } else { small }).collect())
}

/// One value of a condition.
#[derive(Debug, Clone, PartialEq)]
struct Value {
    text: String,
    number: Option<Number>,
}

impl Value {
    fn new(text: &str) -> Self {
        Self { text: cut(text).to_owned(), number: Number::parse(text) }
    }

    fn is(&self, scalar: &Scalar<'_>) -> bool {
        self.text == scalar.text
            || (scalar.kind == Kind::Number
                && self.number.is_some()
                && self.number == Number::parse(&scalar.text))
    }

    /// How `scalar` stands to this value: by number if both are one, as texts otherwise.
    fn order(&self, scalar: &Scalar<'_>) -> Option<Ordering> {
        match (scalar.in_order(), self.number) {
            (Some(scalar), Some(number)) => Some(scalar.order(number)),
            _ if scalar.kind == Kind::Missing => None,
            _ => Some((*scalar.text).cmp(&self.text)),
        }
    }
}

/// Values to be found among; long lists of ids are common, so both parts are sorted.
#[derive(Debug, Clone, PartialEq)]
struct Values {
    by_text: Vec<Value>,
    numbers: Vec<Number>,
}

impl Values {
    fn new(texts: &[String]) -> Self {
        Self::sorted(texts.iter().map(|text| Value::new(text)).collect())
    }

    fn sorted(mut by_text: Vec<Value>) -> Self {
        by_text.sort_by(|left, right| left.text.cmp(&right.text));
        let mut numbers: Vec<_> = by_text.iter().filter_map(|value| value.number).collect();
        numbers.sort_by(|left, right| left.order(*right));
        Self { by_text, numbers }
    }

    fn join(&mut self, other: &Self) {
        let mut all = std::mem::take(&mut self.by_text);
        all.extend_from_slice(&other.by_text);
        *self = Self::sorted(all);
    }

    fn have(&self, scalar: &Scalar<'_>) -> bool {
        let text = &*scalar.text;
        if self.by_text.binary_search_by(|value| value.text.as_str().cmp(text)).is_ok() {
            return true;
        }
        scalar.kind == Kind::Number
            && !self.numbers.is_empty()
            && Number::parse(text).is_some_and(|number| {
                self.numbers.binary_search_by(|value| value.order(number)).is_ok()
            })
    }

    fn are_all_in(&self, elements: &[Scalar<'_>]) -> bool {
        self.by_text.iter().all(|value| elements.iter().any(|scalar| value.is(scalar)))
    }
}

#[cfg(test)]
mod tests;
