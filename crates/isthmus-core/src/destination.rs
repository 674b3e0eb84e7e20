//! The contract between a vendor crate and the delivery engine.
//!
//! A connector is data in, data out: it does no I/O, keeps no clock and retries nothing. The
//! engine waits, counts and gives up, and has never heard of a vendor.

mod retry;
mod shares;
mod told;

pub use retry::{RetryPolicy, Waits};
pub use shares::{Priority, Shares};
pub use told::{Answered, Cost, Difference, Saved, Told, Values};

use crate::record::Applied;
use crate::seam::{Reply, Request};
use crate::{ByteSize, Place, Timestamp};
use std::fmt;
use std::time::Duration;

/// Maps applied items to what one stream tells its destination. Pure.
pub trait Mapping: Send + Sync + fmt::Debug {
    /// What the stream needs in order to map `item`; cheap, called for every item of the log.
    fn wants(&self, item: &Applied<'_>) -> Wants;

    /// Maps `item`, which [`Self::wants`] asked for, and appends the outcome to `out`.
    ///
    /// `user_properties` is the raw JSON object of the user properties at that moment, given when
    /// it was asked for and there are any.
    fn map(&self, item: &Applied<'_>, user_properties: Option<&str>, out: &mut Vec<Mapped>);
}

/// What a [`Mapping`] needs to see of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// The item does not concern this stream.
    Nothing,
    /// The item alone.
    Item,
    /// The item and the user properties at that moment.
    ItemAndUserProperties,
}

/// What became of an item in a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// To be delivered.
    Deliver(Message),
    /// Concerns the stream but cannot be delivered, by this rule. Counted, never retried.
    Discard { reason: &'static str },
    /// Concerns the stream, but the vendor would refuse it: kept as a dead letter.
    Reject { reason: String, message: Message },
}

/// One object as the vendor takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The destination's user this object is about: objects of one lane keep their order.
    pub lane: Lane,
    /// Which list of the vendor's request the object belongs to. The vendor processes sections in
    /// ascending order within a request, so a lane's sections never descend inside one.
    pub section: Section,
    /// What people call it: the event's name, or the kind of update.
    pub name: String,
    /// The object, encoded for the vendor.
    pub payload: String,
    /// What happens when nobody knows whether the vendor took it.
    pub guarantee: Guarantee,
    /// It is not sent while this lane has anything queued or in flight: what was told of a person
    /// under another identifier comes first. Only known while the item is mapped: an object that
    /// is sent again after it had ended waits for nobody.
    pub after: Option<Lane>,
}

/// What happens to an object that was sent and of which nobody knows whether the vendor took it: a
/// reply that never came, or one that says only that something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Guarantee {
    /// Sent again, and counted as a possible duplicate.
    #[default]
    AtLeastOnce,
    /// Not sent again; listed as unknown until somebody or something says what became of it.
    AtMostOnce,
}

/// A destination's user, as a hash of the identifier that the vendor sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u64);

impl Lane {
    /// The lane of the user with this identifier, for example `external_id:u-1`.
    pub fn of(identifier: &str) -> Self {
        Self::of_bytes(identifier.as_bytes())
    }

    /// The same of bytes that need not be text.
    pub fn of_bytes(identifier: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(identifier))
    }
}

/// A list inside the vendor's request; the meaning is the vendor crate's. The high half of its bits
/// names the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Section(pub u8);

impl Section {
    /// The call that takes the list.
    pub fn call(self) -> Call {
        Call(self.0 >> 4)
    }
}

/// One of the vendor's API calls: a request is one, so it holds objects of one call only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call(pub u8);

impl Call {
    /// The call that nearly all objects take, and whose budget the vendor tells of.
    pub const MAIN: Self = Self(0);
}

/// A message on its way, with where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Name of the stream it belongs to.
    pub stream: std::sync::Arc<str>,
    /// The item of the event log it came from.
    pub place: Place,
    /// Which of the messages mapped from that item it is, from zero.
    pub part: u16,
    /// When the event behind it was accepted.
    pub accepted_at: Timestamp,
    pub message: Message,
}

/// Turns deliveries into one vendor's requests, and its replies into verdicts. Pure.
pub trait Destination: Send + Sync + fmt::Debug {
    /// How much the vendor takes per request and per second.
    fn limits(&self) -> Limits;

    /// Builds the request for `batch`, which is never empty and within [`Self::limits`].
    fn encode(&self, batch: &[Delivery]) -> Result<Encoded, EncodeError>;

    /// Reads `reply`: one verdict per delivery, in the order of `batch`.
    fn judge(&self, batch: &[Delivery], reply: &Reply) -> Vec<Verdict>;

    /// What the reply says about the budget of requests, if it says anything.
    fn budget(&self, reply: &Reply) -> Option<Budget>;

    /// The request that checks endpoint and credentials and changes nothing.
    fn probe(&self) -> Request;

    /// Why the vendor is certain to refuse `message`, as far as that can be told without asking:
    /// what people edited is checked before it is sent again.
    fn check(&self, message: &Message) -> Result<(), String>;

    /// Names what the vendor counts requests against: destinations that return the same text share
    /// one budget. Never shown, so it may be derived from credentials.
    fn account(&self) -> String;

    /// Names whom the vendor keeps what it is told for: where the text changes, nothing that was
    /// told before counts. Never shown, so it may be derived from credentials.
    fn recipient(&self) -> String {
        self.account()
    }

    /// Whether `message` says what a user is like now, so that saying it again changes nothing and
    /// only differences from what was told need to be sent.
    fn is_mirrored(&self, _message: &Message) -> bool {
        false
    }

    /// What each of `run` has to say that is not in `told`: messages of one lane that are mirrored
    /// and share a request, in order.
    ///
    /// The last value of each attribute counts. But what one of them leaves out it must say as it was
    /// told: it may be mapped again as a whole after a crash, when those after it have ended.
    fn differences(&self, run: &[&Message], _told: Option<&Told>) -> Vec<Difference> {
        vec![Difference::Whole; run.len()]
    }

    /// What the user was told after the vendor answered `run`: messages of one lane that are
    /// mirrored, in order, without those that the vendor did not take.
    fn retold(&self, told: Option<&Told>, _run: &[(&Message, Answered)]) -> Option<Told> {
        told.cloned()
    }

    /// What `message` is recognised by when the vendor tells of it later, where it does: a stable
    /// hash of what it says.
    fn echo_key(&self, _message: &Message) -> Option<u64> {
        None
    }

    /// Whom the vendor counts `message` against where [`Limits::paces`] say how much it takes of one:
    /// the user and the device, for example. Asked only where there are paces.
    fn paced_by(&self, _message: &Message) -> Vec<Lane> {
        Vec::new()
    }

    /// What each delivery of a request costs if the vendor takes it.
    fn costs(&self, batch: &[Delivery]) -> Vec<Cost> {
        vec![Cost { object: true, points: 0 }; batch.len()]
    }
}

/// A request and how many vendor objects it holds; fewer than deliveries where some were joined.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub request: Request,
    pub objects: usize,
}

/// A batch that cannot become a request; a bug in the mapping, so the batch is rejected.
#[derive(Debug, thiserror::Error)]
#[error("batch cannot be encoded: {reason}")]
pub struct EncodeError {
    pub reason: String,
}

/// What one request may hold, and how many there may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Objects per request, over all sections.
    pub objects_per_request: usize,
    /// Objects per request within one section.
    pub objects_per_section: usize,
    /// Size of one object's payload.
    pub bytes_per_object: ByteSize,
    /// Size of a request's body.
    pub bytes_per_request: ByteSize,
    /// Requests under way at once.
    pub requests_in_flight: usize,
    /// Request rates, all of which hold.
    pub rates: Vec<Rate>,
    /// How much of each rate work of each priority may use.
    pub shares: Shares,
    /// How long a request may wait for more objects.
    pub linger: Duration,
    /// What is different for calls other than [`Call::MAIN`].
    pub calls: Vec<CallLimits>,
    /// How much the vendor takes of one user or device, all of which hold.
    pub paces: Vec<Pace>,
}

/// What is different for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    pub call: Call,
    /// Objects per request.
    pub objects_per_request: usize,
    /// Whether a request holds objects of one section only.
    pub one_section: bool,
    /// How long a lane waits after an object of the call was accepted, and how long such an object
    /// waits after what came before it: the vendor says success before what it was told has come into
    /// effect.
    pub settle: Duration,
}

impl Limits {
    /// What is different for `call`, if anything is.
    pub fn of_call(&self, call: Call) -> Option<&CallLimits> {
        self.calls.iter().find(|limits| limits.call == call)
    }

    /// Objects of `call` per request.
    pub fn objects_of(&self, call: Call) -> usize {
        self.of_call(call).map_or(self.objects_per_request, |limits| limits.objects_per_request)
    }

    /// Whether objects of these sections may share a request.
    pub fn share_a_request(&self, one: Section, other: Section) -> bool {
        let one_section = || self.of_call(one.call()).is_some_and(|limits| limits.one_section);
        one == other || one.call() == other.call() && !one_section()
    }
}

impl Limits {
    /// Most requests that the rates allow in an hour; `None` where there are no rates.
    pub fn requests_per_hour(&self) -> Option<u64> {
        const HOUR_MILLIS: u128 = 3_600_000;
        let in_an_hour = |rate: &Rate| {
            let hourly = u128::from(rate.requests) * HOUR_MILLIS / rate.per.as_millis().max(1);
            u64::try_from(hourly).unwrap_or(u64::MAX)
        };
        self.rates.iter().map(in_an_hour).min()
    }
}

/// At most `requests` in each window of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub requests: u32,
    pub per: Duration,
}

/// At most `objects` of one [`Destination::paced_by`] in each window of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub objects: u32,
    pub per: Duration,
}

/// What a vendor said about its current window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests allowed per window, if it said.
    pub limit: Option<u64>,
    /// Requests left in this window, if it said.
    pub remaining: Option<u64>,
    /// Time until the window ends, if it said.
    pub reset_after: Option<Duration>,
}

/// What a reply means for one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The vendor took it.
    Accepted,
    /// Not now, and nothing was taken; the wait that the vendor asked for, if any.
    Retry { after: Option<Duration>, reason: String },
    /// Not now, and nothing was taken, because of whom it is about: they wait so long, and nobody else
    /// does. Where the wait is zero it is refused only because it travelled with others: it goes
    /// again at once.
    Later { after: Duration, reason: String },
    /// Something went wrong, and the vendor may have taken it all the same; the wait that the
    /// vendor asked for, if any.
    Unknown { after: Option<Duration>, reason: String },
    /// The request as a whole was refused: send its deliveries in smaller requests. A delivery
    /// that is already alone is rejected with the reason. `too_many`: the vendor says that the
    /// request holds more objects than it takes, so it is not one object's doing.
    Split { reason: String, too_many: bool },
    /// Credentials or quota: keep everything, tell the operator. Where the reply's status says
    /// success, somebody else answered, and what was sent counts as unknown.
    Pause { reason: String },
    /// Never: to the dead letters, with this reason.
    Rejected { reason: String },
}
