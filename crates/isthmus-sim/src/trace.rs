//! What happened, line by line: the last lines for people, a hash of all of them for comparing runs.

use isthmus_core::seam::{Clock, ManualClock};
use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh3::Xxh3;

/// The trace of one seed. Clones are the same trace.
#[derive(Clone)]
pub(crate) struct Trace {
    clock: ManualClock,
    written: Arc<Mutex<Written>>,
}

struct Written {
    step: u64,
    lines_max: usize,
    lines: VecDeque<String>,
    hash: Xxh3,
    broken: Option<String>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Trace")
    }
}

impl Trace {
    /// An empty trace that keeps its last `lines_max` lines.
    pub(crate) fn new(clock: ManualClock, lines_max: usize) -> Self {
        let (step, lines, hash, broken) = (0, VecDeque::new(), Xxh3::new(), None);
        let written = Written { step, lines_max, lines, hash, broken };
        Self { clock, written: Arc::new(Mutex::new(written)) }
    }

    /// The number of the step that everything from now on belongs to.
    pub(crate) fn set_step(&self, step: u64) {
        self.lock().step = step;
    }

    pub(crate) fn step(&self) -> u64 {
        self.lock().step
    }

    /// Adds a line.
    pub(crate) fn note(&self, text: impl Display) {
        let at = self.clock.monotonic();
        let mut written = self.lock();
        let (seconds, millis) = (at.as_secs(), at.subsec_millis());
        let line = format!("{:>5} {seconds:>7}.{millis:03}  {text}", written.step);
        written.hash.update(line.as_bytes());
        while written.lines.len() >= written.lines_max.max(1) {
            written.lines.pop_front();
        }
        written.lines.push_back(line);
    }

    /// Takes note that an invariant does not hold, seen where nothing can be returned.
    pub(crate) fn break_off(&self, invariant: String) {
        self.lock().broken.get_or_insert(invariant);
    }

    /// The invariant that [`Self::break_off`] was told of.
    pub(crate) fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// The last lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// A hash of every line so far.
    pub(crate) fn hash(&self) -> u64 {
        self.lock().hash.digest()
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
