//! Keeps what is known of deliveries over time in order, and says how much of it there is: minutes
//! become hours, old samples go, and metrics that only change on disk are set.

use crate::deliveries::DeliveriesHandle;
use crate::metrics::QUARANTINED;
use crate::observe;
use isthmus_core::seam::Clock;
use isthmus_delivery::history::StoredHistory;
use isthmus_delivery::metrics::DEAD_LETTERS;
use isthmus_state::StateError;
use isthmus_state::dead_letters::DeadLetters;
use isthmus_state::quarantine::Quarantine;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often metrics are set, and those that summarise are folded.
const METRICS_EVERY: Duration = Duration::from_secs(5);
/// Rounds of metrics from one tidying of the history to the next: reading is right without it.
const ROUNDS_BEFORE_TIDYING: u32 = 120;
/// Dead letters of one stream are counted up to here, so that counting never takes long.
const DEAD_LETTERS_COUNTED_MAX: usize = 10_000;

/// The part that does so.
pub(crate) struct Upkeep {
    pub(crate) history: StoredHistory,
    pub(crate) deliveries: DeliveriesHandle,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) quarantine: Quarantine,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Upkeep {
    /// Tidies at once, for the time that the server was not there, and then now and then.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut round = 0u32;
        let mut sources = BTreeSet::new();
        loop {
            if round.is_multiple_of(ROUNDS_BEFORE_TIDYING) {
                self.tidy();
            }
            round = round.wrapping_add(1);
            self.count_dead_letters();
            if let Err(error) = self.count_quarantined(&mut sources) {
                tracing::error!(%error, "quarantine not counted");
            }
            observe::metrics().run_upkeep();
            tokio::select! {
                () = self.clock.sleep(METRICS_EVERY) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    fn tidy(&self) {
        let now = self.clock.now();
        let StoredHistory { history, samples } = &self.history;
        if let Err(error) = history.roll_up(now).and_then(|()| samples.forget(now)) {
            tracing::error!(%error, "delivery history not tidied");
        }
    }

    /// `sources` are those that had entries before, and may have none by now.
    fn count_quarantined(&self, sources: &mut BTreeSet<String>) -> Result<(), StateError> {
        sources.extend(self.quarantine.sources()?);
        for source in &*sources {
            let count = u32::try_from(self.quarantine.count(source)).unwrap_or(u32::MAX);
            metrics::gauge!(QUARANTINED, "source" => source.clone()).set(f64::from(count));
        }
        Ok(())
    }

    fn count_dead_letters(&self) {
        for served in self.deliveries.served().into_values() {
            for stream in &served.streams {
                let name = &stream.resource.name;
                let count = self.dead_letters.count(name, DEAD_LETTERS_COUNTED_MAX);
                metrics::gauge!(DEAD_LETTERS, "stream" => name.clone())
                    .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
            }
        }
    }
}
