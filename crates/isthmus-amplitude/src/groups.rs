//! `groups` of an event: at most five group types and ten names; the excess is dropped silently.

use crate::scan::{Kind, Malformed, Scanner, Value};
use isthmus_core::json::push_text;
use std::borrow::Cow;

/// Most group types of one event, from the HTTP V2 page.
const TYPES_MAX: usize = 5;
/// Most group names of one event, over all types.
const NAMES_MAX: usize = 10;

/// Reduces `groups`, a clean JSON object of names and lists of names, to what is kept of it.
///
/// Numbers and booleans become text, as SDKs do with them; blank names and anything nested is
/// dropped. `None` when no name is left.
pub(crate) fn limited(groups: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let mut kept = Kept::default();
    kept.read(&groups).expect("the scanner validated this text before");
    if kept.types == 0 {
        None
    } else if kept.changed {
        Some(Cow::Owned(kept.out + "}"))
    } else {
        Some(groups)
    }
}

/// The single group of a group identification, as a `groups` object.
pub(crate) fn single(group_type: &str, group_name: &str) -> String {
    let mut out = String::with_capacity(group_type.len() + group_name.len() + 8);
    out.push('{');
    push_text(&mut out, group_type);
    out.push(':');
    push_text(&mut out, group_name);
    out.push('}');
    out
}

/// What was kept so far, and whether it differs from what was read.
#[derive(Default)]
struct Kept {
    out: String,
    types: usize,
    names: usize,
    changed: bool,
}

impl Kept {
    fn read(&mut self, groups: &str) -> Result<(), Malformed> {
        let mut scanner = Scanner::new(groups);
        scanner.enter(b'{');
        self.out.push('{');
        let mut first = true;
        while let Some(key) = scanner.next_member(&mut first)? {
            let before = self.out.len();
            if self.types > 0 {
                self.out.push(',');
            }
            self.out.push_str(key.raw);
            self.out.push(':');
            let names_before = self.names;
            if self.types < TYPES_MAX && scanner.byte() == Some(b'[') {
                self.list(&mut scanner)?;
            } else {
                let value = scanner.value()?;
                if self.types < TYPES_MAX {
                    self.name(&value);
                }
            }
            if self.names > names_before {
                self.types += 1;
            } else {
                self.out.truncate(before);
                self.changed = true;
            }
        }
        Ok(())
    }

    fn list(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Malformed> {
        scanner.enter(b'[');
        self.out.push('[');
        let mut first = true;
        let mut separator = "";
        while scanner.next_element(&mut first)? {
            let before = self.out.len();
            self.out.push_str(separator);
            if self.name(&scanner.value()?) {
                separator = ",";
            } else {
                self.out.truncate(before);
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// Keeps `value` if it is a name and there is room; returns whether it was kept.
    fn name(&mut self, value: &Value<'_>) -> bool {
        let blank = match value.kind {
            Kind::Text { .. } => value.text().is_none_or(|name| name.trim().is_empty()),
            Kind::Number | Kind::Flag(_) => false,
            Kind::Null | Kind::Object | Kind::Array => true,
        };
        if blank || self.names == NAMES_MAX {
            self.changed = true;
            return false;
        }
        if matches!(value.kind, Kind::Text { .. }) {
            self.out.push_str(value.raw);
        } else {
            self.changed = true;
            push_text(&mut self.out, value.raw);
        }
        self.names += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_five_types_and_ten_names() {
        for (sent, kept) in [
            (r#"{"team":"red"}"#, Some(r#"{"team":"red"}"#)),
            (r#"{ "team" : [ "red", "blue" ] }"#, Some(r#"{ "team" : [ "red", "blue" ] }"#)),
            ("{}", None),
            (r#"{"team":[]}"#, None),
            (r#"{"team":"  "}"#, None),
            (
                r#"{"team":{"a":"b"},"company":7,"vip":true}"#,
                Some(r#"{"company":"7","vip":"true"}"#),
            ),
            (r#"{"team":["red",null,["x"],3]}"#, Some(r#"{"team":["red","3"]}"#)),
            (
                r#"{"a":"1","b":"1","c":"1","d":"1","e":"1","f":"1"}"#,
                Some(r#"{"a":"1","b":"1","c":"1","d":"1","e":"1"}"#),
            ),
            (
                r#"{"t":["1","2","3","4","5","6","7","8","9","10","11"]}"#,
                Some(r#"{"t":["1","2","3","4","5","6","7","8","9","10"]}"#),
            ),
            (
                r#"{"a":["1","2","3","4","5","6"],"b":["1","2","3","4","5","6"],"c":"1"}"#,
                Some(r#"{"a":["1","2","3","4","5","6"],"b":["1","2","3","4"]}"#),
            ),
        ] {
            assert_eq!(limited(Cow::Borrowed(sent)).as_deref(), kept, "{sent}");
        }
    }

    #[test]
    fn a_single_group_is_escaped() {
        assert_eq!(single("a\"b", "c\n"), r#"{"a\"b":"c\n"}"#);
    }
}
