//! Jobs: the past, beside the present.

use super::*;
use crate::jobs::{JobSpec, Skips, View};
use crate::journal::{JobKind, JobRecord};
use crate::ledger::Ledger;
use crate::plan::{self, Progress, Scope};
use isthmus_core::record::{PropertyChange, UserChange};
use std::collections::BTreeSet;
use std::ops::Range;

/// A user's properties as they change: `user name=value` for each.
#[derive(Debug)]
struct Facts;

impl isthmus_core::destination::Mapping for Facts {
    fn wants(&self, item: &Applied<'_>) -> isthmus_core::destination::Wants {
        use isthmus_core::destination::Wants;
        match item {
            Applied::UserChange(change) if !change.changes.is_empty() => Wants::Item,
            _ => Wants::Nothing,
        }
    }

    fn map(
        &self,
        item: &Applied<'_>,
        _: Option<&str>,
        out: &mut Vec<isthmus_core::destination::Mapped>,
    ) {
        use isthmus_core::destination::{Guarantee, Lane, Mapped, Message, Section};
        let Applied::UserChange(change) = item else { return };
        let user = change.user_id.unwrap_or_default();
        let facts = change.changes.iter().map(|fact| format!("{}={}", fact.name, fact.to.unwrap()));
        let payload = format!("{user} {}", facts.collect::<Vec<_>>().join(","));
        out.push(Mapped::Deliver(Message {
            lane: Lane::of(user),
            section: Section(0),
            name: payload.clone(),
            payload,
            guarantee: Guarantee::AtLeastOnce,
            after: None,
        }));
    }
}

/// `user:name=value,name=value` for each word.
fn facts(text: &str) -> Vec<u8> {
    let users = ["ana", "bob"];
    let items = text.split_whitespace().map(|word| {
        let (user, facts) = word.split_once(':').unwrap();
        let changes = facts.split(',').map(|fact| {
            let (name, value) = fact.split_once('=').unwrap();
            PropertyChange { name, from: None, to: Some(value) }
        });
        Applied::UserChange(UserChange {
            project: "shop",
            user: AmplitudeId(users.iter().position(|known| *known == user).unwrap() as u64),
            user_id: Some(user),
            device_id: "d",
            device_id_derived: false,
            event_time: 0,
            received_at: 0,
            insert_id: None,
            first_seen: false,
            first_seen_on_device: false,
            changes: changes.collect(),
            user_properties: UserProperties::None,
        })
    });
    let intake = IntakeRange { from: Place::default(), to: Place::default() };
    AppliedBatch { intake, received_at: 0, items: items.collect() }.encode()
}

fn record(kind: JobKind, offsets: &Range<u64>) -> JobRecord {
    JobRecord {
        kind,
        stream: "product".into(),
        from: offsets.start,
        from_time: 0,
        to_time: 0,
        force: false,
        started_at: START.as_millis(),
        ended_at: 0,
        cancelled: false,
        skipped: 0,
    }
}

impl Bench {
    fn with_ledger() -> Self {
        Self { journal: MemoryJournal::for_a_ledger(), ..Self::new() }
    }

    fn spec(
        &self,
        kind: JobKind,
        offsets: Range<u64>,
        told: Option<Range<u64>>,
        mapping: Arc<dyn isthmus_core::destination::Mapping>,
    ) -> (JobSpec, plan::Plan) {
        let ledger = Ledger::new(Arc::new(self.journal.clone()));
        let numbers: BTreeSet<u32> = (0..10).collect();
        let delivered = ledger.delivered(&numbers, 0..=u64::MAX).unwrap();
        let skips = Skips { delivered: Some(Arc::new(delivered)), ..Skips::default() };
        let source: Arc<dyn EventSource> = Arc::new(self.source.clone());
        let scope = Scope {
            source,
            mapping: mapping.clone(),
            offsets: offsets.clone(),
            told: told.into_iter().collect(),
            skips: skips.clone(),
        };
        let latest = plan::latest(&scope, &Progress::default()).unwrap();
        let latest_to = scope.told.first().map_or(offsets.end, |told| told.end);
        let view = View { latest, latest_to, times: i64::MIN..i64::MAX };
        let plan = plan::plan(&scope, &view, &Progress::default()).unwrap();
        let record = record(kind, &offsets);
        (JobSpec { record, to: offsets.end, mapping, skips, view }, plan)
    }
}

fn facts_stream() -> Vec<StreamSpec> {
    vec![StreamSpec { mapping: Arc::new(Facts), ..words("product") }]
}

async fn until_jobs_end(handle: &Handle) {
    loop {
        let status = handle.status();
        let running = status.streams.iter().any(|stream| stream.job.is_some());
        if !running && status.on_disk {
            return;
        }
        handle.resume().await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_backfill_sends_what_came_before_the_stream_as_it_was_planned() {
    let bench = Bench::with_ledger();
    bench.append("ana:a bob:b ana:skip");
    let last = bench.append("ana:c");
    bench
        .run(async |handle| {
            bench.append("ana:live");
            handle.wait_idle().await.unwrap();
            assert_eq!(bench.vendor.taken(), 1);
            let (spec, plan) = bench.spec(JobKind::Backfill, 0..last, None, Arc::new(Words));
            let planned = (plan.items, plan.users, plan.objects, plan.discarded, plan.left_out);
            assert_eq!(planned, (2, 2, 2, 1, 0));
            let number = handle.add_job(spec).await.unwrap();
            until_jobs_end(&handle).await;
            let status = handle.status();
            assert_eq!(status.stream("product").unwrap().counts.delivered, 1, "not the stream's");
            let past = &status.past_jobs[0];
            assert_eq!((past.number, past.job.as_ref().unwrap().cancelled), (number, false));
            assert!(past.job.as_ref().unwrap().ended_at > 0);
            let counts = past.counts;
            assert_eq!((counts.accepted, counts.delivered, counts.discarded), (3, 2, 1));
            let error = handle.cancel_job(number).await.unwrap_err().to_string();
            assert_eq!(error, format!("there is no job {number} that runs"));
        })
        .await;
    assert_eq!(bench.vendor.taken_of("ana"), ["live", "a"], "the last record is not the job's");
    assert_eq!(bench.vendor.taken_of("bob"), ["b"]);
}

#[tokio::test]
async fn a_replay_leaves_out_what_the_ledger_says_is_delivered_unless_forced() {
    let bench = Bench::with_ledger();
    bench.vendor.answer("bad", Answer::RefuseObject);
    bench
        .run(async |handle| {
            bench.append("ana:a bob:bad ana:c");
            handle.wait_idle().await.unwrap();
            bench.vendor.forget("bad");
            let end = bench.source.end();
            let (spec, plan) = bench.spec(JobKind::Replay, 0..end, None, Arc::new(Words));
            assert_eq!((plan.objects, plan.left_out), (1, 2));
            handle.add_job(spec).await.unwrap();
            until_jobs_end(&handle).await;
            assert_eq!(bench.vendor.taken_of("ana"), ["a", "c"]);
            assert_eq!(bench.vendor.taken_of("bob"), ["bad"]);
            assert_eq!(handle.status().past_jobs[0].job.as_ref().unwrap().skipped, 2);

            let (spec, plan) = bench.spec(JobKind::Replay, 0..end, None, Arc::new(Words));
            assert_eq!((plan.objects, plan.left_out), (0, 3), "what the job delivered counts too");
            let forced = JobSpec { skips: Skips::default(), ..spec };
            handle.add_job(forced).await.unwrap();
            until_jobs_end(&handle).await;
            assert_eq!(bench.vendor.taken_of("ana"), ["a", "c", "a", "c"]);
        })
        .await;
}

#[tokio::test]
async fn a_job_goes_on_after_a_crash_and_ends_when_cancelled() {
    let bench = Bench::with_ledger();
    let users: Vec<_> = (0..400).map(|n| format!("u{n}:a")).collect();
    for users in users.chunks(20) {
        bench.append(&users.join(" "));
    }
    let end = bench.source.end();
    let number = bench
        .run(async |handle| {
            let (spec, _) = bench.spec(JobKind::Backfill, 0..end, None, Arc::new(Words));
            let number = handle.add_job(spec).await.unwrap();
            bench.vendor.reached(2).await;
            number
        })
        .await;
    let before = bench.vendor.taken();
    assert!((1..400).contains(&before), "{before}");
    let taken = bench
        .run(async |handle| {
            let waiting = handle.status().past_jobs.clone();
            assert!(waiting[0].is_waiting_job());
            assert_eq!(handle.lowest_cursor().unwrap().offset, waiting[0].cursor.offset);
            let (JobSpec { mapping, skips, view, .. }, _) =
                bench.spec(JobKind::Backfill, 0..end, None, Arc::new(Words));
            handle.resume_job(number, mapping, skips, view).await.unwrap();
            bench.vendor.reached(4).await;
            bench.vendor.break_with(Some(503));
            handle.cancel_job(number).await.unwrap();
            bench.vendor.break_with(None);
            until_jobs_end(&handle).await;
            let past = &handle.status().past_jobs[0];
            assert!(past.job.as_ref().unwrap().cancelled);
            let counts = past.counts;
            assert_eq!(counts.accepted, counts.delivered + counts.discarded);
            assert_eq!(past.discards.get("job cancelled"), Some(&counts.discarded));
            bench.vendor.taken()
        })
        .await;
    assert!(taken > before, "{taken} after {before}");
    // Everybody who was sent to again was in a request without an answer.
    let doubled = taken - bench.vendor.users().len();
    assert!(doubled <= 4 * 75, "{doubled}");
}

#[tokio::test]
async fn a_cancelled_job_ends_although_the_destination_is_down() {
    let bench = Bench::with_ledger();
    bench.append("ana:a bob:b eve:c");
    let end = bench.source.end();
    bench.vendor.break_with(Some(503));
    bench
        .run(async |handle| {
            let (spec, _) = bench.spec(JobKind::Backfill, 0..end, None, Arc::new(Words));
            let number = handle.add_job(spec).await.unwrap();
            bench.vendor.reached(1).await;
            handle.cancel_job(number).await.unwrap();
            until_jobs_end(&handle).await;
            let counts = handle.status().past_jobs[0].counts;
            assert_eq!((counts.accepted, counts.discarded), (3, 3));
        })
        .await;
    // What was under way and came back was not forgotten by the journal either.
    let known = replay(&bench.journal).unwrap();
    let job = known.streams.iter().find(|record| record.job.is_some()).unwrap();
    assert_eq!((job.counts.discarded, job.tried.len()), (3, 0));
}

#[tokio::test]
async fn an_attribute_never_moves_backwards_in_time() {
    let bench = Bench::with_ledger();
    bench.source.append(facts("ana:plan=free,seats=1 bob:plan=free"));
    bench.source.append(facts("ana:plan=pro bob:city=Rome"));
    let end = bench.source.append(facts("bob:city=Oslo"));
    run(&bench.clock, bench.parts(), facts_stream(), async |handle| {
        bench.source.append(facts("bob:plan=team"));
        handle.wait_idle().await.unwrap();
        let live = handle.status().stream("product").unwrap().clone();
        let (spec, plan) =
            bench.spec(JobKind::Backfill, 0..end, Some(live.born..live.position), Arc::new(Facts));
        assert_eq!((plan.objects, plan.overtaken), (3, 2), "bob's plan and ana's first plan");
        handle.pause("so that both wait".into()).await.unwrap();
        handle.add_job(spec).await.unwrap();
        // What happens while the job waits overtakes it too, behind it in the same queue.
        bench.source.append(facts("ana:seats=9"));
        tokio::task::yield_now().await;
        handle.resume().await.unwrap();
        handle.wait_idle().await.unwrap();
        until_jobs_end(&handle).await;
    })
    .await;
    let last = |user: &str, name: &str| {
        let told = bench.vendor.taken_of(user);
        let facts = told.iter().flat_map(|facts| facts.split(','));
        facts.filter_map(|fact| fact.strip_prefix(name)).map(str::to_owned).next_back()
    };
    assert_eq!(last("ana", "plan=").as_deref(), Some("pro"));
    assert_eq!(last("ana", "seats=").as_deref(), Some("9"));
    assert_eq!(last("bob", "plan=").as_deref(), Some("team"));
    assert_eq!(last("bob", "city=").as_deref(), Some("Rome"), "Oslo is not the job's");
}

#[tokio::test]
async fn a_backfill_never_starves_what_is_urgent() {
    let bench = Bench::with_ledger();
    for _ in 0..20 {
        let users: Vec<_> = (0..1_000).map(|n| format!("u{n}:past")).collect();
        bench.append(&users.join(" "));
    }
    let end = bench.source.end();
    // Requests are what is scarce: twenty in three seconds, where the past alone needs 267.
    bench.vendor.slow_down(20);
    bench
        .run(async |handle| {
            let (spec, _) = bench.spec(JobKind::Backfill, 0..end, None, Arc::new(Words));
            handle.add_job(spec).await.unwrap();
            bench.vendor.reached(40).await;
            let mut worst = Duration::ZERO;
            for n in 0..20 {
                bench.clock.sleep(Duration::from_millis(700)).await;
                let asked = bench.clock.monotonic();
                let urgent = |user| {
                    let taken = bench.vendor.taken_of(user);
                    taken.iter().filter(|name| *name == "urgent").count()
                };
                // One who has no past to send, and one whose past waits too.
                bench.append("eve:urgent u1:urgent");
                while urgent("eve").min(urgent("u1")) <= n {
                    bench.clock.sleep(Duration::from_millis(10)).await;
                }
                worst = worst.max(bench.clock.monotonic().saturating_sub(asked));
                assert!(bench.vendor.taken() < 20_000, "the past is done after {n}");
            }
            assert!(worst < Duration::from_millis(400), "{worst:?}");
        })
        .await;
}
