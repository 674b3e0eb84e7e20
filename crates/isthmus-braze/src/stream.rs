//! One stream of a project to Braze: built from its resource, it maps items of the event log.

mod build;

use crate::identity::{Deletion, Identification};
use crate::names::Names;
use crate::track::attributes::AttributesMapping;
use crate::track::event::{EventMapping, EventRule};
use crate::warnings::{Tally, Warnings};
use isthmus_config::Problem;
use isthmus_config::resource::{BrazeDestination, Stream};
use isthmus_core::destination::{Mapped, Mapping, Wants};
use isthmus_core::record::{Applied, Identified, Merge};

/// What one stream tells Braze.
#[derive(Debug)]
pub struct BrazeStream {
    project: String,
    events: Option<Events>,
    users: Option<AttributesMapping>,
    /// Where the stream tells of people without a user id.
    identification: Option<Identification>,
    /// Where the destination hears of erasures.
    deletion: Option<Deletion>,
    notes: Vec<String>,
    tally: Tally,
}

/// The selected event types, and what they have in common.
#[derive(Debug)]
struct Events {
    mapping: EventMapping,
    /// Event types; slots are indexes into `selected`.
    types: Names,
    selected: Vec<Selected>,
}

impl Events {
    fn select(&self, event_type: &str) -> Option<&Selected> {
        self.selected.get(self.types.find(event_type)?)
    }
}

#[derive(Debug)]
struct Selected {
    rule: EventRule,
    wants: Wants,
}

impl BrazeStream {
    /// The mapping that `stream` describes, or every problem at once, with paths inside the stream
    /// resource.
    pub fn build(stream: &Stream, destination: &BrazeDestination) -> Result<Self, Vec<Problem>> {
        build::build(stream, destination)
    }

    /// What was changed or left out since the stream was built.
    pub fn warnings(&self) -> Warnings {
        self.tally.read()
    }

    /// What the person who wrote the stream should know: reserved names that are sent under
    /// another name, attributes that set Braze's standard profile fields, user properties that
    /// never show because an event property has their name.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Mapping for BrazeStream {
    fn wants(&self, item: &Applied<'_>) -> Wants {
        if item.project() != self.project {
            return Wants::Nothing;
        }
        match item {
            Applied::Event(event) => self
                .events
                .as_ref()
                .and_then(|events| events.select(event.event_type))
                .map_or(Wants::Nothing, |selected| selected.wants),
            Applied::UserChange(change) => {
                self.users.as_ref().map_or(Wants::Nothing, |users| users.wants(change))
            }
            // What else a merge brings shows in the changes that follow it.
            Applied::Merge(_) | Applied::Identified(_) if self.identification.is_some() => {
                Wants::Item
            }
            Applied::Erasure(_) if self.deletion.is_some() => Wants::Item,
            // Braze has no groups.
            Applied::GroupChange(_)
            | Applied::Merge(_)
            | Applied::Identified(_)
            | Applied::Erasure(_)
            | Applied::Erased
            | Applied::Identify(_) => Wants::Nothing,
        }
    }

    /// An event whose filters do not hold does not concern the stream: nothing is appended.
    fn map(&self, item: &Applied<'_>, user_properties: Option<&str>, out: &mut Vec<Mapped>) {
        match item {
            Applied::Event(event) => {
                let Some(events) = &self.events else { return };
                if let Some(selected) = events.select(event.event_type) {
                    events.mapping.map(&selected.rule, event, user_properties, &self.tally, out);
                }
            }
            Applied::UserChange(change) => {
                if let Some(users) = &self.users {
                    users.map(change, user_properties, &self.tally, out);
                }
            }
            Applied::Merge(Merge { user_id, device_id, .. })
            | Applied::Identified(Identified { user_id, device_id, .. }) => {
                if let Some(identification) = &self.identification {
                    identification.map(user_id, device_id, out);
                }
            }
            Applied::Erasure(erasure) => {
                if let Some(deletion) = &self.deletion {
                    deletion.map(erasure, out);
                }
            }
            Applied::GroupChange(_) | Applied::Erased | Applied::Identify(_) => {}
        }
    }
}
