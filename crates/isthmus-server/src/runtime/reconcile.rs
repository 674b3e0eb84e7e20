//! What a destination has against what it was told, and making it so again.

use super::exports::Answers;
use super::ledger::{blocking, failed};
use super::profiles::{Profiles, Who};
use super::{Runtime, RuntimeError};
use crate::deliveries::Served;
use crate::report::reconcile::{Drift, DriftedUser, Healed, ReconcileReport, UnknownUser};
use isthmus_braze::export::{Comparison, Person, compare};
use isthmus_core::AmplitudeId;
use isthmus_core::destination::{Lane, Told};
use isthmus_core::record::Command;
use isthmus_delivery::engine::Why;
use isthmus_state::StateError;
use isthmus_state::mirror::{Doubt, Mirror};
use std::collections::{BTreeMap, BTreeSet};

/// A user of the sample.
struct Sampled {
    lane: Lane,
    person: Person,
    told: Told,
}

/// What was found, before anything is done about it.
#[derive(Default)]
struct Findings {
    same: u64,
    drifted: Vec<(Lane, Person, Vec<Drift>)>,
    unknown: Vec<(Lane, Person)>,
    compared: u64,
    not_compared: u64,
}

impl Runtime {
    /// Compares what `sample` users of `destination`, drawn at random, were told with what it has;
    /// `heal` forgets what differs and tells it again.
    pub(crate) async fn reconcile(
        &self,
        destination: &str,
        sample: usize,
        heal: bool,
    ) -> Result<ReconcileReport, RuntimeError> {
        let served = self.deliveries.served().remove(destination);
        let served =
            served.ok_or_else(|| RuntimeError::NotFound(format!("destination {destination}")))?;
        let Some(mirror) = served.mirror.clone() else {
            let why = format!("destination {destination} keeps no mirror; see its `mirror`");
            return Err(RuntimeError::Conflict(why));
        };
        let (from, drawn) = (Lane(self.random.next_u64()), mirror.clone());
        let all = blocking(move || drawn.sample(from, sample).map_err(failed)).await?;
        let users = all.len();
        let sampled: Vec<Sampled> = all
            .into_iter()
            .filter_map(|(lane, told)| {
                Some(Sampled { lane, person: Person::called(&told.identifier)?, told })
            })
            .collect();
        let people: Vec<Person> = sampled.iter().map(|user| user.person.clone()).collect();
        let names: BTreeSet<&str> =
            sampled.iter().flat_map(|user| user.told.values.iter().map(|(name, _)| name)).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let answers = self.export(&served, &people, &names).await?;
        let cannot_be_asked = users.saturating_sub(sampled.len());
        let findings = Findings::of(&sampled, &answers, &mirror).map_err(failed)?;
        let (told_again, healed) = if heal {
            self.heal(destination, &served, &findings).await?
        } else {
            (BTreeSet::new(), None)
        };
        let mut report = findings.report(destination, &answers, &told_again);
        (report.users, report.cannot_be_asked) = (users as u64, cannot_be_asked as u64);
        report.healed = healed;
        Ok(report)
    }

    /// Forgets what differs, and tells those again who can be found; returns who they are.
    async fn heal(
        &self,
        destination: &str,
        served: &Served,
        findings: &Findings,
    ) -> Result<(BTreeSet<Person>, Option<Healed>), RuntimeError> {
        let doubts = findings.doubts();
        let forgotten = if doubts.is_empty() {
            0
        } else {
            // Before they are told again, or it would be held back as nothing new.
            served.handle.forget(doubts, Why::NotThere).await.map_err(failed)?
        };
        let projects: BTreeSet<String> =
            served.streams.iter().map(|stream| stream.resource.project.clone()).collect();
        let mut told_again = BTreeSet::new();
        for project in projects {
            let (profiles, of, people) =
                (self.profiles.clone(), project.clone(), findings.people());
            let found = blocking(move || find(&profiles, &of, people).map_err(failed)).await?;
            let users: BTreeSet<AmplitudeId> = found.values().copied().collect();
            if users.is_empty() {
                continue;
            }
            let commands = users.into_iter().map(|user| Command::Retell { user }).collect();
            self.door.command(&project, commands).await.map_err(failed)?;
            told_again.extend(found.into_keys());
        }
        let healed = Healed { forgotten, told_again: told_again.len() as u64 };
        let detail = format!("{forgotten} users forgotten, {} told again", told_again.len());
        self.note("reconcile", &format!("destination/{destination}"), &detail).await?;
        Ok((told_again, Some(healed)))
    }
}

/// The persons in `project` behind identifiers that are user ids or device ids.
fn find(
    profiles: &Profiles,
    project: &str,
    people: Vec<Person>,
) -> Result<BTreeMap<Person, AmplitudeId>, StateError> {
    let mut found = BTreeMap::new();
    for person in people {
        let who = match &person {
            Person::ExternalId(id) => Who::User(id.clone()),
            Person::Alias { name, .. } => Who::Device(name.clone()),
        };
        if let Some((id, _)) = profiles.find(project, &who)? {
            found.insert(person, id);
        }
    }
    Ok(found)
}

impl Findings {
    fn of(sampled: &[Sampled], answers: &Answers, mirror: &Mirror) -> Result<Self, StateError> {
        let mut findings = Self::default();
        for Sampled { lane, person, told } in sampled {
            if answers.exported.unknown.contains(person) {
                findings.unknown.push((*lane, person.clone()));
                continue;
            }
            let Some(has) = answers.exported.known.get(person) else { continue };
            // What was told while the answer came is not what it was compared with.
            let now = mirror.get(*lane)?;
            let mut drifts = Vec::new();
            for (name, value) in told.values.iter() {
                let still = now.as_ref().and_then(|now| now.values.get(name)) == Some(value);
                let has = has.get(name);
                match compare(name, value, has.map(String::as_str)) {
                    Comparison::Same => findings.compared += 1,
                    Comparison::Differs if still => {
                        findings.compared += 1;
                        let raw = |text: &str| serde_json::from_str(text).unwrap_or_default();
                        let (name, has) = (name.to_owned(), has.map(|has| raw(has)));
                        drifts.push(Drift { name, told: raw(value), has });
                    }
                    Comparison::Differs | Comparison::Impossible => findings.not_compared += 1,
                }
            }
            if drifts.is_empty() {
                findings.same += 1;
            } else {
                findings.drifted.push((*lane, person.clone(), drifts));
            }
        }
        Ok(findings)
    }

    fn doubts(&self) -> Vec<Doubt> {
        let unknown =
            self.unknown.iter().map(|(lane, _)| Doubt { lane: *lane, attributes: Vec::new() });
        let drifted = self.drifted.iter().map(|(lane, _, drifts)| {
            let attributes = drifts.iter().map(|drift| drift.name.clone()).collect();
            Doubt { lane: *lane, attributes }
        });
        unknown.chain(drifted).collect()
    }

    fn people(&self) -> Vec<Person> {
        let unknown = self.unknown.iter().map(|(_, person)| person);
        unknown.chain(self.drifted.iter().map(|(_, person, _)| person)).cloned().collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of a few thousand")]
    fn report(
        self,
        destination: &str,
        answers: &Answers,
        told_again: &BTreeSet<Person>,
    ) -> ReconcileReport {
        let differ = (self.drifted.len() + self.unknown.len()) as u64;
        let all = differ + self.same;
        let unknown = self.unknown.into_iter().map(|(_, person)| UnknownUser {
            identifier: person.to_string(),
            told_again: told_again.contains(&person),
        });
        let drifted = self.drifted.into_iter().map(|(_, person, attributes)| DriftedUser {
            identifier: person.to_string(),
            attributes,
            told_again: told_again.contains(&person),
        });
        ReconcileReport {
            destination: destination.to_owned(),
            users: 0,
            same: self.same,
            drifted: drifted.collect(),
            unknown: unknown.collect(),
            unclear: answers.exported.unclear.iter().map(ToString::to_string).collect(),
            not_asked: answers.not_asked as u64,
            held_up: answers.held_up.clone(),
            cannot_be_asked: 0,
            attributes_compared: self.compared,
            attributes_not_compared: self.not_compared,
            drift_rate: (all > 0).then(|| differ as f64 / all as f64),
            healed: None,
        }
    }
}
