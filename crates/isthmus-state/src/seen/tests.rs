use super::*;
use proptest::prelude::*;
use std::path::Path;

const WEEK: Duration = Duration::from_hours(7 * 24);
const START: Timestamp = Timestamp::from_millis(1_770_000_000_000);
/// Sightings that are worth a table here.
const RUN: usize = 40;

fn key(number: u32) -> EventKey {
    EventKey::of(&["shop", "d1", &number.to_string()])
}

fn open(folder: &Path) -> (State, Seen) {
    let state = State::open(folder).unwrap();
    let mut seen = Seen::open(&state, WEEK).unwrap();
    seen.run_keys = RUN;
    (state, seen)
}

fn note(state: &State, seen: &mut Seen, keys: impl IntoIterator<Item = u32>, at: Timestamp) {
    for number in keys {
        seen.note(key(number), at);
    }
    let mut batch = state.batch();
    seen.put(&mut batch);
    batch.commit().unwrap();
}

fn settle(state: &State, seen: &mut Seen, now: Timestamp) {
    state.persist().unwrap();
    seen.settle(now).unwrap();
}

/// Settles until nothing is under way.
fn rest(state: &State, seen: &mut Seen, now: Timestamp) {
    loop {
        settle(state, seen, now);
        if seen.writing.is_none() && seen.merging.is_none() && seen.unmerged.is_empty() {
            return;
        }
        std::thread::yield_now();
    }
}

fn tables(seen: &Seen) -> Vec<(Part, usize)> {
    seen.parts.iter().map(|(part, keyspace)| (*part, keyspace.approximate_len())).collect()
}

#[test]
fn counts_for_seven_days_and_is_then_forgotten() {
    for of_table in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let (state, mut seen) = open(folder.path());
        assert_eq!(seen.first_seen(key(1), START).unwrap(), None);
        note(&state, &mut seen, 1..=1 + of_table * 100, START);
        rest(&state, &mut seen, START);
        assert_eq!(tables(&seen).len(), of_table as usize);

        let almost = START.plus(WEEK.saturating_sub(Duration::from_millis(1)));
        let now = START.plus(WEEK);
        assert_eq!(seen.first_seen(key(1), almost).unwrap(), Some(START));
        assert_eq!(seen.first_seen(key(1), now).unwrap(), None);
        settle(&state, &mut seen, almost);
        assert_eq!(tables(&seen).len(), of_table as usize);
        // What is in memory goes when it would be written.
        note(&state, &mut seen, 200..300, START.plus(WEEK + WEEK));
        rest(&state, &mut seen, START.plus(WEEK + WEEK));
        assert_eq!(tables(&seen), [((day(START) + 14, 0), 100)]);
        drop(seen);
        let seen = Seen::open(&state, WEEK).unwrap();
        assert_eq!(seen.first_seen(key(1), START).unwrap(), None);
        assert_eq!(seen.first_seen(key(200), now).unwrap(), Some(START.plus(WEEK + WEEK)));
    }
}

#[test]
fn parts_of_a_key_do_not_run_together() {
    assert_ne!(EventKey::of(&["ab", "c"]), EventKey::of(&["a", "bc"]));
}

#[test]
fn much_is_written_as_one_table_and_leaves_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (state, mut seen) = open(folder.path());
    note(&state, &mut seen, 0..39, START);
    rest(&state, &mut seen, START);
    assert!(!seen.is_due());
    assert_eq!((tables(&seen), seen.young.seen.len()), (vec![], 39));
    note(&state, &mut seen, 39..50, START);
    assert!(seen.is_due());
    rest(&state, &mut seen, START);
    let part = (day(START), 0);
    assert_eq!((tables(&seen), seen.young.seen.len()), (vec![(part, 50)], 0));
    assert!(seen.rows.is_empty().unwrap());
    note(&state, &mut seen, 50..100, START);
    rest(&state, &mut seen, START);
    assert_eq!(tables(&seen), [(part, 100)]);
    assert_eq!(seen.parts[&part].table_count(), 2);

    // As when the filter is full.
    seen.renew_filter();
    rest(&state, &mut seen, START);
    assert_eq!(seen.parts[&part].l0_table_count(), 0, "merged");
    note(&state, &mut seen, 100..150, START);
    rest(&state, &mut seen, START);
    assert_eq!(tables(&seen), [(part, 100), ((part.0, 1), 50)]);
    for number in 0..150 {
        assert_eq!(seen.first_seen(key(number), START).unwrap(), Some(START), "{number}");
    }
    assert_eq!(seen.first_seen(key(150), START).unwrap(), None);
}

#[test]
fn what_comes_faster_than_tables_are_written_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let (state, mut seen) = open(folder.path());
    for run in 0..100 {
        note(&state, &mut seen, run * 40..(run + 1) * 40, START);
        settle(&state, &mut seen, START);
        let waiting = seen.young.seen.len();
        assert!(waiting < RUNS_WAITING_MAX * RUN, "{waiting} sightings wait");
    }
}

#[test]
fn what_is_not_committed_is_not_written_as_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let (state, mut seen) = open(folder.path());
    note(&state, &mut seen, 0..100, START);
    seen.note(key(100), START);
    settle(&state, &mut seen, START);
    assert!(seen.writing.is_none());
}

#[test]
fn what_comes_late_goes_to_its_own_day() {
    let folder = tempfile::tempdir().unwrap();
    let (state, mut seen) = open(folder.path());
    let yesterday = Timestamp::from_millis(START.as_millis() - DAY_MILLIS);
    note(&state, &mut seen, 0..50, START);
    note(&state, &mut seen, 50..52, yesterday);
    rest(&state, &mut seen, START);
    let (today, before) = (day(START), day(yesterday));
    assert_eq!(tables(&seen), [((before, 0), 2), ((today, 0), 50)]);
    seen.renew_filter();
    note(&state, &mut seen, 52..100, START);
    note(&state, &mut seen, 100..102, yesterday);
    rest(&state, &mut seen, START);
    assert_eq!(tables(&seen), [((before, 0), 4), ((today, 0), 50), ((today, 1), 48)]);
    for number in 0..102 {
        let at = if [50, 51, 100, 101].contains(&number) { yesterday } else { START };
        assert_eq!(seen.first_seen(key(number), START).unwrap(), Some(at), "{number}");
    }
}

#[test]
fn a_row_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (state, seen) = open(folder.path());
    seen.rows.insert([0; 8], [0; 8 + 16 + 3]).unwrap();
    drop(seen);
    let error = Seen::open(&state, WEEK).err().unwrap();
    assert_eq!(error.to_string(), "stored sightings cannot be read: a key is cut off");
}

#[derive(Debug, Clone)]
enum Step {
    /// So many events of so many that there are.
    See(u32, Vec<u32>),
    Settle,
    Rest,
    Restart,
    FilterIsFull,
    Wait(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = || prop::collection::vec(0..400u32, 0..60);
    let step = prop_oneof![
        12 => (0..3u32, keys()).prop_map(|(late, keys)| Step::See(late, keys)),
        4 => Just(Step::Settle),
        2 => Just(Step::Rest),
        2 => Just(Step::Restart),
        1 => Just(Step::FilterIsFull),
        3 => (0..60u64).prop_map(|hours| Step::Wait(Duration::from_hours(hours))),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Wherever a sighting is by now, it counts as long as it should and no longer.
    #[test]
    fn what_was_seen_is_known(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let mut now = START;
        let mut known = HashMap::new();
        let (mut state, mut seen) = open(folder.path());
        for step in steps {
            match step {
                Step::See(late, keys) => {
                    let at = Timestamp::from_millis(now.as_millis() - i64::from(late) * 40_000_000);
                    for number in keys {
                        let first = known.get(&number).copied();
                        let first = first.filter(|first| at.since(*first) < WEEK);
                        let found = seen.first_seen(key(number), at).unwrap();
                        // What comes late may be what was forgotten already.
                        let forgotten = first.is_some_and(|first| now.since(first) >= WEEK);
                        prop_assert!(found == first || forgotten && found.is_none());
                        if found.is_none() {
                            seen.note(key(number), at);
                            known.insert(number, at);
                        }
                    }
                    note(&state, &mut seen, [], at);
                }
                Step::Settle => settle(&state, &mut seen, now),
                Step::Rest => rest(&state, &mut seen, now),
                Step::Restart => {
                    drop(seen);
                    drop(state);
                    (state, seen) = open(folder.path());
                }
                Step::FilterIsFull => {
                    rest(&state, &mut seen, now);
                    seen.renew_filter();
                }
                Step::Wait(time) => now = now.plus(time),
            }
        }
        for number in 0..400 {
            let first = known.get(&number).copied().filter(|first| now.since(*first) < WEEK);
            prop_assert_eq!(seen.first_seen(key(number), now).unwrap(), first);
        }
    }
}
