//! JSON files: an event per line, a list of events, or bodies of the HTTP connector.

use super::flat::read_json_line;
use super::source::Source;
use super::{EVENT_BYTES_MAX, Next, Problem, Unusable};
use std::borrow::Cow;
use std::io::{BufRead, Read};

/// What opens a body, space aside.
const BODY: [&[u8]; 4] = [b"{", b"\"events\"", b":", b"["];

pub(super) struct Text<R> {
    source: Source<R>,
    event_type: Option<String>,
    place: Place,
    /// What was read of the present event.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where anything may begin.
    Start,
    /// In a list, which may be that of a body.
    List { of_body: bool },
}

impl<R: Read> Text<R> {
    pub(super) fn new(source: Source<R>, event_type: Option<String>) -> Self {
        Self { source, event_type, place: Place::Start, bytes: Vec::new() }
    }

    /// Bytes of the file that were read.
    pub(super) fn at(&self) -> u64 {
        self.source.at()
    }

    pub(super) fn next(&mut self) -> Next {
        loop {
            self.bytes.clear();
            let of_body = match self.place {
                Place::Start => {
                    if self.start()? {
                        return self.line();
                    }
                    if self.place == Place::Start {
                        return Ok(None);
                    }
                    continue;
                }
                Place::List { of_body } => of_body,
            };
            match self.peek_beyond(b" \t\r\n,")? {
                None => return Err("it ends in the middle of a list".to_owned().into()),
                Some(b']') => {
                    self.source.consume(1);
                    if of_body {
                        // What else a body has does not matter.
                        self.container(1)?;
                    }
                    self.place = Place::Start;
                }
                Some(b'{' | b'[') => {
                    self.container(0)?;
                    return Ok(Some(self.event()));
                }
                Some(_) => {
                    self.scalar()?;
                    return Ok(Some(self.event()));
                }
            }
        }
    }

    /// Whether an event begins here; if not, a list does, or the file is over.
    fn start(&mut self) -> Result<bool, Problem> {
        match self.peek_beyond(b" \t\r\n")? {
            None => return Ok(false),
            Some(b'[') => {
                self.source.consume(1);
                self.place = Place::List { of_body: false };
                return Ok(false);
            }
            Some(_) => {}
        }
        for part in BODY {
            while let Some(space @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek()? {
                self.take(space)?;
            }
            for expected in part {
                if self.peek()? != Some(*expected) {
                    return Ok(true);
                }
                self.take(*expected)?;
            }
        }
        self.place = Place::List { of_body: true };
        Ok(false)
    }

    /// The event that goes on to the end of the line.
    fn line(&mut self) -> Next {
        let left = (EVENT_BYTES_MAX + 1).saturating_sub(self.bytes.len());
        (&mut self.source).take(left as u64).read_until(b'\n', &mut self.bytes)?;
        if self.bytes.len() > EVENT_BYTES_MAX {
            return Err(too_large());
        }
        let is_whole = self.bytes.ends_with(b"\n");
        match self.event() {
            Err(unusable) if !is_whole && unusable.reason.starts_with("not JSON") => {
                Err("it ends in the middle of an event".to_owned().into())
            }
            event => Ok(Some(event)),
        }
    }

    fn event(&self) -> Result<super::Received<'static>, Unusable<'static>> {
        match str::from_utf8(&self.bytes) {
            Ok(line) => read_json_line(line.trim(), self.event_type.as_deref())
                .map(super::Received::into_owned)
                .map_err(Unusable::into_owned),
            Err(_) => Err(Unusable {
                raw: Cow::Owned(String::from_utf8_lossy(&self.bytes).into_owned()),
                reason: "not JSON: not UTF-8".to_owned(),
            }),
        }
    }

    /// Takes an object or a list, or the rest of one in which `depth` brackets are open.
    fn container(&mut self, mut depth: usize) -> Result<(), Problem> {
        let (mut quoted, mut escaped) = (false, false);
        loop {
            let byte =
                self.peek()?.ok_or_else(|| "it ends in the middle of an event".to_owned())?;
            self.take(byte)?;
            if quoted {
                quoted = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                continue;
            }
            match byte {
                b'"' => quoted = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Takes what is no container, up to the next comma or the end of the list.
    fn scalar(&mut self) -> Result<(), Problem> {
        while let Some(byte) = self.peek()?.filter(|byte| !matches!(byte, b',' | b']' | b'\n')) {
            self.take(byte)?;
        }
        Ok(())
    }

    fn take(&mut self, byte: u8) -> Result<(), Problem> {
        self.source.consume(1);
        self.bytes.push(byte);
        if self.bytes.len() > EVENT_BYTES_MAX { Err(too_large()) } else { Ok(()) }
    }

    fn peek(&mut self) -> Result<Option<u8>, Problem> {
        Ok(self.source.fill_buf()?.first().copied())
    }

    /// The next byte that is none of `passed`, which are passed over.
    fn peek_beyond(&mut self, passed: &[u8]) -> Result<Option<u8>, Problem> {
        loop {
            match self.peek()? {
                Some(byte) if passed.contains(&byte) => self.source.consume(1),
                other => return Ok(other),
            }
        }
    }
}

fn too_large() -> Problem {
    format!("an event of more than {EVENT_BYTES_MAX} bytes").into()
}
