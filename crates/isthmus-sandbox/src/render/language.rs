//! The tags, blocks and filters that messages may use.

use super::call::CallTemplate;
use super::filter;
use super::lenient::{LenientBlock, LenientTag};
use super::source::{PRINT, RANGE};
use super::template::{Content, Session, Stop};
use liquid_core::error::{Error, Result};
use liquid_core::model::{KString, Value};
use liquid_core::parser::{
    FilterChain, Language, ParseBlock, ParseFilter, ParseTag, TagReflection,
};
use liquid_core::{Expression, Renderable, Runtime, TagTokenIter, ValueView};
use liquid_lib::stdlib;
use std::io::Write;
use std::sync::{Arc, LazyLock};

/// Everything but `connected_content`.
static PLAIN: LazyLock<Language> = LazyLock::new(plain);

/// Numbers in a range: the library makes a list of them.
const RANGE_MAX: i64 = 1_000;

/// The language of a part of a tag, in which no call can be made.
pub(super) fn of_parts() -> &'static Language {
    &PLAIN
}

/// The language of a message with these calls.
pub(super) fn of_message(calls: Vec<CallTemplate>) -> Language {
    let mut language = PLAIN.clone();
    let calls = calls.into_iter().map(Arc::new).collect();
    tag(&mut language, BrazeTag::ConnectedContent(calls));
    language
}

fn tag<T: ParseTag + Clone + 'static>(language: &mut Language, tag: T) {
    let name = tag.reflection().tag().to_owned();
    language.tags.register(name, Box::new(LenientTag(tag)));
}

fn block<B: ParseBlock + Clone + 'static>(language: &mut Language, block: B) {
    let name = block.reflection().start_tag().to_owned();
    language.blocks.register(name, Box::new(LenientBlock(block)));
}

fn plain() -> Language {
    let mut language = Language::empty();
    tag(&mut language, BrazeTag::Print);
    tag(&mut language, BrazeTag::Range);
    tag(&mut language, BrazeTag::AbortMessage);
    tag(&mut language, stdlib::AssignTag);
    tag(&mut language, stdlib::BreakTag);
    tag(&mut language, stdlib::ContinueTag);
    tag(&mut language, stdlib::CycleTag);
    tag(&mut language, stdlib::IncrementTag);
    tag(&mut language, stdlib::DecrementTag);
    block(&mut language, stdlib::RawBlock);
    block(&mut language, stdlib::IfBlock);
    block(&mut language, stdlib::UnlessBlock);
    block(&mut language, stdlib::IfChangedBlock);
    block(&mut language, stdlib::ForBlock);
    block(&mut language, stdlib::CaptureBlock);
    block(&mut language, stdlib::CaseBlock);
    let standard = standard_filters();
    let ours = filter::filters().map(|filter| Box::new(filter) as Box<dyn ParseFilter>);
    for filter in standard.into_iter().chain(ours) {
        language.filters.register(filter.reflection().name().to_owned(), filter);
    }
    language
}

fn standard_filters() -> Vec<Box<dyn ParseFilter>> {
    vec![
        stdlib::Abs.into(),
        stdlib::Append.into(),
        stdlib::AtLeast.into(),
        stdlib::AtMost.into(),
        stdlib::Capitalize.into(),
        stdlib::Ceil.into(),
        stdlib::Compact.into(),
        stdlib::Concat.into(),
        stdlib::Default.into(),
        stdlib::DividedBy.into(),
        stdlib::Downcase.into(),
        stdlib::Escape.into(),
        stdlib::EscapeOnce.into(),
        stdlib::First.into(),
        stdlib::Floor.into(),
        stdlib::Join.into(),
        stdlib::Last.into(),
        stdlib::Lstrip.into(),
        stdlib::Map.into(),
        stdlib::Minus.into(),
        stdlib::Modulo.into(),
        stdlib::NewlineToBr.into(),
        stdlib::Plus.into(),
        stdlib::Prepend.into(),
        stdlib::Remove.into(),
        stdlib::RemoveFirst.into(),
        stdlib::Replace.into(),
        stdlib::ReplaceFirst.into(),
        stdlib::Reverse.into(),
        stdlib::Round.into(),
        stdlib::Rstrip.into(),
        stdlib::Size.into(),
        stdlib::Slice.into(),
        stdlib::Sort.into(),
        stdlib::SortNatural.into(),
        stdlib::Split.into(),
        stdlib::Strip.into(),
        stdlib::StripHtml.into(),
        stdlib::StripNewlines.into(),
        stdlib::Times.into(),
        stdlib::Truncate.into(),
        stdlib::TruncateWords.into(),
        stdlib::Uniq.into(),
        stdlib::Upcase.into(),
        stdlib::UrlDecode.into(),
        stdlib::UrlEncode.into(),
        stdlib::Where.into(),
    ]
}

/// Tags that plain Liquid lacks.
#[derive(Clone)]
enum BrazeTag {
    /// `{{ ... }}`, which is a tag here so that it runs as leniently as tags do.
    Print,
    /// Before a loop over a range.
    Range,
    AbortMessage,
    /// The calls of the message, which the tags name by their number.
    ConnectedContent(Arc<[Arc<CallTemplate>]>),
}

impl TagReflection for BrazeTag {
    fn tag(&self) -> &'static str {
        match self {
            Self::Print => PRINT,
            Self::Range => RANGE,
            Self::AbortMessage => "abort_message",
            Self::ConnectedContent(_) => "connected_content",
        }
    }

    fn description(&self) -> &'static str {
        ""
    }
}

impl ParseTag for BrazeTag {
    fn parse(
        &self,
        mut arguments: TagTokenIter<'_>,
        options: &Language,
    ) -> Result<Box<dyn Renderable>> {
        const NO_EXPRESSION: &str = "no expression, or a filter that the sandbox does not know";
        let parsed: Box<dyn Renderable> = match self {
            Self::Print => {
                let chain = arguments.expect_next(NO_EXPRESSION)?.expect_filter_chain(options);
                Box::new(Print(chain.into_result_custom_msg(NO_EXPRESSION)?))
            }
            Self::Range => {
                let range = arguments.expect_next("a range")?.expect_range().into_result()?;
                Box::new(CheckedRange(range))
            }
            Self::AbortMessage => {
                let reason = arguments.next().map(|token| token.expect_value().into_result());
                Box::new(AbortMessage(reason.transpose()?))
            }
            Self::ConnectedContent(calls) => {
                let number = arguments.expect_next("a call")?.expect_literal().into_result()?;
                let number = number.as_scalar().and_then(|number| number.to_integer());
                let call = number.and_then(|number| calls.get(usize::try_from(number).ok()?));
                Box::new(ConnectedContent(call.ok_or_else(|| Error::with_msg("no call"))?.clone()))
            }
        };
        arguments.expect_nothing()?;
        Ok(parsed)
    }

    fn reflection(&self) -> &dyn TagReflection {
        self
    }
}

#[derive(Debug)]
struct Print(FilterChain);

impl Renderable for Print {
    fn render_to(&self, writer: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        self.0.render_to(writer, runtime)
    }
}

/// The ends of a range.
#[derive(Debug)]
struct CheckedRange((Expression, Expression));

impl Renderable for CheckedRange {
    fn render_to(&self, _: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        let end = |end: &Expression| {
            let value = end.evaluate(runtime)?;
            // What is no number, the loop itself refuses.
            Ok::<_, Error>(value.as_scalar().and_then(|value| value.to_integer()).unwrap_or(0))
        };
        if end(&self.0.1)?.saturating_sub(end(&self.0.0)?) >= RANGE_MAX {
            let message = format!("a range of more than {RANGE_MAX} numbers");
            return Err(Error::with_msg(message));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct AbortMessage(Option<Expression>);

impl Renderable for AbortMessage {
    fn render_to(&self, _: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        let reason = match &self.0 {
            Some(reason) => reason.evaluate(runtime)?.to_kstr().into_string(),
            None => "the message says so".to_owned(),
        };
        Err(Session::stop(runtime, Stop::Aborted(reason)))
    }
}

#[derive(Debug)]
struct ConnectedContent(Arc<CallTemplate>);

impl Renderable for ConnectedContent {
    fn render_to(&self, writer: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        let call = self.0.fill(runtime)?;
        let Some(content) = Session::take(runtime) else {
            return Err(Session::stop(runtime, Stop::Wanted(Box::new(call))));
        };
        let name = KString::from_ref(self.0.save_as());
        match content {
            Content::Json(value) => drop(runtime.set_global(name, value)),
            Content::Nothing => drop(runtime.set_global(name, Value::Nil)),
            Content::Text(text) => {
                let written = writer.write_all(text.as_bytes());
                written.map_err(|error| Error::with_msg(error.to_string()))?;
            }
        }
        Ok(())
    }
}
