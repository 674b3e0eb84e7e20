//! A campaign as somebody wrote it, and what was built of that.

use super::segment::Segment;
use crate::span::Span;
use crate::written::{DefinitionError, Members};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// How long after a message an event counts as a conversion, unless it says otherwise.
const CONVERSION_WITHIN: Duration = Duration::from_hours(72);

/// A message to the users of a segment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Campaign {
    pub(super) channel: Channel,
    pub(super) segment: Segment,
    /// The event that sends it to whoever performs it; without one, it is sent by hand.
    pub(super) trigger: Option<String>,
    /// In Liquid.
    pub(super) message: Option<String>,
    /// When a user may get it once more; without a time, never.
    pub(super) re_eligible_after: Option<Duration>,
    /// Share of the users who get nothing, to compare with.
    pub(super) control: f64,
    pub(super) conversion: Option<Conversion>,
    pub(super) engagement: Engagement,
}

/// Ways to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Channel {
    Email,
    Push,
    Sms,
    InAppMessage,
    ContentCard,
    Webhook,
}

/// What counts as success.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversion {
    pub(super) event: String,
    pub(super) within: Duration,
}

/// What users do with a message, each as a probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Engagement {
    /// Of messages that did not bounce.
    pub(super) delivered: f64,
    /// Of all messages.
    pub(super) bounced: f64,
    /// Of all messages; together with those above at most 1.
    pub(super) soft_bounced: f64,
    /// Of delivered ones.
    pub(super) opened: f64,
    /// Of opened ones; of an SMS, of delivered ones.
    pub(super) clicked: f64,
    /// Of opened ones.
    pub(super) unsubscribed: f64,
    /// Of delivered ones: opened by a mail server on behalf of nobody.
    pub(super) machine_opens: f64,
    /// How many times as fast as people everything goes.
    pub(super) speed: f64,
}

impl Campaign {
    /// Reads the definition of the campaign `name`.
    pub(super) fn read(name: &str, written: &Value) -> Result<Self, DefinitionError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let problem = format!("must have from 1 to {NAME_BYTES_MAX} bytes");
            return Err(DefinitionError::new("name", problem));
        }
        let mut members = Members::of("", written.clone())?;
        if members.take::<String>("name")?.is_some_and(|written| written != name) {
            return Err(members.wrong("name", format!("must be `{name}`, as in the path")));
        }
        let channel = members.need("channel")?;
        let segment = match members.value("segment") {
            Some(written) => Segment::read("segment", written)?,
            None => Segment::everybody(),
        };
        let trigger = match members.value("trigger") {
            Some(written) => {
                let mut trigger = Members::of("trigger", written)?;
                let event = trigger.need::<String>("event")?;
                trigger.end()?;
                Some(event)
            }
            None => None,
        };
        let campaign = Self {
            channel,
            segment,
            trigger,
            message: members.take("message")?,
            re_eligible_after: members.take::<Span>("re_eligible_after")?.map(|span| span.0),
            control: members.share("control", 0.0)?,
            conversion: members.value("conversion").map(Conversion::read).transpose()?,
            engagement: Engagement::read(channel, members.value("engagement"))?,
        };
        if let Some(message) = &campaign.message {
            crate::render::check(message).map_err(|error| members.wrong("message", error))?;
        }
        members.end()?;
        Ok(campaign)
    }
}

impl Conversion {
    fn read(written: Value) -> Result<Self, DefinitionError> {
        let mut members = Members::of("conversion", written)?;
        let event = members.need("event")?;
        let within = members.take::<Span>("within")?.map_or(CONVERSION_WITHIN, |span| span.0);
        members.end()?;
        Ok(Self { event, within })
    }
}

impl Channel {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Push => "push",
            Self::Sms => "sms",
            Self::InAppMessage => "in_app_message",
            Self::ContentCard => "content_card",
            Self::Webhook => "webhook",
        }
    }

    /// What can happen to its messages.
    fn engagements(self) -> &'static [&'static str] {
        match self {
            Self::Email => &[
                "delivered",
                "bounced",
                "soft_bounced",
                "opened",
                "clicked",
                "unsubscribed",
                "machine_opens",
            ],
            Self::Push => &["delivered", "bounced", "opened", "unsubscribed"],
            Self::Sms => &["delivered", "bounced", "clicked"],
            Self::InAppMessage | Self::ContentCard => &["opened", "clicked"],
            Self::Webhook => &["bounced"],
        }
    }
}

impl Engagement {
    fn read(channel: Channel, written: Option<Value>) -> Result<Self, DefinitionError> {
        let written = written.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let mut members = Members::of("engagement", written)?;
        let possible = channel.engagements();
        let share = |members: &mut Members, name: &'static str, otherwise| {
            if possible.contains(&name) {
                return members.share(name, otherwise);
            }
            match members.value(name) {
                Some(_) => {
                    let channel = channel.name();
                    Err(members.wrong(name, format!("is nothing that happens to {channel}")))
                }
                None => Ok(0.0),
            }
        };
        let engagement = Self {
            delivered: share(&mut members, "delivered", 1.0)?,
            bounced: share(&mut members, "bounced", 0.0)?,
            soft_bounced: share(&mut members, "soft_bounced", 0.0)?,
            opened: share(&mut members, "opened", 0.0)?,
            clicked: share(&mut members, "clicked", 0.0)?,
            unsubscribed: share(&mut members, "unsubscribed", 0.0)?,
            machine_opens: share(&mut members, "machine_opens", 0.0)?,
            speed: members.take("speed")?.unwrap_or(1.0),
        };
        if engagement.bounced + engagement.soft_bounced > 1.0 {
            return Err(members.wrong("soft_bounced", "is more than 1 together with bounced"));
        }
        if !(engagement.speed.is_finite() && engagement.speed > 0.0) {
            return Err(members.wrong("speed", "must be more than 0"));
        }
        members.end()?;
        Ok(engagement)
    }
}

#[cfg(test)]
mod tests;
