//! Appends that wait for the disk: bounded by bytes, answered when they are durable.

use crate::LogError;
use crate::format::Frame;
use crate::segments::lock;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use tokio::sync::oneshot;

/// What an append is answered with: the offset of its first record.
pub(crate) type Answer = Result<u64, LogError>;

/// One append.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) frames: Vec<Frame>,
    pub(crate) answer: oneshot::Sender<Answer>,
}

impl Job {
    pub(crate) fn size(&self) -> u64 {
        self.frames.iter().map(Frame::size).sum()
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    bytes_max: u64,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Bytes of the jobs above and of those being written.
    bytes: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), bytes_max }
    }

    /// Adds `job`, unless that would be too much; never waits.
    pub(crate) fn push(&self, job: Job) -> Result<(), LogError> {
        let size = job.size();
        let mut state = lock(&self.state);
        if state.closed {
            return Err(LogError::Closed);
        }
        if state.bytes > 0 && state.bytes + size > self.bytes_max {
            return Err(LogError::Busy { waiting: state.bytes, max: self.bytes_max });
        }
        state.bytes += size;
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes the jobs that came first, up to `bytes_max` bytes but at least one if there is one.
    pub(crate) fn take(&self, bytes_max: u64) -> Vec<Job> {
        let mut state = lock(&self.state);
        let mut bytes = 0;
        let fits = |job: &&Job| {
            bytes += job.size();
            bytes <= bytes_max
        };
        let count = state.jobs.iter().take_while(fits).count().max(1).min(state.jobs.len());
        state.jobs.drain(..count).collect()
    }

    /// Gives back the room of jobs that were taken.
    pub(crate) fn release(&self, bytes: u64) {
        lock(&self.state).bytes -= bytes;
    }

    /// Blocks until there is a job; `false` when there is none and will be none.
    pub(crate) fn wait(&self) -> bool {
        let idle = |state: &mut State| state.jobs.is_empty() && !state.closed;
        let state = self.changed.wait_while(lock(&self.state), idle);
        !state.unwrap_or_else(PoisonError::into_inner).jobs.is_empty()
    }

    /// Takes no more jobs; those inside are still written.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// Takes no more jobs and drops those inside, which answers them with `Closed`.
    pub(crate) fn abandon(&self) {
        self.close();
        lock(&self.state).jobs.clear();
    }
}
