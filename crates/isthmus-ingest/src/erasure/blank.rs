//! What is left of a record once people are forgotten. Pure.

use super::Forgotten;
use isthmus_core::AmplitudeId;
use isthmus_core::record::{
    Applied, AppliedBatch, AppliedIdentify, Command, IntakeBatch, IntakeEvent,
};

/// A record that can forget.
pub(super) trait Blank {
    /// Blanks what is about these people; returns how many items or events that were.
    fn blank(&mut self, forgotten: &Forgotten) -> u64;
}

impl Blank for AppliedBatch<'_> {
    fn blank(&mut self, forgotten: &Forgotten) -> u64 {
        let mut erased = 0;
        for item in self.items.iter_mut().filter(|item| forgotten.concerns(item)) {
            *item = match item {
                Applied::Identify(identify) => group_rest(identify),
                _ => Applied::Erased,
            };
            erased += 1;
        }
        erased
    }
}

impl Blank for IntakeBatch<'_> {
    fn blank(&mut self, forgotten: &Forgotten) -> u64 {
        let project = self.project;
        let mut erased = 0;
        for event in self.events.iter_mut().filter(|event| forgotten.sent(project, event)) {
            *event = rest(event);
            erased += 1;
        }
        let theirs = |command: &&mut Command<'_>| forgotten.named(project, command);
        for command in self.commands.iter_mut().filter(theirs) {
            // Not removed, because places count it.
            *command = Command::erased();
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
