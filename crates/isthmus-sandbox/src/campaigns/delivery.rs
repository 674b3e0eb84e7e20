//! From a user in the segment to a message that is sent.

use super::definition::{Campaign, Channel};
use super::engagement::{abort_type, plan};
use super::view::{Message, Started};
use super::{Campaigns, Receipt, Running, facts};
use crate::currents::{Event, Exporter, Kind, draw};
use crate::model::{Happening, Moment, OccurrenceKind, User, UserKey, Workspace};
use crate::render::Rendered;
use serde_json::{Map, Value, json};

/// How much of a message is kept, in characters.
const BODY_KEPT: usize = 4_000;

/// A message to one user, before it is rendered.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    campaign: String,
    who: UserKey,
    dispatch_id: String,
    /// Of the event that triggered it.
    event_properties: Map<String, Value>,
    age: u64,
}

/// What rendering a message needs.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) template: String,
    pub(crate) braze_id: String,
    pub(crate) event_properties: Map<String, Value>,
}

impl Delivery {
    pub(super) fn campaign(&self) -> &str {
        &self.campaign
    }
}

impl Campaigns {
    /// Sends a campaign to everybody who is in its segment now; `None` without such a campaign.
    pub(crate) fn send(
        &mut self,
        name: &str,
        workspace: &Workspace,
        exporter: &Exporter<'_>,
        now: Moment,
        out: &mut Vec<Event>,
    ) -> Option<Started> {
        let age = self.age;
        let running = self.by_name.get_mut(name)?;
        let mut started = Started { dispatch_id: dispatch_id(exporter), in_segment: 0, queued: 0 };
        for (who, user) in workspace.directory().iter() {
            if !running.campaign.segment.holds(workspace, who, now.wall) {
                continue;
            }
            started.in_segment += 1;
            let dispatch_id = started.dispatch_id.clone();
            let event_properties = Map::new();
            let campaign = name.to_owned();
            let delivery = Delivery { campaign, who, dispatch_id, event_properties, age };
            if running.admit(&delivery, user, exporter, now, out) {
                started.queued += 1;
                self.outgoing.push_back(delivery);
            }
        }
        Some(started)
    }

    /// Takes note of an event: it may be what a campaign hoped for, or what triggers one.
    pub(crate) fn hear(
        &mut self,
        happening: &Happening,
        workspace: &Workspace,
        exporter: &Exporter<'_>,
        now: Moment,
        out: &mut Vec<Event>,
    ) {
        let (who, occurrence) = (happening.who, &happening.occurrence);
        let Some(user) = workspace.directory().get(who) else { return };
        if occurrence.kind != OccurrenceKind::Event {
            return;
        }
        for (name, running) in &mut self.by_name {
            out.extend(running.convert(name, happening, user, exporter, now));
            let campaign = &running.campaign;
            if campaign.trigger.as_ref() != Some(&occurrence.name)
                || !campaign.segment.holds(workspace, who, now.wall)
            {
                continue;
            }
            let delivery = Delivery {
                campaign: name.clone(),
                who,
                dispatch_id: dispatch_id(exporter),
                event_properties: serde_json::from_str(&occurrence.properties).unwrap_or_default(),
                age: self.age,
            };
            if running.admit(&delivery, user, exporter, now, out) {
                self.outgoing.push_back(delivery);
            }
        }
    }

    /// The next message to be sent.
    pub(crate) fn next_delivery(&mut self) -> Option<Delivery> {
        self.outgoing.pop_front()
    }

    /// What must be rendered first; nothing for a campaign without a message.
    pub(crate) fn draft(&self, delivery: &Delivery, workspace: &Workspace) -> Option<Draft> {
        let template = self.by_name.get(&delivery.campaign)?.campaign.message.clone()?;
        let braze_id = workspace.directory().get(delivery.who)?.braze_id.clone();
        let event_properties = delivery.event_properties.clone();
        Some(Draft { template, braze_id, event_properties })
    }

    /// Sends a message that was rendered, and draws what becomes of it.
    pub(crate) fn deliver(
        &mut self,
        delivery: &Delivery,
        rendered: Option<Result<Rendered, String>>,
        workspace: &Workspace,
        exporter: &Exporter<'_>,
        now: Moment,
        out: &mut Vec<Event>,
    ) {
        if delivery.age != self.age {
            return;
        }
        let Some(running) = self.by_name.get_mut(&delivery.campaign) else { return };
        let Some(user) = workspace.directory().get(delivery.who) else {
            running.counts.gone += 1;
            return;
        };
        let (body, aborted) = match rendered {
            None => (None, None),
            Some(Ok(Rendered { aborted: Some(reason), .. })) => (None, Some(reason)),
            Some(Ok(rendered)) => (Some(rendered.output.chars().take(BODY_KEPT).collect()), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let channel = running.campaign.channel;
        let mut known = exporter.facts(user);
        let (name, dispatch_id) = (&delivery.campaign, &delivery.dispatch_id);
        facts::of_campaign(&mut known, exporter, name, dispatch_id);
        let message = Message {
            at: now.wall.to_string(),
            campaign: name.clone(),
            channel: channel.name(),
            dispatch_id: dispatch_id.clone(),
            braze_id: user.braze_id.clone(),
            external_id: user.external_id.clone(),
            body,
            aborted: aborted.clone(),
        };
        if let Some(reason) = aborted {
            running.counts.aborted += 1;
            facts::of_abort(&mut known, &reason);
            let kind = Kind::of(abort_type(channel)).expect("the catalogue has aborts");
            out.push(exporter.event(kind, now.wall, &known));
        } else {
            let steps = plan(channel, &running.campaign.engagement, exporter.random);
            self.schedule(delivery.who, name, channel, &known, steps, now);
        }
        self.record(message);
    }
}

impl Running {
    /// Whether the user gets the message. Who gets it, or is held back, is remembered at once, so
    /// that a second event does not send a second one.
    fn admit(
        &mut self,
        delivery: &Delivery,
        user: &User,
        exporter: &Exporter<'_>,
        now: Moment,
        out: &mut Vec<Event>,
    ) -> bool {
        if let Some(receipt) = self.received.get(&delivery.who) {
            let since = now.elapsed.saturating_sub(receipt.at);
            if self.campaign.re_eligible_after.is_none_or(|after| since < after) {
                self.counts.not_eligible += 1;
                return false;
            }
        }
        if !self.campaign.reaches(user) {
            self.counts.unreachable += 1;
            return false;
        }
        let dispatch_id = delivery.dispatch_id.clone();
        let receipt = Receipt { at: now.elapsed, dispatch_id, has_converted: false };
        self.received.insert(delivery.who, receipt);
        if draw(self.campaign.control, exporter.random) {
            self.counts.control += 1;
            let mut known = exporter.facts(user);
            facts::of_campaign(&mut known, exporter, &delivery.campaign, &delivery.dispatch_id);
            let kind = Kind::of("users.campaigns.EnrollInControl").expect("in the catalogue");
            out.push(exporter.event(kind, now.wall, &known));
            return false;
        }
        true
    }

    /// The conversion that an event is, if it is what the campaign hoped for and in time.
    fn convert(
        &mut self,
        name: &str,
        happening: &Happening,
        user: &User,
        exporter: &Exporter<'_>,
        now: Moment,
    ) -> Option<Event> {
        let conversion = self.campaign.conversion.as_ref()?;
        let receipt = self.received.get_mut(&happening.who)?;
        let since = now.elapsed.saturating_sub(receipt.at);
        if receipt.has_converted
            || conversion.event != happening.occurrence.name
            || since > conversion.within
        {
            return None;
        }
        receipt.has_converted = true;
        self.counts.converted += 1;
        let mut known = exporter.facts(user);
        facts::of_campaign(&mut known, exporter, name, &receipt.dispatch_id);
        let behavior = json!({
            "type": "Performs Custom Event",
            "window": conversion.within.as_secs(),
            "custom_event_name": conversion.event,
        });
        known.insert("conversion_behavior_index".to_owned(), json!(0));
        known.insert("conversion_behavior".to_owned(), behavior.to_string().into());
        let kind = Kind::of("users.campaigns.Conversion").expect("in the catalogue");
        Some(exporter.event(kind, happening.time, &known))
    }
}

impl Campaign {
    /// Whether there is an address on the channel, and the user wants to be written to.
    fn reaches(&self, user: &User) -> bool {
        let has = |field: &str| user.standard.get(field).is_some_and(Value::is_string);
        let wants =
            |field: &str| user.standard.get(field).and_then(Value::as_str) != Some("unsubscribed");
        match self.channel {
            Channel::Email => has("email") && wants("email_subscribe"),
            Channel::Push => !user.push_tokens.is_empty() && wants("push_subscribe"),
            Channel::Sms => has("phone"),
            Channel::InAppMessage | Channel::ContentCard | Channel::Webhook => true,
        }
    }
}

/// 32 hexadecimal digits.
fn dispatch_id(exporter: &Exporter<'_>) -> String {
    let (high, low) = (exporter.random.next_u64(), exporter.random.next_u64());
    format!("{high:016x}{low:016x}")
}
