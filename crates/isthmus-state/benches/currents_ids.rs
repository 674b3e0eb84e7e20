//! What it costs to learn that events of Currents are new, and to keep their ids, on top of those
//! that are known.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use isthmus_core::Timestamp;
use isthmus_state::State;
use isthmus_state::currents_ids::{CurrentsId, CurrentsIds};

/// Few, because the bench is run as a test too; with a million it is the same.
const KNOWN: u64 = 100_000;
/// About what the applier commits at once.
const AT_ONCE: u64 = 1_000;
const DAY_MILLIS: i64 = 86_400_000;

/// An event of a connector that tells of 10,000 a day.
fn id(number: u64) -> CurrentsId {
    let day = i64::try_from(20_000 + number / 10_000).expect("a few days");
    let id = format!("0b8f2a54-6d5e-4c1a-9a39-{number:012}");
    CurrentsId::of("posts", Timestamp::from_millis(day * DAY_MILLIS), &id)
}

fn learn(state: &State, ids: &CurrentsIds, new: &[CurrentsId]) -> usize {
    let mut batch = state.batch();
    let mut count = 0;
    for id in new {
        if !ids.holds(*id).expect("state is read") {
            ids.put(&mut batch, *id);
            count += 1;
        }
    }
    batch.commit().expect("state is written");
    count
}

fn currents_ids(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let state = State::open(folder.path()).expect("state opens");
    let ids = CurrentsIds::open(&state).expect("state opens");
    let numbers = |first: u64| (first..first + AT_ONCE).map(id).collect::<Vec<_>>();
    for first in (0..KNOWN).step_by(1_000) {
        learn(&state, &ids, &numbers(first));
    }
    let mut group = criterion.benchmark_group("currents_ids");
    group.throughput(Throughput::Elements(AT_ONCE));
    let mut next = KNOWN;
    let mut new = || {
        next += AT_ONCE;
        numbers(next)
    };
    group.bench_function("new", |bench| {
        bench.iter_batched(
            &mut new,
            |new| assert_eq!(learn(&state, &ids, &new), new.len()),
            BatchSize::SmallInput,
        );
    });
    let known = numbers(KNOWN / 2);
    group.bench_function("known", |bench| {
        bench.iter(|| assert_eq!(learn(&state, &ids, &known), 0));
    });
    group.finish();
}

criterion_group!(benches, currents_ids);
criterion_main!(benches);
