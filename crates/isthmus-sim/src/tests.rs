use super::*;

fn passes(seed: u64) -> Passed {
    run(seed, Options::default()).unwrap_or_else(|failed| panic!("{failed}"))
}

#[test]
fn nothing_is_lost_and_nothing_doubled_in_a_dozen_worlds() {
    for seed in 0..12 {
        passes(seed);
    }
}

#[test]
fn a_seed_repeats_everything() {
    assert_eq!(passes(3), passes(3));
    assert_ne!(passes(3).trace, passes(4).trace);
}
