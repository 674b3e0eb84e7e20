//! The part that runs: reads, sends, waits and writes down, as the [`Dispatcher`] says.
//!
//! One task per destination. Each turn it reads at most one record, starts what may start, hands
//! what happened since to the journal, and then waits for whatever comes first. Only one entry is
//! on its way to the journal at a time, and the next one takes everything that came up meanwhile,
//! so the disk is synced once for many requests.

mod handle;
mod mirroring;
mod reading;

pub use handle::{ControlError, Handle, Why};
pub use reading::StreamSpec;

use crate::dead_letters::{DeadLetterStore, LetterChange};
use crate::dispatcher::{
    Dispatcher, Ending, Extent, Moment, RequestId, Rules, StreamError, StreamNumber, Window,
};
use crate::governor::Budgets;
use crate::health::Condition;
use crate::history::{HistoryStore, Observed};
use crate::journal::replay::replay;
use crate::journal::{Entry, Journal, JournalError};
use crate::metrics as names;
use crate::mirror::Keeper;
use crate::snapshots::SnapshotError;
use crate::source::{EventSource, SourceError};
use crate::status::DestinationStatus;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use handle::{Answer, Command};
use isthmus_core::destination::{Destination, EncodeError, Encoded, Verdict};
use isthmus_core::record::RecordError;
use isthmus_core::seam::{Backoff, BoxFuture, Clock, Http, Random, Reply, Request, SendError};
use isthmus_state::StateError;
use isthmus_state::dead_letters::LetterKey;
use isthmus_state::echoes::Echoes;
use reading::Reading;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A checkpoint is taken at least this often while anything changes: what was read since is read
/// again after a crash, and the logs are kept for it.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// A checkpoint is taken after this much journal, which bounds replaying at start-up.
const CHECKPOINT_BYTES: usize = 2 << 20;
/// What happened is handed to the history at most this late.
const HISTORY_EVERY: Duration = Duration::from_secs(10);
/// How long to wait before trying a full journal again.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);
/// Commands that wait to be carried out: they come from people.
const COMMANDS_MAX: usize = 16;
/// While reading without a pause, the status is renewed at least this often.
const STATUS_EVERY: Duration = Duration::from_millis(100);
/// How often the gauges follow the status: scrapes come seconds apart.
const GAUGES_EVERY: Duration = Duration::from_secs(1);

/// What an engine works with.
#[derive(Clone)]
pub struct Parts {
    /// The destination's name in the resources.
    pub name: Arc<str>,
    pub destination: Arc<dyn Destination>,
    pub source: Arc<dyn EventSource>,
    pub journal: Arc<dyn Journal>,
    pub dead_letters: Arc<dyn DeadLetterStore>,
    /// Where destinations of one account find their common budget.
    pub budgets: Budgets,
    pub http: Arc<dyn Http>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub config: EngineConfig,
}

/// What a deployment may choose.
#[derive(Debug, Clone, Copy)]
pub struct EngineConfig {
    /// Waits between attempts; there is no last attempt.
    pub backoff: Backoff,
    /// How much of each stream may be in memory.
    pub window: Window,
}

impl Default for EngineConfig {
    /// From one second up to one minute (`braze-rest.md` 2.7).
    fn default() -> Self {
        let backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_mins(1) };
        Self { backoff, window: Window::default() }
    }
}

/// Why an engine stopped or did not start: each needs the operator.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("journal of destination {destination} failed")]
    Journal { destination: Arc<str>, source: JournalError },
    #[error("dead letters cannot be stored")]
    DeadLetters(#[from] StateError),
    #[error("events cannot be read")]
    Source(#[from] SourceError),
    #[error("record at offset {offset} of the event log cannot be read")]
    Record { offset: u64, source: RecordError },
    #[error("what users were told cannot be stored")]
    Mirror(#[source] StateError),
    #[error("what is sent cannot be noted")]
    Echoes(#[source] StateError),
    #[error("user properties cannot be read")]
    Snapshot(#[from] SnapshotError),
    #[error("streams of a destination must have different names")]
    Stream(#[from] StreamError),
}

/// A request whose intent is not on disk yet.
struct Prepared {
    id: RequestId,
    request: Request,
    objects: usize,
}

/// What waits for one entry to reach the disk.
struct Writing {
    done: BoxFuture<'static, Result<u64, JournalError>>,
    entry: Entry,
    /// Requests to send then.
    requests: Vec<Prepared>,
    /// Dead letters to remove then.
    removable: Vec<(StreamNumber, LetterKey)>,
    /// Commands to answer then.
    answers: Vec<Answer>,
    /// What the history is told then.
    observed: Observed,
}

/// A reply, and how long it took.
struct Replied {
    id: RequestId,
    result: Result<Reply, SendError>,
    took: Duration,
}

/// Delivery to one destination.
pub struct Engine {
    parts: Parts,
    dispatcher: Dispatcher,
    reading: Reading,
    sending: FuturesUnordered<BoxFuture<'static, Replied>>,
    prepared: Vec<Prepared>,
    writing: Option<Writing>,
    letters: Vec<LetterChange>,
    commands: mpsc::Receiver<Command>,
    answers: Vec<Answer>,
    status: watch::Sender<Arc<DestinationStatus>>,
    status_at: Duration,
    gauges_at: Duration,
    /// Whether anything happened that the last checkpoint does not hold.
    changed: bool,
    checkpoint_at: Duration,
    journal_bytes: usize,
    history: Option<Arc<dyn HistoryStore>>,
    history_at: Duration,
    mirror: Option<Keeper>,
    echoes: Option<Echoes>,
    /// No more requests are started.
    winding_up: bool,
}

impl Engine {
    /// Replays the journal and opens `streams` where they stopped; a stream that the journal does
    /// not know starts at the present end of the log. A stream that the journal knows and that is
    /// not among `streams` is disabled.
    pub fn open(parts: Parts, streams: Vec<StreamSpec>) -> Result<(Self, Handle), EngineError> {
        let known = replay(&*parts.journal)
            .map_err(|source| EngineError::Journal { destination: parts.name.clone(), source })?;
        let EngineConfig { backoff, window } = parts.config;
        let rules = Rules { limits: parts.destination.limits(), backoff, window };
        let account = parts.destination.account();
        let governor = parts.budgets.of(&account, &rules.limits);
        let now = Moment::of(&*parts.clock);
        let mut dispatcher = Dispatcher::new(&parts.name, rules, governor, known, now)
            .billed_by(parts.destination.clone())
            .paced_by(parts.destination.clone());
        let mut reading = Reading::new(parts.source.clone());
        for spec in streams {
            let StreamSpec { name, mapping, manner } = spec;
            let number = dispatcher.add_stream(name, manner, extent(&*parts.source))?;
            reading.add(number, mapping);
        }
        for stream in dispatcher.retire_the_rest() {
            tracing::warn!(destination = %parts.name, stream, "stream is gone from the resources");
        }
        // Decisions that the run before this one had written down and not finished.
        let removable = dispatcher.removable();
        let keys = removable.iter().map(|(_, key)| LetterChange::Remove(key.clone()));
        parts.dead_letters.apply(keys.collect())?;
        dispatcher.removed(&removable);
        let status = watch::Sender::new(Arc::new(dispatcher.status(&parts.name, now)));
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let handle = Handle::new(sender, status.subscribe(), parts.source.clone());
        let engine = Self {
            parts,
            dispatcher,
            reading,
            sending: FuturesUnordered::new(),
            prepared: Vec::new(),
            writing: None,
            letters: Vec::new(),
            commands,
            answers: Vec::new(),
            status,
            status_at: now.monotonic,
            gauges_at: Duration::ZERO,
            changed: false,
            checkpoint_at: now.monotonic,
            journal_bytes: 0,
            history: None,
            history_at: now.monotonic,
            mirror: None,
            echoes: None,
            winding_up: false,
        };
        Ok((engine, handle))
    }

    /// Tells `history` what becomes of objects; otherwise nobody keeps it.
    #[must_use]
    pub fn recording_to(mut self, history: Arc<dyn HistoryStore>) -> Self {
        self.history = Some(history);
        self
    }

    /// Notes what is sent in `echoes`, so that it is recognised when the vendor tells of it.
    #[must_use]
    pub fn noting_in(mut self, echoes: Echoes) -> Self {
        self.echoes = Some(echoes);
        self
    }

    /// Delivers until `stop`; then starts no more requests, waits for those under way, and takes
    /// a last checkpoint.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), EngineError> {
        while !stop.is_cancelled() {
            let now = Moment::of(&*self.parts.clock);
            let end = self.parts.source.end();
            let more = self.read(end, now)?;
            self.revive(now)?;
            self.start_requests(now)?;
            self.write(now)?;
            self.publish(now, more);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                turn = self.turn(now, end, more) => turn?,
            }
        }
        self.wind_up().await
    }

    /// Waits for whatever comes first and takes it in. `end` is the end of the log that this turn
    /// has seen. Dropping it loses nothing: what it waits for stays in `self`.
    async fn turn(&mut self, now: Moment, end: u64, more: bool) -> Result<(), EngineError> {
        let wake_at = self.wake_at(now.monotonic);
        let wake = async {
            match wake_at {
                Some(at) => self.parts.clock.sleep(at.saturating_sub(now.monotonic)).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            written = finished(&mut self.writing) => self.written(written)?,
            Some(replied) = self.sending.next(), if !self.sending.is_empty() => {
                self.replied(replied)?;
            }
            Some(command) = self.commands.recv() => self.obey(command)?,
            // Reading goes on, after everybody else on this thread had a turn.
            () = tokio::task::yield_now(), if more => {}
            () = wake => {}
            () = self.parts.source.wait_beyond(end), if !more => {}
        }
        Ok(())
    }

    fn wake_at(&mut self, now: Duration) -> Option<Duration> {
        // While an entry is on its way, its arrival is what a due checkpoint waits for.
        let checkpoint = (self.changed && self.writing.is_none())
            .then_some(self.checkpoint_at + CHECKPOINT_EVERY);
        let history = (self.dispatcher.has_observed() && self.writing.is_none())
            .then_some(self.history_at + HISTORY_EVERY);
        checkpoint.into_iter().chain(history).chain(self.dispatcher.next_start(now)).min()
    }

    /// Reads one record of a log that ends at `end`, if any stream has room; returns whether there
    /// is more to read.
    fn read(&mut self, end: u64, now: Moment) -> Result<bool, EngineError> {
        let Some(offset) = self.dispatcher.next_read(end) else { return Ok(false) };
        self.reading.read(offset, &mut self.dispatcher, now, &mut self.letters)?;
        self.changed = true;
        Ok(self.dispatcher.next_read(end).is_some())
    }

    /// Takes up what a run before this one was to send again.
    fn revive(&mut self, now: Moment) -> Result<(), EngineError> {
        for (stream, name, place, part) in self.dispatcher.revived() {
            let letter = self.parts.dead_letters.get(&name, place, part)?;
            self.dispatcher.take_up(stream, place, part, letter, now, &mut self.letters);
            self.changed = true;
        }
        Ok(())
    }

    fn start_requests(&mut self, now: Moment) -> Result<(), EngineError> {
        while let Some(id) = self.dispatcher.start(now) {
            match self.encode(id) {
                Ok(encoded) => {
                    self.note_sent(id, now)?;
                    let Encoded { request, objects } = encoded;
                    self.prepared.push(Prepared { id, request, objects });
                }
                Err(EncodeError { reason }) => {
                    self.finish(id, &Ending::Unencodable { reason }, Duration::ZERO, now)?;
                }
            }
        }
        self.dispatcher.take_letters(&mut self.letters);
        Ok(())
    }

    /// Notes what the request says, before it leaves: an echo can be faster than the answer.
    fn note_sent(&self, id: RequestId, now: Moment) -> Result<(), EngineError> {
        let Some(echoes) = &self.echoes else { return Ok(()) };
        let mut sending =
            echoes.sending(&self.parts.name, now.wall).map_err(EngineError::Echoes)?;
        for delivery in self.dispatcher.batch(id) {
            if let Some(key) = self.parts.destination.echo_key(&delivery.message) {
                sending.note(key, &delivery.stream, delivery.place, delivery.part);
            }
        }
        sending.commit().map_err(EngineError::Echoes)
    }

    fn encode(&self, id: RequestId) -> Result<Encoded, EncodeError> {
        let encoded = self.parts.destination.encode(self.dispatcher.batch(id))?;
        let (actual, max) =
            (encoded.request.body.len(), self.parts.destination.limits().bytes_per_request);
        if actual > max.as_usize() {
            let reason = format!("request of {actual} bytes exceeds {max}");
            return Err(EncodeError { reason });
        }
        Ok(encoded)
    }

    fn finish(
        &mut self,
        id: RequestId,
        ending: &Ending,
        took: Duration,
        now: Moment,
    ) -> Result<(), EngineError> {
        let random = self.parts.random.next_u64();
        self.dispatcher.finish(id, ending, took, now, random, &mut self.letters);
        self.changed = true;
        self.keep_told(id)
    }

    /// Hands what happened to the journal, unless an entry is on its way already.
    fn write(&mut self, now: Moment) -> Result<(), EngineError> {
        if self.writing.is_some() {
            return Ok(());
        }
        let old = now.monotonic >= self.checkpoint_at + CHECKPOINT_EVERY;
        let full = self.journal_bytes >= CHECKPOINT_BYTES;
        let tells = self.winding_up || now.monotonic >= self.history_at + HISTORY_EVERY;
        let tells = tells && self.dispatcher.has_observed();
        if self.dispatcher.has_done_jobs() || self.changed && (old || full) || tells {
            self.dispatcher.want_checkpoint();
        }
        let removable = self.dispatcher.removable();
        let Some(entry) = self.dispatcher.take_entry(now) else { return Ok(()) };
        let mut observed = Observed::default();
        if tells {
            observed = self.dispatcher.take_observed();
            self.history_at = now.monotonic;
        }
        self.store_letters()?;
        let bytes = entry.encode();
        self.journal_bytes += bytes.len();
        if matches!(entry, Entry::Checkpoint(_)) {
            self.checkpoint_at = now.monotonic;
            self.journal_bytes = 0;
            self.changed = false;
        }
        metrics::counter!(names::JOURNAL_BYTES, "destination" => self.parts.name.to_string())
            .increment(bytes.len() as u64);
        let journal = self.parts.journal.clone();
        let clock = self.parts.clock.clone();
        self.writing = Some(Writing {
            done: Box::pin(append(journal, clock, bytes, self.parts.name.clone())),
            entry,
            requests: std::mem::take(&mut self.prepared),
            answers: std::mem::take(&mut self.answers),
            removable,
            observed,
        });
        Ok(())
    }

    fn store_letters(&mut self) -> Result<(), EngineError> {
        if !self.letters.is_empty() {
            self.parts.dead_letters.apply(std::mem::take(&mut self.letters))?;
        }
        Ok(())
    }

    /// The entry on its way is on disk: its requests may leave.
    fn written(
        &mut self,
        (written, result): (Writing, Result<u64, JournalError>),
    ) -> Result<(), EngineError> {
        let destination = self.parts.name.clone();
        let failed = |source| EngineError::Journal { destination: destination.clone(), source };
        let position = result.map_err(failed)?;
        self.dispatcher.on_disk(&written.entry);
        self.mark_written(position, &written)?;
        if matches!(written.entry, Entry::Checkpoint(_)) {
            self.parts.journal.trim(position).map_err(failed)?;
        }
        if !written.removable.is_empty() {
            let keys = written.removable.iter().map(|(_, key)| key.clone());
            self.parts.dead_letters.apply(keys.map(LetterChange::Remove).collect())?;
            self.dispatcher.removed(&written.removable);
        }
        self.tell(&written.observed);
        for Prepared { id, request, objects } in written.requests {
            self.dispatcher.count_sent(id, objects, request.body.len());
            let clock = self.parts.clock.clone();
            let started = clock.monotonic();
            let reply = self.parts.http.send(request);
            self.sending.push(Box::pin(async move {
                let result = reply.await;
                Replied { id, result, took: clock.monotonic().saturating_sub(started) }
            }));
        }
        for (answer, done) in written.answers {
            // Whoever asked may be gone.
            answer.send(done).ok();
        }
        Ok(())
    }

    /// What happened is for people to look at: delivery goes on without it.
    fn tell(&self, observed: &Observed) {
        if let Some(history) = &self.history
            && *observed != Observed::default()
            && let Err(error) = history.add(observed)
        {
            tracing::error!(destination = %self.parts.name, %error, "delivery history not stored");
        }
    }

    fn replied(&mut self, Replied { id, result, took }: Replied) -> Result<(), EngineError> {
        let destination = || self.parts.name.to_string();
        let status = match &result {
            Ok(reply) => names::status_class(reply.status),
            Err(_) => "none",
        };
        metrics::counter!(names::REPLIES, "destination" => destination(), "status" => status)
            .increment(1);
        metrics::histogram!(names::REQUEST_SECONDS, "destination" => destination())
            .record(took.as_secs_f64());
        let ending = match result {
            Ok(reply) => {
                let destination = &self.parts.destination;
                let verdicts = destination.judge(self.dispatcher.batch(id), &reply);
                let fine = verdicts.iter().all(|verdict| *verdict == Verdict::Accepted);
                Ending::Judged {
                    status: reply.status,
                    message: if fine { String::new() } else { reply.excerpt() },
                    verdicts,
                    budget: destination.budget(&reply),
                }
            }
            Err(SendError::NotSent { reason }) => Ending::NotSent { reason },
            Err(SendError::Unknown { reason }) => Ending::Unknown { reason },
        };
        tracing::debug!(destination = %self.parts.name, request = id.0, status, ?took, "request ended");
        self.finish(id, &ending, took, Moment::of(&*self.parts.clock))
    }

    fn publish(&mut self, now: Moment, more: bool) {
        if more && now.monotonic < self.status_at + STATUS_EVERY {
            return;
        }
        self.status_at = now.monotonic;
        let mut status = self.dispatcher.status(&self.parts.name, now);
        status.on_disk &= self.writing.is_none();
        if now.monotonic >= self.gauges_at {
            self.gauges_at = now.monotonic + GAUGES_EVERY;
            self.dispatcher.gauge(&status, self.parts.journal.bytes_on_disk());
        }
        let before = self.status.borrow().condition.clone();
        if std::mem::discriminant(&before) != std::mem::discriminant(&status.condition) {
            announce(&self.parts.name, &status.condition);
        }
        self.status.send_replace(Arc::new(status));
    }

    /// Waits for what is under way, sends nothing new, and takes a last checkpoint.
    async fn wind_up(mut self) -> Result<(), EngineError> {
        self.winding_up = true;
        loop {
            let now = Moment::of(&*self.parts.clock);
            if self.dispatcher.in_flight() == 0 {
                self.dispatcher.want_checkpoint();
            }
            let last = self.dispatcher.in_flight() == 0 && self.writing.is_none();
            self.write(now)?;
            self.publish(now, false);
            tokio::select! {
                biased;
                written = finished(&mut self.writing) => self.written(written)?,
                Some(replied) = self.sending.next(), if !self.sending.is_empty() => {
                    self.replied(replied)?;
                }
            }
            if last {
                self.publish(now, false);
                return Ok(());
            }
        }
    }
}

/// Says once that a destination is in another condition than before.
fn announce(destination: &str, condition: &Condition) {
    match condition {
        Condition::Well => tracing::info!(destination, "destination answers"),
        Condition::Struggling { failures, reason } => {
            tracing::warn!(destination, failures, reason, "destination does not answer");
        }
        Condition::Paused { reason, .. } => {
            tracing::error!(destination, reason, "destination refuses us");
        }
        Condition::Halted { reason } => tracing::info!(destination, reason, "destination halted"),
    }
}

/// The part of the log that is there.
fn extent(source: &dyn EventSource) -> Extent {
    Extent { start: source.start(), end: source.end() }
}

/// Completes with what was being written once it is, and never while nothing is. Dropping it
/// loses nothing.
async fn finished(writing: &mut Option<Writing>) -> (Writing, Result<u64, JournalError>) {
    let Some(waiting) = writing else { return pending().await };
    let result = (&mut waiting.done).await;
    match writing.take() {
        Some(written) => (written, result),
        None => pending().await,
    }
}

/// Appends `bytes`; a full journal is waited out, because nothing may leave without its intent.
async fn append(
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    bytes: Vec<u8>,
    destination: Arc<str>,
) -> Result<u64, JournalError> {
    loop {
        match journal.append(bytes.clone()).await {
            Err(error @ JournalError::Wait { .. }) => {
                tracing::warn!(%destination, %error, retry_in = ?JOURNAL_RETRY, "sending postponed");
                clock.sleep(JOURNAL_RETRY).await;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
