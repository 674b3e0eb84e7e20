//! What the crate does, through its two doors: `BrazeStream` and `Braze`.

mod building;
mod identity;
mod mapping;
mod replies;
mod requests;

use crate::{Braze, BrazeStream};
use isthmus_config::resource::{
    BrazeDestination, BrazeLimits, BudgetShares, Contract, DeliveryGuarantee, Filter, IdentifyBy,
    IdentifyTarget, NestedValues, OnErasure, OnUnset, PropertyRef, Retry, Scope, SelectedEvent,
    SelectedProperty, SendEvents, SendUsers, Stream,
};
use isthmus_config::{Problem, Secret, SecretRef};
use isthmus_core::destination::{
    Delivery, Guarantee, Lane, Mapped, Mapping, Message, Section, Wants,
};
use isthmus_core::record::{Applied, AppliedEvent, PropertyChange, UserChange, UserProperties};
use isthmus_core::{AmplitudeId, ByteSize, Place, Timestamp};
use std::time::Duration;

/// 2026-02-03T09:15:02.410Z
const AT: i64 = 1_770_110_102_410;

fn destination() -> BrazeDestination {
    BrazeDestination {
        endpoint: "US-05".to_owned(),
        rest_key: SecretRef::Literal(Secret::new("secret-key")),
        app_id: Some("7b1c0000-app".to_owned()),
        identify_settle: Duration::from_secs(1),
        on_erasure: OnErasure::Delete,
        mirror: true,
        limits: BrazeLimits {
            contract: Contract::Combined,
            objects_per_request: 75,
            requests_per_3s: 3_000,
            requests_per_minute: None,
            requests_per_hour: Some(250_000),
            requests_in_flight: 8,
            shares: BudgetShares::default(),
            company: None,
            bytes_per_request: ByteSize::bytes(3_500_000),
            linger: Duration::from_millis(20),
            timeout: Duration::from_secs(30),
        },
    }
}

pub(crate) fn braze() -> Braze {
    Braze::build(&destination(), "secret-key").expect("the destination is right")
}

/// The stream of DESIGN's example: `Order Completed` with `total`, `currency` and `plan`; users
/// with `plan` and `seats`.
fn stream() -> Stream {
    Stream {
        name: "product-events".to_owned(),
        project: "shop".to_owned(),
        destination: "braze".to_owned(),
        enabled: true,
        identify_by: Some(IdentifyBy { from: builtin("user_id"), to: IdentifyTarget::ExternalId }),
        anonymous: None,
        user_alias_label: None,
        update_existing_only: false,
        nested_values: NestedValues::Drop,
        retry: Retry::Forever,
        send_events: Some(SendEvents {
            events: vec![SelectedEvent {
                name: "Order Completed".to_owned(),
                filters: Vec::new(),
                as_name: None,
                delivery: None,
            }],
            delivery: DeliveryGuarantee::AtLeastOnce,
            event_properties: selected(&["total", "currency"]),
            user_properties: selected(&["plan"]),
        }),
        send_users: Some(SendUsers {
            user_properties: selected(&["plan", "seats"]),
            send_all_selected_on_change: false,
            on_unset: OnUnset::SendNull,
        }),
        forward: None,
    }
}

/// [`stream`], changed.
fn stream_with(change: impl FnOnce(&mut Stream)) -> Stream {
    let mut stream = stream();
    change(&mut stream);
    stream
}

fn identity_of(stream: &mut Stream) -> &mut IdentifyBy {
    stream.identify_by.as_mut().expect("the stream says whom it tells of")
}

fn events_of(stream: &mut Stream) -> &mut SendEvents {
    stream.send_events.as_mut().expect("the stream sends events")
}

fn users_of(stream: &mut Stream) -> &mut SendUsers {
    stream.send_users.as_mut().expect("the stream sends users")
}

fn build(stream: &Stream) -> BrazeStream {
    BrazeStream::build(stream, &destination()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// `total` or `total as amount`.
fn selected(names: &[&str]) -> Vec<SelectedProperty> {
    names
        .iter()
        .map(|text| match text.split_once(" as ") {
            Some((name, as_name)) => {
                SelectedProperty { name: name.to_owned(), as_name: Some(as_name.to_owned()) }
            }
            None => SelectedProperty { name: (*text).to_owned(), as_name: None },
        })
        .collect()
}

fn builtin(name: &str) -> PropertyRef {
    PropertyRef { scope: Scope::Builtin, name: name.to_owned() }
}

fn user_property(name: &str) -> PropertyRef {
    PropertyRef { scope: Scope::User, name: name.to_owned() }
}

fn filter(scope: Scope, name: &str, op: &str, values: &[&str]) -> Filter {
    Filter {
        property: PropertyRef { scope, name: name.to_owned() },
        op: op.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

/// The event of the specification's example.
fn event() -> AppliedEvent<'static> {
    AppliedEvent {
        project: "shop",
        user: AmplitudeId(7),
        user_id: Some("u-1009"),
        device_id: "d-77",
        device_id_derived: false,
        event_type: "Order Completed",
        event_time: AT,
        client_event_time: AT,
        received_at: AT,
        session_id: Some(1_770_110_000_000),
        event_id: None,
        insert_id: Some("i-1"),
        event_properties: Some(r#"{"total":84.5,"currency":"EUR","internal_ref":"x"}"#),
        groups: None,
        group_properties: None,
        fields: Some(r#"{"platform":"Web","country":"Germany"}"#),
        user_properties: UserProperties::None,
        sent_user_properties: None,
        skip_user_properties_sync: false,
        remote_address: None,
        currents: None,
    }
}

fn change(changes: Vec<PropertyChange<'static>>) -> UserChange<'static> {
    UserChange {
        project: "shop",
        user: AmplitudeId(7),
        user_id: Some("u-1009"),
        device_id: "d-77",
        device_id_derived: false,
        event_time: AT,
        received_at: AT,
        insert_id: None,
        first_seen: false,
        first_seen_on_device: false,
        changes,
        user_properties: UserProperties::None,
    }
}

fn changed(
    name: &'static str,
    from: Option<&'static str>,
    to: Option<&'static str>,
) -> PropertyChange<'static> {
    PropertyChange { name, from, to }
}

/// What becomes of `item`: payloads, or `discarded: ...`, or `rejected: ...`, one a line. User
/// properties are given exactly when they are asked for.
fn told(stream: &BrazeStream, item: &Applied<'_>, user_properties: &str) -> String {
    let mut out = Vec::new();
    match stream.wants(item) {
        Wants::Nothing => return "nothing".to_owned(),
        Wants::Item => stream.map(item, None, &mut out),
        Wants::ItemAndUserProperties => stream.map(item, Some(user_properties), &mut out),
    }
    let lines: Vec<String> = out
        .into_iter()
        .map(|mapped| match mapped {
            Mapped::Deliver(message) => message.payload,
            Mapped::Discard { reason } => format!("discarded: {reason}"),
            Mapped::Reject { reason, .. } => format!("rejected: {reason}"),
        })
        .collect();
    lines.join("\n")
}

fn told_event(stream: &Stream, event: &AppliedEvent<'_>, user_properties: &str) -> String {
    told(&build(stream), &Applied::Event(event.clone()), user_properties)
}

fn told_change(stream: &Stream, change: &UserChange<'_>, user_properties: &str) -> String {
    told(&build(stream), &Applied::UserChange(change.clone()), user_properties)
}

fn delivery(lane: &str, section: u8, payload: &str) -> Delivery {
    Delivery {
        stream: "product-events".into(),
        place: Place::default(),
        part: 0,
        accepted_at: Timestamp::from_millis(AT),
        message: Message {
            lane: Lane::of(lane),
            section: Section(section),
            name: "any".to_owned(),
            payload: payload.to_owned(),
            guarantee: Guarantee::AtLeastOnce,
            after: None,
        },
    }
}

fn listed(problems: &[Problem]) -> String {
    let line = |problem: &Problem| {
        let hint = problem.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}: {}{hint}", problem.path, problem.message)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}
