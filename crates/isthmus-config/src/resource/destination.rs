//! Destinations: places that streams deliver to.

use crate::check;
use crate::decode::{Decode, Fields, Report, Rule};
use crate::diagnostic::Problem;
use crate::node::Node;
use crate::secret::SecretRef;
use crate::shape::{Shape, section, shape, words};
use isthmus_core::ByteSize;
use isthmus_core::destination::Shares;
use std::time::Duration;

/// `kind: destination`: a place that streams deliver to.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// What the destination is called here; unique among destinations.
    pub name: String,
    pub settings: DestinationSettings,
}

/// What `type` says, and the keys that go with it.
#[derive(Debug, Clone, PartialEq)]
pub enum DestinationSettings {
    /// `type: braze`.
    Braze(BrazeDestination),
}

/// `type`: whose service it is.
#[derive(Debug, Clone, Copy)]
enum DestinationType {
    Braze,
}

impl Destination {
    /// Reads `name` and `type`, and then the keys of that type out of the same mapping.
    pub(crate) fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::open(node, "a mapping", &["kind"], report)?;
        let name = fields.take(&Rule::new("name").check(check::name), report);
        let settings = match fields.take(&Rule::new("type"), report) {
            Some(DestinationType::Braze) => {
                BrazeDestination::take_fields(&mut fields, report).map(DestinationSettings::Braze)
            }
            None => {
                // Which other keys are right depends on the type.
                fields.lenient();
                None
            }
        };
        fields.close(report);
        Some(Self { name: name?, settings: settings? })
    }

    pub(crate) fn check(&self) -> Vec<Problem> {
        match &self.settings {
            DestinationSettings::Braze(braze) => braze.check(),
        }
    }
}

impl Decode for DestinationType {
    const EXPECTED: &'static str = "`braze`";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        crate::decode::word(node, report, &[("braze", Self::Braze)])
    }

    fn show(&self) -> String {
        match self {
            Self::Braze => "`braze`".to_owned(),
        }
    }
}

shape! {
    /// `type: braze`: a Braze workspace.
    pub struct BrazeDestination {
        /// URL of the REST endpoint, or the name of a Braze instance such as `US-05`.
        pub endpoint: String => check::endpoint,
        /// REST API key with the permissions `users.track`, `users.identify` where a stream tells of
        /// anonymous people, and `users.delete` unless `on_erasure` is `ignore`. A literal is taken
        /// only where `endpoint` is a sandbox on this machine.
        pub rest_key: SecretRef,
        /// App identifier that goes on each event as `app_id`.
        pub app_id: Option<String> => check::none_or_not_blank,
        /// How long a person who is about to be identified or deleted, or just was, waits until what
        /// was sent before has come into effect: Braze usually takes milliseconds, and advises up to 5
        /// minutes between calls that depend on each other.
        pub identify_settle: Duration = Duration::from_secs(1) => check::settling,
        /// What Braze hears when a person is erased.
        pub on_erasure: OnErasure = OnErasure::Delete,
        /// Whether what each user was told is remembered, so that attributes are sent only where
        /// they differ from what Braze acknowledged last.
        pub mirror: bool = true,
        /// How much Braze takes, by the contract of the workspace.
        pub limits: BrazeLimits = BrazeLimits::default(),
    }
}

impl BrazeDestination {
    fn check(&self) -> Vec<Problem> {
        let literal = matches!(self.rest_key, SecretRef::Literal(_));
        if literal && !check::is_loopback(&self.endpoint) {
            let message = "`rest_key` is written out; only a sandbox on this machine takes it so";
            let hint = "write `{ env: BRAZE_REST_KEY }` or `{ file: braze.key }`";
            return vec![Problem::new("rest_key", message).hint(hint)];
        }
        Vec::new()
    }
}

section! {
    /// `limits` of a Braze destination. The defaults are Braze's documented ones (read 2026-03).
    pub struct BrazeLimits {
        /// How Braze counts the objects of a request.
        pub contract: Contract = Contract::Combined,
        /// Objects per request: events, attributes and purchases, counted as `contract` says.
        pub objects_per_request: usize = 75 => check::not_zero,
        /// Requests in 3 seconds.
        pub requests_per_3s: u32 = 3_000 => check::not_zero,
        /// Requests in a minute, where the contract has such a limit.
        pub requests_per_minute: Option<u32> = None => check::none_or_not_zero,
        /// Requests in an hour, where the contract has such a limit.
        pub requests_per_hour: Option<u32> = None => check::none_or_not_zero,
        /// Requests under way at once.
        pub requests_in_flight: usize = 8 => check::not_zero,
        /// How much of each of these budgets may go to what is less urgent than streams.
        pub shares: BudgetShares = BudgetShares::default(),
        /// Name of the company, where the contract counts requests per company, as those by monthly
        /// active users do: destinations of the same company share one budget.
        pub company: Option<String> = None => check::none_or_not_blank,
        /// Size of a request's body; Braze takes 4 MB.
        pub bytes_per_request: ByteSize = ByteSize::bytes(3_500_000) => check::not_zero,
        /// How long a request may wait for more objects.
        pub linger: Duration = Duration::from_millis(20),
        /// How long an answer may take before the outcome counts as unknown.
        pub timeout: Duration = Duration::from_secs(30) => check::not_zero,
    }
}

section! {
    /// `limits.shares` of a destination: the part of each request budget that such work may use at
    /// most, as a number up to 1. Streams may use all of it.
    pub struct BudgetShares {
        /// Cohorts whose members are told as they come and go.
        pub realtime_cohorts: f64 = Shares::default().realtime_cohorts => check::share,
        /// Syncs that run by the clock.
        pub scheduled_syncs: f64 = Shares::default().scheduled_syncs => check::share,
        /// What is sent for the past.
        pub backfill: f64 = Shares::default().backfill => check::share,
    }
}

impl BudgetShares {
    /// What the engine goes by.
    pub fn shares(&self) -> Shares {
        let Self { realtime_cohorts, scheduled_syncs, backfill } = *self;
        Shares { realtime_cohorts, scheduled_syncs, backfill }
    }
}

words! {
    /// What the destination hears when a person is erased.
    pub enum OnErasure {
        /// To delete the person, by each identifier that its streams use.
        Delete = "delete",
        /// Nothing.
        Ignore = "ignore",
    }
}

words! {
    /// How Braze counts the objects of a request.
    pub enum Contract {
        /// All lists of a request together.
        Combined = "combined",
        /// Each list by itself.
        Legacy = "legacy",
    }
}
