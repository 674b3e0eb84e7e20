//! What becomes of one message: drawn once, when it is sent. Pure.

use super::definition::{Channel, Engagement};
use crate::currents::draw;
use isthmus_core::seam::Random;
use std::time::Duration;

/// Something that happens to a message, and how long after it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) after: Duration,
    pub(super) what: What,
}

/// What happens, over all channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Sent,
    /// Handed over to a carrier.
    Carried,
    Delivered,
    Bounced,
    SoftBounced,
    MachineOpened,
    /// Opened, or seen.
    Opened,
    Clicked,
    Unsubscribed,
}

impl What {
    /// The event type that tells it, on a channel on which it happens.
    pub(super) fn event_type(self, channel: Channel) -> Option<&'static str> {
        Some(match (channel, self) {
            (Channel::Email, Self::Sent) => "users.messages.email.Send",
            (Channel::Email, Self::Delivered) => "users.messages.email.Delivery",
            (Channel::Email, Self::Bounced) => "users.messages.email.Bounce",
            (Channel::Email, Self::SoftBounced) => "users.messages.email.SoftBounce",
            (Channel::Email, Self::Opened | Self::MachineOpened) => "users.messages.email.Open",
            (Channel::Email, Self::Clicked) => "users.messages.email.Click",
            (Channel::Email, Self::Unsubscribed) => "users.messages.email.Unsubscribe",
            (Channel::Push, Self::Sent) => "users.messages.pushnotification.Send",
            (Channel::Push, Self::Bounced) => "users.messages.pushnotification.Bounce",
            (Channel::Push, Self::Opened) => "users.messages.pushnotification.Open",
            (Channel::Sms, Self::Sent) => "users.messages.sms.Send",
            (Channel::Sms, Self::Carried) => "users.messages.sms.CarrierSend",
            (Channel::Sms, Self::Delivered) => "users.messages.sms.Delivery",
            (Channel::Sms, Self::Bounced) => "users.messages.sms.DeliveryFailure",
            (Channel::Sms, Self::Clicked) => "users.messages.sms.ShortLinkClick",
            (Channel::InAppMessage, Self::Opened) => "users.messages.inappmessage.Impression",
            (Channel::InAppMessage, Self::Clicked) => "users.messages.inappmessage.Click",
            (Channel::ContentCard, Self::Sent) => "users.messages.contentcard.Send",
            (Channel::ContentCard, Self::Opened) => "users.messages.contentcard.Impression",
            (Channel::ContentCard, Self::Clicked) => "users.messages.contentcard.Click",
            (Channel::Webhook, Self::Sent) => "users.messages.webhook.Send",
            (Channel::Webhook, Self::Bounced) => "users.messages.webhook.Failure",
            _ => return None,
        })
    }
}

/// The event type that tells of a message that gave up on itself.
pub(super) fn abort_type(channel: Channel) -> &'static str {
    match channel {
        Channel::Email => "users.messages.email.Abort",
        Channel::Push => "users.messages.pushnotification.Abort",
        Channel::Sms => "users.messages.sms.Abort",
        Channel::InAppMessage => "users.messages.inappmessage.Abort",
        Channel::ContentCard => "users.messages.contentcard.Abort",
        Channel::Webhook => "users.messages.webhook.Abort",
    }
}

/// Draws what becomes of a message, in the order in which it happens.
pub(super) fn plan(channel: Channel, engagement: &Engagement, random: &dyn Random) -> Vec<Step> {
    let mut plan = Plan { steps: Vec::new(), engagement, random };
    plan.add(Duration::ZERO, What::Sent);
    match channel {
        Channel::Email => plan.email(),
        Channel::Push => plan.push(),
        Channel::Sms => plan.sms(),
        Channel::InAppMessage | Channel::ContentCard => plan.card(),
        Channel::Webhook => {
            if draw(engagement.bounced, random) {
                plan.after(Duration::ZERO, 100, 2_000, What::Bounced);
            }
        }
    }
    let mut steps = plan.steps;
    steps.sort_by_key(|step| (step.after, step.what));
    steps
}

struct Plan<'a> {
    steps: Vec<Step>,
    engagement: &'a Engagement,
    random: &'a dyn Random,
}

impl Plan<'_> {
    fn add(&mut self, after: Duration, what: What) {
        self.steps.push(Step { after, what });
    }

    /// Adds something that happens between `least` and `most` milliseconds of people's time after
    /// `from`; when.
    fn after(&mut self, from: Duration, least: u64, most: u64, what: What) -> Duration {
        let millis = Duration::from_millis(least + self.random.below(most - least));
        let after = from + millis.div_f64(self.engagement.speed);
        self.add(after, what);
        after
    }

    /// The same when it is quicker for most: the shorter half of the time, twice in three.
    fn soon_after(&mut self, from: Duration, least: u64, most: u64, what: What) -> Duration {
        let most = if self.random.below(3) == 0 { most } else { least + (most - least) / 20 };
        self.after(from, least, most, what)
    }

    fn email(&mut self) {
        let random = self.random;
        // One draw decides between the two, as a message does not bounce twice.
        let bounced = draw(self.engagement.bounced, random);
        let rest = 1.0 - self.engagement.bounced;
        if bounced {
            self.after(Duration::ZERO, 1_000, 10_000, What::Bounced);
            return;
        }
        if rest > 0.0 && draw(self.engagement.soft_bounced / rest, random) {
            self.after(Duration::ZERO, 2_000, 60_000, What::SoftBounced);
            return;
        }
        if !draw(self.engagement.delivered, random) {
            return;
        }
        let delivered = self.after(Duration::ZERO, 500, 5_000, What::Delivered);
        if draw(self.engagement.machine_opens, random) {
            self.after(delivered, 1_000, 30_000, What::MachineOpened);
        }
        if draw(self.engagement.opened, random) {
            let opened = self.soon_after(delivered, 20_000, 6 * 3_600_000, What::Opened);
            if draw(self.engagement.clicked, random) {
                self.after(opened, 2_000, 60_000, What::Clicked);
            }
            if draw(self.engagement.unsubscribed, random) {
                self.after(opened, 5_000, 120_000, What::Unsubscribed);
            }
        }
    }

    fn push(&mut self) {
        let random = self.random;
        if draw(self.engagement.bounced, random) {
            self.after(Duration::ZERO, 200, 2_000, What::Bounced);
        } else if draw(self.engagement.delivered, random) && draw(self.engagement.opened, random) {
            let opened = self.soon_after(Duration::ZERO, 3_000, 3_600_000, What::Opened);
            if draw(self.engagement.unsubscribed, random) {
                self.after(opened, 5_000, 120_000, What::Unsubscribed);
            }
        }
    }

    fn sms(&mut self) {
        let random = self.random;
        let carried = self.after(Duration::ZERO, 100, 1_000, What::Carried);
        if draw(self.engagement.bounced, random) {
            self.after(carried, 500, 10_000, What::Bounced);
        } else if draw(self.engagement.delivered, random) {
            let delivered = self.after(carried, 500, 5_000, What::Delivered);
            if draw(self.engagement.clicked, random) {
                self.soon_after(delivered, 5_000, 3_600_000, What::Clicked);
            }
        }
    }

    fn card(&mut self) {
        let random = self.random;
        if draw(self.engagement.opened, random) {
            let opened = self.soon_after(Duration::ZERO, 5_000, 24 * 3_600_000, What::Opened);
            if draw(self.engagement.clicked, random) {
                self.after(opened, 1_000, 20_000, What::Clicked);
            }
        }
    }
}

#[cfg(test)]
mod tests;
