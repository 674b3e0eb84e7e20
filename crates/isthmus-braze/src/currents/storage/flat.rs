//! Flat records, as files have them, in canonical form.
//!
//! | file | canonical |
//! | --- | --- |
//! | `id`, `time` | the same |
//! | `user_id`, `external_user_id`, `device_id`, `timezone` | of the user |
//! | `properties` of custom events and purchases, JSON text | `custom_properties`, `purchase_properties`, an object |
//! | `canvas_step_message_variation_id` | `canvas_step_message_variation_api_id`, on types that have it |
//! | null | absent |
//! | what the HTTP form has not | `other.properties` |
//! | the rest | a property |

use super::super::catalogue::{self, Known};
use super::super::received::{Head, Received, Unusable, present, push_name, read_event, scalar};
use isthmus_core::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write;

const STEP_VARIATION: &str = "canvas_step_message_variation_id";
const STEP_VARIATION_HTTP: &str = "canvas_step_message_variation_api_id";

/// Members of a user, in both forms.
const OF_USER: [&str; 4] = ["user_id", "external_user_id", "device_id", "timezone"];

/// Where a field of a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Id,
    Time,
    /// Place in [`OF_USER`].
    User(usize),
    Property,
    /// A property by another name.
    Renamed(&'static str),
    /// JSON text that becomes the object of this name.
    Own(&'static str),
    /// Not part of the HTTP form.
    InFilesOnly,
}

impl Route {
    /// Where `field` goes on a type that is known, or not.
    pub(super) fn of(field: &str, known: Option<&'static Known>) -> Self {
        match field {
            "id" => return Self::Id,
            "time" => return Self::Time,
            _ => {}
        }
        if let Some(place) = OF_USER.iter().position(|name| *name == field) {
            return Self::User(place);
        }
        // A type that is only written to files has no other form to be compared with.
        let Some(about) = known.map(|known| &known.about).filter(|about| about.http.is_some())
        else {
            return Self::Property;
        };
        match &about.own_properties {
            Some(name) if field == "properties" => Self::Own(name),
            _ if about.has_property(field) => Self::Property,
            _ if field == STEP_VARIATION && about.has_property(STEP_VARIATION_HTTP) => {
                Self::Renamed(STEP_VARIATION_HTTP)
            }
            _ => Self::InFilesOnly,
        }
    }
}

/// A record that is being read. It is used again for the next, and so are its buffers.
#[derive(Debug, Default)]
pub(super) struct Flat {
    /// Raw.
    id: String,
    time: String,
    user: [String; 4],
    /// Members, each behind a comma but the first.
    properties: String,
    in_files_only: String,
}

impl Flat {
    fn clear(&mut self) {
        let Self { id, time, user, properties, in_files_only } = self;
        for text in [id, time, properties, in_files_only].into_iter().chain(user) {
            text.clear();
        }
    }

    /// Bytes that were taken.
    pub(super) fn bytes(&self) -> usize {
        self.properties.len() + self.in_files_only.len()
    }

    /// Takes the raw value of a field.
    pub(super) fn push(&mut self, route: Route, field: &str, raw: &str) {
        let Some(raw) = present(raw) else { return };
        let (out, name) = match route {
            Route::Id => return raw.clone_into(&mut self.id),
            Route::Time => return raw.clone_into(&mut self.time),
            Route::User(place) => {
                if let Some(text) = self.user.get_mut(place) {
                    raw.clone_into(text);
                }
                return;
            }
            Route::Property => (&mut self.properties, field),
            Route::Renamed(name) => (&mut self.properties, name),
            Route::Own(name) => {
                push_name_of(&mut self.properties, name);
                match json::text_of(raw).as_deref().and_then(object_in) {
                    Some(object) => self.properties.push_str(object),
                    None => self.properties.push_str(raw),
                }
                return;
            }
            Route::InFilesOnly => (&mut self.in_files_only, field),
        };
        push_name_of(out, name);
        out.push_str(raw);
    }

    /// The event that was taken, and room for the next.
    pub(super) fn finish(
        &mut self,
        event_type: Option<&str>,
    ) -> Result<Received<'static>, Unusable<'static>> {
        let mut head = Head {
            event_type: event_type.map(Cow::Borrowed),
            id: scalar(&self.id),
            time: Some(self.time.as_str()).filter(|raw| !raw.is_empty()),
            ..Head::default()
        };
        for (name, raw) in OF_USER.iter().zip(&self.user) {
            head.set_user(name, raw);
        }
        let properties = format!("{{{}}}", self.properties);
        let other = (!self.in_files_only.is_empty())
            .then(|| Cow::Owned(format!("{{\"properties\":{{{}}}}}", self.in_files_only)));
        let finished = head.finish(Cow::Owned(properties), other).map(Received::into_owned);
        let finished = finished.map_err(|reason| Unusable { raw: Cow::Owned(self.raw()), reason });
        self.clear();
        finished
    }

    /// What was taken, as one object.
    fn raw(&self) -> String {
        let mut out = String::from("{");
        let fields = [("id", &self.id), ("time", &self.time)];
        for (name, raw) in fields.into_iter().chain(OF_USER.into_iter().zip(&self.user)) {
            if !raw.is_empty() {
                push_name(&mut out, name);
                out.push_str(raw);
            }
        }
        for members in [&self.properties, &self.in_files_only] {
            if !members.is_empty() {
                out.push_str(if out.len() > 1 { "," } else { "" });
                out.push_str(members);
            }
        }
        out.push('}');
        out
    }
}

/// Appends the name of a member, behind a comma but for the first.
fn push_name_of(out: &mut String, name: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    json::push_text(out, name);
    out.push(':');
}

/// The raw object that `text` is.
fn object_in(text: &str) -> Option<&str> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    Some(raw.get()).filter(|raw| raw.starts_with('{'))
}

/// Reads one event of a JSON file: in the HTTP form, or as a flat record, whose type the path of the
/// file tells.
pub fn read_json_line<'a>(
    line: &'a str,
    event_type_from_path: Option<&str>,
) -> Result<Received<'a>, Unusable<'a>> {
    let unusable = |reason: String| Unusable { raw: Cow::Borrowed(line), reason };
    let raw: &RawValue =
        serde_json::from_str(line).map_err(|error| unusable(format!("not JSON: {error}")))?;
    let raw = raw.get();
    if !raw.starts_with('{') {
        return Err(unusable("not an object".to_owned()));
    }
    let own_type = json::member(raw, "event_type").and_then(json::text_of);
    let is_flat = json::members(raw).any(|(key, _)| OF_USER.contains(&key.as_ref()));
    if own_type.is_some() && !is_flat {
        return read_event(raw);
    }
    let event_type = own_type.as_deref().or(event_type_from_path);
    let known = event_type.and_then(catalogue::known);
    let mut flat = Flat::default();
    let mut last: Vec<(Cow<'_, str>, &str)> = Vec::new();
    for (key, value) in json::members(raw).filter(|(key, _)| key != "event_type") {
        match last.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => last.push((key, value)),
        }
    }
    let mut number = String::new();
    for (key, value) in last {
        let is_single = known.is_some_and(|known| known.about.is_single_precision(&key));
        let single = if is_single { value.parse().ok().and_then(single_of) } else { None };
        if let Some(single) = single {
            number.clear();
            write!(number, "{single}").expect("a String takes any text");
        }
        let value = if single.is_some() { number.as_str() } else { value };
        flat.push(Route::of(&key, known), &key, value);
    }
    flat.finish(event_type).map_err(|unusable| Unusable { raw: Cow::Borrowed(line), ..unusable })
}

/// The 32-bit number that `number` is exactly: 19.989999771118164 is 19.99.
#[expect(clippy::cast_possible_truncation, reason = "whether anything is lost is the question")]
fn single_of(number: f64) -> Option<f32> {
    let single = number as f32;
    (single.is_finite() && f64::from(single).to_bits() == number.to_bits()).then_some(single)
}
