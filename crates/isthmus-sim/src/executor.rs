//! Tasks that are polled by hand, one at a time: whoever holds them decides which one goes on.
//!
//! It polls only what was woken. A part that forgets to wake somebody stands still here, as it
//! would anywhere else.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Set by a wake, cleared by the poll that follows.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    woken: Arc<Flag>,
}

/// Everything that runs in one life of the program. Dropping it drops every future where it is.
pub(crate) struct Tasks<T> {
    tasks: BTreeMap<u64, Task<T>>,
    next: u64,
}

impl<T> Tasks<T> {
    pub(crate) fn new() -> Self {
        Self { tasks: BTreeMap::new(), next: 0 }
    }

    /// Adds a task, which is polled for the first time when its turn comes.
    pub(crate) fn add(&mut self, future: impl Future<Output = T> + 'static) {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        self.tasks.insert(self.next, Task { future: Box::pin(future), woken });
        self.next += 1;
    }

    /// The tasks that have something to do, oldest first.
    pub(crate) fn woken(&self) -> Vec<u64> {
        let woken = self.tasks.iter().filter(|(_, task)| task.woken.0.load(Ordering::Relaxed));
        woken.map(|(id, _)| *id).collect()
    }

    /// Polls one task once; returns what it ended with, if it did.
    pub(crate) fn poll(&mut self, id: u64) -> Option<T> {
        let task = self.tasks.get_mut(&id)?;
        task.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.woken));
        match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => {
                self.tasks.remove(&id);
                Some(outcome)
            }
            Poll::Pending => None,
        }
    }
}
