//! Following: what is new is read, for ever.

use super::bucket::{Bucket, BucketSettings};
use super::listing::{Found, Listing};
use super::reading::{Ended, Ground, Reading, innermost};
use super::tally::Tally;
use crate::metrics as names;
use futures_util::StreamExt;
use futures_util::stream;
use isthmus_core::Timestamp;
use isthmus_state::StateError;
use isthmus_state::currents_files::{BucketRecord, FileRecord, Standing, day_of};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Files that are read at once: while one waits for its bytes, another is decoded.
pub(super) const FILES_AT_ONCE: usize = 4;
/// Files that are gathered from a listing before they are read, oldest first.
const GATHERED_MAX: usize = 256;
/// Files that are tried again at each look; more of them are found when everything is listed.
const AGAIN_MAX: usize = 1_000;
/// Days after which a file is forgotten that no listing shows.
const FORGET_DAYS: u32 = 30;

/// How a source's files are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerSettings {
    pub source: String,
    /// Between two looks for new files.
    pub poll: Duration,
    /// Between two listings of everything, where that is much.
    pub list_everything: Duration,
    /// Whether what is there at the first look is read too.
    pub from_the_beginning: bool,
    /// How long after its last change a file that ends in the middle may still be being written.
    pub settle: Duration,
}

/// Follows one bucket or folder.
pub struct Follower {
    reading: Reading,
    listing: Listing,
    settings: FollowerSettings,
    /// What could not be read and is tried again, by address.
    again: BTreeMap<String, Found>,
    /// When everything was listed last, on the monotonic clock.
    listed_at: Option<Duration>,
    looked_at: Duration,
}

/// Why a look for files ended early.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("{}", innermost(.0))]
    Store(#[from] object_store::Error),
    #[error(transparent)]
    State(#[from] StateError),
}

impl Follower {
    /// A follower of `bucket` that counts in `tally`.
    pub fn new(
        ground: Ground,
        bucket: Bucket,
        settings: FollowerSettings,
        tally: Arc<Tally>,
        stop: CancellationToken,
    ) -> Self {
        let reading = Reading {
            ground,
            source: settings.source.as_str().into(),
            bucket: bucket.clone(),
            tally,
            stop,
            settle: settings.settle,
            dry_run: false,
        };
        let looked_at = reading.ground.clock.monotonic();
        Self {
            reading,
            listing: Listing::new(bucket),
            settings,
            again: BTreeMap::new(),
            listed_at: None,
            looked_at,
        }
    }

    /// Follows what `bucket` names until it is asked to stop. What cannot be opened, for example because it
    /// is not mounted yet, is tried again at each look.
    pub async fn follow(
        ground: Ground,
        bucket: &BucketSettings,
        settings: FollowerSettings,
        tally: Arc<Tally>,
        stop: CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let error = match Bucket::open(bucket) {
                Ok(bucket) => return Self::new(ground, bucket, settings, tally, stop).run().await,
                Err(error) => error,
            };
            if tally.view().error.is_none() {
                tracing::warn!(source = settings.source, %error, "files cannot be followed");
            }
            let now = ground.clock.now();
            tally.change(|view| view.error = Some((now, error.to_string())));
            tokio::select! {
                () = ground.clock.sleep(settings.poll) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Follows until it is asked to stop.
    pub async fn run(mut self) {
        let (clock, stop) = (self.reading.ground.clock.clone(), self.reading.stop.clone());
        while !stop.is_cancelled() {
            self.look().await;
            tokio::select! {
                () = clock.sleep(self.settings.poll) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Looks for files once, and reads what it finds.
    pub async fn look(&mut self) {
        let source = self.settings.source.clone();
        let failed_before = self.reading.tally.view().error.is_some();
        let outcome = self.look_through().await;
        let view = self.reading.tally.view();
        let now = self.reading.ground.clock.now();
        if let Err(error) = outcome {
            if failed_before {
                tracing::debug!(source, %error, "files still cannot be listed");
            } else {
                tracing::warn!(source, %error, "files cannot be listed");
            }
            self.reading.tally.change(|view| view.error = Some((now, error.to_string())));
        } else {
            let is_well = self.again.is_empty();
            self.reading.tally.change(|view| {
                view.looked_at = Some(now);
                view.error = view.error.take().filter(|_| !is_well);
            });
        }
        let lag = view.oldest_pending.map_or(Duration::ZERO, |oldest| now.since(oldest));
        metrics::gauge!(names::FILES_LAG, "source" => source.clone()).set(lag.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a gauge; bounded by what is gathered")]
        metrics::gauge!(names::FILES_PENDING, "source" => source).set(view.files_pending as f64);
    }

    async fn look_through(&mut self) -> Result<(), LookError> {
        let again: Vec<_> = std::mem::take(&mut self.again).into_values().collect();
        if !again.is_empty() {
            self.read_again(again).await?;
        }
        let elapsed = |at: Duration| self.now_monotonic().saturating_sub(at);
        let everything = self.listing.is_small()
            || self.listed_at.is_none_or(|at| elapsed(at) >= self.settings.list_everything);
        if everything { self.list_everything().await } else { self.list_recent().await }
    }

    /// Reads `files` as they are in the bucket now: what was not settled may have grown.
    async fn read_again(&mut self, files: Vec<Found>) -> Result<(), LookError> {
        let mut present = Vec::new();
        for found in files {
            let bucket = self.listing.bucket().clone();
            let path = found.path.clone();
            let one = Bucket { prefix: Some(path), one_file: true, ..bucket };
            match Listing::new(one).everything().next().await {
                Some(Ok(now)) => present.extend(self.wanted(now, true)?),
                Some(Err(object_store::Error::NotFound { .. })) | None => {
                    self.reading.tally.gone(&found.address);
                }
                Some(Err(error)) => self.settle(found, Ended::Failed(innermost(&error))),
            }
        }
        self.read(present).await;
        Ok(())
    }

    async fn list_recent(&mut self) -> Result<(), LookError> {
        self.looked_at = self.now_monotonic();
        let found = self.listing.recent(self.reading.ground.clock.now()).await?;
        let mut unread = Vec::new();
        for found in found {
            unread.extend(self.wanted(found, self.settings.from_the_beginning)?);
        }
        self.read(unread).await;
        Ok(())
    }

    async fn list_everything(&mut self) -> Result<(), LookError> {
        let started = self.now_monotonic();
        let address = self.listing.bucket().address();
        let files = self.reading.ground.files.clone();
        let now = self.reading.ground.clock.now();
        let known = files.bucket(&self.settings.source, &address)?;
        let new =
            BucketRecord { begun_at: now.as_millis(), listed: false, tidied_day: day_of(now) };
        if known.is_none() {
            files.put_bucket(&self.settings.source, &address, &new)?;
        }
        let mut bucket = known.unwrap_or(new);
        let passes = !bucket.listed && !self.settings.from_the_beginning;
        let begun_at = Timestamp::from_millis(bucket.begun_at);
        let mut listed = self.listing.everything();
        let (mut count, mut gathered) = (0_u64, Vec::new());
        while let Some(found) = listed.next().await {
            let found = found?;
            count += 1;
            self.listing.learn(&found);
            let is_old = found.modified < begun_at;
            if let Some((found, record)) = self.wanted(found, self.settings.from_the_beginning)? {
                if passes && is_old && record.entries == 0 {
                    let passed = FileRecord { standing: Standing::Passed, ..record };
                    self.reading.tally.done(&found.address, found.modified);
                    files.put_file(&self.settings.source, &found.address, &passed)?;
                } else {
                    gathered.push((found, record));
                }
            }
            if gathered.len() >= GATHERED_MAX {
                self.read(std::mem::take(&mut gathered)).await;
                let is_due =
                    self.now_monotonic().saturating_sub(self.looked_at) >= self.settings.poll;
                if is_due && !self.listing.is_small() {
                    // A long listing keeps nothing new waiting.
                    self.list_recent().await?;
                }
            }
            if self.reading.stop.is_cancelled() {
                return Ok(());
            }
        }
        self.read(gathered).await;
        if self.reading.stop.is_cancelled() {
            return Ok(());
        }
        self.listing.learn_all(count);
        self.listed_at = Some(started);
        let today = day_of(now);
        let tidies = bucket.tidied_day != today;
        if tidies {
            let source = &self.settings.source;
            let forgotten = files.forget_before(source, today.saturating_sub(FORGET_DAYS))?;
            tracing::debug!(source, forgotten, "files forgotten that are not there any more");
        }
        if tidies || !bucket.listed {
            bucket = BucketRecord { listed: true, tidied_day: today, ..bucket };
            files.put_bucket(&self.settings.source, &address, &bucket)?;
        }
        Ok(())
    }

    /// `found`, where something of it has to be read.
    fn wanted(
        &self,
        found: Found,
        passed_too: bool,
    ) -> Result<Option<(Found, FileRecord)>, StateError> {
        if self.again.contains_key(&found.address) {
            return Ok(None);
        }
        let unread = self.reading.unread(&found, passed_too)?;
        if unread.is_some() {
            self.reading.tally.found(&found.address, found.modified);
        } else {
            self.reading.tally.done(&found.address, found.modified);
        }
        Ok(unread.map(|record| (found, record)))
    }

    /// Reads `files`, the oldest hours first.
    async fn read(&mut self, mut files: Vec<(Found, FileRecord)>) {
        files.sort_by_key(|(found, _)| (found.hour, found.modified));
        let readings = files.into_iter().map(|(found, record)| {
            let reading = self.reading.clone();
            async move { (found.clone(), reading.read(found, record).await) }
        });
        let readings: Vec<_> = readings.collect();
        let mut ended = stream::iter(readings).buffer_unordered(FILES_AT_ONCE);
        while let Some((found, ended)) = ended.next().await {
            self.settle(found, ended);
        }
    }

    fn settle(&mut self, found: Found, ended: Ended) {
        let (source, now) = (&self.settings.source, self.reading.ground.clock.now());
        match ended {
            Ended::Done => self.reading.tally.done(&found.address, found.modified),
            Ended::Gone => self.reading.tally.gone(&found.address),
            Ended::Stopped => {}
            Ended::Unsettled => self.try_again(found),
            Ended::Failed(reason) => {
                tracing::warn!(source, file = found.address, reason, "file cannot be read yet");
                let error = format!("{}: {reason}", found.address);
                self.reading.tally.change(|view| view.error = Some((now, error)));
                self.try_again(found);
            }
        }
    }

    fn try_again(&mut self, found: Found) {
        if self.again.len() < AGAIN_MAX {
            self.again.insert(found.address.clone(), found);
        }
    }

    fn now_monotonic(&self) -> Duration {
        self.reading.ground.clock.monotonic()
    }
}
