//! The Avro object container: a header with the schema, then blocks of records.
//!
//! | part | bytes |
//! | --- | --- |
//! | header | `Obj` 0x01, a map of metadata (`avro.schema`, `avro.codec`), 16 bytes of a marker |
//! | block | number of records, number of bytes, the records through the codec, the marker again |
//!
//! From the Apache Avro 1.12 specification, "Object Container Files" (read 2026-09). Samples of
//! Braze's name no codec, which means none; what production files have is not documented, so the
//! usual four are read.

mod schema;
mod value;

use super::super::catalogue;
use super::flat::{Flat, Route};
use super::source::Source;
use super::{Broken, EVENT_BYTES_MAX, Next, Problem};
use flate2::bufread::DeflateDecoder;
use schema::Schema;
use std::io::{BufRead, BufReader, Cursor, Read, Take};
use value::{read_bytes, read_long, read_value};

/// What every container begins with.
pub(super) const MAGIC: [u8; 4] = *b"Obj\x01";
const MARKER_BYTES: usize = 16;
/// Largest schema, and largest other metadata.
const METADATA_BYTES_MAX: usize = 16 << 20;
/// Largest block that is held in memory, which only snappy asks for, compressed or not.
const SNAPPY_BYTES_MAX: usize = 256 << 20;

type Marker = [u8; MARKER_BYTES];

#[derive(Debug, Clone, Copy)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

/// An open file.
pub(super) struct Container<R: Read> {
    schema: Schema,
    /// Where the fields of the record go.
    routes: Vec<Route>,
    event_type: String,
    codec: Codec,
    marker: Marker,
    state: State<R>,
    flat: Flat,
    scratch: String,
}

enum State<R: Read> {
    Between(Source<R>),
    Inside {
        block: Box<Block<R>>,
        records: u64,
    },
    /// Nothing more can be read; where that was found.
    Over(u64),
}

/// The records of a block, as they come out of the codec.
enum Block<R: Read> {
    Null(Take<Source<R>>),
    Deflate(BufReader<DeflateDecoder<Take<Source<R>>>>),
    Snappy(Cursor<Vec<u8>>, Take<Source<R>>),
    Zstandard(BufReader<zstd::Decoder<'static, Take<Source<R>>>>),
}

impl<R: Read> Container<R> {
    /// Reads the header.
    pub(super) fn open(mut source: Source<R>, from_path: Option<&str>) -> Result<Self, Broken> {
        match Header::read(&mut source, from_path) {
            Ok(Header { schema, routes, event_type, codec, marker }) => Ok(Self {
                schema,
                routes,
                event_type,
                codec,
                marker,
                state: State::Between(source),
                flat: Flat::default(),
                scratch: String::new(),
            }),
            Err(problem) => Err(problem.broken(source.at(), 0)),
        }
    }

    /// Bytes of the file that were read.
    pub(super) fn at(&self) -> u64 {
        match &self.state {
            State::Between(source) => source.at(),
            State::Inside { block, .. } => block.source().at(),
            State::Over(at) => *at,
        }
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Next {
        loop {
            match &mut self.state {
                State::Inside { block, records } if *records > 0 => {
                    *records -= 1;
                    let Self { schema, routes, scratch, flat, event_type, .. } = self;
                    let input = block.input();
                    for ((name, kind), route) in schema.record().iter().zip(routes) {
                        scratch.clear();
                        read_value(schema, *kind, input, scratch)?;
                        flat.push(*route, name, scratch);
                        if flat.bytes() > EVENT_BYTES_MAX {
                            let reason = format!("an event of more than {EVENT_BYTES_MAX} bytes");
                            return Err(reason.into());
                        }
                    }
                    return Ok(Some(flat.finish(Some(event_type))));
                }
                State::Inside { .. } => self.leave()?,
                State::Between(source) => {
                    if source.fill_buf()?.is_empty() {
                        return Ok(None);
                    }
                    self.enter()?;
                }
                State::Over(_) => return Ok(None),
            }
        }
    }

    /// Moves into the block that begins here.
    fn enter(&mut self) -> Result<(), Problem> {
        let State::Between(source) = &mut self.state else { return Ok(()) };
        let records = read_long(source)?;
        let bytes = read_long(source)?;
        let (Ok(records), Ok(bytes)) = (u64::try_from(records), u64::try_from(bytes)) else {
            return Err(format!("a block of {records} records and {bytes} bytes").into());
        };
        let over = State::Over(source.at());
        if let State::Between(source) = std::mem::replace(&mut self.state, over) {
            let block = Box::new(Block::open(source.take(bytes), self.codec)?);
            self.state = State::Inside { block, records };
        }
        Ok(())
    }

    /// Moves past the end of a block, of which all records were read.
    fn leave(&mut self) -> Result<(), Problem> {
        let over = State::Over(self.at());
        let State::Inside { mut block, .. } = std::mem::replace(&mut self.state, over) else {
            return Ok(());
        };
        if !block.input().fill_buf()?.is_empty() {
            return Err("a block holds more than its records".to_owned().into());
        }
        let mut rest = block.into_rest();
        let marked = marker_behind(&mut rest, self.marker);
        let source = rest.into_inner();
        self.state = if marked.is_ok() { State::Between(source) } else { State::Over(source.at()) };
        marked
    }
}

/// Moves past what the codec left of a block, and past the marker.
fn marker_behind<R: Read>(rest: &mut Take<Source<R>>, expected: Marker) -> Result<(), Problem> {
    std::io::copy(rest, &mut std::io::sink())?;
    if rest.limit() > 0 {
        return Err("it ends in the middle of a block".to_owned().into());
    }
    let mut marker = Marker::default();
    rest.get_mut().read_exact(&mut marker)?;
    if marker == expected {
        return Ok(());
    }
    Err("a block does not end with the marker of the file".to_owned().into())
}

impl<R: Read> Block<R> {
    fn open(mut bytes: Take<Source<R>>, codec: Codec) -> Result<Self, Problem> {
        Ok(match codec {
            Codec::Null => Self::Null(bytes),
            Codec::Deflate => Self::Deflate(BufReader::new(DeflateDecoder::new(bytes))),
            Codec::Zstandard => Self::Zstandard(BufReader::new(zstd::Decoder::with_buffer(bytes)?)),
            Codec::Snappy => {
                let records = unsnapped(&mut bytes)?;
                Self::Snappy(Cursor::new(records), bytes)
            }
        })
    }

    fn input(&mut self) -> &mut dyn BufRead {
        match self {
            Self::Null(input) => input,
            Self::Deflate(input) => input,
            Self::Snappy(input, _) => input,
            Self::Zstandard(input) => input,
        }
    }

    fn source(&self) -> &Source<R> {
        match self {
            Self::Null(rest) | Self::Snappy(_, rest) => rest.get_ref(),
            Self::Deflate(input) => input.get_ref().get_ref().get_ref(),
            Self::Zstandard(input) => input.get_ref().get_ref().get_ref(),
        }
    }

    /// What the codec has not taken of the block.
    fn into_rest(self) -> Take<Source<R>> {
        match self {
            Self::Null(rest) | Self::Snappy(_, rest) => rest,
            Self::Deflate(input) => input.into_inner().into_inner(),
            Self::Zstandard(input) => input.into_inner().finish(),
        }
    }
}

/// The bytes of a snappy block, which its checksum follows.
fn unsnapped<R: Read>(block: &mut Take<Source<R>>) -> Result<Vec<u8>, Problem> {
    let too_large =
        || Problem::from(format!("a snappy block of more than {SNAPPY_BYTES_MAX} bytes"));
    let expected = usize::try_from(block.limit()).ok().filter(|bytes| *bytes <= SNAPPY_BYTES_MAX);
    let expected = expected.ok_or_else(too_large)?;
    let mut compressed = Vec::new();
    if block.read_to_end(&mut compressed)? < expected {
        return Err("it ends in the middle of a block".to_owned().into());
    }
    let (compressed, checksum) =
        compressed.split_last_chunk::<4>().ok_or_else(|| "an empty snappy block".to_owned())?;
    let snappy = |error: snap::Error| Problem::from(error.to_string());
    if snap::raw::decompress_len(compressed).map_err(snappy)? > SNAPPY_BYTES_MAX {
        return Err(too_large());
    }
    let records = snap::raw::Decoder::new().decompress_vec(compressed).map_err(snappy)?;
    if crc32fast::hash(&records) != u32::from_be_bytes(*checksum) {
        return Err("a snappy block has another checksum".to_owned().into());
    }
    Ok(records)
}

struct Header {
    schema: Schema,
    routes: Vec<Route>,
    event_type: String,
    codec: Codec,
    marker: Marker,
}

impl Header {
    fn read<R: Read>(source: &mut Source<R>, from_path: Option<&str>) -> Result<Self, Problem> {
        let mut magic = [0; MAGIC.len()];
        source.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err("not an Avro container".to_owned().into());
        }
        let (mut schema, mut codec) = (None, Codec::Null);
        let mut bytes = Vec::new();
        let mut left_bytes = METADATA_BYTES_MAX;
        loop {
            let mut entries = read_long(source)?;
            if entries == 0 {
                break;
            }
            if entries < 0 {
                let _bytes = read_long(source)?;
                entries = entries.saturating_neg();
            }
            for _ in 0..entries {
                read_bytes(source, &mut bytes, left_bytes)?;
                left_bytes -= bytes.len();
                let key = std::mem::take(&mut bytes);
                read_bytes(source, &mut bytes, left_bytes)?;
                left_bytes -= bytes.len();
                match key.as_slice() {
                    b"avro.schema" => schema = Some(Schema::parse(&bytes)?),
                    b"avro.codec" => codec = Codec::named(&bytes)?,
                    _ => {}
                }
            }
        }
        let mut marker = Marker::default();
        source.read_exact(&mut marker)?;
        let schema = schema.ok_or_else(|| "no schema".to_owned())?;
        let event_type = from_path.unwrap_or_else(|| event_type_of(schema.name())).to_owned();
        let known = catalogue::known(&event_type);
        let fields = schema.record().iter();
        let routes = fields.map(|(name, _)| Route::of(name, known)).collect();
        Ok(Self { schema, routes, event_type, codec, marker })
    }
}

impl Codec {
    fn named(name: &[u8]) -> Result<Self, Problem> {
        Ok(match name {
            b"" | b"null" => Self::Null,
            b"deflate" => Self::Deflate,
            b"snappy" => Self::Snappy,
            b"zstandard" => Self::Zstandard,
            other => return Err(format!("codec `{}`", String::from_utf8_lossy(other)).into()),
        })
    }
}

/// `users.messages.email.Click` of `dataexport.S3.inner.users.messages.email.Click`.
fn event_type_of(record: &str) -> &str {
    record.split_once(".inner.").map_or(record, |(_, event_type)| event_type)
}
