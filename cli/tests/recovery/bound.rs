//! `out_of_orderness` changes between two runs: what was read before is admitted as it was, also by a replay.

use std::time::Duration;

use tidewatch::pipeline::{PipelineSpec, RawPoints, TimeSpec};
use tidewatch_dataflow::checkpoint::Manifest;
use tidewatch_dataflow::ingest::{Facts, IngestState, StoreJournal};
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::testing::MemoryRecord;
use tidewatch_dataflow::time::Clock;

use super::compare;
use super::plan::{feeds, seconds, start};
use super::world::{Begin, Live, Outcome, World};

const P: PartitionId = PartitionId { topic: 0, partition: 0 };
const PATIENCE: Duration = Duration::from_secs(30);
const END: u64 = 4_000;

fn spec(clock: Clock, out_of_orderness: u64) -> PipelineSpec {
    let time = TimeSpec {
        out_of_orderness: seconds(out_of_orderness),
        idle_timeout: seconds(3_600),
        future_tolerance: seconds(7_200),
        max_lead: seconds(120),
        clock,
    };
    let feeds = feeds(seconds(20)).into_iter().take(2).collect();
    let raw = Some(RawPoints::default());
    PipelineSpec { raw, ..PipelineSpec::new(Topics::new(["a"]), time, feeds) }
}

/// The sample of one second; each seventh comes 30 s late: a correction, or too late, or neither.
fn append(world: &World, span: std::ops::Range<u64>) {
    let records = span.map(|second| {
        let late = if second % 7 == 0 { 30 } else { 0 };
        let time = start() + seconds(60 + second - late);
        let value = format!("h{} value {} {}", second % 3, time.as_millis(), second % 100);
        MemoryRecord { key: None, value: Some(value.into_bytes()), created: time }
    });
    world.log.append(P, records.collect::<Vec<_>>());
}

fn begin(world: &World, workers: usize, out_of_orderness: u64) -> Live {
    let begin = Begin { workers, ..Begin::plain(start() + seconds(3_600)) };
    world.begin(|clock| spec(clock, out_of_orderness), &begin)
}

/// The first offset that had not been read at the newest cut.
fn next(world: &World) -> Option<i64> {
    let manifest = Manifest::newest(&world.store, "simulated").unwrap()?;
    let state = manifest.load(&world.store).unwrap();
    let state = IngestState::read(state.operators.get("ingest")?, Some).unwrap();
    state.points.get(&P)?.next
}

fn bounds(world: &World) -> Vec<(i64, u64)> {
    let mut facts = Facts::default();
    StoreJournal::load(&world.store, 0, |_| Some(0), &mut facts).unwrap();
    facts.bounds(P, 0).into_iter().map(|(from, bound)| (from, bound.as_secs())).collect()
}

fn finish(live: Live, records: u64) -> Outcome {
    // The last record, far behind all others, closes everything.
    live.finish(records, start() + seconds(END - 100)).unwrap()
}

#[test]
fn a_changed_bound_is_a_fact() {
    let world = World::new([P]);
    append(&world, 0..400);
    let live = begin(&world, 1, 5);
    assert!(live.wait(PATIENCE, |live| live.records() == 400), "{live:?}");
    // A record far ahead takes time over a cut, with everything read, if one has been announced by then.
    let (mut read, mut second) = (400, 1_000);
    while next(&world) != Some(read) {
        assert!(second < 3_000, "{:?}, {live:?}", next(&world));
        append(&world, second..second + 1);
        (read, second) = (read + 1, second + 100);
        live.wait(Duration::from_secs(1), |_| next(&world) == Some(read));
    }
    live.stop().unwrap();
    assert_eq!(bounds(&world), [(0, 5)]);
    append(&world, second..second + 300);
    append(&world, END..END + 1);
    let all = u64::try_from(read).unwrap() + 301;
    let disturbed = finish(begin(&world, 2, 40), all);
    assert_eq!(bounds(&world), [(0, 5), (read, 40)]);
    let replay = world.beside(&world.store, &["journal/", "runs/"]);
    let straight = finish(begin(&replay, 1, 40), all);
    compare::same(&straight, &disturbed, start() + seconds(END - 100)).unwrap();
    assert_eq!(bounds(&replay), bounds(&world));
    // Without the journal the present bound would have held all along.
    let forgetful = world.beside(&world.store, &[]);
    let other = finish(begin(&forgetful, 1, 40), all);
    assert!(compare::same(&straight, &other, start() + seconds(END - 100)).is_err());
}
