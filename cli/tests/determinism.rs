//! The whole dataflow on a source in memory: any shuffle inside the out-of-orderness bound, any
//! interleaving of partitions and any number of workers gives the same output, floats to the bit.

mod memory;

use std::time::Duration;

use memory::{Fleet, Run};
use proptest::prelude::*;
use tidewatch_dataflow::time::EventTime;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn differential_shuffles_interleavings_and_workers(
        fleet in Fleet::any(),
        shuffle in any::<u64>(),
        workers in 1usize..=3,
        seed in any::<u64>(),
    ) {
        let straight = Run { workers: 1, seed: 1 }.of(&fleet.log(None));
        let disturbed = Run { workers, seed }.of(&fleet.log(Some(shuffle)));
        prop_assert_eq!(&straight.points, &disturbed.points);
        prop_assert_eq!(&straight.transitions, &disturbed.transitions);
    }

    #[test]
    fn oracle_late_samples_correct_windows_or_are_counted(
        fleet in Fleet::any(),
        workers in 1usize..=3,
        seed in any::<u64>(),
        delay in 5u64..120,
        lateness in 0u64..=6,
    ) {
        let (delay, lateness) = (seconds(delay), seconds(10 * lateness));
        let one = fleet.check_late(Run { workers: 1, seed }, delay, lateness);
        let many = fleet.check_late(Run { workers, seed }, delay, lateness);
        prop_assert_eq!(&one.points, &many.points, "to the bit");
    }

    #[test]
    fn oracle_counts_extremes_and_means(fleet in Fleet::any(), workers in 1usize..=2) {
        let outcome = Run { workers, seed: 7 }.of(&fleet.log(None));
        fleet.check(&outcome);
    }
}

fn start() -> EventTime {
    EventTime::from_millis(1_700_000_000_000)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn partitions_hours_apart_neither_deadlock_nor_grow() {
    let mut fleet = Fleet::steady("behind", 0, start(), seconds(1_800));
    fleet.join(Fleet::steady("ahead", 1, start() + seconds(21_600), seconds(1_800)));
    for workers in [1, 2] {
        let outcome = Run { workers, seed: 3 }.of(&fleet.log(None));
        fleet.check(&outcome);
        assert_eq!(outcome.late, 0);
        // One sample a second in each of two partitions and a lead of two minutes.
        assert!(outcome.open_points_max < 1_000, "{} open points", outcome.open_points_max);
    }
}

#[test]
fn sustained_is_exact_to_the_sample_at_every_phase() {
    for phase in 0..10 {
        for (length, alerts) in [(299, 0), (300, 1), (301, 1)] {
            let begin = start() + seconds(60 + phase);
            let fleet = Fleet::hot("h", start(), seconds(720), begin, seconds(length));
            let transitions = Run { workers: 1, seed: 5 }.of(&fleet.log(None)).transitions;
            let openings: Vec<_> = transitions.iter().filter(|t| t.is_opening()).collect();
            assert_eq!(openings.len(), alerts, "{length} s at phase {phase}");
            if let [opening] = openings.as_slice() {
                assert_eq!(opening.started_at, begin);
                assert_eq!(opening.at, begin + seconds(300));
            }
            assert_eq!(transitions.len(), 2 * alerts, "each opening has its end");
        }
    }
}

#[test]
fn an_episode_that_opens_and_ends_within_one_pane_is_told() {
    let begin = start() + seconds(60);
    let mut fleet = Fleet::hot("h", start(), seconds(180), begin, seconds(11));
    fleet.silence(begin + seconds(11), begin + seconds(40));
    let transitions = Run { workers: 2, seed: 5 }.with_short_rule(&fleet.log(None));
    let [opening, end] = transitions.as_slice() else { panic!("{transitions:?}") };
    assert!(opening.is_opening() && !end.is_opening());
    assert_eq!(opening.incident, end.incident);
    assert_eq!(opening.decided_at, end.decided_at, "both in one pane");
}
