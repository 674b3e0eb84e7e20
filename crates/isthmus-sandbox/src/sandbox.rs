//! A sandbox on a listener, and a look inside from the same process.

use crate::amplitude::{self, Amplitude, AmplitudeHandle};
use crate::api::{Meter, RequestEntry, RequestLog};
use crate::campaigns::{Campaigns, CampaignsHandle};
use crate::config::{Keep, Rates, SandboxConfig};
use crate::currents::{Currents, CurrentsHandle, Exporter};
use crate::fault::{Fault, FaultError, Faults};
use crate::model::{
    AuditEntry, Counters, Identifier, Moment, Occurrence, UserKey, Workspace, profile,
};
use crate::render::{Credential, Credentials, Memory};
use crate::settings::Settings;
use crate::{api, campaigns, currents, inspect, outbound, page, render, serve, settings, snapshot};
use axum::Router;
use isthmus_core::seam::{Clock, Http, Random};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The workspace when keys name none.
const WORKSPACE: &str = "default";

/// Why a sandbox does not start, or ends early. The operator acts.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("snapshot {} cannot be {action}", path.display())]
    Snapshot { path: PathBuf, action: &'static str, source: std::io::Error },
    #[error("snapshot {} is not one of this version: {reason}", path.display())]
    SnapshotFormat { path: PathBuf, reason: String },
}

/// Braze on a laptop: bound to its address, and answering once it runs.
#[derive(Debug)]
pub struct Sandbox {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<SandboxConfig>,
    clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    /// The way out, for the calls of messages.
    pub(crate) http: Option<Arc<dyn Http>>,
    pub(crate) credentials: Credentials,
    rooms: BTreeMap<String, Room>,
    /// [`SandboxConfig::rates`], as they are now.
    rates: Mutex<Rates>,
    /// Limits that hold over all workspaces.
    pub(crate) company: Mutex<Meter>,
    pub(crate) faults: Faults,
    /// Rings when there is something to send, or to wait for.
    pub(crate) bell: Arc<Notify>,
    pub(crate) amplitude: Amplitude,
    requests: Mutex<RequestLog>,
}

/// A workspace with its lock and its rate limits.
///
/// Who holds several locks takes them in the order of the fields.
#[derive(Debug)]
pub(crate) struct Room {
    workspace: Mutex<Workspace>,
    campaigns: Mutex<Campaigns>,
    currents: Mutex<Currents>,
    pub(crate) meter: Mutex<Meter>,
    pub(crate) calls: Mutex<Memory>,
}

impl Room {
    /// The workspace, not yet caught up. No lock is held while waiting, so a panic cannot leave
    /// it half changed in a way that matters to a sandbox.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Workspace> {
        self.workspace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn campaigns(&self) -> MutexGuard<'_, Campaigns> {
        self.campaigns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn currents(&self) -> MutexGuard<'_, Currents> {
        self.currents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the workspace tell what happens, if there is anybody to hear it.
    pub(crate) fn listen(&self) {
        let mut workspace = self.lock();
        let is_heard = !self.campaigns().is_empty() || !self.currents().is_empty();
        workspace.listen(is_heard);
    }
}

impl Shared {
    pub(crate) fn new(
        config: SandboxConfig,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        http: Option<Arc<dyn Http>>,
    ) -> Self {
        let config = Arc::new(config);
        let named = config.keys.iter().map(|key| key.workspace.clone());
        let names = named.chain(config.keys.is_empty().then(|| WORKSPACE.to_owned()));
        let bell = Arc::new(Notify::new());
        let room = |name: String| {
            let workspace = Workspace::new(config.clone(), random.clone(), bell.clone());
            let room = Room {
                workspace: Mutex::new(workspace),
                campaigns: Mutex::default(),
                currents: Mutex::default(),
                meter: Mutex::default(),
                calls: Mutex::default(),
            };
            (name, room)
        };
        Self {
            rooms: names.map(room).collect(),
            rates: Mutex::new(config.rates),
            company: Mutex::default(),
            faults: Faults::default(),
            bell,
            amplitude: Amplitude::new(config.clone()),
            requests: Mutex::default(),
            config,
            clock,
            random,
            http,
            credentials: Credentials::default(),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { wall: self.clock.now(), elapsed: self.clock.monotonic() }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What makes the events of a workspace.
    pub(crate) fn exporter<'a>(&'a self, workspace: &'a str) -> Exporter<'a> {
        Exporter { workspace, random: self.random.as_ref() }
    }

    pub(crate) fn rates(&self) -> Rates {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What can be changed while it runs, as it is now.
    pub(crate) fn settings(&self) -> Settings {
        let lag = self.room(None).map(|room| room.lock().lag());
        let (apply_delay, apply_jitter) = lag.unwrap_or_default();
        Settings { apply_delay, apply_jitter, rates: self.rates() }
    }

    /// Changes it from now on, in every workspace. What is counted towards a limit stays counted.
    pub(crate) fn set(&self, settings: Settings) {
        for (_, room) in self.rooms() {
            self.enter(room).set_lag(settings.apply_delay, settings.apply_jitter);
        }
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner) = settings.rates;
    }

    /// Everything that it answers: both vendors' paths, `/_sandbox/...` and the pages.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .merge(inspect::routes())
            .merge(settings::routes())
            .merge(render::routes())
            .merge(render::credential_routes())
            .merge(campaigns::routes())
            .merge(currents::routes())
            .merge(page::routes())
            .merge(amplitude::routes())
            .merge(amplitude::page_routes())
            .fallback(api::answer)
            .with_state(self.clone())
    }

    /// Adds faults whose time begins now.
    pub(crate) fn inject(&self, faults: Vec<Fault>) -> Result<(), FaultError> {
        self.faults.add(faults, self.clock.monotonic())
    }

    /// Waits unless there is nothing to wait for.
    pub(crate) async fn wait(&self, duration: Duration) {
        if !duration.is_zero() {
            self.clock.sleep(duration).await;
        }
    }

    /// The workspace with this name; without one, the first.
    pub(crate) fn room(&self, name: Option<&str>) -> Option<&Room> {
        match name {
            Some(name) => self.rooms.get(name),
            None => self.rooms.values().next(),
        }
    }

    pub(crate) fn rooms(&self) -> impl Iterator<Item = (&str, &Room)> {
        self.rooms.iter().map(|(name, room)| (name.as_str(), room))
    }

    /// A workspace with everything that is due applied.
    pub(crate) fn enter<'a>(&self, room: &'a Room) -> MutexGuard<'a, Workspace> {
        let mut workspace = room.lock();
        workspace.catch_up(self.now());
        workspace
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, RequestLog> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn log(&self, entry: RequestEntry) {
        self.requests().push(entry, self.config.requests_kept);
    }

    /// Forgets users, history, requests, counters and pages of calls, who got which message and
    /// what waits in connectors; faults, credentials, campaigns and connectors stay.
    pub(crate) fn reset(&self, keep: Option<Keep>, uid_property: Option<&str>) {
        for (_, room) in self.rooms() {
            let mut workspace = room.lock();
            let keep = keep.unwrap_or(workspace.keep());
            let uid_property = uid_property.or(workspace.uid_property()).map(str::to_owned);
            workspace.reset(keep, uid_property);
            room.campaigns().reset();
            room.currents().reset();
            *room.calls.lock().unwrap_or_else(PoisonError::into_inner) = Memory::default();
        }
        self.amplitude.reset(keep, None);
        self.requests().clear();
    }
}

impl Sandbox {
    /// Takes the address and reads the snapshot, if there is one. Messages make their calls through
    /// `http`.
    pub async fn bind(
        config: SandboxConfig,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        http: Arc<dyn Http>,
    ) -> Result<Self, SandboxError> {
        let wanted = config.listen;
        let refused = |source| SandboxError::Listen { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let shared = Shared::new(config, clock, random, Some(http));
        snapshot::read(&shared).await?;
        Ok(Self { listener, address, shared: Arc::new(shared) })
    }

    /// The address it listens on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, as a Braze endpoint in a configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A look inside, which stays valid while and after the sandbox runs.
    pub fn handle(&self) -> SandboxHandle {
        SandboxHandle::new(self.shared.clone())
    }

    /// Answers requests, sends messages and Currents until `stop`; then finishes the requests under
    /// way, and writes open files and the snapshot.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SandboxError> {
        tracing::info!(address = %self.address, "sandbox ready");
        let router = self.shared.router();
        let served = serve::serve(self.listener, router, self.shared.clock.clone(), stop.clone());
        let sent = outbound::run(&self.shared, stop.clone());
        let ((), (), kept) = tokio::join!(served, sent, snapshot::keep(&self.shared, stop));
        kept.and(snapshot::finish(&self.shared).await)
    }
}

/// The same that `/_sandbox/...` shows, without HTTP. Of the first workspace, unless it says
/// otherwise.
#[derive(Debug, Clone)]
pub struct SandboxHandle {
    shared: Arc<Shared>,
}

impl SandboxHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Workspace) -> T) -> T {
        let room = self.shared.room(None).expect("a sandbox has at least one workspace");
        look(&mut self.shared.enter(room))
    }

    fn find(workspace: &Workspace, external_id: &str) -> Option<UserKey> {
        workspace.directory().find(&Identifier::ExternalId(external_id.into()))
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.with(|workspace| workspace.counters().clone())
    }

    /// How many users there are.
    pub fn user_count(&self) -> usize {
        self.with(|workspace| workspace.directory().len())
    }

    /// A user in the shape of an export, with events of all times.
    pub fn user(&self, external_id: &str) -> Option<Value> {
        self.with(|workspace| {
            let key = Self::find(workspace, external_id)?;
            Some(Value::Object(profile(workspace.directory().get(key)?, None)))
        })
    }

    /// All users in the shape of an export, in the order of their creation.
    pub fn users(&self) -> Vec<Value> {
        self.with(|workspace| {
            let users = workspace.directory().iter();
            users.map(|(_, user)| Value::Object(profile(user, None))).collect()
        })
    }

    /// A user's events and purchases in the order they were applied, as many as are kept.
    pub fn occurrences(&self, external_id: &str) -> Vec<Occurrence> {
        self.with(|workspace| {
            let key = Self::find(workspace, external_id);
            key.map_or(Vec::new(), |key| workspace.history().of(key).cloned().collect())
        })
    }

    /// How often each value of [`SandboxConfig::uid_property`] occurred, over all events accepted.
    pub fn uids(&self) -> HashMap<String, u64> {
        self.with(|workspace| workspace.history().uids().clone())
    }

    /// What was accepted and silently ignored, oldest first, as much as is kept.
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.with(|workspace| workspace.audit().cloned().collect())
    }

    /// Its campaigns.
    pub fn campaigns(&self) -> CampaignsHandle {
        CampaignsHandle::new(self.shared.clone())
    }

    /// Its Currents connectors.
    pub fn currents(&self) -> CurrentsHandle {
        CurrentsHandle::new(self.shared.clone())
    }

    /// Sends messages of campaigns and Currents until `stop`. [`Sandbox::run`] does so by itself;
    /// without a listener, it is for the caller to do.
    pub async fn send_until(&self, stop: CancellationToken) {
        outbound::run(&self.shared, stop).await;
    }

    /// Requests that were answered and have not taken effect yet.
    pub fn waiting(&self) -> usize {
        self.with(|workspace| workspace.waiting())
    }

    /// Applies everything that was answered, due or not, in every workspace.
    pub fn settle(&self) {
        for (_, room) in self.shared.rooms() {
            room.lock().settle(self.shared.now());
        }
    }

    /// Adds a fault, whose time begins now.
    ///
    /// # Panics
    /// When the rule is impossible, such as a probability above 1.
    pub fn inject(&self, fault: Fault) {
        self.shared.inject(vec![fault]).expect("a fault in code is possible");
    }

    /// Adds faults that somebody wrote, whose time begins now: all of them, or none.
    pub fn inject_all(&self, faults: Vec<Fault>) -> Result<(), FaultError> {
        self.shared.inject(faults)
    }

    /// How often each fault has struck, in the order in which they were added.
    pub fn strikes(&self) -> Vec<u64> {
        self.shared.faults.rules().iter().map(|rule| rule.struck).collect()
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Changes [`SandboxConfig::apply_delay`] for requests to come.
    pub fn set_apply_delay(&self, apply_delay: Duration) {
        self.shared.set(Settings { apply_delay, ..self.shared.settings() });
    }

    /// Changes [`SandboxConfig::apply_jitter`] for requests to come.
    pub fn set_apply_jitter(&self, apply_jitter: Duration) {
        self.shared.set(Settings { apply_jitter, ..self.shared.settings() });
    }

    /// Changes [`SandboxConfig::rates`]. What is counted in the windows under way stays counted.
    pub fn set_rates(&self, rates: Rates) {
        self.shared.set(Settings { rates, ..self.shared.settings() });
    }

    /// Adds a credential for the calls of messages, in the place of one with the same name.
    pub fn add_credential(&self, name: &str, credential: Credential) {
        self.shared.credentials.add([(name.to_owned(), credential)].into());
    }

    /// The emulated Amplitude: its first project.
    pub fn amplitude(&self) -> AmplitudeHandle {
        AmplitudeHandle::new(self.shared.clone(), None)
    }

    /// The emulated Amplitude: the project with this name, if a key opens one.
    pub fn amplitude_project(&self, name: &str) -> Option<AmplitudeHandle> {
        let known = self.shared.amplitude.knows(name);
        known.then(|| AmplitudeHandle::new(self.shared.clone(), Some(name.to_owned())))
    }

    /// Forgets users, history and counters of every workspace and every Amplitude project; faults
    /// and settings stay.
    pub fn reset(&self) {
        self.shared.reset(None, None);
    }
}
