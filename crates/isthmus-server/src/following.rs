//! Following the files of Currents sources: one follower for each source that has some, started,
//! replaced and stopped as resources change.

use crate::assembly::{AssembledFiles, Assembly};
use anyhow::Context;
use isthmus_ingest::follow::{Follower, Ground, Tally, TallyView};
use isthmus_ingest::metrics::{FILES_LAG, FILES_PENDING};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

type Wanted = Arc<BTreeMap<String, AssembledFiles>>;

/// What the control API sees and asks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FollowingHandle {
    wanted: Arc<watch::Sender<Wanted>>,
    tallies: Tallies,
}

type Tallies = Arc<RwLock<BTreeMap<String, Arc<Tally>>>>;

impl FollowingHandle {
    /// Follows what `assembly` says from now on; who stays as they are go on.
    pub(crate) fn take_up(&self, assembly: &Assembly) {
        self.wanted.send_replace(Arc::new(assembly.files.clone()));
    }

    /// The files of `source`, if it has some.
    pub(crate) fn files(&self, source: &str) -> Option<AssembledFiles> {
        self.wanted.borrow().get(source).cloned()
    }

    /// What following those of `source` has come to since it began.
    pub(crate) fn view(&self, source: &str) -> Option<TallyView> {
        let tallies = self.tallies.read().unwrap_or_else(PoisonError::into_inner);
        tallies.get(source).map(|tally| tally.view())
    }
}

/// The part that follows.
pub(crate) struct Following {
    ground: Ground,
    wanted: watch::Receiver<Wanted>,
    tallies: Tallies,
    running: BTreeMap<String, Running>,
    ended: JoinSet<String>,
}

struct Running {
    files: AssembledFiles,
    stop: CancellationToken,
}

impl Following {
    /// A part that follows the files of `assembly` once it runs.
    pub(crate) fn new(ground: Ground, assembly: &Assembly) -> (Self, FollowingHandle) {
        let (sender, wanted) = watch::channel(Arc::new(assembly.files.clone()));
        let tallies = Tallies::default();
        let handle = FollowingHandle { wanted: Arc::new(sender), tallies: tallies.clone() };
        let (running, ended) = (BTreeMap::new(), JoinSet::new());
        (Self { ground, wanted, tallies, running, ended }, handle)
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let wanted = Arc::clone(&self.wanted.borrow_and_update());
            self.stop_all_but(&wanted).await?;
            for (source, files) in &*wanted {
                if !self.running.contains_key(source) {
                    self.start(source, files.clone());
                }
            }
            tokio::select! {
                // Both are cancel safe: a change that is not seen here is seen in the next round.
                changed = self.wanted.changed() => changed.context("nobody can ask any more")?,
                Some(ended) = self.ended.join_next() => {
                    let source = ended.context("a follower of files panicked")?;
                    anyhow::bail!("following the files of {source} ended by itself");
                }
                () = stop.cancelled() => break,
            }
        }
        self.stop_all_but(&BTreeMap::new()).await
    }

    /// Stops everything that is not wanted as it is, and waits for it.
    async fn stop_all_but(
        &mut self,
        wanted: &BTreeMap<String, AssembledFiles>,
    ) -> anyhow::Result<()> {
        let mut stopping = 0;
        self.running.retain(|source, running| {
            let stays = wanted.get(source) == Some(&running.files);
            if !stays {
                running.stop.cancel();
                stopping += 1;
            }
            stays
        });
        for _ in 0..stopping {
            let Some(ended) = self.ended.join_next().await else { break };
            let source = ended.context("a follower of files panicked")?;
            self.tallies.write().unwrap_or_else(PoisonError::into_inner).remove(&source);
            metrics::gauge!(FILES_PENDING, "source" => source.clone()).set(0.0);
            metrics::gauge!(FILES_LAG, "source" => source).set(0.0);
        }
        Ok(())
    }

    fn start(&mut self, source: &str, files: AssembledFiles) {
        let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
        let mut tallies = self.tallies.write().unwrap_or_else(PoisonError::into_inner);
        tallies.insert(source.to_owned(), tally.clone());
        let (ground, own, stopped) = (self.ground.clone(), source.to_owned(), stop.clone());
        let AssembledFiles { bucket, settings } = files.clone();
        self.ended.spawn(async move {
            Follower::follow(ground, &bucket, settings, tally, stopped).await;
            own
        });
        self.running.insert(source.to_owned(), Running { files, stop });
    }
}
