//! `/usermap` at the door: a mapping is refused where it would form a cycle or too long a chain, so
//! it is compared with what is mapped, and with what was accepted and is not applied yet.

use super::{Call, Door, body, refused_by_log};
use crate::door::body::BodyError;
use isthmus_amplitude::user_map::{Mapping, mapped_body, mappings};
use isthmus_amplitude::{EventProblems, Form, Refusal, Throttle};
use isthmus_core::identity::mapping;
use isthmus_core::record::Command;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Mappings that a project may send in [`WINDOW`] (Amplitude's user mapping page, read 2026-03: 50 a
/// second over 30 seconds).
const MAPPINGS_MAX: usize = 1_500;
const WINDOW: Duration = Duration::from_secs(30);

/// What is mapped, as far as it is applied.
pub trait MappedUsers: Send + Sync + fmt::Debug {
    /// What `user_id` is mapped to.
    fn mapped_to(&self, project: &str, user_id: &str) -> Result<Option<String>, String>;

    /// Who is mapped to `global_user_id`.
    fn mapped_from(&self, project: &str, global_user_id: &str) -> Result<Vec<String>, String>;

    /// Offset in the intake log up to which mappings are applied.
    fn applied_to(&self) -> u64;
}

/// Nobody is mapped: for where nobody asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyMapped;

impl MappedUsers for NobodyMapped {
    fn mapped_to(&self, _: &str, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }

    fn mapped_from(&self, _: &str, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn applied_to(&self) -> u64 {
        u64::MAX
    }
}

/// What the door keeps for it.
#[derive(Debug)]
pub(super) struct Mappings {
    mapped: Arc<dyn MappedUsers>,
    /// Held from looking to appending, so that what one request saw still holds when it is accepted.
    accepted: Mutex<Accepted>,
}

#[derive(Debug, Default)]
struct Accepted {
    /// In order, each with the offset after its record.
    waiting: VecDeque<(u64, String, Mapping)>,
    /// Mappings of each project in the last window, by when they came.
    lately: HashMap<String, VecDeque<(Duration, usize)>>,
}

impl Accepted {
    /// Counts `count` mappings of `project`, or says how many there were in the window.
    fn admit(&mut self, project: &str, count: usize, now: Duration) -> Result<(), usize> {
        let lately = self.lately.entry(project.to_owned()).or_default();
        while lately.front().is_some_and(|(at, _)| now >= *at + WINDOW) {
            lately.pop_front();
        }
        let before: usize = lately.iter().map(|(_, count)| count).sum();
        // One request alone may exceed it, or it could never be sent.
        if before > 0 && before + count > MAPPINGS_MAX {
            return Err(before + count);
        }
        lately.push_back((now, count));
        Ok(())
    }

    /// The last mapping of `user_id` that waits to be applied.
    fn last_of(&self, project: &str, user_id: &str) -> Option<&Mapping> {
        let of = |(_, of, mapping): &&(u64, String, Mapping)| {
            of == project && mapping.user_id == user_id
        };
        self.waiting.iter().rev().find(of).map(|(_, _, mapping)| mapping)
    }
}

impl Mappings {
    pub(super) fn new(mapped: Arc<dyn MappedUsers>) -> Self {
        Self { mapped, accepted: Mutex::default() }
    }

    /// Whether `asked` may be accepted after everything before it.
    fn check(
        &self,
        accepted: &Accepted,
        project: &str,
        asked: &Mapping,
    ) -> Result<Result<(), mapping::Refused>, String> {
        let Some(global) = &asked.global_user_id else { return Ok(Ok(())) };
        let to = |user_id: &str| match accepted.last_of(project, user_id) {
            Some(mapping) => Ok(mapping.global_user_id.clone()),
            None => self.mapped.mapped_to(project, user_id),
        };
        let from = |global: &str| {
            let mut from = self.mapped.mapped_from(project, global)?;
            for (_, of, mapping) in &accepted.waiting {
                if of == project {
                    from.retain(|known| *known != mapping.user_id);
                    if mapping.global_user_id.as_deref() == Some(global) {
                        from.push(mapping.user_id.clone());
                    }
                }
            }
            Ok(from)
        };
        mapping::check(&asked.user_id, global, to, from)
    }
}

impl Door {
    /// Answers a request to `/usermap`: all of it is accepted, or nothing.
    pub(super) async fn map_users(&self, call: &Call<'_>) -> Result<String, Refusal> {
        let rules = self.rules.of(call.endpoint);
        let body = body::plain(call.body, call.content_encoding, rules.body_max.as_usize())
            .map_err(|error| match error {
                BodyError::TooLarge => Refusal::TooLarge,
                BodyError::Corrupt => Refusal::InvalidJson,
            })?;
        let form = Form::parse(call.content_type, call.query, &body, rules)?;
        let entrance = self.entrance(form.api_key()?)?;
        let id_length_min = entrance.id_length_min.unwrap_or(rules.id_length_min);
        let rules = isthmus_amplitude::EndpointRules { id_length_min, ..rules.clone() };
        let asked = mappings(&form, &rules)?;
        if asked.is_empty() {
            return Ok(mapped_body(0));
        }
        let project = entrance.name.as_str();
        let mut accepted = self.mappings.accepted.lock().await;
        // A client that went away while its record was on its way left this open: by now the record
        // is in the log, or never will be.
        let end = self.intake.end();
        for (at, ..) in &mut accepted.waiting {
            *at = (*at).min(end);
        }
        let applied_to = self.mappings.mapped.applied_to();
        accepted.waiting.retain(|(offset, ..)| *offset > applied_to);
        let before = accepted.waiting.len();
        let checked = self.take_up(&mut accepted, project, &asked);
        let commands = asked.iter().map(|mapping| Command::Map {
            user_id: &mapping.user_id,
            global_user_id: mapping.global_user_id.as_deref(),
        });
        let appended = match checked {
            Ok(()) => {
                let appended = self.command(project, commands.collect()).await;
                appended.map_err(|error| refused_by_log(&error))
            }
            Err(refusal) => Err(refusal),
        };
        match appended {
            Ok(offset) => {
                for (at, ..) in accepted.waiting.iter_mut().skip(before) {
                    *at = offset + 1;
                }
                Ok(mapped_body(asked.len()))
            }
            Err(refusal) => {
                accepted.waiting.truncate(before);
                Err(refusal)
            }
        }
    }

    /// Puts `asked` with what is accepted, one after the other, or says what is wrong with them.
    fn take_up(
        &self,
        accepted: &mut Accepted,
        project: &str,
        asked: &[Mapping],
    ) -> Result<(), Refusal> {
        if let Err(count) = accepted.admit(project, asked.len(), self.clock.monotonic()) {
            tracing::debug!(project, count, "user mappings refused for now");
            return Err(Refusal::Throttled(Box::new(Throttle {
                eps_threshold: MAPPINGS_MAX as u64 / WINDOW.as_secs(),
                throttled_events: (0..asked.len()).collect(),
                ..Throttle::default()
            })));
        }
        let mut problems = EventProblems::default();
        let mut why = None;
        for (index, mapping) in asked.iter().enumerate() {
            let checked = self.mappings.check(accepted, project, mapping).map_err(|error| {
                tracing::error!(error, "user mapping cannot be read");
                Refusal::Unavailable
            })?;
            if let Err(refused) = checked {
                problems.invalid.entry("global_user_id").or_default().push(index);
                why.get_or_insert_with(|| refused.to_string());
            } else {
                accepted.waiting.push_back((u64::MAX, project.to_owned(), mapping.clone()));
            }
        }
        match why {
            None => Ok(()),
            Some(why) => Err(Refusal::Mappings { why, problems: Box::new(problems) }),
        }
    }
}
