//! What must be true once everything has come to an end.
//!
//! Three witnesses are heard, and must agree: the sandbox (what arrived), the ledger with the dead
//! letters (what the engine says happened) and the event log (what there was to send).

use crate::model::{Item, What};
use crate::program::{Program, told};
use crate::scenario::{ATTRIBUTES, ORDERED, StreamPlan, UID};
use crate::world::{Object, World};
use isthmus_core::Place;
use isthmus_delivery::journal::{Mark, ObjectKey};
use isthmus_delivery::ledger::{Happening, State, Story, What as Happened};
use isthmus_delivery::status::StreamStatus;
use isthmus_state::dead_letters::{Cause, DeadLetter};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Journal beyond this is not needed to start, whatever happened: two segments, of which one may
/// hold a checkpoint's worth more than it should, and what was written since.
const JOURNAL_BYTES_MAX: u64 = 16 << 20;

/// How often it came to what.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) possible_duplicates: u64,
    pub(crate) duplicates: u64,
}

/// Everything there is to know at the end.
struct Evidence<'a> {
    world: &'a World,
    status: Vec<StreamStatus>,
    stories: BTreeMap<ObjectKey, Story>,
    letters: BTreeMap<Object, DeadLetter>,
    /// By name at the vendor and uid: when it arrived, as places in the order of arrival.
    arrived: BTreeMap<(String, String), Vec<u64>>,
}

/// Checks everything.
pub(crate) fn at_the_end(world: &World, program: &Program) -> Result<(), String> {
    let evidence = Evidence::gather(world, program)?;
    world.model.check_uploads()?;
    evidence.check_arrivals()?;
    for plan in &world.scenario.streams {
        let status = evidence.status_of(plan)?;
        evidence.check_events(plan, status)?;
        evidence.check_order(plan)?;
        evidence.check_counts(plan, status)?;
        if plan.sends_users() {
            evidence.check_attributes(plan, status)?;
        }
    }
    if !world.scenario.keeps_ledger() && program.journal.bytes_on_disk() > JOURNAL_BYTES_MAX {
        return Err(format!("the journal holds {} bytes", program.journal.bytes_on_disk()));
    }
    Ok(())
}

/// Counts what is neither right nor wrong.
pub(crate) fn count(world: &World, program: &Program) -> Result<Counted, String> {
    let evidence = Evidence::gather(world, program)?;
    let doubled = evidence.arrived.values().filter(|arrived| arrived.len() > 1).count();
    let possible = evidence.stories.values().filter(|story| story.is_possible_duplicate());
    Ok(Counted { possible_duplicates: possible.count() as u64, duplicates: doubled as u64 })
}

/// What the ledger says of attempts at one object.
#[derive(Debug, Default)]
struct Attempts {
    acknowledged: usize,
    /// Nobody knows whether the vendor took them.
    unknown: usize,
}

impl Attempts {
    fn of(happenings: &[Happening]) -> Self {
        let mut attempts = Self::default();
        for happening in happenings {
            match &happening.what {
                Happened::Ended { mark: Mark::Delivered | Mark::DeliveredAtOnce, .. } => {
                    attempts.acknowledged += 1;
                }
                // The last attempt of what is given up may be one that nobody knows about.
                Happened::Ended { mark: Mark::Unknown | Mark::Parked | Mark::Expired, .. }
                | Happened::NoAnswer { .. } => attempts.unknown += 1,
                Happened::Sent { .. }
                | Happened::Ended { .. }
                | Happened::Aside { .. }
                | Happened::Decided { .. } => {}
            }
        }
        attempts
    }
}

impl<'a> Evidence<'a> {
    fn gather(world: &'a World, program: &Program) -> Result<Self, String> {
        let places: BTreeSet<Place> = world.model.items.iter().map(|item| item.place).collect();
        let stories = program.ledger.stories(&places).map_err(|error| told("ledger", &error))?;
        let letters = world.letters.all().into_iter();
        let letters =
            letters.map(|letter| ((letter.stream.clone(), letter.place, letter.part), letter));
        let mut arrived: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
        for user in 0..world.scenario.users {
            for occurrence in world.sandbox.occurrences(&format!("user-{user}")) {
                let properties: Value =
                    serde_json::from_str(&occurrence.properties).unwrap_or_default();
                let uid = properties.get(UID).and_then(Value::as_str).unwrap_or_default();
                let key = (occurrence.name, uid.to_owned());
                arrived.entry(key).or_default().push(occurrence.sequence);
            }
        }
        Ok(Self {
            world,
            status: program.handle.status().streams.clone(),
            stories: stories.into_iter().map(|story| (story.key, story)).collect(),
            letters: letters.collect(),
            arrived,
        })
    }

    fn status_of(&self, plan: &StreamPlan) -> Result<&StreamStatus, String> {
        let found = self.status.iter().find(|stream| *stream.name == *plan.name());
        found.ok_or_else(|| format!("stream {} is gone", plan.name()))
    }

    fn times(&self, name: &str, uid: &str) -> usize {
        self.arrived.get(&(name.to_owned(), uid.to_owned())).map_or(0, Vec::len)
    }

    fn was_resent(&self, object: &Object) -> bool {
        self.world.asked.resent.contains(object)
    }

    /// Nothing arrived that was not to be sent.
    fn check_arrivals(&self) -> Result<(), String> {
        for (name, uid) in self.arrived.keys() {
            let item = self.world.model.event(uid);
            let item = item.ok_or_else(|| format!("{name} {uid} arrived and was never applied"))?;
            let What::Event { event_type, .. } = &item.what else { continue };
            let streams = &self.world.scenario.streams;
            if !streams.iter().any(|plan| plan.sent_as(event_type) == Some(name)) {
                return Err(format!("{event_type} {uid} arrived as {name}"));
            }
        }
        let every = self.arrived.values().map(|arrived| arrived.len() as u64).sum::<u64>();
        let by_uid = self.world.sandbox.uids().values().sum::<u64>();
        if every != by_uid {
            return Err(format!("{by_uid} events arrived, {every} of them for users we know"));
        }
        Ok(())
    }

    fn check_events(&self, plan: &StreamPlan, status: &StreamStatus) -> Result<(), String> {
        for item in &self.world.model.items {
            let What::Event { event_type, uid } = &item.what else { continue };
            let Some(name) = plan.sent_as(event_type) else { continue };
            let object = (plan.name().to_owned(), item.place, 0);
            let times = self.times(name, uid);
            self.check_event(plan, status, item, &object, times).map_err(|wrong| {
                let key = key(status, item.place);
                let story = self.stories.get(&key);
                format!("{} {name} {uid} at {}: {wrong}; {story:?}", plan.name(), item.place)
            })?;
        }
        Ok(())
    }

    fn check_event(
        &self,
        plan: &StreamPlan,
        status: &StreamStatus,
        item: &Item,
        object: &Object,
        times: usize,
    ) -> Result<(), String> {
        let letter = self.letters.get(object);
        let asked = &self.world.asked;
        let once = matches!(&item.what, What::Event { event_type, .. } if event_type == ORDERED);
        if once && times > 1 && !self.was_resent(object) {
            return Err(format!("arrived {times} times and must not be doubled"));
        }
        if item.user_id.is_none() {
            return if times == 0 { Ok(()) } else { Err("arrived without a user".to_owned()) };
        }
        if !self.world.scenario.keeps_ledger() {
            let ended = times > 0
                || letter.is_some()
                || asked.discarded.contains(object)
                || asked.confirmed.contains(object);
            return if ended { Ok(()) } else { Err("is lost".to_owned()) };
        }
        let Some(story) = self.stories.get(&key(status, item.place)) else {
            let born = Place { offset: status.born, index: 0 };
            return Err(format!("is lost: {} began at {born}", plan.name()));
        };
        let Attempts { acknowledged, unknown } = Attempts::of(&story.happenings);
        if times < acknowledged || times > acknowledged + unknown {
            return Err(format!(
                "arrived {times} times: {acknowledged} attempts were acknowledged, {unknown} unknown"
            ));
        }
        if times > 1 && !story.is_possible_duplicate() && !self.was_resent(object) {
            return Err("is doubled, and the ledger does not say so".to_owned());
        }
        let state = story.state();
        let ends_well = match state {
            State::Delivered => times > 0 || asked.confirmed.contains(object),
            State::Discarded => asked.discarded.contains(object),
            State::Rejected | State::Expired | State::Unknown => true,
            State::Pending | State::InFlight => false,
        };
        let cause = letter.map(|letter| letter.cause);
        if ends_well && cause == cause_of(state) {
            return Ok(());
        }
        Err(format!("is {}, arrived {times} times, its dead letter: {cause:?}", state.name()))
    }

    /// What a user's events of one stream were applied in is what they first arrived in, unless
    /// somebody had one sent again.
    fn check_order(&self, plan: &StreamPlan) -> Result<(), String> {
        let mut last: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
        for item in &self.world.model.items {
            let (What::Event { event_type, uid }, Some(user)) = (&item.what, &item.user_id) else {
                continue;
            };
            let Some(name) = plan.sent_as(event_type) else { continue };
            let arrived = self.arrived.get(&(name.to_owned(), uid.clone()));
            let object = (plan.name().to_owned(), item.place, 0);
            let Some(first) = arrived.and_then(|arrived| arrived.first()) else { continue };
            if self.was_resent(&object) {
                continue;
            }
            if let Some((before, other)) = last.insert(user, (*first, uid))
                && before > *first
            {
                return Err(format!("{} of {user}: {uid} arrived before {other}", plan.name()));
            }
        }
        Ok(())
    }

    /// What the stream counts is what its stories come to.
    fn check_counts(&self, plan: &StreamPlan, status: &StreamStatus) -> Result<(), String> {
        let counts = status.counts;
        let letters = self.letters.values().filter(|letter| letter.stream == plan.name());
        let letters = letters.count() as u64;
        if letters != counts.rejected + counts.parked {
            return Err(format!("{}: {letters} dead letters, {counts:?}", plan.name()));
        }
        if !self.world.scenario.keeps_ledger() {
            return Ok(());
        }
        let mut told: BTreeMap<State, u64> = BTreeMap::new();
        for story in self.stories.values().filter(|story| story.key.stream == status.number.0) {
            *told.entry(story.state()).or_default() += 1;
        }
        let of = |state| told.get(&state).copied().unwrap_or(0);
        let ledger = (
            of(State::Delivered),
            of(State::Rejected) + of(State::Expired),
            of(State::Expired),
            of(State::Discarded),
            of(State::Unknown),
            of(State::Pending) + of(State::InFlight),
        );
        let stream = (
            counts.delivered,
            counts.rejected,
            counts.expired,
            counts.discarded,
            counts.parked,
            status.pending - counts.parked,
        );
        if ledger != stream {
            return Err(format!("{}: ledger {ledger:?}, stream {stream:?}", plan.name()));
        }
        Ok(())
    }

    /// Every attribute has the value that was applied last, unless that one did not go out.
    fn check_attributes(&self, plan: &StreamPlan, status: &StreamStatus) -> Result<(), String> {
        if !self.world.scenario.keeps_ledger() {
            return Ok(());
        }
        for user in 0..self.world.scenario.users {
            let user = format!("user-{user}");
            if plan.sends_all_on_change() && self.has_old_update_sent_again(plan, &user) {
                continue;
            }
            let found = self.world.sandbox.user(&user);
            for name in ATTRIBUTES {
                let value = found.as_ref().and_then(|user| user.pointer("/custom_attributes"));
                let value = value.and_then(|attributes| attributes.get(name)).cloned();
                let allowed = self.allowed(plan, status, &user, name);
                if !allowed.contains(&value) {
                    return Err(format!("{name} of {user} is {value:?}, may be {allowed:?}"));
                }
            }
        }
        Ok(())
    }

    /// Whether somebody had an update of the user sent again, which says what was true then.
    fn has_old_update_sent_again(&self, plan: &StreamPlan, user: &str) -> bool {
        let mut updates = self.world.model.items.iter().filter(|item| {
            matches!(item.what, What::Change(_)) && item.user_id.as_deref() == Some(user)
        });
        updates.any(|item| self.was_resent(&(plan.name().to_owned(), item.place, 0)))
    }

    /// The values that an attribute may have.
    fn allowed(
        &self,
        plan: &StreamPlan,
        status: &StreamStatus,
        user: &str,
        name: &str,
    ) -> Vec<Option<Value>> {
        let (mut allowed, mut resent) = (vec![None], Vec::new());
        for item in &self.world.model.items {
            let What::Change(changes) = &item.what else { continue };
            if item.user_id.as_deref() != Some(user) {
                continue;
            }
            let Some((_, value)) = changes.iter().find(|(changed, _)| changed == name) else {
                continue;
            };
            let object = (plan.name().to_owned(), item.place, 0);
            if self.was_resent(&object) {
                resent.push(value.clone());
            }
            match self.stories.get(&key(status, item.place)) {
                Some(story) if story.state() == State::Delivered => {
                    if !self.was_resent(&object) {
                        allowed.clear();
                    }
                    allowed.push(value.clone());
                }
                _ => allowed.push(value.clone()),
            }
        }
        allowed.extend(resent);
        allowed
    }
}

fn key(status: &StreamStatus, place: Place) -> ObjectKey {
    ObjectKey { stream: status.number.0, place, part: 0 }
}

/// Why an object in this state is a dead letter.
fn cause_of(state: State) -> Option<Cause> {
    match state {
        State::Rejected => Some(Cause::Rejected),
        State::Expired => Some(Cause::Expired),
        State::Unknown => Some(Cause::Unknown),
        State::Pending | State::InFlight | State::Delivered | State::Discarded => None,
    }
}
