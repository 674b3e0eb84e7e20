//! Dead letters of a time, mapped anew and sent again: what the mapping, or the user, has become
//! since may be taken now.

use super::Shared;
use crate::deliveries::Served;
use isthmus_core::Place;
use isthmus_core::destination::{Mapped, Message};
use isthmus_delivery::dead_letters::{DeadLetterStore, LetterChange};
use isthmus_delivery::dispatcher::StreamError;
use isthmus_delivery::engine::ControlError;
use isthmus_delivery::journal::Decision;
use isthmus_delivery::remapping::Remapping;
use isthmus_delivery::source::event_log::EventLog;
use isthmus_state::dead_letters::{DeadLetter, Past};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Letters handed to the engine at once.
const CHUNK: usize = 500;
/// How long to wait before more is handed to a stream that has enough to send.
const FULL_RETRY: Duration = Duration::from_millis(200);
/// Who decided, for the ledger.
const BY: &str = "replay";

/// Dead letters that are to be sent again.
#[derive(Debug, Clone, Default)]
pub(super) struct LettersPlan {
    objects: Arc<Vec<(Place, u16)>>,
}

impl LettersPlan {
    pub(super) fn new(objects: impl Iterator<Item = (Place, u16)>) -> Self {
        Self { objects: Arc::new(objects.collect()) }
    }

    pub(super) fn len(&self) -> u64 {
        self.objects.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Sends them again, chunk by chunk, as long as `report` says so; it is told how many were sent
    /// and how many stay dead letters.
    pub(super) async fn send(
        &self,
        shared: &Arc<Shared>,
        served: &Served,
        mut report: impl FnMut(u64, u64) -> bool,
    ) -> anyhow::Result<()> {
        let (mut done, mut refused) = (0, 0);
        for chunk in self.objects.chunks(CHUNK) {
            if !report(done, refused) {
                return Ok(());
            }
            let (chunk, ours, owned) = (chunk.to_vec(), shared.clone(), served.clone());
            let mapped =
                tokio::task::spawn_blocking(move || map_again(&ours, &owned, &chunk)).await??;
            for (stream, letters) in mapped.letters {
                loop {
                    let (letters, by) = (letters.clone(), BY.to_owned());
                    match served.handle.decide(&stream, letters, Decision::Resend, by).await {
                        Ok(decided) => {
                            done += decided.objects as u64;
                            break;
                        }
                        Err(ControlError::Stream(StreamError::Full { .. })) => {
                            if !report(done, refused) {
                                return Ok(());
                            }
                            shared.clock.sleep(FULL_RETRY).await;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            refused += mapped.refused;
        }
        report(done, refused);
        Ok(())
    }
}

struct MappedAgain {
    letters: BTreeMap<String, Vec<DeadLetter>>,
    refused: u64,
}

/// The letters of `objects` as the mapping gives them now, stored; those that the vendor would refuse
/// again are counted and stay as they are.
fn map_again(
    shared: &Shared,
    served: &Served,
    objects: &[(Place, u16)],
) -> anyhow::Result<MappedAgain> {
    let mut remapping = Remapping::new(Arc::new(EventLog::new(shared.events.clone())));
    let mut again = MappedAgain { letters: BTreeMap::new(), refused: 0 };
    let (mut changes, now) = (Vec::new(), shared.clock.now());
    for stream in &served.streams {
        let name = &stream.resource.name;
        for (place, part) in objects {
            let Some(mut letter) = shared.dead_letters.get(name, *place, *part)? else { continue };
            let mapped = remapping.map(&*stream.mapping.mapping(), *place)?;
            let mapped = mapped.and_then(|mapped| mapped.into_iter().nth(usize::from(*part)));
            match mapped {
                Some(Mapped::Deliver(message)) if message.lane == letter.lane => {
                    let changed = message.payload != letter.payload;
                    (letter.payload, letter.section) = (message.payload, message.section);
                    if changed {
                        let what = "mapped again".to_owned();
                        letter.history.push(Past { at: now.as_millis(), what });
                        changes.push(LetterChange::Keep(letter.clone()));
                    }
                }
                // Another user, or none any more: whoever it was, it is not this letter's.
                Some(_) => {
                    again.refused += 1;
                    continue;
                }
                // The item is not kept any more: the letter is all there is.
                None => {}
            }
            if served.destination.vendor.check(&message_of(&letter)).is_err() {
                again.refused += 1;
                continue;
            }
            again.letters.entry(name.clone()).or_default().push(letter);
        }
    }
    DeadLetterStore::apply(&shared.dead_letters, changes)?;
    Ok(again)
}

fn message_of(letter: &DeadLetter) -> Message {
    Message {
        lane: letter.lane,
        section: letter.section,
        name: letter.name.clone(),
        payload: letter.payload.clone(),
        guarantee: letter.guarantee,
        after: None,
    }
}
