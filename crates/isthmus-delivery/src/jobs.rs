//! Jobs: part of the past for a stream, sent beside the present and after it.
//!
//! A job reads the same log through the same mapping into the same lanes, with a cursor and counts
//! of its own. What makes it safe to run:
//! - It leaves out what the ledger says was delivered ([`Skips`]), unless told otherwise.
//! - An attribute never moves backwards in time: a change that a later one overtook, in the job's
//!   own part of the log or in what the stream has told, is not sent ([`Latest`]).
//! - It erases nobody: what was erased in that part of the past is not erased again.
//! - It is of the priority that waits for everything else.

use crate::journal::JobRecord;
use crate::ledger::Delivered;
use crate::snapshots::SnapshotError;
use isthmus_core::destination::{Mapped, Mapping, Wants};
use isthmus_core::record::{Applied, AppliedBatch, UserChange, UserProperties};
use isthmus_core::{AmplitudeId, Place, json};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// A job that is to run.
#[derive(Debug)]
pub struct JobSpec {
    pub record: JobRecord,
    /// Offset at which it ends.
    pub to: u64,
    pub mapping: Arc<dyn Mapping>,
    pub skips: Skips,
    pub view: View,
}

/// How a job sees the past.
#[derive(Debug, Clone)]
pub struct View {
    pub latest: Latest,
    /// Offset up to which [`Self::latest`] knows what the stream has told; the engine catches up.
    pub latest_to: u64,
    /// Acceptance of the job's items, in milliseconds since the Unix epoch: a record may hold items
    /// from before and after.
    pub times: Range<i64>,
}

/// What a job leaves out. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Skips {
    /// Delivered before, or waiting to be.
    pub delivered: Option<Arc<Delivered>>,
    /// Among the dead letters, which are sent again in a way of their own.
    pub set_aside: Arc<BTreeSet<(Place, u16)>>,
    /// Parts of the log that are not the job's.
    pub parts: Vec<Range<u64>>,
}

impl Skips {
    /// Whether the job leaves this object out.
    pub fn contains(&self, place: Place, part: u16) -> bool {
        self.delivered.as_ref().is_some_and(|delivered| delivered.contains(place, part))
            || self.set_aside.contains(&(place, part))
            || self.parts.iter().any(|range| range.contains(&place.offset))
    }
}

/// Where each property of each user was last told, as far as a job must know: about 24 bytes for
/// each.
#[derive(Debug, Clone, Default)]
pub struct Latest {
    places: HashMap<u64, Place>,
}

impl Latest {
    /// How many properties of users are known.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Takes note of what the item at `place` changes.
    pub fn note(&mut self, item: &Applied<'_>, place: Place) {
        let Applied::UserChange(change) = item else { return };
        for property in &change.changes {
            let last = self.places.entry(key(change.user, property.name)).or_insert(place);
            *last = (*last).max(place);
        }
    }

    /// Whether what was said of this property at `place` was overtaken since.
    fn overtook(&self, user: AmplitudeId, property: &str, place: Place) -> bool {
        self.places.get(&key(user, property)).is_some_and(|last| *last > place)
    }

    /// What of `change` at `place` is not overtaken, and how many properties were left out.
    pub fn still_true<'a>(&self, change: &UserChange<'a>, place: Place) -> (UserChange<'a>, usize) {
        let mut left = change.clone();
        left.changes.retain(|property| !self.overtook(change.user, property.name, place));
        let out = change.changes.len() - left.changes.len();
        (left, out)
    }

    /// The user properties of an item at `place` without those that were overtaken.
    pub fn still_true_properties<'a>(
        &self,
        user: AmplitudeId,
        properties: &'a str,
        place: Place,
    ) -> Cow<'a, str> {
        let overtaken = |(name, _): &(Cow<'_, str>, &str)| self.overtook(user, name, place);
        if !json::members(properties).any(|member| overtaken(&member)) {
            return Cow::Borrowed(properties);
        }
        let mut left = String::with_capacity(properties.len());
        let mut opening = '{';
        for (name, value) in json::members(properties).filter(|member| !overtaken(member)) {
            left.push(opening);
            opening = ',';
            json::push_text(&mut left, &name);
            left.push(':');
            left.push_str(value);
        }
        if opening == '{' {
            left.push('{');
        }
        left.push('}');
        Cow::Owned(left)
    }
}

/// Maps one item as a stream does, or as a job with this `view` does. Returns how
/// many properties were left out because they were overtaken, or nothing when the item does not
/// concern the stream. `resolve` finds user properties that the item refers to.
pub(crate) fn map_item<'s>(
    mapping: &dyn Mapping,
    view: Option<&View>,
    item: &Applied<'s>,
    place: Place,
    out: &mut Vec<Mapped>,
    resolve: impl FnOnce(Place) -> Result<&'s str, SnapshotError>,
) -> Result<Option<usize>, SnapshotError> {
    if let Some(view) = view {
        // An erasure of the past would take what is known of the person since.
        let erases = matches!(item, Applied::Erasure(_));
        if erases || !view.times.contains(&item.received_at()) {
            return Ok(None);
        }
    }
    let latest = view.map(|view| &view.latest);
    let (left, mut overtaken);
    let (item, latest) = if let (Applied::UserChange(change), Some(latest)) = (item, latest) {
        (left, overtaken) = latest.still_true(change, place);
        (&Applied::UserChange(left), Some((change.user, latest)))
    } else {
        overtaken = 0;
        (item, None)
    };
    let properties = match mapping.wants(item) {
        Wants::Nothing => return Ok((overtaken > 0).then_some(overtaken)),
        Wants::Item => None,
        Wants::ItemAndUserProperties => match item.user_properties() {
            UserProperties::None => None,
            UserProperties::Inline(text) => Some(text),
            UserProperties::At(at) => Some(resolve(at)?),
        },
    };
    match (properties, latest) {
        (Some(properties), Some((user, latest))) => {
            let left = latest.still_true_properties(user, properties, place);
            overtaken += usize::from(matches!(left, Cow::Owned(_)));
            mapping.map(item, Some(&left), out);
        }
        _ => mapping.map(item, properties, out),
    }
    Ok(Some(overtaken))
}

/// The user properties at `at`, if that is in this very record.
pub(crate) fn inlined<'a>(batch: &AppliedBatch<'a>, offset: u64, at: Place) -> Option<&'a str> {
    if at.offset != offset {
        return None;
    }
    let item = batch.items.get(usize::try_from(at.index).ok()?)?;
    match Applied::user_properties(item) {
        UserProperties::Inline(text) => Some(text),
        UserProperties::None | UserProperties::At(_) => None,
    }
}

/// Sixty-four bits of a user and a property: of ten million, two share theirs with a chance of one
/// in four hundred thousand, and then the older one of two changes is not sent.
fn key(user: AmplitudeId, property: &str) -> u64 {
    let mut bytes = Vec::with_capacity(8 + property.len());
    bytes.extend(user.0.to_le_bytes());
    bytes.extend(property.as_bytes());
    isthmus_core::destination::Lane::of_bytes(&bytes).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_core::record::{PropertyChange, UserProperties};

    const ANA: AmplitudeId = AmplitudeId(7);

    fn change(names: &'static [&'static str]) -> Applied<'static> {
        let changes = names.iter().map(|name| PropertyChange { name, from: None, to: Some("1") });
        Applied::UserChange(UserChange {
            project: "shop",
            user: ANA,
            user_id: Some("ana"),
            device_id: "d",
            device_id_derived: false,
            event_time: 0,
            received_at: 0,
            insert_id: None,
            first_seen: false,
            first_seen_on_device: false,
            changes: changes.collect(),
            user_properties: UserProperties::None,
        })
    }

    fn at(offset: u64) -> Place {
        Place { offset, index: 0 }
    }

    #[test]
    fn what_a_later_change_overtook_is_left_out_and_the_rest_is_not() {
        let mut latest = Latest::default();
        latest.note(&change(&["plan", "seats"]), at(10));
        latest.note(&change(&["plan"]), at(30));
        latest.note(&change(&["plan"]), at(20));
        let names = |offset| {
            let Applied::UserChange(told) = change(&["plan", "seats", "city"]) else { panic!() };
            let (left, out) = latest.still_true(&told, at(offset));
            let names: Vec<_> = left.changes.iter().map(|property| property.name).collect();
            (names.join(" "), out)
        };
        assert_eq!(names(10), ("seats city".to_owned(), 1));
        assert_eq!(names(9), ("city".to_owned(), 2));
        assert_eq!(names(30), ("plan seats city".to_owned(), 0));
        let left = |offset| {
            latest
                .still_true_properties(ANA, r#"{"plan":"pro","x":[1,2]}"#, at(offset))
                .into_owned()
        };
        assert_eq!((&*left(30), &*left(29)), (r#"{"plan":"pro","x":[1,2]}"#, r#"{"x":[1,2]}"#));
        assert_eq!(&*latest.still_true_properties(ANA, r#"{"plan":1}"#, at(1)), "{}");
        assert_eq!(
            latest.still_true_properties(AmplitudeId(8), r#"{"plan":1}"#, at(1)),
            r#"{"plan":1}"#
        );
    }

    #[derive(Debug)]
    struct Everything;

    impl Mapping for Everything {
        fn wants(&self, _: &Applied<'_>) -> Wants {
            Wants::Item
        }

        fn map(&self, _: &Applied<'_>, _: Option<&str>, out: &mut Vec<Mapped>) {
            out.push(Mapped::Discard { reason: "seen" });
        }
    }

    #[test]
    fn a_job_erases_nobody() {
        let erasure = Applied::Erasure(isthmus_core::record::Erasure {
            project: "shop",
            request: "r-1",
            users: vec![ANA],
            user_id: Some("ana"),
            device_ids: Vec::new(),
            braze_ids: Vec::new(),
            user_properties: None,
            received_at: 5,
        });
        let view = View { latest: Latest::default(), latest_to: 0, times: 0..10 };
        let mapped = |view| {
            let mut out = Vec::new();
            let none = |_| panic!("no properties are asked for");
            map_item(&Everything, view, &erasure, at(1), &mut out, none).unwrap();
            out.len()
        };
        assert_eq!((mapped(None), mapped(Some(&view))), (1, 0));
    }
}
