//! Disks that fail or fill up while the process lives.

use super::*;

#[test]
fn a_failed_sync_closes_the_segment_and_loses_nothing_acknowledged() {
    for truncate_works in [true, false] {
        let mut bench = Bench::new();
        let kept = bench.append_one(&payload(1, 50));
        let end = bench.log.end();
        bench.disk.fail_syncs(if truncate_works { 1 } else { 2 });
        bench.disk.fail_truncates(u32::from(!truncate_works));
        let error = bench.append(&[payload(2, 50)]).unwrap_err();
        assert_eq!(error.to_string(), "segment 0 cannot be synced");
        assert_eq!(error.remedy(), Remedy::Repair);
        assert_eq!(bench.records().unwrap(), [(kept, payload(1, 50))]);

        bench.disk.fail_syncs(0);
        assert_eq!(bench.append_one(&payload(3, 20)), end, "offsets go on");
        assert_eq!(bench.segments(), [0, end]);
        let expected = vec![(kept, payload(1, 50)), (end, payload(3, 20))];
        assert_eq!(bench.records().unwrap(), expected);
        bench.disk.crash();
        let bench = bench.reopened();
        assert_eq!(bench.records().unwrap(), expected);
        assert_eq!(bench.recovery.cut_bytes > 0, !truncate_works);
    }
}

#[test]
fn a_segment_that_failed_before_its_first_record_is_started_again() {
    let mut bench = Bench::new();
    for syncs in 1..4 {
        bench.disk.fail_syncs(syncs);
        for _ in 0..syncs {
            drop(bench.append(&[payload(9, 40)]));
        }
    }
    bench.disk.fail_syncs(0);
    bench.disk.fail_creates(1);
    assert!(bench.append(&[payload(9, 40)]).is_err());
    assert_eq!(bench.append_one(&payload(1, 40)), 0);
    assert_eq!(bench.segments(), [0]);
    bench.disk.crash();
    assert_eq!(bench.reopened().records().unwrap(), [(0, payload(1, 40))]);
}

#[test]
fn a_segment_is_over_once_its_successor_may_exist() {
    let mut bench = Bench::new();
    bench.append_one(&payload(1, 600));
    let end = bench.log.end();
    bench.disk.fail_syncs(1);
    let error = bench.append(&[payload(2, 600)]).unwrap_err();
    assert_eq!(error.to_string(), format!("segment {end} cannot be created"));
    // It would fit into the first segment; recovery would take it for a failed group there.
    assert_eq!(bench.append_one(&payload(3, 10)), end);
    assert_eq!(bench.segments(), [0, end]);
    let bench = bench.reopened();
    assert_eq!(bench.records().unwrap(), [(0, payload(1, 600)), (end, payload(3, 10))]);
}

#[test]
fn a_full_disk_is_said_and_recovers_by_itself() {
    let mut bench = Bench::new();
    bench.append_one(&payload(1, 100));
    let end = bench.log.end();
    let lengths = |bench: &Bench| bench.disk.bytes(&segment_path(folder(), 0)).unwrap().len();
    let length = lengths(&bench);
    bench.disk.set_free(Some(250));
    let error = bench.append(&[payload(2, 400)]).unwrap_err();
    assert!(matches!(error, LogError::Full { because: FullBecause::Reserve { .. }, .. }));
    assert_eq!(error.remedy(), Remedy::Wait);
    assert_eq!(lengths(&bench), length);
    bench.disk.set_free(None);
    assert_eq!(bench.append_one(&payload(3, 400)), end);
    assert_eq!(bench.records().unwrap().len(), 2);
}

#[test]
fn a_write_that_finds_no_space_leaves_nothing_half_written() {
    let mut bench = Bench::new();
    bench.append_one(&payload(1, 100));
    let end = bench.log.end();
    bench.disk.set_free(Some(250));
    bench.disk.hide_free_space(true);
    for _ in 0..3 {
        let error = bench.append(&[payload(2, 400)]).unwrap_err();
        let text = format!("log is full: {} bytes in use, the disk has no space left", end + 32);
        assert_eq!(error.to_string(), text);
        let length = bench.disk.bytes(&segment_path(folder(), 0)).unwrap().len();
        assert_eq!(length as u64, SEGMENT_HEADER + end);
    }
    assert_eq!(bench.segments(), [0]);
    assert_eq!(bench.append_one(&payload(3, 100)), end, "what fits is taken");
    bench.disk.set_free(Some(10));
    assert!(bench.append(&[payload(4, 900)]).is_err(), "not even the header of a new segment");
    bench.disk.set_free(None);
    bench.append_one(&payload(5, 900));
    let records = bench.records().unwrap();
    assert_eq!(records.len(), 3);
    bench.disk.crash();
    assert_eq!(bench.reopened().records().unwrap(), records);
}

#[test]
fn a_budget_is_kept_until_old_segments_are_trimmed() {
    let config = LogConfig { budget: Some(ByteSize::kib(4)), ..Bench::new().config };
    let mut bench = Bench::with(FakeDisk::new(1), config);
    let error = loop {
        if let Err(error) = bench.append(&[payload(1, 300)]) {
            break error;
        }
        assert!(bench.log.bytes_on_disk() <= 4_096);
    };
    assert!(bench.log.bytes_on_disk() > 3_500);
    let text = error.to_string();
    assert!(text.ends_with("bytes in use, the budget is 4KiB"), "{text}");
    let second = bench.segments()[1];
    bench.log.trim(second).unwrap();
    bench.append_one(&payload(2, 300));
}

#[test]
fn a_segment_that_cannot_be_removed_stays_readable() {
    let mut bench = Bench::new();
    for number in 0..20 {
        bench.append_one(&payload(number, 200));
    }
    let records = bench.records().unwrap();
    bench.disk.fail_removes(1);
    let error = bench.log.trim(bench.log.end()).unwrap_err();
    assert_eq!(error.to_string(), "segment 0 cannot be removed");
    assert_eq!(bench.records().unwrap(), records);
    assert!(bench.log.trim(bench.log.end()).unwrap() > 0);
}
