//! What the history is told: when, and that nothing is told twice.

use super::*;
use crate::history::Observed;
use crate::memory::MemoryHistory;
use isthmus_core::destination::{RetryPolicy, Waits};
use isthmus_state::delivery_history::Tally;

/// Everything that was told, added up.
fn sum(told: &[Observed]) -> Tally {
    let mut sum = Tally::default();
    for each in told.iter().flat_map(|observed| &observed.tallies) {
        assert_eq!(each.stream, "product");
        sum.merge(&each.tally);
    }
    sum
}

fn counts(told: &[Observed]) -> [u64; 4] {
    let Tally { first_attempt, after_retry, expired, discarded, .. } = sum(told);
    [first_attempt, after_retry, expired, discarded]
}

/// Runs an engine that tells `history` while `scenario` lasts, and then kills it.
async fn run_telling<T>(
    bench: &Bench,
    history: &MemoryHistory,
    retry: RetryPolicy,
    scenario: impl AsyncFnOnce(Handle) -> T,
) -> T {
    let manner = Manner { retry, ..Manner::default() };
    let spec = StreamSpec { manner, ..words("product") };
    let (engine, handle) = Engine::open(bench.parts(), vec![spec]).unwrap();
    let engine = engine.recording_to(Arc::new(history.clone()));
    let engine = Box::pin(engine.run(CancellationToken::new()));
    drive(&bench.clock, async {
        tokio::select! {
            result = engine => panic!("engine ended: {result:?}"),
            outcome = scenario(handle) => outcome,
        }
    })
    .await
}

#[tokio::test]
async fn every_outcome_is_told_within_ten_seconds() {
    let (bench, history) = (Bench::new(), MemoryHistory::default());
    bench.vendor.answer("bad", Answer::RefuseObject);
    let twice = RetryPolicy {
        attempts: Some(2),
        within: None,
        waits: Waits::Fixed(vec![Duration::from_secs(2)]),
    };
    run_telling(&bench, &history, twice, async |handle| {
        bench.append("ana:a bob:b ana:skip eve:bad");
        handle.wait_idle().await.unwrap();
        assert_eq!(history.told(), [], "not yet");
        bench.clock.sleep(HISTORY_EVERY).await;
        assert_eq!(counts(&history.told()), [2, 0, 0, 2]);

        bench.vendor.break_with(Some(503));
        bench.append("ana:c");
        bench.vendor.reached(2).await;
        bench.vendor.break_with(None);
        handle.wait_idle().await.unwrap();
        bench.vendor.break_with(Some(503));
        bench.append("ana:d");
        handle.wait_idle().await.unwrap();
        bench.clock.sleep(HISTORY_EVERY).await;
    })
    .await;
    let told = history.told();
    assert_eq!(counts(&told), [2, 1, 1, 2]);
    let latency = sum(&told).latency;
    assert_eq!(latency.count(), 3);
    assert!(latency.percentile(50) >= vendor::LATENCY);

    let groups = told.iter().flat_map(|observed| &observed.samples);
    let shown: Vec<_> = groups
        .flat_map(|group| group.samples.iter().map(|sample| (group.category.as_str(), sample)))
        .map(|(category, sample)| {
            (category, &*sample.name, sample.status, sample.attempts, &*sample.message)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("rejected: bad object", "bad", 201, 1, "bad object"),
            ("discarded: not wanted", "", 0, 0, ""),
            ("5xx", "c", 503, 1, "503 "),
            ("5xx", "d", 503, 1, "503 "),
            ("expired", "d", 503, 2, "given up after 2 attempts in 2 s; last: 503 "),
        ]
    );
}

#[tokio::test]
async fn what_a_crash_repeats_is_told_once() {
    let (bench, history) = (Bench::new(), MemoryHistory::default());
    let forever = RetryPolicy::forever;
    run_telling(&bench, &history, forever(), async |handle| {
        bench.append("ana:a bob:b");
        handle.wait_idle().await.unwrap();
        bench.clock.sleep(HISTORY_EVERY).await;
        bench.vendor.answer("hang", Answer::Nothing);
        bench.append("ana:c bob:hang ana:skip");
        bench.vendor.reached(2).await;
    })
    .await;
    assert_eq!(counts(&history.told()), [2, 0, 0, 0]);
    bench.vendor.forget("hang");
    run_telling(&bench, &history, forever(), async |handle| {
        handle.wait_idle().await.unwrap();
        bench.clock.sleep(HISTORY_EVERY).await;
        let counts = handle.status().stream("product").unwrap().counts;
        assert_eq!((counts.delivered, counts.discarded), (4, 1));
    })
    .await;
    // The item that was held back was on disk and not told when the program ended: that is what a
    // crash costs.
    assert_eq!(counts(&history.told()), [2, 2, 0, 0]);
}

#[tokio::test]
async fn a_stop_tells_what_is_left() {
    let (bench, history) = (Bench::new(), MemoryHistory::default());
    let (engine, handle) = Engine::open(bench.parts(), vec![words("product")]).unwrap();
    let engine = engine.recording_to(Arc::new(history.clone()));
    let stop = CancellationToken::new();
    bench.append("ana:a bob:b");
    let scenario = async {
        handle.wait_idle().await.unwrap();
        stop.cancel();
    };
    let engine = Box::pin(engine.run(stop.clone()));
    let (result, ()) = drive(&bench.clock, async { tokio::join!(engine, scenario) }).await;
    result.unwrap();
    assert_eq!(counts(&history.told()), [2, 0, 0, 0]);
}
