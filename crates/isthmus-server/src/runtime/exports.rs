//! Asking a destination what it has of users: few at a time, and not faster than it takes.

use super::{Runtime, RuntimeError};
use crate::deliveries::Served;
use isthmus_braze::export::{ExportError, Exported, PEOPLE_MAX, Person};
use std::time::Duration;

/// Between two requests: Braze takes 250 in a minute ("Export users by identifier endpoint", read
/// 2026-09).
const PACE: Duration = Duration::from_millis(250);
/// How long asking may take in all: whoever asks waits for the answer.
const WITHIN: Duration = Duration::from_secs(20);
/// Before asking again where the destination does not say how long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Times that one request is sent.
const ATTEMPTS: usize = 3;

/// What the destination answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) exported: Exported,
    pub(super) not_asked: usize,
    /// Why some were not asked for.
    pub(super) held_up: Option<String>,
}

impl Runtime {
    /// Asks what `served` has of these `attributes` of `people`, each of whom is named once.
    pub(super) async fn export(
        &self,
        served: &Served,
        people: &[Person],
        attributes: &[&str],
    ) -> Result<Answers, RuntimeError> {
        // Held all the time: whoever else asks comes afterwards, at the same pace.
        let mut next = self.exports.lock().await;
        let deadline = self.clock.monotonic().saturating_add(WITHIN);
        let mut answers = Answers::default();
        let mut left = people.len();
        for asked in people.chunks(PEOPLE_MAX) {
            let answer = self.export_some(served, asked, attributes, &mut next, deadline).await?;
            match answer {
                Ok(Exported { known, unknown, unclear }) => {
                    answers.exported.known.extend(known);
                    answers.exported.unknown.extend(unknown);
                    answers.exported.unclear.extend(unclear);
                    left -= asked.len();
                }
                Err(why) => {
                    answers.held_up = Some(why);
                    break;
                }
            }
            tracing::info!(left, "users were asked for");
        }
        answers.not_asked = left;
        Ok(answers)
    }

    /// What is known of `asked`, or why nothing is for now.
    async fn export_some(
        &self,
        served: &Served,
        asked: &[Person],
        attributes: &[&str],
        next: &mut Duration,
        deadline: Duration,
    ) -> Result<Result<Exported, String>, RuntimeError> {
        let Some(braze) = served.destination.vendor.braze() else {
            let name = served.destination.resource.name.as_str();
            let why = format!("destination {name} is Amplitude, which does not tell about users");
            return Err(RuntimeError::Conflict(why));
        };
        let mut why = format!("there was no time left within {} seconds", WITHIN.as_secs());
        for _ in 0..ATTEMPTS {
            if *next > deadline || self.clock.monotonic() > deadline {
                break;
            }
            self.clock.sleep(next.saturating_sub(self.clock.monotonic())).await;
            *next = self.clock.monotonic().saturating_add(PACE);
            let (wait, reason) = match self.http.send(braze.export(asked, attributes)).await {
                Ok(reply) => match braze.judge_export(asked, &reply) {
                    Ok(exported) => return Ok(Ok(exported)),
                    Err(ExportError::Later { after, reason }) => (after, reason),
                    Err(ExportError::Refused { reason }) => {
                        let name = served.destination.resource.name.as_str();
                        let why = format!("destination {name} does not tell about users: {reason}");
                        return Err(RuntimeError::Conflict(why));
                    }
                },
                Err(error) => (None, error.to_string()),
            };
            let wait = wait.unwrap_or(AGAIN_AFTER);
            *next = (*next).max(self.clock.monotonic().saturating_add(wait));
            why = reason;
        }
        Ok(Err(why))
    }
}
