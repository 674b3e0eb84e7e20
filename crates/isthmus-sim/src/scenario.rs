//! What a seed is about: streams, limits, sizes of segments. Written as people write resources, and
//! built as the server builds them.

use isthmus_braze::{Braze, BrazeStream};
use isthmus_config::Spec;
use isthmus_config::parse_resources;
use isthmus_config::resource::{BrazeDestination, DestinationSettings, Project, Stream};
use isthmus_core::ByteSize;
use isthmus_core::seam::{Random, SeededRandom};
use isthmus_delivery::dispatcher::{Manner, Window};
use isthmus_delivery::engine::StreamSpec;
use isthmus_delivery::journal::stored::{Keep, StoredJournal};
use isthmus_log::LogConfig;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const API_KEY: &str = "0123456789abcdef0123456789abcdef";
/// The event property that tells events apart.
pub(crate) const UID: &str = "uid";
/// Sent at least once.
pub(crate) const VIEWED: &str = "Viewed";
/// Sent at most once.
pub(crate) const ORDERED: &str = "Order Completed";
/// Of no interest to any stream.
pub(crate) const IGNORED: &str = "Scrolled";
/// User properties that are sent as attributes.
pub(crate) const ATTRIBUTES: [&str; 2] = ["plan", "seats"];

/// One stream, and what must hold for it.
#[derive(Debug, Clone)]
pub(crate) struct StreamPlan {
    pub(crate) spec: StreamSpec,
    pub(crate) resource: Stream,
}

impl StreamPlan {
    pub(crate) fn name(&self) -> &str {
        &self.resource.name
    }

    /// The name at the vendor of events of `event_type`, if the stream selects them.
    pub(crate) fn sent_as(&self, event_type: &str) -> Option<&str> {
        let events = self.resource.send_events.iter().flat_map(|send| &send.events);
        let mut found = events.filter(|event| event.name == event_type);
        found.next().map(|event| event.as_name.as_deref().unwrap_or(&event.name))
    }

    pub(crate) fn sends_users(&self) -> bool {
        self.resource.send_users.is_some()
    }

    /// Whether an update of a user holds more than what changed.
    pub(crate) fn sends_all_on_change(&self) -> bool {
        self.resource.send_users.as_ref().is_some_and(|send| send.send_all_selected_on_change)
    }
}

/// Everything that stays the same while a seed runs.
pub(crate) struct Scenario {
    /// The resources, for people.
    pub(crate) text: String,
    pub(crate) project: Project,
    pub(crate) braze: Arc<Braze>,
    pub(crate) streams: Vec<StreamPlan>,
    pub(crate) in_flight_max: usize,
    pub(crate) users: u64,
    pub(crate) window: Window,
    pub(crate) log: LogConfig,
    pub(crate) journal: LogConfig,
    pub(crate) keep: Keep,
    /// The step at which the first life ends, where it is a short one.
    pub(crate) first_end: Option<u64>,
    /// How long after its answer a request takes effect.
    pub(crate) apply_delay: Duration,
}

impl Scenario {
    /// Draws a scenario.
    pub(crate) fn draw(random: &SeededRandom) -> Result<Self, String> {
        let pick = |from: &[u64]| {
            let at = usize::try_from(random.below(from.len() as u64)).unwrap_or(0);
            from.get(at).copied().unwrap_or(1)
        };
        let in_flight = pick(&[1, 2, 4, 8]);
        let text = resources(random, pick(&[1, 3, 10, 75]), in_flight, pick(&[0, 20, 200]));
        let found = parse_resources(&text, "scenario");
        let found = found.map_err(|errors| format!("scenario cannot be read: {errors:?}"))?;
        let (mut project, mut settings, mut streams) = (None, None, Vec::new());
        for resource in found {
            match resource.spec {
                Spec::Project(found) => project = Some(found),
                Spec::Destination(found) => {
                    let DestinationSettings::Braze(braze) = found.settings else {
                        return Err(format!("destination {} is not Braze", found.name));
                    };
                    settings = Some(braze);
                }
                Spec::Stream(found) => streams.push(found),
                Spec::CurrentsSource(_) => {
                    return Err("scenario has a source that nobody posts to".to_owned());
                }
            }
        }
        let settings = settings.ok_or("scenario has no destination")?;
        let braze =
            Braze::build(&settings, "sandbox").map_err(|problems| format!("{problems:?}"))?;
        let streams: Result<_, String> =
            streams.into_iter().map(|stream| plan(stream, &settings)).collect();
        let segment = |sizes: &[u64]| ByteSize::bytes(pick(sizes));
        let segment_max = segment(&[4 << 10, 64 << 10, 64 << 20]);
        let log = LogConfig { segment_max, ..LogConfig::default() };
        let segment_max = segment(&[2 << 10, 32 << 10, 4 << 20]);
        let journal = LogConfig { segment_max, ..StoredJournal::log_config() };
        let keeps_all = random.below(4) > 0;
        let at_least = if keeps_all { Duration::from_hours(24 * 3_650) } else { Duration::ZERO };
        Ok(Self {
            text,
            project: project.ok_or("scenario has no project")?,
            braze: Arc::new(braze),
            streams: streams?,
            in_flight_max: usize::try_from(in_flight).unwrap_or(1),
            users: 2 + random.below(12),
            window: Window {
                objects: pick(&[4, 50, 32_768]),
                items: usize::try_from(pick(&[10, 100, 262_144])).unwrap_or(10),
                ..Window::default()
            },
            log,
            journal,
            keep: Keep { at_least, at_most: None },
            first_end: (random.below(3) == 0).then(|| 1 + random.below(8)),
            apply_delay: Duration::from_millis(pick(&[0, 50, 5_000])),
        })
    }

    /// Whether the journal is kept as a whole, so that the ledger knows of everything.
    pub(crate) fn keeps_ledger(&self) -> bool {
        self.keep.at_least > Duration::ZERO
    }
}

fn plan(resource: Stream, settings: &BrazeDestination) -> Result<StreamPlan, String> {
    let mapping = BrazeStream::build(&resource, settings);
    let mapping = mapping.map_err(|problems| format!("{problems:?}"))?;
    let manner = Manner { retry: resource.retry_policy(), ..Manner::default() };
    let spec =
        StreamSpec { name: resource.name.as_str().into(), mapping: Arc::new(mapping), manner };
    Ok(StreamPlan { spec, resource })
}

fn resources(random: &SeededRandom, objects: u64, in_flight: u64, linger: u64) -> String {
    let retry = || match random.below(5) {
        0 => "amplitude".to_owned(),
        1 => format!("{{ attempts: {} }}", 1 + random.below(5)),
        2 => format!("{{ attempts: 20, for: \"{}m\" }}", 1 + random.below(60)),
        _ => "forever".to_owned(),
    };
    let on_change = random.below(3) == 0;
    let head = format!(
        "kind: project
name: shop
api_key: {API_KEY}
---
kind: destination
name: braze
type: braze
endpoint: http://127.0.0.1:8500
rest_key: sandbox
limits: {{ objects_per_request: {objects}, requests_in_flight: {in_flight}, linger: {linger}ms }}
"
    );
    let orders = format!(
        "{HEAD}name: orders
retry: {}
send_events:
  events: [{{ name: {VIEWED} }}, {{ name: {ORDERED}, delivery: at_most_once }}]
  event_properties: [{UID}]
",
        retry()
    );
    let profiles = format!(
        "{HEAD}name: profiles
retry: {}
send_events:
  events: [{{ name: {ORDERED}, as: Bought, delivery: at_most_once }}]
  event_properties: [{UID}]
  user_properties: [plan]
send_users: {{ user_properties: [plan, seats], send_all_selected_on_change: {on_change} }}
",
        retry()
    );
    let copies = format!(
        "{HEAD}name: copies
retry: {}
send_events:
  events: [{{ name: {VIEWED}, as: Looked }}]
  event_properties: [{UID}]
",
        retry()
    );
    let mut parts = vec![head, orders];
    if random.below(3) > 0 {
        parts.push(profiles);
    }
    if random.below(2) == 0 {
        parts.push(copies);
    }
    parts.join("---\n")
}

/// What all streams have in common.
const HEAD: &str = "kind: stream
project: shop
destination: braze
enabled: true
identify_by: { from: user_id, to: external_id }
";
