//! Threads that give way: what they do may wait a moment, and whoever asks something may not.
//!
//! Uploads are decoded here, and the applier, the finder and the state engine's own threads work here.
//! Where the cores are not enough for everybody, those who ask for a profile while a message is rendered
//! come first. With a core free, nothing is different.

use anyhow::Context;
use std::future::Future;
use std::num::NonZero;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// How far they give way: with the others at work, they get about a tenth of what those get.
const NICE: i32 = 10;

/// Makes this thread, and those that it will start, give way.
pub(crate) fn give_way() {
    // On Linux this is about the thread alone; elsewhere it would be about the process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "thread does not give way");
    }
}

/// Threads that give way, for work of which somebody waits for the end.
#[derive(Debug, Clone)]
pub(crate) struct Background(Arc<Threads>);

#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Background {
    /// As many threads as there are cores.
    pub(crate) fn new(name: &'static str) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores)
            .thread_name(name)
            .on_thread_start(give_way)
            .enable_all()
            .build()
            .with_context(|| format!("{name} has no threads"))?;
        Ok(Self(Arc::new(Threads(Some(runtime)))))
    }

    /// What `work` came to; `None` when it panicked. Goes on when nobody waits any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.0.0.as_ref()?.spawn(work).await.ok()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Dropping it would wait, which is not allowed where async code runs; nobody waits for what it
        // does, or there were somebody who holds it.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_on_threads_that_give_way_and_a_panic_ends_only_itself() {
        let background = Background::new("test").unwrap();
        let nice = || async { rustix::process::getpriority_process(None).unwrap() };
        assert_eq!(background.run(nice()).await, Some(NICE));
        assert_ne!(nice().await, NICE);
        assert_eq!(background.run(async { panic!("a bug") }).await, None::<()>);
        assert_eq!(background.run(async { 7 }).await, Some(7));
    }
}
