//! What Braze exports: every event type with its fields, in both forms.
//!
//! The catalogue is a text of its own, so that it can be compared with Braze's pages line by line.

use std::collections::HashMap;
use std::sync::LazyLock;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::read);

/// Members of `user` in the HTTP form; everything else is in `properties`.
pub(super) const USER_FIELDS: [&str; 4] = ["user_id", "external_user_id", "device_id", "timezone"];

/// Every type, in the order of the catalogue.
#[derive(Debug)]
struct Catalogue {
    kinds: Vec<Kind>,
    by_name: HashMap<&'static str, usize>,
}

/// One event type.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Position in the catalogue.
    pub(super) number: usize,
    pub(super) status: Status,
    /// Whether it is ever sent by HTTP.
    pub(super) by_http: bool,
    pub(super) fields: Vec<Field>,
}

/// Whether Braze sends it today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Current,
    Deprecated,
    /// Sample files exist, and no release has it yet.
    Announced,
    Retired,
    /// In samples of 2021 alone.
    Old,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) nullable: bool,
    pub(super) in_http: bool,
    pub(super) in_file: bool,
}

/// A field's type in a file; in JSON, numbers are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Int,
    Long,
    Bool,
    Float,
    Double,
    Texts,
    TextsOrNull,
    /// A JSON object; by HTTP only.
    Object,
}

impl Catalogue {
    fn read() -> Self {
        let lines = include_str!("catalogue.txt").lines();
        let lines = lines.filter(|line| !line.starts_with('#'));
        let kinds: Vec<Kind> =
            lines.enumerate().map(|(number, line)| Kind::read(number, line)).collect();
        let by_name = kinds.iter().map(|kind| (kind.name, kind.number)).collect();
        Self { kinds, by_name }
    }
}

impl Kind {
    fn read(number: usize, line: &'static str) -> Self {
        let mut words = line.split(' ');
        let name = words.next().expect("a line of the catalogue begins with a name");
        let status = words.next().expect("a line of the catalogue has a status");
        let (status, by_http) = match status.strip_suffix(",files") {
            Some(status) => (status, false),
            None => (status, true),
        };
        let status = match status {
            "current" => Status::Current,
            "deprecated" => Status::Deprecated,
            "announced" => Status::Announced,
            "retired" => Status::Retired,
            "old" => Status::Old,
            other => panic!("`{other}` is no status of the catalogue"),
        };
        Self { name, number, status, by_http, fields: words.map(Field::read).collect() }
    }

    /// The type with this name.
    pub(crate) fn of(name: &str) -> Option<&'static Self> {
        CATALOGUE.kinds.get(*CATALOGUE.by_name.get(name)?)
    }

    /// Every type that Braze sends today.
    pub(crate) fn all_sent() -> impl Iterator<Item = &'static Self> {
        CATALOGUE.kinds.iter().filter(|kind| kind.is_sent())
    }

    /// Whether Braze sends it today.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.status, Status::Current | Status::Deprecated | Status::Announced)
    }
}

impl Field {
    fn read(word: &'static str) -> Self {
        let (word, nullable) = match word.strip_suffix('?') {
            Some(word) => (word, true),
            None => (word, false),
        };
        let (word, in_http, in_file) = match (word.strip_prefix('-'), word.strip_prefix('+')) {
            (Some(word), _) => (word, false, true),
            (_, Some(word)) => (word, true, false),
            _ => (word, true, true),
        };
        let (name, form) = word.split_once(':').expect("a field of the catalogue has a type");
        let form = match form {
            "s" => Form::Text,
            "i" => Form::Int,
            "l" => Form::Long,
            "b" => Form::Bool,
            "f" => Form::Float,
            "d" => Form::Double,
            "a" => Form::Texts,
            "n" => Form::TextsOrNull,
            "o" => Form::Object,
            other => panic!("`{other}` is no type of the catalogue"),
        };
        Self { name, form, nullable, in_http, in_file }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_holds_every_type_once() {
        assert_eq!(CATALOGUE.kinds.len(), 111);
        assert_eq!(CATALOGUE.by_name.len(), 111);
        assert_eq!(Kind::all_sent().count(), 103);
        for kind in &CATALOGUE.kinds {
            for required in ["id", "time"] {
                let field = kind.fields.iter().find(|field| field.name == required);
                assert!(field.is_some_and(|field| !field.nullable), "{}: {required}", kind.name);
            }
        }
    }

    #[test]
    fn a_custom_event_has_its_properties_in_two_forms() {
        let kind = Kind::of("users.behaviors.CustomEvent").expect("the type");
        let field = |name| kind.fields.iter().find(|field| field.name == name).expect("a field");
        let (object, text) = (field("custom_properties"), field("properties"));
        assert_eq!((object.form, object.in_http, object.in_file), (Form::Object, true, false));
        assert_eq!((text.form, text.in_http, text.in_file), (Form::Text, false, true));
        assert!(Kind::of("users.behaviors.Nothing").is_none());
    }
}
