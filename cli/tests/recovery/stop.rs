//! A stop in order leaves a checkpoint of its own, if time comes to one.

use std::time::Duration;

use fastrand::Rng;
use tidewatch_dataflow::checkpoint::Manifest;

use super::compare;
use super::plan::{Nature, Plan, seconds, start};
use super::world::{Begin, Live, World};

const PATIENCE: Duration = Duration::from_secs(30);
/// So long that no other cut is taken after the first.
const HOURLY: Duration = Duration::from_secs(3_600);

fn append(world: &World, plan: &Plan, range: std::ops::Range<usize>) {
    plan.arrivals[range].iter().for_each(|a| world.log.append(a.partition, [a.record()]));
}

fn cut(world: &World) -> u64 {
    let newest = Manifest::newest(&world.store, "simulated").unwrap();
    newest.map_or(0, |manifest| manifest.cut.at.as_millis())
}

/// A run that has read a third of the records and taken its first cut, and how far time is then.
fn a_third(world: &World, plan: &Plan, workers: usize) -> Live {
    let third = plan.arrivals.len() / 3;
    append(world, plan, 0..third);
    let begin = Begin { workers, every: HOURLY, ..Begin::plain(start() + seconds(3_600)) };
    let live = world.begin(|clock| plan.spec(clock, plan.topics()), &begin);
    assert!(
        live.wait(PATIENCE, |live| live.records() >= third as u64 && cut(world) > 0),
        "{live:?}"
    );
    live
}

#[test]
fn a_stop_takes_a_cut_while_records_come() {
    let rng = &mut Rng::with_seed(4);
    let nature =
        Nature { length: seconds(1_200), partitions: 2, outages: None, ..Nature::of_the_log(rng) };
    let plan = Plan::new(nature, rng);
    let now = start() + seconds(3_600);
    let straight = {
        let world = World::new(plan.partitions());
        append(&world, &plan, 0..plan.arrivals.len());
        let live = world.begin(|clock| plan.spec(clock, plan.topics()), &Begin::plain(now));
        live.finish(plan.arrivals.len() as u64, plan.end()).unwrap()
    };
    let world = World::new(plan.partitions());
    let live = a_third(&world, &plan, 2);
    let (first, applied) = (cut(&world), live.applied().as_millis());
    let (third, all) = (plan.arrivals.len() / 3, plan.arrivals.len());
    let upto = std::thread::scope(|scope| {
        let stopped = scope.spawn(|| live.stop());
        let mut upto = third;
        while !stopped.is_finished() && upto < all {
            append(&world, &plan, upto..upto + 1);
            upto += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        stopped.join().unwrap().unwrap();
        upto
    });
    assert!(cut(&world) > applied.max(first), "{} after {applied}, {first}", cut(&world));
    append(&world, &plan, upto..all);
    let last = world.begin(|clock| plan.spec(clock, plan.topics()), &Begin::plain(now));
    let resumed = last.finish(all as u64, plan.end()).unwrap();
    compare::same(&straight, &resumed, plan.end()).unwrap();
}

#[test]
fn a_stop_waits_for_no_cut_that_does_not_come() {
    let rng = &mut Rng::with_seed(4);
    let nature =
        Nature { length: seconds(600), partitions: 2, outages: None, ..Nature::of_the_log(rng) };
    let plan = Plan::new(nature, rng);
    let world = World::new(plan.partitions());
    let live = a_third(&world, &plan, 1);
    let (before, began) = (cut(&world), std::time::Instant::now());
    live.stop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(cut(&world), before);
}
