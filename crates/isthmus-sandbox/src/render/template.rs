//! A message that is rendered in passes.
//!
//! Rendering is synchronous and a call is not. A pass therefore runs until it needs the content of
//! a call that has not been made, and ends there. Whoever drives it makes the call and starts over
//! with the content at hand. Nothing else that a message reads changes in between, so every pass
//! takes the same way as the one before, only further; no thread waits, and a simulator can drive it.

use super::TemplateError;
use super::call::{Call, CallTemplate};
use super::language;
use super::source::{self, Prepared};
use liquid_core::error::Error;
use liquid_core::model::{Object, Value};
use liquid_core::parser::{self, Language};
use liquid_core::runtime::RuntimeBuilder;
use liquid_core::{Renderable, Runtime};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a call brought to the message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// An object or an array, for the variable.
    Json(Value),
    /// Stands in the place of the tag.
    Text(String),
    Nothing,
}

/// How a pass ends.
#[derive(Debug)]
pub(super) enum Pass {
    Rendered(String),
    Stopped(Stop),
}

/// Why a pass ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The message is not to be sent.
    Aborted(String),
    /// The content of this call is needed next.
    Wanted(Box<Call>),
}

/// What a pass keeps beside variables.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// What calls brought, in the order in which the pass comes by them.
    contents: Vec<Content>,
    next: usize,
    /// Tags that were run.
    steps: usize,
    stop: Option<Stop>,
}

/// Tags that one pass runs, so that loops within loops end.
const STEPS_MAX: usize = 100_000;

impl Session {
    /// The content of the call that a pass has come to, if it is at hand.
    pub(super) fn take(runtime: &dyn Runtime) -> Option<Content> {
        let mut session = runtime.registers().get_mut::<Self>();
        let content = session.contents.get(session.next).cloned();
        session.next += 1;
        content
    }

    /// Counts a tag that is about to run.
    pub(super) fn step(runtime: &dyn Runtime) -> Result<(), Error> {
        let mut session = runtime.registers().get_mut::<Self>();
        session.steps += 1;
        if session.steps > STEPS_MAX {
            return Err(Error::with_msg(format!("more than {STEPS_MAX} steps")));
        }
        Ok(())
    }

    /// Says why the pass ends; the error is what ends it.
    pub(super) fn stop(runtime: &dyn Runtime, stop: Stop) -> Error {
        runtime.registers().get_mut::<Self>().stop = Some(stop);
        Error::with_msg("stopped")
    }
}

/// A message, read.
#[derive(Debug)]
pub(super) struct Template {
    parsed: liquid_core::Template,
    pub(super) warnings: Vec<String>,
}

impl Template {
    /// Reads a message.
    pub(super) fn message(source: &str) -> Result<Self, TemplateError> {
        let Prepared { text, calls, mut warnings, .. } = source::prepare(source, 1)?;
        let calls = calls.iter().map(|call| CallTemplate::read(call, &mut warnings));
        let language = language::of_message(calls.collect::<Result<_, _>>()?);
        Ok(Self { parsed: parse(&text, &language, 1)?, warnings })
    }

    /// Reads a part of a tag that is on `line`.
    pub(super) fn part(source: &str, line: usize) -> Result<Self, TemplateError> {
        let Prepared { text, calls, warnings, .. } = source::prepare(source, line)?;
        if !calls.is_empty() {
            return Err(TemplateError::on(line, "a call within a call"));
        }
        Ok(Self { parsed: parse(&text, language::of_parts(), line)?, warnings })
    }

    /// Renders a part of a tag.
    pub(super) fn fill(&self, runtime: &dyn Runtime) -> Result<String, Error> {
        self.parsed.render(runtime)
    }

    /// Runs one pass with the contents of the calls so far.
    pub(super) fn pass(
        &self,
        globals: &Object,
        contents: &[Content],
    ) -> Result<Pass, TemplateError> {
        let runtime = RuntimeBuilder::new().set_globals(globals).build();
        *runtime.registers().get_mut::<Session>() =
            Session { contents: contents.to_vec(), ..Session::default() };
        let rendered = guarded(|| self.parsed.render(&runtime));
        // Whatever error a stop became on its way up, the stop is the reason.
        let stop = runtime.registers().get_mut::<Session>().stop.take();
        match (stop, rendered) {
            (Some(stop), _) => Ok(Pass::Stopped(stop)),
            (None, Ok(text)) => Ok(Pass::Rendered(text)),
            (None, Err(error)) => Err(TemplateError::from_liquid(&error, 1)),
        }
    }
}

fn parse(
    text: &str,
    language: &Language,
    first_line: usize,
) -> Result<liquid_core::Template, TemplateError> {
    let parsed = guarded(|| parser::parse(text, language));
    let parsed = parsed.map_err(|error| TemplateError::from_liquid(&error, first_line))?;
    Ok(liquid_core::Template::new(parsed))
}

/// The library panics on some texts, such as a number of thirty digits. A message is input, and
/// input is answered. Nothing outlives the call, so nothing can be left half changed.
fn guarded<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let ended = catch_unwind(AssertUnwindSafe(run));
    ended.unwrap_or_else(|_| Err(Error::with_msg("the Liquid library cannot take this template")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces of which templates are made, well and badly.
    fn piece() -> impl Strategy<Value = String> {
        let known = [
            "{{",
            "}}",
            "{%",
            "%}",
            "-",
            "${",
            "}",
            "{",
            "'",
            "\"",
            "[",
            "]",
            ".",
            "|",
            ":",
            "\n",
            " ",
            "é",
            "\u{a0}",
            "(",
            "1..3",
            ")",
            " if ",
            " endif ",
            " for i in ",
            " endfor ",
            " raw ",
            " endraw ",
            " comment ",
            " endcomment ",
            " connected_content ",
            "https://a.test/",
            ":save ",
            ":headers ",
            ":body ",
            ":retry ",
            ":method post ",
            "{\"a\":\"b\"}",
            " abort_message",
            "user_id",
            "custom_attribute.",
            " assign x = ",
            "99999999999999999999",
            "\\",
        ];
        prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "\\PC"]
    }

    proptest! {
        #[test]
        fn no_template_panics(pieces in prop::collection::vec(piece(), 0..24)) {
            let source = pieces.concat();
            if let Ok(template) = Template::message(&source) {
                drop(template.pass(&Object::new(), &[Content::Nothing, Content::Nothing]));
            }
        }
    }
}
