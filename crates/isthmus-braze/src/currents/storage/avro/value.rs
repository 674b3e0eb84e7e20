//! Avro's binary encoding, written as JSON.

use super::super::{EVENT_BYTES_MAX, Problem};
use super::schema::{Node, Place, Schema};
use isthmus_core::json;
use std::fmt::Write;
use std::io::{BufRead, Read};

/// Deepest nesting of values: a type may be inside itself.
const DEPTH_MAX: usize = 64;

/// Appends the value of type `place` that `input` has next, as raw JSON.
///
/// What JSON cannot say (infinities, and what is not a number) becomes null; bytes become text, one
/// character each.
pub(super) fn read_value(
    schema: &Schema,
    place: Place,
    input: &mut dyn BufRead,
    out: &mut String,
) -> Result<(), Problem> {
    Reader { schema, input }.value(place, out, 0)
}

struct Reader<'s, 'i> {
    schema: &'s Schema,
    input: &'i mut dyn BufRead,
}

impl Reader<'_, '_> {
    fn value(&mut self, place: Place, out: &mut String, depth: usize) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err(format!("a value is deeper than {DEPTH_MAX}").into());
        }
        if out.len() > EVENT_BYTES_MAX {
            return Err(format!("a value of more than {EVENT_BYTES_MAX} bytes").into());
        }
        let schema = self.schema;
        let Some(node) = schema.node(place) else { return Err("no such type".to_owned().into()) };
        match node {
            Node::Null => out.push_str("null"),
            Node::Boolean => match read_byte(self.input)? {
                0 => out.push_str("false"),
                1 => out.push_str("true"),
                other => return Err(format!("{other} in the place of a boolean").into()),
            },
            Node::Long => push(out, format_args!("{}", read_long(self.input)?)),
            Node::Float => {
                let number = f32::from_le_bytes(read_array(self.input)?);
                push_number(out, number.is_finite(), number);
            }
            Node::Double => {
                let number = f64::from_le_bytes(read_array(self.input)?);
                push_number(out, number.is_finite(), number);
            }
            Node::String => self.text(out)?,
            Node::Bytes => {
                let mut bytes = Vec::new();
                read_bytes(self.input, &mut bytes, EVENT_BYTES_MAX)?;
                push_bytes(out, &bytes);
            }
            Node::Fixed(size) => {
                let mut bytes = Vec::new();
                read_exactly(self.input, &mut bytes, *size, EVENT_BYTES_MAX)?;
                push_bytes(out, &bytes);
            }
            Node::Enum(symbols) => {
                let at = usize::try_from(read_long(self.input)?).ok();
                let symbol = at.and_then(|at| symbols.get(at));
                let symbol = symbol.ok_or_else(|| "an enum without such a symbol".to_owned())?;
                json::push_text(out, symbol);
            }
            Node::Union(branches) => {
                let at = usize::try_from(read_long(self.input)?).ok();
                let branch = at.and_then(|at| branches.get(at)).copied();
                let branch = branch.ok_or_else(|| "a union without such a branch".to_owned())?;
                self.value(branch, out, depth + 1)?;
            }
            Node::Array(item) => {
                out.push('[');
                self.items(out, |reader, out| reader.value(*item, out, depth + 1))?;
                out.push(']');
            }
            Node::Map(value) => {
                out.push('{');
                self.items(out, |reader, out| {
                    reader.text(out)?;
                    out.push(':');
                    reader.value(*value, out, depth + 1)
                })?;
                out.push('}');
            }
            Node::Record(fields) => {
                out.push('{');
                for (at, (name, kind)) in fields.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    json::push_text(out, name);
                    out.push(':');
                    self.value(*kind, out, depth + 1)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }

    /// Items come in blocks, each with its number; a negative one is followed by its bytes.
    fn items(
        &mut self,
        out: &mut String,
        mut read: impl FnMut(&mut Self, &mut String) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut separator = "";
        loop {
            let mut items = read_long(self.input)?;
            if items == 0 {
                return Ok(());
            }
            if items < 0 {
                let _bytes = read_long(self.input)?;
                items = items.saturating_neg();
            }
            for _ in 0..items {
                out.push_str(separator);
                separator = ",";
                read(self, out)?;
            }
        }
    }

    /// Appends a text, straight from the buffer where it is whole there.
    fn text(&mut self, out: &mut String) -> Result<(), Problem> {
        let bytes = read_length(self.input, EVENT_BYTES_MAX)?;
        let not_text = || Problem::from("a string is not UTF-8".to_owned());
        if let Some(text) = self.input.fill_buf()?.get(..bytes) {
            json::push_text(out, str::from_utf8(text).map_err(|_| not_text())?);
            self.input.consume(bytes);
            return Ok(());
        }
        let mut text = Vec::new();
        read_exactly(self.input, &mut text, bytes, EVENT_BYTES_MAX)?;
        json::push_text(out, str::from_utf8(&text).map_err(|_| not_text())?);
        Ok(())
    }
}

fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("a String takes any text");
}

/// The shortest decimal that reads back as the same number of the same width.
fn push_number(out: &mut String, is_finite: bool, number: impl std::fmt::Display) {
    if is_finite {
        push(out, format_args!("{number}"));
    } else {
        out.push_str("null");
    }
}

fn push_bytes(out: &mut String, bytes: &[u8]) {
    let text: String = bytes.iter().copied().map(char::from).collect();
    json::push_text(out, &text);
}

fn read_byte(input: &mut dyn BufRead) -> Result<u8, Problem> {
    let [byte] = read_array(input)?;
    Ok(byte)
}

fn read_array<const N: usize>(input: &mut dyn BufRead) -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A zig-zag number of seven bits a byte.
pub(super) fn read_long(input: &mut dyn BufRead) -> Result<i64, Problem> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = read_byte(input)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    Err("a number of more than ten bytes".to_owned().into())
}

fn read_length(input: &mut dyn BufRead, bytes_max: usize) -> Result<usize, Problem> {
    let bytes = read_long(input)?;
    let fits = usize::try_from(bytes).ok().filter(|bytes| *bytes <= bytes_max);
    fits.ok_or_else(|| format!("a text of {bytes} bytes").into())
}

/// Reads bytes that their number precedes.
pub(super) fn read_bytes(
    input: &mut dyn BufRead,
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), Problem> {
    let bytes = read_length(input, bytes_max)?;
    read_exactly(input, out, bytes, bytes_max)
}

/// Memory grows with what is there, and not with what a damaged length says.
fn read_exactly(
    input: &mut dyn BufRead,
    out: &mut Vec<u8>,
    bytes: usize,
    bytes_max: usize,
) -> Result<(), Problem> {
    if bytes > bytes_max {
        return Err(format!("{bytes} bytes in one value").into());
    }
    out.clear();
    if input.take(bytes as u64).read_to_end(out)? < bytes {
        return Err(Problem::from(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)));
    }
    Ok(())
}
