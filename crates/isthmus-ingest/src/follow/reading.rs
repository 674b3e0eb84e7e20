//! One file, from its bytes to the log.
//!
//! A thread that may block decodes it and hands over records of some events each, a few of which may wait;
//! each is handed in and then noted. Where events were noted before, they are passed over.

use super::bucket::Bucket;
use super::listing::Found;
use super::tally::Tally;
use crate::door::{CurrentsError, Door};
use crate::metrics as names;
use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use isthmus_braze::currents::{Broken, Fault, Received, StorageReader, Unusable};
use isthmus_core::seam::{BoxFuture, Clock};
use isthmus_log::LogError;
use isthmus_state::StateError;
use isthmus_state::currents_files::{CurrentsFiles, FileRecord, Standing, day_of};
use object_store::{GetOptions, GetResultPayload, ObjectStore};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events of one record: so many are lost sight of at most when the program is killed, and read again.
const CHUNK_EVENTS: usize = 1_000;
/// Text of the events of one record.
const CHUNK_BYTES: usize = 1 << 20;
/// Records of a file that wait for the log.
const CHUNKS_WAITING: usize = 2;
/// Between two tries to hand in what the log does not take.
const WAIT_FOR_LOG: Duration = Duration::from_secs(1);
/// What is kept of an event that no log takes.
const KEPT_OF_TOO_LARGE: usize = 4 << 10;

/// Where events go.
pub trait Intake: Send + Sync + fmt::Debug {
    /// Takes what was read of `file`; returns once all of it is on disk.
    fn accept<'a>(
        &'a self,
        source: &'a str,
        events: Vec<Received<'a>>,
        unusable: Vec<Unusable<'a>>,
        file: &'a str,
    ) -> BoxFuture<'a, Result<(), CurrentsError>>;

    /// Waits for as long as so much waits to be applied that more would only fill the disk. It may be
    /// dropped.
    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Intake for Door {
    fn accept<'a>(
        &'a self,
        source: &'a str,
        events: Vec<Received<'a>>,
        unusable: Vec<Unusable<'a>>,
        file: &'a str,
    ) -> BoxFuture<'a, Result<(), CurrentsError>> {
        Box::pin(self.accept_events(source, events, unusable, Some(file)))
    }
}

/// What following and importing work with.
#[derive(Clone)]
pub struct Ground {
    pub intake: Arc<dyn Intake>,
    pub files: CurrentsFiles,
    pub clock: Arc<dyn Clock>,
}

/// What reads the files of one source. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) ground: Ground,
    pub(super) source: Arc<str>,
    pub(super) bucket: Bucket,
    pub(super) tally: Arc<Tally>,
    pub(super) stop: CancellationToken,
    /// How long after its last change a file that ends in the middle may still be being written.
    pub(super) settle: Duration,
    /// Counts what there is; hands in and notes nothing.
    pub(super) dry_run: bool,
}

/// How the reading of a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// All that there is to be read of it was.
    Done,
    /// It may be whole another time.
    Unsettled,
    /// It, or where it goes, could not be reached.
    Failed(String),
    /// The file is not there any more.
    Gone,
    Stopped,
}

/// Why handing in ends the reading.
enum Refused {
    Stopped,
    Failed(String),
}

type Entry = Result<Received<'static>, Unusable<'static>>;

/// Some of a file, in order.
struct Chunk {
    entries: Vec<Entry>,
    /// Index in the file after the last of them.
    until: u64,
}

/// What the decoding of a file came to.
enum Decoded {
    Whole,
    Damaged { entries: u64, reason: String },
    Failed(String),
}

impl Reading {
    /// What is known of `found`: `None` when nothing of it has to be read.
    pub(super) fn unread(
        &self,
        found: &Found,
        passed_too: bool,
    ) -> Result<Option<FileRecord>, StateError> {
        let today = day_of(self.ground.clock.now());
        let begun = FileRecord {
            content: found.content,
            entries: 0,
            standing: Standing::Begun,
            seen_day: today,
        };
        if self.dry_run {
            return Ok(Some(begun));
        }
        let Some(known) = self.ground.files.file(&self.source, &found.address)? else {
            return Ok(Some(begun));
        };
        if known.content != found.content {
            return Ok(Some(begun));
        }
        if known.seen_day != today {
            let seen = FileRecord { seen_day: today, ..known };
            self.ground.files.put_file(&self.source, &found.address, &seen)?;
        }
        Ok(match known.standing {
            Standing::Begun => Some(known),
            Standing::Passed if passed_too => Some(begun),
            Standing::Whole | Standing::Damaged | Standing::Passed => None,
        })
    }

    /// Reads `found` from where `record` says.
    pub(super) async fn read(self, found: Found, mut record: FileRecord) -> Ended {
        let input = match self.open(&found).await {
            Ok(input) => input,
            Err(ended) => return ended,
        };
        let input = Counted { inner: input, tally: self.tally.clone(), stop: self.stop.clone() };
        let (sender, mut chunks) = mpsc::channel(CHUNKS_WAITING);
        let (skip, gzipped, event_type) = (record.entries, found.gzipped, found.event_type.clone());
        let decoding = tokio::task::spawn_blocking(move || {
            if gzipped {
                decode(MultiGzDecoder::new(input), event_type.as_deref(), skip, &sender)
            } else {
                decode(input, event_type.as_deref(), skip, &sender)
            }
        });
        let mut refused = None;
        while let Some(Chunk { mut entries, until }) = chunks.recv().await {
            if let Err(why) = self.hand_in(&found, &mut entries).await {
                refused = Some(why);
                break;
            }
            record.entries = until;
            if let Err(error) = self.note(&found, &record) {
                refused = Some(Refused::Failed(error.to_string()));
                break;
            }
        }
        // The decoder ends when nobody listens.
        drop(chunks);
        let decoded = decoding.await;
        match refused {
            Some(Refused::Stopped) => return Ended::Stopped,
            Some(Refused::Failed(why)) => return Ended::Failed(why),
            None => {}
        }
        match decoded {
            Ok(Decoded::Whole) => self.close(&found, record, Standing::Whole),
            Ok(Decoded::Damaged { entries, reason }) => {
                if self.may_be_being_written(&found) {
                    return Ended::Unsettled;
                }
                self.report_damage(&found, FileRecord { entries, ..record }, reason).await
            }
            Ok(Decoded::Failed(_)) if self.stop.is_cancelled() => Ended::Stopped,
            Ok(Decoded::Failed(why)) => Ended::Failed(why),
            Err(error) => Ended::Failed(format!("reading ended: {error}")),
        }
    }

    fn may_be_being_written(&self, found: &Found) -> bool {
        !self.dry_run && self.ground.clock.now().since(found.modified) < self.settle
    }

    async fn open(&self, found: &Found) -> Result<Box<dyn Read + Send>, Ended> {
        let store = &self.bucket.store;
        match store.get_opts(&found.path, GetOptions::default()).await {
            Ok(result) => Ok(match result.payload {
                GetResultPayload::File(file, _) => Box::new(file),
                GetResultPayload::Stream(bytes) => Box::new(Arriving {
                    bytes,
                    chunk: Bytes::new(),
                    runtime: Handle::current(),
                    stop: self.stop.clone(),
                }),
            }),
            Err(object_store::Error::NotFound { .. }) => Err(Ended::Gone),
            Err(error) => Err(Ended::Failed(innermost(&error))),
        }
    }

    /// Writes what stands in the place of the rest of a file.
    async fn report_damage(&self, found: &Found, record: FileRecord, reason: String) -> Ended {
        tracing::warn!(source = %self.source, file = found.address, reason, "file is damaged");
        let mut entries = vec![Err(Unusable { raw: Cow::Borrowed(""), reason })];
        match self.hand_in(found, &mut entries).await {
            Ok(()) => self.close(found, record, Standing::Damaged),
            Err(Refused::Stopped) => Ended::Stopped,
            Err(Refused::Failed(why)) => Ended::Failed(why),
        }
    }

    fn close(&self, found: &Found, record: FileRecord, standing: Standing) -> Ended {
        if let Err(error) = self.note(found, &FileRecord { standing, ..record }) {
            return Ended::Failed(error.to_string());
        }
        let damaged = standing == Standing::Damaged;
        self.tally.change(|view| {
            view.files += 1;
            view.files_damaged += u64::from(damaged);
        });
        if !self.dry_run {
            let outcome = if damaged { "damaged" } else { "whole" };
            metrics::counter!(names::FILES_READ, "source" => self.source.to_string(), "outcome" => outcome)
                .increment(1);
            metrics::counter!(names::FILE_BYTES, "source" => self.source.to_string())
                .increment(found.bytes);
        }
        Ended::Done
    }

    fn note(&self, found: &Found, record: &FileRecord) -> Result<(), StateError> {
        if self.dry_run {
            return Ok(());
        }
        self.ground.files.put_file(&self.source, &found.address, record)
    }

    /// Hands in all of `entries`, for as long as it takes.
    async fn hand_in(&self, found: &Found, entries: &mut [Entry]) -> Result<(), Refused> {
        let mut rest = &mut *entries;
        let mut at_once = rest.len();
        while !rest.is_empty() {
            tokio::select! {
                () = self.ground.intake.ready() => {}
                () = self.stop.cancelled() => return Err(Refused::Stopped),
            }
            let (now, _) = rest.split_at(at_once.min(rest.len()));
            match self.hand_in_once(found, now).await {
                Ok(()) => {
                    self.count(now);
                    let done = now.len();
                    rest = rest.split_at_mut(done).1;
                }
                Err(CurrentsError::Log(LogError::TooLarge { .. })) if at_once > 1 => {
                    at_once = (now.len() / 2).max(1);
                }
                Err(CurrentsError::Log(error @ LogError::TooLarge { .. })) => {
                    if let Some(entry) = rest.first_mut() {
                        *entry = Err(too_large(entry, &error));
                    }
                }
                Err(CurrentsError::Log(LogError::Closed)) => return Err(Refused::Stopped),
                Err(CurrentsError::Log(error)) => {
                    let now = self.ground.clock.now();
                    self.tally.change(|view| view.error = Some((now, error.to_string())));
                    tracing::debug!(source = %self.source, %error, "waiting for the log");
                    tokio::select! {
                        () = self.ground.clock.sleep(WAIT_FOR_LOG) => {}
                        () = self.stop.cancelled() => {}
                    }
                }
                Err(error @ CurrentsError::UnknownSource { .. }) => {
                    return Err(Refused::Failed(error.to_string()));
                }
            }
            if self.stop.is_cancelled() && !rest.is_empty() {
                return Err(Refused::Stopped);
            }
        }
        Ok(())
    }

    async fn hand_in_once(&self, found: &Found, entries: &[Entry]) -> Result<(), CurrentsError> {
        if self.dry_run {
            return Ok(());
        }
        let (mut events, mut unusable) = (Vec::with_capacity(entries.len()), Vec::new());
        for entry in entries {
            match entry {
                Ok(event) => events.push(lent(event)),
                Err(Unusable { raw, reason }) => {
                    unusable.push(Unusable { raw: Cow::Borrowed(raw), reason: reason.clone() });
                }
            }
        }
        self.ground.intake.accept(&self.source, events, unusable, &found.address).await
    }

    fn count(&self, entries: &[Entry]) {
        let now = self.ground.clock.now();
        self.tally.change(|view| {
            for entry in entries {
                match entry {
                    Ok(event) => Tally::count_event(view, event),
                    Err(unusable) => Tally::count_unusable(view, unusable),
                }
            }
            view.handed_in_at = Some(now);
        });
    }
}

/// The same event, borrowed.
fn lent<'a>(event: &'a Received<'_>) -> Received<'a> {
    Received {
        event_type: Cow::Borrowed(&event.event_type),
        id: Cow::Borrowed(&event.id),
        time: event.time,
        user_id: event.user_id.as_deref().map(Cow::Borrowed),
        external_user_id: event.external_user_id.as_deref().map(Cow::Borrowed),
        device_id: event.device_id.as_deref().map(Cow::Borrowed),
        timezone: event.timezone.as_deref().map(Cow::Borrowed),
        properties: Cow::Borrowed(&event.properties),
        other: event.other.as_deref().map(Cow::Borrowed),
    }
}

/// What is kept of an entry that no record holds.
fn too_large(entry: &Entry, error: &LogError) -> Unusable<'static> {
    let raw = match entry {
        Ok(event) => &event.properties,
        Err(unusable) => &unusable.raw,
    };
    let kept = raw.floor_char_boundary(KEPT_OF_TOO_LARGE);
    let raw = Cow::Owned(raw.get(..kept).unwrap_or_default().to_owned());
    Unusable { raw, reason: format!("cut, because the log takes no more: {error}") }
}

/// Decodes a file to its end, its damage, or until nobody listens.
fn decode(
    input: impl Read,
    event_type: Option<&str>,
    skip: u64,
    chunks: &mpsc::Sender<Chunk>,
) -> Decoded {
    let reader = match StorageReader::open(input, event_type) {
        Ok(reader) => reader,
        Err(broken) => return broken_off(&broken, 0),
    };
    let (mut entries, mut bytes, mut index) = (Vec::new(), 0, 0_u64);
    let mut broken = None;
    for item in reader {
        let entry = match item {
            Ok(event) => Ok(event),
            Err(Fault::Unusable(unusable)) => Err(unusable),
            Err(Fault::Broken(why)) => {
                broken = Some(why);
                break;
            }
        };
        index += 1;
        if index <= skip {
            continue;
        }
        bytes += match &entry {
            Ok(event) => event.properties.len() + event.id.len() + event.event_type.len(),
            Err(unusable) => unusable.raw.len(),
        };
        entries.push(entry);
        if entries.len() >= CHUNK_EVENTS || bytes >= CHUNK_BYTES {
            let chunk = Chunk { entries: std::mem::take(&mut entries), until: index };
            if chunks.blocking_send(chunk).is_err() {
                return Decoded::Failed("nobody waits for it".to_owned());
            }
            bytes = 0;
        }
    }
    if !entries.is_empty() && chunks.blocking_send(Chunk { entries, until: index }).is_err() {
        return Decoded::Failed("nobody waits for it".to_owned());
    }
    match broken {
        Some(broken) => broken_off(&broken, index),
        None => Decoded::Whole,
    }
}

fn broken_off(broken: &Broken, entries: u64) -> Decoded {
    match broken {
        Broken::Read { source, .. } => Decoded::Failed(format!("{broken}: {}", innermost(source))),
        Broken::Format { .. } => Decoded::Damaged { entries, reason: broken.to_string() },
    }
}

/// What went wrong, without what was being tried at each level above it.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Counts what is read of a file, and ends it when asked to.
struct Counted<R> {
    inner: R,
    tally: Arc<Tally>,
    stop: CancellationToken,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(stopped());
        }
        let read = self.inner.read(out)?;
        self.tally.change(|view| view.bytes += read as u64);
        Ok(read)
    }
}

/// Bytes of an object as they arrive, for a thread that may block.
struct Arriving {
    bytes: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
    runtime: Handle,
    stop: CancellationToken,
}

impl Read for Arriving {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let Self { bytes, stop, .. } = self;
            let next = self.runtime.block_on(async {
                tokio::select! {
                    next = bytes.next() => Ok(next),
                    () = stop.cancelled() => Err(stopped()),
                }
            })?;
            match next {
                Some(Ok(chunk)) => self.chunk = chunk,
                // Of a kind that no decoder uses to say that what it reads is damaged.
                Some(Err(error)) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, error));
                }
                None => return Ok(0),
            }
        }
        let length = self.chunk.len().min(out.len());
        if let Some(out) = out.get_mut(..length) {
            self.chunk.copy_to_slice(out);
        }
        Ok(length)
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "asked to stop")
}
