//! TOML into a tree of located values.

use super::{Entry, Fault, Node, Value};
use crate::diagnostic::Location;
use isthmus_core::ByteSize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Bytes of one text: a settings file is short, and finding the line of a value costs its length.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Reads `text`, or says everything that is wrong with it as TOML.
pub(crate) fn parse(text: &str) -> Result<Node, Vec<Fault>> {
    if text.len() > TEXT_BYTES_MAX {
        let max = ByteSize::bytes(TEXT_BYTES_MAX as u64);
        let message = format!("text is larger than {max}");
        return Err(vec![Fault { at: Location::START, message, hint: None }]);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let value = map(text, table.get_ref());
        return Ok(Node { at: Location::START, value });
    }
    let fault = |error: toml::de::Error| Fault {
        at: Location::of_offset(text, error.span().map_or(0, |span| span.start)),
        message: format!("not TOML: {}", one_line(error.message())),
        hint: None,
    };
    let mut faults: Vec<_> = errors.into_iter().map(fault).collect();
    faults.sort_by_key(|fault| fault.at);
    Err(faults)
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

fn map(text: &str, table: &DeTable<'_>) -> Value {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key_text: &std::borrow::Cow<'_, str> = key.get_ref();
        let key_at = Location::of_offset(text, key.span().start);
        Entry { key: key_text.clone().into_owned(), key_at, value: node(text, value) }
    };
    let mut entries: Vec<_> = table.iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.key_at);
    Value::Map(entries)
}

fn node(text: &str, value: &Spanned<DeValue<'_>>) -> Node {
    let at = Location::of_offset(text, value.span().start);
    let plain = |text: String| Value::Scalar { text, plain: true };
    let value = match value.get_ref() {
        DeValue::String(string) => {
            Value::Scalar { text: string.clone().into_owned(), plain: false }
        }
        DeValue::Integer(integer) => plain(decimal(integer.as_str(), integer.radix())),
        DeValue::Float(float) => plain(float.as_str().to_owned()),
        DeValue::Boolean(boolean) => plain(boolean.to_string()),
        DeValue::Datetime(datetime) => plain(datetime.to_string()),
        DeValue::Array(array) => Value::List(array.iter().map(|item| node(text, item)).collect()),
        DeValue::Table(table) => map(text, table),
    };
    Node { at, value }
}

/// A whole number as a person would write it in YAML; too large a one as it stands.
fn decimal(digits: &str, radix: u32) -> String {
    match i128::from_str_radix(digits, radix) {
        Ok(number) => number.to_string(),
        Err(_) => digits.to_owned(),
    }
}
