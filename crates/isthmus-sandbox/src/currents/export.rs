//! From what happened to events: what is known of a user, and what Braze exports of what it was
//! told.

use super::catalogue::Kind;
use super::event::Event;
use crate::model::{Happening, OccurrenceKind, User};
use isthmus_core::Timestamp;
use isthmus_core::seam::Random;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_128;

/// Types that are bound to a device; others name one for anonymous users alone.
const OF_DEVICES: [&str; 3] = [
    "users.messages.pushnotification.",
    "users.messages.inappmessage.",
    "users.messages.contentcard.",
];

/// Makes the events of one workspace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exporter<'a> {
    pub(crate) workspace: &'a str,
    pub(crate) random: &'a dyn Random,
}

impl Exporter<'_> {
    /// The API id of something of the workspace: a UUID that is the same in every run.
    pub(crate) fn api_id(&self, what: &str, name: &str) -> String {
        uuid_of(&format!("{}/{what}/{name}", self.workspace))
    }

    /// An event that happened at `time`.
    pub(crate) fn event(
        &self,
        kind: &'static Kind,
        time: Timestamp,
        facts: &Map<String, Value>,
    ) -> Event {
        let mut event = Event::new(kind, self.random.uuid().to_string(), time, facts);
        let is_bound = OF_DEVICES.iter().any(|prefix| kind.name.starts_with(prefix));
        if !is_bound && event.facts.contains_key("external_user_id") {
            event.facts.remove("device_id");
        }
        event
    }

    /// Everything that is known of a user, under the names of all fields that can hold it.
    pub(crate) fn facts(&self, user: &User) -> Map<String, Value> {
        let mut facts = Map::new();
        let mut set = |names: &[&str], value: Option<&Value>| {
            for name in names.iter().filter(|_| value.is_some()) {
                facts.insert((*name).to_owned(), value.cloned().unwrap_or_default());
            }
        };
        set(&["user_id"], Some(&Value::from(user.braze_id.as_str())));
        set(&["external_user_id"], user.external_id.as_deref().map(Value::from).as_ref());
        set(&["app_group_id"], Some(&Value::from(self.api_id("app_group", ""))));
        let standard = |name: &str| user.standard.get(name);
        set(&["timezone"], standard("time_zone"));
        set(&["email_address"], standard("email"));
        set(&["to_phone_number", "user_phone_number", "phone_number"], standard("phone"));
        for name in ["country", "gender", "language"] {
            set(&[name], standard(name));
        }
        let token = user.push_tokens.last();
        let of_token = |name: &str| token.and_then(|token| token.get(name)).cloned();
        let device = || Value::from(uuid_of(&format!("device/{}", user.braze_id)));
        set(&["device_id"], Some(&of_token("device_id").unwrap_or_else(device)));
        let app = || Value::from(self.api_id("app", ""));
        set(&["app_id"], Some(&of_token("app_id").unwrap_or_else(app)));
        set(&["push_token"], of_token("token").as_ref());
        set(&["platform"], Some(&of_token("platform").unwrap_or_else(|| Value::from("ios"))));
        facts
    }
}

/// The events that Braze exports of an event or a purchase that it was told: one for each unit of
/// a purchase, as Currents knows no quantity.
pub(crate) fn of_happening(
    exporter: &Exporter<'_>,
    user: &User,
    happening: &Happening,
) -> Vec<Event> {
    let occurrence = &happening.occurrence;
    let mut facts = exporter.facts(user);
    // Whoever tells it through the REST API has no device, and an app only when it is named.
    for name in ["app_id", "platform", "push_token"] {
        facts.remove(name);
    }
    if let Some(app) = &occurrence.app_id {
        facts.insert("app_id".to_owned(), Value::from(app.as_str()));
    }
    facts.remove("device_id");
    let properties = serde_json::from_str(&occurrence.properties).ok();
    let properties = properties.filter(Value::is_object).unwrap_or_else(|| Map::new().into());
    let (name, count) = match occurrence.kind {
        OccurrenceKind::Event => {
            facts.insert("name".to_owned(), Value::from(occurrence.name.as_str()));
            facts.insert("custom_properties".to_owned(), properties);
            ("users.behaviors.CustomEvent", 1)
        }
        OccurrenceKind::Purchase => {
            facts.insert("product_id".to_owned(), Value::from(occurrence.name.as_str()));
            facts.insert("purchase_properties".to_owned(), properties);
            if let Some((price, currency)) = &occurrence.price {
                facts.insert("price".to_owned(), Value::from(*price));
                facts.insert("currency".to_owned(), Value::from(currency.as_str()));
            }
            ("users.behaviors.Purchase", occurrence.quantity)
        }
    };
    let kind = Kind::of(name).expect("the catalogue has behaviours");
    (0..count).map(|_| exporter.event(kind, happening.time, &facts)).collect()
}

/// A UUID that follows from `text`.
fn uuid_of(text: &str) -> String {
    uuid::Builder::from_random_bytes(xxh3_128(text.as_bytes()).to_be_bytes())
        .into_uuid()
        .to_string()
}
