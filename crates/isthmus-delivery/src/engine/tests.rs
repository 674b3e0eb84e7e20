mod history;
mod jobs;
mod mirroring;
mod vendor;

use super::*;
use crate::dispatcher::{Decided, Manner};
use crate::journal::Decision;
use crate::journal::stored::{Keep, StoredJournal};
use crate::ledger::Ledger;
use crate::memory::{MemoryDeadLetters, MemoryJournal, MemorySource};
use crate::source::SourceRecord;
use crate::source::event_log::EventLog;
use futures_util::poll;
use isthmus_core::record::{Applied, AppliedBatch, AppliedEvent, IntakeRange, UserProperties};
use isthmus_core::seam::{ManualClock, SeededRandom};
use isthmus_core::{AmplitudeId, Place, Timestamp};
use isthmus_log::{FakeDisk, Log, LogConfig, RealDisk};
use isthmus_state::State;
use isthmus_state::dead_letters::DeadLetters;
use std::path::Path;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use vendor::{Answer, Vendor, Words};

const START: Timestamp = Timestamp::from_millis(1_770_000_000_000);

/// A destination on a manual clock, with everything that a crash leaves in place.
struct Bench {
    clock: ManualClock,
    source: MemorySource,
    journal: MemoryJournal,
    letters: MemoryDeadLetters,
    vendor: Arc<Vendor>,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::at(START);
        Self {
            source: MemorySource::default(),
            journal: MemoryJournal::default(),
            letters: MemoryDeadLetters::default(),
            vendor: Arc::new(Vendor::new(clock.clone())),
            clock,
        }
    }

    fn parts(&self) -> Parts {
        Parts {
            name: "braze".into(),
            destination: self.vendor.clone(),
            source: Arc::new(self.source.clone()),
            journal: Arc::new(self.journal.clone()),
            dead_letters: Arc::new(self.letters.clone()),
            budgets: Budgets::default(),
            http: self.vendor.clone(),
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(SeededRandom::new(7)),
            config: EngineConfig::default(),
        }
    }

    fn append(&self, text: &str) -> u64 {
        self.source.append(batch(text, self.clock.now(), UserProperties::None))
    }

    /// Runs an engine with the stream `product` while `scenario` lasts, and then kills it.
    async fn run<T>(&self, scenario: impl AsyncFnOnce(Handle) -> T) -> T {
        run(&self.clock, self.parts(), vec![words("product")], scenario).await
    }
}

async fn run<T>(
    clock: &ManualClock,
    parts: Parts,
    streams: Vec<StreamSpec>,
    scenario: impl AsyncFnOnce(Handle) -> T,
) -> T {
    let (engine, handle) = Engine::open(parts, streams).unwrap();
    let engine = Box::pin(engine.run(CancellationToken::new()));
    drive(clock, async {
        tokio::select! {
            result = engine => panic!("engine ended: {result:?}"),
            outcome = scenario(handle) => outcome,
        }
    })
    .await
}

/// Polls `work` to its end, moving the clock whenever everybody waits for it.
async fn drive<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    // Threads of real logs need a moment; nothing needs this many.
    let mut rounds_left = 5_000_000;
    loop {
        for _ in 0..20 {
            if let Poll::Ready(outcome) = poll!(work.as_mut()) {
                return outcome;
            }
            tokio::task::yield_now().await;
        }
        rounds_left -= 1;
        assert!(rounds_left > 0, "everybody waits for ever");
        if let Some(due) = clock.next_due() {
            clock.advance(due.max(Duration::from_millis(1)));
        }
    }
}

fn stored(log: Log, clock: &ManualClock) -> StoredJournal {
    StoredJournal::new(
        log,
        Keep { at_least: Duration::ZERO, at_most: None },
        Arc::new(clock.clone()),
    )
}

fn words(name: &str) -> StreamSpec {
    StreamSpec { name: name.into(), mapping: Arc::new(Words), manner: Manner::default() }
}

/// One event per word: the user, a colon, the event's name.
fn batch(text: &str, received_at: Timestamp, user_properties: UserProperties<'_>) -> Vec<u8> {
    let items = text.split_whitespace().map(|word| {
        let (user, event_type) = word.split_once(':').unwrap();
        Applied::Event(AppliedEvent {
            project: "shop",
            user: AmplitudeId(1),
            user_id: Some(user),
            device_id: "d",
            device_id_derived: false,
            event_type,
            event_time: received_at.as_millis(),
            client_event_time: received_at.as_millis(),
            received_at: received_at.as_millis(),
            session_id: None,
            event_id: None,
            insert_id: None,
            event_properties: None,
            groups: None,
            group_properties: None,
            fields: None,
            user_properties,
            sent_user_properties: None,
            skip_user_properties_sync: false,
            remote_address: None,
            currents: None,
        })
    });
    let intake = IntakeRange { from: Place::default(), to: Place::default() };
    AppliedBatch { intake, received_at: 0, items: items.collect() }.encode()
}

#[tokio::test]
async fn delivers_in_order_within_a_user_and_everything_adds_up() {
    let bench = Bench::new();
    bench.append("ana:from-before-the-stream");
    bench
        .run(async |handle| {
            bench.append("ana:a bob:b ana:c ana:skip eve:d");
            bench.append("ana:e bob:f");
            handle.wait_idle().await.unwrap();
            let status = handle.status();
            let stream = status.stream("product").unwrap();
            assert!(stream.adds_up());
            assert_eq!((stream.counts.delivered, stream.counts.discarded), (6, 1));
            assert_eq!(stream.discards["not wanted"], 1);
            assert_eq!(stream.counts.delivered_at_once, 6);
            assert_eq!(stream.latency.count, 6);
            assert!(stream.latency.p50 >= vendor::LATENCY);
            assert_eq!(stream.cursor, Place { offset: bench.source.end(), index: 0 });
            assert_eq!(status.totals.objects + status.totals.joined, 6);
        })
        .await;
    assert_eq!(bench.vendor.taken_of("ana"), ["a", "c", "e"]);
    assert_eq!(bench.vendor.taken_of("bob"), ["b", "f"]);
}

#[tokio::test]
async fn what_is_accepted_once_a_stream_is_on_disk_is_sent_whatever_crash_follows() {
    let bench = Bench::new();
    bench
        .run(async |handle| {
            handle.wait_on_disk().await.unwrap();
            bench.append("ana:a");
        })
        .await;
    assert_eq!(bench.vendor.taken(), 0, "the crash came first");
    bench.run(async |handle| handle.wait_idle().await.unwrap()).await;
    assert_eq!(bench.vendor.taken_of("ana"), ["a"]);
}

#[tokio::test]
async fn an_intent_is_on_disk_before_its_request_leaves() {
    let bench = Bench::new();
    let before = bench.journal.clone();
    bench.vendor.watch(move || {
        let known = replay(&before).unwrap();
        known.streams.first().map_or(0, |stream| stream.tried.len())
    });
    bench
        .run(async |handle| {
            bench.append("ana:a bob:b");
            handle.wait_idle().await.unwrap();
        })
        .await;
    assert_eq!(bench.vendor.watched(), [2], "both objects were in the journal, without outcome");
}

#[tokio::test]
async fn a_crash_repeats_what_is_unknown_and_nothing_that_was_acknowledged() {
    let bench = Bench::new();
    bench
        .run(async |handle| {
            bench.append("ana:a bob:b");
            handle.wait_idle().await.unwrap();
            bench.clock.sleep(CHECKPOINT_EVERY + CHECKPOINT_EVERY).await;
            bench.vendor.answer("hang", Answer::Nothing);
            bench.append("ana:c bob:hang eve:d");
            bench.vendor.reached(2).await;
        })
        .await;
    bench.vendor.forget("hang");
    bench
        .run(async |handle| {
            let status = handle.status();
            assert_eq!(status.stream("product").unwrap().unknown_pending, 3);
            handle.wait_idle().await.unwrap();
            let counts = handle.status().stream("product").unwrap().counts;
            assert_eq!((counts.unknown, counts.possible_duplicates), (3, 3));
            assert_eq!((counts.accepted, counts.delivered), (5, 5));
        })
        .await;
    assert_eq!(bench.vendor.taken_of("ana"), ["a", "c"]);
    assert_eq!(bench.vendor.taken_of("bob"), ["b", "hang"]);
}

#[tokio::test]
async fn stopping_waits_for_what_is_under_way_and_leaves_nothing_unknown() {
    let bench = Bench::new();
    let (engine, handle) = Engine::open(bench.parts(), vec![words("product")]).unwrap();
    let stop = CancellationToken::new();
    bench.append("ana:a bob:b");
    let scenario = async {
        bench.vendor.reached(1).await;
        stop.cancel();
        bench.append("ana:late");
    };
    let engine = Box::pin(engine.run(stop.clone()));
    let (result, ()) = drive(&bench.clock, async { tokio::join!(engine, scenario) }).await;
    result.unwrap();
    assert_eq!(handle.wait_idle().await, Err(ControlError::Stopped));
    let known = replay(&bench.journal).unwrap();
    assert_eq!(bench.journal.len(), 1, "one checkpoint says it all");
    assert_eq!((known.streams[0].counts.delivered, known.streams[0].tried.len()), (2, 0));
    bench.run(async |handle| handle.wait_idle().await.unwrap()).await;
    assert_eq!(bench.vendor.taken_of("ana"), ["a", "late"]);
}

#[tokio::test]
async fn poison_becomes_a_dead_letter_and_the_others_go_on() {
    let bench = Bench::new();
    bench.vendor.answer("poison", Answer::RefuseRequest);
    bench.vendor.answer("bad", Answer::RefuseObject);
    bench
        .run(async |handle| {
            bench.append("ana:a bob:poison eve:b dan:bad ana:c bob:d");
            handle.wait_idle().await.unwrap();
            let counts = handle.status().stream("product").unwrap().counts;
            assert_eq!((counts.delivered, counts.rejected), (4, 2));
        })
        .await;
    let letters = bench.letters.all();
    let letters: Vec<_> = letters.iter().map(|letter| (&*letter.name, &*letter.reason)).collect();
    assert_eq!(letters, [("poison", "400 refused"), ("bad", "bad object")]);
    assert_eq!(bench.vendor.taken_of("bob"), ["d"]);
}

#[tokio::test]
async fn an_object_sent_again_whose_letter_is_gone_was_delivered_and_the_ledger_says_so() {
    let bench = Bench { journal: MemoryJournal::for_a_ledger(), ..Bench::new() };
    bench.vendor.answer("bad", Answer::RefuseObject);
    let place = bench
        .run(async |handle| {
            bench.append("eve:bad");
            handle.wait_idle().await.unwrap();
            bench.vendor.forget("bad");
            let letters = bench.letters.all();
            let place = letters[0].place;
            handle.decide("product", letters, Decision::Resend, "ana".into()).await.unwrap();
            handle.wait_idle().await.unwrap();
            place
        })
        .await;
    assert!(bench.letters.all().is_empty());
    // Killed after the letter went and before the outcome was on disk; and once more after that.
    let journal = bench.journal.cut_after(bench.journal.len() - 1);
    let bench = Bench { journal, ..bench };
    for _ in 0..2 {
        bench
            .run(async |handle| {
                handle.wait_idle().await.unwrap();
                let counts = handle.status().stream("product").unwrap().counts;
                assert_eq!((counts.accepted, counts.delivered), (1, 1));
            })
            .await;
        let ledger = Ledger::new(Arc::new(bench.journal.clone()));
        let stories = ledger.stories(&[place].into()).unwrap();
        assert_eq!(stories[0].state(), crate::ledger::State::Delivered);
    }
    assert_eq!(bench.vendor.taken(), 1);
}

#[tokio::test]
async fn a_letter_whose_outcome_was_not_written_down_goes_when_its_object_is_delivered() {
    let bench = Bench { journal: MemoryJournal::for_a_ledger(), ..Bench::new() };
    bench.vendor.answer("bad", Answer::RefuseObject);
    bench
        .run(async |handle| {
            bench.append("eve:bad");
            handle.wait_idle().await.unwrap();
        })
        .await;
    let journal = bench.journal.cut_after(bench.journal.len() - 1);
    let bench = Bench { journal, ..bench };
    bench.vendor.answer("bad", Answer::Nothing);
    bench
        .run(async |handle| {
            bench.vendor.reached(2).await;
            let letters = bench.letters.all();
            let decided = handle.decide("product", letters, Decision::Resend, "ana".into()).await;
            let passed_over = Decided { objects: 0, passed_over: 1 };
            assert_eq!(decided.unwrap(), passed_over, "the object is under way");
        })
        .await;
    bench.vendor.forget("bad");
    bench
        .run(async |handle| {
            handle.wait_idle().await.unwrap();
            let counts = handle.status().stream("product").unwrap().counts;
            assert_eq!((counts.accepted, counts.delivered, counts.rejected), (1, 1, 0));
        })
        .await;
    assert_eq!((bench.letters.all(), bench.vendor.taken()), (Vec::new(), 1));
}

#[tokio::test]
async fn a_wrong_key_pauses_loses_nothing_and_resumes_by_itself_when_mended() {
    let bench = Bench::new();
    bench.vendor.break_with(Some(401));
    bench
        .run(async |handle| {
            bench.append("ana:a bob:b");
            bench.clock.sleep(Duration::from_mins(10)).await;
            let status = handle.status();
            assert!(matches!(status.condition, Condition::Paused { .. }), "{status:?}");
            assert_eq!(status.stream("product").unwrap().pending, 2);
            assert!((10..120).contains(&bench.vendor.requests()), "{}", bench.vendor.requests());
            bench.vendor.break_with(None);
            handle.wait_idle().await.unwrap();
            assert_eq!(handle.status().condition, Condition::Well);
        })
        .await;
    assert_eq!(bench.vendor.taken_of("ana"), ["a"]);
}

#[tokio::test]
async fn an_outage_of_a_day_is_waited_out() {
    let bench = Bench::new();
    bench.vendor.break_with(Some(503));
    bench
        .run(async |handle| {
            let users: Vec<_> = (0..500).map(|n| format!("u{n}:a")).collect();
            bench.append(&users.join(" "));
            bench.clock.sleep(Duration::from_hours(24)).await;
            assert!(bench.vendor.requests() < 6_000, "{}", bench.vendor.requests());
            bench.vendor.break_with(None);
            handle.wait_idle().await.unwrap();
            assert_eq!(handle.status().stream("product").unwrap().counts.delivered, 500);
        })
        .await;
    assert_eq!(bench.vendor.taken(), 500);
}

#[tokio::test]
async fn streams_come_and_go_while_running() {
    let bench = Bench::new();
    bench
        .run(async |handle| {
            handle.add_stream(words("marketing")).await.unwrap();
            let error = handle.add_stream(words("marketing")).await.unwrap_err();
            assert_eq!(error.to_string(), "stream `marketing` exists already");
            bench.append("ana:a");
            handle.wait_idle().await.unwrap();
            assert_eq!(bench.vendor.taken_of("ana"), ["a", "a"]);

            handle.disable_stream("marketing").await.unwrap();
            bench.append("ana:b");
            handle.wait_idle().await.unwrap();
            assert_eq!(bench.vendor.taken_of("ana"), ["a", "a", "b"]);

            handle.enable_stream("marketing").await.unwrap();
            bench.append("ana:c");
            handle.wait_idle().await.unwrap();
            assert_eq!(bench.vendor.taken_of("ana"), ["a", "a", "b", "c", "c"]);

            handle.remove_stream("marketing").await.unwrap();
            let error = handle.enable_stream("marketing").await.unwrap_err();
            assert_eq!(error.to_string(), "stream `marketing` does not exist");
        })
        .await;
}

#[tokio::test]
async fn a_paused_destination_sends_nothing_until_resumed() {
    let bench = Bench::new();
    bench
        .run(async |handle| {
            handle.pause("maintenance".into()).await.unwrap();
            bench.append("ana:a");
            bench.clock.sleep(Duration::from_hours(1)).await;
            assert_eq!(bench.vendor.requests(), 0);
            assert_eq!(handle.status().stream("product").unwrap().pending, 1);
            handle.resume().await.unwrap();
            handle.wait_idle().await.unwrap();
            assert_eq!(bench.vendor.taken(), 1);
        })
        .await;
}

#[tokio::test]
async fn user_properties_are_resolved_wherever_they_are_inlined() {
    let bench = Bench::new();
    let inline = UserProperties::Inline(r#"{"plan":"pro"}"#);
    let first = bench.source.append(batch("ana:a ana:props", START, inline));
    bench
        .run(async |handle| {
            let here = Place { offset: first, index: 1 };
            bench.source.append(batch("ana:props", START, UserProperties::At(here)));
            bench.source.append(batch("ana:props", START, inline));
            bench.source.append(batch("ana:props", START, UserProperties::None));
            handle.wait_idle().await.unwrap();
        })
        .await;
    let plan = r#"props{"plan":"pro"}"#;
    assert_eq!(bench.vendor.taken_of("ana"), [plan, plan, "props"]);
}

/// A log that grows right after somebody looked at its end.
#[derive(Debug, Default)]
struct Growing {
    source: MemorySource,
    /// What is appended, and after how many more looks.
    next: Mutex<Option<(u32, Vec<u8>)>>,
}

impl EventSource for Growing {
    fn start(&self) -> u64 {
        self.source.start()
    }

    fn end(&self) -> u64 {
        let end = self.source.end();
        let mut next = self.next.lock().unwrap();
        match next.take() {
            Some((0, record)) => drop(self.source.append(record)),
            Some((looks, record)) => *next = Some((looks - 1, record)),
            None => {}
        }
        end
    }

    fn read(&self, offset: u64) -> Result<Option<SourceRecord>, SourceError> {
        self.source.read(offset)
    }

    fn wait_beyond(&self, offset: u64) -> BoxFuture<'static, ()> {
        self.source.wait_beyond(offset)
    }
}

#[tokio::test]
async fn an_event_that_arrives_between_looking_and_waiting_is_not_overlooked() {
    for looks in 0..6 {
        let bench = Bench::new();
        let source = Arc::new(Growing::default());
        let parts = Parts { source: source.clone(), ..bench.parts() };
        run(&bench.clock, parts, vec![words("product")], async |handle| {
            let event = batch("ana:a", START, UserProperties::None);
            *source.next.lock().unwrap() = Some((looks, event));
            // A command makes the engine look a few times and then wait.
            handle.resume().await.unwrap();
            bench.clock.sleep(Duration::from_secs(1)).await;
            let came = usize::from(source.next.lock().unwrap().is_none());
            assert_eq!(bench.vendor.taken(), came, "after {looks} looks");
        })
        .await;
    }
}

#[tokio::test]
async fn a_checkpoint_lets_the_logs_go() {
    let bench = Bench::new();
    bench
        .run(async |handle| {
            for _ in 0..50 {
                bench.append("ana:a");
                handle.wait_idle().await.unwrap();
            }
            bench.clock.sleep(CHECKPOINT_EVERY + CHECKPOINT_EVERY).await;
            let cursor = Some(Place { offset: bench.source.end(), index: 0 });
            assert_eq!(handle.lowest_cursor(), cursor);
            assert_eq!(bench.journal.len(), 1);
        })
        .await;
}

#[tokio::test]
async fn a_full_journal_holds_requests_back_until_there_is_room() {
    let bench = Bench::new();
    let clock: Arc<dyn Clock> = Arc::new(bench.clock.clone());
    let disk = FakeDisk::new(3);
    let config = StoredJournal::log_config();
    let (log, _) = Log::open(Arc::new(disk.clone()), Path::new("journal"), config, clock).unwrap();
    let journal = Arc::new(stored(log, &bench.clock));
    let parts = Parts { journal, ..bench.parts() };
    run(&bench.clock, parts, vec![words("product")], async |handle| {
        bench.append("ana:a");
        handle.wait_idle().await.unwrap();
        disk.set_free(Some(0));
        bench.append("ana:b");
        bench.clock.sleep(Duration::from_mins(1)).await;
        assert_eq!(bench.vendor.taken(), 1, "nothing leaves without its intent");
        disk.set_free(None);
        handle.wait_idle().await.unwrap();
        assert_eq!(bench.vendor.taken_of("ana"), ["a", "b"]);
    })
    .await;
}

#[tokio::test]
async fn real_logs_and_state_carry_a_destination_over_a_restart() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(bench.clock.clone());
    let open = |name: &str, config: LogConfig| {
        let folder = folder.path().join(name);
        Log::open(Arc::new(RealDisk), &folder, config, clock.clone()).unwrap().0
    };
    bench.vendor.answer("bad", Answer::RefuseObject);
    for round in 0..3u64 {
        let events = open("events", LogConfig::default());
        let journal = open("journal", StoredJournal::log_config());
        let state = State::open(&folder.path().join("state")).unwrap();
        let letters = DeadLetters::open(&state).unwrap();
        let parts = Parts {
            source: Arc::new(EventLog::new(events.clone())),
            journal: Arc::new(stored(journal.clone(), &bench.clock)),
            dead_letters: Arc::new(letters.clone()),
            ..bench.parts()
        };
        run(&bench.clock, parts, vec![words("product")], async |handle| {
            let text = format!("ana:a{round} bob:b{round} eve:bad");
            events.append(batch(&text, START, UserProperties::None)).await.unwrap();
            handle.wait_idle().await.unwrap();
            let counts = handle.status().stream("product").unwrap().counts;
            assert_eq!((counts.delivered, counts.rejected), (2 * (round + 1), round + 1));
        })
        .await;
        assert_eq!(letters.count("product", 100) as u64, round + 1);
        events.close().await;
        journal.close().await;
    }
    assert_eq!(bench.vendor.taken_of("ana"), ["a0", "a1", "a2"]);
}

#[tokio::test]
async fn a_journal_of_many_segments_opens_again_after_trimming() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(bench.clock.clone());
    // So small that intents and their outcomes lie in different segments.
    let config = LogConfig {
        segment_max: isthmus_core::ByteSize::bytes(200),
        ..StoredJournal::log_config()
    };
    for round in 0..30u64 {
        let journal =
            Log::open(Arc::new(RealDisk), folder.path(), config, clock.clone()).unwrap().0;
        let parts =
            Parts { journal: Arc::new(stored(journal.clone(), &bench.clock)), ..bench.parts() };
        run(&bench.clock, parts, vec![words("product")], async |handle| {
            bench.append(&format!("ana:a{round} bob:b{round}"));
            handle.wait_idle().await.unwrap();
        })
        .await;
        assert!(journal.start() > 0 || round < 5, "nothing was trimmed");
        journal.close().await;
    }
    assert_eq!(bench.vendor.taken_of("ana").len(), 30);
}

#[tokio::test]
async fn a_log_that_lost_what_a_stream_needs_stops_the_engine_loudly() {
    let bench = Bench::new();
    let (engine, _handle) = Engine::open(bench.parts(), vec![words("product")]).unwrap();
    bench.append("ana:a");
    let kept = bench.append("ana:b");
    bench.source.trim(kept);
    let error = Box::pin(engine.run(CancellationToken::new())).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("events at offset 0 are not kept any more"), "{source}");
}

#[test]
fn streams_of_one_destination_have_names_of_their_own() {
    let bench = Bench::new();
    let opened = Engine::open(bench.parts(), vec![words("product"), words("product")]);
    assert!(matches!(opened, Err(EngineError::Stream(StreamError::Exists { .. }))));
}
