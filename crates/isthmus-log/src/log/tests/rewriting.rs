//! Payloads that are replaced where they stand.

use super::*;
use proptest::prelude::*;

/// Records in groups of three over some segments, and where each begins.
fn written() -> (Bench, Records) {
    let mut bench = Bench::new();
    let mut records = Vec::new();
    for group in 0..8 {
        let payloads: Vec<Vec<u8>> = (0..3).map(|n| secret(group * 3 + n)).collect();
        records.extend(bench.append(&payloads).unwrap().into_iter().zip(payloads));
    }
    assert!(bench.segments().len() > 2);
    (bench, records)
}

/// A payload with words to be found again; LZ4 packs every second one.
fn secret(number: u64) -> Vec<u8> {
    let words = "anastasia@example.org ".repeat(if number.is_multiple_of(2) { 1 } else { 8 });
    [format!("record {number}: {words}").as_bytes(), &payload(number, 60)].concat()
}

fn erased(number: usize) -> Vec<u8> {
    format!("record {number}: erased").into_bytes()
}

fn any_file_holds(disk: &FakeDisk, bytes: &[u8]) -> bool {
    let holds = |path| disk.bytes(path).unwrap().windows(bytes.len()).any(|some| some == bytes);
    disk.paths().iter().any(|path| holds(path))
}

#[test]
fn a_rewritten_record_reads_as_the_new_one_and_nothing_of_the_old_one_is_left() {
    let (bench, mut records) = written();
    assert!(any_file_holds(&bench.disk, b"anastasia"), "what LZ4 writes first is plain");
    let (end, bytes) = (bench.log.end(), bench.log.bytes_on_disk());
    let replacements: Vec<_> = (0..records.len())
        .filter(|number| number % 3 != 1)
        .map(|number| (records[number].0, erased(number)))
        .collect();
    let rewritten = bench.log.rewrite(&replacements).unwrap();
    assert_eq!(rewritten.records, 16);
    for (number, (_, payload)) in records.iter_mut().enumerate().filter(|(n, _)| n % 3 != 1) {
        *payload = erased(number);
    }
    assert_eq!(bench.records().unwrap(), records);
    for (offset, payload) in &records {
        assert_eq!(bench.log.read_at(*offset).unwrap(), payload);
    }
    let rest: Vec<_> = (0..records.len())
        .filter(|number| number % 3 == 1)
        .map(|number| (records[number].0, Vec::new()))
        .collect();
    bench.log.rewrite(&rest).unwrap();
    assert!(!any_file_holds(&bench.disk, b"anastasia"));
    assert_eq!((bench.log.end(), bench.log.bytes_on_disk()), (end, bytes));

    for (offset, payload) in rest {
        records.iter_mut().find(|(known, _)| *known == offset).unwrap().1 = payload;
    }
    let disk = bench.disk.clone();
    disk.crash();
    let mut bench = bench.reopened();
    assert_eq!(bench.records().unwrap(), records);
    assert_eq!(bench.recovery.cut_bytes, 0);
    assert_eq!(bench.append_one(b"offsets go on"), end);
}

#[test]
fn a_payload_that_does_not_fit_changes_nothing() {
    let (bench, records) = written();
    let noise = payload(1, 400);
    let replacements = [(records[0].0, erased(0)), (records[5].0, noise)];
    let error = bench.log.rewrite(&replacements).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("record at offset {} does not fit", records[5].0)), "{text}");
    assert_eq!(error.remedy(), Remedy::Fix);
    assert_eq!(bench.records().unwrap(), records);
}

#[test]
fn only_records_are_rewritten() {
    let (mut bench, records) = written();
    let rewrite = |offset| bench.log.rewrite(&[(offset, Vec::new())]);
    assert!(matches!(rewrite(bench.log.end()), Err(LogError::Beyond { .. })));
    assert!(matches!(rewrite(records[4].0 + 1), Err(LogError::Corrupt { .. })));
    assert_eq!(bench.records().unwrap(), records);

    let second = bench.segments()[1];
    bench.log.trim(second).unwrap();
    let rewritten = bench.log.rewrite(&[(0, Vec::new()), (second, Vec::new())]).unwrap();
    assert_eq!(rewritten.records, 1, "what was trimmed is passed over");
    assert_eq!(bench.log.rewrite(&[]).unwrap(), crate::Rewritten::default());
    bench.append_one(b"x");
    let log = bench.log.clone();
    drop(bench.writer);
    assert!(matches!(log.rewrite(&[(second, Vec::new())]), Err(LogError::Closed)));
}

#[test]
fn power_lost_at_any_step_leaves_each_record_old_or_new() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..40 {
        for changes in 0.. {
            let (bench, records) = written();
            let (config, disk) = (bench.config, bench.disk.copy(seed));
            drop(bench);
            let bench = Bench::with(disk.clone(), config);
            let replaced = [0, 1, 4, 11, 22, 23];
            let replacements: Vec<_> =
                replaced.iter().map(|&number| (records[number].0, erased(number))).collect();
            disk.lose_power_after(changes);
            let outcome = bench.log.rewrite(&replacements);
            disk.crash();
            let bench = bench.reopened();
            let read = bench.records().unwrap();
            let context = format!("seed {seed}, {changes} changes");
            assert_eq!(read.len(), records.len(), "{context}");
            let mut new = 0;
            for (number, (old, read)) in records.iter().zip(&read).enumerate() {
                assert_eq!(old.0, read.0, "{context}");
                if replaced.contains(&number) && read.1 == erased(number) {
                    new += 1;
                } else {
                    assert_eq!(old.1, read.1, "{context}");
                }
            }
            assert!(new == 0 || new == replaced.len(), "{context}: {new}");
            outcomes.insert((outcome.is_ok(), new > 0));
            bench.log.rewrite(&replacements).expect("it can be done again");
            for number in replaced {
                assert_eq!(bench.log.read_at(records[number].0).unwrap(), erased(number));
            }
            let left = bench.disk.paths();
            assert!(left.iter().all(|path| !path.ends_with("rewrite")), "{context}: {left:?}");
            if outcome.is_ok() {
                break;
            }
        }
    }
    let expected = [(false, false), (false, true), (true, true)];
    assert!(outcomes.into_iter().eq(expected), "every outcome was met, and no other");
}

type Fault = fn(&FakeDisk);

/// Every way in which the disk may fail once, and then not any more.
fn faults() -> [(&'static str, Fault); 7] {
    [
        ("create", |disk| disk.fail_creates(1)),
        ("write", |disk| disk.fail_writes(1)),
        ("sync", |disk| disk.fail_syncs(1)),
        ("remove", |disk| disk.fail_removes(1)),
        ("power", |disk| disk.lose_power_after(5)),
        ("late power", |disk| disk.lose_power_after(8)),
        ("full", |disk| disk.set_free(Some(200))),
    ]
}

#[test]
fn a_disk_that_fails_leaves_the_log_usable_and_the_rewriting_can_be_finished() {
    for (fault, fail) in faults() {
        let (mut bench, records) = written();
        let mut reader = bench.log.reader(0).unwrap();
        reader.next().unwrap();
        fail(&bench.disk);
        let replacements: Vec<_> =
            [0, 9, 23].map(|number| (records[number].0, erased(number))).into();
        let error = bench.log.rewrite(&replacements).unwrap_err();
        let remedy = if fault == "full" { Remedy::Wait } else { Remedy::Repair };
        assert_eq!(error.remedy(), remedy, "{fault}");
        let read = bench.records().expect(fault);
        assert_eq!(read.len(), records.len(), "{fault}");
        while reader.next().expect(fault).is_some() {}

        bench.disk.clear_faults();
        let more = bench.append_one(b"more");
        bench.log.rewrite(&[]).expect(fault);
        bench.log.rewrite(&replacements).expect(fault);
        for number in [0, 9, 23] {
            assert_eq!(bench.log.read_at(records[number].0).unwrap(), erased(number), "{fault}");
        }
        bench.disk.crash();
        let bench = bench.reopened();
        assert_eq!(bench.log.read_at(more).unwrap(), b"more"[..], "{fault}");
        assert_eq!(bench.records().unwrap().len(), records.len() + 1, "{fault}");
    }
}

#[test]
fn what_the_disk_did_half_way_is_read_from_memory_until_it_is_whole() {
    let (bench, records) = written();
    // The side file, its sync, the folder's: then the first frame.
    bench.disk.lose_power_after(4);
    bench.log.rewrite(&[(records[2].0, erased(2))]).unwrap_err();
    assert_eq!(bench.log.read_at(records[2].0).unwrap(), erased(2));
    assert_eq!(bench.log.next_valid_after(records[1].0).unwrap(), Some(records[2].0));
    let mut reader = bench.log.reader(0).unwrap();
    for (offset, _) in records.iter().take(3) {
        assert_eq!(reader.next().unwrap().unwrap().offset, *offset);
    }
    let mut other = bench.log.reader(records[1].0).unwrap();
    other.next().unwrap();
    bench.disk.clear_faults();
    bench.log.rewrite(&[]).unwrap();
    assert_eq!(other.next().unwrap().unwrap().payload, erased(2), "its window held a part");
    assert_eq!(bench.log.read_at(records[2].0).unwrap(), erased(2));
}

#[test]
fn damage_to_a_rewritten_record_is_damage_and_not_taken_for_an_interrupted_write() {
    let mut bench = Bench::new();
    let payloads = [payload(1, 50), payload(2, 700), payload(3, 50)];
    let offsets = bench.append(&payloads).unwrap();
    bench.log.rewrite(&[(offsets[1], Vec::new())]).unwrap();
    bench.disk.flip(&segment_path(folder(), 0), SEGMENT_HEADER + offsets[1] + 6, 1);
    assert!(matches!(bench.try_reopened().err(), Some(LogError::Corrupt { segment: 0, .. })));
}

#[test]
fn a_side_file_that_is_damaged_or_torn_is_not_believed() {
    let (bench, records) = written();
    let side = folder().join("rewrite");
    bench.disk.fail_removes(1);
    bench.log.rewrite(&[(records[3].0, erased(3))]).unwrap_err();
    let whole = bench.disk.bytes(&side).unwrap();
    let (disk, config) = (bench.disk.clone(), bench.config);
    drop(bench);
    for bit in 0..whole.len() * 8 {
        let copy = disk.copy(1);
        copy.edit(&side, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let bench = Bench::with(copy, config);
        assert_eq!(bench.log.read_at(records[3].0).unwrap(), erased(3), "bit {bit}");
        assert!(bench.disk.bytes(&side).is_none(), "bit {bit}");
    }
    for length in 0..whole.len() {
        let copy = disk.copy(1);
        copy.edit(&side, |bytes| bytes.truncate(length));
        assert!(Bench::with(copy, config).disk.bytes(&side).is_none(), "{length} bytes");
    }
    disk.edit(&side, |bytes| {
        bytes[8] = 2;
        let sum = crc32fast::hash(&bytes[..28]);
        bytes[28..32].copy_from_slice(&sum.to_le_bytes());
    });
    let newer = Bench::try_with(disk, config).err();
    assert!(matches!(newer, Some(LogError::Version { found: 2, .. })));
}

proptest! {
    #[test]
    fn any_record_can_be_shortened_and_every_other_one_stays(
        lengths in prop::collection::vec(prop_oneof![0usize..80, 0usize..3_000], 1..30),
        chosen in prop::collection::vec((any::<bool>(), 0usize..3_000), 30),
        seed: u64,
        times in 1usize..3,
    ) {
        let mut bench = Bench::with(FakeDisk::new(seed), Bench::new().config);
        let mut records = Records::new();
        for (number, len) in lengths.iter().enumerate() {
            // Half noise, half words.
            let mut bytes = payload(number as u64, (len / 2) as u64);
            bytes.extend(b"words and more words, ".iter().cycle().take(len / 2));
            records.push((bench.append_one(&bytes), bytes));
        }
        for _ in 0..times {
            let mut replacements = Vec::new();
            for ((offset, payload), (rewrite, len)) in records.iter_mut().zip(&chosen) {
                if *rewrite {
                    payload.truncate(*len);
                    let skip = payload.len() / 3;
                    payload.drain(..skip);
                    replacements.push((*offset, payload.clone()));
                }
            }
            let rewritten = bench.log.rewrite(&replacements).unwrap();
            prop_assert_eq!(rewritten.records, replacements.len() as u64);
            prop_assert_eq!(&bench.records().unwrap(), &records);
        }
        bench.disk.crash();
        prop_assert_eq!(&bench.reopened().records().unwrap(), &records);
    }
}
