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
    /// `type: amplitude`.
    Amplitude(AmplitudeDestination),
}

impl DestinationSettings {
    /// `braze` or `amplitude`.
    pub fn vendor(&self) -> &'static str {
        match self {
            Self::Braze(_) => "braze",
            Self::Amplitude(_) => "amplitude",
        }
    }

    /// Where its requests go, as it was written.
    pub(crate) fn endpoint(&self) -> &str {
        match self {
            Self::Braze(braze) => &braze.endpoint,
            Self::Amplitude(amplitude) => &amplitude.endpoint,
        }
    }
}

/// `type`: whose service it is.
#[derive(Debug, Clone, Copy)]
enum DestinationType {
    Braze,
    Amplitude,
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
            Some(DestinationType::Amplitude) => {
                AmplitudeDestination::take_fields(&mut fields, report)
                    .map(DestinationSettings::Amplitude)
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
            DestinationSettings::Amplitude(amplitude) => amplitude.check(),
        }
    }
}

impl Decode for DestinationType {
    const EXPECTED: &'static str = "`braze` or `amplitude`";

    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        crate::decode::word(node, report, &[("braze", Self::Braze), ("amplitude", Self::Amplitude)])
    }

    fn show(&self) -> String {
        match self {
            Self::Braze => "`braze`".to_owned(),
            Self::Amplitude => "`amplitude`".to_owned(),
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

shape! {
    /// `type: amplitude`: an Amplitude project, or anything that takes what Amplitude takes.
    pub struct AmplitudeDestination {
        /// `US`, `EU`, or the URL in front of `/2/httpapi`.
        pub endpoint: String = "US".to_owned() => check::endpoint,
        /// API key of the project. A literal is taken only where `endpoint` is on this machine.
        pub api_key: SecretRef,
        /// Which of Amplitude's two APIs events go to.
        pub upload: Upload = Upload::HttpV2,
        /// Shortest user id and device id that Amplitude is asked to take. Without it, shorter ids than
        /// the 5 characters that Amplitude takes by itself are passed on where the client had asked for
        /// that, and refused where Braze Currents brought them.
        pub min_id_length: Option<u32> => check::none_or_not_zero,
        /// What Amplitude hears when a person is erased: nothing, because an API key only adds data.
        pub on_erasure: OnErasure = OnErasure::Ignore,
        /// How much Amplitude takes.
        pub limits: AmplitudeLimits = AmplitudeLimits::default(),
    }
}

impl AmplitudeDestination {
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if matches!(self.api_key, SecretRef::Literal(_)) && !check::is_loopback(&self.endpoint) {
            let message = "`api_key` is written out; only an endpoint on this machine takes it so";
            let hint = "write `{ env: AMPLITUDE_API_KEY }` or `{ file: amplitude.key }`";
            problems.push(Problem::new("api_key", message).hint(hint));
        }
        if self.on_erasure == OnErasure::Delete {
            let message = "`on_erasure` cannot be `delete`: an API key of Amplitude only adds data";
            let hint = "delete the person with Amplitude's User Privacy API, which asks for the secret \
                        key of the project";
            problems.push(Problem::new("on_erasure", message).hint(hint));
        }
        problems
    }
}

section! {
    /// `limits` of an Amplitude destination. What is absent follows from `upload`, just under what
    /// Amplitude documents (read 2026-03).
    pub struct AmplitudeLimits {
        /// Events per request; Amplitude takes 2000. A request is refused as a whole, so a larger one
        /// is sent again for less.
        pub events_per_request: usize = 1_000 => check::not_zero,
        /// Size of a request's body: 900KB, or 10MB with `upload: batch`. Amplitude takes 1 MB and 20 MB.
        pub bytes_per_request: Option<ByteSize> = None => check::none_or_not_zero,
        /// Requests under way at once.
        pub requests_in_flight: usize = 8 => check::not_zero,
        /// Requests in a second: as many as make nine tenths of the events that a project may send.
        pub requests_per_second: Option<u32> = None => check::none_or_not_zero,
        /// Events of one user or one device in a second: 27, or with `upload: batch` the 300 that
        /// Amplitude recommends for the past. It throttles at 30 and at 1000.
        pub events_per_second: Option<u32> = None => check::none_or_not_zero,
        /// Events of one user or one device in 24 hours. Amplitude stops taking them at 500,000.
        pub events_per_day: u32 = 490_000 => check::not_zero,
        /// How much of each of these budgets may go to what is less urgent than streams.
        pub shares: BudgetShares = BudgetShares::default(),
        /// How long a request may wait for more events.
        pub linger: Duration = Duration::from_millis(100),
        /// How long an answer may take before the outcome counts as unknown.
        pub timeout: Duration = Duration::from_secs(30) => check::not_zero,
    }
}

words! {
    /// Amplitude's two APIs for events.
    pub enum Upload {
        /// In real time, and events of a device in the order in which they were received
        HttpV2 = "http_v2",
        /// Much more at once of one user, but not in real time: for the past
        Batch = "batch",
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
