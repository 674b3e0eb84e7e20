//! The body of a profile: `amplitude-read.md` 2.2 to 2.5. Every member is always there; what was not
//! asked for is null.

use super::parts::{Computations, ProfileParts, PropensityType, Recommendation, Whose};
use super::query::Query;
use isthmus_core::json::{self, push_text};
use isthmus_core::{AmplitudeId, Timestamp};
use isthmus_state::people::Person;
use std::borrow::Cow;

const DAY_MILLIS: i64 = 86_400_000;

/// The answer to `query` about `person`.
pub(super) fn body(
    project: &str,
    id: AmplitudeId,
    person: &Person,
    query: &Query,
    parts: &dyn ProfileParts,
) -> String {
    let whose = Whose { project, person: id };
    let mut out =
        String::with_capacity(person.custom.text.len() + person.built_in.text.len() + 512);
    out.push_str("{\"userData\":{\"recommendations\":");
    push_recommendations(&mut out, &recommendations(whose, query, parts));
    out.push_str(",\"user_id\":");
    push_or_null(&mut out, person.user_id.as_deref());
    out.push_str(",\"device_id\":");
    let asked = query.device_id.as_ref().filter(|id| person.devices.contains(*id));
    push_or_null(&mut out, asked.or(person.devices.last()).map(String::as_str));
    out.push_str(",\"amp_props\":");
    push_properties(&mut out, whose, person, query, parts);
    out.push_str(",\"cohort_ids\":");
    if query.cohort_ids {
        push_list(&mut out, &parts.cohort_ids(whose));
    } else {
        out.push_str("null");
    }
    if !query.prediction_ids.is_empty() {
        push_propensities(&mut out, whose, query, parts);
    }
    out.push_str("}}");
    out
}

fn recommendations(
    whose: Whose<'_>,
    query: &Query,
    parts: &dyn ProfileParts,
) -> Vec<Recommendation> {
    if query.rec_ids.is_empty() {
        return Vec::new();
    }
    parts.recommendations(whose, &query.rec_ids, query.rec_type)
}

fn push_recommendations(out: &mut String, found: &[Recommendation]) {
    if found.is_empty() {
        out.push_str("null");
        return;
    }
    let list = found.iter().map(|each| {
        serde_json::json!({
            "rec_id": each.rec_id,
            "child_rec_id": each.child_rec_id,
            "items": each.items,
            "is_control": each.is_control,
            "recommendation_source": each.source,
            "last_updated": each.last_updated,
        })
    });
    out.push_str(&serde_json::Value::Array(list.collect()).to_string());
}

/// Properties, then computations, in one object. Where a name is in both, the property that was
/// sent stays: two members of one name are read in two ways.
fn push_properties(
    out: &mut String,
    whose: Whose<'_>,
    person: &Person,
    query: &Query,
    parts: &dyn ProfileParts,
) {
    if !query.properties && !query.wants_computations() {
        out.push_str("null");
        return;
    }
    let mut members = Members { out, first: true };
    members.out.push('{');
    let properties = if query.properties { person.properties() } else { Cow::Borrowed("") };
    let shown: Vec<_> = json::members(&properties).collect();
    if query.properties {
        for (name, value) in &shown {
            members.push_raw(name, value);
        }
        push_known(&mut members, &shown, person);
    }
    if query.wants_computations() {
        let which = if query.comp_ids.is_empty() {
            Computations::All
        } else {
            Computations::Named(&query.comp_ids)
        };
        for (name, value) in parts.computations(whose, which) {
            if value_of(&shown, &name).is_none() {
                members.push(&name, value.as_deref());
            }
        }
    }
    out.push('}');
}

/// Name and raw value of a property.
type Member<'a> = (Cow<'a, str>, &'a str);

/// As JSON parsers resolve repeated names.
fn value_of<'a>(shown: &[Member<'a>], name: &str) -> Option<&'a str> {
    shown.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
}

/// What is known beside the properties, under the names that Amplitude shows; where a property has
/// the name, the property stays.
fn push_known(members: &mut Members<'_>, shown: &[Member<'_>], person: &Person) {
    let text = |name: &str| value_of(shown, name).and_then(json::text_of);
    let mut push = |name: &str, value: Option<&str>| {
        if let Some(value) = value
            && value_of(shown, name).is_none()
        {
            members.push(name, Some(value));
        }
    };
    push("library", person.library.as_deref());
    push("first_used", person.first_event_time.map(day_of).as_deref());
    let last = person.last_event_day.map(|day| day_of(day.saturating_mul(DAY_MILLIS)));
    push("last_used", last.as_deref());
    push("version", text("version_name").as_deref());
    push("device", text("device_model").or_else(|| text("device_family")).as_deref());
    let os = match (text("os_name"), text("os_version")) {
        (Some(name), Some(version)) => Some(format!("{name} {version}")),
        (name, _) => name.map(Cow::into_owned),
    };
    push("os", os.as_deref());
}

/// `YYYY-MM-DD`, UTC.
fn day_of(millis: i64) -> String {
    let mut day = Timestamp::from_millis(millis).to_string();
    day.truncate(day.find('T').unwrap_or(day.len()));
    day
}

fn push_propensities(out: &mut String, whose: Whose<'_>, query: &Query, parts: &dyn ProfileParts) {
    let kind = query.propensity_type.unwrap_or(PropensityType::Score);
    let scores = parts.propensities(whose, &query.prediction_ids, kind);
    let prop_type = match kind {
        PropensityType::Score => "score",
        PropensityType::Percentile => "pct",
    };
    let one = match (query.prediction_ids.as_slice(), scores.as_slice()) {
        ([_], [(_, score)]) => serde_json::json!(score),
        _ => serde_json::Value::Null,
    };
    let list = scores.iter().map(
        |(id, score)| serde_json::json!({ "prop": score, "pred_id": id, "prop_type": prop_type }),
    );
    out.push_str(",\"propensity\":");
    out.push_str(&one.to_string());
    out.push_str(",\"propensities\":");
    out.push_str(&serde_json::Value::Array(list.collect()).to_string());
}

/// Members of an object that is being written.
struct Members<'a> {
    out: &'a mut String,
    first: bool,
}

impl Members<'_> {
    fn push(&mut self, name: &str, text: Option<&str>) {
        self.begin(name);
        push_or_null(self.out, text);
    }

    fn push_raw(&mut self, name: &str, raw: &str) {
        self.begin(name);
        self.out.push_str(raw);
    }

    fn begin(&mut self, name: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        push_text(self.out, name);
        self.out.push(':');
    }
}

fn push_or_null(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => push_text(out, text),
        None => out.push_str("null"),
    }
}

fn push_list(out: &mut String, texts: &[String]) {
    out.push('[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_text(out, text);
    }
    out.push(']');
}

#[cfg(test)]
mod tests;
