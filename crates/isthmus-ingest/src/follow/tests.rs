use super::follower::{Follower, FollowerSettings};
use super::import::{Import, ImportEnd};
use super::reading::{Ground, Intake};
use super::tally::Tally;
use super::{Bucket, TallyView};
use crate::door::CurrentsError;
use isthmus_braze::currents::{Received, Unusable};
use isthmus_core::Timestamp;
use isthmus_core::seam::{BoxFuture, ManualClock};
use isthmus_log::{FullBecause, LogError};
use isthmus_state::State;
use isthmus_state::currents_files::CurrentsFiles;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

mod avro;
mod s3;

/// What was handed in; refuses as it is told.
#[derive(Debug, Default)]
struct FakeLog {
    inner: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Id and properties.
    events: Vec<(String, String)>,
    /// File and reason.
    unusable: Vec<(String, String)>,
    records: usize,
    /// Records after which it is closed, as when the program ends.
    closes_after: Option<usize>,
    /// Records that it refuses for being full before it takes the next one.
    is_full_for: usize,
    /// Whether too much waits to be applied.
    is_behind: bool,
}

impl Intake for FakeLog {
    fn accept<'a>(
        &'a self,
        _source: &'a str,
        events: Vec<Received<'a>>,
        unusable: Vec<Unusable<'a>>,
        file: &'a str,
    ) -> BoxFuture<'a, Result<(), CurrentsError>> {
        let mut taken = self.inner.lock().unwrap();
        let refused = if taken.closes_after.is_some_and(|after| taken.records >= after) {
            Some(LogError::Closed)
        } else if taken.is_full_for > 0 {
            taken.is_full_for -= 1;
            Some(LogError::Full { used: 1, because: FullBecause::Disk })
        } else {
            None
        };
        if let Some(refused) = refused {
            return Box::pin(async move { Err(refused.into()) });
        }
        taken.records += 1;
        let ids = events.into_iter().map(|event| (event.id.into(), event.properties.into()));
        taken.events.extend(ids);
        let unusable = unusable.into_iter().map(|each| (file.to_owned(), each.reason));
        taken.unusable.extend(unusable);
        Box::pin(async { Ok(()) })
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::poll_fn(|context| {
            if self.inner.lock().unwrap().is_behind {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        }))
    }
}

/// A bucket, a log and a ledger, and programs that come and go over them.
struct Lab {
    store: Arc<InMemory>,
    log: Arc<FakeLog>,
    clock: ManualClock,
    ground: Ground,
    from_the_beginning: bool,
    _folder: tempfile::TempDir,
}

impl Lab {
    /// Years after anything is written to the bucket.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        let clock = ManualClock::at(Timestamp::parse_iso("2060-01-01T09:30:00Z").unwrap());
        let log = Arc::new(FakeLog::default());
        let ground = Ground {
            intake: log.clone(),
            files: CurrentsFiles::open(&state).unwrap(),
            clock: Arc::new(clock.clone()),
        };
        let store = Arc::new(InMemory::new());
        Self { store, log, clock, ground, from_the_beginning: true, _folder: folder }
    }

    fn bucket(&self) -> Bucket {
        Bucket::of_store(self.store.clone(), "s3://b/", Some(Path::from("currents")))
    }

    fn follower(&self) -> (Follower, Arc<Tally>) {
        let tally = Arc::new(Tally::default());
        let settings = FollowerSettings {
            source: "files".to_owned(),
            poll: Duration::from_mins(1),
            list_everything: Duration::from_hours(1),
            from_the_beginning: self.from_the_beginning,
            settle: Duration::from_mins(1),
        };
        let stop = CancellationToken::new();
        let ground = self.ground.clone();
        (Follower::new(ground, self.bucket(), settings, tally.clone(), stop), tally)
    }

    /// What one look of a program that just began comes to.
    async fn look(&self) -> TallyView {
        let (mut follower, tally) = self.follower();
        follower.look().await;
        tally.view()
    }

    async fn import(&self, dry_run: bool) -> (ImportEnd, TallyView) {
        let tally = Arc::new(Tally::default());
        let stop = CancellationToken::new();
        let ground = self.ground.clone();
        let import = Import::new(ground, self.bucket(), "files", dry_run, tally.clone(), stop);
        (import.run().await, tally.view())
    }

    async fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.store.put(&Path::from(key), bytes.into().into()).await.unwrap();
    }

    fn ids(&self) -> Vec<String> {
        self.log.inner.lock().unwrap().events.iter().map(|(id, _)| id.clone()).collect()
    }

    fn unusable(&self) -> Vec<(String, String)> {
        self.log.inner.lock().unwrap().unusable.clone()
    }

    fn tell(&self, change: impl FnOnce(&mut Taken)) {
        change(&mut self.log.inner.lock().unwrap());
    }
}

fn key(event_type: &str, hour: &str, name: &str) -> String {
    format!("currents/dataexport.S3.integration.1/event_type={event_type}/date={hour}/4/a/{name}")
}

const OPEN: &str = "users.messages.email.Open";

/// An event per line, with ids from `prefix` and a number.
fn lines(prefix: &str, count: usize) -> String {
    let line = |number| {
        format!(
            r#"{{"event_type":"{OPEN}","id":"{prefix}{number}","time":1767258000,"user":{{}},"properties":{{}}}}"#
        ) + "\n"
    };
    (0..count).map(line).collect()
}

fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

#[tokio::test]
async fn each_file_is_read_once_whatever_its_form() {
    let lab = Lab::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines("b", 2).as_bytes()).unwrap();
    lab.put(&key(OPEN, "2026-01-01-10", "x.jsonl.gz"), gzip.finish().unwrap()).await;
    lab.put(&key(OPEN, "2026-01-01-11", "x.avro"), avro::file(&["c0", "c1"], None)).await;
    lab.put(&key(OPEN, "2026-01-01-09", "x.json"), lines("a", 2)).await;
    lab.put("currents/readme.txt", "nothing").await;
    let view = lab.look().await;
    let read: BTreeSet<_> = lab.ids().into_iter().collect();
    assert_eq!(read, BTreeSet::from(["a0", "a1", "b0", "b1", "c0", "c1"].map(str::to_owned)));
    assert_eq!((view.files, view.events, view.files_pending), (3, 6, 0));
    assert_eq!(view.by_type, [(OPEN.to_owned(), 6)].into());

    let view = lab.look().await;
    assert_eq!((view.files, view.events), (0, 0), "after a restart nothing is read again");
}

#[tokio::test]
async fn wherever_it_is_killed_nothing_is_lost_and_little_is_read_again() {
    const EVENTS: usize = 3_500;
    for records in 0..5 {
        let lab = Lab::new();
        lab.put(&key(OPEN, "2026-01-01-09", "x.jsonl"), lines("a", EVENTS)).await;
        lab.tell(|log| log.closes_after = Some(records));
        lab.look().await;
        let before = lab.ids().len();
        assert_eq!(before, (records * 1_000).min(EVENTS));
        lab.tell(|log| log.closes_after = None);
        lab.look().await;
        assert_eq!(lab.ids(), ids("a", EVENTS), "killed after {records} records");
    }
}

#[tokio::test]
async fn a_full_log_is_waited_for() {
    let lab = Lab::new();
    lab.put(&key(OPEN, "2026-01-01-09", "x.jsonl"), lines("a", 1_500)).await;
    lab.tell(|log| log.is_full_for = 3);
    let (mut follower, tally) = lab.follower();
    let time = async {
        while lab.ids().len() < 1_500 {
            tokio::task::yield_now().await;
            lab.clock.advance(Duration::from_secs(1));
        }
    };
    tokio::join!(follower.look(), time);
    assert_eq!(lab.ids(), ids("a", 1_500));
    let view = tally.view();
    assert_eq!((view.files, view.error), (1, None));
}

#[tokio::test]
async fn nothing_is_handed_in_while_too_much_waits_to_be_applied() {
    let lab = Lab::new();
    lab.put(&key(OPEN, "2026-01-01-09", "x.jsonl"), lines("a", 1_500)).await;
    lab.tell(|log| log.is_behind = true);
    let (mut follower, tally) = lab.follower();
    let catching_up = async {
        while tally.view().bytes == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lab.ids().len(), 0);
        lab.tell(|log| log.is_behind = false);
    };
    tokio::join!(follower.look(), catching_up);
    assert_eq!(lab.ids(), ids("a", 1_500));

    lab.put(&key(OPEN, "2026-01-01-10", "y.jsonl"), lines("b", 1)).await;
    lab.tell(|log| log.is_behind = true);
    let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
    let ground = lab.ground.clone();
    let import = Import::new(ground, lab.bucket(), "files", false, tally.clone(), stop.clone());
    let stopping = async {
        while tally.view().bytes == 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (end, ()) = tokio::join!(import.run(), stopping);
    assert_eq!((end, lab.ids().len()), (ImportEnd::Stopped, 1_500), "and stopping does not wait");
}

#[tokio::test]
async fn what_stands_before_damage_is_kept_and_other_files_go_on() {
    let lab = Lab::new();
    let whole = avro::file(&["a0", "a1", "a2"], None);
    let cut = &whole[..whole.len() - 20];
    let (damaged, strange) =
        (key(OPEN, "2026-01-01-09", "cut.avro"), key(OPEN, "2026-01-01-10", "codec.avro"));
    lab.put(&damaged, cut).await;
    lab.put(&strange, avro::file(&["b0"], Some("bzip2"))).await;
    lab.put(&key(OPEN, "2026-01-01-11", "good.avro"), avro::file(&["c0"], None)).await;
    let view = lab.look().await;
    let read: BTreeSet<_> = lab.ids().into_iter().collect();
    assert!(read.contains("a0") && read.contains("c0") && !read.contains("b0"), "{read:?}");
    let unusable = lab.unusable();
    let of = |key: &str| {
        let address = format!("s3://b/{key}");
        let reasons = unusable.iter().filter(|(file, _)| *file == address);
        reasons.map(|(_, reason)| reason.clone()).collect::<Vec<_>>()
    };
    let [reason] = &of(&damaged)[..] else { panic!("{unusable:?}") };
    assert!(reason.starts_with("broken at byte ") && reason.contains("it ends in the middle"));
    let [reason] = &of(&strange)[..] else { panic!("{unusable:?}") };
    assert!(reason.ends_with("codec `bzip2`"), "{reason}");
    assert_eq!((view.files, view.files_damaged, view.unusable), (3, 2, 2));
    lab.look().await;
    assert_eq!(lab.unusable().len(), 2, "told once");
}

#[tokio::test]
async fn a_file_that_is_being_written_is_waited_for() {
    let mut lab = Lab::new();
    // Long before anything is written to the bucket, so that everything is fresh.
    lab.clock = ManualClock::at(Timestamp::parse_iso("2020-01-01T09:30:00Z").unwrap());
    lab.ground.clock = Arc::new(lab.clock.clone());
    let whole = avro::file(&["a0", "a1", "a2"], None);
    let file = key(OPEN, "2026-01-01-09", "x.avro");
    lab.put(&file, &whole[..whole.len() - 20]).await;
    lab.put(&key(OPEN, "2026-01-01-10", "y.jsonl"), lines("b", 1)).await;
    let (mut follower, tally) = lab.follower();
    follower.look().await;
    assert_eq!(lab.unusable(), []);
    assert!(lab.ids().contains(&"b0".to_owned()), "nothing else is held up");
    assert_eq!(tally.view().files_pending, 1);
    lab.put(&file, whole).await;
    follower.look().await;
    let read: BTreeSet<_> = lab.ids().into_iter().collect();
    assert_eq!(read, BTreeSet::from(["a0", "a1", "a2", "b0"].map(str::to_owned)));
    assert_eq!((lab.unusable().len(), tally.view().files_pending), (0, 0));
}

#[tokio::test]
async fn a_file_that_changes_is_read_anew_and_a_late_one_is_found() {
    let lab = Lab::new();
    let file = key(OPEN, "2026-01-01-09", "x.jsonl");
    lab.put(&file, lines("a", 1)).await;
    let (mut follower, tally) = lab.follower();
    follower.look().await;
    lab.put(&file, lines("a", 2)).await;
    lab.put(&key(OPEN, "2025-06-01-00", "late.jsonl"), lines("l", 1)).await;
    follower.look().await;
    let mut read = lab.ids();
    read.sort();
    assert_eq!(read, ["a0", "a0", "a1", "l0"], "what comes twice is known by its id");
    assert_eq!(tally.view().files, 3);
}

#[tokio::test]
async fn what_was_there_is_passed_over_until_it_is_asked_for() {
    let mut lab = Lab::new();
    lab.from_the_beginning = false;
    lab.put(&key(OPEN, "2026-01-01-09", "old.jsonl"), lines("old", 1)).await;
    assert_eq!(lab.look().await.files, 0);
    lab.put(&key(OPEN, "2026-01-01-10", "new.jsonl"), lines("new", 1)).await;
    lab.look().await;
    assert_eq!(lab.ids(), ["new0"]);
    let (end, view) = lab.import(false).await;
    assert_eq!(end, ImportEnd::Done { failures: Vec::new() });
    assert_eq!((view.files, view.files_known), (1, 1));
    assert_eq!(lab.ids(), ["new0", "old0"]);
}

#[tokio::test]
async fn a_field_that_braze_adds_is_read_like_the_others() {
    let lab = Lab::new();
    lab.put(&key(OPEN, "2026-01-01-09", "x.avro"), avro::file(&["a0"], None)).await;
    let added = avro::file_with_field(&["b0"], "campaign_id", "spring");
    lab.put(&key(OPEN, "2026-01-01-10", "x.avro"), added).await;
    lab.look().await;
    let events = lab.log.inner.lock().unwrap().events.clone();
    let properties = |id: &str| events.iter().find(|(each, _)| each == id).unwrap().1.clone();
    assert_eq!(properties("a0"), "{}");
    assert_eq!(properties("b0"), r#"{"campaign_id":"spring"}"#);
}

#[tokio::test]
async fn a_dry_run_counts_and_stores_nothing() {
    let lab = Lab::new();
    lab.put("currents/x.jsonl", lines("a", 3) + "{}\n").await;
    let (end, view) = lab.import(true).await;
    assert_eq!(end, ImportEnd::Done { failures: Vec::new() });
    assert_eq!((view.files_total, view.files, view.events, view.unusable), (Some(1), 1, 3, 1));
    assert_eq!(view.by_type, [(OPEN.to_owned(), 3)].into());
    assert_eq!(view.by_reason, [("no `event_type`".to_owned(), 1)].into());
    assert_eq!((lab.ids().len(), lab.unusable().len()), (0, 0));
    assert_eq!(lab.import(false).await.1.events, 3, "nothing was noted either");
}

#[tokio::test]
async fn files_of_a_folder_are_followed_and_one_may_be_named() {
    let lab = Lab::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    std::fs::write(path("deep/x.jsonl"), lines("a", 2)).unwrap();
    std::fs::write(path("y.jsonl"), lines("b", 1)).unwrap();
    let read = async |url: String| {
        let bucket = Bucket::open(&super::BucketSettings { url, ..Default::default() }).unwrap();
        let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
        let ground = lab.ground.clone();
        Import::new(ground, bucket, "files", false, tally.clone(), stop).run().await;
        tally.view().events
    };
    assert_eq!(read(path("y.jsonl")).await, 1);
    assert_eq!(read(path("")).await, 2, "the one that was named is known by its address");
    let missing = super::BucketSettings { url: path("none"), ..Default::default() };
    let error = Bucket::open(&missing).unwrap_err();
    assert_eq!(error.field, "url");
}
