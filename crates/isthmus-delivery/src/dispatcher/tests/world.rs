//! A log, a journal, a hostile vendor and a program that is killed now and then, from one seed.
//! Every claim is checked as it happens.

use super::{Dispatcher, Extent, at, dispatcher, rules};
use crate::dead_letters::LetterChange;
use crate::dispatcher::{Ending, Manner, Moment, RequestId, StreamNumber};
use crate::journal::replay::Replay;
use crate::journal::{Checkpoint, Decision, Entry};
use isthmus_core::destination::{
    Budget, Delivery, Guarantee, Lane, Mapped, Message, RetryPolicy, Section, Verdict,
};
use isthmus_core::seam::{Random, SeededRandom};
use isthmus_core::{Place, Timestamp};
use isthmus_state::dead_letters::{Cause, DeadLetter};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const RECORD: u64 = 100;
const STREAMS: [&str; 2] = ["product", "marketing"];

/// A stream's index, an item and its part.
type Key = (usize, Place, u16);

/// What an object is like, which its payload says.
const GOOD: &str = "good";
/// One of these must not be doubled.
const ONCE: &str = "once";
/// A request with one of these is refused as a whole.
const POISON: &str = "poison";
/// One of these is refused alone.
const BAD: &str = "bad";

pub(super) struct World {
    random: SeededRandom,
    millis: u64,
    /// Items per record; what they map to follows from their place.
    log: Vec<u32>,
    dispatcher: Dispatcher,
    journal: Vec<Vec<u8>>,
    numbers: Vec<StreamNumber>,
    /// Started, intent not on disk.
    prepared: Vec<RequestId>,
    /// Sent, not answered.
    sent: Vec<RequestId>,
    starts: Vec<Duration>,
    letters: Vec<LetterChange>,
    letters_on_disk: BTreeMap<Key, DeadLetter>,
    /// Objects that somebody had sent again, let go, or confirmed.
    resent: BTreeSet<Key>,
    let_go: BTreeSet<Key>,
    confirmed: BTreeSet<Key>,
    /// Objects known to be finished: in memory, and on disk.
    finished: BTreeSet<Key>,
    finished_on_disk: BTreeSet<Key>,
    /// Objects given to the dispatcher in this run.
    taken: BTreeSet<Key>,
    /// How often the vendor took each object.
    vendor: BTreeMap<Key, u32>,
    /// Objects that may be doubled: an outcome was unknown, or was lost with the program.
    doubtful: BTreeSet<Key>,
    mended: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut dispatcher = dispatcher(rules(), Checkpoint::default(), at(1_000));
        let numbers = add_streams(&mut dispatcher, 0);
        Self {
            random: SeededRandom::new(seed),
            millis: 1_000,
            log: Vec::new(),
            dispatcher,
            journal: Vec::new(),
            numbers,
            prepared: Vec::new(),
            sent: Vec::new(),
            starts: Vec::new(),
            letters: Vec::new(),
            letters_on_disk: BTreeMap::new(),
            resent: BTreeSet::new(),
            let_go: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            finished: BTreeSet::new(),
            finished_on_disk: BTreeSet::new(),
            taken: BTreeSet::new(),
            vendor: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            mended: false,
        }
    }

    pub(super) fn step(&mut self) {
        match self.random.below(100) {
            0..15 => self.log.push(1 + self.below(6)),
            15..35 => self.read(),
            35..60 => self.start(),
            60..75 => self.write(),
            75..92 => self.reply(),
            92..94 => self.dispatcher.want_checkpoint(),
            95..97 => self.decide(),
            94 if !self.journal.is_empty() => self.crash(),
            _ => self.millis += self.random.below(1_000),
        }
        self.dispatcher.check().unwrap();
    }

    /// The vendor takes everything that it ever takes, and nobody is killed any more.
    pub(super) fn mend_and_drain(&mut self) {
        self.mended = true;
        let mut rounds = 0;
        while !self.dispatcher.is_idle(self.end()) {
            rounds += 1;
            assert!(rounds < 100_000, "never idle: {:?}", self.dispatcher.condition());
            self.read();
            self.start();
            self.write();
            self.reply();
            self.millis += 500;
            self.dispatcher.check().unwrap();
        }
        self.dispatcher.want_checkpoint();
        self.write();
        self.check_the_end();
        // A restart finds nothing to do.
        self.crash();
        while self.dispatcher.next_read(self.end()).is_some() {
            self.read();
        }
        self.millis += 100_000;
        assert_eq!(self.dispatcher.start(self.now()), None);
        self.check_the_end();
    }

    fn check_the_end(&mut self) {
        let now = self.now();
        let status = self.dispatcher.status(&"braze".into(), now);
        for (stream, status) in status.streams.iter().enumerate() {
            let (mut delivered, mut rejected, mut discarded) = (0, 0, 0);
            let mut parked = 0;
            for (key, mapped) in self.objects(stream) {
                let times = self.vendor.get(&key).copied().unwrap_or(0);
                if let Some(letter) = self.letters_on_disk.get(&key) {
                    match letter.cause {
                        Cause::Unknown => parked += 1,
                        Cause::Rejected | Cause::Expired => rejected += 1,
                    }
                } else if matches!(mapped, Mapped::Discard { .. }) || self.let_go.contains(&key) {
                    discarded += 1;
                } else {
                    delivered += 1;
                    let (Mapped::Deliver(message) | Mapped::Reject { message, .. }) = &mapped
                    else {
                        panic!("lost {key:?}")
                    };
                    assert!(is(message, GOOD) || is(message, ONCE), "lost {key:?}");
                    assert!(times > 0 || self.confirmed.contains(&key), "lost {key:?}");
                }
                let once = matches!(&mapped, Mapped::Deliver(message) if is(message, ONCE));
                let may_double =
                    self.resent.contains(&key) || !once && self.doubtful.contains(&key);
                assert!(times <= 1 || may_double, "doubled {key:?}");
            }
            let counts = status.counts;
            let counted = (counts.delivered, counts.rejected, counts.discarded, counts.parked);
            assert_eq!(counted, (delivered, rejected, discarded, parked), "{}", status.name);
            assert_eq!(status.pending, parked, "{}", status.name);
            assert!(status.adds_up());
            assert_eq!(status.cursor, Place { offset: self.end(), index: 0 });
            assert_eq!(status.discards.values().sum::<u64>(), discarded);
        }
    }

    fn read(&mut self) {
        let Some(offset) = self.dispatcher.next_read(self.end()) else { return };
        let now = self.now();
        let items = self.log[usize::try_from(offset / RECORD).unwrap()];
        let readers = self.dispatcher.readers_at(offset);
        for index in 0..items {
            let place = Place { offset, index };
            for (number, floor) in &readers {
                if place < *floor {
                    continue;
                }
                let stream = self.numbers.iter().position(|known| known == number).unwrap();
                let mut mapped = map(stream, place);
                for (part, mapped) in (0..).zip(&mapped) {
                    if matches!(mapped, Mapped::Deliver(_)) {
                        self.taken.insert((stream, place, part));
                    }
                }
                let accepted_at = Timestamp::from_millis(0);
                let letters = &mut self.letters;
                let before = letters.len();
                self.dispatcher.take(*number, place, accepted_at, &mut mapped, now, letters);
                self.finish_letters(before);
            }
        }
        for (number, _) in readers {
            self.dispatcher.advance(number, offset + RECORD);
        }
        self.revive();
    }

    fn start(&mut self) {
        let now = self.now();
        let Some(id) = self.dispatcher.start(now) else { return };
        self.starts.push(now.monotonic);
        self.check_rates();
        self.check_batch(id);
        self.prepared.push(id);
    }

    /// Dead letters first, then the entry, and only then do requests leave.
    fn write(&mut self) {
        self.write_letters();
        let removable = self.dispatcher.removable();
        let Some(entry) = self.dispatcher.take_entry(self.now()) else { return };
        if matches!(entry, Entry::Checkpoint(_)) {
            self.journal.clear();
        }
        self.journal.push(entry.encode());
        self.dispatcher.on_disk(&entry);
        self.finished_on_disk = self.finished.clone();
        if self.random.below(8) == 0 {
            // Killed between writing down a decision and removing its letter.
            return self.crash();
        }
        for (_, (stream, place, part)) in &removable {
            self.letters_on_disk.remove(&(stream_called(stream), *place, *part));
        }
        self.dispatcher.removed(&removable);
        for id in std::mem::take(&mut self.prepared) {
            for (key, _) in self.batch(id) {
                assert!(!self.finished.contains(&key), "acknowledged, sent again: {key:?}");
            }
            self.dispatcher.count_sent(id, self.dispatcher.batch(id).len(), 0);
            self.sent.push(id);
        }
    }

    fn write_letters(&mut self) {
        for change in self.letters.drain(..) {
            match change {
                LetterChange::Keep(letter) => {
                    let key = (stream_called(&letter.stream), letter.place, letter.part);
                    self.letters_on_disk.insert(key, letter);
                }
                LetterChange::Remove((stream, place, part)) => {
                    self.letters_on_disk.remove(&(stream_called(&stream), place, part));
                }
            }
        }
    }

    /// Somebody decides about a dead letter that is on disk.
    fn decide(&mut self) {
        let settled = |(key, _): &(&Key, &DeadLetter)| {
            self.finished_on_disk.contains(key) && self.finished.contains(key)
        };
        let settled: Vec<_> = self.letters_on_disk.iter().filter(settled).collect();
        if settled.is_empty() || !self.letters.is_empty() {
            return;
        }
        let index = usize::try_from(self.random.below(settled.len() as u64)).unwrap();
        let (key, letter) = (*settled[index].0, settled[index].1.clone());
        let decision = match self.random.below(4) {
            0 => Decision::Discard,
            1 => Decision::Confirm,
            _ => Decision::Resend,
        };
        let unknown = letter.cause == Cause::Unknown;
        let now = self.now();
        let name = STREAMS[key.0];
        let decided = self.dispatcher.decide(name, vec![letter], decision, "ana", now).unwrap();
        if decided.objects == 0 {
            // What the vendor refused was not delivered, whoever says so; and nobody decides twice.
            let twice = self.let_go.contains(&key) || self.confirmed.contains(&key);
            assert!(decision == Decision::Confirm && !unknown || twice);
            return;
        }
        match decision {
            Decision::Discard => drop(self.let_go.insert(key)),
            Decision::Confirm => drop(self.confirmed.insert(key)),
            Decision::Resend => {
                self.finished.remove(&key);
                self.resent.insert(key);
            }
        }
        self.write();
    }

    fn reply(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let index = usize::try_from(self.random.below(self.sent.len() as u64)).unwrap();
        let id = self.sent.swap_remove(index);
        let batch = self.batch(id);
        let ending = self.vendor(&batch);
        if let Ending::Judged { verdicts, .. } = &ending {
            for ((key, _), verdict) in batch.iter().zip(verdicts) {
                match verdict {
                    Verdict::Accepted => drop(self.finished.insert(*key)),
                    Verdict::Unknown { .. } => drop(self.doubtful.insert(*key)),
                    _ => {}
                }
            }
        } else if matches!(ending, Ending::Unknown { .. }) {
            self.doubtful.extend(batch.iter().map(|(key, _)| *key));
        }
        let (now, random) = (self.now(), self.random.next_u64());
        let took = Duration::from_millis(40);
        let before = self.letters.len();
        self.dispatcher.finish(id, &ending, took, now, random, &mut self.letters);
        self.finish_letters(before);
    }

    /// Takes up what a run before this one was to send again.
    fn revive(&mut self) {
        let now = self.now();
        for (number, name, place, part) in self.dispatcher.revived() {
            let key = (stream_called(&name), place, part);
            let letter = self.letters_on_disk.get(&key).cloned();
            if letter.is_none() {
                self.finished.insert(key);
            }
            let before = self.letters.len();
            self.dispatcher.take_up(number, place, part, letter, now, &mut self.letters);
            self.finish_letters(before);
        }
    }

    /// Objects of letters from `from` on are not sent again.
    fn finish_letters(&mut self, from: usize) {
        for change in &self.letters[from..] {
            if let LetterChange::Keep(letter) = change {
                let key = (stream_called(&letter.stream), letter.place, letter.part);
                self.finished.insert(key);
            }
        }
    }

    /// What the vendor does with a request, and what it answers.
    fn vendor(&mut self, batch: &[(Key, Message)]) -> Ending {
        let judged = |verdicts, budget| Ending::Judged {
            status: 200,
            message: "said".into(),
            verdicts,
            budget,
        };
        let all = |verdict: Verdict| vec![verdict; batch.len()];
        let mood = if self.mended { 0 } else { self.random.below(12) };
        match mood {
            7 => return Ending::NotSent { reason: "no connection".into() },
            8 => {
                if self.random.below(2) == 0 {
                    self.process(batch);
                }
                return Ending::Unknown { reason: "timed out".into() };
            }
            9 => {
                let verdicts = all(Verdict::Pause { reason: "401".into() });
                let (message, budget) = ("401".into(), None);
                return Ending::Judged { status: 401, message, verdicts, budget };
            }
            10 => {
                let after = Some(Duration::from_millis(self.random.below(5_000)));
                return judged(all(Verdict::Retry { after, reason: "429".into() }), None);
            }
            11 => {
                let (after, reason) = (None, "503".into());
                if self.random.below(2) == 0 {
                    return judged(all(Verdict::Retry { after, reason }), None);
                }
                if self.random.below(2) == 0 {
                    self.process(batch);
                }
                return judged(all(Verdict::Unknown { after, reason }), None);
            }
            _ => {}
        }
        if batch.iter().any(|(_, message)| is(message, POISON)) {
            return judged(all(Verdict::Split { reason: "400".into(), too_many: false }), None);
        }
        let mut verdicts = Vec::new();
        for object in batch {
            verdicts.push(if is(&object.1, BAD) {
                Verdict::Rejected { reason: "bad".into() }
            } else if mood == 6 && self.random.below(3) == 0 {
                Verdict::Retry { after: None, reason: "busy".into() }
            } else {
                self.process(std::slice::from_ref(object));
                Verdict::Accepted
            });
        }
        let budget = Budget {
            limit: Some(10 + self.random.below(20)),
            remaining: Some(self.random.below(5)),
            reset_after: Some(Duration::from_millis(self.random.below(3_000))),
        };
        judged(verdicts, (self.random.below(4) == 0).then_some(budget))
    }

    /// The vendor takes the good ones of `batch`, unless it refuses it as a whole.
    fn process(&mut self, batch: &[(Key, Message)]) {
        if batch.iter().any(|(_, message)| is(message, POISON)) {
            return;
        }
        let takes = |message: &Message| is(message, GOOD) || is(message, ONCE);
        for (key, _) in batch.iter().filter(|(_, message)| takes(message)) {
            *self.vendor.entry(*key).or_default() += 1;
        }
    }

    /// Kills the program: what is not in the journal is gone, and the vendor may yet take what
    /// was sent.
    fn crash(&mut self) {
        for id in std::mem::take(&mut self.sent) {
            let batch = self.batch(id);
            self.doubtful.extend(batch.iter().map(|(key, _)| *key));
            if self.random.below(2) == 0 {
                self.process(&batch);
            }
        }
        // What was acknowledged and not written down is sent again: nobody else knows.
        self.doubtful.extend(self.finished.difference(&self.finished_on_disk));
        self.finished = self.finished_on_disk.clone();
        self.taken.clear();
        if self.random.below(2) == 0 {
            self.write_letters();
        }
        self.letters.clear();
        self.prepared.clear();
        self.starts.clear();
        let mut replay = Replay::default();
        for entry in &self.journal {
            replay.apply(Entry::decode(entry).unwrap()).unwrap();
        }
        self.dispatcher = dispatcher(rules(), replay.finish(), self.now());
        let end = self.end();
        self.numbers = add_streams(&mut self.dispatcher, end);
        for (_, (stream, place, part)) in &self.dispatcher.removable() {
            self.letters_on_disk.remove(&(stream_called(stream), *place, *part));
        }
        self.dispatcher.removed(&self.dispatcher.removable());
        self.revive();
        self.dispatcher.check().unwrap();
    }

    /// A request is within the limits, and each user's objects are the earliest unfinished ones
    /// of their stream, in order.
    fn check_batch(&self, id: RequestId) {
        let batch = self.dispatcher.batch(id);
        let limits = rules().limits;
        let call = batch.first().unwrap().message.section.call();
        assert!(batch.len() <= limits.objects_of(call));
        for delivery in batch {
            assert!(limits.share_a_request(batch[0].message.section, delivery.message.section));
        }
        let bytes: usize = batch.iter().map(|delivery| delivery.message.payload.len() + 1).sum();
        assert!(bytes as u64 <= limits.bytes_per_request.as_u64());
        for section in 0..3 {
            let section = batch.iter().filter(|d| d.message.section == Section(section));
            assert!(section.count() <= limits.objects_per_section);
        }
        for (index, delivery) in batch.iter().enumerate() {
            let (key, lane) = (key_of(delivery), delivery.message.lane);
            let ended = |key: &Key| self.finished.contains(key) || self.resent.contains(key);
            if let Some(other) = delivery.message.after {
                let mut before = self.taken.iter().filter(|key| lane_of(**key) == other);
                assert!(before.all(ended), "{key:?} does not wait for {other:?}");
            }
            for later in batch[index + 1..].iter().filter(|later| later.message.lane == lane) {
                assert!(later.message.section >= delivery.message.section);
                let resent = self.resent.contains(&key_of(later)) || self.resent.contains(&key);
                let ascends = key_of(later).0 != key.0 || key_of(later) > key;
                assert!(ascends || resent, "descends at {key:?}");
            }
            let earlier = self.taken.range((key.0, Place::default(), 0)..key);
            for earlier in earlier.filter(|earlier| lane_of(**earlier) == lane) {
                let before = batch[..index].iter().any(|d| key_of(d) == *earlier);
                assert!(before || ended(earlier), "{key:?} overtakes {earlier:?}");
            }
        }
    }

    fn check_rates(&self) {
        let now = self.now().monotonic;
        for rate in rules().limits.rates {
            let recent = self.starts.iter().filter(|start| now < **start + rate.per);
            assert!(recent.count() <= rate.requests as usize);
        }
    }

    fn batch(&self, id: RequestId) -> Vec<(Key, Message)> {
        let batch = self.dispatcher.batch(id).iter();
        batch.map(|delivery| (key_of(delivery), delivery.message.clone())).collect()
    }

    /// Everything that the log maps to.
    fn objects(&self, stream: usize) -> Vec<(Key, Mapped)> {
        let mut objects = Vec::new();
        for (offset, items) in (0..).step_by(100).zip(&self.log) {
            for index in 0..*items {
                let place = Place { offset, index };
                let mapped = (0..).zip(map(stream, place));
                objects.extend(mapped.map(|(part, mapped)| ((stream, place, part), mapped)));
            }
        }
        objects
    }

    fn end(&self) -> u64 {
        self.log.len() as u64 * RECORD
    }

    fn now(&self) -> Moment {
        at(self.millis)
    }

    fn below(&self, bound: u64) -> u32 {
        u32::try_from(self.random.below(bound)).unwrap()
    }
}

fn add_streams(dispatcher: &mut Dispatcher, end: u64) -> Vec<StreamNumber> {
    let log = Extent { start: 0, end };
    let add = |name: &&str| {
        // The second stream gives up.
        let attempts = (*name == STREAMS[1]).then_some(7);
        let retry = RetryPolicy { attempts, ..RetryPolicy::default() };
        let manner = Manner { retry, ..Manner::default() };
        dispatcher.add_stream((*name).into(), manner, log).unwrap()
    };
    STREAMS.iter().map(add).collect()
}

fn stream_called(name: &str) -> usize {
    STREAMS.iter().position(|known| *known == name).unwrap()
}

fn key_of(delivery: &Delivery) -> Key {
    (stream_called(&delivery.stream), delivery.place, delivery.part)
}

fn is(message: &Message, kind: &str) -> bool {
    message.payload.starts_with(kind)
}

/// Same place, same answer: what a mapping owes.
fn chance(stream: usize, place: Place) -> SeededRandom {
    SeededRandom::new(place.offset * 1_000 + u64::from(place.index) * 10 + stream as u64)
}

fn lane_of(key: Key) -> Lane {
    Lane(chance(key.0, key.1).below(5))
}

fn map(stream: usize, place: Place) -> Vec<Mapped> {
    let chance = chance(stream, place);
    let lane = Lane(chance.below(5));
    let one = |_| {
        let kind = match chance.below(40) {
            0 => POISON,
            1 | 2 => BAD,
            3 => return Mapped::Discard { reason: "no identifier" },
            4..10 => ONCE,
            _ => GOOD,
        };
        let guarantee = if kind == ONCE { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce };
        // Lanes from 3 on wait for nobody.
        let waits = lane < Lane(3) && chance.below(6) == 0;
        let after = waits.then(|| Lane(3 + chance.below(2)));
        let call = if waits || chance.below(10) == 0 { 0x10 } else { 0 };
        let section = Section(call + u8::try_from(chance.below(3)).unwrap());
        let payload = format!("{kind}{}", ".".repeat(usize::try_from(chance.below(80)).unwrap()));
        let message = Message { lane, section, name: kind.to_owned(), payload, guarantee, after };
        if chance.below(40) == 0 {
            let reason = "too deep".to_owned();
            return Mapped::Reject { reason, message };
        }
        Mapped::Deliver(message)
    };
    (0..chance.below(4)).map(one).collect()
}
