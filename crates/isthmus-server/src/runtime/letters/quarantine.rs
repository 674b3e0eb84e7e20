//! What sources of Currents brought that is no event, as dead letters of `currents:SOURCE`.
//!
//! The applier alone changes the quarantine: what is decided here goes through the intake log, and is
//! waited for.

use super::page::Page;
use super::{API_ORIGIN, Choice, EDITED, Id, Listing, Matching, PAGE, REFUSALS_SHOWN};
use crate::report::letters::{
    DeadLetterDetails, DeadLetterReport, DeadLettersReport, DecisionReport, PastReport,
    RefusalReport,
};
use crate::runtime::ledger::{blocking, failed};
use crate::runtime::{Runtime, RuntimeError};
use isthmus_braze::currents::{Received, read_batch};
use isthmus_config::Spec;
use isthmus_core::record::{Command, Mend};
use isthmus_core::{Place, Timestamp, json};
use isthmus_delivery::journal::Decision;
use isthmus_log::LogError;
use isthmus_state::quarantine::{Quarantine, Quarantined};
use std::collections::BTreeMap;
use std::time::Duration;

/// What stands before the name of a source where a stream is asked for.
const PREFIX: &str = "currents:";
/// What these letters say as their cause.
const CAUSE: &str = "unusable";
/// Entries that one record of the intake log is about.
const CHUNK: usize = 500;
/// How long the applier may take to do what was written down.
const APPLIED_WITHIN: Duration = Duration::from_secs(20);

/// The name of the source whose letters are meant, where they are not a stream's.
pub(super) fn source_of(stream: &str) -> Option<&str> {
    stream.strip_prefix(PREFIX)
}

/// An entry and its place.
type Entry = (Place, Quarantined);

/// What a decision is about, and what is known already of the rest.
struct Chosen {
    entries: Vec<(Entry, Option<Received<'static>>)>,
    report: DecisionReport,
}

impl Runtime {
    pub(super) async fn quarantined(
        &self,
        source: &str,
        listing: Listing,
    ) -> Result<DeadLettersReport, RuntimeError> {
        self.check_source(source).await?;
        let (quarantine, source) = (self.quarantine.clone(), source.to_owned());
        blocking(move || list(&quarantine, &source, &listing)).await
    }

    pub(super) fn quarantined_one(
        &self,
        source: &str,
        id: Id,
    ) -> Result<DeadLetterDetails, RuntimeError> {
        let entry = entry(&self.quarantine, source, id)?;
        let (stream, ledger) = (format!("{PREFIX}{source}"), Vec::new());
        Ok(DeadLetterDetails { stream, dead_letter: report_of(entry), ledger })
    }

    pub(super) async fn edit_quarantined(
        &self,
        source: &str,
        id: Id,
        payload: &str,
    ) -> Result<DeadLetterDetails, RuntimeError> {
        let (place, known) = entry(&self.quarantine, source, id)?;
        read_one(payload)
            .map_err(|reason| RuntimeError::Malformed(format!("`payload` is refused: {reason}")))?;
        let command = Command::Mend(Mend { source, place, raw: Some(payload) });
        let offset = self.door.command(&known.project, vec![command]).await;
        self.applied(offset.map_err(refused_by_log)?).await?;
        self.note("edit dead letter", &format!("currents/{source}"), &id.to_string()).await?;
        self.quarantined_one(source, id)
    }

    pub(super) async fn decide_quarantined(
        &self,
        source: &str,
        decision: Decision,
        choice: Choice,
        dry_run: bool,
    ) -> Result<DecisionReport, RuntimeError> {
        self.check_source(source).await?;
        let what = choice.to_string();
        let (quarantine, of) = (self.quarantine.clone(), source.to_owned());
        let chosen = blocking(move || choose(&quarantine, &of, decision, choice, dry_run)).await?;
        let Chosen { entries, mut report } = chosen;
        if dry_run {
            return Ok(report);
        }
        let outcome = self.carry_out(source, entries, &mut report).await;
        let detail = format!("{what}: {} done, {} refused", report.done, report.refused);
        let action = match decision {
            Decision::Resend => "resend dead letters",
            Decision::Discard => "discard dead letters",
            Decision::Confirm => "confirm dead letters",
        };
        self.note(action, &format!("currents/{source}"), &detail).await?;
        outcome.map(|()| report)
    }

    /// Lets go of `entries`, in the same step as those with an event come in again.
    async fn carry_out(
        &self,
        source: &str,
        entries: Vec<(Entry, Option<Received<'static>>)>,
        report: &mut DecisionReport,
    ) -> Result<(), RuntimeError> {
        let mut mended = Vec::new();
        let mut gone: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for ((place, entry), event) in entries {
            match event {
                Some(event) => mended.push((place, event)),
                None => gone.entry(entry.project).or_default().push(place),
            }
        }
        while !mended.is_empty() {
            let rest = mended.split_off(mended.len().min(CHUNK));
            let chunk = std::mem::replace(&mut mended, rest);
            let count = chunk.len();
            let offset = self.door.accept_mended(source, chunk).await;
            let offset = offset.map_err(|error| RuntimeError::Conflict(error.to_string()))?;
            self.applied(offset).await?;
            report.done += count;
        }
        for (project, places) in gone {
            report.done += self.let_go(source, &project, &places).await?;
        }
        Ok(())
    }

    /// Throws away what is kept under `places`; returns how many that were.
    pub(crate) async fn let_go(
        &self,
        source: &str,
        project: &str,
        places: &[Place],
    ) -> Result<usize, RuntimeError> {
        for chunk in places.chunks(CHUNK) {
            let gone = |place: &Place| Command::Mend(Mend { source, place: *place, raw: None });
            let offset = self.door.command(project, chunk.iter().map(gone).collect()).await;
            self.applied(offset.map_err(refused_by_log)?).await?;
        }
        Ok(places.len())
    }

    /// Waits until the intake record at `offset` is applied.
    async fn applied(&self, offset: u64) -> Result<(), RuntimeError> {
        let mut applier = self.applier.clone();
        // Both waits can be dropped: what was written down is applied all the same.
        tokio::select! {
            applied = applier.wait_for(|progress| progress.intake > offset) => match applied {
                Ok(_) => Ok(()),
                Err(_) => Err(RuntimeError::Conflict("the server is stopping".to_owned())),
            },
            () = self.clock.sleep(APPLIED_WITHIN) => Err(RuntimeError::Conflict(
                "it is written down, and shows once all that came before is applied".to_owned(),
            )),
        }
    }

    /// A source is one that there is, or was and left something.
    async fn check_source(&self, source: &str) -> Result<(), RuntimeError> {
        let is_it = |spec: &Spec| matches!(spec, Spec::CurrentsSource(of) if of.name == source);
        if self.resources.lock().await.iter().any(|resource| is_it(&resource.spec))
            || !self.quarantine.list(source, None, 1).map_err(failed)?.is_empty()
        {
            return Ok(());
        }
        Err(RuntimeError::NotFound(format!("currents_source {source}")))
    }
}

fn refused_by_log(error: LogError) -> RuntimeError {
    RuntimeError::Failed(anyhow::Error::new(error).context("the intake log does not take it"))
}

fn list(
    quarantine: &Quarantine,
    source: &str,
    listing: &Listing,
) -> Result<DeadLettersReport, RuntimeError> {
    let Listing { matching, after, limit } = listing;
    let mut page = Page::new(*after, *limit);
    let (mut total, mut count) = (0, 0);
    visit(quarantine, source, None, |entry| {
        total += 1;
        if is_meant(matching, &entry.1) {
            count += 1;
            page.offer(id_of(entry.0), entry);
        }
    })?;
    let (shown, next) = page.finish();
    let dead_letters = shown.into_iter().map(report_of).collect();
    Ok(DeadLettersReport { dead_letters, total, matching: count, next })
}

/// The entries of `choice` that `decision` is to be carried out for, or their number.
fn choose(
    quarantine: &Quarantine,
    source: &str,
    decision: Decision,
    choice: Choice,
    dry_run: bool,
) -> Result<Chosen, RuntimeError> {
    let report = DecisionReport { dry_run, ..DecisionReport::default() };
    let mut chosen = Chosen { entries: Vec::new(), report };
    match choice {
        Choice::These(ids) => {
            let entries = ids.into_iter().map(|id| entry(quarantine, source, id));
            for entry in entries.collect::<Result<Vec<_>, _>>()? {
                sort(decision, entry, &mut chosen);
            }
        }
        Choice::All { matching, after, limit } => {
            let (mut looked_at, mut last) = (0, None);
            visit(quarantine, source, after, |entry| {
                if !is_meant(&matching, &entry.1) {
                    return;
                }
                if looked_at >= limit {
                    chosen.report.remaining += 1;
                    return;
                }
                looked_at += 1;
                last = Some(entry.0);
                sort(decision, entry, &mut chosen);
            })?;
            if chosen.report.remaining > 0 {
                chosen.report.next = last.map(|place| id_of(place).to_string());
            }
        }
    }
    Ok(chosen)
}

/// Puts `entry` with those to decide about, or counts why not.
fn sort(decision: Decision, entry: Entry, chosen: &mut Chosen) {
    let event = match decision {
        // Of none of them there is any doubt.
        Decision::Confirm => {
            chosen.report.passed_over += 1;
            return;
        }
        Decision::Discard => None,
        Decision::Resend => match read_one(&entry.1.raw) {
            Ok(event) => Some(event),
            Err(reason) => {
                chosen.report.refused += 1;
                if chosen.report.refusals.len() < REFUSALS_SHOWN {
                    let id = id_of(entry.0).to_string();
                    chosen.report.refusals.push(RefusalReport { id, reason });
                }
                return;
            }
        },
    };
    if chosen.report.dry_run {
        chosen.report.done += 1;
    } else {
        chosen.entries.push((entry, event));
    }
}

/// Shows every entry after `after`, in order.
fn visit(
    quarantine: &Quarantine,
    source: &str,
    after: Option<Id>,
    mut visit: impl FnMut(Entry),
) -> Result<(), RuntimeError> {
    let mut after = after.map(|id| id.place);
    loop {
        let page = quarantine.list(source, after, PAGE).map_err(failed)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        page.into_iter().for_each(&mut visit);
    }
}

fn entry(quarantine: &Quarantine, source: &str, id: Id) -> Result<Entry, RuntimeError> {
    let found = quarantine.get(source, id.place).map_err(failed)?.filter(|_| id.part == 0);
    let missing = || RuntimeError::NotFound(format!("dead letter {id} of {PREFIX}{source}"));
    Ok((id.place, found.ok_or_else(missing)?))
}

/// The one event that `raw` is, or why it is none.
fn read_one(raw: &str) -> Result<Received<'static>, String> {
    let body = format!(r#"{{"events":[{raw}]}}"#);
    let mut read = read_batch(body.as_bytes()).map_err(|error| error.to_string())?;
    match (read.pop(), read.is_empty()) {
        (Some(Ok(event)), true) => Ok(event.into_owned()),
        (Some(Err(unusable)), true) => Err(unusable.reason),
        _ => Err("not one event".to_owned()),
    }
}

fn is_meant(matching: &Matching, entry: &Quarantined) -> bool {
    let Matching { cause, name, reason, from, to } = matching;
    let received = entry.received();
    let reason = reason.as_ref().map(|reason| reason.to_lowercase());
    cause.is_none()
        && name.as_ref().is_none_or(|name| *name == name_of(entry))
        && reason.is_none_or(|reason| entry.reason.to_lowercase().contains(&reason))
        && from.is_none_or(|from| received >= from)
        && to.is_none_or(|to| received < to)
}

/// The event type, where it says one.
fn name_of(entry: &Quarantined) -> String {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&entry.raw).is_ok();
    let name = Some(entry.raw.trim())
        .filter(|raw| is_json && raw.starts_with('{'))
        .and_then(|raw| json::member(raw, "event_type"))
        .and_then(json::text_of);
    name.map_or_else(|| "?".to_owned(), std::borrow::Cow::into_owned)
}

fn id_of(place: Place) -> Id {
    Id { place, part: 0 }
}

fn report_of((place, entry): Entry) -> DeadLetterReport {
    let received = entry.received().to_string();
    let mended = entry.mended_at.map(|at| PastReport {
        at: Timestamp::from_millis(at).to_string(),
        what: format!("{EDITED}{API_ORIGIN}"),
    });
    DeadLetterReport {
        id: id_of(place).to_string(),
        name: name_of(&entry),
        reason: entry.reason,
        payload: entry.raw,
        rejected_at: received.clone(),
        accepted_at: received,
        cause: CAUSE.to_owned(),
        state: CAUSE.to_owned(),
        attempts: 0,
        possible_duplicate: false,
        at_most_once: false,
        edited: mended.is_some(),
        history: mended.into_iter().collect(),
        file: entry.file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_event_or_says_why_not() {
        let event = r#"{"event_type":"a.B","id":"i","time":1}"#;
        assert_eq!(read_one(event).map(|event| event.id.into_owned()), Ok("i".to_owned()));
        for (raw, reason) in [
            ("{}", "no `event_type`"),
            ("", "not one event"),
            (&format!("{event},{event}"), "not one event"),
            ("7", "not an object"),
        ] {
            assert_eq!(read_one(raw).unwrap_err(), reason, "{raw}");
        }
        assert!(read_one("{").unwrap_err().starts_with("not JSON"));
    }

    #[test]
    fn an_entry_is_called_by_its_event_type_where_it_says_one() {
        let name = |raw: &str| {
            name_of(&Quarantined {
                project: "shop".to_owned(),
                raw: raw.to_owned(),
                reason: String::new(),
                file: None,
                received_at: 0,
                mended_at: None,
            })
        };
        assert_eq!(name(r#"{"event_type":"a.B"}"#), "a.B");
        for raw in [r#"{"event_type":7}"#, "{", "[]", "", "\u{0}"] {
            assert_eq!(name(raw), "?", "{raw:?}");
        }
    }
}
