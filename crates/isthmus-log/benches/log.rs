//! Throughput of one log on the machine's disk, in bytes of payload (JSON events, which LZ4
//! shrinks to about a third): durable appends by eight tasks, reading, opening.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isthmus_core::seam::{Clock, ManualClock, Random, SeededRandom};
use isthmus_log::{Log, LogConfig, RealDisk};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

const TASKS: usize = 8;
const APPENDS: usize = 16;
const BATCH: usize = 80_000;

fn batch(random: &SeededRandom) -> Vec<u8> {
    let mut text = String::with_capacity(BATCH + 1_000);
    while text.len() < BATCH {
        let (id, session, total) = (random.uuid(), random.below(1 << 40), random.below(100_000));
        let user = random.below(1_000_000);
        write!(
            text,
            r#"{{"user_id":"user-{user}","event_type":"Order Completed","insert_id":"{id}",
            "session_id":{session},"platform":"Web","event_properties":{{"total":{total},
            "currency":"EUR","coupon":null,"item":"sku-{}","quantity":{}}},
            "user_properties":{{"plan":"pro","seats":{}}}}}"#,
            random.below(50_000),
            random.below(9),
            random.below(300),
        )
        .expect("a String takes everything");
    }
    text.into_bytes()
}

fn open(folder: &Path) -> Log {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    Log::open(Arc::new(RealDisk), folder, LogConfig::default(), clock).expect("the log opens").0
}

fn log(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let random = SeededRandom::new(1);
    let batches: Arc<Vec<Vec<u8>>> = Arc::new((0..64).map(|_| batch(&random)).collect());
    let bytes: usize = batches.iter().map(Vec::len).sum::<usize>() * TASKS * APPENDS / 64;
    let mut group = criterion.benchmark_group("log");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(bytes as u64));

    let writing = open(&folder.path().join("append"));
    group.bench_function("append_80KB_by_8_tasks", |bencher| {
        bencher.iter(|| {
            runtime.block_on(append(&writing, &batches));
            writing.trim(writing.end()).expect("old segments go")
        });
    });
    runtime.block_on(writing.close());

    let path = folder.path().join("read");
    let reading = open(&path);
    runtime.block_on(append(&reading, &batches));
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let mut reader = reading.reader(reading.start()).expect("a reader");
            let mut count = 0;
            while let Some(record) = reader.next().expect("whole records") {
                count += record.payload.len();
            }
            assert_eq!(count, bytes);
        });
    });
    runtime.block_on(reading.close());

    group.bench_function("open", |bencher| {
        bencher.iter(|| runtime.block_on(open(&path).close()));
    });
}

async fn append(log: &Log, batches: &Arc<Vec<Vec<u8>>>) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (log, batches) = (log.clone(), Arc::clone(batches));
        tasks.spawn(async move {
            for batch in batches.iter().cycle().skip(task * APPENDS).take(APPENDS) {
                log.append(batch.clone()).await.expect("the disk works");
            }
        });
    }
    tasks.join_all().await;
}

criterion_group!(benches, log);
criterion_main!(benches);
