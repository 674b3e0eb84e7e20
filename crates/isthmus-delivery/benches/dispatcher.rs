//! How many objects a second the state machine takes from mapped to settled, on one core: the
//! ceiling of a destination, vendor, disk and connector apart.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use isthmus_core::destination::{
    Guarantee, Lane, Limits, Mapped, Message, Section, Shares, Verdict,
};
use isthmus_core::seam::Backoff;
use isthmus_core::{ByteSize, Place, Timestamp};
use isthmus_delivery::dispatcher::{Dispatcher, Ending, Extent, Manner, Moment, Rules, Window};
use isthmus_delivery::governor::SharedGovernor;
use isthmus_delivery::journal::Checkpoint;
use std::time::Duration;

const OBJECTS: u64 = 20_000;
const NOW: Moment =
    Moment { monotonic: Duration::from_secs(1), wall: Timestamp::from_millis(1_770_000_000_000) };

/// Two objects per item and user, as an event and the attributes it travels with.
fn mapped(users: u64) -> Vec<Vec<Mapped>> {
    let object = |user: u64, section| {
        let (lane, name) =
            (Lane::of(&format!("external_id:u{user}")), "Order Completed".to_owned());
        Mapped::Deliver(Message {
            lane,
            section: Section(section),
            name,
            payload: "x".repeat(300),
            guarantee: Guarantee::AtLeastOnce,
            after: None,
        })
    };
    let item = |n: u64| vec![object(n % users, 0), object(n % users, 1)];
    (0..OBJECTS / 2).map(item).collect()
}

fn deliver(items: Vec<Vec<Mapped>>) -> u64 {
    let limits = Limits {
        objects_per_request: 75,
        objects_per_section: 75,
        calls: Vec::new(),
        bytes_per_object: ByteSize::kib(100),
        bytes_per_request: ByteSize::mib(3),
        requests_in_flight: 64,
        rates: Vec::new(),
        linger: Duration::ZERO,
        shares: Shares::default(),
        paces: Vec::new(),
    };
    let backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_mins(1) };
    let rules = Rules { limits, backoff, window: Window::default() };
    let governor = SharedGovernor::new(&rules.limits);
    let mut dispatcher = Dispatcher::new("bench", rules, governor, Checkpoint::default(), NOW);
    let log = Extent { start: 0, end: 0 };
    let added = dispatcher.add_stream("product".into(), Manner::default(), log);
    let stream = added.expect("the first stream is new");
    let (mut letters, mut journal_bytes) = (Vec::new(), 0);
    let mut items = items.into_iter().zip(0u32..).peekable();
    let mut offset = 0;
    let mut in_flight = Vec::new();
    while items.peek().is_some() || !dispatcher.is_idle(offset) {
        for (mut item, index) in items.by_ref().take(1_000) {
            let place = Place { offset, index };
            dispatcher.take(stream, place, NOW.wall, &mut item, NOW, &mut letters);
        }
        offset += 1_000_000;
        dispatcher.advance(stream, offset);
        while let Some(id) = dispatcher.start(NOW) {
            in_flight.push(id);
        }
        if let Some(entry) = dispatcher.take_entry(NOW) {
            journal_bytes += entry.encode().len() as u64;
        }
        for id in in_flight.drain(..) {
            let verdicts = vec![Verdict::Accepted; dispatcher.batch(id).len()];
            dispatcher.count_sent(id, verdicts.len(), 20_000);
            let message = String::new();
            let ending = Ending::Judged { status: 201, message, verdicts, budget: None };
            dispatcher.finish(id, &ending, Duration::ZERO, NOW, 7, &mut letters);
        }
    }
    journal_bytes
}

fn objects(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatcher");
    group.throughput(Throughput::Elements(OBJECTS));
    for users in [100, 10_000] {
        let name = format!("{users} users");
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| mapped(users), deliver, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, objects);
criterion_main!(benches);
