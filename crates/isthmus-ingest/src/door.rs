//! The door: one call, one answer. Authenticates the project, decodes, validates, throttles,
//! appends to the intake log, and answers once the request is on disk.
//!
//! It refuses a request as a whole or accepts it as a whole. A 503 is only answered when nothing
//! was written, so that a client's retry cannot duplicate.

mod body;
mod currents;
mod mappings;
mod throttle;

pub use currents::{AdmittedSource, CurrentsError, CurrentsSource, Echoes, Recognised};
pub use mappings::{MappedUsers, NobodyMapped};

use crate::metrics as names;
use body::BodyError;
use currents::Currents;
use isthmus_amplitude::{EndpointRules, Form, Refusal, parse_upload, success_body};
use isthmus_config::resource::Project;
use isthmus_core::ByteSize;
use isthmus_core::record::{Command, IntakeBatch, Source};
use isthmus_core::seam::Clock;
use isthmus_log::{Log, LogError};
use mappings::Mappings;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use throttle::{Ceilings, Throttles};
use tokio::sync::Semaphore;

/// One of the endpoints through which data enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /2/httpapi`.
    HttpApi,
    /// `POST /batch`.
    Batch,
    /// `/identify`.
    Identify,
    /// `/groupidentify`.
    GroupIdentify,
    /// `/usermap`.
    UserMap,
}

impl Endpoint {
    /// The path, as Amplitude has it.
    pub const fn path(self) -> &'static str {
        match self {
            Self::HttpApi => "/2/httpapi",
            Self::Batch => "/batch",
            Self::Identify => "/identify",
            Self::GroupIdentify => "/groupidentify",
            Self::UserMap => "/usermap",
        }
    }

    const fn source(self) -> Source {
        match self {
            Self::HttpApi => Source::HttpApi,
            Self::Batch => Source::Batch,
            Self::Identify => Source::Identify,
            Self::GroupIdentify => Source::GroupIdentify,
            Self::UserMap => Source::Command,
        }
    }
}

/// The rules of every endpoint; Amplitude's unless a deployment says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorRules {
    pub http_api: EndpointRules,
    pub batch: EndpointRules,
    pub identify: EndpointRules,
    pub group_identify: EndpointRules,
    pub user_map: EndpointRules,
    /// Largest body of a post of Braze Currents, after decompression.
    pub currents_body_max: ByteSize,
}

impl Default for DoorRules {
    fn default() -> Self {
        Self {
            http_api: EndpointRules::http_api(),
            batch: EndpointRules::batch(),
            identify: EndpointRules::identify(),
            group_identify: EndpointRules::group_identify(),
            user_map: EndpointRules::user_map(),
            currents_body_max: ByteSize::mib(96),
        }
    }
}

impl DoorRules {
    /// The rules of `endpoint`.
    pub fn of(&self, endpoint: Endpoint) -> &EndpointRules {
        match endpoint {
            Endpoint::HttpApi => &self.http_api,
            Endpoint::Batch => &self.batch,
            Endpoint::Identify => &self.identify,
            Endpoint::GroupIdentify => &self.group_identify,
            Endpoint::UserMap => &self.user_map,
        }
    }
}

/// One request, read to its end.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub endpoint: Endpoint,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    /// What follows `?` in the URL.
    pub query: Option<&'a str>,
    pub body: &'a [u8],
    /// Where the request came from, forwarding proxies that are trusted left out.
    pub remote: Option<IpAddr>,
}

/// What to answer. Every body is a JSON object whose `code` equals the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub retry_after: Option<Duration>,
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status(), body: refusal.body(), retry_after: refusal.retry_after() }
    }
}

/// A project as the door knows it.
#[derive(Debug)]
struct Entrance {
    name: String,
    id_length_min: Option<usize>,
    ceilings: Ceilings,
    /// Outlives changes of the project: whoever was too fast is not forgiven by them.
    throttles: Arc<Throttles>,
}

/// The door, shared by all connections.
#[derive(Debug)]
pub struct Door {
    intake: Log,
    clock: Arc<dyn Clock>,
    rules: DoorRules,
    entrances: RwLock<HashMap<String, Arc<Entrance>>>,
    mappings: Mappings,
    currents: Currents,
    /// Uploads that are decoded at once: one core is left to those who ask something, for example for
    /// a user's profile while a message is rendered.
    decoding: Semaphore,
}

impl Door {
    /// A door that appends to `intake`; nobody is let in before [`Self::set_projects`].
    pub fn new(
        intake: Log,
        clock: Arc<dyn Clock>,
        rules: DoorRules,
        mapped: Arc<dyn MappedUsers>,
    ) -> Self {
        let mappings = Mappings::new(mapped);
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let decoding = Semaphore::new(cores.saturating_sub(1).max(1));
        let (entrances, currents) = (RwLock::default(), Currents::new());
        Self { intake, clock, rules, entrances, mappings, currents, decoding }
    }

    /// The rules of every endpoint.
    pub fn rules(&self) -> &DoorRules {
        &self.rules
    }

    /// Lets in the keys of `projects`, and no others, from now on.
    pub fn set_projects(&self, projects: &[Project]) {
        let mut entrances = self.entrances.write().unwrap_or_else(PoisonError::into_inner);
        let known: HashMap<_, _> = entrances
            .values()
            .map(|entrance| (entrance.name.clone(), Arc::clone(&entrance.throttles)))
            .collect();
        *entrances = projects
            .iter()
            .map(|project| {
                let entrance = Entrance {
                    name: project.name.clone(),
                    id_length_min: Some(project.id_length_min),
                    ceilings: Ceilings::of(&project.throttle),
                    throttles: known.get(&project.name).cloned().unwrap_or_default(),
                };
                (project.api_key.clone(), Arc::new(entrance))
            })
            .collect();
    }

    /// Answers `call`. The 200 means that the request is on disk.
    pub async fn answer(&self, call: Call<'_>) -> Answer {
        let started = self.clock.monotonic();
        let answer = match self.accept(&call).await {
            Ok(body) => Answer { status: 200, body, retry_after: None },
            Err(refusal) => refusal.into(),
        };
        let endpoint = call.endpoint.path();
        let took = self.clock.monotonic().saturating_sub(started);
        metrics::counter!(names::REQUESTS, "endpoint" => endpoint, "status" => label(answer.status))
            .increment(1);
        metrics::histogram!(names::ANSWER_SECONDS, "endpoint" => endpoint)
            .record(took.as_secs_f64());
        answer
    }

    async fn accept(&self, call: &Call<'_>) -> Result<String, Refusal> {
        if call.endpoint == Endpoint::UserMap {
            return self.map_users(call).await;
        }
        let (record, count, size) = {
            let _turn = self.decoding.acquire().await.ok();
            self.decode(call)?
        };
        let received_at = self.clock.now();
        let endpoint = call.endpoint.path();
        if count > 0 {
            self.intake.append(record).await.map_err(|error| refused_by_log(&error))?;
        }
        metrics::counter!(names::EVENTS_ACCEPTED, "endpoint" => endpoint).increment(count as u64);
        metrics::counter!(names::BODY_BYTES, "endpoint" => endpoint).increment(size as u64);
        Ok(success_body(count, size, received_at))
    }

    /// The record for the intake log, how many events it holds, and the body's size in bytes.
    fn decode(&self, call: &Call<'_>) -> Result<(Vec<u8>, usize, usize), Refusal> {
        let rules = self.rules.of(call.endpoint);
        let body = body::plain(call.body, call.content_encoding, rules.body_max.as_usize())
            .map_err(|error| match error {
                BodyError::TooLarge => Refusal::TooLarge,
                BodyError::Corrupt => Refusal::InvalidJson,
            })?;
        let form;
        let upload = match call.endpoint {
            Endpoint::HttpApi | Endpoint::Batch => parse_upload(&body, rules)?,
            Endpoint::Identify | Endpoint::GroupIdentify | Endpoint::UserMap => {
                form = Form::parse(call.content_type, call.query, &body, rules)?;
                form.upload(rules)?
            }
        };
        let entrance = self.entrance(upload.api_key())?;
        let checked = match entrance.id_length_min {
            Some(id_length_min) if id_length_min != rules.id_length_min => {
                upload.check(&EndpointRules { id_length_min, ..rules.clone() })?
            }
            _ => upload.check(rules)?,
        };
        let events: Vec<_> = checked.events().collect();
        entrance.throttles.admit(
            &entrance.ceilings,
            call.endpoint,
            &events,
            self.clock.monotonic(),
        )?;
        let remote = call.remote.map(|address| address.to_string());
        let count = events.len();
        let batch = IntakeBatch {
            project: &entrance.name,
            source: call.endpoint.source(),
            received_at: self.clock.now().as_millis(),
            client_upload_time: checked.client_upload_time(),
            remote_address: remote.as_deref(),
            events,
            commands: Vec::new(),
            currents: None,
        };
        Ok((batch.encode(), count, body.len()))
    }

    /// Appends `commands` of `project`; returns the offset of their record in the intake log once it
    /// is on disk.
    pub async fn command(
        &self,
        project: &str,
        commands: Vec<Command<'_>>,
    ) -> Result<u64, LogError> {
        let batch = IntakeBatch {
            project,
            source: Source::Command,
            received_at: self.clock.now().as_millis(),
            client_upload_time: None,
            remote_address: None,
            events: Vec::new(),
            commands,
            currents: None,
        };
        self.intake.append(batch.encode()).await
    }

    fn entrance(&self, api_key: &str) -> Result<Arc<Entrance>, Refusal> {
        let entrances = self.entrances.read().unwrap_or_else(PoisonError::into_inner);
        entrances.get(api_key).cloned().ok_or_else(|| Refusal::invalid_api_key(api_key))
    }
}

/// What a client is told when the log does not take its request.
fn refused_by_log(error: &LogError) -> Refusal {
    match error {
        LogError::TooLarge { .. } => Refusal::TooLarge,
        LogError::Full { .. } | LogError::Busy { .. } | LogError::Closed => {
            tracing::warn!(%error, "request refused at the door");
            Refusal::Unavailable
        }
        _ => {
            tracing::error!(%error, "request may or may not be on disk");
            Refusal::OutcomeUnknown
        }
    }
}

/// The statuses the door answers, as a closed set of labels.
fn label(status: u16) -> &'static str {
    match status {
        200 => "200",
        400 => "400",
        401 => "401",
        404 => "404",
        413 => "413",
        429 => "429",
        503 => "503",
        _ => "500",
    }
}
