//! Files of the storage connector: one event type per file, flat records.
//!
//! | file | read as |
//! | --- | --- |
//! | Avro object container | by the schema that it brings; codecs `null`, `deflate`, `snappy`, `zstandard` |
//! | JSON, an event per line | each line in the HTTP form or as a flat record |
//! | JSON, a list or `{"events": [...]}` | each element the same way |
//!
//! A file is read as a stream: what is in memory is one event and what the codec needs (one block,
//! for `snappy`). Of a file that is cut off or damaged everything before the damage is read, and
//! then said where it is.
//!
//! A library that reads Avro into values of its own was not used: it reads a block before it hands
//! out its first record, so of a file of one block, as Braze writes them, nothing would be left
//! after the damage.

mod avro;
mod flat;
mod key;
mod source;
mod text;

pub use flat::read_json_line;
pub use key::ObjectKey;

use super::received::{Received, Unusable};
use source::Source;
use std::io::{BufRead, Read};

/// Largest event that is read, in bytes of its JSON. Braze drops those above 900 KB.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// Why nothing more can be read from a file.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Reading may work another time.
    #[error("cannot be read at byte {at}, after {events} events")]
    Read { at: u64, events: u64, source: std::io::Error },
    /// The file is not what it should be, and reading it again would not help.
    #[error("broken at byte {at}, after {events} events: {reason}")]
    Format { at: u64, events: u64, reason: String },
}

/// What can be in the place of an event.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The next one may be fine.
    #[error("unusable event: {0}")]
    Unusable(Unusable<'static>),
    /// The last that is told.
    #[error(transparent)]
    Broken(Broken),
}

/// The events of one file, in order.
pub struct StorageReader<R: Read> {
    format: Format<R>,
    /// Events told so far, unusable ones included.
    events: u64,
    ended: bool,
}

enum Format<R: Read> {
    Avro(Box<avro::Container<R>>),
    Json(text::Text<R>),
}

impl<R: Read> StorageReader<R> {
    /// Opens a file, whose format its first byte tells. `event_type_from_path` is what its key says
    /// ([`ObjectKey::event_type`]); without it, an Avro file is asked for the name of its schema.
    pub fn open(read: R, event_type_from_path: Option<&str>) -> Result<Self, Broken> {
        let mut source = Source::new(read);
        let first = match source.fill_buf() {
            Ok(bytes) => bytes.first().copied(),
            Err(error) => return Err(Problem::from(error).broken(0, 0)),
        };
        let format = if first == avro::MAGIC.first().copied() {
            Format::Avro(Box::new(avro::Container::open(source, event_type_from_path)?))
        } else {
            Format::Json(text::Text::new(source, event_type_from_path.map(str::to_owned)))
        };
        Ok(Self { format, events: 0, ended: false })
    }
}

impl<R: Read> Iterator for StorageReader<R> {
    type Item = Result<Received<'static>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match &mut self.format {
            Format::Avro(container) => container.next(),
            Format::Json(text) => text.next(),
        };
        match next {
            Ok(Some(event)) => {
                self.events += 1;
                Some(event.map_err(Fault::Unusable))
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(problem) => {
                self.ended = true;
                let at = match &self.format {
                    Format::Avro(container) => container.at(),
                    Format::Json(text) => text.at(),
                };
                Some(Err(Fault::Broken(problem.broken(at, self.events))))
            }
        }
    }
}

impl<R: Read> std::fmt::Debug for StorageReader<R> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, ended, .. } = self;
        out.debug_struct("StorageReader")
            .field("events", events)
            .field("ended", ended)
            .finish_non_exhaustive()
    }
}

/// An event or why it is none; nothing at the end.
type Next = Result<Option<Result<Received<'static>, Unusable<'static>>>, Problem>;

/// [`Broken`], without where.
#[derive(Debug)]
enum Problem {
    Read(std::io::Error),
    Format(String),
}

impl Problem {
    fn broken(self, at: u64, events: u64) -> Broken {
        match self {
            Self::Read(source) => Broken::Read { at, events, source },
            Self::Format(reason) => Broken::Format { at, events, reason },
        }
    }
}

impl From<std::io::Error> for Problem {
    /// Decompressors say with these kinds that their input is damaged.
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        match error.kind() {
            UnexpectedEof => Self::Format("it ends in the middle".to_owned()),
            InvalidData | InvalidInput => Self::Format(error.to_string()),
            // The zstd decoder has no kind of its own for it.
            Other if error.raw_os_error().is_none() && error.get_ref().is_some() => {
                Self::Format(error.to_string())
            }
            _ => Self::Read(error),
        }
    }
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Self::Format(reason)
    }
}
