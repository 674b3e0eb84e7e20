//! The operators and their names.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// How a property is compared with the values of a condition.
///
/// Written as Amplitude writes it: `is not`, `less or equal`, `glob match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    Is,
    IsNot,
    Contains,
    DoesNotContain,
    StartsWith,
    DoesNotStartWith,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    SetIs,
    SetIsNot,
    SetContains,
    SetDoesNotContain,
    GlobMatch,
    GlobDoesNotMatch,
}

impl Operator {
    pub const ALL: [Self; 16] = [
        Self::Is,
        Self::IsNot,
        Self::Contains,
        Self::DoesNotContain,
        Self::StartsWith,
        Self::DoesNotStartWith,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::SetIs,
        Self::SetIsNot,
        Self::SetContains,
        Self::SetDoesNotContain,
        Self::GlobMatch,
        Self::GlobDoesNotMatch,
    ];

    /// As it is written in a resource file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Is => "is",
            Self::IsNot => "is not",
            Self::Contains => "contains",
            Self::DoesNotContain => "does not contain",
            Self::StartsWith => "starts with",
            Self::DoesNotStartWith => "does not start with",
            Self::Less => "less",
            Self::LessOrEqual => "less or equal",
            Self::Greater => "greater",
            Self::GreaterOrEqual => "greater or equal",
            Self::SetIs => "set is",
            Self::SetIsNot => "set is not",
            Self::SetContains => "set contains",
            Self::SetDoesNotContain => "set does not contain",
            Self::GlobMatch => "glob match",
            Self::GlobDoesNotMatch => "glob does not match",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Operator {
    type Err = UnknownOperator;

    fn from_str(name: &str) -> Result<Self, UnknownOperator> {
        let known = Self::ALL.into_iter().find(|operator| operator.name() == name);
        known.ok_or_else(|| UnknownOperator { name: name.to_owned(), close: close_to(name) })
    }
}

/// A name that no operator has. The message ends with the close ones, or with all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown operator `{name}`, {}", suggestion(.close))]
pub struct UnknownOperator {
    pub name: String,
    /// What was probably meant, likeliest first.
    pub close: Vec<Operator>,
}

fn suggestion(close: &[Operator]) -> String {
    let (mut text, candidates) = match close {
        [] => ("expected one of ".to_owned(), Operator::ALL.as_slice()),
        _ => ("did you mean ".to_owned(), close),
    };
    for (at, operator) in candidates.iter().enumerate() {
        let separator = match at {
            0 => "",
            _ if at + 1 == candidates.len() => " or ",
            _ => ", ",
        };
        write!(text, "{separator}`{operator}`").expect("a String takes all text");
    }
    text
}

/// Operators under names that other languages give them.
const SYNONYMS: [(&str, Operator); 18] = [
    ("=", Operator::Is),
    ("==", Operator::Is),
    ("equals", Operator::Is),
    ("in", Operator::Is),
    ("!=", Operator::IsNot),
    ("<>", Operator::IsNot),
    ("not in", Operator::IsNot),
    ("not contains", Operator::DoesNotContain),
    ("<", Operator::Less),
    ("less than", Operator::Less),
    ("<=", Operator::LessOrEqual),
    ("less than or equal", Operator::LessOrEqual),
    (">", Operator::Greater),
    ("greater than", Operator::Greater),
    (">=", Operator::GreaterOrEqual),
    ("greater than or equal", Operator::GreaterOrEqual),
    ("matches", Operator::GlobMatch),
    ("glob", Operator::GlobMatch),
];

/// Characters that may be wrong in a name for it to count as a slip of the keyboard.
const SLIPS_MAX: usize = 2;

fn close_to(name: &str) -> Vec<Operator> {
    // Longer than any operator by more than the slips: not worth the comparison.
    if name.len() > 64 {
        return Vec::new();
    }
    let name = name.trim().to_lowercase().replace(['_', '-'], " ");
    if let Some((_, operator)) = SYNONYMS.iter().find(|(synonym, _)| *synonym == name) {
        return vec![*operator];
    }
    let distances = Operator::ALL.map(|operator| (distance(&name, operator.name()), operator));
    // A short name must not be all slips: `is` is two away from everything of two letters.
    let close = distances.into_iter().filter(|(distance, _)| {
        *distance <= SLIPS_MAX && distance * 2 < name.chars().count().max(1)
    });
    let mut close: Vec<_> = close.collect();
    close.sort_by_key(|(distance, _)| *distance);
    close.into_iter().map(|(_, operator)| operator).collect()
}

/// Insertions, deletions and replacements of characters between the two.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (above, from) in left.chars().enumerate() {
        let mut diagonal = above;
        let mut before = above + 1;
        let mut cells = row.iter_mut();
        if let Some(first) = cells.next() {
            *first = before;
        }
        for (cell, to) in cells.zip(right.chars()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            before = replaced.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for operator in Operator::ALL {
            assert_eq!(operator.to_string().parse(), Ok(operator));
        }
    }

    fn message(name: &str) -> String {
        name.parse::<Operator>().expect_err("no operator").to_string()
    }

    #[test]
    fn unknown_names_suggest_what_was_meant() {
        let cases = [
            ("is_not", "did you mean `is not`"),
            ("isnot", "did you mean `is not`"),
            ("Is", "did you mean `is`"),
            ("contain", "did you mean `contains`"),
            ("does not contains", "did you mean `does not contain`"),
            ("set-is", "did you mean `set is`"),
            (">=", "did you mean `greater or equal`"),
            ("less than", "did you mean `less`"),
            ("set si not", "did you mean `set is not`"),
        ];
        for (name, suggestion) in cases {
            assert_eq!(message(name), format!("unknown operator `{name}`, {suggestion}"));
        }
        for name in ["", "xy", "regex", &"is".repeat(1000)] {
            assert!(message(name).contains("expected one of `is`, `is not`, "), "{name}");
            assert!(message(name).ends_with("`glob match` or `glob does not match`"), "{name}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        for (left, right, edits) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }
}
