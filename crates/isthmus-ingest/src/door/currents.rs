//! The door for events of Braze Currents: one post, one answer, and an entry for files.
//!
//! What the answers mean to Braze (`braze-currents.md` 3.2, read 2026-09): 2xx ends a batch, 400 has it
//! sent again event by event, 401 and 404 are told to the operator, 413 has it cut, 429 and 5xx are
//! tried again. So 400 is only for a body that is no batch, and a single event that cannot be used is put
//! aside with the rest of its batch accepted. The token is checked before the body is looked at, because
//! Braze tries credentials with empty bodies.

use super::{Answer, Door, label, names};
use crate::currents::Beside;
use crate::door::body::{self, BodyError};
use isthmus_braze::currents::{Form, NotABatch, Received, Unusable, read_batch};
use isthmus_config::Secret;
use isthmus_config::secret;
use isthmus_core::Place;
use isthmus_core::record::{
    self, Command, CurrentsBatch, IntakeBatch, IntakeEvent, Mend, Sent, Source,
};
use isthmus_log::LogError;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What metrics call the endpoint.
const ENDPOINT: &str = "/currents/http";
/// What they call what comes from files.
const FILES: &str = "files";
/// Text of the events that one record of the intake log takes where they come from files.
const RECORD_BYTES_MAX: usize = 4 << 20;
/// What Braze is asked to wait when the log cannot take its batch now.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A source as the door lets it in.
#[derive(Debug, Clone)]
pub struct CurrentsSource {
    pub name: String,
    /// Name of the project whose events they are.
    pub project: String,
    /// What the ids of its events are unique within.
    pub scope: String,
    /// Name of the destination whose workspace it exports, where that is known.
    pub destination: Option<String>,
    /// How Amplitude shows its events.
    pub form: Form,
    /// Without one, everybody is let in.
    pub token: Option<Secret>,
    /// Whether posts are taken at all: some sources have files alone.
    pub posted: bool,
}

/// Whether events are what we told Braze ourselves.
pub trait Echoes: Debug + Send + Sync {
    /// One answer per event of `events`, in their order. `destination` is the one whose workspace the
    /// source exports, where that is known.
    fn recognise(
        &self,
        destination: Option<&str>,
        events: &[Received<'_>],
    ) -> Vec<Option<Recognised>>;
}

/// An object that we sent, found to be the cause of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    pub destination: String,
    pub stream: String,
    /// The item of the event log that it was mapped from.
    pub place: Place,
    /// Which of the objects mapped from that item it is.
    pub part: u16,
    /// The device id that was its user's alias, where it was sent for an alias: the event is that
    /// device's, if it names nobody itself.
    pub device_id: Option<String>,
}

/// Recognises nothing.
#[derive(Debug)]
pub(super) struct NoEchoes;

impl Echoes for NoEchoes {
    fn recognise(&self, _: Option<&str>, events: &[Received<'_>]) -> Vec<Option<Recognised>> {
        events.iter().map(|_| None).collect()
    }
}

/// A source that has shown its token.
#[derive(Debug, Clone)]
pub struct AdmittedSource(Arc<Entrance>);

/// Why events that came by another way than a post were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CurrentsError {
    #[error("there is no currents source {name}")]
    UnknownSource { name: String },
    /// Some of them may be in the log. Handed in again, these are recognised by their ids.
    #[error("events cannot be written to the intake log")]
    Log(#[from] LogError),
}

/// What the door keeps for Currents.
#[derive(Debug)]
pub(super) struct Currents {
    sources: RwLock<HashMap<String, Arc<Entrance>>>,
    echoes: RwLock<Arc<dyn Echoes>>,
}

#[derive(Debug)]
struct Entrance {
    source: CurrentsSource,
    /// The form as records hold it.
    form: String,
}

/// Events and what cannot be used as one, of one source.
struct Batch<'a> {
    events: Vec<Received<'a>>,
    unusable: Vec<Unusable<'a>>,
    file: Option<&'a str>,
    /// What is let go once the events are in.
    mended: Vec<Place>,
}

impl Currents {
    pub(super) fn new() -> Self {
        Self { sources: RwLock::default(), echoes: RwLock::new(Arc::new(NoEchoes)) }
    }

    fn entrance(&self, name: &str) -> Option<Arc<Entrance>> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Door {
    /// Lets in `sources`, and no others, from now on.
    pub fn set_currents(&self, sources: impl IntoIterator<Item = CurrentsSource>) {
        let entrances = sources.into_iter().map(|source| {
            let form = written(&source.form);
            (source.name.clone(), Arc::new(Entrance { source, form }))
        });
        *self.currents.sources.write().unwrap_or_else(PoisonError::into_inner) =
            entrances.collect();
    }

    /// Asks `echoes` about every event from now on.
    pub fn set_echoes(&self, echoes: Arc<dyn Echoes>) {
        *self.currents.echoes.write().unwrap_or_else(PoisonError::into_inner) = echoes;
    }

    /// Lets a post to `source` in, by its `Authorization`; its body need not have been read.
    pub fn admit_currents(
        &self,
        source: &str,
        authorization: Option<&str>,
    ) -> Result<AdmittedSource, Answer> {
        let admitted = match self.currents.entrance(source) {
            None => Err(refused(404, "no such Currents source")),
            Some(entrance) if !entrance.source.posted => {
                Err(refused(404, "this Currents source takes no posts"))
            }
            Some(entrance) => match &entrance.source.token {
                Some(token) if !is_shown(token, authorization) => {
                    Err(refused(401, "the token is wrong or missing"))
                }
                _ => Ok(AdmittedSource(entrance)),
            },
        };
        if let Err(answer) = &admitted {
            count_answer(answer.status);
        }
        admitted
    }

    /// Answers a post whose `body` is read to its end. The 200 means that all of it is on disk.
    pub async fn answer_currents(
        &self,
        source: &AdmittedSource,
        content_encoding: Option<&str>,
        body: &[u8],
    ) -> Answer {
        let started = self.clock.monotonic();
        let answer = self.take_post(&source.0, content_encoding, body).await;
        let answer = answer.unwrap_or_else(|refused| refused);
        let took = self.clock.monotonic().saturating_sub(started);
        count_answer(answer.status);
        metrics::histogram!(names::ANSWER_SECONDS, "endpoint" => ENDPOINT)
            .record(took.as_secs_f64());
        answer
    }

    async fn take_post(
        &self,
        entrance: &Entrance,
        content_encoding: Option<&str>,
        body: &[u8],
    ) -> Result<Answer, Answer> {
        let (record, counts, size) = {
            let _turn = self.decoding.acquire().await.ok();
            let max = self.rules.currents_body_max.as_usize();
            let body = body::plain(body, content_encoding, max).map_err(|error| match error {
                BodyError::TooLarge => refused(413, "body too large"),
                BodyError::Corrupt => refused(400, "body cannot be decompressed"),
            })?;
            let read =
                read_batch(&body).map_err(|error: NotABatch| refused(400, &error.to_string()))?;
            let mut batch =
                Batch { events: Vec::new(), unusable: Vec::new(), file: None, mended: Vec::new() };
            for event in read {
                match event {
                    Ok(event) => batch.events.push(event),
                    Err(unusable) => batch.unusable.push(unusable),
                }
            }
            let counts = (batch.events.len(), batch.unusable.len());
            let record = (counts != (0, 0)).then(|| self.record(entrance, &batch));
            (record, counts, body.len())
        };
        if let Some(record) = record {
            self.intake.append(record).await.map_err(|error| refused_by_log(&error))?;
        }
        count_events(&entrance.source.name, ENDPOINT, counts);
        metrics::counter!(names::BODY_BYTES, "endpoint" => ENDPOINT).increment(size as u64);
        let (events, unusable) = counts;
        let body = format!(r#"{{"code":200,"events":{events},"unusable":{unusable}}}"#);
        Ok(Answer { status: 200, body, retry_after: None })
    }

    /// Takes events that came by another way than a post, for example those of `file`; returns once
    /// all of them are on disk. Waits for nothing else: a log that is full or busy is an error, and
    /// handing in the same events again does no harm.
    pub async fn accept_events(
        &self,
        source: &str,
        events: Vec<Received<'_>>,
        unusable: Vec<Unusable<'_>>,
        file: Option<&str>,
    ) -> Result<(), CurrentsError> {
        let entrance = self.currents_entrance(source)?;
        let counts = (events.len(), unusable.len());
        let (mut events, mut unusable) =
            (events.into_iter().peekable(), unusable.into_iter().peekable());
        while events.peek().is_some() || unusable.peek().is_some() {
            let mut batch =
                Batch { events: Vec::new(), unusable: Vec::new(), file, mended: Vec::new() };
            let mut bytes = 0;
            while bytes < RECORD_BYTES_MAX {
                if let Some(event) = events.next() {
                    bytes += bytes_of(&event);
                    batch.events.push(event);
                } else if let Some(text) = unusable.next() {
                    bytes += text.raw.len() + text.reason.len();
                    batch.unusable.push(text);
                } else {
                    break;
                }
            }
            self.intake.append(self.record(&entrance, &batch)).await?;
        }
        count_events(source, file.map_or(ENDPOINT, |_| FILES), counts);
        Ok(())
    }

    /// Takes events that were unusable, each with the place under which it is kept: it is let go in the
    /// same step. Returns the offset of their record once it is on disk.
    pub async fn accept_mended(
        &self,
        source: &str,
        events: Vec<(Place, Received<'_>)>,
    ) -> Result<u64, CurrentsError> {
        let entrance = self.currents_entrance(source)?;
        let (mended, events): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        let batch = Batch { events, unusable: Vec::new(), file: None, mended };
        let offset = self.intake.append(self.record(&entrance, &batch)).await?;
        count_events(source, ENDPOINT, (batch.events.len(), 0));
        Ok(offset)
    }

    fn currents_entrance(&self, source: &str) -> Result<Arc<Entrance>, CurrentsError> {
        let unknown = || CurrentsError::UnknownSource { name: source.to_owned() };
        self.currents.entrance(source).ok_or_else(unknown)
    }

    /// The record for the intake log.
    fn record(&self, entrance: &Entrance, batch: &Batch<'_>) -> Vec<u8> {
        let source = &entrance.source;
        let echoes =
            Arc::clone(&self.currents.echoes.read().unwrap_or_else(PoisonError::into_inner));
        let recognised = echoes.recognise(source.destination.as_deref(), &batch.events);
        let beside: Vec<Option<String>> = batch
            .events
            .iter()
            .enumerate()
            .map(|(index, event)| {
                let known = recognised.get(index).and_then(Option::as_ref);
                let known_as = known.and_then(|known| known.device_id.as_deref());
                let beside = Beside {
                    braze_id: event.user_id.as_deref().map(Into::into),
                    timezone: event.timezone.as_deref().map(Into::into),
                    known_as: known_as.map(Into::into),
                    other: event.other.as_deref(),
                };
                beside.write()
            })
            .collect();
        let events = batch.events.iter().zip(&beside).map(|(event, beside)| IntakeEvent {
            event_type: &event.event_type,
            user_id: event.external_user_id.as_deref(),
            device_id: event.device_id.as_deref(),
            insert_id: Some(&event.id),
            time: Some(event.time),
            event_properties: Some(&event.properties),
            fields: beside.as_deref(),
            ..IntakeEvent::default()
        });
        let echoes = (0..).zip(&recognised).filter_map(|(event, known)| {
            let Recognised { destination, stream, place, part, .. } = known.as_ref()?;
            let of = Sent { destination, stream, place: *place, part: *part };
            Some(record::Echo { event, of })
        });
        let unusable = batch.unusable.iter().map(|unusable| record::Unusable {
            raw: &unusable.raw,
            reason: &unusable.reason,
            file: batch.file,
        });
        let gone =
            |place: &Place| Command::Mend(Mend { source: &source.name, place: *place, raw: None });
        let record = IntakeBatch {
            project: &source.project,
            source: Source::Currents,
            received_at: self.clock.now().as_millis(),
            client_upload_time: None,
            remote_address: None,
            events: events.collect(),
            commands: batch.mended.iter().map(gone).collect(),
            currents: Some(CurrentsBatch {
                source: &source.name,
                scope: &source.scope,
                form: &entrance.form,
                echoes: echoes.collect(),
                unusable: unusable.collect(),
            }),
        };
        record.encode()
    }
}

/// The form as records hold it: nothing for the documented one.
fn written(form: &Form) -> String {
    if *form == Form::default() {
        return String::new();
    }
    serde_json::to_string(form).expect("a form is plain texts and flags")
}

/// Whether `authorization` is `Bearer` and the token. The time it takes tells nothing of the token.
fn is_shown(token: &Secret, authorization: Option<&str>) -> bool {
    let given = authorization.and_then(|header| header.trim().split_once(' '));
    let Some((scheme, given)) = given else { return false };
    scheme.eq_ignore_ascii_case("bearer")
        && secret::matches(given.trim().as_bytes(), token.expose().as_bytes())
}

fn bytes_of(event: &Received<'_>) -> usize {
    let other = event.other.as_ref().map_or(0, |other| other.len());
    event.properties.len() + event.id.len() + event.event_type.len() + other
}

fn count_events(source: &str, endpoint: &'static str, (events, unusable): (usize, usize)) {
    metrics::counter!(names::CURRENTS_EVENTS, "source" => source.to_owned())
        .increment(events as u64);
    metrics::counter!(names::CURRENTS_UNUSABLE, "source" => source.to_owned())
        .increment(unusable as u64);
    metrics::counter!(names::EVENTS_ACCEPTED, "endpoint" => endpoint).increment(events as u64);
}

fn count_answer(status: u16) {
    metrics::counter!(names::REQUESTS, "endpoint" => ENDPOINT, "status" => label(status))
        .increment(1);
}

fn refused(status: u16, error: &str) -> Answer {
    let error = serde_json::Value::from(error);
    let body = format!(r#"{{"code":{status},"error":{error}}}"#);
    Answer { status, body, retry_after: None }
}

/// What Braze is told when the log does not take its batch.
fn refused_by_log(error: &LogError) -> Answer {
    match error {
        LogError::TooLarge { .. } => refused(413, "batch too large"),
        LogError::Full { .. } | LogError::Busy { .. } | LogError::Closed => {
            tracing::warn!(%error, "Currents batch refused at the door");
            let answer = refused(503, "cannot be stored now");
            Answer { retry_after: Some(RETRY_AFTER), ..answer }
        }
        _ => {
            // It is sent again, and what is on disk then is recognised by its ids.
            tracing::error!(%error, "Currents batch may or may not be on disk");
            Answer { retry_after: Some(RETRY_AFTER), ..refused(500, "may or may not be stored") }
        }
    }
}

#[cfg(test)]
mod tests;
