//! Events of Braze Currents applied.
//!
//! They are told apart by source and id alone, without an end; shown as Braze's own connector to
//! Amplitude would show them; and of a person they change nothing but first and last times: what they
//! say is about messages. What that connector would not send makes nobody known.

use super::apply::{Gathering, Subject, note_times};
use super::directory::{Directory, Ids};
use crate::currents::Beside;
use isthmus_braze::currents::{Appearance, Export, Form, Received, appear};
use isthmus_core::record::{
    Applied, AppliedEvent, CurrentsBatch, CurrentsEvent, IntakeBatch, IntakeEvent, Mend, Unusable,
    UserProperties,
};
use isthmus_core::{AmplitudeId, Place, Timestamp};
use isthmus_state::StateError;
use isthmus_state::currents_counts::CurrentsCounts;
use isthmus_state::currents_ids::CurrentsId;
use isthmus_state::people::IdKind;
use isthmus_state::quarantine::Quarantined;
use std::borrow::Cow;

/// What all events of one batch share.
pub(super) struct Shared<'b, 'a> {
    batch: &'b IntakeBatch<'a>,
    currents: &'b CurrentsBatch<'a>,
    form: Form,
}

impl<'b, 'a> Shared<'b, 'a> {
    /// `None` where the batch is not of Currents.
    pub(super) fn of(batch: &'b IntakeBatch<'a>) -> Option<Self> {
        let currents = batch.currents.as_ref()?;
        Some(Self { batch, currents, form: form(currents.form) })
    }

    /// What of the batch is unusable.
    pub(super) fn unusable(&self) -> &'b [Unusable<'a>] {
        &self.currents.unusable
    }
}

impl<'a> Gathering<'a> {
    /// Applies the event of this index, which is not erased.
    pub(super) fn apply_currents(
        &mut self,
        directory: &mut Directory,
        shared: &Shared<'_, 'a>,
        index: usize,
        event: &IntakeEvent<'a>,
    ) -> Result<(), StateError> {
        let Shared { batch, currents, form } = shared;
        self.pass_erased();
        let beside = Beside::read(event.fields);
        let known_as = beside.known_as.as_deref().map(|device| self.own(device));
        let braze_id = beside.braze_id.as_deref().map(|id| self.own(id));
        let ids =
            Ids { user: event.user_id, device: event.device_id.or(known_as), braze: braze_id };
        let came = CurrentsCounts { received_at: Some(batch.received_at), ..Default::default() };
        if directory.refuses(batch.project, ids) {
            self.refuse(directory, currents.source, came);
            return Ok(());
        }
        let at = event.time.unwrap_or(batch.received_at);
        let id = event.insert_id.unwrap_or_default();
        let id = CurrentsId::of(currents.scope, Timestamp::from_millis(at), id);
        if !directory.first_of_currents(id)? {
            self.drop_duplicate(directory, currents.source, came);
            return Ok(());
        }
        let applied = CurrentsCounts { events: 1, newest_event_at: Some(at), ..came };
        directory.count_currents(currents.source, applied);
        let received = received(event, &beside, at);
        let shown = appear(&received, form);
        let not_exported = match shown.export {
            Export::No { reason } => Some(reason),
            Export::Documented | Export::Expected => None,
        };
        // Amplitude is told of a user's device by some types only.
        let device_id = match event.user_id {
            Some(_) => event.device_id.filter(|_| shown.device_id),
            None => ids.device,
        };
        let (device_id, device_id_derived) = match (device_id, event.user_id) {
            (Some(device_id), _) => (device_id, false),
            (None, Some(user_id)) => {
                (self.own(&isthmus_amplitude::derived_device_id(user_id)), true)
            }
            (None, None) => ("", true),
        };
        let subject = Subject {
            project: batch.project,
            user_id: event.user_id,
            device_id,
            device_id_derived,
            client_event_time: at,
            event_time: at,
            received_at: batch.received_at,
        };
        let person = if not_exported.is_none() {
            let (person, first) = self.identify(directory, &subject, true)?;
            if first.is_any() {
                let none = Vec::new();
                self.push_change(directory, &subject, person, none, event.insert_id, first)?;
            }
            Some(person)
        } else {
            find(directory, batch.project, ids)?
        };
        if let Some(person) = person {
            note_times(directory, person, at)?;
            learn(directory, batch.project, ids, person)?;
        }
        let user_properties = match person {
            Some(person) => self.snapshot(directory, person)?,
            None => UserProperties::None,
        };
        let echo = currents.echoes.iter().find(|echo| usize::try_from(echo.event) == Ok(index));
        let facts =
            CurrentsEvent { echo: echo.map(|echo| echo.of), not_exported, ..self.facts(&shown) };
        self.items.push(Applied::Event(AppliedEvent {
            project: batch.project,
            user: person.unwrap_or(AmplitudeId::NOBODY),
            user_id: subject.user_id,
            device_id,
            device_id_derived,
            event_type: self.own(&shown.event_type),
            event_time: at,
            client_event_time: at,
            received_at: batch.received_at,
            session_id: None,
            event_id: None,
            insert_id: event.insert_id,
            event_properties: Some(self.own(&shown.event_properties)),
            groups: None,
            group_properties: None,
            fields: Some(self.own(&shown.top_level)),
            user_properties,
            sent_user_properties: None,
            skip_user_properties_sync: false,
            remote_address: None,
            currents: Some(Box::new(CurrentsEvent {
                source: currents.source,
                event_type: event.event_type,
                braze_id,
                timezone: beside.timezone.as_deref().map(|zone| self.own(zone)),
                properties: event.event_properties.unwrap_or("{}"),
                other: beside.other,
                ..facts
            })),
        }));
        Ok(())
    }

    fn refuse(&mut self, directory: &mut Directory, source: &str, came: CurrentsCounts) {
        self.dropped.refused += 1;
        directory.count_currents(source, CurrentsCounts { refused: 1, ..came });
    }

    fn drop_duplicate(&mut self, directory: &mut Directory, source: &str, came: CurrentsCounts) {
        self.dropped.duplicates += 1;
        *self.dropped.of_currents.entry(source.to_owned()).or_default() += 1;
        directory.count_currents(source, CurrentsCounts { duplicates: 1, ..came });
    }

    fn facts(&self, shown: &Appearance<'_>) -> CurrentsEvent<'a> {
        let facts = &shown.facts;
        let own = |text: &Option<Cow<'_, str>>| text.as_deref().map(|text| self.own(text));
        CurrentsEvent {
            channel: own(&facts.channel),
            action: Some(self.own(&facts.action)),
            campaign_id: own(&facts.campaign_id),
            canvas_id: own(&facts.canvas_id),
            canvas_step_id: own(&facts.canvas_step_id),
            canvas_variation_id: own(&facts.canvas_variation_id),
            message_variation_id: own(&facts.message_variation_id),
            dispatch_id: own(&facts.dispatch_id),
            send_id: own(&facts.send_id),
            app_id: own(&facts.app_id),
            ..CurrentsEvent::default()
        }
    }

    /// Puts what is no event aside, under `place`; the same text of the same source once.
    pub(super) fn put_aside(
        &mut self,
        directory: &mut Directory,
        shared: &Shared<'_, 'a>,
        place: Place,
        unusable: &Unusable<'a>,
    ) -> Result<(), StateError> {
        if unusable.is_erased() {
            return Ok(());
        }
        let Shared { batch, currents, .. } = shared;
        let came = CurrentsCounts { received_at: Some(batch.received_at), ..Default::default() };
        let scope = format!("{}\0unusable", currents.scope);
        // Of what is missing from a damaged file there is no text.
        let of_file = unusable
            .raw
            .is_empty()
            .then(|| format!("{}\0{}", unusable.file.unwrap_or_default(), unusable.reason));
        let text = of_file.as_deref().unwrap_or(unusable.raw);
        let id = CurrentsId::of(&scope, Timestamp::default(), text);
        if !directory.first_of_currents(id)? {
            self.drop_duplicate(directory, currents.source, came);
            return Ok(());
        }
        directory.count_currents(currents.source, CurrentsCounts { unusable: 1, ..came });
        let entry = Quarantined {
            project: batch.project.to_owned(),
            raw: unusable.raw.to_owned(),
            reason: unusable.reason.to_owned(),
            file: unusable.file.map(str::to_owned),
            received_at: batch.received_at,
            mended_at: None,
        };
        directory.quarantine(currents.source, place, Some(entry));
        Ok(())
    }
}

/// The form that `written` says; what it does not say, because it is older, is as documented.
fn form(written: &str) -> Form {
    let documented = Form::default();
    if written.is_empty() {
        return documented;
    }
    let Ok(serde_json::Value::Object(mut members)) = serde_json::to_value(&documented) else {
        return documented;
    };
    members.extend(super::apply::parse(written));
    // The door wrote it, so that it can be read.
    serde_json::from_value(members.into()).unwrap_or(documented)
}

/// Changes what is put aside, or lets it go.
pub(super) fn mend(directory: &mut Directory, mend: &Mend<'_>, at: i64) -> Result<(), StateError> {
    let Mend { source, place, raw } = *mend;
    let Some(known) = directory.quarantined(source, place)? else { return Ok(()) };
    let mended = raw.map(|raw| Quarantined { raw: raw.to_owned(), mended_at: Some(at), ..known });
    directory.quarantine(source, place, mended);
    Ok(())
}

/// The event as the door read it.
fn received<'e>(event: &IntakeEvent<'e>, beside: &Beside<'e>, at: i64) -> Received<'e> {
    Received {
        event_type: event.event_type.into(),
        id: event.insert_id.unwrap_or_default().into(),
        time: at,
        user_id: beside.braze_id.clone(),
        external_user_id: event.user_id.map(Cow::Borrowed),
        device_id: event.device_id.map(Cow::Borrowed),
        timezone: beside.timezone.clone(),
        properties: event.event_properties.unwrap_or("{}").into(),
        other: beside.other.map(Cow::Borrowed),
    }
}

/// Whom the ids lead to by now: the first of them that is there decides, whether it leads anywhere or
/// not, as it decides when a person is forgotten.
fn find(
    directory: &mut Directory,
    project: &str,
    ids: Ids<'_>,
) -> Result<Option<AmplitudeId>, StateError> {
    match ids {
        Ids { user: Some(id), .. } => directory.find(project, IdKind::User, id),
        Ids { device: Some(id), .. } => directory.find(project, IdKind::Device, id),
        Ids { braze: Some(id), .. } => directory.find(project, IdKind::Braze, id),
        _ => Ok(None),
    }
}

/// Remembers whom Braze's own id means, of somebody who has no user id there: later events may have
/// nothing else. What is known stays, so that what was erased later cannot have been anybody else's.
fn learn(
    directory: &mut Directory,
    project: &str,
    ids: Ids<'_>,
    person: AmplitudeId,
) -> Result<(), StateError> {
    let Ids { user: None, device: Some(_), braze: Some(braze_id) } = ids else {
        return Ok(());
    };
    if directory.find(project, IdKind::Braze, braze_id)?.is_none() {
        directory.link(project, IdKind::Braze, braze_id, person)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::form;
    use isthmus_braze::currents::Form;

    #[test]
    fn a_form_is_read_as_it_was_written_also_by_those_who_know_more() {
        let some = Form { event_prefix: "x ".to_owned(), optional_types: true, ..Form::default() };
        assert_eq!(form(&serde_json::to_string(&some).unwrap()), some);
        assert_eq!(form(r#"{"event_prefix":"x ","optional_types":true}"#), some);
        for written in ["", "{}", "{", "7", r#"{"event_prefix":7}"#] {
            assert_eq!(form(written), Form::default(), "{written}");
        }
    }
}
