//! Filters that Braze adds to Liquid, and `date`, which must ask our clock what `now` is.

use super::personal::NOW;
use liquid_core::error::{Error, Result};
use liquid_core::model::Value;
use liquid_core::parser::{
    Filter, FilterArguments, FilterReflection, ParameterReflection, ParseFilter,
};
use liquid_core::{Expression, Runtime, ValueView};
use std::fmt::{self, Write};

/// What may stand in any part of a URL (RFC 3986, 2.3).
const UNRESERVED: &str = "-._~";
/// What has a meaning in a URL (RFC 3986, 2.2), and the sign of an escape.
const RESERVED: &str = "-._~:/?#[]@!$&'()*+,;=%";

/// All of them.
pub(super) fn filters() -> impl Iterator<Item = Named> {
    [
        Named { name: "url_param_escape", kind: Kind::Text(|text| percent(text, UNRESERVED)) },
        Named { name: "url_escape", kind: Kind::Text(|text| percent(text, RESERVED)) },
        Named { name: "json_escape", kind: Kind::Text(json_escape) },
        Named { name: "property_accessor", kind: Kind::Property },
        Named { name: "date", kind: Kind::Date },
    ]
    .into_iter()
}

/// Escapes all bytes but letters, digits and what is in `kept`.
fn percent(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
    }
    out
}

/// Text as it stands between the quotes of a JSON string.
fn json_escape(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.unwrap_or_default().to_owned()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// From text to text, without arguments.
    Text(fn(&str) -> String),
    /// The member of an object that the argument names.
    Property,
    /// The library's `date`, with `now` and `today` from our clock.
    Date,
}

/// One filter, as the parser knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    name: &'static str,
    kind: Kind,
}

/// One use of a filter.
#[derive(Debug)]
struct Used {
    name: &'static str,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Text(fn(&str) -> String),
    Property(Expression),
    Date(Box<dyn Filter>),
}

impl ParseFilter for Named {
    fn parse(&self, mut arguments: FilterArguments<'_>) -> Result<Box<dyn Filter>> {
        let action = match self.kind {
            Kind::Text(convert) => Action::Text(convert),
            Kind::Property => {
                let name = arguments.positional.next();
                let missing =
                    || Error::with_msg("`property_accessor` needs the name of a property");
                Action::Property(name.ok_or_else(missing)?)
            }
            Kind::Date => Action::Date(liquid_lib::stdlib::Date.parse(arguments)?),
        };
        Ok(Box::new(Used { name: self.name, action }))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self
    }
}

impl FilterReflection for Named {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &'static str {
        ""
    }

    fn positional_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }

    fn keyword_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }
}

impl fmt::Display for Used {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

impl Filter for Used {
    fn evaluate(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Value> {
        match &self.action {
            Action::Text(_) if input.is_nil() => Ok(Value::Nil),
            Action::Text(convert) => Ok(Value::scalar(convert(&input.to_kstr()))),
            Action::Property(name) => {
                let name = name.evaluate(runtime)?;
                let found = input.as_object().and_then(|object| object.get(&name.to_kstr()));
                Ok(found.map_or(Value::Nil, ValueView::to_value))
            }
            Action::Date(date) => match &*input.to_kstr() {
                "now" | "today" => date.evaluate(&runtime.get(&[NOW.into()])?, runtime),
                _ => date.evaluate(input, runtime),
            },
        }
    }
}
