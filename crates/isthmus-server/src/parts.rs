//! The parts of the running server: started here, joined here, stopped in the order of the data.

use crate::background::give_way;
use anyhow::{Context, anyhow};
use isthmus_core::seam::Clock;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Parts in the order of the data: the first started is the first stopped.
pub struct Parts {
    clock: Arc<dyn Clock>,
    running: Vec<Part>,
    /// Cancelled when a part ends by itself, which ends the server.
    ended: CancellationToken,
}

struct Part {
    name: &'static str,
    stop: CancellationToken,
    deadline: Duration,
    result: oneshot::Receiver<anyhow::Result<()>>,
}

impl Parts {
    /// No parts yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, running: Vec::new(), ended: CancellationToken::new() }
    }

    /// Starts `run` on the shared threads. Asked to stop, it has until `deadline`.
    pub fn start<F, R>(&mut self, name: &'static str, deadline: Duration, run: F)
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (stop, work) = self.register(name, deadline);
        let future = run(stop);
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where tasks are started and joined"
        )]
        drop(tokio::spawn(async move { work.finish(future.await) }));
    }

    /// Starts `run` on a thread of its own that gives way to those who ask something, for parts that
    /// compute for milliseconds on end.
    pub fn start_on_thread<F, R>(
        &mut self,
        name: &'static str,
        deadline: Duration,
        run: F,
    ) -> anyhow::Result<()>
    where
        F: FnOnce(CancellationToken) -> R + Send + 'static,
        R: Future<Output = anyhow::Result<()>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .with_context(|| format!("part {name} has no runtime"))?;
        let (stop, work) = self.register(name, deadline);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                give_way();
                work.finish(runtime.block_on(run(stop)));
            })
            .with_context(|| format!("part {name} has no thread"))?;
        Ok(())
    }

    fn register(&mut self, name: &'static str, deadline: Duration) -> (CancellationToken, Work) {
        let stop = CancellationToken::new();
        let (sender, result) = oneshot::channel();
        self.running.push(Part { name, stop: stop.clone(), deadline, result });
        (stop, Work { sender, _ended: self.ended.clone().drop_guard() })
    }

    /// Waits until `stop`, or until a part ends by itself; then stops every part in turn.
    ///
    /// Returns the first failure.
    pub async fn run_until(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.ended.cancelled() => {}
        }
        let mut outcome = Ok(());
        for part in &mut self.running {
            let started = self.clock.monotonic();
            part.stop.cancel();
            let result = tokio::select! {
                result = &mut part.result => {
                    result.unwrap_or_else(|_| Err(anyhow!("{} panicked", part.name)))
                }
                () = self.clock.sleep(part.deadline) => {
                    Err(anyhow!("{} did not stop within {:?}", part.name, part.deadline))
                }
            };
            let took = self.clock.monotonic().saturating_sub(started);
            tracing::debug!(part = part.name, ?took, "part stopped");
            if let Err(error) = result {
                tracing::error!(part = part.name, error = format!("{error:#}"), "part failed");
                if outcome.is_ok() {
                    outcome = Err(error.context(format!("part {} failed", part.name)));
                }
            }
        }
        outcome
    }
}

/// Reports how a part ended; a panic drops it, which counts as an end too.
struct Work {
    sender: oneshot::Sender<anyhow::Result<()>>,
    _ended: DropGuard,
}

impl Work {
    fn finish(self, result: anyhow::Result<()>) {
        // The receiver is gone only when the server gave up waiting for this part.
        drop(self.sender.send(result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemClock;
    use std::sync::Mutex;

    #[tokio::test]
    async fn parts_stop_in_the_order_they_were_started() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut parts = Parts::new(Arc::new(SystemClock::new()));
        for name in ["door", "applier", "delivery"] {
            let order = order.clone();
            parts.start(name, Duration::from_secs(5), |stop| async move {
                stop.cancelled().await;
                order.lock().unwrap().push(name);
                Ok(())
            });
        }
        let stop = CancellationToken::new();
        stop.cancel();
        parts.run_until(stop).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["door", "applier", "delivery"]);
    }

    #[tokio::test]
    async fn the_first_part_to_fail_stops_the_others_and_is_named() {
        let mut parts = Parts::new(Arc::new(SystemClock::new()));
        parts.start("door", Duration::from_secs(5), |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        parts.start("applier", Duration::from_secs(5), |_| async { anyhow::bail!("disk is gone") });
        let error = parts.run_until(CancellationToken::new()).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "part applier failed: disk is gone");
    }

    #[tokio::test]
    async fn a_part_that_panics_stops_the_server() {
        let mut parts = Parts::new(Arc::new(SystemClock::new()));
        parts.start("door", Duration::from_secs(5), |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        parts
            .start_on_thread("applier", Duration::from_secs(5), |_| async {
                panic!("a bug");
            })
            .unwrap();
        let error = parts.run_until(CancellationToken::new()).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "part applier failed: applier panicked");
    }
}
