//! Campaigns: messages to the users of a segment, and what these do with them.
//!
//! In reading order:
//! - `definition`, `segment`: a campaign as somebody wrote it, and whom it is for.
//! - `engagement`: what becomes of one message, drawn when it is sent.
//! - `delivery`: from a user in the segment to a message that is sent; `course`: what happens to
//!   it later; `facts`: what events say about it.
//! - `view`: what can be seen of a campaign.
//! - `api`: `/_sandbox/campaigns`; [`CampaignsHandle`]: the same from the same process.
//!
//! Nothing here waits or does I/O: messages are rendered, and time passes, in `outbound`.

mod api;
mod course;
mod definition;
mod delivery;
mod engagement;
mod facts;
mod handle;
mod segment;
mod view;

pub use self::handle::CampaignsHandle;
pub use self::view::{CampaignView, Counts, Message, Started};

pub(crate) use self::api::routes;
pub(crate) use self::delivery::{Delivery, Draft};

use self::course::Due;
use self::definition::Campaign;
use crate::model::UserKey;
use crate::written::DefinitionError;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// Campaigns of one workspace.
const CAMPAIGNS_MAX: usize = 1_000;
/// Messages that are kept to be looked at.
const MESSAGES_KEPT: usize = 1_000;

/// The campaigns of a workspace, and the messages on their way.
#[derive(Debug, Default)]
pub(crate) struct Campaigns {
    by_name: BTreeMap<String, Running>,
    /// What happens to messages, by the time at which it does.
    agenda: BTreeMap<(Duration, u64), Due>,
    added: u64,
    /// Messages to be rendered and sent.
    outgoing: VecDeque<Delivery>,
    log: VecDeque<Message>,
    /// Grows with every reset: what is rendered across one is not sent.
    age: u64,
}

/// A campaign with what came of it.
#[derive(Debug)]
struct Running {
    written: Value,
    campaign: Campaign,
    counts: Counts,
    received: HashMap<UserKey, Receipt>,
}

/// That a user got a message, or was held back to compare with.
#[derive(Debug)]
struct Receipt {
    at: Duration,
    dispatch_id: String,
    has_converted: bool,
}

impl Campaigns {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Defines a campaign, anew or otherwise than before. Who got it is remembered.
    pub(crate) fn put(&mut self, name: &str, written: &Value) -> Result<(), DefinitionError> {
        let campaign = Campaign::read(name, written)?;
        if let Some(running) = self.by_name.get_mut(name) {
            (running.campaign, running.written) = (campaign, written.clone());
            return Ok(());
        }
        if self.by_name.len() >= CAMPAIGNS_MAX {
            let problem = format!("there are {CAMPAIGNS_MAX} campaigns already");
            return Err(DefinitionError::new("", problem));
        }
        let (counts, received) = (Counts::default(), HashMap::new());
        let running = Running { written: written.clone(), campaign, counts, received };
        self.by_name.insert(name.to_owned(), running);
        Ok(())
    }

    /// Removes a campaign with its messages on their way; whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.agenda.retain(|_, due| due.campaign() != name);
        self.outgoing.retain(|delivery| delivery.campaign() != name);
        self.by_name.remove(name).is_some()
    }

    /// Forgets who got what; the campaigns themselves stay.
    pub(crate) fn reset(&mut self) {
        let by_name = std::mem::take(&mut self.by_name);
        let fresh = |running: Running| Running {
            counts: Counts::default(),
            received: HashMap::new(),
            ..running
        };
        let by_name = by_name.into_iter().map(|(name, running)| (name, fresh(running))).collect();
        *self = Self { by_name, age: self.age + 1, ..Self::default() };
    }

    /// When something happens to a message.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.agenda.keys().next().map(|(due, _)| *due)
    }

    /// The latest messages first, of one campaign or of all.
    pub(crate) fn messages<'a>(
        &'a self,
        campaign: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Message> {
        let is_meant =
            move |message: &&Message| campaign.is_none_or(|name| message.campaign == name);
        self.log.iter().rev().filter(is_meant)
    }

    pub(crate) fn views(&self) -> Vec<CampaignView> {
        self.by_name.iter().map(|(name, running)| running.view(name)).collect()
    }

    pub(crate) fn view(&self, name: &str) -> Option<CampaignView> {
        self.by_name.get(name).map(|running| running.view(name))
    }

    fn record(&mut self, message: Message) {
        self.log.push_back(message);
        if self.log.len() > MESSAGES_KEPT {
            self.log.pop_front();
        }
    }
}

impl Running {
    fn view(&self, name: &str) -> CampaignView {
        CampaignView {
            name: name.to_owned(),
            definition: self.written.clone(),
            counts: self.counts.clone(),
        }
    }
}
