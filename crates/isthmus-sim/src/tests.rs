mod identity;

use super::*;

fn passes(seed: u64) -> Passed {
    passes_with(seed, Options::default())
}

/// A third of a run: the rest is what `cargo xtask sim` is for.
fn passes_in_short(seed: u64) -> Passed {
    passes_with(seed, Options { steps: 200, ..Options::default() })
}

fn passes_with(seed: u64, options: Options) -> Passed {
    run(seed, options).unwrap_or_else(|failed| panic!("{failed}"))
}

#[test]
fn nothing_is_lost_and_nothing_doubled_in_a_dozen_worlds() {
    for seed in 0..12 {
        passes_in_short(seed);
    }
}

#[test]
fn a_seed_repeats_everything() {
    let (first, again, other) = (passes_in_short(12), passes_in_short(12), passes_in_short(13));
    assert_eq!(first, again);
    assert_ne!(first.trace, other.trace);
}

#[test]
fn seed_17_sent_again_after_a_crash_and_not_listed_as_possible_duplicate() {
    passes(17);
}

#[test]
fn seed_41_held_back_after_a_crash_and_told_as_pending() {
    passes(41);
}

#[test]
fn seed_51_delivered_and_still_a_dead_letter() {
    passes(51);
}

#[test]
fn seed_163_decided_about_while_it_was_delivered() {
    passes(163);
}
