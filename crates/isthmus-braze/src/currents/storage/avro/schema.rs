//! The schema that a container brings: a record of fields.

use serde_json::{Map, Value};
use std::collections::HashMap;

/// Deepest schema that is read.
const DEPTH_MAX: usize = 32;

/// A place in [`Schema::nodes`].
pub(super) type Place = usize;

/// Fields of a record, in order.
pub(super) type Fields = Vec<(String, Place)>;

#[derive(Debug)]
pub(super) struct Schema {
    nodes: Vec<Node>,
    root: Place,
    name: String,
}

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    /// `int` and `long` are written alike.
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Place),
    Map(Place),
    Union(Vec<Place>),
    Record(Fields),
    Enum(Vec<String>),
    /// Bytes of that number.
    Fixed(usize),
}

impl Schema {
    /// Reads the JSON of a schema whose top is a record.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(json).map_err(|error| format!("schema is not JSON: {error}"))?;
        let mut parser = Parser { nodes: Vec::new(), named: HashMap::new() };
        let root = parser.node(&value, "", 0)?;
        let name = value.as_object().map(|object| full_name(object, "")).unwrap_or_default();
        let schema = Self { nodes: parser.nodes, root, name };
        if !matches!(schema.node(root), Some(Node::Record(_))) {
            return Err("schema is no record".to_owned());
        }
        // Any number of them would fit in no bytes at all.
        if !schema.takes_bytes(root, &mut vec![false; schema.nodes.len()]) {
            return Err("schema is a record without content".to_owned());
        }
        Ok(schema)
    }

    /// Whether a value of type `place` is any bytes. Types may be inside themselves; each is asked once.
    fn takes_bytes(&self, place: Place, asked: &mut Vec<bool>) -> bool {
        match asked.get_mut(place) {
            Some(was_asked) if !*was_asked => *was_asked = true,
            _ => return false,
        }
        match self.node(place) {
            None | Some(Node::Null | Node::Fixed(0)) => false,
            Some(Node::Record(fields)) => {
                fields.iter().any(|(_, kind)| self.takes_bytes(*kind, asked))
            }
            Some(_) => true,
        }
    }

    /// Full name of the record.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn node(&self, place: Place) -> Option<&Node> {
        self.nodes.get(place)
    }

    /// The fields of the record.
    pub(super) fn record(&self) -> &Fields {
        static NONE: Fields = Vec::new();
        match self.nodes.get(self.root) {
            Some(Node::Record(fields)) => fields,
            _ => &NONE,
        }
    }
}

struct Parser {
    nodes: Vec<Node>,
    named: HashMap<String, Place>,
}

impl Parser {
    fn node(&mut self, value: &Value, namespace: &str, depth: usize) -> Result<Place, String> {
        if depth > DEPTH_MAX {
            return Err(format!("schema is deeper than {DEPTH_MAX}"));
        }
        match value {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                let place = self.reserve();
                let branches: Result<_, _> =
                    branches.iter().map(|branch| self.node(branch, namespace, depth + 1)).collect();
                self.set(place, Node::Union(branches?))
            }
            Value::Object(object) => self.object(object, namespace, depth),
            other => Err(format!("schema has {other} in the place of a type")),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<Place, String> {
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" | "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::String,
            _ => {
                let near = self.named.get(&qualified(name, namespace));
                let known = near.or_else(|| self.named.get(name)).copied();
                return known.ok_or_else(|| format!("schema names the unknown type `{name}`"));
            }
        };
        let place = self.reserve();
        self.set(place, node)
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<Place, String> {
        let part = |name: &str| {
            object.get(name).ok_or_else(|| format!("schema has a type without `{name}`"))
        };
        let kind = part("type")?;
        let Some(kind) = kind.as_str() else { return self.node(kind, namespace, depth + 1) };
        match kind {
            "array" | "map" => {
                let place = self.reserve();
                let item = part(if kind == "array" { "items" } else { "values" })?;
                let item = self.node(item, namespace, depth + 1)?;
                let node = if kind == "array" { Node::Array(item) } else { Node::Map(item) };
                self.set(place, node)
            }
            "record" | "error" => {
                let place = self.reserve();
                let name = full_name(object, namespace);
                let inner = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
                self.named.insert(name, place);
                let mut fields = Fields::new();
                for field in part("fields")?.as_array().into_iter().flatten() {
                    let name = field.get("name").and_then(Value::as_str);
                    let name =
                        name.ok_or_else(|| "schema has a field without `name`".to_owned())?;
                    let kind = field.get("type");
                    let kind = kind.ok_or_else(|| format!("field `{name}` has no type"))?;
                    fields.push((name.to_owned(), self.node(kind, &inner, depth + 1)?));
                }
                self.set(place, Node::Record(fields))
            }
            "enum" => {
                let place = self.reserve();
                self.named.insert(full_name(object, namespace), place);
                let symbols = part("symbols")?.as_array().into_iter().flatten();
                let symbols = symbols.filter_map(Value::as_str).map(str::to_owned).collect();
                self.set(place, Node::Enum(symbols))
            }
            "fixed" => {
                let place = self.reserve();
                self.named.insert(full_name(object, namespace), place);
                let size = part("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| "a fixed type has no size".to_owned())?;
                self.set(place, Node::Fixed(size))
            }
            name => self.by_name(name, namespace),
        }
    }

    /// A place whose node is set when what is inside is known; types may be inside themselves.
    fn reserve(&mut self) -> Place {
        self.nodes.push(Node::Null);
        self.nodes.len() - 1
    }

    fn set(&mut self, place: Place, node: Node) -> Result<Place, String> {
        let slot = self.nodes.get_mut(place).ok_or_else(|| "no such place".to_owned())?;
        *slot = node;
        Ok(place)
    }
}

fn qualified(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn full_name(object: &Map<String, Value>, namespace: &str) -> String {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    qualified(text("name").unwrap_or_default(), text("namespace").unwrap_or(namespace))
}
