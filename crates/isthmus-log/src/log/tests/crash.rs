//! Whatever happens, in any order: what was acknowledged is there, and nothing else is.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Appends a group of records of these lengths.
    Append(Vec<u64>),
    /// Removes what lies before this share (in 1/8) of the log.
    Trim(u64),
    FailWrite,
    FailSyncs(u32),
    FailTruncate,
    FailCreate,
    FailRemove,
    /// Leaves this much space, hidden from whoever asks.
    Fill(u64),
    Kill,
    Crash,
    /// An append that the power failure interrupts before anybody hears of it.
    CrashDuring(Vec<u64>),
    Reopen,
    /// Cuts every n-th record to this many bytes.
    Rewrite(usize, usize),
    /// The same, with power for so many changes to the disk.
    CrashDuringRewrite(usize, usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let lengths = || prop::collection::vec(prop_oneof![0u64..40, 0u64..1_500], 1..6);
    prop_oneof![
        12 => lengths().prop_map(Step::Append),
        2 => (0u64..=8).prop_map(Step::Trim),
        1 => Just(Step::FailWrite),
        2 => (1u32..4).prop_map(Step::FailSyncs),
        1 => Just(Step::FailTruncate),
        1 => Just(Step::FailCreate),
        1 => Just(Step::FailRemove),
        1 => (0u64..4_000).prop_map(Step::Fill),
        1 => Just(Step::Kill),
        2 => Just(Step::Crash),
        3 => lengths().prop_map(Step::CrashDuring),
        1 => Just(Step::Reopen),
        3 => (1usize..5, 0usize..100).prop_map(|(nth, len)| Step::Rewrite(nth, len)),
        2 => (1usize..5, 0usize..100, 0u64..12)
            .prop_map(|(nth, len, changes)| Step::CrashDuringRewrite(nth, len, changes)),
    ]
}

/// What the log has to hold.
#[derive(Default)]
struct Model {
    /// Acknowledged and not yet seen to be trimmed, in order.
    kept: Vec<(u64, Vec<u8>)>,
    /// Sent since the last opening and not acknowledged; a crash may keep the first few of a group.
    unknown: Vec<Vec<u8>>,
    /// What a rewriting that did not succeed may have made, or may yet make, of records.
    rewritten: Vec<(u64, Vec<u8>)>,
    sent: u64,
}

impl Model {
    fn payloads(&mut self, lengths: &[u64]) -> Vec<Vec<u8>> {
        let numbers = self.sent..;
        self.sent += lengths.len() as u64;
        numbers.zip(lengths).map(|(number, len)| payload(number, *len)).collect()
    }

    /// Cuts every n-th record and notes what that may come to.
    fn rewrite(&mut self, log: &Log, nth: usize, len: usize) -> Result<(), TestCaseError> {
        let mut replacements = Vec::new();
        for (offset, payload) in self.kept.iter().step_by(nth) {
            replacements.push((*offset, payload[..len.min(payload.len())].to_vec()));
        }
        let outcome = log.rewrite(&replacements);
        if outcome.is_ok() {
            self.rewritten.clear();
            let kept = self.kept.iter_mut().step_by(nth);
            for ((_, payload), (_, new)) in kept.zip(replacements) {
                *payload = new;
            }
        } else {
            self.rewritten.extend(replacements);
        }
        let remedy = outcome.err().map(|error| error.remedy());
        prop_assert!(remedy.is_none_or(|remedy| remedy != Remedy::Fix));
        Ok(())
    }

    /// Takes up what became of records whose rewriting did not succeed.
    fn settle(&mut self, records: &Records) {
        for (offset, payload) in &mut self.kept {
            let Some(read) = records.iter().find(|(at, _)| at == offset) else { continue };
            if self.rewritten.contains(read) {
                payload.clone_from(&read.1);
            }
        }
    }

    /// Compares with an open log that lost nothing since the last comparison.
    fn check(&mut self, bench: &Bench) -> Result<(), TestCaseError> {
        let start = bench.log.start();
        self.kept.retain(|(offset, _)| *offset >= start);
        self.settle(&bench.records().unwrap());
        prop_assert_eq!(&bench.records().unwrap(), &self.kept);
        Ok(())
    }

    /// Compares with a log that was opened again, and takes up what survived unacknowledged.
    fn check_opened(&mut self, bench: &Bench) -> Result<(), TestCaseError> {
        // A removal may not have survived: older records than we know of are no harm.
        let first = self.kept.first().map(|(offset, _)| *offset);
        let mut records = bench.records().unwrap();
        records.retain(|(offset, _)| first.is_none_or(|first| *offset >= first));
        prop_assert!(records.len() >= self.kept.len(), "acknowledged records are missing");
        let more = records.split_off(self.kept.len());
        self.settle(&records);
        self.rewritten.clear();
        prop_assert_eq!(&records, &self.kept);
        for (offset, payload) in more {
            let known = self.unknown.iter().position(|sent| *sent == payload);
            // With nothing kept, what was trimmed may show again.
            if first.is_some() {
                let known = known.expect("nothing is invented");
                self.unknown.drain(..=known);
            }
            self.kept.push((offset, payload));
        }
        self.unknown.clear();
        Ok(())
    }
}

fn run(seed: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let disk = FakeDisk::new(seed);
    let mut bench = Bench::with(disk.clone(), Bench::new().config);
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append(lengths) => {
                let payloads = model.payloads(&lengths);
                let end = bench.log.end();
                if let Ok(offsets) = bench.append(&payloads) {
                    prop_assert_eq!(offsets[0], end, "the end says the next offset");
                    model.kept.extend(offsets.into_iter().zip(payloads));
                } else {
                    prop_assert_eq!(bench.log.end(), end);
                    model.unknown.extend(payloads);
                }
            }
            Step::Trim(eighths) => {
                let (start, end) = (bench.log.start(), bench.log.end());
                drop(bench.log.trim(start + (end - start) / 8 * eighths));
            }
            Step::Rewrite(nth, len) => model.rewrite(&bench.log, nth, len)?,
            Step::CrashDuringRewrite(nth, len, changes) => {
                disk.lose_power_after(changes);
                model.rewrite(&bench.log, nth, len)?;
                disk.crash();
                bench = bench.reopened();
                model.check_opened(&bench)?;
            }
            Step::FailWrite => disk.fail_writes(1),
            Step::FailSyncs(count) => disk.fail_syncs(count),
            Step::FailTruncate => disk.fail_truncates(1),
            Step::FailCreate => disk.fail_creates(1),
            Step::FailRemove => disk.fail_removes(1),
            Step::Fill(free) => {
                disk.set_free(Some(free));
                disk.hide_free_space(true);
            }
            Step::Reopen => {
                disk.clear_faults();
                bench = bench.reopened();
                model.check_opened(&bench)?;
            }
            Step::Kill => {
                disk.kill();
                bench = bench.reopened();
                model.check_opened(&bench)?;
            }
            Step::Crash => {
                disk.crash();
                bench = bench.reopened();
                model.check_opened(&bench)?;
            }
            Step::CrashDuring(lengths) => {
                let payloads = model.payloads(&lengths);
                // The bytes reach the cache of the disk and no further.
                disk.fail_truncates(1);
                disk.lose_syncs(true);
                drop(bench.append(&payloads));
                model.unknown.extend(payloads);
                disk.crash();
                bench = bench.reopened();
                model.check_opened(&bench)?;
            }
        }
        model.check(&bench)?;
    }
    disk.crash();
    model.check_opened(&bench.reopened())
}

proptest! {
    #[test]
    fn every_acknowledged_record_survives_every_accident(
        seed: u64,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        run(seed, steps)?;
    }
}

#[test]
fn records_that_a_dead_process_left_unsynced_stay_once_they_were_seen() {
    for mebibytes in [0, 3] {
        let mut bench = Bench::new();
        bench.config.segment_max = ByteSize::mib(8);
        let mut bench = bench.reopened();
        bench.append_one(&payload(0, 10));
        // Linux forgets what a failed sync should have written, and goes on showing it.
        bench.disk.fail_syncs(1);
        bench.disk.fail_truncates(1);
        let group = [payload(1, mebibytes << 20), payload(2, 10)];
        assert!(bench.append(&group).is_err());
        bench.disk.kill();
        let bench = bench.reopened();
        let seen = bench.records().unwrap();
        assert_eq!(seen.len(), 3);
        bench.disk.crash();
        assert_eq!(bench.reopened().records().unwrap(), seen);
    }
}
