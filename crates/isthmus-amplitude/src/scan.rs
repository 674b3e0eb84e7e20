//! A strict JSON scanner: one pass that validates, finds the values and notes what is unusual.
//!
//! It accepts exactly RFC 8259, needs no recursion, and copies nothing. What properties may not
//! hold is noted on the way ([`Found`]), so that ordinary text is read once and borrowed.

use crate::rules::{DEPTH_MAX, KEYS_MAX, TEXT_LENGTH_MAX};
use std::borrow::Cow;

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A position in JSON text.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Containers around the current position: the number of keys so far, or [`ARRAY`].
    frames: Vec<u16>,
}

const ARRAY: u16 = u16::MAX;

/// A JSON value, validated and left as text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) raw: &'a str,
    pub(crate) kind: Kind,
    pub(crate) found: Found,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Flag(bool),
    Number,
    /// Whether anything is escaped.
    Text {
        escaped: bool,
    },
    Object,
    Array,
}

/// What a value holds that a property may not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Nested too deep, or an object with too many keys: cannot be kept.
    pub(crate) excess: bool,
    /// Possibly a null member, an over-long string, half a surrogate pair or a number beyond
    /// double precision: kept after rewriting.
    pub(crate) unclean: bool,
}

/// A JSON string.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted<'a> {
    /// With its quotes.
    pub(crate) raw: &'a str,
    /// Where it begins.
    pub(crate) from: usize,
    /// Whether anything is escaped.
    pub(crate) escaped: bool,
    /// Whether an escape is half a surrogate pair. JavaScript sends these after cutting a string
    /// in the middle of an emoji.
    pub(crate) torn: bool,
}

impl<'a> Quoted<'a> {
    /// The text it stands for; half a surrogate pair becomes U+FFFD.
    #[inline]
    pub(crate) fn text(&self) -> Cow<'a, str> {
        text_between_quotes(self.raw, self.escaped)
    }

    /// Whether it may have more characters than Amplitude keeps.
    fn may_be_long(&self) -> bool {
        self.raw.len() > TEXT_LENGTH_MAX + 2
    }
}

impl<'a> Value<'a> {
    /// The text of a string, without what exceeds [`TEXT_LENGTH_MAX`]; `None` for anything else.
    #[inline]
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        let text = self.whole_text()?;
        Some(if self.found.unclean { truncated(text) } else { text })
    }

    /// The text of a string, however long; `None` for anything else.
    #[inline]
    pub(crate) fn whole_text(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::Text { escaped } => Some(text_between_quotes(self.raw, escaped)),
            _ => None,
        }
    }
}

/// `text` without what exceeds [`TEXT_LENGTH_MAX`] characters.
pub(crate) fn truncated(text: Cow<'_, str>) -> Cow<'_, str> {
    let Some((end, _)) = text.char_indices().nth(TEXT_LENGTH_MAX) else { return text };
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or(text)),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

impl<'a> Scanner<'a> {
    /// A scanner at the first value of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        let mut scanner = Self { text, at: 0, frames: Vec::new() };
        scanner.skip_space();
        scanner
    }

    /// The position, in bytes.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The text between two positions.
    pub(crate) fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// The next byte.
    #[inline]
    pub(crate) fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether nothing follows but space.
    pub(crate) fn at_end(&mut self) -> bool {
        self.skip_space();
        self.at == self.text.len()
    }

    /// Moves past `byte` if it is next; used to enter objects and arrays.
    #[inline]
    pub(crate) fn enter(&mut self, byte: u8) -> bool {
        if self.byte() != Some(byte) {
            return false;
        }
        self.at += 1;
        true
    }

    /// Inside an object, moves to the value of the next member and returns its key; `None` after
    /// moving past the end. `first` must be true at first and left alone afterwards.
    #[inline]
    pub(crate) fn next_member(
        &mut self,
        first: &mut bool,
    ) -> Result<Option<Quoted<'a>>, Malformed> {
        if !self.next_item(first, b'}')? {
            return Ok(None);
        }
        self.key().map(Some)
    }

    /// Inside an array, moves to the next element; `false` after moving past the end. `first`
    /// must be true at first and left alone afterwards.
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool, Malformed> {
        self.next_item(first, b']')
    }

    #[inline]
    fn next_item(&mut self, first: &mut bool, close: u8) -> Result<bool, Malformed> {
        self.skip_space();
        if self.enter(b',') {
            self.skip_space();
            return if std::mem::take(first) { Err(Malformed) } else { Ok(true) };
        }
        if self.enter(close) {
            return Ok(false);
        }
        if std::mem::take(first) { Ok(true) } else { Err(Malformed) }
    }

    /// Moves past the value here, whatever it is.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let from = self.at;
        let mut found = Found::default();
        let kind = match self.byte() {
            Some(b'{') => {
                found = self.container()?;
                Kind::Object
            }
            Some(b'[') => {
                found = self.container()?;
                Kind::Array
            }
            _ => self.scalar(&mut found)?,
        };
        Ok(Value { raw: self.slice(from, self.at), kind, found })
    }

    fn scalar(&mut self, found: &mut Found) -> Result<Kind, Malformed> {
        match self.byte().ok_or(Malformed)? {
            b'"' => {
                let string = self.string()?;
                found.unclean |= string.torn || string.may_be_long();
                Ok(Kind::Text { escaped: string.escaped })
            }
            b't' => self.literal("true").map(|()| Kind::Flag(true)),
            b'f' => self.literal("false").map(|()| Kind::Flag(false)),
            b'n' => self.literal("null").map(|()| Kind::Null),
            _ => {
                found.unclean |= self.number()?;
                Ok(Kind::Number)
            }
        }
    }

    /// Moves past the object or array here, without recursion: nesting costs two bytes a level.
    fn container(&mut self) -> Result<Found, Malformed> {
        let mut found = Found::default();
        self.frames.clear();
        'value: loop {
            match self.byte() {
                Some(b'{') => {
                    self.at += 1;
                    found.excess |= self.frames.len() >= DEPTH_MAX;
                    self.skip_space();
                    if !self.enter(b'}') {
                        self.frames.push(0);
                        found.unclean |= self.key()?.torn;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    found.excess |= self.frames.len() >= DEPTH_MAX;
                    self.skip_space();
                    if !self.enter(b']') {
                        self.frames.push(ARRAY);
                        continue 'value;
                    }
                }
                _ => {
                    let null = self.scalar(&mut found)? == Kind::Null;
                    found.unclean |=
                        null && self.frames.last().is_some_and(|&frame| frame != ARRAY);
                }
            }
            loop {
                let Some(frame) = self.frames.last_mut() else { return Ok(found) };
                let in_array = *frame == ARRAY;
                if !in_array && *frame < KEYS_MAX {
                    *frame += 1;
                } else {
                    found.excess |= !in_array;
                }
                self.skip_space();
                match self.byte() {
                    Some(b',') => {
                        self.at += 1;
                        self.skip_space();
                        if !in_array {
                            found.unclean |= self.key()?.torn;
                        }
                        continue 'value;
                    }
                    Some(b']') if in_array => {}
                    Some(b'}') if !in_array => {}
                    _ => return Err(Malformed),
                }
                self.at += 1;
                self.frames.pop();
            }
        }
    }

    /// Moves past a key and its colon, to its value.
    #[inline]
    fn key(&mut self) -> Result<Quoted<'a>, Malformed> {
        let key = self.string()?;
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        Ok(key)
    }

    /// Moves past a string.
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, Malformed> {
        let from = self.at;
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let (mut escaped, mut torn) = (false, false);
        loop {
            self.at = plain_end(bytes, self.at);
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    let escape = Escape::read(bytes, self.at).ok_or(Malformed)?;
                    torn |= escape.torn;
                    self.at = escape.end;
                }
                _ => return Err(Malformed), // a control character, or the end of the text
            }
        }
        self.at += 1;
        Ok(Quoted { raw: self.slice(from, self.at), from, escaped, torn })
    }

    /// Moves past a number; returns whether it could exceed double precision's range.
    fn number(&mut self) -> Result<bool, Malformed> {
        let from = self.at;
        self.enter(b'-');
        if !self.enter(b'0') {
            self.digits()?;
        }
        if self.enter(b'.') {
            self.digits()?;
        }
        let exponent = self.enter(b'e') || self.enter(b'E');
        if exponent {
            let _signed = self.enter(b'+') || self.enter(b'-');
            self.digits()?;
        }
        Ok(exponent || self.at - from > f64::MAX_10_EXP as usize)
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(Malformed) }
    }

    fn literal(&mut self, word: &str) -> Result<(), Malformed> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(Malformed);
        }
        self.at += word.len();
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.enter(byte) { Ok(()) } else { Err(Malformed) }
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }
}

/// The first position from `at` on with a quote, a backslash, a control character or nothing;
/// eight bytes at a time.
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    const QUOTES: u64 = ONES * b'"' as u64;
    const BACKSLASHES: u64 = ONES * b'\\' as u64;
    // The classic zero-byte test: exact for the lowest byte that it marks.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let marks = (zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES) | controls) & HIGHS;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

/// One escape sequence.
struct Escape {
    character: char,
    /// Position after it.
    end: usize,
    /// Whether it is half a surrogate pair; `character` is U+FFFD then.
    torn: bool,
}

impl Escape {
    /// Reads the escape whose backslash is at `at`.
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let character = match bytes.get(at + 1)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return Self::read_unicode(bytes, at),
            _ => return None,
        };
        Some(Self { character, end: at + 2, torn: false })
    }

    fn read_unicode(bytes: &[u8], at: usize) -> Option<Self> {
        let unit = hex(bytes, at + 2)?;
        let end = at + 6;
        if let Some(character) = char::from_u32(unit) {
            return Some(Self { character, end, torn: false });
        }
        let is_high = unit < 0xDC00;
        if is_high && bytes.get(end..end + 2) == Some(br"\u") {
            let low = hex(bytes, end + 2)?;
            if (0xDC00..0xE000).contains(&low) {
                let character =
                    char::from_u32(0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00))?;
                return Some(Self { character, end: end + 6, torn: false });
            }
        }
        Some(Self { character: char::REPLACEMENT_CHARACTER, end, torn: true })
    }
}

/// Four hexadecimal digits at `at`.
fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

/// The text that `raw`, a string with its quotes, stands for.
#[inline]
fn text_between_quotes(raw: &str, escaped: bool) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if escaped { Cow::Owned(unescaped(inner)) } else { Cow::Borrowed(inner) }
}

/// `inner` with its escapes replaced.
fn unescaped(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut at = 0;
    while let Some(rest) = inner.get(at..) {
        let Some(offset) = rest.find('\\') else {
            out.push_str(rest);
            break;
        };
        out.push_str(rest.get(..offset).unwrap_or_default());
        let Some(escape) = Escape::read(inner.as_bytes(), at + offset) else { break };
        out.push(escape.character);
        at = escape.end;
    }
    out
}

#[cfg(test)]
pub(crate) mod tests;
