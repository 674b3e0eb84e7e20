//! How many items a second the finder takes up, on one core, and how many it searches.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use isthmus_core::record::{Applied, AppliedBatch, AppliedEvent, IntakeRange, UserProperties};
use isthmus_core::seam::ManualClock;
use isthmus_core::{AmplitudeId, Place, Timestamp};
use isthmus_delivery::finder::{Finder, FinderConfig, FinderParts, Order};
use isthmus_log::{Log, LogConfig, RealDisk};
use isthmus_state::State;
use isthmus_state::people::People;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

const RECORDS: u64 = 256;
const ITEMS_PER_RECORD: u64 = 2_048;
const ITEMS: u64 = RECORDS * ITEMS_PER_RECORD;
const PROPERTIES: &str = r#"{"sku":"A-1042","price":19.99,"currency":"EUR","list":"summer sale"}"#;

fn record(number: u64) -> Vec<u8> {
    let first = number * ITEMS_PER_RECORD;
    let ids: Vec<String> =
        (first..first + ITEMS_PER_RECORD).map(|n| format!("5f0c3b6e-{n:012x}")).collect();
    let items = ids.iter().zip(first..).map(|(id, n)| {
        Applied::Event(AppliedEvent {
            project: "shop",
            user: AmplitudeId(n % 50_000),
            user_id: None,
            device_id: "d-1042",
            device_id_derived: false,
            event_type: "Product Viewed",
            event_time: 0,
            client_event_time: 0,
            received_at: 0,
            session_id: Some(1_770_000_000_000),
            event_id: Some(17),
            insert_id: Some(id),
            event_properties: Some(PROPERTIES),
            groups: None,
            group_properties: None,
            fields: Some(r#"{"platform":"Web","country":"DE"}"#),
            user_properties: UserProperties::None,
            sent_user_properties: None,
            skip_user_properties_sync: false,
            remote_address: None,
            currents: None,
        })
    });
    let intake = IntakeRange { from: Place::default(), to: Place::default() };
    AppliedBatch { intake, received_at: 0, items: items.collect() }.encode()
}

fn finder(runtime: &Runtime, folder: &Path) -> FinderParts {
    let disk = Arc::new(RealDisk);
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let config = LogConfig::default();
    let (events, _) =
        Log::open(disk.clone(), &folder.join("events"), config, clock.clone()).expect("opens");
    for number in 0..RECORDS {
        runtime.block_on(events.append(record(number))).expect("appends");
    }
    let state = State::open(&folder.join("state")).expect("opens");
    let people = People::open(&state).expect("opens");
    let (folder, config) = (folder.join("finder"), FinderConfig::default());
    FinderParts { disk, folder, events, people, clock, config }
}

fn bench(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let parts = finder(&runtime, folder.path());
    let mut group = criterion.benchmark_group("finder");
    group.throughput(Throughput::Elements(ITEMS)).sample_size(10);

    let indexed = |name: String| {
        let folder = folder.path().join(name);
        let (finder, mut indexer) =
            Finder::open(FinderParts { folder, ..parts.clone() }).expect("opens");
        runtime.block_on(indexer.catch_up()).expect("indexes");
        finder
    };
    let mut runs = 0;
    group.bench_function("index", |bencher| {
        let next_name = || {
            runs += 1;
            format!("finder-{runs}")
        };
        bencher.iter_batched(next_name, indexed, BatchSize::PerIteration);
    });

    let finder = indexed("finder".to_owned());
    group.bench_function("find an event", |bencher| {
        bencher.iter(|| finder.find_event("5f0c3b6e-0000000003e8", 10).expect("searches"));
    });
    let find_users = |persons: &[AmplitudeId]| {
        let found = finder.find_user(None, persons, 0..u64::MAX, Order::OldestFirst, 1);
        assert!(found.expect("searches").is_empty());
    };
    group.bench_function("find a user", |bencher| {
        bencher.iter(|| find_users(&[AmplitudeId(1 << 40)]));
    });
    let many: Vec<_> = (0..100).map(|n| AmplitudeId((1 << 40) + n)).collect();
    group.bench_function("find a user of 100 persons", |bencher| {
        bencher.iter(|| find_users(&many));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
