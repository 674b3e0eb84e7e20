//! Streams: which events and user updates reach a destination as they arrive.

use crate::check;
use crate::decode::{Fields, Report, Wrong};
use crate::diagnostic::{Problem, clip};
use crate::node::Node;
use crate::resource::{Forward, Retry};
use crate::shape::{Shape, shape, words};
use isthmus_core::destination::{Guarantee, RetryPolicy};
use std::collections::HashMap;

shape! {
    /// `kind: stream`: which events and user updates of a project reach a destination as they
    /// arrive.
    pub struct Stream {
        /// What the stream is called here; unique among streams.
        pub name: String => check::name,
        /// Name of the project it reads.
        pub project: String,
        /// Name of the destination it delivers to.
        pub destination: String,
        /// Whether it runs. A stream delivers what arrives while it is enabled, nothing older.
        pub enabled: bool = false,
        /// Which Amplitude property names the user at Braze, and as what. Required unless there is
        /// `forward`.
        pub identify_by: Option<IdentifyBy>,
        /// How Braze knows people who have no user id yet. Without it their events and updates are
        /// discarded. Only for a stream that identifies by `user_id` as `external_id`.
        pub anonymous: Option<Anonymous>,
        /// `alias_label` of the alias object, for `to: user_alias`.
        pub user_alias_label: Option<String> => check::none_or_not_blank,
        /// Update users that Braze has, and create none.
        pub update_existing_only: bool = false,
        /// What becomes of objects and arrays of objects.
        pub nested_values: NestedValues = NestedValues::Drop,
        /// How long an object is tried that the destination does not take. What it refuses for good
        /// is not tried again.
        pub retry: Retry = Retry::Forever,
        /// Events to tell Braze of; without it none are.
        pub send_events: Option<SendEvents>,
        /// User properties to tell Braze of when they change; without it none are.
        pub send_users: Option<SendUsers>,
        /// What an Amplitude destination gets, in place of the keys about Braze.
        pub forward: Option<Forward>,
    }
}

shape! {
    /// `identify_by` of a stream.
    pub struct IdentifyBy {
        /// `user_id`, `device_id` or the name of a user property.
        pub from: PropertyRef as PropertyRef::of_user,
        /// The identifier at Braze.
        pub to: IdentifyTarget,
    }
}

shape! {
    /// `anonymous` of a stream: people without a user id go out under a user alias, and once they
    /// have one, Braze is asked to make both one person.
    pub struct Anonymous {
        /// What names them.
        pub from: AnonymousId = AnonymousId::DeviceId,
        /// `alias_label` of the alias object. One that nothing else uses: Braze keeps one alias of a
        /// label per person.
        pub alias_label: String => check::not_blank,
    }
}

words! {
    /// What names a person without a user id.
    pub enum AnonymousId {
        /// The device id, where the client sent one.
        DeviceId = "device_id",
    }
}

words! {
    /// Braze's identifiers.
    pub enum IdentifyTarget {
        /// The id of the user in one's own systems.
        ExternalId = "external_id",
        /// Braze's own id of the user.
        BrazeId = "braze_id",
        /// A user alias, whose label `user_alias_label` gives.
        UserAlias = "user_alias",
        /// An e-mail address.
        Email = "email",
    }
}

words! {
    /// What becomes of objects and arrays of objects.
    pub enum NestedValues {
        /// Left out, and counted.
        Drop = "drop",
        /// Sent as a string that holds JSON.
        JsonString = "json_string",
        /// Sent as they are.
        Nested = "nested",
    }
}

shape! {
    /// `send_events` of a stream.
    pub struct SendEvents {
        /// Event types to forward; at least one.
        pub events: Vec<SelectedEvent>,
        /// What happens to an event of which nobody knows whether it was taken.
        pub delivery: DeliveryGuarantee = DeliveryGuarantee::AtLeastOnce,
        /// Event properties to attach.
        pub event_properties: Vec<SelectedProperty> = Vec::new(),
        /// User properties to attach, as they were at the time of the event.
        pub user_properties: Vec<SelectedProperty> = Vec::new(),
    }
}

shape! {
    /// One selected event type. A plain text is its `name`.
    pub struct SelectedEvent, or text SelectedEvent::named {
        /// The event type.
        pub name: String => check::not_blank,
        /// Conditions on the event; all must hold.
        pub filters: Vec<Filter> = Vec::new(),
        /// Name of the event at Braze, where it differs.
        pub as_name ("as"): Option<String> => check::none_or_not_blank,
        /// What happens when nobody knows whether it was taken, where that differs from
        /// `send_events.delivery`.
        pub delivery: Option<DeliveryGuarantee>,
    }
}

words! {
    /// What happens to an event of which nobody knows whether it was taken: no answer came, or one
    /// that says only that something went wrong.
    pub enum DeliveryGuarantee {
        /// Sent again; it may arrive twice.
        AtLeastOnce = "at_least_once",
        /// Not sent again; it may be missing.
        AtMostOnce = "at_most_once",
    }
}

shape! {
    /// One selected property. A plain text is its `name`.
    #[derive(Eq)]
    pub struct SelectedProperty, or text SelectedProperty::named {
        /// Name of the property.
        pub name: String => check::not_blank,
        /// Its name at Braze, where it differs.
        pub as_name ("as"): Option<String> => check::none_or_not_blank,
    }
}

shape! {
    /// A condition on an event.
    pub struct Filter {
        /// The property; a plain text is an event property.
        pub property: PropertyRef as PropertyRef::of_event,
        /// Name of the operator, as cohorts have them: `is`, `is not`, `contains`, `greater`, ...
        pub op: String => check::not_blank,
        /// Texts, numbers or booleans to compare with; `(none)` is a missing value.
        pub values: Vec<String>,
    }
}

shape! {
    /// A property of an event, of its user or of its groups.
    #[derive(Eq, Hash)]
    pub struct PropertyRef {
        /// What the property belongs to.
        pub scope: Scope,
        /// Name of the property.
        pub name: String => check::not_blank,
    }
}

words! {
    /// What a property belongs to.
    pub enum Scope {
        /// A field that every event may have: `user_id`, `device_id`, `platform`, `country`.
        Builtin = "builtin",
        /// The event's properties.
        Event = "event",
        /// The user's properties.
        User = "user",
        /// The properties of the event's groups, whatever their types: all conditions on one
        /// property hold if they do for one group's value, and where no group has the property it
        /// is missing.
        Group = "group",
    }
}

shape! {
    /// `send_users` of a stream.
    pub struct SendUsers {
        /// User properties to forward as attributes. With none, only the user's identifier is sent,
        /// once.
        pub user_properties: Vec<SelectedProperty> = Vec::new(),
        /// Send every selected property when one of them changed, instead of only that one.
        pub send_all_selected_on_change: bool = false,
        /// What Braze hears when a selected property goes away.
        pub on_unset: OnUnset = OnUnset::SendNull,
    }
}

words! {
    /// What the destination hears when a selected property goes away.
    pub enum OnUnset {
        /// `null`, which removes the attribute.
        SendNull = "send_null",
        /// Nothing.
        Ignore = "ignore",
    }
}

impl Stream {
    /// Reads a stream: one to Braze says whom it tells of, one to Amplitude what it forwards.
    pub(crate) fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::open(node, "a mapping", &["kind"], report)?;
        let stream = Self::take_fields(&mut fields, report);
        if node.get("forward").is_none() {
            fields.require("identify_by");
        }
        fields.close(report);
        stream
    }

    pub(crate) fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.name.starts_with("currents:") {
            let message = format!("stream `{}` is called like a Currents source", clip(&self.name));
            let hint = "names that begin with `currents:` are those of the sources' dead letters";
            problems.push(Problem::new("name", message).hint(hint));
        }
        problems.extend(self.retry.check("retry"));
        match &self.forward {
            Some(forward) => problems.extend(forward.check(self)),
            None => self.check_for_braze(&mut problems),
        }
        problems
    }

    fn check_for_braze(&self, problems: &mut Vec<Problem>) {
        if self.send_events.is_none() && self.send_users.is_none() {
            let message = format!("stream `{}` sends nothing", clip(&self.name));
            problems.push(Problem::new("", message).hint("add `send_events` or `send_users`"));
        }
        let Some(IdentifyBy { from, to }) = &self.identify_by else { return };
        if *to == IdentifyTarget::UserAlias && self.user_alias_label.is_none() {
            let message = "`user_alias_label` is missing, and `to: user_alias` needs one";
            let hint = "it is the `alias_label` of the alias object at Braze";
            problems.push(Problem::new("user_alias_label", message).hint(hint));
        }
        let by_user_id = from.scope == Scope::Builtin && from.name == "user_id";
        if self.anonymous.is_some() && !(by_user_id && *to == IdentifyTarget::ExternalId) {
            let message =
                "`anonymous` needs a stream that identifies by `user_id` as `external_id`";
            let hint = "remove it, or write `identify_by: { from: user_id, to: external_id }`";
            problems.push(Problem::new("anonymous", message).hint(hint));
        }
        if let Some(send_events) = &self.send_events {
            send_events.check(problems);
        }
        if let Some(send_users) = &self.send_users {
            let at = "send_users.user_properties";
            check_properties(&send_users.user_properties, at, problems);
        }
    }

    /// How long its objects are tried.
    pub fn retry_policy(&self) -> RetryPolicy {
        self.retry.policy()
    }
}

impl DeliveryGuarantee {
    fn guarantee(self) -> Guarantee {
        match self {
            Self::AtLeastOnce => Guarantee::AtLeastOnce,
            Self::AtMostOnce => Guarantee::AtMostOnce,
        }
    }
}

impl SendEvents {
    /// What happens to an event selected by `event` of which nobody knows whether it was taken.
    pub fn guarantee_of(&self, event: &SelectedEvent) -> Guarantee {
        event.delivery.unwrap_or(self.delivery).guarantee()
    }

    fn check(&self, problems: &mut Vec<Problem>) {
        if self.events.is_empty() {
            let message = "`send_events.events` is empty";
            let hint = "name at least one event type, or remove `send_events`";
            problems.push(Problem::new("send_events.events", message).hint(hint));
        }
        let names = self.events.iter().map(|event| (event.name.as_str(), event.as_name.as_deref()));
        check_twice(names, "event", "send_events.events", problems);
        check_properties(&self.event_properties, "send_events.event_properties", problems);
        check_properties(&self.user_properties, "send_events.user_properties", problems);
    }
}

fn check_properties(properties: &[SelectedProperty], path: &str, problems: &mut Vec<Problem>) {
    let names =
        properties.iter().map(|property| (property.name.as_str(), property.as_name.as_deref()));
    check_twice(names, "property", path, problems);
}

/// Reports what is selected twice under one name.
fn check_twice<'a>(
    names: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    thing: &str,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let mut seen = HashMap::new();
    for (index, (name, as_name)) in names.enumerate() {
        let as_name = as_name.filter(|as_name| *as_name != name);
        let Some(first) = seen.insert((name, as_name), index) else { continue };
        let message = format!("{thing} `{}` is selected twice", clip(name));
        let hint = format!("it is already `{path}[{first}]`");
        problems.push(Problem::new(format!("{path}[{index}]"), message).hint(hint));
    }
}

impl SelectedEvent {
    fn named(name: &str) -> Result<Self, Wrong> {
        check::not_blank(&name.to_owned())?;
        Ok(Self { name: name.to_owned(), filters: Vec::new(), as_name: None, delivery: None })
    }
}

impl SelectedProperty {
    fn named(name: &str) -> Result<Self, Wrong> {
        check::not_blank(&name.to_owned())?;
        Ok(Self { name: name.to_owned(), as_name: None })
    }
}

impl PropertyRef {
    /// A plain text is an event property.
    fn of_event(node: &Node, report: &mut Report) -> Option<Self> {
        Self::decode_or(node, report, |_| Scope::Event)
    }

    /// A plain text is `user_id`, `device_id` or a user property.
    fn of_user(node: &Node, report: &mut Report) -> Option<Self> {
        Self::decode_or(node, report, |name| match name {
            "user_id" | "device_id" => Scope::Builtin,
            _ => Scope::User,
        })
    }

    fn decode_or(node: &Node, report: &mut Report, scope: impl Fn(&str) -> Scope) -> Option<Self> {
        match node.text() {
            Some(name) if !name.trim().is_empty() => {
                Some(Self { scope: scope(name), name: name.to_owned() })
            }
            Some(_) => {
                report.wrong(node.at, Wrong::new("is empty"));
                None
            }
            None => Self::decode_fields(node, &[], report),
        }
    }
}
