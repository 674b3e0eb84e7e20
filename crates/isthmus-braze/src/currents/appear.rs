//! What Amplitude shows of a Currents event: the event that Braze's own connector would have sent.
//!
//! | Amplitude | from |
//! | --- | --- |
//! | `event_type` | prefix and label of the catalogue; prefix and own name for custom events |
//! | `user_id`, `insert_id`, `time` | `external_user_id`, `id`, the time in milliseconds |
//! | `device_id` | the device, on types that tell it |
//! | `library` | the constant `Braze` |
//! | `idfa`, `adid` | `ad_id`, by its `ad_id_type` |
//! | `price`, `productId` | purchases; `productId` on inbound WhatsApp messages too |
//! | event properties | the properties that the catalogue lists, and those that nobody has heard of; customers' own ones with a prefix |
//!
//! Sources are the partner page "Amplitude for Currents" and the event glossaries (Braze
//! documentation, read 2026-09). Types and fields without such a document are inferred.

use super::catalogue::{self, ExportKind, Known, PROPERTIES_MAX, Role, TopLevel};
use super::facts::Facts;
use super::label;
use super::received::{Received, push_name, scalar};
use isthmus_core::json;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Write;

/// What is never an event property: who it was is told beside them, and Braze's own id nowhere.
const IDENTITY: [&str; 3] = ["user_id", "external_user_id", "device_id"];

/// How events are shown. The default is what Braze's own connector does.
///
/// It is stored field by field: append only, and with a new version of what holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Form {
    /// What event types begin with: `[Appboy] `.
    pub event_prefix: String,
    /// What the names of custom events are put behind: `[Appboy] [Custom Event] `.
    pub custom_event_prefix: String,
    /// What keys of a custom event's own properties are put behind: `[Custom event property] `.
    pub custom_event_property_prefix: String,
    /// What keys of a purchase's own properties are put behind: `[Purchase property] `.
    pub purchase_property_prefix: String,
    /// `LINE Click` and `RCS Click` in place of the documented `Click`, which both share.
    pub qualified_channel_names: bool,
    /// Show what only files have (`carrier`, `country`, `sdk_version`, ...), and what nobody has
    /// heard of in files.
    pub pass_unknown_storage_fields: bool,
    /// Fill Amplitude's own `platform`, `os_name`, `os_version` and `device_model` too.
    pub top_level_device_facts: bool,
    /// Fill Amplitude's own `currency` of a purchase too.
    pub top_level_currency: bool,
    /// Show runs of agents, profile updates and orphaned profiles as events.
    pub optional_types: bool,
    /// Do not show types that nobody has heard of.
    pub hold_back_unknown_types: bool,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            event_prefix: "[Appboy] ".to_owned(),
            custom_event_prefix: "[Appboy] [Custom Event] ".to_owned(),
            custom_event_property_prefix: "[Custom event property] ".to_owned(),
            purchase_property_prefix: "[Purchase property] ".to_owned(),
            qualified_channel_names: false,
            pass_unknown_storage_fields: false,
            top_level_device_facts: false,
            top_level_currency: false,
            optional_types: false,
            hold_back_unknown_types: false,
        }
    }
}

/// Whether Braze's connector would have sent the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// The form is documented.
    Documented,
    /// The type is newer than the documentation, or unknown; the form is inferred.
    Expected,
    No {
        reason: &'static str,
    },
}

/// What Amplitude shows of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appearance<'a> {
    /// Prefix included.
    pub event_type: String,
    /// Whether Amplitude is told the device, where there is one.
    pub device_id: bool,
    /// Raw JSON object.
    pub event_properties: String,
    /// Raw JSON object of fields beside the event properties, identity and time: `library`,
    /// `price`, `productId`, `idfa`, `adid`, ...
    pub top_level: String,
    /// Own properties were there and were no object; they are kept under the bare prefix.
    pub own_properties_unreadable: bool,
    pub facts: Facts<'a>,
    pub export: Export,
}

/// What Amplitude shows of `event` in `form`.
///
/// It is answered for events too that are not exported, as far as there is an answer.
pub fn appear<'a>(event: &'a Received<'_>, form: &Form) -> Appearance<'a> {
    let known = catalogue::known(&event.event_type);
    let found = Found::read(event, known, form);
    let device_id = known.is_none_or(|known| known.about.device_id);
    let (event_properties, own_properties_unreadable) = found.event_properties(event, known, form);
    Appearance {
        event_type: found.event_type(event, known, form),
        device_id,
        event_properties,
        top_level: found.top_level(known, form),
        own_properties_unreadable,
        export: export(event, known, device_id, form),
        facts: found.facts,
    }
}

impl Appearance<'_> {
    /// The event as Amplitude's upload API takes it: a raw JSON object.
    pub fn upload(&self, event: &Received<'_>) -> String {
        let mut out = String::with_capacity(self.event_properties.len() + 256);
        out.push('{');
        let device_id = event.device_id.as_deref().filter(|_| self.device_id);
        for (name, text) in [
            ("user_id", event.external_user_id.as_deref()),
            ("device_id", device_id),
            ("event_type", Some(self.event_type.as_str())),
        ] {
            if let Some(text) = text {
                push_name(&mut out, name);
                json::push_text(&mut out, text);
            }
        }
        write!(out, ",\"time\":{},\"insert_id\":", event.time).expect("a String takes any text");
        json::push_text(&mut out, &event.id);
        let beside = self.top_level.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        for members in beside.into_iter().filter(|members| !members.is_empty()) {
            out.push(',');
            out.push_str(members);
        }
        out.push_str(",\"event_properties\":");
        out.push_str(&self.event_properties);
        out.push('}');
        out
    }
}

/// Whether the event is one that Braze's connector sends.
fn export(
    event: &Received<'_>,
    known: Option<&'static Known>,
    device_id: bool,
    form: &Form,
) -> Export {
    let reason = match known.map(|known| (known.about.export(), known.about.reason())) {
        Some((ExportKind::No, reason)) => reason,
        Some((ExportKind::Optional, reason)) if !form.optional_types => reason,
        None if form.hold_back_unknown_types => Some("unknown event type"),
        _ => None,
    };
    let is_somebody = event.external_user_id.is_some() || (device_id && event.device_id.is_some());
    match (reason, known) {
        (Some(reason), _) => Export::No { reason },
        _ if is_somebody => match known.map(|known| known.about.export()) {
            Some(ExportKind::Documented) => Export::Documented,
            _ => Export::Expected,
        },
        _ => Export::No { reason: "nobody to attach it to" },
    }
}

/// What was found in the properties of one event, in one walk.
struct Found<'a> {
    facts: Facts<'a>,
    /// Raw values of the event properties that the type lists.
    slots: [Option<&'a str>; PROPERTIES_MAX],
    /// Properties of an unknown type, and unknown ones of a known type.
    rest: Vec<(Cow<'a, str>, &'a str)>,
    own: Option<&'a str>,
    name: Option<&'a str>,
    price: Option<&'a str>,
    product_id: Option<&'a str>,
    ad_id: Option<&'a str>,
    ad_id_type: Option<&'a str>,
    currency: Option<&'a str>,
    device: Device<'a>,
}

#[derive(Default)]
struct Device<'a> {
    platform: Option<&'a str>,
    os_version: Option<&'a str>,
    model: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn read(event: &'a Received<'_>, known: Option<&Known>, form: &Form) -> Self {
        let mut found = Self {
            facts: Facts::new(&event.event_type),
            slots: [None; PROPERTIES_MAX],
            rest: Vec::new(),
            own: None,
            name: None,
            price: None,
            product_id: None,
            ad_id: None,
            ad_id_type: None,
            currency: None,
            device: Device::default(),
        };
        for (key, raw) in json::members(&event.properties) {
            found.facts.take(&key, raw);
            found.take(key, raw, known, form);
        }
        if form.pass_unknown_storage_fields {
            let in_files_only =
                event.other.as_deref().and_then(|other| json::member(other, "properties"));
            for (key, raw) in in_files_only.into_iter().flat_map(json::members) {
                found.keep(key, raw);
            }
        }
        found
    }

    fn take(&mut self, key: Cow<'a, str>, raw: &'a str, known: Option<&Known>, form: &Form) {
        let value = Some(raw).filter(|raw| *raw != "null");
        match key.as_ref() {
            "ad_id" => self.ad_id = value,
            "ad_id_type" => self.ad_id_type = value,
            "currency" => self.currency = value,
            "platform" => self.device.platform = value,
            "os_version" => self.device.os_version = value,
            "device_model" => self.device.model = value,
            _ => {}
        }
        match known.map(|known| known.roles.get(key.as_ref())) {
            Some(Some(Role::Property(at))) => {
                if let Some(slot) = self.slots.get_mut(*at) {
                    *slot = value;
                }
            }
            Some(Some(Role::Own)) => self.own = value,
            Some(Some(Role::Name)) => self.name = value,
            Some(Some(Role::Price)) => self.price = value,
            Some(Some(Role::ProductId)) => self.product_id = value,
            Some(Some(Role::LeftOut)) => {}
            Some(Some(Role::StorageOnly)) if !form.pass_unknown_storage_fields => {}
            Some(Some(Role::StorageOnly) | None) | None => self.keep(key, raw),
        }
    }

    /// Keeps a property of which no list says what becomes of it; the last of its name counts.
    fn keep(&mut self, key: Cow<'a, str>, raw: &'a str) {
        if IDENTITY.contains(&key.as_ref()) {
            return;
        }
        match self.rest.iter_mut().find(|(known, _)| *known == key) {
            Some((_, last)) => *last = raw,
            None => self.rest.push((key, raw)),
        }
    }

    fn event_type(&self, event: &Received<'_>, known: Option<&Known>, form: &Form) -> String {
        let Some(about) = known.map(|known| &known.about) else {
            return format!("{}{}", form.event_prefix, label::label_of(&event.event_type));
        };
        if about.named_by.is_some() {
            let name = self.name.and_then(scalar).unwrap_or_default();
            let named = format!("{}{name}", form.custom_event_prefix);
            return if name.is_empty() { named.trim_end().to_owned() } else { named };
        }
        let qualified = about.qualified_label.as_deref().filter(|_| form.qualified_channel_names);
        match qualified.or(about.label.as_deref()) {
            Some(label) => format!("{}{label}", form.event_prefix),
            None => format!("{}{}", form.event_prefix, label::label_of(&event.event_type)),
        }
    }

    /// The raw object, and whether own properties were none.
    fn event_properties(
        &self,
        event: &Received<'_>,
        known: Option<&Known>,
        form: &Form,
    ) -> (String, bool) {
        let mut out = String::with_capacity(event.properties.len() + 64);
        out.push('{');
        for (at, member) in known.into_iter().flat_map(|known| known.members.iter().enumerate()) {
            if known.is_some_and(|known| known.timezone_at == Some(at)) {
                if let Some(timezone) = &event.timezone {
                    open(&mut out, member);
                    json::push_text(&mut out, timezone);
                }
            } else if let Some(raw) = self.slots.get(at).copied().flatten() {
                open(&mut out, member);
                out.push_str(raw);
            }
        }
        let unreadable = self.push_own(&mut out, known, form);
        for (key, raw) in self.rest.iter().filter(|(_, raw)| *raw != "null") {
            push_name(&mut out, key);
            out.push_str(raw);
        }
        out.push('}');
        (out, unreadable)
    }

    /// Appends what customers define themselves; `true` when it was no object.
    fn push_own(&self, out: &mut String, known: Option<&Known>, form: &Form) -> bool {
        let Some(own) = self.own else { return false };
        let is_custom_event = known.is_some_and(|known| known.about.named_by.is_some());
        let prefix = if is_custom_event {
            &form.custom_event_property_prefix
        } else {
            &form.purchase_property_prefix
        };
        if !own.starts_with('{') {
            push_name(out, prefix.trim_end());
            out.push_str(own);
            return true;
        }
        let mut key = prefix.clone();
        for (name, raw) in json::members(own).filter(|(_, raw)| *raw != "null") {
            key.truncate(prefix.len());
            key.push_str(&name);
            push_name(out, &key);
            out.push_str(raw);
        }
        false
    }

    fn top_level(&self, known: Option<&Known>, form: &Form) -> String {
        let TopLevel { advertising_id, price } =
            known.map(|known| known.top_level).unwrap_or_default();
        let mut out = String::from("{\"library\":\"Braze\"");
        let mut push = |name: &str, raw: &str| {
            push_name(&mut out, name);
            out.push_str(raw);
        };
        if let Some(price) = self.price.and_then(number) {
            push("price", &price);
        }
        if let Some(product_id) = self.product_id.filter(|raw| *raw != "\"\"") {
            push("productId", product_id);
        }
        if let Some(currency) = self.currency.filter(|_| price && form.top_level_currency) {
            push("currency", currency);
        }
        let kind = self.ad_id_type.filter(|_| advertising_id).and_then(scalar);
        let name = match kind.as_deref() {
            Some("ios_idfa") => Some("idfa"),
            Some("google_ad_id") => Some("adid"),
            _ => None,
        };
        if let (Some(name), Some(ad_id)) = (name, self.ad_id) {
            push(name, ad_id);
        }
        if form.top_level_device_facts {
            self.device.push(push);
        }
        out.push('}');
        out
    }
}

impl Device<'_> {
    /// Amplitude's spelling is inferred from what its own SDKs send.
    fn push(&self, mut push: impl FnMut(&str, &str)) {
        if let Some(platform) = self.platform {
            let (shown, system) = match platform {
                "\"ios\"" => ("\"iOS\"", Some("\"ios\"")),
                "\"android\"" => ("\"Android\"", Some("\"android\"")),
                "\"web\"" => ("\"Web\"", None),
                other => (other, None),
            };
            push("platform", shown);
            if let Some(system) = system {
                push("os_name", system);
            }
        }
        for (name, value) in [("os_version", self.os_version), ("device_model", self.model)] {
            if let Some(value) = value {
                push(name, value);
            }
        }
    }
}

/// Appends a comma where one is needed, and a member's name.
fn open(out: &mut String, member: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    out.push_str(member);
}

/// A raw number, or the number that a raw text is.
fn number(raw: &str) -> Option<Cow<'_, str>> {
    if matches!(raw.as_bytes().first(), Some(b'-' | b'0'..=b'9')) {
        return Some(Cow::Borrowed(raw));
    }
    let text = json::text_of(raw)?;
    let is_number = serde_json::from_str::<serde_json::Number>(&text).is_ok();
    is_number.then_some(text)
}

#[cfg(test)]
mod tests;
