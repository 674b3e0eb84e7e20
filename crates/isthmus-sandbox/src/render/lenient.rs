//! Liquid as Braze runs it: what is missing is nil, and nil is quiet.
//!
//! The library refuses unknown variables, and refuses to look into nil. A message must survive both:
//! after a call that failed, everything it was to save is missing. So each tag and each block runs
//! with a runtime that answers [`Absent`] where the library would refuse.

use super::template::Session;
use liquid_core::error::Result;
use liquid_core::model::{
    ArrayView, DisplayCow, KString, KStringCow, KStringRef, ScalarCow, State, Value, ValueCow,
};
use liquid_core::parser::{
    BlockReflection, Language, ParseBlock, ParseTag, TagBlock, TagReflection,
};
use liquid_core::runtime::{PartialStore, Registers};
use liquid_core::{Renderable, Runtime, TagTokenIter, ValueView};
use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;

/// Nil, into which one may look: as a list it is empty, so `contains` finds nothing in it.
#[derive(Debug)]
struct Absent;

static NIL: Value = Value::Nil;

impl ValueView for Absent {
    fn as_debug(&self) -> &dyn fmt::Debug {
        self
    }

    fn render(&self) -> DisplayCow<'_> {
        NIL.render()
    }

    fn source(&self) -> DisplayCow<'_> {
        NIL.source()
    }

    fn type_name(&self) -> &'static str {
        NIL.type_name()
    }

    fn query_state(&self, state: State) -> bool {
        NIL.query_state(state)
    }

    fn to_kstr(&self) -> KStringCow<'_> {
        NIL.to_kstr()
    }

    fn to_value(&self) -> Value {
        Value::Nil
    }

    fn as_array(&self) -> Option<&dyn ArrayView> {
        Some(self)
    }

    fn is_nil(&self) -> bool {
        true
    }
}

impl ArrayView for Absent {
    fn as_value(&self) -> &dyn ValueView {
        self
    }

    fn size(&self) -> i64 {
        0
    }

    fn values<'k>(&'k self) -> Box<dyn Iterator<Item = &'k dyn ValueView> + 'k> {
        Box::new(std::iter::empty())
    }

    fn contains_key(&self, _: i64) -> bool {
        false
    }

    fn get(&self, _: i64) -> Option<&dyn ValueView> {
        None
    }
}

/// A runtime that refuses no variable.
struct Lenient<'a>(&'a dyn Runtime);

impl Runtime for Lenient<'_> {
    fn partials(&self) -> &dyn PartialStore {
        self.0.partials()
    }

    fn name(&self) -> Option<KStringRef<'_>> {
        self.0.name()
    }

    fn roots(&self) -> BTreeSet<KStringCow<'_>> {
        self.0.roots()
    }

    fn try_get(&self, path: &[ScalarCow<'_>]) -> Option<ValueCow<'_>> {
        self.0.try_get(path)
    }

    fn get(&self, path: &[ScalarCow<'_>]) -> Result<ValueCow<'_>> {
        let found = self.0.try_get(path).filter(|value| !value.is_nil());
        Ok(found.unwrap_or(ValueCow::Borrowed(&Absent)))
    }

    fn set_global(&self, name: KString, value: Value) -> Option<Value> {
        self.0.set_global(name, value)
    }

    fn set_index(&self, name: KString, value: Value) -> Option<Value> {
        self.0.set_index(name, value)
    }

    fn get_index<'a>(&'a self, name: &str) -> Option<ValueCow<'a>> {
        self.0.get_index(name)
    }

    fn registers(&self) -> &Registers {
        self.0.registers()
    }
}

/// A tag or a block that runs with a lenient runtime.
#[derive(Debug)]
struct Running(Box<dyn Renderable>);

impl Renderable for Running {
    fn render_to(&self, writer: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        Session::step(runtime)?;
        self.0.render_to(writer, &Lenient(runtime))
    }
}

/// A tag whose instances run with a lenient runtime.
#[derive(Clone)]
pub(super) struct LenientTag<T>(pub(super) T);

impl<T: ParseTag + Clone + 'static> ParseTag for LenientTag<T> {
    fn parse(
        &self,
        arguments: TagTokenIter<'_>,
        options: &Language,
    ) -> Result<Box<dyn Renderable>> {
        Ok(Box::new(Running(self.0.parse(arguments, options)?)))
    }

    fn reflection(&self) -> &dyn TagReflection {
        self.0.reflection()
    }
}

/// A block whose instances run with a lenient runtime.
#[derive(Clone)]
pub(super) struct LenientBlock<B>(pub(super) B);

impl<B: ParseBlock + Clone + 'static> ParseBlock for LenientBlock<B> {
    fn parse(
        &self,
        arguments: TagTokenIter<'_>,
        block: TagBlock<'_, '_>,
        options: &Language,
    ) -> Result<Box<dyn Renderable>> {
        Ok(Box::new(Running(self.0.parse(arguments, block, options)?)))
    }

    fn reflection(&self) -> &dyn BlockReflection {
        self.0.reflection()
    }
}
