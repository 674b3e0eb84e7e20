//! YAML (and so JSON) into trees of located values, one per document.
//!
//! Built on the event parser and not on serde, because a deserializer stops at the first error and
//! has lost the line by the time two keys are compared. Anchors and aliases work; merge keys and
//! tags other than YAML's own do not. Aliases count as what they stand for, so a text that doubles
//! itself thirty times is refused after [`NODES_MAX`] values.

use super::{DEPTH_MAX, Entry, Fault, Node, TEXT_BYTES_MAX, Value};
use crate::diagnostic::{Location, clip};
use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};
use isthmus_core::ByteSize;
use std::collections::HashMap;

/// Values in one text, aliases counted as what they stand for.
const NODES_MAX: usize = 100_000;

/// What could be read of a text.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// Documents without faults of their own; empty ones are left out.
    pub(crate) nodes: Vec<Node>,
    pub(crate) faults: Vec<Fault>,
}

/// Reads every document of `text`; one with a syntax error does not hide the others.
pub(crate) fn parse(text: &str) -> Documents {
    let mut builder = Builder::default();
    if text.len() > TEXT_BYTES_MAX {
        let max = ByteSize::bytes(TEXT_BYTES_MAX as u64);
        builder.fault(Location::START, format!("text is larger than {max}"), None);
        return builder.documents;
    }
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let mut parser = Parser::new_from_str_with_options(text, options);
    loop {
        match parser.next_event() {
            None => break,
            Some(Ok((event, span))) => {
                if builder.event(event, span).is_err() {
                    break;
                }
            }
            Some(Err(error)) => {
                builder.abandon(&error);
                if !matches!(parser.proceed_next_document(), Ok(true)) {
                    break;
                }
            }
        }
    }
    builder.documents
}

/// Too many values: reading stops.
struct TooLarge;

#[derive(Default)]
struct Builder {
    documents: Documents,
    /// Lists and mappings that are not closed yet, outermost first.
    open: Vec<Open>,
    /// Finished values that an alias may stand for, by the parser's number.
    anchors: HashMap<usize, Node>,
    /// Values made so far.
    count: usize,
    /// A value of this document is missing, so it is not handed on: more would be blamed on it.
    broken: bool,
}

struct Open {
    at: Location,
    anchor: usize,
    value: OpenValue,
}

enum OpenValue {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: HashMap<String, Location>, key: Option<Key> },
}

/// A key that waits for its value; `None` when it is not a text.
type Key = (Option<String>, Location);

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), TooLarge> {
        let at = Location { line: span.start.line(), column: span.start.col() + 1 };
        match event {
            // The parser says `~` where nothing was written.
            Event::Scalar(_, ScalarStyle::Plain, anchor, None) if span.is_empty() => {
                self.finish(Node { at, value: Value::Null { blank: true } }, anchor)?;
            }
            Event::DocumentStart(..) => {
                self.anchors.clear();
                self.broken = false;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(at, &text, style, tag.as_deref());
                self.finish(Node { at, value }, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(at, tag.as_deref());
                self.open.push(Open { at, anchor, value: OpenValue::List(Vec::new()) });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(at, tag.as_deref());
                let value = OpenValue::Map { entries: Vec::new(), keys: HashMap::new(), key: None };
                self.open.push(Open { at, anchor, value });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { at, anchor, value }) = self.open.pop() {
                    let value = match value {
                        OpenValue::List(items) => Value::List(items),
                        OpenValue::Map { entries, .. } => Value::Map(entries),
                    };
                    self.finish(Node { at, value }, anchor)?;
                }
            }
            Event::Alias(anchor) => self.alias(at, anchor)?,
            Event::UnresolvedAlias(name) => {
                self.fault(at, format!("alias `*{}` has no anchor above it", clip(&name)), None);
                self.missing(at)?;
            }
            // Comments and the names of anchors carry no value; streams and documents end.
            _ => {}
        }
        Ok(())
    }

    fn scalar(&mut self, at: Location, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
        self.refuse_tag(at, tag);
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
        let plain = style == ScalarStyle::Plain && !is_text;
        match text {
            "~" | "null" | "Null" | "NULL" if plain => Value::Null { blank: false },
            _ => Value::Scalar { text: text.to_owned(), plain },
        }
    }

    fn alias(&mut self, at: Location, anchor: usize) -> Result<(), TooLarge> {
        let Some((count, depth)) = self.anchors.get(&anchor).map(Node::measure) else {
            self.fault(at, "alias stands for something that contains it", None);
            return self.missing(at);
        };
        if self.open.len() + depth > DEPTH_MAX {
            self.too_deep(at);
            return self.missing(at);
        }
        self.take(at, count)?;
        match self.anchors.get(&anchor).map(|target| target.value.clone()) {
            Some(value) => self.finish(Node { at, value }, 0),
            None => Ok(()),
        }
    }

    /// Goes on after a value that could not be read.
    fn missing(&mut self, at: Location) -> Result<(), TooLarge> {
        self.broken = true;
        self.finish(Node { at, value: Value::Null { blank: false } }, 0)
    }

    /// Puts a finished value where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), TooLarge> {
        self.take(node.at, 1)?;
        if anchor != 0 {
            let (count, _) = node.measure();
            self.take(node.at, count)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.value) {
            None => {
                if !self.broken && !matches!(node.value, Value::Null { .. }) {
                    self.documents.nodes.push(node);
                }
            }
            Some(OpenValue::List(items)) => items.push(node),
            Some(OpenValue::Map { entries, keys, key }) => match key.take() {
                None => {
                    let (at, text) = (node.at, key_text(&node));
                    let first = text.as_ref().and_then(|text| keys.get(text)).copied();
                    match (&text, first) {
                        (None, _) => {
                            *key = Some((None, at));
                            let found = node.found();
                            self.fault(at, format!("a key must be a text, found {found}"), None);
                        }
                        (Some(repeated), Some(first)) => {
                            let message = format!("key `{}` is there twice", clip(repeated));
                            *key = Some((None, at));
                            self.fault(at, message, Some(format!("it is already at {first}")));
                        }
                        (Some(new), None) => {
                            keys.insert(new.clone(), at);
                            *key = Some((text, at));
                        }
                    }
                }
                Some((None, _)) => {}
                Some((Some(key), key_at)) => entries.push(Entry { key, key_at, value: node }),
            },
        }
        Ok(())
    }

    /// Counts `count` more values.
    fn take(&mut self, at: Location, count: usize) -> Result<(), TooLarge> {
        self.count = self.count.saturating_add(count);
        if self.count <= NODES_MAX {
            return Ok(());
        }
        let message = format!("more than {NODES_MAX} values in one text, aliases included");
        self.fault(at, message, None);
        Err(TooLarge)
    }

    fn refuse_tag(&mut self, at: Location, tag: Option<&Tag>) {
        // `!` alone only says that the value is not to be guessed at, which nobody does here.
        let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema() && tag.original() != "!")
        else {
            return;
        };
        let message = format!("tag `{}` is not understood", clip(&tag.original()));
        self.fault(at, message, Some("a secret is written `{ env: NAME }`".to_owned()));
    }

    /// Drops the document that the parser cannot go on with.
    fn abandon(&mut self, error: &ScanError) {
        self.open.clear();
        let at = Location { line: error.marker().line(), column: error.marker().col() + 1 };
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            self.too_deep(at);
        } else {
            self.fault(at, format!("not YAML: {}", error.kind()), hint_of(error.kind()));
        }
    }

    fn too_deep(&mut self, at: Location) {
        let message = format!("lists and mappings are nested more than {DEPTH_MAX} levels deep");
        self.fault(at, message, None);
    }

    fn fault(&mut self, at: Location, message: impl Into<String>, hint: Option<String>) {
        self.documents.faults.push(Fault { at, message: message.into(), hint });
    }
}

fn key_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text.clone()),
        Value::Null { blank: false } => Some("null".to_owned()),
        Value::Null { blank: true } | Value::List(_) | Value::Map(_) => None,
    }
}

fn hint_of(kind: &ErrorKind) -> Option<String> {
    let hint = match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart => "indent with spaces",
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            "put a text that has a `: ` in quotes"
        }
        ErrorKind::UnexpectedCharacter { .. } => "put a text that begins like this in quotes",
        _ => return None,
    };
    Some(hint.to_owned())
}
