//! Watching and steering a running engine from outside.

use super::{Engine, StreamSpec, extent};
use crate::dispatcher::{Moment, StreamError};
use crate::source::EventSource;
use crate::status::{DestinationStatus, StreamStatus};
use isthmus_core::Place;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// What an operator may ask for.
pub(super) struct Command {
    action: Action,
    refused: oneshot::Sender<StreamError>,
    /// Sent once what was asked for survives a crash.
    done: oneshot::Sender<()>,
}

enum Action {
    Pause { reason: String },
    Resume,
    Add(StreamSpec),
    Remove { stream: String },
    SetEnabled { stream: String, enabled: bool },
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
        self.ask(Action::Pause { reason }).await
    }

    /// Sends again, at once, whatever it was that sending waited for.
    pub async fn resume(&self) -> Result<(), ControlError> {
        self.ask(Action::Resume).await
    }

    /// Adds a stream, which starts at the present end of the log.
    pub async fn add_stream(&self, spec: StreamSpec) -> Result<(), ControlError> {
        self.ask(Action::Add(spec)).await
    }

    /// Forgets a stream, with what it had pending.
    pub async fn remove_stream(&self, stream: &str) -> Result<(), ControlError> {
        self.ask(Action::Remove { stream: stream.to_owned() }).await
    }

    /// Reads for the stream again, from the present end of the log on.
    pub async fn enable_stream(&self, stream: &str) -> Result<(), ControlError> {
        self.ask(Action::SetEnabled { stream: stream.to_owned(), enabled: true }).await
    }

    /// Reads no more for the stream; what it accepted is still delivered.
    pub async fn disable_stream(&self, stream: &str) -> Result<(), ControlError> {
        self.ask(Action::SetEnabled { stream: stream.to_owned(), enabled: false }).await
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
                    read && stream.pending == 0
                };
                status.on_disk && status.requests_in_flight == 0 && status.streams.iter().all(idle)
            });
            idle.await.map_err(|_| ControlError::Stopped)?;
            if self.source.end() == end {
                return Ok(());
            }
        }
    }

    async fn ask(&self, action: Action) -> Result<(), ControlError> {
        let (refused, mut refusal) = oneshot::channel();
        let (done, answer) = oneshot::channel();
        let command = Command { action, refused, done };
        self.commands.send(command).await.map_err(|_| ControlError::Stopped)?;
        if answer.await.is_ok() {
            return Ok(());
        }
        Err(refusal.try_recv().map_or(ControlError::Stopped, ControlError::Stream))
    }
}

impl Engine {
    /// Carries out `command`; it is answered once the next checkpoint is on disk.
    pub(super) fn obey(&mut self, command: Command) {
        let Command { action, refused, done } = command;
        let now = Moment::of(&*self.parts.clock);
        let extent = extent(&*self.parts.source);
        let result = match action {
            Action::Pause { reason } => {
                self.dispatcher.halt(reason);
                Ok(())
            }
            Action::Resume => {
                self.dispatcher.resume();
                Ok(())
            }
            Action::Add(StreamSpec { name, mapping, enabled }) => {
                let added = self.dispatcher.add_stream(name, enabled, extent);
                added.map(|number| self.reading.add(number, mapping))
            }
            Action::Remove { stream } => {
                let removed = self.dispatcher.remove_stream(&stream, now);
                removed.map(|number| self.reading.remove(number))
            }
            Action::SetEnabled { stream, enabled } => {
                self.dispatcher.set_enabled(&stream, enabled, extent.end)
            }
        };
        match result {
            Ok(()) => {
                self.dispatcher.want_checkpoint();
                self.answers.push(done);
            }
            // Whoever asked may be gone.
            Err(error) => drop(refused.send(error)),
        }
    }
}
