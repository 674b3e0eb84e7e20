//! One life of the program: the parts that the server starts, without the server's sockets.

use crate::executor::Tasks;
use crate::scenario::Scenario;
use crate::wire::Wire;
use isthmus_core::seam::{Clock, ManualClock, Random};
use isthmus_delivery::dispatcher::Decided;
use isthmus_delivery::engine::{ControlError, Engine, EngineConfig, EngineError, Handle, Parts};
use isthmus_delivery::governor::Budgets;
use isthmus_delivery::journal::stored::StoredJournal;
use isthmus_delivery::ledger::Ledger;
use isthmus_delivery::memory::MemoryDeadLetters;
use isthmus_delivery::source::event_log::EventLog;
use isthmus_ingest::applier::{Applier, ApplierConfig, ApplierError, Progress};
use isthmus_ingest::door::{Answer, Call, Door, DoorRules, Endpoint, NobodyMapped};
use isthmus_log::{FakeDisk, Log, LogConfig, Writer};
use isthmus_state::State;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Long beside everything that a seed lasts: a client that uploads again is always recognised.
const DEDUP_WINDOW: Duration = Duration::from_hours(90 * 24);

/// The intake log, the event log and the journal.
pub(crate) const LOGS: usize = 3;

/// What a task ended with.
pub(crate) enum Done {
    Applier(Result<(), ApplierError>),
    Engine(Result<(), EngineError>),
    Upload { upload: usize, answer: Answer },
    Command { what: String, result: Result<Decided, ControlError> },
}

/// What outlives the program.
pub(crate) struct Ground<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) clock: &'a ManualClock,
    pub(crate) disk: &'a FakeDisk,
    pub(crate) wire: &'a Wire,
    pub(crate) letters: &'a MemoryDeadLetters,
    pub(crate) state: &'a Path,
    pub(crate) random: Arc<dyn Random>,
}

/// A running program. Dropping it ends it wherever it is.
pub(crate) struct Program {
    tasks: Tasks<Done>,
    writers: [Writer; LOGS],
    pub(crate) door: Arc<Door>,
    pub(crate) handle: Handle,
    pub(crate) ledger: Ledger,
    pub(crate) intake: Log,
    pub(crate) events: Log,
    pub(crate) journal: Log,
    progress: Box<dyn Fn() -> Progress>,
    pub(crate) stop: CancellationToken,
    parts_ended: u32,
    /// The log whose disk stands still, by its place among the writers.
    pub(crate) stalled: Option<usize>,
}

/// What one turn of the program came to.
pub(crate) enum Turn {
    /// Nobody has anything to do before time passes or something comes from outside.
    Quiet,
    Busy,
    Ended(Done),
}

impl Program {
    /// Opens everything, as the server does; what goes wrong is told in words.
    pub(crate) fn open(ground: &Ground<'_>) -> Result<Self, String> {
        let scenario = ground.scenario;
        let clock: Arc<dyn Clock> = Arc::new(ground.clock.clone());
        let state = State::open(ground.state).map_err(|error| told("state", &error))?;
        let open = |name: &str, config: LogConfig| {
            let disk = Arc::new(ground.disk.clone());
            let opened = Log::open_stepped(disk, Path::new(name), config, clock.clone());
            opened.map_err(|error| told(name, &error))
        };
        let (intake, intake_writer, _) = open("intake", scenario.log)?;
        let (events, events_writer, _) = open("events", scenario.log)?;
        let (journal, journal_writer, _) = open("journal", scenario.journal)?;
        let config = ApplierConfig { dedup_window: DEDUP_WINDOW };
        let (random, logs) = (&*ground.random, (intake.clone(), events.clone()));
        let applier = Applier::open(&state, logs.0, logs.1, clock.clone(), random, config);
        let applier = applier.map_err(|error| told("applier", &error))?;
        let nobody = Arc::new(NobodyMapped);
        let door = Door::new(intake.clone(), clock.clone(), DoorRules::default(), nobody);
        door.set_projects(std::slice::from_ref(&scenario.project));
        let stored = Arc::new(StoredJournal::new(journal.clone(), scenario.keep, clock.clone()));
        let parts = Parts {
            name: "braze".into(),
            destination: scenario.braze.clone(),
            source: Arc::new(EventLog::new(events.clone())),
            journal: stored.clone(),
            dead_letters: Arc::new(ground.letters.clone()),
            budgets: Budgets::default(),
            http: Arc::new(ground.wire.clone()),
            clock,
            random: ground.random.clone(),
            config: EngineConfig { window: scenario.window, ..EngineConfig::default() },
        };
        let specs = scenario.streams.iter().map(|plan| plan.spec.clone()).collect();
        let (engine, handle) =
            Engine::open(parts, specs).map_err(|error| told("engine", &error))?;
        let stop = CancellationToken::new();
        let progress = applier.progress();
        let mut tasks = Tasks::new();
        let (engine_stop, applier_stop) = (stop.clone(), stop.clone());
        tasks.add(async move { Done::Applier(applier.run(applier_stop).await) });
        tasks.add(async move { Done::Engine(engine.run(engine_stop).await) });
        Ok(Self {
            tasks,
            writers: [intake_writer, events_writer, journal_writer],
            door: Arc::new(door),
            handle,
            ledger: Ledger::new(stored),
            intake,
            events,
            journal,
            progress: Box::new(move || *progress.borrow()),
            stop,
            parts_ended: 0,
            stalled: None,
        })
    }

    /// How far the applier came.
    pub(crate) fn progress(&self) -> Progress {
        (self.progress)()
    }

    /// Begins to upload `body`.
    pub(crate) fn upload(&mut self, upload: usize, body: Vec<u8>) {
        let door = Arc::clone(&self.door);
        self.tasks.add(async move {
            let call = Call {
                endpoint: Endpoint::HttpApi,
                content_type: Some("application/json"),
                content_encoding: None,
                query: None,
                body: &body,
                remote: None,
            };
            Done::Upload { upload, answer: door.answer(call).await }
        });
    }

    /// Begins to ask the engine for something.
    pub(crate) fn command<F>(&mut self, what: String, ask: impl FnOnce(Handle) -> F)
    where
        F: Future<Output = Result<Decided, ControlError>> + 'static,
    {
        let asked = ask(self.handle.clone());
        self.tasks.add(async move { Done::Command { what, result: asked.await } });
    }

    /// Begins to ask the engine to send again, whatever it waits for.
    pub(crate) fn resume(&mut self, what: String) {
        self.command(
            what,
            |handle| async move { handle.resume().await.map(|()| Decided::default()) },
        );
    }

    /// Whether applier and engine have both ended.
    pub(crate) fn has_stopped(&self) -> bool {
        self.parts_ended == 2
    }

    /// Lets one of those go on that can: a task or the writer of a log.
    pub(crate) fn turn(&mut self, random: &dyn Random) -> Turn {
        let woken = self.tasks.woken();
        let drawn = usize::try_from(random.below(woken.len() as u64 + 1)).unwrap_or(0);
        if let Some(id) = woken.get(drawn) {
            let Some(done) = self.tasks.poll(*id) else { return Turn::Busy };
            self.parts_ended += u32::from(matches!(done, Done::Applier(_) | Done::Engine(_)));
            return Turn::Ended(done);
        }
        let first = usize::try_from(random.below(LOGS as u64)).unwrap_or(0);
        let wrote = (0..LOGS).map(|at| (first + at) % LOGS).any(|at| {
            let writer = self.writers.get_mut(at).filter(|_| self.stalled != Some(at));
            writer.is_some_and(|writer| writer.step() > 0)
        });
        if wrote || !woken.is_empty() { Turn::Busy } else { Turn::Quiet }
    }
}

/// What went wrong with `part`, with every cause.
pub(crate) fn told(part: &str, error: &dyn Error) -> String {
    let mut parts = vec![part.to_owned(), error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        parts.push(error.to_string());
        source = error.source();
    }
    parts.join(": ")
}
