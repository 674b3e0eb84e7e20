//! Where a stream finds the values it was told to use.
//!
//! | scope | looked up in |
//! | --- | --- |
//! | `event` | the event's properties |
//! | `user` | the user properties at that moment; where there is none of that name and Amplitude shows the name as a built-in user property (`platform`, `country`, ...), the event's own field |
//! | `builtin` | the event's own fields: `user_id`, `device_id`, `session_id`, `event_id`, `insert_id`, `event_type`, and every field sent beside them (`platform`, `price`, ...) |
//! | `group`, in filters only | the properties of every group of the event, at that moment |
//!
//! A null is no value. Of a repeated key the last one counts, as JSON parsers do it.

use crate::names::Names;
use isthmus_core::json;
use isthmus_core::record::AppliedEvent;
use std::borrow::Cow;

/// Built-in user properties of Amplitude that arrive as fields of an event (HTTP V2 API, read 2026-09).
const BUILTIN_USER_PROPERTIES: [&str; 13] = [
    "app_version",
    "version_name",
    "platform",
    "os_name",
    "os_version",
    "device_brand",
    "device_manufacturer",
    "device_model",
    "carrier",
    "country",
    "region",
    "city",
    "language",
];

/// Slots that fit on the stack; streams that name more properties pay for one allocation per event.
const SLOTS_INLINE: usize = 32;

/// Fields of an event that have a place of their own in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Head {
    UserId,
    DeviceId,
    SessionId,
    EventId,
    InsertId,
    EventType,
}

impl Head {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "user_id" => Self::UserId,
            "device_id" => Self::DeviceId,
            "session_id" => Self::SessionId,
            "event_id" => Self::EventId,
            "insert_id" => Self::InsertId,
            "event_type" => Self::EventType,
            _ => return None,
        })
    }
}

/// Where one value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    Event(usize),
    User { slot: usize, or: Option<Builtin> },
    Builtin(Builtin),
}

/// A built-in field: with a place of its own, or among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Builtin {
    Head(Head),
    Field(usize),
}

impl Origin {
    pub(crate) fn needs_user_properties(self) -> bool {
        matches!(self, Self::User { .. })
    }
}

/// Every name that a stream looks up on an event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    event: Names,
    user: Names,
    fields: Names,
}

impl Origins {
    pub(crate) fn event(&mut self, name: &str) -> Origin {
        Origin::Event(self.event.insert(name))
    }

    pub(crate) fn user(&mut self, name: &str) -> Origin {
        let is_head = matches!(name, "user_id" | "device_id");
        let or = (is_head || BUILTIN_USER_PROPERTIES.contains(&name)).then(|| self.field(name));
        Origin::User { slot: self.user.insert(name), or }
    }

    pub(crate) fn builtin(&mut self, name: &str) -> Origin {
        Origin::Builtin(self.field(name))
    }

    fn field(&mut self, name: &str) -> Builtin {
        Head::named(name).map_or_else(|| Builtin::Field(self.fields.insert(name)), Builtin::Head)
    }

    /// Walks `event` once and hands what was found to `use_values`.
    pub(crate) fn look_up<'a, T>(
        &self,
        event: &AppliedEvent<'a>,
        user_properties: Option<&'a str>,
        use_values: impl FnOnce(&Values<'a, '_>) -> T,
    ) -> T {
        let total = self.event.len() + self.user.len() + self.fields.len();
        let mut inline = [None; SLOTS_INLINE];
        let mut heap = Vec::new();
        let slots = if let Some(slots) = inline.get_mut(..total) {
            slots
        } else {
            heap.resize(total, None);
            heap.as_mut_slice()
        };
        let (of_event, rest) = slots.split_at_mut(self.event.len());
        let (of_user, of_fields) = rest.split_at_mut(self.user.len());
        fill(of_event, &self.event, event.event_properties);
        fill(of_user, &self.user, user_properties);
        fill(of_fields, &self.fields, event.fields);
        use_values(&Values { head: event, event: of_event, user: of_user, fields: of_fields })
    }
}

/// Puts the values of `object` that have a name in `names` into their slots.
pub(crate) fn fill<'a>(slots: &mut [Option<&'a str>], names: &Names, object: Option<&'a str>) {
    let Some(object) = object.filter(|_| !names.is_empty()) else { return };
    for (key, value) in json::members(object) {
        if let Some(slot) = names.find(&key).and_then(|slot| slots.get_mut(slot)) {
            *slot = Some(value).filter(|value| *value != "null");
        }
    }
}

/// What was found on one event.
pub(crate) struct Values<'a, 's> {
    head: &'s AppliedEvent<'a>,
    event: &'s [Option<&'a str>],
    user: &'s [Option<&'a str>],
    fields: &'s [Option<&'a str>],
}

/// A value: raw JSON, or one of the record's own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Raw(&'a str),
    Text(&'a str),
    Integer(i64),
}

impl<'a> Value<'a> {
    /// The value as raw JSON.
    pub(crate) fn to_raw(self) -> Cow<'a, str> {
        match self {
            Self::Raw(raw) => Cow::Borrowed(raw),
            Self::Text(text) => {
                let mut raw = String::with_capacity(text.len() + 2);
                json::push_text(&mut raw, text);
                Cow::Owned(raw)
            }
            Self::Integer(number) => Cow::Owned(number.to_string()),
        }
    }

    /// About as many bytes as its JSON has.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Raw(raw) => raw.len(),
            Self::Text(text) => text.len() + 2,
            Self::Integer(_) => 20,
        }
    }
}

impl<'a> Values<'a, '_> {
    #[inline]
    pub(crate) fn get(&self, origin: Origin) -> Option<Value<'a>> {
        match origin {
            Origin::Event(slot) => slot_of(self.event, slot),
            Origin::User { slot, or } => slot_of(self.user, slot).or_else(|| self.builtin(or?)),
            Origin::Builtin(builtin) => self.builtin(builtin),
        }
    }

    /// What the property called `name` is in each of the event's groups that has it, as raw JSON.
    pub(crate) fn in_groups(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let types = json::members(self.head.group_properties.unwrap_or_default());
        types
            .flat_map(|(_, groups)| json::members(groups))
            .filter_map(move |(_, properties)| json::member(properties, name))
            .filter(|value| *value != "null")
    }

    fn builtin(&self, builtin: Builtin) -> Option<Value<'a>> {
        let head = match builtin {
            Builtin::Field(slot) => return slot_of(self.fields, slot),
            Builtin::Head(head) => head,
        };
        match head {
            Head::UserId => self.head.user_id.map(Value::Text),
            Head::DeviceId => {
                own_device_id(self.head.device_id, self.head.device_id_derived).map(Value::Text)
            }
            Head::SessionId => self.head.session_id.map(Value::Integer),
            Head::EventId => self.head.event_id.map(Value::Integer),
            Head::InsertId => self.head.insert_id.map(Value::Text),
            Head::EventType => Some(Value::Text(self.head.event_type)),
        }
    }
}

/// The device id that a client sent. One that was derived from the user id names no device, so
/// nothing is delivered under it.
pub(crate) fn own_device_id(device_id: &str, derived: bool) -> Option<&str> {
    (!derived).then_some(device_id)
}

#[inline]
fn slot_of<'a>(slots: &[Option<&'a str>], slot: usize) -> Option<Value<'a>> {
    slots.get(slot).copied().flatten().map(Value::Raw)
}
