//! The applier's view of state: what was used lately in memory, what changed until the commit.

use super::known_ids::{IdHash, KnownIds};
use super::recent::Recent;
use crate::metrics as names;
use isthmus_core::identity::mapping;
use isthmus_core::record::Applied;
use isthmus_core::seam::Random;
use isthmus_core::{AmplitudeId, Place, Timestamp};
use isthmus_state::currents_counts::{CountsOfCurrents, CurrentsCounts};
use isthmus_state::currents_ids::{CurrentsId, CurrentsIds};
use isthmus_state::cursor::{ApplierCursor, Cursors};
use isthmus_state::groups::Groups;
use isthmus_state::past_values::{PastValue, PastValues};
use isthmus_state::people::{IdKind, Link, Notes, People, Person};
use isthmus_state::quarantine::{Changes, QuarantineWriter, Quarantined};
use isthmus_state::seen::{EventKey, Seen};
use isthmus_state::tombstones::Tombstones;
use isthmus_state::user_map::UserMap;
use isthmus_state::{State, StateError};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Persons kept ready for use per generation: about a kilobyte each with a common profile. Many more
/// are kept packed by [`People`].
const PERSONS_RECENT: usize = 24_000;
/// Devices, ids of Braze and merges that a person remembers; of what is beyond, state is searched when it matters.
pub(super) const REMEMBERED_MAX: usize = 1_000;
/// People who may be mapped to one global user and are looked at when chains are checked.
const MAPPED_FROM_MAX: usize = 10_000;

/// Reads through to state and gathers writes for one atomic commit.
pub(super) struct Directory {
    state: State,
    people: People,
    groups: Groups,
    seen: Seen,
    currents_ids: CurrentsIds,
    currents_counts: CountsOfCurrents,
    quarantine: QuarantineWriter,
    past: PastValues,
    map: UserMap,
    tombstones: Tombstones,
    cursors: Cursors,
    ids: KnownIds,
    /// Of this run alone, so that nobody can choose ids whose hashes are the same.
    seed: u64,
    persons: Recent<AmplitudeId, Box<Known>>,
    /// Persons that differ from state; each is in `persons`.
    changed: BTreeSet<AmplitudeId>,
    /// Persons of whom state lacks the latest snapshot; each is in `persons`.
    placed: BTreeSet<AmplitudeId>,
    /// Persons that state still has and that are forgotten.
    erased: BTreeSet<AmplitudeId>,
    /// Links that state does not have yet.
    linked: BTreeMap<Link, Option<AmplitudeId>>,
    /// Events of Currents that state does not have yet.
    exported: BTreeSet<CurrentsId>,
    /// What sources of Currents came to, which state does not count yet.
    counted: BTreeMap<String, CurrentsCounts>,
    /// What is put aside or let go and state does not know of yet.
    put_aside: Changes,
    /// Group properties that state does not have yet.
    regrouped: BTreeMap<(String, String, String), String>,
    /// Values that properties had, which state does not have yet.
    former: BTreeMap<AmplitudeId, Vec<PastValue>>,
    /// Mappings that state does not have yet, by project and user id.
    remapped: BTreeMap<(String, String), Option<String>>,
    /// Ids that get a tombstone.
    buried: Vec<(String, IdKind, String, Timestamp)>,
    key: Vec<u8>,
    near: Vec<IdHash>,
    /// Ids of the persons that the batch applied again is about.
    expected: BTreeSet<AmplitudeId>,
    pub(super) cursor: ApplierCursor,
}

/// The ids by which an event is somebody's: the first of them that is there decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids<'i> {
    pub(super) user: Option<&'i str>,
    pub(super) device: Option<&'i str>,
    pub(super) braze: Option<&'i str>,
}

/// Ids that led to a person who is forgotten, beside the user id.
#[derive(Debug, Default)]
pub(super) struct Forgot {
    pub(super) device_ids: Vec<String>,
    pub(super) braze_ids: Vec<String>,
}

/// A person in memory.
#[derive(Debug)]
struct Known {
    person: Person,
    memo: Memo,
}

/// What was applied to a person last, hashed: the same again changes nothing. Never stored, and
/// never needed: a person just read from the tables has none. It is true of a person as long as they
/// do not change, whatever else was applied meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Memo {
    /// Fields of the last event.
    pub(super) fields: Option<u64>,
    /// The last plain update of custom properties.
    pub(super) update: Option<u64>,
}

impl Memo {
    /// A hash of zero, which is as likely as any other, is not noted.
    fn noted([fields, update]: Notes) -> Self {
        let hash = |note| (note != 0).then_some(note);
        Self { fields: hash(fields), update: hash(update) }
    }

    fn notes(self) -> Notes {
        [self.fields, self.update].map(Option::unwrap_or_default)
    }
}

impl Directory {
    /// Opens `state`; on a new one, an event seen again within `window` is a duplicate. An older
    /// one goes on by its own window until [`Self::set_window`].
    pub(super) fn open(
        state: &State,
        window: Duration,
        random: &dyn Random,
    ) -> Result<Self, StateError> {
        let cursors = Cursors::open(state)?;
        // Ids start above zero so that a missing one is recognisable.
        let fresh = ApplierCursor { next_amplitude_id: 1, ..ApplierCursor::default() };
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let fresh = ApplierCursor { dedup_window_millis: millis, ..fresh };
        let cursor = cursors.applier()?.unwrap_or(fresh);
        let window = Duration::from_millis(cursor.dedup_window_millis);
        Ok(Self {
            people: People::open(state)?,
            groups: Groups::open(state)?,
            seen: Seen::open(state, window)?,
            currents_ids: CurrentsIds::open(state)?,
            currents_counts: CountsOfCurrents::open(state)?,
            quarantine: QuarantineWriter::open(state)?,
            past: PastValues::open(state)?,
            map: UserMap::open(state)?,
            tombstones: Tombstones::open(state, random)?,
            cursor,
            cursors,
            state: state.clone(),
            ids: KnownIds::new(),
            seed: random.next_u64(),
            persons: Recent::new(PERSONS_RECENT),
            changed: BTreeSet::new(),
            placed: BTreeSet::new(),
            erased: BTreeSet::new(),
            linked: BTreeMap::new(),
            exported: BTreeSet::new(),
            counted: BTreeMap::new(),
            put_aside: Changes::new(),
            regrouped: BTreeMap::new(),
            former: BTreeMap::new(),
            remapped: BTreeMap::new(),
            buried: Vec::new(),
            key: Vec::new(),
            near: Vec::new(),
            expected: BTreeSet::new(),
        })
    }

    /// From now on, an event seen again within `window` is a duplicate.
    pub(super) fn set_window(&mut self, window: Duration) {
        self.cursor.dedup_window_millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        self.seen.set_window(window);
    }

    /// Whether events with these ids are somebody's who was erased.
    pub(super) fn refuses(&self, project: &str, ids: Ids<'_>) -> bool {
        if self.tombstones.is_empty() && self.buried.is_empty() {
            return false;
        }
        let holds = |kind, id: &str| {
            let just_now = |(of, known, buried, _): &(String, IdKind, String, Timestamp)| {
                of == project && *known == kind && buried == id
            };
            self.tombstones.holds(project, kind, id) || self.buried.iter().any(just_now)
        };
        match ids {
            Ids { user: Some(user), .. } => holds(IdKind::User, user),
            Ids { device: Some(device), .. } => holds(IdKind::Device, device),
            Ids { braze: Some(braze), .. } => holds(IdKind::Braze, braze),
            _ => false,
        }
    }

    /// Fetches what is known of those whom `ids` of `project` lead to from memory, of all of them at
    /// once: one by one, the processor would wait for each.
    pub(super) fn approach<'i>(
        &mut self,
        project: &str,
        ids: impl Iterator<Item = (IdKind, &'i str)>,
    ) {
        self.near.clear();
        for (kind, id) in ids {
            Link::fill(&mut self.key, project, kind, id);
            self.near.push(IdHash::of(&self.key, self.seed));
        }
        let persons = self.near.iter().filter_map(|hash| self.ids.peek(*hash));
        let known = persons.filter_map(|person| self.persons.peek(&person));
        std::hint::black_box(known.map(|known| known.memo.fields.unwrap_or_default()).max());
    }

    /// The person that `id` leads to, merges followed.
    pub(super) fn find(
        &mut self,
        project: &str,
        kind: IdKind,
        id: &str,
    ) -> Result<Option<AmplitudeId>, StateError> {
        Link::fill(&mut self.key, project, kind, id);
        let hash = IdHash::of(&self.key, self.seed);
        if let Some(person) = self.ids.get(hash) {
            return self.canonical(person);
        }
        let found = match self.linked.get(self.key.as_slice()) {
            Some(linked) => *linked,
            None => self.people.find(project, kind, id)?,
        };
        let Some(found) = found else { return Ok(None) };
        self.ids.insert(hash, found);
        self.canonical(found)
    }

    /// Makes `id` lead to `person` from now on.
    pub(super) fn link(
        &mut self,
        project: &str,
        kind: IdKind,
        id: &str,
        person: AmplitudeId,
    ) -> Result<(), StateError> {
        Link::fill(&mut self.key, project, kind, id);
        self.ids.insert(IdHash::of(&self.key, self.seed), person);
        self.linked.insert(Link::filled(&self.key), Some(person));
        let remembered = match kind {
            IdKind::User => return Ok(()),
            IdKind::Device => &mut self.person_mut(person)?.devices,
            IdKind::Braze => &mut self.person_mut(person)?.braze_ids,
        };
        remembered.retain(|known| known != id);
        if remembered.len() == REMEMBERED_MAX {
            remembered.remove(0);
        }
        remembered.push(id.to_owned());
        Ok(())
    }

    /// Makes new persons those of `written`, which is about to be applied again.
    ///
    /// Ids are given in turn, and those of persons who were erased are not given to others.
    pub(super) fn expect_persons(&mut self, written: &[Applied<'_>]) {
        self.expected.clear();
        self.expected.extend(written.iter().filter_map(|item| match item {
            Applied::Event(event) => Some(event.user),
            Applied::UserChange(change) => Some(change.user),
            Applied::Identified(identified) => Some(identified.user),
            _ => None,
        }));
    }

    /// A new person of `project`; `shown` says whether there will be an item of theirs at once.
    pub(super) fn create(&mut self, project: &str, shown: bool) -> AmplitudeId {
        let next = AmplitudeId(self.cursor.next_amplitude_id);
        let expected = self.expected.range(next..).next().copied().filter(|_| shown);
        let id = expected.unwrap_or(next);
        self.cursor.next_amplitude_id = id.0 + 1;
        let person = Person { project: project.to_owned(), ..Person::default() };
        self.persons.insert(id, Box::new(Known { person, memo: Memo::default() }));
        self.changed.insert(id);
        id
    }

    /// What is known of `id`.
    pub(super) fn person(&mut self, id: AmplitudeId) -> Result<&Person, StateError> {
        self.load(id).map(|known| &known.person)
    }

    /// What is known of `id`, to be changed.
    pub(super) fn person_mut(&mut self, id: AmplitudeId) -> Result<&mut Person, StateError> {
        self.changed.insert(id);
        self.load(id).map(|known| &mut known.person)
    }

    /// Notes that the event log holds the present properties of `id` at `place`.
    pub(super) fn place(&mut self, id: AmplitudeId, place: Place) -> Result<(), StateError> {
        self.placed.insert(id);
        self.load(id)?.person.snapshot = Some(place);
        Ok(())
    }

    /// What was applied to `id` last.
    pub(super) fn memo(&mut self, id: AmplitudeId) -> Result<&mut Memo, StateError> {
        self.load(id).map(|known| &mut known.memo)
    }

    /// What is known of `id`, if anything is.
    pub(super) fn person_if_any(&mut self, id: AmplitudeId) -> Result<Option<&Person>, StateError> {
        Ok(self.load_if_any(id)?.map(|known| &known.person))
    }

    fn load(&mut self, id: AmplitudeId) -> Result<&mut Known, StateError> {
        self.load_if_any(id)?.ok_or_else(|| StateError::Malformed {
            what: "person",
            reason: format!("an id leads to person {id}, who is not there"),
        })
    }

    fn load_if_any(&mut self, id: AmplitudeId) -> Result<Option<&mut Known>, StateError> {
        let (people, erased) = (&self.people, &self.erased);
        let known = self.persons.get_or_find(id, || {
            if erased.contains(&id) {
                return Ok(None);
            }
            let found = people.recall(id)?;
            let known = |(person, notes)| Box::new(Known { person, memo: Memo::noted(notes) });
            Ok::<_, StateError>(found.map(known))
        })?;
        Ok(known.map(|known| &mut **known))
    }

    /// Who `id` is now; nobody when the person was erased.
    pub(super) fn canonical(&mut self, id: AmplitudeId) -> Result<Option<AmplitudeId>, StateError> {
        let mut id = id;
        // Only anonymous persons are merged, into known ones, so a chain has one link; the bound
        // keeps a damaged state from looping.
        for _ in 0..8 {
            match self.person_if_any(id)? {
                None => return Ok(None),
                Some(Person { merged_into: Some(into), .. }) => id = *into,
                Some(_) => break,
            }
        }
        Ok(Some(id))
    }

    /// Remembers what a property was.
    pub(super) fn remember(&mut self, person: AmplitudeId, value: PastValue) {
        self.former.entry(person).or_default().push(value);
    }

    /// What `user_id` is mapped to.
    pub(super) fn mapped_to(
        &self,
        project: &str,
        user_id: &str,
    ) -> Result<Option<String>, StateError> {
        match self.remapped.get(&(project.to_owned(), user_id.to_owned())) {
            Some(mapped) => Ok(mapped.clone()),
            None => self.map.mapped_to(project, user_id),
        }
    }

    fn mapped_from(&self, project: &str, global: &str) -> Result<Vec<String>, StateError> {
        let mut found = self.map.mapped_from(project, global, MAPPED_FROM_MAX)?;
        for ((of, user_id), to) in &self.remapped {
            if of == project {
                found.retain(|known| known != user_id);
                if to.as_deref() == Some(global) {
                    found.push(user_id.clone());
                }
            }
        }
        Ok(found)
    }

    /// Maps `user_id`, or takes that back; returns false when the mapping may not exist.
    pub(super) fn map_user(
        &mut self,
        project: &str,
        user_id: &str,
        global_user_id: Option<&str>,
    ) -> Result<bool, StateError> {
        if let Some(global) = global_user_id {
            let to = |id: &str| self.mapped_to(project, id);
            let from = |id: &str| self.mapped_from(project, id);
            if mapping::check(user_id, global, to, from)?.is_err() {
                return Ok(false);
            }
        }
        let key = (project.to_owned(), user_id.to_owned());
        self.remapped.insert(key, global_user_id.map(str::to_owned));
        Ok(true)
    }

    /// One person and everybody who was merged into them.
    pub(super) fn family(&mut self, id: AmplitudeId) -> Result<Vec<AmplitudeId>, StateError> {
        let merged = self.person(id)?.merged.clone();
        let mut family = vec![id];
        if merged.len() == REMEMBERED_MAX {
            family.extend(self.people.merged_into(id)?);
        }
        family.extend(merged);
        family.dedup();
        Ok(family)
    }

    /// Never gives the id of `person`, who was erased, to anybody else, also where state is rebuilt
    /// from logs in which they are not.
    pub(super) fn reserve(&mut self, person: AmplitudeId) {
        let next = &mut self.cursor.next_amplitude_id;
        *next = (*next).max(person.0.saturating_add(1));
    }

    /// Forgets `family`, one person and those merged into them, and every id that leads to one of
    /// them; with `buried_at`, those ids are recognised from now on.
    pub(super) fn erase(
        &mut self,
        project: &str,
        family: &[AmplitudeId],
        buried_at: Option<Timestamp>,
    ) -> Result<Forgot, StateError> {
        let mut links: BTreeSet<Link> = BTreeSet::new();
        for id in family {
            let Some(person) = self.person_if_any(*id)? else { continue };
            let devices = person.devices.iter().map(|device| (IdKind::Device, device));
            let users = person.user_id.iter().map(|user| (IdKind::User, user));
            let braze = person.braze_ids.iter().map(|id| (IdKind::Braze, id));
            let own = devices.chain(users).chain(braze);
            let own = own.map(|(kind, own)| Link::of(project, kind, own));
            let is_whole = person.devices.len().max(person.braze_ids.len()) < REMEMBERED_MAX;
            links.extend(own);
            if !is_whole {
                links.extend(self.people.links_to(family)?);
            }
        }
        let mut forgot = Forgot::default();
        for link in links {
            let Some((kind, id)) = link.id() else { continue };
            let hash = IdHash::of(link.bytes(), self.seed);
            let leads_to_them = match self.ids.peek(hash) {
                Some(person) => family.contains(&person),
                None => match self.linked.get(&link) {
                    Some(person) => person.is_some_and(|person| family.contains(&person)),
                    None => self
                        .people
                        .find(project, kind, id)?
                        .is_some_and(|person| family.contains(&person)),
                },
            };
            if !leads_to_them {
                continue;
            }
            if let Some(at) = buried_at {
                self.buried.push((project.to_owned(), kind, id.to_owned(), at));
            }
            match kind {
                IdKind::Device => forgot.device_ids.push(id.to_owned()),
                IdKind::Braze => forgot.braze_ids.push(id.to_owned()),
                IdKind::User => self.unmap(project, id)?,
            }
            self.ids.remove(hash);
            self.linked.insert(link, None);
        }
        for id in family {
            self.persons.remove(id);
            self.changed.remove(id);
            self.placed.remove(id);
            self.former.remove(id);
            self.erased.insert(*id);
        }
        Ok(forgot)
    }

    /// Takes every mapping from and to `user_id` back.
    fn unmap(&mut self, project: &str, user_id: &str) -> Result<(), StateError> {
        let from = self.mapped_from(project, user_id)?;
        for mapped in from.into_iter().chain([user_id.to_owned()]) {
            if self.mapped_to(project, &mapped)?.is_some() {
                self.remapped.insert((project.to_owned(), mapped), None);
            }
        }
        Ok(())
    }

    /// Notes an event; returns false when it was seen before within the window.
    pub(super) fn first_sight(&mut self, key: EventKey, at: Timestamp) -> Result<bool, StateError> {
        if self.seen.first_seen(key, at)?.is_some() {
            return Ok(false);
        }
        self.seen.note(key, at);
        Ok(true)
    }

    /// Notes an event of Currents; returns false when it was seen before, whenever that was.
    pub(super) fn first_of_currents(&mut self, id: CurrentsId) -> Result<bool, StateError> {
        if self.exported.contains(&id) || self.currents_ids.holds(id)? {
            return Ok(false);
        }
        self.exported.insert(id);
        Ok(true)
    }

    /// Counts what `source` of Currents brought.
    pub(super) fn count_currents(&mut self, source: &str, more: CurrentsCounts) {
        match self.counted.get_mut(source) {
            Some(counted) => *counted = counted.plus(more),
            None => drop(self.counted.insert(source.to_owned(), more)),
        }
    }

    /// What is put aside under `place` of `source`.
    pub(super) fn quarantined(
        &self,
        source: &str,
        place: Place,
    ) -> Result<Option<Quarantined>, StateError> {
        match self.put_aside.get(&(source.to_owned(), place)) {
            Some(change) => Ok(change.clone()),
            None => self.quarantine.get(source, place),
        }
    }

    /// Puts something aside under `place` of `source`, or lets it go.
    pub(super) fn quarantine(&mut self, source: &str, place: Place, entry: Option<Quarantined>) {
        self.put_aside.insert((source.to_owned(), place), entry);
    }

    /// The properties of a group as one raw JSON object.
    pub(super) fn group(
        &self,
        project: &str,
        group_type: &str,
        name: &str,
    ) -> Result<Option<String>, StateError> {
        let key = (project.to_owned(), group_type.to_owned(), name.to_owned());
        match self.regrouped.get(&key) {
            Some(properties) => Ok(Some(properties.clone())),
            None => self.groups.get(project, group_type, name),
        }
    }

    /// Replaces the properties of a group.
    pub(super) fn set_group(
        &mut self,
        project: &str,
        group_type: &str,
        name: &str,
        properties: String,
    ) {
        let key = (project.to_owned(), group_type.to_owned(), name.to_owned());
        self.regrouped.insert(key, properties);
    }

    /// Writes everything that changed, and the cursor, in one atomic batch.
    ///
    /// No key is written twice in it, and all in order, so that the same records give the same batch.
    pub(super) fn commit(&mut self) -> Result<(), StateError> {
        let mut batch = self.state.batch();
        for (link, person) in std::mem::take(&mut self.linked) {
            self.people.link(&mut batch, &link, person);
        }
        let changed = std::mem::take(&mut self.changed);
        let mut placed = Vec::with_capacity(self.placed.len());
        for id in std::mem::take(&mut self.placed) {
            let known = self.persons.get(id).expect("entries leave only in the turn below");
            if let (Some(place), false) = (known.person.snapshot, changed.contains(&id)) {
                self.people.put_snapshot(&mut batch, id, place);
                placed.push((id, place, known.memo.notes()));
            }
        }
        let mut stored = Vec::with_capacity(changed.len());
        for id in changed {
            let known = self.persons.get(id).expect("entries leave only in the turn below");
            stored.push((self.people.put(&mut batch, id, &known.person), known.memo.notes()));
        }
        for (id, values) in std::mem::take(&mut self.former) {
            self.past.add(&mut batch, id, values)?;
        }
        for id in std::mem::take(&mut self.erased) {
            self.people.remove(&mut batch, id);
            self.past.remove(&mut batch, id);
        }
        for ((project, user_id), to) in std::mem::take(&mut self.remapped) {
            let before = self.map.mapped_to(&project, &user_id)?;
            if before != to {
                self.map.put(&mut batch, &project, &user_id, before.as_deref(), to.as_deref());
            }
        }
        for (project, kind, id, at) in self.buried.drain(..) {
            self.tombstones.put(&mut batch, &project, kind, &id, at);
        }
        self.seen.put(&mut batch);
        for id in std::mem::take(&mut self.exported) {
            self.currents_ids.put(&mut batch, id);
        }
        for (source, more) in std::mem::take(&mut self.counted) {
            self.currents_counts.add(&mut batch, &source, more)?;
        }
        let changes = std::mem::take(&mut self.put_aside);
        for (source, dropped) in self.quarantine.put(&mut batch, changes) {
            tracing::warn!(source, dropped, "quarantine is full: oldest entries dropped");
            metrics::counter!(names::QUARANTINE_DROPPED, "source" => source).increment(dropped);
        }
        for ((project, group_type, name), properties) in std::mem::take(&mut self.regrouped) {
            self.groups.put(&mut batch, &project, &group_type, &name, &properties);
        }
        self.cursors.put_applier(&mut batch, &self.cursor);
        batch.commit()?;
        for (stored, notes) in stored {
            self.people.keep(&stored, notes);
        }
        for (id, place, notes) in placed {
            self.people.keep_snapshot(id, place, notes);
        }
        self.persons.turn();
        Ok(())
    }

    /// Whether so much is in memory that [`Self::persist`] should be called soon.
    pub(super) fn is_due(&self) -> bool {
        self.seen.is_due()
    }

    /// Makes what was committed survive power loss; returns the cursor that does.
    pub(super) fn persist(&mut self, now: Timestamp) -> Result<ApplierCursor, StateError> {
        self.state.persist()?;
        self.seen.settle(now)?;
        Ok(self.cursor)
    }
}
