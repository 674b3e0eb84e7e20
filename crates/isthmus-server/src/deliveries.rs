//! The delivery engines, one per destination: started, replaced when resources change, stopped.

use crate::assembly::{AssembledDestination, AssembledStream, Assembly};
use crate::runtime::RuntimeError;
use anyhow::{Context, anyhow};
use isthmus_config::resource::{DestinationSettings, Stream};
use isthmus_config::server::DeliveryConfig;
use isthmus_core::destination::{Lane, Priority};
use isthmus_core::seam::{Backoff, Clock, Http, Random};
use isthmus_delivery::dispatcher::Manner;
use isthmus_delivery::engine::{Engine, EngineConfig, EngineError, Handle, Parts, StreamSpec};
use isthmus_delivery::governor::Budgets;
use isthmus_delivery::history::StoredHistory;
use isthmus_delivery::journal::stored::{Keep, StoredJournal};
use isthmus_delivery::ledger::Ledger;
use isthmus_delivery::mirror::{Refilled, Telling, note_origin, refill};
use isthmus_delivery::source::event_log::EventLog;
use isthmus_log::{Log, RealDisk};
use isthmus_state::State;
use isthmus_state::dead_letters::DeadLetters;
use isthmus_state::echoes::Echoes;
use isthmus_state::mirror::Mirror;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Reconfigurations that wait to be carried out: they come from people.
const PLANS_MAX: usize = 8;

/// How long a start waits for the journals.
const ON_DISK_WITHIN: Duration = Duration::from_secs(10);

/// What every engine works with.
pub(crate) struct Ground {
    /// Holds one journal folder per destination.
    pub(crate) folder: PathBuf,
    pub(crate) events: Log,
    pub(crate) dead_letters: DeadLetters,
    /// Holds what each destination was told.
    pub(crate) state: State,
    pub(crate) history: StoredHistory,
    /// Holds what was sent to destinations whose Currents come back.
    pub(crate) echoes: Echoes,
    pub(crate) http: Arc<dyn Http>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) config: DeliveryConfig,
    /// Where destinations of one account find their common budget.
    pub(crate) budgets: Budgets,
}

/// A destination that is being served, as others see it.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) destination: AssembledDestination,
    pub(crate) streams: Vec<AssembledStream>,
    pub(crate) handle: Handle,
    pub(crate) ledger: Ledger,
    /// What its users were told, where that is kept.
    pub(crate) mirror: Option<Mirror>,
}

/// What the control API sees and asks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DeliveriesHandle {
    served: Arc<RwLock<BTreeMap<String, Served>>>,
    plans: mpsc::Sender<Plan>,
}

/// What is asked of the part that runs the engines.
enum Plan {
    /// To run these resources from now on.
    Reconfigure { assembly: Arc<Assembly>, done: oneshot::Sender<anyhow::Result<()>> },
    /// To add what the ledger tells to the mirror of `destination`.
    Refill {
        destination: String,
        everything: bool,
        done: oneshot::Sender<anyhow::Result<Refilled>>,
    },
}

impl DeliveriesHandle {
    /// Every destination that is being served.
    pub(crate) fn served(&self) -> BTreeMap<String, Served> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What serves `stream`.
    pub(crate) fn serving(&self, stream: &str) -> Result<Served, RuntimeError> {
        let served = self.served().into_values();
        served
            .into_iter()
            .find(|served| served.streams.iter().any(|each| each.resource.name == stream))
            .ok_or_else(|| RuntimeError::NotFound(format!("stream {stream}")))
    }

    /// Waits until every stream's place in the event log is on disk, so that a crash from here on
    /// leaves nothing out that is accepted from here on. A journal that cannot be written is not
    /// waited for forever: the door would be shut by a destination's disk.
    pub(crate) async fn wait_on_disk(&self, clock: &dyn Clock) {
        for (name, served) in self.served() {
            tokio::select! {
                settled = served.handle.wait_on_disk() => drop(settled),
                () = clock.sleep(ON_DISK_WITHIN) => {
                    tracing::warn!(destination = name, "journal is not on disk yet");
                }
            }
        }
    }

    /// The lowest offset of the event log that a restart would need, if it would need any.
    pub(crate) fn lowest_cursor(&self) -> Option<u64> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.values().filter_map(|each| each.handle.lowest_cursor()).map(|at| at.offset).min()
    }

    /// Runs what `assembly` says from now on; streams go on where they were.
    pub(crate) async fn reconfigure(&self, assembly: Arc<Assembly>) -> anyhow::Result<()> {
        let (done, answer) = oneshot::channel();
        let plan = Plan::Reconfigure { assembly, done };
        self.plans.send(plan).await.ok().context("delivery has stopped")?;
        answer.await.context("delivery has stopped")?
    }

    /// Adds to the mirror of `destination` the users of whom it knows nothing and the ledger does.
    /// Nothing is sent to the destination meanwhile.
    pub(crate) async fn refill(
        &self,
        destination: &str,
        everything: bool,
    ) -> anyhow::Result<Refilled> {
        let (done, answer) = oneshot::channel();
        let plan = Plan::Refill { destination: destination.to_owned(), everything, done };
        self.plans.send(plan).await.ok().context("delivery has stopped")?;
        answer.await.context("delivery has stopped")?
    }
}

/// The part that runs the engines.
pub(crate) struct Deliveries {
    ground: Ground,
    /// What is being run.
    assembly: Arc<Assembly>,
    served: Arc<RwLock<BTreeMap<String, Served>>>,
    plans: mpsc::Receiver<Plan>,
    running: BTreeMap<String, Running>,
    ended: JoinSet<(String, Result<(), EngineError>)>,
    /// An engine that ended by itself while another one was being stopped.
    casualty: Option<anyhow::Error>,
}

struct Running {
    stop: CancellationToken,
    journal: Log,
}

impl Deliveries {
    /// Opens an engine for every destination of `assembly`; they run once [`Self::run`] does.
    pub(crate) fn open(
        ground: Ground,
        assembly: &Arc<Assembly>,
    ) -> anyhow::Result<(Self, DeliveriesHandle)> {
        let (sender, plans) = mpsc::channel(PLANS_MAX);
        let served = Arc::new(RwLock::default());
        let handle = DeliveriesHandle { served: Arc::clone(&served), plans: sender };
        let (running, ended) = (BTreeMap::new(), JoinSet::new());
        let (assembly, casualty) = (Arc::clone(assembly), None);
        let mut deliveries = Self { ground, assembly, served, plans, running, ended, casualty };
        let assembly = Arc::clone(&deliveries.assembly);
        for name in assembly.destinations.keys() {
            deliveries.start(&assembly, name)?;
        }
        Ok((deliveries, handle))
    }

    /// Runs until `stop`, or until an engine fails.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let outcome = loop {
            tokio::select! {
                // Receiving is cancel safe: a plan is either taken or left in the channel.
                Some(plan) = self.plans.recv() => {
                    self.carry_out(plan, &stop).await;
                    if let Some(error) = self.casualty.take() {
                        break Err(error);
                    }
                }
                Some(ended) = self.ended.join_next() => {
                    let (name, result) = ended.context("a delivery engine panicked")?;
                    if result.is_err() || !self.is_expected(&name) {
                        break result.with_context(|| format!("delivery to {name} stopped"));
                    }
                }
                () = stop.cancelled() => break Ok(()),
            }
        };
        let names: Vec<_> = self.running.keys().cloned().collect();
        for running in self.running.values() {
            running.stop.cancel();
        }
        let mut stopped = Ok(());
        for name in names {
            stopped = stopped.and(self.stop(&name).await);
        }
        outcome.and(stopped)
    }

    fn is_expected(&self, name: &str) -> bool {
        self.running.get(name).is_none_or(|running| running.stop.is_cancelled())
    }

    /// Does what is asked; whoever asked may be gone.
    async fn carry_out(&mut self, plan: Plan, stop: &CancellationToken) {
        match plan {
            Plan::Reconfigure { assembly, done } => {
                drop(done.send(self.reconfigure(assembly).await));
            }
            Plan::Refill { destination, everything, done } => {
                let refilled = self.refill(&destination, everything, stop.clone()).await;
                let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = &refilled
                    && served.contains_key(&destination)
                    && !self.running.contains_key(&destination)
                {
                    // Nothing is delivered to it any more, which must not go unnoticed.
                    let error = anyhow!("delivery to {destination} stopped: {error:#}");
                    self.casualty.get_or_insert(error);
                }
                drop(served);
                drop(done.send(refilled));
            }
        }
    }

    /// Stops the engine of `name`, adds what its ledger tells to its mirror, and starts it again.
    async fn refill(
        &mut self,
        name: &str,
        everything: bool,
        stop: CancellationToken,
    ) -> anyhow::Result<Refilled> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let served = served.context("destination is not served")?;
        let mirror = served.mirror.context("destination keeps no mirror")?;
        self.stop(name).await?;
        let (ground, destination) = (&self.ground, name.to_owned());
        let (folder, config) = (ground.folder.join(folder_name(name)), ground.config.clone());
        let (clock, events) = (ground.clock.clone(), ground.events.clone());
        let refilling = tokio::task::spawn_blocking(move || {
            let (log, stored) = open_journal(&folder, &destination, &config, clock)?;
            let mapping =
                |stream: &AssembledStream| (stream.resource.name.clone(), stream.mapping.mapping());
            let telling = Telling {
                destination: &*served.destination.vendor.destination(),
                source: Arc::new(EventLog::new(events)),
                journal: &*stored,
                mappings: served.streams.iter().map(mapping).collect(),
                fingerprint: fingerprint(&served.streams),
                stop,
            };
            let refilled = refill(&mirror, &telling, everything);
            anyhow::Ok((log, refilled))
        });
        let refilled = match refilling.await.context("what the ledger tells cannot be read")? {
            Ok((log, refilled)) => {
                log.close().await;
                refilled.map_err(anyhow::Error::from)
            }
            Err(error) => Err(error),
        };
        let assembly = Arc::clone(&self.assembly);
        self.start(&assembly, name)?;
        refilled
    }

    async fn reconfigure(&mut self, assembly: Arc<Assembly>) -> anyhow::Result<()> {
        self.assembly = Arc::clone(&assembly);
        let assembly = &*assembly;
        let present: Vec<_> = self.running.keys().cloned().collect();
        for name in present {
            let is_gone = !assembly.destinations.contains_key(&name);
            if is_gone || self.differs(assembly, &name) {
                self.stop(&name).await?;
            }
            if is_gone {
                self.served.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
            }
        }
        for name in assembly.destinations.keys() {
            if !self.running.contains_key(name) {
                self.start(assembly, name)?;
            }
        }
        Ok(())
    }

    fn differs(&self, assembly: &Assembly, name: &str) -> bool {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(old), Some(new)) = (served.get(name), assembly.destinations.get(name)) else {
            return true;
        };
        let resources = |streams: &[AssembledStream]| -> Vec<_> {
            streams.iter().map(|stream| stream.resource.clone()).collect()
        };
        old.destination.resource != new.resource
            || old.destination.told_back != new.told_back
            || resources(&old.streams) != resources(&streams_of(assembly, name))
    }

    fn start(&mut self, assembly: &Assembly, name: &str) -> anyhow::Result<()> {
        let destination =
            assembly.destinations.get(name).context("destination is not in the resources")?;
        let streams = streams_of(assembly, name);
        let ground = &self.ground;
        let folder = ground.folder.join(folder_name(name));
        let (journal, stored) = open_journal(&folder, name, &ground.config, ground.clock.clone())?;
        let DeliveryConfig { backoff_first, backoff_cap, .. } = ground.config;
        let config = EngineConfig {
            backoff: Backoff { first: backoff_first, cap: backoff_cap },
            ..EngineConfig::default()
        };
        let parts = Parts {
            name: name.into(),
            destination: destination.vendor.destination(),
            source: Arc::new(EventLog::new(ground.events.clone())),
            journal: stored.clone(),
            dead_letters: Arc::new(ground.dead_letters.clone()),
            budgets: ground.budgets.clone(),
            http: ground.http.clone(),
            clock: ground.clock.clone(),
            random: ground.random.clone(),
            config,
        };
        let specs = streams.iter().map(|stream| StreamSpec {
            name: stream.resource.name.as_str().into(),
            mapping: stream.mapping.mapping(),
            manner: Manner {
                enabled: stream.resource.enabled,
                priority: Priority::Triggers,
                retry: stream.resource.retry_policy(),
            },
        });
        let (engine, handle) = Engine::open(parts, specs.collect())?;
        let engine = engine.recording_to(Arc::new(ground.history.clone()));
        let engine =
            if destination.told_back { engine.noting_in(ground.echoes.clone()) } else { engine };
        let mirror = Mirror::open(&ground.state, name)?;
        let mirrors = match &destination.resource.settings {
            DestinationSettings::Braze(settings) => settings.mirror,
            // What is forwarded says what happened, not what somebody is like.
            DestinationSettings::Amplitude(_) => false,
        };
        let mut kept = None;
        let engine = if mirrors {
            kept = Some(mirror.clone());
            engine.mirroring_in(Arc::new(mirror), fingerprint(&streams))?
        } else {
            // What is told from now on would not be known.
            mirror.clear()?;
            let vendor = destination.vendor.destination();
            note_origin(&mirror, &*vendor, fingerprint(&streams), &*stored)?;
            engine
        };
        let stop = CancellationToken::new();
        let (engine_stop, engine_name) = (stop.clone(), name.to_owned());
        self.ended.spawn(async move { (engine_name, engine.run(engine_stop).await) });
        self.running.insert(name.to_owned(), Running { stop, journal });
        let ledger = Ledger::new(stored);
        let (destination, mirror) = (destination.clone(), kept);
        let served = Served { destination, streams, handle, ledger, mirror };
        let mut all = self.served.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), served);
        Ok(())
    }

    /// Stops the engine of `name` and waits until its journal is closed. Its cursors go on holding
    /// the event log until another engine takes over.
    async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(running) = self.running.remove(name) else { return Ok(()) };
        running.stop.cancel();
        let mut outcome = Ok(());
        while let Some(ended) = self.ended.join_next().await {
            let (ended, result) = ended.context("a delivery engine panicked")?;
            let result = result.with_context(|| format!("delivery to {ended} stopped"));
            if ended == name {
                outcome = result;
                break;
            }
            if !self.is_expected(&ended) {
                let error = result.err().unwrap_or_else(|| anyhow!("delivery to {ended} ended"));
                self.casualty.get_or_insert(error);
            }
            self.running.remove(&ended);
        }
        running.journal.close().await;
        outcome
    }
}

/// Opens the journal of destination `name` in `folder`.
fn open_journal(
    folder: &Path,
    name: &str,
    config: &DeliveryConfig,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Log, Arc<StoredJournal>)> {
    let log_config = StoredJournal::log_config();
    let (log, _) = Log::open(Arc::new(RealDisk), folder, log_config, clock.clone())
        .with_context(|| format!("journal of destination {name} cannot be opened"))?;
    let at_least = if config.ledger { config.ledger_retention } else { Duration::ZERO };
    let keep = Keep { at_least, at_most: config.ledger_budget };
    let stored = Arc::new(StoredJournal::new(log.clone(), keep, clock));
    Ok((log, stored))
}

fn streams_of(assembly: &Assembly, destination: &str) -> Vec<AssembledStream> {
    let of = |stream: &&AssembledStream| stream.resource.destination == destination;
    assembly.streams.iter().filter(of).cloned().collect()
}

/// Stands for what `streams` are: where it is the same, so is what they map an item to.
fn fingerprint(streams: &[AssembledStream]) -> u64 {
    // Whether a stream is read changes nothing of what it says.
    let read = |stream: &AssembledStream| Stream { enabled: true, ..stream.resource.clone() };
    let mut resources: Vec<String> =
        streams.iter().map(|stream| format!("{:?}", read(stream))).collect();
    resources.sort_unstable();
    Lane::of(&resources.join("\n")).0
}

/// A name that is safe as a folder's: other characters are written as `%` and two hex digits.
fn folder_name(name: &str) -> String {
    let mut folder = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            folder.push(char::from(byte));
        } else {
            folder.push('%');
            for digit in [byte >> 4, byte & 15] {
                folder.extend(char::from_digit(u32::from(digit), 16));
            }
        }
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        assert_eq!(folder_name("braze-eu_1"), "braze-eu_1");
        assert_eq!(folder_name("../x"), "%2e%2e%2fx");
        assert_ne!(folder_name("a b"), folder_name("a%20b"));
    }
}
