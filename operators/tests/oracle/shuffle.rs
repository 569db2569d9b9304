//! Sends records through a dataflow of several workers, in one of many orders that the bound allows.

use std::sync::{Arc, Mutex};

use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::keyed::Keyed;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::{Concat, Input, Inspect};

/// A record of the tests.
pub(crate) type Record = Keyed<u32, f64>;

/// A record and the timestamp it travels with.
pub(crate) type Late = (EventTime, Record);

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// In any order; each travels with a stamp at or before its time.
    pub(crate) on_time: Vec<Record>,
    /// With exactly these stamps.
    pub(crate) late: Vec<Late>,
}

/// A pseudo-random sequence (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// For each worker, batches of records with their stamps, which rise.
type Batches = Vec<Vec<(u64, Vec<Record>)>>;

/// Deals `on_time` to workers, each in an order in which no record lies more than `bound` behind one
/// before it, each batch stamped with what the worker can be sure of.
fn deal(workers: usize, on_time: &[Record], bound: u64, random: &mut Random) -> Batches {
    let mut arrivals: Vec<(u64, Record)> = on_time
        .iter()
        .map(|record| (record.time.as_millis() + random.below(bound + 1), record.clone()))
        .collect();
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    let mut batches: Batches = vec![Vec::new(); workers];
    let mut newest = vec![0u64; workers];
    for (_, record) in arrivals {
        let worker = random.below(workers as u64) as usize;
        if batches[worker].is_empty() || random.below(4) == 0 {
            batches[worker].push((newest[worker].saturating_sub(bound), Vec::new()));
        }
        newest[worker] = newest[worker].max(record.time.as_millis());
        if let Some((_, batch)) = batches[worker].last_mut() {
            batch.push(record);
        }
    }
    batches
}

/// Deals records with given stamps; those of one stamp in any order.
fn deal_late(workers: usize, late: &[Late], random: &mut Random) -> Batches {
    let mut shuffled: Vec<(u64, u64, Record)> = late
        .iter()
        .map(|(stamp, record)| (stamp.as_millis(), random.below(1_000), record.clone()))
        .collect();
    shuffled.sort_by_key(|(stamp, tie, _)| (*stamp, *tie));
    let mut batches: Batches = vec![Vec::new(); workers];
    for (stamp, _, record) in shuffled {
        batches[random.below(workers as u64) as usize].push((stamp, vec![record]));
    }
    batches
}

/// Sends `sent` through the dataflow that `build` makes, on so many workers; returns its output in any
/// order.
pub(crate) fn run<O, B>(workers: usize, sent: &Sent, bound: u64, seed: u64, build: B) -> Vec<O>
where
    O: Clone + Send + 'static,
    B: for<'scope> Fn(StreamVec<'scope, u64, Record>) -> StreamVec<'scope, u64, O>
        + Send
        + Sync
        + 'static,
{
    let mut random = Random(seed);
    let on_time = deal(workers, &sent.on_time, bound, &mut random);
    let late = deal_late(workers, &sent.late, &mut random);
    let collected = Arc::new(Mutex::new(Vec::new()));
    let output = Arc::clone(&collected);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let mut random = Random(seed ^ worker.index() as u64);
        let output = Arc::clone(&output);
        let (mut on_time_input, mut late_input) = worker.dataflow::<u64, _, _>(|scope| {
            let (on_time_input, on_time) = scope.new_input();
            let (late_input, late) = scope.new_input();
            build(on_time.concat(late))
                .inspect(move |told| output.lock().unwrap().push(told.clone()));
            (on_time_input, late_input)
        });
        let mut on_time = on_time[worker.index()].iter().peekable();
        let mut late = late[worker.index()].iter().peekable();
        while on_time.peek().is_some() || late.peek().is_some() {
            let (input, next) = match random.below(2) {
                0 => (&mut on_time_input, on_time.next()),
                _ => (&mut late_input, late.next()),
            };
            if let Some((stamp, batch)) = next {
                input.advance_to(*stamp);
                input.send_batch(&mut batch.clone());
                input.flush();
            }
            if random.below(3) == 0 {
                worker.step();
            }
        }
    });
    for result in guards.unwrap().join() {
        result.unwrap();
    }
    std::mem::take(&mut *collected.lock().unwrap())
}
