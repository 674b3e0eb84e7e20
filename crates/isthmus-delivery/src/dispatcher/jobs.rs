//! Jobs: started, cancelled, and kept in mind when they have ended.

use super::{Dispatcher, Manner, Moment, StreamError};
use crate::jobs::{JobSpec, Skips};
use crate::journal::{Fate, JobRecord, StreamRecord};
use crate::stream::{Job, Stream, StreamNumber};
use isthmus_core::destination::Priority;
use std::sync::Arc;

/// Ended jobs that are kept in mind.
const PAST_JOBS_MAX: usize = 100;
/// The rule by which the objects of a cancelled job are discarded.
pub(super) const CANCELLED: &str = "job cancelled";

impl Dispatcher {
    /// Starts a job for a stream that this destination has.
    ///
    /// Returns the job's number and that of its stream.
    pub fn add_job(&mut self, spec: &JobSpec) -> Result<(StreamNumber, StreamNumber), StreamError> {
        let parent = self.number_of(&spec.record.stream)?;
        let number = StreamNumber(self.next_stream);
        self.next_stream += 1;
        let name = Arc::from(&*spec.record.stream);
        let mut stream = Stream::new(number, name, false, spec.record.from);
        self.equip(&mut stream, parent, spec.record.clone(), spec.skips.clone());
        stream.end_at(spec.to);
        self.streams.insert(number, stream);
        self.checkpoint_wanted = true;
        Ok((number, parent))
    }

    /// How far the stream `name` has read, if there is one.
    pub fn told(&self, name: &str) -> Option<u64> {
        let stream = self.streams.get(&self.number_of(name).ok()?)?;
        Some(stream.position())
    }

    /// How far the stream has read that the waiting job `number` is for.
    pub fn told_of(&self, number: u32) -> Option<u64> {
        let job = self.dormant.iter().find(|record| record.number == number)?.job.as_ref()?;
        self.told(&job.stream)
    }

    /// Jobs of a run before this one that have not ended and that nobody took up yet.
    pub fn waiting_jobs(&self) -> Vec<StreamRecord> {
        self.dormant.iter().filter(|record| record.is_waiting_job()).cloned().collect()
    }

    /// Goes on with one of [`Self::waiting_jobs`].
    ///
    /// Returns the job's number and that of its stream.
    pub fn resume_job(
        &mut self,
        number: u32,
        skips: Skips,
    ) -> Result<(StreamNumber, StreamNumber), StreamError> {
        let is_it = |record: &StreamRecord| record.number == number && record.is_waiting_job();
        let found = self.dormant.iter().position(is_it);
        let found = found.ok_or(StreamError::UnknownJob { number })?;
        let Some(job) = self.dormant.get(found).and_then(|record| record.job.clone()) else {
            return Err(StreamError::UnknownJob { number });
        };
        let parent = self.number_of(&job.stream)?;
        let mut stream = Stream::recovered(self.dormant.swap_remove(found));
        self.equip(&mut stream, parent, job, skips);
        let number = stream.number;
        self.streams.insert(number, stream);
        self.checkpoint_wanted = true;
        Ok((number, parent))
    }

    fn equip(&self, stream: &mut Stream, parent: StreamNumber, record: JobRecord, skips: Skips) {
        let manner = Manner { priority: Priority::Backfill, ..Manner::default() };
        stream.priority = manner.priority;
        let retry = self.streams.get(&parent).map(|parent| parent.retry.clone());
        stream.retry = retry.unwrap_or(manner.retry);
        stream.job = Some(Job { record, skips });
    }

    /// Ends a job: what it has not sent is discarded and counted; what is under way is finished.
    pub fn cancel_job(&mut self, number: u32, now: Moment) -> Result<(), StreamError> {
        if let Some(record) = self
            .dormant
            .iter_mut()
            .find(|record| record.number == number && record.is_waiting_job())
        {
            if let Some(job) = &mut record.job {
                job.cancelled = true;
                job.ended_at = now.wall.as_millis();
            }
            self.checkpoint_wanted = true;
            return Ok(());
        }
        let number = StreamNumber(number);
        let Some(stream) = self.streams.get_mut(&number).filter(|stream| stream.job.is_some())
        else {
            return Err(StreamError::UnknownJob { number: number.0 });
        };
        stream.stop_here();
        if let Some(job) = &mut stream.job {
            job.record.cancelled = true;
        }
        for queued in self.lanes.remove_stream(number, now.monotonic) {
            let key = super::ending::let_go(stream, &queued.delivery, &queued.ticket, CANCELLED);
            super::note(&mut self.asides, Fate::Discarded, CANCELLED, key);
        }
        self.checkpoint_wanted = true;
        Ok(())
    }

    /// Puts away jobs that have read and finished everything.
    pub(super) fn retire_jobs(&mut self, now: Moment) {
        let done: Vec<StreamNumber> = self
            .streams
            .values()
            .filter(|stream| stream.is_job_done())
            .map(|stream| stream.number)
            .collect();
        for number in done {
            let Some(mut stream) = self.streams.remove(&number) else { continue };
            if let Some(job) = &mut stream.job {
                job.record.ended_at = now.wall.as_millis();
            }
            self.dormant.push(stream.record());
        }
        let past = |record: &StreamRecord| record.job.is_some() && !record.is_waiting_job();
        while self.dormant.iter().filter(|record| past(record)).count() > PAST_JOBS_MAX {
            let Some(oldest) = self.dormant.iter().position(past) else { break };
            self.dormant.remove(oldest);
        }
    }

    /// Whether a job has read and finished everything and is to be put away by a checkpoint.
    pub fn has_done_jobs(&self) -> bool {
        self.streams.values().any(Stream::is_job_done)
    }
}
