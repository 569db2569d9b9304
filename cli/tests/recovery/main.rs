//! Kill it anywhere, restore it at any size: pipelines in memory that die and hang at chosen steps of their
//! checkpoints, hand over to others while they still run, and must leave what an undisturbed run leaves, to the bit.
//!
//! Every case is made from one seed, which a failure prints. `TIDEWATCH_SIM_CASES=5000` makes it try that many of
//! each kind; threads interleave as they like, so a seed may have to be tried a few times
//! (`TIDEWATCH_SIM_SEED=17`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bound;
mod change;
mod changed;
mod codec;
mod compare;
mod disturb;
mod people;
mod plan;
mod recreated;
mod sink;
mod stop;
mod store;
mod world;

use std::time::Duration;

use disturb::Disturbed;
use fastrand::Rng;
use plan::{Nature, Plan, seconds, start};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestCaseError};
use tidewatch_dataflow::checkpoint::StateStore as _;
use world::{Begin, World};

fn config(cases: u32) -> ProptestConfig {
    let wanted = std::env::var("TIDEWATCH_SIM_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: wanted.unwrap_or(cases),
        // A seed has no smaller one.
        max_shrink_iters: 0,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/recovery/regressions.txt",
        ))),
        ..ProptestConfig::default()
    }
}

/// The seed to try: the given one, or the one asked for.
fn seed_of(seed: u64) -> u64 {
    let wanted = std::env::var("TIDEWATCH_SIM_SEED").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(seed)
}

fn verdict(seed: u64, outcome: Result<(), String>) -> Result<(), TestCaseError> {
    outcome.map_err(|what| TestCaseError::fail(format!("seed {seed}: {what}")))
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn crashes_leave_what_an_undisturbed_run_leaves(seed in any::<u64>()) {
        let seed = seed_of(seed);
        verdict(seed, exact(&mut Rng::with_seed(seed)))?;
    }
}

proptest! {
    #![proptest_config(config(8))]

    #[test]
    fn log_and_journal_decide_everything(seed in any::<u64>()) {
        let seed = seed_of(seed);
        verdict(seed, replayed(&mut Rng::with_seed(seed)))?;
    }
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn rules_that_change_leave_the_others_alone(seed in any::<u64>()) {
        let seed = seed_of(seed);
        verdict(seed, changed::changed(&mut Rng::with_seed(seed)))?;
    }
}

/// Seeds that have found something.
#[test]
fn known_seeds() {
    for seed in [141, 149, 207] {
        verdict(seed, exact(&mut Rng::with_seed(seed))).unwrap();
    }
    for seed in [5, 7, 12] {
        verdict(seed, replayed(&mut Rng::with_seed(seed))).unwrap();
    }
    for seed in [7_353_930_377_944_617_879, 9_293_835_191_121_371_778] {
        verdict(seed, changed::changed(&mut Rng::with_seed(seed))).unwrap();
    }
}

/// Nothing is idle, so that the log alone decides everything: an undisturbed run of one worker is the oracle.
fn exact(rng: &mut Rng) -> Result<(), String> {
    let mut nature = Nature::of_the_log(rng);
    nature.has_poison = rng.bool();
    nature.has_future = rng.bool();
    nature.keyed = rng.bool();
    let plan = Plan::new(nature, rng);
    let now = start() + seconds(3_600);
    let straight = {
        let world = World::new(plan.partitions());
        plan.arrivals.iter().for_each(|a| world.log.append(a.partition, [a.record()]));
        let begin = Begin { decisions: plan.decisions(), ..Begin::plain(now) };
        let begin = Begin { every: Duration::from_secs(3_600), ..begin };
        let live = world.begin(|clock| plan.spec(clock, plan.topics()), &begin);
        live.finish(plan.arrivals.len() as u64, plan.end()).map_err(|e| format!("straight: {e}"))?
    };
    let (disturbed, _) = Disturbed::new(&plan, now, rng).run()?;
    compare::same(&straight, &disturbed, plan.end())
}

/// Partitions fall idle, return, and are found: what time does then is decided by chance, once. A fresh
/// pipeline that knows the log and the journal is the oracle.
fn replayed(rng: &mut Rng) -> Result<(), String> {
    let partitions = rng.i32(1..=4);
    let nature = Nature {
        partitions,
        length: seconds(rng.u64(300..1_200)),
        late: (rng.u32(0..6), seconds(rng.u64(10..100))),
        outages: Some(rng.bool()),
        lateness: seconds([0, 20, 60, 120][rng.usize(..4)]),
        feeds: rng.usize(1..=3),
        has_poison: rng.bool(),
        has_future: rng.bool(),
        keyed: rng.bool(),
        idle_timeout: seconds(rng.u64(0..20)),
        present: rng.i32(1..=partitions),
        of_new_topic: rng.u32(..4) == 0,
    };
    let plan = Plan::new(nature, rng);
    let (disturbed, world) = Disturbed::in_the_present(&plan, rng).run()?;
    let mut replay = World::new([]);
    replay.log = world.log.clone();
    for folder in ["journal/", "runs/"] {
        for object in world.store.list(folder).unwrap() {
            let content = world.store.read(&object.name).unwrap();
            replay.store.create(&object.name, &content).unwrap();
        }
    }
    let begin = Begin { workers: rng.usize(1..=3), ..Begin::plain(start() + seconds(3_600)) };
    let spec = |clock| {
        let mut spec = plan.spec(clock, plan.topics());
        spec.ingest.idle_timeout = seconds(3_600);
        spec
    };
    let straight = replay.begin(spec, &begin);
    let straight = straight.finish(plan.arrivals.len() as u64, plan.end());
    let straight = straight.map_err(|e| format!("replay: {e}"))?;
    compare::same(&straight, &disturbed, plan.end())
}
