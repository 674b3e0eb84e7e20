//! What happened to an event, to a user's items, or to what a stream sent.
//!
//! The ledger knows what was sent, held back or decided. Of an object that it has nothing about, the
//! rest is told by where its stream stands and by what the stream makes of the item now.

mod absent;
mod told;
mod view;

use super::{Runtime, RuntimeError};
use crate::deliveries::Served;
use crate::report::ledger::{LedgerItem, LedgerObject, LedgerReport};
use absent::Absent;
use isthmus_core::{Place, Timestamp};
use isthmus_delivery::finder::{Finder, Found, FoundKind, Order};
use isthmus_delivery::ledger::{Filter, State, Story};
use isthmus_log::Log;
use isthmus_state::dead_letters::DeadLetters;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
pub(crate) use told::state_named;
pub(super) use told::{object, state_name};
pub(super) use view::View;

/// Items that are looked at to find those in a certain state.
const LOOKED_AT_MAX: usize = 10_000;

/// A question to the ledger.
#[derive(Debug)]
pub(crate) struct LedgerQuery {
    pub(crate) of: Of,
    pub(crate) state: Option<State>,
    pub(crate) possible_duplicates: bool,
    /// Accepted at this instant or later.
    pub(crate) from: Option<Timestamp>,
    /// Accepted before this instant.
    pub(crate) to: Option<Timestamp>,
    pub(crate) limit: usize,
}

/// What it is about.
#[derive(Debug)]
pub(crate) enum Of {
    /// An insert id, or a place.
    Event(String),
    /// A user id or a device id.
    User(String),
    /// The name of a stream.
    Stream(String),
}

impl LedgerQuery {
    fn is_filtered(&self) -> bool {
        self.state.is_some() || self.possible_duplicates
    }

    fn lets_through(&self, object: &LedgerObject) -> bool {
        self.state.is_none_or(|state| state_name(state) == object.state)
            && (!self.possible_duplicates || object.possible_duplicate)
    }

    fn is_in_time(&self, accepted_at: Timestamp) -> bool {
        self.from.is_none_or(|from| accepted_at >= from)
            && self.to.is_none_or(|to| accepted_at < to)
    }
}

impl Runtime {
    pub(crate) async fn ledger(&self, query: LedgerQuery) -> Result<LedgerReport, RuntimeError> {
        let resources = self.resources.lock().await;
        let projects = resources.iter().filter(|resource| resource.kind() == "project");
        let projects = projects.map(|resource| resource.name().to_owned()).collect();
        drop(resources);
        let asking = Asking {
            served: self.deliveries.served(),
            finder: self.finder.clone(),
            dead_letters: self.dead_letters.clone(),
            events: self.events.clone(),
            unapplied: self.intake.end().saturating_sub(self.applier.borrow().intake),
            projects,
        };
        blocking(move || asking.answer(&query)).await
    }
}

/// Runs `work`, which reads disks, where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RuntimeError::Failed(error.into())),
    }
}

/// The error of a part that was asked, which an operator must look at.
pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> RuntimeError {
    RuntimeError::Failed(error.into())
}

/// Everything that a question is put to.
struct Asking {
    served: BTreeMap<String, Served>,
    finder: Finder,
    dead_letters: DeadLetters,
    events: Log,
    /// Bytes of accepted requests that are not in the event log yet.
    unapplied: u64,
    projects: Vec<String>,
}

impl Asking {
    fn answer(&self, query: &LedgerQuery) -> Result<LedgerReport, RuntimeError> {
        // Before the ledger is read: what a stream has passed by now, the ledger knows by then.
        let views: Vec<View<'_>> =
            self.served.iter().map(|(name, served)| View::of(name, served)).collect();
        let mut items = match &query.of {
            Of::Event(id) => self.event(id, query, &views)?,
            Of::User(id) => self.user(id, query, &views)?,
            Of::Stream(name) => self.stream(name, query, &views)?,
        };
        if query.is_filtered() {
            for item in &mut items {
                item.objects.retain(|object| query.lets_through(object));
            }
            items.retain(|item| !item.objects.is_empty());
        }
        let excess = items.len().saturating_sub(query.limit);
        items.drain(..excess);
        Ok(LedgerReport {
            items,
            truncated: excess > 0,
            events_since: self.events_since()?.map(|at| at.to_string()),
            ledger_since: kept_since(&views),
        })
    }

    fn event(
        &self,
        id: &str,
        query: &LedgerQuery,
        views: &[View<'_>],
    ) -> Result<Vec<LedgerItem>, RuntimeError> {
        let mut found = self.finder.look_up(id, query.limit + 1).map_err(failed)?;
        let place = id.parse::<Place>().ok();
        if let (true, Some(place)) = (found.is_empty(), place) {
            let mut item = item_at(place, None);
            item.objects =
                stories(views, &BTreeSet::from([place]))?.remove(&place).unwrap_or_default();
            if !item.objects.is_empty() {
                item.note = Some("the event log does not reach back to it".to_owned());
                return Ok(vec![item]);
            }
        }
        if found.is_empty() {
            let what = match place {
                Some(_) => format!("item at {id} of the event log"),
                None => format!("event with the insert id {id}"),
            };
            return Err(RuntimeError::NotFound(format!("{what}; {}", self.reach(views)?)));
        }
        found.retain(|found| query.is_in_time(found.received_at));
        self.items(found, views)
    }

    fn user(
        &self,
        id: &str,
        query: &LedgerQuery,
        views: &[View<'_>],
    ) -> Result<Vec<LedgerItem>, RuntimeError> {
        let projects: Vec<&str> = self.projects.iter().map(String::as_str).collect();
        let persons = self.finder.persons(&projects, id).map_err(failed)?;
        if persons.is_empty() {
            return Err(RuntimeError::NotFound(format!(
                "user {id}: no project has seen it, neither as a user id nor as a device id; {}",
                self.reach(views)?
            )));
        }
        let offsets = self.finder.received_between(query.from, query.to).map_err(failed)?;
        let most = if query.is_filtered() { LOOKED_AT_MAX } else { query.limit + 1 };
        let newest = Order::NewestFirst;
        let mut found =
            self.finder.find_user(None, &persons, offsets, newest, most).map_err(failed)?;
        found.retain(|found| query.is_in_time(found.received_at));
        found.reverse();
        self.items(found, views)
    }

    fn stream(
        &self,
        name: &str,
        query: &LedgerQuery,
        views: &[View<'_>],
    ) -> Result<Vec<LedgerItem>, RuntimeError> {
        let of = |view: &&View<'_>| !view.numbers_of(name).is_empty();
        let view = views
            .iter()
            .find(of)
            .ok_or_else(|| RuntimeError::NotFound(format!("stream {name}")))?;
        let filter = Filter {
            streams: view.numbers_of(name),
            state: query.state,
            possible_duplicates: query.possible_duplicates,
            offsets: self.offsets(query)?,
        };
        let stories = view.served.ledger.list(&filter, query.limit + 1).map_err(failed)?;
        let places = stories.iter().map(|story| story.key.place).collect();
        let found = self.finder.at_each(&places).map_err(failed)?;
        let found: BTreeMap<Place, Found> =
            found.into_iter().map(|found| (found.place, found)).collect();
        let item = |story: &Story| {
            let found = found.get(&story.key.place);
            // Without the item it is only certain that it was accepted before anything happened.
            let accepted_at = match found {
                Some(found) => found.received_at,
                None => story.happenings.first()?.at,
            };
            let mut item = item_at(story.key.place, found);
            item.objects.push(told::object(view, story));
            query.is_in_time(accepted_at).then_some(item)
        };
        Ok(stories.iter().filter_map(item).collect())
    }

    /// Offsets of the records that a listing is about; also of those that are trimmed.
    fn offsets(&self, query: &LedgerQuery) -> Result<Option<RangeInclusive<u64>>, RuntimeError> {
        if query.from.is_none() && query.to.is_none() {
            return Ok(None);
        }
        let known = self.finder.received_between(query.from, query.to).map_err(failed)?;
        let first = if known.start <= self.events.start() { 0 } else { known.start };
        let last = query.to.map_or(u64::MAX, |_| known.end.saturating_sub(1));
        Ok(Some(first..=last))
    }

    /// What became of `found`, which are in the order of the log.
    fn items(
        &self,
        found: Vec<Found>,
        views: &[View<'_>],
    ) -> Result<Vec<LedgerItem>, RuntimeError> {
        let places = found.iter().map(|found| found.place).collect();
        let mut told = stories(views, &places)?;
        let mut absent = Absent::new(views, &self.events, &self.dead_letters);
        let mut items = Vec::with_capacity(found.len());
        for found in found {
            let mut item = item_at(found.place, Some(&found));
            item.objects = told.remove(&found.place).unwrap_or_default();
            if matches!(found.kind, FoundKind::Event | FoundKind::UserChange) {
                let more = absent.objects(&found, &item.objects)?;
                item.objects.extend(more);
                if item.objects.is_empty() {
                    item.note = Some("no stream selects it".to_owned());
                }
            } else if item.objects.is_empty() {
                item.note = Some("streams take events and user updates only".to_owned());
            }
            items.push(item);
        }
        Ok(items)
    }

    fn events_since(&self) -> Result<Option<Timestamp>, RuntimeError> {
        let first = Place { offset: self.events.start(), index: 0 };
        Ok(self.finder.at(first).map_err(failed)?.map(|found| found.received_at))
    }

    /// How far back anything can be told, for people.
    fn reach(&self, views: &[View<'_>]) -> Result<String, RuntimeError> {
        let mut parts = vec![match self.events_since()? {
            Some(at) => format!("the event log reaches back to {at}"),
            None => "the event log is empty".to_owned(),
        }];
        let ledger = |(destination, at)| format!("the ledger of {destination} to {at}");
        parts.extend(kept_since(views).into_iter().map(ledger));
        if self.unapplied > 0 {
            parts.push(format!("{} bytes of requests are still to be applied", self.unapplied));
        }
        Ok(parts.join(", "))
    }
}

fn kept_since(views: &[View<'_>]) -> BTreeMap<String, String> {
    let since = views
        .iter()
        .filter_map(|view| Some((view.destination.to_owned(), view.kept_since?.to_string())));
    since.collect()
}

/// The objects that ledgers know of, by the place of their item.
fn stories(
    views: &[View<'_>],
    places: &BTreeSet<Place>,
) -> Result<BTreeMap<Place, Vec<LedgerObject>>, RuntimeError> {
    let mut told: BTreeMap<Place, Vec<LedgerObject>> = BTreeMap::new();
    for view in views {
        for story in view.served.ledger.stories(places).map_err(failed)? {
            told.entry(story.key.place).or_default().push(told::object(view, &story));
        }
    }
    Ok(told)
}

/// The item at `place` with what is known of it, and no objects.
fn item_at(place: Place, found: Option<&Found>) -> LedgerItem {
    let kind = |kind| match kind {
        FoundKind::Event => "event",
        FoundKind::UserChange => "user update",
        FoundKind::GroupChange => "group update",
        FoundKind::Merge => "merge",
        FoundKind::Identified => "identified",
        FoundKind::Erasure => "erasure",
        FoundKind::Identify => "identify",
        FoundKind::Erased => "erased",
    };
    let insert_id = found.and_then(|found| found.insert_id.clone());
    LedgerItem {
        place: place.to_string(),
        uid: insert_id.clone().unwrap_or_else(|| place.to_string()),
        kind: found.map(|found| kind(found.kind).to_owned()),
        name: found.map(|found| found.name.clone()),
        project: found.map(|found| found.project.clone()),
        user_id: found.and_then(|found| found.user_id.clone()),
        device_id: found.and_then(|found| found.device_id.clone()),
        insert_id,
        accepted_at: found.map(|found| found.received_at.to_string()),
        event_time: found.map(|found| found.event_time.to_string()),
        objects: Vec::new(),
        note: None,
    }
}
