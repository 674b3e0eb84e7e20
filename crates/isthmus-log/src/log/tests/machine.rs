//! The machine's own disk and threads.

use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

fn open(folder: &Path, config: LogConfig) -> Result<(Log, Recovery), LogError> {
    Log::open(Arc::new(RealDisk), folder, config, Arc::new(ManualClock::default()))
}

fn small() -> LogConfig {
    LogConfig {
        segment_max: ByteSize::kib(64),
        reserve: ByteSize::bytes(0),
        ..LogConfig::default()
    }
}

/// Appends `count` records for each of eight tasks; returns what was acknowledged.
async fn append_from_tasks(log: &Log, count: u64) -> BTreeMap<u64, Vec<u8>> {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let log = log.clone();
        tasks.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..count {
                let payload = payload(task << 32 | number, 40 * number % 3_000);
                let offset = log.append(payload.clone()).await.unwrap();
                assert!(log.end() > offset);
                acknowledged.push((offset, payload));
            }
            acknowledged
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_are_all_durable_once_and_in_the_order_of_each_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/intake");
    let (log, _) = open(&path, small()).unwrap();
    let acknowledged = append_from_tasks(&log, 60).await;
    assert_eq!(acknowledged.len(), 8 * 60);
    let read: BTreeMap<u64, Vec<u8>> = read_from(&log, 0).unwrap().into_iter().collect();
    assert_eq!(read, acknowledged);
    let mut last = BTreeMap::new();
    for payload in read.values() {
        let number = u64::from_le_bytes(*payload.first_chunk().unwrap());
        assert!(last.insert(number >> 32, number).is_none_or(|before| before < number));
    }
    log.close().await;
    log.close().await;
    let (log, recovery) = open(&path, small()).unwrap();
    assert_eq!(recovery.cut_bytes, 0);
    assert_eq!(read_from(&log, 0).unwrap().len(), read.len());
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_follows_while_segments_roll_and_are_trimmed_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path(), small()).unwrap();
    let writing = log.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { append_from_tasks(&writing, 60).await });
    let mut reader = log.reader(0).unwrap();
    let mut read = BTreeMap::new();
    while read.len() < 8 * 60 {
        reader.ready().await;
        while let Some(record) = reader.next().unwrap() {
            read.insert(record.offset, record.payload.to_vec());
        }
        log.trim(reader.position()).unwrap();
    }
    assert_eq!(tasks.join_all().await, [read]);
    assert!(log.start() > 0);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_of_the_folder_taken_at_any_moment_holds_all_that_was_acknowledged_before() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path(), small()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let (log, stop) = (log.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let payload = payload(task << 32 | number, 997 * number % 5_000);
                log.append(payload).await.unwrap();
            }
        });
    }
    for copy in 0..6 {
        log.wait_beyond(copy * 100_000).await;
        let copied = tempfile::tempdir().unwrap();
        let durable = log.end();
        let mut names = RealDisk.list(folder.path()).unwrap();
        // Oldest first, as a process that dies leaves nothing newer than what it wrote.
        names.sort();
        for name in names.iter().filter(|name| *name != "lock") {
            std::fs::copy(folder.path().join(name), copied.path().join(name)).unwrap();
        }
        let (theirs, recovery) = open(copied.path(), small()).unwrap();
        assert!(recovery.end >= durable);
        // The copy may hold what ours has written and not synced yet.
        log.wait_beyond(recovery.end.saturating_sub(1)).await;
        let ours = read_from(&log, 0).unwrap();
        let read = read_from(&theirs, 0).unwrap();
        assert_eq!(ours[..read.len()], read);
        theirs.close().await;
    }
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_the_old_or_the_new_while_records_are_rewritten_appended_and_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path(), small()).unwrap();
    // Longer than what is read at first for one record. Each says its number, so a mixture shows.
    let text = |number| payload(number, 20_000);
    let whole = move |read: &[u8]| text(u64::from_le_bytes(*read.first_chunk().unwrap())) == read;
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (log, stop) = (log.clone(), Arc::clone(&stop));
        readers.spawn_blocking(move || {
            let mut read = 0;
            while !stop.load(Ordering::Relaxed) {
                let start = log.start();
                let Ok(mut reader) = log.reader(start) else { continue };
                loop {
                    match reader.next() {
                        Ok(Some(record)) => assert!(whole(&record.payload)),
                        Ok(None) | Err(LogError::Trimmed { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                    read += 1;
                }
                match log.read_at(start) {
                    Ok(payload) => assert!(whole(&payload)),
                    Err(LogError::Trimmed { .. } | LogError::Beyond { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            read
        });
    }
    let mut offsets = Vec::new();
    for round in 0..16 {
        offsets.extend(log.append_many((0..10).map(text).collect()).await.unwrap());
        let replaced = offsets.iter().step_by(3).map(|offset| (*offset, text(round)));
        log.rewrite(&replaced.collect::<Vec<_>>()).unwrap();
        if round % 8 == 7 {
            log.trim(log.start() + (log.end() - log.start()) / 2).unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let read: Vec<u64> = readers.join_all().await;
    assert!(read.into_iter().all(|read| read > 0));
    log.close().await;
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path(), small()).unwrap();
    assert!(matches!(open(folder.path(), small()), Err(LogError::Locked { .. })));
    log.close().await;
    let (again, _) = open(folder.path(), small()).unwrap();
    again.close().await;
}

#[tokio::test]
async fn what_waits_is_written_when_the_last_handle_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path(), small()).unwrap();
    let mut reader = log.reader(0).unwrap();
    let offset = {
        let append = log.append(b"last words".to_vec());
        let outcome = append.await;
        drop(log);
        outcome.unwrap()
    };
    assert_eq!(reader.next().unwrap().unwrap().offset, offset);
}

#[test]
fn a_reserve_that_the_disk_does_not_have_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { reserve: ByteSize::bytes(u64::MAX), ..small() };
    let (log, mut writer, _) = Log::open_stepped(
        Arc::new(RealDisk),
        folder.path(),
        config,
        Arc::new(ManualClock::default()),
    )
    .unwrap();
    let frame = Frame::new(b"x".to_vec(), ByteSize::mib(1)).unwrap();
    let error = writer.write_group(&[frame]).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("log is full: 0 bytes in use, the disk has "), "{text}");
    assert_eq!(log.end(), 0);
}
