//! What can be seen of a campaign.

use super::engagement::What;
use serde::Serialize;
use serde_json::Value;

/// A campaign as `/_sandbox/campaigns` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CampaignView {
    pub name: String,
    /// As it was written.
    pub definition: Value,
    pub counts: Counts,
}

/// What came of a campaign: users, messages and what happened to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub sent: u64,
    pub delivered: u64,
    pub bounced: u64,
    pub soft_bounced: u64,
    /// Opened, or seen.
    pub opened: u64,
    pub machine_opened: u64,
    pub clicked: u64,
    pub unsubscribed: u64,
    pub converted: u64,
    /// Messages that gave up on themselves, or could not be rendered.
    pub aborted: u64,
    /// Users held back to compare with.
    pub control: u64,
    /// Users who got it before and may not get it again yet.
    pub not_eligible: u64,
    /// Users without an address on the channel, or unsubscribed from it.
    pub unreachable: u64,
    /// Users who were gone when their message was to be sent.
    pub gone: u64,
}

impl Counts {
    pub(super) fn count(&mut self, what: What) {
        let counter = match what {
            What::Sent => &mut self.sent,
            // Neither a message more nor one delivered.
            What::Carried => return,
            What::Delivered => &mut self.delivered,
            What::Bounced => &mut self.bounced,
            What::SoftBounced => &mut self.soft_bounced,
            What::MachineOpened => &mut self.machine_opened,
            What::Opened => &mut self.opened,
            What::Clicked => &mut self.clicked,
            What::Unsubscribed => &mut self.unsubscribed,
        };
        *counter += 1;
    }
}

/// A sending by hand, as it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Started {
    /// The same in all of its messages.
    pub dispatch_id: String,
    /// Users in the segment.
    pub in_segment: u64,
    /// Messages on their way.
    pub queued: u64,
}

/// One message, sent or given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    pub at: String,
    pub campaign: String,
    pub channel: &'static str,
    pub dispatch_id: String,
    pub braze_id: String,
    pub external_id: Option<String>,
    /// As rendered, as much as is kept of it; of a campaign without a message, nothing.
    pub body: Option<String>,
    /// Why it was not sent.
    pub aborted: Option<String>,
}
