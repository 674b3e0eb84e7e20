//! Resources: what a person writes in YAML about projects, destinations and streams.

use crate::secret::SecretRef;
use isthmus_core::ByteSize;
use std::time::Duration;

/// `kind: project`: one isolated data set, with the keys that open it.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    pub name: String,
    /// The key that SDKs send with every upload; public by design.
    pub api_key: String,
    /// The key of the read APIs.
    pub secret_key: Option<SecretRef>,
    /// IANA name.
    pub time_zone: String,
    pub throttle: Throttle,
    /// Characters that a user id or device id has at least, where the upload does not say.
    pub id_length_min: usize,
}

/// Ceilings per user id and per device id; `None` is no ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttle {
    /// Events per second through `/2/httpapi`.
    pub events_per_second: Option<u32>,
    /// Events per second through `/batch`.
    pub batch_events_per_second: Option<u32>,
    /// Events in 24 hours through `/batch`.
    pub batch_events_per_day: Option<u32>,
    /// Property-updating uploads per user per hour; beyond, the update is dropped.
    pub user_property_updates_per_hour: Option<u32>,
}

/// `kind: destination`: a place that streams and syncs deliver to.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    pub name: String,
    pub settings: DestinationSettings,
}

/// What `type` says, and the keys that go with it.
#[derive(Debug, Clone, PartialEq)]
pub enum DestinationSettings {
    Braze(BrazeDestination),
}

/// `type: braze`.
#[derive(Debug, Clone, PartialEq)]
pub struct BrazeDestination {
    /// URL of the REST endpoint, or the name of a Braze instance such as `US-05`.
    pub endpoint: String,
    pub rest_key: SecretRef,
    /// App identifier that goes on each event.
    pub app_id: Option<String>,
    pub limits: BrazeLimits,
}

/// How much Braze takes, by the contract that the workspace has.
#[derive(Debug, Clone, PartialEq)]
pub struct BrazeLimits {
    pub contract: Contract,
    pub objects_per_request: usize,
    pub requests_per_3s: u32,
    pub requests_per_minute: Option<u32>,
    pub requests_per_hour: Option<u32>,
    pub requests_in_flight: usize,
    pub bytes_per_request: ByteSize,
    pub linger: Duration,
    pub timeout: Duration,
}

/// How Braze counts the objects of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contract {
    /// All lists of a request together.
    #[default]
    Combined,
    /// Each list by itself.
    Legacy,
}

/// `kind: stream`: which events and user updates of a project reach a destination as they arrive.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    pub name: String,
    pub project: String,
    pub destination: String,
    pub enabled: bool,
    pub identify_by: IdentifyBy,
    pub user_alias_label: Option<String>,
    pub update_existing_only: bool,
    pub nested_values: NestedValues,
    pub send_events: Option<SendEvents>,
    pub send_users: Option<SendUsers>,
}

/// Which Amplitude property names the user, and as what.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentifyBy {
    pub from: PropertyRef,
    pub to: IdentifyTarget,
}

/// Braze's identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentifyTarget {
    ExternalId,
    BrazeId,
    UserAlias,
    Email,
}

/// What becomes of objects and arrays of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NestedValues {
    /// Left out, and counted.
    #[default]
    Drop,
    /// Sent as a string that holds JSON.
    JsonString,
    /// Sent as they are.
    Nested,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SendEvents {
    pub events: Vec<SelectedEvent>,
    pub event_properties: Vec<SelectedProperty>,
    pub user_properties: Vec<SelectedProperty>,
}

/// One selected event type; written as a plain string or as an object.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectedEvent {
    pub name: String,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// Name of the Braze event, where it differs. Key `as`.
    pub as_name: Option<String>,
}

/// One selected property; written as a plain string or as `{ name, as }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedProperty {
    pub name: String,
    /// Name at the destination, where it differs. Key `as`.
    pub as_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    pub property: PropertyRef,
    /// Name of an operator, as cohorts have them: `is`, `does not contain`, ...
    pub op: String,
    /// As text; numbers and booleans as they were written.
    pub values: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PropertyRef {
    pub scope: Scope,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Fields that every event has: `user_id`, `device_id`, `platform`, `country`, ...
    Builtin,
    Event,
    User,
    Group,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SendUsers {
    pub user_properties: Vec<SelectedProperty>,
    /// Send every selected property when one of them changed, instead of only that one.
    pub send_all_selected_on_change: bool,
    pub on_unset: OnUnset,
}

/// What the destination hears when a selected property goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnset {
    /// JSON `null`, which removes the attribute in Braze.
    #[default]
    SendNull,
    /// Nothing.
    Ignore,
}
