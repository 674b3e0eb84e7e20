//! What is wrong, where, and what to do about it.

use crate::node::{Node, Value};
use std::fmt;
use std::sync::Arc;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Location {
    /// Where a text begins.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// The place of the byte `offset` of `text`; its end when `offset` is beyond it.
    pub(crate) fn of_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..text.floor_char_boundary(offset)).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Self { line, column }
    }
}

/// `14:3`: line and column.
impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.line, self.column)
    }
}

/// Where each value of a resource was written.
#[derive(Clone)]
pub struct Locations {
    root: Arc<Node>,
}

/// Without what was written there, which may be a secret.
impl fmt::Debug for Locations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Locations").field("root", &self.root.at).finish()
    }
}

impl Locations {
    pub(crate) fn new(root: Arc<Node>) -> Self {
        Self { root }
    }

    /// The place of the value at `path`, for example `send_events.events[0].name`, if it was written.
    pub fn find(&self, path: &str) -> Option<Location> {
        let (node, rest) = self.walk(path);
        rest.is_empty().then_some(node.at)
    }

    /// The place of the value at `path`, or of the nearest one around it that was written.
    pub fn nearest(&self, path: &str) -> Location {
        self.walk(path).0.at
    }

    /// The deepest written value towards `path`, and what remains of `path` there.
    fn walk<'p>(&self, path: &'p str) -> (&Node, &'p str) {
        let mut node = &*self.root;
        let mut rest = path;
        while let Some((step, after)) = next_step(rest) {
            let inner = match (step, &node.value) {
                (Step::Key(key), Value::Map(entries)) => {
                    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
                }
                (Step::Index(index), Value::List(items)) => items.get(index),
                _ => None,
            };
            let Some(inner) = inner else { break };
            node = inner;
            rest = after;
        }
        (node, rest)
    }
}

enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

/// Splits the first step off a path such as `events[0].name` or `[0].name`.
fn next_step(path: &str) -> Option<(Step<'_>, &str)> {
    if path.is_empty() {
        return None;
    }
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(inside) = path.strip_prefix('[') {
        let (digits, after) = inside.split_once(']')?;
        return Some((Step::Index(digits.parse().ok()?), after));
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (key, after) = path.split_at(end);
    Some((Step::Key(key), after))
}

/// Something wrong inside a resource, before it is known where that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Keys and indexes from the top of the resource: `send_events.events[0].name`.
    pub path: String,
    /// Lower case, no full stop, names the thing and the value.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at `path`, without a hint.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: None }
    }

    /// The same problem, with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A problem at a place in a text that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// File as it was named, or what stands for it.
    pub file: String,
    /// From 1; 0 when the problem is not at a line.
    pub line: usize,
    /// In characters, from 1; 0 when the problem is not at a line.
    pub column: usize,
    /// Lower case, no full stop, names the thing and the value.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem at a line of `file`.
    pub(crate) fn at(
        file: &str,
        at: Location,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        let (file, message) = (file.to_owned(), message.into());
        Self { file, line: at.line, column: at.column, message, hint }
    }

    /// A problem with `file` as a whole.
    pub(crate) fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0, column: 0, message: message.into(), hint: None }
    }

    /// The same problem, with what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `loop/braze.yaml:14:3: unknown key ...` and, on the next line, `  hint: ...`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.file)?;
        if self.line > 0 {
            write!(out, "{}:{}:", self.line, self.column)?;
        }
        write!(out, " {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(out, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Words as a person reads them in a hint: `a`, `a or b`, `a, b or c`, each in backticks.
pub(crate) fn listed<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let quoted: Vec<_> = words.into_iter().map(|word| format!("`{}`", clip(word))).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn meant<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    /// Nobody mistypes a key this long, and comparing costs the product of both lengths.
    const LENGTH_MAX: usize = 64;
    if word.len() > LENGTH_MAX {
        return None;
    }
    let folded = word.to_lowercase().replace('-', "_");
    let distance = |known: &str| strsim::damerau_levenshtein(&folded, &known.to_lowercase());
    let (near, distance) = known
        .into_iter()
        .filter(|known| known.len() <= LENGTH_MAX)
        .map(|known| (known, distance(known)))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= near.chars().count().max(3) / 3).then_some(near)
}

/// `text` short enough for a message, and on one line.
pub(crate) fn clip(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let mut clipped: String =
        text.chars().take(CHARACTERS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns_in_characters() {
        let at = |offset| Location::of_offset("aé\nbc", offset).to_string();
        assert_eq!([at(0), at(1), at(2), at(3)], ["1:1", "1:2", "1:2", "1:3"]);
        assert_eq!([at(4), at(5), at(99)], ["2:1", "2:2", "2:3"]);
    }

    #[test]
    fn a_word_is_only_suggested_when_it_is_near() {
        let known = ["rest_key", "endpoint", "app_id"];
        assert_eq!(meant("rest_kye", known), Some("rest_key"));
        assert_eq!(meant("App-ID", known), Some("app_id"));
        assert_eq!(meant("colour", known), None);
        assert_eq!(meant(&"rest_key".repeat(1000), known), None);
    }

    #[test]
    fn words_are_listed_as_a_person_reads_them() {
        assert_eq!(listed([]), "");
        assert_eq!(listed(["a"]), "`a`");
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
