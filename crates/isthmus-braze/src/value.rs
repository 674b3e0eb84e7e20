//! Property values on their way to Braze: native types kept, as raw JSON wherever it can be copied.
//!
//! | Amplitude | Braze |
//! | --- | --- |
//! | string | itself; cut to 255 characters, because Braze ignores a longer one without an error |
//! | number, boolean | itself |
//! | array of scalars | itself, without nulls, its strings cut |
//! | object, array of objects or arrays | by the stream's `nested_values` |
//! | null | left out |
//!
//! Braze's rules are in "Custom attributes", "Nested custom attributes" and "Custom event
//! properties object" (read 2026-09).

use crate::warnings::Tally;
use isthmus_core::json;

/// Longest string value and longest key of a nested object, in characters.
pub(crate) const CHARACTERS_MAX: usize = 255;
/// Deepest nesting that is passed on: what Amplitude accepts.
const DEPTH_MAX: usize = 40;
/// Keys that make Braze read an attribute's object as an operation. Events have none, but one
/// property should look the same in both.
const OPERATIONS: [&str; 3] = ["inc", "add", "remove"];

/// What becomes of objects and arrays of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nested {
    Drop,
    JsonString,
    Keep,
}

/// Appends a raw value to `out` as Braze takes it; `false` when nothing was appended because the
/// value is left out.
pub(crate) fn push_value(out: &mut String, raw: &str, nested: Nested, tally: &Tally) -> bool {
    match raw.as_bytes().first() {
        None | Some(b'n') => false,
        Some(b'"') => push_string(out, raw, tally),
        Some(b'[') => match shape(raw) {
            Shape::Ready => {
                out.push_str(raw);
                true
            }
            Shape::Scalars => push_scalars(out, raw, tally),
            Shape::Nested => push_nested(out, raw, nested, tally),
        },
        Some(b'{') => push_nested(out, raw, nested, tally),
        Some(_) => {
            out.push_str(raw);
            true
        }
    }
}

/// Appends a raw string, cut where it is too long.
fn push_string(out: &mut String, raw: &str, tally: &Tally) -> bool {
    let escaped = raw.as_bytes().contains(&b'\\');
    if raw.len() <= CHARACTERS_MAX + 2 && !escaped {
        out.push_str(raw);
        return true;
    }
    let Some(text) = json::text_of(raw) else {
        tally.not_text.add_one();
        return false;
    };
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => {
            tally.strings_cut.add_one();
            json::push_text(out, text.get(..end).unwrap_or_default());
        }
        None => out.push_str(raw),
    }
    true
}

enum Shape {
    /// Scalars that can be copied as they are.
    Ready,
    /// Scalars, some of which must go or be cut.
    Scalars,
    /// There is an object or an array inside.
    Nested,
}

fn shape(array: &str) -> Shape {
    let mut shape = Shape::Ready;
    for element in json::elements(array) {
        match element.as_bytes().first() {
            Some(b'{' | b'[') => return Shape::Nested,
            None | Some(b'n') => shape = Shape::Scalars,
            Some(b'"') if element.len() > CHARACTERS_MAX + 2 || element.contains('\\') => {
                shape = Shape::Scalars;
            }
            Some(_) => {}
        }
    }
    shape
}

fn push_scalars(out: &mut String, array: &str, tally: &Tally) -> bool {
    out.push('[');
    let mut separator = "";
    for element in json::elements(array) {
        let before = out.len();
        out.push_str(separator);
        if push_value(out, element, Nested::Drop, tally) {
            separator = ",";
        } else {
            out.truncate(before);
        }
    }
    out.push(']');
    true
}

fn push_nested(out: &mut String, raw: &str, nested: Nested, tally: &Tally) -> bool {
    let pushed = match nested {
        Nested::Drop => false,
        // Part of a JSON text would be of no use to anybody.
        Nested::JsonString => {
            let fits = raw.chars().nth(CHARACTERS_MAX).is_none();
            if fits {
                json::push_text(out, raw);
            }
            fits
        }
        Nested::Keep => {
            let before = out.len();
            let operation =
                json::members(raw).all(|(key, _)| OPERATIONS.iter().any(|name| *name == key));
            let fits = push_tree(out, raw, operation, 1, tally);
            if !fits {
                out.truncate(before);
            }
            fits
        }
    };
    if !pushed {
        tally.nested_dropped.add_one();
    }
    pushed
}

/// Appends an object or array by Braze's rules for what is inside: no nulls (one would void the
/// whole update), keys without `.`, `$` and spaces. `false` when it is too deep.
///
/// With `operation` set, the keys of this level get a `_` behind them, so that a value that looks
/// like one of Braze's operations stays a value.
fn push_tree(out: &mut String, raw: &str, operation: bool, depth: usize, tally: &Tally) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let push_inner = |out: &mut String, value: &str| match value.as_bytes().first() {
        Some(b'{' | b'[') => push_tree(out, value, false, depth + 1, tally).then_some(true),
        _ => Some(push_value(out, value, Nested::Drop, tally)),
    };
    let mut separator = "";
    if raw.starts_with('{') {
        out.push('{');
        for (key, value) in json::members(raw) {
            let before = out.len();
            out.push_str(separator);
            push_key(out, &key, operation);
            match push_inner(out, value) {
                Some(true) => separator = ",",
                Some(false) => out.truncate(before),
                None => return false,
            }
        }
        out.push('}');
    } else {
        out.push('[');
        for value in json::elements(raw) {
            let before = out.len();
            out.push_str(separator);
            match push_inner(out, value) {
                Some(true) => separator = ",",
                Some(false) => out.truncate(before),
                None => return false,
            }
        }
        out.push(']');
    }
    true
}

fn push_key(out: &mut String, key: &str, operation: bool) {
    let forbidden = |c: char| matches!(c, '.' | '$' | ' ');
    let mut key: String =
        key.chars().take(CHARACTERS_MAX).map(|c| if forbidden(c) { '_' } else { c }).collect();
    if operation {
        key.push('_');
    }
    json::push_text(out, &key);
    out.push(':');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warnings::Warnings;
    use proptest::prelude::*;

    fn push(raw: &str, nested: Nested) -> (Option<String>, Warnings) {
        let tally = Tally::default();
        let mut out = String::from("before");
        let pushed = push_value(&mut out, raw, nested, &tally);
        let rest = out.strip_prefix("before").expect("only appended").to_owned();
        assert!(pushed || rest.is_empty(), "left something behind: {rest}");
        (pushed.then_some(rest), tally.read())
    }

    #[test]
    fn scalars_and_arrays_of_scalars_keep_their_type() {
        for raw in ["84.5", "-1e3", "true", "\"pro\"", "\"a\\\"b\"", "[]", "[1,\"a\", true]"] {
            assert_eq!(push(raw, Nested::Drop), (Some(raw.to_owned()), Warnings::default()));
        }
        assert_eq!(push("null", Nested::Drop), (None, Warnings::default()));
        assert_eq!(push("[1,null,2]", Nested::Drop).0.as_deref(), Some("[1,2]"));
    }

    #[test]
    fn long_strings_are_cut_and_counted() {
        let cut = Warnings { strings_cut: 1, ..Warnings::default() };
        let raw = format!("\"{}\"", "é".repeat(256));
        let shorter = format!("\"{}\"", "é".repeat(255));
        assert_eq!(push(&raw, Nested::Drop), (Some(shorter.clone()), cut));
        assert_eq!(push(&shorter, Nested::Drop), (Some(shorter.clone()), Warnings::default()));
        let array = format!("[{raw},1]");
        assert_eq!(push(&array, Nested::Drop), (Some(format!("[{shorter},1]")), cut));
    }

    #[test]
    fn strings_that_are_not_text_are_left_out_and_counted() {
        let broken = Warnings { not_text: 1, ..Warnings::default() };
        assert_eq!(push(r#""\ud800""#, Nested::Drop), (None, broken));
        assert_eq!(push(r#"["\ud800",1]"#, Nested::Drop), (Some("[1]".to_owned()), broken));
    }

    #[test]
    fn nested_values_follow_the_stream() {
        let dropped = Warnings { nested_dropped: 1, ..Warnings::default() };
        let raw = r#"{"a b":{"c.d":1,"$e":null},"f":[{"g":"h"},null]}"#;
        assert_eq!(push(raw, Nested::Drop), (None, dropped));
        assert_eq!(push("[[1]]", Nested::Drop), (None, dropped));
        assert_eq!(
            push(raw, Nested::JsonString).0.as_deref(),
            Some(r#""{\"a b\":{\"c.d\":1,\"$e\":null},\"f\":[{\"g\":\"h\"},null]}""#)
        );
        assert_eq!(
            push(raw, Nested::Keep).0.as_deref(),
            Some(r#"{"a_b":{"c_d":1},"f":[{"g":"h"}]}"#)
        );
        let long = format!("[{{\"a\":\"{}\"}}]", "x".repeat(250));
        assert_eq!(push(&long, Nested::JsonString), (None, dropped));
        let deep = format!("{}{}", "[".repeat(41), "]".repeat(41));
        assert_eq!(push(&deep, Nested::Keep), (None, dropped));
    }

    #[test]
    fn values_that_look_like_operations_stay_values() {
        for (raw, pushed) in [
            (r#"{"inc":5}"#, r#"{"inc_":5}"#),
            (r#"{"add":["x"],"remove":["y"]}"#, r#"{"add_":["x"],"remove_":["y"]}"#),
            (r#"{"inc":5,"unit":"m"}"#, r#"{"inc":5,"unit":"m"}"#),
            (r#"{"$add":[{"a":1}]}"#, r#"{"_add":[{"a":1}]}"#),
        ] {
            assert_eq!(push(raw, Nested::Keep).0.as_deref(), Some(pushed));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(raw: String, kept: bool) {
            push(&raw, if kept { Nested::Keep } else { Nested::JsonString });
            push(&format!("[{raw}"), Nested::Keep);
            push(&format!("{{\"a\":{raw}"), Nested::Keep);
        }
    }
}
