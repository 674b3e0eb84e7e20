//! One stream of a project to Amplitude: events, identifies and group identifies as they came, and
//! events of Braze Currents as Amplitude shows them.
//!
//! What is forwarded is not changed, with these exceptions:
//! - `time` is the client's, corrected where Amplitude itself would have corrected it by the time of
//!   the upload, which does not travel on.
//! - `ip: $remote` is the address that the client sent from; without one it is left out.
//! - A device id that we derived from a user id is not sent: Amplitude derives its own.
//! - Properties that the door made of revenue fields are not sent beside those fields.
//! - Currents only: texts of more than 1,024 characters are cut, as Amplitude would.
//! - What the stream says of personal data.
//!
//! **Order.** An object's lane is its device, sent or derived. Amplitude finds the person of an event by
//! what it received before from the same device ("events of one device are processed in order of
//! receipt", through a log-in too), and guarantees no order across the devices of a user: so the lane of
//! the device holds all the order that counts. Events that name only a user share the one derived
//! device, so theirs is kept too. Identifies travel with the events for the same reason.

mod personal;
#[cfg(test)]
mod tests;
mod volume;

pub use volume::{TypeName, TypeVolume, Volume};

use crate::destination::{EVENTS, GROUP_IDENTIFY, IDENTIFY, INSERT_ID_TO_COME};
use crate::identity::{Worth, derived_device_id, device_id_worth, user_id_worth};
use crate::revenue;
use crate::rules::{ID_LENGTH_MIN, TEXT_LENGTH_MAX};
use isthmus_config::Problem;
use isthmus_config::resource::{
    AmplitudeDestination, Forward, ForwardCurrents, Period, Selection, Stream, UnknownTypes,
};
use isthmus_core::destination::{Guarantee, Lane, Mapped, Mapping, Message, Section, Wants};
use isthmus_core::json;
use isthmus_core::record::{Applied, AppliedEvent, AppliedIdentify, CurrentsEvent, Source};
use personal::Personal;
use std::borrow::Cow;

/// Built-in user properties that only `/identify` is documented to set.
const OF_IDENTIFY_ONLY: [&str; 2] = ["paying", "start_version"];

/// Why an event is not forwarded, as `discards` of a stream's report has it.
pub mod reason {
    pub(super) const NOBODY: &str = "nobody to attach it to";
    pub(super) const NOT_EXPORTED: &str = "Braze does not show such an event to Amplitude";
    /// Braze told of it because a stream had told Braze.
    pub const ECHO: &str = "an echo of what a stream told Braze";
    pub(super) const SAMPLED_OUT: &str = "sampled out";
}

/// What one stream tells Amplitude.
#[derive(Debug)]
pub struct AmplitudeStream {
    project: String,
    forward: Forward,
    personal: Personal,
    /// `min_id_length` of the destination.
    id_length_min: Option<usize>,
    is_known: fn(&str) -> bool,
}

impl AmplitudeStream {
    /// The mapping that `stream` describes, or every problem at once, with paths inside the stream
    /// resource. `is_known` tells which types of Currents events Braze documents.
    pub fn build(
        stream: &Stream,
        destination: &AmplitudeDestination,
        is_known: fn(&str) -> bool,
    ) -> Result<Self, Vec<Problem>> {
        let Some(forward) = stream.forward.clone() else {
            let message = format!("stream `{}` does not say what it forwards", stream.name);
            return Err(vec![Problem::new("", message).hint("add `forward`")]);
        };
        let length = destination.min_id_length.and_then(|length| usize::try_from(length).ok());
        Ok(Self {
            project: stream.project.clone(),
            personal: Personal::new(&forward.properties),
            forward,
            id_length_min: length,
            is_known,
        })
    }
}

impl Mapping for AmplitudeStream {
    fn wants(&self, item: &Applied<'_>) -> Wants {
        if item.project() != self.project {
            return Wants::Nothing;
        }
        let wanted = match item {
            Applied::Event(event) => match (&event.currents, &self.forward.currents) {
                (None, _) => selects(&self.forward.events, event.event_type),
                (Some(currents), Some(forward)) => selects(&forward.types, currents.event_type),
                (Some(_), None) => false,
            },
            Applied::Identify(identify) if identify.event_type == "$groupidentify" => {
                self.forward.group_identifies
            }
            Applied::Identify(_) => self.forward.identifies,
            // What they came from is forwarded.
            Applied::UserChange(_)
            | Applied::GroupChange(_)
            | Applied::Merge(_)
            | Applied::Identified(_)
            // An API key of Amplitude only adds data.
            | Applied::Erasure(_)
            | Applied::Erased => false,
        };
        if wanted { Wants::Item } else { Wants::Nothing }
    }

    fn map(&self, item: &Applied<'_>, _user_properties: Option<&str>, out: &mut Vec<Mapped>) {
        match item {
            Applied::Event(event) => out.push(self.event(event)),
            Applied::Identify(identify) => out.push(self.identify(identify)),
            _ => {}
        }
    }
}

impl AmplitudeStream {
    fn event(&self, event: &AppliedEvent<'_>) -> Mapped {
        let mut rolled_up = None;
        if let (Some(currents), Some(forward)) = (&event.currents, &self.forward.currents) {
            if let Some(reason) = left_out(event, currents, forward) {
                return Mapped::Discard { reason };
            }
            rolled_up = roll_up(event, currents, forward);
        }
        let device_id = (!event.device_id_derived).then_some(event.device_id);
        // Amplitude compares insert ids of one device: a user who is counted once has one.
        let device_id = device_id.filter(|_| rolled_up.is_none() || event.user_id.is_none());
        let of_currents = event.currents.is_some();
        let mut object = Object::new(event.user_id, device_id);
        object.text("event_type", event.event_type);
        object.raw("time", &event.event_time.to_string());
        object.text(
            "insert_id",
            rolled_up.as_deref().or(event.insert_id).unwrap_or(INSERT_ID_TO_COME),
        );
        object.number("session_id", event.session_id);
        object.number("event_id", event.event_id);
        let properties = event.event_properties.map(|raw| {
            let raw = without_revenue(raw, event.fields);
            if of_currents { cut_texts(&raw).into_owned().into() } else { raw }
        });
        object.properties("event_properties", properties.as_deref(), &self.personal);
        object.properties("user_properties", event.sent_user_properties, &self.personal);
        object.given("groups", event.groups);
        if event.skip_user_properties_sync {
            object.raw("$skip_user_properties_sync", "true");
        }
        object.fields(event.fields, event.remote_address, &self.personal);
        let message = object.message(lane_of(event.device_id), EVENTS, event.event_type);
        let unknown_types = self.forward.currents.as_ref().map(|forward| forward.unknown_types);
        if let (Some(currents), Some(UnknownTypes::Hold)) = (&event.currents, unknown_types)
            && !(self.is_known)(currents.event_type)
        {
            let reason =
                format!("type `{}` is in no documentation, and is held", currents.event_type);
            return Mapped::Reject { reason, message };
        }
        let ids_of = if of_currents { Ids::OfBraze } else { Ids::Taken };
        self.judged(event.user_id, device_id, ids_of, message)
    }

    fn identify(&self, identify: &AppliedIdentify<'_>) -> Mapped {
        if identify.source == Source::GroupIdentify {
            return self.group_identify(identify);
        }
        let by_identify = identify.source == Source::Identify
            && OF_IDENTIFY_ONLY
                .iter()
                .any(|name| json::member(identify.fields.unwrap_or_default(), name).is_some());
        let mut object = Object::new(identify.user_id, identify.device_id);
        if !by_identify {
            object.text("event_type", identify.event_type);
        }
        if !by_identify || identify.time.is_some() {
            let time = identify.time.unwrap_or(identify.received_at);
            object.raw("time", &time.to_string());
        }
        object.text("insert_id", identify.insert_id.unwrap_or(INSERT_ID_TO_COME));
        object.number("session_id", identify.session_id);
        object.number("event_id", identify.event_id);
        object.properties("event_properties", identify.event_properties, &self.personal);
        object.properties("user_properties", identify.user_properties, &self.personal);
        object.given("groups", identify.groups);
        object.properties("group_properties", identify.group_properties, &self.personal);
        if identify.skip_user_properties_sync {
            object.raw("$skip_user_properties_sync", "true");
        }
        object.fields(identify.fields, identify.remote_address, &self.personal);
        let section = if by_identify { IDENTIFY } else { EVENTS };
        let lane = match (identify.device_id, identify.user_id) {
            (Some(device_id), _) => lane_of(device_id),
            (None, Some(user_id)) => lane_of(&derived_device_id(user_id)),
            (None, None) => lane_of_groups(identify),
        };
        let message = object.message(lane, section, identify.event_type);
        if identify.user_id.is_none() && identify.device_id.is_none() {
            // About a group and nobody: SDKs send them without ids.
            return Mapped::Deliver(message);
        }
        self.judged(identify.user_id, identify.device_id, Ids::Taken, message)
    }

    /// Goes back to the door it came through.
    fn group_identify(&self, identify: &AppliedIdentify<'_>) -> Mapped {
        let mut object = Object { text: String::new() };
        if let Some((group_type, group_value)) =
            json::members(identify.groups.unwrap_or_default()).next()
        {
            object.text("group_type", &group_type);
            let only = json::elements(group_value).next();
            object.raw("group_value", only.unwrap_or(group_value));
        }
        object.properties("group_properties", identify.group_properties, &self.personal);
        Mapped::Deliver(object.message(
            lane_of_groups(identify),
            GROUP_IDENTIFY,
            identify.event_type,
        ))
    }

    /// Delivers `message`, or says which of its ids Amplitude would refuse.
    fn judged(
        &self,
        user_id: Option<&str>,
        device_id: Option<&str>,
        ids: Ids,
        message: Message,
    ) -> Mapped {
        let length_min = self.id_length_min.unwrap_or(match ids {
            Ids::Taken => 1,
            Ids::OfBraze => ID_LENGTH_MIN,
        });
        let worths = [
            ("user_id", user_id_worth(user_id, length_min)),
            ("device_id", device_id_worth(device_id, length_min)),
        ];
        let wrong = worths.iter().find_map(|(field, worth)| match worth {
            Worth::TooShort => Some(format!(
                "`{field}` is shorter than the {length_min} characters that Amplitude takes; `min_id_length` \
                 of the destination asks for less"
            )),
            Worth::TooLong => Some(format!("`{field}` is longer than {TEXT_LENGTH_MAX} characters")),
            Worth::Invalid => Some(format!("`{field}` is one of the ids that Amplitude refuses")),
            Worth::Good | Worth::Absent => None,
        });
        match wrong {
            Some(reason) => Mapped::Reject { reason, message },
            None => Mapped::Deliver(message),
        }
    }
}

/// Whose ids an object has.
#[derive(Debug, Clone, Copy)]
enum Ids {
    /// Those that the door took, by the shortest length that their client asked for: requests ask for
    /// it again.
    Taken,
    /// Those that Braze knows.
    OfBraze,
}

/// Why an event of Currents is not sent, if it is not.
fn left_out(
    event: &AppliedEvent<'_>,
    currents: &CurrentsEvent<'_>,
    forward: &ForwardCurrents,
) -> Option<&'static str> {
    if event.user.somebody().is_none() || event.user_id.is_none() && event.device_id_derived {
        return Some(reason::NOBODY);
    }
    if currents.not_exported.is_some() {
        return Some(reason::NOT_EXPORTED);
    }
    if currents.echo.is_some() && !forward.echoes {
        return Some(reason::ECHO);
    }
    let share = forward.sample.0.iter().find(|(pattern, _)| fits(pattern, currents.event_type));
    let person = event.user_id.unwrap_or(event.device_id);
    share.filter(|(_, share)| part_of(person) >= *share).map(|_| reason::SAMPLED_OUT)
}

/// Where a person stands between 0 and 1, the same for ever: hash of who they are, not of the event.
fn part_of(person: &str) -> f64 {
    let hash = Lane::of(&format!("sample:{person}")).0 >> 32;
    #[expect(clippy::cast_precision_loss, reason = "32 bits fit")]
    let part = hash as f64 / (1u64 << 32) as f64;
    part
}

/// The `insert_id` that all events of a user, type, campaign and period share, of which Amplitude keeps
/// the first; `None` where the type is not rolled up.
fn roll_up(
    event: &AppliedEvent<'_>,
    currents: &CurrentsEvent<'_>,
    forward: &ForwardCurrents,
) -> Option<String> {
    let mut periods = forward.roll_up.0.iter();
    let (_, period) = periods.find(|(pattern, _)| fits(pattern, currents.event_type))?;
    let millis = match period {
        Period::Hour => 3_600_000,
        Period::Day => 86_400_000,
    };
    let about = [
        event.user_id.unwrap_or(event.device_id),
        currents.event_type,
        currents.campaign_id.unwrap_or_default(),
        currents.canvas_id.unwrap_or_default(),
        currents.canvas_step_id.unwrap_or_default(),
        &event.event_time.div_euclid(millis).to_string(),
    ];
    Some(format!("rolled-up-{:016x}", Lane::of(&about.join("\u{1f}")).0))
}

fn lane_of(device_id: &str) -> Lane {
    Lane::of(&format!("device_id:{device_id}"))
}

fn lane_of_groups(identify: &AppliedIdentify<'_>) -> Lane {
    Lane::of(&format!("groups:{}", identify.groups.unwrap_or_default()))
}

fn selects(selection: &Selection, name: &str) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, name));
    match selection {
        Selection::None => false,
        Selection::All => true,
        Selection::Only(patterns) => any(patterns),
        Selection::Except(patterns) => !any(patterns),
    }
}

/// Whether `pattern`, in which `*` is any text, fits all of `name`. Brackets stand for themselves:
/// Amplitude's names have many.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.split_once(part) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    name.ends_with(last)
}

/// `event_properties` without what the door copied from revenue fields: both together might count twice.
/// What the client wrote itself stays.
fn without_revenue<'a>(properties: &'a str, fields: Option<&str>) -> Cow<'a, str> {
    let fields = fields.unwrap_or_default();
    let field = |name: &str| json::member(fields, name);
    let copied = |name: &str, raw: &str| {
        let of_field = name.strip_prefix('$').and_then(field);
        // Of three amounts the revenue was computed from the others.
        let computed = || {
            name == "$revenue"
                && ["price", "quantity"].into_iter().all(|part| field(part).is_some())
        };
        revenue::PROPERTIES.contains(&name)
            && of_field.is_some_and(|of_field| of_field == raw || computed())
    };
    if fields.is_empty() || !json::members(properties).any(|(name, raw)| copied(&name, raw)) {
        return Cow::Borrowed(properties);
    }
    let mut object = Object { text: String::with_capacity(properties.len()) };
    for (name, raw) in json::members(properties).filter(|(name, raw)| !copied(name, raw)) {
        object.raw(&name, raw);
    }
    Cow::Owned(object.finish())
}

/// The object or list `raw` with every text of more than 1,024 characters cut.
fn cut_texts(raw: &str) -> Cow<'_, str> {
    if raw.len() <= TEXT_LENGTH_MAX {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    push_cut(&mut out, raw);
    Cow::Owned(out)
}

fn push_cut(out: &mut String, raw: &str) {
    match raw.as_bytes().first() {
        Some(b'"') if raw.len() > TEXT_LENGTH_MAX => match json::text_of(raw) {
            Some(text) if text.chars().count() > TEXT_LENGTH_MAX => {
                let cut: String = text.chars().take(TEXT_LENGTH_MAX).collect();
                json::push_text(out, &cut);
            }
            _ => out.push_str(raw),
        },
        Some(b'{') => {
            let mut opening = '{';
            for (name, value) in json::members(raw) {
                out.push(opening);
                opening = ',';
                json::push_text(out, &name);
                out.push(':');
                push_cut(out, value);
            }
            out.push_str(if opening == '{' { "{}" } else { "}" });
        }
        Some(b'[') => {
            out.push('[');
            for (at, value) in json::elements(raw).enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_cut(out, value);
            }
            out.push(']');
        }
        _ => out.push_str(raw),
    }
}

/// An object being written, ids first.
struct Object {
    text: String,
}

impl Object {
    fn new(user_id: Option<&str>, device_id: Option<&str>) -> Self {
        let mut object = Self { text: String::with_capacity(512) };
        for (name, id) in [("user_id", user_id), ("device_id", device_id)] {
            if let Some(id) = id {
                object.text(name, id);
            }
        }
        object
    }

    fn raw(&mut self, name: &str, raw: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        json::push_text(&mut self.text, name);
        self.text.push(':');
        self.text.push_str(raw);
    }

    fn text(&mut self, name: &str, text: &str) {
        let mut raw = String::with_capacity(text.len() + 2);
        json::push_text(&mut raw, text);
        self.raw(name, &raw);
    }

    fn number(&mut self, name: &str, number: Option<i64>) {
        if let Some(number) = number {
            self.raw(name, &number.to_string());
        }
    }

    fn given(&mut self, name: &str, raw: Option<&str>) {
        if let Some(raw) = raw {
            self.raw(name, raw);
        }
    }

    /// An object of properties; left out where nothing is left of it.
    fn properties(&mut self, name: &str, raw: Option<&str>, personal: &Personal) {
        let Some(raw) = raw else { return };
        let left = personal.without(raw);
        if json::members(&left).next().is_some() {
            self.raw(name, &left);
        }
    }

    fn fields(&mut self, fields: Option<&str>, remote: Option<&str>, personal: &Personal) {
        for (name, raw) in json::members(fields.unwrap_or_default()) {
            let Some(raw) = personal.value(&name, raw) else { continue };
            match (&*name, &*raw) {
                ("ip", "\"$remote\"") => {
                    if let Some(remote) = remote {
                        self.text("ip", remote);
                    }
                }
                (name, raw) => self.raw(name, raw),
            }
        }
    }

    fn finish(mut self) -> String {
        self.text.push_str(if self.text.is_empty() { "{}" } else { "}" });
        self.text
    }

    fn message(self, lane: Lane, section: Section, name: &str) -> Message {
        Message {
            lane,
            section,
            name: name.to_owned(),
            payload: self.finish(),
            // Its insert id makes sending it twice harmless.
            guarantee: Guarantee::AtLeastOnce,
            after: None,
        }
    }
}
