//! Bytes on disk that are not what was written.

use super::*;

/// Records in groups of three: two closed segments and a last one with three groups.
fn written() -> (Bench, Records, Vec<u64>) {
    let mut bench = Bench::new();
    let mut records = Vec::new();
    for group in 0..8 {
        let payloads: Vec<Vec<u8>> = (0..3).map(|n| payload(group * 3 + n, 60 + n)).collect();
        records.extend(bench.append(&payloads).unwrap().into_iter().zip(payloads));
    }
    let segments = bench.segments();
    assert_eq!(segments.len(), 3);
    (bench, records, segments)
}

#[test]
fn a_flip_of_any_byte_is_reported_and_never_read_as_data() {
    let (bench, records, segments) = written();
    let (disk, config) = (bench.disk.clone(), bench.config);
    let last_segment = *segments.last().unwrap();
    let last_record = records.last().unwrap().0;
    drop(bench);
    for segment in segments {
        let path = segment_path(folder(), segment);
        for at in 0..disk.bytes(&path).unwrap().len() as u64 {
            let damaged = disk.copy(7);
            damaged.flip(&path, at, u32::try_from(at % 8).unwrap());
            let offset = (segment + at).checked_sub(SEGMENT_HEADER);
            let hit = offset.filter(|offset| *offset >= segment);
            let opened = Bench::try_with(damaged, config);
            let context = format!("segment {segment}, byte {at}");
            match opened {
                // The last record cannot be told from an interrupted write, so it is cut, aloud.
                Ok(bench) if hit.is_some_and(|hit| hit >= last_record) => {
                    assert_eq!(bench.records().unwrap(), records[..records.len() - 1], "{context}");
                    assert!(bench.recovery.cut_bytes > 0, "{context}");
                }
                Ok(bench) => {
                    let hit = hit.expect("a damaged header is found when opening");
                    assert!(segment < last_segment, "{context}");
                    let place = records.partition_point(|(offset, _)| *offset <= hit) - 1;
                    let damage = records[place].0;
                    expect_damage(&bench, &records, place, &context);
                    let next = bench.log.next_valid_after(damage).unwrap();
                    assert_eq!(next, Some(records[place + 1].0), "{context}");
                    let rest = read_from(&bench.log, records[place + 1].0).unwrap();
                    assert_eq!(rest, records[place + 1..], "{context}");
                }
                Err(LogError::Corrupt { segment: named, offset }) => {
                    assert_eq!(named, segment, "{context}");
                    let hit = hit.unwrap_or(segment);
                    let place = records.partition_point(|(offset, _)| *offset <= hit) - 1;
                    assert_eq!(offset, records[place].0, "{context}");
                }
                Err(error) => panic!("{context}: {error}"),
            }
        }
    }
}

/// Reading gives the records before number `place`, then names that one, again and again.
fn expect_damage(bench: &Bench, records: &[(u64, Vec<u8>)], place: usize, context: &str) {
    let mut reader = bench.log.reader(bench.log.start());
    if place == 0 {
        assert!(matches!(reader, Err(LogError::Corrupt { offset: 0, .. })), "{context}");
        return;
    }
    let reader = reader.as_mut().unwrap();
    for (offset, payload) in &records[..place] {
        let record = reader.next().unwrap().unwrap();
        assert_eq!((record.offset, &record.payload[..]), (*offset, &payload[..]), "{context}");
    }
    for _ in 0..2 {
        let error = reader.next().unwrap_err();
        let LogError::Corrupt { offset, .. } = error else { panic!("{context}: {error}") };
        assert_eq!(offset, records[place].0, "{context}");
    }
}

#[test]
fn a_file_cut_anywhere_loses_only_its_tail() {
    let (bench, records, segments) = written();
    let (disk, config) = (bench.disk.clone(), bench.config);
    drop(bench);
    let last = *segments.last().unwrap();
    let path = segment_path(folder(), last);
    for length in 0..disk.bytes(&path).unwrap().len() {
        for zeros in [0, 1, 700] {
            let torn = disk.copy(7);
            torn.edit(&path, |bytes| {
                bytes.truncate(length);
                bytes.resize(length + zeros, 0);
            });
            let bench = Bench::with(torn, config);
            let end = last + (length as u64).saturating_sub(SEGMENT_HEADER);
            // A zero may be the byte that was cut.
            let least = records
                .iter()
                .filter(|(offset, payload)| offset + 24 + payload.len() as u64 <= end);
            let read = bench.records().unwrap();
            assert!(read.len() >= least.count(), "{length} bytes and {zeros} zeros");
            assert_eq!(read, records[..read.len()]);
            let mut bench = bench;
            let next = bench.append_one(b"and on it goes");
            assert_eq!(bench.reopened().records().unwrap().last().unwrap().0, next);
        }
    }
}

#[test]
fn a_closed_segment_that_is_too_short_is_damage() {
    let (bench, _, segments) = written();
    bench.disk.edit(&segment_path(folder(), segments[0]), |bytes| {
        bytes.pop();
    });
    let error = bench.try_reopened().err().expect("refused");
    let text = format!("segment 0 is damaged at offset {}", segments[1] - 1);
    assert_eq!(error.to_string(), text);
    assert_eq!(error.remedy(), Remedy::Repair);
}

#[test]
fn a_missing_segment_is_damage() {
    let (bench, _, segments) = written();
    bench.disk.remove(&segment_path(folder(), segments[1])).unwrap();
    assert!(matches!(bench.try_reopened().err(), Some(LogError::Corrupt { segment: 0, .. })));
}

#[test]
fn a_group_whose_sectors_arrived_out_of_order_is_cut() {
    let mut bench = Bench::with(
        FakeDisk::new(1),
        LogConfig { segment_max: ByteSize::mib(1), ..Bench::new().config },
    );
    bench.append_one(&payload(0, 300));
    let durable = bench.log.end();
    let group: Vec<Vec<u8>> = (1..20).map(|n| payload(n, 150)).collect();
    let offsets = bench.append(&group).unwrap();
    let path = segment_path(folder(), 0);
    let (disk, config) = (bench.disk.clone(), bench.config);
    drop(bench);
    let length = disk.bytes(&path).unwrap().len();
    for sector in 1..length / 512 {
        let torn = disk.copy(3);
        torn.edit(&path, |bytes| {
            let durable = usize::try_from(SEGMENT_HEADER + durable).unwrap();
            let from = (sector * 512).max(durable);
            bytes[from..(sector + 1) * 512].fill(0);
        });
        let bench = Bench::with(torn, config);
        let lost = sector as u64 * 512 - SEGMENT_HEADER;
        let whole = offsets.iter().filter(|offset| **offset + 24 + 158 <= lost).count();
        assert_eq!(bench.records().unwrap().len(), 1 + whole, "sector {sector}");
        assert!(bench.recovery.cut_bytes > 0);
    }
    // The same place, but with bytes that are not zeros: no crash does that.
    disk.edit(&path, |bytes| bytes[1_024..1_536].fill(0x55));
    assert!(matches!(Bench::try_with(disk, config), Err(LogError::Corrupt { segment: 0, .. })));
}

#[test]
fn zeros_in_a_group_that_was_followed_by_another_are_damage() {
    let mut bench = Bench::with(
        FakeDisk::new(1),
        LogConfig { segment_max: ByteSize::mib(1), ..Bench::new().config },
    );
    let group: Vec<Vec<u8>> = (1..20).map(|n| payload(n, 150)).collect();
    bench.append(&group).unwrap();
    bench.append_one(&payload(0, 300));
    bench.disk.edit(&segment_path(folder(), 0), |bytes| bytes[1_024..1_536].fill(0));
    assert!(matches!(bench.try_reopened().err(), Some(LogError::Corrupt { segment: 0, .. })));
}

#[test]
fn a_log_inside_a_payload_is_not_taken_for_records() {
    let mut bench = Bench::with(
        FakeDisk::new(1),
        LogConfig { segment_max: ByteSize::mib(1), ..Bench::new().config },
    );
    bench.append(&[payload(1, 50), payload(2, 50)]).unwrap();
    let inner = bench.disk.bytes(&segment_path(folder(), 0)).unwrap();
    let first = bench.append_one(&inner);
    let second = bench.append_one(&payload(3, 50));
    // The header of the record that holds the copy is lost.
    bench.disk.flip(&segment_path(folder(), 0), SEGMENT_HEADER + first + 5, 0);
    assert_eq!(bench.log.next_valid_after(first).unwrap(), Some(second));
}

#[test]
fn an_operator_can_skip_damage_for_good() {
    for segment in [0, 1, 2] {
        let (bench, records, segments) = written();
        let base = segments[segment];
        let place = records.iter().position(|(offset, _)| *offset == base).unwrap() + 1;
        let (from, to) = (records[place].0, records[place + 1].0);
        let at = SEGMENT_HEADER + from - base;
        bench.disk.flip(&segment_path(folder(), base), at + 30, 3);
        let (disk, config) = (bench.disk.clone(), bench.config);
        let locked = skip_damage(&disk, folder(), from);
        assert!(matches!(locked, Err(LogError::Locked { .. })), "not while it is open");
        drop(bench);

        assert_eq!(skip_damage(&disk, folder(), from).unwrap(), crate::Skipped { from, to });
        assert_eq!(skip_damage(&disk, folder(), from).unwrap().to, from, "nothing left to skip");
        disk.crash();
        let bench = Bench::with(disk, config);
        let mut whole = records.clone();
        whole.remove(place);
        assert_eq!(bench.records().unwrap(), whole);
        assert!(matches!(bench.log.read_at(from), Err(LogError::Corrupt { .. })));
        assert_eq!(bench.recovery.cut_bytes, 0);
    }
}

#[test]
fn a_damaged_segment_header_is_written_again_and_nothing_is_lost() {
    for segment in [0, 1, 2] {
        let (bench, records, segments) = written();
        let base = segments[segment];
        bench.disk.flip(&segment_path(folder(), base), 9, 3);
        let (disk, config) = (bench.disk.clone(), bench.config);
        drop(bench);
        let error = Bench::try_with(disk.clone(), config).err().expect("refused");
        assert_eq!(error.to_string(), format!("segment {base} is damaged at offset {base}"));
        let skipped = skip_damage(&disk, folder(), base).unwrap();
        assert_eq!(skipped, crate::Skipped { from: base, to: base });
        assert_eq!(Bench::with(disk, config).records().unwrap(), records);
    }
}

#[test]
fn a_segment_of_a_newer_format_is_refused_by_name() {
    let (bench, _, _) = written();
    bench.disk.edit(&segment_path(folder(), 0), |bytes| {
        bytes[8] = 2;
        let sum = crc32fast::hash(&bytes[..28]);
        bytes[28..32].copy_from_slice(&sum.to_le_bytes());
    });
    let error = bench.try_reopened().err().expect("refused");
    assert_eq!(error.to_string(), "segment 0 has format 2; this build reads up to 1");
}
