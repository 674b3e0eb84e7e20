//! The mirror on the engine's side: opened, and kept up with the journal.

use super::{Engine, EngineError, Why, Writing};
use crate::dispatcher::RequestId;
use crate::journal::Entry;
use crate::mirror::{Finding, Keeper, KeeperError, MirrorStore};
use crate::remapping::Remapping;
use isthmus_state::mirror::Doubt;
use std::sync::Arc;

impl Engine {
    /// Sends only what differs from what users were told, by `store`. `mappings` stands for what the
    /// streams are: where it is another one after a crash, users of requests that were open then
    /// cannot be found, and all are forgotten.
    pub fn mirroring_in(
        mut self,
        store: Arc<dyn MirrorStore>,
        mappings: u64,
    ) -> Result<Self, EngineError> {
        let names = self.dispatcher.stream_names();
        let streams = names.into_iter().filter_map(|(number, name, parent)| {
            Some((number.0, (name, self.reading.mapping(parent)?)))
        });
        let mut finding = Finding {
            destination: &*self.parts.destination,
            remapping: Remapping::new(self.parts.source.clone()),
            streams: streams.collect(),
            dead_letters: &*self.parts.dead_letters,
        };
        let keeper = Keeper::open(Arc::clone(&store), mappings, &*self.parts.journal, &mut finding);
        let keeper = keeper.map_err(|error| match error {
            KeeperError::State(source) => EngineError::Mirror(source),
            KeeperError::Journal(source) => {
                EngineError::Journal { destination: self.parts.name.clone(), source }
            }
        })?;
        self.dispatcher.mirror_in(store);
        self.mirror = Some(keeper);
        Ok(self)
    }

    /// Keeps what users were told when the request ended.
    pub(super) fn keep_told(&mut self, request: RequestId) -> Result<(), EngineError> {
        let changes = self.dispatcher.take_told();
        let Some(mirror) = &mut self.mirror else { return Ok(()) };
        mirror.ended(request, &changes).map_err(EngineError::Mirror)
    }

    /// Forgets what is doubted of users; returns of how many of them something was known.
    pub(super) fn forget(&mut self, doubts: &[Doubt], why: Why) -> Result<u64, EngineError> {
        let Some(mirror) = &mut self.mirror else { return Ok(0) };
        if why == Why::NotThere {
            mirror.was_wrong(&*self.parts.journal).map_err(EngineError::Mirror)?;
        }
        mirror.forget(doubts).map_err(EngineError::Mirror)
    }

    /// The entry at `position` is on disk: its requests are about to leave.
    pub(super) fn mark_written(
        &mut self,
        position: u64,
        written: &Writing,
    ) -> Result<(), EngineError> {
        let Some(mirror) = &mut self.mirror else { return Ok(()) };
        let requests = written.requests.iter().map(|prepared| prepared.id);
        mirror.written(position, requests, &*self.parts.journal).map_err(EngineError::Mirror)?;
        if matches!(written.entry, Entry::Checkpoint(_)) {
            mirror.keep_mark().map_err(EngineError::Mirror)?;
        }
        Ok(())
    }
}
