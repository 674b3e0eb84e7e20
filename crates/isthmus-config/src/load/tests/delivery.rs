//! What resources say about delivering: with which part of a budget.

use super::*;

#[test]
fn a_share_is_part_of_a_whole() {
    let limits = |limits: &str| said(&format!("{BRAZE}limits: {{ {limits} }}\n"));
    assert_eq!(limits("shares: { realtime_cohorts: 1.0, backfill: 1e-3 }"), "good");
    assert_snapshot!(limits("shares: { realtime_cohorts: 90, scheduled_syncs: 0, backfill: -0.5 }"), @"
    loop.yaml:6:39: `limits.shares.realtime_cohorts` must be more than 0 and at most 1, found `90`
      hint: write 0.9 for 90 %
    loop.yaml:6:60: `limits.shares.scheduled_syncs` must be more than 0 and at most 1, found `0`
    loop.yaml:6:73: `limits.shares.backfill` must be more than 0 and at most 1, found `-0.5`
    ");
    assert_snapshot!(limits("shares: { backfill: most, triggers: 1, realtime_cohorts: .nan }"), @"
    loop.yaml:6:31: `limits.shares.backfill` must be a number, found `most`
    loop.yaml:6:37: unknown key `triggers` in `limits.shares` of destination `braze`
      hint: known keys: realtime_cohorts, scheduled_syncs, backfill
    loop.yaml:6:68: `limits.shares.realtime_cohorts` must be a number, found `.nan`
    ");
    assert_snapshot!(limits("shares: 0.9, company: ' '"), @"
    loop.yaml:6:19: `limits.shares` must be a mapping, found `0.9`
    loop.yaml:6:33: `limits.company` is empty
    ");
}
