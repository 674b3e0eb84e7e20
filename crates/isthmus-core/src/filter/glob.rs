//! Whole-value patterns over paths.
//!
//! `*` takes any run of characters but `/`, `**` any run, `?` one character, `[abc]`, `[a-z]` and
//! `[!a-z]` one of a class. All else, the backslash included, stands for itself.
//!
//! Matching follows all ways through the pattern at once instead of trying them one by one, so its
//! time is at most pattern length times text length, whatever both contain.

use crate::profile::STRING_CHARACTERS_MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Class { negated: bool, ranges: Vec<(char, char)> },
    Run,
    RunAcross,
}

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    #[error("`[` is never closed")]
    Open,
    #[error("range `{from}-{to}` is backwards")]
    Backwards { from: char, to: char },
    #[error("it is longer than the {STRING_CHARACTERS_MAX} characters that a value can have")]
    TooLong,
}

impl Glob {
    pub(super) fn new(pattern: &str) -> Result<Self, GlobError> {
        if pattern.chars().count() > STRING_CHARACTERS_MAX {
            return Err(GlobError::TooLong);
        }
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut rest = pattern.chars();
        while let Some(next) = rest.next() {
            let token = match next {
                '*' => match tokens.last_mut() {
                    Some(run @ (Token::Run | Token::RunAcross)) => {
                        *run = Token::RunAcross;
                        continue;
                    }
                    _ => Token::Run,
                },
                '?' => Token::One,
                '[' => class(&mut rest)?,
                literal => Token::Literal(literal),
            };
            tokens.push(token);
        }
        Ok(Self { tokens })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let mut here = Places::new(&self.tokens);
        let mut next = Places::new(&self.tokens);
        here.add(0);
        for character in text.chars() {
            next.clear();
            for &place in &here.list {
                match self.tokens.get(place) {
                    Some(Token::RunAcross) => next.add(place),
                    Some(Token::Run) if character != '/' => next.add(place),
                    Some(token) if token.takes(character) => next.add(place + 1),
                    _ => {}
                }
            }
            std::mem::swap(&mut here, &mut next);
            if here.list.is_empty() {
                return false;
            }
        }
        here.list.contains(&self.tokens.len())
    }
}

impl Token {
    /// Whether this token is one character, and `character` is it.
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == character,
            Self::One => true,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(from, to)| (from..=to).contains(&&character)) != *negated
            }
            Self::Run | Self::RunAcross => false,
        }
    }
}

/// Places in a pattern that the text so far can lead to, each once.
struct Places<'a> {
    tokens: &'a [Token],
    list: Vec<usize>,
    /// By place: whether `list` has it.
    listed: Vec<bool>,
}

impl<'a> Places<'a> {
    fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, list: Vec::new(), listed: vec![false; tokens.len() + 1] }
    }

    /// Adds `place`, and where it leads without a character: past a run that takes none.
    fn add(&mut self, mut place: usize) {
        while let Some(listed @ false) = self.listed.get_mut(place) {
            *listed = true;
            self.list.push(place);
            if !matches!(self.tokens.get(place), Some(Token::Run | Token::RunAcross)) {
                break;
            }
            place += 1;
        }
    }

    fn clear(&mut self) {
        for place in self.list.drain(..) {
            if let Some(listed) = self.listed.get_mut(place) {
                *listed = false;
            }
        }
    }
}

/// Reads what follows a `[`. A `]` that comes first, and a `-` at either end, stand for themselves.
fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, GlobError> {
    let mut ranges = Vec::new();
    let mut next = rest.next();
    let negated = next == Some('!');
    if negated {
        next = rest.next();
    }
    loop {
        let from = match next {
            None => return Err(GlobError::Open),
            Some(']') if !ranges.is_empty() => return Ok(Token::Class { negated, ranges }),
            Some(from) => from,
        };
        let mut ahead = rest.clone();
        let range = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *rest = ahead;
                (from, to)
            }
            _ => (from, from),
        };
        if range.0 > range.1 {
            return Err(GlobError::Backwards { from: range.0, to: range.1 });
        }
        ranges.push(range);
        next = rest.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).expect("a pattern").matches(text)
    }

    #[test]
    fn follows_the_documented_wildcards() {
        for (pattern, taken, refused) in [
            ("/a/*", "/a/b", "/a/b/c"),
            ("/a/**", "/a/b/c", "/b/a/"),
            ("*", "", "/"),
            ("**", "a/b/c", "-"),
            ("a?c", "abc", "ac"),
            ("a?c", "a/c", "abbc"),
            ("?", "é", ""),
            ("[abc]x", "bx", "dx"),
            ("[a-cx-z]", "y", "d"),
            ("[!a-z]", "A", "q"),
            ("[]x]", "]", "a"),
            ("[!]]", "a", "]"),
            ("[a-]", "-", "b"),
            ("[-a]", "-", "b"),
            ("[a!]", "!", "b"),
            ("*?b*c", "ab/bxc", "ab/b/c"),
            ("*.css", "a.css", "a/b.css"),
            ("**.css", "a/b.css", "a/b.cs"),
            ("a***b", "a/x/b", "a/x/c"),
            ("\\*", "\\n", "*"),
            ("", "", "a"),
            ("Abc", "Abc", "abc"),
            ("x]", "x]", "x"),
        ] {
            assert!(matches(pattern, taken), "{pattern} takes {taken}");
            assert!(pattern == "**" || !matches(pattern, refused), "{pattern} refuses {refused}");
        }
    }

    #[test]
    fn unreadable_patterns_are_refused() {
        for (pattern, reason) in [
            ("a[", "`[` is never closed"),
            ("[abc", "`[` is never closed"),
            ("[]", "`[` is never closed"),
            ("[!]", "`[` is never closed"),
            ("[a-", "`[` is never closed"),
            ("[z-a]", "range `z-a` is backwards"),
        ] {
            assert_eq!(Glob::new(pattern).expect_err(pattern).to_string(), reason);
        }
        assert_eq!(Glob::new(&"a".repeat(1025)), Err(GlobError::TooLong));
    }

    #[test]
    fn many_runs_stay_within_pattern_times_text() {
        let text = "a".repeat(1024);
        assert!(!matches(&"**a".repeat(300), &"a".repeat(299)));
        for run in ["**a", "*a", "*?", "**[a-z]"] {
            assert!(matches(&run.repeat(140), &text));
            assert!(!matches(&(run.repeat(140) + "b"), &text));
        }
    }

    /// The definition, word for word; exponential.
    fn by_definition(pattern: &[Token], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((run @ (Token::Run | Token::RunAcross), rest)) => (0..=text.len())
                .take_while(|end| *run == Token::RunAcross || !text[..*end].contains(&'/'))
                .any(|end| by_definition(rest, &text[end..])),
            Some((token, rest)) => text
                .split_first()
                .is_some_and(|(c, text)| token.takes(*c) && by_definition(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "([ab/?*]|\\*\\*|\\[ab\\]|\\[!a\\]){0,8}", text in "[ab/]{0,10}") {
            let glob = Glob::new(&pattern).expect("a pattern");
            let characters: Vec<char> = text.chars().collect();
            prop_assert_eq!(glob.matches(&text), by_definition(&glob.tokens, &characters));
        }

        #[test]
        fn arbitrary_patterns_never_panic(pattern: String, text: String) {
            drop(Glob::new(&pattern).map(|glob| glob.matches(&text)));
            drop(Glob::new(&format!("[{pattern}")).map(|glob| glob.matches(&text)));
        }
    }
}
