//! A topic is deleted and made again under its name, with other records at the same offsets: the run ends once what
//! it read is in a checkpoint, and the next ones read the new topic beside it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use tidewatch::pipeline::{PipelineError, PipelineSpec, RawPoints, TimeSpec};
use tidewatch_dataflow::checkpoint::StateStore as _;
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::testing::MemoryRecord;
use tidewatch_dataflow::time::{Clock, EventTime};

use super::compare;
use super::plan::{BOUND, feeds, seconds, start};
use super::world::{Begin, Live, Outcome, World};

/// The topic that is made anew, and another one that goes on.
const ANEW: u32 = 0;
const OTHER: PartitionId = PartitionId { topic: 1, partition: 0 };
const PATIENCE: Duration = Duration::from_secs(30);

fn spec(clock: Clock) -> PipelineSpec {
    let time = TimeSpec {
        out_of_orderness: BOUND,
        idle_timeout: seconds(3_600),
        future_tolerance: seconds(7_200),
        max_lead: seconds(120),
        clock,
    };
    let feeds = feeds(Duration::ZERO).into_iter().take(2).collect();
    let raw = Some(RawPoints::default());
    PipelineSpec { raw, ..PipelineSpec::new(Topics::new(["a", "b"]), time, feeds) }
}

fn anew(partition: i32) -> PartitionId {
    PartitionId { topic: ANEW, partition }
}

/// A sample and a line of `host` for each of these seconds; how many records that makes.
fn fill(world: &World, partition: PartitionId, host: &str, span: Range<u64>) -> u64 {
    let records = span.flat_map(|second| {
        let time = start() + seconds(second);
        let texts = [
            format!("{host} value {} {}", time.as_millis(), second % 100),
            format!("log {host} {}", time.as_millis()),
        ];
        texts.map(|text| MemoryRecord { key: None, value: Some(text.into_bytes()), created: time })
    });
    let records: Vec<_> = records.collect();
    let count = records.len() as u64;
    world.log.append(partition, records);
    count
}

fn begin(workers: usize, every: Duration) -> Begin {
    Begin { workers, every, ..Begin::plain(start() + seconds(250)) }
}

/// Deletes the topic and makes it anew; how many records it has.
fn recreate(world: &World) -> u64 {
    world.log.recreate(ANEW, 2);
    (0..2).map(|p| fill(world, anew(p), &format!("h{p}"), 500..660)).sum()
}

fn is_recreated(ended: Result<(), PipelineError>) -> bool {
    matches!(ended, Err(PipelineError::Recreated { topics }) if topics == ["a"])
}

/// Waits until the run ends by itself, for that reason.
fn ends(live: Live) {
    live.wait(PATIENCE, |_| false);
    assert!(live.has_ended(), "{live:?}");
    live.sink.flush();
    assert!(is_recreated(live.stop()));
}

/// A copy of everything, to try what follows in another way.
fn copy(world: &World) -> World {
    let mut copy = World::new([]);
    copy.log = world.log.clone();
    *copy.far.lock().unwrap() = world.far.lock().unwrap().clone();
    for object in world.store.list("").unwrap() {
        copy.store.create(&object.name, &world.store.read(&object.name).unwrap()).unwrap();
    }
    copy
}

fn end() -> EventTime {
    start() + seconds(660 + 3_600)
}

/// How many samples all windows of ten seconds have counted, by host.
fn counted(outcome: &Outcome) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for ((_, labels, _), values) in &outcome.delivered.points {
        let host = ["h0", "h1", "other"].into_iter().find(|host| labels.contains(*host));
        if let (Some(host), Some(fields)) = (host, values.last())
            && labels.contains("window=10s")
        {
            let count = fields.get("count").map_or(0.0, |bits| f64::from_bits(*bits));
            *counts.entry(host.to_owned()).or_default() += count as u64;
        }
    }
    counts
}

/// How many lines there are of each generation of the topic.
fn lines(outcome: &Outcome, generation: u32) -> usize {
    let prefix = format!("{generation}-");
    let lines = outcome.delivered.logs.iter();
    let of = lines.filter(|((p, _, what), _)| p.topic == ANEW && what.starts_with(&prefix));
    of.inspect(|(_, contents)| assert_eq!(contents.len(), 1, "written over")).count()
}

#[test]
fn a_topic_made_anew_while_it_is_read_stands_beside_the_old_one() {
    let world = World::new([anew(0), anew(1), OTHER]);
    let mut all: u64 = (0..2).map(|p| fill(&world, anew(p), &format!("h{p}"), 0..120)).sum();
    all += fill(&world, OTHER, "other", 0..120);
    let live = world.begin(spec, &begin(2, Duration::from_millis(5)));
    assert!(live.wait(PATIENCE, |live| live.records() >= all));
    let new = recreate(&world);
    all += new;
    // Time goes on with the other topic, beyond what was read of the old one.
    let mut upto = 120;
    while upto < 440 {
        let has_ended = live.wait(Duration::from_millis(50), |_| false) || live.has_ended();
        if has_ended {
            break;
        }
        all += fill(&world, OTHER, "other", upto..upto + 5);
        upto += 5;
    }
    ends(live);
    all += fill(&world, OTHER, "other", upto..660);

    let finish = |world: &World, workers| {
        let live = world.begin(spec, &begin(workers, Duration::from_millis(5)));
        live.finish(all, end()).unwrap()
    };
    let (other, disturbed) = (copy(&world), copy(&world));
    let one = finish(&world, 1);
    assert_eq!(
        counted(&one),
        [("h0", 280), ("h1", 280), ("other", 660)].map(|(h, c)| (h.to_owned(), c)).into()
    );
    assert_eq!((lines(&one, 0), lines(&one, 1)), (240, 320));
    assert_eq!((one.counted.records, one.counted.letters["late"]), (all, 0));

    // What follows is a function of checkpoint, journal and log.
    compare::same(&one, &finish(&other, 3), end()).unwrap();
    // A run dies before its first checkpoint, another one after it: they stay in the generation.
    for every in [Duration::from_secs(3_600), Duration::from_millis(5)] {
        let live = disturbed.begin(spec, &begin(2, every));
        assert!(live.wait(PATIENCE, |live| live.records() >= all - new));
        live.gate.kill();
        live.sink.kill();
    }
    compare::same(&one, &finish(&disturbed, 2), end()).unwrap();
    let again = finish(&world, 2);
    assert_eq!((lines(&again, 0), lines(&again, 1)), (240, 320), "nothing is read again");
}

#[test]
fn a_topic_made_anew_while_nothing_runs_is_found_at_the_start() {
    let world = World::new([anew(0), anew(1), OTHER]);
    let live = world.begin(spec, &begin(2, Duration::from_millis(5)));
    // The first cut lies before all records; one that does not knows which record was read last.
    let is_kept = |_: &Live| {
        let manifests = world.store.list("manifests/").unwrap();
        manifests.iter().any(|manifest| manifest.name.ends_with("-0000000003"))
    };
    let mut upto = 0;
    while upto < 440 && !live.wait(Duration::from_millis(50), is_kept) {
        (0..2).for_each(|p| _ = fill(&world, anew(p), &format!("h{p}"), upto..upto + 5));
        fill(&world, OTHER, "other", upto..upto + 5);
        upto += 5;
    }
    assert!(is_kept(&live), "{live:?}");
    live.gate.kill();
    live.sink.kill();
    drop(live);
    let new = recreate(&world);
    ends(world.begin(spec, &begin(1, Duration::from_millis(5))));
    let live = world.begin(spec, &begin(3, Duration::from_millis(5)));
    let others = 2 * upto + fill(&world, OTHER, "other", upto..660);
    let is_read = live.wait(PATIENCE, |live| live.applied() >= start() + seconds(640));
    assert!(is_read, "{live:?}");
    // What was read of the old topic and is in no checkpoint is gone with it.
    let read = live.records();
    let one = live.finish(read, end()).unwrap();
    assert_eq!((lines(&one, 1), one.counted.letters["late"]), (320, 0));
    assert!(read > new + others, "{read}");
    for host in ["h0", "h1"] {
        assert!(counted(&one)[host] >= 160, "{:?}", counted(&one));
    }
}
