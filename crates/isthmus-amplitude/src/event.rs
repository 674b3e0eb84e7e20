//! One element of an upload: an event, an identification or a group identification.
//!
//! Everything that can be judged from the element alone is judged here; ids are left to
//! [`crate::upload`], because the shortest id allowed may follow the events in the body.

mod field;

pub(crate) use field::{Field, FieldSet};

use crate::revenue::Revenue;
use crate::scan::{Kind, Malformed, Quoted, Scanner, Value, truncated};
use crate::{groups, identity, property};
use isthmus_core::json::{members, push_text};
use isthmus_core::record::IntakeEvent;
use std::borrow::Cow;
use std::ops::Range;

/// Event types that only the real service itself may record (HTTP V2 page, "reserved").
const RESERVED: [&str; 6] = [
    "[Amplitude] Start Session",
    "[Amplitude] End Session",
    "[Amplitude] Revenue",
    "[Amplitude] Revenue (Verified)",
    "[Amplitude] Revenue (Unverified)",
    "[Amplitude] Merged User",
];
pub(crate) const IDENTIFY: &str = "$identify";
pub(crate) const GROUP_IDENTIFY: &str = "$groupidentify";

/// One element of an upload, decoded.
#[derive(Debug, Default)]
pub(crate) struct Element<'a> {
    pub(crate) event_type: Cow<'a, str>,
    pub(crate) user_id: Option<Cow<'a, str>>,
    pub(crate) device_id: Option<Cow<'a, str>>,
    insert_id: Option<Cow<'a, str>>,
    time: Option<i64>,
    session_id: Option<i64>,
    event_id: Option<i64>,
    skip_user_properties_sync: bool,
    event_properties: Option<Cow<'a, str>>,
    user_properties: Option<Cow<'a, str>>,
    groups: Option<Cow<'a, str>>,
    group_properties: Option<Cow<'a, str>>,
    /// Where its other fields are in the buffer that all elements share.
    fields: Range<usize>,
    pub(crate) not_an_object: bool,
    /// Fields that are required and absent.
    pub(crate) missing: FieldSet,
    /// Fields of a wrong type or value.
    pub(crate) invalid: FieldSet,
}

impl Element<'_> {
    /// An element that is not an object.
    pub(crate) fn not_an_object() -> Self {
        Self { not_an_object: true, ..Self::default() }
    }

    /// The element as the intake log holds it; `fields` is the shared buffer.
    pub(crate) fn view<'s>(&'s self, fields: &'s str) -> IntakeEvent<'s> {
        IntakeEvent {
            event_type: &self.event_type,
            user_id: self.user_id.as_deref(),
            device_id: self.device_id.as_deref(),
            insert_id: self.insert_id.as_deref(),
            time: self.time,
            session_id: self.session_id,
            event_id: self.event_id,
            skip_user_properties_sync: self.skip_user_properties_sync,
            event_properties: self.event_properties.as_deref(),
            user_properties: self.user_properties.as_deref(),
            groups: self.groups.as_deref(),
            group_properties: self.group_properties.as_deref(),
            fields: fields.get(self.fields.clone()).filter(|fields| !fields.is_empty()),
        }
    }

    /// Whether it concerns a group and no user, so that it needs no id.
    pub(crate) fn is_group_identify(&self) -> bool {
        self.event_type == GROUP_IDENTIFY
    }

    /// The number of group properties it names, plainly or in an operation.
    pub(crate) fn group_property_count(&self) -> usize {
        members(self.group_properties.as_deref().unwrap_or_default())
            .map(|(key, value)| if key.starts_with('$') { members(value).count() } else { 1 })
            .sum()
    }

    /// The group type or group name `sent` as `field`: text, or a number as its decimal text.
    fn group_name<'a>(&mut self, field: Field, sent: Option<Value<'a>>) -> Option<Cow<'a, str>> {
        let name = match sent {
            None => Cow::Borrowed(""),
            Some(Value { raw, kind: Kind::Number, .. }) => Cow::Borrowed(raw),
            Some(value) => value.text().or_else(|| {
                self.invalid.insert(field);
                None
            })?,
        };
        if name.trim().is_empty() {
            self.missing.insert(field);
            return None;
        }
        Some(name)
    }
}

/// Reads the event at `scanner`; its other fields go to `fields`.
pub(crate) fn event<'a>(
    scanner: &mut Scanner<'a>,
    fields: &mut String,
) -> Result<Element<'a>, Malformed> {
    let Reader { mut element, revenue, .. } = Reader::read(scanner, fields)?;
    if !element.invalid.contains(Field::EventType) {
        if element.event_type.trim().is_empty() {
            element.missing.insert(Field::EventType);
        } else if RESERVED.contains(&element.event_type.as_ref()) {
            element.invalid.insert(Field::EventType);
        }
    }
    if element.event_type == GROUP_IDENTIFY {
        return Ok(element);
    }
    // Documented as ignored, so it cannot be wrong either.
    element.group_properties = None;
    element.invalid.remove(Field::GroupProperties);
    if element.event_type != IDENTIFY
        && let Some(properties) = revenue.into_properties(element.event_properties.as_deref())
    {
        element.event_properties = Some(Cow::Owned(properties));
    }
    Ok(element)
}

/// Reads the identification of `/identify` at `scanner`: built-in properties go to `fields`.
pub(crate) fn identification<'a>(
    scanner: &mut Scanner<'a>,
    fields: &mut String,
) -> Result<Element<'a>, Malformed> {
    let mut element = Reader::read(scanner, fields)?.element;
    element.event_type = Cow::Borrowed(IDENTIFY);
    element.event_properties = None;
    element.group_properties = None;
    for field in [Field::EventType, Field::EventProperties, Field::GroupProperties] {
        element.invalid.remove(field);
    }
    Ok(element)
}

/// Reads the identification of `/groupidentify` at `scanner`.
pub(crate) fn group_identification<'a>(
    scanner: &mut Scanner<'a>,
    fields: &mut String,
) -> Result<Element<'a>, Malformed> {
    let fields_from = fields.len();
    let read = Reader::read(scanner, fields)?;
    fields.truncate(fields_from);
    let mut element = Element {
        event_type: Cow::Borrowed(GROUP_IDENTIFY),
        insert_id: read.element.insert_id,
        time: read.element.time,
        group_properties: read.element.group_properties,
        fields: fields_from..fields_from,
        ..Element::default()
    };
    for field in [Field::InsertId, Field::Time, Field::GroupProperties] {
        if read.element.invalid.contains(field) {
            element.invalid.insert(field);
        }
    }
    let group_type = element.group_name(Field::GroupType, read.group_type);
    let group_value = element.group_name(Field::GroupValue, read.group_value);
    if let (Some(group_type), Some(group_value)) = (group_type, group_value) {
        element.groups = Some(Cow::Owned(groups::single(&group_type, &group_value)));
    }
    Ok(element)
}

/// Reads the members of an element.
struct Reader<'a> {
    element: Element<'a>,
    revenue: Revenue<'a>,
    group_type: Option<Value<'a>>,
    group_value: Option<Value<'a>>,
}

impl<'a> Reader<'a> {
    fn read(scanner: &mut Scanner<'a>, fields: &mut String) -> Result<Self, Malformed> {
        let mut reader = Self {
            element: Element::default(),
            revenue: Revenue::default(),
            group_type: None,
            group_value: None,
        };
        let mut others = Others { from: fields.len(), out: fields, run: 0..0 };
        scanner.enter(b'{');
        let mut first = true;
        // Where the member before ended.
        let mut after = scanner.at();
        while let Some(key) = scanner.next_member(&mut first)? {
            let value = scanner.value()?;
            if reader.take(Field::from_name(&key.text()), &value) {
                others.push(scanner, &key, &value, after);
            }
            after = scanner.at();
        }
        reader.element.fields = others.finish(scanner);
        Ok(reader)
    }

    /// Puts the value in its place; `true` when its place is among the other fields.
    ///
    /// A null counts as absent, and of a repeated field the last one counts.
    fn take(&mut self, field: Option<Field>, value: &Value<'a>) -> bool {
        let worth_keeping = value.kind != Kind::Null && !value.found.excess;
        let Some(field) = field else { return worth_keeping };
        let element = &mut self.element;
        let valid = value.kind == Kind::Null || field.shape().admits(value);
        if valid {
            element.invalid.remove(field);
        } else {
            element.invalid.insert(field);
        }
        let value = Some(value).filter(|value| valid && value.kind != Kind::Null);
        match field {
            Field::EventType => {
                element.event_type = value.and_then(Value::text).unwrap_or_default();
            }
            Field::UserId => element.user_id = value.and_then(id),
            Field::DeviceId => element.device_id = value.and_then(id),
            Field::InsertId => element.insert_id = value.and_then(id).map(truncated),
            Field::Time => element.time = value.and_then(integer),
            Field::SessionId => element.session_id = value.and_then(integer),
            Field::EventId => element.event_id = value.and_then(integer),
            Field::SkipUserPropertiesSync => {
                element.skip_user_properties_sync =
                    value.is_some_and(|value| value.kind == Kind::Flag(true));
            }
            Field::EventProperties => element.event_properties = value.and_then(properties),
            Field::UserProperties => element.user_properties = value.and_then(operations),
            Field::GroupProperties => element.group_properties = value.and_then(operations),
            Field::Groups => {
                element.groups = value.and_then(properties).and_then(groups::limited);
            }
            other => {
                match other {
                    Field::GroupType => self.group_type = value.copied(),
                    Field::GroupValue => self.group_value = value.copied(),
                    _ => {}
                }
                if let Some(place) = other.revenue_place() {
                    self.revenue.set(place, value.map(property::clean));
                }
                return value.is_some() && worth_keeping;
            }
        }
        false
    }
}

/// An id of text or number, trimmed; `None` when it is blank.
fn id<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    let text = value.whole_text().unwrap_or(Cow::Borrowed(value.raw));
    Some(identity::trimmed(text)).filter(|id| !id.is_empty())
}

fn integer(value: &Value<'_>) -> Option<i64> {
    value.raw.parse().ok()
}

/// An object of plain properties; `None` when it is empty.
fn properties<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    Some(property::clean(value)).filter(|object| !property::is_empty_object(object))
}

/// An object of properties and operations; `None` when it is empty.
fn operations<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    Some(property::clean_operations(value)).filter(|object| !property::is_empty_object(object))
}

/// Collects the other fields of one element into one JSON object, in as few copies as possible.
struct Others<'out> {
    out: &'out mut String,
    /// Where the object begins in `out`.
    from: usize,
    /// Members that stand side by side in the text and are not copied yet.
    run: Range<usize>,
}

impl Others<'_> {
    /// Adds the member that ends where `scanner` is; the one before it ended at `after`.
    fn push(&mut self, scanner: &Scanner<'_>, key: &Quoted<'_>, value: &Value<'_>, after: usize) {
        if key.torn || value.found.unclean {
            self.flush(scanner);
            self.separate();
            push_text(self.out, &key.text());
            self.out.push(':');
            self.out.push_str(&property::clean(value));
            return;
        }
        // Only a comma and space lie between neighbours.
        if self.run.is_empty() || self.run.end != after {
            self.flush(scanner);
            self.run.start = key.from;
        }
        self.run.end = scanner.at();
    }

    fn flush(&mut self, scanner: &Scanner<'_>) {
        if !self.run.is_empty() {
            self.separate();
            self.out.push_str(scanner.slice(self.run.start, self.run.end));
            self.run = 0..0;
        }
    }

    fn separate(&mut self) {
        self.out.push(if self.out.len() == self.from { '{' } else { ',' });
    }

    /// Closes the object and returns where it is; an empty range when it has no member.
    fn finish(mut self, scanner: &Scanner<'_>) -> Range<usize> {
        self.flush(scanner);
        if self.out.len() > self.from {
            self.out.push('}');
        }
        self.from..self.out.len()
    }
}
