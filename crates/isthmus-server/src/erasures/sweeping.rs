//! Removing what is known of people, wherever that is.

use super::Erasures;
use super::subject::Subject;
use crate::catalog::deletions::Deletion;
use crate::report::erasures::{ErasureAsked, Removed};
use crate::runtime::RuntimeError;
use crate::runtime::ledger::{LedgerQuery, Of};
use crate::runtime::letters::{Choice, Id};
use anyhow::{Context, anyhow};
use isthmus_core::Place;
use isthmus_core::record::AppliedBatch;
use isthmus_delivery::journal::Decision;
use isthmus_ingest::erasure::{Forgotten, Reach, Sweep, erase_events, erase_intake};
use isthmus_log::Log;
use isthmus_state::StateError;
use isthmus_state::mirror::Mirror;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Dead letters looked at at once.
const LETTERS: usize = 1_000;
/// Objects of one erasure that a receipt lists.
const ASKED_MAX: usize = 1_000;

impl Erasures {
    /// What the destinations were asked and answered, from the ledger.
    pub(super) async fn asked_of(&self, subject: &Subject) -> anyhow::Result<Vec<ErasureAsked>> {
        let Some(place) = subject.place() else { return Ok(Vec::new()) };
        let query = LedgerQuery {
            of: Of::Event(place.to_string()),
            state: None,
            possible_duplicates: false,
            from: None,
            to: None,
            limit: ASKED_MAX,
        };
        let report = match self.runtime.ledger(query).await {
            Ok(report) => report,
            Err(RuntimeError::NotFound(_)) => return Ok(Vec::new()),
            Err(error) => return Err(told(error)),
        };
        let objects = report.items.into_iter().flat_map(|item| item.objects);
        let asked = objects.map(|object| {
            let last = object.happenings.last();
            ErasureAsked {
                status: object.happenings.iter().rev().find_map(|each| each.status),
                at: last.map(|happening| happening.at.clone()),
                destination: object.destination,
                stream: object.stream,
                state: object.state,
                why: object.why,
            }
        });
        Ok(asked.collect())
    }

    /// Removes dead letters, samples and what the logs say; rewrites the tables of state. `None` when
    /// it was told to stop on the way.
    pub(super) async fn sweep(
        &self,
        ready: &[(Deletion, Subject)],
    ) -> anyhow::Result<Option<Vec<Removed>>> {
        let subjects: Arc<Vec<Subject>> =
            Arc::new(ready.iter().map(|(_, subject)| subject.clone()).collect());
        let mut removed = Vec::new();
        let people: usize = ready.iter().map(|(_, subject)| subject.amplitude_ids().len()).sum();
        removed.push(self.removed(
            "profiles, with ids, groups, mappings and former values",
            "state",
            people as u64,
            String::new(),
        ));
        let letters = self.discard_letters(&subjects).await?;
        removed.push(self.removed("dead letters", "state", letters, String::new()));
        let unusable = self.let_go(ready).await?;
        removed.push(self.removed("texts that are no events", "state", unusable, String::new()));
        let samples = self.remove_samples(&subjects).await?;
        removed.push(self.removed("samples of failures", "state", samples, String::new()));
        let told = self.forget_told(&subjects).await?;
        removed.push(self.removed("what destinations were told", "state", told, String::new()));

        let mut forgotten = Forgotten::new().and_their_erasures();
        for (deletion, subject) in ready {
            forgotten = subject.add_to(forgotten, &deletion.project);
        }
        let reach = Reach::of(&self.state)?;
        let forgotten = Arc::new(forgotten);
        for (name, log, end) in [
            ("intake log", &self.runtime.intake, reach.intake),
            ("event log", &self.runtime.events, reach.events),
        ] {
            let Some(sweep) = self.sweep_log(name, log.clone(), end, &forgotten).await? else {
                return Ok(None);
            };
            removed.push(self.removed("events and updates", name, sweep.items, detail(&sweep)));
        }
        let (profiles, letters, samples) = (
            self.runtime.profiles.clone(),
            self.runtime.dead_letters.clone(),
            self.runtime.samples.clone(),
        );
        let quarantine = self.runtime.quarantine.clone();
        let state = self.state.clone();
        let compacting = tokio::task::spawn_blocking(move || -> Result<(), StateError> {
            profiles.people.compact()?;
            profiles.past.compact()?;
            profiles.map.compact()?;
            letters.compact()?;
            quarantine.compact()?;
            samples.compact()?;
            Mirror::compact(&state)?;
            state.renew_journal()
        });
        compacting.await?.context("tables cannot be rewritten")?;
        Ok(Some(removed))
    }

    async fn sweep_log(
        &self,
        name: &'static str,
        log: Log,
        end: u64,
        forgotten: &Arc<Forgotten>,
    ) -> anyhow::Result<Option<Sweep>> {
        let (stop, forgotten) = (self.stop.clone(), Arc::clone(forgotten));
        let sweep = tokio::task::spawn_blocking(move || {
            let range = log.start()..end;
            let go_on = |_: &Sweep| {
                if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            if name == "intake log" {
                erase_intake(&log, range, &forgotten, go_on)
            } else {
                erase_events(&log, range, &forgotten, go_on)
            }
        });
        let sweep = sweep.await?.with_context(|| format!("{name} cannot be rewritten"))?;
        if sweep.unfit > 0 {
            tracing::error!(log = name, records = sweep.unfit, "records could not be rewritten");
        }
        Ok((!self.stop.is_cancelled()).then_some(sweep))
    }

    /// Discards the dead letters that are about them; the ledger says so.
    async fn discard_letters(&self, subjects: &Arc<Vec<Subject>>) -> anyhow::Result<u64> {
        let mut discarded = 0;
        for served in self.runtime.deliveries.served().into_values() {
            for stream in &served.streams {
                let name = stream.resource.name.clone();
                let (letters, events) =
                    (self.runtime.dead_letters.clone(), self.runtime.events.clone());
                let (subjects, of) = (Arc::clone(subjects), name.clone());
                let ids = tokio::task::spawn_blocking(move || {
                    let mut items = Items::new(events);
                    let (mut ids, mut after) = (Vec::new(), None);
                    loop {
                        let page = letters.list(&of, after, LETTERS)?;
                        let Some(last) = page.last() else { return anyhow::Ok(ids) };
                        after = Some((last.place, last.part));
                        for letter in &page {
                            let about = |subject: &Subject| subject.is_named_in(&letter.payload);
                            if subjects.iter().any(about) || items.is_about(letter.place, &subjects)
                            {
                                ids.push(Id::of(letter));
                            }
                        }
                    }
                });
                let ids = ids.await??;
                if ids.is_empty() {
                    continue;
                }
                discarded += ids.len() as u64;
                let these = Choice::These(ids);
                let decided =
                    self.runtime.decide_dead_letters(name, Decision::Discard, these, false);
                decided.await.map_err(told)?;
            }
        }
        Ok(discarded)
    }

    /// Lets go of what Currents sources brought that is no event and names them.
    async fn let_go(&self, ready: &[(Deletion, Subject)]) -> anyhow::Result<u64> {
        let about: Vec<_> = ready
            .iter()
            .map(|(deletion, subject)| (deletion.project.clone(), subject.clone()))
            .collect();
        let quarantine = self.runtime.quarantine.clone();
        let named = tokio::task::spawn_blocking(move || {
            let mut named: BTreeMap<(String, String), Vec<Place>> = BTreeMap::new();
            for source in quarantine.sources()? {
                let mut after = None;
                loop {
                    let page = quarantine.list(&source, after, LETTERS)?;
                    let Some((last, _)) = page.last() else { break };
                    after = Some(*last);
                    for (place, entry) in page {
                        let is_it = |(project, subject): &(String, Subject)| {
                            *project == entry.project && subject.is_named_in(&entry.raw)
                        };
                        if about.iter().any(is_it) {
                            let of = (source.clone(), entry.project.clone());
                            named.entry(of).or_default().push(place);
                        }
                    }
                }
            }
            anyhow::Ok(named)
        });
        let mut gone = 0;
        for ((source, project), places) in named.await?? {
            gone += self.runtime.let_go(&source, &project, &places).await.map_err(told)? as u64;
        }
        Ok(gone)
    }

    async fn remove_samples(&self, subjects: &Arc<Vec<Subject>>) -> anyhow::Result<u64> {
        let (samples, events) = (self.runtime.samples.clone(), self.runtime.events.clone());
        let subjects = Arc::clone(subjects);
        let removed = tokio::task::spawn_blocking(move || {
            let items = std::cell::RefCell::new(Items::new(events));
            samples.remove(|sample| {
                let texts = [&sample.message, &sample.response, &sample.request];
                let named = |subject: &Subject| texts.iter().any(|text| subject.is_named_in(text));
                subjects.iter().any(named) || items.borrow_mut().is_about(sample.place(), &subjects)
            })
        });
        Ok(removed.await?? as u64)
    }

    fn removed(&self, what: &str, from: &str, count: u64, detail: String) -> Removed {
        let at = self.runtime.clock.now().to_string();
        Removed { what: what.to_owned(), from: from.to_owned(), count, detail, at }
    }
}

fn told(error: RuntimeError) -> anyhow::Error {
    match error {
        RuntimeError::Failed(error) => error,
        RuntimeError::NotFound(what)
        | RuntimeError::Conflict(what)
        | RuntimeError::Malformed(what) => anyhow!(what),
        RuntimeError::Invalid(_) => anyhow!("resources are not valid"),
    }
}

fn detail(sweep: &Sweep) -> String {
    let mut facts =
        vec![format!("{} records of {} bytes rewritten in place", sweep.records, sweep.bytes)];
    if sweep.damaged_bytes > 0 {
        facts.push(format!("{} bytes are damaged and unread", sweep.damaged_bytes));
    }
    if sweep.unfit > 0 {
        facts.push(format!("{} records could not be rewritten", sweep.unfit));
    }
    facts.join("; ")
}

/// Items of the event log by their place, read once per record.
struct Items {
    events: Log,
    /// Of the items of a record, whether each is about them.
    known: BTreeMap<u64, Vec<bool>>,
}

impl Items {
    fn new(events: Log) -> Self {
        Self { events, known: BTreeMap::new() }
    }

    /// Whether the item at `place` is about one of `subjects`; what is gone or unreadable is not.
    fn is_about(&mut self, place: Place, subjects: &[Subject]) -> bool {
        let events = &self.events;
        let record = self.known.entry(place.offset).or_insert_with(|| {
            let Ok(payload) = events.read_at(place.offset) else { return Vec::new() };
            let Ok(batch) = AppliedBatch::decode(&payload) else { return Vec::new() };
            let about = |item: &_| subjects.iter().any(|subject| subject.is_about(item));
            batch.items.iter().map(about).collect()
        });
        let index = usize::try_from(place.index).unwrap_or(usize::MAX);
        record.get(index).copied().unwrap_or(false)
    }
}
