//! What a log promises, checked through its handle, on a disk that does everything wrong and on
//! the machine's own.

use super::*;
use crate::disk::{FakeDisk, RealDisk};
use crate::format::{SEGMENT_HEADER, segment_path};
use crate::{FullBecause, Remedy, skip_damage};
use isthmus_core::ByteSize;
use isthmus_core::seam::ManualClock;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

mod crash;
mod damage;
mod faults;
mod machine;
mod rewriting;

/// Offsets and payloads.
type Records = Vec<(u64, Vec<u8>)>;

/// A log on a fake disk whose writer runs when the test says so.
struct Bench {
    disk: FakeDisk,
    config: LogConfig,
    log: Log,
    writer: Writer,
    recovery: Recovery,
}

impl Bench {
    /// Segments of 1 KiB, no reserve.
    fn new() -> Self {
        let config = LogConfig {
            segment_max: ByteSize::kib(1),
            reserve: ByteSize::bytes(0),
            ..LogConfig::default()
        };
        Self::with(FakeDisk::new(1), config)
    }

    fn with(disk: FakeDisk, config: LogConfig) -> Self {
        Self::try_with(disk, config).expect("the log opens")
    }

    fn try_with(disk: FakeDisk, config: LogConfig) -> Result<Self, LogError> {
        let (log, writer, recovery) = Log::open_stepped(
            Arc::new(disk.clone()),
            folder(),
            config,
            Arc::new(ManualClock::default()),
        )?;
        Ok(Self { disk, config, log, writer, recovery })
    }

    /// The log as the next process finds it.
    fn reopened(self) -> Self {
        let Self { disk, config, log, writer, .. } = self;
        drop((log, writer));
        Self::with(disk, config)
    }

    fn try_reopened(self) -> Result<Self, LogError> {
        let Self { disk, config, log, writer, .. } = self;
        drop((log, writer));
        Self::try_with(disk, config)
    }

    /// Appends `payloads` as one group.
    fn append(&mut self, payloads: &[Vec<u8>]) -> Result<Vec<u64>, LogError> {
        let log = self.log.clone();
        let mut append = pin!(log.append_many(payloads.to_vec()));
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = append.as_mut().poll(&mut context) {
            return done;
        }
        self.writer.step();
        match append.poll(&mut context) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("a step answers what waits"),
        }
    }

    fn append_one(&mut self, payload: &[u8]) -> u64 {
        self.append(&[payload.to_vec()]).expect("the disk works")[0]
    }

    /// All records, or the error that reading ends with.
    fn records(&self) -> Result<Records, LogError> {
        read_from(&self.log, self.log.start())
    }

    fn segments(&self) -> Vec<u64> {
        crate::recovery::list_segments(&self.disk, folder()).unwrap()
    }
}

fn folder() -> &'static Path {
    Path::new("data/intake")
}

fn read_from(log: &Log, from: u64) -> Result<Records, LogError> {
    let mut reader = log.reader(from)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next()? {
        assert_eq!(record.next, reader.position());
        records.push((record.offset, record.payload.to_vec()));
    }
    assert_eq!(reader.position(), log.end());
    Ok(records)
}

/// A payload that says its number and does not compress to nothing.
fn payload(number: u64, len: u64) -> Vec<u8> {
    let len = usize::try_from(len).unwrap();
    let random = isthmus_core::seam::SeededRandom::new(number);
    let noise = std::iter::repeat_with(|| isthmus_core::seam::Random::next_u64(&random));
    let bytes: Vec<u8> = noise.flat_map(u64::to_le_bytes).take(len).collect();
    [&number.to_le_bytes()[..], &bytes].concat()
}

#[test]
fn records_are_read_back_in_order_across_segments() {
    let mut bench = Bench::new();
    let payloads: Vec<Vec<u8>> = (0..40).map(|n| payload(n, 17 * n)).collect();
    let mut offsets = Vec::new();
    for group in payloads.chunks(3) {
        offsets.extend(bench.append(group).unwrap());
    }
    assert!(bench.segments().len() > 5);
    let expected: Vec<(u64, Vec<u8>)> = offsets.into_iter().zip(payloads).collect();
    assert_eq!(bench.records().unwrap(), expected);
    for (offset, payload) in &expected {
        assert_eq!(bench.log.read_at(*offset).unwrap(), payload);
        assert_eq!(read_from(&bench.log, *offset).unwrap()[0].1, *payload);
    }
    let bytes = bench.log.bytes_on_disk();
    let bench = bench.reopened();
    assert_eq!(bench.records().unwrap(), expected);
    assert_eq!(bench.recovery.cut_bytes, 0);
    let last = *bench.segments().last().unwrap();
    let Recovery { verified_bytes, end, .. } = bench.recovery;
    assert_eq!(verified_bytes, end - last, "opening reads the last segment only");
    assert_eq!(bench.log.bytes_on_disk(), bytes);
    let on_disk: usize =
        bench.disk.paths().iter().map(|p| bench.disk.bytes(p).unwrap().len()).sum();
    assert_eq!(bytes, on_disk as u64);
}

#[test]
fn a_sole_appender_knows_the_offset_of_its_next_record() {
    let mut bench = Bench::new();
    for number in 0..100 {
        let expected = bench.log.end();
        assert_eq!(bench.append_one(&payload(number, 100)), expected);
    }
    assert!(bench.segments().len() > 8, "also where a segment starts");
}

#[test]
fn a_reader_continues_where_it_reached_the_end() {
    let mut bench = Bench::new();
    let mut reader = bench.log.reader(0).unwrap();
    for number in 0..50 {
        assert_eq!(reader.next().unwrap(), None);
        let offset = bench.append_one(&payload(number, 90));
        let record = reader.next().unwrap().expect("what was just appended");
        assert_eq!((record.offset, record.payload.to_vec()), (offset, payload(number, 90)));
    }
}

#[test]
fn a_reader_sees_nothing_before_it_is_durable() {
    let mut bench = Bench::new();
    bench.disk.fail_syncs(1);
    assert!(bench.append(&[payload(1, 10)]).is_err());
    assert_eq!(bench.records().unwrap(), []);
    assert_eq!(bench.log.end(), 0);
}

#[test]
fn waiting_ends_when_the_log_grows() {
    let mut bench = Bench::new();
    let log = bench.log.clone();
    let mut wait = pin!(log.wait_beyond(0));
    let mut context = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut context).is_pending());
    bench.append_one(b"x");
    assert!(wait.poll(&mut context).is_ready());
    assert!(pin!(log.wait_beyond(0)).poll(&mut context).is_ready());
    assert!(pin!(log.wait_beyond(log.end())).poll(&mut context).is_pending());
}

#[test]
fn appends_that_wait_together_are_synced_together_and_told_apart() {
    let mut bench = Bench::new();
    let log = bench.log.clone();
    let mut context = Context::from_waker(Waker::noop());
    let mut first = pin!(log.append(payload(1, 10)));
    let mut second = pin!(log.append_many(vec![payload(2, 20), payload(3, 30)]));
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert_eq!(bench.writer.step(), 2);
    assert_eq!(bench.writer.step(), 0);
    let Poll::Ready(Ok(first)) = first.poll(&mut context) else { panic!("durable") };
    let Poll::Ready(Ok(others)) = second.poll(&mut context) else { panic!("durable") };
    let offsets: Vec<u64> = std::iter::once(first).chain(others).collect();
    let read: Vec<u64> = bench.records().unwrap().into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(read, offsets);
}

#[test]
fn trimming_removes_whole_segments_and_keeps_the_last() {
    let mut bench = Bench::new();
    let offsets: Vec<u64> = (0..40).map(|n| bench.append_one(&payload(n, 200))).collect();
    let segments = bench.segments();
    let mut stale = bench.log.reader(0).unwrap();
    assert!(stale.next().unwrap().is_some());

    assert_eq!(bench.log.trim(segments[2] + 1).unwrap(), segments[2]);
    assert_eq!(bench.segments(), segments[2..]);
    assert_eq!(bench.log.trim(0).unwrap(), segments[2], "there is no way back");
    let error = stale.next().unwrap_err();
    assert!(matches!(error, LogError::Trimmed { start, .. } if start == segments[2]), "{error}");
    assert!(matches!(bench.log.reader(0), Err(LogError::Trimmed { .. })));
    assert!(matches!(bench.log.read_at(offsets[0]), Err(LogError::Trimmed { .. })));

    let last = *segments.last().unwrap();
    assert_eq!(bench.log.trim(bench.log.end()).unwrap(), last);
    assert_eq!(bench.segments(), [last]);
    let (end, kept) = (bench.log.end(), bench.records().unwrap());
    let mut bench = bench.reopened();
    assert_eq!((bench.log.start(), bench.log.end()), (last, end));
    assert_eq!(bench.records().unwrap(), kept);
    assert_eq!(bench.append_one(b"offsets go on"), end);
}

#[test]
fn offsets_that_were_never_written_are_told_apart_from_trimmed_ones() {
    let mut bench = Bench::new();
    bench.append_one(b"abc");
    let end = bench.log.end();
    assert!(bench.log.reader(end).is_ok());
    assert!(matches!(bench.log.reader(end + 1), Err(LogError::Beyond { .. })));
    assert!(matches!(bench.log.read_at(end), Err(LogError::Beyond { .. })));
    assert!(matches!(bench.log.reader(1), Err(LogError::Corrupt { segment: 0, offset: 1 })));
}

#[test]
fn a_full_queue_answers_busy_at_once_but_takes_one_record_of_any_size() {
    let config = LogConfig { queue_max: ByteSize::bytes(500), ..Bench::new().config };
    let mut bench = Bench::with(FakeDisk::new(1), config);
    let log = bench.log.clone();
    let mut context = Context::from_waker(Waker::noop());
    let mut large = pin!(log.append(payload(1, 2_000)));
    assert!(large.as_mut().poll(&mut context).is_pending());
    let Poll::Ready(Err(error)) = pin!(log.append(payload(2, 1))).poll(&mut context) else {
        panic!("refused at once");
    };
    assert_eq!(error.to_string(), "log is busy: 2032 of 500 bytes wait for the disk");
    assert_eq!(error.remedy(), Remedy::Wait);
    bench.writer.step();
    assert!(matches!(large.poll(&mut context), Poll::Ready(Ok(0))));
    bench.append_one(b"there is room again");
}

#[test]
fn a_closed_log_writes_what_waits_and_takes_no_more() {
    let mut bench = Bench::new();
    let log = bench.log.clone();
    let mut context = Context::from_waker(Waker::noop());
    let mut early = pin!(log.append(payload(1, 10)));
    assert!(early.as_mut().poll(&mut context).is_pending());
    let mut closing = pin!(log.close());
    assert!(closing.as_mut().poll(&mut context).is_pending());
    let late = pin!(log.append(payload(2, 10))).poll(&mut context);
    assert!(matches!(late, Poll::Ready(Err(LogError::Closed))));
    bench.writer.step();
    assert!(matches!(early.poll(&mut context), Poll::Ready(Ok(0))));
    drop(bench.writer);
    assert!(closing.poll(&mut context).is_ready());
    assert_eq!(read_from(&log, 0).unwrap(), [(0, payload(1, 10))], "reading goes on");
}

#[test]
fn appends_are_answered_when_their_writer_is_gone() {
    let bench = Bench::new();
    let mut context = Context::from_waker(Waker::noop());
    let mut append = pin!(bench.log.append(payload(1, 10)));
    assert!(append.as_mut().poll(&mut context).is_pending());
    drop(bench.writer);
    assert!(matches!(append.poll(&mut context), Poll::Ready(Err(LogError::Closed))));
}

#[test]
fn a_second_opener_is_refused() {
    let bench = Bench::new();
    let error = Bench::try_with(bench.disk.clone(), bench.config).err().expect("refused");
    assert_eq!(error.to_string(), "log data/intake is in use by another process");
    assert_eq!(error.remedy(), Remedy::Repair);
}

#[test]
fn a_record_that_can_never_be_stored_is_refused_alone() {
    let config = LogConfig { record_max: ByteSize::bytes(100), ..Bench::new().config };
    let mut bench = Bench::with(FakeDisk::new(1), config);
    let error = bench.append(&[payload(1, 10), payload(2, 100)]).unwrap_err();
    assert_eq!(error.to_string(), "record of 108 bytes exceeds the limit of 100 bytes");
    assert_eq!(error.remedy(), Remedy::Fix);
    assert!(bench.append(&[]).unwrap().is_empty());
    bench.append_one(&[]);
    assert_eq!(bench.records().unwrap(), [(0, Vec::new())]);
}
