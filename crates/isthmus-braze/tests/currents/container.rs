//! Writes Avro object containers, as far as the storage connector needs them.

use serde_json::{Value, json};
use std::io::Write;

pub(crate) const MARKER: [u8; 16] = *b"sixteen bytes...";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Unnamed,
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

pub(crate) const CODECS: [Codec; 5] =
    [Codec::Unnamed, Codec::Null, Codec::Deflate, Codec::Snappy, Codec::Zstandard];

/// A file being written.
pub(crate) struct Container {
    pub(crate) bytes: Vec<u8>,
    codec: Codec,
}

impl Container {
    pub(crate) fn new(schema: &Value, codec: Codec) -> Self {
        let mut bytes = b"Obj\x01".to_vec();
        let name = match codec {
            Codec::Unnamed => None,
            Codec::Null => Some("null"),
            Codec::Deflate => Some("deflate"),
            Codec::Snappy => Some("snappy"),
            Codec::Zstandard => Some("zstandard"),
        };
        let schema = schema.to_string();
        let entries =
            [Some(("avro.schema", schema.as_str())), name.map(|name| ("avro.codec", name))];
        let entries: Vec<_> = entries.into_iter().flatten().collect();
        push_long(&mut bytes, i64::try_from(entries.len()).unwrap());
        for (key, value) in entries {
            push_text(&mut bytes, key);
            push_text(&mut bytes, value);
        }
        push_long(&mut bytes, 0);
        bytes.extend_from_slice(&MARKER);
        Self { bytes, codec }
    }

    /// Appends a block of `records`, which hold as many records as `count` says.
    pub(crate) fn block(mut self, count: i64, records: &[u8]) -> Self {
        let block = match self.codec {
            Codec::Unnamed | Codec::Null => records.to_vec(),
            Codec::Deflate => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(records).unwrap();
                encoder.finish().unwrap()
            }
            Codec::Snappy => {
                let mut block = snap::raw::Encoder::new().compress_vec(records).unwrap();
                block.extend_from_slice(&crc32fast::hash(records).to_be_bytes());
                block
            }
            Codec::Zstandard => zstd::encode_all(records, 0).unwrap(),
        };
        push_long(&mut self.bytes, count);
        push_long(&mut self.bytes, i64::try_from(block.len()).unwrap());
        self.bytes.extend_from_slice(&block);
        self.bytes.extend_from_slice(&MARKER);
        self
    }
}

/// The schema of a file: `fields` are names and types as the catalogue has them (`string?`).
pub(crate) fn schema<'a>(
    event_type: &str,
    fields: impl Iterator<Item = (&'a String, &'a String)>,
) -> Value {
    let (namespace, name) = event_type.rsplit_once('.').unwrap_or(("", event_type));
    let fields: Vec<Value> = fields
        .map(|(name, kind)| {
            let plain = kind.trim_end_matches('?');
            let plain = match plain {
                "array<string>" => json!({"type": "array", "items": "string"}),
                "array<string?>" => json!({"type": "array", "items": ["null", "string"]}),
                plain => json!(plain),
            };
            if kind.ends_with('?') {
                json!({"name": name, "type": ["null", plain], "default": null, "doc": "x"})
            } else {
                json!({"name": name, "type": plain})
            }
        })
        .collect();
    json!({
        "type": "record", "doc": "x", "name": name,
        "namespace": format!("dataexport.S3.inner.{namespace}"), "fields": fields,
    })
}

/// Appends a record: each field of the schema that `record` has not is null.
#[expect(clippy::cast_possible_truncation, reason = "32 bits are what a float has")]
pub(crate) fn push_record<'a>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'a String, &'a String)>,
    record: &Value,
) {
    for (name, kind) in fields {
        let value = record.get(name).filter(|value| !value.is_null());
        if kind.ends_with('?') {
            push_long(out, i64::from(value.is_some()));
        }
        let Some(value) = value else {
            assert!(kind.ends_with('?'), "{name} may not be null");
            continue;
        };
        match kind.trim_end_matches('?') {
            "string" => push_text(out, value.as_str().expect(name)),
            "int" | "long" => push_long(out, value.as_i64().expect(name)),
            "boolean" => out.push(u8::from(value.as_bool().expect(name))),
            "float" => out.extend((value.as_f64().expect(name) as f32).to_le_bytes()),
            "double" => out.extend(value.as_f64().expect(name).to_le_bytes()),
            array => {
                let items = value.as_array().expect(name);
                if !items.is_empty() {
                    push_long(out, i64::try_from(items.len()).unwrap());
                }
                for item in items {
                    if array == "array<string?>" {
                        push_long(out, i64::from(!item.is_null()));
                    }
                    if let Some(text) = item.as_str() {
                        push_text(out, text);
                    }
                }
                push_long(out, 0);
            }
        }
    }
}

pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_long(out, i64::try_from(text.len()).unwrap());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn push_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    loop {
        let [seven, ..] = (rest & 0x7f).to_le_bytes();
        rest >>= 7;
        out.push(if rest == 0 { seven } else { seven | 0x80 });
        if rest == 0 {
            return;
        }
    }
}
