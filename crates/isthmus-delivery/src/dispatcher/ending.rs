//! What becomes of a request's objects when it ends.

use super::{Dispatcher, InFlight, Moment, RequestId, dead_letter};
use crate::journal::{Mark, Marks, Outcome, Step};
use crate::lanes::{GroupId, Queued, Ticket};
use crate::stream::Stream;
use isthmus_core::destination::{Budget, Delivery, Lane, Verdict};
use isthmus_state::dead_letters::DeadLetter;
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

/// What becomes of one object of a request that ended.
enum Fate {
    Delivered,
    Rejected(String),
    /// Back to the front of its lane.
    Again(Again),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// The attempt counts and the lane waits.
    Later,
    /// As [`Self::Later`], and nobody knows what became of the attempt.
    Unknown,
    /// It is not the object's doing: the whole destination waits.
    WithAll,
    /// In a smaller request.
    Smaller,
}

/// Two groups, and how many more objects go into the first one.
struct Halves {
    first: GroupId,
    second: GroupId,
    first_left: usize,
}

impl Dispatcher {
    /// Takes in how a request ended, and adds what was refused for good to `letters`, which must
    /// be on disk before the next entry. `random` spreads the waits that follow.
    pub fn finish(
        &mut self,
        id: RequestId,
        ending: &Ending,
        now: Moment,
        random: u64,
        letters: &mut Vec<DeadLetter>,
    ) {
        let Some(request) = self.requests.remove(&id) else { return };
        let fates = self.fates(&request, ending, now, random);
        let marks = self.settle(request, fates, now, random, letters);
        let status = if let Ending::Judged { status, .. } = ending { *status } else { 0 };
        self.steps.push(Step::Outcome(Outcome { request: id.0, status, marks }));
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
        let again = |again| (0..count).map(|_| Fate::Again(again)).collect();
        let (verdicts, budget) = match ending {
            Ending::Judged { verdicts, budget, .. } => (verdicts, budget),
            Ending::NotSent { reason } => {
                self.health.failed(request.epoch, now.monotonic, random, reason);
                return again(Again::Later);
            }
            Ending::Unknown { reason } => {
                self.health.failed(request.epoch, now.monotonic, random, reason);
                return again(Again::Unknown);
            }
            Ending::Unencodable { reason } if count == 1 => {
                return vec![Fate::Rejected(reason.clone())];
            }
            Ending::Unencodable { .. } => return again(Again::Smaller),
        };
        if let Some(budget) = budget {
            self.governor.learn(now.monotonic, *budget);
        }
        self.listen(request.epoch, verdicts, now, random);
        let fate = |verdict: &Verdict| match verdict {
            Verdict::Accepted => Fate::Delivered,
            Verdict::Rejected { reason } => Fate::Rejected(reason.clone()),
            Verdict::Retry { after: Some(_), .. } | Verdict::Pause { .. } => {
                Fate::Again(Again::WithAll)
            }
            Verdict::Retry { after: None, .. } => Fate::Again(Again::Later),
            Verdict::Split { reason } if count == 1 => Fate::Rejected(reason.clone()),
            Verdict::Split { .. } => Fate::Again(Again::Smaller),
        };
        let mut fates: Vec<Fate> = verdicts.iter().take(count).map(fate).collect();
        // A destination that judges fewer than it was given has a bug. Sending again could double
        // for ever and dropping would lose: people decide.
        fates.resize_with(count, || Fate::Rejected("the reply was judged without it".to_owned()));
        fates
    }

    /// What a reply says about the destination as a whole.
    fn listen(&mut self, epoch: u64, verdicts: &[Verdict], now: Moment, random: u64) {
        let (mut processed, mut asked, mut refused, mut failed) = (false, None, None, None);
        for verdict in verdicts {
            match verdict {
                Verdict::Accepted | Verdict::Rejected { .. } | Verdict::Split { .. } => {
                    processed = true;
                }
                Verdict::Retry { after: Some(after), .. } => asked = asked.max(Some(*after)),
                Verdict::Retry { after: None, reason } => failed = Some(reason),
                Verdict::Pause { reason } => refused = Some(reason),
            }
        }
        if let Some(after) = asked {
            self.governor.pause_for(now.monotonic, after);
        }
        if let Some(reason) = refused {
            let at = (now.monotonic, now.wall);
            self.health.refused(epoch, at, random, reason);
        } else if processed {
            self.health.answered(epoch, now.monotonic);
        } else if let (Some(reason), None) = (failed, asked) {
            self.health.failed(epoch, now.monotonic, random, reason);
        }
    }

    /// Gives every object its fate, and every lane what came back.
    fn settle(
        &mut self,
        request: InFlight,
        fates: Vec<Fate>,
        now: Moment,
        random: u64,
        letters: &mut Vec<DeadLetter>,
    ) -> Marks {
        let mut halves = self.halves(&request, &fates);
        let mut marks = Vec::with_capacity(fates.len());
        let mut returned: Vec<(Lane, Vec<Queued>)> = Vec::new();
        let mut attempts = 0;
        let objects = request.batch.into_iter().zip(request.tickets).zip(fates);
        for ((delivery, ticket), fate) in objects {
            let lane = delivery.message.lane;
            if returned.last().is_none_or(|(last, _)| *last != lane) {
                returned.push((lane, Vec::new()));
            }
            let waits = matches!(fate, Fate::Again(Again::Later | Again::Unknown));
            let (mark, back) = self.settle_one(Queued { delivery, ticket }, fate, now, letters);
            marks.push(mark);
            if let (Some(mut back), Some((_, queue))) = (back, returned.last_mut()) {
                if waits {
                    attempts = attempts.max(back.ticket.attempts);
                }
                if let Some(halves) = &mut halves {
                    back.ticket.group = Some(halves.next());
                }
                queue.push(back);
            }
        }
        // One wait for the whole request, so that its objects meet again in the next one.
        let wait = match attempts {
            0 => Duration::ZERO,
            attempts => self.rules.backoff.wait(attempts, random),
        };
        for (lane, queue) in returned {
            self.lanes.give_back(lane, queue, now.monotonic + wait, now.monotonic);
        }
        Marks::of(marks)
    }

    /// Gives one object its fate, and gives it back if it is to be sent again.
    fn settle_one(
        &mut self,
        queued: Queued,
        fate: Fate,
        now: Moment,
        letters: &mut Vec<DeadLetter>,
    ) -> (Mark, Option<Queued>) {
        let Queued { delivery, mut ticket } = queued;
        let Some(stream) = self.streams.get_mut(&ticket.stream) else {
            // The stream was removed meanwhile; replaying ignores the mark.
            return (Mark::Again, None);
        };
        let again = match fate {
            Fate::Delivered => {
                let at_once = ticket.attempts == 0 && !ticket.unknown;
                stream.counts.delivered += 1;
                stream.counts.delivered_at_once += u64::from(at_once);
                let latency = now.wall.since(delivery.accepted_at);
                stream.latency.record(now.monotonic, latency);
                self.meters.delivered(latency);
                finish_object(stream, &delivery, &ticket);
                return (if at_once { Mark::DeliveredAtOnce } else { Mark::Delivered }, None);
            }
            Fate::Rejected(reason) => {
                stream.counts.rejected += 1;
                self.meters.rejected.increment(1);
                finish_object(stream, &delivery, &ticket);
                letters.push(dead_letter(delivery, reason, now.wall));
                return (Mark::Rejected, None);
            }
            Fate::Again(again) => again,
        };
        stream.counts.retries += 1;
        if matches!(again, Again::Later | Again::Unknown) {
            if ticket.attempts == 0 {
                ticket.failing_since = now.monotonic;
            }
            ticket.attempts = ticket.attempts.saturating_add(1);
        }
        let mark = if again == Again::Unknown {
            ticket.unknown = true;
            stream.counts.unknown += 1;
            stream.mark_unknown(delivery.place, delivery.part);
            self.meters.unknown.increment(1);
            Mark::Unknown
        } else {
            self.meters.again.increment(1);
            Mark::Again
        };
        (mark, Some(Queued { delivery, ticket }))
    }

    /// Whether what comes back is to be halved.
    fn halves(&mut self, request: &InFlight, fates: &[Fate]) -> Option<Halves> {
        let answered_at = self.health.answered_at();
        let (mut count, mut refused, mut chokes) = (0usize, false, false);
        for (fate, ticket) in fates.iter().zip(&request.tickets) {
            let Fate::Again(again) = fate else { continue };
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

fn finish_object(stream: &mut Stream, delivery: &Delivery, ticket: &Ticket) {
    stream.pending -= 1;
    stream.pending_bytes -= delivery.message.payload.len() as u64;
    stream.finish(ticket.item, delivery.place, delivery.part);
}
