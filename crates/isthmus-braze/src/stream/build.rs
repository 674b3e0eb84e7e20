//! From a stream resource to its mapping: everything that can be wrong is found here, at once.

use super::{BrazeStream, Events, Selected};
use crate::identifier::{Identifiers, Target};
use crate::identity::{Anonymous, Deletion, Found, Identification};
use crate::names::Names;
use crate::profile::STANDARD_FIELDS;
use crate::track::attributes::{Announced, AttributesMapping, Source};
use crate::track::creation_member;
use crate::track::event::{EventMapping, EventProperty, EventRule, Filtered, Identify, Subject};
use crate::track::origin::{Origin, Origins};
use crate::value::{CHARACTERS_MAX, Nested};
use crate::warnings::Tally;
use isthmus_config::Problem;
use isthmus_config::resource::{
    BrazeDestination, Filter, IdentifyTarget, NestedValues, OnErasure, OnUnset, PropertyRef, Scope,
    SendEvents, SendUsers, Stream,
};
use isthmus_core::destination::Wants;
use isthmus_core::filter::{Condition, Conditions, Operator};
use isthmus_core::json;
use std::collections::{HashMap, HashSet};

/// Names that stand for something else in Amplitude ("Event streaming", read 2026-09: `_all` and
/// `_identify` "among others"; the rest are its own query words and its carriers of properties).
const RESERVED_EVENTS: [&str; 6] =
    ["_all", "_active", "_new", "_identify", "$identify", "$groupidentify"];

/// Property names that make Braze refuse an event ("Custom event properties object", read 2026-09).
const RESERVED_EVENT_PROPERTIES: [&str; 2] = ["time", "event_name"];

/// Keys of an attributes object that are no attributes, or that Braze refuses or ignores ("User
/// attributes object", read 2026-09).
const CONTROL_KEYS: [&str; 11] = [
    "external_id",
    "user_alias",
    "alias_name",
    "alias_label",
    "braze_id",
    "_update_existing_only",
    "_merge_objects",
    "push_token_import",
    "push_tokens",
    "bio",
    "email_subscription_info",
];

/// Distinct properties of one event that Braze keeps (same page).
const EVENT_PROPERTIES_MAX: usize = 256;

pub(super) fn build(
    stream: &Stream,
    destination: &BrazeDestination,
) -> Result<BrazeStream, Vec<Problem>> {
    let mut building = Building::default();
    let identity = building.identity(stream);
    if stream.send_events.is_none() && stream.send_users.is_none() {
        building.problems.push(
            Problem::new("", format!("stream `{}` sends neither events nor users", stream.name))
                .hint("add `send_events`, `send_users` or both"),
        );
    }
    let app_id = destination.app_id.as_deref();
    let events = stream
        .send_events
        .as_ref()
        .map(|send| building.events(send, stream, identity.as_ref(), app_id));
    let users =
        stream.send_users.as_ref().map(|send| building.users(send, stream, identity.as_ref()));
    if !building.problems.is_empty() {
        return Err(building.problems);
    }
    let users = match users {
        Some(users) => users,
        None => identity
            .as_ref()
            .filter(|identity| identity.identifiers.is_alias() || identity.anonymous.is_some())
            .map(|identity| identity.attributes(stream)),
    };
    Ok(BrazeStream {
        project: stream.project.clone(),
        events: events.flatten(),
        users,
        identification: identity.as_ref().and_then(Identity::identification),
        deletion: identity
            .filter(|_| destination.on_erasure == OnErasure::Delete)
            .map(|identity| identity.deletion()),
        notes: building.notes,
        tally: Tally::default(),
    })
}

/// Who the objects of a stream are about, once that is known to be right.
struct Identity<'a> {
    from: &'a PropertyRef,
    identifiers: Identifiers,
    anonymous: Option<Anonymous>,
}

impl Identity<'_> {
    fn source(&self) -> Source {
        match (self.from.scope, self.from.name.as_str()) {
            (Scope::Builtin, "device_id") => Source::DeviceId,
            (Scope::Builtin, _) => Source::UserId,
            _ => Source::Property(self.from.name.clone()),
        }
    }

    /// What is said of users where nothing is selected: that aliases are there.
    fn attributes(&self, stream: &Stream) -> AttributesMapping {
        AttributesMapping {
            source: self.source(),
            identifiers: self.identifiers.clone(),
            creation: creation_member(stream.update_existing_only, self.identifiers.is_alias()),
            anonymous: self.anonymous.clone(),
            announced: if stream.update_existing_only {
                Announced::Nobody
            } else {
                Announced::Aliases
            },
            names: Names::default(),
            members: Vec::new(),
            all_on_change: false,
            send_null: false,
            nested: nested(stream.nested_values),
        }
    }

    fn identification(&self) -> Option<Identification> {
        let alias = self.anonymous.as_ref()?.identifiers.clone();
        Some(Identification { known: self.identifiers.clone(), alias })
    }

    fn deletion(&self) -> Deletion {
        let found = match self.source() {
            Source::UserId => Found::UserId,
            Source::DeviceId => Found::DeviceIds,
            Source::Property(name) => Found::Property(name),
        };
        let of_alias = |anonymous: &Anonymous| (Found::DeviceIds, anonymous.identifiers.clone());
        let known = (found, self.identifiers.clone());
        Deletion { by: self.anonymous.iter().map(of_alias).chain([known]).collect() }
    }
}

#[derive(Default)]
struct Building {
    problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Building {
    fn identity<'a>(&mut self, stream: &'a Stream) -> Option<Identity<'a>> {
        let before = self.problems.len();
        let Some(identify_by) = &stream.identify_by else {
            self.problems.push(
                Problem::new("", format!("stream `{}` does not say whom it tells of", stream.name))
                    .hint("add `identify_by`"),
            );
            return None;
        };
        let from = &identify_by.from;
        let known = match from.scope {
            Scope::Builtin => matches!(from.name.as_str(), "user_id" | "device_id"),
            Scope::User => true,
            Scope::Event | Scope::Group => false,
        };
        if !known {
            self.problems.push(
                Problem::new("identify_by.from", format!("`{}` does not name a user", from.name))
                    .hint("write user_id, device_id or the name of a user property"),
            );
        }
        let label = stream.user_alias_label.as_deref().map(str::trim).unwrap_or_default();
        let target = match identify_by.to {
            IdentifyTarget::ExternalId => Target::ExternalId,
            IdentifyTarget::BrazeId => Target::BrazeId,
            IdentifyTarget::Email => Target::Email,
            IdentifyTarget::UserAlias => {
                if label.is_empty() {
                    self.problems.push(
                        Problem::new("user_alias_label", "an alias needs a label")
                            .hint("name the kind of alias, for example amplitude_device"),
                    );
                }
                Target::UserAlias { label: label.to_owned() }
            }
        };
        let by_user_id = from.scope == Scope::Builtin && from.name == "user_id";
        let anonymous = stream.anonymous.as_ref().map(|anonymous| {
            if !by_user_id || target != Target::ExternalId {
                self.problems.push(
                    Problem::new("anonymous", "the stream does not identify by `user_id` as `external_id`")
                        .hint("remove it: only a person with an external id can be made one with an alias"),
                );
            }
            let label = anonymous.alias_label.trim().to_owned();
            if label.is_empty() {
                self.problems.push(
                    Problem::new("anonymous.alias_label", "an alias needs a label")
                        .hint("name the kind of alias, for example amplitude_device"),
                );
            }
            Anonymous {
                identifiers: Identifiers::new(Target::UserAlias { label }),
                creation: creation_member(stream.update_existing_only, true),
            }
        });
        let fine = self.problems.len() == before;
        fine.then(|| Identity { from, identifiers: Identifiers::new(target), anonymous })
    }

    fn events(
        &mut self,
        send: &SendEvents,
        stream: &Stream,
        identity: Option<&Identity<'_>>,
        app_id: Option<&str>,
    ) -> Option<Events> {
        if send.events.is_empty() {
            let problem = Problem::new("send_events.events", "no event is selected");
            self.problems.push(problem.hint("name at least one, or leave `send_events` out"));
        }
        let mut origins = Origins::default();
        let origin = identity.map(|identity| match identity.from.scope {
            Scope::User => origins.user(&identity.from.name),
            _ => origins.builtin(&identity.from.name),
        });
        let properties = self.event_properties(send, &mut origins);
        let for_all = origin
            .into_iter()
            .chain(properties.iter().map(|property| property.origin))
            .any(Origin::needs_user_properties);
        let mut types = Names::default();
        let mut selected = Vec::new();
        for (at, event) in send.events.iter().enumerate() {
            let path = format!("send_events.events[{at}]");
            let name = event.as_name.as_ref().unwrap_or(&event.name);
            let name_path = named(&path, event.as_name.is_some());
            if RESERVED_EVENTS.contains(&event.name.as_str()) {
                self.problems.push(
                    Problem::new(
                        format!("{path}.name"),
                        format!("`{}` is a reserved name and cannot be streamed", event.name),
                    )
                    .hint("select the event types one by one; user properties go by `send_users`"),
                );
            }
            self.check_name(&name_path, "event name", name);
            let filters = self.filters(&path, &event.filters, &mut origins);
            let for_filters = filters.iter().any(Filtered::needs_user_properties);
            let wants =
                if for_all || for_filters { Wants::ItemAndUserProperties } else { Wants::Item };
            if types.find(&event.name).is_none() {
                types.insert(&event.name);
                let rule = EventRule::new(name.clone(), app_id, filters, send.guarantee_of(event));
                selected.push(Selected { rule, wants });
            } else {
                self.problems.push(
                    Problem::new(
                        format!("{path}.name"),
                        format!("`{}` is selected twice", event.name),
                    )
                    .hint("one selection per event type; several filters must all hold"),
                );
            }
        }
        let identity = identity?;
        let mapping = EventMapping {
            origins,
            identify: Identify { origin: origin?, identifiers: identity.identifiers.clone() },
            creation: creation_member(stream.update_existing_only, identity.identifiers.is_alias()),
            anonymous: identity.anonymous.clone(),
            properties,
            nested: nested(stream.nested_values),
        };
        Some(Events { mapping, types, selected })
    }

    fn event_properties(&mut self, send: &SendEvents, origins: &mut Origins) -> Vec<EventProperty> {
        let lists = [
            ("event_properties", &send.event_properties),
            ("user_properties", &send.user_properties),
        ];
        // Sent name to where it comes from, per list.
        let mut sent: [HashMap<String, Origin>; 2] = [HashMap::new(), HashMap::new()];
        let [sent_of_event, sent_of_user] = &mut sent;
        let mut properties = Vec::new();
        for (list, selected) in lists {
            let of_event = list == "event_properties";
            for (at, property) in selected.iter().enumerate() {
                let path = named(&format!("send_events.{list}[{at}]"), property.as_name.is_some());
                let wanted = property.as_name.as_ref().unwrap_or(&property.name);
                self.check_property_name(&path, wanted);
                let renamed = RESERVED_EVENT_PROPERTIES.contains(&wanted.as_str());
                let name = if renamed { format!("{wanted}_") } else { wanted.clone() };
                if renamed {
                    self.notes.push(format!(
                        "event property `{wanted}` is sent as `{name}`, because Braze reserves the name"
                    ));
                }
                let origin = if of_event {
                    origins.event(&property.name)
                } else {
                    origins.user(&property.name)
                };
                let unless = if of_event { None } else { sent_of_event.get(&name).copied() };
                if unless.is_some() {
                    self.notes.push(format!(
                        "user property `{}` is sent only with events that have no event property for `{name}`",
                        property.name
                    ));
                }
                let sent = if of_event { &mut *sent_of_event } else { &mut *sent_of_user };
                if sent.insert(name.clone(), origin).is_some() {
                    self.collides(&path, &name);
                }
                properties.push(EventProperty { member: member(&name), origin, unless, renamed });
            }
        }
        if properties.len() > EVENT_PROPERTIES_MAX {
            self.problems.push(
                Problem::new(
                    "send_events.event_properties",
                    format!(
                        "{} properties are selected, event and user properties together",
                        properties.len()
                    ),
                )
                .hint(format!("Braze keeps the first {EVENT_PROPERTIES_MAX} of an event")),
            );
        }
        properties
    }

    /// Conditions by property: several on one property can mean more than each alone.
    fn filters(&mut self, path: &str, filters: &[Filter], origins: &mut Origins) -> Vec<Filtered> {
        let mut by_subject: Vec<(Subject, Vec<Condition>)> = Vec::new();
        for (at, filter) in filters.iter().enumerate() {
            let path = format!("{path}.filters[{at}]");
            let name = &filter.property.name;
            let subject = match filter.property.scope {
                Scope::Event => Subject::Value(origins.event(name)),
                Scope::User => Subject::Value(origins.user(name)),
                Scope::Builtin => Subject::Value(origins.builtin(name)),
                Scope::Group => Subject::InGroups(name.clone()),
            };
            let operator = match filter.op.parse::<Operator>() {
                Ok(operator) => operator,
                Err(error) => {
                    self.problems.push(Problem::new(format!("{path}.op"), error.to_string()));
                    continue;
                }
            };
            match Condition::new(operator, filter.values.clone()) {
                Ok(condition) => match by_subject.iter_mut().find(|(known, _)| *known == subject) {
                    Some((_, conditions)) => conditions.push(condition),
                    None => by_subject.push((subject, vec![condition])),
                },
                Err(error) => {
                    self.problems.push(Problem::new(format!("{path}.values"), error.to_string()));
                }
            }
        }
        by_subject
            .into_iter()
            .map(|(subject, conditions)| Filtered {
                subject,
                conditions: Conditions::new(conditions),
            })
            .collect()
    }

    fn users(
        &mut self,
        send: &SendUsers,
        stream: &Stream,
        identity: Option<&Identity<'_>>,
    ) -> Option<AttributesMapping> {
        let email_identifies = stream
            .identify_by
            .as_ref()
            .is_some_and(|identify_by| identify_by.to == IdentifyTarget::Email);
        let mut names = Names::default();
        let mut members = Vec::new();
        let mut sent = HashSet::new();
        for (at, property) in send.user_properties.iter().enumerate() {
            let path =
                named(&format!("send_users.user_properties[{at}]"), property.as_name.is_some());
            let name = property.as_name.as_ref().unwrap_or(&property.name);
            self.check_property_name(&path, name);
            if CONTROL_KEYS.contains(&name.as_str()) || (email_identifies && name == "email") {
                self.problems.push(
                    Problem::new(&path, format!("`{name}` is no attribute in Braze's requests"))
                        .hint("leave it out, or send it under another name with `as`"),
                );
            } else if STANDARD_FIELDS.contains(&name.as_str()) {
                self.notes.push(format!(
                    "user property `{}` sets Braze's standard profile field `{name}`",
                    property.name
                ));
            }
            // One property may be sent under one name only: its slot is its place in the list.
            if names.find(&property.name).is_some() {
                self.problems.push(
                    Problem::new(
                        format!("send_users.user_properties[{at}].name"),
                        format!("`{}` is selected twice", property.name),
                    )
                    .hint("a property is sent under one name"),
                );
            } else if !sent.insert(name) {
                self.collides(&path, name);
            } else {
                names.insert(&property.name);
                members.push(member(name));
            }
        }
        if members.is_empty() && stream.update_existing_only && send.user_properties.is_empty() {
            self.problems.push(
                Problem::new(
                    "send_users",
                    "no property is selected and no user may be created, so there is nothing to send",
                )
                .hint("select properties, or leave `send_users` out"),
            );
        }
        let mapping = identity?.attributes(stream);
        Some(AttributesMapping {
            announced: match mapping.announced {
                Announced::Aliases if names.is_empty() => Announced::Everybody,
                announced => announced,
            },
            names,
            members,
            all_on_change: send.send_all_selected_on_change,
            send_null: send.on_unset == OnUnset::SendNull,
            ..mapping
        })
    }

    fn check_property_name(&mut self, path: &str, name: &str) {
        self.check_name(path, "property name", name);
        if name.starts_with('$') {
            self.problems.push(
                Problem::new(
                    path,
                    format!("property `{name}` starts with `$`, which Braze refuses"),
                )
                .hint("send it under another name with `as`"),
            );
        }
    }

    fn check_name(&mut self, path: &str, what: &str, name: &str) {
        let characters = name.chars().count();
        if name.trim().is_empty() {
            self.problems.push(Problem::new(path, format!("the {what} is empty")));
        } else if characters > CHARACTERS_MAX {
            self.problems.push(
                Problem::new(
                    path,
                    format!("the {what} has {characters} characters; Braze takes {CHARACTERS_MAX}"),
                )
                .hint("send it under a shorter name with `as`"),
            );
        }
    }

    fn collides(&mut self, path: &str, name: &str) {
        self.problems.push(
            Problem::new(path, format!("`{name}` is sent twice"))
                .hint("give one of them another name with `as`"),
        );
    }
}

/// Where a person wrote the name under which something is sent.
fn named(path: &str, has_as: bool) -> String {
    format!("{path}.{}", if has_as { "as" } else { "name" })
}

/// `"total":`
fn member(name: &str) -> String {
    let mut member = String::new();
    json::push_text(&mut member, name);
    member.push(':');
    member
}

fn nested(values: NestedValues) -> Nested {
    match values {
        NestedValues::Drop => Nested::Drop,
        NestedValues::JsonString => Nested::JsonString,
        NestedValues::Nested => Nested::Keep,
    }
}
