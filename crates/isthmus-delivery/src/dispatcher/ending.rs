//! What becomes of a request's objects when it ends.

use super::jobs::CANCELLED;
use super::{Dispatcher, InFlight, Moment, RequestId, dead_letter, note};
use crate::dead_letters::LetterChange;
use crate::health::on_the_wall;
use crate::journal::{self, Mark, Marks, ObjectKey, Outcome, Step, Tried};
use crate::lanes::{GroupId, Queued, Ticket};
use crate::samples::{Category, Happened};
use crate::stream::Stream;
use isthmus_core::destination::{
    Budget, Call, Delivery, Guarantee, Lane, RetryPolicy, Verdict, Waits,
};
use isthmus_core::seam::Backoff;
use isthmus_core::{Bucket, Timestamp};
use isthmus_state::dead_letters::Cause;
use std::time::Duration;

/// Attempts after which objects that failed together are halved, provided that the vendor took
/// others meanwhile: one of them may be what it chokes on.
const ATTEMPTS_BEFORE_HALVING: u32 = 4;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// There was a reply, judged.
    Judged {
        status: u16,
        /// What the vendor said, for people; empty where there is nothing to say.
        message: String,
        /// One verdict per object of the batch, in its order.
        verdicts: Vec<Verdict>,
        budget: Option<Budget>,
    },
    /// It did not reach the vendor.
    NotSent { reason: String },
    /// It may have reached the vendor.
    Unknown { reason: String },
    /// It could not be built, or came out larger than the vendor takes: it was not sent.
    Unencodable { reason: String },
}

impl Ending {
    /// HTTP status of the reply; zero when there was none.
    fn status(&self) -> u16 {
        if let Self::Judged { status, .. } = self { *status } else { 0 }
    }

    /// What was said, or why nothing was.
    fn message(&self) -> &str {
        match self {
            Self::Judged { message, .. } => message,
            Self::NotSent { reason } | Self::Unknown { reason } | Self::Unencodable { reason } => {
                reason
            }
        }
    }
}

impl Ending {
    /// What all objects of the request have in common, if it is why they were not delivered.
    fn category(&self) -> Option<Category> {
        match self {
            Self::Judged { status, .. } => Category::of_status(*status),
            Self::NotSent { .. } => Some(Category::Connection),
            Self::Unknown { reason } => Some(Category::of_silence(reason)),
            Self::Unencodable { .. } => None,
        }
    }
}

/// Characters of what the vendor said that the ledger keeps.
const MESSAGE_CHARACTERS_MAX: usize = 200;

/// What becomes of one object of a request that ended.
pub(super) enum Fate {
    Delivered,
    Rejected(String),
    /// Back to the front of its lane, unless its stream's policy gives it up.
    Again(Again, String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The attempt counts and the lane waits.
    Later,
    /// As [`Self::Later`], and nobody knows what became of the attempt.
    Unknown,
    /// It is not the object's doing: the whole destination waits.
    WithAll,
    /// Whom it is about waits so long.
    After(Duration),
    /// In a smaller request.
    Smaller,
}

/// What a whole request has in common.
struct Common<'a> {
    ending: &'a Ending,
    now: Moment,
    /// Spreads the waits that follow.
    random: u64,
    backoff: Backoff,
}

impl Common<'_> {
    /// How long an object waits after `attempts` attempts.
    fn wait(&self, policy: &RetryPolicy, attempts: u32) -> Duration {
        let fixed = match &policy.waits {
            Waits::Fixed(waits) => {
                let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
                waits.get(index).or(waits.last())
            }
            Waits::Backoff => None,
        };
        fixed.copied().unwrap_or_else(|| self.backoff.wait(attempts, self.random))
    }

    /// The attempt at `delivery` that came to nothing for `reason`; `ticket` counts it.
    fn happened<'a>(
        &'a self,
        category: Category,
        delivery: &'a Delivery,
        ticket: &Ticket,
        reason: &'a str,
        next_attempt_at: Option<i64>,
    ) -> Happened<'a> {
        let Moment { monotonic, wall } = self.now;
        let first = match ticket.attempts {
            0 | 1 => Some(wall),
            // An object that had ended before: when that began is not known.
            _ if ticket.item.is_none() => None,
            _ => {
                let age = monotonic.saturating_sub(ticket.failing_since);
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                Some(Timestamp::from_millis(wall.as_millis().saturating_sub(age)))
            }
        };
        let response = match self.ending {
            Ending::Judged { message, .. } => message,
            _ => "",
        };
        let Delivery { place, part, message, .. } = delivery;
        Happened {
            status: self.ending.status(),
            response,
            attempts: ticket.attempts.max(1),
            first_attempt_at: first,
            next_attempt_at,
            ..Happened::aside(category, wall, *place, *part).with(
                &message.name,
                &message.payload,
                reason,
            )
        }
    }
}

/// When what comes back is tried again, in milliseconds since the Unix epoch.
#[derive(Clone, Copy)]
struct Next {
    /// Where its lane waits.
    retry_at: i64,
    /// Where the whole destination does.
    resume_at: i64,
}

/// Two groups, and how many more objects go into the first one.
struct Halves {
    first: GroupId,
    second: GroupId,
    first_left: usize,
}

impl Dispatcher {
    /// Takes in how a request ended after `took`, and adds what changes among the dead letters to
    /// `letters`, which must be on disk before the next entry. `random` spreads the waits that
    /// follow.
    pub fn finish(
        &mut self,
        id: RequestId,
        ending: &Ending,
        took: Duration,
        now: Moment,
        random: u64,
        letters: &mut Vec<LetterChange>,
    ) {
        let Some(request) = self.requests.remove(&id) else { return };
        let fates = self.fates(&request, ending, now, random);
        self.tell(&request, &fates, now.wall);
        let common = Common { ending, now, random, backoff: self.rules.backoff };
        let message: String = ending.message().chars().take(MESSAGE_CHARACTERS_MAX).collect();
        let mut outcome = Outcome {
            request: id.0,
            status: ending.status(),
            took_millis: millis(took),
            wait_millis: 0,
            message,
            marks: Marks::Each(Vec::new()),
            reasons: Vec::new(),
        };
        self.settle(request, fates, &common, &mut outcome, letters);
        self.steps.push(Step::Outcome(outcome));
    }

    /// What becomes of each object; takes note of what the ending says about the destination.
    fn fates(
        &mut self,
        request: &InFlight,
        ending: &Ending,
        now: Moment,
        random: u64,
    ) -> Vec<Fate> {
        let count = request.batch.len();
        let again =
            |again, why: &String| (0..count).map(|_| Fate::Again(again, why.clone())).collect();
        let (verdicts, budget) = match ending {
            Ending::Judged { verdicts, budget, .. } => (verdicts, budget),
            Ending::NotSent { reason } => {
                self.health.failed(request.epoch, now.monotonic, random, reason);
                self.checkpoint_wanted = true;
                return again(Again::Later, reason);
            }
            Ending::Unknown { reason } => {
                self.health.failed(request.epoch, now.monotonic, random, reason);
                self.checkpoint_wanted = true;
                return again(Again::Unknown, reason);
            }
            Ending::Unencodable { reason } if count == 1 => {
                return vec![Fate::Rejected(reason.clone())];
            }
            Ending::Unencodable { reason } => return again(Again::Smaller, reason),
        };
        // Other calls have windows of their own, of which ours knows nothing.
        if let Some(budget) = budget.filter(|_| request.call() == Call::MAIN) {
            self.governor.lock().learn(now.monotonic, budget);
        }
        self.listen(request, verdicts, now, random);
        let answered_success = (200..300).contains(&ending.status());
        let fate = |verdict: &Verdict| match verdict {
            Verdict::Accepted => Fate::Delivered,
            Verdict::Rejected { reason } => Fate::Rejected(reason.clone()),
            // Somebody answered success in words that are not the vendor's: it may have been taken.
            Verdict::Pause { reason } if answered_success => {
                Fate::Again(Again::Unknown, reason.clone())
            }
            Verdict::Retry { after: Some(_), reason } | Verdict::Pause { reason } => {
                Fate::Again(Again::WithAll, reason.clone())
            }
            Verdict::Retry { after: None, reason } => Fate::Again(Again::Later, reason.clone()),
            Verdict::Later { after, reason } => Fate::Again(Again::After(*after), reason.clone()),
            Verdict::Unknown { reason, .. } => Fate::Again(Again::Unknown, reason.clone()),
            Verdict::Split { reason, .. } if count == 1 => Fate::Rejected(reason.clone()),
            Verdict::Split { reason, .. } => Fate::Again(Again::Smaller, reason.clone()),
        };
        let mut fates: Vec<Fate> = verdicts.iter().take(count).map(fate).collect();
        // A destination that judges fewer than it was given has a bug. Sending again could double
        // for ever and dropping would lose: people decide.
        fates.resize_with(count, || Fate::Rejected("the reply was judged without it".to_owned()));
        fates
    }

    /// What a reply says about the destination as a whole.
    fn listen(&mut self, request: &InFlight, verdicts: &[Verdict], now: Moment, random: u64) {
        let (epoch, is_main) = (request.epoch, request.call() == Call::MAIN);
        let (mut processed, mut asked, mut refused, mut failed) = (false, None, None, None);
        for verdict in verdicts {
            match verdict {
                Verdict::Accepted | Verdict::Rejected { .. } => {
                    processed = true;
                    if is_main {
                        self.room.takes(verdicts.len());
                    }
                }
                Verdict::Later { .. } => processed = true,
                Verdict::Split { too_many, .. } => {
                    processed = true;
                    if *too_many && is_main {
                        self.room.refuses(verdicts.len());
                    }
                }
                Verdict::Retry { after: Some(after), .. } => asked = asked.max(Some(*after)),
                Verdict::Unknown { after, reason } => {
                    asked = asked.max(*after);
                    failed = Some(reason);
                }
                Verdict::Retry { after: None, reason } => failed = Some(reason),
                Verdict::Pause { reason } => refused = Some(reason),
            }
        }
        if let Some(after) = asked {
            self.governor.lock().pause_for(now.monotonic, after);
            self.checkpoint_wanted = true;
        }
        let before = self.health.epoch();
        if let Some(reason) = refused {
            let at = (now.monotonic, now.wall);
            self.health.refused(epoch, at, random, reason);
        } else if processed {
            self.health.answered(epoch, now.monotonic);
        } else if let (Some(reason), None) = (failed, asked) {
            self.health.failed(epoch, now.monotonic, random, reason);
        }
        // A wait that is not written down would be forgotten by a restart.
        self.checkpoint_wanted |= before != self.health.epoch();
    }

    /// Gives every object its fate, and every lane what came back; completes `outcome`.
    fn settle(
        &mut self,
        request: InFlight,
        fates: Vec<Fate>,
        common: &Common<'_>,
        outcome: &mut Outcome,
        letters: &mut Vec<LetterChange>,
    ) {
        let mut halves = self.halves(&request, &fates);
        let mut marks = Vec::with_capacity(fates.len());
        let mut returned: Vec<(Lane, Duration, Vec<Queued>)> = Vec::new();
        // One wait for the whole request, so that its objects meet again in the next one.
        let mut wait = Duration::ZERO;
        for (ticket, fate) in request.tickets.iter().zip(&fates) {
            if let Fate::Again(Again::Later | Again::Unknown, _) = fate
                && let Some(stream) = self.streams.get(&ticket.stream)
            {
                let attempts = ticket.attempts.saturating_add(1);
                wait = wait.max(common.wait(&stream.retry, attempts));
            }
        }
        outcome.wait_millis = millis(wait);
        let resume_at = self.health.free_at().max(self.governor.lock().paused_until());
        let next = Next {
            retry_at: on_the_wall(common.now.monotonic + wait, common.now),
            resume_at: on_the_wall(resume_at, common.now),
        };
        let objects = request.batch.into_iter().zip(request.tickets).zip(fates);
        for (index, ((delivery, ticket), fate)) in (0..).zip(objects) {
            let lane = delivery.message.lane;
            if returned.last().is_none_or(|(last, ..)| *last != lane) {
                returned.push((lane, wait, Vec::new()));
            }
            if let (Fate::Again(Again::After(after), _), Some((_, wait, _))) =
                (&fate, returned.last_mut())
            {
                let now = common.now.monotonic;
                *wait = (*wait).max(*after);
                if !after.is_zero() {
                    self.lanes.hold_user(&delivery.message, now + *after, now);
                }
            }
            let limits = self.rules.limits.of_call(delivery.message.section.call());
            let settle = limits.map(|limits| limits.settle);
            let queued = Queued { delivery, ticket };
            let settled = self.settle_one(queued, fate, common, next, letters);
            if let (Some(settle), Mark::Delivered | Mark::DeliveredAtOnce) = (settle, settled.mark)
            {
                self.lanes.settle(lane, common.now.monotonic + settle);
            }
            marks.push(settled.mark);
            if let Some(reason) = settled.reason {
                outcome.reasons.push((index, reason));
            }
            if let (Some(mut back), Some((.., queue))) = (settled.back, returned.last_mut()) {
                if let Some(halves) = &mut halves {
                    back.ticket.group = Some(halves.next());
                }
                queue.push(back);
            }
        }
        let now = common.now.monotonic;
        for (lane, wait, queue) in returned {
            self.lanes.give_back(lane, queue, now + wait, now);
        }
        outcome.marks = Marks::of(marks);
    }

    /// Gives one object its fate, and gives it back if it is to be sent again.
    fn settle_one(
        &mut self,
        queued: Queued,
        fate: Fate,
        common: &Common<'_>,
        next: Next,
        letters: &mut Vec<LetterChange>,
    ) -> Settled {
        let now = common.now;
        let Queued { delivery, mut ticket } = queued;
        let Some(stream) = self.streams.get_mut(&ticket.stream) else {
            // The stream was removed meanwhile; replaying ignores the mark.
            return Settled::ended(Mark::Deferred, None);
        };
        let (again, reason) = match fate {
            Fate::Delivered => {
                let at_once = ticket.attempts == 0 && !ticket.unknown;
                stream.counts.delivered += 1;
                stream.counts.delivered_at_once += u64::from(at_once);
                let latency = now.wall.since(ticket.since);
                let bucket = Bucket::of(latency);
                stream.latency.record(now.monotonic, bucket);
                self.meters.delivered(latency);
                self.recorder.delivered(stream, now.wall, at_once, bucket);
                finish_object(stream, &delivery, &ticket);
                // A run that ended after it stored the letter of an attempt, and before it wrote down
                // the outcome, left the letter of an object that was sent again.
                if ticket.item.is_none() || ticket.unknown {
                    let name = delivery.stream.to_string();
                    let key = (name, delivery.place, delivery.part);
                    letters.push(LetterChange::Remove(key));
                }
                let mark = if at_once { Mark::DeliveredAtOnce } else { Mark::Delivered };
                return Settled::ended(mark, None);
            }
            Fate::Rejected(reason) => {
                stream.counts.rejected += 1;
                self.meters.rejected.increment(1);
                let category = common.ending.category();
                let category = category.unwrap_or_else(|| Category::rejected(&reason));
                let this = Ticket { attempts: ticket.attempts.saturating_add(1), ..ticket };
                let happened = common.happened(category, &delivery, &this, &reason, None);
                self.recorder.discarded(stream, &happened);
                finish_object(stream, &delivery, &ticket);
                let said = Some(reason.clone());
                let letter = dead_letter(delivery, &ticket, Cause::Rejected, reason, now.wall);
                letters.push(LetterChange::Keep(letter));
                return Settled::ended(Mark::Rejected, said);
            }
            Fate::Again(again, reason) => (again, reason),
        };
        if matches!(again, Again::Later | Again::Unknown) {
            if ticket.attempts == 0 {
                ticket.failing_since = now.monotonic;
            }
            ticket.attempts = ticket.attempts.saturating_add(1);
            ticket.unknown |= again == Again::Unknown;
            stream.counts.unknown += u64::from(again == Again::Unknown);
            if let Some((mark, cause, reason)) =
                ends(stream, &delivery, &ticket, again, &reason, now.wall)
            {
                let happened =
                    |category| common.happened(category, &delivery, &ticket, &reason, None);
                match cause {
                    Cause::Unknown => {
                        stream.counts.parked += 1;
                        self.meters.unknown.increment(1);
                        self.recorder.sample(stream, &happened(Category::Unknown));
                    }
                    Cause::Rejected | Cause::Expired => {
                        stream.counts.rejected += 1;
                        stream.counts.expired += 1;
                        self.meters.expired.increment(1);
                        self.recorder.expired(stream, &happened(Category::Expired));
                    }
                }
                finish_object(stream, &delivery, &ticket);
                let letter = dead_letter(delivery, &ticket, cause, reason.clone(), now.wall);
                letters.push(LetterChange::Keep(letter));
                return Settled::ended(mark, Some(reason));
            }
            let Ticket { attempts, unknown, .. } = ticket;
            let retry_at = next.retry_at;
            stream.mark_tried(delivery.place, delivery.part, Tried { attempts, retry_at, unknown });
        }
        stream.counts.retries += 1;
        if again != Again::Smaller {
            let next_at = match again {
                Again::WithAll => next.resume_at,
                Again::After(after) => on_the_wall(now.monotonic + after, now),
                Again::Later | Again::Unknown | Again::Smaller => next.retry_at,
            };
            let category = common.ending.category().unwrap_or(Category::Status("2xx"));
            let happened = common.happened(category, &delivery, &ticket, &reason, Some(next_at));
            self.recorder.sample(stream, &happened);
        }
        if stream.job.as_ref().is_some_and(|job| job.record.cancelled) {
            let key = let_go(stream, &delivery, &ticket, CANCELLED);
            note(&mut self.asides, journal::Fate::Discarded, CANCELLED, key);
            return Settled::ended(Mark::Deferred, None);
        }
        let (mark, meter) = match again {
            Again::Unknown => (Mark::Unknown, &self.meters.unknown),
            Again::Later => (Mark::Again, &self.meters.again),
            Again::WithAll | Again::After(_) | Again::Smaller => {
                (Mark::Deferred, &self.meters.again)
            }
        };
        meter.increment(1);
        Settled { mark, reason: None, back: Some(Queued { delivery, ticket }) }
    }

    /// Whether what comes back is to be halved.
    fn halves(&mut self, request: &InFlight, fates: &[Fate]) -> Option<Halves> {
        let answered_at = self.health.answered_at();
        let (mut count, mut refused, mut chokes) = (0usize, false, false);
        for (fate, ticket) in fates.iter().zip(&request.tickets) {
            let Fate::Again(again, _) = fate else { continue };
            count += 1;
            refused |= *again == Again::Smaller;
            chokes |= matches!(again, Again::Later | Again::Unknown)
                && ticket.attempts + 1 >= ATTEMPTS_BEFORE_HALVING
                && answered_at.is_some_and(|at| at > ticket.failing_since);
        }
        if !(refused || chokes && count > 1) {
            return None;
        }
        let first = GroupId(self.next_group);
        let second = GroupId(self.next_group + 1);
        self.next_group += 2;
        Some(Halves { first, second, first_left: count.div_ceil(2) })
    }
}

impl Halves {
    /// The group of the next object that comes back.
    fn next(&mut self) -> GroupId {
        match self.first_left.checked_sub(1) {
            Some(left) => {
                self.first_left = left;
                self.first
            }
            None => self.second,
        }
    }
}

/// What became of one object.
struct Settled {
    mark: Mark,
    /// Why, where it differs from what the whole request was told.
    reason: Option<String>,
    back: Option<Queued>,
}

impl Settled {
    fn ended(mark: Mark, reason: Option<String>) -> Self {
        Self { mark, reason, back: None }
    }
}

/// How an attempt that came to nothing was the last one, if it was: nobody knows what became of an
/// object that must not be doubled, or the stream's policy gives it up.
fn ends(
    stream: &Stream,
    delivery: &Delivery,
    ticket: &Ticket,
    again: Again,
    reason: &str,
    now: Timestamp,
) -> Option<(Mark, Cause, String)> {
    if again == Again::Unknown && delivery.message.guarantee == Guarantee::AtMostOnce {
        return Some((Mark::Parked, Cause::Unknown, reason.to_owned()));
    }
    let RetryPolicy { attempts, within, .. } = &stream.retry;
    let age = now.since(ticket.since);
    let spent = attempts.is_some_and(|most| ticket.attempts >= most)
        || within.is_some_and(|within| age >= within);
    spent.then(|| {
        let seconds = age.as_secs();
        let attempts = ticket.attempts;
        let reason = format!("given up after {attempts} attempts in {seconds} s; last: {reason}");
        (Mark::Expired, Cause::Expired, reason)
    })
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Discards an object that waits, by `rule`.
pub(super) fn let_go(
    stream: &mut Stream,
    delivery: &Delivery,
    ticket: &Ticket,
    rule: &'static str,
) -> ObjectKey {
    finish_object(stream, delivery, ticket);
    stream.counts.accepted -= 1;
    stream.discard(rule);
    ObjectKey { stream: ticket.stream.0, place: delivery.place, part: delivery.part }
}

fn finish_object(stream: &mut Stream, delivery: &Delivery, ticket: &Ticket) {
    stream.pending -= 1;
    stream.pending_bytes -= delivery.message.payload.len() as u64;
    match ticket.item {
        Some(item) => stream.finish(item, delivery.place, delivery.part),
        None => stream.finish_revived(delivery.place, delivery.part),
    }
}
