//! The part that forgets people: takes up what is due, tells the applier, waits until the
//! destinations are asked, and then removes what the logs, dead letters and samples say of them.
//!
//! Every step is written down in the catalog before the next one, and can be taken again: a crash
//! anywhere leaves something that the next start finishes.
//!
//! | step | what | survives as |
//! | --- | --- | --- |
//! | submitted | a command in the intake log, after everything accepted so far | status, offset |
//! | located | the applier forgot them and wrote an erasure into the event log | subject |
//! | asked | every stream has passed that erasure, or the wait for them is over | |
//! | removed | logs, letters, samples and tables are rewritten | receipt; nothing that names them |
//! | done | the catalog's own file is rewritten | status |

mod mirrors;
mod subject;
mod sweeping;

use crate::catalog::deletions::{Deletion, DeletionStatus};
use crate::report::erasures::ErasureReceipt;
use crate::runtime::Runtime;
use anyhow::Context;
use isthmus_config::server::PrivacyConfig;
use isthmus_core::record::{Command, Erase};
use isthmus_core::{AmplitudeId, Timestamp};
use isthmus_state::State;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use subject::Subject;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often it looks for what is due and for what it waits for.
const ROUND: Duration = Duration::from_secs(1);

/// What an erasure is called in logs and ledgers.
pub(crate) fn request_of(id: i64) -> String {
    format!("deletion-{id}")
}

/// `YYYY-MM-DD`, UTC.
pub(crate) fn day_of(at: Timestamp) -> String {
    let mut day = at.to_string();
    day.truncate(day.find('T').unwrap_or(day.len()));
    day
}

/// The part, ready to run.
pub(crate) struct Erasures {
    runtime: Arc<Runtime>,
    state: State,
    config: PrivacyConfig,
    asked: Arc<Notify>,
    /// Commands that this run has appended, with the offset of their record.
    appended: BTreeMap<i64, u64>,
    stop: CancellationToken,
}

impl Erasures {
    /// Wakes when `asked` is notified, and every second.
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        state: State,
        config: PrivacyConfig,
        asked: Arc<Notify>,
    ) -> Self {
        let stop = CancellationToken::new();
        Self { runtime, state, config, asked, appended: BTreeMap::new(), stop }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        self.stop = stop.clone();
        let clock = self.runtime.clock.clone();
        while !stop.is_cancelled() {
            if let Err(error) = self.round().await {
                // Nothing is lost by it: the next round takes the step again.
                tracing::error!(error = format!("{error:#}"), "erasure postponed");
            }
            // Both waits can be dropped: the next round looks at everything.
            tokio::select! {
                () = clock.sleep(ROUND) => {}
                () = self.asked.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let now = self.runtime.clock.now();
        let today = day_of(now);
        let mut ready = Vec::new();
        for mut deletion in self.runtime.catalog.deletions().await? {
            if deletion.status == DeletionStatus::Staging && deletion.day <= today {
                self.submit(&mut deletion, now).await?;
            }
            if deletion.status != DeletionStatus::Submitted || deletion.receipt.is_some() {
                continue;
            }
            if deletion.subject.is_none() {
                self.locate(&mut deletion).await?;
            }
            if let Some(subject) = Subject::of(&deletion)?
                && self.is_asked(&deletion, &subject, now)
            {
                ready.push((deletion, subject));
            }
        }
        if !ready.is_empty() {
            self.finish(ready).await?;
        }
        self.close().await
    }

    /// Writes down where to look, and then tells the applier.
    async fn submit(&mut self, deletion: &mut Deletion, now: Timestamp) -> anyhow::Result<()> {
        deletion.status = DeletionStatus::Submitted;
        deletion.submitted_at = Some(now.as_millis());
        deletion.events_from = Some(self.runtime.events.end());
        if !self.runtime.catalog.put_deletion(deletion).await? {
            // Taken back in this moment: nobody is told, and nothing waits for it.
            deletion.status = DeletionStatus::Staging;
            return Ok(());
        }
        self.command(deletion).await
    }

    async fn command(&mut self, deletion: &Deletion) -> anyhow::Result<()> {
        let request = request_of(deletion.id);
        let erase = Erase {
            user: AmplitudeId(deletion.amplitude_id),
            request: &request,
            refuse_later: self.config.refuse_forgotten,
        };
        let commands = vec![Command::Erase(erase)];
        let offset = self.runtime.door.command(&deletion.project, commands).await;
        let offset = offset.context("erasure cannot be written to the intake log")?;
        self.appended.insert(deletion.id, offset);
        Ok(())
    }

    /// Looks for what the applier made of it. Where it made nothing, there is nobody to forget.
    async fn locate(&mut self, deletion: &mut Deletion) -> anyhow::Result<()> {
        let applied_to = self.runtime.applier.borrow().intake;
        let is_applied = match self.appended.get(&deletion.id) {
            Some(offset) => applied_to > *offset,
            // A run before this one may have appended it: that is known once all is applied.
            None => applied_to >= self.runtime.intake.end(),
        };
        if !is_applied {
            return Ok(());
        }
        let (events, request) = (self.runtime.events.clone(), request_of(deletion.id));
        let from = deletion.events_from.unwrap_or_default();
        let found =
            tokio::task::spawn_blocking(move || Subject::find(&events, from, &request)).await??;
        let subject = match found {
            Some(subject) => subject,
            None if self.appended.contains_key(&deletion.id) => Subject::nobody(),
            None => return self.command(deletion).await,
        };
        deletion.subject = Some(subject.to_json()?);
        self.runtime.catalog.put_deletion(deletion).await?;
        Ok(())
    }

    /// Whether every stream has passed the erasure, or has had its time.
    fn is_asked(&self, deletion: &Deletion, subject: &Subject, now: Timestamp) -> bool {
        let Some(place) = subject.place() else { return true };
        let passed =
            self.runtime.deliveries.lowest_cursor().is_none_or(|cursor| cursor > place.offset);
        let since = Timestamp::from_millis(deletion.submitted_at.unwrap_or_default());
        passed || now.since(since) >= self.config.wait_for_destinations
    }

    /// Removes everything else that is known of them, and writes the receipts.
    async fn finish(&self, ready: Vec<(Deletion, Subject)>) -> anyhow::Result<()> {
        let mut asked = Vec::with_capacity(ready.len());
        for (_, subject) in &ready {
            asked.push(self.asked_of(subject).await?);
        }
        let removed = self.sweep(&ready).await?;
        let Some(removed) = removed else { return Ok(()) };
        let now = self.runtime.clock.now();
        for ((mut deletion, subject), destinations) in ready.into_iter().zip(asked) {
            let receipt = ErasureReceipt {
                request: request_of(deletion.id),
                amplitude_ids: subject.amplitude_ids(),
                removed: removed.clone(),
                destinations,
                left: self.left(&subject),
                finished_at: now.to_string(),
            };
            deletion.receipt = Some(serde_json::to_string(&receipt)?);
            deletion.scrubbed_on = Some(day_of(now));
            deletion.user_id = None;
            deletion.subject = None;
            self.runtime.catalog.put_deletion(&deletion).await?;
            let id = deletion.amplitude_id;
            tracing::info!(deletion = deletion.id, amplitude_id = id, "person forgotten");
            let about = format!("person/{id}");
            self.runtime.catalog.note("erasure", now, "forget", &about, &receipt.request).await?;
        }
        Ok(())
    }

    /// Leaves nothing in the catalog of those who have a receipt, and calls them done.
    async fn close(&self) -> anyhow::Result<()> {
        let mut open = self.runtime.catalog.deletions().await?;
        open.retain(|deletion| {
            deletion.status == DeletionStatus::Submitted && deletion.receipt.is_some()
        });
        if open.is_empty() {
            return Ok(());
        }
        self.runtime.catalog.scrub().await?;
        for mut deletion in open {
            deletion.status = DeletionStatus::Done;
            self.runtime.catalog.put_deletion(&deletion).await?;
        }
        Ok(())
    }

    /// What is left on purpose.
    fn left(&self, subject: &Subject) -> Vec<String> {
        let mut left = vec![
            "the Amplitude ids, in this receipt and as 32-bit fingerprints in the index of the \
             event log"
                .to_owned(),
            "what the ledger says of requests, which names items by their place".to_owned(),
        ];
        if self.config.refuse_forgotten && subject.place().is_some() {
            left.push(format!(
                "salted hashes of {} ids, by which later events are refused",
                subject.ids()
            ));
        }
        left
    }
}
