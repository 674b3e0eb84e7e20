mod world;

use super::*;
use crate::health::Condition;
use isthmus_core::ByteSize;
use isthmus_core::destination::{
    Budget, CallLimits, Guarantee, Lane, Rate, Section, Shares, Verdict, Waits,
};
use proptest::prelude::*;
use world::World;

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), cap: Duration::from_mins(1) };

fn rules() -> Rules {
    let limits = Limits {
        objects_per_request: 8,
        objects_per_section: 6,
        calls: vec![CallLimits {
            call: Call(1),
            objects_per_request: 2,
            one_section: true,
            settle: Duration::from_millis(500),
        }],
        bytes_per_object: ByteSize::bytes(100),
        bytes_per_request: ByteSize::bytes(1_400),
        requests_in_flight: 3,
        rates: vec![
            Rate { requests: 20, per: Duration::from_secs(3) },
            Rate { requests: 100, per: Duration::from_mins(1) },
        ],
        linger: Duration::from_millis(10),
        shares: Shares::default(),
        paces: Vec::new(),
    };
    Rules { limits, backoff: BACKOFF, window: Window::default() }
}

fn at(millis: u64) -> Moment {
    let monotonic = Duration::from_millis(millis);
    Moment { monotonic, wall: Timestamp::from_millis(1_770_000_000_000).plus(monotonic) }
}

/// A dispatcher with one stream, and what it takes to drive it by hand.
struct Hand {
    dispatcher: Dispatcher,
    stream: StreamNumber,
    next: u64,
    now: Moment,
    guarantee: Guarantee,
    letters: Vec<LetterChange>,
}

impl Hand {
    fn new(rules: Rules) -> Self {
        Self::with(rules, Manner::default())
    }

    fn with(rules: Rules, manner: Manner) -> Self {
        let mut dispatcher = self::dispatcher(rules, Checkpoint::default(), at(0));
        let log = Extent { start: 0, end: 0 };
        let stream = dispatcher.add_stream("product".into(), manner, log).unwrap();
        let guarantee = Guarantee::AtLeastOnce;
        Self { dispatcher, stream, next: 0, now: at(0), guarantee, letters: Vec::new() }
    }

    /// One record with one item per word, of the user that its first letter names. `a>b` is an
    /// object of another call that comes after all of user b.
    fn take(&mut self, words: &str) {
        let now = self.now;
        for (index, word) in (0..).zip(words.split_whitespace()) {
            let message = Message {
                lane: Lane(word.bytes().next().unwrap().into()),
                section: Section(if word.contains('>') { 0x10 } else { 0 }),
                name: word.to_owned(),
                payload: word.to_owned(),
                guarantee: self.guarantee,
                after: word.split_once('>').map(|(_, other)| Lane(other.as_bytes()[0].into())),
            };
            let place = Place { offset: self.next, index };
            let mut mapped = vec![Mapped::Deliver(message)];
            let (stream, letters) = (self.stream, &mut self.letters);
            self.dispatcher.take(stream, place, now.wall, &mut mapped, now, letters);
        }
        self.next += 100;
        self.dispatcher.advance(self.stream, self.next);
    }

    fn start(&mut self, millis: u64) -> Option<(RequestId, String)> {
        let id = self.dispatcher.start(at(millis))?;
        self.dispatcher.count_sent(id, self.dispatcher.batch(id).len(), 100);
        let names: Vec<_> = self.dispatcher.batch(id).iter().map(|d| &*d.message.name).collect();
        Some((id, names.join(" ")))
    }

    fn end(&mut self, id: RequestId, ending: &Ending, millis: u64) {
        let took = Duration::from_millis(40);
        self.dispatcher.finish(id, ending, took, at(millis), u64::MAX / 3, &mut self.letters);
        self.dispatcher.check().unwrap();
    }

    fn judge(&mut self, id: RequestId, millis: u64, verdict: impl Fn(&str) -> Verdict) {
        let batch = self.dispatcher.batch(id).iter();
        let verdicts = batch.map(|delivery| verdict(&delivery.message.name)).collect();
        self.end(id, &judged(verdicts), millis);
    }

    /// The dead letters that were kept.
    fn kept(&self) -> Vec<&DeadLetter> {
        let kept = self.letters.iter().filter_map(|change| match change {
            LetterChange::Keep(letter) => Some(letter),
            LetterChange::Remove(_) => None,
        });
        kept.collect()
    }

    fn counts(&self) -> crate::counts::Counts {
        self.dispatcher.streams[&self.stream].counts
    }
}

fn judged(verdicts: Vec<Verdict>) -> Ending {
    Ending::Judged { status: 200, message: String::new(), verdicts, budget: None }
}

fn dispatcher(rules: Rules, known: Checkpoint, now: Moment) -> Dispatcher {
    let governor = SharedGovernor::new(&rules.limits);
    Dispatcher::new("braze", rules, governor, known, now)
}

fn disabled() -> Manner {
    Manner { enabled: false, ..Manner::default() }
}

fn retry(_: &str) -> Verdict {
    Verdict::Retry { after: None, reason: "503".into() }
}

fn accept(_: &str) -> Verdict {
    Verdict::Accepted
}

#[test]
fn a_refused_batch_is_halved_until_the_culprit_is_alone() {
    let mut hand = Hand::new(rules());
    hand.take("a b c d e f g h");
    let (mut now, mut requests) = (0, Vec::new());
    while hand.counts().delivered + hand.counts().rejected < 8 {
        now += 1_000;
        let (id, names) = hand.start(now).unwrap();
        let poisoned = names.contains('f');
        requests.push(names);
        hand.judge(id, now, |_| {
            if poisoned {
                Verdict::Split { reason: "400 bad object".into(), too_many: false }
            } else {
                Verdict::Accepted
            }
        });
    }
    insta::assert_snapshot!(requests.join("\n"), @r"
    a b c d e f
    a b c
    d e f
    d e
    f
    g h
    ");
    let letters = hand.kept();
    assert_eq!(letters.len(), 1);
    assert_eq!((&*letters[0].name, &*letters[0].reason), ("f", "400 bad object"));
}

#[test]
fn objects_that_keep_failing_while_others_succeed_are_taken_apart() {
    let mut hand = Hand::new(rules());
    hand.take("a b c d");
    let mut requests = Vec::new();
    for now in (100_000..=700_000).step_by(100_000) {
        while let Some((id, names)) = hand.start(now) {
            hand.judge(id, now, if names.contains('c') { retry } else { accept });
            requests.push(names);
        }
        hand.take("z");
        let (id, _) = hand.start(now + 1).unwrap();
        hand.judge(id, now + 1, accept);
    }
    insta::assert_snapshot!(requests.join("\n"), @r"
    a b c d
    a b c d
    a b c d
    a b c d
    a b
    c d
    c
    d
    c
    ");
}

#[test]
fn a_vendor_that_is_down_is_tried_with_one_request_at_a_time() {
    let mut hand = Hand::new(rules());
    hand.take("a b c d e f g h i j k l m n o p q r s t u v w x y z");
    let mut now = 0;
    let mut started = Vec::new();
    while started.len() < 40 {
        now += 100;
        while let Some((id, _)) = hand.start(now) {
            started.push(now);
            hand.end(id, &Ending::NotSent { reason: "refused".into() }, now);
        }
    }
    assert!(matches!(hand.dispatcher.condition(), Condition::Struggling { .. }));
    let late = started.windows(2).rev().take(10).map(|pair| pair[1] - pair[0]);
    assert!(late.min() > Some(5_000), "{started:?}");
    assert_eq!(hand.counts().possible_duplicates, 0, "nothing was sent");
}

#[test]
fn a_429_makes_the_whole_destination_wait_and_costs_no_attempt() {
    let mut hand = Hand::new(rules());
    hand.take("a b");
    let (id, _) = hand.start(1_000).unwrap();
    let after = Some(Duration::from_secs(30));
    hand.judge(id, 1_000, |_| Verdict::Retry { after, reason: "429".into() });
    hand.take("c");
    assert_eq!(hand.start(30_999), None);
    assert_eq!(hand.dispatcher.next_start(at(2_000).monotonic), Some(Duration::from_secs(31)));
    let (id, names) = hand.start(31_000).unwrap();
    assert_eq!(names, "a b c");
    hand.judge(id, 31_000, accept);
    assert_eq!(hand.counts().delivered_at_once, 3);
}

#[test]
fn what_comes_after_another_lane_waits_for_it_and_settles_before_what_follows() {
    let mut hand = Hand::new(rules());
    hand.take("d1 a>d a2 e1");
    let (first, names) = hand.start(1_000).unwrap();
    assert_eq!(names, "d1 e1");
    hand.judge(first, 1_000, retry);
    hand.take("d2 f1");
    let mut requests = Vec::new();
    for now in (1_010..4_000).step_by(10) {
        while let Some((id, names)) = hand.start(now) {
            requests.push(format!("{now}: {names}"));
            hand.judge(id, now, accept);
        }
    }
    insta::assert_snapshot!(requests.join("\n"), @r"
    1010: f1
    1050: d1 d2 e1
    1550: a>d
    2050: a2
    ");
    assert_eq!(hand.dispatcher.lanes.len(), 0);
}

#[test]
fn nobody_waits_in_a_circle() {
    let mut hand = Hand::new(rules());
    hand.take("a>b b>a c>c");
    let mut requests = Vec::new();
    for now in (1_000..3_000).step_by(100) {
        while let Some((id, names)) = hand.start(now) {
            requests.push(names);
            hand.judge(id, now, accept);
        }
    }
    assert_eq!(requests, ["a>b c>c", "b>a"]);
}

#[test]
fn an_operators_impatience_does_not_cut_settling_short() {
    let mut hand = Hand::new(rules());
    hand.take("a>d a2");
    let (id, _) = hand.start(1_000).unwrap();
    hand.judge(id, 1_000, accept);
    hand.dispatcher.resume();
    hand.dispatcher.check().unwrap();
    assert_eq!(hand.start(1_499), None);
    assert_eq!(hand.dispatcher.next_start(at(1_499).monotonic), Some(at(1_500).monotonic));
    assert_eq!(hand.start(1_500).unwrap().1, "a2");
}

#[test]
fn other_calls_teach_nothing_about_the_budget_and_the_room_of_the_main_one() {
    let mut hand = Hand::new(rules());
    hand.take("a>d b>d");
    let (id, names) = hand.start(1_000).unwrap();
    assert_eq!(names, "a>d b>d");
    let verdicts = vec![Verdict::Split { reason: "too many".into(), too_many: true }; 2];
    let reset_after = Some(Duration::from_mins(1));
    let budget = Some(Budget { limit: Some(2), remaining: Some(0), reset_after });
    hand.end(id, &Ending::Judged { status: 400, message: String::new(), verdicts, budget }, 1_000);
    hand.take("e f g h i j");
    let mut requests = Vec::new();
    while let Some((id, names)) = hand.start(1_100) {
        hand.judge(id, 1_100, accept);
        requests.push(names);
    }
    assert_eq!(requests, ["a>d", "b>d", "e f g h i j"]);
    // A wait that the vendor asks for holds for all calls.
    hand.take("k>d");
    let (id, _) = hand.start(1_200).unwrap();
    let after = Some(Duration::from_secs(30));
    hand.judge(id, 1_200, |_| Verdict::Retry { after, reason: "429".into() });
    hand.take("l");
    assert_eq!(hand.start(31_199), None);
}

#[test]
fn a_refused_key_pauses_until_one_object_is_taken() {
    let mut hand = Hand::new(rules());
    hand.take("a b c");
    let (id, _) = hand.start(1_000).unwrap();
    let verdicts = vec![Verdict::Pause { reason: "401".into() }; 3];
    let (message, budget) = ("401".to_owned(), None);
    hand.end(id, &Ending::Judged { status: 401, message, verdicts, budget }, 1_000);
    assert_eq!(hand.counts().unknown, 0, "nothing was taken");
    let paused = Condition::Paused { reason: "401".into(), since: at(1_000).wall };
    assert_eq!(hand.dispatcher.condition(), paused);
    assert_eq!(hand.start(1_000), None);
    let (id, names) = hand.start(100_000).unwrap();
    assert_eq!((&*names, hand.start(100_000)), ("a", None));
    hand.judge(id, 100_000, accept);
    assert_eq!(hand.dispatcher.condition(), Condition::Well);
    assert_eq!(hand.start(100_100).unwrap().1, "b c");
}

#[test]
fn a_success_in_words_that_are_not_the_vendors_pauses_and_is_unknown() {
    let mut hand = Hand::new(rules());
    hand.take("a");
    let (id, _) = hand.start(1_000).unwrap();
    // A proxy's page with status 200.
    hand.judge(id, 1_000, |_| Verdict::Pause { reason: "200 that is not the vendor's".into() });
    assert!(matches!(hand.dispatcher.condition(), Condition::Paused { .. }));
    let (id, _) = hand.start(100_000).unwrap();
    hand.judge(id, 100_000, accept);
    assert_eq!((hand.counts().unknown, hand.counts().possible_duplicates), (1, 1));
    assert_eq!(hand.dispatcher.condition(), Condition::Well);
}

#[test]
fn a_timeout_is_unknown_and_sending_again_is_a_possible_duplicate() {
    let mut hand = Hand::new(rules());
    hand.take("a b");
    let (id, _) = hand.start(1_000).unwrap();
    hand.end(id, &Ending::Unknown { reason: "timed out".into() }, 1_000);
    let status = hand.dispatcher.status(&"braze".into(), at(1_000));
    assert_eq!((status.streams[0].unknown_pending, status.streams[0].pending), (2, 2));
    let (id, _) = hand.start(100_000).unwrap();
    hand.judge(id, 100_000, accept);
    let counts = hand.counts();
    assert_eq!((counts.unknown, counts.possible_duplicates), (2, 2));
    assert_eq!((counts.delivered, counts.delivered_at_once), (2, 0));
    let status = hand.dispatcher.status(&"braze".into(), at(100_000));
    assert_eq!(status.streams[0].unknown_pending, 0);
}

#[test]
fn what_must_not_be_doubled_is_parked_and_listed_not_sent_again() {
    let mut hand = Hand::new(rules());
    hand.guarantee = Guarantee::AtMostOnce;
    hand.take("a b");
    let (id, _) = hand.start(1_000).unwrap();
    let unknown = |_: &str| Verdict::Unknown { after: None, reason: "500".into() };
    hand.judge(id, 1_000, unknown);
    hand.take("a");
    assert_eq!(hand.start(100_000).unwrap().1, "a", "the user's next object is not held up");
    let counts = hand.counts();
    assert_eq!((counts.accepted, counts.parked, counts.unknown), (3, 2, 2));
    let letters: Vec<_> =
        hand.kept().into_iter().map(|letter| (letter.cause, &*letter.reason)).collect();
    assert_eq!(letters, [(Cause::Unknown, "500"), (Cause::Unknown, "500")]);
    let status = hand.dispatcher.status(&"braze".into(), at(100_000));
    assert!(status.streams[0].adds_up());
    assert_eq!((status.streams[0].pending, status.streams[0].unknown_pending), (3, 2));
}

#[test]
fn a_policy_gives_up_after_so_many_attempts_or_so_much_time_and_never_without_a_try() {
    let retry_policy = |attempts, within| RetryPolicy {
        attempts,
        within,
        waits: Waits::Fixed(vec![Duration::from_secs(10)]),
    };
    for (policy, tries) in [
        (retry_policy(Some(3), None), 3),
        (retry_policy(None, Some(Duration::from_secs(25))), 4),
        (retry_policy(Some(9), Some(Duration::from_secs(5))), 2),
    ] {
        let manner = Manner { retry: policy, ..Manner::default() };
        let mut hand = Hand::with(rules(), manner);
        hand.take("a");
        let (mut now, mut tried) = (1_000, 0);
        while hand.letters.is_empty() {
            let (id, _) = hand.start(now).unwrap();
            hand.judge(id, now, retry);
            tried += 1;
            // Another user's success keeps the destination from being tried ever more rarely.
            hand.take("z");
            let (id, _) = hand.start(now + 1_000).unwrap();
            hand.judge(id, now + 1_000, accept);
            assert_eq!(hand.start(now + 9_999), None, "waits as long as the policy says");
            now += 10_000;
        }
        assert_eq!(tried, tries);
        let letter = hand.kept()[0];
        assert_eq!((letter.cause, letter.attempts), (Cause::Expired, tries));
        assert!(letter.reason.starts_with("given up after"), "{}", letter.reason);
        assert!(letter.reason.ends_with("last: 503"), "{}", letter.reason);
        assert_eq!((hand.counts().rejected, hand.counts().expired), (1, 1));
    }
}

#[test]
fn a_limit_that_was_learned_is_tried_with_ever_smaller_steps() {
    let mut hand = Hand::new(rules());
    hand.take("a b c d e f a b c d e f a b c d e f a b c d e f");
    let (mut now, mut sizes) = (1_000, Vec::new());
    while hand.counts().delivered < 24 {
        now += 10_000;
        let Some((id, _)) = hand.start(now) else { continue };
        let size = hand.dispatcher.batch(id).len();
        sizes.push(size);
        hand.judge(id, now, |_| match size {
            0..=4 => Verdict::Accepted,
            _ => Verdict::Split { reason: "400".into(), too_many: true },
        });
    }
    assert!(sizes[0] == 6 && sizes[sizes.len() - 2] == 4, "{sizes:?}");
    assert!(sizes.iter().filter(|size| **size > 4).count() <= 3, "{sizes:?}");
    assert!(hand.letters.is_empty());
}

#[test]
fn a_restart_neither_forgets_nor_hurries_a_wait() {
    let mut hand = Hand::new(rules());
    hand.take("a");
    for _ in 0..2 {
        let mut now = 1_000;
        let id = loop {
            match hand.start(now) {
                Some((id, _)) => break id,
                None => now += 100,
            }
        };
        hand.judge(id, 60_000, retry);
        hand.dispatcher.take_entry(at(60_000)).unwrap();
    }
    let due = hand.dispatcher.next_start(at(60_000).monotonic).unwrap();
    let wait = due.saturating_sub(at(60_000).monotonic);
    assert!(wait > Duration::from_millis(10), "{wait:?}");
    hand.dispatcher.want_checkpoint();
    let Some(Entry::Checkpoint(known)) = hand.dispatcher.take_entry(at(60_000)) else { panic!() };
    // The other process has a monotonic clock of its own; a second passed on the wall.
    let mut dispatcher = self::dispatcher(rules(), *known, at(60_005));
    let log = Extent { start: 0, end: 100 };
    let stream = dispatcher.add_stream("product".into(), Manner::default(), log).unwrap();
    let mut hand = Hand { dispatcher, stream, ..Hand::new(rules()) };
    hand.now = at(60_005);
    hand.take("a");
    let millis = u64::try_from(due.as_millis()).unwrap();
    assert_eq!(hand.start(millis - 2), None);
    assert_eq!(hand.start(millis + 1).unwrap().1, "a");
    let status = hand.dispatcher.status(&"braze".into(), at(millis + 1));
    assert_eq!(status.streams[0].retrying, 1);
}

#[test]
fn an_object_larger_than_the_vendor_takes_is_a_dead_letter_at_once() {
    let mut hand = Hand::new(rules());
    let long = "x".repeat(101);
    hand.take(&format!("a {long}"));
    assert_eq!(hand.kept()[0].reason, "object of 101 bytes exceeds 100 bytes");
    assert_eq!(hand.kept()[0].payload, long);
    assert_eq!(hand.start(1_000).unwrap().1, "a");
    assert_eq!((hand.counts().accepted, hand.counts().rejected), (2, 1));
}

#[test]
fn an_object_that_no_verdict_mentions_is_left_to_people() {
    let mut hand = Hand::new(rules());
    hand.take("a b");
    let (id, _) = hand.start(1_000).unwrap();
    let verdicts = vec![Verdict::Accepted];
    hand.end(id, &judged(verdicts), 1_000);
    assert_eq!((hand.counts().delivered, hand.letters.len()), (1, 1));
}

#[test]
fn a_window_that_is_full_stops_reading_and_a_stuck_user_does_not_fill_it() {
    let window = Window { objects: 4, bytes: 1 << 20, items: 6 };
    let mut hand = Hand::new(Rules { window, ..rules() });
    assert_eq!(hand.dispatcher.next_read(10_000), Some(0));
    hand.take("a");
    let (stuck, _) = hand.start(1_000).unwrap();
    for users in ["b", "c", "d"] {
        assert!(hand.dispatcher.next_read(10_000).is_some());
        hand.take(users);
        let (id, _) = hand.start(2_000).unwrap();
        hand.judge(id, 2_000, accept);
    }
    hand.take("b c");
    assert_eq!(hand.dispatcher.next_read(10_000), None, "six items from the stuck one on");
    let stream = &hand.dispatcher.streams[&hand.stream];
    assert_eq!(stream.cursor(), Place { offset: 0, index: 0 });
    hand.judge(stuck, 3_000, accept);
    let stream = &hand.dispatcher.streams[&hand.stream];
    assert_eq!(stream.cursor(), Place { offset: 400, index: 0 });
    assert_eq!(hand.dispatcher.next_read(10_000), Some(500));
}

#[test]
fn halting_stops_sending_and_loses_nothing() {
    let mut hand = Hand::new(rules());
    hand.take("a b");
    hand.dispatcher.halt("maintenance".into());
    assert_eq!(hand.start(1_000), None);
    assert_eq!(hand.dispatcher.next_start(at(1_000).monotonic), None);
    hand.dispatcher.resume();
    assert_eq!(hand.start(1_000).unwrap().1, "a b");
}

#[test]
fn a_removed_stream_is_forgotten_wherever_its_objects_are() {
    let mut hand = Hand::new(rules());
    hand.take("a");
    let (id, _) = hand.start(1_000).unwrap();
    hand.take("a b");
    hand.dispatcher.remove_stream("product", at(1_000)).unwrap();
    hand.dispatcher.check().unwrap();
    let again = Err(StreamError::Unknown { name: "product".into() });
    assert_eq!(hand.dispatcher.remove_stream("product", at(1_000)), again);
    hand.judge(id, 1_100, accept);
    assert_eq!(hand.start(2_000), None);
    assert!(hand.dispatcher.is_idle(10_000));
}

#[test]
fn what_passes_while_a_stream_is_disabled_is_never_sent() {
    let mut hand = Hand::new(rules());
    hand.take("a");
    hand.dispatcher.set_enabled("product", false, 100).unwrap();
    assert_eq!(hand.dispatcher.next_read(500), None);
    // Restarts while "a" is not delivered: it was accepted, so it is still read and sent.
    let Some(Entry::Checkpoint(known)) = hand.dispatcher.take_entry(at(0)) else { panic!() };
    let log = Extent { start: 0, end: 500 };
    let mut dispatcher = self::dispatcher(rules(), *known, at(0));
    let stream = dispatcher.add_stream("product".into(), disabled(), log).unwrap();
    assert_eq!(dispatcher.next_read(500), Some(0));
    dispatcher.set_enabled("product", true, 500).unwrap();
    let mut hand = Hand { dispatcher, stream, ..Hand::new(rules()) };
    hand.take("a");
    assert_eq!(hand.dispatcher.next_read(500), None);
    assert_eq!(hand.dispatcher.next_read(501), Some(500));
    assert_eq!(hand.start(1_000).unwrap().1, "a");
}

#[test]
fn a_stream_that_nobody_asks_for_is_disabled_and_holds_no_log() {
    let mut hand = Hand::new(rules());
    hand.take("a");
    let Some(Entry::Checkpoint(known)) = hand.dispatcher.take_entry(at(0)) else { panic!() };
    let mut dispatcher = self::dispatcher(rules(), *known, at(0));
    assert_eq!(dispatcher.retire_the_rest(), ["product"]);
    assert_eq!(dispatcher.status(&"braze".into(), at(0)).lowest_cursor(), None);
    let Some(Entry::Checkpoint(known)) = dispatcher.take_entry(at(0)) else { panic!() };
    let mut dispatcher = self::dispatcher(rules(), *known, at(0));
    // The log was trimmed meanwhile, beyond what the stream had pending.
    let log = Extent { start: 300, end: 500 };
    let stream = dispatcher.add_stream("product".into(), Manner::default(), log).unwrap();
    assert_eq!(dispatcher.next_read(600), Some(500));
    assert_eq!(stream, hand.stream);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the vendor does and wherever the program is killed.
    #[test]
    fn nothing_is_lost_doubled_reordered_or_miscounted(seed: u64) {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        world.mend_and_drain();
    }
}
