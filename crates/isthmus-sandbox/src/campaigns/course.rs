//! What happens to a message after it was sent.

use super::definition::Channel;
use super::engagement::{Step, What};
use super::{Campaigns, facts};
use crate::currents::{Event, Exporter, Kind};
use crate::model::{Moment, UserKey, Workspace};
use isthmus_core::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Something that will happen to a message.
#[derive(Debug)]
pub(super) struct Due {
    campaign: String,
    channel: Channel,
    who: UserKey,
    what: What,
    at: Timestamp,
    /// What was known when the message was sent.
    known: Arc<Map<String, Value>>,
}

impl Due {
    pub(super) fn campaign(&self) -> &str {
        &self.campaign
    }
}

impl Campaigns {
    /// Puts the steps of a message on the agenda; the first is due now.
    pub(super) fn schedule(
        &mut self,
        who: UserKey,
        campaign: &str,
        channel: Channel,
        known: &Map<String, Value>,
        steps: Vec<Step>,
        now: Moment,
    ) {
        let known = Arc::new(known.clone());
        for Step { after, what } in steps {
            let (campaign, known) = (campaign.to_owned(), known.clone());
            let due = Due { campaign, channel, who, what, at: now.wall.plus(after), known };
            self.agenda.insert((now.elapsed + after, self.added), due);
            self.added += 1;
        }
    }

    /// Lets everything happen that is due.
    pub(crate) fn proceed(
        &mut self,
        workspace: &mut Workspace,
        exporter: &Exporter<'_>,
        now: Moment,
        out: &mut Vec<Event>,
    ) {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= now.elapsed
        {
            let due = entry.remove();
            if let Some(running) = self.by_name.get_mut(&due.campaign) {
                running.counts.count(due.what);
            }
            due.happen(workspace, exporter, now, out);
        }
    }
}

impl Due {
    fn happen(
        &self,
        workspace: &mut Workspace,
        exporter: &Exporter<'_>,
        now: Moment,
        out: &mut Vec<Event>,
    ) {
        let mut known = self.known.as_ref().clone();
        // Who was identified meanwhile has an external id by now; who is gone is told of as known
        // then.
        if let Some(user) = workspace.directory().get(self.who) {
            known.extend(exporter.facts(user));
        }
        facts::of(&mut known, self.what);
        if let Some(kind) = self.what.event_type(self.channel).and_then(Kind::of) {
            out.push(exporter.event(kind, self.at, &known));
        }
        if self.what == What::Unsubscribed {
            out.push(self.unsubscribe(workspace, exporter, known, now));
        }
    }

    /// The user is unsubscribed from the channel, everywhere.
    fn unsubscribe(
        &self,
        workspace: &mut Workspace,
        exporter: &Exporter<'_>,
        mut known: Map<String, Value>,
        now: Moment,
    ) -> Event {
        let (field, address) = match self.channel {
            Channel::Push => ("push_subscribe", "push_token"),
            _ => ("email_subscribe", "email_address"),
        };
        workspace.unsubscribe(self.who, field, now);
        known.insert("channel".to_owned(), self.channel.name().into());
        if let Some(address) = known.get(address).cloned() {
            known.insert("channel_identifier".to_owned(), address);
        }
        if self.channel == Channel::Push {
            known.insert("state_change_source".to_owned(), "SDK".into());
        }
        let kind = Kind::of("users.behaviors.subscription.GlobalStateChange");
        exporter.event(kind.expect("in the catalogue"), self.at, &known)
    }
}
