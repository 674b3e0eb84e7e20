//! The server: opens its parts in one order, runs them, and stops them in the order of the data.

use crate::assembly::{AssembledStream, Assembly};
use crate::background::{Background, give_way};
use crate::catalog::Catalog;
use crate::control::{self, Control};
use crate::deliveries::{Deliveries, DeliveriesHandle, Ground};
use crate::echoes::{Guard, Settling};
use crate::erasures::Erasures;
use crate::folder::DataFolder;
use crate::following::Following;
use crate::imports::{Imports, Order};
use crate::ingest::{self, Ingest};
use crate::jobs::Jobs;
use crate::mapped::Mapped;
use crate::paced::Paced;
use crate::parts::Parts;
use crate::profile_api::{self, NoParts, ProfileApi};
use crate::read_api::{self, ReadApi};
use crate::retention::{Keep, Retention};
use crate::runtime::profiles::Profiles;
use crate::runtime::{CurrentsDesk, Runtime, RuntimeError, check, reread};
use crate::system::{SystemClock, SystemHttp, SystemRandom};
use crate::upkeep::Upkeep;
use crate::{currents, health, listener, observe};
use anyhow::{Context, anyhow, bail};
use axum::Router;
use isthmus_config::server::{IngestConfig, LogConfig, ServerConfig};
use isthmus_config::{Loaded, Resource};
use isthmus_core::ByteSize;
use isthmus_core::seam::Clock;
use isthmus_delivery::finder::{Finder, FinderConfig, FinderParts, Indexer};
use isthmus_delivery::history::StoredHistory;
use isthmus_ingest::applier::{Applier, ApplierConfig, Progress};
use isthmus_ingest::door::{Door, DoorRules};
use isthmus_ingest::follow;
use isthmus_log::{Log, RealDisk};
use isthmus_state::State;
use isthmus_state::currents_counts::CountsOfCurrents;
use isthmus_state::currents_files::CurrentsFiles;
use isthmus_state::dead_letters::DeadLetters;
use isthmus_state::delivery_history::DeliveryHistory;
use isthmus_state::delivery_samples::DeliverySamples;
use isthmus_state::echoes::Echoes;
use isthmus_state::people::People;
use isthmus_state::quarantine::Quarantine;
use isthmus_state::user_map::UserMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How long the applier may take to work off what is accepted when the server stops; what is left
/// is applied at the next start.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(1);
/// What the event log leaves free of the disk: less than the intake log does, so that what was
/// accepted can still be applied and delivered when the door is shut.
const EVENTS_RESERVE: ByteSize = ByteSize::mib(128);

/// What the command line says over the configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub data_dir: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
}

/// A server whose door is open but not answered yet.
pub struct Server {
    config: ServerConfig,
    /// Held until the server is gone.
    folder: DataFolder,
    clock: Arc<dyn Clock>,
    listener: TcpListener,
    address: SocketAddr,
    token: String,
    token_is_new: bool,
    intake: Log,
    events: Log,
    state: State,
    applier: Applier,
    deliveries: Deliveries,
    indexer: Indexer,
    upkeep: Upkeep,
    settling: Settling,
    files: FilesOfCurrents,
    runtime: Arc<Runtime>,
    door: Arc<Door>,
}

impl Server {
    /// Opens everything and binds the address.
    pub async fn open(loaded: Loaded, options: Options) -> anyhow::Result<Self> {
        let Loaded { server: mut config, resources } = loaded;
        if let Some(listen) = options.listen {
            config.http.listen = listen;
        }
        checked(&config)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let random = Arc::new(SystemRandom);
        observe::metrics();
        raise_open_files();
        let folder = DataFolder::open(options.data_dir.as_ref().unwrap_or(&config.data_dir))?;
        let (token, token_is_new) = token(&config, &folder)?;

        let catalog = Catalog::open(&folder.join("catalog.sqlite")).await?;
        let resources = with_catalog(resources, &catalog).await?;
        let mut assembly = assembled(&resources)?;
        assembly.switch(&catalog.switches().await?);
        let assembly = Arc::new(assembly);

        let state = opened(&folder.join("state"))?;
        let intake = opened_log(&folder, "intake", &config.log, Some(&config.ingest), &clock)?;
        let events = opened_log(&folder, "events", &config.log, None, &clock)?;
        let applier_config = ApplierConfig { dedup_window: config.ingest.insert_id_window };
        let (clocked, logs) = (clock.clone(), (intake.clone(), events.clone()));
        let applier = Applier::open(&state, logs.0, logs.1, clocked, &*random, applier_config)?;
        let http = Arc::new(SystemHttp::new(clock.clone())?);
        let dead_letters = DeadLetters::open(&state)?;
        let history = history(&state)?;
        let doors = doors(&state, &config, &intake, applier.progress(), &clock, &history)?;
        let Doors { door, read_api, profile_api } = doors.take_up(&catalog, &assembly).await?;
        let echoes = loop_guard(&state, &events, &door)?;
        let ground = Ground {
            folder: folder.join("delivery"),
            events: events.clone(),
            dead_letters: dead_letters.clone(),
            state: state.clone(),
            history: history.clone(),
            echoes: echoes.clone(),
            http: http.clone(),
            clock: clock.clone(),
            random: random.clone(),
            config: config.delivery.clone(),
            budgets: isthmus_delivery::governor::Budgets::default(),
        };
        let (deliveries, handle) = Deliveries::open(ground, &assembly)?;
        handle.wait_on_disk(&*clock).await;
        let (currents, files) =
            files_of_currents(&state, &door, &intake, applier.progress(), &clock, &assembly)?;
        let (finder, indexer) = finder(&folder, &events, &state, &clock)?;
        assembly.streams.iter().for_each(announce);
        let jobs = Jobs::new(&handle, &finder, &dead_letters, &events, &clock);
        let upkeep = upkeep(&state, &history, &handle, &clock)?;
        let settling = Settling::new(echoes, &handle, &dead_letters, &clock);
        let runtime = Arc::new(Runtime {
            jobs,
            catalog,
            door: door.clone(),
            deliveries: handle,
            dead_letters,
            quarantine: Quarantine::open(&state)?,
            currents,
            samples: history.samples,
            history: history.history,
            read_api,
            profile_api,
            profiles: Profiles::open(&state)?,
            intake: intake.clone(),
            events: events.clone(),
            finder,
            applier: applier.progress(),
            http,
            clock: clock.clone(),
            random,
            resources: Mutex::new(resources),
            letters: Mutex::new(()),
            exports: Mutex::default(),
            erasures_asked: Arc::new(Notify::new()),
        });
        let (listener, address) = bound(config.http.listen).await?;
        folder.note_address(address)?;
        Ok(Self {
            config,
            folder,
            clock,
            listener,
            address,
            token,
            token_is_new,
            intake,
            events,
            state,
            applier,
            deliveries,
            indexer,
            upkeep,
            settling,
            files,
            runtime,
            door,
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The control token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The control token, if this start made it.
    pub fn new_token(&self) -> Option<&str> {
        self.token_is_new.then_some(&*self.token)
    }

    /// Answers, applies and delivers until `stop`, or until a part fails.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { config, folder, clock, listener, intake, events, state, .. } = self;
        let stopping = stop.child_token();
        let trusted_hops = usize::try_from(config.http.trusted_proxies).unwrap_or(usize::MAX);
        let (timeout, uploads) = (config.http.request_timeout, Background::new("uploads")?);
        let ingest = Ingest::new(self.door, clock.clone(), trusted_hops, timeout, uploads);
        let ingest = Arc::new(ingest);
        let control = Control { runtime: self.runtime.clone(), token: self.token.into() };
        let router = Router::new()
            .merge(health::router(stopping))
            .merge(control::router(control))
            .merge(read_api::router(self.runtime.read_api.clone()))
            .merge(read_api::deletions::router(
                self.runtime.clone(),
                config.privacy.deletion_delay_days,
            ))
            .merge(profile_api::router(self.runtime.profile_api.clone()))
            .merge(currents::router(ingest.clone()))
            .merge(ingest::router(ingest))
            .fallback(|| async { ingest::refuse(400, "Invalid request path") });
        let limits = listener::Limits {
            connections_max: config.http.connections_max,
            headers_timeout: config.http.request_timeout,
            clock: clock.clone(),
        };
        let deliveries_handle = self.runtime.deliveries.clone();
        let retention = Retention {
            intake: intake.clone(),
            events: events.clone(),
            applier: self.applier.progress(),
            lowest_cursor: Box::new(move || deliveries_handle.lowest_cursor()),
            keep: Keep {
                intake: config.log.intake_retention,
                events: config.log.event_retention,
                intake_budget: config.log.intake_budget,
                event_budget: config.log.event_budget,
            },
            clock: clock.clone(),
        };
        let jobs = self.runtime.jobs.clone();
        let (applier, deliveries, indexer) = (self.applier, self.deliveries, self.indexer);
        let (upkeep, settling) = (self.upkeep, self.settling);
        let FilesOfCurrents { following, import_orders } = self.files;
        let imports = self.runtime.currents.imports.clone();

        let asked = self.runtime.erasures_asked.clone();
        let erasures =
            Erasures::new(self.runtime.clone(), state.clone(), config.privacy.clone(), asked);

        let mut parts = Parts::new(clock.clone());
        parts.start("door", config.http.stop_timeout, |stop| {
            listener::serve(listener, router, limits, stop)
        });
        parts.start("following", config.http.stop_timeout, |stop| following.run(stop));
        parts.start("imports", config.http.stop_timeout, |stop| imports.run(import_orders, stop));
        parts.start_on_thread("applier", DRAIN_TIMEOUT, |stop| async move {
            Ok(applier.run(stop).await?)
        })?;
        parts.start("jobs", config.http.stop_timeout, |stop| jobs.run(stop));
        parts.start("delivery", config.delivery.stop_timeout, |stop| deliveries.run(stop));
        // Without it, what is asked of the finder is read from the event log.
        let indexes = config.delivery.ledger;
        parts.start_on_thread("finder", config.http.stop_timeout, move |stop| async move {
            if !indexes {
                stop.cancelled().await;
                return Ok(());
            }
            indexer.run(stop).await;
            Ok(())
        })?;
        parts.start("retention", config.http.stop_timeout, |stop| retention.run(stop));
        parts.start("erasures", config.http.stop_timeout, |stop| erasures.run(stop));
        parts.start("echoes", config.http.stop_timeout, |stop| settling.run(stop));
        parts.start("upkeep", config.http.stop_timeout, |stop| upkeep.run(stop));
        let outcome = parts.run_until(stop).await;
        intake.close().await;
        events.close().await;
        state.persist()?;
        drop(folder);
        outcome
    }
}

async fn bound(listen: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("{listen} cannot be listened on"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    Ok((listener, address))
}

/// What answers requests from outside, knowing nobody yet.
struct Doors {
    door: Arc<Door>,
    read_api: Arc<ReadApi>,
    profile_api: Arc<ProfileApi>,
}

impl Doors {
    /// Lets in who `assembly` says.
    async fn take_up(self, catalog: &Catalog, assembly: &Assembly) -> anyhow::Result<Self> {
        self.door.set_projects(&assembly.projects);
        self.door.set_currents(assembly.currents.iter().cloned());
        self.read_api.take_up(catalog, assembly).await?;
        self.profile_api.take_up(assembly);
        Ok(self)
    }
}

fn doors(
    state: &State,
    config: &ServerConfig,
    intake: &Log,
    applier: watch::Receiver<Progress>,
    clock: &Arc<dyn Clock>,
    history: &StoredHistory,
) -> anyhow::Result<Doors> {
    let (people, map) = (People::open(state)?, UserMap::open(state)?);
    let mapped = Arc::new(Mapped { map: map.clone(), applier });
    let door = Door::new(intake.clone(), clock.clone(), door_rules(&config.ingest), mapped);
    let read_api = ReadApi::new(history.history.clone(), people.clone(), map, clock.clone());
    let parts = Arc::new(NoParts);
    let profile_api = ProfileApi::new(people, parts, clock.clone(), &config.profile_api);
    Ok(Doors {
        door: Arc::new(door),
        read_api: Arc::new(read_api),
        profile_api: Arc::new(profile_api),
    })
}

/// What reads files of Currents sources, once it runs.
struct FilesOfCurrents {
    following: Following,
    import_orders: mpsc::Receiver<Order>,
}

fn files_of_currents(
    state: &State,
    door: &Arc<Door>,
    intake: &Log,
    applier: watch::Receiver<Progress>,
    clock: &Arc<dyn Clock>,
    assembly: &Assembly,
) -> anyhow::Result<(CurrentsDesk, FilesOfCurrents)> {
    let (counts, files) = (CountsOfCurrents::open(state)?, CurrentsFiles::open(state)?);
    let paced = Paced { door: door.clone(), intake: intake.clone(), applier: applier.clone() };
    let ground = follow::Ground { intake: Arc::new(paced), files, clock: clock.clone() };
    let (followers, following) = Following::new(ground.clone(), assembly);
    let (imports, import_orders) = Imports::new(ground, &counts, intake, applier);
    let desk = CurrentsDesk { counts, following, imports };
    Ok((desk, FilesOfCurrents { following: followers, import_orders }))
}

fn finder(
    folder: &DataFolder,
    events: &Log,
    state: &State,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Finder, Indexer)> {
    Ok(Finder::open(FinderParts {
        disk: Arc::new(RealDisk),
        folder: folder.join("finder"),
        events: events.clone(),
        people: People::open(state)?,
        clock: clock.clone(),
        config: FinderConfig::default(),
    })?)
}

fn upkeep(
    state: &State,
    history: &StoredHistory,
    deliveries: &DeliveriesHandle,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Upkeep> {
    Ok(Upkeep {
        history: history.clone(),
        deliveries: deliveries.clone(),
        dead_letters: DeadLetters::open(state)?,
        quarantine: Quarantine::open(state)?,
        clock: clock.clone(),
    })
}

fn history(state: &State) -> anyhow::Result<StoredHistory> {
    let history = DeliveryHistory::open(state)?;
    Ok(StoredHistory { history, samples: DeliverySamples::open(state)? })
}

/// Opens state from a thread that gives way, because the engine's own threads, which write and merge
/// tables, do as the one that starts them.
fn opened(folder: &Path) -> anyhow::Result<State> {
    let open = || {
        give_way();
        State::open(folder)
    };
    let opened = std::thread::scope(|scope| scope.spawn(open).join());
    Ok(opened.map_err(|_| anyhow!("opening the state panicked"))??)
}

/// Connections and segments are open files; the system's usual soft limit is for interactive
/// programs, and the hard one is what the operator allows.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = limit.current, "limit of open files not raised");
    }
}

/// Refuses a configuration whose keys do not go together.
fn checked(config: &ServerConfig) -> anyhow::Result<()> {
    let problems = config.check();
    if problems.is_empty() {
        return Ok(());
    }
    let text = |problem: isthmus_config::Problem| match problem.hint {
        Some(hint) => format!("{}\n  hint: {hint}", problem.message),
        None => problem.message,
    };
    bail!("{}", problems.into_iter().map(text).collect::<Vec<_>>().join("\n"))
}

/// What `resources` describe, or every problem with them.
fn assembled(resources: &[Resource]) -> anyhow::Result<Assembly> {
    check(resources).map_err(|error| match error {
        RuntimeError::Invalid(problems) => {
            let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("resources do not fit together\n{}", text.join("\n"))
        }
        RuntimeError::Failed(error) => error,
        RuntimeError::NotFound(what)
        | RuntimeError::Conflict(what)
        | RuntimeError::Malformed(what) => {
            anyhow::anyhow!(what)
        }
    })
}

fn token(config: &ServerConfig, folder: &DataFolder) -> anyhow::Result<(String, bool)> {
    let Some(reference) = &config.http.control_token else { return folder.token(&SystemRandom) };
    let secret = reference
        .resolve(|name| std::env::var(name).ok(), Path::new(""))
        .context("`server.control_token` cannot be read")?;
    Ok((secret.expose().to_owned(), false))
}

/// The resources of the files, and those of the catalog that no file has.
async fn with_catalog(
    mut resources: Vec<Resource>,
    catalog: &Catalog,
) -> anyhow::Result<Vec<Resource>> {
    for stored in catalog.resources().await? {
        let (kind, name) = (&stored.kind, &stored.name);
        if resources.iter().any(|known| known.kind() == kind && known.name() == name) {
            tracing::warn!(kind, name, "resource of the control API gives way to a file's");
            continue;
        }
        match reread(&stored) {
            Ok(found) => resources.extend(found),
            Err(problems) => {
                let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
                bail!("{kind} {name} of the catalog cannot be read\n{}", text.join("\n"));
            }
        }
    }
    Ok(resources)
}

fn announce(stream: &AssembledStream) {
    for note in stream.mapping.notes() {
        tracing::info!(stream = stream.resource.name, note, "note on a stream");
    }
}

/// The intake log, or with no `ingest` the event log.
fn opened_log(
    folder: &DataFolder,
    name: &str,
    log: &LogConfig,
    ingest: Option<&IngestConfig>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Log> {
    Log::open(Arc::new(RealDisk), &folder.join(name), log_config(log, ingest), clock.clone())
        .map(|(log, _)| log)
        .with_context(|| format!("{name} log cannot be opened"))
}

/// Lets `door` recognise what destinations were told; where that is noted.
fn loop_guard(state: &State, events: &Log, door: &Door) -> anyhow::Result<Echoes> {
    let echoes = Echoes::open(state)?;
    let guard = Guard { echoes: echoes.clone(), events: events.clone() };
    door.set_echoes(Arc::new(guard));
    Ok(echoes)
}

/// The intake log's limits, or with no `ingest` the event log's.
fn log_config(log: &LogConfig, ingest: Option<&IngestConfig>) -> isthmus_log::LogConfig {
    let usual = isthmus_log::LogConfig::default();
    isthmus_log::LogConfig {
        reserve: if ingest.is_some() { usual.reserve } else { EVENTS_RESERVE },
        segment_max: log.segment_max,
        record_max: log.record_max,
        budget: if ingest.is_some() { log.intake_budget } else { log.event_budget },
        queue_max: ingest.map_or(usual.queue_max, |ingest| ingest.queue_max),
    }
}

fn door_rules(config: &IngestConfig) -> DoorRules {
    let mut rules = DoorRules::default();
    let set = |rules: &mut isthmus_amplitude::EndpointRules, body_max: ByteSize, max: usize| {
        rules.body_max = body_max;
        rules.events_max = max;
    };
    let (events, identifications) =
        (config.events_per_request_max, config.identifications_per_request_max);
    rules.currents_body_max = config.currents_body_max;
    set(&mut rules.http_api, config.httpapi_body_max, events);
    set(&mut rules.batch, config.batch_body_max, events);
    set(&mut rules.identify, config.identify_body_max, identifications);
    set(&mut rules.group_identify, config.groupidentify_body_max, identifications);
    rules
}
