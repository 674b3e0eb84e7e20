//! Avro object container files: one event type each, named as in a bucket.
//!
//! A file appears whole: it is written beside its place and renamed.

use super::catalogue::{Form, Kind};
use super::event::Event;
use apache_avro::types::Value as Avro;
use apache_avro::{DeflateSettings, Schema, Writer, ZstandardSettings};
use isthmus_core::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The schema of the first type; one counter runs over all types.
const SCHEMA_FIRST: usize = 400;

/// How the blocks of a file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

impl Codec {
    fn of_avro(self) -> apache_avro::Codec {
        match self {
            Self::Null => apache_avro::Codec::Null,
            Self::Deflate => apache_avro::Codec::Deflate(DeflateSettings::default()),
            Self::Snappy => apache_avro::Codec::Snappy,
            Self::Zstandard => apache_avro::Codec::Zstandard(ZstandardSettings::default()),
        }
    }
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("events of {kind} cannot be written as Avro: {reason}")]
    Encode { kind: &'static str, reason: String },
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Where the files of one connector go, and their names.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) folder: PathBuf,
    pub(super) prefix: String,
    /// `dataexport.<cluster>.<connection>.integration.<id>`.
    pub(super) stem: String,
    pub(super) connection: &'static str,
    pub(super) zone: String,
    pub(super) codec: Codec,
    pub(super) schema_added: usize,
}

impl Bucket {
    /// The key of a file under the folder.
    pub(super) fn key(&self, kind: &Kind, queued_at: Timestamp, offset: u64) -> String {
        let schema = SCHEMA_FIRST + kind.number + 1_000 * self.schema_added;
        let (prefix, stem, zone) = (&self.prefix, &self.stem, &self.zone);
        let (name, date) = (kind.name, hour(queued_at));
        format!(
            "{prefix}/{stem}/event_type={name}/date={date}/{schema}/{zone}/{stem}+0+{offset:010}.avro"
        )
    }

    /// Encodes a file with `events`, which are all of one type.
    pub(super) fn encode(
        &self,
        kind: &'static Kind,
        events: &[Arc<Event>],
    ) -> Result<Vec<u8>, FileError> {
        let wrong = |error: apache_avro::Error| FileError::Encode {
            kind: kind.name,
            reason: error.to_string(),
        };
        let schema = Schema::parse(&self.schema(kind)).map_err(wrong)?;
        let mut writer = Writer::with_codec(&schema, Vec::new(), self.codec.of_avro());
        for event in events {
            writer.append(self.record(event)).map_err(wrong)?;
        }
        writer.into_inner().map_err(wrong)
    }

    /// Writes a file, and returns its path.
    pub(super) async fn write(&self, key: &str, bytes: &[u8]) -> Result<PathBuf, FileError> {
        let path = self.folder.join(key);
        let written = replace(&path, bytes).await;
        written.map(|()| path.clone()).map_err(|source| FileError::Write { path, source })
    }

    fn schema(&self, kind: &Kind) -> Value {
        let (space, name) = kind.name.rsplit_once('.').unwrap_or(("", kind.name));
        let known = kind.fields.iter().filter(|field| field.in_file);
        let mut fields: Vec<Value> = known
            .map(|field| {
                let form = form(field.form);
                if field.nullable {
                    json!({"name": field.name, "type": ["null", form], "default": null})
                } else {
                    json!({"name": field.name, "type": form})
                }
            })
            .collect();
        fields.extend((1..=self.schema_added).map(|number| {
            json!({"name": format!("added_{number}"), "type": ["null", "string"], "default": null})
        }));
        json!({
            "type": "record",
            "namespace": format!("dataexport.{}.inner.{space}", self.connection),
            "name": name,
            "fields": fields,
        })
    }

    fn record(&self, event: &Event) -> Avro {
        let fields = event.kind.fields.iter().filter(|field| field.in_file);
        let mut record: Vec<(String, Avro)> = fields
            .map(|field| {
                let value = match field.name {
                    "id" => Some(Avro::String(event.id.clone())),
                    "time" => Some(number(field.form, event.seconds())),
                    name => event.facts.get(name).and_then(|value| avro(field.form, value)),
                };
                let value = match (field.nullable, value) {
                    (true, Some(value)) => Avro::Union(1, Box::new(value)),
                    (true, None) => Avro::Union(0, Box::new(Avro::Null)),
                    (false, value) => value.unwrap_or_else(|| nothing(field.form)),
                };
                (field.name.to_owned(), value)
            })
            .collect();
        record.extend((1..=self.schema_added).map(|number| {
            let value = Avro::Union(1, Box::new(Avro::String(format!("value {number}"))));
            (format!("added_{number}"), value)
        }));
        Avro::Record(record)
    }
}

/// `YYYY-MM-DD-HH` in UTC.
fn hour(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..13).unwrap_or(&text).replace('T', "-")
}

fn form(form: Form) -> Value {
    match form {
        Form::Text | Form::Object => json!("string"),
        Form::Int => json!("int"),
        Form::Long => json!("long"),
        Form::Bool => json!("boolean"),
        Form::Float => json!("float"),
        Form::Double => json!("double"),
        Form::Texts => json!({"type": "array", "items": "string"}),
        Form::TextsOrNull => json!({"type": "array", "items": ["null", "string"]}),
    }
}

fn number(form: Form, value: i64) -> Avro {
    match form {
        Form::Long => Avro::Long(value),
        _ => Avro::Int(i32::try_from(value).unwrap_or(i32::MAX)),
    }
}

/// The value in its Avro type; nothing when it has another one.
fn avro(form: Form, value: &Value) -> Option<Avro> {
    Some(match form {
        Form::Text => Avro::String(value.as_str()?.to_owned()),
        Form::Object => Avro::String(value.to_string()),
        Form::Int | Form::Long => number(form, value.as_i64()?),
        Form::Bool => Avro::Boolean(value.as_bool()?),
        #[expect(clippy::cast_possible_truncation, reason = "files hold 32-bit floats")]
        Form::Float => Avro::Float(value.as_f64()? as f32),
        Form::Double => Avro::Double(value.as_f64()?),
        Form::Texts => {
            let texts = value.as_array()?.iter().filter_map(Value::as_str);
            Avro::Array(texts.map(|text| Avro::String(text.to_owned())).collect())
        }
        Form::TextsOrNull => {
            let item = |value: &Value| match value.as_str() {
                Some(text) => Avro::Union(1, Box::new(Avro::String(text.to_owned()))),
                None => Avro::Union(0, Box::new(Avro::Null)),
            };
            Avro::Array(value.as_array()?.iter().map(item).collect())
        }
    })
}

/// What stands for a required field that is not known.
fn nothing(form: Form) -> Avro {
    match form {
        Form::Text | Form::Object => Avro::String(String::new()),
        Form::Int | Form::Long => number(form, 0),
        Form::Bool => Avro::Boolean(false),
        Form::Float => Avro::Float(0.0),
        Form::Double => Avro::Double(0.0),
        Form::Texts | Form::TextsOrNull => Avro::Array(Vec::new()),
    }
}

async fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    let new = path.with_added_extension("new");
    tokio::fs::write(&new, bytes).await?;
    tokio::fs::rename(&new, path).await
}
