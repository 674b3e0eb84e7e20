//! What we know of each Currents event type: its fields in both forms, and what Amplitude shows of it.
//!
//! The table is `catalogue.json` beside this file, one type per line, derived from Braze's event
//! glossaries and public sample files (read 2026-09). [`find`] looks a type up by its name.

use super::label;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("catalogue.json");

/// Most event properties that a type may list: they are gathered on the stack.
pub(super) const PROPERTIES_MAX: usize = 64;

static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::parse(TABLE).expect("the table in the program is sound"));

/// One event type, as the table has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventType {
    /// `users.messages.email.Open`.
    pub event_type: String,
    /// `message_engagement`, `customer_behavior` or `user_profile`.
    pub family: String,
    /// The chapter of the documentation that it is in: `email`, `push`, `canvas`, ...
    pub group: String,
    /// `current`, `deprecated`, `retired`, `announced_in_samples` or `sample_only_2021`.
    pub status: String,
    /// The Currents release that brought it; 2 or none for those that were always there.
    #[serde(default)]
    pub since: Option<u32>,
    export: ExportKind,
    #[serde(default)]
    reason: Option<String>,
    /// The name that Amplitude shows, without prefix. None for custom events, which bring their
    /// own, and for types that are never exported.
    #[serde(default)]
    pub label: Option<String>,
    /// The property that names the event, on custom events.
    #[serde(default)]
    pub named_by: Option<String>,
    /// `documented` or `inferred`.
    #[serde(default)]
    pub label_basis: Option<String>,
    /// The label with the name of its channel, where the documented one lacks it.
    #[serde(default)]
    pub qualified_label: Option<String>,
    /// Whether Amplitude is told the device.
    pub device_id: bool,
    /// Event properties in Amplitude, in the order of the alphabet.
    #[serde(default)]
    pub event_properties: Vec<String>,
    /// Those of them that are newer than the documentation of the connector to Amplitude.
    #[serde(default)]
    pub inferred_properties: Vec<String>,
    /// Amplitude's name to Braze's, where they differ.
    #[serde(default)]
    pub renamed_from: BTreeMap<String, String>,
    /// Amplitude's fields beside the event properties: `adid`, `idfa`, `price`, `productId`.
    #[serde(default)]
    pub top_level: Vec<String>,
    /// The property that holds what customers define themselves, in the HTTP form.
    #[serde(default)]
    pub own_properties: Option<String>,
    /// Fields that Amplitude is not told although its neighbours are.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// None for a type that is only written to storage.
    #[serde(default)]
    pub http: Option<HttpForm>,
    /// Field to Avro type; a `?` behind it says that it may be null.
    pub storage: BTreeMap<String, String>,
    /// Storage fields that are personal data.
    #[serde(default)]
    pub pii: Vec<String>,
}

/// The members of an event that is posted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpForm {
    /// `sample`, `glossary` or `inferred`.
    pub basis: String,
    /// Members of `user`.
    pub user: Vec<String>,
    /// Members of `properties`.
    pub properties: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExportKind {
    /// Documented for Amplitude.
    Documented,
    /// Newer than the documentation, and likely.
    Expected,
    /// Possible, and off unless asked for.
    Optional,
    No,
}

/// An event type and its tables.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) about: EventType,
    /// What becomes of each property of the HTTP form.
    pub(super) roles: FxHashMap<&'static str, Role>,
    /// `"campaign_id":`, one for each of `about.event_properties`.
    pub(super) members: Vec<String>,
    /// Which of them is the time zone, which is a member of `user`.
    pub(super) timezone_at: Option<usize>,
    pub(super) top_level: TopLevel,
    /// `mark_as_spam`.
    pub(super) action: String,
}

/// What becomes of a property in Amplitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The event property at this place of the list.
    Property(usize),
    /// Known, and not passed on.
    LeftOut,
    /// Known in files only, and not passed on unless asked for.
    StorageOnly,
    /// An object of properties that customers define.
    Own,
    /// The name of a custom event.
    Name,
    /// Amplitude has a field for it.
    Price,
    ProductId,
}

/// Which fields beside the event properties a type fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TopLevel {
    pub(super) advertising_id: bool,
    pub(super) price: bool,
}

#[derive(Debug)]
struct Catalogue {
    /// In the order of the table.
    types: Vec<Known>,
    places: FxHashMap<&'static str, usize>,
}

/// All event types, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static EventType> {
    CATALOGUE.types.iter().map(|known| &known.about)
}

/// The event type called `name`; none for one that we have not heard of.
pub fn find(name: &str) -> Option<&'static EventType> {
    known(name).map(|known| &known.about)
}

pub(super) fn known(name: &str) -> Option<&'static Known> {
    CATALOGUE.places.get(name).and_then(|place| CATALOGUE.types.get(*place))
}

impl EventType {
    pub(super) fn export(&self) -> ExportKind {
        self.export
    }

    /// Why it is not exported, or only when asked for.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether `field` is a 32-bit number in files.
    pub(super) fn is_single_precision(&self, field: &str) -> bool {
        self.storage.get(field).is_some_and(|kind| kind.trim_end_matches('?') == "float")
    }

    /// Whether the HTTP form has the property `name`.
    pub(super) fn has_property(&self, name: &str) -> bool {
        self.http.as_ref().is_some_and(|http| http.properties.iter().any(|known| known == name))
    }
}

impl Catalogue {
    fn parse(table: &'static str) -> serde_json::Result<Self> {
        let types: Vec<EventType> = serde_json::from_str(table)?;
        let types: Vec<Known> = types.into_iter().map(Known::new).collect();
        let places =
            types.iter().enumerate().map(|(at, known)| (name_of(&known.about.event_type), at));
        Ok(Self { places: places.collect(), types })
    }
}

/// A name that lives as long as the program, as the catalogue does.
fn name_of(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

impl Known {
    fn new(about: EventType) -> Self {
        let mut roles = FxHashMap::default();
        for field in about.storage.keys() {
            let in_files_only = about.http.is_some() && !about.has_property(field);
            let role = if in_files_only { Role::StorageOnly } else { Role::LeftOut };
            roles.insert(name_of(field), role);
        }
        for name in about.http.iter().flat_map(|http| &http.properties) {
            roles.insert(name_of(name), Role::LeftOut);
        }
        for name in ["id", "time", "user_id", "external_user_id", "device_id", "timezone"] {
            roles.insert(name, Role::LeftOut);
        }
        let mut members = Vec::with_capacity(about.event_properties.len());
        let mut timezone_at = None;
        for (at, name) in about.event_properties.iter().enumerate() {
            members.push(format!("\"{name}\":"));
            if name == "timezone" {
                timezone_at = Some(at);
            } else {
                let source = about.renamed_from.get(name).unwrap_or(name);
                roles.insert(name_of(source), Role::Property(at));
            }
        }
        let mut top_level = TopLevel::default();
        for field in &about.top_level {
            match field.as_str() {
                "price" => {
                    top_level.price = true;
                    roles.insert("price", Role::Price);
                }
                "productId" => {
                    roles.insert("product_id", Role::ProductId);
                }
                _ => top_level.advertising_id = true,
            }
        }
        if let Some(name) = &about.own_properties {
            roles.insert(name_of(name), Role::Own);
        }
        if let Some(name) = &about.named_by {
            roles.insert(name_of(name), Role::Name);
        }
        let action = label::action_of(&about.event_type);
        Self { about, roles, members, timezone_at, top_level, action }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_type_is_found_by_its_name() {
        assert_eq!(all().count(), 111);
        for about in all() {
            assert_eq!(find(&about.event_type), Some(about));
        }
        assert_eq!(find("users.messages.email"), None);
    }

    #[test]
    fn every_event_property_comes_from_a_field_that_braze_sends() {
        for about in all() {
            assert!(about.event_properties.is_sorted(), "{}", about.event_type);
            assert!(about.event_properties.len() <= PROPERTIES_MAX, "{}", about.event_type);
            for name in &about.event_properties {
                let source = about.renamed_from.get(name).unwrap_or(name);
                let of_user = about.http.iter().any(|http| http.user.contains(source));
                assert!(
                    about.has_property(source) || (of_user && source == "timezone"),
                    "{}: {name}",
                    about.event_type
                );
            }
        }
    }

    #[test]
    fn what_is_exported_has_a_name_and_what_is_not_a_reason() {
        for about in all() {
            let is_named = about.label.is_some() != about.named_by.is_some();
            let EventType { event_type, export, .. } = about;
            assert_eq!(is_named, *export != ExportKind::No, "{event_type}");
            let needs_reason = matches!(export, ExportKind::No | ExportKind::Optional);
            assert_eq!(about.reason().is_some(), needs_reason, "{event_type}");
        }
    }

    /// Point 4 of what Braze's connector to Amplitude does: few types tell the time zone.
    #[test]
    fn the_time_zone_is_told_by_few_types() {
        let groups: BTreeSet<&str> = all()
            .filter(|about| about.event_properties.iter().any(|name| name == "timezone"))
            .map(|about| match about.group.as_str() {
                group @ ("banner" | "line") => group,
                _ => about.event_type.as_str(),
            })
            .collect();
        let expected = [
            "banner",
            "line",
            "users.behaviors.subscription.GlobalStateChange",
            "users.behaviors.subscriptiongroup.StateChange",
            "users.messages.email.Deferral",
            "users.messages.featureflag.Impression",
            "users.messages.whatsapp.Click",
        ];
        assert_eq!(groups, expected.into());
    }
}
