//! One intake batch applied: what it does to state and what it adds to the event log.

use super::currents::Shared;
use super::directory::{Directory, Forgot, Ids, Memo, REMEMBERED_MAX};
use super::profile::Profile;
use bumpalo::Bump;
use isthmus_amplitude::built_in::{self, Said};
use isthmus_core::identity::{DeviceSight, Resolution, UserSight, Who, resolve};
use isthmus_core::profile::{self, Properties};
use isthmus_core::record::{
    Applied, AppliedEvent, AppliedIdentify, Command, Erase, Erasure, GroupChange, Identified,
    IntakeBatch, IntakeEvent, Merge, PropertyChange, Source, UserChange, UserProperties,
};
use isthmus_core::{AmplitudeId, Place, Timestamp, json};
use isthmus_state::StateError;
use isthmus_state::past_values::PastValue;
use isthmus_state::people::{IdKind, Updates};
use isthmus_state::seen::EventKey;
use std::cell::Cell;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// A snapshot of user properties further back in the event log than this is written anew, so that
/// a reader finds it in memory and the log can be trimmed behind its readers.
pub const SNAPSHOT_REACH_BYTES: u64 = 64 << 20;

/// A batch of applied items ends with the event that brings it here: one small request can cause
/// far more output than it is long, when it changes large profiles.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// Properties of one user or one group, as JSON: an update that would lead beyond is dropped and
/// counted, because every change writes them whole. Amplitude's own limit is not documented; its
/// 1,024 characters a value leave room for hundreds of properties here.
const PROPERTIES_BYTES_MAX: usize = 256 << 10;

/// Updates of custom properties of one person within an hour; those beyond are dropped and counted
/// (`amplitude-ingest.md` 12.7). An update that changes nothing does not count.
const UPDATES_PER_HOUR: u32 = 1_800;

/// Values longer than this are not remembered once they have changed.
const PAST_VALUE_BYTES_MAX: usize = 1 << 10;

/// Events whose people are fetched from memory together: many, and all that is fetched still fits into
/// the processor's own cache.
const APPROACHED: usize = 128;

const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 86_400_000;

/// Clocks that differ by less are left alone (`amplitude-ingest.md` 10.2).
const SKEW_TOLERATED_MILLIS: u64 = 60_000;

/// The items that one record of the event log will hold, while they are gathered.
pub(super) struct Gathering<'a> {
    /// Owns texts that are not in the intake record.
    arena: &'a Bump,
    /// Offset that the event log's record will have.
    offset: u64,
    pub(super) items: Vec<Applied<'a>>,
    pub(super) dropped: Dropped,
    /// Bytes of text among the items, about.
    bytes: Cell<usize>,
    /// What the log holds already, when that is applied again.
    written: &'a [Applied<'a>],
}

/// What came in and had no effect, by why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Dropped {
    /// Events seen before.
    pub(super) duplicates: u64,
    /// How many of them a source of Currents brought.
    pub(super) of_currents: BTreeMap<String, u64>,
    /// Updates with which the properties would have become too large.
    pub(super) oversized: u64,
    /// Updates beyond what one person may have within an hour.
    pub(super) too_many: u64,
    /// Events of people who were erased.
    pub(super) refused: u64,
    /// Mappings of user ids that would form a cycle or too long a chain.
    pub(super) mappings: u64,
}

/// Which part of an intake record to apply. Its events are numbered first, then its commands, then
/// what of it is unusable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    /// Offset of the record.
    pub(super) offset: u64,
    pub(super) first: usize,
    /// Where to stop; without it, when the items are due to be written.
    pub(super) until: Option<usize>,
}

/// The ids of an event after derivation, and its times.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) project: &'a str,
    pub(super) user_id: Option<&'a str>,
    pub(super) device_id: &'a str,
    pub(super) device_id_derived: bool,
    pub(super) client_event_time: i64,
    pub(super) event_time: i64,
    pub(super) received_at: i64,
}

/// What an event shows for the first time.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstSight {
    /// The user id, or the device id when there is no user id.
    of_person: bool,
    /// The device id, for this person.
    on_device: bool,
}

impl FirstSight {
    const NONE: Self = Self { of_person: false, on_device: false };

    pub(super) fn is_any(self) -> bool {
        self.of_person || self.on_device
    }
}

impl<'a> Gathering<'a> {
    pub(super) fn new(arena: &'a Bump, offset: u64, written: &'a [Applied<'a>]) -> Self {
        let items = Vec::new();
        let dropped = Dropped::default();
        Self { arena, offset, items, dropped, bytes: Cell::new(0), written }
    }

    /// Leaves out what was erased next: whoever is applied again stands where they stood.
    pub(super) fn pass_erased(&mut self) {
        while let Some(Applied::Erased) = self.written.get(self.items.len()) {
            self.items.push(Applied::Erased);
        }
    }

    /// Applies what `range` says of `batch`, in order; returns the index of the first one that is left.
    pub(super) fn apply(
        &mut self,
        directory: &mut Directory,
        batch: &IntakeBatch<'a>,
        range: Range,
    ) -> Result<Option<usize>, StateError> {
        let Range { offset, first, until } = range;
        let shared = Shared::of(batch);
        for (index, event) in batch.events.iter().enumerate().skip(first) {
            if (index - first).is_multiple_of(APPROACHED) {
                let next = batch.events.iter().skip(index).take(APPROACHED);
                directory.approach(batch.project, next.flat_map(ids_of).flatten());
            }
            if until.map_or_else(|| self.is_full(), |until| index >= until) {
                return Ok(Some(index));
            }
            match &shared {
                _ if event.is_erased() => {}
                Some(shared) => self.apply_currents(directory, shared, index, event)?,
                None => self.apply_event(directory, batch, event)?,
            }
            let payload = [event.event_properties, event.fields].into_iter().flatten();
            self.bytes.update(|bytes| bytes + payload.map(str::len).sum::<usize>());
        }
        for (index, command) in (batch.events.len()..).zip(&batch.commands) {
            if index < first {
                continue;
            }
            if until.map_or_else(|| self.is_full(), |until| index >= until) {
                return Ok(Some(index));
            }
            self.carry_out(directory, batch, command)?;
        }
        let Some(shared) = shared else { return Ok(None) };
        let before = batch.events.len() + batch.commands.len();
        for (index, unusable) in (0u32..).zip(shared.unusable()) {
            let number = before + usize::try_from(index).unwrap_or(usize::MAX);
            if number < first {
                continue;
            }
            if until.map_or_else(|| self.is_full(), |until| number >= until) {
                return Ok(Some(number));
            }
            self.put_aside(directory, &shared, Place { offset, index }, unusable)?;
            self.bytes.update(|bytes| bytes + unusable.raw.len());
        }
        Ok(None)
    }

    fn carry_out(
        &mut self,
        directory: &mut Directory,
        batch: &IntakeBatch<'a>,
        command: &Command<'a>,
    ) -> Result<(), StateError> {
        match command {
            // Of somebody who was erased.
            Command::Map { user_id: "", .. } => Ok(()),
            Command::Map { user_id, global_user_id } => {
                let mapped = directory.map_user(batch.project, user_id, *global_user_id)?;
                self.dropped.mappings += u64::from(!mapped);
                Ok(())
            }
            Command::Erase(erase) => self.erase(directory, batch, erase),
            Command::Retell { user } => self.retell(directory, batch, *user),
            Command::Mend(mend) => super::currents::mend(directory, mend, batch.received_at),
        }
    }

    /// Whether the items are due to be written.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.get() >= OUTPUT_BYTES_MAX
    }

    /// Keeps `text` as long as the items.
    pub(super) fn own(&self, text: &str) -> &'a str {
        self.bytes.update(|bytes| bytes + text.len());
        self.arena.alloc_str(text)
    }

    fn apply_event(
        &mut self,
        directory: &mut Directory,
        batch: &IntakeBatch<'a>,
        event: &IntakeEvent<'a>,
    ) -> Result<(), StateError> {
        self.pass_erased();
        let Some(subject) = self.subject(batch, event) else {
            // Only `$groupidentify` comes without any id.
            if self.is_first_sight(directory, batch, event, "")? {
                self.push_identify(batch, event, AmplitudeId::NOBODY);
                self.change_groups(directory, batch, event)?;
            }
            return Ok(());
        };
        let ids = Ids { user: event.user_id, device: event.device_id, braze: None };
        if directory.refuses(batch.project, ids) {
            self.dropped.refused += 1;
            return Ok(());
        }
        if !self.is_first_sight(directory, batch, event, subject.device_id)? {
            return Ok(());
        }
        if event.event_type == "$groupidentify" {
            let person = known(directory, &subject)?;
            self.push_identify(batch, event, person);
            return self.change_groups(directory, batch, event);
        }
        let is_identify = event.event_type == "$identify";
        let shown = !(is_identify && event.skip_user_properties_sync);
        let (person, first) = self.identify(directory, &subject, shown)?;
        if is_identify {
            self.push_identify(batch, event, person);
        } else {
            note_times(directory, person, subject.event_time)?;
        }
        if let (true, Some(groups)) = (is_identify, event.groups) {
            let joined = join_groups(&directory.person(person)?.groups, groups);
            directory.person_mut(person)?.groups = joined;
        }
        if !event.skip_user_properties_sync {
            let said = match batch.source {
                Source::Identify => Said::ByIdentification,
                _ => Said::ByEvent,
            };
            self.change_properties(directory, event, &subject, person, first, said)?;
        }
        if is_identify {
            return Ok(());
        }
        let user_properties = if event.skip_user_properties_sync {
            event.user_properties.map_or(UserProperties::None, UserProperties::Inline)
        } else {
            self.snapshot(directory, person)?
        };
        self.items.push(Applied::Event(AppliedEvent {
            project: subject.project,
            user: person,
            user_id: subject.user_id,
            device_id: subject.device_id,
            device_id_derived: subject.device_id_derived,
            event_type: event.event_type,
            event_time: subject.event_time,
            client_event_time: subject.client_event_time,
            received_at: subject.received_at,
            session_id: event.session_id.filter(|&session| session != -1),
            event_id: event.event_id,
            insert_id: event.insert_id,
            event_properties: event.event_properties,
            groups: event.groups,
            group_properties: self.group_properties(directory, subject.project, event.groups)?,
            fields: event.fields,
            user_properties,
            sent_user_properties: event.user_properties,
            skip_user_properties_sync: event.skip_user_properties_sync,
            remote_address: batch.remote_address,
            currents: None,
        }));
        Ok(())
    }

    /// Tells of `event` as it was sent.
    fn push_identify(
        &mut self,
        batch: &IntakeBatch<'a>,
        event: &IntakeEvent<'a>,
        user: AmplitudeId,
    ) {
        self.items.push(Applied::Identify(AppliedIdentify {
            project: batch.project,
            source: batch.source,
            event_type: event.event_type,
            user,
            user_id: event.user_id,
            device_id: event.device_id,
            insert_id: event.insert_id,
            time: event.time,
            received_at: batch.received_at,
            session_id: event.session_id,
            event_id: event.event_id,
            skip_user_properties_sync: event.skip_user_properties_sync,
            event_properties: event.event_properties,
            user_properties: event.user_properties,
            groups: event.groups,
            group_properties: event.group_properties,
            fields: event.fields,
            // Of nobody's request nothing but the group is kept.
            remote_address: user.somebody().and(batch.remote_address),
        }));
    }

    fn subject(&self, batch: &IntakeBatch<'a>, event: &IntakeEvent<'a>) -> Option<Subject<'a>> {
        let (device_id, device_id_derived) = match (event.device_id, event.user_id) {
            (Some(device_id), _) => (device_id, false),
            (None, Some(user_id)) => {
                let derived = isthmus_amplitude::derived_device_id(user_id);
                (self.own(&derived), true)
            }
            (None, None) => return None,
        };
        let uploaded = batch.client_upload_time.unwrap_or(batch.received_at);
        let client_event_time = event.time.unwrap_or(uploaded);
        let skew = batch.received_at.saturating_sub(uploaded);
        let event_time = if skew.unsigned_abs() < SKEW_TOLERATED_MILLIS {
            client_event_time
        } else {
            client_event_time.saturating_add(skew)
        };
        Some(Subject {
            project: batch.project,
            user_id: event.user_id,
            device_id,
            device_id_derived,
            client_event_time,
            event_time,
            received_at: batch.received_at,
        })
    }

    /// Section 9: by insert id, else by event id and client time, per device and project.
    fn is_first_sight(
        &mut self,
        directory: &mut Directory,
        batch: &IntakeBatch<'a>,
        event: &IntakeEvent<'a>,
        device_id: &str,
    ) -> Result<bool, StateError> {
        let key = match (event.insert_id, event.event_id, event.time) {
            (Some(insert_id), _, _) => EventKey::of(&[batch.project, device_id, insert_id]),
            (None, Some(event_id), Some(time)) => {
                EventKey::of(&[batch.project, device_id, &event_id.to_string(), &time.to_string()])
            }
            (None, _, _) => return Ok(true),
        };
        let first = directory.first_sight(key, Timestamp::from_millis(batch.received_at))?;
        self.dropped.duplicates += u64::from(!first);
        Ok(first)
    }

    /// Finds or makes the person, with the links and the merge that follow; `shown` says whether
    /// the event has an item of its own.
    pub(super) fn identify(
        &mut self,
        directory: &mut Directory,
        subject: &Subject<'a>,
        shown: bool,
    ) -> Result<(AmplitudeId, FirstSight), StateError> {
        let user = match subject.user_id {
            None => UserSight::None,
            Some(user_id) => directory
                .find(subject.project, IdKind::User, user_id)?
                .map_or(UserSight::Unknown, UserSight::Known),
        };
        let device = match directory.find(subject.project, IdKind::Device, subject.device_id)? {
            None => None,
            Some(person) => {
                let anonymous = directory.person(person)?.user_id.is_none();
                Some(DeviceSight { person, anonymous })
            }
        };
        let resolution: Resolution = resolve(user, device);
        let person = match resolution.person {
            Who::Existing(person) => person,
            Who::New => directory.create(subject.project, shown),
        };
        if let (true, Some(user_id)) = (resolution.bind_user, subject.user_id) {
            directory.person_mut(person)?.user_id = Some(user_id.to_owned());
            directory.link(subject.project, IdKind::User, user_id, person)?;
            if resolution.promotes() {
                self.items.push(Applied::Identified(Identified {
                    project: subject.project,
                    user: person,
                    user_id,
                    device_id: subject.device_id,
                    event_time: subject.event_time,
                    received_at: subject.received_at,
                }));
            }
        }
        if resolution.link_device {
            directory.link(subject.project, IdKind::Device, subject.device_id, person)?;
        }
        if let (Some(anonymous), Some(user_id)) = (resolution.merge, subject.user_id) {
            self.merge(directory, subject, anonymous, person, user_id)?;
        }
        let first = FirstSight {
            of_person: resolution.bind_user || resolution.person == Who::New,
            on_device: resolution.link_device && !subject.device_id_derived,
        };
        Ok((person, first))
    }

    /// Section 11.4: the anonymous person's properties fill the gaps of the known one's.
    fn merge(
        &mut self,
        directory: &mut Directory,
        subject: &Subject<'a>,
        anonymous: AmplitudeId,
        into: AmplitudeId,
        user_id: &'a str,
    ) -> Result<(), StateError> {
        let left = directory.person_mut(anonymous)?;
        left.merged_into = Some(into);
        left.snapshot = None;
        let (custom, built_in) =
            (std::mem::take(&mut left.custom), std::mem::take(&mut left.built_in));
        let (first_event_time, last_event_day) = (left.first_event_time, left.last_event_day);
        let known = directory.person_mut(into)?;
        if known.merged.len() < REMEMBERED_MAX {
            known.merged.push(anonymous);
        }
        known.first_event_time = earliest(known.first_event_time, first_event_time);
        known.last_event_day = known.last_event_day.max(last_event_day);
        self.items.push(Applied::Merge(Merge {
            project: subject.project,
            anonymous,
            into,
            user_id,
            device_id: subject.device_id,
            event_time: subject.event_time,
            received_at: subject.received_at,
        }));
        if custom.text.is_empty() && built_in.text.is_empty() {
            return Ok(());
        }
        let known = directory.person(into)?;
        let (mut own, mut own_built_in) =
            (Profile::read(&known.custom), Profile::read(&known.built_in));
        let gained = own.adopt(&Profile::read(&custom));
        let gained_built_in = own_built_in.adopt(&Profile::read(&built_in));
        let (own, own_built_in) = (own.write(), own_built_in.write());
        let changes = visible(gained, gained_built_in, &own.text, &own_built_in.text);
        if changes.is_empty() {
            return Ok(());
        }
        let known = directory.person_mut(into)?;
        (known.custom, known.built_in) = (own, own_built_in);
        known.snapshot = None;
        *directory.memo(into)? = Memo::default();
        self.push_change(directory, subject, into, changes, None, FirstSight::NONE)
    }

    /// Folds what the event says of the person into their properties, custom and built-in, and tells
    /// what changed; tells of a first sight even when nothing did.
    fn change_properties(
        &mut self,
        directory: &mut Directory,
        event: &IntakeEvent<'a>,
        subject: &Subject<'a>,
        person: AmplitudeId,
        first: FirstSight,
        said: Said,
    ) -> Result<(), StateError> {
        let built_in = change_built_in(directory, event, subject, person, said)?;
        let custom = self.change_custom(directory, event, subject, person)?;
        let mut changes = Vec::new();
        if !custom.is_empty() || !built_in.is_empty() {
            let known = directory.person_mut(person)?;
            known.snapshot = None;
            changes = visible(custom, built_in, &known.custom.text, &known.built_in.text);
        }
        if changes.is_empty() && !first.is_any() {
            return Ok(());
        }
        self.push_change(directory, subject, person, changes, event.insert_id, first)
    }

    fn change_custom(
        &mut self,
        directory: &mut Directory,
        event: &IntakeEvent<'a>,
        subject: &Subject<'a>,
        person: AmplitudeId,
    ) -> Result<Vec<profile::Change>, StateError> {
        let Some(update) = event.user_properties.filter(|update| profile::could_change(update))
        else {
            return Ok(Vec::new());
        };
        // The same plain values again change nothing, which is what most servers send.
        let plain = !update.contains("\"$");
        let hash = plain.then(|| xxh3_64(update.as_bytes()));
        let memo = directory.memo(person)?;
        if std::mem::replace(&mut memo.update, hash) == hash && plain {
            return Ok(Vec::new());
        }
        let known = directory.person(person)?;
        let (before, updates) = (known.custom.text.len(), known.updates);
        let mut profile = Profile::read(&known.custom);
        let changes = profile::fold(&mut profile.properties, &parse(update));
        if changes.is_empty() {
            return Ok(changes);
        }
        let hour = subject.received_at.div_euclid(HOUR_MILLIS);
        let count = if updates.hour == hour { updates.count } else { 0 };
        let too_many = count >= UPDATES_PER_HOUR;
        self.dropped.too_many += u64::from(too_many);
        if too_many || self.is_oversized(before, &profile.properties) {
            directory.memo(person)?.update = None;
            return Ok(Vec::new());
        }
        for change in &changes {
            let Some(from) = &change.from else { continue };
            let value = from.to_string();
            if value.len() <= PAST_VALUE_BYTES_MAX {
                let name = change.name.clone();
                let (from, until) = (profile.since(&name), subject.received_at);
                directory.remember(person, PastValue { name, value, from, until });
            }
        }
        profile.changed(&changes, subject.received_at);
        let known = directory.person_mut(person)?;
        known.custom = profile.write();
        known.updates = Updates { hour, count: count + 1 };
        Ok(changes)
    }

    /// Whether an update from `before` bytes to `properties` goes beyond the bound; what is beyond
    /// already may shrink.
    fn is_oversized(&mut self, before: usize, properties: &Properties) -> bool {
        let after = text(properties).len();
        let oversized = after > PROPERTIES_BYTES_MAX && after > before;
        self.dropped.oversized += u64::from(oversized);
        oversized
    }

    pub(super) fn push_change(
        &mut self,
        directory: &mut Directory,
        subject: &Subject<'a>,
        person: AmplitudeId,
        changes: Vec<profile::Change>,
        insert_id: Option<&'a str>,
        first: FirstSight,
    ) -> Result<(), StateError> {
        let changes = self.changes(changes);
        let user_properties = self.snapshot(directory, person)?;
        self.items.push(Applied::UserChange(UserChange {
            project: subject.project,
            user: person,
            user_id: subject.user_id,
            device_id: subject.device_id,
            device_id_derived: subject.device_id_derived,
            event_time: subject.event_time,
            received_at: subject.received_at,
            insert_id,
            first_seen: first.of_person,
            first_seen_on_device: first.on_device,
            changes,
            user_properties,
        }));
        Ok(())
    }

    /// The person's properties for the item about to be pushed: by reference when the log holds
    /// them near enough, whole otherwise.
    pub(super) fn snapshot(
        &self,
        directory: &mut Directory,
        person: AmplitudeId,
    ) -> Result<UserProperties<'a>, StateError> {
        let known = directory.person(person)?;
        if let Some(place) = known.snapshot
            && self.offset.saturating_sub(place.offset) <= SNAPSHOT_REACH_BYTES
        {
            return Ok(UserProperties::At(place));
        }
        let properties = known.properties();
        if properties.is_empty() {
            return Ok(UserProperties::None);
        }
        let inline = self.own(&properties);
        let index = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        directory.place(person, Place { offset: self.offset, index })?;
        Ok(UserProperties::Inline(inline))
    }

    fn erase(
        &mut self,
        directory: &mut Directory,
        batch: &IntakeBatch<'a>,
        erase: &Erase<'a>,
    ) -> Result<(), StateError> {
        directory.reserve(erase.user);
        self.pass_erased();
        let Some(user) = directory.canonical(erase.user)? else { return Ok(()) };
        let known = directory.person(user)?;
        if known.project != batch.project {
            return Ok(());
        }
        let user_id = known.user_id.as_deref().map(|user_id| self.own(user_id));
        let properties = known.properties();
        let user_properties = (!properties.is_empty()).then(|| self.own(&properties));
        let users = directory.family(user)?;
        let buried_at = erase.refuse_later.then(|| Timestamp::from_millis(batch.received_at));
        let Forgot { device_ids, braze_ids } = directory.erase(batch.project, &users, buried_at)?;
        self.items.push(Applied::Erasure(Erasure {
            project: batch.project,
            request: erase.request,
            users,
            user_id,
            device_ids: device_ids.iter().map(|device| self.own(device)).collect(),
            braze_ids: braze_ids.iter().map(|id| self.own(id)).collect(),
            user_properties,
            received_at: batch.received_at,
        }));
        Ok(())
    }

    /// Tells the person's present properties as if they were seen for the first time, under the ids
    /// that they have now.
    fn retell(
        &mut self,
        directory: &mut Directory,
        batch: &IntakeBatch<'a>,
        user: AmplitudeId,
    ) -> Result<(), StateError> {
        self.pass_erased();
        let Some(user) = directory.canonical(user)? else { return Ok(()) };
        let known = directory.person(user)?;
        if known.project != batch.project {
            return Ok(());
        }
        let user_id = known.user_id.as_deref().map(|user_id| self.own(user_id));
        let device = known.devices.last().map(|device| self.own(device));
        let (device_id, device_id_derived) = match (device, user_id) {
            (Some(device_id), _) => (device_id, false),
            (None, Some(user_id)) => {
                (self.own(&isthmus_amplitude::derived_device_id(user_id)), true)
            }
            (None, None) => return Ok(()),
        };
        let at = batch.received_at;
        let subject = Subject {
            project: batch.project,
            user_id,
            device_id,
            device_id_derived,
            client_event_time: at,
            event_time: at,
            received_at: at,
        };
        let first = FirstSight { of_person: true, on_device: !device_id_derived };
        self.push_change(directory, &subject, user, Vec::new(), None, first)
    }

    fn change_groups(
        &mut self,
        directory: &mut Directory,
        batch: &IntakeBatch<'a>,
        event: &IntakeEvent<'a>,
    ) -> Result<(), StateError> {
        let (Some(groups), Some(update)) = (event.groups, event.group_properties) else {
            return Ok(());
        };
        let update = parse(update);
        for (group_type, names) in parse(groups) {
            for name in group_names(&names) {
                let before = directory.group(batch.project, &group_type, &name)?;
                let mut properties = parse(before.as_deref().unwrap_or_default());
                let changes = profile::fold(&mut properties, &update);
                let before = before.map_or(0, |before| before.len());
                if changes.is_empty() || self.is_oversized(before, &properties) {
                    continue;
                }
                directory.set_group(batch.project, &group_type, &name, text(&properties));
                let changes = self.changes(changes);
                self.items.push(Applied::GroupChange(GroupChange {
                    project: batch.project,
                    group_type: self.own(&group_type),
                    group_name: self.own(&name),
                    event_time: event.time.unwrap_or(batch.received_at),
                    received_at: batch.received_at,
                    changes,
                }));
            }
        }
        Ok(())
    }

    /// Properties of the groups of an event, where they have any.
    fn group_properties(
        &self,
        directory: &Directory,
        project: &str,
        groups: Option<&str>,
    ) -> Result<Option<&'a str>, StateError> {
        let Some(groups) = groups else { return Ok(None) };
        let mut stamped = Properties::new();
        for (group_type, names) in parse(groups) {
            let mut of_type = Properties::new();
            for name in group_names(&names) {
                if let Some(properties) = directory.group(project, &group_type, &name)? {
                    of_type.insert(name, parse(&properties).into());
                }
            }
            if !of_type.is_empty() {
                stamped.insert(group_type, of_type.into());
            }
        }
        Ok((!stamped.is_empty()).then(|| self.own(&text(&stamped))))
    }

    fn changes(&self, changes: Vec<profile::Change>) -> Vec<PropertyChange<'a>> {
        let raw =
            |value: Option<serde_json::Value>| value.map(|value| self.own(&value.to_string()));
        changes
            .into_iter()
            .map(|change| PropertyChange {
                name: self.own(&change.name),
                from: raw(change.from),
                to: raw(change.to),
            })
            .collect()
    }
}

/// The ids by which `event` may be somebody's.
fn ids_of<'a>(event: &IntakeEvent<'a>) -> [Option<(IdKind, &'a str)>; 2] {
    [
        event.user_id.map(|user_id| (IdKind::User, user_id)),
        event.device_id.map(|device_id| (IdKind::Device, device_id)),
    ]
}

/// The person that the ids of `subject` lead to by now, or nobody.
fn known(directory: &mut Directory, subject: &Subject<'_>) -> Result<AmplitudeId, StateError> {
    let by_user = match subject.user_id {
        Some(user_id) => directory.find(subject.project, IdKind::User, user_id)?,
        None => None,
    };
    let person = match by_user {
        Some(person) => Some(person),
        None => directory.find(subject.project, IdKind::Device, subject.device_id)?,
    };
    Ok(person.unwrap_or(AmplitudeId::NOBODY))
}

fn change_built_in(
    directory: &mut Directory,
    event: &IntakeEvent<'_>,
    subject: &Subject<'_>,
    person: AmplitudeId,
    said: Said,
) -> Result<Vec<profile::Change>, StateError> {
    let has_revenue = built_in::has_revenue(event.event_properties);
    let hash = built_in::digest(event.fields, has_revenue, said);
    let memo = directory.memo(person)?;
    if memo.fields.replace(hash) == Some(hash) {
        return Ok(Vec::new());
    }
    if said == Said::ByEvent {
        let library = built_in::library(event.fields);
        if directory.person(person)?.library.as_deref() != Some(&*library) {
            directory.person_mut(person)?.library = Some(library.into_owned());
        }
    }
    let mut profile = Profile::read(&directory.person(person)?.built_in);
    let changes = built_in::apply(&mut profile.properties, event.fields, has_revenue, said);
    if !changes.is_empty() {
        profile.changed(&changes, subject.received_at);
        directory.person_mut(person)?.built_in = profile.write();
    }
    Ok(changes)
}

/// First and last times of a person; only what changes is written.
pub(super) fn note_times(
    directory: &mut Directory,
    person: AmplitudeId,
    event_time: i64,
) -> Result<(), StateError> {
    let day = event_time.div_euclid(DAY_MILLIS);
    let known = directory.person(person)?;
    let is_first = known.first_event_time.is_none_or(|first| event_time < first);
    let is_last = known.last_event_day.is_none_or(|last| day > last);
    if is_first || is_last {
        let known = directory.person_mut(person)?;
        known.first_event_time = earliest(known.first_event_time, Some(event_time));
        known.last_event_day = known.last_event_day.max(Some(day));
    }
    Ok(())
}

fn earliest(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// What the changes of custom and built-in properties, which led to `own` and `own_built_in` (raw
/// JSON objects), come to together: a custom property hides the built-in one of its name. Sorted by
/// name.
fn visible(
    custom: Vec<profile::Change>,
    built_in: Vec<profile::Change>,
    own: &str,
    own_built_in: &str,
) -> Vec<profile::Change> {
    let mut changes = custom;
    let mut hidden = Vec::new();
    for change in built_in {
        match changes.iter_mut().find(|known| known.name == change.name) {
            // Both changed at once.
            Some(known) => known.from = known.from.take().or(change.from),
            None if json::member(own, &change.name).is_some() => {}
            None => hidden.push(change),
        }
    }
    for change in &mut changes {
        let Some(behind) = json::member(own_built_in, &change.name) else { continue };
        let behind: serde_json::Value = serde_json::from_str(behind).unwrap_or_default();
        change.from = change.from.take().or_else(|| Some(behind.clone()));
        change.to = change.to.take().or_else(|| Some(behind.clone()));
    }
    changes.extend(hidden);
    changes.retain(|change| change.from != change.to);
    changes.sort_by(|one, other| one.name.cmp(&other.name));
    changes
}

/// Our own stored text, which is an object or nothing.
pub(super) fn parse(object: &str) -> Properties {
    serde_json::from_str(object).unwrap_or_default()
}

/// The stored form: nothing at all for no properties.
pub(super) fn text(properties: &Properties) -> String {
    if properties.is_empty() {
        return String::new();
    }
    serde_json::to_string(properties).expect("string keys and JSON values can always be written")
}

/// Groups of an `$identify` replace those of the same type (`amplitude-ingest.md` 13).
fn join_groups(present: &str, added: &str) -> String {
    let mut groups = parse(present);
    groups.extend(parse(added));
    text(&groups)
}

/// A group name, or a list of them; numbers and booleans are named by their text.
fn group_names(names: &serde_json::Value) -> Vec<String> {
    match names {
        serde_json::Value::String(name) => vec![name.clone()],
        serde_json::Value::Array(names) => names.iter().flat_map(group_names).collect(),
        serde_json::Value::Number(number) => vec![number.to_string()],
        serde_json::Value::Bool(flag) => vec![flag.to_string()],
        serde_json::Value::Null | serde_json::Value::Object(_) => Vec::new(),
    }
}
