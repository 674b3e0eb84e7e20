//! Users whom a destination does not know although something was delivered for them.

use super::exports::Answers;
use super::ledger::{View, blocking, failed};
use super::{Runtime, RuntimeError};
use crate::deliveries::Served;
use crate::report::unmatched::{UnmatchedReport, UnmatchedUser};
use isthmus_braze::BrazeStream;
use isthmus_braze::export::{Addressee, Person};
use isthmus_braze::identifier::reason;
use isthmus_config::resource::DestinationSettings;
use isthmus_core::destination::{Lane, Mapped};
use isthmus_core::{Place, Timestamp};
use isthmus_delivery::engine::Why;
use isthmus_delivery::finder::{Finder, Found};
use isthmus_delivery::ledger::{Filter, State, Story};
use isthmus_delivery::remapping::Remapping;
use isthmus_delivery::source::event_log::EventLog;
use isthmus_log::Log;
use isthmus_state::mirror::Doubt;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Deliveries looked at for each identifier that is wanted: a user has several.
const DELIVERIES_EACH: usize = 8;
/// Why an object has nobody to be delivered to.
const WITHOUT_IDENTIFIER: [&str; 5] =
    [reason::MISSING, reason::PLACEHOLDER, reason::TOO_LONG, reason::NOT_TEXT, reason::NOT_EMAIL];

/// Somebody whom something was delivered for.
struct Recipient {
    person: Person,
    lane: Lane,
    place: Place,
    delivered_at: Option<Timestamp>,
}

/// Whom the latest deliveries of a stream were for.
#[derive(Default)]
struct Recipients {
    /// The latest first, each of them once.
    people: Vec<Recipient>,
    cannot_be_asked: usize,
    lost: usize,
}

impl Runtime {
    /// Asks whether the destination knows the last `sample` users for whom `stream` delivered
    /// anything; the mirror forgets those who are not known if it is to `forget`.
    pub(crate) async fn unmatched(
        &self,
        stream: &str,
        sample: usize,
        forget: bool,
    ) -> Result<UnmatchedReport, RuntimeError> {
        let served = self.serving(stream)?;
        let recipients = {
            let (served, stream, events) = (served.clone(), stream.to_owned(), self.events.clone());
            blocking(move || Recipients::of(&served, &stream, &events, sample)).await?
        };
        let people: Vec<Person> =
            recipients.people.iter().map(|recipient| recipient.person.clone()).collect();
        let answers = self.export(&served, &people, &[]).await?;
        let unknown: Vec<&Recipient> = recipients
            .people
            .iter()
            .filter(|recipient| answers.exported.unknown.contains(&recipient.person))
            .collect();
        let forgotten =
            if forget { Some(self.forget(&served, stream, &unknown).await?) } else { None };
        let places: BTreeSet<Place> = unknown.iter().map(|recipient| recipient.place).collect();
        let finder = self.finder.clone();
        let found = blocking(move || found_at(&finder, &places)).await?;
        let unknown = unknown.iter().map(|user| user.reported(found.get(&user.place))).collect();
        let without = without_identifier(&served, stream);
        Ok(report(&served, stream, (&recipients, &answers, unknown), without, forgotten))
    }

    async fn forget(
        &self,
        served: &Served,
        stream: &str,
        users: &[&Recipient],
    ) -> Result<u64, RuntimeError> {
        let doubt = |user: &&Recipient| Doubt { lane: user.lane, attributes: Vec::new() };
        let doubts: Vec<Doubt> = users.iter().map(doubt).collect();
        let forgotten = served.handle.forget(doubts, Why::NotThere).await.map_err(failed)?;
        let detail = format!("{forgotten} users whom the destination does not know");
        self.note("forget what was told", &format!("stream/{stream}"), &detail).await?;
        Ok(forgotten)
    }
}

impl Recipients {
    fn of(
        served: &Served,
        stream: &str,
        events: &Log,
        sample: usize,
    ) -> Result<Self, RuntimeError> {
        let view = View::of(&served.destination.resource.name, served);
        let filter = Filter {
            streams: view.numbers_of(stream),
            state: Some(State::Delivered),
            ..Filter::default()
        };
        let stories =
            served.ledger.list(&filter, sample.saturating_mul(DELIVERIES_EACH)).map_err(failed)?;
        let places: BTreeSet<Place> = stories.iter().map(|story| story.key.place).collect();
        let addressed = addressed(served, stream, events, places)?;
        let mut recipients = Self::default();
        let mut known = HashSet::new();
        for story in stories.iter().rev() {
            let Some(parts) = addressed.get(&story.key.place) else {
                recipients.lost += 1;
                continue;
            };
            let Some((addressee, lane)) = parts.get(&story.key.part) else { continue };
            if !known.insert(addressee) {
                continue;
            }
            match addressee {
                Addressee::Other(_) => recipients.cannot_be_asked += 1,
                Addressee::Person(person) => {
                    recipients.people.push(Recipient::of(person.clone(), *lane, story));
                }
            }
            if known.len() >= sample {
                break;
            }
        }
        Ok(recipients)
    }
}

/// Whom the objects are about that `stream` makes of the items at `places`, by part; items that the
/// log does not hold any more are left out.
#[expect(clippy::type_complexity, reason = "a table of tables, used once")]
fn addressed(
    served: &Served,
    stream: &str,
    events: &Log,
    places: BTreeSet<Place>,
) -> Result<BTreeMap<Place, BTreeMap<u16, (Addressee, Lane)>>, RuntimeError> {
    let DestinationSettings::Braze(settings) = &served.destination.resource.settings else {
        let name = &served.destination.resource.name;
        let why = format!("destination {name} is Amplitude, which does not tell about users");
        return Err(RuntimeError::Conflict(why));
    };
    let known = served.streams.iter().find(|known| known.resource.name == stream);
    // Built apart from the one that delivers, which counts what it leaves out.
    let mapping = known.and_then(|known| BrazeStream::build(&known.resource, settings).ok());
    let mapping = mapping.ok_or_else(|| RuntimeError::NotFound(format!("stream {stream}")))?;
    let mut remapping = Remapping::new(Arc::new(EventLog::new(events.clone())));
    let mut addressed = BTreeMap::new();
    // In the order of the log, which is read once then.
    for place in places {
        let Some(mapped) = remapping.map(&mapping, place).map_err(failed)? else { continue };
        let parts = (0..).zip(&mapped).filter_map(|(part, mapped)| match mapped {
            Mapped::Deliver(message) | Mapped::Reject { message, .. } => {
                Some((part, (Addressee::of(message)?, message.lane)))
            }
            Mapped::Discard { .. } => None,
        });
        addressed.insert(place, parts.collect());
    }
    Ok(addressed)
}

impl Recipient {
    fn of(person: Person, lane: Lane, story: &Story) -> Self {
        let delivered_at = story.happenings.last().map(|happening| happening.at);
        Self { person, lane, place: story.key.place, delivered_at }
    }

    fn reported(&self, found: Option<&Found>) -> UnmatchedUser {
        UnmatchedUser {
            identifier: self.person.to_string(),
            amplitude_id: found.and_then(|found| found.amplitude_id).map(|id| id.0),
            user_id: found.and_then(|found| found.user_id.clone()),
            device_id: found.and_then(|found| found.device_id.clone()),
            last_delivered_at: self.delivered_at.map(|at| at.to_string()),
            place: self.place.to_string(),
        }
    }
}

fn found_at(
    finder: &Finder,
    places: &BTreeSet<Place>,
) -> Result<BTreeMap<Place, Found>, RuntimeError> {
    let found = finder.at_each(places).map_err(failed)?;
    Ok(found.into_iter().map(|found| (found.place, found)).collect())
}

fn without_identifier(served: &Served, stream: &str) -> BTreeMap<String, u64> {
    let status = served.handle.status();
    let discards = status.stream(stream).map(|stream| stream.discards.clone()).unwrap_or_default();
    let without = discards.into_iter().filter(|(why, _)| WITHOUT_IDENTIFIER.contains(&&**why));
    without.map(|(why, count)| (why.into_owned(), count)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a share of a few thousand")]
fn report(
    served: &Served,
    stream: &str,
    (recipients, answers, unknown): (&Recipients, &Answers, Vec<UnmatchedUser>),
    without_identifier: BTreeMap<String, u64>,
    forgotten: Option<u64>,
) -> UnmatchedReport {
    let known = answers.exported.known.len();
    let told = known + unknown.len();
    UnmatchedReport {
        stream: stream.to_owned(),
        destination: served.destination.resource.name.clone(),
        identifiers: recipients.people.len() as u64,
        known: known as u64,
        unknown,
        unclear: answers.exported.unclear.iter().map(ToString::to_string).collect(),
        not_asked: answers.not_asked as u64,
        held_up: answers.held_up.clone(),
        cannot_be_asked: recipients.cannot_be_asked as u64,
        lost: recipients.lost as u64,
        match_rate: (told > 0).then(|| known as f64 / told as f64),
        without_identifier,
        forgotten,
    }
}
