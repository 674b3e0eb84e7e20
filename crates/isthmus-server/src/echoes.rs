//! The loop guard: what isthmus told Braze and Currents brings back is recognised, and settles what
//! became of objects of which nobody knew.

use crate::deliveries::DeliveriesHandle;
use isthmus_braze::currents::{self, Received};
use isthmus_core::Place;
use isthmus_core::destination::{Destination, Message};
use isthmus_core::record::{Applied, AppliedBatch};
use isthmus_core::seam::Clock;
use isthmus_delivery::journal::Decision;
use isthmus_ingest::door::{self, Recognised};
use isthmus_log::Log;
use isthmus_state::StateError;
use isthmus_state::dead_letters::{Cause, DeadLetter, DeadLetters};
use isthmus_state::echoes::{Echoes, SentObject};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often objects of unknown outcome are compared with what came back.
const SETTLE_EVERY: Duration = Duration::from_secs(2);
/// Dead letters that are looked at together.
const PAGE: usize = 500;
/// Rounds of settling from one tidying to the next.
const ROUNDS_BEFORE_TIDYING: u32 = 1_800;
/// What the ledger says of how it was learned.
const TOLD_BACK: &str = "Braze told of it through Currents";

/// Recognises what came back.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) echoes: Echoes,
    /// Where the items are that were sent.
    pub(crate) events: Log,
}

impl door::Echoes for Guard {
    fn recognise(
        &self,
        destination: Option<&str>,
        events: &[Received<'_>],
    ) -> Vec<Option<Recognised>> {
        let recognise = |event: &Received<'_>| {
            let destination = destination?;
            // An event that is not recognised is stored nevertheless, and told of once too often.
            self.find(destination, event).unwrap_or_else(|error| {
                tracing::error!(destination, %error, "echoes cannot be recognised");
                None
            })
        };
        events.iter().map(recognise).collect()
    }
}

impl Guard {
    /// What we told `destination` that `event` is the echo of, if it is one; and notes that it was
    /// heard.
    fn find(
        &self,
        destination: &str,
        event: &Received<'_>,
    ) -> Result<Option<Recognised>, StateError> {
        // Whoever was told of under an alias may be identified by now.
        let keys = [currents::echo_key(event), currents::echo_key_of_anyone(event)];
        for key in keys.into_iter().flatten().flat_map(currents::Echo::candidates) {
            let sent = self.echoes.find(destination, key.0)?;
            let Some(newest) = sent.first() else { continue };
            // Of several that say the same within one second there is no telling which came back.
            if sent.len() == 1 && !newest.heard {
                self.echoes.hear(destination, key.0, newest)?;
            }
            let device_id =
                if event.external_user_id.is_some() { None } else { self.device_of(newest.place) };
            let SentObject { stream, place, part, .. } = newest;
            return Ok(Some(Recognised {
                destination: destination.to_owned(),
                stream: stream.clone(),
                place: *place,
                part: *part,
                device_id,
            }));
        }
        Ok(None)
    }

    /// Device id of the event at `place`, because Currents knows nothing of aliases; none where it
    /// is trimmed or erased.
    fn device_of(&self, place: Place) -> Option<String> {
        let record = self.events.reader(place.offset).ok()?.next().ok()??;
        if record.offset != place.offset {
            return None;
        }
        let batch = AppliedBatch::decode(&record.payload).ok()?;
        match batch.items.get(usize::try_from(place.index).ok()?)? {
            Applied::Event(event) if !event.device_id_derived => Some(event.device_id.to_owned()),
            _ => None,
        }
    }
}

/// The part that settles objects of unknown outcome by what came back.
pub(crate) struct Settling {
    echoes: Echoes,
    deliveries: DeliveriesHandle,
    dead_letters: DeadLetters,
    clock: Arc<dyn Clock>,
}

impl Settling {
    pub(crate) fn new(
        echoes: Echoes,
        deliveries: &DeliveriesHandle,
        dead_letters: &DeadLetters,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let (deliveries, dead_letters) = (deliveries.clone(), dead_letters.clone());
        Self { echoes, deliveries, dead_letters, clock: clock.clone() }
    }

    /// Settles now and then, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut round = 0u32;
        loop {
            if round.is_multiple_of(ROUNDS_BEFORE_TIDYING)
                && let Err(error) = self.echoes.forget(self.clock.now())
            {
                tracing::error!(%error, "what was sent long ago is not forgotten");
            }
            round = round.wrapping_add(1);
            tokio::select! {
                () = self.clock.sleep(SETTLE_EVERY) => {}
                () = stop.cancelled() => return Ok(()),
            }
            tokio::select! {
                () = self.settle() => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn settle(&self) {
        for (destination, served) in self.deliveries.served() {
            if !served.destination.told_back {
                continue;
            }
            let vendor = served.destination.vendor.destination();
            for stream in &served.handle.status().streams {
                if stream.counts.parked == 0 {
                    continue;
                }
                let heard = self.heard(&destination, &stream.name, &*vendor);
                let letters = match heard {
                    Ok(letters) if letters.is_empty() => continue,
                    Ok(letters) => letters,
                    Err(error) => {
                        tracing::error!(%error, "dead letters cannot be compared with echoes");
                        continue;
                    }
                };
                let (count, reason) = (letters.len(), TOLD_BACK.to_owned());
                let settled =
                    served.handle.decide(&stream.name, letters, Decision::Confirm, reason).await;
                match settled {
                    Ok(_) => tracing::info!(
                        destination,
                        stream = &*stream.name,
                        count,
                        "objects of unknown outcome were delivered: Currents told of them"
                    ),
                    Err(error) => tracing::warn!(destination, %error, "echo settles nothing"),
                }
            }
        }
    }

    /// Letters of `stream` whose outcome was unknown and that the vendor told of.
    fn heard(
        &self,
        destination: &str,
        stream: &str,
        vendor: &dyn Destination,
    ) -> Result<Vec<DeadLetter>, StateError> {
        let (mut heard, mut after) = (Vec::new(), None);
        loop {
            let page = self.dead_letters.list(stream, after, PAGE)?;
            after = page.last().map(|letter| (letter.place, letter.part));
            let ends = page.len() < PAGE;
            for letter in page {
                if letter.cause == Cause::Unknown && self.was_heard(destination, vendor, &letter)? {
                    heard.push(letter);
                }
            }
            if ends || heard.len() >= PAGE {
                return Ok(heard);
            }
        }
    }

    fn was_heard(
        &self,
        destination: &str,
        vendor: &dyn Destination,
        letter: &DeadLetter,
    ) -> Result<bool, StateError> {
        let message = Message {
            lane: letter.lane,
            section: letter.section,
            name: String::new(),
            payload: letter.payload.clone(),
            guarantee: letter.guarantee,
            after: None,
        };
        let Some(key) = vendor.echo_key(&message) else { return Ok(false) };
        let sent = self.echoes.find(destination, key)?;
        let is_it = |sent: &SentObject| {
            sent.heard && sent.place == letter.place && sent.part == letter.part
        };
        Ok(sent.iter().any(is_it))
    }
}
