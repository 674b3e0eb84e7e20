//! Watching and steering a running engine from outside.

use super::{Engine, EngineError, StreamSpec, extent};
use crate::dispatcher::{Decided, Moment, StreamError};
use crate::jobs::{JobSpec, Skips, View};
use crate::journal::Decision;
use crate::source::EventSource;
use crate::status::{DestinationStatus, StreamStatus};
use isthmus_core::Place;
use isthmus_core::destination::Mapping;
use isthmus_state::dead_letters::DeadLetter;
use isthmus_state::mirror::Doubt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// What an operator may ask for.
pub(super) struct Command {
    action: Action,
    refused: oneshot::Sender<StreamError>,
    /// Sent once what was asked for survives a crash.
    done: oneshot::Sender<Done>,
}

/// What came of a command.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    decided: Decided,
    /// Number of the job.
    job: u32,
    /// Users of whom something was forgotten.
    forgotten: u64,
}

pub(super) type Answer = (oneshot::Sender<Done>, Done);

enum Action {
    Pause { reason: String },
    Resume,
    Add(StreamSpec),
    Remove { stream: String },
    SetEnabled { stream: String, enabled: bool },
    Decide { stream: String, letters: Vec<DeadLetter>, decision: Decision, reason: String },
    AddJob(Box<JobSpec>),
    ResumeJob { number: u32, mapping: Arc<dyn Mapping>, skips: Skips, view: View },
    CancelJob { number: u32 },
    Forget { doubts: Vec<Doubt>, why: Why },
}

/// Why something is to be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The vendor was found not to have it: what the ledger says of it is wrong as well.
    NotThere,
    /// Nobody may know it any more.
    Erased,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("delivery has stopped")]
    Stopped,
}

/// Watches and steers one engine. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Arc<DestinationStatus>>,
    source: Arc<dyn EventSource>,
}

impl Handle {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        status: watch::Receiver<Arc<DestinationStatus>>,
        source: Arc<dyn EventSource>,
    ) -> Self {
        Self { commands, status, source }
    }

    /// How the destination and its streams are doing, as of a moment ago.
    pub fn status(&self) -> Arc<DestinationStatus> {
        self.status.borrow().clone()
    }

    /// The first place of the event log that a restart would need; `None` when it needs none.
    ///
    /// Items may refer to user properties further back: the log must also be kept as far before
    /// it as references reach.
    pub fn lowest_cursor(&self) -> Option<Place> {
        self.status.borrow().lowest_cursor()
    }

    /// Stops sending until [`Self::resume`]; nothing is lost.
    pub async fn pause(&self, reason: String) -> Result<(), ControlError> {
        self.ask(Action::Pause { reason }).await.map(drop)
    }

    /// Sends again, at once, whatever it was that sending waited for.
    pub async fn resume(&self) -> Result<(), ControlError> {
        self.ask(Action::Resume).await.map(drop)
    }

    /// Adds a stream, which starts at the present end of the log.
    pub async fn add_stream(&self, spec: StreamSpec) -> Result<(), ControlError> {
        self.ask(Action::Add(spec)).await.map(drop)
    }

    /// Forgets a stream, with what it had pending.
    pub async fn remove_stream(&self, stream: &str) -> Result<(), ControlError> {
        self.ask(Action::Remove { stream: stream.to_owned() }).await.map(drop)
    }

    /// Reads for the stream again, from the present end of the log on.
    pub async fn enable_stream(&self, stream: &str) -> Result<(), ControlError> {
        let action = Action::SetEnabled { stream: stream.to_owned(), enabled: true };
        self.ask(action).await.map(drop)
    }

    /// Reads no more for the stream; what it accepted is still delivered.
    pub async fn disable_stream(&self, stream: &str) -> Result<(), ControlError> {
        let action = Action::SetEnabled { stream: stream.to_owned(), enabled: false };
        self.ask(action).await.map(drop)
    }

    /// Decides about objects that had ended: `letters` are dead letters of `stream`. What is sent is
    /// what is on disk by then, and an object that has none any more is passed over. `reason` says
    /// who decided, for the ledger.
    pub async fn decide(
        &self,
        stream: &str,
        letters: Vec<DeadLetter>,
        decision: Decision,
        reason: String,
    ) -> Result<Decided, ControlError> {
        let stream = stream.to_owned();
        let action = Action::Decide { stream, letters, decision, reason };
        self.ask(action).await.map(|done| done.decided)
    }

    /// Starts a job; returns its number.
    pub async fn add_job(&self, spec: JobSpec) -> Result<u32, ControlError> {
        self.ask(Action::AddJob(Box::new(spec))).await.map(|done| done.job)
    }

    /// Goes on with a job of a run before this one.
    pub async fn resume_job(
        &self,
        number: u32,
        mapping: Arc<dyn Mapping>,
        skips: Skips,
        view: View,
    ) -> Result<(), ControlError> {
        self.ask(Action::ResumeJob { number, mapping, skips, view }).await.map(drop)
    }

    /// Ends a job: what it has not sent is discarded and counted.
    pub async fn cancel_job(&self, number: u32) -> Result<(), ControlError> {
        self.ask(Action::CancelJob { number }).await.map(drop)
    }

    /// Forgets what `doubts` are about, so that users are told it again when it comes up next;
    /// returns of how many users something was known, none where there is no mirror.
    pub async fn forget(&self, doubts: Vec<Doubt>, why: Why) -> Result<u64, ControlError> {
        self.ask(Action::Forget { doubts, why }).await.map(|done| done.forgotten)
    }

    /// Completes once a restart would find everything as it is, pending objects apart. A stream
    /// begins where its first checkpoint says: what is acknowledged before that is on disk, a crash
    /// could leave out.
    pub async fn wait_on_disk(&self) -> Result<(), ControlError> {
        let mut status = self.status.clone();
        let on_disk = status.wait_for(|status| status.on_disk);
        on_disk.await.map(drop).map_err(|_| ControlError::Stopped)
    }

    /// Completes once everything in the log is read, and whatever concerned a stream is
    /// delivered, rejected or discarded, for good.
    pub async fn wait_idle(&self) -> Result<(), ControlError> {
        let mut status = self.status.clone();
        loop {
            let end = self.source.end();
            let idle = status.wait_for(|status| {
                let idle = |stream: &StreamStatus| {
                    let read =
                        if stream.enabled { stream.position >= end } else { !stream.holds_log };
                    read && stream.pending == stream.counts.parked
                };
                status.on_disk && status.requests_in_flight == 0 && status.streams.iter().all(idle)
            });
            idle.await.map_err(|_| ControlError::Stopped)?;
            if self.source.end() == end {
                return Ok(());
            }
        }
    }

    async fn ask(&self, action: Action) -> Result<Done, ControlError> {
        let (refused, mut refusal) = oneshot::channel();
        let (done, answer) = oneshot::channel();
        let command = Command { action, refused, done };
        self.commands.send(command).await.map_err(|_| ControlError::Stopped)?;
        if let Ok(done) = answer.await {
            return Ok(done);
        }
        Err(refusal.try_recv().map_or(ControlError::Stopped, ControlError::Stream))
    }
}

impl Engine {
    /// Lets a job's view know what its stream has told up to `position`.
    fn caught_up(&self, view: &mut View, position: Option<u64>) -> Result<(), StreamError> {
        let position = position.unwrap_or(view.latest_to);
        self.reading.catch_up(view, position).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            StreamError::Unread { reason: format!("{error}{cause}") }
        })
    }

    /// Carries out `command`; it is answered once the next checkpoint is on disk.
    pub(super) fn obey(&mut self, command: Command) -> Result<(), EngineError> {
        let Command { action, refused, done } = command;
        let now = Moment::of(&*self.parts.clock);
        let extent = extent(&*self.parts.source);
        let mut answer = Done::default();
        let result = match action {
            Action::Pause { reason } => {
                self.dispatcher.halt(reason);
                Ok(())
            }
            Action::Resume => {
                self.dispatcher.resume();
                Ok(())
            }
            Action::Add(StreamSpec { name, mapping, manner }) => {
                let added = self.dispatcher.add_stream(name, manner, extent);
                added.map(|number| self.reading.add(number, mapping))
            }
            Action::Remove { stream } => {
                let removed = self.dispatcher.remove_stream(&stream, now);
                removed.map(|number| self.reading.remove(number))
            }
            Action::SetEnabled { stream, enabled } => {
                self.dispatcher.set_enabled(&stream, enabled, extent.end)
            }
            Action::Decide { stream, letters, decision, reason } => {
                let asked = letters.len();
                let letters = self.still_there(letters)?;
                let gone = asked - letters.len();
                self.dispatcher.decide(&stream, letters, decision, &reason, now).map(
                    |Decided { objects, passed_over }| {
                        let passed_over = passed_over + gone;
                        answer.decided = Decided { objects, passed_over };
                    },
                )
            }
            Action::AddJob(mut spec) => {
                let told = self.dispatcher.told(&spec.record.stream);
                let caught_up = self.caught_up(&mut spec.view, told);
                caught_up.and_then(|()| self.dispatcher.add_job(&spec)).map(|(number, parent)| {
                    answer.job = number.0;
                    let JobSpec { mapping, view, .. } = *spec;
                    self.reading.add_job(number, parent, mapping, view);
                })
            }
            Action::ResumeJob { number, mapping, skips, mut view } => {
                let told = self.dispatcher.told_of(number);
                let caught_up = self.caught_up(&mut view, told);
                let resumed = caught_up.and_then(|()| self.dispatcher.resume_job(number, skips));
                resumed.map(|(number, parent)| {
                    self.reading.add_job(number, parent, mapping, view);
                })
            }
            Action::CancelJob { number } => self.dispatcher.cancel_job(number, now),
            Action::Forget { doubts, why } => {
                answer.forgotten = self.forget(&doubts, why)?;
                Ok(())
            }
        };
        match result {
            Ok(()) => {
                self.dispatcher.want_checkpoint();
                self.answers.push((done, answer));
            }
            // Whoever asked may be gone.
            Err(error) => drop(refused.send(error)),
        }
        Ok(())
    }

    /// `letters` as they are on disk: since they were looked up, an object may have been delivered,
    /// and sending it again would double it.
    fn still_there(&mut self, letters: Vec<DeadLetter>) -> Result<Vec<DeadLetter>, EngineError> {
        self.store_letters()?;
        let store = &self.parts.dead_letters;
        let found = letters
            .into_iter()
            .filter_map(|letter| store.get(&letter.stream, letter.place, letter.part).transpose());
        Ok(found.collect::<Result<_, _>>()?)
    }
}
