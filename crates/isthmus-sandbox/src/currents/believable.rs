//! Events of all types from a seed, for tests and benchmarks of whoever reads Currents.
//!
//! Values have the right types and plausible forms; events are not consistent with one another.

use super::catalogue::{Form, Kind};
use super::event::Event;
use super::file::{Bucket, Codec, FileError};
use isthmus_core::Timestamp;
use isthmus_core::seam::{Random, SeededRandom};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Between two events, up to this many milliseconds pass.
const STEP_MILLIS_MAX: u64 = 500;
/// What half of the events are.
const FREQUENT: [&str; 6] = [
    "users.messages.email.Send",
    "users.messages.email.Delivery",
    "users.messages.email.Open",
    "users.messages.email.Click",
    "users.messages.pushnotification.Send",
    "users.behaviors.CustomEvent",
];

/// Events without end, in the order in which they happen.
///
/// Every second one is of a frequent type; the others go through the catalogue, so that among the
/// first 250 there is one of each type that is sent by HTTP.
#[derive(Debug)]
pub struct Believable {
    random: SeededRandom,
    users: Vec<String>,
    at: Timestamp,
    kinds: Vec<&'static Kind>,
    made: usize,
}

impl Believable {
    /// Events of these users, by `external_user_id`, from `start` on; `seed` decides everything.
    pub fn new(seed: u64, users: Vec<String>, start: Timestamp) -> Self {
        let kinds = Kind::all_sent().filter(|kind| kind.by_http).collect();
        Self { random: SeededRandom::new(seed), users, at: start, kinds, made: 0 }
    }

    fn make(&mut self) -> Event {
        let user = pick(&self.users, &self.random).map_or("nobody", String::as_str);
        let frequent =
            if self.made.is_multiple_of(2) { pick(&FREQUENT, &self.random) } else { None };
        let turn = self.kinds.get(self.made / 2 % self.kinds.len()).copied();
        let kind = frequent.and_then(|name| Kind::of(name)).or(turn);
        self.made += 1;
        self.at = self.at.plus(Duration::from_millis(self.random.below(STEP_MILLIS_MAX)));
        event(kind.expect("the catalogue is not empty"), user, self.at, &self.random)
    }
}

/// Events in the HTTP form: what a batch holds under `events`.
impl Iterator for Believable {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        Some(self.make().to_http())
    }
}

/// Writes `count` events of `events` to files under `folder`, with keys as in a bucket and at most
/// `file_max` events each; the files, in the order in which they were written.
pub async fn write_files(
    events: &mut Believable,
    folder: &Path,
    codec: Codec,
    count: usize,
    file_max: usize,
) -> Result<Vec<PathBuf>, FileError> {
    let bucket = Bucket {
        folder: folder.to_owned(),
        prefix: "currents".to_owned(),
        stem: "dataexport.prod-01.S3.integration.64b7f0c2a9d3e41b5c8f0a12".to_owned(),
        connection: "S3",
        zone: "prod".to_owned(),
        codec,
        schema_added: 0,
    };
    let mut open: BTreeMap<usize, Vec<Arc<Event>>> = BTreeMap::new();
    let mut files = Vec::new();
    for made in 1..=count {
        let event = events.make();
        let number = event.kind.number;
        let waiting = open.entry(number).or_default();
        waiting.push(Arc::new(event));
        if waiting.len() >= file_max {
            let full = std::mem::take(waiting);
            files.push(write(&bucket, &full, made).await?);
        }
    }
    for rest in open.into_values().filter(|rest| !rest.is_empty()) {
        let offset = count + files.len() + 1;
        files.push(write(&bucket, &rest, offset).await?);
    }
    Ok(files)
}

async fn write(
    bucket: &Bucket,
    events: &[Arc<Event>],
    offset: usize,
) -> Result<PathBuf, FileError> {
    let last = events.last().expect("a file is never empty");
    let bytes = bucket.encode(last.kind, events)?;
    bucket.write(&bucket.key(last.kind, last.time, offset as u64), &bytes).await
}

/// An event of `kind` with a value for every field that it has.
pub(super) fn event(kind: &'static Kind, user: &str, at: Timestamp, random: &dyn Random) -> Event {
    let known = kind.fields.iter().filter(|field| !["id", "time"].contains(&field.name));
    let facts: Map<String, Value> = known
        .filter(|field| !field.nullable || random.below(8) != 0 || field.name == "external_user_id")
        .map(|field| (field.name.to_owned(), value(field.name, field.form, user, at, random)))
        .collect();
    Event::new(kind, random.uuid().to_string(), at, &facts)
}

fn pick<'a, T>(from: &'a [T], random: &dyn Random) -> Option<&'a T> {
    from.get(usize::try_from(random.below(from.len() as u64)).unwrap_or(0))
}

fn one_of(random: &dyn Random, texts: &[&str]) -> Value {
    pick(texts, random).copied().unwrap_or_default().into()
}

fn hex(random: &dyn Random, digits: usize) -> Value {
    let (high, low) = (random.next_u64(), random.next_u64());
    let text = format!("{high:016x}{low:016x}");
    text.get(..digits).unwrap_or(&text).into()
}

fn value(name: &str, form: Form, user: &str, at: Timestamp, random: &dyn Random) -> Value {
    match form {
        Form::Text => text(name, user, random),
        Form::Object => properties(random),
        Form::Bool => json!(random.below(2) == 0),
        Form::Int | Form::Long => match name {
            "time_ms" => json!(at.as_millis()),
            _ if name.ends_with("_at") => json!(at.as_millis().div_euclid(1_000) - 86_400),
            "http_status_code" => json!(500 + random.below(4)),
            _ => json!(random.below(900)),
        },
        Form::Float | Form::Double => match name {
            "latitude" => quarters(random, 90),
            "longitude" => quarters(random, 180),
            _ => quarters(random, 250),
        },
        Form::Texts => json!(["user_agent", "timing"]),
        Form::TextsOrNull => json!(["https://media.example.test/1.jpg", null]),
    }
}

/// A number with a fraction that a 32-bit float holds exactly.
fn quarters(random: &dyn Random, below: u64) -> Value {
    let quarters = u32::try_from(random.below(below * 4)).unwrap_or(0);
    json!(f64::from(quarters) / 4.0)
}

fn properties(random: &dyn Random) -> Value {
    json!({
        "order_id": format!("o-{}", random.below(100_000)),
        "total": quarters(random, 500),
        "items": 1 + random.below(6),
        "gift": random.below(2) == 0,
        "categories": ["camping", "water"],
    })
}

fn text(name: &str, user: &str, random: &dyn Random) -> Value {
    match name {
        "external_user_id" => user.into(),
        "user_id" | "orphaned_by_id" => hex(random, 24),
        "dispatch_id" => hex(random, 32),
        "email_address" => format!("{user}@example.test").into(),
        "timezone" => one_of(random, &["Europe/Berlin", "America/Denver", "Asia/Osaka"]),
        "platform" => one_of(random, &["ios", "android", "web", "kindle", "tvos", "roku"]),
        "ad_id_type" => {
            one_of(random, &["ios_idfa", "google_ad_id", "windows_ad_id", "roku_ad_id"])
        }
        "gender" => one_of(random, &["M", "F", "O", "N", "P"]),
        "country" => one_of(random, &["DE", "US", "JP"]),
        "language" => one_of(random, &["de", "en", "ja"]),
        "currency" => one_of(random, &["EUR", "USD", "JPY"]),
        "product_id" => one_of(random, &["tent-2p", "boots-alta", "rope-60"]),
        "name" => one_of(random, &["Order Completed", "Product Viewed", "Signed Up"]),
        "machine_open" => "true".into(),
        "subscription_status" => one_of(random, &["Subscribed", "Unsubscribed"]),
        "state_change_source" => one_of(random, &["SDK", "REST API", "Preference Center"]),
        "push_token_state_change_type" => one_of(random, &["add", "update", "remove"]),
        "button_action_type" => one_of(random, &["uri", "deep_link", "none", "close"]),
        "esp" => one_of(random, &["SparkPost", "SendGrid"]),
        "channel" => one_of(random, &["email", "ios_push", "sms"]),
        "device_model" => one_of(random, &["iPhone 17", "Pixel 11", "Mac"]),
        "os_version" => one_of(random, &["26.1", "17", "15.4"]),
        "user_agent" => "Mozilla/5.0 (compatible)".into(),
        "url" | "endpoint_url" => {
            format!("https://shop.example.test/p/{}", random.below(1_000)).into()
        }
        "short_url" => format!("https://brz.example.test/{:05x}", random.below(1 << 20)).into(),
        "sending_ip" => format!("192.0.2.{}", random.below(256)).into(),
        "from_domain" | "recipient_domain" => "mail.example.test".into(),
        "properties" | "custom_attributes" | "tool_arguments" | "flow_response_json" => {
            properties(random).to_string().into()
        }
        "conversion_behavior" => {
            json!({"type": "Performs Custom Event", "window": 259_200}).to_string().into()
        }
        _ if name.ends_with("_phone_number") || name == "phone_number" => {
            format!("+4915{:08}", random.below(100_000_000)).into()
        }
        _ if name.ends_with("_name") => one_of(random, &["Winter", "Welcome", "Variant 1"]),
        _ if name.ends_with("_id") => random.uuid().to_string().into(),
        _ => format!("{} {}", name.replace('_', " "), random.below(100)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn events(seed: u64) -> Believable {
        let users = (0..10).map(|number| format!("u-{number}")).collect();
        Believable::new(seed, users, Timestamp::from_millis(1_788_990_401_000))
    }

    #[test]
    fn a_seed_gives_the_same_events_of_every_type() {
        let some: Vec<Value> = events(1).take(250).collect();
        assert_eq!(some, events(1).take(250).collect::<Vec<_>>());
        assert_ne!(some, events(2).take(250).collect::<Vec<_>>());
        let types: BTreeSet<&str> = some.iter().filter_map(|e| e["event_type"].as_str()).collect();
        assert_eq!(types.len(), 102);
        let ids: BTreeSet<&str> = some.iter().filter_map(|event| event["id"].as_str()).collect();
        assert_eq!(ids.len(), 250);
        assert!(some.iter().all(|e| {
            e["user"]
                .get("external_user_id")
                .is_none_or(|id| id.as_str().is_some_and(|id| id.starts_with("u-")))
        }));
    }

    #[test]
    fn an_event_has_what_its_type_requires() {
        let random = SeededRandom::new(3);
        for kind in Kind::all_sent() {
            let event = event(kind, "u", Timestamp::default(), &random);
            assert_eq!(event.missing(), Vec::<&str>::new(), "{}", kind.name);
        }
    }
}
