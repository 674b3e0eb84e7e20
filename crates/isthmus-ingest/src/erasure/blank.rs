//! What is left of a record once people are forgotten. Pure.

use super::Forgotten;
use crate::currents::Beside;
use bumpalo::Bump;
use isthmus_core::AmplitudeId;
use isthmus_core::record::{
    Applied, AppliedBatch, AppliedIdentify, Command, IntakeBatch, IntakeEvent, Unusable,
};

/// A record that can forget.
pub(super) trait Blank<'a> {
    /// Blanks what is about these people; returns how many items or events that were. What has to be
    /// written anew is kept in `arena`.
    fn blank(&mut self, forgotten: &Forgotten, arena: &'a Bump) -> u64;
}

impl<'a> Blank<'a> for AppliedBatch<'a> {
    fn blank(&mut self, forgotten: &Forgotten, _: &'a Bump) -> u64 {
        let mut erased = 0;
        for item in &mut self.items {
            if forgotten.concerns(item) {
                *item = match item {
                    Applied::Identify(identify) => group_rest(identify),
                    _ => Applied::Erased,
                };
                erased += 1;
            } else if let Applied::Event(event) = item
                && let Some(currents) = &mut event.currents
                && forgotten.has_braze_id(event.project, currents.braze_id)
            {
                // Somebody else's, by an id that counts for more.
                currents.braze_id = None;
                erased += 1;
            }
        }
        erased
    }
}

impl<'a> Blank<'a> for IntakeBatch<'a> {
    fn blank(&mut self, forgotten: &Forgotten, arena: &'a Bump) -> u64 {
        let project = self.project;
        let is_currents = self.currents.is_some();
        let mut erased = 0;
        for event in &mut self.events {
            let beside = is_currents.then(|| Beside::read(event.fields));
            if forgotten.sent(project, event, beside.as_ref()) {
                *event = rest(event);
                erased += 1;
            } else if let Some(beside) = beside
                && forgotten.has_braze_id(project, beside.braze_id.as_deref())
            {
                let without = Beside { braze_id: None, ..beside };
                event.fields = without.write().map(|fields| &*arena.alloc_str(&fields));
                erased += 1;
            }
        }
        let theirs = |command: &&mut Command<'_>| forgotten.named(project, command);
        for command in self.commands.iter_mut().filter(theirs) {
            // Not removed, because places count it.
            *command = Command::erased();
            erased += 1;
        }
        let unusable = self.currents.iter_mut().flat_map(|currents| &mut currents.unusable);
        for unusable in unusable.filter(|unusable| forgotten.named_in(project, unusable.raw)) {
            *unusable = Unusable::erased();
            erased += 1;
        }
        // A request that was about nobody else came from their address, or may have.
        let others = self.events.iter().any(|event| event.user_id.or(event.device_id).is_some());
        if erased > 0 && !others {
            self.remote_address = None;
        }
        erased
    }
}

/// The item that [`rest`] gives when it is applied.
fn group_rest<'a>(identify: &AppliedIdentify<'a>) -> Applied<'a> {
    if identify.event_type != "$groupidentify" {
        return Applied::Erased;
    }
    Applied::Identify(AppliedIdentify {
        user: AmplitudeId::NOBODY,
        user_id: None,
        device_id: None,
        insert_id: None,
        session_id: None,
        event_id: None,
        event_properties: None,
        user_properties: None,
        fields: None,
        remote_address: None,
        skip_user_properties_sync: false,
        ..identify.clone()
    })
}

/// What of a forgotten person's event is not about them: properties of a group.
fn rest<'a>(event: &IntakeEvent<'a>) -> IntakeEvent<'a> {
    if event.event_type != "$groupidentify" {
        return IntakeEvent::erased();
    }
    IntakeEvent {
        event_type: event.event_type,
        time: event.time,
        groups: event.groups,
        group_properties: event.group_properties,
        ..IntakeEvent::default()
    }
}
