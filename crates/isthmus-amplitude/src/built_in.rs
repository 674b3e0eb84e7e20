//! Built-in user properties: what events say of platform, device, place, language and version beside
//! their own properties (`amplitude-ingest.md` section 14; Amplitude's "User properties" and "HTTP V2
//! API" pages, read 2026-03).
//!
//! The latest event processed wins, whatever its time. They are kept apart from custom properties,
//! which may have the same names. What sent an event, its `library`, is remembered and is no news:
//! it would change with every event of a person who is seen by an app and by a server.

use isolang::Language;
use isthmus_core::json;
use isthmus_core::profile::{Change, Properties};
use serde_json::Value;
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_64;

/// Where an event was sent from that says nothing of its library.
pub const HTTP_LIBRARY: &str = "http/2.0";

/// Fields that are kept under their own names.
const PLAIN: [&str; 7] = [
    "platform",
    "os_name",
    "os_version",
    "device_brand",
    "device_manufacturer",
    "device_model",
    "carrier",
];
/// Fields that are taken together: where one is sent, those that are not have no value.
const PLACE: [&str; 4] = ["country", "region", "city", "dma"];
/// Characters kept of a value, as of any string.
const CHARACTERS_MAX: usize = 1_024;

/// Which request a text came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// An event's: the first version stays.
    ByEvent,
    /// `/identify`'s: the only way to set `paying` and `start_version`.
    ByIdentification,
}

/// The library that an event with these fields, a raw JSON object, came from.
pub fn library(fields: Option<&str>) -> Cow<'static, str> {
    let said = json::member(fields.unwrap_or_default(), "library").and_then(text);
    said.map_or(Cow::Borrowed(HTTP_LIBRARY), Cow::Owned)
}

/// What of `fields`, a raw JSON object, has to do with built-in properties, hashed: with the same
/// digest twice, [`apply`] and [`library`] come to the same.
pub fn digest(fields: Option<&str>, has_revenue: bool, said: Said) -> u64 {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut digest = u64::from(has_revenue) << 1 | u64::from(said == Said::ByEvent);
    for (name, raw) in json::members(fields.unwrap_or_default()) {
        if let Some(slot) = slot(&name) {
            let value = xxh3_64(raw.as_bytes()).rotate_left(slot);
            digest = (digest ^ value).wrapping_mul(SPREAD);
        }
    }
    digest
}

/// A number for each field that counts.
fn slot(name: &str) -> Option<u32> {
    Some(match name {
        "platform" => 1,
        "os_name" => 2,
        "os_version" => 3,
        "device_brand" => 4,
        "device_manufacturer" => 5,
        "device_model" => 6,
        "carrier" => 7,
        "country" => 8,
        "region" => 9,
        "city" => 10,
        "dma" => 11,
        "language" => 12,
        "app_version" => 13,
        "version_name" => 14,
        "start_version" => 15,
        "paying" => 16,
        "user_agent" => 17,
        "library" => 18,
        _ => return None,
    })
}

/// Applies what `fields`, the raw JSON object of an event's fields, says to `built_in`. Returns what
/// changed, sorted by name.
pub fn apply(
    built_in: &mut Properties,
    fields: Option<&str>,
    has_revenue: bool,
    said: Said,
) -> Vec<Change> {
    let mut telling = Telling { built_in, changes: Vec::new() };
    let (mut place, mut version) = ([const { None }; PLACE.len()], None);
    let (mut user_agent, mut says_system) = (None, false);
    for (name, raw) in json::members(fields.unwrap_or_default()) {
        let name = name.as_ref();
        if let Some(plain) = PLAIN.into_iter().find(|plain| *plain == name) {
            let text = text(raw);
            says_system |= plain.starts_with("os_") && text.is_some();
            telling.set_some(plain, text);
        } else if let Some(slot) = PLACE.iter().position(|known| *known == name) {
            if let Some(slot) = place.get_mut(slot) {
                *slot = text(raw);
            }
        } else {
            match name {
                "language" => {
                    telling.set_some("language", text(raw).map(|text| language(&text)));
                }
                "app_version" => version = text(raw).or(version),
                "version_name" => version = version.or(text(raw)),
                "user_agent" => user_agent = text(raw),
                "start_version" if said == Said::ByIdentification => {
                    telling.set_some("start_version", text(raw));
                }
                "paying" if said == Said::ByIdentification => telling.paying(raw),
                _ => {}
            }
        }
    }
    if let Some(user_agent) = user_agent.filter(|_| !says_system) {
        telling.system(&user_agent);
    }
    if place.iter().any(Option::is_some) {
        for (name, value) in PLACE.into_iter().zip(place) {
            telling.set(name, value.map(Value::String));
        }
    }
    if let Some(version) = version {
        if said == Said::ByEvent && !telling.built_in.contains_key("start_version") {
            telling.set("start_version", Some(Value::String(version.clone())));
        }
        telling.set("version_name", Some(Value::String(version)));
    }
    if said == Said::ByEvent && has_revenue && !telling.built_in.contains_key("paying") {
        telling.set("paying", Some(Value::Bool(true)));
    }
    let mut changes = telling.changes;
    changes.sort_by(|one, other| one.name.cmp(&other.name));
    changes
}

/// Whether an event with these properties is about money: it has an amount.
pub fn has_revenue(event_properties: Option<&str>) -> bool {
    let properties = event_properties.filter(|text| text.contains("\"$"));
    json::members(properties.unwrap_or_default())
        .any(|(name, value)| matches!(&*name, "$revenue" | "$price") && value != "null")
}

struct Telling<'a> {
    built_in: &'a mut Properties,
    changes: Vec<Change>,
}

impl Telling<'_> {
    fn set_some(&mut self, name: &str, text: Option<String>) {
        if let Some(text) = text {
            self.set(name, Some(Value::String(text)));
        }
    }

    fn set(&mut self, name: &str, to: Option<Value>) {
        let from = self.built_in.get(name);
        if from == to.as_ref() {
            return;
        }
        let from = from.cloned();
        match &to {
            Some(value) => drop(self.built_in.insert(name.to_owned(), value.clone())),
            None => drop(self.built_in.remove(name)),
        }
        match self.changes.iter_mut().find(|change| change.name == name) {
            Some(change) => change.to = to,
            None => self.changes.push(Change { name: name.to_owned(), from, to }),
        }
    }

    /// On the web the browser stands for the system: its name, and the first number of its version
    /// (observed). What is not recognised says nothing.
    fn system(&mut self, user_agent: &str) {
        let Some(found) = woothee::parser::Parser::new().parse(user_agent) else { return };
        let known = |text: &str| (!text.is_empty() && text != "UNKNOWN").then(|| text.to_owned());
        let Some(name) = known(found.name) else { return };
        self.set_some("os_name", Some(name));
        let version = found.version.split('.').next().and_then(known);
        self.set("os_version", version.map(Value::String));
        self.set_some("device_family", known(found.os));
    }

    /// Documented as a string; anything that says yes or no is understood.
    fn paying(&mut self, raw: &str) {
        let paying = match raw {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => text(raw).and_then(|text| match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(true),
                "false" | "0" | "no" => Some(false),
                _ => None,
            }),
        };
        if let Some(paying) = paying {
            self.set("paying", Some(Value::Bool(paying)));
        }
    }
}

/// A string with something in it, as long as it is kept.
fn text(raw: &str) -> Option<String> {
    let text = json::text_of(raw)?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.chars().take(CHARACTERS_MAX).collect())
}

/// The English name of the language that `text` is a tag of (`en-US`, `fr_CA`) or the name of;
/// anything else stays as it is.
fn language(text: &str) -> String {
    let code = text.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    let found = match code.len() {
        2 => Language::from_639_1(&code),
        3 => Language::from_639_3(&code),
        _ => None,
    };
    let by_name = || {
        let last = text.split_whitespace().next_back()?;
        let mut letters = last.chars();
        let first = letters.next()?;
        let name: String =
            first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect();
        Language::from_name(&name)
    };
    found.or_else(by_name).map_or_else(|| text.to_owned(), |language| short(language.to_name()))
}

/// Amplitude has one name per language, without what tells its kinds apart: `Modern Greek (1453-)`
/// is Greek, `Swahili (macrolanguage)` is Swahili.
fn short(name: &str) -> String {
    let name = name.split_once(" (").map_or(name, |(name, _)| name);
    name.strip_prefix("Modern ").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn told(built_in: &mut Properties, fields: &str, said: Said) -> String {
        let raw = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
        let changes = apply(built_in, Some(fields), false, said);
        let line =
            |change: Change| format!("{}: {} -> {}", change.name, raw(change.from), raw(change.to));
        changes.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_latest_event_wins_and_the_first_version_stays() {
        let mut built_in = Properties::new();
        let first = r#"{"platform":"iOS","app_version":"1.0","language":"en-US","library":"amplitude-swift/1.0","price":3,"ip":"1.1.1.1"}"#;
        assert_snapshot!(told(&mut built_in, first, Said::ByEvent), @r#"
        language: - -> "English"
        platform: - -> "iOS"
        start_version: - -> "1.0"
        version_name: - -> "1.0"
        "#);
        assert_snapshot!(told(&mut built_in, first, Said::ByEvent), @"");
        assert_eq!(library(Some(first)), "amplitude-swift/1.0");
        assert_eq!(library(Some("{}")), HTTP_LIBRARY);
        let next = r#"{"platform":"Web","version_name":"2.0","carrier":""}"#;
        assert_snapshot!(told(&mut built_in, next, Said::ByEvent), @r#"
        platform: "iOS" -> "Web"
        version_name: "1.0" -> "2.0"
        "#);
    }

    #[test]
    fn a_browser_says_what_it_is_where_the_event_does_not() {
        let mut built_in = Properties::new();
        let agent = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36";
        let web = format!(r#"{{"platform":"Web","user_agent":"{agent}"}}"#);
        assert_snapshot!(told(&mut built_in, &web, Said::ByEvent), @r#"
        device_family: - -> "Mac OSX"
        os_name: - -> "Chrome"
        os_version: - -> "137"
        platform: - -> "Web"
        "#);
        let app = format!(r#"{{"os_name":"ios","os_version":"17.2","user_agent":"{agent}"}}"#);
        assert_snapshot!(told(&mut built_in, &app, Said::ByEvent), @r#"
        os_name: "Chrome" -> "ios"
        os_version: "137" -> "17.2"
        "#);
        let unknown = r#"{"user_agent":"our-server/1"}"#;
        assert_snapshot!(told(&mut built_in, unknown, Said::ByEvent), @"");
    }

    #[test]
    fn a_digest_is_about_what_counts() {
        let of = |fields: &str| digest(Some(fields), false, Said::ByEvent);
        let plain = of(r#"{"platform":"iOS","ip":"1.1.1.1","price":3}"#);
        assert_eq!(plain, of(r#"{"platform":"iOS","ip":"2.2.2.2","quantity":1}"#));
        let names = PLAIN.iter().chain(&PLACE);
        assert!(names.into_iter().all(|name| slot(name).is_some()));
        for other in [
            r#"{"platform":"Web"}"#,
            r#"{"os_name":"iOS"}"#,
            r#"{"platform":"iOS","library":"x"}"#,
            r#"{"platform":"iOS","city":""}"#,
        ] {
            assert_ne!(plain, of(other), "{other}");
        }
        assert_ne!(plain, digest(Some(r#"{"platform":"iOS"}"#), true, Said::ByEvent));
    }

    #[test]
    fn a_place_is_taken_as_a_whole() {
        let mut built_in = Properties::new();
        let said = Said::ByIdentification;
        told(&mut built_in, r#"{"country":"Germany","city":"Berlin","region":"Berlin"}"#, said);
        assert_snapshot!(told(&mut built_in, r#"{"country":"France"}"#, said), @r#"
        city: "Berlin" -> -
        country: "Germany" -> "France"
        region: "Berlin" -> -
        "#);
        assert_snapshot!(told(&mut built_in, r#"{"platform":"Web"}"#, said), @r#"platform: - -> "Web""#);
    }

    #[test]
    fn paying_begins_with_revenue_and_identify_may_overrule_it() {
        assert!(has_revenue(Some(r#"{"$price":1}"#)));
        assert!(!has_revenue(Some(r#"{"price":1,"$revenue":null}"#)));
        assert!(!has_revenue(None));
        let mut built_in = Properties::new();
        apply(&mut built_in, None, true, Said::ByEvent);
        assert_eq!(built_in.get("paying"), Some(&Value::Bool(true)));
        told(&mut built_in, r#"{"paying":"false","start_version":"0.1"}"#, Said::ByIdentification);
        assert_eq!(built_in.get("paying"), Some(&Value::Bool(false)));
        assert_eq!(built_in.get("start_version"), Some(&Value::String("0.1".into())));
        apply(&mut built_in, None, true, Said::ByEvent);
        assert_eq!(built_in.get("paying"), Some(&Value::Bool(false)), "set by hand");
    }

    #[test]
    fn languages_have_one_english_name() {
        let cases = [
            ("en-US", "English"),
            ("en_GB", "English"),
            ("american english", "English"),
            ("es-419", "Spanish"),
            ("fr_CA", "French"),
            ("zh-Hans-CN", "Chinese"),
            ("he", "Hebrew"),
            ("el", "Greek"),
            ("German", "German"),
            ("sw", "Swahili"),
            ("Klingonese", "Klingonese"),
            ("x", "x"),
        ];
        for (text, name) in cases {
            assert_eq!(language(text), name, "{text}");
        }
    }
}
