//! Dead letters: looked at, edited, and decided about; those of streams, and those of Currents sources,
//! which are called `currents:SOURCE` in place of a stream.
//!
//! Nothing is sent again that the destination would refuse as far as can be told, and nothing is
//! edited while it is being sent.

mod choice;
mod page;
mod quarantine;

use self::page::Page;
use super::ledger::{View, blocking, failed, object, state_name};
use super::{API_ORIGIN, Runtime, RuntimeError};
use crate::deliveries::Served;
use crate::report::letters::{
    DeadLetterDetails, DeadLetterReport, DeadLettersReport, DecisionReport, PastReport,
    RefusalReport,
};
pub(crate) use choice::{Choice, Id, Matching};
use isthmus_core::destination::{Guarantee, Message};
use isthmus_delivery::dead_letters::{DeadLetterStore, LetterChange};
use isthmus_delivery::journal::{Decision, ObjectKey};
use isthmus_delivery::ledger::{State, Story};
use isthmus_state::dead_letters::{Cause, DeadLetter, DeadLetters, Past};
use std::collections::{BTreeMap, BTreeSet};

/// Letters decided about at once: the engine does nothing else meanwhile.
const CHUNK: usize = 500;
/// Letters read at once.
const PAGE: usize = 1_000;
/// Refusals that an answer shows.
const REFUSALS_SHOWN: usize = 20;
/// How an edit begins in a letter's history.
const EDITED: &str = "edited by ";

/// Which dead letters to list.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) matching: Matching,
    /// Those that follow this one; without it the newest.
    pub(crate) after: Option<Id>,
    pub(crate) limit: usize,
}

impl Runtime {
    pub(crate) async fn dead_letters(
        &self,
        stream: String,
        listing: Listing,
    ) -> Result<DeadLettersReport, RuntimeError> {
        if let Some(source) = quarantine::source_of(&stream) {
            return self.quarantined(source, listing).await;
        }
        let desk = self.desk(&stream)?;
        blocking(move || desk.list(&listing)).await
    }

    pub(crate) async fn dead_letter(
        &self,
        stream: String,
        id: Id,
    ) -> Result<DeadLetterDetails, RuntimeError> {
        if let Some(source) = quarantine::source_of(&stream) {
            return self.quarantined_one(source, id);
        }
        let desk = self.desk(&stream)?;
        blocking(move || desk.details(id)).await
    }

    /// Puts `payload`, which is JSON, in the place of the letter's.
    pub(crate) async fn edit_dead_letter(
        &self,
        stream: String,
        id: Id,
        payload: String,
    ) -> Result<DeadLetterDetails, RuntimeError> {
        let _letters = self.letters.lock().await;
        if let Some(source) = quarantine::source_of(&stream) {
            return self.edit_quarantined(source, id, &payload).await;
        }
        let desk = self.desk(&stream)?;
        let now = self.clock.now();
        let details = blocking(move || desk.edit(id, &payload, now)).await?;
        let subject = format!("stream/{stream}");
        self.catalog.note(API_ORIGIN, now, "edit dead letter", &subject, &id.to_string()).await?;
        Ok(details)
    }

    /// Carries out `decision` for the letters of `choice`, or only says what would be done.
    pub(crate) async fn decide_dead_letters(
        &self,
        stream: String,
        decision: Decision,
        choice: Choice,
        dry_run: bool,
    ) -> Result<DecisionReport, RuntimeError> {
        let _letters = self.letters.lock().await;
        if let Some(source) = quarantine::source_of(&stream) {
            return self.decide_quarantined(source, decision, choice, dry_run).await;
        }
        let desk = self.desk(&stream)?;
        let what = choice.to_string();
        let chosen = blocking({
            let desk = desk.clone();
            move || desk.choose(decision, choice, dry_run)
        })
        .await?;
        let Chosen { letters, mut report } = chosen;
        if dry_run {
            return Ok(report);
        }
        let outcome = desk.carry_out(decision, letters, &mut report).await;
        // Also what was done before something failed.
        let DecisionReport { done, refused, .. } = &report;
        let detail = format!("{what}: {done} done, {refused} refused");
        let (now, subject) = (self.clock.now(), format!("stream/{stream}"));
        let action = match decision {
            Decision::Resend => "resend dead letters",
            Decision::Discard => "discard dead letters",
            Decision::Confirm => "confirm dead letters",
        };
        self.catalog.note(API_ORIGIN, now, action, &subject, &detail).await?;
        outcome.map(|()| report)
    }

    fn desk(&self, stream: &str) -> Result<Desk, RuntimeError> {
        let served = self.serving(stream)?;
        let letters = self.dead_letters.clone();
        Ok(Desk { stream: stream.to_owned(), served, letters })
    }
}

/// The dead letters of one stream, and what is needed to deal with them.
#[derive(Clone)]
struct Desk {
    stream: String,
    served: Served,
    letters: DeadLetters,
}

/// What is to be decided about, and what is known already of the rest.
struct Chosen {
    letters: Vec<DeadLetter>,
    report: DecisionReport,
}

impl Chosen {
    fn take(&mut self, letter: DeadLetter) {
        // Only counted, because they may be very many.
        if self.report.dry_run {
            self.report.done += 1;
        } else {
            self.letters.push(letter);
        }
    }
}

impl Desk {
    fn list(&self, listing: &Listing) -> Result<DeadLettersReport, RuntimeError> {
        let Listing { matching, after, limit } = listing;
        let mut page = Page::new(*after, *limit);
        let mut count = 0;
        self.visit(None, |letter| {
            if matching.contains(&letter) {
                count += 1;
                page.offer(Id::of(&letter), letter);
            }
        })?;
        let (letters, next) = page.finish();
        let stories = self.stories(&letters)?;
        let report = |letter| {
            let stories = stories.get(&Id::of(&letter)).map_or(&[][..], Vec::as_slice);
            report_of(letter, stories)
        };
        Ok(DeadLettersReport {
            dead_letters: letters.into_iter().map(report).collect(),
            total: self.letters.count(&self.stream, usize::MAX),
            matching: count,
            next,
        })
    }

    fn details(&self, id: Id) -> Result<DeadLetterDetails, RuntimeError> {
        let letter = self.letter(id)?;
        let stories = self.stories(std::slice::from_ref(&letter))?;
        let stories = stories.into_values().next().unwrap_or_default();
        let view = self.view();
        Ok(DeadLetterDetails {
            stream: self.stream.clone(),
            ledger: stories.iter().map(|story| object(&view, story)).collect(),
            dead_letter: report_of(letter, &stories),
        })
    }

    fn edit(
        &self,
        id: Id,
        payload: &str,
        now: isthmus_core::Timestamp,
    ) -> Result<DeadLetterDetails, RuntimeError> {
        // Before the letter is read: what the ledger calls ended has left its letter by then.
        let known = self.details(id)?;
        if let "pending" | "in_flight" = known.dead_letter.state.as_str() {
            return Err(RuntimeError::Conflict(format!(
                "dead letter {id} is being sent again; it can be edited if it is refused again"
            )));
        }
        let letter = self.letter(id)?;
        let vendor = &self.served.destination.vendor;
        let refuse = |reason| RuntimeError::Malformed(format!("`payload` is refused: {reason}"));
        let payload = vendor.edited(&letter.payload, payload).map_err(refuse)?;
        vendor.check(&message_of(&letter, payload.clone())).map_err(refuse)?;
        let mut history = letter.history.clone();
        history.push(Past { at: now.as_millis(), what: format!("{EDITED}{API_ORIGIN}") });
        let edited = DeadLetter { payload, history, ..letter };
        DeadLetterStore::apply(&self.letters, vec![LetterChange::Keep(edited)]).map_err(failed)?;
        self.details(id)
    }

    /// The letters of `choice` that `decision` is to be carried out for, or their number.
    fn choose(
        &self,
        decision: Decision,
        choice: Choice,
        dry_run: bool,
    ) -> Result<Chosen, RuntimeError> {
        let report = DecisionReport { dry_run, ..DecisionReport::default() };
        let mut chosen = Chosen { letters: Vec::new(), report };
        match choice {
            Choice::These(ids) => {
                let letters = ids.into_iter().map(|id| self.letter(id));
                for letter in letters.collect::<Result<Vec<_>, _>>()? {
                    self.sort(decision, letter, &mut chosen);
                }
            }
            Choice::All { matching, after, limit } => {
                // What must not be doubled is sent again only where that is said.
                let careful = decision == Decision::Resend && matching.cause.is_none();
                let (mut looked_at, mut last) = (0, None);
                self.visit(after, |letter| {
                    let is_meant =
                        matching.contains(&letter) && !(careful && letter.cause == Cause::Unknown);
                    if !is_meant {
                        return;
                    }
                    if looked_at >= limit {
                        chosen.report.remaining += 1;
                        return;
                    }
                    looked_at += 1;
                    last = Some(Id::of(&letter));
                    self.sort(decision, letter, &mut chosen);
                })?;
                if chosen.report.remaining > 0 {
                    chosen.report.next = last.map(|id| id.to_string());
                }
            }
        }
        Ok(chosen)
    }

    /// Puts `letter` with those to decide about, or counts why not.
    fn sort(&self, decision: Decision, letter: DeadLetter, chosen: &mut Chosen) {
        match decision {
            Decision::Confirm if letter.cause != Cause::Unknown => chosen.report.passed_over += 1,
            Decision::Confirm | Decision::Discard => chosen.take(letter),
            Decision::Resend => {
                let message = message_of(&letter, letter.payload.clone());
                match self.served.destination.vendor.check(&message) {
                    Ok(()) => chosen.take(letter),
                    Err(reason) => {
                        let report = &mut chosen.report;
                        report.refused += 1;
                        if report.refusals.len() < REFUSALS_SHOWN {
                            let id = Id::of(&letter).to_string();
                            report.refusals.push(RefusalReport { id, reason });
                        }
                    }
                }
            }
        }
    }

    async fn carry_out(
        &self,
        decision: Decision,
        letters: Vec<DeadLetter>,
        report: &mut DecisionReport,
    ) -> Result<(), RuntimeError> {
        for chunk in letters.chunks(CHUNK) {
            let handle = &self.served.handle;
            let decided =
                handle.decide(&self.stream, chunk.to_vec(), decision, API_ORIGIN.to_owned()).await;
            let decided = decided.map_err(failed)?;
            report.done += decided.objects;
            report.passed_over += decided.passed_over;
        }
        Ok(())
    }

    fn letter(&self, id: Id) -> Result<DeadLetter, RuntimeError> {
        let found = self.letters.get(&self.stream, id.place, id.part).map_err(failed)?;
        found.ok_or_else(|| {
            RuntimeError::NotFound(format!("dead letter {id} of stream {}", self.stream))
        })
    }

    /// Shows every letter after `after`, in order.
    fn visit(
        &self,
        after: Option<Id>,
        mut visit: impl FnMut(DeadLetter),
    ) -> Result<(), RuntimeError> {
        let mut after = after.map(|id| (id.place, id.part));
        loop {
            let page = self.letters.list(&self.stream, after, PAGE).map_err(failed)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.place, last.part));
            page.into_iter().for_each(&mut visit);
        }
    }

    /// What the ledger knows of the objects of `letters`, the latest news of each last.
    fn stories(&self, letters: &[DeadLetter]) -> Result<BTreeMap<Id, Vec<Story>>, RuntimeError> {
        let numbers = self.view().numbers_of(&self.stream);
        let key = |letter: &DeadLetter, stream| ObjectKey {
            stream,
            place: letter.place,
            part: letter.part,
        };
        let keys: BTreeSet<ObjectKey> = letters
            .iter()
            .flat_map(|letter| numbers.iter().map(move |number| key(letter, *number)))
            .collect();
        let mut stories: BTreeMap<Id, Vec<Story>> = BTreeMap::new();
        for story in self.served.ledger.stories_of(&keys).map_err(failed)? {
            let id = Id { place: story.key.place, part: story.key.part };
            stories.entry(id).or_default().push(story);
        }
        for stories in stories.values_mut() {
            stories.sort_by_key(|story| story.happenings.last().map(|last| last.at));
        }
        Ok(stories)
    }

    fn view(&self) -> View<'_> {
        View::of(&self.served.destination.resource.name, &self.served)
    }
}

/// The letter as a message, with `payload`.
fn message_of(letter: &DeadLetter, payload: String) -> Message {
    Message {
        lane: letter.lane,
        section: letter.section,
        name: letter.name.clone(),
        payload,
        guarantee: letter.guarantee,
        after: None,
    }
}

fn report_of(letter: DeadLetter, stories: &[Story]) -> DeadLetterReport {
    let resent = stories.last().map(Story::state);
    let resent = resent.filter(|state| matches!(state, State::Pending | State::InFlight));
    DeadLetterReport {
        id: Id::of(&letter).to_string(),
        name: letter.name,
        reason: letter.reason,
        payload: letter.payload,
        rejected_at: letter.rejected_at.to_string(),
        accepted_at: letter.accepted_at.to_string(),
        cause: letter.cause.name().to_owned(),
        state: resent.map_or(letter.cause.name(), state_name).to_owned(),
        attempts: letter.attempts,
        possible_duplicate: letter.cause == Cause::Unknown
            || stories.iter().any(Story::has_unknown_outcome),
        at_most_once: letter.guarantee == Guarantee::AtMostOnce,
        edited: letter.history.iter().any(|past| past.what.starts_with(EDITED)),
        history: letter
            .history
            .into_iter()
            .map(|past| PastReport {
                at: isthmus_core::Timestamp::from_millis(past.at).to_string(),
                what: past.what,
            })
            .collect(),
        file: None,
    }
}
