//! Raw JSON objects, walked member by member without building a tree.
//!
//! The text comes from our own logs, where the door only lets valid JSON in; a walk over anything
//! else ends early and never panics. Unvalidated bytes belong to `serde_json`.

use std::borrow::Cow;

/// The members of a JSON object in the order they were written; values are raw JSON.
///
/// A repeated key is yielded each time. A member whose key is not text (half a surrogate pair) is
/// passed over.
#[derive(Debug, Clone)]
pub struct Members<'a>(Walk<'a>);

/// The elements of a JSON array, in order, as raw JSON.
#[derive(Debug, Clone)]
pub struct Elements<'a>(Walk<'a>);

/// Walks `object`, the raw text of a JSON object. Anything else yields nothing.
pub fn members(object: &str) -> Members<'_> {
    Members(Walk::into(object, b'{'))
}

/// Walks `array`, the raw text of a JSON array. Anything else yields nothing.
pub fn elements(array: &str) -> Elements<'_> {
    Elements(Walk::into(array, b'['))
}

/// The raw value of the last member called `name`, as JSON parsers resolve repeated keys.
pub fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    members(object).filter(|(key, _)| key == name).map(|(_, value)| value).last()
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let walk = &mut self.0;
        loop {
            walk.skip_comma();
            let key_at = walk.at;
            let key = walk.string()?;
            walk.skip_space();
            if walk.byte() != Some(b':') {
                return None;
            }
            walk.at += 1;
            walk.skip_space();
            let key = if key.escaped {
                text_of(walk.text.get(key_at..key_at + key.inner.len() + 2)?)
            } else {
                Some(Cow::Borrowed(key.inner))
            };
            let value = walk.value()?;
            if let Some(key) = key {
                return Some((key, value));
            }
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.skip_comma();
        self.0.value()
    }
}

/// A position in raw JSON text.
#[derive(Debug, Clone)]
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

/// A string between its quotes, and whether anything in it is escaped.
struct RawString<'a> {
    inner: &'a str,
    escaped: bool,
}

impl<'a> Walk<'a> {
    /// Behind the bracket that opens `text`, or at its end when it does not open with `bracket`.
    fn into(text: &'a str, bracket: u8) -> Self {
        let mut walk = Self { text, at: 0 };
        walk.skip_space();
        walk.at = if walk.byte() == Some(bracket) { walk.at + 1 } else { text.len() };
        walk
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn skip_comma(&mut self) {
        self.skip_space();
        if self.byte() == Some(b',') {
            self.at += 1;
            self.skip_space();
        }
    }

    /// Moves past a string.
    fn string(&mut self) -> Option<RawString<'a>> {
        if self.byte() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let mut end = start;
        let mut escaped = false;
        loop {
            end = quote_or_backslash(self.text.as_bytes(), end)?;
            if self.text.as_bytes().get(end) == Some(&b'"') {
                break;
            }
            escaped = true;
            end += 2;
        }
        self.at = end + 1;
        Some(RawString { inner: self.text.get(start..end)?, escaped })
    }

    /// Moves past a value and returns it.
    fn value(&mut self) -> Option<&'a str> {
        let start = self.at;
        match self.byte()? {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' => self.skip_nested()?,
            b'}' | b']' => return None,
            _ => {
                while !matches!(
                    self.byte(),
                    None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')
                ) {
                    self.at += 1;
                }
            }
        }
        self.text.get(start..self.at)
    }

    /// Moves past an object or an array, however deep, without recursion.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.byte()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// Where the first `"` or `\` stands, from `at` on.
///
/// Eight bytes at a time: keys and values are short, so starting up a wider search costs more than
/// it gains.
#[inline]
fn quote_or_backslash(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    // Marks the bytes of `word` that are zero; above the first one, others may be marked too.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
        let marks = quotes | backslashes;
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    Some(at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?)
}

/// The text of a raw JSON string; `None` when `raw` is not one. Borrows when nothing is escaped.
pub fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.as_bytes().contains(&b'\\') {
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Appends `text` to `out` as a JSON string, quoted and escaped.
pub fn push_text(out: &mut String, text: &str) {
    out.push('"');
    let mut clean_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(clean_from..at).unwrap_or_default());
        clean_from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                for nibble in [other >> 4, other & 15] {
                    out.push(char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0')));
                }
            }
        }
    }
    out.push_str(text.get(clean_from..).unwrap_or_default());
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn walk(object: &str) -> Vec<(String, String)> {
        members(object).map(|(key, value)| (key.into_owned(), value.to_owned())).collect()
    }

    #[test]
    fn yields_keys_and_raw_values_in_order() {
        let pairs = walk(r#" { "a" : 1.50 , "b\n":{"x":[1,"}"]}, "c":"q\"\\" ,"d":[ ],"e":null}"#);
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("a", "1.50"),
                ("b\n", r#"{"x":[1,"}"]}"#),
                ("c", r#""q\"\\""#),
                ("d", "[ ]"),
                ("e", "null")
            ]
        );
        assert_eq!(member(r#"{"a":1,"a":2}"#, "a"), Some("2"));
        assert_eq!(member(r#"{"\ud800":1,"a":2}"#, "a"), Some("2"));
        assert!(walk("[1]").is_empty() && walk("{}").is_empty() && walk("").is_empty());
    }

    #[test]
    fn yields_elements_in_order() {
        let texts: Vec<_> = elements(r#" [1 ,"a,]" , [2,3],{"b":[]},null ] "#).collect();
        assert_eq!(texts, ["1", r#""a,]""#, "[2,3]", r#"{"b":[]}"#, "null"]);
        assert_eq!(elements("[]").chain(elements("{}")).chain(elements("")).next(), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn walking_agrees_with_parsing(value in any_json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value)
            } else {
                serde_json::to_string(&value)
            };
            let text = text.expect("a value can be written");
            let walked: serde_json::Map<String, Value> = members(&text)
                .map(|(k, v)| (k.into_owned(), serde_json::from_str(v).expect("raw JSON")))
                .collect();
            prop_assert_eq!(walked, value.as_object().cloned().unwrap_or_default());
            let walked: Vec<Value> = elements(&text)
                .map(|element| serde_json::from_str(element).expect("raw JSON"))
                .collect();
            prop_assert_eq!(walked, value.as_array().cloned().unwrap_or_default());
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            members(&text).for_each(drop);
            members(&format!("{{\"{text}")).for_each(drop);
            elements(&text).for_each(drop);
            elements(&format!("[{text}")).for_each(drop);
        }

        #[test]
        fn pushed_text_reads_back(text: String) {
            let mut out = String::new();
            push_text(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).expect("valid"), text.as_str());
            prop_assert_eq!(text_of(&out).expect("a string"), text.as_str());
        }
    }
}
