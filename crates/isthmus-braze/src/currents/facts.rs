//! What most event types have in common, read from the raw properties in one walk.

use super::label;
use super::received::{Received, scalar};
use isthmus_core::json;
use std::borrow::Cow;

/// The typed facts of one event. Each is absent where the event does not say it; ids are the text
/// that Braze's API knows the object by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts<'a> {
    pub campaign_id: Option<Cow<'a, str>>,
    /// May lag behind edits by an hour; identify by id.
    pub campaign_name: Option<Cow<'a, str>>,
    pub canvas_id: Option<Cow<'a, str>>,
    pub canvas_name: Option<Cow<'a, str>>,
    pub canvas_step_id: Option<Cow<'a, str>>,
    pub canvas_variation_id: Option<Cow<'a, str>>,
    pub message_variation_id: Option<Cow<'a, str>>,
    /// One transmission.
    pub dispatch_id: Option<Cow<'a, str>>,
    /// Only where the customer names sends.
    pub send_id: Option<Cow<'a, str>>,
    pub app_id: Option<Cow<'a, str>>,
    /// The workspace.
    pub app_group_id: Option<Cow<'a, str>>,
    pub subscription_group_id: Option<Cow<'a, str>>,
    /// `email`, `push`, `sms`, `in_app_message`, `content_card`, `webhook`, ...: from the event
    /// type, and where that names none, what the event says.
    pub channel: Option<Cow<'a, str>>,
    /// `send`, `delivery`, `open`, `click`, `bounce`, `unsubscribe`, ...: from the event type.
    pub action: Cow<'a, str>,
    /// The link that was clicked.
    pub url: Option<Cow<'a, str>>,
    pub link_id: Option<Cow<'a, str>>,
    pub link_alias: Option<Cow<'a, str>>,
}

/// Reads the facts of `event`.
pub fn facts<'a>(event: &'a Received<'_>) -> Facts<'a> {
    let mut facts = Facts::new(&event.event_type);
    for (key, value) in json::members(&event.properties) {
        facts.take(&key, value);
    }
    facts
}

impl<'a> Facts<'a> {
    /// What the type alone says.
    pub(super) fn new(event_type: &'a str) -> Self {
        let known = super::catalogue::known(event_type);
        let action = known.map_or_else(
            || Cow::Owned(label::action_of(event_type)),
            |known| Cow::Borrowed(known.action.as_str()),
        );
        Self {
            channel: label::channel_of(event_type).map(Cow::Borrowed),
            action,
            ..Self::default()
        }
    }

    /// Takes one property.
    pub(super) fn take(&mut self, key: &str, raw: &'a str) {
        let place = match key {
            "campaign_id" => &mut self.campaign_id,
            "campaign_name" => &mut self.campaign_name,
            "canvas_id" => &mut self.canvas_id,
            "canvas_name" => &mut self.canvas_name,
            "canvas_step_id" => &mut self.canvas_step_id,
            "canvas_variation_id" => &mut self.canvas_variation_id,
            "message_variation_id" => &mut self.message_variation_id,
            "dispatch_id" => &mut self.dispatch_id,
            "send_id" => &mut self.send_id,
            "app_id" => &mut self.app_id,
            "app_group_id" => &mut self.app_group_id,
            "subscription_group_id" => &mut self.subscription_group_id,
            "channel" if self.channel.is_none() => &mut self.channel,
            "url" => &mut self.url,
            "link_id" => &mut self.link_id,
            "link_alias" => &mut self.link_alias,
            _ => return,
        };
        *place = scalar(raw).filter(|text| !text.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::super::received::read_batch;
    use super::*;

    fn of(event_type: &str, properties: &str) -> String {
        let body = format!(
            r#"{{"events":[{{"event_type":"{event_type}","id":"a","time":1,"properties":{properties}}}]}}"#
        );
        let batch = read_batch(body.as_bytes()).expect("a batch");
        let Some(Ok(event)) = batch.first() else { panic!("not an event: {batch:?}") };
        let facts = facts(event);
        let ids = [facts.campaign_id, facts.canvas_id, facts.send_id, facts.url];
        let ids: Vec<_> = ids.iter().map(|id| id.as_deref().unwrap_or("-")).collect();
        let channel = facts.channel.as_deref().unwrap_or("-").to_owned();
        format!("{channel} {} {}", facts.action, ids.join(" "))
    }

    #[test]
    fn facts_are_read_from_type_and_properties() {
        let click = r#"{"campaign_id":"c","canvas_id":null,"send_id":"","url":"https:\/\/x"}"#;
        assert_eq!(of("users.messages.email.Click", click), "email click c - - https://x");
        let global = "users.behaviors.subscription.GlobalStateChange";
        assert_eq!(of(global, r#"{"channel":"sms"}"#), "sms global_state_change - - - -");
        assert_eq!(of(global, "{}"), "- global_state_change - - - -");
        let send = r#"{"channel":"email","campaign_id":7}"#;
        assert_eq!(of("users.messages.kiosk.LinkOpened", send), "kiosk link_opened 7 - - -");
    }
}
