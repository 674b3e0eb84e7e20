//! A world per seed: what happens in it, step by step.

use crate::checks;
use crate::model::{Fate, Model, Upload};
use crate::program::{Done, Ground, LOGS, Program, Turn, told};
use crate::scenario::{Scenario, UID};
use crate::trace::Trace;
use crate::traffic;
use crate::weather;
use crate::wire::Wire;
use isthmus_core::Place;
use isthmus_core::Timestamp;
use isthmus_core::seam::{Clock, ManualClock, Random, SeededRandom};
use isthmus_delivery::dispatcher::Decided;
use isthmus_delivery::journal::Decision;
use isthmus_delivery::memory::MemoryDeadLetters;
use isthmus_log::FakeDisk;
use isthmus_sandbox::{Keep, SandboxConfig, SandboxHandle, SandboxHttp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const START: Timestamp = Timestamp::from_millis(1_770_000_000_000);
const DAY: Duration = Duration::from_hours(24);
/// How far the wall clock may be from where it would be.
const JUMP_MAX_MILLIS: i64 = 10 * 86_400_000;
/// How long an orderly stop may take where something keeps it from happening.
const PATIENCE: Duration = Duration::from_mins(5);
/// Turns after which a program that was told to stop, or to finish, has failed to.
const TURNS_MAX: u64 = 20_000_000;
/// Time after which the same holds.
const DRAIN_MAX: Duration = Duration::from_hours(30 * 24);

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// `kill -9`: everything written survives.
    Kill,
    /// What was not synced survives in part.
    PowerFailure,
    /// As it was told to.
    Orderly,
}

/// What happened so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub steps: u64,
    pub kills: u64,
    pub power_failures: u64,
    pub orderly_stops: u64,
    /// Failed writes and syncs, and full disks.
    pub disk_faults: u64,
    pub uploads: u64,
    pub decisions: u64,
    pub requests: u64,
    /// Events that were applied.
    pub events: u64,
    /// Objects that the ledger calls possible duplicates.
    pub possible_duplicates: u64,
    /// Of those, the ones that did arrive twice.
    pub duplicates: u64,
    pub dead_letters: u64,
    /// Time that passed in the world.
    pub simulated: Duration,
}

impl Tally {
    /// Adds what happened in another world.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.kills += other.kills;
        self.power_failures += other.power_failures;
        self.orderly_stops += other.orderly_stops;
        self.disk_faults += other.disk_faults;
        self.uploads += other.uploads;
        self.decisions += other.decisions;
        self.requests += other.requests;
        self.events += other.events;
        self.possible_duplicates += other.possible_duplicates;
        self.duplicates += other.duplicates;
        self.dead_letters += other.dead_letters;
        self.simulated += other.simulated;
    }
}

/// One number a line.
impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated.as_secs() / 3_600;
        let lines = [
            ("steps", self.steps),
            ("kills", self.kills),
            ("power failures", self.power_failures),
            ("orderly stops", self.orderly_stops),
            ("disk faults", self.disk_faults),
            ("uploads", self.uploads),
            ("decisions", self.decisions),
            ("requests", self.requests),
            ("items applied", self.events),
            ("possible duplicates", self.possible_duplicates),
            ("duplicates", self.duplicates),
            ("dead letters", self.dead_letters),
            ("simulated hours", hours),
        ];
        lines.iter().try_for_each(|(name, count)| writeln!(out, "{name:<19} {count}"))
    }
}

/// Objects by stream, place and part.
pub(crate) type Object = (String, Place, u16);

/// What somebody asked for about dead letters; whether it was carried out, the ledger says.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) resent: BTreeSet<Object>,
    pub(crate) discarded: BTreeSet<Object>,
    pub(crate) confirmed: BTreeSet<Object>,
}

pub(crate) struct World {
    random: SeededRandom,
    pub(crate) trace: Trace,
    clock: ManualClock,
    disk: FakeDisk,
    pub(crate) sandbox: SandboxHandle,
    wire: Wire,
    pub(crate) letters: MemoryDeadLetters,
    pub(crate) scenario: Scenario,
    pub(crate) model: Model,
    pub(crate) asked: Asked,
    /// Gone between two lives of the program.
    program: Option<Program>,
    /// Randomness of the program, which goes on from life to life.
    program_random: Arc<SeededRandom>,
    folder: TempDir,
    /// Folders of state so far: each fallback is a folder of its own.
    states: u64,
    /// A copy of state between two lives, and how far the intake log may be trimmed for it.
    fallback: Option<(PathBuf, u64)>,
    trim_to: u64,
    /// Whether the disk failed in a way that the program may stop for.
    hurt: bool,
    disk_is_full: bool,
    /// Of each stream: what it had delivered, as last seen, and as last seen on disk.
    delivered: BTreeMap<u32, u64>,
    delivered_on_disk: BTreeMap<u32, u64>,
    /// Of each stream: rejected, parked and discarded, as last seen.
    ended: BTreeMap<u32, [u64; 3]>,
    next_uid: u64,
    /// Whether the first checkpoint is on disk.
    streams_began: bool,
    pub(crate) tally: Tally,
}

impl World {
    pub(crate) fn new(seed: u64, lines: usize) -> Result<Self, String> {
        let random = SeededRandom::new(seed);
        let clock = ManualClock::at(START);
        let trace = Trace::new(clock.clone(), lines);
        let scenario = Scenario::draw(&random)?;
        trace.note(format_args!("scenario\n{}", scenario.text));
        let config = SandboxConfig {
            keep: Keep::All,
            uid_property: Some(UID.to_owned()),
            apply_delay: scenario.apply_delay,
            ..SandboxConfig::default()
        };
        let sandbox_random = Arc::new(SeededRandom::new(random.next_u64()));
        let (http, sandbox) = SandboxHttp::new(config, Arc::new(clock.clone()), sandbox_random);
        let wire = Wire::new(http, trace.clone(), scenario.in_flight_max);
        let folder = state_folder().map_err(|error| told("state folder", &error))?;
        let mut world = Self {
            disk: FakeDisk::new(random.next_u64()),
            program_random: Arc::new(SeededRandom::new(random.next_u64())),
            random,
            trace,
            clock,
            sandbox,
            wire,
            letters: MemoryDeadLetters::default(),
            scenario,
            model: Model::default(),
            asked: Asked::default(),
            program: None,
            folder,
            states: 0,
            fallback: None,
            trim_to: 0,
            hurt: false,
            disk_is_full: false,
            delivered: BTreeMap::new(),
            delivered_on_disk: BTreeMap::new(),
            ended: BTreeMap::new(),
            next_uid: 0,
            streams_began: false,
            tally: Tally::default(),
        };
        world.open()?;
        Ok(world)
    }

    /// One step.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        self.tally.steps += 1;
        if self.scenario.first_end == Some(self.tally.steps) {
            self.restart(End::Kill)?;
        }
        if self.tally.steps == 1 && self.scenario.first_end.is_some() {
            let log = usize::try_from(self.below(2 * LOGS as u64)).unwrap_or(0);
            self.running_mut()?.stalled = Some(log);
        }
        match self.below(100) {
            0..22 => self.upload()?,
            22..62 => self.run(1 + self.random.below(60))?,
            62..80 => self.pass_to_next()?,
            80..85 => self.pass(Duration::from_millis(self.random.below(5_000)))?,
            85..87 => self.pass(Duration::from_secs(self.random.below(3_600)))?,
            87 => self.jump(),
            88..92 => self.change_weather(),
            92 => self.hurt_disk(),
            93..96 => self.decide()?,
            96 => self.halt_or_resume()?,
            97 => self.restart(End::Kill)?,
            98 => self.restart(End::PowerFailure)?,
            _ => match self.below(3) {
                0 => self.restart(End::Orderly)?,
                1 => self.restart(End::Kill)?,
                _ => self.trim()?,
            },
        }
        self.check()
    }

    /// Nothing fails any more: everything must come to an end, and that end must be right.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.trace.note("no faults from now on");
        self.sandbox.clear_faults();
        self.disk.clear_faults();
        self.running_mut()?.stalled = None;
        self.drain()?;
        self.sandbox.settle();
        checks::at_the_end(self, self.running()?)?;
        // A restart finds nothing to do.
        self.restart(End::Kill)?;
        let sent = self.wire.sent();
        self.drain()?;
        self.pass(Duration::from_mins(10))?;
        if self.wire.sent() != sent {
            return Err("a restart with nothing to do sends requests".to_owned());
        }
        checks::at_the_end(self, self.running()?)?;
        let counted = checks::count(self, self.running()?)?;
        self.tally.possible_duplicates = counted.possible_duplicates;
        self.tally.duplicates = counted.duplicates;
        self.tally.dead_letters = self.letters.all().len() as u64;
        self.tally.requests = self.wire.sent();
        self.tally.events = self.model.items.len() as u64;
        self.tally.simulated = self.clock.monotonic();
        Ok(())
    }

    // ---- the program ----

    pub(crate) fn running(&self) -> Result<&Program, String> {
        self.program.as_ref().ok_or_else(|| "the program does not run".to_owned())
    }

    fn running_mut(&mut self) -> Result<&mut Program, String> {
        self.program.as_mut().ok_or_else(|| "the program does not run".to_owned())
    }

    fn state_folder(&self) -> PathBuf {
        self.folder.path().join(format!("state-{}", self.states))
    }

    fn open(&mut self) -> Result<(), String> {
        let ground = Ground {
            scenario: &self.scenario,
            clock: &self.clock,
            disk: &self.disk,
            wire: &self.wire,
            letters: &self.letters,
            state: &self.state_folder(),
            random: self.program_random.clone(),
        };
        let program = match Program::open(&ground) {
            Err(error) if self.hurt || self.disk_is_full => {
                self.trace.note(format_args!("cannot open: {error}"));
                self.disk.clear_faults();
                (self.hurt, self.disk_is_full) = (false, false);
                Program::open(&ground)
            }
            opened => opened,
        }?;
        self.trace.note(format_args!(
            "open: intake {}..{}, events ..{}, journal {}..{}",
            program.intake.start(),
            program.intake.end(),
            program.events.end(),
            program.journal.start(),
            program.journal.end()
        ));
        self.model.read(&program.events)?;
        self.model.read_again(&program.events)?;
        self.delivered.clear();
        for stream in &program.handle.status().streams {
            let before = self.delivered_on_disk.get(&stream.number.0).copied().unwrap_or(0);
            if stream.counts.delivered < before {
                let (name, after) = (&stream.name, stream.counts.delivered);
                return Err(format!("{name} had {before} delivered on disk, now {after}"));
            }
        }
        self.program = Some(program);
        Ok(())
    }

    fn restart(&mut self, end: End) -> Result<(), String> {
        self.trace.note(format_args!("restart: {end:?}"));
        match end {
            End::Kill => {
                self.tally.kills += 1;
                self.disk.kill();
                (self.hurt, self.disk_is_full) = (false, false);
            }
            End::PowerFailure => {
                self.tally.power_failures += 1;
                self.disk.crash();
                (self.hurt, self.disk_is_full) = (false, false);
            }
            End::Orderly => {
                self.tally.orderly_stops += 1;
                let program = self.running_mut()?;
                program.stalled = None;
                program.stop.cancel();
                self.stop()?;
            }
        }
        let persisted =
            self.program.take().map_or(0, |program| program.progress().intake_persisted);
        for upload in &mut self.model.uploads {
            if let Fate::Waiting { .. } = upload.fate {
                upload.fate = Fate::Unknown;
            }
        }
        self.keep_state(end, persisted)?;
        self.open()
    }

    /// State is real files, so what a crash does to it is played: it is as it was, or it falls back
    /// to a copy from between two earlier lives.
    fn keep_state(&mut self, end: End, persisted: u64) -> Result<(), String> {
        let failed = |error| told("state folder", &error);
        let falls_back = match end {
            End::Orderly => false,
            End::Kill => self.random.below(8) == 0,
            End::PowerFailure => self.random.below(2) == 0,
        };
        if falls_back {
            self.trace.note("state falls back");
            self.states += 1;
            if let Some((copy, _)) = &self.fallback {
                copy_folder(copy, &self.state_folder()).map_err(failed)?;
            }
        } else if self.random.below(3) == 0 {
            self.trace.note("state is copied");
            let copy = self.folder.path().join(format!("copy-{}", self.tally.steps));
            if copy.exists() {
                return Ok(());
            }
            copy_folder(&self.state_folder(), &copy).map_err(failed)?;
            if let Some((old, _)) = self.fallback.replace((copy, persisted)) {
                std::fs::remove_dir_all(old).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Lets everybody go on, at most `turns` times.
    fn run(&mut self, turns: u64) -> Result<(), String> {
        for _ in 0..turns {
            if !self.turn()? {
                break;
            }
        }
        Ok(())
    }

    /// Lets one go on; returns whether there was one.
    fn turn(&mut self) -> Result<bool, String> {
        let Some(program) = &mut self.program else { return Ok(false) };
        match program.turn(&self.random) {
            Turn::Quiet => Ok(false),
            Turn::Busy => Ok(true),
            Turn::Ended(done) => self.ended(done).map(|()| true),
        }
    }

    fn ended(&mut self, done: Done) -> Result<(), String> {
        match done {
            Done::Upload { upload, answer } => self.answered(upload, answer.status),
            Done::Command { what, result } => self.trace.note(format_args!("{what}: {result:?}")),
            Done::Applier(result) => {
                return self
                    .part_ended("applier", &result.map_err(|error| told("stopped", &error)));
            }
            Done::Engine(result) => {
                return self.part_ended("engine", &result.map_err(|error| told("stopped", &error)));
            }
        }
        Ok(())
    }

    /// A part may stop when it is told to, or when the disk failed.
    fn part_ended(&mut self, part: &str, result: &Result<(), String>) -> Result<(), String> {
        self.trace.note(format_args!("{part} ended: {result:?}"));
        let program = self.running()?;
        match result {
            Ok(()) if program.stop.is_cancelled() => Ok(()),
            Err(_) if self.hurt => self.restart(End::Kill),
            _ => Err(format!("{part} stopped by itself: {result:?}")),
        }
    }

    /// Lets a program that was told to stop do so, for as long as somebody would wait: with a full
    /// disk it cannot write down what it knows.
    fn stop(&mut self) -> Result<(), String> {
        let patience_ends = self.clock.monotonic() + PATIENCE;
        for _ in 0..TURNS_MAX {
            if self.running()?.has_stopped() || !self.running()?.stop.is_cancelled() {
                return Ok(());
            }
            if self.turn()? {
                continue;
            }
            if self.clock.monotonic() > patience_ends && self.disk_is_full {
                self.trace.note("killed while stopping");
                self.disk.kill();
                (self.hurt, self.disk_is_full) = (false, false);
                return Ok(());
            }
            if !self.tick() {
                return Err("a program that was told to stop stands still".to_owned());
            }
        }
        Err("a program that was told to stop does not".to_owned())
    }

    /// Lets time pass until somebody is due; returns whether anybody waits.
    fn tick(&mut self) -> bool {
        let Some(due) = self.clock.next_due() else { return false };
        self.clock.advance(due);
        true
    }

    /// Waits until everything that was uploaded is applied and delivered.
    fn drain(&mut self) -> Result<(), String> {
        let give_up_at = self.clock.monotonic() + DRAIN_MAX;
        let mut asked = false;
        for _ in 0..TURNS_MAX {
            if self.turn()? {
                continue;
            }
            let program = self.running_mut()?;
            if !asked {
                program.resume("resume".to_owned());
                asked = true;
                continue;
            }
            let status = program.handle.status();
            let applied = program.progress().intake == program.intake.end();
            let end = program.events.end();
            let idle = status
                .streams
                .iter()
                .all(|stream| stream.position >= end && stream.pending == stream.counts.parked);
            let halted =
                matches!(status.condition, isthmus_delivery::health::Condition::Halted { .. });
            if halted {
                asked = false;
                continue;
            }
            if applied && idle && status.on_disk && status.requests_in_flight == 0 {
                return self.check();
            }
            if self.clock.monotonic() > give_up_at {
                return Err(format!("never idle: {status:?}"));
            }
            if !self.tick() {
                return Err(format!("everybody stands still: {status:?}"));
            }
        }
        Err(format!("never idle: {:?}", self.running()?.handle.status()))
    }

    // ---- what happens ----

    fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// A client uploads something new, or something again.
    fn upload(&mut self) -> Result<(), String> {
        // Where a new stream begins is known once it is on disk; until then a crash moves it.
        self.streams_began |= self.running()?.handle.status().on_disk;
        if !self.streams_began {
            return Ok(());
        }
        let again = |upload: &Upload| matches!(upload.fate, Fate::Unknown | Fate::Refused);
        let open: Vec<usize> = (0..)
            .zip(&self.model.uploads)
            .filter(|(_, upload)| again(upload))
            .map(|(at, _)| at)
            .collect();
        let chosen = usize::try_from(self.below(open.len() as u64)).unwrap_or(0);
        let at = match open.get(chosen) {
            Some(at) if self.below(3) == 0 => *at,
            _ => {
                let upload = traffic::upload(&self.random, self.scenario.users, &mut self.next_uid);
                self.model.uploads.push(upload);
                self.model.uploads.len() - 1
            }
        };
        let Some(upload) = self.model.uploads.get_mut(at) else { return Ok(()) };
        upload.fate = Fate::Waiting { before: upload.fate == Fate::Unknown };
        self.trace.note(format_args!("upload {at}: {}", upload.uids.join(" ")));
        let body = upload.body.clone();
        self.tally.uploads += 1;
        self.running_mut()?.upload(at, body);
        Ok(())
    }

    fn answered(&mut self, at: usize, status: u16) {
        self.trace.note(format_args!("upload {at} is answered with {status}"));
        let Some(upload) = self.model.uploads.get_mut(at) else { return };
        let before = upload.fate == Fate::Waiting { before: true };
        upload.fate = match status {
            200 => Fate::Acknowledged,
            429 | 503 if !before => Fate::Refused,
            _ => Fate::Unknown,
        };
    }

    /// Lets everybody go on until nobody can, and then time pass until somebody can.
    fn pass_to_next(&mut self) -> Result<(), String> {
        self.run(1_000)?;
        self.tick();
        self.run(1 + self.random.below(100))
    }

    /// Lets `time` pass, with everybody going on meanwhile.
    fn pass(&mut self, time: Duration) -> Result<(), String> {
        self.trace.note(format_args!("{time:?} pass"));
        let until = self.clock.monotonic() + time;
        loop {
            self.run(1_000)?;
            let left = until.saturating_sub(self.clock.monotonic());
            let due = self.clock.next_due().unwrap_or(left);
            self.clock.advance(due.min(left));
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    /// The wall clock is set anew.
    fn jump(&mut self) {
        let day = i64::try_from(DAY.as_millis()).unwrap_or(0);
        let by = i64::try_from(self.below(6 * 86_400_000)).unwrap_or(0) - 3 * day;
        let regular = START.plus(self.clock.monotonic()).as_millis();
        let to = self.clock.now().as_millis() + by;
        if (to - regular).abs() <= JUMP_MAX_MILLIS {
            self.trace.note(format_args!("the wall clock jumps by {by} ms"));
            self.clock.jump_to(Timestamp::from_millis(to));
        }
    }

    fn change_weather(&mut self) {
        self.sandbox.clear_faults();
        let faults = weather::draw(&self.random, self.scenario.users);
        self.trace.note(format_args!("weather: {faults:?}"));
        for fault in faults {
            self.sandbox.inject(fault);
        }
    }

    fn hurt_disk(&mut self) {
        let kind = self.below(8);
        self.trace.note(format_args!("disk fault {kind}"));
        self.tally.disk_faults += 1;
        match kind {
            0 => self.disk.set_free(Some(self.random.below(20_000))),
            1 => {
                self.disk.hide_free_space(true);
                self.disk.set_free(Some(self.random.below(20_000)));
            }
            2 => self.disk.fail_writes(1),
            3 => self.disk.fail_syncs(1),
            4 => self.disk.fail_creates(1),
            5 => self.disk.clear_faults(),
            _ => {}
        }
        let log = usize::try_from(self.below(LOGS as u64)).unwrap_or(0);
        if let Some(program) = &mut self.program {
            program.stalled = (kind > 5).then_some(log);
        }
        self.hurt |= (2..5).contains(&kind);
        self.disk_is_full = kind < 2 || self.disk_is_full && kind != 5;
    }

    /// Somebody decides about a dead letter.
    fn decide(&mut self) -> Result<(), String> {
        let letters = self.letters.all();
        let chosen = usize::try_from(self.below(letters.len() as u64)).unwrap_or(0);
        let Some(letter) = letters.get(chosen).cloned() else { return Ok(()) };
        let object = (letter.stream.clone(), letter.place, letter.part);
        let (decision, asked) = match self.random.below(4) {
            0 => (Decision::Discard, &mut self.asked.discarded),
            1 => (Decision::Confirm, &mut self.asked.confirmed),
            _ => (Decision::Resend, &mut self.asked.resent),
        };
        asked.insert(object);
        let what = format!("{decision:?} {} {} {}", letter.stream, letter.place, letter.part);
        self.trace.note(&what);
        self.tally.decisions += 1;
        self.running_mut()?.command(what, |handle| async move {
            let stream = letter.stream.clone();
            handle.decide(&stream, vec![letter], decision, "ana".to_owned()).await
        });
        Ok(())
    }

    fn halt_or_resume(&mut self) -> Result<(), String> {
        if self.below(3) > 0 {
            self.running_mut()?.resume("resume".to_owned());
        } else {
            self.running_mut()?.command("pause".to_owned(), |handle| async move {
                handle.pause("maintenance".to_owned()).await.map(|()| Decided::default())
            });
        }
        Ok(())
    }

    /// The intake log lets go of what no state needs any more.
    fn trim(&mut self) -> Result<(), String> {
        let Some((_, persisted)) = self.fallback else { return Ok(()) };
        let to = persisted.max(self.trim_to);
        self.trim_to = to;
        self.trace.note(format_args!("intake is trimmed to {to}"));
        match self.running()?.intake.trim(to) {
            Ok(_) => Ok(()),
            Err(_) if self.hurt => Ok(()),
            Err(error) => Err(told("trim", &error)),
        }
    }

    // ---- what must hold ----

    /// What must hold after every step.
    fn check(&mut self) -> Result<(), String> {
        if let Some(broken) = self.trace.broken() {
            return Err(broken);
        }
        let Some(program) = &self.program else { return Ok(()) };
        self.model.read(&program.events)?;
        let status = program.handle.status();
        let (most, under_way) = (self.scenario.in_flight_max, status.requests_in_flight);
        if under_way > most {
            return Err(format!("{under_way} requests are under way, {most} may be"));
        }
        for stream in &status.streams {
            let (number, counts) = (stream.number.0, stream.counts);
            if !stream.adds_up() {
                return Err(format!("{} does not add up: {stream:?}", stream.name));
            }
            let ended = [counts.rejected, counts.parked, counts.discarded];
            if self.ended.insert(number, ended) != Some(ended) {
                let (name, [rejected, parked, discarded]) = (&stream.name, ended);
                self.trace.note(format_args!(
                    "{name}: {rejected} rejected, {parked} parked, {discarded} discarded"
                ));
            }
            let before = self.delivered.insert(number, counts.delivered).unwrap_or(0);
            if counts.delivered < before {
                let (name, after) = (&stream.name, counts.delivered);
                return Err(format!("{name} had {before} delivered, now {after}"));
            }
            if status.on_disk {
                self.delivered_on_disk.insert(number, counts.delivered);
            }
        }
        Ok(())
    }
}

/// A folder for state, in memory where the system has such folders: no run survives its machine, and
/// waiting for a real disk is most of what a run would do.
fn state_folder() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
